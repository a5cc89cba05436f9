"""From a trial's stored tables and facts to its record: the same for a fresh trial and for one of last year."""

from __future__ import annotations

from harness.analysis.analyse import TrialTables, analyse, combine_case, run_exit
from harness.brokers import setup
from harness.errors import BrokenRunFolderError, BrokerbenchError
from harness.model import Parameters, Setup, TrialStatus
from harness.record import CaseRecord, RunRecord, TrialRecord
from harness.scenario.model import Bound
from harness.store import RunFolder, TrialFolder


def analysed_trial(
    folder: TrialFolder,
    *,
    name: str,
    number: int,
    setup: Setup,
    parameters: Parameters,
    interrupted: bool = False,
    unkept: list[BrokerbenchError] | None = None,
) -> TrialRecord:
    """Returns the record of one trial from its folder, and keeps ``messages.parquet`` there.

    Args:
        folder: of the trial. name: how the record calls it. number: of the trial.
        interrupted: Ctrl-C ended it, so whatever its figures, it proves nothing.
        unkept: gets the error where the derived table cannot be written; None = that is raised.

    Raises:
        BrokenRunFolderError: a table or the facts are missing or damaged.
        BrokerbenchError: the derived table cannot be written.
    """
    facts = folder.read_facts()
    stored = TrialTables(
        attempts=folder.scan_table("attempts"),
        deliveries=folder.scan_table("deliveries"),
        residue=folder.read_table("residue"),
        connections=folder.read_table("connections"),
        samples=folder.read_table("samples"),
    )
    analysed = analyse(stored, facts, setup, {**parameters, **facts.found})
    try:
        folder.write_table("messages", analysed.messages)
    except BrokerbenchError as error:
        if unkept is None:
            raise
        unkept.append(error)
    return analysed.record(number=number, folder=name, interrupted=interrupted)


def recompute(folder: RunFolder) -> tuple[RunRecord, list[str], list[BrokerbenchError]]:
    """Returns the record of a stored run with every figure made again from its tables; writes only derived tables.

    A trial that had failed, had no broker or left no tables keeps its old record: there is nothing to compute it from. One whose tables are
    damaged now is marked failed, and the others are told all the same.

    Returns:
        The record; what is damaged, one paragraph per trial; which derived tables could not be written.

    Raises:
        BrokenRunFolderError: the record itself is missing or damaged.
        UsageError: a setup of the run is not installed here.
    """
    record = folder.load()
    bounds = [Bound(**bound) for bound in record.scenario_expanded.get("slo", [])]
    damaged: list[str] = []
    unkept: list[BrokerbenchError] = []
    cases = [_recomputed(folder, case, bounds, damaged, unkept) for case in record.cases]
    record = record.model_copy(update={"cases": cases})
    code, reason = run_exit(record)
    return record.model_copy(update={"exit_code": int(code), "exit_reason": reason}), damaged, unkept


def _recomputed(
    folder: RunFolder, case: CaseRecord, bounds: list[Bound], damaged: list[str], unkept: list[BrokerbenchError]
) -> CaseRecord:
    trials = [_again(folder, case, trial, damaged, unkept) for trial in case.trials]
    return combine_case(case.model_copy(update={"trials": trials}), bounds)


def _again(
    folder: RunFolder, case: CaseRecord, trial: TrialRecord, damaged: list[str], unkept: list[BrokerbenchError]
) -> TrialRecord:
    if trial.ledger is None or trial.status is TrialStatus.UNAVAILABLE:
        return trial
    try:
        return analysed_trial(
            folder.trial_at(trial.folder),
            name=trial.folder,
            number=trial.number,
            setup=setup(case.setup),
            parameters=case.parameters,
            interrupted=trial.status is TrialStatus.INTERRUPTED,
            unkept=unkept,
        )
    except BrokenRunFolderError as error:
        damaged.append(str(error))
        return TrialRecord(number=trial.number, status=TrialStatus.FAILED, reasons=[error.problem], folder=trial.folder)
