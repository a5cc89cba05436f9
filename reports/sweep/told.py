"""What a sweep says, in sentences: the knee of every curve, and what its points do not show.

Neighbours: ``terminal`` prints them beside the table, ``picture`` puts them under the curves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.analysis.sweep import SHARE, Curve, Knee, Point, SweepRecord
from harness.metrics import METRICS
from harness.model import TrialStatus
from reports import words
from reports.charts._words import durability
from reports.figures import UNSUSTAINED

NAMES = {"throughput": "throughput", "latency.end_to_end.p99": "p99 end to end"}
"""Of figures as headings; others go by their name."""
DEFINITION = f"the knee is the smallest value whose median reaches {words.ratio(SHARE)} of the best"


def name_of(metric: str) -> str:
    """Returns what a figure is called in headings."""
    return NAMES.get(metric, metric)


def knee(record: SweepRecord, curve: Curve) -> str:
    """Returns in one sentence where a curve bends, or why nowhere."""
    found = curve.knee
    if found is None:
        return f"no knee: only {len(curve.ran)} of {len(record.values)} values were run"
    metric, key = record.metric, record.key
    if found.value is None:
        return f"no knee{_why_none(record, curve, found)}"
    reached = SHARE if found.reached is None else found.reached
    best = f"{found.best} ({_median(curve, found.best, metric)})"
    of = "the best itself" if found.value == found.best else f"{words.ratio(reached)} of the best, {best}"
    return f"knee at {key}={found.value}: its median {name_of(metric)} is {_median(curve, found.value, metric)}, {of}{_also(found)}"


def _why_none(record: SweepRecord, curve: Curve, found: Knee) -> str:
    metric, key = record.metric, record.key
    best = _median(curve, found.best, metric)
    match found.found:
        case "flat":
            rest = f"; of {', '.join(found.missing)} nothing is known" if found.missing else ""
            where = "every other value" if found.missing else "every value"
            return f": the curve is flat, the median {name_of(metric)} is {best} at {where}{rest}"
        case "rising":
            reached = words.ratio(SHARE if found.reached is None else found.reached)
            return (
                f" up to {key}={found.best}: that is the best ({best}), and the best of the others reaches {reached} of it: go on with"
                f" {'larger' if _ascending(curve) else 'other'} values"
            )
        case "words":
            return f": the values of {key} have no order; the best is {found.best} ({best})"
        case "unlike":
            kinds = " or ".join(dict.fromkeys(durability(point.case) for point in curve.points))
            return f": the values differ in what a confirmed message survives ({kinds}), and do not compete"
        case _:
            return f": fewer than two values have a median {name_of(metric)}"


def _also(found: Knee) -> str:
    first = "; it is the smallest that was tried, a smaller one may do as well" if found.found == "first" else ""
    listed = ", ".join(found.missing)
    missing = f"; of {listed} nothing is known, so the knee may be below" if found.missing else ""
    return first + missing


def _ascending(curve: Curve) -> bool:
    return all(point.at is not None for point in curve.points)


def _median(curve: Curve, value: str | None, metric: str) -> str:
    point = next((point for point in curve.points if point.value == value), None)
    return words.figure(metric, point.seen[metric].median) if point else words.NOT_MEASURED


def cell(point: Point, metric: str) -> tuple[str, str]:
    """Returns the median of a figure, and the range where there are several trials ("" otherwise)."""
    seen = point.seen.get(metric)
    if seen is None:
        return words.NOT_MEASURED, ""
    known = [each for each in seen.each if isinstance(each, float)]
    several = len(known) > 1
    span = f"{words.figure(metric, min(known))} … {words.figure(metric, max(known))}" if several else ""
    return words.figure(metric, seen.median), span


def counted(point: Point) -> str:
    """Returns how many trials of a value are valid: ``3``, ``2 of 3``."""
    valid = sum(trial.status is TrialStatus.VALID for trial in point.case.trials)
    of = len(point.runs)
    return str(of) if valid == of else f"{valid} of {of}"


def flow(point: Point) -> str:
    """Returns ``filling`` or ``draining`` where the throughput of a valid trial was not sustained, "" otherwise."""
    found = [
        trial.throughput_label.get("steady", "") for trial in point.case.trials if trial.status is TrialStatus.VALID
    ]
    return ", ".join(label for label in UNSUSTAINED if label in found)


def reasons(record: SweepRecord) -> Iterator[str]:
    """Yields what speaks against trials that do not count, each reason once with the values that it holds for."""
    told: dict[str, dict[str, None]] = {}
    for point in (point for curve in record.curves for point in curve.points):
        for trial in point.case.trials:
            if trial.status is not TrialStatus.VALID:
                status = words.OF_STATUS[trial.status].word
                for reason in trial.reasons[:1] or ["no reason was recorded"]:
                    told.setdefault(f"{status}: {reason}", {})[f"{record.key}={point.value}"] = None
    for reason, places in told.items():
        yield f"{', '.join(places)}: {reason}"


def notes(record: SweepRecord) -> Iterator[str]:
    """Yields what a reader of table and chart must know."""
    points = [point for curve in record.curves for point in curve.points]
    yield DEFINITION
    yield from _of_metric(record)
    if record.open_loop and record.metric == "throughput":
        yield "the load is a schedule: throughput ends at what it offers, so the knee is where that load is carried; load.saturate asks for the most"
    if record.trials == 1:
        yield "one trial of each value: how much trials scatter is not seen; --trials 3 shows it"
    labels = {label for point in points for label in flow(point).split(", ") if label}
    if "filling" in labels:
        yield "filling: more was offered than worked off; the throughput is what the workers carried, and latencies grow with the load's length"
    if "draining" in labels:
        yield "draining: more was worked off than offered: a backlog went down meanwhile"


def _of_metric(record: SweepRecord) -> Iterator[str]:
    metric = METRICS[record.metric]
    if not metric.higher_is_better:
        yield f"of {name_of(record.metric)} the lowest is the best; a median reaches {words.ratio(SHARE)} of it up to {1 / SHARE:.3f} times as much"


def several(record: SweepRecord) -> bool:
    """Returns whether there is more than one curve."""
    return len(record.curves) > 1


def title(record: SweepRecord, metrics: Sequence[str], curves: Sequence[Curve]) -> str:
    """Returns the title of a chart: what it shows, of which case where there is one, and what confirms survive there."""
    shown = " and ".join(map(name_of, metrics))
    kinds = durabilities(curves)
    of = f"{curves[0].label} ({kinds})" if len(curves) == 1 else kinds
    begun = f"{shown[0].upper()}{shown[1:]}" if metrics[0] in NAMES else shown
    return f"{begun} over {record.key}: {of}"


def durabilities(curves: Sequence[Curve]) -> str:
    """Returns what confirms survive in these curves, each once, with the settings behind it."""
    return "; ".join(dict.fromkeys(durability(point.case) for curve in curves for point in curve.points))
