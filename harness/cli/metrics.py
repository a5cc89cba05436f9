"""A run while it runs, for Prometheus: ``brokerbench run … --metrics PORT`` serves it on this machine, and ends with the run.

A listener (``harness.run.progress``) keeps what it is told; figures are made only when somebody asks. Names and files for a server
that asks are in ``compose/telemetry/``. Counts are per case and never fall: the trials of a case add up, and a case that is over
keeps its counts while the run lasts, so that ``rate()`` and ``increase()`` are right over any of them.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from wsgiref.simple_server import WSGIServer

import numpy as np
import numpy.typing as npt
from prometheus_client import start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from harness import __version__, histogram
from harness.clock import NS_PER_S
from harness.errors import UsageError
from harness.model import TrialStatus
from harness.record import CaseRecord
from harness.run.progress import (
    CaseFinished,
    CaseStarted,
    Event,
    FaultHealed,
    FaultInjected,
    FaultPlanned,
    PhaseChanged,
    RunStarted,
    Tick,
)

HOST = "127.0.0.1"
PREFIX = "brokerbench"
COUNTS = {
    "offered": "Messages that were due, first attempts only.",
    "sent": "Attempts to send a message.",
    "confirmed": "Attempts that the broker confirmed.",
    "rejected": "Attempts that the broker refused.",
    "unknown": "Attempts that were never answered: the message may be there or not.",
    "delivered": "Messages that workers received, repeats included.",
    "finished": "Deliveries whose work was finished.",
    "settled": "Deliveries that were settled.",
    "redelivered": "Deliveries that the broker itself flags as repeats.",
}
BOUNDS_S = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
"""Of the histogram; beyond them is +Inf."""
LOAD_PHASES = ("warm-up", "steady", "drain")
PHASES = ("starting broker", "preparing", *LOAD_PHASES, "searching", "analysing")


def _edges_ns() -> npt.NDArray[np.int64]:
    """Returns the upper edge of each bucket of ``harness.histogram`` but the overflow; one that can hold nothing has that before it."""
    return np.maximum.accumulate([histogram.upper_edge_ns(index) for index in range(histogram.OVERFLOW)])


def _up_to(edges_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Returns how many buckets lie wholly at or below each bound, shape (len(BOUNDS_S),)."""
    return np.searchsorted(edges_ns, [round(bound * NS_PER_S) for bound in BOUNDS_S], side="right")


