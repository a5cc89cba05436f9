"""Buckets of latency: none is lost, and each lies within 1.6 % of its bucket's edge."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.histogram import BUCKETS, OVERFLOW, UNIT_NS, add, bucket_of, percentile_s, upper_edge_ns

LARGEST_NS = upper_edge_ns(OVERFLOW - 1)


def one(latency_ns: int) -> int:
    return int(bucket_of(np.array([latency_ns]))[0])


@given(st.integers(0, LARGEST_NS))
def test_a_latency_lies_in_its_bucket_and_close_to_its_edge(latency_ns: int) -> None:
    bucket = one(latency_ns)
    edge = upper_edge_ns(bucket)
    assert latency_ns <= edge
    assert edge - latency_ns <= max(UNIT_NS, latency_ns / 64 + UNIT_NS)
    assert one(edge) == bucket
    assert one(edge + 1) > bucket


@given(st.integers(0, 1 << 62), st.integers(0, 1 << 62))
def test_a_longer_latency_never_lies_in_a_lower_bucket(first: int, second: int) -> None:
    low, high = sorted((first, second))
    assert one(low) <= one(high)


def test_what_is_negative_or_too_long_is_counted_and_not_dropped() -> None:
    counts = np.zeros(BUCKETS, np.uint64)
    add(counts, np.array([-1, -(2**62), LARGEST_NS + 1, 2**62]))
    assert (counts[0], counts[OVERFLOW], counts.sum()) == (2, 2, 4)
    assert percentile_s(counts, 100) == float("inf")


@given(
    st.lists(st.integers(0, LARGEST_NS), min_size=1, max_size=200),
    st.sampled_from([0.0, 50.0, 90.0, 99.0, 99.9, 100.0]),
)
def test_a_percentile_is_the_edge_of_the_bucket_of_the_nearest_rank(latencies: list[int], percent: float) -> None:
    counts = np.zeros(BUCKETS, np.uint64)
    add(counts, np.array(latencies))
    exact = sorted(latencies)[max(1, int(np.ceil(percent / 100 * len(latencies)))) - 1]
    assert percentile_s(counts, percent) == upper_edge_ns(one(exact)) / 1e9


def test_merging_is_adding_counts() -> None:
    first, second, both = (np.zeros(BUCKETS, np.uint64) for _ in range(3))
    add(first, np.array([1_000_000]))
    add(second, np.array([9_000_000, 9_000_000]))
    add(both, np.array([1_000_000, 9_000_000, 9_000_000]))
    assert (first + second == both).all()


def test_without_data_there_is_no_percentile() -> None:
    assert percentile_s(np.zeros(BUCKETS, np.uint64), 99) is None
