"""Sweeps for tests, hand-made: points with the figures that a test names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.analysis.knee import knee_of
from harness.analysis.sweep import Curve, Point, Ran, SweepRecord, metrics_shown, seen_of
from harness.model import DurabilityClass
from harness.record import Figure, TrialRecord
from tests.unit import records

P99 = "latency.end_to_end.p99"
KEY = "workers.count"


def trial(number: int, throughput: Figure, p99_s: Figure = 0.01, **more: Any) -> TrialRecord:
    """Returns a valid trial without a fault."""
    steady: dict[str, Figure] = {"throughput": throughput, P99: p99_s}
    values = {"metrics": {"steady": steady}, "faults": [], "guarantees": [records.no_fault()]}
    return records.trial(number, slug="null-embedded", **{**values, **more})


def point(value: str, trials: Sequence[TrialRecord], metric: str = "throughput", **more: Any) -> Point:
    """Returns a value with its trials; a value that is no number is a word."""
    values: dict[str, Any] = {
        "parameters": {},
        "durability": DurabilityClass.MEMORY,
        "guarantees": [records.no_fault()],
    }
    case = records.case("null@embedded", trials=list(trials), **values | more)
    at = float(value) if value.replace(".", "").isdigit() else None
    seen = {name: seen_of(case, name) for name in metrics_shown(metric)}
    return Point(value=value, at=at, case=case, runs=[f"run-{value}-{each.number}" for each in trials], seen=seen)


def points(figures: Mapping[str, Figure | None], metric: str = "throughput") -> list[Point]:
    """Returns one point per value with one trial; None = the trial is invalid."""
    found = []
    for value, figure in figures.items():
        told = {"throughput": figure} if metric == "throughput" else {"throughput": 100.0, "p99_s": figure}
        found.append(point(value, [records.invalid_trial()] if figure is None else [trial(1, **told)], metric))  # type: ignore[arg-type]
    return found


def sweep(*curves: Sequence[Point], metric: str = "throughput", **more: Any) -> SweepRecord:
    """Returns a finished sweep of curves."""
    names = ["null@embedded", "redis-stream[persistence=aof-always]@embedded", "postgres-lease@embedded"]
    made = [
        Curve(label=name, points=list(each), knee=knee_of(each, metric))
        for name, each in zip(names, curves, strict=False)
    ]
    runs = [
        Ran(value=p.value, case=p.case.id, trial=number, seed=number, run=run, status="valid", exit_code=0)
        for each in curves
        for p in each
        for number, run in enumerate(p.runs, 1)
    ]
    values: dict[str, Any] = {
        "tool_version": "0.1.0",
        "status": "finished",
        "started_wall_ns": 1_795_256_103_000_000_000,
        "scenario": "knee",
        "question": "From how many workers on does it carry no more?",
        "scenario_text": "question: …\n",
        "command": "brokerbench sweep knee --over workers.count=1,2,4,8",
        "deployment": "embedded",
        "key": KEY,
        "values": [p.value for p in curves[0]],
        "metric": metric,
        "open_loop": True,
        "trials": max(len(p.runs) for each in curves for p in each),
        "order_seed": 7,
        "curves": made,
        "runs": runs,
        "exit_code": 0,
    }
    return SweepRecord(**values | more)
