"""The live panel: a moment of a run as lines that fit the terminal, each a list of pieces of text with their styles; pure.

A line for every case, in the run's order, and below them the one that runs: how far its phase is, its last minute as sparklines with
the faults under them, and the counts. On a low terminal the cases around the one that runs stay, and the more telling counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
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
LABEL = 9
BESIDE = 34
"""Cells that are kept for words beside a sparkline."""
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
    """Returns a moment as at most ``height`` lines, to be cut at ``width``."""
    head = [[(_title(now), "bold")]]
    foot: list[Line] = [[(ENDING, LOUD)]] if ending else []
    if now.case is None:
        return [*head, *foot][-max(height, 1) :]
    detail = _detail(now, width)
    room = max(1, height - len(head) - len(foot))
    cases = _cases(now, width, max(1, room - len(detail)))
    kept = _most_telling(detail, room - len(cases))
    return [_trimmed(line) for line in [*head, *cases, *kept, *foot][: max(height, 1)]]


def _trimmed(line: Line) -> Line:
    """Returns a line without spaces at its end, which would wrap in a terminal that becomes narrower."""
    end = next((at for at in range(len(line), 0, -1) if line[at - 1][0].strip()), 0)
    return [*line[: end - 1], (line[end - 1][0].rstrip(), line[end - 1][1])] if end else []


def _title(now: LiveSnapshot) -> str:
    parts = [now.run.scenario] if now.run else []
    parts.append(case_words(now.case) if now.case else "starting")
    if now.run_left_s:
        whole = time_left(now.run_left_s)
        several = now.case_left_s is not None and len(now.cases) > 1
        parts.append(
            f"about {time_left(now.case_left_s or 0.0)} left, {whole} in all" if several else f"about {whole} left"
        )
    return " · ".join(parts)


# The cases.


def _cases(now: LiveSnapshot, width: int, room: int) -> list[Line]:
    """Returns a line per case; where there are more than ``room``, those around the one that runs, and how many are not shown."""
    if len(now.cases) < 2:
        return []
    columns = _columns(now, width)
    names = _names([case.record for case in now.cases], columns.name)
    first, last = _window(now, room)
    lines = [_case(now.cases[at], names[at], columns) for at in range(first, last)]
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


def _columns(now: LiveSnapshot, width: int) -> _Columns:
    sign = max(len(str(_sign(case))) for case in now.cases)
    spark = next((cells for least, cells in ((120, 20), (76, 10), (50, 6)) if width >= least), 0)
    rest = max(1, width - sign - (2 * (spark + 2) if spark else 0) - 2)
    longest = max(len(name) for name in _names([case.record for case in now.cases], rest))
    words = rest - longest - 2
    return _Columns(sign=sign, name=min(longest, rest), spark=spark, words=words if words >= 12 else 0)


@lru_cache(maxsize=KEPT_LINES)
def _case(case: CaseLine, name: str, columns: _Columns) -> Line:
    sign = _sign(case)
    spark = columns.spark
    line = [
        (str(sign).ljust(columns.sign + 2), sign.style),
        (name.ljust(columns.name + 2), "bold" if case.running else "dim" if sign is WAITING else ""),
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
def _sign(case: CaseLine) -> Sign:
    if case.running:
        return RUNNING
    return story.sign(case.record) if case.record.trials or case.record.unavailable else WAITING


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
    room = max(1, min(KEPT_S, width - LABEL - BESIDE))
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
            lines.append((5, [*_label("load"), (flow(rates, "offered", "confirmed"), "")]))
        told = "  ".join(counts(rates))
        rows = [told] if len(told) <= width - LABEL else counts(rates)
        lines += [(3, [*_label("" if at else "so far"), (text, "")]) for at, text in enumerate(rows)]
        lines += _trouble(rates) if now.silent_s is None else []
    return lines


def _faults(now: LiveSnapshot, width: int, room: int) -> list[tuple[int, Line]]:
    """Returns a lane of when faults lasted, below the sparklines, with the one that lasts or else the next; further ones on their own."""
    told = [(_fitting(fault(each), width - LABEL - room - 2), "bold red") for each in now.faults]
    told = told or [(_fitting(due(each), width - LABEL - room - 2), "") for each in now.due[:1]]
    lane = fault_line(now.history, room) if now.rates is not None and now.silent_s is None else ""
    if not told and not lane.strip():
        return []
    first = [*_label("faults"), *([(_spark(lane, room), "bold red")] if lane.strip() else []), *told[:1]]
    return [(1, first), *((4, [*_label(""), each]) for each in told[1:])]


def _fitting(words: str, room: int) -> str:
    """Returns what is said of a fault, without for how long it lasts where there is no room for it."""
    return words if len(words) <= room else re.sub(r", for [^,]*", "", words)


def _trouble(rates: Rates) -> list[tuple[int, Line]]:
    told = [
        f"{count} {what}"
        for count, what in (
            (rates.workers_lost, "of the workers ended"),
            (rates.workers_cut, "of the workers without a connection"),
            (rates.dead_letters, "in the dead letter place"),
        )
        if count
    ]
    return [(2, [*_label("now"), (", ".join(told), LOUD)])] if told else []


def _progress(now: LiveSnapshot, width: int) -> Line:
    name = now.phase.phase if now.phase is not None else "starting"
    words = phase_words(now)
    if now.phase is None or not now.phase.length_s or now.phase.limit:
        return [(f"{name} ".ljust(LABEL), "bold"), (words, "")]
    cells = max(1, min(30, width - LABEL - len(words) - 2))
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
