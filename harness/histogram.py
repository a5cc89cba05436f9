"""Latency counts for the live view: the bucket layout of HDR histograms (Tene), filled in blocks by numpy.

64 sub-buckets per doubling (1.6 %) from 1 µs to about 4,600 s; beyond that an overflow bucket that is counted and
shown. Exact percentiles come from the ledger, never from here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SUB_BITS = 7
UNIT_NS = 1000
DOUBLINGS = 26
BUCKETS = (DOUBLINGS + 1) * (1 << SUB_BITS) + 1
OVERFLOW = BUCKETS - 1


def bucket_of(latency_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Returns the bucket index of each latency, shape (n,) → (n,); negative latencies fall into bucket 0."""
    units = np.maximum(latency_ns // UNIT_NS, 0)
    exponent = np.frexp((units >> SUB_BITS).astype(np.float64))[1].astype(np.int64)  # bit length: 0 while units < 128
    return np.minimum((exponent << SUB_BITS) + (units >> exponent), OVERFLOW)


def add(counts: npt.NDArray[np.uint64], latency_ns: npt.NDArray[np.int64]) -> None:
    """Adds latencies to ``counts`` (shape (BUCKETS,)) in place."""
    np.add.at(counts, bucket_of(latency_ns), np.uint64(1))


def sparse(latency_ns: npt.NDArray[np.int64]) -> list[int]:
    """Returns bucket, count, bucket, count … of the buckets that hold something, ascending; shape (n,) → twice as many as those."""
    buckets, counts = np.unique(bucket_of(latency_ns), return_counts=True)
    return [int(number) for number in np.column_stack((buckets, counts)).ravel()]


def percentile_s(counts: npt.NDArray[np.uint64], percent: float) -> float | None:
    """Returns the nearest-rank percentile in seconds (upper edge of its bucket), None without data, inf in the overflow."""
    total = int(counts.sum())
    if total == 0:
        return None
    rank = max(1, int(np.ceil(percent / 100 * total)))
    index = int(np.searchsorted(np.cumsum(counts), rank))
    return float("inf") if index >= OVERFLOW else float(upper_edge_ns(index)) / 1e9


def upper_edge_ns(index: int) -> int:
    """Returns the largest latency in ns that falls into bucket ``index``."""
    exponent, rest = divmod(index, 1 << SUB_BITS)
    return ((rest + 1) << exponent) * UNIT_NS - 1
