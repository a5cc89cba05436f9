"""The ledger's rules once more: per identity, in plain Python, written from the text of ``measurement.md`` section 3.

Slow on purpose, and sharing nothing with ``harness.analysis``: what both say is what the page says.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from histories import History

STRENGTH = ("NOT_SENT", "REJECTED", "UNKNOWN", "CONFIRMED")
Row = dict[str, Any]


@dataclass
class Judged:
    """What became of one identity; ``causes`` holds (row of the deliveries table, mark) of its repeats."""

    name: str
    marks: Counter[str]
    causes: dict[int, str]


def judge(history: History) -> dict[tuple[int, int, int], Judged]:
    """Returns every identity × subscription (subscription, producer, seq) and what became of it."""
    rows = [
        {**row, "row": at}
        for at, row in enumerate(history.deliveries)
        if not row["foreign"] and row["producer"] is not None
    ]
    residue = [row for row in history.residue if not row["foreign"] and row["producer"] is not None]
    late = reordered(history, rows)
    judged = {}
    for subscription in sorted({row["subscription"] for row in rows}) or [0]:
        here = sorted(
            (row for row in rows if row["subscription"] == subscription),
            key=lambda row: (row["received_ns"], row["row"]),
        )
        attempts, deliveries, copies = by_identity(history.attempts), by_identity(here), by_identity(residue)
        for whose in attempts.keys() | deliveries.keys() | copies.keys():
            judged[subscription, *whose] = judge_one(
                history, whose[0], attempts.get(whose, []), deliveries.get(whose, []), copies.get(whose, []), late
            )
    return judged


def by_identity(rows: list[Row]) -> dict[tuple[int, int], list[Row]]:
    groups: dict[tuple[int, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["producer"], row["seq"]), []).append(row)
    return groups


def hidden(history: History, producer: int) -> bool:
    return any(
        s.kind == "producer" and s.number == producer and (s.slots_found == -1 or s.slots_found < s.slots_reported)
        for s in history.facts.shards
    )


def outcome_of(history: History, producer: int, attempts: list[Row]) -> str | None:
    seen = [row["outcome"] for row in attempts] + (["UNKNOWN"] if hidden(history, producer) else [])
    return max(seen, key=STRENGTH.index, default=None)


def class_of(  # noqa: PLR0911 – a rule each
    history: History, outcome: str | None, deliveries: list[Row], copies: list[Row]
) -> str:
    seen = bool(deliveries or copies)
    finished = any(row["finished_ns"] is not None or row["skipped"] == "DONE" for row in deliveries)
    sound = history.facts.residue_sound and not any(
        s.kind == "worker" and (s.slots_found == -1 or s.slots_found < s.slots_reported) for s in history.facts.shards
    )
    if seen and outcome in (None, "NOT_SENT", "REJECTED"):
        return "phantom"
    if outcome == "NOT_SENT":
        return "unsent"
    if outcome == "REJECTED":
        return "rejected"
    if outcome == "CONFIRMED" and finished:
        return "processed"
    if outcome == "UNKNOWN" and finished:
        return "recovered"
    if any(row["place"] == "dead_letter" for row in copies):
        return "dead_lettered"
    if copies:
        return "stranded"
    if not sound:
        return "undecided"
    if outcome == "UNKNOWN":
        return "vanished"
    if (
        deliveries
        and deliveries[-1]["settlement"] in ("RELEASE", "RETRY", "DEAD")
        and deliveries[-1]["settle_outcome"] == "OK"
    ):
        return "lost_in_settling"
    return "interrupted" if deliveries else "lost"


def judge_one(  # noqa: PLR0917 – a transcription
    history: History, producer: int, attempts: list[Row], deliveries: list[Row], copies: list[Row], late: set[int]
) -> Judged:
    outcome = outcome_of(history, producer, attempts)
    name = class_of(history, outcome, deliveries, copies)
    causes = {row["row"]: cause_of(history, row, deliveries[:at]) for at, row in enumerate(deliveries) if at}
    marks = Counter(causes.values())
    if overlaps := count_overlaps(history, deliveries):
        marks["overlapping_execution"] = overlaps
    finishes = sum(row["finished_ns"] is not None for row in deliveries)
    if finishes > 1:
        marks["duplicate_effect"] = finishes - 1
    marks["skipped"] += sum(row["skipped"] is not None for row in deliveries)
    marks["corrupt"] += sum(not row["checksum_ok"] for row in deliveries)
    for found in copies:
        if name in ("processed", "recovered") and found["place"] != "dead_letter":
            marks["left_behind"] += 1
            if any(was_acked(history, row, found) for row in deliveries):
                marks["redelivered_after_ack"] += 1
    if outcome in ("UNKNOWN", "CONFIRMED") and not hidden(history, producer):
        possible = {row["attempt"] for row in attempts if row["outcome"] in ("UNKNOWN", "CONFIRMED")}
        marks["phantom_attempt"] += sum(row["attempt"] not in possible for row in deliveries)
    marks["reordered"] += sum(row["row"] in late for row in deliveries)
    return Judged(name, +marks, causes)


def was_acked(history: History, row: Row, found: Row) -> bool:
    if row["settlement"] not in ("ACK", "AUTO") or row["settle_outcome"] != "OK":
        return False
    if history.traits.entry_ids and found["entry"] is not None:
        return bool(row["entry"] == found["entry"])
    return bool(row["attempt"] == found["attempt"])


def cause_of(history: History, d: Row, earlier: list[Row]) -> str:
    """Returns the first of the eight rules that matches a delivery after the first."""
    traits, facts = history.traits, history.facts
    of_attempt = [row for row in earlier if row["attempt"] == d["attempt"]]
    if not of_attempt:
        return "attempt_duplicate"
    has_id = traits.entry_ids and d["entry"] is not None
    of_entry = [row for row in of_attempt if row["entry"] == d["entry"]] if has_id else of_attempt
    p = of_entry[-1] if of_entry else None

    def asked_back(row: Row) -> bool:
        return (
            row["settlement"] in ("RELEASE", "RETRY", "DEAD")
            and row["settle_outcome"] in ("OK", "UNKNOWN")
            and row["settling_ns"] <= d["received_ns"]
        )

    def broker_fault(since_ns: int, kinds: tuple[str, ...]) -> bool:
        return any(
            fault.kind.value in kinds
            and fault.injected_ns is not None
            and fault.injected_ns <= d["received_ns"]
            and (fault.healed_ns is None or fault.healed_ns >= since_ns)
            for fault in facts.faults
        )

    if p is None:  # entry ids differ
        return "asked_again" if any(map(asked_back, of_attempt)) else "producer_duplicate"
    since = p["received_ns"]
    fault = broker_fault(since, ("broker kill", "broker restart", "broker recreate", "broker pause"))
    flag = d["redelivered"] if traits.redelivered_flag else None
    is_pop = not has_id and flag is None and (traits.at_most_once or facts.auto_ack) and not traits.reclaims
    holder = next((s for s in facts.shards if s.kind == "worker" and s.number == p["worker"]), None)
    ends = [t for t in (holder.killed_ns, holder.ended_ns) if t is not None] if holder else []
    cut = holder is not None and any(
        row["shard"] == holder.name and not row["up"] and since <= row["t_ns"] <= d["received_ns"]
        for row in history.connections
    )
    acked = p["settlement"] in ("ACK", "AUTO")
    rules = (
        ("asked_again", asked_back(p)),
        ("producer_duplicate", flag is False or (is_pop and not fault)),
        ("duplicate_of_unknown_origin", not has_id and fault and traits.library_retries),
        ("redelivered_after_ack", acked and p["settle_outcome"] == "OK" and p["settled_ns"] < d["asked_ns"]),
        ("redelivered_after_unknown_ack", acked and p["settling_ns"] <= d["asked_ns"]),
        (
            "redelivered_unacked",
            any(t <= d["received_ns"] for t in ends)
            or cut
            or broker_fault(since, ("broker kill", "broker restart", "broker recreate"))
            or (
                traits.reclaims
                and max(d["received_ns"] - p["asked_ns"], p["received_ns"] - d["asked_ns"])
                >= round(facts.visibility_s * 1e9)
            ),
        ),
        ("given_twice", True),
    )
    return next(name for name, holds in rules if holds)


def count_overlaps(history: History, deliveries: list[Row]) -> int:
    """Returns how many executions began (in order of begin and end) while one of another worker was not over."""
    spans = []
    for row in deliveries:
        if row["started_ns"] is None:
            continue
        shard = next((s for s in history.facts.shards if s.kind == "worker" and s.number == row["worker"]), None)
        deaths = [t for t in (shard.killed_ns, shard.ended_ns) if t is not None] if shard else []
        worked = [t for t in (row["finished_ns"], row["failed_ns"]) if t is not None]
        end = min(worked) if worked else min(deaths, default=1 << 62)
        spans.append((row["started_ns"], max(end, row["started_ns"]), row["worker"]))
    spans.sort(key=lambda span: span[:2])
    return sum(
        any(span[2] != other[2] and span[0] < other[1] and other[0] < span[1] for other in spans[:at])
        for at, span in enumerate(spans)
    )


def reordered(history: History, rows: list[Row]) -> set[int]:
    """Returns the rows of first deliveries of first attempts that came to a worker after one which their producer sent later."""
    sent = {
        (row["producer"], row["seq"]): (row["sent_ns"], row["seq"])
        for row in history.attempts
        if row["attempt"] == 1 and row["sent_ns"] is not None
    }
    firsts: dict[tuple[int, int, int], Row] = {}
    for row in sorted(rows, key=lambda row: (row["received_ns"], row["row"])):
        if row["attempt"] == 1:
            firsts.setdefault((row["subscription"], row["producer"], row["seq"]), row)
    late = set()
    latest: dict[tuple[int, int, int], tuple[int, int]] = {}
    for row in sorted(firsts.values(), key=lambda row: (row["received_ns"], row["row"])):
        order = sent.get((row["producer"], row["seq"]))
        if order is None:
            continue
        line = row["subscription"], row["worker"], row["producer"]
        if order < latest.get(line, (-1, -1)):
            late.add(row["row"])
        latest[line] = max(order, latest.get(line, (-1, -1)))
    return late


def compare(history: History) -> None:
    """Asserts that the analysis and these rules say the same of every identity and of every repeat."""
    expected = judge(history)
    result = history.reconciled()
    seen = result.messages.rows(named=True)
    assert [(row["subscription"], row["producer"], row["seq"]) for row in seen] == sorted(expected)
    marks = [name for name in result.messages.columns if name in result.counts.marks]
    for row in seen:
        one = expected[row["subscription"], row["producer"], row["seq"]]
        assert row["class"] == one.name, (row, one)
        assert {name: row[name] for name in marks if row[name]} == dict(one.marks), (row, one)
    causes = {at: cause for at, cause in enumerate(result.causes) if cause is not None}
    assert causes == {at: cause for one in expected.values() for at, cause in one.causes.items()}
    assert result.counts.identities == len(expected)
    assert sum(result.counts.classes.values()) == len(expected)
    assert {name: n for name, n in result.counts.classes.items() if n} == Counter(one.name for one in expected.values())
    total: Counter[str] = Counter()
    for one in expected.values():
        total += one.marks
    assert {name: n for name, n in result.counts.marks.items() if n} == total
