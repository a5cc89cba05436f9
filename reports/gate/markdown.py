"""A job's summary in Markdown: the verdict first, the ten worst rows, all of them in a block to unfold, then what could be seen at all.

GitHub takes 1 MiB for a step, and throws away the whole of more: so rows are left out, the best first, and the page says how many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.gate.outcome import Outcome, Row
from reports.escape import code, table, text
from reports.gate import told
from reports.markdown import clipped, within

MAX_BYTES = 1024 * 1024
WORST = 10
MAX_LINES = 50
RUNS_BYTES = 64 * 1024
POWER_BYTES = 128 * 1024


def summary(outcome: Outcome) -> str:
    """Returns the page, below 1 MiB."""
    head, tail = [*_head(outcome), *_power(outcome)], list(_tail(outcome))
    room = MAX_BYTES - len("\n\n".join([*head, *tail]).encode()) - 2000
    return "\n\n".join([*head, *_every(outcome, room), *tail]) + "\n"


def _head(outcome: Outcome) -> Iterator[str]:
    yield f"# Gate: {text(clipped(outcome.scenario))}"
    yield f"**VERDICT: {text(told.headline(outcome))}**"
    rows = told.worst_first(outcome.rows)
    if rows:
        yield within(MAX_BYTES // 8, _HEADINGS, [_cells(row, outcome) for row in rows[:WORST]], source="`--json`")
    if len(rows) > WORST:
        yield f"The {WORST} worst of {len(rows):,}; all are below."
    facts = [["Question", text(clipped(outcome.question))]] if outcome.question else []
    facts += [[text(clipped(name)), text(clipped(what))] for name, what in told.sides(outcome)[:MAX_LINES]]
    if facts:
        yield table(["", ""], facts)
    yield f"{text(clipped(told.exit_line(outcome)))}"


_HEADINGS = ["", "rule", "case", "what was seen", "times worse", "bounds", "tolerated", "n"]


def _cells(row: Row, outcome: Outcome) -> list[str]:
    said = "<br>".join(text(clipped(line)) for line in (row.words, *row.notes[:MAX_LINES]))
    figures = (told.worse(row), told.bounds(row), told.tolerated(row), told.number(row, outcome.kind))
    where = code(clipped(row.case)) or text(told.case(row))
    return [text(str(told.SIGNS[row.verdict])), code(clipped(row.rule)), where, said, *map(text, figures)]


def _power(outcome: Outcome) -> Iterator[str]:
    rows = told.powers(outcome)
    if rows:
        yield "## What could have been seen at all"
        cells = [
            [code(clipped(row.rule)), code(clipped(row.case)), *map(text, _seeable(row))] for row in rows[:MAX_LINES]
        ]
        headings = ["rule", "case", "σ_d", "seen in 80 of 100", "tolerated", "level"]
        yield within(POWER_BYTES, headings, cells, right=2, source="`--json`")
        yield f"{text(told.DETECTABLE_IS)}."


def _seeable(row: Row) -> tuple[str, ...]:
    return told.noise(row), told.detectable(row), told.tolerated(row), told.level(row)


def _every(outcome: Outcome, room: int) -> Iterator[str]:
    rows = told.worst_first(outcome.rows)
    if not rows:
        return
    cells = [
        [*_cells(row, outcome), text(told.seen(row, "a")), text(told.seen(row, "b")), text(clipped(row.asks))]
        for row in rows
    ]
    whole = within(room, [*_HEADINGS, "A", "B", "asked"], cells, source="`--json`")
    notes = f"{text(told.RATIO_IS)}; {text(told.PER_RULE)}."
    yield f"<details>\n<summary>All {len(rows):,} rules and cases</summary>\n\n{whole}\n\n{notes}\n\n</details>"


def _tail(outcome: Outcome) -> Iterator[str]:
    yield from _list("Warnings", outcome.warnings)
    yield from _list("What differs besides", outcome.flags)
    if outcome.runs:
        yield "## Order of the runs, by coin"
        rows = [[code(clipped(name)), text(clipped(runs, 4000))] for name, runs in told.order(outcome)]
        yield within(RUNS_BYTES, ["case", text(told.order_legend(outcome))], rows, source="`--json`")
    yield from _list("What being second did", told.effects(outcome))
    discards = [*told.discards(outcome), *told.why_discarded(outcome)]
    yield from _list("Discarded pairs, by whose trial was disturbed", discards)
    yield f"brokerbench {text(clipped(outcome.tool_version))}"


def _list(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        left_out = len(lines) - MAX_LINES
        more = [f"- … and {left_out:,} more: `--json` has them"] if left_out > 0 else []
        yield f"## {title}"
        yield "\n".join([*(f"- {text(clipped(line))}" for line in lines[:MAX_LINES]), *more])
