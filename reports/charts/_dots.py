"""Dots in rows: a row per thing that is compared, a column per figure, each figure with its words beside its dot.

What is only "at least" has an arrow; what is unknown stands in words; what is no result is grey and a cross.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.record import AtLeast, Figure, Unknown
from reports import figures
from reports.charts._axes import durations
from reports.charts._style import BLUE, GREY, INK, WIDTH_IN, figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

LABEL_IN = 2.75
_LETTERS = 39
_LETTER_IN = 0.071
_NARROW_IN = 1.1
_TICK_IN = 0.45
_LINE_IN, _GROUP_IN, _TOP_IN, _FOOT_IN, _BETWEEN_IN = 0.15, 0.3, 0.08, 0.5, 0.12


@dataclass(frozen=True, kw_only=True, slots=True)
class Dot:
    """A figure of one trial, or of all.

    Args:
        value: to be drawn; None = there are only words. words: of it. at_least: the truth is this or more. counts: it is of a valid trial.
        main: the one whose words are shown; the others are small and hollow.
    """

    value: float | None
    words: str
    at_least: bool = False
    counts: bool = True
    main: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """``cells``: of each column its dots."""

    label: str
    cells: tuple[tuple[Dot, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A figure: ``axis`` the unit below it; ``seconds``: on a log scale of durations, else from 0 up in words of ``tick``.

    ``ratios``: the lowest and the highest of ratios, which a line at 1 divides; the same in columns that are to be compared.
    """

    title: str
    axis: str
    tick: Callable[[float], str] = str
    seconds: bool = False
    ratios: tuple[float, float] | None = None


def cell(each: Sequence[Figure | None], told: Callable[[Figure | None], str], *, counts: bool) -> tuple[Dot, ...]:
    """Returns the dots of one figure of several trials; the middle one carries its words.

    Args:
        told: the words of a figure, as they stand in tables. counts: the trials are valid.
    """
    middle = figures.middle([value for value in each if value is not None]).middle
    main = next((number for number, value in enumerate(each) if value == middle), 0)
    return tuple(_of(value, told(value), counts=counts, main=number == main) for number, value in enumerate(each))


def _of(value: Figure | None, told: str, *, counts: bool, main: bool) -> Dot:
    if value is None or isinstance(value, Unknown):
        return Dot(value=None, words=told, counts=counts, main=main)
    if isinstance(value, AtLeast):  # one that says nothing has words without ≥
        known = value.at_least if told.startswith("≥") else None
        return Dot(value=known, words=told, at_least=True, counts=counts, main=main)
    return Dot(value=value, words=told, counts=counts, main=main)


def explained(dots: Sequence[Dot]) -> Iterator[str]:
    """Yields what the looks of these dots mean, as far as there is anything but a main dot of a valid trial."""
    if any(not dot.main for dot in dots):
        yield "Small hollow dots: the other trials; the words are of the middle one."
    if any(not dot.counts for dot in dots):
        yield "Grey crosses: no trial of the case is valid, so this is no result."


def draw(groups: Sequence[tuple[str, Sequence[Row]]], columns: Sequence[Column]) -> Picture:
    """Returns the picture of the rows in their groups; every panel is as high, and has the same rows."""
    labels = {id(row): _label(row.label) for _, rows in groups for row in rows}
    places: dict[int, float] = {}
    heads: list[tuple[float, str]] = []
    y_in = 0.0
    for title, rows in groups:
        heads.append((y_in + _GROUP_IN / 2, title))
        y_in += _GROUP_IN
        for row in rows:
            deep_in = 0.1 + _LINE_IN * (labels[id(row)].count("\n") + 1)
            places[id(row)] = y_in + deep_in / 2
            y_in += deep_in
    wide_in = (WIDTH_IN - LABEL_IN - 0.15 - _BETWEEN_IN * (len(columns) - 1)) / len(columns)
    head_in = _TOP_IN + _LINE_IN * max(_filled(column.title, wide_in).count("\n") + 1 for column in columns)
    height_in = head_in + y_in + _FOOT_IN
    every = [row for _, rows in groups for row in rows]
    with styled():
        whole = figure(height_in)
        whole.set_layout_engine("none")
        for at_in, title in heads:
            whole.text(0.008, 1 - (head_in + at_in) / height_in, title, va="center", fontsize=8.5, fontweight="bold")
        for row in every:
            at = 1 - (head_in + places[id(row)]) / height_in
            whole.text((LABEL_IN - 0.1) / WIDTH_IN, at, labels[id(row)], ha="right", va="center")
        for number, column in enumerate(columns):
            left = (LABEL_IN + number * (wide_in + _BETWEEN_IN)) / WIDTH_IN
            axes = whole.add_axes((left, _FOOT_IN / height_in, wide_in / WIDTH_IN, y_in / height_in))
            axes.set_ylim(y_in, 0)
            _panel(axes, column, [(places[id(row)], row.cells[number]) for row in every], wide_in)
    return whole


