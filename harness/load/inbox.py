"""A worker's account of its deliveries: one fetch is held at a time, and every delivery takes a new slot.

A token is the index of a slot. Nothing here speaks to a broker or looks at a clock.
"""

from __future__ import annotations

import numpy as np

from harness import envelope, histogram
from harness.brokers.contract import Deliveries, Ints, Settled
from harness.ledger import (
    CHECKSUM_OK,
    FOREIGN,
    READABLE,
    REDELIVERED,
    REDELIVERED_KNOWN,
    DeliveryState,
    SlotFile,
)
from harness.model import Settlement, SettleOutcome, Skipped

# Plain numbers: numpy asks a member of an enumeration for half a dozen protocols first.
_RECEIVED, _STARTED, _WORKED = int(DeliveryState.RECEIVED), int(DeliveryState.STARTED), int(DeliveryState.WORKED)
_SETTLING, _SETTLED = int(DeliveryState.SETTLING), int(DeliveryState.SETTLED)
_OK, _UNKNOWN, _AUTO = int(SettleOutcome.OK), int(SettleOutcome.UNKNOWN), int(Settlement.AUTO)


class Inbox:
    """The slots of one worker.

    Args:
        file: its slot file, empty. run_id, trial: who is not foreign.
        clock_offset_ns: how far this machine's clock stands before the coordinator's, in which envelopes tell the time.
    """

    def __init__(self, file: SlotFile, *, run_id: int, trial: int, clock_offset_ns: int = 0) -> None:
        self._clock_offset_ns = clock_offset_ns
        self._file = file
        self._run_id, self._trial = run_id, trial
        self._slots = file.slots
        self._live = {name: file.live[name] for name in ("delivered", "finished", "settled", "redelivered")}
        self._latency = file.live["latency"][0]
        self.unanswered = 0  # settlements sent and not answered

    def receive(self, deliveries: Deliveries, *, asked_ns: int, received_ns: int) -> int:
        """Stores a fetch that was asked for and came at these times; returns its first slot."""
        parsed = envelope.parse(deliveries.payloads)
        n = len(deliveries.payloads)
        first = self._file.reserve(n)
        block = self._slots[first : first + n]
        readable = parsed.readable
        ours = readable & (parsed.run_id == self._run_id) & (parsed.trial == self._trial)
        flags = readable * np.uint8(READABLE) | parsed.checksum_ok * np.uint8(CHECKSUM_OK)
        flags |= (readable & ~ours) * np.uint8(FOREIGN)
        repeats = 0
        if deliveries.redelivered is not None:
            again = deliveries.redelivered != 0
            flags |= again * np.uint8(REDELIVERED) | np.uint8(REDELIVERED_KNOWN)
            repeats = int(np.count_nonzero(again))
        if deliveries.counts is not None:
            block["delivery_count"] = deliveries.counts
            if deliveries.redelivered is None:
                repeats = int(np.count_nonzero(deliveries.counts > 1))
        for name in ("seq", "producer", "attempt"):
            block[name] = np.where(readable, getattr(parsed, name), 0)
        block["flags"] = flags
        if deliveries.entries is not None:
            block["entry"] = deliveries.entries
        block["asked_ns"] = deliveries.asked_ns if deliveries.asked_ns is not None else received_ns
        block["received_ns"] = received_ns
        block["state"] = _RECEIVED
        self._file.commit()
        self._live["delivered"] += np.uint64(n)
        self._live["redelivered"] += np.uint64(repeats)
        histogram.add(self._latency, received_ns - self._clock_offset_ns - parsed.intended_ns[ours])
        return first

    def started(self, slot: int, t_ns: int) -> None:
        """Stores that the work on one delivery begins."""
        self._slots["started_ns"][slot] = t_ns
        self._slots["state"][slot] = _STARTED

    def finished(self, slot: int, t_ns: int) -> None:
        """Stores that the work on one delivery succeeded."""
        self._slots["finished_ns"][slot] = t_ns
        self._slots["state"][slot] = _WORKED
        self._live["finished"] += np.uint64(1)

    def identity(self, slot: int) -> tuple[int, int] | None:
        """Returns producer and seq of a delivery of this run, None for any other."""
        row = self._slots[slot]
        if not row["flags"] & READABLE or row["flags"] & FOREIGN:
            return None
        return int(row["producer"]), int(row["seq"])

    def failed(self, slot: int, t_ns: int) -> None:
        """Stores that the work on one delivery came to nothing; what has succeeded before stays so."""
        if self._slots["state"][slot] < _WORKED:
            self._slots["failed_ns"][slot] = t_ns
            self._slots["state"][slot] = _WORKED

    def skipped(self, slot: int, why: Skipped, t_ns: int) -> None:
        """Stores that one delivery has no effect of its own, since an idempotency wrapper said so; its work, if it began, came to nothing."""
        if self._slots["state"][slot] == _STARTED:
            self._slots["failed_ns"][slot] = t_ns
        self._slots["skipped"][slot] = int(why)
        self._slots["state"][slot] = _WORKED

    def worked(self, first: int, count: int, t_ns: int) -> None:
        """Stores for a block that its work, which is none, was done at ``t_ns``."""
        block = self._slots[first : first + count]
        block["started_ns"] = t_ns
        block["finished_ns"] = t_ns
        block["state"] = _WORKED
        self._live["finished"] += np.uint64(count)

    def settling(self, first: int, count: int, what: Settlement, t_ns: int) -> Ints:
        """Stores that settlements leave now, before they do; returns their tokens."""
        block = self._slots[first : first + count]
        block["settling_ns"] = t_ns
        block["settlement"] = int(what)
        block["state"] = _SETTLING
        self.unanswered += count
        return np.arange(first, first + count)

    def settled(self, answers: Settled) -> None:
        """Stores what became of settlements; a later OK replaces UNKNOWN."""
        tokens = answers.tokens
        if not len(tokens):
            return
        before = self._slots["state"][tokens] == _SETTLED
        new = ~before | (self._slots["settle_outcome"][tokens] == _UNKNOWN)
        self.unanswered -= int(np.count_nonzero(~before))
        self._slots["settled_ns"][tokens[new]] = answers.t_ns[new]
        self._slots["settle_outcome"][tokens[new]] = answers.outcomes[new]
        self._slots["state"][tokens[new]] = _SETTLED
        self._live["settled"] += np.uint64(np.count_nonzero(answers.outcomes[new] == _OK))

    def settled_by_finishing(self, first: int, count: int) -> None:
        """Stores for worked deliveries that finishing has settled them: no ack exists, or none is wanted."""
        block = self._slots[first : first + count]
        block["settling_ns"] = block["finished_ns"]
        block["settled_ns"] = block["finished_ns"]
        block["settlement"] = _AUTO
        block["settle_outcome"] = _OK
        block["state"] = _SETTLED
        self._live["settled"] += np.uint64(count)
