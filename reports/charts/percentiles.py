"""How late messages came, all of them: a line per trial over an axis of nines, which ends where the data end.

Neighbours: ``harness.analysis.curve`` computes the points.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D

from harness.analysis.curve import Points
from harness.analysis.percentiles import BEYOND, TOO_SMALL
from harness.model import TrialStatus
from harness.units import format_count, format_duration
from reports.charts import Chart, DataTable, Drawing
from reports.charts._axes import durations, nines, share_name, x_of_share
from reports.charts._style import INK, Line, figure, line, styled
from reports.charts._words import (
    OUT,
    Group,
    counted,
    groups,
    is_closed_loop,
    marked,
    name_of,
    status_of_case,
    title_of,
    title_of_all,
    trial_name,
    without_ceilings,
)
from reports.view import CaseView, TrialView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

WINDOWS = {"steady": "steady: without warm-up, faults, recoveries", "whole": "whole run, faults and recoveries in it"}
TITLE = "How late messages came (end to end)"
SHARES = (0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999)
"""Of the table's columns; those that no line reaches fall away."""

MARKED = (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)
EACH = 14
"""Points between two ▲."""
LETTERS = 58
"""Letters of a legend's line."""
_ONLY = "trial 1"
_AT_LEAST_PEN: dict[str, Any] = {"linestyle": "", "marker": "^", "markersize": 4, "markerfacecolor": "none"}

_ENDS = f"A line reaches the median, and goes on as long as {BEYOND} messages lie beyond it: what comes further out is chance."
_FEW = f"Where a line is made of fewer than {2 * BEYOND} messages, fewer lie beyond its median."
_AT_LEAST = "Dashed from ▲ on: at least that late; some messages never came."
_CLOSED = "Closed loop: the load sent as fast as it was let, so these latencies are not those of a rate."
_UNDRAWABLE = "Latencies of 0 or less, which clocks that differ make, are in the table only."
_NO_RESULT = "Grey and dotted: not valid, so no result."


@dataclass(frozen=True, slots=True)
class _Curve:
    """One line of a panel. ``name``: in the table. ``legend``: in the legend; the trials of a case share one."""

    name: str
    legend: str
    points: Points
    look: Line


def of_case(view: CaseView) -> Drawing | None:
    """Draws every trial of a case; None where none left a latency behind."""
    windows = _windows([view])
    if not windows:
        return None
    panels = {
        window: [
            _Curve(name := trial_name(trial.record), name, points, _look(trial, trial.record.number - 1))
            for trial, points in _points(view.trials, window)
        ]
        for window in windows
    }
    group = Group("", "", (view,))
    title = f"{title_of(TITLE, view)} {status_of_case(view)}".strip()
    return _drawing(f"percentiles-{view.record.slug}", title, [(group, panels)])


def of_cases(views: Sequence[CaseView]) -> Drawing | None:
    """Draws cases over each other, never those of different durability in one panel; None where fewer than two left a latency behind.

    Ceilings are left out: their latencies are those of queues that are kept full.
    """
    shown = without_ceilings(views)
    windows = _windows(shown)
    drawn = []
    for group in groups(shown):
        there = Group(group.name, group.title, tuple(view for view in group.views if _windows([view])))
        if there.views:
            drawn.append((there, {window: list(_curves_of(there, window)) for window in windows}))
    members = [view for group, _ in drawn for view in group.views]
    return _drawing("percentiles", title_of_all(TITLE, members), drawn) if len(members) > 1 else None


def _windows(views: Sequence[CaseView]) -> list[str]:
    """Returns the windows that are worth a panel: the whole run only where faults make it another one, or nothing is steady."""
    there = {name for view in views for trial in view.trials if trial.curve for name in trial.curve.windows}
    struck = any(fault.injected_s is not None for view in views for t in view.trials for fault in t.record.faults)
    return [name for name in WINDOWS if name in there and (name == "steady" or struck or "steady" not in there)]


def _points(trials: Iterable[TrialView], window: str) -> list[tuple[TrialView, Points]]:
    return [(t, t.curve.windows[window]) for t in trials if t.curve is not None and window in t.curve.windows]


def _look(trial: TrialView, number: int) -> Line:
    return line(number) if trial.record.status is TrialStatus.VALID else OUT


