"""Forest plot of a comparison: of each figure the ratio to the reference, with its interval, case below case.

It is drawn from a comparison, not from what trials left behind, so it is no ``CHART`` of every page. Neighbours: ``reports.comparison``
computes the ratios, ``reports.comparison_html`` asks for the picture.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from matplotlib.markers import MarkerStyle

from reports import ratios, words
from reports.charts import Chart, DataTable, Drawing
from reports.charts._ratios import ratio_axis
from reports.charts._style import BLUE, GREY, INK, VERMILLION, figure, styled
from reports.compared import Arm, Comparison, Difference
from reports.differences import Measured, measured, more_is_better
from reports.view import CaseView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
LINE_IN = 0.145
ROW_IN = 0.06
OPEN = 1.4
"""How far, as a ratio, a line goes on to a side without a bound."""
LONGEST = 30
"""Characters of a line of a label."""
_FILLED = "Filled: an interval that leaves ×1 out. Hollow: ×1 lies in it, or there is no interval."
_BOUNDS = "▶, ◀: at least, at most that much."
_OPEN = "A line that ends in an arrow has no bound on that side, as figures are only 'at least'."
_APART = "Every class has a reference of its own, so rows of two classes say nothing about each other."


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of every panel: a case that is compared, or the title of a group."""

    label: str
    arm: Arm | None = None

    @property
    def height(self) -> float:
        """Returns how much of the panels it takes, in inches."""
        return ROW_IN + LINE_IN * (1 + self.label.count("\n"))


def chart_of(told: Comparison) -> Chart:
    """Returns the plot as the first chart of a page."""

    def drawn(_cases: Sequence[CaseView]) -> Drawing | None:
        return forest(told)

    return Chart(position=0, of_cases=drawn)


def forest(told: Comparison) -> Drawing | None:
    """Returns the plot, None where nothing is compared."""
    rows = list(_rows(told))
    arms = [row.arm for row in rows if row.arm]
    panels = [each for each in measured(told) if any(_ratio(arm, each) is not None for arm in arms)]
    if not panels:
        return None
    groups = ", ".join(row.label for row in rows if row.arm is None)
    with styled():
        drawn = _draw(rows, panels)
    return Drawing(
        name="ratios",
        title=f"Ratios to the reference, by what a confirm survives ({groups})",
        alt=_alt(told, arms, panels),
        figure=drawn,
        table=_table(arms, panels),
        note=_note(told, arms),
    )


def _rows(told: Comparison) -> list[_Row]:
    rows: list[_Row] = []
    for group in told.groups:
        arms = [arm for arm in group.arms if any(figure.difference for figure in arm.figures.values())]
        if arms:
            rows.append(_Row(group.title))
            rows += [_Row(_lines(arm.label), arm) for arm in arms]
    return rows


def _lines(label: str) -> str:
    """Returns a label in lines that leave room for the plot, broken where its parts begin."""
    lines = [""]
    for part in re.split(r"(?=[\[@ ])|(?<=,)", label):
        if lines[-1] and len(lines[-1]) + len(part) > LONGEST:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def _ratio(arm: Arm, each: Measured) -> Difference | None:
    """Returns a difference that has a place on the axis."""
    difference = arm.figures[each.metric].difference
    return difference if difference is not None and difference.ratio else None


def _draw(rows: Sequence[_Row], panels: Sequence[Measured]) -> Figure:
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    drawn = figure(lines * (0.75 + sum(row.height for row in rows)) + 0.1)
    grid = drawn.subplots(lines, columns, squeeze=False)
    for at, axes in enumerate(grid.flat):
        if at >= len(panels):
            axes.set_visible(False)
            continue
        _panel(axes, rows, panels[at])
        if at % columns == 0:
            _label(axes, rows)
    return drawn


def _middles(rows: Sequence[_Row]) -> list[float]:
    """Returns where each row stands, in inches from the top of a panel."""
    ends = list(accumulate(row.height for row in rows))
    return [end - row.height / 2 for end, row in zip(ends, rows, strict=True)]


