"""What became of every message: from attempted over confirmed, delivered and settled to its class, as bands that split; below, every mark.

Neighbours: ``harness.analysis.flow`` counts the ways, ``words`` names classes and marks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.colors import to_rgba
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from harness.analysis.flow import Way, added
from harness.model import LOSS_CLASSES, Class, Mark
from harness.units import format_count
from reports import words
from reports.charts import Chart, DataTable, Drawing
from reports.charts._style import GREEN, GREY, INK, SKY, VERMILLION, figure, styled
from reports.charts._words import counted, status_of_case, title_of
from reports.view import CaseView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "What became of every message"


@dataclass(frozen=True, slots=True)
class Kind:
    """How a class or mark is drawn: told by its hatch and words without its colour."""

    told: str
    colour: str
    hatch: str


GOOD = Kind("worked off", GREEN, "")
LEGAL = Kind("not worked off, and no loss", SKY, "//")
OPEN = Kind("cannot be told: UNKNOWN", GREY, "..")
BAD = Kind("LOST, or seen though never accepted", VERMILLION, "xx")
REPEAT = Kind("repeats and the like: as the setup claims, or not", SKY, "//")
BROKEN = Kind("breaks every claim", VERMILLION, "xx")
KINDS = (GOOD, LEGAL, OPEN, BAD)

_BAD_MARKS = (Mark.CORRUPT, Mark.PHANTOM_ATTEMPT, Mark.GIVEN_TWICE)
_NOTE = "The thinnest bands are drawn wider than their share, so that they can be seen; the numbers are exact."
_MARKS = "Marks count deliveries or messages beside their class, and one may have several."
_TOGETHER = "All {} valid trials together."
_NO_RESULT = "Grey: no trial is valid, so this is no result."


def kind_of(became: str) -> Kind:
    """Returns how a class is drawn."""
    if became in words.GOOD_CLASSES:
        return GOOD
    if became in (*LOSS_CLASSES, Class.PHANTOM):
        return BAD
    return OPEN if became == Class.UNDECIDED else LEGAL


# Stages, from left to right: a heading, and in which state a way is there; None = it begins further on: nobody attempted a phantom.

_OUTCOMES = {"CONFIRMED": "confirmed", "UNKNOWN": "no answer", "REJECTED": "rejected", "NOT_SENT": "not sent"}
STAGES: tuple[tuple[str, Callable[[Way], str | None]], ...] = (
    ("attempted", lambda way: "attempted" if way.outcome is not None else None),
    ("confirmed", lambda way: _OUTCOMES[way.outcome.name] if way.outcome is not None else None),
    ("delivered", lambda way: "delivered" if way.delivered else "never delivered"),
    ("settled", lambda way: "settled" if way.settled else "not settled"),
    ("became", lambda way: way.became.value),
)
_ORDER = (
    *("attempted", "confirmed", "delivered", "settled"),
    *(each.value for each in Class if kind_of(each) is GOOD),
    *(each.value for each in Class if kind_of(each) is BAD),
    *(each.value for each in Class if kind_of(each) is OPEN),
    *("no answer", "rejected", "not sent", "never delivered", "not settled"),
    *(each.value for each in Class if kind_of(each) is LEGAL),
)
"""Of states from top to bottom."""


def of_case(view: CaseView) -> Drawing | None:
    """Draws the ledger of a case, its valid trials together; None where nothing was counted."""
    trials = counted(view)
    ways = added(trial.ways for trial in trials)
    if not ways:
        return None
    marks = _summed(trial.record.ledger.marks for trial in trials if trial.record.ledger)
    status = status_of_case(view)
    return Drawing(
        name=f"flow-{view.record.slug}",
        title=" ".join(filter(None, (title_of(TITLE, view), status))),
        alt=_alt(ways, marks),
        figure=_figure(ways, marks, status),
        table=_table(ways, marks),
        note=" ".join(_notes(len(trials), any(marks.values()), valid=not status)),
    )


def _notes(trials: int, any_mark: bool, *, valid: bool) -> Iterable[str]:
    if not valid:
        yield _NO_RESULT
    elif trials > 1:
        yield _TOGETHER.format(trials)
    yield _NOTE
    if any_mark:
        yield _MARKS


def _summed(each: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Returns the counts of several trials together, by the marks in the order of the words."""
    counts = dict.fromkeys(words.MARKS, 0)
    for found in each:
        for name, count in found.items():
            counts[name] = counts.get(name, 0) + count
    return counts


