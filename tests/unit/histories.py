"""Hand-built histories: attempts, deliveries and copies written down one by one, made into the tables of a trial."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from harness import tables
from harness.analysis.reconcile import Reconciled, reconcile
from harness.facts import FaultRecord, ShardRecord, TrialFacts
from harness.model import FaultKind, Traits

STREAM = Traits(entry_ids=True, reclaims=True)
RELIABLE_LIST = Traits(reclaims=True)
LIST = Traits(at_most_once=True)
RABBIT = Traits(redelivered_flag=True)
HELD_FOR_NS = 5_000  # the visibility time-out of every history here


def attempt(seq: int = 0, attempt: int = 1, outcome: str = "CONFIRMED", **more: Any) -> dict[str, Any]:
    """Returns one attempt: due at 100, sent at 110, answered at 120 unless said otherwise."""
    row = {"producer": 0, "seq": seq, "attempt": attempt, "intended_ns": 100, "sent_ns": 110, "confirmed_ns": 120}
    if outcome == "NOT_SENT":
        row["sent_ns"] = None
    if outcome in ("NOT_SENT", "UNKNOWN"):
        row["confirmed_ns"] = None
    return {**row, "outcome": outcome, "held": None, **more}


def delivery(seq: int = 0, received_ns: int = 1000, **more: Any) -> dict[str, Any]:
    """Returns one delivery: asked 10 ns before it came, started and finished right away, acked OK 30 ns later."""
    row = {
        "producer": 0,
        "seq": seq,
        "attempt": 1,
        "subscription": 0,
        "worker": 0,
        "asked_ns": received_ns - 10,
        "received_ns": received_ns,
        "started_ns": received_ns,
        "finished_ns": received_ns + 10,
        "failed_ns": None,
        "settling_ns": received_ns + 20,
        "settled_ns": received_ns + 30,
        "settlement": "ACK",
        "settle_outcome": "OK",
        "entry": None,
        "redelivered": None,
        "delivery_count": None,
        "checksum_ok": True,
        "foreign": False,
        "skipped": None,
    }
    return {**row, **more}


UNFINISHED = {"finished_ns": None}
UNSETTLED = {"settling_ns": None, "settled_ns": None, "settlement": None, "settle_outcome": None}


def copy(seq: int = 0, place: str = "ready", **more: Any) -> dict[str, Any]:
    """Returns one copy that the residue search found."""
    row = {"producer": 0, "seq": seq, "attempt": 1, "place": place, "entry": None, "hold_over": None, "foreign": False}
    return {**row, **more}


def worker(number: int, **more: Any) -> ShardRecord:
    """Returns a worker whose slots are all there."""
    return ShardRecord(name=f"w{number}", kind="worker", number=number, **more)


def lost(number: int, t_ns: int) -> dict[str, Any]:
    """Returns the moment at which a worker noticed that its connection was lost."""
    return {"shard": f"w{number}", "t_ns": t_ns, "up": False, "reason": "reset"}


def broker_kill(injected_ns: int, healed_ns: int | None, kind: FaultKind = FaultKind.BROKER_KILL) -> FaultRecord:
    """Returns a fault of the broker."""
    return FaultRecord(
        index=0,
        kind=kind,
        label=kind.value,
        planned_ns=injected_ns,
        injected_ns=injected_ns,
        healed_ns=healed_ns,
        hit=True,
    )


FACTS = TrialFacts(
    run_id=1,
    trial=1,
    load_start_ns=0,
    residue_sound=True,
    visibility_s=HELD_FOR_NS / 1e9,
    shards=(worker(0), worker(1)),
)


@dataclass(frozen=True, kw_only=True)
class History:
    """All that a trial left behind."""

    attempts: list[dict[str, Any]] = field(default_factory=lambda: [attempt()])
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    residue: list[dict[str, Any]] = field(default_factory=list)
    connections: list[dict[str, Any]] = field(default_factory=list)
    facts: TrialFacts = FACTS
    traits: Traits = STREAM

    def tables(self) -> dict[str, pl.DataFrame]:
        """Returns the tables by name."""
        return {
            "attempts": pl.DataFrame(self.attempts, tables.ATTEMPTS, orient="row"),
            "deliveries": pl.DataFrame(self.deliveries, tables.DELIVERIES, orient="row"),
            "residue": pl.DataFrame(self.residue, tables.RESIDUE, orient="row"),
            "connections": pl.DataFrame(self.connections, tables.CONNECTIONS, orient="row"),
        }

    def reconciled(self) -> Reconciled:
        """Returns what the analysis makes of it."""
        return reconcile(**self.tables(), facts=self.facts, traits=self.traits)

    def with_facts(self, **more: Any) -> History:
        """Returns the same history with other facts."""
        return replace(self, facts=replace(self.facts, **more))
