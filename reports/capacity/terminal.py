"""What ``capacity`` prints at its end: the answer first, then every rate with what was seen and why it does not hold."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.analysis.capacity import CapacityRecord, Searched
from harness.analysis.rate_search import Shown
from harness.units import format_rate
from reports import words
from reports.capacity import told
from reports.capacity.told import Rate
from reports.encoding import writably
from reports.terminal import INDENT, longest, pairs, print_indented, print_lines

GAP = 2
LEAST_WHY = 24
STYLES = {Shown.HOLDS: "green", Shown.MISSED: "bold red", Shown.GENERATOR: "bold magenta", Shown.UNTOLD: "yellow"}
SIGNS = {Shown.HOLDS: "✓ holds", Shown.MISSED: "✗ missed", Shown.GENERATOR: "! generator", Shown.UNTOLD: "? untold"}


def print_capacity(record: CapacityRecord, console: Console, *, folder: Path) -> None:
    """Prints a search, which ``folder`` holds. Signs that the console cannot write are told in others."""
    with writably(console):
        _print_head(record, console)
        for searched in record.searches:
            if told.rates(searched):
                _print_rates(record, searched, console)
        _print_warnings(record, console)
        console.print()
        for note in told.notes(record):
            print_indented(Text(note, style="dim"), INDENT, console)
        _print_end(record, folder, console)


def _print_head(record: CapacityRecord, console: Console) -> None:
    console.print()
    if told.several(record):
        console.print(Text("CAPACITIES", style="bold reverse"))
        for searched in record.searches:
            print_indented(Text(searched.case.id, style="bold", overflow="fold"), INDENT, console)
            print_indented(_answer(searched), 2 * INDENT, console)
    else:
        strip = pairs(2)
        strip.add_row(Text("CAPACITY", style="bold reverse"), _answer(record.searches[0]))
        console.print(strip)
    if record.status in ("interrupted", "failed"):
        done = sum(len(each.probes) for searched in record.searches for each in told.rates(searched))
        console.print(Text(f"! {record.status.upper()} after {words.count(done, 'trial')}", style="bold magenta"))
    console.print()
    lines = pairs(2)
    lines.add_row(Text("Question", style="bold"), Text(record.question))
    lines.add_row(Text("Asked", style="bold"), Text(told.bounds(record)))
    console.print(lines)


def _answer(searched: Searched) -> Text:
    return Text(told.rate(searched), style="bold").append(f"  {told.sentence(searched)}", style="not bold")


def _print_rates(record: CapacityRecord, searched: Searched, console: Console) -> None:
    console.print()
    head = Text(searched.case.id, style="bold underline", overflow="fold")
    head.append(f"  {told.durabilities(record.model_copy(update={'searches': [searched]}))}", style="dim not underline")
    console.print(head)
    every = told.rates(searched)
    metrics = list(told.columns(record))
    while len(metrics) > 1 and _needed(searched, every, metrics) > console.width:
        metrics.pop()
    if _needed(searched, every, metrics) > console.width:
        _print_stacked(record, searched, every, console)
        return
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="dim")
    for heading in ("rate", "held", *map(told.heading_of, metrics)):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("why not", overflow="fold", min_width=LEAST_WHY)
    for each in every:
        table.add_row(*_row(searched, each, metrics), Text("; ".join(each.reasons)))
    print_indented(table, INDENT, console)


def _row(searched: Searched, each: Rate, metrics: list[str]) -> list[Text]:
    """Returns the cells of a rate but the last."""
    is_answer = each.rate_per_s == searched.rate_per_s
    rate = Text(f"▶ {format_rate(each.rate_per_s)}" if is_answer else format_rate(each.rate_per_s))
    rate.style = "bold" if is_answer else ""
    cells = [Text(told.cell(each, metric)) for metric in metrics]
    return [rate, Text(f"{each.held} of {len(each.probes)}"), *cells, _sign(each)]


def _needed(searched: Searched, every: list[Rate], metrics: list[str]) -> int:
    """Returns how wide the table is with room for reasons."""
    rows = [_row(searched, each, metrics) for each in every]
    headings = ("rate", "held", *map(told.heading_of, metrics), "")
    widths = [max(longest([row[at] for row in rows]), len(heading)) for at, heading in enumerate(headings)]
    return INDENT + sum(widths) + GAP * len(widths) + LEAST_WHY


def _sign(each: Rate) -> Text:
    return Text(SIGNS[each.shown], style=STYLES[each.shown])


def _print_stacked(record: CapacityRecord, searched: Searched, every: list[Rate], console: Console) -> None:
    for each in every:
        mark = "▶ " if each.rate_per_s == searched.rate_per_s else ""
        head = Text(f"{mark}{format_rate(each.rate_per_s)}, held {each.held} of {len(each.probes)} ", style="bold")
        print_indented(head.append_text(_sign(each)), INDENT, console)
        figures = [f"{told.name_of(metric)} {told.cell(each, metric)}" for metric in told.columns(record)]
        print_lines([", ".join(figures), *filter(None, ["; ".join(each.reasons)])], 2 * INDENT, console)


def _print_warnings(record: CapacityRecord, console: Console) -> None:
    every = [(searched.case.id, warning) for searched in record.searches for warning in told.warnings(searched)]
    if every:
        console.print()
        console.print(Text("Warnings", style="bold underline"))
        many = told.several(record)
        print_lines([f"{case}: {warning}" if many else warning for case, warning in every], INDENT, console)


def _print_end(record: CapacityRecord, folder: Path, console: Console) -> None:
    console.print()
    if record.exit_code:
        console.print(Text(f"Exit code {record.exit_code}: {record.exit_reason}"))
    runs = sum(bool(probe.run) for searched in record.searches for probe in searched.probes)
    console.print(Text(f"  {words.count(runs, 'run')} in {folder}", style="dim"), soft_wrap=True)
