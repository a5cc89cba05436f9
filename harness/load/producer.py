"""The producing loop: sleep to the next tick, publish all that is due in blocks, take confirms by window.

Open loop: a message is never skipped and never early. What cannot go at once through no fault of ours is *held*
(``measurement.md`` section 2): the connection is down, the broker does not read, or the confirm window is full while the
socket has nothing to read. A full window with confirms waiting to be read is our own slowness, and shows as schedule lag.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from harness.brokers.contract import Block
from harness.clock import NS_PER_S, now_ns, sleep_until
from harness.envelope import Stamper
from harness.errors import ConnectionLost
from harness.facts import BLOCKED, UNBLOCKED
from harness.load.connection import Connection
from harness.load.orders import Orders
from harness.load.outbox import Outbox
from harness.load.pacing import next_tick_ns
from harness.model import Held

CPU_EVERY_NS = 250_000_000
IDLE_S = 0.05
BLOCK_TOLD_NS = 100_000_000
"""How long the broker must hold a producer before that is written down: a socket that is full for a moment is not worth a write."""


class Producer:
    """One producer on one connection.

    Args:
        outbox: its account. stamper: makes its payloads.
        connection: up. orders: what it is told.
        offsets_ns: the schedule, from the start of the load, sorted; None = closed loop (``saturate``).
        load_s: length of the load, which ends a closed loop.
        tick_ns: time between looks.
        cpu: the live count of CPU ns, shape (1,).
        clock: returns ns; injected by tests.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        stamper: Stamper,
        connection: Connection,
        orders: Orders,
        offsets_ns: npt.NDArray[np.int64] | None,
        load_s: float,
        tick_ns: int,
        cpu: npt.NDArray[np.uint64],
        clock: Callable[[], int] = now_ns,
    ) -> None:
        self._outbox, self._stamper, self._connection, self._orders = outbox, stamper, connection, orders
        self._driver = connection.driver
        self._offsets = offsets_ns
        self._load_ns = int(load_s * NS_PER_S)
        self._tick_ns = tick_ns
        self._cpu = cpu
        self._clock = clock
        self._intended: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._end_ns = 0
        self._seq = 0  # next message of the schedule
        self._cpu_due_ns = 0
        self._block_reason = ""  # why the broker holds us up, and since when
        self._block_ns = 0
        self._block_told = False

    def run(self, done: Callable[[], None]) -> None:
        """Produces until told to finish; calls ``done`` once the schedule has been sent."""
        orders = self._orders
        while orders.load_start_ns is None:
            if orders.told_ns is not None:
                return
            orders.wait(1.0)
        self.begin(orders.load_start_ns)
        sleep_until(orders.load_start_ns)
        told = False
        while not self.over(self._clock()):
            self.step(self._clock())
            if self.finished(self._clock()) and not told:
                told = True
                done()
            self._rest()
        self._outbox.count_latencies()

    def begin(self, load_start_ns: int) -> None:
        """Sets the zero of the schedule."""
        if self._offsets is not None:
            self._intended = self._offsets + load_start_ns
        self._start_ns = load_start_ns
        self._end_ns = load_start_ns + self._load_ns

    def step(self, now: int) -> None:
        """One look: what is due becomes due, answers are taken, and what may go goes; never raises for a lost connection."""
        if now >= self._cpu_due_ns:
            self._cpu[0] = time.process_time_ns()
            self._outbox.count_latencies()
            self._cpu_due_ns = now + CPU_EVERY_NS
        self._fall_due(now)
        if not self._connection.up and not self._reconnect():
            return
        try:
            self._outbox.answered(self._driver.poll_confirms(0))
            self._send_due()
            if self._offsets is None:
                self._fill_window()
            self._note_block(now)
        except ConnectionLost as error:
            self._lost(error)

    def finished(self, now: int) -> bool:
        """Returns whether the schedule is over and all of it has been sent."""
        scheduled = now < self._end_ns if self._offsets is None else self._seq < len(self._intended)
        over = not scheduled or self._orders.told_ns is not None
        return over and not self._outbox.waiting and not self._outbox.retrying

    def over(self, now: int) -> bool:
        """Returns whether to end: told to finish, and nothing is left to do or the time for it is up."""
        if self._orders.told_ns is None:
            return False
        return now >= self._orders.finish_ns or (self.finished(now) and not self._outbox.outstanding)

    def _rest(self) -> None:
        """Sleeps to the next tick; at least that, always, since real-time scheduling must not spin."""
        now = self._clock()
        idle = self.finished(now) and not self._outbox.outstanding
        if idle:
            self._orders.wait(IDLE_S)
        elif self._offsets is not None or now >= self._end_ns or not self._connection.up or self._driver.blocked():
            sleep_until(next_tick_ns(now, self._start_ns, self._tick_ns))

    def _fall_due(self, now: int) -> None:
        if self._offsets is not None:
            told = self._orders.told_ns
            end = int(np.searchsorted(self._intended, now if told is None else min(now, told), "right"))
            if end > self._seq:
                self._outbox.due(self._seq, self._intended[self._seq : end])
                self._seq = end
        self._outbox.due_again(now)

    def _reconnect(self) -> bool:
        self._outbox.hold(Held.DISCONNECTED)
        if not self._connection.again():
            return False
        self._fall_due(self._clock())  # what fell due while we were connecting has waited for the connection too
        self._outbox.hold(Held.DISCONNECTED)
        return True

    def _send_due(self) -> None:
        outbox, driver = self._outbox, self._driver
        while outbox.waiting:
            if outbox.full():
                confirms = driver.poll_confirms(0)
                if not len(confirms.tokens):
                    outbox.hold(Held.WINDOW)
                    return
                outbox.answered(confirms)
            elif driver.blocked():
                outbox.hold(Held.BLOCKED)
                return
            else:
                self._publish(self._clock())

    def _publish(self, t_ns: int) -> None:
        tokens = self._outbox.block()
        payloads = self._stamper.stamp(
            self._outbox.seq[tokens], self._outbox.attempt[tokens], self._outbox.intended[tokens]
        )
        self._outbox.sent(tokens, t_ns)
        waits = _voluntary_waits()
        self._driver.publish(Block(tokens, payloads))
        now = self._clock()
        if now - t_ns > self._tick_ns and _voluntary_waits() > waits:
            # The call slept: the broker did not read. What fell due meanwhile was held by that, not by our slowness.
            self._fall_due(now)
            self._outbox.hold_due_since(t_ns, Held.BLOCKED)

    def _note_block(self, now: int) -> None:
        """Writes down once why the broker holds us up, as soon as that has lasted, and when it is over."""
        held = self._outbox.waiting or (self._offsets is None and now < self._end_ns)
        reason = self._driver.blocked() if held else ""
        if reason != self._block_reason:
            if self._block_told:
                self._connection.note(now, UNBLOCKED)
            self._block_reason, self._block_ns, self._block_told = reason, now, False
        elif reason and not self._block_told and now - self._block_ns >= BLOCK_TOLD_NS:
            self._connection.note(self._block_ns, f"{BLOCKED}{reason}")
            self._block_told = True

    def _fill_window(self) -> None:
        """Closed loop: the window is kept full; intended = sent."""
        outbox = self._outbox
        if self._clock() >= self._end_ns or self._orders.told_ns is not None or self._driver.blocked():
            return
        if outbox.full():
            outbox.answered(self._driver.poll_confirms(IDLE_S))
            return
        now = self._clock()
        count = outbox.room
        outbox.due(self._seq, np.full(count, now))
        self._seq += count
        self._publish(now)

    def _lost(self, error: ConnectionLost) -> None:
        self._connection.lost(str(error.problem))
        self._block_reason, self._block_told = "", False  # the loss has ended it, and says so
        confirms = self._driver.poll_confirms(0)
        while len(confirms.tokens):
            self._outbox.answered(confirms)
            confirms = self._driver.poll_confirms(0)
        self._fall_due(self._clock())
        self._outbox.hold(Held.DISCONNECTED)


def _voluntary_waits() -> int:
    """Returns how often this thread has gone to sleep by itself, i.e. not because others wanted the core."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
