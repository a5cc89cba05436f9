"""Runs over several machines: ``brokerbench agent``, and what ``brokerbench run`` is told about those who come."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from harness.cli.output import say
from harness.errors import UsageError
from harness.load.door import DEFAULT_PORT, DEFAULT_WAIT_S, SECRET_NAME, Door, open_door, secret
from harness.scenario.model import Scenario
from harness.units import format_duration, parse_duration_s

DOOR = f"127.0.0.1:{DEFAULT_PORT}"
DEFAULT_WAIT = format_duration(DEFAULT_WAIT_S)
SHORTEST_WAIT_S, LONGEST_WAIT_S = 1.0, 86_400.0


class _Wait(click.ParamType):  # type: ignore[type-arg]  # no generic before click 8.2
    """A duration with its unit, as scenarios write them."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns seconds; raises UsageError for what is no duration, too short or too long."""
        with suppress(ValueError):
            wait_s = parse_duration_s(value)
            if SHORTEST_WAIT_S <= wait_s <= LONGEST_WAIT_S:
                return wait_s
        raise UsageError(
            f"--wait {value}: no time that can be waited",
            expected="a duration from 1 s to 24 h with its unit (ms, s, min, h)",
            remedy=f"for example --wait '{DEFAULT_WAIT}', or --wait 2min",
        )


WAIT = _Wait()

SECRET_FILE = click.option(
    "--secret-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=f"Holds the secret that run and agents share; or set {SECRET_NAME}. Needed unless all are on this machine.",
)


def door_of_run(scenario: Scenario, listen: str | None, file: Path | None, wait_s: float) -> Door | None:
    """Returns where agents of other machines come in, None where the scenario asks for none.

    Raises:
        UsageError: ``--listen`` without such agents, no address, or no secret where one is needed.
    """
    kept = secret(file, os.environ)
    if scenario.agents.remote:
        return open_door(listen or DOOR, kept, wait_s)
    if listen:
        raise UsageError(
            f"--listen {listen} has no meaning: the scenario asks for no agents of other machines",
            remedy="write agents: {local: 1, remote: 1}, or give --set agents.remote=1",
        )
    return None


@click.command()
@click.option("--coordinator", required=True, metavar="HOST:PORT", help="Where the run listens (its --listen).")
@SECRET_FILE
@click.option(
    "--wait", type=WAIT, default=DEFAULT_WAIT, show_default=True, help="How long to wait for the run to answer."
)
def agent(coordinator: str, secret_file: Path | None, wait: float) -> int:
    """Lend this machine to a run on another one, trial after trial, until it is over; nothing is kept here."""
    from harness.load.lend import lend  # noqa: PLC0415 - imports what only an agent needs

    lend(open_door(coordinator, secret(secret_file, os.environ), wait), _tell)
    return 0


def _tell(text: str) -> None:
    with suppress(OSError, ValueError):  # nobody reads stderr: no reason not to help
        say(f"agent: {text}", err=True)
