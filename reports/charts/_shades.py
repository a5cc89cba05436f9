"""Faults and phases of a trial on a time axis: lanes for what happened when, and the same moments as shades through every panel.

A page that is read by a program finds them by id (``gid``; on the page ``data-gid``), each a rectangle whose left and right edge are
the exact moments: ``phase-warm-up``, ``phase-steady``, ``phase-drain`` in the lanes' panel; ``fault-<index>`` (injected → healed; where
its target is never replaced, to the end of the load) and
``recovery-<index>`` (healed → recovered, or until when that was waited for) in the lanes, ``fault-<index>-<panel>`` and
``recovery-<index>-<panel>`` through the panels. The left edge of ``phase-steady`` stands at 0 s and its right edge at the end of the
load, which maps x to seconds; all panels share x.

Neighbours: ``timeline`` stacks the panels, ``_panels`` draws what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from harness.analysis.series import Series, Span
from harness.model import TrialStatus
from harness.record import FaultResult, IncidentResult, TrialRecord
from reports import words
from reports.charts._style import BLUE, GREEN, GREY, INK, VERMILLION

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

MAX_LANES = 6
"""More faults than these share a lane with those of their label."""
PHASES = {"warm-up": GREY, "steady": GREEN, "drain": BLUE}
LANE = 1.75
"""Height of a lane in heights of the row of phases: its words stand above its bar."""
_BAR = 0.8
AXIS_IN = 6.4
"""Width of every panel, inches."""
_SEEN = 0.003
"""Share of the axis that a bar must have to be seen."""
_LETTER_IN, _ROW_IN, _LEGEND_ROW_IN = 0.062, 0.19, 0.172


@dataclass(frozen=True, slots=True)
class Lane:
    """A row of the lanes' panel: its faults, as they were planned and as they happened."""

    faults: tuple[tuple[FaultResult, Span | None], ...]


def lanes_of(trial: TrialRecord, series: Series) -> list[Lane]:
    """Returns a lane per fault, by when it was planned; where there are many, one per label."""
    happened = {span.index: span for span in series.faults}
    pairs = [(fault, happened.get(fault.index)) for fault in sorted(trial.faults, key=lambda f: (f.planned_s, f.index))]
    if len(pairs) <= MAX_LANES:
        return [Lane((pair,)) for pair in pairs]
    labels = dict.fromkeys(fault.label for fault, _ in pairs)
    return [Lane(tuple(pair for pair in pairs if pair[0].label == label)) for label in labels]


def height_of_lanes_in(trial: TrialRecord, series: Series) -> float:
    """Returns how high the lanes' panel must be, in inches: it holds its rows, and beside them its legend."""
    rows_in = _ROW_IN * (1 + LANE * len(lanes_of(trial, series)))
    return max(rows_in, _LEGEND_ROW_IN * len(list(_legend(trial, series))))


def shade(axes: Axes, series: Series, panel: str) -> None:
    """Shades faults and recoveries through a panel, and marks where phases begin."""
    for fault in series.faults:
        span = axes.axvspan(fault.start_s, _healed_s(fault, series), zorder=0.6, gid=f"fault-{fault.index}-{panel}")
        _dark(span, alpha=0.12 if fault.never_replaced else 0.3)  # it lies below all that comes after it
        if fault.end_s is not None and fault.watched_s is not None:
            gid = f"recovery-{fault.index}-{panel}"
            _light(axes.axvspan(fault.end_s, fault.watched_s, zorder=0.5, gid=gid), alpha=0.11)
    for phase in series.phases[1:]:
        axes.axvline(phase.start_s, color=INK, lw=0.6, ls=(0, (2, 3)), zorder=0.7)


def mark_incidents(axes: Axes, trial: TrialRecord, series: Series) -> None:
    """Draws a line through a panel where something befell a container."""
    for incident in _shown(trial.incidents, series):
        axes.axvline(incident.at_s, color=VERMILLION, lw=1, ls=(0, (1, 1)), zorder=3)


