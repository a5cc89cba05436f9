"""An axis of ratios: a log scale around ×1, with ticks that people say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.charts._style import INK
from reports.ratios import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STEPS = (
    (0.98, 0.99, 1.0, 1.01, 1.02),
    (0.9, 0.95, 1.0, 1.05, 1.1),
    (0.8, 0.9, 1.0, 1.1, 1.25),
    (0.5, 0.7, 1.0, 1.4, 2.0),
    (0.25, 0.5, 1.0, 2.0, 4.0),
)
_MOST_TICKS = 5
_NARROWEST = 1.02


def ratio_axis(axes: Axes, ratios: Sequence[float]) -> None:
    """Makes the x axis one of ratios that shows all of ``ratios`` (> 0) and ×1, with a line at ×1."""
    low, high = min([1 / _NARROWEST, *ratios]), max([_NARROWEST, *ratios])
    room = (high / low) ** 0.08
    low, high = low / room, high * room
    axes.set(xscale="log", xlim=(low, high))
    ticks = ticks_between(low, high)
    axes.xaxis.set_ticks(ticks, [f"×{number(tick)}" for tick in ticks])
    axes.xaxis.set_ticks([], minor=True)
    axes.axvline(1, color=INK, linewidth=0.9, zorder=1)


def ticks_between(low: float, high: float) -> list[float]:
    """Returns three to five ratios between ``low`` and ``high``; where they lie close to 1, 1 and the ends of what is close."""
    for steps in _STEPS:
        found = [step for step in steps if low <= step <= high]
        if len(found) >= 3 and high / steps[-1] < 1.6 and steps[0] / low < 1.6:
            return found
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [10.0**d for d in decades if low <= 10.0**d <= high]
    while len(every) > _MOST_TICKS:
        every = [tick for at, tick in enumerate(every) if (at - every.index(1.0)) % 2 == 0]
    return every
