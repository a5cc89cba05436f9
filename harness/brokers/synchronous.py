"""What drivers of synchronous clients share: a client whose call returns when the broker has answered, as most client libraries are.

A subclass says how to connect, to put messages, to take them and to tell what became of them, one answer after the other; here the answers
become outcomes by token, and a connection that breaks in the middle leaves true ones: what was answered stands, the rest is UNKNOWN, and
NOT_SENT where there was no connection. A block takes as long as its answers take, so such a driver carries less than one that
sends ahead; what falls due meanwhile waits, and its waiting counts.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import numpy as np

from harness.brokers._outcomes import Outcomes
from harness.brokers.contract import NO_DELIVERIES, Block, Confirms, Deliveries, DriverOptions, Ints, Settled
from harness.clock import NS_PER_S, now_ns
from harness.errors import ConnectionLost, Unreachable
from harness.model import Outcome, Settlement, SettleOutcome

POLL_S = 0.001
"""Pause between two looks at an empty queue."""


class SynchronousDriver(ABC):
    """One connection; see :class:`harness.brokers.contract.Driver`, whose other methods a subclass adds.

    ``losses`` are the errors by which its client says that the connection broke.
    """

    losses: ClassVar[tuple[type[Exception], ...]] = (OSError, EOFError)

    def __init__(self, options: DriverOptions) -> None:
        self.options = options
        self.up = False
        self._confirms = Outcomes()
        self._settled = Outcomes()

    # What a subclass adds, beside prepare, depth, connections, residue and purge. All of it speaks within `speaking`.

    @abstractmethod
    def open(self) -> None:
        """Connects within ``connect_timeout_s``; raises what the client raises."""

    @abstractmethod
    def hang_up(self) -> None:
        """Closes what :meth:`open` made, in whatever state it is."""

    @abstractmethod
    def put(self, payloads: list[bytes]) -> Iterator[Outcome]:
        """Publishes in order; yields each message's outcome as its answer comes."""

    @abstractmethod
    def take(self, count: int) -> list[tuple[int, bytes]]:
        """Returns up to ``count`` messages that are there now, without waiting: the broker's number of its copy (≠ 0), and the payload."""

    @abstractmethod
    def tell(self, handles: Sequence[Any], what: Settlement) -> Iterator[SettleOutcome]:
        """Settles in order; yields each delivery's outcome as its answer comes."""

    # The contract.

    def connect(self) -> None:
        """Connects; raises Unreachable."""
        self.close(abort=True)
        self.up = True
        try:
            with self.speaking():
                self.open()
        except ConnectionLost as error:
            raise Unreachable(error.problem) from error

    def blocked(self) -> str:
        """Returns "": a synchronous client waits in its call."""
        return ""

    def publish(self, block: Block) -> None:
        """Publishes a block and waits for its answers."""
        self._collect(block.tokens, self.put(block.as_bytes()), self._confirms, Outcome.NOT_SENT, Outcome.UNKNOWN)

    def poll_confirms(self, wait_s: float) -> Confirms:
        """Returns the outcomes, all of which are there when ``publish`` returns."""
        return self._confirms.confirms()

    def consume(self, max_n: int, wait_s: float) -> Deliveries:
        """Asks every ``POLL_S`` for one message; once there is one, for as many more as may be. Handles are the broker's numbers."""
        asked_ns = now_ns()
        until_ns = asked_ns + int(wait_s * NS_PER_S)
        while not (found := self.take(1)) and now_ns() < until_ns:
            time.sleep(POLL_S)
        if not found:
            return NO_DELIVERIES
        found += self.take(max_n - 1)
        entries = np.array([entry for entry, _ in found], np.int64)
        if self.options.auto_ack:
            list(self.tell(entries.tolist(), Settlement.ACK))
        return Deliveries([payload for _, payload in found], entries.tolist(), entries=entries, asked_ns=asked_ns)

    def cancel(self) -> Deliveries:
        """Returns nothing: nothing is pushed."""
        return NO_DELIVERIES

    def settle(self, tokens: Ints, handles: Sequence[Any], what: Settlement) -> None:
        """Settles and waits for the answers."""
        self._collect(tokens, self.tell(handles, what), self._settled, SettleOutcome.UNKNOWN, SettleOutcome.UNKNOWN)

    def poll_settled(self, wait_s: float) -> Settled:
        """Returns the outcomes, all of which are there when ``settle`` returns."""
        return self._settled.settled()

    def reclaim(self, min_idle_s: float) -> int:
        """Returns 0: nothing has to be brought back by us."""
        return 0

    def close(self, abort: bool = False) -> None:
        """Closes the connection."""
        if self.up:
            self.up = False
            with suppress(Exception):  # contract: never raises; what is half made cannot be closed as if it were whole
                self.hang_up()

    # For subclasses.

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """Turns the client's own errors into ConnectionLost, and closes the connection then."""
        if not self.up:
            raise ConnectionLost("there is no connection")
        try:
            yield
        except self.losses as error:
            self.close(abort=True)
            raise ConnectionLost(str(error) or type(error).__name__) from error

    def _collect(self, tokens: Ints, answers: Iterator[int], into: Outcomes, unsent: int, unanswered: int) -> None:
        tokens, answered, otherwise = np.array(tokens, np.int64), 0, unanswered if self.up else unsent
        try:
            for outcome in answers:
                into.add(tokens[answered : answered + 1], int(outcome), now_ns())
                answered += 1
        finally:
            into.add(tokens[answered:], int(otherwise), now_ns())
