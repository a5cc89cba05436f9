"""Evidence for gates, hand-made: trials with just the figures that a rule asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from harness.analysis.comparable import Comparability, Difference, Kind
from harness.analysis.signed_rank import FULL_LOOKS, Look
from harness.gate.evidence import Evidence, Judged, Pair
from harness.gate.rules import AbsoluteRule, RelativeRule
from harness.model import TrialStatus
from harness.record import Figure, TrialRecord
from tests.unit import records

D = [.031, -.012, .054, .087, .009, .120, -.045, .066, .023, .071, .098, -.004, .042, .015, .110, .036]  # fmt: skip
"""The worked example of gate.md: log ratios of 16 pairs."""

CASE = "null@embedded"
P99 = "latency.end_to_end.p99"
LOSS = "loss.confirmed"
ALIKE = Comparability(differences=())
CPU = Difference(kind=Kind.IDENTITY, name="CPU model", a="EPYC", b="Xeon")
KERNEL = Difference(kind=Kind.DRIFT, name="kernel", a="6.1", b="6.8")


def trial(
    figure: Figure | None = None, metric: str = P99, *, window: str = "steady", number: int = 1, **more: Any
) -> TrialRecord:
    """Returns a valid trial with one figure, without faults."""
    values: dict[str, Any] = {
        "number": number,
        "status": TrialStatus.VALID,
        "reasons": [],
        "folder": f"cases/null/trial-{number}",
        "metrics": {} if figure is None else {window: {metric: figure}},
        "evidence_sound": True,
    }
    return TrialRecord(**values | more)


def invalid(figure: Figure | None = None, metric: str = P99, *, sound: bool = True, **more: Any) -> TrialRecord:
    """Returns a trial whose generator was saturated."""
    told: dict[str, Any] = {
        "status": TrialStatus.INVALID,
        "reasons": ["generator saturated: lag 48 ms"],
        "evidence_sound": sound,
    }
    return trial(figure, metric, **told | more)


def crashed(lost: Figure = 0.0, **more: Any) -> TrialRecord:
    """Returns a trial in which a broker was killed while messages were in it."""
    values: dict[str, Any] = {
        "faults": [records.broker_kill()],
        "guarantees": [records.guarantee(), records.no_fault()],
    }
    return trial(lost, LOSS, window="whole", **values | more)


def judged(record: TrialRecord, place: str = "") -> Judged:
    """Returns a trial of a run folder that is named after it."""
    return Judged(record=record, place=place or f"run-{record.number}")


def pairs(
    a: Sequence[TrialRecord], b: Sequence[TrialRecord], discarded: dict[int, str] | None = None
) -> tuple[Pair, ...]:
    """Returns pairs of trials; ``discarded``: number of a pair → why it does not count."""
    each = enumerate(zip(a, b, strict=True), start=1)
    return tuple(
        Pair(
            number=number,
            a=judged(one, f"pair-{number}/a"),
            b=judged(other, f"pair-{number}/b"),
            first="a" if number % 2 else "b",
            discarded=(discarded or {}).get(number, ""),
        )
        for number, (one, other) in each
    )


def paired(
    a: Sequence[TrialRecord], b: Sequence[TrialRecord], looks: tuple[Look, ...] = FULL_LOOKS, **more: Any
) -> Evidence:
    """Returns the evidence of an ``ab`` that is over."""
    discarded = more.pop("discarded", None)
    values: dict[str, Any] = {"case": CASE, "ids": (CASE,), "looks": looks, "comparability": ALIKE}
    return Evidence(pairs=pairs(a, b, discarded), **values | more)


def of_ratios(d: Sequence[float], metric: str = P99, base: float = 0.01, **more: Any) -> Evidence:
    """Returns pairs whose B is exp(d) times A."""
    return paired([trial(base, metric) for _ in d], [trial(base * math.exp(each), metric) for each in d], **more)


def stored(a: Sequence[TrialRecord], b: Sequence[TrialRecord], **more: Any) -> Evidence:
    """Returns a run and, where there is an ``a``, its baseline."""
    values: dict[str, Any] = {"case": CASE, "ids": (CASE,), "comparability": ALIKE if a else None}
    return Evidence(
        a=tuple(judged(each, f"base/{i}") for i, each in enumerate(a, 1)),
        b=tuple(judged(each, f"run/{i}") for i, each in enumerate(b, 1)),
        **values | more,
    )


def margin(percent: float, metric: str = P99, **more: Any) -> RelativeRule:
    """Returns a relative rule."""
    return RelativeRule(id="margin", metric=metric, max_ratio=1 + percent / 100, **more)


def contract(relation: str, limit: float, metric: str = LOSS, **more: Any) -> AbsoluteRule:
    """Returns an absolute rule."""
    return AbsoluteRule(
        id="contract", metric=metric, relation=relation, limit=limit, text=f"{relation} {limit:g}", **more
    )
