"""``brokerbench baseline update``: figures of a run as files that are reviewed. Neighbours: ``harness.baselines`` writes, ``judging`` reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from harness.cli.judging import OTHERS
from harness.cli.output import readers_may_leave, say
from harness.cli.pairing import share_of_cpus
from harness.errors import EvidenceError, UsageError
from harness.store import RunFolder

BASELINES = Path("baselines")
FEWEST = 3
"""Trials of each side with which the exact test just reaches its level (``rank_sum.crit``)."""


def _require_quiet(folder: RunFolder, others_share: float) -> None:
    """Refuses to keep what a busy machine has made: every later run would look better than it is.

    Raises:
        EvidenceError: a trial was disturbed from outside.
    """
    from harness.experiment.disturbance import disturbance  # noqa: PLC0415 - as above

    trials = [trial for case in folder.load().cases for trial in case.trials]
    told = [why for trial in trials if (why := disturbance(folder, trial, others_share))]
    if told:
        raise EvidenceError(
            f"{folder.path} makes no baseline: {len(told)} of {len(trials)} trials were disturbed from outside: {told[-1]}",
            expected="a machine that nobody else uses while the baseline is made",
            remedy="run it again when nothing else runs here, or allow more with --others, e.g. --others 50%",
        )


def _findings(folder: RunFolder) -> Iterator[str]:
    """Yields what speaks against the broker in what is kept, or proves nothing of it: figures of such a run are figures all the same."""
    from harness.gate.evidence import Judged  # noqa: PLC0415 - as above
    from harness.gate.unasked import findings  # noqa: PLC0415 - as above

    for case in folder.load().cases:
        for found in findings([Judged(record=trial, place=trial.folder) for trial in case.trials]):
            yield f"{case.id}: {found.words}"


@click.group()
def baseline() -> None:
    """Keep figures of a run as files that are reviewed and committed like code."""


@baseline.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=BASELINES, show_default=True, help="Folder of the files."
)
@click.option(
    "--others",
    metavar="SHARE",
    default=OTHERS,
    show_default=True,
    help="Refuse a run during which others used more of this machine's CPUs.",
)
def update(*, run: Path, output: Path, others: str) -> None:
    """Write a baseline file for every case of RUN, in the place of an older one of the same environment.

    The same run makes the same bytes; another run changes nothing but figures. Ends with 13 for a run that was interrupted, disturbed, or has
    an invalid trial.
    """
    from harness import baselines as kept  # noqa: PLC0415 - as above

    if output.exists() and not output.is_dir():
        raise UsageError(
            f"-o {output} is a file", expected="a folder, there or not", remedy=f"name another one, e.g. -o {BASELINES}"
        )
    folder, share = RunFolder.open(run), share_of_cpus(others)
    made = kept.made(folder)
    _require_quiet(folder, share)
    written = [kept.write(output, each) for each in made]
    with readers_may_leave():
        for path, what in written:
            say(f"{path}: {what}")
    for told in _findings(folder):
        say(f"note: {told}", err=True)
    few = [each.case_id for each in made if each.trials < FEWEST]
    if few:
        say(
            f"note: {', '.join(few)}: of fewer than {FEWEST} trials no gate can tell a difference; run with --trials {FEWEST} or more",
            err=True,
        )