def _curves_of(group: Group, window: str) -> Iterable[_Curve]:
    for number, view in enumerate(group.views):
        trials = _points(counted(view), window)
        for trial, points in trials:
            legend = marked(name_of(view), view)
            name = f"{legend}, trial {trial.record.number}" if len(trials) > 1 else legend
            yield _Curve(name, legend, points, _look(trial, number))


_Drawn = list[tuple[Group, dict[str, list[_Curve]]]]


def _drawing(name: str, title: str, drawn: _Drawn) -> Drawing:
    curves = [curve for _, panels in drawn for each in panels.values() for curve in each]
    positive = [float(s) for curve in curves for s in curve.points.latency_s if s > 0] or [1e-3]
    return Drawing(
        name=name,
        title=title,
        alt=_alt(drawn),
        figure=_figure(drawn, (min(positive), max(positive)), max(float(c.points.share[-1]) for c in curves)),
        table=_table(drawn),
        note=" ".join(_notes(drawn, curves)),
    )


def _notes(drawn: _Drawn, curves: list[_Curve]) -> Iterable[str]:
    yield _ENDS
    if any(curve.points.count < 2 * BEYOND for curve in curves):
        yield _FEW
    if any(curve.points.censored_from < len(curve.points.share) for curve in curves):
        yield _AT_LEAST
    if any(curve.look is OUT for curve in curves):
        yield _NO_RESULT
    if any(is_closed_loop(view) for group, _ in drawn for view in group.views):
        yield _CLOSED
    if any((curve.points.latency_s <= 0).any() for curve in curves):
        yield _UNDRAWABLE


@dataclass(frozen=True, slots=True)
class _Frame:
    """What all panels share: the latencies and the largest share that they show, whether a row is as wide as the page, lines of a legend."""

    latencies_s: tuple[float, float]
    largest: float
    wide: bool
    lines: int


