"""The pages that tell how to add something are followed to the letter."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from harness.containers.engine import why_no_engine
from tests.docs.pages import DOCS, ROOT, commands
from tests.docs.reader import Reader, first_missing

FOLLOWED = [
    "adding-a-scenario.md",
    "adding-a-fault.md",
    "comparing.md",
    "adding-a-chart.md",
    "gating.md",
    "adding-a-driver.md",
    "external.md",
    "agents.md",
    "docker.md",
]


def test_what_other_pages_tell_to_type_is_a_shipped_scenario() -> None:
    """Tests of their own run those, and every one passes ``check``."""
    pages = [page for page in DOCS.glob("*.md") if page.name not in FOLLOWED]
    typed = {line for page in pages for line in commands(page)}
    assert typed <= {f"brokerbench run {path.stem}" for path in (ROOT / "scenarios").glob("*.yaml")}


@pytest.mark.slow
@pytest.mark.parametrize("page", FOLLOWED[:5])
def test_the_page_is_true_to_the_letter(page: str, tmp_path: Path) -> None:
    with Reader(tmp_path) as reader:
        reader.follow(DOCS / page)


@pytest.mark.slow
def test_the_page_on_drivers_is_true_to_the_letter_with_a_broker_that_is_not_ours(tmp_path: Path) -> None:
    if shutil.which("beanstalkd") is None:
        pytest.skip("beanstalkd is not installed; remedy: apt install beanstalkd")
    with Reader(tmp_path, replacing={"11300": str(free_port())}) as reader:
        reader.follow(DOCS / "adding-a-driver.md")


@pytest.mark.slow
def test_the_page_on_brokers_that_run_already_is_true_to_the_letter(tmp_path: Path) -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not on the PATH; remedy: apt install redis-server")
    with Reader(tmp_path, replacing={"6399": str(free_port())}) as reader:
        reader.follow(DOCS / "external.md")


@pytest.mark.slow
def test_the_page_on_several_machines_is_true_to_the_letter(tmp_path: Path) -> None:
    with Reader(tmp_path, replacing={"127.0.0.1:5557": f"127.0.0.1:{free_port()}"}) as reader:
        reader.follow(DOCS / "agents.md")


@pytest.mark.slow
@pytest.mark.xdist_group("docker")
def test_the_page_on_docker_is_true_to_the_letter(tmp_path: Path) -> None:
    if reason := why_no_engine():
        pytest.skip(reason)
    with Reader(tmp_path, outside={}) as reader:
        reader.follow(DOCS / "docker.md")


def test_what_a_page_shows_must_be_printed_in_that_order_whatever_the_numbers() -> None:
    printed = "kept 1,234 of 5,678 in 1.2 s, and delivered 1 repeat.\nReport: runs/2026-11-21T10-00-00-x/report.md\n"
    assert first_missing("kept 1 of 2 in 300 ms,\n  and delivered 20 repeats.", printed) is None
    assert first_missing("kept … delivered\n…\nReport: runs/2025-01-01T00-00-01-x/report.md", printed) is None
    assert first_missing("lost 1 of 2", printed) == "lost 1 of 2"
    assert first_missing("Report: …\nkept 1 of 2", printed) == "kept 1 of 2"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
