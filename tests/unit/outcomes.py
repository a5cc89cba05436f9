"""Hand-made outcomes of gates, as real as those of ``judge``: what their outputs are tested on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from harness.gate.outcome import OrderEffect, Outcome, Ran, Row, Told, Value, Verdict, exit_of
from harness.record import Figure, Unknown

REDIS = "redis-stream[persistence=aof,fsync=always]@embedded"
POSTGRES = "postgres-skip-locked@embedded"
MINUTE_NS = 60 * 10**9
STARTED_NS = 1_795_255_200 * 10**9  # 2026-11-21 10:00 UTC


def values(side: Literal["a", "b"], figures: Sequence[Figure], *, paired: bool = True) -> list[Value]:
    """Returns the figures of a side's trials, one for each pair."""
    return [
        Value(pair=n if paired else None, trial=f"{n:04}-{side}/0", figure=figure)
        for n, figure in enumerate(figures, 1)
    ]


def regression(**changed: Any) -> Row:
    """Returns a throughput that fell by more than a tenth, after six pairs."""
    return _row(
        changed,
        rule="throughput",
        asks="throughput (steady) at most 10 % worse (at least 90.9 % of the reference's)",
        metric="throughput",
        window="steady",
        case=REDIS,
        verdict=Verdict.FAIL,
        words="B is 42.0 % worse than A (+30.7 % to +55.2 %, 6 pairs); 10 % is tolerated",
        seen_a=12_310.0,
        seen_b=8_670.0,
        estimate=1.4198,
        lower=1.3071,
        upper=1.5522,
        tolerated=1.1,
        n=6,
        level=1 / 64,
        sigma_d=0.031,
        detectable=1.129,
        a=values("a", [12_101, 12_440, 12_310, 11_980, 12_650, 12_290]),
        b=values("b", [8_440, 8_911, 8_670, 8_101, 8_802, 8_590]),
    )


def held(**changed: Any) -> Row:
    """Returns a p99 that is a little worse, within tolerance."""
    return _row(
        changed,
        rule="steady-p99",
        asks="latency.end_to_end.p99 (steady) at most 25 % worse",
        metric="latency.end_to_end.p99",
        window="steady",
        case=POSTGRES,
        verdict=Verdict.PASS,
        words="B is 4.4 % worse than A (+1.6 % to +7.3 %, 16 pairs): slower, but within the 25 % that are tolerated",
        seen_a=0.0123,
        seen_b=0.0128,
        estimate=1.043938,
        lower=1.016129,
        upper=1.073045,
        a=values("a", [0.0123] * 16),
        b=values("b", [0.0128] * 16),
        tolerated=1.25,
        n=16,
        level=1266 / 65536,
        sigma_d=0.046,
        detectable=1.31,
    )


def undecided(**changed: Any) -> Row:
    """Returns a p99 that the noise hides."""
    return _row(
        changed,
        rule="steady-p99",
        asks="latency.end_to_end.p99 (steady) at most 25 % worse",
        metric="latency.end_to_end.p99",
        window="steady",
        case=REDIS,
        verdict=Verdict.INCONCLUSIVE,
        words="B is 18.0 % worse than A (−8.8 % to +62.0 %, 10 pairs): neither within 25 % nor beyond is proven",
        seen_a=0.0031,
        seen_b=0.0037,
        estimate=1.18,
        lower=0.912,
        upper=1.62,
        a=values("a", [0.0031] * 10),
        b=values("b", [0.0037] * 10),
        tolerated=1.25,
        n=10,
        level=19 / 1024,
        sigma_d=0.33,
        detectable=1.83,
    )


def lossless(**changed: Any) -> Row:
    """Returns a kept contract."""
    return _row(
        changed,
        rule="no-loss",
        asks="loss.confirmed is 0 in every trial",
        metric="loss.confirmed",
        case=REDIS,
        verdict=Verdict.PASS,
        words="no confirmed message was lost in 12 trials",
        seen_b=0.0,
        n=12,
        a=values("a", [0.0] * 12),
        b=values("b", [0.0] * 12),
    )


def lossy(**changed: Any) -> Row:
    """Returns a broken contract."""
    return lossless(
        **{
            "verdict": Verdict.FAIL,
            "words": "23 confirmed messages were lost in trial 3, allowed: 0",
            "seen_b": 23.0,
            **changed,
        }
    )


