"""Deliveries that wait to be settled, and settlements that wait to be believed: AMQP never answers an ack.

A settlement is OK once a later synchronous reply on its channel has come (the channel works in order), or a delivery whose tag is
higher by the prefetch: the broker would not have sent it while it held the earlier one as unacked. Tags are settled with ``multiple``
only where that names nothing that the caller did not hand in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.brokers._outcomes import Outcomes
from harness.brokers.contract import Ints
from harness.clock import now_ns
from harness.model import SettleOutcome

_TAG_BITS = 40
_TAG = (1 << _TAG_BITS) - 1


@dataclass(frozen=True, slots=True, eq=False)
class _Sent:
    """Settlements that left together; ``all_to``: all tags up to it are settled, and none above it; 0 where that is not so."""

    tokens: Ints
    all_to: int


class Unacked:
    """The deliveries of one channel at a time; ``begin`` starts a new one, and what the old one had delivered is stale.

    Args:
        outcomes: where the settlements' outcomes go. prefetch: most deliveries that the broker leaves unsettled.
    """

    def __init__(self, outcomes: Outcomes, prefetch: int) -> None:
        self._outcomes = outcomes
        self._prefetch = prefetch
        self._channel = 0
        self._floor = self._newest = 0  # all tags up to it are settled; the highest handed out
        self._beyond: set[int] = set()  # settled above the floor
        self._sent: list[_Sent] = []
        self._asked = 0  # how many of them the barrier that is out covers
        self.asked_ns = 0

    def __bool__(self) -> bool:
        return bool(self._sent)

    @property
    def asking(self) -> bool:
        """Returns whether a barrier is out."""
        return self._asked > 0

    def begin(self) -> None:
        """Starts with a new channel."""
        self._channel += 1
        self._floor = self._newest = 0
        self._beyond.clear()

    def handles(self, tags: Sequence[int]) -> list[int]:
        """Returns what a caller settles deliveries by, and what the highest tag says of earlier settlements."""
        named = np.array(tags, np.int64)
        self._newest = max(self._newest, int(named[-1]))
        self._believe_to(self._newest - self._prefetch)
        handles: list[int] = (named | self._channel << _TAG_BITS).tolist()
        return handles

    def settle(self, tokens: Ints, handles: Sequence[Any]) -> Iterator[tuple[int, bool]]:
        """Yields (tag, multiple) to send for what can still be settled; the rest is STALE at once.

        That is what an earlier channel delivered, and what was settled before: naming it again would end the channel.
        """
        named = np.asarray(handles, np.int64)
        tags = named & _TAG
        mine = (named >> _TAG_BITS == self._channel) & (tags > self._floor) & (tags <= self._newest)
        if self._beyond:
            mine &= ~np.isin(tags, np.fromiter(self._beyond, np.int64))
        if not mine.all():
            self._outcomes.add(tokens[~mine], SettleOutcome.STALE.value, now_ns())
            tokens, tags = tokens[mine], tags[mine]
        if not len(tags):
            return
        ordered = np.unique(tags)
        run = int(np.count_nonzero(ordered == self._floor + 1 + np.arange(len(ordered))))
        if run > 1:
            yield int(ordered[run - 1]), True
        rest = ordered[run:] if run > 1 else ordered
        for tag in rest.tolist():
            yield tag, False
        self._settled(ordered, run)
        self._sent.append(_Sent(tokens, 0 if self._beyond else self._floor))

    def ask(self) -> None:
        """Notes that a synchronous method leaves now, after all settlements so far."""
        self._asked, self.asked_ns = len(self._sent), now_ns()

    def answered(self) -> None:
        """Notes that its reply has come."""
        self._believe(self._asked)
        self._asked = 0

    def lost(self) -> None:
        """Ends the wait: what is open is unknown, and nothing can be settled any more until :meth:`begin`."""
        t_ns = now_ns()
        for sent in self._sent:
            self._outcomes.add(sent.tokens, SettleOutcome.UNKNOWN.value, t_ns)
        self._sent.clear()
        self._asked = 0
        self._channel += 1

    def _settled(self, ordered: Ints, run: int) -> None:
        self._floor += run
        self._beyond.update(ordered[run:].tolist())
        while self._floor + 1 in self._beyond:
            self._floor += 1
            self._beyond.remove(self._floor)

    def _believe_to(self, tag: int) -> None:
        count = 0
        while count < len(self._sent) and 0 < self._sent[count].all_to <= tag:
            count += 1
        self._believe(count)
        self._asked = max(self._asked - count, 0)

    def _believe(self, count: int) -> None:
        t_ns = now_ns()
        for sent in self._sent[:count]:
            self._outcomes.add(sent.tokens, SettleOutcome.OK.value, t_ns)
        del self._sent[:count]
