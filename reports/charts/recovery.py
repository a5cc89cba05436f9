"""How every case came back from every fault: longest gap, first delivery, p99 and backlog at their levels, time to redelivery."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.record import FaultResult, TrialRecord
from reports import figures, words
from reports.charts import Chart, DataTable, Drawing
from reports.charts._dots import Column, Dot, Row, cell, draw, explained
from reports.charts._words import (
    durability,
    groups,
    is_valid,
    marked,
    name_of,
    title_of_all,
    trial_name,
)
from reports.view import CaseView

TITLE = "How they came back from faults"
_TITLES = {
    "longest_gap": "longest gap between deliveries",
    "first_delivery": "healed → first delivery",
    "p99": "healed → p99 and backlog recovered",
    "backlog": "healed → backlog recovered",
    "redelivery_p50": "killed → delivered again, median",
    "redelivery_max": "killed → delivered again, longest",
}
_NOT_SEEN = "not seen"
_AT_LEAST = "A hollow dot with an arrow: at least that long; it was not over when it could no longer be watched."


_Struck = tuple[CaseView, tuple[tuple[TrialRecord, FaultResult], ...]]
"""A case, and one of its faults in each trial that counts."""


def of_cases(views: Sequence[CaseView]) -> Drawing | None:
    """Draws a row per case and fault, by durability class; None where no fault struck."""
    found = [(group.title, [each for view in group.views for each in _struck(view)]) for group in groups(views)]
    drawn = [(title, struck) for title, struck in found if struck]
    every = [each for _, struck in drawn for each in struck]
    if not every:
        return None
    seen = {name for _, pairs in every for _, fault in pairs for name in fault.recovery}
    names = [name for name in _TITLES if name in seen]
    named = len({fault.label for _, pairs in every for _, fault in pairs}) > 1
    return Drawing(
        name="recovery",
        title=title_of_all(TITLE, [view for view, _ in every]),
        alt=_alt(every, names),
        figure=draw(
            [(title, [_row(each, names, named=named) for each in struck]) for title, struck in drawn],
            [Column(title=_TITLES[name], axis="log scale", seconds=True) for name in names],
        ),
        table=_table(every, names),
        note=" ".join(_notes(every, names)),
    )


def _struck(view: CaseView) -> Iterable[_Struck]:
    """Yields each fault that fired, by its place in the scenario, with what it did in each trial that counts."""
    by_index: dict[int, list[tuple[TrialRecord, FaultResult]]] = {}
    for trial in figures.counted(view.record):
        for fault in trial.faults:
            if fault.injected_s is not None:
                by_index.setdefault(fault.index, []).append((trial, fault))
    yield from ((view, tuple(by_index[index])) for index in sorted(by_index))


def _row(struck: _Struck, names: Sequence[str], *, named: bool) -> Row:
    view, pairs = struck
    several = len(list(_struck(view))) > 1
    label = marked(name_of(view), view)
    if named or several:
        label += f": {_fault(pairs[0][1], when=several)}"
    return Row(label=label, cells=tuple(_cell(view, pairs, name) for name in names))


def _fault(fault: FaultResult, *, when: bool = True) -> str:
    return f"{fault.label} at {fault.injected_s:.1f} s" if when and fault.injected_s is not None else fault.label


def _cell(view: CaseView, pairs: Sequence[tuple[TrialRecord, FaultResult]], name: str) -> tuple[Dot, ...]:
    return cell(
        [fault.recovery.get(name) for _, fault in pairs],
        lambda value: words.figure(f"recovery.{name}", value),
        counts=is_valid(view),
    )


def _notes(every: Sequence[_Struck], names: Sequence[str]) -> Iterable[str]:
    told = [dot for view, pairs in every for name in names for dot in _cell(view, pairs, name)]
    if any(dot.at_least and dot.value is not None for dot in told):
        yield _AT_LEAST
    if any(dot.words == _NOT_SEEN for dot in told):
        yield f"{_NOT_SEEN}: {words.GLOSSARY[_NOT_SEEN]}."
    yield from explained(told)


def _table(every: Sequence[_Struck], names: Sequence[str]) -> DataTable:
    """Returns a row per case, fault and trial."""
    rows = [
        (
            view.label,
            durability(view.record),
            trial_name(trial),
            _fault(fault),
            *(words.figure(f"recovery.{name}", fault.recovery.get(name)) for name in names),
        )
        for view, pairs in every
        for trial, fault in pairs
    ]
    titles = (words.RECOVERY.get(name, name) for name in names)
    return DataTable(headings=("case", "durability", "trial", "fault", *titles), rows=tuple(rows))


def _alt(every: Sequence[_Struck], names: Sequence[str]) -> str:
    """Returns of each case and fault the first two figures in words."""
    told = []
    for view, pairs in every:
        main = {name: next(dot.words for dot in _cell(view, pairs, name) if dot.main) for name in names[:3]}
        figures_ = ", ".join(f"{words.RECOVERY.get(name, name)} {value}" for name, value in main.items())
        told.append(f"{marked(view.label, view)}, {_fault(pairs[0][1])}: {figures_}")
    return f"Dots of how long each case took to come back. {'; '.join(told)}."


CHART = Chart(position=40, of_cases=of_cases)
