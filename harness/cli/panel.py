"""The live panel: a moment of a run as lines that fit the terminal, each a list of pieces of text with their styles; pure.

A line for every case, in the run's order, and below them the one that runs: how far its phase is, its last minute as sparklines with
the faults under them, and the counts. On a low terminal the cases around the one that runs stay, and the more telling counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from harness.cli.phrases import case_words, counts, due, fault, flow, phase_words, tail, time_left
from harness.cli.picture import KEPT_S, CaseLine, LiveSnapshot, Rates
from harness.cli.sparks import fault_line, rate_line, tail_line
from harness.record import CaseRecord
from harness.units import format_duration
from reports import story
from reports.words import Sign

Piece = tuple[str, str]
"""Text and rich's style."""
Line = list[Piece]

RUNNING = Sign(symbol="▶", word="running", style="bold cyan", rank=0)
WAITING = Sign(symbol=" ", word="waiting", style="dim", rank=0)
NOT_RUN = Sign(symbol=" ", word="not run", style="dim", rank=0)
LABEL = 9
BESIDE, BESIDE_NARROW = 34, 23
"""Cells that are kept for words beside a sparkline, and in a narrow terminal."""
NARROW = 60
KEPT_LINES = 256
"""Of cases, as they were drawn last: nearly all are the same in the next frame."""
LOUD = "bold yellow"
ENDING = "ending: healing, taking down (Ctrl-C again: at once)"


@dataclass(frozen=True, slots=True)
class _Columns:
    """Widths of what a line of a case has, in cells; 0 = it is not shown."""

    sign: int
    name: int
    spark: int
    words: int


def panel(now: LiveSnapshot, width: int, height: int, *, ending: bool = False) -> list[Line]:
    """Returns a moment as at most ``height`` lines of at most ``width``; an ellipsis ends what had to be cut."""
    if ending:
        now = _ending(now)
    head = [[(_title(now, width, ending=ending), "bold")]]
    foot: list[Line] = [[(ENDING, LOUD)]] if ending else []
    if now.case is None:
        return [cut(line, width) for line in [*head, *foot][-max(height, 1) :]]
    detail = _detail(now, width)
    room = max(1, height - len(head) - len(foot))
    cases = _cases(now, width, max(1, room - len(detail)), ending=ending)
    kept = _most_telling(detail, room - len(cases))
    return [cut(_trimmed(line), width) for line in [*head, *cases, *kept, *foot][: max(height, 1)]]


def _ending(now: LiveSnapshot) -> LiveSnapshot:
    """Returns a moment without what a run that is ending no longer does: no fault strikes any more, those that last are healed, no
    phase goes on to its end."""
    return replace(
        now,
        due=(),
        faults=tuple(replace(fault, left_s=0.0) for fault in now.faults),
        phase=replace(now.phase, length_s=None) if now.phase else None,
        case_left_s=None,
        run_left_s=None,
    )


def cut(line: Line, width: int) -> Line:
    """Returns a line of at most ``width`` cells; one that is longer ends in an ellipsis."""
    room = max(1, width)
    if sum(len(text) for text, _ in line) <= room:
        return line
    kept: Line = []
    for text, style in line:
        room -= len(text)
        if room <= 0:
            return [*kept, (f"{text[: len(text) + room - 1].rstrip()}…", style)]
        kept.append((text, style))
    return kept


def _rows(items: Sequence[str], between: str, room: int) -> list[str]:
    """Returns the items in as few rows as hold them whole."""
    rows: list[str] = []
    for item in items:
        if rows and len(rows[-1]) + len(between) + len(item) <= room:
            rows[-1] += between + item
        else:
            rows.append(item)
    return rows


def _trimmed(line: Line) -> Line:
    """Returns a line without spaces at its end, which would wrap in a terminal that becomes narrower."""
    end = next((at for at in range(len(line), 0, -1) if line[at - 1][0].strip()), 0)
    return [*line[: end - 1], (line[end - 1][0].rstrip(), line[end - 1][1])] if end else []


def _title(now: LiveSnapshot, width: int, *, ending: bool) -> str:
    parts = [now.run.scenario] if now.run else []
    parts.append(case_words(now.case) if now.case else "starting")
    if now.run_left_s:
        whole = time_left(now.run_left_s)
        several = now.case_left_s is not None and len(now.cases) > 1
        parts.append(
            f"about {time_left(now.case_left_s or 0.0)} left, {whole} in all" if several else f"about {whole} left"
        )
    if ending:
        parts.append("ending: interrupted")
    while len(parts) > 1 and len(" · ".join(parts)) > width:
        parts.pop(0)
    return " · ".join(parts)


# The cases.


