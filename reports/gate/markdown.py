"""A job's summary in Markdown: the verdict first, the ten worst rows, what could be seen at all; then all rows in a block to unfold.

GitHub takes 1 MiB for a step, and throws away the whole of more: so rows are left out, the best first, and the page says how many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.gate.outcome import Outcome, Row, Verdict
from reports.escape import code, table, text
from reports.gate import told
from reports.markdown import clipped, within
from reports.words import NOT_MEASURED

MAX_BYTES = 1_000_000
"""Below 1 MiB, as another command of the same step may have something to say."""

WORST = 10
MAX_LINES = 50
TABLE_BYTES = 64 * 1024
SOURCE = "`--json`"
NO_BREAK = "\u00a0"


def summary(outcome: Outcome) -> str:
    """Returns the page, below 1 MiB."""
    rows = told.worst_first(outcome.rows)
    head = [*_head(outcome, rows), *_power(outcome)]
    tail = [
        *_information(outcome),
        *_trials(outcome, rows),
        *_runs(outcome),
        f"brokerbench {text(clipped(outcome.tool_version))}",
    ]
    room = MAX_BYTES - len("\n\n".join([*head, *tail]).encode()) - 2000  # headings, and what is left out
    return "\n\n".join([*head, *_every(outcome, rows, room), *tail]) + "\n"


def _head(outcome: Outcome, rows: Sequence[Row]) -> Iterator[str]:
    yield f"# Gate: {text(clipped(outcome.scenario))}"
    yield f"**VERDICT: {text(told.headline(outcome))}**"
    worst = rows[:WORST]
    if worst:
        yield _sentences(worst)
    if len(rows) > WORST:
        yield f"The {WORST} worst of {len(rows):,}; all are below."
    facts = [["Question", text(clipped(outcome.question))]] if outcome.question else []
    facts += [[text(clipped(name)), text(clipped(what))] for name, what in told.sides(outcome)[:MAX_LINES]]
    if facts:
        yield table(["", ""], facts)
    yield f"**{text(clipped(told.exit_line(outcome)))}**"
    yield from _list("Warnings", outcome.warnings)
    yield from _list("Drift: what else changed", outcome.flags)


def _sentences(rows: Sequence[Row]) -> str:
    """Returns rows as a table of sentences, with what they have in common below it."""
    single, shared = told.notes(rows)
    besides = {at: [note for note in single[at] if f"; {note}" not in row.words] for at, row in enumerate(rows)}
    cells = [[_sign(row), _rule(row), _lines([row.words, *besides[at]])] for at, row in enumerate(rows)]
    table_of = within(TABLE_BYTES, ["", "rule, case", "what was seen"], cells, source=SOURCE)
    return "\n\n".join([table_of, *(text(clipped(note)) for note in shared[:MAX_LINES])])


def _figures(outcome: Outcome, rows: Sequence[Row], room: int, *, signed: bool = True) -> str:
    """Returns rows as a table of figures within ``room`` bytes; the sentence of what did not pass too, where it is not among the worst."""
    a, b = told.names(outcome)
    cells = []
    for at, row in enumerate(rows):
        said = "" if at < WORST or row.verdict is Verdict.PASS else f"<br>{_lines([row.words])}"
        found = [each for each in (told.worse(row), told.bounds(row)) if each != NOT_MEASURED]
        figures = [told.seen(row, "a")] if a else []
        figures += [told.seen(row, "b"), told.tolerated(row), told.number(row)]
        ratio = "<br>".join(map(_whole, found or [NOT_MEASURED]))
        cells.append([*([_sign(row)] if signed else []), _rule(row) + said, ratio, *map(_whole, figures)])
    headings = [*([""] if signed else []), "rule, case", "worse by, bounds", *([a] if a else []), b, "tolerated", "n"]
    return within(room, headings, cells, right=1 + signed, source=SOURCE)


def _whole(cell: str) -> str:
    """Returns a cell that is not broken into lines."""
    return text(cell).replace(" ", NO_BREAK)


def _sign(row: Row) -> str:
    return _whole(str(told.SIGNS[row.verdict]))


def _rule(row: Row) -> str:
    return f"{code(clipped(row.rule))}<br>{code(clipped(row.case)) or text(told.case(row.case))}"


def _lines(lines: Sequence[str]) -> str:
    return "<br>".join(text(clipped(line)) for line in lines[:MAX_LINES]).replace(" %", f"{NO_BREAK}%")


def _power(outcome: Outcome) -> Iterator[str]:
    rows = told.powers(outcome)[:MAX_LINES]
    if rows:
        cells = [
            [_rule(row), told.noise(row), told.detectable(row), told.tolerated(row), told.level(row)] for row in rows
        ]
        yield "## What could have been seen at all"
        yield within(
            TABLE_BYTES, ["rule, case", text("σ_d"), told.SEEN_IN, "tolerated", "level"], cells, right=1, source=SOURCE
        )
        yield f"{text(told.power_legend(rows))}."


def _every(outcome: Outcome, rows: Sequence[Row], room: int) -> Iterator[str]:
    if not rows:
        return
    asked = within(
        TABLE_BYTES,
        ["rule", "what it asks"],
        [[code(clipped(rule)), text(clipped(asks))] for rule, asks in told.asked(outcome).items()],
        source=SOURCE,
    )
    legend = "\n".join(f"- {text(line)}" for line in told.legend(outcome, rows))
    parts = [_figures(outcome, rows, room - len(asked.encode())), legend, asked]
    yield _folded(f"All {len(rows):,} rows: rule by rule, case by case", [part for part in parts if part])


def _information(outcome: Outcome) -> Iterator[str]:
    if outcome.information:
        yield _folded(told.INFORMATION, [_figures(outcome, outcome.information, TABLE_BYTES, signed=False)])


def _trials(outcome: Outcome, rows: Sequence[Row]) -> Iterator[str]:
    """Yields every trial's figure of the worst rows that did not pass."""
    cells = [
        [_rule(row), name, _whole(clipped(told.in_a_row(row, side), 4000)).replace(f",{NO_BREAK}", ", ")]
        for row in [row for row in rows if row.verdict is not Verdict.PASS][:WORST]
        for name, side in zip(told.names(outcome), ("a", "b"), strict=True)
        if told.in_a_row(row, side)
    ]
    if cells:
        of = "pairs" if outcome.kind == "pairs" else "trials"
        figures = within(TABLE_BYTES, ["rule, case", "", f"in the order of the {of}"], cells, source=SOURCE)
        yield _folded("Every trial's figure of what did not pass", [figures])


def _runs(outcome: Outcome) -> Iterator[str]:
    parts: list[str] = []
    if outcome.runs:
        rows = [[code(clipped(name)), text(clipped(runs, 4000))] for name, runs in told.order(outcome)]
        legend = f"{text(told.order_legend(outcome))}."
        parts += [within(TABLE_BYTES, ["case", "order of the runs, by coin"], rows, source=SOURCE), legend]
    parts += _list("What being second did", told.effects(outcome))
    for name, said in told.discards(outcome).items():
        parts += _list(f"Discarded pairs of {name}", said)
    if parts:
        yield _folded("The runs", parts)


def _folded(title: str, parts: Sequence[str]) -> str:
    """Returns a block to unfold; the empty lines let Markdown go on inside of it."""
    return "\n\n".join([f"<details>\n<summary>{title}</summary>", *parts, "</details>"])


def _list(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        left_out = len(lines) - MAX_LINES
        more = [f"- … and {left_out:,} more: {SOURCE} has them"] if left_out > 0 else []
        yield f"**{text(clipped(title))}**"
        yield "\n".join([*(f"- {text(clipped(line))}" for line in lines[:MAX_LINES]), *more])
