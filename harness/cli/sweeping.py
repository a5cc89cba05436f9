"""``brokerbench sweep``: one key of a scenario at several values, the curve and its knee."""

from __future__ import annotations

import secrets
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from harness.cli.output import readers_may_leave, say
from harness.cli.phrases import time_left
from harness.cli.places import deployment_of
from harness.deployments.contract import Deployment
from harness.errors import BrokerbenchError, Interrupted, UsageError
from harness.files import lost_place, write_whole
from harness.metrics import METRICS
from harness.redaction import hide
from harness.run.progress import Deaf, Listener
from harness.scenario.problems import did_you_mean

if TYPE_CHECKING:
    from harness.analysis.sweep import SweepRecord
    from harness.experiment.sweep import Sweep, SweepPlan
    from harness.experiment.values import Value

OUTPUT = Path("runs")
MOST_TRIALS = 1000


@click.command(
    epilog="Ends as `run` does, by the severest of its trials; 130 after Ctrl-C, which keeps all that was run."
)
@click.argument("scenario")
@click.option(
    "--over",
    "over",
    multiple=True,
    required=True,
    metavar="KEY=V1,V2,…",
    help="The key and its values, e.g. workers.prefetch=1,10,100.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override another key for all values.")
@click.option("--trials", type=click.IntRange(1, MOST_TRIALS), help="Trials of each value.  [default: the scenario's]")
@click.option("--metric", default="throughput", show_default=True, help="The figure whose knee is asked for.")
@click.option(
    "--order-seed",
    type=click.IntRange(0, (1 << 32) - 1),
    help="Repeat the order of another sweep.  [default: a new one]",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=OUTPUT, help="Folder that gets the folder of the sweep."
)
@click.option("--json", "as_json", is_flag=True, help="Print sweep.json on stdout and nothing else.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def sweep(
    *,
    scenario: str,
    over: tuple[str, ...],
    overrides: tuple[str, ...],
    trials: int | None,
    metric: str,
    order_seed: int | None,
    output: Path,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run SCENARIO at several values of one key, in shuffled order, and say from which value on more of it buys nothing.

    The knee is the smallest value whose median reaches 95 % of the best.
    """
    from harness.experiment.sweep import Sweep, SweepPlan  # noqa: PLC0415 - analysis takes 0.5 s to import; `list` needs none of it

    if len(over) > 1:
        raise UsageError("--over is given twice", expected="one key", remedy="sweep one key after the other")
    _require_metric(metric)
    key, values = _values(scenario, over[0], overrides)
    quiet = quiet or as_json
    plan = SweepPlan(
        key=key,
        values=values,
        trials=trials or values[0].scenario.trials,
        metric=metric,
        order_seed=secrets.randbits(32) if order_seed is None else order_seed,
        root=output,
        command=shlex.join(["brokerbench", *map(hide, sys.argv[1:])]),
    )
    this: Sweep | None = None
    try:
        with ExitStack() as ending:
            listener = _listener(ending, quiet=quiet)
            this = Sweep(plan, _deployments(values, quiet=quiet), listener)
            if not quiet:
                with suppress(OSError):  # nobody reads stderr: no reason not to run
                    say(_first_line(plan, this), err=True)
            _run_or_tell(this, as_json=as_json)
    except KeyboardInterrupt:
        if this is None or this.record.status == "running":
            raise
        _print(this.record, this.folder, as_json=as_json)  # all was run, and only the live view was still to end
        raise Interrupted(f"interrupted before the chart was drawn; the figures are in {this.folder}") from None
    return _told(this.record, this.folder, as_json=as_json)


def _run_or_tell(this: Sweep, *, as_json: bool) -> SweepRecord:
    """Runs a sweep; what was run before an error ended it is told before the error is."""
    try:
        return this.run()
    except BrokerbenchError:
        if this.record.runs:
            _told(this.record, this.folder, as_json=as_json)
        raise


def _require_metric(metric: str) -> None:
    """Raises UsageError for a figure that there is not, or of which there is no best."""
    if metric not in METRICS:
        raise UsageError(
            f"--metric {metric}: no such figure",
            expected="a metric as run.json names it, such as throughput or latency.end_to_end.p99",
            remedy=did_you_mean(metric, METRICS),
        )


def _values(scenario: str, over: str, overrides: Sequence[str]) -> tuple[str, tuple[Value, ...]]:
    """Returns the key and its values with their scenarios; raises UsageError for anything that is wrong with them."""
    from harness.cli.commands import catalogue  # noqa: PLC0415 - which imports this module
    from harness.experiment.values import read_over, read_values  # noqa: PLC0415 - as in `sweep`

    key, texts = read_over(over)
    return key, read_values(scenario, catalogue(), overrides, key, texts)


def _deployments(values: Sequence[Value], *, quiet: bool) -> list[Deployment]:
    """Returns where the brokers of each value run; values that run at the same place share it."""
    made: dict[tuple[str, str], Deployment] = {}
    found = []
    for value in values:
        scenario = value.scenario
        place = (scenario.deployment, repr(scenario.address.urls) if scenario.address else "")
        if place not in made:
            made[place] = deployment_of(scenario, quiet=quiet)
        found.append(made[place])
    return found


def _listener(ending: ExitStack, *, quiet: bool) -> Listener:
    """Returns who is told of the trials while they run, and ends with ``ending``."""
    if quiet:
        return Deaf()
    from harness.cli.live import open_view  # noqa: PLC0415 - only who watches pays for it

    return ending.enter_context(open_view(Console(stderr=True)))


def _first_line(plan: SweepPlan, this: Sweep) -> str:
    """Returns what is about to be run, and for how long."""
    scenario = plan.values[0].scenario
    cases = len(scenario.cases)
    each = f" x {cases} cases" if cases > 1 else ""
    trials = f" x {plan.trials} trials" if plan.trials > 1 else ""
    count = f"{len(plan.values)} values{each}{trials}"
    time = f"about {time_left(plan.expected_s)}"
    return (
        f"{scenario.name} over {plan.key}: {count}, {time}, in shuffled order (seed {plan.order_seed}); {this.folder}"
    )


def _told(record: SweepRecord, folder: Path, *, as_json: bool) -> int:
    """Prints what a sweep has shown, then draws it, which takes a second; returns the exit code.

    Raises:
        BrokerbenchError: the chart could not be drawn or written. Interrupted: a Ctrl-C came meanwhile.
    """
    interrupted = _print(record, folder, as_json=as_json)
    picture = Interrupted(f"interrupted; the figures are in {folder}") if interrupted else _drawn(record, folder)
    if isinstance(picture, BrokerbenchError):
        raise picture
    if picture is not None and not as_json:
        with readers_may_leave():
            say(f"Chart: {picture}")
    return int(record.exit_code or 0)


def _print(record: SweepRecord, folder: Path, *, as_json: bool) -> bool:
    """Prints what a sweep has shown, to its end; returns whether a Ctrl-C came meanwhile."""
    from harness.run.completion import completed  # noqa: PLC0415 - as in `sweep`

    def work() -> None:
        if as_json:
            click.echo(record.model_dump_json(indent=1))
        else:
            from reports.sweep.terminal import print_sweep  # noqa: PLC0415 - as in `_listener`

            print_sweep(record, Console(), folder=folder)

    interrupted = False
    with readers_may_leave():
        _, interrupted = completed(work)
    return interrupted


def _drawn(record: SweepRecord, folder: Path) -> Path | BrokerbenchError | None:
    """Writes the chart, or returns why not; None where there is nothing to draw."""
    from harness.experiment.sweep import PICTURE  # noqa: PLC0415 - as in `sweep`

    path = folder / PICTURE
    try:
        from reports.sweep.picture import picture  # noqa: PLC0415 - matplotlib, which is slow

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
            remedy="report this as a bug of brokerbench; sweep.json is whole",
        )
