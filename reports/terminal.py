"""What ``run`` prints at its end: the verdict in words, then the figures behind it.

Every state is a symbol and a word, so that nothing depends on colour (``NO_COLOR`` and pipes are rich's to honour).
All text goes through :class:`rich.text.Text`: a case id holds brackets, which rich would take for markup. What others wrote may hold
control characters, with which it could write over the verdict: none of them reaches the terminal (``encoding.writably``).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console, JustifyMethod, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.model import DurabilityClass
from harness.record import CaseRecord, RunRecord
from reports import containers, figures, story, trouble, unstarted, words
from reports.columns import BECAME, MARKED, Column, columns
from reports.encoding import writably
from reports.networks import TITLE, Comparison, Row, comparison

INDENT = 2
NARROW = 60
MAX_WARNINGS = 10
TITLES = {
    "kept": "What was kept",
    "back": "How it came back",
    "carried": "How much it carried",
    "late": "How late messages came",
}

Group = tuple[DurabilityClass, list[CaseRecord]]


def print_run(record: RunRecord, console: Console, *, report: Path | None = None) -> None:
    """Prints a run; ``report`` is the path of the page, printed last. Signs that the console cannot write are told in others."""
    with writably(console):
        _print_all(record, console, report)


def _print_all(record: RunRecord, console: Console, report: Path | None) -> None:
    if unstarted.is_unstarted(record):
        _print_unstarted(record, console, report)
        return
    _print_verdict(record, console)
    _print_question(record, console)
    _print_cases(record, console)
    _print_networks(record, console)
    _print_trials(record, console)
    _print_claims(record, console)
    _print_slo(record, console)
    _print_containers(record, console)
    _print_trouble(record, console)
    _print_generator(record, console)
    if record.exit_reason:
        console.print(Text(f"Exit code {record.exit_code}: {trouble.first_words(record.exit_reason)}"))
    if report is not None:
        console.print(Text(f"Report: {report}"), soft_wrap=True)  # in one piece, so that it can be copied


def _print_unstarted(record: RunRecord, console: Console, report: Path | None) -> None:
    """Prints why no broker came up, and how the run ended."""
    console.print()
    strip = pairs(2)
    strip.add_row(Text("VERDICT", style="bold reverse"), Text(unstarted.HEADLINE, style="bold"))
    console.print(strip)
    for ids, reason in unstarted.reasons(record):
        print_indented(Text(", ".join(ids), style="bold"), INDENT, console)
        print_lines(reason.splitlines(), 2 * INDENT, console)
    print_lines([f"{case.id} {story.sentence(case)}" for case in record.cases if case.unavailable], INDENT, console)
    console.print()
    console.print(Text(unstarted.exit_line(record)))
    if report is not None:
        console.print(Text(f"Report: {report}"), soft_wrap=True)


def _print_verdict(record: RunRecord, console: Console) -> None:
    console.print()
    strip = pairs(2)
    strip.add_row(Text("VERDICT", style="bold reverse"), Text(story.headline(record), style="bold"))
    console.print(strip)
    lines = pairs(1)
    cut_off = story.is_cut_off(record)
    for case in story.worst_first(list(record.cases)):
        sign = story.sign(case, cut_off)
        told = Text.assemble((case.id, "bold"), f": {story.sentence(case, cut_off)}")
        lines.add_row(Text(sign.symbol, style=sign.style), told)
    print_indented(lines, 1, console)


def _print_question(record: RunRecord, console: Console) -> None:
    console.print()
    lines = pairs(2)
    lines.add_row(Text("Question", style="bold"), Text(record.question))
    if record.expect:
        lines.add_row(Text("Expected", style="bold"), Text(record.expect))
        lines.add_row(Text("Seen", style="bold"), Text(story.seen(record)))
    console.print(lines)


def _print_cases(record: RunRecord, console: Console) -> None:
    every = columns(record)
    groups = [(kind, [case for case in cases if case.trials]) for kind, cases in story.by_durability(record)]
    cases = [case for _, group in groups for case in group]
    if not cases:
        return
    console.print()
    if not _print_table("", groups, every, console, wide=True):
        _print_part("What was kept", ("kept", "back"), groups, every, console)
        _print_part("How fast it was", ("carried", "late"), groups, every, console)
    _print_legend(cases, every, console)


def _print_part(title: str, about: tuple[str, ...], groups: list[Group], every: list[Column], console: Console) -> None:
    """Prints the columns about something in one table; where they do not fit, in several, then one figure to a line."""
    chosen = [column for column in every if column.about in about]
    if _print_table(title, groups, chosen, console, wide=False):
        return
    if len(about) > 1:
        for one in about:
            _print_part(TITLES[one], (one,), groups, every, console)
    else:
        console.print(Text(title, style="bold underline"))
        _print_stacked(groups, chosen, console)
        console.print()


def _print_table(title: str, groups: list[Group], chosen: list[Column], console: Console, *, wide: bool) -> bool:
    """Prints all classes in one table, so that its columns stand in line; returns False, having printed nothing, where it does not fit."""
    gap = 2 if wide else 1
    rows = [(case, [_cell(case, column, wide) for column in chosen]) for _, cases in groups for case in cases]
    names = longest([_name(case, wide) for case, _ in rows] + [Text(kind.value) for kind, _ in groups])
    cells = [longest([line[index] for _, line in rows]) for index in range(len(chosen))]
    room = console.width - INDENT - names - gap * len(chosen)
    headings = [len(column.heading) for column in chosen]
    if sum(map(max, cells, headings)) > room:  # break the headings between words
        headings = [max(len(word) for word in column.heading.split()) for column in chosen]
    if sum(map(max, cells, headings)) > room:
        return False
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("case", width=names)
    for column, width in zip(chosen, map(max, cells, headings), strict=True):
        side: JustifyMethod = "left" if column.heading == "verdict" else "right"
        table.add_column(column.heading, justify=side, width=width)
    for kind, cases in groups:
        if cases:
            table.add_row(Text(kind.value, style="bold"))
        for case, line in rows:
            if case.durability_class is kind:
                table.add_row(_name(case, wide), *line)
    if title:
        console.print(Text(title, style="bold underline"))
    print_indented(table, INDENT, console)
    if title:
        console.print()
    return True


def _print_stacked(groups: list[Group], chosen: list[Column], console: Console) -> None:
    for kind, cases in groups:
        for case in cases:
            print_indented(Text.assemble((case.id, "bold"), f" ({kind.value})", overflow="fold"), INDENT, console)
            for column in chosen:
                cell = column.cell(case)
                told = f"{column.heading}: {cell.text}" + (f" ({cell.range})" if cell.range else "")
                print_indented(Text(told, style=cell.style), 2 * INDENT, console)


def _name(case: CaseRecord, wide: bool) -> Text:
    """Returns the case id, on a narrow terminal in lines that break where its parts do."""
    text = f" {case.id}"
    return Text(text if wide else text.replace("[", "\n  [").replace(",", ",\n   ").replace("@", "\n  @"))


def _cell(case: CaseRecord, column: Column, wide: bool = True) -> Text:
    cell = column.cell(case)
    text = Text(cell.text if wide else cell.text.replace(", ", ",\n"), style=cell.style)
    return text.append("\n" + (cell.range if wide else cell.range.replace(" – ", " –\n"))) if cell.range else text


def longest(texts: Iterable[Text]) -> int:
    """Returns how many columns the longest line takes."""
    return max(cell_len(line) for text in texts for line in text.plain.split("\n"))


def _print_legend(cases: list[CaseRecord], every: list[Column], console: Console) -> None:
    shown = " ".join(_cell(case, column).plain for case in cases for column in every)
    notes = [
        "rates and latencies: of the steady part, without warm-up, fault and recovery",
        f"e2e: end to end, {words.GLOSSARY['end to end']}",
        f"lag: {words.GLOSSARY['lag']}",
    ]
    notes += [
        f"{sign}: {words.GLOSSARY[sign]}"
        for sign in ("≥", "n too small", "not seen", *figures.UNSUSTAINED)
        if sign in shown
    ]
    notes += [f"{name}: {words.GLOSSARY[name]}" for name in (*BECAME, *MARKED) if any(name == c.heading for c in every)]
    if any(len(case.trials) > 1 for case in cases):
        notes.append(f"several trials: {words.SEVERAL}; below it lowest – highest of one trial")
    notes += [f"{kind.value}: {words.DURABILITY[kind]}" for kind in dict.fromkeys(c.durability_class for c in cases)]
    for note in notes:
        print_indented(Text(note, style="dim"), 2, console)


def _print_networks(record: RunRecord, console: Console) -> None:
    """Prints one setup at several sites side by side; where a row does not fit, one figure to a line."""
    compared = comparison(record)
    if compared is None:
        return
    console.print()
    console.print(Text(TITLE, style="bold underline"))
    lines = [row for _, rows in compared.groups for row in rows]
    widths = [
        max(cell_len(heading), *(cell_len(row.cells[at]) for row in lines))
        for at, heading in enumerate(compared.headings)
    ]
    first = max(
        cell_len(text) for text in (*(f" {row.site}" for row in lines), *(label for label, _ in compared.groups))
    )
    if first + sum(widths) + 2 * len(widths) + INDENT > console.width:
        _print_networks_stacked(compared, console)
    else:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        table.add_column("site", width=first)
        for heading, width in zip(compared.headings, widths, strict=True):
            table.add_column(heading, justify="right", width=width)
        for label, rows in compared.groups:
            table.add_row(Text(label, style="bold"))
            for row in rows:
                table.add_row(Text(f" {row.site}"), *map(Text, row.cells))
        print_indented(table, INDENT, console)
    for note in compared.notes:
        print_indented(Text(note, style="dim"), INDENT, console)


def _print_networks_stacked(compared: Comparison, console: Console) -> None:
    def figures_of(row: Row) -> list[str]:
        return [f"{heading}: {cell}" for heading, cell in zip(compared.headings, row.cells, strict=True)]

    for label, rows in compared.groups:
        print_indented(Text(label, style="bold", overflow="fold"), INDENT, console)
        for row in rows:
            print_indented(Text(row.site), 2 * INDENT, console)
            print_lines(figures_of(row), 3 * INDENT, console)


def _print_containers(record: RunRecord, console: Console) -> None:
    """Prints what befell containers, and which of them keep nothing."""
    told = [f"{case.id}: {sentence}" for case in record.cases for sentence in containers.befell(case)]
    told += [f"{case.id}: {containers.TMPFS}" for case in record.cases if containers.is_on_tmpfs(case)]
    if told:
        console.print()
        console.print(Text("Containers", style="bold underline"))
        print_lines(told, INDENT, console)


def _print_trials(record: RunRecord, console: Console) -> None:
    several = [case for case in record.cases if len(case.trials) > 1]
    if not several:
        return
    console.print()
    console.print(Text("Trials", style="bold underline"))
    for case in several:
        line = Text(f"{case.id}: ")
        for trial in case.trials:
            sign = words.OF_STATUS[trial.status]
            line.append(f"{trial.number} ").append(str(sign), style=sign.style)
            lost = figures.lost(figures.proving([trial]))
            line.append(f" ({words.loss(lost.count, lost.or_more)} lost)  " if lost is not None else "  ")
        print_indented(line, 2, console)


def _print_claims(record: RunRecord, console: Console) -> None:
    judged = [case for case in story.worst_first(list(record.cases)) if case.guarantees]
    if not judged:
        return
    console.print()
    console.print(Text("Claims, and what was seen of them", style="bold underline"))
    for case in judged:
        print_indented(Text(case.id, style="bold"), 2, console)
        _print_guarantees(case, console)


def _print_guarantees(case: CaseRecord, console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    if console.width >= NARROW:
        table.add_column("verdict", min_width=15)
        table.add_column("fault", min_width=14)
    for _ in range(1 if console.width < 2 * NARROW else 2):
        table.add_column(overflow="fold")
    for guarantee in story.guarantees(case):
        sign = words.OF_VERDICT[guarantee.verdict]
        head = [Text(str(sign), style=sign.style), Text(words.fault(guarantee.fault))]
        told = [Text(words.claim(guarantee)), Text(f"seen: {guarantee.evidence}")]
        if console.width < NARROW:
            table.add_row(Text("\n").join([*head, *told]))
        elif console.width < 2 * NARROW:
            table.add_row(*head, Text("\n").join(told))
        else:
            table.add_row(*head, *told)
    print_indented(table, 2 * INDENT, console)


def _print_slo(record: RunRecord, console: Console) -> None:
    bounds = [(case, expectation) for case in record.cases for expectation in case.slo]
    if not bounds:
        return
    console.print()
    console.print(Text("SLO", style="bold underline"))
    for case, expectation in bounds:
        told, style = words.slo(expectation)
        print_indented(Text.assemble((told, style), f" ({case.id})"), 2, console)


def _print_trouble(record: RunRecord, console: Console) -> None:
    if any(trial.reasons for case in record.cases for trial in case.trials):
        console.print()
        console.print(Text("Not valid", style="bold underline"))
    for case in record.cases:
        for which, trial in trouble.not_valid(case):
            sign = words.OF_STATUS[trial.status]
            print_indented(Text.assemble((str(sign), sign.style), f" {case.id}{which}"), INDENT, console)
            for reason, remedy in trouble.reasons(trial):
                print_lines([reason, f"remedy: {remedy}"] if remedy else [reason], 2 * INDENT, console)
    several = len(record.cases) > 1
    warned = [
        (case.id, trouble.warning(text, trial))
        for case in record.cases
        for trial in case.trials
        for text in trial.warnings
    ]
    warnings = list(dict.fromkeys(f"{name}: {text}" if several else text for name, text in warned))
    if warnings:
        console.print()
        console.print(Text("Warnings", style="bold underline"))
        print_lines(warnings[:MAX_WARNINGS], 2, console)
        if len(warnings) > MAX_WARNINGS:
            print_lines([f"… and {len(warnings) - MAX_WARNINGS} more in the report"], 2, console)


def print_lines(lines: Iterable[str], indent: int, console: Console) -> None:
    """Prints lines of plain text, indented; what is too long is wrapped."""
    for line in lines:
        print_indented(Text(line), indent, console)


def pairs(gap: int) -> Table:
    """Returns a table of two columns without lines: a word, and what is said of it, which wraps and is never cut."""
    table = Table.grid(padding=(0, gap))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def print_indented(what: RenderableType, indent: int, console: Console) -> None:
    """Prints something so many columns to the right."""
    console.print(Padding(what, (0, 0, 0, indent), expand=False))


def _print_generator(record: RunRecord, console: Console) -> None:
    """Prints how late the load generator was: the first thing to look at before any latency is believed."""
    console.print()
    for case in record.cases:
        if found := story.as_found(case):
            console.print(Text(f"{case.id}, {found}"))
    console.print(Text(f"Load generator: {story.lag(record)}"))
