"""One figure of one case, and its difference to the same figure of another: exact values, ratios, intervals from trials.

A difference is said only of what may be compared: figures of valid trials, of the same window, and of a throughput whose backlog stood
still. The caller sees to it that both cases are of one durability class.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeGuard

from harness.analysis.rank_sum import Relation, independent_ratio
from harness.metrics import METRICS
from harness.model import TrialStatus
from harness.record import AtLeast, CaseRecord, Figure, TrialRecord, Unknown
from reports import figures, words
from reports.compared import Compared, Comparison, Difference, Interval
from reports.figures import Found

RECOVERY = "recovery."
INVALID = "no valid trial"
REFERENCE_INVALID = "the reference has no valid trial"
TWO_BOUNDS = "both are only 'at least'"
ONLY_BOUNDS = "only 'at least': no interval"
WINDOWS = "the windows differ"
MIXED = "mixed"
NOT_KNOWN = "not known on both sides"
ONE_TRIAL = "one trial: no interval"
UNLIKE = "unlike environments: no interval"


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure of every comparison; ``about`` is the table that it stands in."""

    heading: str
    metric: str
    about: Literal["carried", "late", "back", "cost"]


MEASURED = (
    Measured("throughput", "throughput", "carried"),
    Measured("confirmed", "rate.confirmed", "carried"),
    Measured("completion p50", "latency.completion.p50", "late"),
    Measured("completion p99", "latency.completion.p99", "late"),
    Measured("e2e p50", "latency.end_to_end.p50", "late"),
    Measured("e2e p99", "latency.end_to_end.p99", "late"),
    Measured("e2e p99.9", "latency.end_to_end.p99_9", "late"),
    Measured("longest gap", "recovery.longest_gap", "back"),
    Measured("recovered after", "recovery.p99", "back"),
    Measured("redelivery p50", "recovery.redelivery_p50", "back"),
    Measured("redelivery max", "recovery.redelivery_max", "back"),
    Measured("broker CPU per message", "cost.broker_cpu", "cost"),
    Measured("load CPU per message", "cost.load_cpu", "cost"),
    Measured("disk per message", "cost.disk_bytes_per_message", "cost"),
    Measured("broker memory", "cost.broker_memory_peak", "cost"),
)
"""What is compared, in the order in which it stands."""

_ONLY_WHERE_WORKERS_DIE = ("latency.completion.p50", "latency.completion.p99")


def shown(cases: list[CaseRecord]) -> list[Measured]:
    """Returns the figures that some case has; completion, as everywhere, only where workers were killed."""
    killed = any("worker kill" in figures.faults(case) for case in cases)
    found = []
    for each in MEASURED:
        if each.metric in _ONLY_WHERE_WORKERS_DIE and not killed:
            continue
        values = [middle for case in cases if (middle := over_trials(case, each.metric).middle) is not None]
        # A p99.9 that has too few messages everywhere is no column.
        if values and not (each.metric.endswith("p99_9") and all(isinstance(value, Unknown) for value in values)):
            found.append(each)
    return found


def measured(told: Comparison) -> list[Measured]:
    """Returns the figures that a comparison has, in order."""
    arms = [arm for group in told.groups for arm in group.arms]
    return [each for each in MEASURED if any(each.metric in arm.figures for arm in arms)]


def over_trials(case: CaseRecord, metric: str) -> Found:
    """Returns a metric of ``METRICS`` over the trials that count; a recovery's, of each trial the worst of its faults."""
    if metric.startswith(RECOVERY):
        return figures.recovery(case, metric.removeprefix(RECOVERY))
    return figures.over_trials(case, metric)


def of_trial(trial: TrialRecord, metric: str) -> Figure | None:
    """Returns a metric of one trial, likewise."""
    if metric.startswith(RECOVERY):
        name = metric.removeprefix(RECOVERY)
        return figures.worst([fault.recovery[name] for fault in trial.faults if name in fault.recovery])
    return figures.look(trial, metric)[0]


def is_valid(case: CaseRecord) -> bool:
    """Returns whether a case has a trial whose figures may be compared."""
    return any(trial.status is TrialStatus.VALID for trial in case.trials)


def compared(
    case: CaseRecord, metric: str, reference: CaseRecord | None, why: str, *, evidence: bool = True
) -> Compared:
    """Returns a figure with its difference to that of ``reference``.

    Args:
        reference: None = there is nothing to compare it with, ``why`` says why; the case itself = it is the reference.
        evidence: False = of unlike environments: ratios without intervals.
    """
    found = over_trials(case, metric)
    told = Compared(
        middle=found.middle,
        lowest=found.lowest,
        highest=found.highest,
        window=_window(case, metric),
        trials=_by_trial(case, metric),
        label=label_of(case) if metric == "throughput" else "",
        why=why,
    )
    if reference is None or reference is case:
        return told
    why = _why_not(case, metric) or _why_not(reference, metric, of_reference=True)
    if why:
        return told.model_copy(update={"why": why})
    there = over_trials(reference, metric)
    if _says_something(found.middle, metric) and _says_something(there.middle, metric):
        if MIXED in (told.window, _window(reference, metric)) or found.window != there.window:
            return told.model_copy(update={"why": WINDOWS})
        if isinstance(found.middle, AtLeast) and isinstance(there.middle, AtLeast):
            return told.model_copy(update={"why": TWO_BOUNDS})
        others = _by_trial(reference, metric)
        interval = _interval(metric, [*told.trials.values()], [*others.values()]) if evidence else UNLIKE
        return told.model_copy(update={"difference": _difference(found.middle, there.middle, interval)})
    return told.model_copy(update={"why": NOT_KNOWN})


