"""How every chart looks: colours that colour-blind readers can tell, dashes and markers beside them, one ink.

Colours are Okabe and Ito's (https://jfly.uni-koeln.de/color/). The ink is one colour that nothing else has: the page puts its own
text colour in its place, so that one picture serves light and dark.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.figure import Figure

INK = "#7a7b7d"
"""Of text, axes and ticks; grey enough to be read on white and on black where a picture stands alone."""

WIDTH_IN = 9.0
"""Of every figure: 900 px at :data:`DPI`, where text of 9 points can be read at the page's width."""

DPI = 100


@dataclass(frozen=True, slots=True)
class Line:
    """How one thing is drawn wherever it is shown."""

    colour: str
    dash: str | tuple[int, tuple[int, ...]] = "-"
    marker: str = ""


BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#999999"

RATES = {
    "offered": Line(GREY, (0, (1, 1))),
    "confirmed": Line(BLUE, "-"),
    "delivered": Line(ORANGE, "--"),
    "settled": Line(GREEN, "-."),
}

SERIES = (
    Line(BLUE, "-", "o"),
    Line(VERMILLION, "--", "s"),
    Line(GREEN, "-.", "^"),
    Line(ORANGE, ":", "D"),
    Line(PURPLE, (0, (5, 1)), "v"),
    Line(SKY, (0, (3, 1, 1, 1)), "P"),
    Line(GREY, (0, (1, 1)), "X"),
)
"""Setups beside each other, in this order; after the last it begins again with other dashes."""


def line(number: int) -> Line:
    """Returns how the ``number``-th of several (from 0) is drawn; those that share a colour differ in dash and marker."""
    each = SERIES[number % len(SERIES)]
    if number < len(SERIES):
        return each
    other = SERIES[(number + number // len(SERIES)) % len(SERIES)]
    return Line(each.colour, other.dash, other.marker)


@contextmanager
def styled() -> Iterator[None]:
    """Draws with the ink, transparent, text as text; nothing outside the block is changed."""
    with mpl.rc_context(
        {
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlecolor": INK,
            "axes.titlesize": 9,
            "axes.labelsize": 8,
            "figure.dpi": DPI,
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.facecolor": "none",
            "font.family": "DejaVu Sans",
            "font.size": 8,
            "grid.color": INK,
            "grid.alpha": 0.25,
            "grid.linewidth": 0.5,
            "legend.frameon": False,
            "legend.fontsize": 8,
            "legend.labelcolor": INK,
            "lines.linewidth": 1.3,
            "svg.fonttype": "none",
            "svg.hashsalt": "brokerbench",  # the same data give the same file
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "xtick.labelsize": 8,
            "ytick.labelsize": 8,
        }
    ):
        yield


def figure(height_in: float) -> Figure:
    """Returns an empty figure of the page's width, with no global state behind it."""
    return Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
