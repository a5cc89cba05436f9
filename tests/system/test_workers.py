"""What workers do to messages that come again: the shipped scenarios about them, shortened, and workers that differ between cases."""

from __future__ import annotations

import polars as pl
import pytest

from harness.model import Verdict
from harness.record import CaseRecord, LedgerCounts
from tests.system.conftest import Bench

pytestmark = pytest.mark.slow


def shortened(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def ledger_of(case: CaseRecord) -> LedgerCounts:
    (trial,) = case.trials
    assert trial.ledger is not None
    return trial.ledger


def test_idempotency_trap_the_first_two_lose_or_double_and_the_last_does_neither(bench: Bench) -> None:
    wrappers = ["delete-in-finally", "key-first", "done-marker"]
    finished = bench("run", "idempotency-trap", *shortened(f"workers.idempotency=[{', '.join(wrappers)}]"))
    assert finished.code == 0, finished.out + finished.err  # the broker kept its claims
    cases = {case.id.partition("idempotency=")[2].partition("]")[0]: case for case in finished.record.cases}
    assert list(cases) == wrappers
    for case in cases.values():
        assert {guarantee.verdict for guarantee in case.guarantees} == {Verdict.HELD}
        assert ledger_of(case).marks["redelivered_unacked"] > 0
    delete, first, done = map(ledger_of, cases.values())
    lost = [ledger.classes["interrupted"] for ledger in (delete, first, done)]
    assert [ledger.skipped_losses for ledger in (delete, first, done)] == lost
    assert lost[0] + delete.marks["duplicate_effect"] > 0
    assert (lost[1] > 0, first.marks["duplicate_effect"]) == (True, 0)
    assert (lost[2], done.marks["duplicate_effect"]) == (0, 0)
    assert done.marks["skipped"] > 0, "nothing that was done came again: the marker was not put to the test"
    assert f"LOST {lost[1]} of " in finished.out
    assert "the workers' idempotency wrapper skipped them" in " ".join(finished.out.split())
    assert finished.run is not None
    again = bench("report", str(finished.run.path))
    assert [ledger_of(case) for case in again.record.cases] == [delete, first, done]


def test_lease_shorter_than_job_overlaps_where_holds_run_out_and_not_where_a_heartbeat_holds(bench: Bench) -> None:
    settings = shortened("setups=[redis-stream, postgres-lease, redis-reliable-list]", "phases.steady=8 s")
    finished = bench("run", "lease-shorter-than-job", *settings)
    assert finished.code == 0, finished.out + finished.err
    stream, lease, heartbeat = map(ledger_of, finished.record.cases)
    for leasing in (stream, lease):
        assert leasing.marks["overlapping_execution"] > 0
        assert leasing.marks["duplicate_effect"] > 0
        assert leasing.marks["given_twice"] == 0
    assert heartbeat.marks["overlapping_execution"] == heartbeat.marks["redelivered_unacked"] == 0
    for case in finished.record.cases:
        (unharmed,) = case.guarantees
        assert (unharmed.verdict, unharmed.claim) == (
            Verdict.HELD,
            "loses nothing; repeats only what is held longer than the visibility time",
        )
        assert ("came again unacked after the hold ran out" in unharmed.evidence) is (
            case.setup != "redis-reliable-list"
        )
    assert "to a worker while another was still at it" in " ".join(finished.out.split())


def test_each_case_of_a_list_has_its_own_prefetch(bench: Bench) -> None:
    text = """
question: What is a prefetch?
setups: [null]
load: {rate: 2000/s}
workers: {count: 1, prefetch: [1, 40], work: {constant: 1 ms}, visibility: 2 s, sweep: 500 ms}
phases: {warmup: 0 s, steady: 1 s, drain: 20 s}
"""
    finished = bench("run", bench.scenario("prefetch", text))
    assert finished.code == 0, finished.out + finished.err
    assert finished.run is not None
    for case, prefetch in zip(finished.record.cases, (1, 40), strict=True):
        assert case.id == f"null[prefetch={prefetch}]@embedded"
        folder = finished.run.trial_at(case.trials[0].folder)
        assert folder.read_facts().prefetch == prefetch
        fetched = folder.read_table("deliveries").group_by("asked_ns").agg(pl.len()).get_column("len")
        assert fetched.max() == prefetch  # more wait than one fetch brings
