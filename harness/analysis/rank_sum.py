"""How much worse B is than A, from trials that were not run as pairs: Wilcoxon's rank-sum statistic (Mann and Whitney's U), exact.

A run makes all trials of its first case, then all of the next; another run came at another time. Trial 3 of one has nothing to do with
trial 3 of the other, and pairing them by number would only pick one of many pairings. So every trial of B is compared with every one
of A: the estimate is the exponential of the median of all ln(B/A) (Hodges and Lehmann 1963), the bounds are those of the ordered log
ratios at which the exact test turns over. It rests on two things that `ab` does not need: that the noise of both sides has about the
same shape, and that nothing else than A and B changed between them. Pairs in an order decided by a coin are worth more.

Neighbour: :mod:`harness.analysis.signed_rank`, whose :class:`Interval` and treatment of resolution, zeros and censored figures it shares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np

from harness.analysis.signed_rank import ALPHA, Interval, Measured, critical, log_ratios, middle


@cache
def null_counts(m: int, n: int) -> tuple[int, ...]:
    """Returns, for each k from 0 to m·n, in how many of the C(m+n, n) orders U = k: the coefficients of a Gaussian binomial."""
    counts = [1] + [0] * (m * n)
    for i in range(1, m + 1):  # the product of (1 − x^(n+i)) / (1 − x^i)
        for k in range(m * n, n + i - 1, -1):
            counts[k] -= counts[k - n - i]
        for k in range(i, m * n + 1):
            counts[k] += counts[k - i]
    return tuple(counts)


def crit(m: int, n: int, level: Fraction) -> int:
    """Returns c = 1 + max{k: P(U ≤ k) ≤ level}, 0 where m and n trials cannot reach that level at all (3 and 3 just do, at 1/20)."""
    return critical(null_counts(m, n), level)


def attained(m: int, n: int, c: int) -> Fraction:
    """Returns P(U ≤ c − 1): with what probability a bound that is the c-th log ratio is wrong; 0 for c = 0."""
    return Fraction(sum(null_counts(m, n)[:c]), math.comb(m + n, n))


def independent_ratio(
    a: Sequence[Measured],
    b: Sequence[Measured],
    *,
    higher_is_better: bool = False,
    resolution: float = 0.0,
    min_abs: float = 0.0,
) -> Interval:
    """Returns how many times worse B is than A, with bounds at ``ALPHA``, from trials without partners.

    Args:
        a, b: a figure of each trial; the sides may have different numbers of trials.
        higher_is_better, resolution, min_abs: as :func:`harness.analysis.signed_rank.paired_ratio`.

    Raises:
        ValueError: a side without a trial, a negative figure, or a 0 without ``min_abs``.
    """
    if not a or not b:
        raise ValueError(f"{len(a)} and {len(b)} figures; expected one of each side at least")
    every = list(product(a, b))
    found = log_ratios(
        [one for one, _ in every],
        [other for _, other in every],
        higher_is_better=higher_is_better,
        resolution=resolution,
        min_abs=min_abs,
    )
    c = crit(len(a), len(b), ALPHA)
    low, high = np.sort(found.least - found.blur), np.sort(found.most + found.blur)
    with np.errstate(over="ignore"):
        return Interval(
            estimate=middle(np.sort(found.least), np.sort(found.most)),
            lower=float(np.exp(low[c - 1])) if c else 0.0,
            upper=float(np.exp(high[len(high) - c])) if c else math.inf,
            n=min(len(a), len(b)),
            c=c,
            level=attained(len(a), len(b), c),
        )
