"""What a gate prints, as everybody sees it in the log of a job: the verdict in words, a row per rule and case, then what could be seen at all.

Every verdict is a symbol and a word, so that nothing depends on colour. Neighbours: ``told`` has the words, ``reports.terminal`` prints
a run in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from harness.gate.outcome import Outcome, Row, Verdict
from reports.encoding import writably
from reports.gate import told
from reports.terminal import INDENT, pairs, print_indented, print_lines
from reports.words import NOT_MEASURED

MAX_ROWS = 100
MAX_SENTENCES = 20
MAX_LINES = 20
_COMMAND = re.compile(r"^((?:\s|\x1b\[[0-9;]*m)*):(?=:)", re.MULTILINE)

Column = tuple[str, Callable[[Row], str]]


def print_outcome(outcome: Outcome, console: Console) -> None:
    """Prints an outcome. Signs that the console cannot write are told in others, and no line of it is a command to a CI runner."""
    with console.capture() as captured, writably(console):
        _print_all(outcome, console)
    console.out(_no_commands(captured.get()), end="", highlight=False)


def plain(outcome: Outcome, width: int = 100) -> str:
    """Returns the page without colours."""
    console = Console(width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as captured:
        print_outcome(outcome, console)
    return captured.get()


def _no_commands(page: str) -> str:
    """Returns a page no line of which begins as a command to GitHub's runner (``::stop-commands::``; old ones stand anywhere)."""
    return _COMMAND.sub(r"\1: ", page).replace("##[", "## [")


def _print_all(outcome: Outcome, console: Console) -> None:
    _print_verdict(outcome, console)
    _print_sides(outcome, console)
    _print_rows(outcome, console)
    _print_asked(outcome, console)
    _print_power(outcome, console)
    _print_runs(outcome, console)
    _print_list("What differs besides", outcome.flags, console)
    _print_list("Warnings", outcome.warnings, console)
    console.print()
    console.print(Text(told.exit_line(outcome)))


def _print_verdict(outcome: Outcome, console: Console) -> None:
    console.print()
    strip = pairs(2)
    strip.add_row(Text("VERDICT", style="bold reverse"), Text(told.headline(outcome), style="bold"))
    console.print(strip)
    open_ones = [row for row in told.worst_first(outcome.rows) if row.verdict is not Verdict.PASS]
    lines = pairs(1)
    for row in open_ones[:MAX_SENTENCES]:
        sign = told.SIGNS[row.verdict]
        sentence = Text.assemble((row.rule, "bold"), f", {told.case(row)}: {row.words}")
        for note in row.notes:
            sentence.append(f"\n{note}", style="dim")
        lines.add_row(Text(sign.symbol, style=sign.style), sentence)
    print_indented(lines, 1, console)
    _print_more(len(open_ones) - MAX_SENTENCES, console)


def _print_more(number: int, console: Console) -> None:
    if number > 0:
        print_lines([f"… and {number:,} more: `--json` has them"], INDENT, console)


def _print_sides(outcome: Outcome, console: Console) -> None:
    console.print()
    lines = pairs(2)
    lines.add_row(Text("Scenario", style="bold"), Text(outcome.scenario))
    if outcome.question:
        lines.add_row(Text("Question", style="bold"), Text(outcome.question))
    for name, what in told.sides(outcome):
        lines.add_row(Text(name, style="bold"), Text(what))
    console.print(lines)


def _print_rows(outcome: Outcome, console: Console) -> None:
    if not outcome.rows:
        return
    _title("Rules, case by case", console)
    every = told.worst_first(outcome.rows)
    rows = every[:MAX_ROWS]
    columns: list[Column] = [
        ("rule", lambda row: row.rule),
        ("case", told.case),
        ("A", lambda row: told.seen(row, "a")),
        ("B" if outcome.kind != "run" else "seen", lambda row: told.seen(row, "b")),
        ("times worse", told.worse),
        ("bounds", told.bounds),
        ("tolerated", told.tolerated),
        ("n", lambda row: told.number(row, outcome.kind)),
    ]
    if not _print_table(rows, columns, console):
        _print_stacked(rows, outcome.kind, console)
    _print_more(len(every) - len(rows), console)
    if any(row.estimate is not None for row in rows):
        for note in (told.RATIO_IS, told.PER_RULE):
            print_indented(Text(note, style="dim"), INDENT, console)