def _healed_s(fault: Span, series: Series) -> float:
    """Returns until when a fault is drawn: one whose target is never replaced until the end of the load, one that never healed for ever."""
    if fault.end_s is not None:
        return fault.end_s
    load_end_s = next((phase.start_s for phase in series.phases if phase.name == "drain"), None)
    lasts = fault.never_replaced and load_end_s is not None and load_end_s > fault.start_s
    return load_end_s if lasts and load_end_s is not None else float(series.edges_s[-1])


def _dark(patch: Patch, alpha: float) -> Patch:
    """Returns a patch as a fault looks; its edge shows also one that lasts no time."""
    patch.set(facecolor=VERMILLION, edgecolor=VERMILLION, linewidth=0.8, alpha=alpha)
    return patch


def _light(patch: Patch, alpha: float) -> Patch:
    """Returns a patch as a recovery looks."""
    patch.set(facecolor=VERMILLION, linewidth=0, alpha=alpha)
    return patch


def _hatched(patch: Patch) -> Patch:
    """Returns a patch that lies over a recovery which nobody saw the end of."""
    patch.set(facecolor="none", edgecolor=INK, linewidth=0, hatch="////", zorder=2.5)
    return patch


def draw_lanes(axes: Axes, trial: TrialRecord, series: Series) -> None:
    """Draws the phases and a lane per fault, from top to bottom; what befell containers stands among the phases."""
    lanes = lanes_of(trial, series)
    start_s, end_s = float(series.edges_s[0]), float(series.edges_s[-1])
    axes.set(xlim=(start_s, end_s), ylim=(height_of_lanes_in(trial, series) / _ROW_IN - 0.5, -0.5), yticks=[])
    axes.tick_params(bottom=False, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for phase in series.phases:
        _phase(axes, phase, series)
    for number, lane in enumerate(lanes, 1):
        _lane(axes, LANE * number, lane, series)
    for incident in _shown(trial.incidents, series):
        axes.plot([incident.at_s], [0], marker="X", ms=7, mfc=VERMILLION, mec=INK, mew=0.6, ls="", zorder=6)
    legend = dict(_legend(trial, series))
    if legend:
        axes.legend(
            legend.values(),
            legend.keys(),
            loc="upper left",
            bbox_to_anchor=(1.02, 1.0),
            handlelength=1.4,
            borderaxespad=0,
        )


def _phase(axes: Axes, phase: Span, series: Series) -> None:
    limit_s = float(series.edges_s[-1])
    until_s = limit_s if phase.end_s is None else phase.end_s
    bar = Rectangle((phase.start_s, -_BAR / 2), until_s - phase.start_s, _BAR, gid=f"phase-{phase.name}")
    bar.set(facecolor=PHASES[phase.name], alpha=0.22, edgecolor="none")
    axes.add_patch(bar)
    if _is_named(phase, series):
        pad_s = 0.005 * (limit_s - float(series.edges_s[0]))
        axes.text(phase.start_s + pad_s, 0, phase.name, va="center")


def _is_named(phase: Span, series: Series) -> bool:
    """Returns whether the name of a phase has room in its bar."""
    return _fits(f"{phase.name}   ", _share(phase, series))


def _share(phase: Span, series: Series) -> float:
    """Returns how much of the axis a phase takes."""
    start_s, limit_s = float(series.edges_s[0]), float(series.edges_s[-1])
    end_s = limit_s if phase.end_s is None else min(limit_s, phase.end_s)
    return (end_s - phase.start_s) / (limit_s - start_s)


def _fits(text: str, share: float) -> bool:
    """Returns whether a text can stand in that share of the axis's width."""
    return AXIS_IN * share > _LETTER_IN * len(text)


def _lane(axes: Axes, row: float, lane: Lane, series: Series) -> None:
    start_s, end_s = float(series.edges_s[0]), float(series.edges_s[-1])
    for fault, span in lane.faults:
        axes.plot(
            [fault.planned_s],
            [row],
            marker="v",
            ms=5,
            mfc="none",
            mec=INK,
            ls="",
            zorder=5,
            gid=f"planned-{fault.index}",
        )
        if span is None:
            continue
        at, until_s = (span.start_s, row - _BAR / 2), _healed_s(span, series)
        bar = Rectangle(at, until_s - span.start_s, _BAR, zorder=3, gid=f"fault-{span.index}")
        axes.add_patch(_dark(bar, alpha=0.85))
        if span.end_s is not None and span.watched_s is not None:
            at, width_s = (span.end_s, row - _BAR / 2), span.watched_s - span.end_s
            bar = Rectangle(at, width_s, _BAR, zorder=2, gid=f"recovery-{span.index}")
            axes.add_patch(_light(bar, alpha=0.3))
            if span.recovered_s is None:
                axes.add_patch(_hatched(Rectangle(at, width_s, _BAR)))
    fault, span = lane.faults[0]
    first_s = fault.planned_s if span is None else span.start_s
    told = _lane_words(lane)
    left = _fits(told, (end_s - first_s) / (end_s - start_s))
    axes.text(max(first_s, start_s) if left else end_s, row - 0.86, told, va="center", ha="left" if left else "right")


def _lane_words(lane: Lane) -> str:
    fault, span = lane.faults[0]
    if len(lane.faults) > 1:
        return f"{fault.label} ({len(lane.faults)} times)"
    if span is None:
        return f"{fault.label}: planned at {seconds(fault.planned_s)}, never fired"
    told = [f"{fault.label} at {seconds(span.start_s)}"]
    told.append(unhealed(span) if span.end_s is None else f"healed at {seconds(span.end_s)}")
    if span.recovered_s is not None:
        told.append(f"recovered at {seconds(span.recovered_s)}")
    elif span.watched_s is not None:
        told.append(not_recovered(span))
    return ", ".join(told)


def unhealed(fault: Span) -> str:
    """Returns how a fault without an end is told."""
    return words.NEVER_REPLACED if fault.never_replaced else "never healed"


def not_recovered(fault: Span) -> str:
    """Returns that nobody saw a recovery: what was watched for less than one takes says only that."""
    waited_s = (fault.watched_s or 0.0) - (fault.start_s if fault.end_s is None else fault.end_s)
    if waited_s < words.SEEN_FROM_S:
        return "recovery not seen"
    return f"not recovered by {seconds(fault.watched_s or 0.0)}"


def seconds(t_s: float) -> str:
    """Returns a moment of the time axis: ``10.12 s``."""
    return f"{round(t_s, 2) + 0.0:.2f} s"


def _legend(trial: TrialRecord, series: Series) -> Iterator[tuple[str, Artist | tuple[Artist, ...]]]:
    """Yields what a reader cannot tell by himself; what stands in the picture with its name is not among it."""
    if trial.status is not TrialStatus.VALID:
        sign = words.OF_STATUS[trial.status]
        yield f"{sign.word} trial", Line2D([], [], marker=f"${sign.symbol}$", ls="", color=INK, ms=7)
    if trial.faults:
        yield "planned", Line2D([], [], marker="v", ls="", mfc="none", mec=INK, ms=5)
    if series.faults:
        healed = any(span.end_s is not None for span in series.faults)
        yield "fault, until healed" if healed else "fault", _dark(Patch(), alpha=0.85)
    watched = [span for span in series.faults if span.watched_s is not None and span.end_s is not None]
    if any(span.recovered_s is not None for span in watched):
        yield "until recovered", _light(Patch(), alpha=0.3)
    if any(span.recovered_s is None and span.watched_s != span.end_s for span in watched):
        yield "not recovered", (_light(Patch(), alpha=0.3), _hatched(Patch()))
    for phase in series.phases:
        if _share(phase, series) > _SEEN and not _is_named(phase, series):
            yield phase.name, Patch(facecolor=PHASES[phase.name], alpha=0.22)
    for what in dict.fromkeys(incident.what for incident in _shown(trial.incidents, series)):
        yield what, Line2D([], [], marker="X", ls="", mfc=VERMILLION, mec=INK, mew=0.6, ms=7)


def _shown(incidents: Sequence[IncidentResult], series: Series) -> list[IncidentResult]:
    return [each for each in incidents if series.edges_s[0] <= each.at_s <= series.edges_s[-1]]
