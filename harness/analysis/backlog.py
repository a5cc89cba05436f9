"""The backlog as the ledger sees it.

``measurement.md``: "*backlog* at t = identities that are at last settled or stranded, with first ``sent_ns`` ≤ t < first settle OK;
lost and vanished are left out and printed beside it (else it never returns after a loss). Its *level* = the highest 1 s mean
before the first fault." The level is taken over the baseline window, so that the jolt of warm-up does not count.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.analysis.identities import NEVER
from harness.analysis.moments import Moments
from harness.analysis.windows import Window
from harness.clock import NS_PER_S
from harness.model import Class

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

STEP_NS = 10_000_000
"""Grid on which the return to the level is looked for: 10 ms."""


class Backlog:
    """How many messages were in the queue at any moment.

    Args:
        entered_ns: first sent, of those that count. left_ns: first settle OK, ``NEVER`` for a stranded one; same shape.
    """

    def __init__(self, entered_ns: Ints, left_ns: Ints) -> None:
        self._entered = np.sort(entered_ns)
        self._left = np.sort(left_ns[left_ns != NEVER])
        # How many were in right after each entry: the only moments at which a new maximum can be reached.
        left_by_then = np.searchsorted(self._left, self._entered, "right").astype(np.int32)
        self._after_entry = np.arange(1, len(self._entered) + 1, dtype=np.int32) - left_by_then

    @classmethod
    def of(cls, moments: Moments) -> Backlog:
        """Returns the backlog of a trial."""
        member = (moments.settled_ns != NEVER) | moments.is_class(Class.STRANDED)
        member &= moments.sent_ns != NEVER
        if member.all():
            return cls(moments.sent_ns, moments.settled_ns)
        return cls(moments.sent_ns[member], moments.settled_ns[member])

    def at(self, t_ns: int) -> int:
        """Returns the backlog at a moment."""
        entered = np.searchsorted(self._entered, t_ns, "right")
        return int(entered - np.searchsorted(self._left, t_ns, "right"))

    def highest(self, window: Window) -> int:
        """Returns the largest backlog of a window, 0 for an empty one."""
        best = 0
        for start, end in window:
            first, last = np.searchsorted(self._entered, [start, end], "left")
            inside = self._after_entry[first:last]
            best = max(best, self.at(start), int(inside.max()) if len(inside) else 0)
        return best

    def grown(self, window: Window) -> int:
        """Returns backlog at the end − at the start, summed over the window's intervals."""
        return sum(self.at(end) - self.at(start) for start, end in window)

    def means(self, start_ns: int, width_ns: int, count: int) -> Floats:
        """Returns the mean backlog over each of ``count`` slices of ``width_ns`` from ``start_ns`` on."""
        edges = start_ns + width_ns * np.arange(count)
        before_edge = np.searchsorted(self._entered, edges, "left") - np.searchsorted(self._left, edges, "left")
        # An entry at t raises the mean of its slice by the part of the slice that is left after t; a leave lowers it.
        gained = self._rest_of_slice(self._entered, start_ns, width_ns, count)
        dropped = self._rest_of_slice(self._left, start_ns, width_ns, count)
        means: Floats = before_edge + (gained - dropped) / width_ns
        return means

    @staticmethod
    def _rest_of_slice(t_ns: Ints, start_ns: int, width_ns: int, count: int) -> Floats:
        first, last = np.searchsorted(t_ns, [start_ns, start_ns + width_ns * count], "left")
        since = t_ns[first:last] - start_ns
        left_of_slice = (width_ns - since % width_ns).astype(np.float64)
        return np.bincount(since // width_ns, weights=left_of_slice, minlength=count).astype(np.float64, copy=False)

    def level(self, baseline: Window) -> float | None:
        """Returns the highest 1 s mean of the baseline (of all of it where it is shorter), None without a baseline."""
        if not baseline:
            return None
        start, end = baseline[0]
        seconds = (end - start) // NS_PER_S
        if not seconds:
            return float(self.means(start, end - start, 1)[0])
        return float(self.means(start, NS_PER_S, seconds).max())

    def back_at(self, level: float, from_ns: int, until_ns: int) -> int | None:
        """Returns the first moment, on a grid of 10 ms from ``from_ns`` on, of which the second that follows has a mean of at
        most ``level``; None when there is none whose second ends by ``until_ns``.

        A mean, since the level is one: right after a heal the backlog is low for a moment, as nothing was sent meanwhile.
        """
        steps = (until_ns - from_ns) // STEP_NS
        per_second = NS_PER_S // STEP_NS
        if steps < per_second:
            return None
        sums = np.concatenate([[0.0], np.cumsum(self.means(from_ns, STEP_NS, steps))])
        next_second = (sums[per_second:] - sums[:-per_second]) / per_second
        good = np.flatnonzero(next_second <= level + 1e-6)  # a millionth of a message: rounding of the sums
        return from_ns + int(good[0]) * STEP_NS if len(good) else None