def _print_table(rows: Sequence[Row], columns: Sequence[Column], console: Console) -> bool:
    """Prints a table; returns False, having printed nothing, where it does not fit."""
    cells = [[cell(row) for _, cell in columns] for row in rows]
    shown = [
        at
        for at, (heading, _) in enumerate(columns)
        if heading in ("rule", "case") or any(line[at] != NOT_MEASURED for line in cells)
    ]
    signs = [told.SIGNS[row.verdict] for row in rows]
    widths = [max(len("verdict"), *(cell_len(str(sign)) for sign in signs))]
    widths += [max(cell_len(columns[at][0]), *(cell_len(line[at]) for line in cells)) for at in shown]
    gap = 2
    if INDENT + sum(widths) + gap * len(widths) > console.width:
        return False
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("verdict", width=widths[0])
    for at, width in zip(shown, widths[1:], strict=True):
        side: JustifyMethod = "left" if columns[at][0] in ("rule", "case") else "right"
        table.add_column(columns[at][0], justify=side, width=width)
    for sign, line in zip(signs, cells, strict=True):
        table.add_row(Text(str(sign), style=sign.style), *(Text(line[at]) for at in shown))
    print_indented(table, INDENT, console)
    return True


def _print_stacked(rows: Sequence[Row], kind: str, console: Console) -> None:
    for row in rows:
        sign = told.SIGNS[row.verdict]
        head = Text.assemble((str(sign), sign.style), f"  {row.rule}, ", (told.case(row), "bold"), overflow="fold")
        print_indented(head, INDENT, console)
        if line := told.figures(row, kind):
            print_indented(Text(line), 2 * INDENT, console)


def _print_asked(outcome: Outcome, console: Console) -> None:
    if not outcome.rows:
        return
    _title("What was asked", console)
    lines = pairs(2)
    for rule, asks in told.asked(outcome).items():
        lines.add_row(Text(rule, style="bold"), Text(asks))
    print_indented(lines, INDENT, console)


def _print_power(outcome: Outcome, console: Console) -> None:
    rows = told.powers(outcome)[:MAX_ROWS]
    if not rows:
        return
    _title("What could have been seen at all", console)
    columns: list[Column] = [
        ("rule", lambda row: row.rule),
        ("case", told.case),
        ("σ_d", told.noise),
        ("seen in 80 of 100", told.detectable),
        ("tolerated", told.tolerated),
        ("level", told.level),
    ]
    if not _print_table(rows, columns, console):
        for row in rows:
            print_indented(Text.assemble(f"{row.rule}, ", (told.case(row), "bold"), overflow="fold"), INDENT, console)
            line = f"σ_d {told.noise(row)}, seen in 80 of 100: {told.detectable(row)}, tolerated {told.tolerated(row)}, level {told.level(row)}"
            print_indented(Text(line), 2 * INDENT, console)
    print_indented(Text(told.DETECTABLE_IS, style="dim"), INDENT, console)


def _print_runs(outcome: Outcome, console: Console) -> None:
    if outcome.runs:
        _title("Order of the runs, by coin", console)
        for name, runs in told.order(outcome):
            print_lines([f"{name}: {runs}"], INDENT, console)
        print_indented(Text(told.order_legend(outcome), style="dim"), INDENT, console)
    _print_list("What being second did", told.effects(outcome), console)
    discards = told.discards(outcome)
    _print_list("Discarded pairs, by whose trial was disturbed", [*discards, *told.why_discarded(outcome)], console)


def _print_list(title: str, lines: Sequence[str], console: Console) -> None:
    if not lines:
        return
    _title(title, console)
    print_lines(lines[:MAX_LINES], INDENT, console)
    _print_more(len(lines) - MAX_LINES, console)


def _title(title: str, console: Console) -> None:
    console.print()
    console.print(Text(title, style="bold underline"))
