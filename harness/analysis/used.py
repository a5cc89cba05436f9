"""What was used between two moments, from the samples of totals that only grow.

A sample is taken every half second, so the total at a moment between two of them is read from the straight line through both; beyond
the first or the last sample it is that sample's.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from harness.analysis.identities import NEVER
from harness.analysis.moments import Moments
from harness.facts import TrialFacts

Span = tuple[int, int]
"""From and until, in ns of CLOCK_MONOTONIC."""


def work_span(moments: Moments, facts: TrialFacts) -> Span | None:
    """Returns from the load's start until the last message was settled or, if that is later, delivered; None where none came.

    What follows is the drain's wait for quiet, in which nobody works: its CPU would be that of the wait, not of the messages.
    """
    settled = moments.settled_ns[moments.settled_ns != NEVER]
    last = max(int(settled.max(initial=0)), int(moments.delivery_events_ns.max(initial=0)))
    if facts.load_start_ns is None or last <= facts.load_start_ns:
        return None
    return facts.load_start_ns, last


def used(samples: pl.DataFrame, source: str, metric: str, span: Span | None) -> float | None:
    """Returns how much a total grew in the span; None where it was not sampled twice, or not in the span."""
    if span is None:
        return None
    rows = samples.filter((pl.col("source") == source) & (pl.col("metric") == metric)).sort("t_ns")
    t_ns, totals = rows["t_ns"].to_numpy(), rows["value"].to_numpy()
    if len(t_ns) < 2 or t_ns[-1] <= span[0] or span[1] <= t_ns[0]:
        return None
    since_ns = t_ns - t_ns[0]  # a float holds no ns of a clock that has run for months
    start, end = np.interp(np.array(span) - t_ns[0], since_ns, totals)
    return float(end - start)
