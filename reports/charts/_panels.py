"""The panels of the timeline: each draws one part of a trial's series on the axes that it is given, seconds along x.

Neighbours: ``timeline`` stacks them, ``_shades`` draws faults through them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from harness.analysis.series import Series, Track
from harness.units import format_bytes, format_count, format_duration, format_rate
from reports.charts._style import BLUE, GREY, INK, ORANGE, RATES, Line
from reports.charts._words import FIRST

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    from harness.analysis.series import Floats, Ints

BACKLOG = {"ledger": Line(BLUE, "-"), "broker": Line(ORANGE, (0, (4, 2)), ".")}
SOURCES = {"broker": Line(BLUE, "-"), "load": Line(ORANGE, (0, (4, 2))), "machine": Line(GREY, (0, (1, 1)))}
P50, P99 = Line("#ffffff", "-"), Line("#ffffff", (0, (3, 1)))
HEAT = LinearSegmentedColormap.from_list("heat", mpl.colormaps["viridis"](np.linspace(0.12, 0.97, 64)))
NEVER = "never came"
NEVER_ROWS = 2.2
"""Height of the row of what never came, and of the gap below it, in bins of latency."""
GAP_ROWS = 0.8
FEW_SAMPLES = 8
"""Fewer are marked one by one: a single one would not be seen."""
GAP = 1.8
"""Samples further apart than so many of their usual distances are not joined: between them nothing could be sampled."""

GAP_OF_RATES = 2 * GAP
"""A rate between two samples speaks for all the time between them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """A part of the timeline.

    Args:
        name: in the ids of what is drawn in it. title: says what is shown; units stand at the ticks.
        height_in: inches. draw: draws it; there is something to draw.
    """

    name: str
    title: str
    height_in: float
    draw: Callable[[Axes, Series], None]


def panels_of(series: Series) -> list[Panel]:
    """Returns the panels for which a trial left data behind, from top to bottom."""
    found = [
        Panel(name="rates", title="Messages per second", height_in=1.45, draw=rates),
        Panel(name="latency", title=_latency_title(series), height_in=2.0, draw=latency),
        Panel(name="backlog", title="Backlog: messages in the queue", height_in=1.0, draw=backlog),
    ]
    if not _is_heated(series):
        del found[1]
    if series.cpu:
        found.append(Panel(name="cpu", title="CPU: cores in use", height_in=0.85, draw=cpu))
    if series.memory:
        source = next(iter(_of_broker(series.memory)))
        found.append(Panel(name="memory", title=f"Memory of the {source}", height_in=0.85, draw=memory))
    if wrote(series):
        source = next(iter(_of_broker(series.disk)))
        found.append(Panel(name="disk", title=f"Written to disk by the {source}", height_in=0.85, draw=disk))
    return found


def wrote(series: Series) -> bool:
    """Returns whether the broker wrote to a disk."""
    return any(track.value.any() for track in _of_broker(series.disk).values())


def _of_broker(tracks: Mapping[str, Track]) -> dict[str, Track]:
    """Returns the broker's track, beside which the load's would only be large; where the broker's cannot be had, the load's."""
    source = "broker" if "broker" in tracks else "load"
    return {source: tracks[source]} if source in tracks else {}


def _is_heated(series: Series) -> bool:
    return bool(series.latency.any() or series.late.any())


def _latency_title(series: Series) -> str:
    width = format_duration(float(series.edges_s[1] - series.edges_s[0]))
    return f"End-to-end latency of the messages due in each {width}"


def rates(axes: Axes, series: Series) -> None:
    """Draws what was offered as an area, and what became of it as lines."""
    for name, look in RATES.items():
        values = getattr(series, name)
        if name == "offered":
            axes.stairs(values, series.edges_s, fill=True, color=look.colour, alpha=0.25, lw=0)
        _steps(axes, series, values, look, FIRST.get(name, name).replace(" (", "\n("))
    _from_zero(axes, format_rate)


def backlog(axes: Axes, series: Series) -> None:
    """Draws the backlog by the ledger, and as the broker says it."""
    _steps(axes, series, series.backlog, BACKLOG["ledger"], "ledger")
    if series.backlog_broker is not None:
        _track(axes, series.backlog_broker, BACKLOG["broker"], _wrapped("broker", series.backlog_parts))
    _from_zero(axes, format_count, whole=True)


def _wrapped(name: str, parts: Sequence[str]) -> str:
    """Returns a name with what it is made up of, in lines that a legend has room for."""
    first = f"{name}: {parts[0]}"
    return first if len(parts) == 1 else f"{first},\n{', '.join(parts[1:])}"


def cpu(axes: Axes, series: Series) -> None:
    """Draws the cores in use."""
    _tracks(axes, series.cpu, lambda cores: f"{cores:.2g}", GAP_OF_RATES)
    _from_zero(axes, lambda cores: f"{cores:g}")


def memory(axes: Axes, series: Series) -> None:
    """Draws the memory in use."""
    _tracks(axes, _of_broker(series.memory), format_bytes)
    _from_zero(axes, format_bytes)


def disk(axes: Axes, series: Series) -> None:
    """Draws the bytes written per second."""
    _tracks(axes, _of_broker(series.disk), bytes_per_s, GAP_OF_RATES)
    _from_zero(axes, bytes_per_s)


