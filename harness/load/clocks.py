"""How far another machine's ``CLOCK_MONOTONIC`` stands from ours, and how well that is known. Pure: times are given, none is taken.

A *look* is one question and its answer. The agent heard the question after it was asked and answered before the answer came, so the
offset (its clock less ours) lies between two bounds that are one round trip apart (Cristian 1989). Two clocks run at different
rates, by little: within ``rate`` seconds per second, a bound known at one time holds at another when it is widened by ``rate`` × the
time between. The highest lower and the lowest upper bound of all looks enclose the truth at every moment (Marzullo 1984); what is
used is the middle, and half their distance is the error.

``RATE`` is assumed: quartz is within 100 ppm, and a disciplined clock far better. Looks that contradict each other disprove it; then
it is doubled until they agree, and the error grows with it. Looks are taken before, during and after the load, so that there is never
much time to be bridged; over a cut of the connection the error grows and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

RATE = 100e-6
_MOST_DOUBLINGS = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One question and its answer, in ns: asked and answered by our clock, heard and said by the other."""

    asked_ns: int
    heard_ns: int
    said_ns: int
    answered_ns: int

    @property
    def round_trip_ns(self) -> int:
        """Returns how long it travelled, there and back."""
        return (self.answered_ns - self.asked_ns) - (self.said_ns - self.heard_ns)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """The offset at one moment: ``offset_ns`` ± ``error_ns``."""

    offset_ns: int
    error_ns: int


class Offset:
    """The offset of another clock over the time in which it was looked at.

    Args:
        looks: at least one. rate: assumed bound on the difference of the rates.
        same: the system says that it is one clock (same boot, same time namespace): the offset is 0 unless a look disproves it.
    """

    def __init__(self, looks: Sequence[Look], *, rate: float = RATE, same: bool = False) -> None:
        if not looks:
            raise ValueError("no look at the other clock; expected one or more")
        ordered = sorted(looks, key=lambda look: look.asked_ns + look.answered_ns)
        self._base_ns = ordered[0].heard_ns - ordered[0].asked_ns
        self._zero_ns = ordered[0].asked_ns
        asked, heard, said, answered = (
            np.array([getattr(look, f"{name}_ns") for look in ordered], np.int64)
            for name in ("asked", "heard", "said", "answered")
        )
        t_ns = (asked + answered) / 2 - self._zero_ns
        lower = (said - answered - self._base_ns).astype(np.float64)
        upper = (heard - asked - self._base_ns).astype(np.float64)
        self.exact = same and bool(((lower + self._base_ns <= 0) & (upper + self._base_ns >= 0)).all())
        self.rate = rate
        for _ in range(_MOST_DOUBLINGS):
            slack = self.rate * (answered - asked)  # the bounds hold at two moments within the round trip
            low = -_lowest(t_ns, -(lower - slack), self.rate)
            high = _lowest(t_ns, upper + slack, self.rate)
            if (low <= high + 1).all():  # 1 ns: what rounding takes
                break
            self.rate *= 2
        self._t_ns: Floats = t_ns
        self._middle: Floats = (low + high) / 2
        self._error: Floats = np.maximum(high - low, 0) / 2

    def at(self, t_ns: int) -> Estimate:
        """Returns the offset at a moment of our clock."""
        if self.exact:
            return Estimate(offset_ns=0, error_ns=0)
        at = t_ns - self._zero_ns
        nearest = np.abs(self._t_ns - at)
        error = float((self._error + 2 * self.rate * nearest).min())
        middle = float(np.interp(at, self._t_ns, self._middle))
        return Estimate(offset_ns=self._base_ns + round(middle), error_ns=int(np.ceil(error)) + 1)

    def error_ns(self, first_ns: int, last_ns: int) -> int:
        """Returns the largest error between two moments of our clock."""
        if self.exact:
            return 0
        first, last = (float(t_ns - self._zero_ns) for t_ns in (first_ns, last_ns))
        inside = (self._t_ns > first) & (self._t_ns < last)
        t_ns = np.concatenate([[first], self._t_ns[inside], [last]])
        ends = [float(self.at(moment_ns).error_ns) for moment_ns in (first_ns, last_ns)]
        error = np.concatenate([ends[:1], self._error[inside], ends[1:]])
        between = (error[1:] + error[:-1]) / 2 + self.rate * np.diff(t_ns)  # where what two looks leave is equal
        return int(np.ceil(max(error.max(), between.max()))) + 1

    def to_ours(self, theirs_ns: Ints) -> Ints:
        """Returns times of the other clock in ours."""
        if self.exact:
            return theirs_ns
        at = (theirs_ns - (self._base_ns + self._zero_ns)).astype(np.float64)
        shift = np.interp(at, self._t_ns + self._middle, self._middle)
        ours: Ints = theirs_ns - self._base_ns - np.rint(shift).astype(np.int64)
        return ours

    def to_theirs(self, ours_ns: int) -> int:
        """Returns a time of our clock in the other."""
        return ours_ns + self.at(ours_ns).offset_ns


def _lowest(t_ns: Floats, bound: Floats, rate: float) -> Floats:
    """Returns at each time the lowest of all bounds, each widened by ``rate`` × the time to it (times ascending)."""
    forward = np.minimum.accumulate(bound - rate * t_ns) + rate * t_ns
    backward = np.minimum.accumulate((bound + rate * t_ns)[::-1])[::-1] - rate * t_ns
    lowest: Floats = np.minimum(forward, backward)
    return lowest
