"""The view of an ``ab`` while it runs, on stderr: what each rule says so far and the time still needed, above the trial's own panel; on
no terminal a line for each trial, and the rules after each pair.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Protocol

from rich.console import Console

from harness import clock
from harness.cli.live import LiveView
from harness.cli.panel import Line, cut
from harness.cli.phrases import time_left
from harness.experiment.pairs import Standing, TrialBegan, TrialOver, remaining
from harness.gate.outcome import Row
from harness.gate.pairs import CasePairs, PairsRecord
from harness.gate.phrases import asks
from harness.gate.rules import Rule
from harness.run.progress import Event, Warned
from reports.encoding import writable
from reports.escape import printable
from reports.gate.told import SIGNS
from reports.words import Sign

OPEN = Sign(symbol="·", word="undecided", style="dim", rank=9)
PairsEvent = Event | TrialBegan | TrialOver | Standing


class PairsView(Protocol):
    """A watcher that shows what it is told from its ``__enter__`` to its ``__exit__``."""

    def __enter__(self) -> PairsView: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def notice(self, event: PairsEvent) -> None:
        """Takes one event."""


def open_pairs_view(console: Console, pair_s: float) -> PairsView:
    """Returns the view that suits the console (stderr's); ``pair_s``: about how long a pair takes."""
    if console.is_terminal and not console.is_dumb_terminal:
        return LivePairs(console, pair_s)
    return PlainPairs(console, pair_s)


def first_lines(record: PairsRecord, pair_s: float, folder: str, rules: Sequence[Rule]) -> Iterator[str]:
    """Yields what is compared, by which rules, and how long it takes at least and at most."""
    yield f"ab {record.scenario} · A: {record.a.what} · B: {record.b.what} · {folder}"
    yield from (f"rule {rule.id}: {asks(rule)}" for rule in rules)
    pairs = [remaining(record, case) for case in record.cases]
    least, most = (sum(side) for side in zip(*pairs, strict=True))
    cases = f" of {len(record.cases)} cases" if len(record.cases) > 1 else ""
    trials = f"{2 * least}{'' if least == most else f' to {2 * most}'} trials{cases}"
    yield (
        f"time: {needed(least * pair_s, most * pair_s)}: {trials} of about {time_left(pair_s / 2)}; "
        "it ends when every rule is decided"
    )


class Silent:
    """Shows nothing: for ``--quiet`` and ``--json``."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def notice(self, event: PairsEvent) -> None:
        """Takes one event."""


class Course:
    """How far the pairs are; takes events from any thread."""

    def __init__(self, pair_s: float) -> None:
        self._lock = threading.Lock()
        self._expected_s = pair_s
        self._took_s: list[float] = []
        self.record: PairsRecord | None = None
        self.trial: TrialBegan | None = None
        self._spent_s = 0.0

    def notice(self, event: TrialBegan | TrialOver | Standing) -> None:
        """Takes one event."""
        with self._lock:
            match event:
                case TrialBegan():
                    self.trial = event
                case TrialOver():
                    self._took_s.append(event.took_s)
                    self.trial, self._spent_s = None, self._spent_s + event.took_s
                case Standing():
                    self.record, self.trial, self._spent_s = event.record, None, 0.0

    def left_s(self, now_ns: int) -> tuple[float, float]:
        """Returns about how long it takes yet, at least and at most, by how long trials took so far."""
        with self._lock:
            if self.record is None:
                return 0.0, 0.0
            each_s = 2 * sum(self._took_s) / len(self._took_s) if self._took_s else self._expected_s
            pairs = [remaining(self.record, case) for case in self.record.cases]
            least, most = (each_s * sum(side) for side in zip(*pairs, strict=True))
            running_s = (now_ns - self.trial.t_ns) / clock.NS_PER_S if self.trial else 0.0
            done_s = min(self._spent_s + running_s, each_s)
            return max(0.0, least - done_s), max(0.0, most - done_s)


def needed(least_s: float, most_s: float) -> str:
    """Returns ``about 5 min 10 s`` or ``about 5 min 10 s to 13 min 20 s``."""
    low, high = time_left(least_s), time_left(most_s)
    return f"about {high}" if low == high else f"about {low} to {high}"


def position(record: PairsRecord, case: CasePairs) -> str:
    """Returns how far a case is: ``4 pairs of 6, 10 or 16``."""
    looks = record.planned(case)
    planned = " or ".join(filter(None, [", ".join(map(str, looks[:-1])), str(looks[-1])]))
    n, discarded = len(case.counted), len(case.pairs) - len(case.counted)
    told = f"{n} pair{'' if n == 1 else 's'} of {planned}"
    return told + (f", {discarded} discarded" if discarded else "")


def _ended(case: CasePairs) -> str:
    """Returns why no more pairs of a case are to come, behind a comma; "" = more are."""
    words = {"decided": "decided", "all pairs": "all run", "discards": "too many: given up"}
    return f", {words.get(case.over, case.over)}" if case.over else ""


def sign(row: Row) -> Sign:
    """Returns how a rule stands: a verdict that more pairs may change is none."""
    return SIGNS[row.verdict] if row.decided else OPEN


def told(row: Row) -> str:
    """Returns a rule's line: ``throughput: undecided: B is 1.2 % worse …``."""
    return f"{row.rule}: {sign(row)}: {row.words}"


def command(record: PairsRecord) -> str:
    """Returns what runs these pairs: only a calibration has no looks."""
    return "ab" if record.looks else "calibrate"


def trial_words(event: TrialBegan, record: PairsRecord) -> str:
    """Returns which trial begins: ``pair 3, A first: null@embedded``."""
    case = record.cases[event.case]
    order = "second" if event.second else "first"
    return f"pair {event.number}, {event.letter.upper()} {order}: {case.a if event.letter == 'a' else case.b}"


class LivePairs:
    """The panel of the pairs above that of the trial that runs."""

    def __init__(self, console: Console, pair_s: float, now: Callable[[], int] = clock.now_ns) -> None:
        self._course = Course(pair_s)
        self._now = now
        self._live = LiveView(console, now, above=self.lines)

    def __enter__(self) -> LivePairs:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def notice(self, event: PairsEvent) -> None:
        """Takes one event."""
        if isinstance(event, TrialBegan | TrialOver | Standing):
            self._course.notice(event)
        else:
            self._live.notice(event)

    def lines(self, width: int, height: int) -> list[Line]:
        """Returns the lines of the pairs, half of the terminal at most: of several cases those that are not over go first."""
        record, trial = self._course.record, self._course.trial
        if record is None:
            return []
        doing = trial_words(trial, record) if trial else "between trials"
        left = "ending" if self._live.ending else f"{needed(*self._course.left_s(self._now()))} left"
        lines: list[Line] = [[(f"{command(record)} {record.scenario} · {left} · {doing}", "bold")]]
        shown = sorted(range(len(record.cases)), key=lambda at: (bool(record.cases[at].over), at))
        if trial is not None:
            shown.remove(trial.case)
            shown.insert(0, trial.case)
        for at in shown:
            lines += _case_lines(record, record.cases[at])
        lines = lines[: max(1, height // 2)]
        return [cut(line, width) for line in lines]


def _case_lines(record: PairsRecord, case: CasePairs) -> Iterator[Line]:
    yield [(f"{case.b}: {position(record, case)}{_ended(case)}", "")]
    for row in record.outcome.rows if record.outcome else []:
        if row.case == case.b:
            at = sign(row)
            yield [(f"  {at} ", at.style), (f"{row.rule}: {row.words}", "" if row.decided else "dim")]


class PlainPairs:
    """Lines: one for each trial, and after each pair the rules of its case and the time still needed."""

    def __init__(self, console: Console, pair_s: float, now: Callable[[], int] = clock.now_ns) -> None:
        self._course = Course(pair_s)
        self._file = console.file
        self._encoding = console.encoding
        self._lock = threading.Lock()
        self._now = now
        self._seen: dict[str, int] = {}

    def __enter__(self) -> PlainPairs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def notice(self, event: PairsEvent) -> None:
        """Takes one event and prints its lines, if it has any."""
        with self._lock, contextlib.suppress(OSError, ValueError):  # a closed stderr must not end the pairs
            for text in self._lines(event):
                self._file.write(writable(f"{printable(text)}\n", self._encoding))
            self._file.flush()

    def _lines(self, event: PairsEvent) -> Iterator[str]:
        if isinstance(event, TrialBegan | TrialOver | Standing):
            self._course.notice(event)
        match event:
            case TrialBegan() if self._course.record is not None:
                yield trial_words(event, self._course.record)
            case TrialOver():
                reasons = event.done.trial.reasons if event.done.trial else []
                status = event.done.trial.status.value if event.done.trial else "no trial"
                yield f"  {'; '.join([status, *reasons[:2]])} ({event.took_s:.0f} s)"
            case Standing():
                yield from self._standing(event.record)
            case Warned():
                yield f"  warning: {event.text}"

    def _standing(self, record: PairsRecord) -> Iterator[str]:
        """Yields the cases that have a pair more than when they were told last."""
        for case in record.cases:
            if len(case.pairs) == self._seen.get(case.slug, 0):
                continue
            self._seen[case.slug] = len(case.pairs)
            yield f"{case.b}: {position(record, case)}{_ended(case)}"
            if case.pairs[-1].disturbed:
                yield f"  pair {case.pairs[-1].number} is discarded: {case.pairs[-1].discarded}"
            rows = record.outcome.rows if record.outcome else []
            yield from (f"  {told(row)}" for row in rows if row.case == case.b)
        least_s, most_s = self._course.left_s(self._now())
        if any(not case.over for case in record.cases):
            yield f"{needed(least_s, most_s)} left"
