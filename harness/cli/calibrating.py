"""``brokerbench calibrate``: how much identical trials differ here, and what the generator can do at all."""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from harness.cli.output import readers_may_leave, say
from harness.cli.pairing import share_of_cpus
from harness.cli.phrases import time_left
from harness.cli.places import deployment_of
from harness.errors import Interrupted, UnavailableError, UsageError
from harness.redaction import hide

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

EXIT_CODES = """\b
Exit codes:
  0    measured and stored.
  2    the command is wrong, or this machine cannot run the scenario: nothing was run.
  13   too few trials are valid to say anything: nothing was stored.
  70   it could not be stored or shown.
  130  Ctrl-C: nothing was stored; --resume goes on.
"""


@click.command(epilog=EXIT_CODES)
@click.argument("scenario")
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
def calibrate(
    *,
    scenario: str,
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

    quiet, share = quiet or as_json, share_of_cpus(others)
    asked = _read(scenario, overrides, cases)
    arm = _arm(asked, quiet=quiet)
    if resume is None:
        record = new_calibration(arm, pairs=pairs, command=_command(), seed=order_seed, others_share=share)
        folder = PairsFolder(RunFolder.create(output, f"calibrate-{asked.name}", datetime.now()).path)
    else:
        folder = PairsFolder.open(resume)
        record = _begun(folder, asked)
    with ExitStack() as ending:
        ending.enter_context(folder.alone())
        if not quiet:
            with suppress(OSError):  # nobody reads stderr: no reason not to run
                say(_first_line(record, asked, folder), err=True)
        record, found = run_calibration(folder, record, arm, _view(asked, ending, quiet=quiet))
    if found is None:
        done = sum(len(case.pairs) for case in record.cases)
        again = f"{record.command} --resume {shlex.quote(str(folder.path))}"
        raise Interrupted(f"interrupted after {done} whole pairs: nothing is stored", remedy=f"go on: {again}")
    return _told(found, found.keep(), folder, as_json=as_json)


def _read(scenario: str, overrides: tuple[str, ...], cases: tuple[str, ...]) -> Scenario:
    from harness.cli.commands import catalogue  # noqa: PLC0415 - which imports this module
    from harness.scenario.choice import chosen  # noqa: PLC0415 - as in `calibrate`
    from harness.scenario.read import read_scenario  # noqa: PLC0415 - as in `calibrate`

    return chosen(read_scenario(scenario, catalogue(), overrides), cases)


def _arm(scenario: Scenario, *, quiet: bool) -> Arm:
    """Returns who runs the trials of both sides; raises UnavailableError where a case cannot run here."""
    from harness.experiment.here import Here  # noqa: PLC0415 - as in `calibrate`
    from harness.experiment.pairs import Arm  # noqa: PLC0415 - as in `calibrate`

    deployment = deployment_of(scenario, quiet=quiet)
    for case in scenario.cases:
        if reason := deployment.unavailable(case.setup, case.site):
            raise UnavailableError(f"{case.id}: {reason}")
    return Arm(scenario=scenario, runner=Here(deployment=deployment, command=_command()))


def _begun(folder: PairsFolder, asked: Scenario) -> PairsRecord:
    """Returns the record of a calibration that was cut short; raises UsageError where it is over, or of something else."""
    record = folder.load()
    if record.stopping != "fixed":
        raise UsageError(
            f"{folder.path} is a comparison, no calibration",
            expected="a folder that `brokerbench calibrate` made",
            remedy=f"brokerbench ab --resume {folder.path}",
        )
    same = record.scenario_text == asked.text and [case.a for case in record.cases] == [case.id for case in asked.cases]
    if not same or record.overrides != [hide(each) for each in asked.overrides]:
        raise UsageError(
            f"{folder.path} is of another scenario, or of other cases or overrides",
            expected="what it was begun with",
            remedy=f"it was begun with: {record.command}",
        )
    return record


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


def _command() -> str:
    return shlex.join(["brokerbench", *map(hide, sys.argv[1:])])


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
