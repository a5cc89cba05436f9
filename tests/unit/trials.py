"""Hand-built trials with round numbers: a constant load, whose moments a test bends where its story needs it.

All times are whole milliseconds from the start of the load, so that what must come out can be worked out in a comment.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from harness import tables
from harness.analysis.analyse import AnalysedTrial, TrialTables, analyse
from harness.facts import FaultRecord, ShardRecord, TrialFacts
from harness.model import Claim, DurabilityClass, FaultKind, MayLose, MayRepeat, Setup, Traits

MS = 1_000_000
S = 1_000_000_000
START_NS = 1_000 * S  # a monotonic clock does not begin at 0

NULL = -1
"""Stands for null in the arrays of a :class:`Story`."""


def at(seconds: float) -> int:
    """Returns the ns at which that many seconds of the load have passed."""
    return START_NS + round(seconds * S)


@dataclass
class Story:
    """A load of ``rate`` messages per second for ``seconds``, the first of them warm-up; each message is sent 0 ms, confirmed 1 ms,
    received 2 ms, finished 3 ms and settled 4 ms after it was due. Arrays may be changed; ``NULL`` = not reached.
    """

    rate: int = 1000
    seconds: float = 20.0
    warmup_s: float = 0.0
    drain_s: float = 6.0
    traits: Traits = field(default_factory=Traits)
    claims: tuple[Claim, ...] = ()
    facts_more: dict[str, Any] = field(default_factory=dict)
    residue: list[dict[str, Any]] = field(default_factory=list)
    connections: list[dict[str, Any]] = field(default_factory=list)
    more_deliveries: list[dict[str, Any]] = field(default_factory=list)
    samples: list[tuple[int, str, str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = round(self.rate * self.seconds)
        self.intended = START_NS + np.arange(count) * (S // self.rate)
        self.sent = self.intended.copy()
        self.confirmed = self.intended + 1 * MS
        self.received = self.intended + 2 * MS
        self.finished = self.intended + 3 * MS
        self.settled = self.intended + 4 * MS
        self.outcome = np.full(count, "CONFIRMED", dtype=object)
        self.held = np.full(count, None, dtype=object)
        self.worker = np.zeros(count, np.uint16)

    def due(self, from_s: float, until_s: float) -> npt.NDArray[np.bool_]:
        """Returns which messages are due in [from, until)."""
        mask: npt.NDArray[np.bool_] = (self.intended >= at(from_s)) & (self.intended < at(until_s))
        return mask

    def lose(self, chosen: Any) -> None:
        """Makes messages confirmed and never received."""
        self.received[chosen] = self.finished[chosen] = self.settled[chosen] = NULL

    def delivery(self, seq: int, received_ns: int, **more: Any) -> dict[str, Any]:
        """Returns a further delivery of a message: finished 1 ms, settled 2 ms after it came."""
        row = dict.fromkeys(tables.DELIVERIES.names())
        row |= {"producer": 0, "seq": seq, "attempt": 1, "subscription": 0, "worker": 0}
        row |= {"asked_ns": received_ns - MS, "received_ns": received_ns, "started_ns": received_ns}
        row |= {"finished_ns": received_ns + MS, "settling_ns": received_ns + MS, "settled_ns": received_ns + 2 * MS}
        row |= {"settlement": "ACK", "settle_outcome": "OK", "checksum_ok": True, "foreign": False}
        return row | more

    def tables(self) -> TrialTables:
        """Returns the tables."""
        count = len(self.intended)
        attempts = pl.DataFrame(
            {
                "producer": np.zeros(count, np.uint16),
                "seq": np.arange(count, dtype=np.uint32),
                "attempt": np.ones(count, np.uint8),
                "intended_ns": self.intended,
                "sent_ns": self.sent,
                "confirmed_ns": self.confirmed,
                "outcome": pl.Series(list(self.outcome), dtype=pl.String),
                "held": pl.Series(list(self.held), dtype=pl.String),
            }
        )
        came = self.received != NULL
        settled = self.settled[came]
        ack = "AUTO" if self.traits.at_most_once else "ACK"
        deliveries = pl.DataFrame(
            {
                "producer": np.zeros(count, np.uint16)[came],
                "seq": np.arange(count, dtype=np.uint32)[came],
                "attempt": np.ones(count, np.uint8)[came],
                "subscription": np.zeros(count, np.uint16)[came],
                "worker": self.worker[came],
                "asked_ns": self.received[came],
                "received_ns": self.received[came],
                "started_ns": self.received[came],
                "finished_ns": self.finished[came],
                "settling_ns": np.where(settled == NULL, NULL, settled - MS // 2),
                "settled_ns": settled,
                "settlement": pl.Series([None if t == NULL else ack for t in settled], dtype=pl.String),
                "settle_outcome": pl.Series([None if t == NULL else "OK" for t in settled], dtype=pl.String),
            }
        ).with_columns(checksum_ok=pl.lit(True), foreign=pl.lit(False))
        further = pl.DataFrame(self.more_deliveries, tables.DELIVERIES, orient="row")
        return TrialTables(
            attempts=_typed(attempts, tables.ATTEMPTS),
            deliveries=pl.concat([_typed(deliveries, tables.DELIVERIES), further]),
            residue=pl.DataFrame(self.residue, tables.RESIDUE, orient="row"),
            connections=pl.DataFrame(self.connections, tables.CONNECTIONS, orient="row"),
            samples=pl.DataFrame(self.samples, schema=tables.SAMPLES, orient="row"),
        )

    def facts(self) -> TrialFacts:
        """Returns the facts: one producer, worker 0, everything sound; ``facts_more`` overrides."""
        end = at(self.seconds)
        sound = TrialFacts(
            run_id=1,
            trial=1,
            load_start_ns=START_NS,
            steady_start_ns=at(self.warmup_s),
            load_end_ns=end,
            asking_until_ns=end + round(self.drain_s * S),
            drain_end_ns=end + round(self.drain_s * S),
            drain_complete=True,
            residue_sound=True,
            shards=(producer(), worker(0)),
            scheduled=len(self.intended),
        )
        return replace(sound, **self.facts_more)

    def analysed(self) -> AnalysedTrial:
        """Returns what the analysis says of it."""
        return analyse(self.tables(), self.facts(), self.setup(), {})

    def setup(self) -> Setup:
        """Returns a setup with the story's traits and claims."""
        return Setup(
            name="story",
            broker="none",
            summary="",
            traits=self.traits,
            durability=lambda _: DurabilityClass.MEMORY,
            claims=lambda _: self.claims,
        )


