"""The pytest plugin as its users have it: an installed entry point, in a pytest of its own, against the real null broker."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

from tests.conftest import NO_ENGINE
from tests.docs.pages import DOCS, blocks

pytest_plugins = "pytester"
pytestmark = pytest.mark.slow

PAGE = DOCS / "pytest.md"
FURTHER = """

kept = []

def test_an_invalid_run_of_which_nothing_is_asked(brokerbench):
    kept.append(brokerbench.run("queue.yaml", setups=[{"null": {"forget": 3}}], load__tick="1 s"))
    assert kept[0].record.overrides == ['setups=[{"null": {"forget": 3}}]', "load.tick=1 s"]

def test_what_an_invalid_run_cannot_tell(brokerbench):
    kept[0].require("throughput >= 1/s")

def test_what_even_an_invalid_run_proves(brokerbench):
    kept[0].require("loss.confirmed == 0")
"""


def test_the_plugin_is_found_by_every_pytest_in_whose_environment_brokerbench_is() -> None:
    [found] = [each for each in entry_points(group="pytest11") if each.name == "brokerbench"]
    assert found.value == "harness.pytest_plugin"


def test_the_page_is_true_and_what_proves_nothing_is_an_error(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**NO_ENGINE, "BROKERBENCH_STATE": str(pytester.path / "state"), "COLUMNS": "160"}.items():
        monkeypatch.setenv(name, value)
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    pytester.mkdir("tests")
    for text in (text for language in ("yaml", "toml", "python") for text in blocks(PAGE, language)):
        (pytester.path / text.split("\n", 1)[0].removeprefix("# ")).write_text(text)
    tests = pytester.path / "tests" / "test_queue.py"
    tests.write_text(tests.read_text() + FURTHER)
    done = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider", "tests")
    done.assert_outcomes(passed=2, failed=2, errors=1)
    page = done.stdout.str()
    assert "RuleBroken: FAIL: loss.confirmed == 0, null[forget=3]@embedded: 3 " in page
    assert "✗ FAIL   loss.confirmed == 0     3  1 trial" in page
    assert "ERROR at teardown of test_an_invalid_run_of_which_nothing_is_asked" in page
    assert (
        "queue proves nothing, and nothing was asked of it: null[forget=3]@embedded: trial 1 invalid: generator saturated"
        in page
    )
    assert (
        "EvidenceError: INVALID: throughput >= 1/s, null[forget=3]@embedded: cases/null-forget-3-embedded/trial-1 is invalid"
        in page
    )
    assert [line for line in page.splitlines() if "harness/" in line and ".py:" in line] == []