def _cases(now: LiveSnapshot, width: int, room: int, *, ending: bool) -> list[Line]:
    """Returns a line per case; where there are more than ``room``, those around the one that runs, and how many are not shown."""
    if len(now.cases) < 2:
        return []
    signs = [_sign(case, ending=ending) for case in now.cases]
    columns = _columns(now, width, signs)
    names = _names([case.record for case in now.cases], columns.name)
    first, last = _window(now, room)
    lines = [_case(now.cases[at], names[at], columns, signs[at]) for at in range(first, last)]
    hidden = [f"{first} above" if first else "", f"{len(now.cases) - last} below" if last < len(now.cases) else ""]
    if any(hidden) and room > 1:
        lines.append([(f"… {' and '.join(filter(None, hidden))}", "dim")])
    return lines


def _window(now: LiveSnapshot, room: int) -> tuple[int, int]:
    """Returns which cases to show: all, else those up to the one that runs and the next, one line less for what is not shown."""
    total = len(now.cases)
    if total <= room:
        return 0, total
    shown = max(1, room - 1)
    at = next((index for index, case in enumerate(now.cases) if case.running), _newest(now.cases))
    first = min(max(0, at + (2 if shown > 2 else 1) - shown), total - shown)
    return first, first + shown


def _newest(cases: Sequence[CaseLine]) -> int:
    return max((index for index, case in enumerate(cases) if case.record.trials), default=0)


def _columns(now: LiveSnapshot, width: int, signs: Sequence[Sign]) -> _Columns:
    sign = max(len(str(each)) for each in signs)
    spark = next((cells for least, cells in ((120, 20), (76, 10), (50, 6)) if width >= least), 0)
    rest = max(1, width - sign - (2 * (spark + 2) if spark else 0) - 2)
    longest = max(len(name) for name in _names([case.record for case in now.cases], rest))
    words = rest - longest - 2
    return _Columns(sign=sign, name=min(longest, rest), spark=spark, words=words if words >= 12 else 0)


@lru_cache(maxsize=KEPT_LINES)
def _case(case: CaseLine, name: str, columns: _Columns, sign: Sign) -> Line:
    spark = columns.spark
    line = [
        (str(sign).ljust(columns.sign + 2), sign.style),
        (name.ljust(columns.name + 2), "bold" if case.running else "dim" if sign in (WAITING, NOT_RUN) else ""),
    ]
    if spark:
        line.append((rate_line(case.history, spark).ljust(spark + 2), "cyan"))
        line.append((tail_line(case.history, spark).ljust(spark + 2), "magenta"))
    if columns.words and case.record.trials:
        line.append((story.sentence(case.record), ""))
    elif columns.words and case.record.unavailable:
        line.append((case.record.unavailable, "dim"))
    return line


@lru_cache(maxsize=KEPT_LINES)
def _sign(case: CaseLine, *, ending: bool) -> Sign:
    if case.running:
        return RUNNING
    if case.record.trials or case.record.unavailable:
        return story.sign(case.record)
    return NOT_RUN if ending else WAITING


def _names(cases: Sequence[CaseRecord], room: int) -> list[str]:
    """Returns what tells the cases apart in ``room`` cells: their ids, without what all share, and
    without the keys of values that tell enough, where it must be."""
    names = [case.id for case in cases]
    if max(map(len, names)) > room and len({case.network for case in cases}) == 1:
        names = [name.removesuffix(f"@{case.network}") for name, case in zip(names, cases, strict=True)]
    if max(map(len, names)) > room:
        names = [re.sub(r"[\w.]+=(?!true|false|on\b|off\b|\d)", "", name) for name in names]
    return [name if len(name) <= room else f"{name[: max(room - 1, 0)]}…" for name in names]


# The case that runs.


def _detail(now: LiveSnapshot, width: int) -> list[tuple[int, Line]]:
    """Returns lines about the case that runs, each with its rank: a higher one goes first where there is no room."""
    room = max(1, min(KEPT_S, width - LABEL - (BESIDE if width >= NARROW else BESIDE_NARROW)))
    lines = [(0, _progress(now, width))]
    rates, load = now.rates, now.phase is not None and now.phase.length_s is not None
    if rates is not None and now.silent_s is None:
        lines.append((2, [*_label("rate"), (_spark(rate_line(now.history, room), room), "cyan"), *_delivered(rates)]))
        loud = "" if rates.tail_s is not None else LOUD
        lines.append(
            (1, [*_label("p99"), (_spark(tail_line(now.history, room), room), "magenta"), (_tail(rates), loud)])
        )
    elif rates is not None and load:  # a phase in which news should come
        lines.append((0, [*_label("load"), (f"no news for {format_duration(round(now.silent_s or 0.0, 1))}", LOUD)]))
    lines += _faults(now, width, room)
    if rates is not None:
        if now.silent_s is None:
            lines += _labelled(5, "load", [flow(rates, name) for name in ("offered", "confirmed")], "  ", width)
        backlog, classes = counts(rates)
        rows = [backlog, classes] if len(backlog) + 2 + len(classes) > width - LABEL else [f"{backlog}  {classes}"]
        rows = [row for each in rows for row in _split(each, width - LABEL)]
        lines += [(3, [*_label("" if at else "so far"), (row, "")]) for at, row in enumerate(rows)]
        lines += _trouble(rates, width) if now.silent_s is None else []
    return lines