# The picture. Heights and distances are in points of the figure, so that labels fit.

_MAIN_PT, _THIN_PT, _GAP_PT, _TOP_PT = 110.0, 5.0, 27.0, 22.0
_BAR = 0.05
_BEND = 0.6
"""Where between two stages bands begin to bend: before that stand the words of the nodes, on no band."""


@dataclass(frozen=True, slots=True)
class _Node:
    """A state at a stage: from ``top`` down to ``bottom``, in points below the top of the picture."""

    stage: int
    state: str
    count: int
    top: float
    bottom: float


def _thickness(ways: Sequence[Way]) -> dict[Way, float]:
    total = sum(way.count for way in ways)
    return {way: max(_THIN_PT, _MAIN_PT * way.count / total) for way in ways}


def _laid_out(ways: Sequence[Way]) -> tuple[list[_Node], dict[tuple[int, Way], float]]:
    """Returns the nodes of all stages, and where the band of each way begins at each stage."""
    thick = _thickness(ways)
    nodes: list[_Node] = []
    tops: dict[tuple[int, Way], float] = {}
    for stage, (_, state_of) in enumerate(STAGES):
        y = _TOP_PT
        for state in sorted({state for way in ways if (state := state_of(way))}, key=_ORDER.index):
            inside = sorted((way for way in ways if state_of(way) == state), key=_rank)
            top = y
            for way in inside:
                tops[stage, way] = y
                y += thick[way]
            nodes.append(_Node(stage, state, sum(way.count for way in inside), top, y))
            y += _GAP_PT
    return nodes, tops


def _rank(way: Way) -> tuple[int, ...]:
    """Returns the order of the bands within a node: that of the states to come, so that few cross."""
    return tuple(_ORDER.index(state_of(way) or "attempted") for _, state_of in reversed(STAGES))


def _figure(ways: Sequence[Way], marks: Mapping[str, int], status: str) -> Figure:
    """``status``: the word for trials none of which is valid; "" where one is."""
    valid = not status
    nodes, tops = _laid_out(ways)
    deep = max(node.bottom for node in nodes) + 14
    shown = {name: count for name, count in marks.items() if count}
    heights = [deep / 72, *([0.62 + 0.22 * len(shown)] if shown else [])]
    with styled():
        whole = figure(sum(heights) + 0.35)
        parts = whole.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        axes = parts[0].subplots()
        axes.set(xlim=(-0.05, 6.1), ylim=(deep, 0))
        axes.set_axis_off()
        thick = _thickness(ways)
        for way in sorted(ways, key=_rank):
            _band(axes, way, {s: tops[s, way] for s in range(len(STAGES)) if (s, way) in tops}, thick[way], valid=valid)
        for node in nodes:
            _node(axes, node, last=node.stage == len(STAGES) - 1)
        if not valid:
            axes.text(6.1, 6, f"{status}: no result", ha="right", va="center", fontweight="bold", fontsize=11)
        if shown:
            _draw_marks(parts[1].subplots(), shown, valid=valid)
        _legend(whole, ways, shown, valid=valid)
    return whole


def _looks(kind: Kind, *, valid: bool) -> list[dict[str, Any]]:
    """Returns how a shape is drawn: its colour, and over it its hatch; in one, an SVG would have the hatch on an opaque ground."""
    colour = kind.colour if valid else GREY
    fill = {"facecolor": to_rgba(colour, 0.35), "edgecolor": to_rgba(colour, 0.8), "linewidth": 0.4}
    hatch = {"facecolor": "none", "edgecolor": to_rgba(colour, 0.8), "linewidth": 0.0, "hatch": kind.hatch}
    return [fill, hatch] if kind.hatch else [fill]


def _band(axes: Axes, way: Way, tops: Mapping[int, float], thick: float, *, valid: bool) -> None:
    """Draws the band of a way through its stages, straight in the nodes and behind them, bent before the next; ``tops``: by stage."""
    upper: list[tuple[float, float]] = []
    codes: list[Any] = []
    for stage, top in tops.items():
        start, end = stage - _BAR, stage + _BAR
        if upper:
            bend, before = stage - 1 + _BEND, tops[stage - 1]
            middle = (bend + start) / 2
            upper += [(bend, before), (middle, before), (middle, top), (start, top)]
            codes += [Path.LINETO, *[Path.CURVE4] * 3]
        else:
            upper.append((start, top))
            codes.append(Path.MOVETO)
        upper.append((end, top))
        codes.append(Path.LINETO)
    lower = [(x, y + thick) for x, y in reversed(upper)]
    back = [Path.LINETO, *reversed(codes[1:])]
    path = Path([*upper, *lower, upper[0]], [*codes, *back, Path.CLOSEPOLY])
    for look in _looks(kind_of(way.became), valid=valid):
        axes.add_patch(PathPatch(path, **look))