def _label(label: str) -> str:
    """Returns a label in lines, broken where its parts end."""
    if len(label) <= _LETTERS:
        return label
    name, _, more = label.partition(" ")
    if len(name) > _LETTERS:
        name = name.replace("@", "\n@", 1)
    return "\n".join(filter(None, (name, fill(more, _LETTERS, break_on_hyphens=False))))


def _filled(title: str, wide_in: float) -> str:
    return fill(title, int(wide_in / _LETTER_IN), break_on_hyphens=False)


def _panel(axes: Axes, column: Column, rows: Sequence[tuple[float, tuple[Dot, ...]]], wide_in: float) -> None:
    axes.set_title(_filled(column.title, wide_in), loc="left", fontsize=8)
    most = 2 if wide_in < _NARROW_IN else 3
    axes.set_xlabel(column.axis)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    drawn = [d for _, dots in rows for d in dots if d.value is not None]
    _scale(axes, column, [d.value for d in drawn if d.value is not None], most, arrows=any(d.at_least for d in drawn))
    _spaced(axes, wide_in)
    axes.grid(visible=True, axis="x")
    for y, dots in rows:
        axes.axhline(y, color=INK, lw=0.4, alpha=0.25, zorder=0)
        for each in dots:
            if each.value is not None:
                _dot(axes, column, each, each.value, y)
        for each in dots:
            if each.main:
                _words(axes, column, each, [other.value for other in dots if other.value is not None], y)


def _spaced(axes: Axes, wide_in: float) -> None:
    """Leaves out tick labels that would touch: the figures stand beside their dots anyway."""
    ticks = list(axes.get_xticks())
    kept: list[tuple[float, str]] = []
    last_in = -_TICK_IN
    for tick, label in zip(ticks, axes.xaxis.get_major_formatter().format_ticks(ticks), strict=True):
        at_in = wide_in * axes.transAxes.inverted().transform(axes.transData.transform((tick, 0)))[0]
        if 0 <= at_in <= wide_in and at_in - last_in >= _TICK_IN:
            kept.append((float(tick), label))
            last_in = at_in
    axes.set_xticks([tick for tick, _ in kept], labels=[label for _, label in kept])


def _scale(axes: Axes, column: Column, values: Sequence[float], most: int, *, arrows: bool) -> None:
    positive = [value for value in values if value > 0]
    if column.seconds:
        low, high = min(positive, default=0.1), max(positive, default=1.0)
        room = (0.75 if most > 2 else 1.4) * (1.6 if arrows else 1)  # words stand right of every dot, and of its arrow
        durations(axes, "x", low, high * max(high / low, 3.0) ** room, most)
        return
    if column.ratios is not None:
        low, high = min(column.ratios[0], 1), max(column.ratios[1], 1)
        room = max(high - low, 0.1)  # on the right, for words
        axes.set_xlim(low - 0.25 * room, high + 1.1 * room)
        axes.axvline(1, color=INK, lw=0.8)
    else:
        axes.set_xlim(0, max(positive, default=1.0) * 1.6)
    axes.xaxis.set_major_locator(MaxNLocator(most))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: column.tick(value)))


def _dot(axes: Axes, column: Column, each: Dot, x: float, y: float) -> None:
    colour = BLUE if each.counts else GREY
    x = max(x, axes.get_xlim()[0])  # a recovery of 0 s, on a log scale
    axes.plot(
        [x], [y], linestyle="", marker="o" if each.counts else "x", markersize=5.5 if each.main else 4, color=colour,
        markerfacecolor=colour if each.main and not each.at_least else "none", clip_on=False,
    )  # fmt: skip
    if each.main and not column.seconds and column.ratios is None:
        axes.plot([0, x], [y, y], color=colour, lw=1.2)
    if each.main and each.at_least:
        axes.annotate("", (x, y), (15, 0), textcoords="offset points", arrowprops={"arrowstyle": "<-", "color": colour})


def _words(axes: Axes, column: Column, each: Dot, values: Sequence[float], y: float) -> None:
    """Writes the words of the main dot right of all dots of its cell."""
    look: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 7.5}
    if each.value is None:
        look["fontstyle"] = "italic"
    low = axes.get_xlim()[0]
    if not values:
        axes.annotate(each.words, (low, y), (3, 0), **look)
        return
    beside = max(*values, low, 1.0 if column.ratios else low)  # not across the line at 1
    axes.annotate(each.words, (beside, y), (18 if each.at_least and each.value is not None else 6, 0), **look)
