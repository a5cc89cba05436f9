"""Healthy means that a real operation succeeded: publish, consume and settle one message on a queue of the probe's own.

Where a queue can be down while others serve (``Setup.own_health``), after a fault it is also asked to give something itself. What it gives
goes back at once, which it may count as a delivery.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from harness.brokers import open_driver
from harness.brokers.contract import Block, Driver, DriverOptions
from harness.clock import now_ns
from harness.envelope import HEADER_BYTES, Stamper
from harness.errors import BrokerbenchError, ConnectionLost, StartError, Unreachable
from harness.model import Outcome, Settlement, SettleOutcome
from harness.redaction import hide

ATTEMPT_LIMIT_S = 5.0
PAUSE_S = 0.02


def probe_queue(queue: str) -> str:
    """Returns the name of the queue that probes use beside a trial's own."""
    return f"{queue}_probe"


class Probe:
    """Tries until one message has gone through, each time on a connection of its own.

    Args:
        options: of the queue under test; the probe uses ``<queue>_probe`` and removes it.
        alive: whether the broker's process runs: a dead one is reported at once instead of after the limit.
        log_tail: the broker's last words, for the error.
        queue_itself: ask the queue under test too, which must be there.
    """

    def __init__(
        self,
        options: DriverOptions,
        *,
        alive: Callable[[], bool],
        log_tail: Callable[[], str],
        queue_itself: bool = False,
    ) -> None:
        self._queue_itself = queue_itself
        self._queue = options.queue
        self._options = replace(
            options,
            queue=probe_queue(options.queue),
            client="probe",
            prefetch=1,
            payload_bytes=HEADER_BYTES,
            auto_ack=False,  # its ack is part of what must work
            connect_timeout_s=ATTEMPT_LIMIT_S,
            answer_timeout_s=ATTEMPT_LIMIT_S,
        )
        self._alive = alive
        self._log_tail = log_tail

    def __call__(self, timeout_s: float) -> int:
        """Returns the ns at which the operation succeeded.

        Raises:
            StartError: the broker's process ended, or nothing succeeded within ``timeout_s``.
        """
        limit_ns = now_ns() + int(timeout_s * 1e9)
        problem = "it was never asked"
        while now_ns() < limit_ns:
            if not self._alive():
                raise StartError(f"the broker's process has ended; its last words:\n{self._log_tail()}")
            try:
                return self._once()
            except (Unreachable, ConnectionLost, StartError) as error:
                problem = error.problem
            time.sleep(PAUSE_S)
        raise StartError(
            f"the broker does not serve after {timeout_s:g} s: {problem}\nits last words:\n{self._log_tail()}",
            expected="one message published, consumed and settled",
        )

    def _once(self) -> int:
        driver = open_driver(self._options)
        try:
            driver.connect()
            driver.prepare()
            _round_trip(driver)
            if self._queue_itself:
                self._ask_queue()
            succeeded_ns = now_ns()
            driver.purge()
            return succeeded_ns
        finally:
            driver.close()

    def _ask_queue(self) -> None:
        """Begins to consume on the queue under test and ends it at once: that the broker agrees is the proof."""
        driver = open_driver(replace(self._options, queue=self._queue))
        try:
            driver.connect()
            given = driver.consume(1, 0.0)
            driver.settle(np.zeros(len(given.handles), np.int64), given.handles, Settlement.RELEASE)
        finally:
            driver.close()


def _round_trip(driver: Driver) -> None:
    stamper = Stamper(run_id=0, trial=0, producer=0, payload_bytes=HEADER_BYTES, capacity=1)
    driver.publish(Block(np.zeros(1, np.int64), stamper.stamp(np.zeros(1), np.ones(1), np.zeros(1))))
    confirms = driver.poll_confirms(ATTEMPT_LIMIT_S)
    if list(confirms.outcomes) != [Outcome.CONFIRMED]:
        raise StartError(f"a probe message was answered {[Outcome(o).name for o in confirms.outcomes]}")
    deliveries = driver.consume(1, ATTEMPT_LIMIT_S)
    if len(deliveries.payloads) != 1:
        raise StartError("a probe message was confirmed and not delivered")
    driver.settle(np.zeros(1, np.int64), deliveries.handles, Settlement.ACK)
    settled = driver.poll_settled(ATTEMPT_LIMIT_S)
    if list(settled.outcomes) != [SettleOutcome.OK]:
        raise StartError(f"a probe's ack was answered {[SettleOutcome(o).name for o in settled.outcomes]}")


def described(error: BaseException) -> str:
    """Returns an error as one paragraph for a record: ours in its own words, others by type."""
    return str(error) if isinstance(error, BrokerbenchError) else hide(f"{type(error).__name__}: {error}")
