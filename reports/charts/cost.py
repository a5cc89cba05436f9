"""What messages cost: CPU of broker and load, bytes written, memory; only where it was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from harness.record import Figure
from harness.units import format_bytes, format_duration
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

TITLE = "What messages cost"
COLUMNS = {
    "cost.broker_cpu": Column(
        title="CPU of the broker per message", axis="CPU time", tick=lambda s: format_duration(s / 1e6)
    ),
    "cost.load_cpu": Column(
        title="CPU of the load per message", axis="CPU time", tick=lambda s: format_duration(s / 1e6)
    ),
    "cost.disk_bytes_per_message": Column(title="written to disk per message", axis="bytes", tick=format_bytes),
    "cost.broker_memory_peak": Column(title="memory of the broker, highest sample", axis="bytes", tick=format_bytes),
}


def of_cases(views: Sequence[CaseView]) -> Drawing | None:
    """Draws a row per case, by durability class; None where nothing was measured."""
    names = [name for name in COLUMNS if any(isinstance(value, float) for v in views for value in _values(v, name))]
    found = [(group.title, [view for view in group.views if _has_any(view, names)]) for group in groups(views)]
    drawn = [(title, members) for title, members in found if members]
    every = [view for _, members in drawn for view in members]
    if not every:
        return None
    return Drawing(
        name="cost",
        title=title_of_all(TITLE, every),
        alt=_alt(every, names),
        figure=draw(
            [(title, [_row(view, names) for view in members]) for title, members in drawn],
            [COLUMNS[name] for name in names],
        ),
        table=_table(every, names),
        note=" ".join(_notes(every, names)),
    )


def _values(view: CaseView, name: str) -> list[Figure | None]:
    return [figures.look(trial, name)[0] for trial in figures.counted(view.record)]


def _has_any(view: CaseView, names: Sequence[str]) -> bool:
    return any(isinstance(value, float) for name in names for value in _values(view, name))


def _told(name: str) -> Callable[[Figure | None], str]:
    return lambda value: words.figure(name, value).removesuffix(" per message")


def _cell(view: CaseView, name: str) -> tuple[Dot, ...]:
    return cell(_values(view, name), _told(name), counts=is_valid(view))


def _row(view: CaseView, names: Sequence[str]) -> Row:
    return Row(label=marked(name_of(view), view), cells=tuple(_cell(view, name) for name in names))


def _notes(every: Sequence[CaseView], names: Sequence[str]) -> Iterable[str]:
    yield f"{words.COST[0].upper()}{words.COST[1:]}."
    told = [dot for view in every for name in names for dot in _cell(view, name)]
    yield from explained(told)


def _table(every: Sequence[CaseView], names: Sequence[str]) -> DataTable:
    """Returns a row per case and trial."""
    rows = [
        (
            view.label,
            durability(view.record),
            trial_name(trial),
            *(words.figure(name, figures.look(trial, name)[0]) for name in names),
        )
        for view in every
        for trial in figures.counted(view.record)
    ]
    return DataTable(
        headings=("case", "durability", "trial", *(words.RUN_FIGURES[name] for name in names)), rows=tuple(rows)
    )


def _alt(every: Sequence[CaseView], names: Sequence[str]) -> str:
    told = []
    for view in every:
        main = {name: next(dot.words for dot in _cell(view, name) if dot.main) for name in names}
        told.append(f"{marked(view.label, view)}: " + ", ".join(f"{words.RUN_FIGURES[n]} {t}" for n, t in main.items()))
    return f"Dots of what a message costs in each case. {'; '.join(told)}."


CHART = Chart(position=50, of_cases=of_cases)
