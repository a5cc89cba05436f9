"""A producer's account of its messages: which are due, which may go, which are held and why, what became of each.

Everything lives in the slots: a message that becomes due takes the next slot, so slots are in the order of sending, and a token is
the index of a slot. Nothing here speaks to a broker or looks at a clock.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from harness import histogram
from harness.brokers.contract import Confirms, Ints
from harness.ledger import AttemptState, SlotFile
from harness.model import Held, Outcome

NOTED_BLOCKS = 32
_SCORE = ("confirmed", "rejected", "unknown")

# Plain numbers: numpy asks a member of an enumeration for half a dozen protocols first.
_DUE, _SENT, _ANSWERED = int(AttemptState.DUE), int(AttemptState.SENT), int(AttemptState.ANSWERED)
_NOT_HELD, _DISCONNECTED = int(Held.NO), int(Held.DISCONNECTED)
_NOT_SENT, _REJECTED = int(Outcome.NOT_SENT), int(Outcome.REJECTED)
_UNKNOWN, _CONFIRMED = int(Outcome.UNKNOWN), int(Outcome.CONFIRMED)


class Outbox:
    """The slots of one producer.

    Args:
        file: its slot file, empty.
        window: most messages sent and not answered. batch: most messages in a block.
        blocks_in_flight: most blocks with an unanswered message, 0 = any.
        retries: further attempts after REJECTED or UNKNOWN. backoff_ns: between an answer and the next attempt.
    """

    def __init__(
        self,
        file: SlotFile,
        *,
        window: int,
        batch: int,
        blocks_in_flight: int = 0,
        retries: int = 0,
        backoff_ns: int = 0,
    ) -> None:
        self._file = file
        self._window, self._batch, self._blocks_in_flight = window, batch, blocks_in_flight
        self._retries, self._backoff_ns = retries, backoff_ns
        slots = file.slots
        self.seq, self.attempt, self.intended = slots["seq"], slots["attempt"], slots["intended_ns"]
        self._held, self._outcome, self._state = slots["held"], slots["outcome"], slots["state"]
        self._sent_ns, self._confirmed_ns = slots["sent_ns"], slots["confirmed_ns"]
        self._live = {name: file.live[name] for name in ("offered", "sent", *_SCORE)}
        self._latency = file.live["latency"][0]
        self._next = 0  # first slot that was never sent
        self._held_to = 0  # all that waits below is held already
        self._again: npt.NDArray[np.int64] = np.zeros(0, np.int64)  # sent in vain (no byte left), before ``_next``
        self._blocks: deque[list[int]] = deque()  # [first, end, unanswered] of blocks in flight
        self._retry: deque[tuple[int, Ints]] = deque()  # (due at, slots whose message is tried again)
        self._latencies: list[Ints] = []
        self.outstanding = 0

    @property
    def waiting(self) -> int:
        """Returns how many messages are due and not sent."""
        return self._file.used - self._next + len(self._again)

    @property
    def retrying(self) -> bool:
        """Returns whether attempts are still to come."""
        return bool(self._retry)

    def due(self, first_seq: int, intended_ns: npt.NDArray[np.int64]) -> None:
        """Takes slots for the messages ``first_seq, first_seq + 1, …``, which have become due."""
        n = len(intended_ns)
        self._take(np.arange(first_seq, first_seq + n, dtype=np.uint32), 1, intended_ns)
        self._live["offered"] += np.uint64(n)

    def due_again(self, now: int) -> None:
        """Takes slots for the attempts whose back-off is over."""
        while self._retry and self._retry[0][0] <= now:
            old = self._retry.popleft()[1]
            self._take(self.seq[old], self.attempt[old] + 1, self.intended[old])

    def hold(self, reason: Held) -> None:
        """Marks all that is due and not sent as held, where it is not yet."""
        self.hold_due_since(-(1 << 63), reason)
        self._held_to = self._file.used

    def hold_due_since(self, t_ns: int, reason: Held) -> None:
        """Marks what became due since ``t_ns`` and is not sent as held, where it is not yet."""
        waiting = slice(max(self._next, self._held_to), self._file.used)
        held = self._held[waiting]
        held[(held == _NOT_HELD) & (self.intended[waiting] >= t_ns)] = int(reason)

    def full(self) -> bool:
        """Returns whether the confirm window (messages or blocks) lets nothing more out."""
        return self.outstanding >= self._window or (0 < self._blocks_in_flight <= len(self._blocks))

    @property
    def room(self) -> int:
        """Returns how many messages one block may hold now."""
        return 0 if self.full() else min(self._batch, self._window - self.outstanding)

    def block(self) -> Ints:
        """Returns the tokens that may go now in one block, in order; empty where nothing waits or the window is full."""
        if len(self._again):
            return self._again[: self.room]
        return np.arange(self._next, min(self._next + self.room, self._file.used))

    def sent(self, tokens: Ints, t_ns: int) -> None:
        """Stores that a block leaves now; to be called before the first byte is handed over."""
        n = len(tokens)
        if len(self._again):
            where: Any = tokens
            self._again = self._again[n:]
        else:
            where = slice(self._next, self._next + n)
            self._next += n
        self._sent_ns[where] = t_ns
        self._state[where] = _SENT
        self._file.commit()
        self._live["sent"] += np.uint64(n)
        self.outstanding += n
        if self._blocks_in_flight:
            self._blocks.append([int(tokens[0]), int(tokens[-1]) + 1, n])

    def answered(self, confirms: Confirms) -> None:
        """Stores outcomes. NOT_SENT puts a message back in front, held; a later, stronger outcome replaces UNKNOWN."""
        tokens, outcomes, t_ns = confirms.tokens, confirms.outcomes, confirms.t_ns
        n = len(tokens)
        if not n:
            return
        state = self._state[tokens]
        if outcomes.min() == _CONFIRMED and state.max() == _SENT:  # what nearly always happens, at a third of the cost
            self._store(tokens, outcomes, t_ns)
            self._leave(tokens)
            self._live["confirmed"] += np.uint64(n)
            self._note_latency(t_ns - self.intended[tokens])
            return
        before = state == _ANSWERED
        if before.any():
            tokens, outcomes, t_ns, before = self._late(tokens, outcomes, t_ns, before)
        in_vain = outcomes == _NOT_SENT
        if in_vain.any():
            self._not_sent(tokens[in_vain])
            kept = ~in_vain
            tokens, outcomes, t_ns, before = tokens[kept], outcomes[kept], t_ns[kept], before[kept]
        self._store(tokens, outcomes, t_ns)
        self._leave(tokens[~before])
        self._count(tokens, outcomes, t_ns)

    def count_latencies(self) -> None:
        """Adds what was noted to the live histogram; several times a second and at the end."""
        if self._latencies:
            histogram.add(self._latency, np.concatenate(self._latencies))
            self._latencies.clear()

    def _take(self, seqs: Any, attempt: Any, intended_ns: Any) -> None:
        n = len(seqs)
        first = self._file.reserve(n)
        where = slice(first, first + n)
        self.seq[where], self.attempt[where], self.intended[where] = seqs, attempt, intended_ns
        self._state[where] = _DUE
        self._file.commit()

    def _store(self, tokens: Ints, outcomes: Any, t_ns: Ints) -> None:
        self._confirmed_ns[tokens] = t_ns
        self._outcome[tokens] = outcomes
        self._state[tokens] = _ANSWERED

    def _note_latency(self, latency_ns: Ints) -> None:
        """Keeps latencies for the live histogram, which costs twenty microseconds a block however small."""
        self._latencies.append(latency_ns)
        if len(self._latencies) >= NOTED_BLOCKS:
            self.count_latencies()

    def _late(self, tokens: Ints, outcomes: Any, t_ns: Ints, before: Any) -> tuple[Ints, Any, Ints, Any]:
        """Returns what is new: a first answer, or a stronger one than UNKNOWN or REJECTED."""
        new = ~before | (outcomes > self._outcome[tokens])
        tokens, outcomes, t_ns, before = tokens[new], outcomes[new], t_ns[new], before[new]
        for name, outcome in (("unknown", _UNKNOWN), ("rejected", _REJECTED)):
            self._live[name] -= np.uint64(np.count_nonzero(self._outcome[tokens[before]] == outcome))
        return tokens, outcomes, t_ns, before

    def _not_sent(self, tokens: Ints) -> None:
        self._state[tokens] = _DUE
        self._sent_ns[tokens] = 0
        self._held[tokens] = np.where(self._held[tokens] == _NOT_HELD, _DISCONNECTED, self._held[tokens])
        self._live["sent"] -= np.uint64(len(tokens))
        self._leave(tokens)
        self._again = np.sort(np.concatenate([self._again, tokens]))

    def _leave(self, tokens: Ints) -> None:
        """Frees the window of messages that are no longer on their way."""
        self.outstanding -= len(tokens)
        if not self._blocks_in_flight:
            return
        for block in self._blocks:
            block[2] -= int(np.count_nonzero((tokens >= block[0]) & (tokens < block[1])))
        while self._blocks and self._blocks[0][2] <= 0:
            self._blocks.popleft()

    def _count(self, tokens: Ints, outcomes: Any, t_ns: Ints) -> None:
        confirmed = outcomes == _CONFIRMED
        count = int(np.count_nonzero(confirmed))
        rejected = int(np.count_nonzero(outcomes == _REJECTED))
        self._live["confirmed"] += np.uint64(count)
        self._live["rejected"] += np.uint64(rejected)
        self._live["unknown"] += np.uint64(len(tokens) - count - rejected)
        self._note_latency((t_ns - self.intended[tokens])[confirmed])
        if self._retries:
            again = tokens[~confirmed & (self.attempt[tokens] <= self._retries)]
            if len(again):
                self._retry.append((int(t_ns.max()) + self._backoff_ns, again))
