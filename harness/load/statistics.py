"""Live counts of a shard → what Locust's statistics are fed with, in bulk: one sample per kind of request, not one call per message.

Locust counts a failed request as a request too. So ``publish`` has as many requests as answers, its failures are the rejected and the
unknown, and requests − failures = confirmed. ``settle`` has no response time (Locust's word: none).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness import histogram

_EDGES_MS = np.array([histogram.upper_edge_ns(i) for i in range(histogram.BUCKETS)]) / 1e6


def _rounded_ms(response_ms: float) -> int:
    """Returns the key under which Locust counts a response time: two significant digits from 100 ms on."""
    digits = 0 if response_ms < 100 else -1 if response_ms < 1000 else -2 if response_ms < 10000 else -3
    return int(round(response_ms, digits))


_KEYS = [_rounded_ms(float(edge)) for edge in _EDGES_MS]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What one kind of request did since the last sample; counts may be negative where an unknown was confirmed late.

    Args:
        method: ``publish``, ``deliver``, ``settle``. requests: answers, failures included. timed: those with a response time.
        failures: by what is wrong. response_times: Locust's rounded ms → count. total_ms, min_ms, max_ms: of the response times
            (upper edges of their buckets); min and max None without any.
    """

    method: str
    requests: int
    timed: int
    failures: dict[str, int]
    response_times: dict[int, int]
    total_ms: int
    min_ms: int | None
    max_ms: int | None


def samples(kind: str, before: npt.NDArray[Any], after: npt.NDArray[Any]) -> list[Sample]:
    """Returns what happened between two copies of a shard's live counts (dtype ``ledger.LIVE``, scalars)."""

    def more(name: str) -> int:
        return int(after[name]) - int(before[name])

    latency = after["latency"].astype(np.int64) - before["latency"].astype(np.int64)
    if kind == "producer":
        failures = {name: more(name) for name in ("rejected", "unknown") if more(name)}
        made = [_sample("publish", more("confirmed") + sum(failures.values()), failures, latency)]
    else:
        made = [
            _sample("deliver", more("delivered"), {}, latency),
            _sample("settle", more("settled"), {}, np.zeros(0, np.int64)),
        ]
    return [sample for sample in made if sample.requests or sample.failures]


def _sample(method: str, requests: int, failures: dict[str, int], latency: npt.NDArray[np.int64]) -> Sample:
    buckets = np.flatnonzero(latency)
    times: dict[int, int] = {}
    for bucket in buckets.tolist():
        times[_KEYS[bucket]] = times.get(_KEYS[bucket], 0) + int(latency[bucket])
    return Sample(
        method=method,
        requests=requests,
        timed=int(latency.sum()),
        failures=failures,
        response_times=times,
        total_ms=round(float((latency[buckets] * _EDGES_MS[buckets]).sum())),
        min_ms=min(times, default=None),
        max_ms=max(times, default=None),
    )


def add(entry: Any, sample: Sample, *, second: int, payload_bytes: int) -> None:
    """Adds a sample to a ``locust.stats.StatsEntry``: what its ``log`` does, for many requests of one second at once."""
    failures = sum(sample.failures.values())
    entry.num_requests += sample.requests
    entry.num_none_requests += sample.requests - sample.timed
    entry.num_failures += failures
    entry.num_reqs_per_sec[second] += sample.requests
    entry.num_fail_per_sec[second] += failures
    entry.total_response_time += sample.total_ms
    entry.total_content_length += payload_bytes * sample.requests
    for key, count in sample.response_times.items():
        entry.response_times[key] += count
    if sample.min_ms is not None and sample.max_ms is not None:
        least = entry.min_response_time
        entry.min_response_time = sample.min_ms if least is None else min(least, sample.min_ms)
        entry.max_response_time = max(entry.max_response_time, sample.max_ms)
