"""How much worse B is than A, from trials that were not run as pairs: Wilcoxon's rank-sum statistic (Mann and Whitney's U), exact.

A run makes all trials of its first case, then all of the next; another run came at another time. Trial 3 of one has nothing to do with
trial 3 of the other, and pairing them by number would only pick one of many pairings. So every trial of B is compared with every one
of A: the estimate is the exponential of the median of all ln(B/A) (Hodges and Lehmann 1963), the bounds are those of the ordered log
ratios at which the exact test turns over. It rests on two things that `ab` does not need: that the noise of both sides has about the
same shape, and that nothing else than A and B changed between them. Pairs in an order decided by a coin are worth more.

A figure that is only "at least" gives a ratio that is only "at least", or "at most": each bound is computed from what is sure, and where
such figures reach a bound there is none. (Of pairs a verdict is wanted, so there "at least" is beyond every tolerance.)

Neighbour: :mod:`harness.analysis.signed_rank`, whose :class:`Interval` and treatment of resolution and zeros it shares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import accumulate, product
from operator import sub
from typing import Literal

import numpy as np

from harness.analysis.signed_rank import ALPHA, Interval, Measured, critical, log_ratios
from harness.record import AtLeast

Relation = Literal["=", "≥", "≤"]
LARGEST = 700.0
"""Of a log ratio that is told as a number; beyond it there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio(Interval):
    """A ratio with its one-sided bounds, 0 and ∞ where there is none; ``relation``: of ``estimate``, where figures are only "at least"."""

    relation: Relation = "="


@cache
def null_counts(m: int, n: int) -> tuple[int, ...]:
    """Returns, for each k from 0 to m·n, in how many of the C(m+n, n) orders U = k: the coefficients of a Gaussian binomial."""
    counts = [1] + [0] * (m * n // 2)  # the other half mirrors it
    for i in range(1, m + 1):  # the product of (1 − x^(n+i)) / (1 − x^i)
        counts[n + i :] = map(sub, counts[n + i :], counts[: -n - i])
        for first in range(min(i, len(counts))):
            counts[first::i] = accumulate(counts[first::i])
    return (*counts, *reversed(counts[: m * n + 1 - len(counts)]))


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
) -> Ratio:
    """Returns how many times worse B is than A, with bounds at ``ALPHA``, from trials without partners.

    Args:
        a, b: a figure of each trial; the sides may have different numbers of trials.
            A figure that is only "at least" may be anything from there on.
        higher_is_better, resolution, min_abs: as :func:`harness.analysis.signed_rank.paired_ratio`.

    Raises:
        ValueError: a side without a trial, a negative figure, or a 0 without ``min_abs``.
    """
    if not a or not b:
        raise ValueError(f"{len(a)} and {len(b)} figures; expected one of each side at least")
    if higher_is_better:
        a, b = b, a
    every = list(product(a, b))
    found = log_ratios(
        [_seen(one) for one, _ in every], [_seen(other) for _, other in every], resolution=resolution, min_abs=min_abs
    )
    open_a, open_b = (np.array([isinstance(pair[side], AtLeast) for pair in every]) for side in (0, 1))
    least, most = np.where(open_a, -math.inf, found.least), np.where(open_b, math.inf, found.most)
    estimate, relation = _estimate(float(np.median(least)), float(np.median(most)))
    c = crit(len(a), len(b), ALPHA)
    low, high = np.sort(least - found.blur), np.sort(most + found.blur)
    return Ratio(
        estimate=estimate,
        relation=relation,
        lower=_exp(min(low[c - 1], LARGEST)) if c else 0.0,
        upper=_exp(high[len(high) - c]) if c else math.inf,
        n=min(len(a), len(b)),
        c=c,
        level=attained(len(a), len(b), c),
    )


def _seen(figure: Measured) -> float:
    return figure.at_least if isinstance(figure, AtLeast) else figure


def _estimate(least: float, most: float) -> tuple[float | None, Relation]:
    """Returns the ratio whose logarithm lies between two, as far as it is known."""
    if least == most:
        return _exp(least), "="
    if math.isfinite(least):
        return _exp(least), "≥"
    return (_exp(most), "≤") if math.isfinite(most) else (None, "=")


def _exp(log: float) -> float:
    return math.exp(log) if log <= LARGEST else math.inf
