"""Packages of third parties that declare drivers and faults: found by their entry points, and named where they are wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import brokers, faults
from harness.errors import UsageError

DRIVER = """
from harness.brokers.null import DRIVER, SETUP
from dataclasses import replace
SETUP = replace(SETUP, name={name!r})
"""
FAULT = """
from harness.faults.pause_broker import PauseBroker
class FAULT(PauseBroker):
    verb = {verb!r}
"""

Installed = Callable[[str, str, str], None]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    """Installs a module with an entry point, as pip would: group, name of the entry point, code."""
    monkeypatch.syspath_prepend(tmp_path)

    def forget() -> None:
        sys.modules.pop("third_party", None)
        brokers._modules.cache_clear()
        brokers._load.cache_clear()
        faults.faults.cache_clear()

    def install(group: str, name: str, code: str) -> None:
        info = tmp_path / "third_party-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[brokerbench.{group}]\n{name} = third_party\n")
        (tmp_path / "third_party.py").write_text(code)
        forget()

    yield install
    forget()


def test_a_driver_of_another_package_is_found_under_its_name(installed: Installed) -> None:
    installed("drivers", "theirs", DRIVER.format(name="theirs"))
    assert "theirs" in brokers.names()
    assert brokers.setups()["theirs"].broker == "null"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (DRIVER.format(name="other"), "is no driver of the setup 'theirs'"),
        ("SETUP = 'theirs'", "is no driver of the setup 'theirs'"),
        ("", "expected: SETUP, a Setup of the name 'theirs', and DRIVER, a class"),
        ("import not_there", "needs the Python package 'not_there', which is not installed"),
    ],
)
def test_a_module_that_is_no_driver_is_named(installed: Installed, code: str, told: str) -> None:
    installed("drivers", "theirs", code)
    with pytest.raises(UsageError) as refused:
        list(brokers.setups().values())
    assert told in str(refused.value)


def test_a_fault_of_another_package_is_found_under_its_verb(installed: Installed) -> None:
    installed("faults", "anything", FAULT.format(verb="startle"))
    assert faults.faults()["startle", "broker"].__module__ == "third_party"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (FAULT.format(verb="kill"), "'kill: broker' is there twice: in harness.faults.kill_broker and in third_party"),
        (
            "class FAULT:\n    verb = target = 'x'",
            "FAULT in the module 'third_party' has no kind, keys, summary, inject, heal",
        ),
        ("", "FAULT in the module 'third_party' has no verb, target"),
        ("import not_there", "the fault module 'third_party' cannot be imported: No module named 'not_there'"),
    ],
)
def test_a_module_that_is_no_fault_is_named(installed: Installed, code: str, told: str) -> None:
    installed("faults", "anything", code)
    with pytest.raises(UsageError) as refused:
        faults.faults()
    assert told in str(refused.value)
    assert "uninstall" in str(refused.value)
