"""What happened to the example identities of a trial, moment by moment: from its tables, and where they cannot be read from its record.

Times are seconds since the start of *steady*, as on the charts.

Neighbours: ``analysis.examples`` picked the identities, ``words`` gives the meanings, ``html`` lays it out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from harness.errors import BrokenRunFolderError
from harness.facts import TrialFacts
from harness.record import Example, FaultResult, TrialRecord
from harness.store import RunFolder, TrialFolder
from harness.units import format_duration
from reports import words
from reports.sheets import EXAMPLE_ORDER

_IDENTITY = re.compile(r"\d{1,5}:\d{1,10}")
_SKIPPED = {"TAKEN": "skipped: its key was there", "DONE": "skipped: its marker was there"}
_ORDER = (
    "due",
    "sent",
    "answer",
    "fault",
    "killed",
    "asked",
    "received",
    "started",
    "finished",
    "failed",
    "settling",
    "settled",
)
"""Of moments with the same time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """One thing that happened. ``by``: who did it or whom it befell. ``kind`` is how it is shown: of :data:`_ORDER`."""

    t_s: float
    kind: str
    by: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """What happened to one identity.

    Args:
        whats: classes and marks that it is an example of, the worst first.
        moments: by time. ends: what is known of its end without a time.
        since_s: what moments are counted from besides: when it was due; None = not known.
        zero: what the times count from: ``steady``, or ``the load`` where it is not known how long before that it began; then no fault is told.
    """

    trial: int
    identity: str
    whats: tuple[str, ...]
    moments: tuple[Moment, ...]
    ends: tuple[str, ...]
    since_s: float | None
    zero: str = "steady"

    @property
    def anchor(self) -> str:
        """Returns its name on the page without ``m-`` and the case's slug."""
        return f"{self.trial}-{self.identity.replace(':', '-')}"


def stories(folder: RunFolder, trial: TrialRecord) -> list[Story]:
    """Returns what happened to each example identity of a trial once, however many classes and marks it is an example of."""
    examples: dict[str, list[Example]] = {}
    for example in sorted(trial.examples, key=lambda each: EXAMPLE_ORDER.get(each.what, len(EXAMPLE_ORDER))):
        examples.setdefault(example.identity, []).append(example)
    if not examples:
        return []
    facts, rows = _evidence(folder, trial, list(examples))
    return [_story(trial, same, facts, rows.get(identity)) for identity, same in examples.items()]


Rows = tuple[list[dict[str, object]], list[dict[str, object]]]
"""Attempts and deliveries of an identity."""


def _evidence(
    folder: RunFolder, trial: TrialRecord, identities: Sequence[str]
) -> tuple[TrialFacts | None, dict[str, Rows]]:
    try:
        stored = folder.trial_at(trial.folder)
        facts = stored.read_facts()
    except BrokenRunFolderError:
        return None, {}
    try:
        return facts, _rows(stored, identities)
    except (BrokenRunFolderError, OSError, pl.exceptions.PolarsError):
        return facts, {}


def _rows(stored: TrialFolder, identities: Sequence[str]) -> dict[str, Rows]:
    """Returns the rows of the tables about some identities; raises PolarsError where a table is damaged inside."""
    keys = [tuple(map(int, identity.split(":"))) for identity in identities if _IDENTITY.fullmatch(identity)]
    wanted = pl.any_horizontal((pl.col("producer") == producer) & (pl.col("seq") == seq) for producer, seq in keys)
    found: dict[str, Rows] = {identity: ([], []) for identity in identities}
    if not keys:
        return {}
    for which, (name, by) in enumerate((("attempts", "attempt"), ("deliveries", "received_ns"))):
        for row in stored.scan_table(name).filter(wanted).collect().sort(by).iter_rows(named=True):
            found[f"{row['producer']}:{row['seq']}"][which].append(row)
    return {identity: rows for identity, rows in found.items() if rows[0]}


def _story(trial: TrialRecord, examples: Sequence[Example], facts: TrialFacts | None, rows: Rows | None) -> Story:
    example = examples[0]
    if facts is not None and facts.steady_start_ns is not None and rows is not None:
        own = list(_from_tables(rows, facts.steady_start_ns, _names(facts)))
    else:
        own = list(_from_record(example, _load_start_s(facts) or 0.0, _names(facts)))
    last_s = max((moment.t_s for moment in own), default=0.0)
    until_s = last_s if any(moment.kind in ("finished", "settled") for moment in own) else float("inf")
    first_s = min((moment.t_s for moment in own), default=0.0)
    due_s = next((moment.t_s for moment in own if moment.kind == "due"), None)
    known = _load_start_s(facts) is not None
    beside = [*_faults(trial.faults, first_s, due_s), *_killed(facts, example, first_s)] if known else []
    moments = [*own, *(moment for moment in beside if moment.t_s <= until_s)]
    return Story(
        trial=trial.number,
        identity=example.identity,
        whats=tuple(dict.fromkeys(each.what for each in examples)),
        moments=tuple(sorted(moments, key=lambda moment: (moment.t_s, _ORDER.index(moment.kind)))),
        ends=tuple(_ends(example)),
        since_s=due_s,
        zero="steady" if known else "the load",
    )


def _ends(example: Example) -> Iterator[str]:
    if example.outcome == "UNKNOWN":
        yield f"UNKNOWN: {words.OUTCOMES['UNKNOWN']}"
    if not example.deliveries:
        yield "never received"
    elif all(delivery.finished_s is None and not delivery.settlement for delivery in example.deliveries):
        yield "not finished"
    if example.found:
        yield f"found in the broker: {', '.join(example.found)}"


