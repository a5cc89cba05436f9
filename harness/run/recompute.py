"""From a trial's stored tables and facts to its record: the same for a fresh trial and for one of last year."""

from __future__ import annotations

from harness.analysis.analyse import TrialTables, analyse
from harness.brokers import setup
from harness.errors import BrokerbenchError
from harness.model import Parameters, Setup, TrialStatus
from harness.record import CaseRecord, RunRecord, TrialRecord
from harness.store import RunFolder, TrialFolder


def analysed_trial(
    folder: TrialFolder, *, name: str, number: int, setup: Setup, parameters: Parameters, interrupted: bool = False
) -> TrialRecord:
    """Returns the record of one trial from its folder, and keeps ``messages.parquet`` there.

    Args:
        folder: of the trial. name: how the record calls it. number: of the trial.
        interrupted: Ctrl-C ended it, so whatever its figures, it proves nothing.

    Raises:
        BrokenRunFolderError: a table or the facts are missing or damaged.
    """
    facts = folder.read_facts()
    stored = TrialTables(**{table: folder.read_table(table) for table in TrialTables.__slots__})
    analysed = analyse(stored, facts, setup, parameters)
    folder.write_table("messages", analysed.messages)
    return analysed.record(number=number, folder=name, interrupted=interrupted)
