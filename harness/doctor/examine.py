"""All checks in order, each bounded in time, none able to end the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from harness import __version__
from harness.deployments.embedded import EmbeddedDeployment
from harness.doctor import engine, machine, rights, servers, software, traces
from harness.doctor.finding import Check, Diagnosis, Finding, Seen, diagnosed, missing, unknown
from harness.errors import BrokerbenchError
from harness.programs import end_asked
from harness.scenario.model import Scenario
from harness.schedule import expected_messages

LIMIT_S = 25.0
"""For one check; a program that is asked has less (``programs``)."""


def examine(quickstart: Callable[[], Scenario], output: Path) -> Diagnosis:
    """Returns what this machine can do; starts no broker and changes nothing.

    Args:
        quickstart: reads the scenario that a newcomer runs first: what it needs is *required*; may raise BrokerbenchError.
        output: where runs are kept.
    """
    try:
        return diagnosed(__version__, [found(check) for check in checks(quickstart, output)])
    finally:
        end_asked()  # Ctrl-C, or a check that was given up


def checks(quickstart: Callable[[], Scenario], output: Path) -> Iterator[Check]:
    """Yields every check, in the order in which they are told."""
    read: Scenario | None = None
    with suppress(BrokerbenchError):  # its own check says what is wrong
        read = quickstart()
    yield from software.checks(quickstart)
    yield from machine.checks(expected_messages(read.load, read.phases) if read else 0, output)
    yield from servers.checks(EmbeddedDeployment(), {case.setup.broker for case in read.cases} if read else ())
    yield from traces.checks()
    yield from engine.checks()
    yield from rights.checks()


def found(check: Check, limit_s: float = LIMIT_S) -> Finding:
    """Returns what a check finds; *unknown* where it breaks or does not end within ``limit_s``."""
    results: list[Seen] = []

    def look() -> None:
        try:
            results.append(check.look())
        except BrokerbenchError as error:
            results.append(missing(error.problem, error.expected and f"expected: {error.expected}", error.remedy))
        except Exception as error:
            results.append(
                unknown(
                    f"{type(error).__name__}: {error}",
                    "this could not be found out",
                    "report this as a bug of brokerbench",
                )
            )

    thread = threading.Thread(target=look, name=check.id, daemon=True)  # it may hang in a file system that is gone
    thread.start()
    thread.join(limit_s)
    if not results:
        results.append(
            unknown(
                f"no answer within {limit_s:g} s",
                "this could not be found out",
                "look for a file system or a program that hangs (df, docker version), then run it again",
            )
        )
    return check.finding(results[0])