def _middles_s(edges_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Returns the middle of each bucket in seconds, for a sum; the overflow counts with its lower edge."""
    lower_ns = np.concatenate(([0], edges_ns[:-1]))
    return np.append((lower_ns + edges_ns) / 2, edges_ns[-1]) / NS_PER_S


@dataclass
class Case:
    """What was counted of a case: ``past`` in trials that are over, ``now`` in the one that runs."""

    past: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    now: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    latency_past: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(histogram.BUCKETS, np.uint64))
    latency_now: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(histogram.BUCKETS, np.uint64))
    struck: dict[str, int] = field(default_factory=dict)
    ended: dict[TrialStatus, int] = field(default_factory=dict)

    def take(self, tick: Tick) -> None:
        """Takes the newest counts of the trial; one that is lower than before (a shard is missing from it) changes nothing."""
        self.now = {name: max(value, getattr(tick, name)) for name, value in self.now.items()}
        self.latency_now = np.maximum(self.latency_now, tick.latency)

    def close(self) -> None:
        """The trial is over: what it counted stays."""
        self.past = {name: value + self.now[name] for name, value in self.past.items()}
        self.now = dict.fromkeys(COUNTS, 0)
        self.latency_past = self.latency_past + self.latency_now
        self.latency_now = np.zeros(histogram.BUCKETS, np.uint64)


class RunMetrics(Collector):
    """Takes events from any thread, and makes metrics of them when the registry asks (``prometheus_client``'s word: collects)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._run: RunStarted | None = None
        self._records: dict[str, CaseRecord] = {}
        self._cases: dict[str, Case] = {}
        self._trial: CaseStarted | None = None
        self._phase = ""
        self._tick: Tick | None = None
        self._planned: dict[int, str] = {}
        self._active: set[int] = set()
        edges_ns = _edges_ns()
        self._up_to, self._middles_s = _up_to(edges_ns), _middles_s(edges_ns)

    def notice(self, event: Event) -> None:
        """Takes one event."""
        with self._lock:
            match event:
                case RunStarted():
                    self._run = event
                    self._records = {case.id: case for case in event.cases}
                case CaseStarted():
                    self._begin(event)
                case PhaseChanged():
                    self._phase = event.phase.partition(":")[0]
                    if self._phase not in LOAD_PHASES:  # what there is to gauge is over
                        self._tick = None
                        self._active.clear()
                case FaultPlanned() | FaultInjected():
                    self._fault(event)
                case FaultHealed():
                    self._active.discard(event.index)
                case Tick():
                    self._tick = event
                    if self._trial is not None:
                        self._cases[self._trial.case_id].take(event)
                case CaseFinished():
                    self._finish(event)

    def _begin(self, event: CaseStarted) -> None:
        self._trial, self._phase, self._tick = event, "", None
        self._planned.clear()
        self._active.clear()
        self._cases.setdefault(event.case_id, Case())

    def _fault(self, event: FaultPlanned | FaultInjected) -> None:
        self._planned[event.index] = event.label
        assert self._trial is not None
        struck = self._cases[self._trial.case_id].struck
        struck.setdefault(event.label, 0)
        if isinstance(event, FaultInjected):
            self._active.add(event.index)
            struck[event.label] += 1

    def _finish(self, event: CaseFinished) -> None:
        case = self._cases[event.case.id]
        case.ended[event.status] = case.ended.get(event.status, 0) + 1
        case.close()
        self._trial, self._phase, self._tick = None, "", None
        self._planned.clear()

    def collect(self) -> Iterable[Metric]:
        """Returns what holds now; every metric with its HELP and TYPE, also while it has no value."""
        with self._lock:
            return [*self._infos(), *self._counters(), self._histogram(), *self._gauges()]

    def _infos(self) -> Iterator[Metric]:
        run = self._gauge("run_info", "The run; always 1.", "run_id", "scenario", "deployment", "version")
        planned = self._gauge("trials_planned", "Trials that the run is to have, over all cases.")
        if self._run is not None:
            run.add_metric([self._run.run_id, self._run.scenario, self._run.deployment, __version__], 1)
            planned.add_metric([], self._run.trials * sum(not case.unavailable for case in self._run.cases))
        labels = ("case", "setup", "network", "durability", "loop", "trial")
        trial = self._gauge("trial_info", "The trial that runs now; always 1.", *labels)
        if self._trial is not None and (record := self._records.get(self._trial.case_id)) is not None:
            loop = "open" if self._trial.open_loop else "closed"
            told = [
                record.id,
                record.setup,
                record.network,
                record.durability_class.value,
                loop,
                str(self._trial.trial),
            ]
            trial.add_metric(told, 1)
        yield from (run, planned, trial)

    def _counters(self) -> Iterator[Metric]:
        for name, meaning in COUNTS.items():
            counter = CounterMetricFamily(f"{PREFIX}_messages_{name}", meaning, labels=["case"])
            for case_id, case in self._cases.items():
                counter.add_metric([case_id], case.past[name] + case.now[name])
            yield counter
        faults = CounterMetricFamily(f"{PREFIX}_faults_injected", "Faults that struck.", labels=["case", "fault"])
        trials = CounterMetricFamily(f"{PREFIX}_trials", "Trials that are over, by status.", labels=["case", "status"])
        for case_id, case in self._cases.items():
            for label, count in case.struck.items():
                faults.add_metric([case_id, label], count)
            for status in TrialStatus:
                trials.add_metric([case_id, status.value], case.ended.get(status, 0))
        yield from (faults, trials)

    def _histogram(self) -> Metric:
        found = HistogramMetricFamily(
            f"{PREFIX}_end_to_end_latency_seconds",
            "From when a message was due to each of its receipts; a bucket holds what surely lies in it (counted to 1.6 %).",
            labels=["case"],
        )
        for case_id, case in self._cases.items():
            counts = case.latency_past + case.latency_now
            below = np.concatenate(([0], np.cumsum(counts)))
            buckets = [(str(bound), float(below[at])) for bound, at in zip(BOUNDS_S, self._up_to, strict=True)]
            total_s = float(counts @ self._middles_s)
            found.add_metric([case_id], [*buckets, ("+Inf", float(below[-1]))], total_s)
        return found

    def _gauges(self) -> Iterator[Metric]:
        phase = self._gauge("phase", "1 for the phase in which the trial is, 0 for the others.", "case", "phase")
        fault = self._gauge("fault_active", "1 from a fault's strike until its target works again.", "case", "fault")
        if self._trial is not None:
            case_id = self._trial.case_id
            for name in dict.fromkeys((*PHASES, *([self._phase] if self._phase else []))):
                phase.add_metric([case_id, name], float(name == self._phase))
            for label in dict.fromkeys(self._planned.values()):
                active = any(self._planned[index] == label for index in self._active)
                fault.add_metric([case_id, label], float(active))
        yield from (phase, fault, *self._of_load())

    def _of_load(self) -> Iterator[Metric]:
        backlog = self._gauge("backlog_messages", "Offered and not finished, or held by the broker.", "case", "by")
        dead = self._gauge("dead_letter_messages", "In the dead letter place, as the broker says.", "case")
        workers = self._gauge("workers", "Workers; lost: ended and not replaced.", "case", "state")
        shares = self._gauge(
            "load_core_ratio", "Most that one process of the load used of a core in its last second.", "case", "kind"
        )
        if self._trial is not None and (tick := self._tick) is not None:
            case_id = self._trial.case_id
            ledger = max(0, tick.offered - tick.finished) if tick.backlog is None else tick.backlog
            backlog.add_metric([case_id, "ledger"], ledger)
            if tick.backlog_broker is not None:
                backlog.add_metric([case_id, "broker"], tick.backlog_broker)
            if tick.dead_letters is not None:
                dead.add_metric([case_id], tick.dead_letters)
            states = {"connected": tick.workers, "disconnected": tick.workers_cut, "lost": tick.workers_lost}
            for state, count in states.items():
                workers.add_metric([case_id, state], count)
            for kind, share in tick.core_shares.items():
                shares.add_metric([case_id, kind], share)
        yield from (backlog, dead, workers, shares)

    def _gauge(self, name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{PREFIX}_{name}", meaning, labels=labels)


class MetricsServer:
    """Serves the metrics on ``127.0.0.1`` until it is closed; a listener and a context manager."""

    def __init__(self, port: int) -> None:
        """Begins to serve at ``port``, 0 = a free one.

        Raises:
            UsageError: somebody else has the port, or it cannot be had.
        """
        self._metrics = RunMetrics()
        registry = CollectorRegistry()
        registry.register(self._metrics)
        self._server: WSGIServer
        try:
            self._server, self._thread = start_http_server(port, HOST, registry)
        except OSError as error:
            taken = "another program has it" if error.errno == errno.EADDRINUSE else error.strerror
            raise UsageError(
                f"--metrics {port}: {HOST}:{port} cannot be served: {taken}",
                expected="a port of this machine that is free",
                remedy="give another port; 0 takes a free one and prints it",
            ) from error
        self.url = f"http://{HOST}:{self._server.server_port}/metrics"

    def notice(self, event: Event) -> None:
        """Takes one event."""
        self._metrics.notice(event)

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