def _split(row: str, room: int) -> list[str]:
    return [row] if len(row) <= room else _rows(re.split(r"  | (?=\()", row), "  ", room)


def _faults(now: LiveSnapshot, width: int, room: int) -> list[tuple[int, Line]]:
    """Returns a lane of when faults lasted, below the sparklines, with the one that lasts or else the next; further ones on their own."""
    beside = width - LABEL - room - 2
    told = [(_fitting(fault(each), beside), "bold red") for each in now.faults]
    told = told or [(_fitting(due(each), beside), "") for each in now.due[:1]]
    lane = fault_line(now.history, room) if now.rates is not None and now.silent_s is None else ""
    if not told and not lane.strip():
        return []
    first = [*_label("faults"), *([(_spark(lane, room), "bold red")] if lane.strip() else [])]
    if told and (not lane.strip() or len(told[0][0]) <= beside):
        words, style = told.pop(0)
        rows = _rows(words.split(", "), ", ", width - LABEL) if not lane.strip() else [words]
        first.append((rows[0], style))
        told = [*((row, style) for row in rows[1:]), *told]
    rest = [(row, style) for words, style in told for row in _rows(words.split(", "), ", ", width - LABEL)]
    return [(1, first), *((4, [*_label(""), each]) for each in rest)]


def _fitting(words: str, room: int) -> str:
    """Returns what is said of a fault, without for how long it lasts where there is no room for it."""
    return words if len(words) <= room else re.sub(r", for [^,]*", "", words)


def _labelled(rank: int, label: str, items: Sequence[str], between: str, width: int) -> list[tuple[int, Line]]:
    rows = _rows(items, between, width - LABEL)
    return [(rank, [*_label("" if at else label), (row, "")]) for at, row in enumerate(rows)]


def _trouble(rates: Rates, width: int) -> list[tuple[int, Line]]:
    told = [
        f"{count} {what}"
        for count, what in (
            (rates.workers_lost, "of the workers ended"),
            (rates.workers_cut, "of the workers without a connection"),
            (rates.dead_letters, "in the dead letter place"),
        )
        if count
    ]
    rows = _rows(told, ", ", width - LABEL)
    return [(2, [*_label("" if at else "now"), (row, LOUD)]) for at, row in enumerate(rows)]


def _progress(now: LiveSnapshot, width: int) -> Line:
    name = now.phase.phase if now.phase is not None else "starting"
    words = phase_words(now)
    if now.phase is None or not now.phase.length_s or now.phase.limit:
        return [(f"{name} ".ljust(LABEL), "bold"), (words, "")]
    cells = min(30, width - LABEL - len(words) - 2)
    if cells < 1:  # no room for a bar, perhaps not even for all words
        (row, *_) = _rows(words.split(", "), ", ", width - LABEL)
        return [(f"{name} ".ljust(LABEL), "bold"), (row, "")]
    done = math.floor(min(1.0, now.elapsed_s / now.phase.length_s) * cells)
    return [(f"{name} ".ljust(LABEL), "bold"), ("━" * done, "cyan"), ("─" * (cells - done), "dim"), (f"  {words}", "")]


def _delivered(rates: Rates) -> Line:
    return [(flow(rates, "delivered"), "" if rates.delivered_per_s else LOUD)]


def _tail(rates: Rates) -> str:
    """Returns what ``tail`` says, shorter: the label says p99."""
    if rates.tail_s is not None:
        return tail(rates).removeprefix("p99 ")
    return "nothing yet" if rates.quiet_s is None else f"nothing for {format_duration(round(rates.quiet_s, 1))}"


def _spark(text: str, room: int) -> str:
    """Returns a line of seconds at its place: from the left until it is full, with room for words behind it."""
    return f"{text.ljust(min(room, KEPT_S))}  "


def _label(name: str) -> Line:
    return [(name.ljust(LABEL), "dim")]


def _most_telling(lines: list[tuple[int, Line]], room: int) -> list[Line]:
    """Returns at most ``room`` of the lines, in their order."""
    kept = sorted(range(len(lines)), key=lambda at: (lines[at][0], at))[: max(room, 0)]
    return [lines[at][1] for at in sorted(kept)]
