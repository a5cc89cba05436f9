"""The tables about one case, made once for ``report.md`` and the page: headings and plain cells, which each escapes in its own way.

Neighbours: ``words`` and ``figures`` give the cells, ``detail`` lays them out in Markdown, ``html`` on the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.model import LOSS_CLASSES, TrialStatus
from harness.record import CaseRecord, FaultResult, LedgerCounts, TrialRecord
from harness.units import format_count
from reports import figures, story, words

POINTS = ("p50", "p90", "p99", "p99_9", "max")
LATENCIES = {
    "latency.end_to_end": "end to end",
    "latency.publish": "publish",
    "latency.completion": "completion",
    "latency.end_to_end.from_sent": "end to end, from sent",
    "latency.publish.from_sent": "publish, from sent",
    "latency.completion.from_sent": "completion, from sent",
    "lag": "schedule lag",
}
DIFFERS = "✗ DIFFERS"
CLASS_ORDER = {name: index for index, name in enumerate((*LOSS_CLASSES, "phantom", "stranded", "undecided"))}
EXAMPLE_ORDER = {name: index for index, name in enumerate((*CLASS_ORDER, "corrupt", "phantom_attempt", *words.MARKS))}
"""Classes and marks of which examples are shown, the worst first."""


class Code(str):
    """A cell that is shown as code."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """A table; ``right``: from that column on cells stand to the right. ``note`` stands below it, or in its place where it has no rows."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: int | None = None
    note: str = ""

    def __bool__(self) -> bool:
        return bool(self.rows or self.note)


def guarantees(case: CaseRecord) -> Sheet:
    """Returns what the setup claims beside what was seen, the worst first."""
    rows = [
        (str(words.OF_VERDICT[g.verdict]), words.fault(g.fault), g.claim, g.evidence, whole(g.exposed))
        for g in story.guarantees(case)
    ]
    headings = ("verdict", "fault", "claimed", "observed", "exposed")
    return Sheet(title="Guarantees", headings=headings, rows=tuple(rows))


def ledger(shown: Sequence[TrialRecord]) -> Sheet:
    """Returns the ledger of the trials side by side: every class, mark and outcome that any of them has, the bad ones first."""
    ledgers = [(trial, trial.ledger) for trial in shown if trial.ledger]
    rows: list[tuple[str, ...]] = []
    for what, meanings, of in _LEDGER if ledgers else ():
        counts = [of(found) for _, found in ledgers]
        for name, meaning in meanings.items():
            numbers = [each.get(name, 0) for each in counts]
            if any(numbers) or name in _ALWAYS:
                rows.append((what, name.replace("_", " "), meaning, *map(format_count, numbers)))
    headings = ("", "", "", *(heading(trial) for trial, _ in ledgers))
    return Sheet(title="Ledger: what became of each message", headings=headings, rows=tuple(rows), right=3)


def _seen(counts: LedgerCounts) -> dict[str, int]:
    names = ("identities", "unreadable", "unreadable_found", "foreign", "foreign_found")
    return {name: getattr(counts, name) for name in names}


def _bad_first(meanings: dict[str, str]) -> dict[str, str]:
    return dict(sorted(meanings.items(), key=lambda pair: CLASS_ORDER.get(pair[0], len(CLASS_ORDER))))


_ALWAYS = {"identities", "phantom", "corrupt", *LOSS_CLASSES}
_LEDGER: tuple[tuple[str, dict[str, str], Callable[[LedgerCounts], dict[str, int]]], ...] = (
    ("class", _bad_first(words.CLASSES), lambda counts: counts.classes),
    ("mark", words.MARKS, lambda counts: counts.marks),
    ("seen", words.SEEN, _seen),
    ("outcome", words.OUTCOMES, lambda counts: counts.outcomes),
    ("held", words.HELD_REASONS, lambda counts: counts.held),
    ("Jepsen set", words.JEPSEN, lambda counts: counts.jepsen),
)


def recovery(shown: Sequence[TrialRecord]) -> Sheet:
    """Returns what struck each trial, when, and how it came back."""
    names = list(dict.fromkeys(name for t in shown for fault in t.faults for name in fault.recovery))
    rows = [
        (
            f"{trial.number}",
            fault.label,
            *(_seconds(t_s) for t_s in (fault.planned_s, fault.injected_s)),
            words.NEVER_REPLACED if fault.never_replaced else _seconds(fault.healed_s),
            "yes" if fault.hit else "NO",
            whole(fault.exposed),
            *(_recovered(fault, name) for name in names),
        )
        for trial in shown
        for fault in trial.faults
    ]
    titles = [words.RECOVERY.get(name, name.replace("_", " ")) for name in names]
    headings = ("trial", "fault", "planned", "injected", "healed", "hit", "exposed", *titles)
    return Sheet(title="Recovery (times from the start of steady)", headings=headings, rows=tuple(rows), right=2)