def _panel(axes: Axes, rows: Sequence[_Row], each: Measured) -> None:
    shown: list[float] = []
    for y, row in zip(_middles(rows), rows, strict=True):
        if row.arm is None:
            continue
        axes.axhline(y, color=INK, linewidth=0.4, alpha=0.25, zorder=0)
        if (difference := _ratio(row.arm, each)) is not None:
            shown += _mark(axes, y, difference)
    ratio_axis(axes, shown)
    axes.set(title=each.heading, xlabel="more is better" if more_is_better(each.metric) else "less is better")
    axes.set_ylim(sum(row.height for row in rows), 0)
    axes.set_yticks([])


def _label(axes: Axes, rows: Sequence[_Row]) -> None:
    axes.set_yticks(_middles(rows), [row.label for row in rows])
    for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if row.arm is None else "normal")
    axes.tick_params(axis="y", length=0)


def _mark(axes: Axes, y: float, difference: Difference) -> list[float]:
    """Draws one ratio and returns what of it must be seen."""
    assert difference.ratio is not None  # _ratio sees to it
    ratio, interval = difference.ratio, difference.interval
    sure = interval is not None and not ratios.holds_one(interval)
    marker = {"≥": ">", "≤": "<"}.get(difference.relation, "o")
    colour = (VERMILLION if ratio > 1 else BLUE) if sure else GREY
    shown = [ratio]
    if interval is not None:
        low = interval.low or min(ratio, interval.high or ratio) / OPEN
        high = interval.high or max(ratio, interval.low) * OPEN
        axes.plot([low, high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt", zorder=2)
        caps = (low, MarkerStyle("|" if interval.low else "<")), (high, MarkerStyle("|" if interval.high else ">"))
        for end, cap in caps:
            axes.plot([end], [y], color=colour, linestyle="", marker=cap, markersize=6, zorder=2)
        shown += [low, high]
    face = colour if sure else "none"
    axes.plot([ratio], [y], color=colour, linestyle="", marker=marker, markersize=5, markerfacecolor=face, zorder=3)
    return shown


def _note(told: Comparison, arms: Sequence[Arm]) -> str:
    """Returns what ×1 is, and what the marks mean."""
    references: dict[str, list[str]] = {}
    for group in told.groups:
        for arm in (arm for arm in group.arms if arm in arms):
            references.setdefault(arm.reference, []).append(group.title)
    if len(told.runs) > 1 and len(references) > len(told.groups):
        one = f"×1: the same case in {next(arm.reference for arm in arms).removesuffix(arms[0].case).strip()}."
    else:
        one = f"×1: {'; '.join(f'{titles[0]}: {label}' for label, titles in references.items())}."
    every = [figure.difference for arm in arms for figure in arm.figures.values() if figure.difference]
    bounds = any(each.relation != "=" for each in every)
    is_open = any(each.interval and not (each.interval.low and each.interval.high) for each in every)
    apart = len({group.durability_class for group in told.groups}) > 1
    return " ".join(
        [one, _FILLED, *([_BOUNDS] if bounds else []), *([_OPEN] if is_open else []), *([_APART] if apart else [])]
    )


def _alt(told: Comparison, arms: Sequence[Arm], panels: Sequence[Measured]) -> str:
    every = [d for arm in arms for each in panels if (d := _ratio(arm, each)) is not None]
    sure = sum(d.interval is not None and not ratios.holds_one(d.interval) for d in every)
    bounded = sum(d.interval is not None for d in every)
    head = f"{words.count(len(every), 'ratio')} of {words.count(len(arms), 'case')} to their reference"
    if not bounded:
        return f"{head}, without intervals."
    return f"{head}: {sure} of {bounded} intervals leave ×1 out."


def _table(arms: Sequence[Arm], panels: Sequence[Measured]) -> DataTable:
    rows = []
    for arm in arms:
        for each in panels:
            difference = _ratio(arm, each)
            if difference is None or difference.ratio is None:
                continue
            relation = f"{difference.relation} " if difference.relation != "=" else ""
            interval = ratios.interval(difference.interval) if difference.interval else difference.no_interval
            rows.append((arm.label, arm.reference, each.heading, relation + ratios.times(difference.ratio), interval))
    return DataTable(headings=("case", "reference", "figure", "ratio", "interval"), rows=tuple(rows))
