"""``brokerbench capacity``: the highest open-loop rate that holds the SLO."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.text import Text

from harness.cli.output import readers_may_leave, say
from harness.cli.phrases import time_left
from harness.cli.places import deployment_of
from harness.errors import BrokerbenchError, Interrupted, UsageError
from harness.files import lost_place, write_whole
from harness.redaction import hide
from harness.run.completion import completed
from harness.run.progress import Deaf, Listener
from harness.scenario.read import read_scenario
from harness.units import format_rate, parse_duration_s, parse_rate_per_s, parse_ratio

if TYPE_CHECKING:
    from harness.analysis.capacity import CapacityRecord
    from harness.experiment.capacity import Capacity
    from harness.experiment.probe import CapacityPlan

OUTPUT = Path("runs")
EXIT_CODES = """\b
Exit codes:
  0    the capacity of every case was found and confirmed.
  2    the command or the scenario is wrong: nothing was started.
  10   no rate holds, or a guarantee was broken at some rate.
  11   no rate held every time that it was tried.
  13   the load generator gave out before the broker, others took the machine, or no trial could be judged: the rate is "at least", or
       none.
  70   the search failed.
  130  Ctrl-C; what is known is told.
"""


class _Quantity(click.ParamType):  # type: ignore[type-arg]  # no generic before click 8.2
    """A quantity with its unit, refused in our words.

    Args:
        parse: returns it in base units, ValueError where it is none. least, most: in base units. example: of what is right.
    """

    name = "quantity"

    def __init__(
        self, parse: Callable[[object], float], expected: str, *, least: float, most: float, example: str
    ) -> None:
        self._parse = parse
        self._expected = expected
        self._least = least
        self._most = most
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the quantity; raises UsageError for what is none, or out of range."""
        try:
            number = float(self._parse(value))
        except ValueError:
            number = math.nan
        if not self._least <= number <= self._most:
            option = param.opts[0] if param else "the value"
            raise UsageError(
                f"{option} {value}: not a value that it takes",
                expected=self._expected,
                remedy=f"for example {option} {self._example}",
            )
        return number


P99 = _Quantity(parse_duration_s, "a duration such as 50ms, from 1 us to 1 h", least=1e-6, most=3600.0, example="50ms")
RATE = _Quantity(
    parse_rate_per_s, "a rate such as 1000/s, from 0.01/s to 100000000/s", least=0.01, most=1e8, example="1000/s"
)
PROBE = _Quantity(parse_duration_s, "a duration such as 20s, from 1 s to 1 h", least=1.0, most=3600.0, example="20s")
WITHIN = _Quantity(parse_ratio, "a share such as 5%, from 1% to 50%", least=0.01, most=0.5, example="5%")


@click.command(epilog=EXIT_CODES)
@click.argument("scenario")
@click.option(
    "--p99", type=P99, metavar="DURATION", help="Longest p99 end to end, e.g. 50ms.  [default: the scenario's slo]"
)
@click.option(
    "--from",
    "start",
    type=RATE,
    metavar="RATE",
    help="First rate, e.g. 1000/s.  [default: the scenario's, else 1000/s]",
)
@click.option(
    "--within",
    type=WITHIN,
    metavar="SHARE",
    default="5%",
    show_default=True,
    help="By how much of itself the answer may be too low.",
)
@click.option(
    "--probe",
    type=PROBE,
    metavar="DURATION",
    help="How long each rate is held after the scenario's warm-up.  [default: 20,000 messages or twice what a rarer percentile needs,"
    " at least 10 s, after a warm-up of at least 3 s]",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the scenario.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=OUTPUT, help="Folder that gets the folder of the search."
)
@click.option("--json", "as_json", is_flag=True, help="Print capacity.json on stdout and nothing else.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def capacity(
    *,
    scenario: str,
    p99: float | None,
    start: float | None,
    within: float,
    probe: float | None,
    overrides: tuple[str, ...],
    output: Path,
    as_json: bool,
    quiet: bool,
) -> int:
    """Find the highest rate at which SCENARIO holds its SLO, for each of its cases.

    A rate holds if the backlog does not grow (99 % of what was due is settled), no latency passes its bound, nothing that was confirmed
    is lost, and the generator was not saturated. The rate never changes while it is measured: it is doubled from trial to trial until
    it no longer holds, halved in between, and the answer is confirmed in three fresh trials.
    """
    from harness.cli.commands import catalogue  # noqa: PLC0415 - which imports this module
    from harness.experiment.capacity import Capacity  # noqa: PLC0415 - analysis takes 0.5 s to import; `list` needs none of it
    from harness.experiment.probe import CapacityPlan, bounds_of  # noqa: PLC0415 - likewise

    asked = read_scenario(scenario, catalogue(), overrides)
    plan = CapacityPlan(
        scenario=asked,
        bounds=bounds_of(asked, p99),
        start_per_s=start,
        probe_s=probe,
        within=within,
        root=output,
        command=shlex.join(["brokerbench", *map(hide, sys.argv[1:])]),
    )
    quiet = quiet or as_json
    record: CapacityRecord | None = None
    try:
        with ExitStack() as ending:
            listener = _listener(ending, quiet=quiet)
            this = Capacity(plan, deployment_of(asked, quiet=quiet), listener)
            if not quiet:
                with suppress(OSError):  # nobody reads stderr: no reason not to run
                    say(_first_line(plan, this), err=True)
            record = this.run()
    except KeyboardInterrupt:  # while the live view ends: the answer is there
        if record is None:
            raise
    return _told(record, this.folder, as_json=as_json)


