"""Every case in a small picture of its own, all on the same axes: what was delivered and how late, moment by moment.

Neighbours: ``harness.analysis.series`` computes it, ``_shades`` draws the faults as in the timeline.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.analysis.series import Floats, Series
from harness.record import AtLeast, Unknown
from harness.units import format_count, format_duration, format_rate
from reports import figures, words
from reports.charts import Chart, DataTable, Drawing
from reports.charts._axes import durations
from reports.charts._shades import shade
from reports.charts._style import BLUE, GREY, INK, ORANGE, SKY, VERMILLION, Line, figure, styled
from reports.charts._words import (
    FIRST,
    Group,
    counted,
    durability,
    groups,
    marked,
    status_of_case,
    title_of_all,
    without_ceilings,
)
from reports.view import CaseView, TrialView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "The cases beside each other"
COLUMNS = 3
SPANS = 10
"""Of the table, per case."""
_PHASE = Line(INK, (0, (2, 3)))
P50, P99 = Line(SKY, (0, (3, 1))), Line(BLUE, "-")
_GROUP_IN, _FOOT_IN = 0.36, 0.3
_LINE_IN, _RATES_IN, _GAP_IN, _LATENCY_IN, _BELOW_IN = 0.15, 0.85, 0.09, 0.72, 0.46
_LEFT_IN, _BETWEEN_IN = 0.72, 0.2
"""Inches: heights of what stands below each other, from a title's line to what an axis needs; and widths."""
_LETTERS = 42

_NOTE = "All panels have the same axes. The p99 is that of the messages due in a slice; it has a gap where fewer than 100 were."
_NEVER = "▲ at the upper edge: some of the messages due then never came."
_MIDDLE = "Of several trials the one with the middle p99 is shown."
_NO_RESULT = "Grey: no trial of the case is valid, so this is no result."
_MISSING = "Nothing to draw for {}."


@dataclass(frozen=True, slots=True)
class _Shown:
    """The trial of a case that is drawn."""

    view: CaseView
    trial: TrialView
    series: Series


@dataclass(frozen=True, slots=True)
class _Scale:
    """What all panels show: from when until when, up to which rate, and between which latencies (None = there is none)."""

    t_s: tuple[float, float]
    rate_per_s: float
    latency_s: tuple[float, float] | None


def of_cases(views: Sequence[CaseView]) -> Drawing | None:
    """Draws a panel per case, by durability class; None where fewer than two left anything to draw.

    Ceilings are left out: next to them nothing could be seen of the other rates.
    """
    wanted = without_ceilings(views)
    shown = {id(view): chosen for view in wanted if (chosen := _chosen(view)) is not None}
    if len(shown) < 2:
        return None
    drawn = [
        (group, [shown[id(view)] for view in group.views if id(view) in shown])
        for group in groups(wanted)
        if any(id(view) in shown for view in group.views)
    ]
    every = [each for _, members in drawn for each in members]
    return Drawing(
        name="multiples",
        title=title_of_all(TITLE, [each.view for each in every]),
        alt=_alt(every),
        figure=_figure(drawn, _scale([each.series for each in every])),
        table=_table(every),
        note=" ".join(_notes(every, [view for view in wanted if id(view) not in shown])),
    )


