"""What holds for every test: in CI nothing is skipped, and a test that measures is alone.

On a developer's machine a test that needs what is not there (a server, a right) skips and says what is missing. In CI
everything is there, so a skip means that something was not tested, and is a failure.

``make test`` runs tests in several processes at once, since most of their time is waiting. Producers have the processor when
they need it (``SCHED_FIFO``), so a run beside another is valid; a test that looks at times of messages is marked ``alone``.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere"}
"""In an environment: a scenario that names no deployment runs embedded, whatever this machine has."""

GROUP = re.compile("@(alone|browser|docker)$")

TURN, ROOM = Path(__file__).with_name("__init__.py"), Path(__file__)
"""Locked, never written: every test is in the room; one that must be alone waits at the turn until the room is empty, and others
wait behind it."""


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    with path.open("rb") as file:
        fcntl.flock(file, how)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # also for a child that was forked with the file


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lets one process run the tests that must be alone one after the other, so that the others wait for them once; and one those on Docker, since
    they share an engine: its swarm and its subnets."""
    for item in items:
        if item.get_closest_marker("alone"):
            item.add_marker(pytest.mark.xdist_group("alone"))
        elif "docker_bench" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("docker"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Keeps a test that is marked ``alone`` apart from those of the other processes, if there are any."""
    with ExitStack() as room:
        if "PYTEST_XDIST_WORKER" in os.environ:
            with _locked(TURN, fcntl.LOCK_EX):
                room.enter_context(_locked(ROOM, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH))
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """Lets ``--last-failed`` find what failed in a group: xdist writes its group behind the name."""
    result = yield
    if not hasattr(session.config, "workerinput"):
        failed = session.config.cache.get("cache/lastfailed", {})
        session.config.cache.set("cache/lastfailed", {GROUP.sub("", name): True for name in failed})
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns a skip into a failure where ``CI`` is set; an expected failure stays what it is."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and CI skips nothing: {reason}"
    return report
