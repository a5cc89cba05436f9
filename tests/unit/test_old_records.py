"""``run.json`` as older versions wrote it (``data/``, made by their command line; figures and examples thinned out): it is read, and
combines sensibly.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.analysis.combine import combine_guarantees, run_exit
from harness.model import Verdict
from harness.record import RunRecord
from harness.store import RunFolder
from reports import write_reports
from reports.networks import comparison

OLD = Path(__file__).parent / "data"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run folder of 0.1.0, before guarantees had counts beside their words."""
    shutil.copy(OLD / "run-version-1.json", tmp_path / "run.json")
    return RunFolder.open(tmp_path)


@pytest.fixture
def record(folder: RunFolder) -> RunRecord:
    return folder.load()


def test_a_guarantee_without_counts_keeps_its_words(record: RunRecord) -> None:
    stream = record.cases[1].guarantees[2]
    assert (stream.fault, stream.verdict, stream.loss, stream.counts) == ("broker kill", Verdict.HELD, None, {})
    assert stream.evidence.startswith("exercised in 2 of 2 trials; 0 of 119 exposed messages lost; 11 came again")


def test_the_verdicts_over_its_trials_are_the_same_today(record: RunRecord) -> None:
    for case in record.cases:
        again = {given.fault: given for given in combine_guarantees(case.trials)}
        assert {given.fault: (given.verdict, given.exposed) for given in case.guarantees} == {
            fault: (given.verdict, given.exposed) for fault, given in again.items()
        }
        for trial in case.trials:
            for given in trial.guarantees:
                if given.verdict is again[given.fault].verdict:
                    assert given.evidence in again[given.fault].evidence
    code, reason = run_exit(record)
    assert (int(code), reason) == (record.exit_code, record.exit_reason)


def test_one_of_its_trials_alone_is_told_in_its_own_words(record: RunRecord) -> None:
    for case in record.cases:
        for trial in case.trials:
            again = {given.fault: given.evidence for given in combine_guarantees([trial])}
            assert again == {given.fault: given.evidence for given in trial.guarantees}


def test_it_ran_in_no_container(folder: RunFolder, record: RunRecord) -> None:
    assert {(case.network, case.client, case.image) for case in record.cases} == {("embedded", "", None)}
    assert all(not trial.incidents and not trial.throttled_s for case in record.cases for trial in case.trials)
    assert comparison(record) is None
    assert "Networks" not in write_reports(folder).with_name("report.md").read_text()


def test_its_page_can_be_made(folder: RunFolder, record: RunRecord) -> None:
    page = write_reports(folder).with_name("report.md").read_text()
    for case in record.cases:
        for given in case.guarantees:
            assert given.evidence.split("; ")[1] in page
