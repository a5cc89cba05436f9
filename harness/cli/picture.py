"""What can be said of a run at one moment, from the events so far: pure, so that the live view only has to draw it."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

from harness import histogram
from harness.clock import NS_PER_S
from harness.run.progress import CaseStarted, Event, FaultHealed, FaultInjected, PhaseChanged, Tick

STALE_S = 1.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """The last second, and the counts so far.

    Args:
        offered_per_s, confirmed_per_s, delivered_per_s: None before a second has been seen.
        tail_s: p99 of the end-to-end latencies of the last second; None = nothing was delivered. tail_name: ``p99``, or ``max`` where
            fewer than 100 deliveries make them the same.
        quiet_s: time since the last delivery; None = there was none yet.
    """

    offered_per_s: float | None
    confirmed_per_s: float | None
    delivered_per_s: float | None
    tail_s: float | None
    tail_name: str
    quiet_s: float | None
    backlog: int
    backlog_broker: int | None
    rejected: int
    unknown: int
    redelivered: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ActiveFault:
    """A fault that lasts: since when, and when it is due to be healed (negative = overdue, None = not before the load ends)."""

    label: str
    since_s: float
    left_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveSnapshot:
    """The run at one moment. ``silent_s``: how old the newest counts are, where they are too old to be shown as of now."""

    case: CaseStarted | None
    phase: PhaseChanged | None
    elapsed_s: float
    rates: Rates | None
    silent_s: float | None
    faults: tuple[ActiveFault, ...]


class Picture:
    """Takes events from any thread and tells what holds at a moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._case: CaseStarted | None = None
        self._phase: PhaseChanged | None = None
        self._faults: dict[int, FaultInjected] = {}
        self._ticks: deque[Tick] = deque()
        self._delivered_ns: int | None = None

    def notice(self, event: Event) -> None:
        """Takes one event."""
        with self._lock:
            match event:
                case CaseStarted():
                    self._case = event
                    self._clear()
                case PhaseChanged():
                    self._phase = event
                case FaultInjected():
                    self._faults[event.index] = event
                case FaultHealed():
                    self._faults.pop(event.index, None)
                case Tick():
                    self._tick(event)

    def at(self, now_ns: int) -> LiveSnapshot:
        """Returns the run as it is at ``now_ns``."""
        with self._lock:
            phase = self._phase
            age_s = (now_ns - self._ticks[-1].t_ns) / NS_PER_S if self._ticks else 0.0
            return LiveSnapshot(
                case=self._case,
                phase=phase,
                elapsed_s=max(0.0, (now_ns - phase.t_ns) / NS_PER_S) if phase else 0.0,
                rates=self._rates(now_ns) if self._ticks else None,
                silent_s=age_s if age_s > STALE_S else None,
                faults=tuple(_active(fault, now_ns) for fault in self._faults.values()),
            )

    def _clear(self) -> None:
        self._phase = None
        self._faults.clear()
        self._ticks.clear()
        self._delivered_ns = None

    def _tick(self, tick: Tick) -> None:
        if tick.delivered > (self._ticks[-1].delivered if self._ticks else 0):
            self._delivered_ns = tick.t_ns
        self._ticks.append(tick)
        while (
            len(self._ticks) > 2 and self._ticks[1].t_ns <= tick.t_ns - NS_PER_S
        ):  # the oldest is a second old, or all there is
            self._ticks.popleft()

    def _rates(self, now_ns: int) -> Rates:
        old, new = self._ticks[0], self._ticks[-1]
        span_s = (new.t_ns - old.t_ns) / NS_PER_S

        def rate(name: str) -> float | None:
            # Not below 0: the counts of a shard that was killed may be missing from the newest sum.
            return max(0, getattr(new, name) - getattr(old, name)) / span_s if span_s > 0 else None

        counts = np.where(new.latency > old.latency, new.latency - old.latency, 0) if span_s > 0 else new.latency
        few = int(counts.sum()) < 100
        return Rates(
            offered_per_s=rate("offered"),
            confirmed_per_s=rate("confirmed"),
            delivered_per_s=rate("delivered"),
            tail_s=histogram.percentile_s(counts, 99),
            tail_name="max" if few else "p99",
            quiet_s=None if self._delivered_ns is None else max(0, now_ns - self._delivered_ns) / NS_PER_S,
            backlog=max(0, new.offered - new.finished) if new.backlog is None else new.backlog,
            backlog_broker=new.backlog_broker,
            rejected=new.rejected,
            unknown=new.unknown,
            redelivered=new.redelivered,
        )


def _active(fault: FaultInjected, now_ns: int) -> ActiveFault:
    since_s = max(0, now_ns - fault.t_ns) / NS_PER_S
    return ActiveFault(
        label=fault.label, since_s=since_s, left_s=None if fault.hold_s is None else fault.hold_s - since_s
    )
