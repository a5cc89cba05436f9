"""Published messages that wait for their confirms: AMQP counts them by delivery tag from 1 on, callers by their own tokens."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.brokers._outcomes import Outcomes
from harness.brokers.contract import Ints
from harness.clock import now_ns
from harness.model import Outcome

Answer = tuple[int, bool, bool]
"""Delivery tag, whether all before it are meant too, whether it is an ack (else a nack)."""


@dataclass(slots=True, eq=False)
class _Block:
    """Messages published together; ``position`` is where they begin in the stream of bytes."""

    first: int
    tokens: Ints
    bodies: list[bytes]
    position: int
    open: npt.NDArray[np.bool_]
    waiting: int
    returned: npt.NDArray[np.bool_] | None = None


class Window:
    """The messages of one channel; their outcomes go into ``outcomes``.

    A message that came back (``basic.return``) reached no queue: REJECTED, although RabbitMQ then confirms it. A nack only
    refuses responsibility, the message may be in the queue all the same: UNKNOWN.
    """

    def __init__(self, outcomes: Outcomes) -> None:
        self._outcomes = outcomes
        self._blocks: deque[_Block] = deque()
        self._next_tag = 1
        self._progress_ns = 0

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def published(self, tokens: Ints, bodies: list[bytes], position: int) -> None:
        """Adds messages, in the order in which they were published."""
        n = len(tokens)
        if not self._blocks:
            self.touch()
        block = _Block(self._next_tag, tokens, bodies, position, np.ones(n, np.bool_), n)
        self._blocks.append(block)
        self._next_tag += n

    def touch(self) -> None:
        """Begins to wait anew: until now nothing could be asked of the broker."""
        self._progress_ns = now_ns()

    def waiting_ns(self, now: int) -> int:
        """Returns for how long no confirm has come though some are due."""
        return now - self._progress_ns if self._blocks else 0

    def came_back(self, body: bytes) -> None:
        """Notes that a message was returned; of several equal ones the oldest that was not."""
        for block in self._blocks:
            start = 0
            while body in block.bodies[start:]:
                at = block.bodies.index(body, start)
                if block.returned is None:
                    block.returned = np.zeros(len(block.tokens), np.bool_)
                if block.open[at] and not block.returned[at]:
                    block.returned[at] = True
                    return
                start = at + 1

    def answered(self, answers: Sequence[Answer]) -> None:
        """Takes acks and nacks, in the order in which they came."""
        t_ns = now_ns()
        singles: dict[Outcome, list[int]] = {Outcome.CONFIRMED: [], Outcome.UNKNOWN: []}
        for tag, multiple, ack in answers:
            outcome = Outcome.CONFIRMED if ack else Outcome.UNKNOWN
            if not multiple:
                singles[outcome].append(tag)
                continue
            self._each(singles, t_ns)
            self._up_to(tag, outcome, t_ns)
        self._each(singles, t_ns)
        while self._blocks and not self._blocks[0].waiting:
            self._blocks.popleft()
        self._progress_ns = t_ns

    def lost(self, left_bytes: int) -> None:
        """Ends the wait: of what is open, that which begins after the bytes that may have left was not sent."""
        t_ns = now_ns()
        for block in self._blocks:
            outcome = Outcome.UNKNOWN if block.position < left_bytes else Outcome.NOT_SENT
            self._take(block, slice(0, None), outcome, t_ns)
        self._blocks.clear()

    def _each(self, singles: dict[Outcome, list[int]], t_ns: int) -> None:
        """Takes, and forgets, tags that were answered one by one."""
        for outcome, tags in singles.items():
            if not tags:
                continue
            ordered = np.sort(np.array(tags, np.int64))
            for block in self._blocks:
                begin, end = np.searchsorted(ordered, (block.first, block.first + len(block.tokens)))
                if end > begin:
                    self._take(block, ordered[begin:end] - block.first, outcome, t_ns)
            tags.clear()

    def _up_to(self, tag: int, outcome: Outcome, t_ns: int) -> None:
        for block in self._blocks:
            if block.first > tag:
                return
            self._take(block, slice(0, tag - block.first + 1), outcome, t_ns)

    def _take(self, block: _Block, where: slice | Ints, outcome: Outcome, t_ns: int) -> None:
        chosen = block.open[where]
        count = int(np.count_nonzero(chosen))
        if not count:
            return
        tokens = block.tokens[where]
        each = np.full(len(tokens), outcome.value, np.uint8)
        if block.returned is not None:
            each[block.returned[where]] = Outcome.REJECTED.value
        if count < len(tokens):
            tokens, each = tokens[chosen], each[chosen]
        self._outcomes.add(tokens, each, t_ns)
        block.open[where] = False
        block.waiting -= count
