"""The working loop: fetch when nothing is held, work, settle in batches; what a worker of an application does.

A delivery belongs to the connection that brought it: when that is lost, its work is finished and nothing is settled any more. One that
receiving has settled belongs to the worker, whatever becomes of the connection: nobody else will ever get it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from harness.brokers.contract import NO_DELIVERIES, Deliveries, GivesSigns
from harness.clock import NS_PER_S, now_ns, sleep_until
from harness.errors import ConnectionLost
from harness.ledger import SlotFile
from harness.load.connection import Connection
from harness.load.idempotency import Result, Wrapper, WrapperFailed
from harness.load.inbox import Inbox
from harness.load.orders import Orders
from harness.model import Settlement, Skipped
from harness.scenario.model import Workers

FETCH_WAIT_S = 0.1
CPU_EVERY_NS = 250_000_000
LAST_ANSWERS_S = 2.0
SIGNS_PER_HOLD = 8
"""Looks at whether a sign of life is due, in a visibility time: two for each that is given."""
_SKIPPED = {Result.TAKEN: Skipped.TAKEN, Result.DONE: Skipped.DONE}


class Worker:
    """One worker on one connection.

    Args:
        inbox: its account, in ``file``.
        connection: up. orders: what it is told.
        workers: how to work. auto: finishing settles (``ack: auto``, or a setup without acks).
        pushes: the broker pushes, so that a fetch is outstanding all the time.
        seed: of the service times. wrapper: around the work of each message; None = there is none.
        clock: returns ns; injected by tests.
    """

    def __init__(
        self,
        *,
        inbox: Inbox,
        file: SlotFile,
        connection: Connection,
        orders: Orders,
        workers: Workers,
        auto: bool,
        pushes: bool = False,
        seed: tuple[int, ...],
        wrapper: Wrapper | None = None,
        clock: Callable[[], int] = now_ns,
    ) -> None:
        self._inbox, self._file, self._connection, self._orders = inbox, file, connection, orders
        self._driver = connection.driver
        self._workers, self._auto, self._pushes = workers, auto, pushes
        self._wrapper = wrapper
        self._random = np.random.default_rng(seed)
        self._cpu = file.live["cpu_ns"]
        self._clock = clock
        self._linger_ns = int(workers.settle_linger_s * NS_PER_S)
        self._sweep_ns = int(workers.sweep_s * NS_PER_S)
        self._next_sweep_ns = clock() + self._sweep_ns
        self._cpu_due_ns = 0
        self._held = False  # whether what is in hand still belongs to the connection
        self._signs = self._driver if isinstance(self._driver, GivesSigns) else None
        self._sign_ns = int(workers.visibility_s * NS_PER_S / SIGNS_PER_HOLD)
        self._sign_due_ns = 0

    def run(self) -> None:
        """Works until told to stop; then finishes what it holds, also what was pushed, and waits for the last answers, a bounded time."""
        orders = self._orders
        while not orders.stop:
            self.turn()
        self._take_what_was_pushed()
        until = self._clock() + int(LAST_ANSWERS_S * NS_PER_S)
        while self._connection.up and self._inbox.unanswered and self._clock() < until:
            try:
                self._inbox.settled(self._driver.poll_settled(FETCH_WAIT_S))
            except ConnectionLost as error:
                self._lost(error)

    def turn(self) -> None:
        """Fetches once, works and settles what came; never raises for a lost connection."""
        self._note_cpu()
        if not self._connection.up:
            self._take_what_was_pushed()
            if not self._connection.again():
                self._orders.wait(0.01)
                return
        deliveries, first = NO_DELIVERIES, 0
        try:
            self._sweep()
            asked_ns = self._clock()
            self._file.fetch_begins(self._workers.prefetch, asked_ns)
            deliveries = self._driver.consume(self._workers.prefetch, FETCH_WAIT_S)
            received_ns = self._clock()
            self._held = True
            if deliveries.payloads:
                first = self._inbox.receive(deliveries, asked_ns=asked_ns, received_ns=received_ns)
            if not self._pushes:
                self._file.fetch_ends(received_ns)
            self._inbox.settled(self._driver.poll_settled(0))
        except ConnectionLost as error:
            self._lost(error)
            self._file.fetch_ends(self._clock())
            if not self._auto:
                return
        if deliveries.payloads:
            self._work(first, deliveries)

    def _take_what_was_pushed(self) -> None:
        """Stops what the broker pushes, and works what it had pushed until then: with auto-ack nobody else would.

        After the connection is lost that is what the driver still has: without auto-ack nothing, for the broker pushes it again.
        """
        keeps = self._auto and self._pushes
        if not (self._connection.up or keeps):
            return
        try:
            deliveries = self._driver.cancel()
        except ConnectionLost as error:
            self._lost(error)
            deliveries = self._driver.cancel() if keeps else NO_DELIVERIES
        now = self._clock()
        first = self._inbox.receive(deliveries, asked_ns=now, received_ns=now) if deliveries.payloads else 0
        self._file.fetch_ends(now)
        if deliveries.payloads:
            self._held = self._connection.up
            self._work(first, deliveries)

    def _work(self, first: int, deliveries: Deliveries) -> None:
        n = len(deliveries.payloads)
        if self._workers.work == "none" and self._wrapper is None:
            self._inbox.worked(first, n, self._clock())
            for begin in range(0, n, self._workers.settle_batch):
                self._settle(first, deliveries, begin, min(begin + self._workers.settle_batch, n))
            return
        services_ns = self._services_ns(n)
        settled, oldest_ns = 0, 0
        for i in range(n):
            if self._orders.orphaned:
                return
            what = self._message(first + i, int(services_ns[i]))
            now = self._clock()
            oldest_ns = oldest_ns if i > settled else now
            if what is not Settlement.ACK:  # those before it go first
                self._settle(first, deliveries, settled, i)
                self._settle(first, deliveries, i, i + 1, what)
                settled = i + 1
            elif i + 1 - settled >= self._workers.settle_batch or now - oldest_ns >= self._linger_ns or i + 1 == n:
                self._settle(first, deliveries, settled, i + 1)
                settled = i + 1
            self._between_jobs()

    def _services_ns(self, n: int) -> npt.NDArray[np.int64]:
        """Returns how long the next ``n`` jobs take."""
        mean_ns = self._workers.work_s * NS_PER_S
        if self._workers.work == "constant":
            return np.full(n, int(mean_ns))
        return self._random.exponential(mean_ns, n).astype(np.int64)

    def _message(self, slot: int, service_ns: int) -> Settlement:
        """Works on one message, through the wrapper where there is one; returns how it is to be settled."""
        identity = self._inbox.identity(slot) if self._wrapper else None
        if self._wrapper is None or identity is None:
            self._job(slot, service_ns)
            self._inbox.finished(slot, self._clock())
            return Settlement.ACK
        try:
            result = self._wrapper.work(
                *identity,
                job=lambda: self._job(slot, service_ns),
                effect=lambda: self._inbox.finished(slot, self._clock()),
            )
        except WrapperFailed:
            self._inbox.failed(slot, self._clock())
            return Settlement.RELEASE
        if result in _SKIPPED:
            self._inbox.skipped(slot, _SKIPPED[result], self._clock())
        if result is Result.OVERTAKEN:
            self._inbox.failed(slot, self._clock())
            return Settlement.RELEASE
        return Settlement.ACK

    def _job(self, slot: int, service_ns: int) -> None:
        """Does one job."""
        started = self._clock()
        self._inbox.started(slot, started)
        if self._workers.work_kind == "cpu":
            until = time.thread_time_ns() + service_ns
            while time.thread_time_ns() < until:
                self._keep_alive()
        else:
            while self._signs is not None and started + service_ns - self._clock() > self._sign_ns:
                sleep_until(self._clock() + self._sign_ns)
                self._keep_alive()
            sleep_until(started + service_ns)

    def _keep_alive(self) -> None:
        """Gives the sign of life that is due in the middle of a job, as the thread of an application would."""
        if self._signs is None or not self._held or self._clock() < self._sign_due_ns:
            return
        self._sign_due_ns = self._clock() + self._sign_ns
        try:
            self._signs.give_sign()
        except ConnectionLost as error:
            self._lost(error)

    def _between_jobs(self) -> None:
        """Keeps the sign of life, and takes the answers that have come, while the jobs are long."""
        self._note_cpu()
        if not self._held:
            return
        try:
            self._sweep()
            self._inbox.settled(self._driver.poll_settled(0))
        except ConnectionLost as error:
            self._lost(error)

    def _settle(
        self, first: int, deliveries: Deliveries, begin: int, end: int, what: Settlement = Settlement.ACK
    ) -> None:
        if begin == end:
            return
        if self._auto:
            self._inbox.settled_by_finishing(first + begin, end - begin)
            return
        if not self._held:
            return
        tokens = self._inbox.settling(first + begin, end - begin, what, self._clock())
        try:
            self._driver.settle(tokens, deliveries.handles[begin:end], what)
        except ConnectionLost as error:
            self._lost(error)

    def _sweep(self) -> None:
        now = self._clock()
        if now >= self._next_sweep_ns:
            self._next_sweep_ns = now + self._sweep_ns
            self._driver.reclaim(self._workers.visibility_s)

    def _lost(self, error: ConnectionLost) -> None:
        self._held = False
        self._connection.lost(str(error.problem))
        answers = self._driver.poll_settled(0)
        while len(answers.tokens):
            self._inbox.settled(answers)
            answers = self._driver.poll_settled(0)

    def _note_cpu(self) -> None:
        now = self._clock()
        if now >= self._cpu_due_ns:
            self._cpu[0] = time.process_time_ns()
            self._cpu_due_ns = now + CPU_EVERY_NS
