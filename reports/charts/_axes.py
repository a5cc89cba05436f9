"""Axes that several charts have: durations on a log scale in human units, and shares on a scale of nines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from harness.units import format_duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = npt.NDArray[np.float64]


def durations(axes: Axes, which: Literal["x", "y"], low_s: float, high_s: float, most: int = 7) -> None:
    """Makes an axis a log scale of durations that shows ``low_s`` to ``high_s`` (> 0), with round ticks, ``most`` of them at the most."""
    low_s, high_s = low_s * 0.85, max(high_s, low_s * 1.6) * 1.15
    axes.set(**{f"{which}scale": "log", f"{which}lim": (low_s, high_s)})
    axis = axes.xaxis if which == "x" else axes.yaxis
    ticks = _ticks(low_s, high_s, most)
    axis.set_ticks(ticks, [format_duration(tick) for tick in ticks])
    axis.set_ticks([], minor=True)


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Returns round values from ``low`` to ``high``: at 1, 2 and 5 where there is room, else at fewer, at last at some decades."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [t for d in decades for step in steps if low <= (t := float(f"{step}e{d}")) <= high]
        if len(found) <= most:
            return found
    return found[:: -(-len(found) // most)]


def x_of_share(share: Floats) -> Floats:
    """Returns where a share of 1 stands on a scale of nines: 0.9 at 1, 0.99 at 2, 0.999 at 3."""
    return -np.log10(1 - share)


def nines(axes: Axes, largest: float) -> None:
    """Makes the x axis a scale of nines up to a share (of 1): 0, 50 %, 90 %, 99 %, 99.9 % …"""
    end = float(x_of_share(np.array(largest)))
    axes.set_xlim(-0.03, max(end * 1.03, 0.4))
    whole = range(1, math.floor(end + 0.03) + 1)
    axes.set_xticks([0, math.log10(2), *whole], ["0", "50 %", *(share_name(1 - 10.0**-n) for n in whole)])


def share_name(share: float) -> str:
    """Returns a share in percent: ``50 %``, ``99.9 %``."""
    return f"{round(share * 100, 6):g} %"
