"""The shipped scenario on what a client library's own retries do, shortened to one case of each kind."""

from __future__ import annotations

import pytest

from harness.model import Mark, Verdict
from harness.record import CaseRecord
from tests.system.conftest import Bench

pytestmark = pytest.mark.slow


def verdicts(case: CaseRecord) -> dict[str, Verdict]:
    return {given.fault: given.verdict for given in case.guarantees}


def test_cut_replies_are_second_copies_with_the_clients_retries_and_unknown_without(bench: Bench) -> None:
    finished = bench(
        "run",
        "client-retry-duplicates",
        "--set",
        "setups.redis-stream.client_retries=on",
        "--set",
        "setups.redis-list.client_retries=off",
        "--set",
        "phases.steady=8 s",
        "--set",
        "faults.0.count=4",
        "--set",
        "faults.0.every=250 ms",
    )
    assert finished.code == 0, finished.out + finished.err
    cases = {case.setup: case for case in finished.record.cases}
    ledgers, cut = {}, {}
    for name, case in cases.items():
        (trial,) = case.trials
        (fault,) = trial.faults
        assert trial.ledger is not None
        assert (fault.hit, fault.evidence["cuts"]) == (True, 4)
        assert trial.metrics["whole"]["loss.confirmed"] == 0
        assert verdicts(case) == {"none": Verdict.HELD, "reply cut": Verdict.HELD}
        ledgers[name], cut[name] = trial.ledger, fault.evidence["messages"]

    with_retries, without = ledgers["redis-stream"], ledgers["redis-list"]
    assert with_retries.marks[Mark.PRODUCER_DUPLICATE] == cut["redis-stream"] != 0
    assert with_retries.outcomes["UNKNOWN"] == 0
    assert without.marks[Mark.PRODUCER_DUPLICATE] == 0
    assert without.classes["recovered"] == cut["redis-list"] != 0
    # What a producer says between the proxy's last look and the reset is lost on the way: unanswered, and not there.
    assert without.outcomes["UNKNOWN"] == without.classes["recovered"] + without.classes["vanished"]

    assert "stored twice" in finished.out
    assert "got no answer and were worked off all the same" in " ".join(finished.out.split())
    assert bench.gone() == []
