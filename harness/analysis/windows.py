"""The windows of a trial, from its facts, and the arithmetic on them.

``measurement.md``: *Baseline* = from the end of warm-up to 1 s before the first fault, fixed once. *Fault* = 1 s before inject →
healed. *Recovery* = healed → recovered. *Steady* = the load after warm-up less the union of fault and recovery windows. *Whole* =
the whole load, warm-up included. *Drain* = from the end of the load until the workers stopped.

An interval is a pair ``(start_ns, end_ns)``, its end not included; a window is a tuple of disjoint intervals in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from harness.clock import NS_PER_S
from harness.facts import FaultRecord, TrialFacts

Interval = tuple[int, int]
Window = tuple[Interval, ...]
Ints = npt.NDArray[np.int64]

BEFORE_FAULT_NS = NS_PER_S


def union(intervals: Iterable[Interval]) -> Window:
    """Returns the same moments as disjoint intervals in order; empty ones vanish."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if end <= start:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return tuple(merged)


def less(window: Window, without: Iterable[Interval]) -> Window:
    """Returns the moments of ``window`` that lie in none of ``without``."""
    rest = list(window)
    for hole_start, hole_end in union(without):
        pieces = ((start, end, min(end, hole_start), max(start, hole_end)) for start, end in rest)
        rest = [part for start, end, left, right in pieces for part in ((start, left), (right, end))]
        rest = [(start, end) for start, end in rest if end > start]
    return tuple(sorted(rest))


def length_s(window: Window) -> float:
    """Returns the seconds that a window covers."""
    return sum(end - start for start, end in window) / NS_PER_S


def inside(window: Window, t_ns: Ints) -> npt.NDArray[np.bool_]:
    """Returns which moments lie in the window, shape (n,) → (n,)."""
    found = np.zeros(len(t_ns), bool)
    for start, end in window:
        found |= (t_ns >= start) & (t_ns < end)
    return found


def count_inside(window: Window, t_ns: Ints) -> int:
    """Returns how many moments lie in the window."""
    return sum(int(np.count_nonzero((t_ns >= start) & (t_ns < end))) for start, end in window)


def covered_ns(start_ns: Ints, end_ns: Ints, window: Window) -> int:
    """Returns for how many ns of the window at least one of the spans [start, end) lasts (their union, not their sum)."""
    order = np.argsort(start_ns, kind="stable")
    start, end = start_ns[order], np.maximum.accumulate(end_ns[order]) if len(order) else end_ns
    total = 0
    for first, last in window:
        begin = np.clip(start, first, last)
        finish = np.clip(end, first, last)
        # Of each span count what the spans before it have not covered yet.
        reached = np.concatenate([[first], finish[:-1]])
        total += int(np.maximum(finish - np.maximum(begin, reached), 0).sum())
    return total


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """The windows of one trial; an empty tuple = there is none.

    Args:
        baseline, steady, whole, drain: as the module's text says.
        fault, recovery: by ``FaultRecord.index``.
    """

    baseline: Window = ()
    steady: Window = ()
    whole: Window = ()
    drain: Window = ()
    fault: Mapping[int, Window] = field(default_factory=dict)
    recovery: Mapping[int, Window] = field(default_factory=dict)

    def measured(self) -> dict[str, Window]:
        """Returns the windows that are printed, by their names of ``record.md``; ``steady`` is missing where it is empty."""
        faults = {f"fault[{index}]": window for index, window in self.fault.items()}
        recoveries = {f"recovery[{index}]": window for index, window in self.recovery.items()}
        named = {"steady": self.steady, "whole": self.whole, **faults, **recoveries}
        return {name: window for name, window in named.items() if window}


def injected(faults: Sequence[FaultRecord]) -> list[FaultRecord]:
    """Returns the faults that fired, in the order of their injection."""
    return sorted((f for f in faults if f.injected_ns is not None), key=lambda f: (f.injected_ns or 0, f.index))


def limit_ns(fault: FaultRecord, facts: TrialFacts) -> int:
    """Returns until when the recovery from a fault can be seen: the next inject, or the end of the load."""
    healed = fault.healed_ns if fault.healed_ns is not None else fault.injected_ns or 0
    later = [f.injected_ns for f in facts.faults if f.injected_ns is not None and f.injected_ns > healed]
    return min([*later, facts.load_end_ns if facts.load_end_ns is not None else healed])


def baseline_window(facts: TrialFacts) -> Window:
    """Returns the baseline; without a fault it lasts as long as the load."""
    if facts.steady_start_ns is None or facts.load_end_ns is None:
        return ()
    fired = injected(facts.faults)
    end = (fired[0].injected_ns or 0) - BEFORE_FAULT_NS if fired else facts.load_end_ns
    return union([(facts.steady_start_ns, min(end, facts.load_end_ns))])


def all_windows(facts: TrialFacts, recovered_ns: Mapping[int, int]) -> Windows:
    """Returns all windows.

    Args:
        facts: phases and faults.
        recovered_ns: fault index → end of its recovery window: recovered, or until when that was waited for.
    """
    if facts.load_start_ns is None or facts.load_end_ns is None:
        return Windows()
    load_end = facts.load_end_ns
    fault: dict[int, Window] = {}
    recovery: dict[int, Window] = {}
    for record in injected(facts.faults):
        healed = record.healed_ns if record.healed_ns is not None else max(load_end, record.injected_ns or 0)
        fault[record.index] = union([((record.injected_ns or 0) - BEFORE_FAULT_NS, healed)])
        if record.healed_ns is not None and record.index in recovered_ns:
            recovery[record.index] = union([(healed, recovered_ns[record.index])])
    disturbed = [interval for window in (*fault.values(), *recovery.values()) for interval in window]
    steady_start = facts.steady_start_ns if facts.steady_start_ns is not None else load_end
    return Windows(
        baseline=baseline_window(facts),
        steady=less(union([(steady_start, load_end)]), disturbed),
        whole=union([(facts.load_start_ns, load_end)]),
        drain=union([(load_end, facts.drain_end_ns if facts.drain_end_ns is not None else load_end)]),
        fault=fault,
        recovery=recovery,
    )