def _chosen(view: CaseView) -> _Shown | None:
    """Returns the trial with the middle p99 of those that count."""
    there = [trial for trial in counted(view) if trial.series is not None]
    there.sort(key=_p99)
    if not there:
        return None
    trial = there[len(there) // 2]
    return None if trial.series is None else _Shown(view, trial, trial.series)


def _p99(trial: TrialView) -> float:
    found = figures.look(trial.record, "latency.end_to_end.p99")[0]
    if found is None or isinstance(found, Unknown):
        return np.inf
    return found.at_least if isinstance(found, AtLeast) else found


def _notes(every: Sequence[_Shown], missing: Sequence[CaseView]) -> Iterable[str]:
    yield _NOTE
    if any(np.isinf(each.series.p99_s).any() or np.isinf(each.series.p50_s).any() for each in every):
        yield _NEVER
    if any(len(counted(each.view)) > 1 for each in every):
        yield _MIDDLE
    if any(status_of_case(each.view) for each in every):
        yield _NO_RESULT
    if missing:
        yield _MISSING.format(", ".join(marked(view.label, view) for view in missing))


def _scale(every: Sequence[Series]) -> _Scale:
    latencies = np.concatenate([np.concatenate([series.p50_s, series.p99_s]) for series in every])
    finite = latencies[np.isfinite(latencies) & (latencies > 0)]
    return _Scale(
        t_s=(min(float(s.edges_s[0]) for s in every), max(float(s.edges_s[-1]) for s in every)),
        rate_per_s=max(float(max(s.offered.max(), s.delivered.max())) for s in every) or 1.0,
        latency_s=(float(finite.min()), float(finite.max())) if len(finite) else None,
    )


def _figure(drawn: Sequence[tuple[Group, list[_Shown]]], scale: _Scale) -> Figure:
    """Places every panel by hand: only so are all of one size."""
    titles = max(_title(each.view).count("\n") + 1 for _, members in drawn for each in members)
    cell_in = titles * _LINE_IN + _RATES_IN + _GAP_IN + _LATENCY_IN + _BELOW_IN
    rows = sum(-(-len(members) // COLUMNS) for _, members in drawn)
    height_in = len(drawn) * _GROUP_IN + rows * cell_in + _FOOT_IN
    with styled():
        whole = figure(height_in)
        whole.set_layout_engine("none")
        y_in = height_in
        for group, members in drawn:
            whole.text(0.01, (y_in - 0.08) / height_in, group.title, va="top", fontsize=9, fontweight="bold")
            y_in -= _GROUP_IN
            for number, shown in enumerate(members):
                column = number % COLUMNS
                last = number + COLUMNS >= len(members)
                _cell(whole, shown, scale, (column, y_in - titles * _LINE_IN), last=last)
                if column == COLUMNS - 1 or number == len(members) - 1:
                    y_in -= cell_in
        every = [each for _, members in drawn for each in members]
        whole.legend(handles=_handles(every), loc="lower left", bbox_to_anchor=(0.005, 0), ncols=7)
    return whole


def _cell(whole: Figure, shown: _Shown, scale: _Scale, at: tuple[int, float], *, last: bool) -> None:
    """Draws the rates of a case, and under them its latencies.

    Args:
        at: the column, and the upper edge in inches from the foot of the figure. last: no other stands below it.
    """
    column, top_in = at
    width_in, height_in = whole.get_size_inches()
    wide_in = (width_in - _LEFT_IN - _BETWEEN_IN * (COLUMNS - 1) - 0.1) / COLUMNS
    left = (_LEFT_IN + column * (wide_in + _BETWEEN_IN)) / width_in
    low_in = top_in - _RATES_IN - _GAP_IN - _LATENCY_IN
    upper = whole.add_axes((left, (top_in - _RATES_IN) / height_in, wide_in / width_in, _RATES_IN / height_in))
    lower = whole.add_axes((left, low_in / height_in, wide_in / width_in, _LATENCY_IN / height_in))
    _rates(upper, shown, scale)
    _latencies(lower, shown, scale)
    for axes, name in ((upper, "rates"), (lower, "latency")):
        axes.set_xlim(*scale.t_s)
        axes.grid(visible=True)
        shade(axes, shown.series, f"{shown.view.record.slug}-{name}")
        axes.tick_params(labelleft=not column)
    upper.tick_params(labelbottom=False)
    upper.set_title(_title(shown.view), loc="left", fontsize=8)
    if last:
        lower.set_xlabel("seconds since the start of steady")
    if not column:
        upper.set_ylabel("messages/s")
        lower.set_ylabel("latency")
        whole.align_ylabels([upper, lower])


def _title(view: CaseView) -> str:
    """Returns the label and under it the durability of a case, and that it is no result where no trial is valid."""
    label = view.label if len(view.label) <= _LETTERS else view.label.replace("@", "\n@", 1)
    told = [fill(line, _LETTERS, break_on_hyphens=False) for line in (*label.split("\n"), durability(view.record))]
    return "\n".join(filter(None, (*told, status_of_case(view))))


def _colour(shown: _Shown, colour: str) -> str:
    return GREY if status_of_case(shown.view) else colour


def _rates(axes: Axes, shown: _Shown, scale: _Scale) -> None:
    series = shown.series
    axes.stairs(series.offered, series.edges_s, fill=True, color=GREY, alpha=0.25, lw=0)
    axes.stairs(series.delivered, series.edges_s, color=_colour(shown, ORANGE), lw=1.3, baseline=None)
    axes.set_ylim(0, scale.rate_per_s * 1.06)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_count(value)))


def _latencies(axes: Axes, shown: _Shown, scale: _Scale) -> None:
    series = shown.series
    middles = (series.edges_s[:-1] + series.edges_s[1:]) / 2
    if scale.latency_s is None:
        axes.set_yticks([])
        return
    for values, pen in ((series.p50_s, P50), (series.p99_s, P99)):
        drawn = np.where(np.isfinite(values) & (values > 0), values, np.nan)
        axes.plot(middles, drawn, color=_colour(shown, pen.colour), linestyle=pen.dash, lw=1.2)
    durations(axes, "y", *scale.latency_s, most=4)
    never = np.isinf(series.p99_s) | np.isinf(series.p50_s)
    top = axes.get_ylim()[1]
    axes.plot(
        middles[never], np.full(int(never.sum()), top), linestyle="", marker="^", markersize=3.5,
        color=_colour(shown, P99.colour), clip_on=False,
    )  # fmt: skip


def _dash(pen: Line) -> dict[str, Any]:
    return {"linestyle": pen.dash}


def _handles(every: Sequence[_Shown]) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = [
        Patch(facecolor=GREY, alpha=0.25, label="offered"),
        Line2D([], [], color=ORANGE, lw=1.3, label=FIRST["delivered"]),
        Line2D([], [], color=P50.colour, **_dash(P50), label="p50"),
        Line2D([], [], color=P99.colour, **_dash(P99), label="p99"),
    ]
    if any(len(each.series.phases) > 1 for each in every):
        handles.append(Line2D([], [], color=INK, lw=0.6, **_dash(_PHASE), label="steady, then drain, begins"))
    if any(each.series.faults for each in every):
        handles.append(Patch(facecolor=VERMILLION, alpha=0.32, label="fault"))
        handles.append(Patch(facecolor=VERMILLION, alpha=0.11, label="until recovered"))
    return handles


def _table(every: Sequence[_Shown]) -> DataTable:
    """Returns of each case up to :data:`SPANS` spans of equal length: the mean rates, and the highest p50 and p99 of a slice."""
    rows = [row for each in every for row in _rows(each)]
    headings = (
        "case",
        "durability",
        "from",
        "until",
        "offered",
        FIRST["delivered"],
        "highest p50",
        "highest p99",
        "fault",
    )
    return DataTable(headings=headings, rows=tuple(rows))


def _rows(shown: _Shown) -> Iterable[tuple[str, ...]]:
    series = shown.series
    edges = np.unique(np.linspace(0, len(series.offered), SPANS + 1).astype(int))
    for first, last in pairwise(map(int, edges)):
        start_s, end_s = float(series.edges_s[first]), float(series.edges_s[last])
        struck = [f.name for f in series.faults if f.start_s < end_s and (f.end_s is None or f.end_s > start_s)]
        yield (
            marked(shown.view.label, shown.view),
            durability(shown.view.record),
            f"{start_s:.1f} s",
            f"{end_s:.1f} s",
            format_rate(float(series.offered[first:last].mean())),
            format_rate(float(series.delivered[first:last].mean())),
            _highest(series.p50_s[first:last]),
            _highest(series.p99_s[first:last]),
            ", ".join(struck),
        )


def _highest(values: Floats) -> str:
    known = values[~np.isnan(values)]
    if not len(known):
        return words.NOT_MEASURED
    return "some never came" if np.isinf(known).any() else format_duration(float(known.max()))


def _alt(every: Sequence[_Shown]) -> str:
    """Returns of each case the lowest and the highest rate at which was delivered, and the highest p99 of a slice."""
    told = [
        f"{marked(each.view.label, each.view)}: delivered {format_rate(float(each.series.delivered.min()))} to "
        f"{format_rate(float(each.series.delivered.max()))}, highest p99 {_highest(each.series.p99_s)}"
        for each in every
    ]
    return f"A small picture per case, on the same axes, of rate and latency over time. {'; '.join(told)}."


CHART = Chart(position=15, of_cases=of_cases)
