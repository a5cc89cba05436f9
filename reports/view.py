"""What charts and pages are made from: the record of a run, and of each trial what its ledger says moment by moment.

Read once; the tables of a trial are let go before those of the next are read, so that a page costs the memory of one trial.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.analysis.analyse import with_load_end
from harness.analysis.curve import Curve, curve_of
from harness.analysis.flow import Way, ways_of
from harness.analysis.moments import gather_moments
from harness.analysis.series import Series, series_of
from harness.errors import BrokenRunFolderError
from harness.record import CaseRecord, RunRecord, TrialRecord
from harness.store import RunFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialView:
    """One trial. ``series``, ``curve``: None, ``ways``: empty where its ledger cannot be read; ``missing`` says why then."""

    record: TrialRecord
    series: Series | None = None
    curve: Curve | None = None
    ways: tuple[Way, ...] = ()
    missing: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseView:
    """One case. ``label``: how it is called where several stand beside each other: its id, and with several runs the run."""

    label: str
    record: CaseRecord
    trials: tuple[TrialView, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunView:
    """One run."""

    folder: RunFolder
    record: RunRecord
    cases: tuple[CaseView, ...]


def view(folder: RunFolder, record: RunRecord | None = None) -> RunView:
    """Returns all that a page of a run is made from.

    Args:
        record: what is in ``run.json``, where that was read already.

    Raises:
        BrokenRunFolderError: ``run.json`` cannot be read. A trial whose tables cannot be is told in the view.
    """
    record = record or folder.load()
    return RunView(folder=folder, record=record, cases=tuple(_cases(folder, record.cases)))


def _cases(folder: RunFolder, cases: Iterable[CaseRecord]) -> Iterable[CaseView]:
    for case in cases:
        yield CaseView(label=case.id, record=case, trials=tuple(_trial(folder, trial) for trial in case.trials))


def _trial(folder: RunFolder, trial: TrialRecord) -> TrialView:
    if trial.ledger is None:
        return TrialView(record=trial, missing="the trial ended before anything was counted")
    try:
        stored = folder.trial_at(trial.folder)
        facts = stored.read_facts()
        messages, deliveries = stored.read_table("messages"), stored.scan_table("deliveries")
        moments = gather_moments(stored.scan_table("attempts"), deliveries, messages)
        ways = ways_of(moments, messages, deliveries)
        del messages
        samples = stored.read_table("samples")
        facts = with_load_end(facts, moments)
    except BrokenRunFolderError as error:
        return TrialView(record=trial, missing=error.problem)
    return TrialView(
        record=trial,
        series=series_of(moments, samples, facts, trial.faults),
        curve=curve_of(moments, facts, trial.faults),
        ways=ways,
    )
