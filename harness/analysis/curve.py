"""The whole distribution of a latency, as points that a chart can join: every percentile that stands on enough data, and none beyond. Pure.

Neighbours: ``percentiles`` says which are printed, ``reports.charts.percentiles`` draws them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.analysis.moments import Moments
from harness.facts import TrialFacts
from harness.record import FaultResult

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Points:
    """Exact percentiles (nearest rank) of one window, both of shape (n,), ascending.

    Args:
        share: of messages that are not later, below 1: 0.5, … 0.99, … as far as 100 messages lie beyond.
        latency_s: at that share. censored_from: index of the first that is only "at least"; n = none is.
        count: messages in the window.
    """

    share: Floats
    latency_s: Floats
    censored_from: int
    count: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curve:
    """End-to-end latencies of a trial by window (``steady``, ``whole``), as far as the window has messages."""

    windows: Mapping[str, Points]


def curve_of(moments: Moments, facts: TrialFacts, faults: Sequence[FaultResult]) -> Curve:
    """Returns the percentile curves of a trial."""
    raise NotImplementedError
