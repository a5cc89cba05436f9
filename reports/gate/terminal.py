"""What a gate prints, as everybody sees it in the log of a job: the verdict in words, a row per rule and case, then what could be seen at all.

Every verdict is a symbol and a word, so that nothing depends on colour. Neighbours: ``told`` has the words, ``reports.terminal`` prints
a run in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from harness.gate.outcome import Outcome, Row, Verdict
from reports.encoding import writably
from reports.gate import told
from reports.terminal import INDENT, pairs, print_indented, print_lines
from reports.words import NOT_MEASURED

MAX_ROWS = 100
MAX_SENTENCES = 20
MAX_LINES = 20
GAP = 2
_COMMAND = re.compile(r"^((?:\s|\x1b\[[0-9;]*m)*):(?=:)", re.MULTILINE)
_BLANKS = re.compile(r" +$", re.MULTILINE)
"""With which rich fills its grids."""

Column = tuple[str, Callable[[Row], str]]


def print_outcome(outcome: Outcome, console: Console) -> None:
    """Prints an outcome. Signs that the console cannot write are told in others, and no line of it is a command to a CI runner."""
    with console.capture() as captured, writably(console):
        _print_all(outcome, console)
    console.out(_no_commands(_BLANKS.sub("", captured.get())), end="", highlight=False)


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
    _print_list("Drift: what else changed", outcome.flags, console)
    _print_list("Warnings", outcome.warnings, console)
    console.print()
    console.print(Text(told.exit_line(outcome)))


def _print_verdict(outcome: Outcome, console: Console) -> None:
    console.print()
    strip = pairs(2)
    strip.add_row(Text("VERDICT", style="bold reverse"), Text(told.headline(outcome), style="bold"))
    console.print(strip)
    open_ones = told.together([row for row in outcome.rows if row.verdict is not Verdict.PASS])
    lines = pairs(1)
    for rules, row in open_ones[:MAX_SENTENCES]:
        sign = told.SIGNS[row.verdict]
        sentence = Text.assemble((rules, "bold"), f", {told.case(row.case)}: {row.words}")
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
    rows = told.worst_first(outcome.rows)
    if rows:
        _title("Rule by rule", console)
        _print_some(outcome, rows, [("verdict", lambda row: str(told.SIGNS[row.verdict]))], console)
    if outcome.information:
        _title(told.INFORMATION, console)
        _print_some(outcome, outcome.information, [], console)


def _print_some(outcome: Outcome, every: Sequence[Row], first: Sequence[Column], console: Console) -> None:
    a, b = told.names(outcome)
    rows = every[:MAX_ROWS]
    columns: list[Column] = [
        *first,
        ("rule", lambda row: row.rule),
        (a, lambda row: told.seen(row, "a")),
        (b, lambda row: told.seen(row, "b")),
        ("worse by", told.worse),
        ("bounds", told.bounds),
        ("tolerated", told.tolerated),
        ("n", told.number),
    ]
    if not _print_table(rows, columns, console):
        _print_stacked(rows, lambda row: told.figures(row, (a, b)), console, signed=bool(first))
    _print_more(len(every) - len(rows), console)
    print_lines(told.notes(rows)[1], INDENT, console)
    _print_legend(told.legend(outcome, rows), console)


def _print_table(rows: Sequence[Row], columns: Sequence[Column], console: Console) -> bool:
    """Prints rows below their cases, without columns that are empty; returns False, having printed nothing, where it does not fit."""
    shown = [(heading, cell) for heading, cell in columns if any(cell(row) != NOT_MEASURED for row in rows)]
    headings = [heading for heading, _ in shown]
    lines = [[cell(row) for _, cell in shown] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(headings, *lines, strict=True)]
    if 2 * INDENT + sum(widths) + GAP * (len(widths) - 1) > console.width:
        return False
    print_indented(Text(_line(headings, headings, widths), style="dim"), 2 * INDENT, console)
    single, _ = told.notes(rows)
    for name, places in _by_case(rows):
        print_indented(Text(told.case(name), style="bold", overflow="fold"), INDENT, console)
        for at in places:
            print_indented(_styled(rows[at], _line(lines[at], headings, widths)), 2 * INDENT, console)
            _print_legend(single[at], console, 3 * INDENT)
    return True


def _by_case(rows: Sequence[Row]) -> list[tuple[str, list[int]]]:
    """Returns the cases with the places of their rows, the worst case first."""
    found: dict[str, list[int]] = {}
    for at, row in enumerate(rows):
        found.setdefault(row.case, []).append(at)
    return list(found.items())


def _line(cells: Sequence[str], headings: Sequence[str], widths: Sequence[int]) -> str:
    """Returns cells side by side: words to the left, figures to the right."""
    told_of = []
    for cell, heading, width in zip(cells, headings, widths, strict=True):
        room = " " * (width - cell_len(cell))
        told_of.append(cell + room if heading in ("verdict", "rule") else room + cell)
    return (" " * GAP).join(told_of).rstrip()


def _styled(row: Row, line: str) -> Text:
    """Returns a line in which the verdict, where it begins with one, has its colour."""
    text = Text(line)
    sign = told.SIGNS[row.verdict]
    if line.startswith(str(sign)):
        text.stylize(sign.style, 0, len(str(sign)))
    return text


def _print_stacked(
    rows: Sequence[Row], figures: Callable[[Row], Sequence[str]], console: Console, *, signed: bool
) -> None:
    single, _ = told.notes(rows)
    for name, places in _by_case(rows):
        print_indented(Text(told.case(name), style="bold", overflow="fold"), INDENT, console)
        for at in places:
            sign = f"{told.SIGNS[rows[at].verdict]}  " if signed else ""
            print_indented(_styled(rows[at], f"{sign}{rows[at].rule}"), 2 * INDENT, console)
            print_lines(figures(rows[at]), 3 * INDENT, console)
            _print_legend(single[at], console, 3 * INDENT)


def _print_asked(outcome: Outcome, console: Console) -> None:
    if not outcome.rows:
        return
    _title("What was asked", console)
    lines = pairs(2)
    for rule, asks in told.asked(outcome).items():
        lines.add_row(Text(rule, style="bold"), Text(asks))
    print_indented(lines, INDENT, console)


def _print_power(outcome: Outcome, console: Console) -> None:
    rows = [row.model_copy(update={"notes": []}) for row in told.powers(outcome)[:MAX_ROWS]]
    if not rows:
        return
    _title("What could have been seen at all", console)
    columns: list[Column] = [
        ("rule", lambda row: row.rule),
        ("σ_d", told.noise),
        (told.SEEN_IN, told.detectable),
        ("tolerated", told.tolerated),
        ("level", told.level),
    ]
    if not _print_table(rows, columns, console):
        _print_stacked(rows, lambda row: [told.power(row)], console, signed=False)
    _print_legend([told.power_legend(rows)], console)


def _print_legend(notes: Sequence[str], console: Console, indent: int = INDENT) -> None:
    for note in notes:
        print_indented(Text(note, style="dim"), indent, console)


def _print_runs(outcome: Outcome, console: Console) -> None:
    if outcome.runs:
        _title("Order of the runs, by coin", console)
        for name, runs in told.order(outcome):
            print_lines([f"{name}: {runs}"], INDENT, console)
        _print_legend([told.order_legend(outcome)], console)
    _print_list("What being second did", told.effects(outcome), console)
    if discards := told.discards(outcome):
        _title("Discarded pairs", console)
        for name, said in discards.items():
            print_indented(Text(name, style="bold", overflow="fold"), INDENT, console)
            print_lines(said[:MAX_LINES], 2 * INDENT, console)
            _print_more(len(said) - MAX_LINES, console)


def _print_list(title: str, lines: Sequence[str], console: Console) -> None:
    if not lines:
        return
    _title(title, console)
    print_lines(lines[:MAX_LINES], INDENT, console)
    _print_more(len(lines) - MAX_LINES, console)


def _title(title: str, console: Console) -> None:
    console.print()
    console.print(Text(title, style="bold underline"))