def _names(facts: TrialFacts | None) -> dict[tuple[str, int], str]:
    return {(shard.kind, shard.number): shard.name for shard in facts.shards} if facts else {}


def _from_tables(rows: Rows, zero_ns: int, names: Mapping[tuple[str, int], str]) -> Iterator[Moment]:
    attempts, deliveries = rows
    for row in attempts:
        producer = names.get(("producer", _number(row["producer"])), f"p{row['producer']}")
        yield from _moments(row, zero_ns, producer, _of_attempt(row))
    for row in deliveries:
        worker = names.get(("worker", _number(row["worker"])), f"worker {row['worker']}")
        yield from _moments(row, zero_ns, worker, _of_delivery(row))


def _moments(
    row: Mapping[str, object], zero_ns: int, by: str, told: Iterable[tuple[str, str, str]]
) -> Iterator[Moment]:
    for column, kind, text in told:
        t_ns = row[column]
        if isinstance(t_ns, int):
            yield Moment(t_s=(t_ns - zero_ns) / 1e9, kind=kind, by="" if kind == "due" else by, text=text)


def _of_attempt(row: Mapping[str, object]) -> Iterator[tuple[str, str, str]]:
    again = f", attempt {row['attempt']}" if _number(row["attempt"]) > 1 else ""
    held = f", held: {words.HELD_REASONS.get(str(row['held']), row['held'])}" if row["held"] else ""
    yield "intended_ns", "due", f"due{again}"
    yield "sent_ns", "sent", f"sent{again}{held}"
    yield "confirmed_ns", "answer", f"{row['outcome']}{again}"


def _of_delivery(row: Mapping[str, object]) -> Iterator[tuple[str, str, str]]:
    more = [f"attempt {row['attempt']}"] if _number(row["attempt"]) > 1 else []
    if row["redelivered"]:
        more.append("the broker says: redelivered")
    if _number(row["delivery_count"]) > 1:
        more.append(f"delivery {row['delivery_count']} by the broker's count")
    if row["checksum_ok"] is False:
        more.append(words.MARKS["corrupt"])
    yield "received_ns", "received", ", ".join(["received", *more])
    yield "started_ns", "started", "started"
    yield "finished_ns", "finished", "finished"
    yield "failed_ns", "failed", "failed"
    if row["settlement"]:
        skipped = f" ({_SKIPPED[str(row['skipped'])]})" if row["skipped"] else ""
        yield "settling_ns", "settling", f"{row['settlement']} sent{skipped}"
        yield "settled_ns", "settled", f"{row['settlement']} {row['settle_outcome']}"


def _load_start_s(facts: TrialFacts | None) -> float | None:
    """Returns the start of the load on the clock that starts with *steady*; None where that is not known."""
    if facts is None or facts.load_start_ns is None or facts.steady_start_ns is None:
        return None
    return (facts.load_start_ns - facts.steady_start_ns) / 1e9


def _from_record(example: Example, zero_s: float, names: Mapping[tuple[str, int], str]) -> Iterator[Moment]:
    producer = f"p{example.identity.partition(':')[0]}"
    found = [
        (example.intended_s, "due", "", "due"),
        (example.sent_s, "sent", producer, "sent"),
        (example.confirmed_s, "answer", producer, example.outcome or "answered"),
    ]
    for delivery in example.deliveries:
        worker = names.get(("worker", delivery.worker), f"worker {delivery.worker}")
        again = f", attempt {delivery.attempt}" if delivery.attempt > 1 else ""
        settled = f"{delivery.settlement} {delivery.settle_outcome or 'unanswered'}"
        found += [
            (delivery.received_s, "received", worker, f"received{again}"),
            (delivery.finished_s, "finished", worker, "finished"),
            (delivery.settled_s, "settled", worker, settled),
        ]
    for t_s, kind, by, text in found:
        if t_s is not None:
            yield Moment(t_s=t_s + zero_s, kind=kind, by=by, text=text)


def _faults(faults: Iterable[FaultResult], first_s: float, due_s: float | None) -> Iterator[Moment]:
    """Yields what was in force at its first moment or struck later: beginnings, also those before it was due, and ends."""
    for fault in faults:
        healed_s = None if fault.never_replaced else fault.healed_s
        if fault.injected_s is None or (healed_s is not None and healed_s < first_s):
            continue
        told = [f"{fault.label} injected", *([words.NEVER_REPLACED] if fault.never_replaced else [])]
        if due_s is not None and fault.injected_s < due_s:
            told.append(f"{format_duration(due_s - fault.injected_s)} before it was due")
        yield Moment(t_s=fault.injected_s, kind="fault", by="", text=", ".join(told))
        if healed_s is not None:
            yield Moment(t_s=healed_s, kind="fault", by="", text=f"{fault.label} healed")


def _killed(facts: TrialFacts | None, example: Example, first_s: float) -> Iterator[Moment]:
    """Yields when a fault sent SIGKILL to those that had to do with it; what they were doing then may still have got through."""
    if facts is None or facts.steady_start_ns is None:
        return
    own = {("worker", delivery.worker) for delivery in example.deliveries}
    if _IDENTITY.fullmatch(example.identity):
        own.add(("producer", int(example.identity.partition(":")[0])))
    for shard in facts.shards:
        if (shard.kind, shard.number) in own and shard.killed_ns is not None:
            t_s = (shard.killed_ns - facts.steady_start_ns) / 1e9
            if t_s >= first_s:
                yield Moment(t_s=t_s, kind="killed", by=shard.name, text="was sent SIGKILL")


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