def _typed(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Returns the columns of a schema, those that are missing null, and ``NULL`` as null in times."""
    given = frame.with_columns(pl.lit(None).alias(name) for name in schema.names() if name not in frame.columns)
    return given.select(
        (pl.col(name).cast(kind).replace(NULL, None) if name.endswith("_ns") else pl.col(name).cast(kind))
        for name, kind in schema.items()
    )


def producer(**more: Any) -> ShardRecord:
    """Returns producer 0, whose slots are all there."""
    return ShardRecord(name="p0", kind="producer", number=0, **more)


def worker(number: int, **more: Any) -> ShardRecord:
    """Returns a worker whose slots are all there."""
    return ShardRecord(name=f"w{number}", kind="worker", number=number, **more)


def fault(
    injected_s: float | None,
    healed_s: float | None,
    kind: FaultKind = FaultKind.BROKER_KILL,
    *,
    index: int = 0,
    hit: bool = True,
    shards: tuple[str, ...] = (),
) -> FaultRecord:
    """Returns a fault that hit, in seconds of the load."""
    return FaultRecord(
        index=index,
        kind=kind,
        label=kind.value,
        planned_ns=at(injected_s or 0),
        injected_ns=None if injected_s is None else at(injected_s),
        healed_ns=None if healed_s is None else at(healed_s),
        hit=hit,
        shards=shards,
    )


def connection(shard: str, t_s: float, *, up: bool) -> dict[str, Any]:
    """Returns the moment at which a shard's connection came up or was lost."""
    return {"shard": shard, "t_ns": at(t_s), "up": up, "reason": ""}


def copy(seq: int, place: str = "ready", *, hold_over: bool | None = None) -> dict[str, Any]:
    """Returns one copy found in the broker."""
    row = {"producer": 0, "seq": seq, "attempt": 1, "place": place, "entry": None}
    return row | {"hold_over": hold_over, "foreign": False}


def claim(kind: FaultKind, may_lose: MayLose = MayLose.NONE, **more: Any) -> Claim:
    """Returns a claim; repeats of unacked messages are allowed where nothing else is said."""
    return Claim(fault=kind, may_lose=may_lose, **{"may_repeat": MayRepeat.UNACKED, **more})
