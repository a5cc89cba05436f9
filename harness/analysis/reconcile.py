"""The ledger joined: what became of every message, and why those that came again did (``measurement.md`` section 3).

Pure: tables in, tables out. The identity of a message is (producer, seq); with several subscriptions each identity is judged once
per subscription. Ten million messages are joined column by column, so that no two wide tables are in memory at once.

Neighbours: ``classes`` and ``causes`` hold the page's two tables of rules, ``executions`` the further marks that need time,
``sends`` and ``receipts`` the two halves of the join, ``examples`` picks identities to show, ``jepsen`` the total-queue sets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from harness import tables
from harness.analysis.causes import CAUSE, NO_CAUSE, Bools, Codes, Repeats, causes, expired, first_of_attempt
from harness.analysis.classes import CLASSES, NO_ATTEMPT, Evidence, classify
from harness.analysis.executions import out_of_order, overlapping
from harness.analysis.identities import NEVER, Ints, KeyIndex, attempt_keys, identity_keys, producers_of
from harness.analysis.jepsen import total_queue
from harness.analysis.receipts import Receipts
from harness.analysis.sends import Sends
from harness.facts import TrialFacts
from harness.model import CAUSES, LOSS_CLASSES, Class, Held, Mark, Outcome, Place, Settlement, Skipped, Traits
from harness.record import LedgerCounts

Table = pl.DataFrame | pl.LazyFrame

_LET_GO = (Settlement.RELEASE, Settlement.RETRY, Settlement.DEAD)
_ACKED = (Settlement.ACK, Settlement.AUTO)
_MOST = np.iinfo(np.uint16).max


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconciled:
    """What became of every message.

    Args:
        messages: ``tables.MESSAGES``, one row per identity × subscription, sorted by (subscription, producer, seq).
        outcomes: strongest outcome per row of ``messages`` (``tables.OUTCOME``), null where nobody tried to send it.
        causes: per row of the deliveries table why it came again (``causes.CAUSE``); null for first deliveries, foreign ones and
            those without a readable header.
        repeats: one row per delivery after the first: ``row`` of the deliveries table, ``cause``, ``received_ns``, ``previous_ns``
            (the receipt of the same identity's delivery just before), ``expired``, whether its hold had run out, and ``sent_ns`` of its
            identity's first attempt (``NEVER`` = not sent); sorted by (subscription, producer, seq, received_ns).
        counts: how many of each.
    """

    messages: pl.DataFrame
    outcomes: pl.Series
    causes: pl.Series
    repeats: pl.DataFrame
    counts: LedgerCounts


def reconcile(  # noqa: PLR0917 – the six things that a trial leaves behind
    attempts: Table,
    deliveries: Table,
    residue: pl.DataFrame,
    connections: pl.DataFrame,
    facts: TrialFacts,
    traits: Traits,
) -> Reconciled:
    """Returns the class of each identity, its marks, and the cause of each repeat.

    Args:
        attempts, deliveries: ``tables.ATTEMPTS`` and ``tables.DELIVERIES``; scans are read column by column. Fastest where attempts
            are sorted by (producer, seq, attempt) and deliveries by worker and receipt, as ``gather`` writes them.
        residue, connections: ``tables.RESIDUE`` and ``tables.CONNECTIONS``.
        facts: of the trial: soundness, faults, lives of the shards.
        traits: what the setup's deliveries tell.
    """
    receipts = Receipts.read(deliveries.lazy())
    sends = Sends.read(attempts.lazy(), facts)
    trial = _Trial(kept=_kept(residue), connections=connections, facts=facts, traits=traits)
    parts = [_judge(sends, receipts.only(number), trial) for number in receipts.subscriptions]
    repeats = pl.concat([part.repeats for part in parts])
    why = np.full(receipts.height, NO_CAUSE, np.uint8)
    why[repeats.get_column("row").to_numpy()] = repeats.get_column("cause").to_physical().to_numpy()
    outcome = parts[0].outcome if len(parts) == 1 else np.concatenate([part.outcome for part in parts])
    messages = parts[0].messages if len(parts) == 1 else pl.concat([part.messages for part in parts])
    foreign = residue.get_column("foreign").fill_null(False)
    return Reconciled(
        messages=messages,
        outcomes=_enum("outcome", outcome, outcome != NO_ATTEMPT, tables.OUTCOME),
        causes=_enum("cause", why, why != NO_CAUSE, CAUSE),
        repeats=repeats,
        counts=LedgerCounts(
            identities=len(messages),
            classes=_counted(messages.get_column("class"), (name.value for name in Class)),
            marks={mark.value: sum(part.marks[mark] for part in parts) for mark in Mark},
            unreadable=receipts.unreadable,
            foreign=receipts.foreign,
            unreadable_found=int((residue.get_column("producer").is_null() & ~foreign).sum()),
            foreign_found=int(foreign.sum()),
            outcomes={name.name: int(np.count_nonzero(outcome == name)) for name in Outcome},
            held=_held(attempts.lazy()),
            skipped_losses=len(lost_by_skipping(messages)),
            jepsen={name: sum(part.total_queue[name] for part in parts) for name in parts[0].total_queue},
        ),
    )


def lost_by_skipping(messages: pl.DataFrame) -> pl.DataFrame:
    """Returns the losses that the broker delivered again, and that the workers' idempotency wrapper skipped: not the broker's."""
    losses = [name.value for name in LOSS_CLASSES]
    return messages.filter((pl.col(Mark.SKIPPED.value) > 0) & pl.col("class").is_in(losses))


def is_sound(facts: TrialFacts) -> bool:
    """Returns whether what was not seen is really gone: a sound residue search, and no worker's slots missing."""
    missing = any(shard.kind == "worker" and shard.slots_found < shard.slots_reported for shard in facts.shards)
    return facts.residue_sound and not missing


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trial:
    """What is the same for every subscription; ``kept`` are the copies found in the broker that have an identity of ours."""

    kept: pl.DataFrame
    connections: pl.DataFrame
    facts: TrialFacts
    traits: Traits


@dataclass(frozen=True, kw_only=True, slots=True)
class _Judged:
    """One subscription; the fields are those of :class:`Reconciled`."""

    messages: pl.DataFrame
    marks: dict[Mark, int]
    outcome: npt.NDArray[np.int8]
    repeats: pl.DataFrame
    total_queue: dict[str, int]


def _judge(sends: Sends, receipts: Receipts, trial: _Trial) -> _Judged:
    """Judges every identity within one subscription."""
    kept = trial.kept
    kept_keys = identity_keys(kept.get_column("producer").to_numpy(), kept.get_column("seq").to_numpy())
    index = KeyIndex(sends.keys)
    receipts = receipts.placed(index)
    strange, kept_strange = receipts.identity < 0, index.find(kept_keys) < 0
    if strange.any() or kept_strange.any():
        sends = sends.with_strangers(np.concatenate([receipts.keys()[strange], kept_keys[kept_strange]]))
        index = KeyIndex(sends.keys)
        receipts = receipts.placed(index)
    kept_identity = index.find(kept_keys)
    size, identity = len(sends.keys), receipts.identity

    delivered = np.bincount(identity, minlength=size).astype(np.int32)
    repeats, at = receipts.repeats(np.flatnonzero(delivered[identity] > 1))
    why = causes(repeats, trial.connections, trial.facts, trial.traits)

    has_finished = receipts.column(pl.col("finished_ns").is_not_null())
    finished = np.bincount(identity[has_finished], minlength=size).astype(np.int32)
    # Whoever found the marker of an effect has seen the effect, also where its worker died before it could say so.
    finished = np.maximum(finished, _flags(size, identity[receipts.skipped(Skipped.DONE)]))
    dead_letter = (kept.get_column("place") == Place.DEAD_LETTER.value).to_numpy()
    classes = classify(
        Evidence(
            outcome=sends.outcome,
            received=delivered > 0,
            finished=finished > 0,
            dead_letter=_flags(size, kept_identity[dead_letter]),
            elsewhere=_flags(size, kept_identity[~dead_letter]),
            let_go=_let_go(size, receipts, repeats, at),
            sound=is_sound(trial.facts),
        )
    )
    events = {mark: repeats.identity[why == code] for code, mark in enumerate(CAUSES)}
    events |= _left_behind(receipts, trial, kept_identity, dead_letter, classes, events[Mark.REDELIVERED_AFTER_ACK])
    events[Mark.OVERLAPPING_EXECUTION] = overlapping(repeats, trial.facts.shards)
    events[Mark.DUPLICATE_EFFECT] = np.repeat(np.flatnonzero(finished > 1), finished[finished > 1] - 1)
    events[Mark.CORRUPT] = identity[~receipts.column(pl.col("checksum_ok").fill_null(False))]
    events[Mark.PHANTOM_ATTEMPT] = identity[_cannot_have_come(sends, receipts)]
    events[Mark.REORDERED] = _reordered(sends, receipts, repeats, at)
    events[Mark.SKIPPED] = identity[receipts.skipped()]
    queue = total_queue(sends.attempts, sends.confirmed, finished).sizes()
    del delivered, finished, has_finished
    times = {name: _earliest(size, identity, receipts.times(name)) for name in ("received_ns", "finished_ns")}
    return _Judged(
        messages=_messages(sends.keys, receipts.subscriptions[0], classes, events, times),
        marks={mark: len(at) for mark, at in events.items()},
        outcome=sends.outcome,
        repeats=_explained(
            receipts.table_rows(at),
            repeats,
            why,
            ran_out=expired(repeats, trial.facts, trial.traits),
            sent_ns=sends.first_sent_ns,
        ),
        total_queue=queue,
    )


def _explained(rows: Ints, repeats: Repeats, why: Codes, *, ran_out: Bools, sent_ns: Ints) -> pl.DataFrame:
    """Returns ``Reconciled.repeats``."""
    later = np.flatnonzero(why != NO_CAUSE)
    return pl.DataFrame(
        {
            "row": rows[later],
            "cause": why[later],
            "received_ns": repeats.received_ns[later],
            "previous_ns": repeats.received_ns[later - 1],  # sorted by identity and receipt: the one before is its own
            "expired": ran_out[later],
            "sent_ns": sent_ns[repeats.identity[later]],
        }
    ).with_columns(pl.col("cause").cat.to(CAUSE))


def _kept(residue: pl.DataFrame) -> pl.DataFrame:
    return residue.filter(~pl.col("foreign").fill_null(False) & pl.col("producer").is_not_null())


def _let_go(size: int, receipts: Receipts, repeats: Repeats, at: Ints) -> Bools:
    """Returns which identities' last delivery was settled RELEASE, RETRY or DEAD, answered OK."""
    let_go = receipts.with_settlement(_LET_GO)
    not_last = np.diff(repeats.identity, append=-1) == 0
    let_go[at[not_last]] = False
    return _flags(size, receipts.identity[let_go])


def _left_behind(  # noqa: PLR0917 – one mark, counted under two names
    receipts: Receipts, trial: _Trial, kept_identity: Ints, dead_letter: Bools, classes: Codes, after_ack: Ints
) -> dict[Mark, Ints]:
    """Returns the copies still in the broker of messages whose work finished; after an OK ack it is as if they came again.

    A dead letter is out of the queue, so it is not left behind. The ack must be of the same copy: the same entry, or the same
    attempt where entries have no id.
    """
    done = np.isin(classes[kept_identity], [CLASSES.index(Class.PROCESSED), CLASSES.index(Class.RECOVERED)])
    left = np.flatnonzero(~dead_letter & done)
    if not len(left):
        return {Mark.LEFT_BEHIND: np.zeros(0, np.int64)}
    whose = kept_identity[left]
    at = np.flatnonzero(np.isin(receipts.identity, whose))
    at = at[receipts.with_settlement(_ACKED, at)]
    identity = receipts.identity[at].tolist()
    attempts = set(zip(identity, receipts.attempt[at].tolist(), strict=True))
    entries = set(zip(identity, receipts.entry(at).tolist(), strict=True))
    copies = trial.kept.select("attempt", "entry")[left].rows()
    acked = [
        (who, entry) in entries if trial.traits.entry_ids and entry is not None else (who, attempt) in attempts
        for who, (attempt, entry) in zip(whose.tolist(), copies, strict=True)
    ]
    return {
        Mark.LEFT_BEHIND: whose,
        Mark.REDELIVERED_AFTER_ACK: np.concatenate([after_ack, whose[np.array(acked, np.bool_)]]),
    }


def _reordered(sends: Sends, receipts: Receipts, repeats: Repeats, at: Ints) -> Ints:
    """Returns the identity of each first delivery of a first attempt that came to its worker out of the producer's send order."""
    counts = receipts.attempt == 1
    counts[at] &= first_of_attempt(repeats)
    counts &= sends.first_sent_ns[receipts.identity] != NEVER
    which = None if bool(counts.all()) else np.flatnonzero(counts)
    identity = receipts.identity if which is None else receipts.identity[which]
    rank = sends.send_rank()
    late = out_of_order(
        worker=receipts.column("worker", which),
        producer=receipts.column(pl.col("producer").fill_null(0), which),
        received_ns=receipts.times("received_ns", which),
        send_rank=identity if rank is None else rank[identity],
    )
    return identity[late]


def _cannot_have_come(sends: Sends, receipts: Receipts) -> Ints:
    """Returns which deliveries are of an attempt that cannot have come, of an identity with another attempt that can."""
    impossible = sends.outcome[receipts.identity] >= Outcome.UNKNOWN  # another can, where its own cannot
    if sends.possible is None:  # each has one attempt, the first
        impossible &= receipts.attempt != 1
    else:
        impossible &= ~np.isin(attempt_keys(sends.keys[receipts.identity], receipts.attempt), sends.possible)
    if len(sends.hidden):  # an attempt whose slot is missing can have come
        impossible &= ~np.isin(producers_of(sends.keys[receipts.identity]), sends.hidden)
    return np.flatnonzero(impossible)


def _messages(
    keys: Ints, subscription: int, classes: Codes, events: dict[Mark, Ints], times: dict[str, Ints]
) -> pl.DataFrame:
    """Returns ``tables.MESSAGES``; a mark that nobody has is a constant, which costs no memory."""
    marks = [
        pl.Series(mark.value, _tally(len(keys), at)) if len(at) else pl.lit(0, pl.UInt16).alias(mark.value)
        for mark, at in events.items()
    ]
    frame = pl.DataFrame({"producer": producers_of(keys).astype(np.uint16), "seq": keys.astype(np.uint32)})
    return frame.with_columns(
        pl.lit(subscription, pl.UInt16).alias("subscription"),
        pl.Series("class", classes).cat.to(tables.CLASS),
        *marks,
        *(pl.Series(name, t_ns) for name, t_ns in times.items()),
    ).select(
        pl.when(pl.col(name) != NEVER).then(name).alias(name) if name in times else name
        for name in tables.MESSAGES.names()
    )


def _tally(size: int, at: Ints) -> npt.NDArray[np.uint16]:
    tally = np.zeros(size, np.uint16)
    which, count = np.unique(at, return_counts=True)
    tally[which] = np.minimum(count, _MOST)
    return tally


def _enum(name: str, codes: npt.NDArray[Any], known: Bools, kind: pl.Enum) -> pl.Series:
    frame = pl.DataFrame({"code": codes.astype(np.uint8), "known": known})
    return frame.select(pl.when("known").then("code").cat.to(kind).alias(name)).to_series()


def _counted(values: pl.Series, names: Iterable[str]) -> dict[str, int]:
    """Returns how often each name of an Enum stands in a series, zeros included."""
    codes = np.bincount(values.to_physical().to_numpy(), minlength=len(CLASSES))
    return dict(zip(names, codes.tolist(), strict=True))


def _held(attempts: pl.LazyFrame) -> dict[str, int]:
    """Returns how many identities had an attempt that was held, by reason."""
    held = attempts.filter(pl.col("held").is_not_null()).select("producer", "seq", "held").unique().collect()
    counted = dict(held.get_column("held").cast(pl.String).value_counts().iter_rows())
    return {name: counted.get(name, 0) for name in (reason.name.lower() for reason in Held if reason is not Held.NO)}


def _earliest(size: int, identity: Ints, t_ns: Ints) -> Ints:
    earliest = np.full(size, NEVER, np.int64)
    np.minimum.at(earliest, identity, t_ns)
    return earliest


def _flags(size: int, at: Ints) -> Bools:
    flags = np.zeros(size, np.bool_)
    flags[at] = True
    return flags
