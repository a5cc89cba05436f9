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
    """Returns ``end − start`` per message; where the end is ``NEVER``, "at least" ``until − start``.

    A message without an end that starts only at ``until`` or later is left out: nobody looked for it, so that nothing is known of
    how long it took ("at least 0 s" would look like a quick one).
    """
    open_end = end_ns == NEVER
    if not open_end.any():
        return Distribution(values_ns=end_ns - start_ns)
    looked_for = ~open_end | (start_ns < until_ns)
    if not looked_for.all():
        start_ns, end_ns, open_end = start_ns[looked_for], end_ns[looked_for], open_end[looked_for]
    values = np.where(open_end, until_ns, end_ns) - start_ns
    return Distribution(values_ns=values, smallest_censored_ns=int(values[open_end].min(initial=NEVER)))


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


def is_printed(count: int, permille: int) -> bool:
    """Returns whether a tail of that many values stands on enough data to be printed."""
    return count - rank(count, permille) >= BEYOND


def figures(spread: Distribution) -> dict[str, Figure]:
    """Returns p50, p90, p99, p99_9 and max in seconds; the tail rule holds for p90 and above."""
    count = len(spread.values_ns)
    if not count:
        return dict.fromkeys(("p50", *TAILS, "max"), NO_MESSAGES)
    result: dict[str, Figure] = {}
    values, first = spread.values_ns, 0
    for name, permille in {"p50": 500, **TAILS}.items():
        place = rank(count, permille)
        if name in TAILS and not is_printed(count, permille):
            result[name] = TOO_SMALL
            continue
        values[first:].partition(place - 1 - first)  # in place: each tail searches only what lies above the last
        first = place - 1
        result[name] = spread.figure(int(values[first]))
    return {**result, "max": spread.figure(int(values[first:].max()))}
