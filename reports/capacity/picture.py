"""The chart of a search: latency over the offered rate, a panel per case, with the bound, the capacity and what does not hold."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from matplotlib.ticker import FuncFormatter, NullLocator

from harness.analysis.capacity import CapacityRecord, Searched
from harness.analysis.rate_search import Shown
from harness.units import format_duration, format_rate
from reports import words
from reports.capacity import told
from reports.charts import DataTable, Drawing
from reports.charts._axes import durations
from reports.charts._style import BLUE, GREEN, GREY, INK, PURPLE, VERMILLION, Line, figure, styled
from reports.embedding import picture as picture_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT_IN = 3.4
LOW_IN = 1.9
"""Of a panel beside many others."""
MOST_IN_LINE = 4
"""Panels one below the other; more stand in two columns."""
LETTERS = 100
"""Of a panel's title in one line, over the whole width."""
LINE_IN = 0.16
SHADE = 0.12
LOOKS = {
    Shown.HOLDS: Line(GREEN, marker="o"),
    Shown.MISSED: Line(VERMILLION, marker="x"),
    Shown.GENERATOR: Line(PURPLE, marker="^"),
    Shown.UNTOLD: Line(GREY, marker="D"),
}
ROUND = (1, 1.5, 2, 3, 4, 5, 6, 8)


def picture(record: CapacityRecord) -> bytes | None:
    """Returns the chart as PNG, under its title; None where no trial left a figure."""
    drawn = drawing(record)
    return picture_of(drawn, "capacity").png if drawn else None


def drawing(record: CapacityRecord) -> Drawing | None:
    """Returns the chart with its title, words and table; None where no trial left a figure."""
    metric = told.headline_metric(record)
    shown = [searched for searched in record.searches if _dots(searched, metric)]
    if not shown:
        return None
    with styled():
        whole, panels = _panels(record, shown)
        _scales(panels, record, shown, metric)
        for axes, searched in zip(panels, shown, strict=True):
            _panel(axes, record, searched, metric)
        _legend(whole, panels)
    answers = "; ".join(f"{each.case.id}: {told.rate(each)}, {told.sentence(each)}" for each in shown)
    return Drawing(
        name="capacity",
        title=told.title(record),
        alt=f"Dots of {told.name_of(metric)} over the offered rate, one per trial. {answers}.",
        figure=whole,
        table=_table(record, shown),
        note=next(iter(told.notes(record))),
    )


