"""The whole distribution of a latency, as points that a chart can join: every percentile that stands on enough data, and none beyond. Pure.

- Which messages: those of ``latency.end_to_end`` (``measure``), by ``intended_ns``: the same as in the printed figures.
- Exact, by nearest rank, at shares that lie evenly on an axis of nines: x = −log10(1 − share), :data:`STEP` apart; the shares that people
  name (quarters, 90 %, 95 %, 99 %, 99.9 % …) are among them.
- As in ``percentiles``: to the median in any case, above it as long as :data:`~harness.analysis.percentiles.BEYOND` messages lie beyond.
  The last point is the one with exactly that many beyond it.

Neighbours: ``percentiles`` says which are printed, ``reports.charts.percentiles`` draws them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.analysis.measure import end_ns, end_to_end, is_counted
from harness.analysis.moments import Moments
from harness.analysis.percentiles import BEYOND, Distribution
from harness.analysis.windows import all_windows, inside, limit_ns
from harness.clock import NS_PER_S
from harness.facts import TrialFacts
from harness.record import FaultResult

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STEP = 0.02
NINES = 7
"""So many are looked at: for the next one a window would need a billion messages."""

_WHOLE = 10**9  # shares are whole billionths, so that a rank is computed without rounding


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Points:
    """Exact percentiles (nearest rank) of one window, both of shape (n,), ascending.

    Args:
        share: of messages that are not later, below 1: 0, … 0.5, … 0.99, … as far as 100 messages lie beyond.
        latency_s: at that share. censored_from: index of the first that is only "at least"; n = none is.
        count: messages in the window.
    """

    share: Floats
    latency_s: Floats
    censored_from: int
    count: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curve:
    """End-to-end latencies of a trial by window (``steady``, ``whole``), as far as the window has messages."""

    windows: Mapping[str, Points]


def curve_of(moments: Moments, facts: TrialFacts, faults: Sequence[FaultResult]) -> Curve:
    """Returns the percentile curves of a trial."""
    return Curve(windows={name: points_of(spread) for name, spread in spreads(moments, facts, faults)})


def spreads(moments: Moments, facts: TrialFacts, faults: Sequence[FaultResult]) -> Iterator[tuple[str, Distribution]]:
    """Yields the end-to-end latencies of each window (``steady``, ``whole``) that has messages, with its name."""
    windows = all_windows(facts, _recovered_ns(facts, faults))
    until_ns, counted = end_ns(facts, moments), is_counted(moments)
    for name, window in (("steady", windows.steady), ("whole", windows.whole)):
        if window:
            spread = end_to_end(moments, inside(window, moments.intended_ns) & counted, until_ns)
            if len(spread.values_ns):
                yield name, spread


def points_of(spread: Distribution) -> Points:
    """Returns the curve of at least one value; sorts them in place."""
    values, count = spread.values_ns, len(spread.values_ns)
    values.sort()
    parts = _parts(count)
    chosen = values[_ranks(count, parts) - 1]
    return Points(
        share=parts / _WHOLE,
        latency_s=chosen / NS_PER_S,
        censored_from=int(np.searchsorted(chosen, spread.smallest_censored_ns)),
        count=count,
    )


def _parts(count: int) -> Ints:
    """Returns the shares of the points of that many messages, in billionths, ascending."""
    x = np.arange(0, NINES, STEP)
    nines = 10 ** np.arange(9 - NINES, 9, dtype=np.int64)
    named = [*(_WHOLE // 20 * np.array([5, 10, 15, 19])), *(_WHOLE - nines)]  # quarters, 95 %; 90 %, 99 % …
    last = max(count - BEYOND, 0) * _WHOLE // count
    parts = np.unique([*np.round((1 - 10.0**-x) * _WHOLE).astype(np.int64), *named, last])
    return parts[(parts <= _WHOLE // 2) | (_ranks(count, parts) <= count - BEYOND)]


def _ranks(count: int, parts: Ints) -> Ints:
    """Returns the nearest ranks, from 1: ⌈count · share⌉, in whole numbers."""
    return np.maximum(1, -(-count * parts // _WHOLE))


def _recovered_ns(facts: TrialFacts, faults: Sequence[FaultResult]) -> dict[int, int]:
    """Returns the end of each recovery window, as it stands in the record: recovered, or until when that was waited for."""
    found: dict[int, int] = {}
    results = {result.index: result.recovery.get("p99") for result in faults}
    for fault in facts.faults:
        if fault.injected_ns is not None and fault.healed_ns is not None:
            after = results.get(fault.index)
            found[fault.index] = (
                fault.healed_ns + round(after * NS_PER_S) if isinstance(after, float) else limit_ns(fault, facts)
            )
    return found
