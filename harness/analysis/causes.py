"""Why a message came again: the cause of each delivery after the first (``measurement.md`` section 3).

Pure. :func:`causes` holds the table of the page in the page's order; what its columns mean is worked out above it, for all repeats
at once. Neighbours: ``reconcile`` (which deliveries are repeats), ``executions`` (what else can be wrong with them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from harness.analysis.identities import NEVER, Ints, running_maximum_before
from harness.clock import NS_PER_S
from harness.facts import ShardRecord, TrialFacts
from harness.model import CAUSES, ENDS_BROKER, FaultKind, Mark, Settlement, SettleOutcome, Traits

Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint8]

CAUSE = pl.Enum([mark.value for mark in CAUSES])
NO_CAUSE = np.uint8(255)  # a first delivery

BROKER_FAULTS = (*ENDS_BROKER, FaultKind.BROKER_PAUSE)

_ASKED_BACK = (Settlement.RELEASE, Settlement.RETRY, Settlement.DEAD)
_ACKED = (Settlement.ACK, Settlement.AUTO)
"""AUTO ends the stay in the broker as an ack does, so a repeat after it is judged as one after an ack."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeats:
    """All deliveries of the identities that were delivered more than once, sorted by identity, then by time of receipt.

    Arrays of one length; times in ns, ``NEVER`` = not reached.

    Args:
        identity: position of the identity, ascending. attempt: from the envelope.
        entry: the broker's id of its copy, 0 = none. worker: number of the shard that held it.
        settlement, settle_outcome: ``model.Settlement`` and ``model.SettleOutcome``; a settlement sent and not answered is UNKNOWN.
        redelivered: 1 or 0 as the broker says, −1 = it does not say.
    """

    identity: Ints
    attempt: npt.NDArray[np.uint8]
    entry: Ints
    worker: npt.NDArray[np.uint16]
    asked_ns: Ints
    received_ns: Ints
    started_ns: Ints
    finished_ns: Ints
    failed_ns: Ints
    settling_ns: Ints
    settled_ns: Ints
    settlement: Codes
    settle_outcome: Codes
    redelivered: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.identity)

    def take(self, rows: Any) -> Repeats:
        """Returns the rows of an index or mask."""
        return Repeats(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def causes(repeats: Repeats, connections: pl.DataFrame, facts: TrialFacts, traits: Traits) -> Codes:
    """Returns the position in ``model.CAUSES`` for each delivery, ``NO_CAUSE`` for the first of an identity; shape (n,).

    p, the earlier delivery that a repeat is compared with, is the latest one of the same broker entry, or of the same attempt where
    entries have no id. Where no earlier delivery of the attempt has the entry, the ids differ.
    """
    if not len(repeats):
        return np.zeros(0, np.uint8)
    d = repeats
    has_id, of_attempt, p_row = _compared_with(d, traits)
    ids_differ = has_id & (p_row < 0) & (of_attempt >= 0)
    p = d.take(np.maximum(p_row, 0))  # rows without p are decided by the first three rules, which look at p_row first
    has_p = p_row >= 0

    # A settlement that left after this delivery was received did not bring it; the page's "was settled" says as much.
    asked_back = has_p & _asked_back(p) & (p.settling_ns <= d.received_ns)
    says_new = (d.redelivered == 0) & traits.redelivered_flag
    says_nothing = ~has_id & ~((d.redelivered >= 0) & traits.redelivered_flag)
    pop = says_nothing & (traits.at_most_once or facts.auto_ack) & (not traits.reclaims)
    fault_since_p = has_p & _struck_between(p.received_ns, d.received_ns, facts, BROKER_FAULTS)
    # "By then" is when this delivery was asked for: the broker may have decided on it at any time from then on.
    # A STALE ack had left and is not known OK, so it stands with the unknown ones.
    acked = has_p & np.isin(p.settlement, _ACKED)
    ack_known = acked & (p.settle_outcome == SettleOutcome.OK) & (p.settled_ns < d.asked_ns)
    ack_had_left = acked & (p.settling_ns <= d.asked_ns)
    let_go = has_p & (
        _holder_died(p, d.received_ns, facts.shards)
        | _holder_was_cut(p, d.received_ns, connections, facts.shards)
        # a paused broker forgets nothing: what it gives again, it gives because of a lost connection or a hold
        | _struck_between(p.received_ns, d.received_ns, facts, ENDS_BROKER)
        | _hold_ran_out(p, d, facts, traits)
    )
    rules = (
        (Mark.ATTEMPT_DUPLICATE, of_attempt < 0),
        (Mark.ASKED_AGAIN, np.where(ids_differ, _any_asked_back_before(d), asked_back)),
        (Mark.PRODUCER_DUPLICATE, ids_differ | says_new | (pop & ~fault_since_p)),
        (Mark.DUPLICATE_OF_UNKNOWN_ORIGIN, ~has_id & fault_since_p & traits.library_retries),
        (Mark.REDELIVERED_AFTER_ACK, ack_known),
        (Mark.REDELIVERED_AFTER_UNKNOWN_ACK, ack_had_left),
        (Mark.REDELIVERED_UNACKED, let_go),
        (Mark.GIVEN_TWICE, np.ones(len(d), np.bool_)),
    )
    found = np.select([holds for _, holds in rules], [np.uint8(CAUSES.index(mark)) for mark, _ in rules])
    found[first_of_identity(d)] = NO_CAUSE
    return found.astype(np.uint8)


def expired(repeats: Repeats, facts: TrialFacts, traits: Traits) -> Bools:
    """Returns which repeats came when p, as in :func:`causes`, had been held for the visibility time; shape (n,)."""
    _, _, p_row = _compared_with(repeats, traits)
    p = repeats.take(np.maximum(p_row, 0))
    return (p_row >= 0) & _hold_ran_out(p, repeats, facts, traits)


def _compared_with(d: Repeats, traits: Traits) -> tuple[Bools, Ints, Ints]:
    """Returns which deliveries have an entry id, the row of the latest earlier one of the attempt, and that of p; −1 = none."""
    of_attempt = _previous(d, by_entry=False)
    has_id = (d.entry != 0) & traits.entry_ids
    of_entry = _previous(d, by_entry=True) if traits.entry_ids else of_attempt
    return has_id, of_attempt, np.where(has_id, of_entry, of_attempt)


def first_of_identity(repeats: Repeats) -> Bools:
    """Returns which rows are the first delivery of their identity."""
    first: Bools = np.diff(repeats.identity, prepend=-1) != 0
    return first


def first_of_attempt(repeats: Repeats) -> Bools:
    """Returns which rows are the first delivery of their attempt."""
    return _previous(repeats, by_entry=False) < 0


def _previous(d: Repeats, *, by_entry: bool) -> Ints:
    """Returns the row of the latest earlier delivery of the same attempt (and the same entry), −1 where there is none."""
    order = np.lexsort(
        (d.entry, d.attempt, d.identity) if by_entry else (d.attempt, d.identity)
    )  # stable: time stays inside
    same = (np.diff(d.identity[order]) == 0) & (np.diff(d.attempt[order].astype(np.int64)) == 0)
    if by_entry:
        same &= d.entry[order][1:] == d.entry[order][:-1]
    previous = np.full(len(d), -1, np.int64)
    previous[order[1:][same]] = order[:-1][same]
    return previous


def _asked_back(d: Repeats) -> Bools:
    """Returns which deliveries were settled RELEASE, RETRY or DEAD, OK or perhaps."""
    taken = (d.settle_outcome == SettleOutcome.OK) | (d.settle_outcome == SettleOutcome.UNKNOWN)
    asked: Bools = np.isin(d.settlement, _ASKED_BACK) & taken
    return asked


def _any_asked_back_before(d: Repeats) -> Bools:
    """Returns for which deliveries any earlier one of the attempt had been asked back: a retry can be a new entry."""
    left_ns = np.where(_asked_back(d), d.settling_ns, NEVER)
    order = np.lexsort((d.attempt, d.identity))
    attempt_starts = (np.diff(d.identity[order], prepend=-1) != 0) | (
        np.diff(d.attempt[order].astype(np.int64), prepend=-1) != 0
    )
    times, rank = np.unique(left_ns, return_inverse=True)
    # The earliest time is the largest rank counted from the end; before the first of a group nothing had left.
    latest_first = len(times) - 1 - rank
    highest = running_maximum_before(np.cumsum(attempt_starts) - 1, latest_first[order], len(times))
    earliest = np.empty(len(d), np.int64)
    earliest[order] = np.where(highest < 0, NEVER, times[len(times) - 1 - np.maximum(highest, 0)])
    left: Bools = (earliest <= d.received_ns) & (earliest != NEVER)
    return left


def _struck_between(from_ns: Ints, until_ns: Ints, facts: TrialFacts, kinds: Sequence[FaultKind]) -> Bools:
    """Returns which of the spans a fault of these kinds, from its injection until it healed, touches."""
    struck = np.zeros(len(from_ns), np.bool_)
    for fault in facts.faults:
        if fault.kind in kinds and fault.injected_ns is not None:
            healed_ns = NEVER if fault.healed_ns is None else fault.healed_ns
            struck |= (fault.injected_ns <= until_ns) & (healed_ns >= from_ns)
    return struck


def died_ns(shards: Sequence[ShardRecord]) -> Ints:
    """Returns when each worker died by its number, shape (65536,): the signal where we sent one, else its end, else NEVER."""
    died = np.full(1 << 16, NEVER, np.int64)
    for shard in shards:
        if shard.kind == "worker":
            ends = [t_ns for t_ns in (shard.killed_ns, shard.ended_ns) if t_ns is not None]
            died[shard.number] = min(ends, default=NEVER)
    return died


def _holder_died(p: Repeats, until_ns: Ints, shards: Sequence[ShardRecord]) -> Bools:
    ended = died_ns(shards)[p.worker]
    died: Bools = (ended <= until_ns) & (ended != NEVER)
    return died


def _holder_was_cut(p: Repeats, until_ns: Ints, connections: pl.DataFrame, shards: Sequence[ShardRecord]) -> Bools:
    """Returns which holders recorded a lost connection after they received p and before the repeat was received."""
    cut = np.zeros(len(p), np.bool_)
    lost = connections.filter(~pl.col("up"))
    names = set(lost.get_column("shard").unique())
    for shard in shards:
        if shard.kind != "worker" or shard.name not in names:
            continue
        times = lost.filter(pl.col("shard") == shard.name).get_column("t_ns").sort().to_numpy()
        held = p.worker == shard.number
        by_then = np.searchsorted(times, until_ns[held], side="right")
        cut[held] = by_then > np.searchsorted(times, p.received_ns[held], side="left")
    return cut


def _hold_ran_out(p: Repeats, d: Repeats, facts: TrialFacts, traits: Traits) -> Bools:
    """Returns for which repeats a hold may have reached the visibility time-out: the broker's clock starts between asking and receiving.

    Mostly that of p. A worker that stood still after it had asked for d may receive it last: then d was handed out first, and it was
    its hold that ran out before p.
    """
    if not traits.reclaims:
        return np.zeros(len(p), np.bool_)
    held_ns: Ints = np.maximum(d.received_ns - p.asked_ns, p.received_ns - d.asked_ns)
    return held_ns >= round(facts.visibility_s * NS_PER_S)
