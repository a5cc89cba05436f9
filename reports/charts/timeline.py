"""A trial moment by moment: faults, rates, latencies, backlog and what was used, stacked on one time axis.

Of several trials the worst is shown, as in the tables. Ids of what is drawn, for programs that read the picture: ``_shades``.

Neighbours: ``harness.analysis.series`` computes what is drawn, ``_panels`` and ``_shades`` draw it, ``_course`` tells it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.series import Series
from harness.model import TrialStatus
from reports import figures
from reports.charts import Chart, Drawing
from reports.charts._course import alt_of, table_of
from reports.charts._panels import panels_of, wrote
from reports.charts._shades import AXIS_IN, draw_lanes, height_of_lanes_in, mark_incidents, shade
from reports.charts._style import figure, styled
from reports.charts._words import title_of, trial_name
from reports.view import CaseView, TrialView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from harness.record import TrialRecord

TITLE = "Moment by moment"
_TITLE_IN = 0.2
_GAP_IN = 0.12
_AXIS_IN = 0.42
_LEFT_IN = 0.82

_CLOSED = "Closed loop: the load sent as fast as it was let, so offered is what was sent."
_NEVER = (
    "Never came: confirmed, or sent without an answer, and never received; the ledger tells which of them are losses. "
    "Its backlog is without those that are gone."
)
_READY = "This broker tells only of messages that are ready, not of those that workers hold."
_NO_P99 = "No p99: it needs 100 messages in a slice."
_NOTHING_CAME = "No latency: no message that counts in one was due."
_NOT_WRITTEN = "Nothing was written to disk."
_CUT = "The trial was cut short: what was due later was never offered."


def of_case(view: CaseView) -> Drawing | None:
    """Draws the worst trial of a case that left something to draw; None where none did."""
    chosen = _worst(view)
    if chosen is None or chosen.series is None:
        return None
    trial, series = chosen.record, chosen.series
    several = len(view.record.trials) > 1 or trial.status is not TrialStatus.VALID
    title = title_of(TITLE, view) + (f", {trial_name(trial)}" if several else "")
    with styled():
        drawn = _draw(trial, series)
    return Drawing(
        name=f"timeline-{view.record.slug}",
        title=title,
        alt=alt_of(trial, series),
        figure=drawn,
        table=table_of(trial, series),
        note=" ".join(_notes(view, chosen, series)),
    )


def _worst(view: CaseView) -> TrialView | None:
    by_number = {trial.record.number: trial for trial in view.trials}
    order = (by_number.get(trial.number) for trial in figures.worst_first(view.record.trials))
    return next((trial for trial in order if trial is not None and trial.series is not None), None)


def _draw(trial: TrialRecord, series: Series) -> Figure:
    """Returns the panels below each other: where an axis begins and ends is the same in the picture of every case."""
    panels = panels_of(series)
    lanes_in = height_of_lanes_in(trial, series)
    height_in = lanes_in + sum(_TITLE_IN + panel.height_in for panel in panels) + _GAP_IN * len(panels) + _AXIS_IN
    drawn = figure(height_in)
    drawn.set_layout_engine("none")
    down_in = lanes_in
    lanes = _axes(drawn, down_in, lanes_in)
    draw_lanes(lanes, trial, series)
    for panel in panels:
        down_in += _GAP_IN + _TITLE_IN + panel.height_in
        axes = _axes(drawn, down_in, panel.height_in, lanes)
        axes.set_title(panel.title, loc="left", pad=3)
        shade(axes, series, panel.name)
        mark_incidents(axes, trial, series)
        panel.draw(axes, series)
        axes.grid(axis="both", zorder=0)
        axes.set_axisbelow(True)
        axes.tick_params(labelbottom=panel is panels[-1])
    axes.set_xlabel("seconds since the start of steady")
    return drawn


def _axes(drawn: Figure, down_in: float, height_in: float, above: Axes | None = None) -> Axes:
    """Returns axes whose lower edge stands ``down_in`` below the figure's top."""
    width_in, whole_in = drawn.get_size_inches()
    place = (_LEFT_IN / width_in, 1 - down_in / whole_in, AXIS_IN / width_in, height_in / whole_in)
    axes: Axes = drawn.add_axes(place, sharex=above)
    return axes


def _notes(view: CaseView, chosen: TrialView, series: Series) -> list[str]:
    trial, trials = chosen.record, view.record.trials
    notes = []
    if len(trials) > 1:
        notes.append(f"Shown is trial {trial.number} of {len(trials)}: {_why(chosen, view)}.")
    if trial.status is TrialStatus.INTERRUPTED:
        notes.append(_CUT)
    if not series.open_loop:
        notes.append(_CLOSED)
    if np.isnan(series.p50_s).all():
        notes.append(_NOTHING_CAME)
    elif np.isnan(series.p99_s).all():
        notes.append(_NO_P99)
    if series.late.any():
        notes.append(_NEVER)
    if series.backlog_parts == ("ready",):
        notes.append(_READY)
    if series.disk and not wrote(series):
        notes.append(_NOT_WRITTEN)
    return notes


def _why(chosen: TrialView, view: CaseView) -> str:
    worst = figures.worst_first(view.record.trials)[0]
    if worst.number != chosen.record.number:
        return "the worst of those that left a ledger behind"
    lost = [found.count if (found := figures.lost([trial])) else 0 for trial in view.record.trials]
    return "it lost most" if len(set(lost)) > 1 else "the first of several that lost as many"


CHART = Chart(position=10, of_case=of_case)
