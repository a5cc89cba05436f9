"""Exact percentiles by nearest rank, with the rules of ``measurement.md`` for thin tails and censored values.

- Nearest rank: of n values the p-th percentile is the ⌈p·n⌉-th smallest; never interpolated, never averaged.
- "At least 100 messages beyond it in the window (p99 needs 10,000; p99.9 100,000)"; otherwise ``n too small``.
- A censored value stands in the distribution as its lower bound; "a percentile at or above the smallest censored value
  prints ≥" (:class:`harness.record.AtLeast`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.analysis.identities import NEVER
from harness.clock import NS_PER_S
from harness.record import AtLeast, Figure, Unknown

Ints = npt.NDArray[np.int64]

BEYOND = 100
TAILS = {"p90": 900, "p99": 990, "p99_9": 999}
TOO_SMALL = Unknown(unknown="n too small")
NO_MESSAGES = Unknown(unknown="no messages")


@dataclass(frozen=True, kw_only=True, slots=True)
class Distribution:
    """Durations in ns, shape (n,), in any order, censored ones at their lower bound; reordered by the functions here.

    Args:
        values_ns: the durations. smallest_censored_ns: ``NEVER`` where none is censored.
    """

    values_ns: Ints
    smallest_censored_ns: int = NEVER

    def figure(self, value_ns: int) -> Figure:
        """Returns a value of this distribution in seconds, as "at least" where censoring reaches it."""
        value_s = value_ns / NS_PER_S
        return AtLeast(at_least=value_s) if value_ns >= self.smallest_censored_ns else value_s


def from_spans(start_ns: Ints, end_ns: Ints, until_ns: int) -> Distribution:
    """Returns ``end − start`` per message; where the end is ``NEVER``, "at least" ``until − start`` (not below 0)."""
    open_end = end_ns == NEVER
    if not open_end.any():
        return Distribution(values_ns=end_ns - start_ns)
    values = np.where(open_end, np.maximum(until_ns, start_ns), end_ns) - start_ns
    return Distribution(values_ns=values, smallest_censored_ns=int(values[open_end].min()))


def rank(count: int, permille: int) -> int:
    """Returns the nearest rank, from 1, in whole numbers: ⌈count · permille / 1000⌉."""
    return max(1, -(-count * permille // 1000))


def nearest_rank_ns(spread: Distribution, permille: int) -> int | None:
    """Returns the percentile whatever the count (for bounds and slices, not for printing); None without values."""
    values = spread.values_ns
    if not len(values):
        return None
    index = rank(len(values), permille) - 1
    return int(np.partition(values, index)[index])


def figures(spread: Distribution) -> dict[str, Figure]:
    """Returns p50, p90, p99, p99_9 and max in seconds; the tail rule holds for p90 and above."""
    count = len(spread.values_ns)
    if not count:
        return dict.fromkeys(("p50", *TAILS, "max"), NO_MESSAGES)
    result: dict[str, Figure] = {}
    values, first = spread.values_ns, 0
    for name, permille in {"p50": 500, **TAILS}.items():
        place = rank(count, permille)
        if name in TAILS and count - place < BEYOND:
            result[name] = TOO_SMALL
            continue
        values[first:].partition(place - 1 - first)  # in place: each tail searches only what lies above the last
        first = place - 1
        result[name] = spread.figure(int(values[first]))
    return {**result, "max": spread.figure(int(values[first:].max()))}
