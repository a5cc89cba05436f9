"""What can be said of a run at one moment, from the events so far: pure, so that the live view only has to draw it."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from harness import histogram
from harness.cli.sparks import UNHEARD, Slice
from harness.clock import NS_PER_S
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

STALE_S = 1.5
KEPT_S = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """The last second, and the counts so far.

    Args:
        offered_per_s, confirmed_per_s, delivered_per_s: None before a second has been seen.
        tail_s: p99 of the end-to-end latencies of the last second; None = nothing was delivered. tail_name: ``p99``, or ``max`` where
            fewer than 100 deliveries make them the same.
        quiet_s: time since the last delivery; None = there was none yet.
        dead_letters: None = unknown, or the broker has no place for them. lost: workers that ended and were not replaced.
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
    dead_letters: int | None
    workers_cut: int
    workers_lost: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ActiveFault:
    """A fault that lasts: since when, and when it is due to be healed (negative = overdue, None = not before the load ends)."""

    label: str
    since_s: float
    left_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DueFault:
    """A fault that is to strike in ``in_s`` (negative = overdue), and to be healed ``hold_s`` later (None = not before the load ends)."""

    label: str
    in_s: float
    hold_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CaseLine:
    """A case of the run: ``record`` as it was when its last trial ended; ``history``: the newest seconds of its load, oldest first.

    The same object as long as nothing changes, so that what is made of it can be kept.
    """

    record: CaseRecord
    running: bool
    history: tuple[Slice, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveSnapshot:
    """The run at one moment.

    Args:
        elapsed_s: of the phase. silent_s: how old the newest counts are, where they are too old to be shown as of now.
        due: faults to come, the next one first. cases: all of the run, in order; () before it has started.
        case_left_s, run_left_s: about how long this case and the run will take yet; None where a run has not started.
    """

    run: RunStarted | None
    case: CaseStarted | None
    phase: PhaseChanged | None
    elapsed_s: float
    rates: Rates | None
    silent_s: float | None
    faults: tuple[ActiveFault, ...]
    due: tuple[DueFault, ...]
    cases: tuple[CaseLine, ...]
    history: tuple[Slice, ...]
    case_left_s: float | None
    run_left_s: float | None


@dataclass
class _Case:
    record: CaseRecord
    history: deque[Slice] = field(default_factory=lambda: deque(maxlen=KEPT_S))
    line: CaseLine | None = None  # None = something has changed

    def shown(self, *, running: bool) -> CaseLine:
        if self.line is None or self.line.running != running:
            self.line = CaseLine(record=self.record, running=running, history=tuple(self.history))
        return self.line


class Picture:
    """Takes events from any thread and tells what holds at a moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._run: RunStarted | None = None
        self._cases: dict[str, _Case] = {}
        self._took_s: list[float] = []
        self._case: CaseStarted | None = None
        self._running = False
        self._phase: PhaseChanged | None = None
        self._planned: dict[int, FaultPlanned] = {}
        self._faults: dict[int, FaultInjected] = {}
        self._healed: list[tuple[int, int]] = []  # from when to when each fault lasted that is over
        self._ticks: deque[Tick] = deque()
        self._sliced: Tick | None = None  # where the newest slice ends
        self._history: deque[Slice] = deque(maxlen=KEPT_S)
        self._idle: list[Slice] = []  # seconds of a drain in which nothing has come so far: perhaps its quiet end
        self._delivered_ns: int | None = None

    def notice(self, event: Event) -> None:
        """Takes one event."""
        with self._lock:
            match event:
                case RunStarted():
                    self._run = event
                    self._cases = {record.id: _Case(record) for record in event.cases}
                case CaseStarted():
                    self._begin(event)
                case PhaseChanged():
                    self._phase = event
                case FaultPlanned():
                    self._planned[event.index] = event
                case FaultInjected():
                    self._planned.pop(event.index, None)
                    self._faults[event.index] = event
                case FaultHealed():
                    if (fault := self._faults.pop(event.index, None)) is not None:
                        self._healed.append((fault.t_ns, event.t_ns))
                case Tick():
                    self._tick(event)
                case CaseFinished():
                    self._running = False
                    if (case := self._cases.get(event.case.id)) is not None:
                        case.record, case.line = event.case, None

    def at(self, now_ns: int) -> LiveSnapshot:
        """Returns the run as it is at ``now_ns``."""
        with self._lock:
            phase = self._phase
            age_s = (now_ns - self._ticks[-1].t_ns) / NS_PER_S if self._ticks else 0.0
            elapsed_s = max(0.0, (now_ns - phase.t_ns) / NS_PER_S) if phase else 0.0
            case_left_s, run_left_s = self._left(now_ns, elapsed_s)
            running = self._case.case_id if self._case is not None and self._running else None
            return LiveSnapshot(
                run=self._run,
                case=self._case,
                phase=phase,
                elapsed_s=elapsed_s,
                rates=self._rates(now_ns) if self._ticks else None,
                silent_s=age_s if age_s > STALE_S else None,
                faults=tuple(_active(fault, now_ns) for fault in self._faults.values()),
                due=tuple(_due(fault, now_ns) for fault in sorted(self._planned.values(), key=lambda f: f.t_ns)),
                cases=tuple(case.shown(running=case_id == running) for case_id, case in self._cases.items()),
                history=tuple(self._history),
                case_left_s=case_left_s,
                run_left_s=run_left_s,
            )

    def _begin(self, event: CaseStarted) -> None:
        if self._case is not None:
            self._took_s.append((event.t_ns - self._case.t_ns) / NS_PER_S)
        self._case, self._phase, self._running = event, None, True
        self._planned.clear()
        self._faults.clear()
        self._healed.clear()
        self._ticks.clear()
        self._idle.clear()
        self._sliced, self._delivered_ns = None, None
        case = self._cases.get(event.case_id)
        self._history = case.history if case is not None else deque(maxlen=KEPT_S)
        if self._history:
            self._history.append(UNHEARD)  # between two trials

    def _tick(self, tick: Tick) -> None:
        if tick.delivered > (self._ticks[-1].delivered if self._ticks else 0):
            self._delivered_ns = tick.t_ns
        self._ticks.append(tick)
        while (
            len(self._ticks) > 2 and self._ticks[1].t_ns <= tick.t_ns - NS_PER_S
        ):  # the oldest is a second old, or all there is
            self._ticks.popleft()
        self._slice(tick)

    def _slice(self, tick: Tick) -> None:
        """Ends a slice where a second is over; seconds of which nothing was heard stay empty before it."""
        old = self._sliced
        if old is None:
            self._sliced = tick
            return
        seconds = (tick.t_ns - old.t_ns) // NS_PER_S
        if seconds < 1:
            return
        self._idle += [UNHEARD] * min(KEPT_S, seconds - 1)
        delivered = max(0, tick.delivered - old.delivered)
        rate_per_s = delivered * NS_PER_S / (tick.t_ns - old.t_ns)
        tail_s = histogram.percentile_s(_since(old, tick), 99) if delivered else None
        self._idle.append(Slice(rate_per_s, tail_s, self._lasted(old.t_ns, tick.t_ns)))
        if delivered or self._phase is None or not self._phase.limit:
            self._history.extend(self._idle)
            self._idle.clear()
            if self._case is not None and (case := self._cases.get(self._case.case_id)) is not None:
                case.line = None
        self._sliced = tick

    def _lasted(self, start_ns: int, end_ns: int) -> bool:
        """Returns whether a fault lasted at some moment between."""
        lasts = any(fault.t_ns < end_ns for fault in self._faults.values())
        return lasts or any(began_ns < end_ns and over_ns > start_ns for began_ns, over_ns in self._healed)

    def _left(self, now_ns: int, elapsed_s: float) -> tuple[float | None, float | None]:
        """Returns how long the case and the run will take yet, from how long trials took so far."""
        run, case = self._run, self._case
        if run is None:
            return None, None
        each_s = sum(self._took_s) / len(self._took_s) if self._took_s else run.trial_s
        if case is None:
            return None, each_s * run.trials * sum(not one.unavailable for one in run.cases)
        left_s = max(0.0, each_s - (now_ns - case.t_ns) / NS_PER_S)
        phase = self._phase
        if phase is not None and phase.length_s is not None and not phase.limit:
            left_s = max(left_s, phase.length_s - elapsed_s)
        if not self._running:
            left_s = 0.0
        case_left_s = left_s + each_s * (case.trials - case.trial)
        later = sum(not one.unavailable for one in run.cases[case.number :])
        return case_left_s, case_left_s + each_s * run.trials * later

    def _rates(self, now_ns: int) -> Rates:
        old, new = self._ticks[0], self._ticks[-1]
        span_s = (new.t_ns - old.t_ns) / NS_PER_S

        def rate(name: str) -> float | None:
            # Not below 0: the counts of a shard that was killed may be missing from the newest sum.
            return max(0, getattr(new, name) - getattr(old, name)) / span_s if span_s > 0 else None

        counts = _since(old, new) if span_s > 0 else new.latency
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
            dead_letters=new.dead_letters,
            workers_cut=new.workers_cut,
            workers_lost=new.workers_lost,
        )


def _since(old: Tick, new: Tick) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.where(new.latency > old.latency, new.latency - old.latency, 0)


def _active(fault: FaultInjected, now_ns: int) -> ActiveFault:
    since_s = max(0, now_ns - fault.t_ns) / NS_PER_S
    return ActiveFault(
        label=fault.label, since_s=since_s, left_s=None if fault.hold_s is None else fault.hold_s - since_s
    )


def _due(fault: FaultPlanned, now_ns: int) -> DueFault:
    return DueFault(label=fault.label, in_s=(fault.t_ns - now_ns) / NS_PER_S, hold_s=fault.hold_s)
