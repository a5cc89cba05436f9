"""The chart of a sweep: every figure over the values, a line per case through the medians, a dot per trial, and the knee."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from harness.analysis.sweep import Curve, Point, SweepRecord, metrics_shown
from harness.metrics import METRICS
from harness.model import TrialStatus
from harness.record import AtLeast
from reports import words
from reports.charts import DataTable, Drawing
from reports.charts._axes import durations
from reports.charts._style import INK, Line, figure, line, styled
from reports.embedding import picture as picture_of
from reports.sweep import told

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT_IN = 2.6
LOG_FROM = 8.0
"""Values of which the largest is so many times the smallest stand on a log scale."""
MOST_TICKS = 12
LETTERS = 112
"""Of a line of the legend that has the width to itself; of two beside each other each has half of them."""
LINE_IN = 0.17
GAP_IN = 0.05


def picture(record: SweepRecord) -> bytes | None:
    """Returns the chart as PNG, under its title; None where no trial left a figure."""
    drawn = drawing(record)
    return picture_of(drawn, "sweep").png if drawn else None


def drawing(record: SweepRecord) -> Drawing | None:
    """Returns the chart with its title, words and table; None where no trial left a figure."""
    curves = [curve for curve in record.curves if curve.points]
    shown = [metric for metric in metrics_shown(record.metric) if any(map(bool, _numbers(curves, metric)))]
    if not shown:
        return None
    with styled():
        names = [_name(curve) for curve in curves]
        columns = 1 if max(map(len, names)) > LETTERS // 2 else 2
        whole = figure(HEIGHT_IN * len(shown) + _legend_in(names, columns))
        panels = whole.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        places = _places(record, curves)
        for axes, metric in zip(panels, shown, strict=True):
            _panel(axes, record, curves, metric, places)
        _values(panels[-1], record, places)
        if len(curves) > 1:
            whole.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=columns)
    knees = [told.knee(record, curve) for curve in curves]
    return Drawing(
        name="sweep",
        title=told.title(record, shown, curves),
        alt=f"Lines of medians over {record.key}. {'; '.join(knees)}.",
        figure=whole,
        table=_table(record, curves, shown),
        note=f"{told.DEFINITION}; small dots are single trials.",
    )


def _legend_in(names: Sequence[str], columns: int) -> float:
    """Returns the height of the legend in inches."""
    if len(names) < 2:
        return 0.0
    lines = sum(name.count("\n") + 1 for name in names)
    return LINE_IN * math.ceil(lines / columns) + GAP_IN * len(names) / columns


def _places(record: SweepRecord, curves: Sequence[Curve]) -> dict[str, float]:
    """Returns where each value stands on the x axis; words stand at even distances."""
    points = {point.value: point.at for curve in curves for point in curve.points}
    known = {value: at for value, at in points.items() if at is not None}
    if len(known) == len(points):
        return known
    return {value: float(at) for at, value in enumerate(value for value in record.values if value in points)}


def _is_log(places: dict[str, float]) -> bool:
    least, most = min(places.values()), max(places.values())
    return least > 0 and most / least >= LOG_FROM


def _values(axes: Axes, record: SweepRecord, places: dict[str, float]) -> None:
    """Lets the x axis name every value as it was given."""
    if _is_log(places):
        axes.set_xscale("log")
    axes.set_xlabel(record.key)
    axes.set_xticks(list(places.values()), labels=list(places))
    axes.xaxis.set_minor_locator(NullLocator())
    if len(places) > MOST_TICKS or sum(map(len, places)) > 80:
        axes.tick_params(axis="x", labelrotation=30)


def _panel(axes: Axes, record: SweepRecord, curves: Sequence[Curve], metric: str, places: dict[str, float]) -> None:
    axes.set_title(_title(metric), loc="left")
    unit = METRICS[metric].unit
    numbers = [value for point in _numbers(curves, metric) for value in point]
    if unit == "s" and min(numbers) > 0:
        durations(axes, "y", min(numbers), max(numbers))
    else:
        axes.set_ylim(0, max(numbers) * 1.18 or 1.0)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=unit == "count"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words.figure(metric, float(value))))
    axes.grid(visible=True, axis="y")
    for number, curve in enumerate(curves):
        look = line(number)
        _line(axes, curve, metric, places, look)
        _dots(axes, curve, metric, places, look)
        _gaps(axes, curve, places, number, look)
        if metric == record.metric:
            _knee(axes, curve, metric, places, look)


def _name(curve: Curve) -> str:
    """Returns a case with what its confirms survive, in lines: curves of different durability do not compete."""
    return fill(f"{curve.label}: {told.durabilities([curve])}", LETTERS, break_on_hyphens=False)


def _title(metric: str) -> str:
    better = "more is better" if METRICS[metric].higher_is_better else "less is better"
    return f"{told.name_of(metric)} ({better})"


def _line(axes: Axes, curve: Curve, metric: str, places: dict[str, float], look: Line) -> None:
    """Draws the medians; where one is unknown the line has a gap."""
    medians = [(places[point.value], _median(point, metric)) for point in curve.points]
    axes.plot(
        [at for at, _ in medians], [value for _, value in medians], color=look.colour, linestyle=look.dash,
        marker=look.marker, markersize=5, label=_name(curve), clip_on=False,
    )  # fmt: skip
    for point in curve.points:
        seen = point.seen[metric].median
        if isinstance(seen, AtLeast):
            axes.annotate(
                "", (places[point.value], seen.at_least), (0, 16), textcoords="offset points",
                arrowprops={"arrowstyle": "<-", "color": look.colour},
            )  # fmt: skip


def _dots(axes: Axes, curve: Curve, metric: str, places: dict[str, float], look: Line) -> None:
    for point in curve.points:
        each = [value for value in point.seen[metric].each if isinstance(value, float)]
        if len(each) > 1:
            axes.plot(
                [places[point.value]] * len(each), each, linestyle="", marker="o", markersize=3.5, markerfacecolor="none",
                color=look.colour, clip_on=False,
            )  # fmt: skip


def _gaps(axes: Axes, curve: Curve, places: dict[str, float], number: int, look: Line) -> None:
    """Says where a value of the ``number``-th curve has no valid trial."""
    for point in curve.points:
        if not any(trial.status is TrialStatus.VALID for trial in point.case.trials):
            axes.annotate(
                "no valid trial", (places[point.value], 0), (0, 4 + 10 * number), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha="center", fontsize=7.5, fontstyle="italic", color=look.colour,
            )  # fmt: skip


def _knee(axes: Axes, curve: Curve, metric: str, places: dict[str, float], look: Line) -> None:
    if curve.knee is None or curve.knee.value is None:
        return
    point = next(point for point in curve.points if point.value == curve.knee.value)
    value = _median(point, metric)
    axes.axvline(places[point.value], color=look.colour, lw=0.8, linestyle=(0, (2, 2)), alpha=0.8, zorder=0)
    low = axes.transData.transform((1, value))[1] < axes.transAxes.transform((0, 0.1))[1]
    axes.annotate(
        f"knee at {point.value}: {words.figure(metric, value)}", (places[point.value], value), (16, 3) if low else (6, -12),
        textcoords="offset points", fontsize=8, fontweight="bold", color=INK,
    )  # fmt: skip


def _median(point: Point, metric: str) -> float:
    """Returns the median to be drawn, also where the truth is larger; not a number where there is none."""
    seen = point.seen[metric].median
    if isinstance(seen, AtLeast):
        return seen.at_least
    return seen if isinstance(seen, float) else math.nan


def _numbers(curves: Sequence[Curve], metric: str) -> list[list[float]]:
    """Returns of every point all numbers that are drawn."""
    found = []
    for point in (point for curve in curves for point in curve.points):
        each = [value for value in point.seen[metric].each if isinstance(value, float)]
        found.append([value for value in (*each, _median(point, metric)) if not math.isnan(value)])
    return found


def _table(record: SweepRecord, curves: Sequence[Curve], shown: Sequence[str]) -> DataTable:
    rows = [
        (curve.label, point.value, *(told.cell(point, metric)[0] for metric in shown), told.counted(point))
        for curve in curves
        for point in curve.points
    ]
    return DataTable(headings=("case", record.key, *map(told.name_of, shown), "valid trials"), rows=tuple(rows))