def _recovered(fault: FaultResult, name: str) -> str:
    return words.figure(f"recovery.{name}", fault.recovery.get(name))


def latencies(shown: Sequence[TrialRecord]) -> Sheet:
    """Returns how late messages came in each window of the first trial shown; all of it in the first window, the headline in the others."""
    trial = next((trial for trial in shown if trial.metrics), None)
    rows: list[tuple[str, ...]] = []
    for index, (window, metrics) in enumerate(trial.metrics.items() if trial else ()):
        for name, title in LATENCIES.items():
            values = [metrics.get(f"{name}.{point}") for point in POINTS]
            if any(value is not None for value in values) and (index == 0 or name == "latency.end_to_end"):
                cells = [words.figure(f"{name}.{point}", each) for point, each in zip(POINTS, values, strict=True)]
                rows.append((window, title, *cells))
    headings = ("window", "", "p50", "p90", "p99", "p99.9", "max")
    return Sheet(title=f"How late, {heading(trial)}" if trial else "", headings=headings, rows=tuple(rows), right=2)


_PER_MESSAGE = ("cost.broker_cpu", "cost.load_cpu", "cost.disk_bytes_per_message")


def costs(shown: Sequence[TrialRecord]) -> Sheet:
    """Returns loss, backlog and cost of the trials side by side."""
    trials = [trial for trial in shown if any(figures.look(trial, name)[0] is not None for name in words.RUN_FIGURES)]
    rows = []
    for name, title in words.RUN_FIGURES.items():
        values = [figures.look(trial, name)[0] for trial in trials]
        if any(value is not None for value in values):
            rows.append((title, *(words.figure(name, value) for value in values)))
    per_message = any(isinstance(figures.look(trial, name)[0], float) for trial in trials for name in _PER_MESSAGE)
    return Sheet(
        title="Loss, backlog and cost",
        headings=("", *(heading(trial) for trial in trials)),
        rows=tuple(rows),
        right=1,
        note=f"CPU and bytes written {words.COST}." if per_message else "",
    )


def settings(trial: TrialRecord, read: Mapping[str, object] | str) -> Sheet:
    """Returns what a trial's broker was asked to be set to beside what was read back, what differs first.

    Args:
        read: its ``settings.json``, or a sentence on why that cannot be read.
    """
    headings = ("setting", "asked for", "read back", "")
    if isinstance(read, str):
        return Sheet(title="Settings", headings=headings, rows=(), note=read)
    asked, found, also = (_mapping(read.get(key)) for key in ("asked", "found", "also"))
    rows = [
        (Code(name), _value(value), _value(found.get(name)), "" if found.get(name) == value else DIFFERS)
        for name, value in asked.items()
    ]
    rows += [(Code(name), "", _value(value), "") for name, value in also.items()]
    title = f"Settings of {read.get('version') or 'the broker'}, trial {trial.number}"
    return Sheet(title=title, headings=headings, rows=tuple(sorted(rows, key=lambda row: not row[-1])))


def flat(value: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yields a nested mapping as dotted names and plain values."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from flat(inner, f"{prefix}.{name}" if prefix else str(name))
    elif isinstance(value, list | tuple):
        yield prefix, ", ".join(str(each) for each in value)
    else:
        yield prefix, "unknown" if value is None else value


def heading(trial: TrialRecord) -> str:
    """Returns the heading of a trial's column; a trial that is not valid says so above its figures."""
    valid = trial.status is TrialStatus.VALID
    return f"trial {trial.number}" if valid else f"trial {trial.number} {words.OF_STATUS[trial.status]}"


def whole(value: int | None) -> str:
    """Returns a number of things, or that it was not measured."""
    return words.NOT_MEASURED if value is None else format_count(value)


def _value(value: object) -> str:
    """Returns a setting's value; an empty one can be seen."""
    return words.NOT_MEASURED if value is None else Code(value if str(value).strip() else '""')


def _mapping(value: object) -> dict[str, object]:
    return {str(key): each for key, each in value.items()} if isinstance(value, dict) else {}


def _seconds(t_s: float | None) -> str:
    return "never" if t_s is None else f"{t_s:.3f} s"