def _figure(drawn: _Drawn, latencies_s: tuple[float, float], largest: float) -> Figure:
    windows = list(drawn[0][1])
    columns = min(2, len(drawn)) if len(windows) == 1 else 1
    rows = -(-len(drawn) // columns)
    lines = max(_lines(_handles(panels)) for _, panels in drawn)
    frame = _Frame(latencies_s, largest, columns == 1, lines)
    with styled():
        whole = figure(rows * (3.1 + 0.17 * (-(-lines // 2) if frame.wide else lines)))
        parts = np.ravel(whole.subfigures(rows, columns, squeeze=False))
        for part, (group, panels) in zip(parts, drawn, strict=False):
            _row(part, group, panels, frame)
    return whole


def _row(part: SubFigure, group: Group, panels: dict[str, list[_Curve]], frame: _Frame) -> None:
    """Draws one group: a panel per window, and its legend under them."""
    every = part.subplots(1, len(panels), squeeze=False)[0]
    for axes, (window, curves) in zip(every, panels.items(), strict=True):
        for curve in curves:
            _draw(axes, curve, alone=len(curves) == 1 and not group.name and curve.look is not OUT)
        durations(axes, "y", *frame.latencies_s)
        nines(axes, frame.largest)
        axes.grid(visible=True)
        axes.set_xlabel("share of messages that came no later (scale of nines)")
        axes.set_title(WINDOWS[window], loc="left")
    every[0].set_ylabel("end-to-end latency")
    if group.name:
        title = group.title if frame.wide else group.name
        part.suptitle(title, x=0.01, ha="left", fontsize=9, fontweight="bold")
    handles = _handles(panels)
    if not frame.wide:  # panels beside each other stay equally high
        handles += [Line2D([], [], linestyle="", label=" ")] * (frame.lines - _lines(handles))
    if handles:
        columns = 2 if frame.wide and len(handles) > 1 else 1
        part.legend(handles=handles, loc="outside lower left", ncols=columns)


def _legend(panels: dict[str, list[_Curve]]) -> dict[str, Line]:
    return {curve.legend: curve.look for curves in panels.values() for curve in curves}


def _lines(handles: Sequence[Line2D]) -> int:
    return sum(str(handle.get_label()).count("\n") + 1 for handle in handles)


def _handles(panels: dict[str, list[_Curve]]) -> list[Line2D]:
    """Returns the legend's entries; a single valid trial needs none."""
    every = [curve for curves in panels.values() for curve in curves]
    named = _legend(panels)
    handles = [
        Line2D([], [], **_pen(look), markersize=4, label=fill(name, LETTERS, break_on_hyphens=False))
        for name, look in named.items()
    ]
    if list(named) == [_ONLY]:
        handles = []
    if any(curve.points.censored_from < len(curve.points.share) for curve in every):
        handles.append(Line2D([], [], **_AT_LEAST_PEN, color=INK, label="at least: some never came"))
    return handles


def _pen(look: Line) -> dict[str, Any]:
    return {"color": look.colour, "linestyle": look.dash, "marker": look.marker, "linewidth": 1.1}


def _draw(axes: Axes, curve: _Curve, *, alone: bool) -> None:
    """Draws a line with its marker at the shares that have a name, and what is only "at least" dashed with ▲."""
    points, look = curve.points, curve.look
    x, y = x_of_share(points.share), np.where(points.latency_s > 0, points.latency_s, np.nan)
    first = points.censored_from
    named = [int(at) for at in np.flatnonzero(np.isin(points.share[:first], MARKED))]
    axes.plot(x[:first], y[:first], **_pen(look), markersize=3.5, markevery=named)
    if first < len(x):
        from_last = slice(max(first - 1, 0), None)
        axes.plot(x[from_last], y[from_last], color=look.colour, linestyle=(0, (2, 2)), linewidth=1.1)
        spaced = [*range(first, len(x) - EACH // 2, EACH), len(x) - 1]
        axes.plot(x[spaced], y[spaced], **_AT_LEAST_PEN, color=look.colour)
    else:
        axes.plot(x[-1:], y[-1:], linestyle="", marker="|", markersize=7, color=look.colour)
    if alone:
        for at in named:
            _tell(axes, float(x[at]), float(y[at]))


def _tell(axes: Axes, x: float, y: float) -> None:
    axes.annotate(format_duration(y), (x, y), (4, -11), textcoords="offset points", fontsize=7.5)


def _table(drawn: _Drawn) -> DataTable:
    """Returns a row per line: how many messages, the latency at the shares that have a name, and where the line ends."""
    lines = [(window, curve) for _, panels in drawn for window, curves in panels.items() for curve in curves]
    shares = [share for share in SHARES if any(share <= curve.points.share[-1] for _, curve in lines)]
    headings = ["line", "window", "messages", *map(share_name, shares), f"with {BEYOND} messages beyond"]
    rows = [
        (
            curve.name,
            window,
            format_count(curve.points.count),
            *(_at(curve.points, share) for share in shares),
            _last(curve.points),
        )
        for window, curve in lines
    ]
    return DataTable(headings=tuple(headings), rows=tuple(rows))


def _at(points: Points, share: float) -> str:
    found = np.flatnonzero(points.share == share)
    return _latency(points, int(found[0])) if len(found) else TOO_SMALL.unknown


def _last(points: Points) -> str:
    if points.count < 2 * BEYOND:
        return TOO_SMALL.unknown
    return f"{_latency(points, len(points.share) - 1)} at {float(points.share[-1]) * 100:.4g} %"


def _latency(points: Points, at: int) -> str:
    told = format_duration(float(points.latency_s[at]))
    return f"≥ {told}" if at >= points.censored_from else told


def _alt(drawn: _Drawn) -> str:
    """Returns of each group, and within it of each window, between which latencies the medians and the ends of the lines lie."""
    told = []
    for group, panels in drawn:
        for window, curves in panels.items():
            if curves:
                medians = _range([curve.points for curve in curves], 0.5)
                ends = _range([curve.points for curve in curves], 1)
                told.append(
                    f"{f'{group.name}, ' if group.name else ''}{window}: medians {medians}, at the end of the lines {ends}"
                )
    return f"Curves of latency over the share of messages that came no later. {'; '.join(told)}."


def _range(each: Sequence[Points], share: float) -> str:
    """Returns the latencies at a share, or at the last one before it, from the lowest line to the highest."""
    found = [(points, int(np.searchsorted(points.share, share, "right")) - 1) for points in each]
    found.sort(key=lambda pair: float(pair[0].latency_s[pair[1]]))
    ends = dict.fromkeys(_latency(*pair) for pair in (found[0], found[-1]))
    return " to ".join(ends)


CHART = Chart(position=30, of_case=of_case, of_cases=of_cases)