def _panels(record: CapacityRecord, shown: Sequence[Searched]) -> tuple[Figure, list[Axes]]:
    """Returns a figure with a panel per case under its title, which is broken into lines that fit."""
    columns = 1 if len(shown) <= MOST_IN_LINE else 2
    rows = -(-len(shown) // columns)
    every_title = map(told.panel_title, shown) if told.several(record) else ()
    titles = [textwrap.wrap(title, LETTERS // columns, break_on_hyphens=False) for title in every_title]
    lines = max(map(len, titles), default=0)
    whole = figure(((HEIGHT_IN if len(shown) <= 2 else LOW_IN) + LINE_IN * lines) * rows)
    every = list(whole.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for axes in every[len(shown) :]:
        axes.set_visible(False)
    panels = every[: len(shown)]
    for axes, title in zip(panels, titles, strict=False):
        axes.set_title("\n".join(title), loc="left")
    for axes in panels[-columns:]:
        axes.set_xlabel("offered rate")
        axes.tick_params(labelbottom=True)
    return whole, panels


def _dots(searched: Searched, metric: str) -> list[tuple[float, float, Shown]]:
    """Returns rate, latency and what was shown, of every trial that has the latency and was not interrupted."""
    probes = [probe for each in told.rates(searched) for probe in each.probes]
    found = [(probe.rate_per_s, told.number(probe.seen.get(metric)), probe.shown) for probe in probes]
    return [(rate, value, shown) for rate, value, shown in found if value is not None and value > 0]


def _scales(panels: Sequence[Axes], record: CapacityRecord, shown: Sequence[Searched], metric: str) -> None:
    every = [dot for searched in shown for dot in _dots(searched, metric)]
    limits = [asked.limit for asked in record.asked if asked.metric == metric]
    values = [value for _, value, _ in every] + limits
    low, high = min(rate for rate, _, _ in every) * 0.85, max(rate for rate, _, _ in every) * 1.18
    ticks = [round_ * 10.0**power for power in range(-2, 9) for round_ in ROUND if low <= round_ * 10.0**power <= high]
    while len(ticks) > (10 if len(panels) <= MOST_IN_LINE else 5):
        ticks = ticks[::2]
    for axes in panels:
        durations(axes, "y", (0.8 if len(panels) <= 2 else 0.4) * min(values), 1.1 * max(values))  # below: the answer
        axes.set(xscale="log", xlim=(low, high))
        axes.set_xticks(ticks)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_rate(float(value))))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(visible=True, axis="y")


def _panel(axes: Axes, record: CapacityRecord, searched: Searched, metric: str) -> None:
    axes.set_ylabel(told.name_of(metric))
    for asked in record.asked:
        if asked.metric == metric:
            axes.axhline(asked.limit, color=INK, lw=1.0, linestyle=(0, (4, 2)))
            axes.annotate(
                f"bound {format_duration(asked.limit)}", (0, asked.limit), (4, 3), xycoords=("axes fraction", "data"),
                textcoords="offset points", fontsize=7.5,
            )  # fmt: skip
    dots = _dots(searched, metric)
    _middle(axes, searched, metric)
    for shown, look in LOOKS.items():
        those = [(rate, value) for rate, value, each in dots if each is shown]
        axes.plot(
            [rate for rate, _ in those], [value for _, value in those], linestyle="", marker=look.marker, markersize=6,
            color=look.colour, markerfacecolor=look.colour if shown is Shown.HOLDS else "none", markeredgewidth=1.5,
            label=shown.value if those else f"_{shown.value}",
        )  # fmt: skip
    _answer(axes, searched)


def _middle(axes: Axes, searched: Searched, metric: str) -> None:
    """Draws a thin line through the middle of the trials that speak for what was shown at each rate."""
    points = []
    for each in told.rates(searched):
        values = [value for probe in each.deciding if (value := told.number(probe.seen.get(metric)))]
        if values:
            points.append((each.rate_per_s, median(values)))
    axes.plot([rate for rate, _ in points], [value for _, value in points], color=BLUE, lw=1.0, alpha=0.7, zorder=1)


def _answer(axes: Axes, searched: Searched) -> None:
    """Marks the capacity, and shades what is above it."""
    if searched.rate_per_s is None:
        return
    axes.axvline(searched.rate_per_s, color=INK, lw=1.0, zorder=0)
    if searched.above_per_s is not None:
        colour = LOOKS[searched.above or Shown.MISSED].colour
        axes.axvspan(searched.above_per_s, axes.get_xlim()[1], color=colour, alpha=SHADE, lw=0, zorder=0)
    words_ = {"found": "capacity ", "at_least": "at least "}.get(searched.found, "held, not confirmed: ")
    axes.annotate(
        f"{words_}{format_rate(searched.rate_per_s)}", (searched.rate_per_s, 0), (-5, 5), xycoords=("data", "axes fraction"),
        textcoords="offset points", ha="right", fontsize=8, fontweight="bold", color=INK,
    )  # fmt: skip


def _legend(whole: Figure, panels: Sequence[Axes]) -> None:
    """Names each sign once, over all panels."""
    found = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        found.update(
            {label: handle for label, handle in zip(labels, handles, strict=True) if not label.startswith("_")}
        )
    whole.legend(list(found.values()), list(found), loc="outside upper left", ncols=len(found))


def _table(record: CapacityRecord, shown: Sequence[Searched]) -> DataTable:
    columns = told.columns(record)
    rows = []
    for searched in shown:
        for each in told.rates(searched):
            cells = [told.cell(each, metric) for metric in columns]
            rows.append(
                (searched.case.id, format_rate(each.rate_per_s), f"{each.held} of {len(each.probes)}", *cells,
                 each.shown.value, "; ".join(each.reasons) or words.NOT_MEASURED)
            )  # fmt: skip
    headings = ("case", "rate", "held", *map(told.name_of, columns), "shown", "why not")
    return DataTable(headings=headings, rows=tuple(rows))
