"""The columns of the table of cases, made once for terminal and Markdown: a heading and the words of each cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.record import CaseRecord, RunRecord, Unknown
from reports import figures, story, words
from reports.figures import Found

BECAME = {  # columns of classes that stand there only where a case has any
    "rejected": ("rejected",),
    "unsent": ("unsent",),
    "stranded": ("stranded",),
    "unknown": ("vanished", "undecided"),
}


MARKED = {  # likewise, of marks
    "stored twice": "producer_duplicate",
    "overlapping": "overlapping_execution",
    "doubled": "duplicate_effect",
    "skipped": "skipped",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """The words of a cell; ``range`` stands under them where several trials were run; ``style`` is rich's."""

    text: str
    range: str = ""
    style: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``about`` is where a narrow terminal breaks the table: ``carried``, ``late``, ``kept`` or ``back``."""

    heading: str
    about: str
    cell: Callable[[CaseRecord], Cell]


def columns(record: RunRecord) -> list[Column]:
    """Returns the columns that this run needs, in order: recovery only with faults, redelivery only where workers were killed."""
    cases = [case for case in record.cases if case.trials]
    kinds = {kind for case in cases for kind in figures.faults(case)}
    every = [_metric("offered", "carried", "rate.offered"), _metric("confirmed", "carried", "rate.confirmed")]
    every.append(Column("throughput", "carried", _throughput))
    if "worker kill" in kinds:  # the first receipt may be by a worker that dies: completion comes first
        every += [
            _metric("completion p50", "late", "latency.completion.p50"),
            _metric("completion p99", "late", "latency.completion.p99"),
        ]
    every += [
        _metric("e2e p50", "late", "latency.end_to_end.p50"),
        _metric("e2e p99", "late", "latency.end_to_end.p99"),
        Column("lag p99", "late", _lag),
        Column("lost", "kept", _lost),
        Column("repeats", "kept", _repeats),
    ]
    every += [
        Column(heading, "kept", _became(classes))
        for heading, classes in BECAME.items()
        if any(figures.became(figures.counted(case), *classes) for case in cases)
    ]
    every += [
        Column(heading, "kept", _marked(mark))
        for heading, mark in MARKED.items()
        if any(figures.marked(figures.counted(case), mark) for case in cases)
    ]
    if kinds:
        every += [_recovery("longest gap", "longest_gap"), _recovery("recovered after", "p99")]
    if "worker kill" in kinds:
        every += [_recovery("redelivery p50", "redelivery_p50"), _recovery("redelivery max", "redelivery_max")]
    return [*every, Column("verdict", "kept", _verdict)]


def _metric(heading: str, about: str, name: str) -> Column:
    return Column(heading, about, lambda case: _found(name, figures.over_trials(case, name)))


def _recovery(heading: str, name: str) -> Column:
    return Column(heading, "back", lambda case: _found(f"recovery.{name}", figures.recovery(case, name)))


def _found(name: str, found: Found) -> Cell:
    text = words.figure(name, found.middle)
    if found.window == "whole" and found.middle is not None and not name.startswith(("loss.", "blocked", "backlog.")):
        text += ", whole run"
    ends = [words.figure(name, end) for end in (found.lowest, found.highest) if end is not None]
    return Cell(text, " – ".join(ends) if len(set(ends)) > 1 else "")


def _throughput(case: CaseRecord) -> Cell:
    """Returns the throughput, labelled where the backlog grew or shrank: then it is not compared."""
    found = figures.over_trials(case, "throughput")
    cell = _found("throughput", found)
    labels = {trial.throughput_label.get(found.window, "") for trial in figures.counted(case)} - {"", "sustained"}
    return Cell(", ".join([cell.text, *sorted(labels)]), cell.range)


def _lost(case: CaseRecord) -> Cell:
    """Returns the losses that are proven; an invalid trial's 0 would say what nobody knows."""
    trials = figures.proving(case.trials)
    cell = _found("loss.confirmed", figures.together(figures.each(trials, "loss.confirmed")))
    return Cell(cell.text, cell.range, "bold" if figures.lost(trials) else "")


def _repeats(case: CaseRecord) -> Cell:
    return _counted("mark.redelivered_unacked", [figures.repeats([trial]) for trial in figures.counted(case)])


def _counted(name: str, of_trials: Sequence[int | None]) -> Cell:
    return _found(name, figures.together([float(number) for number in of_trials if number is not None]))


def _lag(case: CaseRecord) -> Cell:
    """Returns the p99 of the schedule lag; of too few messages the largest instead, which says so."""
    found = figures.over_trials(case, "lag.p99")
    largest = figures.over_trials(case, "lag.max")
    if not isinstance(found.middle, Unknown) or largest.middle is None or isinstance(largest.middle, Unknown):
        return _found("lag.p99", found)
    cell = _found("lag.max", largest)
    return Cell(f"max {cell.text}", cell.range)


def _became(classes: tuple[str, ...]) -> Callable[[CaseRecord], Cell]:
    def cell(case: CaseRecord) -> Cell:
        return _counted("class.lost", [figures.became([trial], *classes) for trial in figures.counted(case)])

    return cell


def _marked(mark: str) -> Callable[[CaseRecord], Cell]:
    def cell(case: CaseRecord) -> Cell:
        return _counted(f"mark.{mark}", [figures.marked([trial], mark) for trial in figures.counted(case)])

    return cell


def _verdict(case: CaseRecord) -> Cell:
    sign = story.sign(case)
    valid = sum(trial.status == "valid" for trial in case.trials)
    several = f"{valid} of {len(case.trials)} valid" if len(case.trials) > 1 else ""
    return Cell(str(sign), several, sign.style)
