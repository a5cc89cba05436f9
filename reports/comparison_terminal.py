"""What ``compare`` prints: first what was kept, then figure by figure what differs, each durability class by itself.

Neighbours: ``ratios`` has the words, ``terminal`` prints a single run in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from reports import ratios, sides, words
from reports.compared import Arm, Comparison, Group
from reports.differences import Measured, measured
from reports.encoding import writably
from reports.terminal import INDENT, longest, pairs, print_indented, print_lines


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a table: the title of a group, the id that several runs share, or an arm (its cells)."""

    name: Text
    cells: tuple[Text, ...] = ()


def print_comparison(told: Comparison, console: Console) -> None:
    """Prints cases side by side; signs that the console cannot write are told in others."""
    with writably(console):
        _print_head(told, console)
        _print_kept(told, console)
        for about in ("carried", "late", "back", "cost"):
            chosen = [each for each in measured(told) if each.about == about]
            _print_part(sides.TITLES[about], told, chosen, console)
        _print_claims(told, console)
        _print_notes(told, console)
        _print_differing(told, console)
        _print_runs(told, console)


def _print_head(told: Comparison, console: Console) -> None:
    console.print()
    strip = pairs(2)
    strip.add_row(Text("VERDICT", style="bold reverse"), Text(sides.headline(told), style="bold"))
    console.print(strip)
    console.print()
    lines = pairs(2)
    lines.add_row(Text("Question", style="bold"), Text(told.question))
    if told.expect:
        lines.add_row(Text("Expected", style="bold"), Text(told.expect))
    console.print(lines)
    if told.unlike:
        console.print()
        console.print(Text("! UNLIKE: information, no evidence", style="bold magenta"))
        print_lines(told.unlike, INDENT, console)
    if told.drift:
        console.print()
        console.print(Text("! DRIFT: what else changed", style="bold yellow"))
        print_lines(told.drift, INDENT, console)


def _print_kept(told: Comparison, console: Console) -> None:
    console.print()
    console.print(Text(sides.TITLES["kept"], style="bold underline"))
    for group in told.groups:
        print_indented(Text(group.title, style="bold"), INDENT, console)
        for arm in group.arms:
            sign = f"{arm.symbol} {arm.verdict}"
            head = Text.assemble((sign, sides.sign(arm).style), "  ", (arm.label, "bold"), overflow="fold")
            print_indented(head, INDENT + 1, console)
            print_indented(Text(sides.kept(arm) if arm.trials else arm.told), 2 * INDENT + 3, console)


def _print_part(title: str, told: Comparison, chosen: Sequence[Measured], console: Console) -> None:
    """Prints some columns in one table; where they do not fit, in several, at last one figure to a line."""
    if not chosen:
        return
    console.print()
    console.print(Text(title, style="bold underline"))
    parts = [chosen]
    while parts:
        columns = parts.pop(0)
        if _print_table(told, columns, console):
            continue
        if len(columns) == 1:
            _print_stacked(told, columns[0], console)
        else:
            half = (len(columns) + 1) // 2
            parts[:0] = [columns[:half], columns[half:]]


def _print_table(told: Comparison, columns: Sequence[Measured], console: Console) -> bool:
    """Prints a table; returns False, having printed nothing, where it does not fit."""
    return any(_fitted(list(_lines(told, columns, whole=whole)), columns, console) for whole in (True, False))


def _fitted(lines: Sequence[_Line], columns: Sequence[Measured], console: Console) -> bool:
    name = longest(line.name for line in lines)
    widths = [
        max(longest([line.cells[at] for line in lines if line.cells]), *(len(word) for word in each.heading.split()))
        for at, each in enumerate(columns)
    ]
    gap = 2
    if INDENT + name + sum(widths) + gap * len(widths) > console.width:
        return False
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("", width=name)
    for each, width in zip(columns, widths, strict=True):
        side: JustifyMethod = "right"
        table.add_column(each.heading, justify=side, width=width)
    for line in lines:
        table.add_row(line.name, *line.cells)
    print_indented(table, INDENT, console)
    return True


