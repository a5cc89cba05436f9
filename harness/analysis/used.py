"""What was used between two moments, from the samples of totals that only grow.

A sample is taken every half second, so the total at a moment between two of them is read from the straight line through both; beyond
the first or the last sample it is that sample's.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from harness.analysis.identities import NEVER
from harness.analysis.moments import Moments
from harness.clock import NS_PER_S
from harness.facts import TrialFacts

OTHERS_SHARE = 0.10
"""Other programs that use more of the machine's cores than this while under load are told."""

OTHERS = "other programs used "
"""How the warning begins."""

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


def others_cores(samples: pl.DataFrame, facts: TrialFacts) -> float | None:
    """Returns how many cores programs other than broker and load used while under load, on average; None where it cannot be told.

    What a hypervisor gave to others (steal) is none of it. The harness beside the load is, and Docker's proxies: the first needs little, the second may not.
    """
    if facts.load_start_ns is None or facts.load_end_ns is None or facts.load_end_ns <= facts.load_start_ns:
        return None
    span = (facts.load_start_ns, facts.load_end_ns)
    busy_s, broker_s, load_s = (
        used(samples, source, metric, span)
        for source, metric in (("machine", "cpu_busy_s"), ("broker", "cpu_s"), ("load", "cpu_s"))
    )
    if busy_s is None or broker_s is None or load_s is None:
        return None
    stolen_s = used(samples, "machine", "cpu_steal_s", span) or 0.0
    return max(0.0, busy_s - stolen_s - broker_s - load_s) * NS_PER_S / (span[1] - span[0])


def others_words(samples: pl.DataFrame, facts: TrialFacts) -> Iterator[str]:
    """Yields how much of the machine other programs used, where that was more than a tenth of it."""
    cores = others_cores(samples, facts)
    if cores is not None and facts.cores and cores > OTHERS_SHARE * facts.cores:
        yield f"{OTHERS}{cores:.1f} of {facts.cores} cores while under load: latencies hold their part"
