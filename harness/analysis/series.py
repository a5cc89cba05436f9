"""What happened moment by moment, for charts: rates, latencies, backlog and what was used, in slices of one length. Pure.

Every number stands on the same definitions as the figures (``measurement.md`` section 2): rates are placed by their own event's time,
latencies by ``intended_ns``; a message that never came counts in its slice as "at least".

Neighbours: ``moments`` and the samples are what it is made from, ``reports.view`` asks for it, ``reports.charts`` draw it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from harness.analysis.moments import Moments
from harness.facts import TrialFacts
from harness.record import FaultResult

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A phase or a fault, in seconds since the start of *steady* (negative before it). ``end_s`` None = it never ended.

    Args:
        name: ``warm-up``, ``steady``, ``drain``; of a fault its label. recovered_s: of a fault, when the trial had recovered; None = not
            seen, or no fault.
    """

    name: str
    start_s: float
    end_s: float | None
    recovered_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """A sampled quantity: moments in seconds since the start of *steady*, and values; same shape (n,)."""

    t_s: Floats
    value: Floats


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Series:
    """A trial in ``n`` slices.

    Args:
        edges_s: of the slices, in seconds since the start of *steady*, shape (n + 1,); equal widths.
        offered, confirmed, delivered, settled: per second, by slice, shape (n,).
        latency_edges_s: of the bins of the heatmap, growing by one factor, shape (m + 1,).
        latency: messages due in the slice by end-to-end latency, shape (n, m); what lies beyond the edges is in the last bin.
        late: of those, the ones that never came or came later than the last edge, shape (n,).
        p50_s, p99_s: per slice, NaN where it has fewer than 2 messages, or 100 for the p99; inf where it is censored.
        backlog: mean number of messages by the ledger, shape (n,). backlog_broker: as the broker says; None = it was not asked.
        cpu: source (``broker``, ``load`` …) → cores in use. memory: source → bytes. disk: source → bytes written per second.
        phases, faults: in order of time.
    """

    edges_s: Floats
    offered: Floats
    confirmed: Floats
    delivered: Floats
    settled: Floats
    latency_edges_s: Floats
    latency: npt.NDArray[np.int64]
    late: npt.NDArray[np.int64]
    p50_s: Floats
    p99_s: Floats
    backlog: Floats
    backlog_broker: Track | None
    cpu: Mapping[str, Track]
    memory: Mapping[str, Track]
    disk: Mapping[str, Track]
    phases: tuple[Span, ...]
    faults: tuple[Span, ...]


def series_of(
    moments: Moments, samples: pl.DataFrame, facts: TrialFacts, faults: Sequence[FaultResult]
) -> Series | None:
    """Returns a trial moment by moment; None where its load never began."""
    raise NotImplementedError
