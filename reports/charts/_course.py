"""The course of a trial in words and in rows, for those who cannot see its timeline.

Neighbours: ``timeline`` draws the same series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from harness.analysis.series import Floats, Series, Span, Track
from harness.record import TrialRecord
from harness.units import format_bytes, format_count, format_duration, format_rate
from reports.charts import DataTable
from reports.charts._panels import NEVER, bytes_per_s
from reports.charts._shades import not_recovered, seconds, unhealed
from reports.charts._words import FIRST
from reports.words import NOT_MEASURED

MAX_ROWS = 40
MAX_FAULTS_TOLD = 3

Mask = npt.NDArray[np.bool_]


def alt_of(trial: TrialRecord, series: Series) -> str:
    """Returns what is to be seen in the timeline: the trial at its usual level, and what each fault did to it."""
    told = [_usual(series), *(_struck(series, fault) for fault in series.faults[:MAX_FAULTS_TOLD])]
    if len(series.faults) > MAX_FAULTS_TOLD:
        told.append(f"{len(series.faults) - MAX_FAULTS_TOLD} more faults follow.")
    missed = [fault.label for fault in trial.faults if fault.injected_s is None]
    if missed:
        told.append(f"Never fired: {', '.join(dict.fromkeys(missed))}.")
    if never := int(series.late.sum()):
        told.append(f"{format_count(never)} messages never came.")
    return " ".join(told)


def _usual(series: Series) -> str:
    """Returns how it was in *steady* until the first fault; in the whole load where that leaves nothing."""
    chosen = _usual_slices(series)
    rates = {name: _middle(getattr(series, name), chosen) for name in ("offered", "delivered")}
    what = "before the first fault" if series.faults else "in steady"
    told = [f"Timeline of the trial. {what.capitalize()}"]
    told.append(
        f"about {format_rate(rates['offered'])} were offered and {format_rate(rates['delivered'])} {FIRST['delivered']}"
    )
    latencies = [(name, _middle(values, chosen)) for name, values in (("p50", series.p50_s), ("p99", series.p99_s))]
    told += [f"the {name} of a slice was about {_duration(value)}" for name, value in latencies if not np.isnan(value)]
    told.append(
        f"the backlog {_count(_middle(series.backlog, chosen))}, at most {_count(_most(series.backlog, chosen))}"
    )
    return f"{told[0]} {', '.join(told[1:])}."


def _struck(series: Series, fault: Span) -> str:
    """Returns what a fault did: how far deliveries fell while it lasted, how high latency and backlog rose until it was over."""
    lasts = _slices(series, fault.start_s, fault.end_s)
    over = _slices(series, fault.start_s, fault.watched_s if fault.watched_s is not None else fault.end_s)
    usual = _usual_slices(series)
    until = f"on, {unhealed(fault)}" if fault.end_s is None else f"until {seconds(fault.end_s)}"
    told = [f"{fault.name} from {seconds(fault.start_s)} {until}"]
    low, before = series.delivered[lasts].min(initial=np.inf), _middle(series.delivered, usual)
    if low < 0.5 * before:
        told.append(f"{FIRST['delivered']} falls from {format_rate(before)} to {format_rate(float(low))}")
    for name, values in (("p99", series.p99_s), ("p50", series.p50_s)):
        highest, level = _most(values, over), _middle(values, usual)
        if not np.isnan(highest):
            told.append(_risen(name, level, highest))
            break
    told.append(f"the backlog reaches {_count(_most(series.backlog, over))}")
    if fault.recovered_s is not None:
        told.append(f"recovered at {seconds(fault.recovered_s)}")
    elif fault.watched_s is not None:
        told.append(not_recovered(fault))
    return f"{told[0]}: {', '.join(told[1:])}."


def _risen(name: str, level_s: float, highest_s: float) -> str:
    if np.isinf(highest_s):
        return f"so many messages never come that there is no {name} (before: {_duration(level_s)})"
    return f"{name} {'rises' if highest_s > level_s else 'stays'} from {_duration(level_s)} to {_duration(highest_s)}"


def _usual_slices(series: Series) -> Mask:
    steady = next((phase for phase in series.phases if phase.name == "steady"), None)
    start_s = 0.0 if steady is None else steady.start_s
    end_s = None if steady is None else steady.end_s
    if series.faults:
        end_s = series.faults[0].start_s
    inside = (series.edges_s[:-1] >= start_s - 1e-9) & (
        series.edges_s[1:] <= (np.inf if end_s is None else end_s + 1e-9)
    )
    return inside if inside.any() else np.ones(len(inside), bool)


def _slices(series: Series, start_s: float, end_s: float | None) -> Mask:
    """Returns the slices that a span touches."""
    return (series.edges_s[1:] > start_s) & (series.edges_s[:-1] <= (np.inf if end_s is None else end_s))


def _middle(values: Floats, chosen: Mask) -> float:
    known = values[chosen][~np.isnan(values[chosen])]
    return float(np.sort(known)[len(known) // 2]) if len(known) else np.nan


def _most(values: Floats, chosen: Mask) -> float:
    known = values[chosen][~np.isnan(values[chosen])]
    return float(known.max()) if len(known) else np.nan


def _duration(value_s: float) -> str:
    if np.isnan(value_s):
        return NOT_MEASURED
    return NEVER if np.isinf(value_s) else format_duration(value_s)


def _count(value: float) -> str:
    return NOT_MEASURED if np.isnan(value) else format_count(value)


def table_of(trial: TrialRecord, series: Series) -> DataTable:
    """Returns the timeline in at most :data:`MAX_ROWS` rows of equal length, with what happened in each.

    Rates and backlogs are means; a percentile is the highest of the row's slices, since percentiles cannot be averaged.
    """
    slices = len(series.edges_s) - 1
    each = -(-slices // MAX_ROWS)
    firsts = range(0, slices, each)
    columns = list(_columns(series))
    rows = [_row(trial, series, columns, first, min(first + each, slices)) for first in firsts]
    return DataTable(
        headings=("from", "until", *(heading for heading, _ in columns), "what happened"), rows=tuple(rows)
    )


Cell = Callable[[int, int], str]
"""From the first slice of a row and the one after its last to what stands in the row."""


def _columns(series: Series) -> Iterator[tuple[str, Cell]]:
    for name in ("offered", "confirmed", "delivered", "settled"):
        yield FIRST.get(name, name), _mean(getattr(series, name), format_rate)
    several = -(-(len(series.edges_s) - 1) // MAX_ROWS) > 1
    for name, values in (("p50", series.p50_s), ("p99", series.p99_s)):
        if not np.isnan(values).all():
            yield (f"{name}, highest" if several else name), _highest(values)
    if series.late.any():
        yield NEVER, lambda first, last: format_count(int(series.late[first:last].sum()))
    yield "backlog by ledger", _mean(series.backlog, format_count)
    if series.backlog_broker is not None:
        yield "backlog by broker", _sampled(series, series.backlog_broker, format_count)
    for source, track in series.cpu.items():
        if source != "machine":
            yield f"CPU of {source}, cores", _sampled(series, track, lambda cores: f"{cores:.2f}")
    for what, tracks, words in (("memory", series.memory, format_bytes), ("disk", series.disk, bytes_per_s)):
        if "broker" in tracks:
            yield f"{what} of broker", _sampled(series, tracks["broker"], words)


def _mean(values: Floats, words: Callable[[float], str]) -> Cell:
    return lambda first, last: words(float(values[first:last].mean()))


def _highest(values: Floats) -> Cell:
    return lambda first, last: _duration(_most(values[first:last], np.ones(last - first, bool)))


def _sampled(series: Series, track: Track, words: Callable[[float], str]) -> Cell:
    """Returns what tells the mean of the samples in a row; none fell into it where the broker could not be asked."""

    def cell(first: int, last: int) -> str:
        inside = (track.t_s >= series.edges_s[first]) & (track.t_s < series.edges_s[last])
        return words(float(track.value[inside].mean())) if inside.any() else NOT_MEASURED

    return cell


def _row(
    trial: TrialRecord, series: Series, columns: Sequence[tuple[str, Cell]], first: int, last: int
) -> tuple[str, ...]:
    start_s, end_s = float(series.edges_s[first]), float(series.edges_s[last])
    cells = (cell(first, last) for _, cell in columns)
    return (seconds(start_s), seconds(end_s), *cells, "; ".join(_happened(trial, series, start_s, end_s)))


def _happened(trial: TrialRecord, series: Series, start_s: float, end_s: float) -> Iterator[str]:
    """Yields the beginnings and ends that fall into [start, end); a fault that lasts all the while is named too."""
    for phase in series.phases:
        if start_s <= phase.start_s + 1e-9 < end_s:
            yield f"{phase.name} begins"
    for fault in series.faults:
        told = list(_moments(fault, start_s, end_s))
        yield from told
        if not told and fault.start_s < start_s and (fault.end_s is None or fault.end_s >= end_s):
            yield f"{fault.name} lasts"
    for incident in trial.incidents:
        if start_s <= incident.at_s < end_s:
            yield f"{incident.source} {incident.what}"


def _moments(fault: Span, start_s: float, end_s: float) -> Iterator[str]:
    named = {"injected": fault.start_s, "healed": fault.end_s, "recovered": fault.recovered_s}
    for what, t_s in named.items():
        if t_s is not None and start_s <= t_s < end_s:
            yield f"{fault.name} {what} at {t_s:.3f} s"