def incomparable(**changed: Any) -> Row:
    """Returns a rule whose sides ran on two machines."""
    return regression(
        **{
            "verdict": Verdict.NOT_COMPARABLE,
            "words": "the sides are not comparable: CPU model: AMD EPYC 7763 and Intel Xeon 8370C",
            "estimate": None,
            "lower": None,
            "upper": None,
            "n": 0,
            "sigma_d": None,
            "detectable": None,
            "level": None,
            **changed,
        }
    )


def information(**changed: Any) -> Row:
    """Returns a ratio that is told though the sides ran on two machines."""
    return incomparable(
        **{
            "words": "B is 42.0 % worse than A: information only",
            "verdict": Verdict.INCONCLUSIVE,
            "estimate": 1.42,
            "tolerated": None,
            **changed,
        }
    )


def unmatched(**changed: Any) -> Row:
    """Returns a rule whose pattern matched no case."""
    return _row(
        changed,
        rule="kafka-p99",
        asks="latency.end_to_end.p99 (steady) at most 25 % worse",
        metric="latency.end_to_end.p99",
        window="steady",
        case="",
        verdict=Verdict.INVALID,
        words="the pattern kafka-* matches no case",
    )


def unmeasured(**changed: Any) -> Row:
    """Returns a p99.9 for which a trial had too few messages."""
    return _row(
        changed,
        rule="tail",
        asks="latency.end_to_end.p99_9 (steady) at most 25 % worse",
        metric="latency.end_to_end.p99_9",
        window="steady",
        case=POSTGRES,
        verdict=Verdict.INVALID,
        words="latency.end_to_end.p99_9 of B of pair 2 is not known: n too small",
        seen_b=Unknown(unknown="n too small"),
        tolerated=1.25,
    )


def ran(pairs: int = 6, case: str = REDIS, *, discarded: dict[int, str] | None = None) -> list[Ran]:
    """Returns the trials of a case in the order of time; pairs 2, 3, 6 … begin with B.

    Args:
        discarded: number of a pair → why it does not count.
    """
    told = []
    for pair in range(1, pairs + 1):
        sides: list[Literal["a", "b"]] = ["b", "a"] if pair % 4 in (2, 3) else ["a", "b"]
        for at, side in enumerate(sides):
            told.append(
                Ran(
                    case=case,
                    pair=pair,
                    side=side,
                    run=f"{pair:04}-{side}",
                    status="valid",
                    started_wall_ns=STARTED_NS + (2 * pair + at) * MINUTE_NS,
                    discarded=(discarded or {}).get(pair, ""),
                )
            )
    return told


def outcome(*rows: Row, inconclusive: Literal["fail", "warn"] = "fail", **changed: Any) -> Outcome:
    """Returns the outcome of an ``ab``; without rows given: one rule broken, one undecided, two held."""
    judged = list(rows) or [held(), undecided(), regression(), lossless()]
    code, reason = exit_of(judged, inconclusive=inconclusive)
    fields: dict[str, Any] = {
        "tool_version": "0.1.0",
        "kind": "pairs",
        "scenario": "durability",
        "question": "What does each level of durability cost?",
        "sides": [
            Told(name="A", what="setup.fsync=everysec", versions=["Redis 7.2.5"]),
            Told(name="B", what="setup.fsync=always", versions=["Redis 7.2.5"]),
        ],
        "rows": judged,
        "runs": ran(discarded={5: "CPU steal 12 % of the trial"}),
        "discarded": {REDIS: {"a": 0, "b": 1}},
        "order_effects": [OrderEffect(case=REDIS, metric="throughput", ratio=0.988, pairs=6)],
        "flags": ["kernel differs: 6.8.0 and 6.8.1"],
        "warnings": ["not calibrated here: run `brokerbench calibrate durability` to know what can be seen"],
        "exit_code": int(code),
        "exit_reason": reason,
    }
    return Outcome(**(fields | changed))


def empty(**changed: Any) -> Outcome:
    """Returns an outcome in which no rule was applied to anything."""
    code, reason = exit_of([])
    return outcome(regression()).model_copy(
        update={"rows": [], "runs": [], "exit_code": int(code), "exit_reason": reason, **changed}
    )


def _row(changed: dict[str, Any], **fields: Any) -> Row:
    return Row(**(fields | changed))
