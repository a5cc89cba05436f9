"""Live counts become Locust's statistics in bulk, and come out as if each message had been logged."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from harness import histogram
from harness.ledger import LIVE
from harness.load.child import CpuShare
from harness.load.statistics import Sample, samples

S = 1_000_000_000


def live(latency_ms: list[float] = [], **counts: int) -> np.ndarray[Any, Any]:  # noqa: B006
    made = np.zeros(1, LIVE)
    for name, value in counts.items():
        made[name] = value
    histogram.add(made["latency"][0], (np.array(latency_ms) * 1e6).astype(np.int64))
    return made[0]


def locust_key(response_ms: float) -> int:
    """What ``locust.stats.bucket_response_time`` says, written down here so that no test has to patch this process."""
    if response_ms < 100:
        return round(response_ms)
    if response_ms < 1000:
        return int(round(response_ms, -1))
    return int(round(response_ms, -2)) if response_ms < 10000 else int(round(response_ms, -3))


def test_answers_are_requests_and_all_but_confirms_are_failures() -> None:
    (sample,) = samples("producer", live(), live([2, 2, 40], confirmed=3, rejected=2, unknown=1))
    assert (sample.method, sample.requests, sample.timed) == ("publish", 6, 3)
    assert sample.failures == {"rejected": 2, "unknown": 1}
    assert sample.response_times == {2: 2, 40: 1}
    assert (sample.min_ms, sample.max_ms) == (2, 40)


def test_only_what_is_new_counts() -> None:
    before, after = live([5], confirmed=1), live([5, 7], confirmed=2)
    (sample,) = samples("producer", before, after)
    assert (sample.requests, sample.response_times) == (1, {7: 1})


def test_a_late_confirm_takes_its_failure_back() -> None:
    before, after = live(unknown=1), live([9], confirmed=1)
    (sample,) = samples("producer", before, after)
    assert (sample.requests, sample.timed, sample.failures) == (0, 1, {"unknown": -1})


def test_a_worker_delivers_and_settles() -> None:
    made = samples("worker", live(), live([1, 1], delivered=3, settled=2))
    assert [(s.method, s.requests, s.timed) for s in made] == [("deliver", 3, 2), ("settle", 2, 0)]


def test_nothing_new_is_no_sample() -> None:
    same = live([1], delivered=1, settled=1)
    assert samples("worker", same, same) == []


def test_response_times_are_rounded_as_locust_rounds_them_within_a_bucket() -> None:
    rng = random.Random(1)
    for response_ms in (rng.lognormvariate(3, 2) for _ in range(300)):
        (sample,) = samples("producer", live(), live([response_ms], confirmed=1))
        edge = histogram.upper_edge_ns(int(histogram.bucket_of(np.array([int(response_ms * 1e6)]))[0])) / 1e6
        assert sample.response_times == {locust_key(edge): 1}
        assert response_ms <= edge <= response_ms * 1.016 + 0.001
    assert isinstance(sample, Sample)


def test_the_share_of_a_core_is_that_over_the_newest_second() -> None:
    share = CpuShare(0)
    for quarter in range(4):
        share.saw(quarter * S // 4, 0.0)
    assert share.newest is None
    share.saw(S, 0.25)
    assert share.newest == (S, 0.25)
    share.saw(2 * S, 1.0)
    assert share.newest == (2 * S, 0.75)
