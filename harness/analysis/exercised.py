"""Whether a fault really put a claim to the test (``measurement.md``, *Exercised*: "≥ 1 exposed, and evidence").

- Broker kill: "processes gone, a shard saw the break"; a graceful restart and a recreate likewise.
- Worker kill: "wait status SIGKILL, ≥ 1 open delivery": one that it really held (``held.held_by``), or one that was lost in its
  outstanding fetch, or that came again and was given before, as the broker says (``held.swallowed_by``).
- Producer kill: "≥ 1 sent and unanswered".
- Reply cut: answers were swallowed, so a request was executed whose producer never learned it.
- Pause: "no answer on that side for 90 % of it though some were due": the longest stretch without a confirm, a delivery or a
  settlement answered covers 90 % of [inject, healed], and a message was due in it.
- "Repeats after ack: ≥ 1 settle OK in the last second" before the injection.
"""

from __future__ import annotations

import signal

import numpy as np
import polars as pl

from harness.analysis.exposure import exposed, span
from harness.analysis.held import held_by, open_counts, swallowed_by
from harness.analysis.identities import NEVER, producers_of
from harness.analysis.moments import Moments
from harness.clock import NS_PER_S
from harness.facts import FaultRecord, ShardRecord, TrialFacts
from harness.model import Class, FaultKind, Outcome

QUIET_SHARE = 0.9


def struck(fault: FaultRecord, facts: TrialFacts) -> list[ShardRecord]:
    """Returns the shards that a fault struck."""
    return [shard for shard in facts.shards if shard.name in fault.shards]


def cuts(fault: FaultRecord, facts: TrialFacts, connections: pl.DataFrame) -> dict[str, int]:
    """Returns shard name → when it first saw its connection lost because of a fault (a second late at most)."""
    start, end = span(fault, facts)
    lost = connections.filter(
        ~pl.col("up") & (pl.col("t_ns") >= start) & (pl.col("t_ns") <= min(end, NEVER - NS_PER_S) + NS_PER_S)
    )
    return dict(lost.group_by("shard").agg(pl.col("t_ns").min()).sort("shard").iter_rows())


def why_not(
    fault: FaultRecord, facts: TrialFacts, moments: Moments, deliveries: pl.LazyFrame, connections: pl.DataFrame
) -> str:
    """Returns why the evidence does not show that a fault which fired was exercised, "" where it does."""
    if not fault.hit:
        return "nothing shows that the fault hit"
    match fault.kind:
        case FaultKind.BROKER_KILL | FaultKind.BROKER_RESTART | FaultKind.BROKER_RECREATE:
            gone = bool(fault.evidence.get("gone", True))
            broken = "" if cuts(fault, facts, connections) else "no shard saw the connection break"
            reason = broken if gone else "processes of the broker were left"
        case FaultKind.WORKER_KILL:
            reason = _worker_kill(fault, facts, moments, deliveries, connections)
        case FaultKind.PRODUCER_KILL:
            reason = _producer_kill(fault, facts, moments)
        case FaultKind.REPLY_CUT:
            swallowed = fault.evidence.get("cuts") and fault.evidence.get("swallowed_bytes")
            reason = "" if swallowed else "no reply was swallowed"
        case FaultKind.BROKER_PAUSE:
            reason = _pause(fault, moments)
        case FaultKind.NONE:
            reason = ""
    return reason


def _worker_kill(
    fault: FaultRecord, facts: TrialFacts, moments: Moments, deliveries: pl.LazyFrame, connections: pl.DataFrame
) -> str:
    killed = [shard for shard in struck(fault, facts) if shard.killed_ns is not None]
    if not any(shard.exit_status == -signal.SIGKILL for shard in killed):
        return "no worker ended by SIGKILL"
    held = any(len(held_by(deliveries, s.number, s.killed_ns)) for s in killed if s.killed_ns is not None)
    lost = moments.is_class(Class.LOST) & exposed(moments, fault, facts, settles_itself=False)
    swallowed = any(shard.fetch_open for shard in killed) and bool(lost.any())
    if held or swallowed or len(swallowed_by(fault, facts, moments, deliveries, connections)):
        return ""
    return "no open delivery of the killed workers is on record"


def _producer_kill(fault: FaultRecord, facts: TrialFacts, moments: Moments) -> str:
    numbers = [shard.number for shard in struck(fault, facts)]
    unanswered = (moments.outcome == Outcome.UNKNOWN) & (moments.sent_ns != NEVER)
    of_killed = np.isin(producers_of(moments.keys[unanswered]), numbers)
    return "" if of_killed.any() else "nothing of the killed producer was unanswered"


def _pause(fault: FaultRecord, moments: Moments) -> str:
    # It heals once a probe has gone through, which takes its time; answers may come as soon as the broker goes on.
    start, resumed_ns = fault.injected_ns or 0, fault.evidence.get("resumed_ns")
    end = resumed_ns if isinstance(resumed_ns, int) else fault.healed_ns
    if end is None or end <= start:
        return "the pause has no end"
    events = [moments.confirmed_ns, moments.settled_ns, moments.delivery_events_ns]
    answers = np.sort(np.concatenate([t_ns[(t_ns > start) & (t_ns < end)] for t_ns in events]))
    edges = np.concatenate([[start], answers, [end]])
    longest = int(np.argmax(np.diff(edges)))
    first, last = int(edges[longest]), int(edges[longest + 1])
    if last - first < QUIET_SHARE * (end - start):
        return f"answers came during the pause (longest silence {(last - first) / (end - start):.0%} of it)"
    due = bool(((moments.intended_ns >= first) & (moments.intended_ns < last)).any())
    return "" if due else "nothing was due during the pause"


def acks_before(fault: FaultRecord, moments: Moments) -> bool:
    """Returns whether a settlement was answered OK in the last second before the injection."""
    injected = fault.injected_ns or 0
    return bool(((moments.settled_ns >= injected - NS_PER_S) & (moments.settled_ns <= injected)).any())


def in_flight(fault: FaultRecord, facts: TrialFacts, deliveries: pl.LazyFrame, connections: pl.DataFrame) -> int:
    """Returns how many messages were in flight: "the open deliveries of the killed or cut workers plus what their outstanding fetch
    asked for".

    What a cut worker's fetch asked for is not kept by one that lives on: it never asks for more than the prefetch.
    """
    killed = {s.name: s for s in struck(fault, facts) if s.kind == "worker" and s.killed_ns is not None}
    cut_at = cuts(fault, facts, connections)
    cut = [s for s in facts.shards if s.kind == "worker" and s.name in cut_at and s.name not in killed]
    at_ns = {s.number: s.killed_ns for s in killed.values() if s.killed_ns is not None}
    at_ns.update({shard.number: cut_at[shard.name] for shard in cut})
    fetched = sum(s.fetch_max_n for s in killed.values() if s.fetch_open)
    return open_counts(deliveries, at_ns) + fetched + len(cut) * facts.prefetch
