"""An axis of ratios: a log scale around ×1, with ticks that people say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from reports.charts._style import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STEPS = (
    (0.98, 0.99, 1.0, 1.01, 1.02),
    (0.95, 1.0, 1.05),
    (0.9, 0.95, 1.0, 1.05, 1.1),
    (0.8, 0.9, 1.0, 1.1, 1.25),
    (0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5, 2.0),
    (0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0),
    (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
    (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
    tuple(10.0**power for power in range(-12, 13)),
    tuple(10.0**power for power in range(-12, 13, 2)),
    tuple(10.0**power for power in range(-12, 13, 4)),
)
"""Ticks from fine to coarse; every set has ×1."""
_MOST_TICKS = 5
_CLOSEST = 0.15  # of the axis, between two ticks: closer, their words run into each other
_NARROWEST = 1.02


def ratio_axis(axes: Axes, ratios: Sequence[float]) -> None:
    """Makes the x axis one of ratios that shows all of ``ratios`` (> 0) and ×1, with a line at ×1."""
    low, high = min([1 / _NARROWEST, *ratios]), max([_NARROWEST, *ratios])
    room = (high / low) ** 0.08
    low, high = low / room, high * room
    axes.set(xscale="log", xlim=(low, high))
    ticks = ticks_between(low, high)
    axes.xaxis.set_ticks(ticks, [f"×{tick:,g}" for tick in ticks])
    axes.xaxis.set_ticks([], minor=True)
    axes.axvline(1, color=INK, linewidth=0.9, zorder=1)


def ticks_between(low: float, high: float) -> list[float]:
    """Returns the ratios to write at an axis from ``low`` to ``high``: ×1, and as many more as can be read, five at most."""
    width = math.log(high / low)
    best = [1.0]
    for steps in _STEPS:
        found = [step for step in steps if low <= step <= high]
        gaps = [math.log(b / a) / width for a, b in pairwise(found)]
        if len(best) < len(found) <= _MOST_TICKS and min(gaps, default=1) >= _CLOSEST:
            best = found
    return best
