"""The one connection of a shard: made, lost, made again, and each time written down."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.brokers import open_driver
from harness.brokers.contract import Driver, DriverOptions
from harness.clock import NS_PER_S, now_ns
from harness.errors import BrokerbenchError, ConnectionLost, Unreachable
from harness.facts import CLOSED
from harness.load.config import ShardConfig

RETRY_NS = 50_000_000
CONNECT_TIMEOUT_S = 2.0


def driver_for(config: ShardConfig) -> Driver:
    """Returns the shard's driver, not yet connected; wrapped in a validating one where BROKERBENCH_CHECK=1."""
    driver = open_driver(
        DriverOptions(
            setup=config.setup,
            address=config.address,
            queue=config.queue,
            parameters=config.parameters,
            client=config.name,
            prefetch=config.workers.prefetch,
            visibility_s=config.workers.visibility_s,
            payload_bytes=config.load.payload_bytes,
            connect_timeout_s=CONNECT_TIMEOUT_S,
            auto_ack=config.workers.ack == "auto",
        )
    )
    if os.environ.get("BROKERBENCH_CHECK") == "1":
        from harness.brokers.checked import CheckedDriver  # noqa: PLC0415 - only tests pay for it

        return CheckedDriver(driver)
    return driver


class Connection:
    """Keeps a driver connected and says when it was.

    Args:
        driver: not yet connected.
        log: path of the connection log, made here.
        connected: the live count of the slot file, shape (1,): 1 while connected.
        clock: returns ns; injected by tests.
    """

    def __init__(
        self, driver: Driver, log: Path, connected: npt.NDArray[np.uint64], clock: Callable[[], int] = now_ns
    ) -> None:
        self.driver = driver
        self.up = False
        self._log = log
        log.touch()
        self._connected = connected
        self._clock = clock
        self._next_try_ns = 0
        self._losses = 0

    def first(self, timeout_s: float, given_up: Callable[[], bool]) -> None:
        """Connects for the first time; raises Unreachable with the broker's last words after ``timeout_s``."""
        deadline = self._clock() + int(timeout_s * NS_PER_S)
        while not self.up:
            try:
                self._connect()
            except (Unreachable, ConnectionLost):
                if self._clock() >= deadline or given_up():
                    raise
                time.sleep(RETRY_NS / NS_PER_S)

    def again(self) -> bool:
        """Tries to connect if the last try is long enough ago; returns whether the connection is up now."""
        if self._clock() < self._next_try_ns:
            return False
        self._next_try_ns = self._clock() + RETRY_NS
        try:
            self._connect()
            # The broker may have come back empty: an application declares what it needs on every connection.
            self.driver.prepare()
        except BrokerbenchError as error:
            if self.up:
                self.lost(str(error.problem))
        return self.up

    def lost(self, reason: str) -> None:
        """Writes down that the connection broke; the next :meth:`again` may try at once."""
        if self.up:
            self._write(False, reason)
        self.up = False
        self._connected[0] = 0
        self._losses += 1

    def note(self, t_ns: int, reason: str) -> None:
        """Writes down what befell the connection at ``t_ns`` while it stayed up."""
        self._write(True, reason, t_ns)

    def close(self, reason: str = CLOSED) -> None:
        """Says goodbye; never raises."""
        self.driver.close()
        if self.up:
            self._write(False, reason)
        self.up = False
        self._connected[0] = 0

    def _connect(self) -> None:
        self.driver.connect()
        self.up = True
        self._connected[0] = 1
        self._write(True, "reconnected" if self._losses else "connected")

    def _write(self, up: bool, reason: str, t_ns: int | None = None) -> None:
        line = json.dumps({"t_ns": self._clock() if t_ns is None else t_ns, "up": up, "reason": reason}) + "\n"
        with self._log.open("a") as log:
            log.write(line)
