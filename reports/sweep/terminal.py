"""What ``sweep`` prints at its end: the knee first, then the figures of every value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.analysis.sweep import Curve, Point, SweepRecord, metrics_shown
from harness.model import TrialStatus
from reports import story, words
from reports.encoding import writably
from reports.sweep import told
from reports.terminal import INDENT, longest, pairs, print_indented, print_lines

GAP = 2
KNEE = "▶"


def print_sweep(record: SweepRecord, console: Console, *, folder: Path) -> None:
    """Prints a sweep; ``folder`` holds it. Signs that the console cannot write are told in others."""
    with writably(console):
        _print_head(record, console)
        for curve in record.curves:
            if curve.points:
                _print_curve(record, curve, console)
        console.print()
        for note in told.notes(record):
            print_indented(Text(note, style="dim"), INDENT, console)
        _print_trouble(record, console)
        _print_end(record, folder, console)


def _print_head(record: SweepRecord, console: Console) -> None:
    console.print()
    if told.several(record):
        console.print(Text("KNEES", style="bold reverse"))
        for curve in record.curves:
            print_indented(Text(curve.label, style="bold"), INDENT, console)
            print_indented(Text(told.knee(record, curve)), 2 * INDENT, console)
    for curve in record.curves if not told.several(record) else ():
        strip = pairs(2)
        strip.add_row(Text("KNEE", style="bold reverse"), Text(told.knee(record, curve), style="bold"))
        console.print(strip)
    if record.status in ("interrupted", "failed"):
        ended = sum(run.status != TrialStatus.INTERRUPTED.value for run in record.runs)
        planned = words.count(record.trials * len(record.values) * max(1, len(record.curves)), "trial")
        console.print(Text(f"! {record.status.upper()} after {ended} of {planned}", style="bold magenta"))
    console.print()
    lines = pairs(2)
    lines.add_row(Text("Question", style="bold"), Text(record.question))
    lines.add_row(Text("Swept", style="bold"), Text(f"{record.key} over {', '.join(record.values)}"))
    console.print(lines)


def _print_curve(record: SweepRecord, curve: Curve, console: Console) -> None:
    console.print()
    head = Text(curve.label, style="bold underline")
    head.append(f"  {told.durabilities([curve])}", style="dim")
    console.print(head)
    chosen = metrics_shown(record.metric)
    while not _print_table(record, curve, chosen, console):
        if len(chosen) == 1:
            _print_stacked(record, curve, console)
            break
        chosen = chosen[:-1]
    else:
        rest = [metric for metric in metrics_shown(record.metric) if metric not in chosen]
        if rest:
            _print_table(record, curve, rest, console)


def _print_table(record: SweepRecord, curve: Curve, chosen: Sequence[str], console: Console) -> bool:
    """Prints a table; returns False, having printed nothing, where it does not fit."""
    rows = [_row(record, curve, point, chosen) for point in curve.points]
    headings = [record.key, *map(told.name_of, chosen), "trials", "verdict"]
    widths = [max(longest([row[at] for row in rows]), len(heading)) for at, heading in enumerate(headings)]
    if INDENT + sum(widths) + GAP * len(widths) > console.width:
        return False
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="dim")
    for heading, width in zip(headings, widths, strict=True):
        table.add_column(heading, justify="left" if heading == "verdict" else "right", width=width)
    for row in rows:
        table.add_row(*row)
    print_indented(table, INDENT, console)
    return True


def _row(record: SweepRecord, curve: Curve, point: Point, chosen: Sequence[str]) -> list[Text]:
    at_knee = curve.knee is not None and curve.knee.value == point.value
    cells = []
    for metric in chosen:
        middle, span = told.cell(point, metric)
        text = Text(middle, style="bold" if metric == record.metric and at_knee else "")
        label = told.flow(point) if metric == "throughput" else ""
        for line in filter(None, (span, label)):
            text.append(f"\n{line}", style="dim")
        cells.append(text)
    sign = story.sign(point.case)
    verdict = Text(str(sign), style=sign.style)
    name = Text(f"{KNEE} {point.value}" if at_knee else point.value, style="bold" if at_knee else "")
    return [name, *cells, Text(told.counted(point)), verdict]


def _print_stacked(record: SweepRecord, curve: Curve, console: Console) -> None:
    for point in curve.points:
        print_indented(Text(f"{record.key}={point.value}", style="bold"), INDENT, console)
        for metric in metrics_shown(record.metric):
            middle, span = told.cell(point, metric)
            print_indented(Text(f"{told.name_of(metric)} {middle}{f' ({span})' if span else ''}"), 2 * INDENT, console)
        print_indented(Text(f"trials {told.counted(point)}, {story.sign(point.case)}"), 2 * INDENT, console)


def _print_trouble(record: SweepRecord, console: Console) -> None:
    lines = list(told.reasons(record))
    if lines:
        console.print()
        console.print(Text("What does not count", style="bold underline"))
        print_lines(lines, INDENT, console)


def _print_end(record: SweepRecord, folder: Path, console: Console) -> None:
    console.print()
    if record.exit_code:
        console.print(Text(f"Exit code {record.exit_code}: {record.exit_reason}"))
    seed = f"order of the trials from seed {record.order_seed}"
    console.print(Text(f"  {words.count(len(record.runs), 'run')} in {folder}; {seed}", style="dim"), soft_wrap=True)