def _says_something(value: Figure | None, metric: str) -> TypeGuard[float | AtLeast]:
    """Returns whether a figure is a number, or a lower bound that is worth its name: a recovery hardly waited for says nothing."""
    if isinstance(value, AtLeast):
        return not words.is_not_seen(metric, value)
    return isinstance(value, float)


def _window(case: CaseRecord, metric: str) -> str:
    """Returns the window of a figure, ``MIXED`` where trials have it of different ones."""
    if metric.startswith(RECOVERY):
        return over_trials(case, metric).window
    looked = [figures.look(trial, metric) for trial in figures.counted(case)]
    windows = {window for value, window in looked if value is not None and not isinstance(value, Unknown)}
    return MIXED if len(windows) > 1 else figures.over_trials(case, metric).window


def _by_trial(case: CaseRecord, metric: str) -> dict[int, Figure]:
    values = {trial.number: of_trial(trial, metric) for trial in figures.counted(case)}
    return {number: value for number, value in values.items() if value is not None}


def _why_not(case: CaseRecord, metric: str, *, of_reference: bool = False) -> str:
    """Returns why a figure of this case enters no difference, "" where it may."""
    if not is_valid(case):
        return REFERENCE_INVALID if of_reference else INVALID
    if metric != "throughput":
        return ""
    label = label_of(case)
    return f"the reference is {label}" if label and of_reference else label


def label_of(case: CaseRecord) -> str:
    """Returns ``filling`` or ``draining`` where the backlog grew or shrank in any trial that counts: such a throughput is not compared."""
    window = figures.over_trials(case, "throughput").window
    labels = {trial.throughput_label.get(window, "") for trial in figures.counted(case)}
    return ", ".join(label for label in figures.UNSUSTAINED if label in labels)


def _difference(
    here: float | AtLeast, there: float | AtLeast, interval: tuple[Interval | None, float, Relation] | str
) -> Difference:
    mine, other = _size(here), _size(there)
    relation: Relation = "≥" if isinstance(here, AtLeast) else "≤" if isinstance(there, AtLeast) else "="
    if isinstance(interval, str):
        return Difference(
            absolute=mine - other, ratio=mine / other if other else None, relation=relation, no_interval=interval
        )
    found, ratio, relation = interval
    return Difference(
        absolute=_absolute(ratio, relation, there),
        ratio=ratio,
        relation=relation,
        interval=found,
        no_interval="" if found else ONLY_BOUNDS,
    )


def _absolute(ratio: float, relation: Relation, there: float | AtLeast) -> float | None:
    """Returns what a ratio comes to at the middle value of the reference, so that both point the same way.

    Where that is only "at least", it is a bound only where a larger one would move it further the same way.
    """
    if isinstance(there, AtLeast) and not ((relation == "≥" and ratio >= 1) or (relation == "≤" and ratio <= 1)):
        return None
    return (ratio - 1) * _size(there)


def _size(value: float | AtLeast) -> float:
    return value.at_least if isinstance(value, AtLeast) else value


def more_is_better(metric: str) -> bool:
    """Returns whether a larger figure is the better one."""
    return METRICS[metric].higher_is_better


def _interval(
    metric: str, here: Collection[Figure], there: Collection[Figure]
) -> tuple[Interval | None, float, Relation] | str:
    """Returns the interval of the ratio with its estimate, or why there is none. Trials of two cases are no pairs."""
    if min(len(here), len(there)) == 1:
        return ONE_TRIAL
    mine, other = _usable(here), _usable(there)
    if mine is None or other is None:
        return "of a trial not known, or 0: no interval"
    found = independent_ratio(
        other, mine, resolution=METRICS[metric].resolution
    )  # not better or worse: the plain ratio
    if not found.bounded:
        return f"{len(mine)} and {len(other)} trials: too few for an interval"
    if found.estimate is None or not math.isfinite(found.estimate):
        return ONLY_BOUNDS
    high = found.upper if math.isfinite(found.upper) else None
    told = Interval(low=found.lower, high=high, level=float(found.level)) if found.lower or high is not None else None
    return told, found.estimate, found.relation


def _usable(values: Collection[Figure]) -> list[float | AtLeast] | None:
    known = [value for value in values if not isinstance(value, Unknown) and _size(value) > 0]
    return known if known and len(known) == len(values) else None