def _listener(ending: ExitStack, *, quiet: bool) -> Listener:
    """Returns who is told of the trials while they run, and ends with ``ending``."""
    if quiet:
        return Deaf()
    from harness.cli.live import open_view  # noqa: PLC0415 - only who watches pays for it

    return ending.enter_context(open_view(Console(stderr=True)))


def _first_line(plan: CapacityPlan, this: Capacity) -> str:
    """Returns what is about to be searched, and for how long."""
    from harness.analysis.rate_search import most_steps, usual_steps  # noqa: PLC0415 - as in `capacity`

    first = plan.cases[0]
    each = f" for each of {len(plan.cases)} cases" if len(plan.cases) > 1 else ""
    length = f"{plan.length_s(plan.start_of(first)):g} s"
    raised = [case for case in plan.cases if plan.asked_start_of(case) < plan.start_of(case)]
    why = f"; {format_rate(plan.asked_start_of(raised[0]))} is not used: too few messages in 5 min" if raised else ""
    return (
        f"{plan.scenario.name}: highest rate within {', '.join(f'{b.metric} {b.text}' for b in plan.bounds)}, from"
        f" {format_rate(plan.start_of(first))} on{why}; about {usual_steps(plan.within)} probes of {length}{each}, so about"
        f" {time_left(plan.expected_s)} (more where the start is far off, at most {most_steps()} probes); {this.folder}"
    )


def _told(record: CapacityRecord, folder: Path, *, as_json: bool) -> int:
    """Prints what a search has shown, which no Ctrl-C cuts short, then draws it; returns the exit code.

    Raises:
        BrokerbenchError: stdout takes no more, or the chart could not be drawn or written. Interrupted: a Ctrl-C came meanwhile; all
            figures are printed.
    """
    _, interrupted = completed(lambda: _print(record, folder, as_json=as_json))
    if interrupted:
        raise Interrupted(f"interrupted before the chart was drawn; the figures are in {folder}")
    picture = _picture_or_why_not(record, folder)
    if isinstance(picture, BrokerbenchError):
        raise picture
    if picture is not None and not as_json:
        with readers_may_leave():
            Console().print(Text(f"Chart: {picture}"), soft_wrap=True)
    return int(record.exit_code or 0)


def _print(record: CapacityRecord, folder: Path, *, as_json: bool) -> None:
    with readers_may_leave():
        if as_json:
            click.echo(record.model_dump_json(indent=1))
        else:
            from reports.capacity.terminal import print_capacity  # noqa: PLC0415 - as in `_listener`

            print_capacity(record, Console(), folder=folder)


def _picture_or_why_not(record: CapacityRecord, folder: Path) -> Path | BrokerbenchError | None:
    """Writes the chart; None where there is nothing to draw."""
    from harness.experiment.capacity import PICTURE  # noqa: PLC0415 - as in `capacity`

    path = folder / PICTURE
    try:
        from reports.capacity.picture import picture  # noqa: PLC0415 - matplotlib, in whose import a Ctrl-C may come

        drawn = picture(record)
        if drawn is None:
            return None
        write_whole(path, drawn)
        return path
    except KeyboardInterrupt:
        return Interrupted(f"interrupted; the figures are in {folder}")
    except OSError as error:
        return lost_place(path, error)
    except Exception as error:  # a mistake of ours in a chart must not cost the figures
        return BrokerbenchError(
            f"the chart of {folder} could not be made: {type(error).__name__}: {error}",
            remedy="report this as a bug of brokerbench; capacity.json is whole",
        )