def latency(axes: Axes, series: Series) -> None:
    """Draws how many messages took how long, by colour; p50 and p99 over it; in a row of their own those that never came.

    The axis is in log10 of seconds, not a log axis: only so does a picture of one pixel a cell stay exact, and small.
    """
    edges = np.log10(series.latency_edges_s)
    row = edges[1] - edges[0]
    low, high = edges[0], edges[-1]
    start, end = series.edges_s[0], series.edges_s[-1]
    norm = LogNorm(1, max(series.latency.max(initial=0), series.late.max(initial=0), 2))
    heat = _cells(axes, series.latency.T, (start, end, low, high), norm)
    never = None
    if series.late.any():
        bottom, never = high + GAP_ROWS * row, high + (GAP_ROWS + NEVER_ROWS / 2) * row
        top = bottom + NEVER_ROWS * row
        _cells(axes, series.late[None, :], (start, end, bottom, top), norm)
        axes.axhline(high + GAP_ROWS * row / 2, color=INK, lw=0.5, ls=(0, (1, 2)))
        high = top
    axes.set_ylim(low, high + 0.3 * row)
    _latency_ticks(axes, low, float(edges[-1]), never)
    _percentiles(axes, series, never)
    _colour_bar(axes, heat)


def _cells(axes: Axes, counts: Ints, place: tuple[float, float, float, float], norm: LogNorm) -> AxesImage:
    """Draws counts by colour, none as nothing; ``place``: left, right, bottom, top."""
    return axes.imshow(
        np.ma.masked_equal(counts, 0),
        cmap=HEAT,
        norm=norm,
        extent=place,
        origin="lower",
        aspect="auto",
        interpolation="none",
        zorder=1.5,
    )


def _latency_ticks(axes: Axes, low: float, high: float, never: float | None) -> None:
    decades = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    steps = (1,) if high - low > 2.2 else (1, 3) if high - low > 0.9 else (1, 2, 5)
    at = [np.log10(step) + decade for decade in decades for step in steps]
    at = [each for each in at if low - 1e-9 <= each <= high + 1e-9]
    named = {each: format_duration(round(10**each, 12)) for each in at}
    if never is not None:
        named[never] = NEVER
    axes.yaxis.set_major_locator(FixedLocator(list(named)))
    axes.set_yticklabels(list(named.values()))
    minor = [np.log10(step) + decade for decade in decades for step in range(2, 10)] if steps == (1,) else []
    axes.yaxis.set_minor_locator(
        FixedLocator([each for each in minor if low <= each <= high]) if minor else NullLocator()
    )


def _percentiles(axes: Axes, series: Series, never: float | None) -> None:
    """Draws p50 and p99 white on black, which can be seen on every colour of the cells, on a white page and on a black one."""
    handles: dict[str, tuple[Line2D, ...]] = {}
    for name, values, look in (("p50", series.p50_s, P50), ("p99", series.p99_s, P99)):
        if np.isnan(values).all():
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = np.where(np.isinf(values), np.nan if never is None else never, np.log10(values))
        casing = axes.plot(_middles(series), drawn, c="#000000", lw=2.6, alpha=0.8, zorder=4)
        handles[name] = (*casing, *axes.plot(_middles(series), drawn, c=look.colour, ls=look.dash, lw=1.2, zorder=4.1))
    if handles:
        axes.legend(
            list(handles.values()), list(handles), loc="lower left", bbox_to_anchor=(1.0, -0.05), handlelength=2.2
        )


def _colour_bar(axes: Axes, heat: AxesImage) -> None:
    bar_axes = axes.inset_axes((1.012, 0.36, 0.013, 0.64))
    bar = axes.figure.colorbar(heat, cax=bar_axes)
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda count, _: format_count(count)))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.tick_params(length=2, pad=2)
    bar.ax.set_ylabel("messages per cell", fontsize=8)


def _middles(series: Series) -> Floats:
    middles: Floats = (series.edges_s[:-1] + series.edges_s[1:]) / 2
    return middles


def _steps(axes: Axes, series: Series, values: Floats, look: Line, label: str) -> None:
    """Draws a value a slice as it is: level over the slice."""
    drawn = np.append(values, values[-1])
    axes.step(series.edges_s, drawn, where="post", color=look.colour, ls=look.dash, label=label)


def _track(axes: Axes, track: Track, look: Line, label: str, gap: float = GAP) -> None:
    """Draws samples; where one could not be had, the line has a gap."""
    apart = np.diff(track.t_s)
    gaps = np.flatnonzero(apart > gap * np.median(apart)) + 1 if len(apart) else np.array([], int)
    t_s, value = np.insert(track.t_s, gaps, np.nan), np.insert(track.value, gaps, np.nan)
    marker = look.marker or ("." if len(track.t_s) < FEW_SAMPLES else "")
    axes.plot(t_s, value, color=look.colour, ls=look.dash, marker=marker, ms=3, label=label)
    known = np.concatenate([[False], ~np.isnan(value), [False]])
    alone = (known[1:-1] & ~known[:-2] & ~known[2:]).nonzero()[0]
    if len(alone) and not marker:
        axes.plot(t_s[alone], value[alone], color=look.colour, ls="", marker=".", ms=3)


def _tracks(axes: Axes, tracks: Mapping[str, Track], words: Callable[[float], str], gap: float = GAP) -> None:
    """Draws what each source used; its highest sample stands beside its name, since one often dwarfs the other."""
    for source, track in tracks.items():
        _track(axes, track, SOURCES[source], f"{source}, max {words(float(track.value.max()))}", gap)


def bytes_per_s(rate: float) -> str:
    """Returns a rate such as ``3.1 MB/s``."""
    return f"{format_bytes(rate)}/s"


def _from_zero(axes: Axes, words: Callable[[float], str], *, whole: bool = False) -> None:
    """Makes the y axis begin at 0; ``whole``: with ticks at whole numbers only."""
    axes.set_ylim(0, 1.06 * axes.dataLim.y1 if axes.dataLim.y1 > 0 else 1)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10], integer=whole))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words(value)))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=2.2)
