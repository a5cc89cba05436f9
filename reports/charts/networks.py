"""One setup at several sites: each figure as its ratio to the same on the bridge.

Neighbours: ``reports.networks`` compares; its table says the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reports import networks
from reports.charts import Chart, DataTable, Drawing
from reports.charts._dots import Column, Dot, Row, draw
from reports.charts._words import durability, is_closed_loop, title_of_all
from reports.networks import Comparison
from reports.view import CaseView

TITLE = "Networks: times the same figure on the bridge"
_RIGHT = "Right of 1: more than on the bridge; of rates that is better, of latency and CPU worse."


def of_cases(views: Sequence[CaseView]) -> Drawing | None:
    """Draws a row per setup and site; None where no setup was measured at two sites of one run, or nothing can be compared."""
    if len({view.record.id for view in views}) < len(views):
        return None  # several runs: each has its own
    rated = [view for view in views if not view.record.ceiling]
    closed = bool(rated) and all(is_closed_loop(view) for view in rated)
    compared = networks.comparison_of([view.record for view in views], closed_loop=closed)
    ratios = [each for _, rows in compared.groups for row in rows for each in row.ratios if each] if compared else []
    if compared is None or not ratios:
        return None
    cases = networks.by_setup([view.record for view in views])
    titles = {label: f"{label} ({durability(cases[label][0])})" for label, _ in compared.groups}
    shown = [view for view in views if any(view.record in cases[label] for label in titles)]
    return Drawing(
        name="networks",
        title=title_of_all(TITLE, shown),
        alt=_alt(compared),
        figure=draw(
            [(titles[label], [_row(row) for row in rows]) for label, rows in compared.groups],
            [
                Column(title=heading, axis="× bridge", tick="×{:g}".format, ratios=(min(ratios), max(ratios)))
                for heading in compared.headings
            ],
        ),
        table=_table(compared, titles),
        note=" ".join(_notes(compared)),
    )


def _ratio(value: float) -> str:
    return f"×{value:.2f}"


def _row(row: networks.Row) -> Row:
    """Returns the dots of a site; a figure that is not compared stands there in words."""
    cells = [
        (Dot(value=ratio, words=cell if ratio is None else _ratio(ratio)),)
        for cell, ratio in zip(row.cells, row.ratios, strict=True)
    ]
    return Row(label=row.site, cells=tuple(cells))


def _notes(compared: Comparison) -> Iterable[str]:
    yield _RIGHT
    yield from (f"{note[0].upper()}{note[1:]}." for note in compared.notes)


def _table(compared: Comparison, titles: dict[str, str]) -> DataTable:
    rows = [(titles[label], row.site, *row.cells) for label, rows in compared.groups for row in rows]
    return DataTable(headings=("setup", "site", *compared.headings), rows=tuple(rows))


def _alt(compared: Comparison) -> str:
    told = [
        f"{label} at {row.site}: {', '.join(f'{h} {c}' for h, c in zip(compared.headings, row.cells, strict=True))}"
        for label, rows in compared.groups
        for row in rows
    ]
    return f"Dots of each figure as its ratio to the bridge. {'; '.join(told)}."


CHART = Chart(position=45, of_cases=of_cases)
