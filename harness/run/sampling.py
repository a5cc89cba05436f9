"""What the broker, the load and the machine used while a trial ran, and what befell containers: one thread, at least one sample a second.

A number that cannot be had now (the broker is dead or stopped) leaves a gap in the samples; it is never guessed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import polars as pl
import psutil

from harness import tables
from harness.brokers import open_driver
from harness.brokers.contract import Driver, DriverOptions
from harness.clock import now_ns
from harness.deployments.contract import Broker, Incident, Usage
from harness.environment import machine_usage
from harness.errors import BrokerbenchError
from harness.load.seam import Fleet
from harness.tables import CORE_SHARE

PERIOD_S = 0.5
DEPTH_LIMIT_S = 1.0
DEPTH_SHARE = 0.05
"""Most of the time that asking for the depth may take: PostgreSQL counts rows, and a long backlog takes it 40 ms and more."""


class Sampler:
    """Samples until stopped.

    Args:
        broker: whose usage is read.
        fleet: the load, whose process tree is read.
        options: of the queue, for asking its depth over a connection of the sampler's own.
        befell: takes what befell the containers; called from the sampler's thread.
    """

    def __init__(
        self, broker: Broker, fleet: Fleet, options: DriverOptions, befell: Callable[[Incident], None]
    ) -> None:
        self._broker = broker
        self._fleet = fleet
        self._befell = befell
        self._options = replace(
            options, client="sampler", connect_timeout_s=DEPTH_LIMIT_S, answer_timeout_s=DEPTH_LIMIT_S
        )
        self._driver: Driver | None = None
        self._rows: list[tuple[int, str, str, float]] = []
        self._load_cpu: dict[int, float] = {}
        self._depth_due_ns = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self.depth: int | None = None
        self.dead_letters: int | None = None

    def start(self) -> None:
        """Starts sampling."""
        self._thread.start()

    def stop(self) -> None:
        """Takes a last sample and closes the connection; idempotent."""
        if self._stop.is_set():
            return
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def frame(self) -> pl.DataFrame:
        """Returns the samples (``tables.SAMPLES``)."""
        return pl.DataFrame(self._rows, schema=tables.SAMPLES, orient="row")

    def first_and_last(self, source: str, metric: str, since_ns: int) -> tuple[float, float] | None:
        """Returns the latest value of one metric from before ``since_ns`` (else its first) and the last; None where there are not two."""
        values = [(t_ns, value) for t_ns, s, m, value in self._rows if (s, m) == (source, metric)]
        before = sum(t_ns <= since_ns for t_ns, _ in values)
        values = values[max(before - 1, 0) :]
        return (values[0][1], values[-1][1]) if len(values) > 1 else None

    def highest(self, source: str, metric: str) -> float | None:
        """Returns the highest value of one metric."""
        return max((value for _, s, m, value in self._rows if (s, m) == (source, metric)), default=None)

    def _run(self) -> None:
        last = False
        while True:  # the first at once: the load starts soon after
            self._sample()
            if last:
                break
            last = self._stop.wait(PERIOD_S)
        if self._driver is not None:
            self._driver.close()

    def _sample(self) -> None:
        self._add("broker", **values(self._broker.usage()))
        self._sample_load()
        for incident in (*self._broker.incidents(), *self._broker.load_place.incidents()):
            self._befell(incident)
        self._add("machine", **machine_usage())
        self._add("harness", cpu_s=time.process_time())
        self._sample_depth()

    def _sample_load(self) -> None:
        shares = self._fleet.live().core_shares
        self._rows.extend((t_ns, name, CORE_SHARE, share) for name, (t_ns, share) in shares.items())
        usage = self._broker.load_place.usage()
        if usage is not None:
            self._add("load", **values(usage))
        else:
            self._sample_tree()

    def _sample_tree(self) -> None:
        memory = 0
        try:
            root = psutil.Process(self._fleet.pid)
            for process in [root, *root.children(recursive=True)]:
                with process.oneshot():
                    times = process.cpu_times()
                    memory += process.memory_info().rss
                # A process that has ended keeps what it had used: the sum never falls.
                self._load_cpu[process.pid] = times.user + times.system
        except psutil.Error:
            return
        cpu_s = sum(self._load_cpu.values()) + self._fleet.remote_cpu_s()
        self._add("load", cpu_s=cpu_s, memory_bytes=memory, written_bytes=None)

    def _sample_depth(self) -> None:
        asked_ns = now_ns()
        if asked_ns < self._depth_due_ns:
            return
        try:
            if self._driver is None:
                driver = open_driver(self._options)
                driver.connect()
                self._driver = driver
            depth = self._driver.depth()
        except BrokerbenchError:
            if self._driver is not None:
                self._driver.close(abort=True)
            self._driver, self.depth, self.dead_letters = None, None, None
            return
        pause_ns = min((now_ns() - asked_ns) / DEPTH_SHARE, 0.9e9)  # at least once a second all the same
        self._depth_due_ns = now_ns() + int(pause_ns)
        known = [v for v in (depth.ready, depth.in_flight, depth.delayed) if v is not None]
        self.depth = sum(known) if known else None
        self.dead_letters = depth.dead
        self._add(
            "broker",
            depth_ready=depth.ready,
            depth_in_flight=depth.in_flight,
            depth_delayed=depth.delayed,
            depth_dead_letter=depth.dead,
        )

    def _add(self, source: str, **values: float | int | None) -> None:
        t_ns = now_ns()
        self._rows.extend((t_ns, source, name, float(v)) for name, v in values.items() if v is not None)


def values(usage: Usage) -> Mapping[str, float | int | None]:
    """Returns the metrics of a source of ``tables.SAMPLES``; None = could not be read."""
    return {
        "cpu_s": usage.cpu_s,
        "memory_bytes": usage.memory_bytes,
        "written_bytes": usage.written_bytes,
        "throttled_s": usage.throttled_s,
        "network_received_bytes": usage.network_received_bytes,
        "network_sent_bytes": usage.network_sent_bytes,
    }