def _node(axes: Axes, node: _Node, *, last: bool) -> None:
    axes.add_patch(
        Rectangle((node.stage - _BAR, node.top), 2 * _BAR, node.bottom - node.top, facecolor=INK, edgecolor="none")
    )
    count = format_count(node.count)
    if last:
        name = node.state.replace("_", " ")
        axes.text(node.stage + 0.1, (node.top + node.bottom) / 2, f"{count} {name}", va="center", fontweight="bold")
        axes.text(
            node.stage + 0.1, (node.top + node.bottom) / 2 + 10, words.CLASSES[node.state], va="center", fontsize=7
        )
    else:
        between = " " if node.top == _TOP_PT else "\n"  # the bands of the node above it pass on its right
        axes.text(node.stage - _BAR, node.top - 3, f"{count}{between}{node.state}", va="bottom", linespacing=1.1)


def _draw_marks(axes: Axes, marks: Mapping[str, int], *, valid: bool) -> None:
    """Draws a bar per mark that was set, with its count."""
    for row, (name, count) in enumerate(marks.items()):
        for look in _looks(BROKEN if name in _BAD_MARKS else REPEAT, valid=valid):
            axes.barh(row, count, height=0.6, **look)
        axes.annotate(format_count(count), (count, row), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(marks)), [words.MARKS.get(name, name) for name in marks])
    axes.set(xlim=(0, max(marks.values()) * 1.15), ylim=(len(marks) - 0.5, -0.5))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: format_count(value))
    axes.set_xlabel("times that it was marked")


def _legend(whole: Figure, ways: Sequence[Way], marks: Mapping[str, int], *, valid: bool) -> None:
    kinds = dict.fromkeys(kind for kind in KINDS if any(kind_of(way.became) is kind for way in ways))
    kinds |= dict.fromkeys(BROKEN if name in _BAD_MARKS else REPEAT for name in marks)
    handles: list[Any] = [
        tuple(Rectangle((0, 0), 1, 1, **look) for look in _looks(kind, valid=valid)) for kind in kinds
    ]
    whole.legend(handles=handles, labels=[kind.told for kind in kinds], loc="outside lower left", ncols=3)


def _table(ways: Sequence[Way], marks: Mapping[str, int]) -> DataTable:
    """Returns every way, then every class, those that nobody is in too, and every mark."""
    rows = [
        (
            "way",
            " → ".join(dict.fromkeys(s.replace("_", " ") for _, state_of in STAGES if (s := state_of(way)))),
            format_count(way.count),
            words.CLASSES[way.became.value],
        )
        for way in ways
    ]
    for name, meaning in words.CLASSES.items():
        count = sum(way.count for way in ways if way.became == name)
        rows.append(("class", name.replace("_", " "), format_count(count), meaning))
    for name, count in marks.items():
        rows.append(("mark", name.replace("_", " "), format_count(count), words.MARKS.get(name, "")))
    return DataTable(headings=("", "name", "count", "meaning"), rows=tuple(rows))


def _alt(ways: Sequence[Way], marks: Mapping[str, int]) -> str:
    """Returns how many messages reached each stage, and every class and mark that is not empty."""
    reached = []
    for stage, (name, state_of) in enumerate(STAGES[:-1]):
        count = sum(way.count for way in ways if state_of(way) == name)
        reached.append(f"{format_count(count)} {name}" if stage else f"{words.count(count, 'message')} {name}")
    classes = dict.fromkeys((way.became.value for way in ways), 0)
    for way in ways:
        classes[way.became.value] += way.count
    became = [f"{format_count(count)} {name.replace('_', ' ')}" for name, count in classes.items()]
    told = f"Bands that split from left to right: {', '.join(reached)}. They became: {', '.join(became)}."
    again = [f"{format_count(count)} {name.replace('_', ' ')}" for name, count in marks.items() if count]
    return f"{told} Marks: {', '.join(again)}." if again else told


CHART = Chart(position=20, of_case=of_case)
