"""The broker stands still for two seconds: what the schedule and the pause say is what the report says."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.system.conftest import Bench

SCENARIO = """
question: How late do messages come when the broker hangs for 2 seconds?
setups: [redis-stream]
load: {rate: 2000/s, arrival: constant, window: 1000}
workers: {count: 2, visibility: 5 s, sweep: 1 s}
phases: {warmup: 0 s, steady: 20 s, drain: 30 s}
faults: [{at: 8 s, pause: broker, for: 2 s}]
"""
QUANTILES = {"p95": 0.95, "p99": 0.99, "max": 1.0}
TOLERANCE_S = 0.25
"""The resumed broker works off 4,000 messages, which takes 0.05–0.15 s here; the harness resumes within some 10 ms."""


@pytest.mark.slow
@pytest.mark.alone
def test_a_pause_of_two_seconds_shows_in_p95_p99_and_max_as_schedule_and_pause_say(bench: Bench) -> None:
    finished = bench("run", bench.scenario("pause", SCENARIO))
    assert finished.code == 0, finished.out + finished.err
    (fault,) = finished.trial.faults
    assert fault.hit

    attempts = finished.table("attempts")
    assert len(attempts) == 40_000, "every message that was due was offered"
    assert set(attempts["outcome"]) == {"CONFIRMED"}

    # Truth: a message due at t within the pause [a, b] cannot come before b, so it is at least b − t late; all others
    # may be as fast as they like. Nearest rank over the whole schedule.
    facts = finished.folder.read_facts()
    (struck,) = facts.faults
    assert struck.injected_ns is not None
    resumed_ns = struck.evidence["resumed_ns"]
    assert isinstance(resumed_ns, int)
    due = attempts["intended_ns"].to_numpy()
    late_s = np.where((due > struck.injected_ns) & (due < resumed_ns), (resumed_ns - due) / 1e9, 0.0)
    truth = {name: float(np.sort(late_s)[int(np.ceil(q * len(due))) - 1]) for name, q in QUANTILES.items()}
    assert truth["p95"] > 0.4
    assert truth["max"] > 1.9

    whole = finished.trial.metrics["whole"]
    first = finished.table("deliveries").group_by("seq").agg(pl.col("received_ns").min()).sort("seq")
    seen = np.sort((first["received_ns"].to_numpy() - due) / 1e9)
    p95 = float(seen[int(np.ceil(0.95 * len(due))) - 1])
    assert truth["p95"] <= p95 <= truth["p95"] + TOLERANCE_S
    for name in ("p99", "max"):
        figure = whole[f"latency.end_to_end.{name}"]
        assert isinstance(figure, float)
        assert truth[name] <= figure <= truth[name] + TOLERANCE_S