def _lines(told: Comparison, columns: Sequence[Measured], *, whole: bool) -> Iterable[_Line]:
    """Yields the lines of a table. ``whole``: ids are not broken."""
    several = len(told.runs) > 1
    for group in told.groups:
        ran = [arm for arm in group.arms if arm.trials]
        if ran:
            yield _Line(Text(group.title, style="bold"))
        case = ""
        for arm in ran:
            if several and arm.case != case:
                case = arm.case
                yield _Line(Text(f" {case if whole else _broken(case)}"))
            if arm.trials:
                yield _Line(
                    _name(arm, group, several=several, whole=whole), tuple(_cell(arm, each) for each in columns)
                )


def _name(arm: Arm, group: Group, *, several: bool, whole: bool) -> Text:
    text = Text(f"  {arm.run}" if several else f" {arm.case if whole else _broken(arm.case)}")
    for line in sides.standing(arm, several=len(group.arms) > 1):
        text.append(f"\n   {line}", style="dim" if line == sides.REFERENCE else "bold magenta")
    return text


def _broken(case: str) -> str:
    """Returns a case's id in lines that break where its parts begin."""
    return case.replace("[", "\n   [").replace(",", ",\n    ").replace("@", "\n   @")


def _cell(arm: Arm, column: Measured) -> Text:
    cell = ratios.cell(column.metric, arm.figures[column.metric])
    text = Text(cell.value)
    if cell.range:
        text.append(f"\n{cell.range}", style="dim")
    for line in (cell.difference, cell.interval, cell.why):
        if line:
            text.append(f"\n{line}", style="bold" if cell.sure else "")
    return text


def _print_stacked(told: Comparison, column: Measured, console: Console) -> None:
    for group in told.groups:
        for arm in (arm for arm in group.arms if arm.trials):
            print_indented(Text.assemble((arm.label, "bold"), f" ({group.title})", overflow="fold"), INDENT, console)
            cell = ratios.cell(column.metric, arm.figures[column.metric])
            said = [f"{column.heading}: {cell.value}", *cell.lines[1:], *sides.standing(arm, several=True)]
            print_indented(Text(", ".join(said)), 2 * INDENT, console)


def _print_claims(told: Comparison, console: Console) -> None:
    """Prints each claim that was not simply kept: what was is told above."""
    open_ones = [each for each in sides.claims(told) if each[2] not in (words.HELD, words.NO_CLAIM)]
    if not open_ones:
        return
    console.print()
    console.print(Text("Claims that were not kept, or not tried", style="bold underline"))
    for arm, claim, sign in open_ones:
        head = Text.assemble((str(sign), sign.style), f" {arm.label}, {words.fault(claim.fault)}", overflow="fold")
        print_indented(head, INDENT, console)
        print_lines([f"claims: {claim.claim}", f"seen: {claim.evidence}"], 2 * INDENT, console)


def _print_notes(told: Comparison, console: Console) -> None:
    console.print()
    for note in told.notes:
        print_indented(Text(note, style="dim"), INDENT, console)


def _print_differing(told: Comparison, console: Console) -> None:
    for title, settings in sides.parts_of(told):
        console.print()
        console.print(Text(title, style="bold underline"))
        for setting in settings:
            print_indented(Text(setting.name, style="bold"), INDENT, console)
            print_lines(sides.by_value(setting), 2 * INDENT, console)


def _print_runs(told: Comparison, console: Console) -> None:
    console.print()
    console.print(Text("Runs" if len(told.runs) > 1 else "Run", style="bold underline"))
    for run in told.runs:
        line = f"{run.name}: {run.folder}" if len(told.runs) > 1 else run.folder
        console.print(Text(f"  {line}, {run.status}"), soft_wrap=True)
        console.print(Text(f"    {run.command}"), soft_wrap=True)
        print_lines([f"load generator: {run.lag}"], 2 * INDENT, console)
