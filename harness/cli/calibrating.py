"""``brokerbench calibrate``: how much identical trials differ here, and what the generator can do at all."""

from __future__ import annotations

import json
import shlex
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from harness.cli.output import readers_may_leave, say
from harness.cli.pairing import require_nothing_else, share_of_cpus
from harness.cli.pairing_sides import command, listed, read_side, require_resumable
from harness.cli.phrases import time_left
from harness.cli.places import deployment_of
from harness.errors import Interrupted, UnavailableError, UsageError

if TYPE_CHECKING:
    from harness.cli.pairing_view import PairsView
    from harness.experiment.calibration import Found
    from harness.experiment.pairs import Arm
    from harness.gate.pairs import PairsRecord
    from harness.pairs_folder import PairsFolder
    from harness.scenario.model import Scenario

OUTPUT = Path("runs")
PAIRS = 10
FEWEST, MOST = 3, 1000
STORED = "stored"
"""In the details of the record: the file that got what was found."""
WITH_RESUME = ("resume", "quiet", "as_json")
"""What may be said of a calibration that is gone on with; all else it has in ``ab.json``."""

EXIT_CODES = """\b
Exit codes:
  0    measured and stored.
  2    the command is wrong, or this machine cannot run the scenario: nothing was run.
  13   too few trials are valid to say anything: nothing was stored.
  70   it could not be stored or shown.
  130  Ctrl-C: nothing was stored; --resume goes on.
"""


