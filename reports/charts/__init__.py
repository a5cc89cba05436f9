"""Charts: each is one file, a function from what a run left behind to a figure with its words and its table.

A module here that does not begin with ``_`` has a constant ``CHART``; that is all that a new one needs (docs/adding-a-chart.md).
matplotlib is imported by those modules only, and they are imported when a page is made: ``brokerbench run`` starts without it.

Neighbours: ``reports.view`` reads what a chart is drawn from, ``reports.html`` puts it on the page.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from reports.view import CaseView

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True, slots=True)
class DataTable:
    """The data of a figure for those who cannot see it, in words with units; every row as long as ``headings``."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A figure and all that stands around it.

    Args:
        name: of its file under ``charts/``, without suffix: the chart's and, of one case, the case's slug.
        title: with the durability setting of every setup that is shown. alt: what is to be seen in it, in a sentence or two.
        figure: transparent, drawn with ``charts._style``. table: its data. note: what a reader must know of it; "" = nothing.
    """

    name: str
    title: str
    alt: str
    figure: Figure
    table: DataTable
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """What a chart's module declares.

    Args:
        position: charts stand on the page by it.
        of_case: draws one case; None where it has nothing to show. of_cases: draws several beside each other, of one run or of several.
    """

    position: int
    of_case: Callable[[CaseView], Drawing | None] | None = None
    of_cases: Callable[[Sequence[CaseView]], Drawing | None] | None = None


def names() -> list[str]:
    """Returns the names of the charts' modules; imports none."""
    return [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]


def chart(name: str) -> Chart:
    """Returns one chart; imports matplotlib."""
    found: Chart = import_module(f"{__name__}.{name}").CHART
    return found


def charts() -> list[Chart]:
    """Returns the charts of this package by position; imports matplotlib."""
    return sorted(map(chart, names()), key=lambda each: each.position)