@click.command(epilog=EXIT_CODES)
@click.argument("scenario", required=False)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, as for `run`.")
@click.option("--case", "cases", multiple=True, metavar="PATTERN", help="Only cases whose id matches, e.g. 'redis-*'.")
@click.option(
    "--pairs",
    type=click.IntRange(FEWEST, MOST),
    default=PAIRS,
    show_default=True,
    help="Pairs of identical trials of each case.",
)
@click.option(
    "--others",
    metavar="SHARE",
    default="25%",
    show_default=True,
    help="Discard a pair during which others used more of this machine's CPUs, as `ab` does.",
)
@click.option(
    "--order-seed",
    type=click.IntRange(0, (1 << 32) - 1),
    help="Repeat the coins of another calibration.  [default: new ones]",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=OUTPUT, help="Folder that gets the folder of pairs."
)
@click.option(
    "--resume", metavar="FOLDER", type=click.Path(path_type=Path), help="Go on with a calibration that was cut short."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON on stdout and nothing else.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.pass_context
def calibrate(
    context: click.Context,
    /,
    *,
    scenario: str | None,
    overrides: tuple[str, ...],
    cases: tuple[str, ...],
    pairs: int,
    others: str,
    order_seed: int | None,
    output: Path,
    resume: Path | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Measure how much identical trials of SCENARIO differ on this machine, and what the load generator can do here at all.

    Runs pairs of trials of the same thing. `ab` and `gate` say from what is stored how small a difference they can see, and refuse a rule
    that the noise would decide; `run` says when a trial comes near the generator's ceiling.
    """
    from harness.experiment.calibration import calibrate as run_calibration  # noqa: PLC0415 - analysis takes 0.5 s to import; `list` needs none of it
    from harness.experiment.calibration import new_calibration  # noqa: PLC0415 - as above
    from harness.pairs_folder import PairsFolder  # noqa: PLC0415 - as above
    from harness.store import RunFolder  # noqa: PLC0415 - as above

    quiet = quiet or as_json
    if resume is None:
        if scenario is None:
            raise UsageError(
                "SCENARIO is missing",
                expected="a shipped scenario's name, a file, or --resume FOLDER",
                remedy="brokerbench calibrate --help",
            )
        share, asked = share_of_cpus(others), read_side(scenario, overrides, cases)
        arm = _arm(asked, quiet=quiet)
        record = new_calibration(arm, pairs=pairs, command=command(), seed=order_seed, others_share=share)
        folder = PairsFolder(RunFolder.create(output, f"calibrate-{asked.name}", datetime.now()).path)
    else:
        require_nothing_else(context, WITH_RESUME)
        folder = PairsFolder.open(resume)
        record = folder.load()
        asked = _begun(folder, record)
        arm = _arm(asked, quiet=quiet)
    with ExitStack() as ending:
        ending.enter_context(folder.alone())
        if not quiet:
            with suppress(OSError):  # nobody reads stderr: no reason not to run
                say(_first_line(record, asked, folder), err=True)
        record, found = run_calibration(folder, record, arm, _view(asked, ending, quiet=quiet))
    if found is None:
        done = sum(len(case.pairs) for case in record.cases)
        again = shlex.join(["brokerbench", "calibrate", "--resume", str(folder.path)])
        raise Interrupted(f"interrupted after {done} whole pairs: nothing is stored", remedy=f"go on: {again}")
    stored = found.keep()
    folder.save(record.model_copy(update={"details": {**record.details, STORED: str(stored)}}))
    return _told(found, stored, folder, as_json=as_json)


def _arm(scenario: Scenario, *, quiet: bool) -> Arm:
    """Returns who runs the trials of both sides; raises UnavailableError where a case cannot run here."""
    from harness.experiment.here import Here  # noqa: PLC0415 - as in `calibrate`
    from harness.experiment.pairs import Arm  # noqa: PLC0415 - as in `calibrate`

    deployment = deployment_of(scenario, quiet=quiet)
    for case in scenario.cases:
        if reason := deployment.unavailable(case.setup, case.site):
            raise UnavailableError(f"{case.id}: {reason}")
    return Arm(scenario=scenario, runner=Here(deployment=deployment, command=command()))


def _begun(folder: PairsFolder, record: PairsRecord) -> Scenario:
    """Returns the scenario of a calibration that was cut short, or whose answer was not stored.

    Raises:
        UsageError: it is over, or a comparison, or what it measures is no longer what it was.
    """
    if record.stopping != "fixed":
        raise UsageError(
            f"{folder.path} is a comparison, no calibration",
            expected="a folder that `brokerbench calibrate` made",
            remedy=f"go on with it: {shlex.join(['brokerbench', 'ab', '--resume', str(folder.path)])}",
        )
    if record.status == "finished" and STORED in record.details:
        raise UsageError(
            f"{folder.path} has come to its end: what it found is stored in {record.details[STORED]}",
            expected="a calibration that was cut short",
            remedy=f"measure anew: {record.command}",
        )
    require_resumable(folder, record)
    ids = [case.a for case in record.cases]
    asked = listed(read_side(record.scenario_path, [*record.overrides, f"deployment={record.deployment}"], ()), ids)
    if asked.text != record.scenario_text or [case.id for case in asked.cases] != ids:
        raise UsageError(
            f"{record.scenario_path} is not what it was when {folder.path} was begun",
            expected="the same scenario for all pairs",
            remedy=f"restore the file, or begin anew: {record.command}",
        )
    return asked


def _view(scenario: Scenario, ending: ExitStack, *, quiet: bool) -> PairsView:
    """Returns who is told of the trials while they run, and ends with ``ending``."""
    from harness.cli.pairing_view import Silent, open_pairs_view  # noqa: PLC0415 - only who watches pays for it
    from harness.scenario.describe import expected_trial_s  # noqa: PLC0415 - as in `calibrate`

    shown = Silent() if quiet else open_pairs_view(Console(stderr=True), 2 * expected_trial_s(scenario))
    return ending.enter_context(shown)


def _first_line(record: PairsRecord, scenario: Scenario, folder: PairsFolder) -> str:
    """Returns what is about to be run, and for how long."""
    from harness.experiment.calibration import expected_s  # noqa: PLC0415 - as in `calibrate`

    cases = f" of each of {len(scenario.cases)} cases" if len(scenario.cases) > 1 else ""
    left = max(record.most - len(case.counted) for case in record.cases)
    time = time_left(expected_s(scenario, left))
    return f"calibrate {scenario.name}: the generator's ceiling, then {left} pairs of identical trials{cases}, about {time}; {folder.path}"


def _told(found: Found, path: Path, folder: PairsFolder, *, as_json: bool) -> int:
    with readers_may_leave():
        if as_json:
            told = {
                "calibrations": [each.model_dump(mode="json") for each in found.calibrations],
                "ceilings": {case: each.model_dump(mode="json") for case, each in found.ceilings.items()},
                "notes": list(found.notes),
                "stored": str(path),
                "folder": str(folder.path),
            }
            click.echo(json.dumps(told, indent=1))
        else:
            from reports.calibration import print_calibration  # noqa: PLC0415 - tables are laid out when there is something to lay out

            print_calibration(found.calibrations, found.ceilings, found.notes, Console())
            say(f"stored for this machine: {path}; the trials are in {folder.path}")
    return 0
