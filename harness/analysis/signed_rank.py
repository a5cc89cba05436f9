"""How much worse B is than A, from paired trials: Wilcoxon's signed-rank statistic, exact (``gate.md``, Relative rules and Looks).

The unit is the **trial**: a fresh deployment on a fresh volume. Messages of one trial share its luck. A *pair* is one trial of A
and one of B run one after the other, in an order that a coin decided; d = ln(B/A) of a pair where lower is better, ln(A/B) where
higher is, so that d > 0 says "B is worse". The estimate is the exponential of the *pseudo-median* of the d (Hodges and Lehmann 1963:
the median of all averages of two of them, each with itself too, the *Walsh averages*); the bounds are the Walsh averages at which the
exact test turns over, one-sided each. No bootstrap: with 6–16 pairs its one-sided error is 7–10 % instead of 5 %.

Trials that were **not** run as pairs have no partner, whatever their numbers say: :mod:`harness.analysis.rank_sum` is for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from functools import cache
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.record import AtLeast

Measured = float | AtLeast
"""A trial's figure: a number, or a censored one (a recovery that was not over at the end: that or more)."""

Floats = npt.NDArray[np.float64]

ALPHA = Fraction(1, 20)
"""Probability with which a one-sided bound may be wrong."""


@cache
def null_counts(n: int) -> tuple[int, ...]:
    """Returns, for each k from 0 to n(n+1)/2, how many of the 2ⁿ sets of ranks 1..n have the sum k: W⁺ if B is as good as A."""
    counts = [1]
    for rank in range(1, n + 1):  # each rank is in the sum or not: a convolution with 1 + x^rank
        with_it = [0] * rank + counts
        counts = [a + b for a, b in zip(counts + [0] * rank, with_it, strict=True)]
    return tuple(counts)


def crit(n: int, level: Fraction) -> int:
    """Returns c = 1 + max{k: P(W⁺ ≤ k) ≤ level}, 0 where n pairs cannot reach that level at all.

    The c-th smallest Walsh average is the lower bound and the c-th largest the upper one, each wrong with at most ``level``.
    """
    return critical(null_counts(n), level)


def attained(n: int, c: int) -> Fraction:
    """Returns P(W⁺ ≤ c − 1): with what probability a bound that is the c-th Walsh average of n pairs is wrong; 0 for c = 0."""
    return Fraction(sum(null_counts(n)[:c]), 2**n)


def critical(counts: Sequence[int], level: Fraction) -> int:
    """Returns 1 + the largest k with P(statistic ≤ k) ≤ ``level``, or 0; ``counts``: equally likely cases for each k from 0 on."""
    total, below, c = sum(counts), 0, 0
    for count in counts:
        below += count
        if below * level.denominator > level.numerator * total:
            break
        c += 1
    return c


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One planned look at the pairs so far.

    Args:
        pairs: how many pairs there are then.
        c: which Walsh average is the bound.
        level: the level really spent by this look.
    """

    pairs: int
    c: int
    level: Fraction


def looks(pairs: Sequence[int], budgets: Sequence[Fraction]) -> tuple[Look, ...]:
    """Returns the looks; what an earlier look could not spend (levels are discrete) is carried over to the next.

    Args:
        pairs: how many pairs there are at each look, growing.
        budgets: the level that may be spent up to and with each look, growing; the last is the level of the whole.
    """
    spent = Fraction(0)
    planned = []
    for n, budget in zip(pairs, budgets, strict=True):
        c = crit(n, budget - spent)
        planned.append(Look(pairs=n, c=c, level=attained(n, c)))
        spent += attained(n, c)
    return tuple(planned)


FULL_LOOKS = looks((6, 10, 16), (ALPHA / 3, ALPHA * 2 / 3, ALPHA))
"""c = 1, 7, 29: together 1593/32768."""

QUICK_LOOKS = looks((5, 10), (ALPHA, ALPHA))
"""c = 1, 8: the first spends what 5 pairs can, 1/32, the second the rest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Differences:
    """Log ratios of single comparisons, as arrays of one shape; > 0 says that B is worse.

    Args:
        least, most: the log ratio; they differ (−∞, +∞) only where nothing is known of it, because both values were censored.
        blur: by how much the instrument's resolution may have moved it.
    """

    least: Floats
    most: Floats
    blur: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A ratio with its one-sided bounds.

    Args:
        estimate: the ratio; > 1 says that B is worse. ∞ or 0: it is beyond what was seen (censored); None: it cannot be told.
        lower, upper: the bounds, 0 and ∞ where n is too small for any (``bounded``).
        n: how many trials each side has; of unequal sides the smaller.
        c: which of the ordered averages or differences the bounds are.
        level: the probability, really attained, with which one bound is wrong; 0 where there is none.
    """

    estimate: float | None
    lower: float
    upper: float
    n: int
    c: int
    level: Fraction

    @property
    def bounded(self) -> bool:
        """Whether there are trials enough for bounds; else the interval says nothing."""
        return self.c > 0

    @property
    def confidence(self) -> float:
        """The coverage of both bounds together, 1 − 2 · level: 0.9 or a little more; 0 where there are none."""
        return float(1 - 2 * self.level) if self.bounded else 0.0


def paired_ratio(
    a: Sequence[Measured],
    b: Sequence[Measured],
    *,
    c: int | None = None,
    higher_is_better: bool = False,
    resolution: float = 0.0,
    min_abs: float = 0.0,
) -> Interval:
    """Returns how many times worse B is than A, with bounds, from pairs of trials.

    Args:
        a, b: the figures of each pair, at the same index; not negative.
        c: of a planned :class:`Look`; without it the one look that there is, at ``ALPHA``.
        higher_is_better: the ratio is A/B then, so that > 1 says "B is worse" of a throughput too.
        resolution: of the instrument, in the unit of the figures; 0 for exact counts. Without it ties give 14–25 % false PASS.
        min_abs: below this the figures do not differ: both are raised to it first. Needed for figures that can be 0.

    Raises:
        ValueError: no pair, sides of different length, a negative figure, or a 0 without ``min_abs``.
    """
    if len(a) != len(b) or not a:
        raise ValueError(f"{len(a)} and {len(b)} figures; expected pairs, one at least")
    c = crit(len(a), ALPHA) if c is None else c
    found = log_ratios(a, b, higher_is_better=higher_is_better, resolution=resolution, min_abs=min_abs)
    lower, upper = bounds(found, c)
    return Interval(
        estimate=middle(walsh(found.least, -math.inf), walsh(found.most, math.inf)),
        lower=float(lower),
        upper=float(upper),
        n=len(a),
        c=c,
        level=attained(len(a), c),
    )


def log_ratios(
    a: Sequence[Measured],
    b: Sequence[Measured],
    *,
    higher_is_better: bool = False,
    resolution: float = 0.0,
    min_abs: float = 0.0,
) -> Differences:
    """Returns ln(B/A), or ln(A/B) where higher is better, of figures at the same index; as :func:`paired_ratio`."""
    (value_a, open_a), (value_b, open_b) = _read(a, min_abs), _read(b, min_abs)
    with np.errstate(over="ignore"):  # of a figure that is next to 0 nothing is known
        blur = resolution / 2 / value_a + resolution / 2 / value_b
    d = np.log(value_b) - np.log(value_a)
    least = np.where(open_a, -math.inf, np.where(open_b, math.inf, d))  # of both censored nothing is known:
    most = np.where(open_b, math.inf, np.where(open_a, -math.inf, d))  # −∞ for the lower bound, +∞ for the upper
    if higher_is_better:
        least, most = -most, -least
    return Differences(least=least, most=most, blur=blur)


def _read(figures: Sequence[Measured], min_abs: float) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Returns values, raised to ``min_abs``, and which of them are censored."""
    opened = np.array([isinstance(figure, AtLeast) for figure in figures])
    values = np.array([figure.at_least if isinstance(figure, AtLeast) else figure for figure in figures], float)
    wrong = values[~(values >= 0) | ~np.isfinite(values)]
    if wrong.size:
        raise ValueError(f"{wrong[0]} is no figure with a ratio; expected a finite number that is not negative")
    values = np.maximum(values, min_abs)
    if not values.all():
        raise ValueError("0 has no ratio; expected min_abs, below which figures do not differ")
    return values, opened


def walsh(d: Floats, opposite: float) -> Floats:
    """Returns the averages of all pairs of the last axis, each with itself too, sorted along it.

    Args:
        d: log ratios, (…, n). opposite: what stands for the average of +∞ and −∞, which has none: −∞ for a lower bound.
    """
    i, j = np.triu_indices(d.shape[-1])
    with np.errstate(invalid="ignore"):  # +∞ − ∞
        averages = (d[..., i] + d[..., j]) / 2
    return np.sort(np.where(np.isnan(averages), opposite, averages), axis=-1)


def bounds(found: Differences, c: int) -> tuple[Any, Any]:
    """Returns the lower and upper bound of the ratio, of each row of pairs (…, n); 0 and ∞ for c = 0."""
    if c == 0:
        none = np.zeros(found.least.shape[:-1])
        return none, none + math.inf
    low, high = walsh(found.least - found.blur, -math.inf), walsh(found.most + found.blur, math.inf)
    with np.errstate(over="ignore"):  # more than the largest float is ∞
        return np.exp(low[..., c - 1]), np.exp(high[..., high.shape[-1] - c])


def middle(low: Floats, high: Floats) -> float | None:
    """Returns the exponential of the median of sorted log ratios; None where unknown ones decide it.

    Args:
        low, high: with what is unknown taken as −∞, and as +∞. Where both have a finite median, the middle of the two is returned.
    """
    at, other = len(low) // 2, (len(low) - 1) // 2
    around = {float(w[i]) for w in (low, high) for i in (at, other)}
    if len(around) > 1 and not all(map(math.isfinite, around)):
        return None
    with np.errstate(over="ignore"):
        return float(np.exp((low[at] + low[other] + high[at] + high[other]) / 4))


class Decision(Enum):
    """What a relative rule says at a look."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


def decide(interval: Interval, tolerance: float) -> Decision:
    """Returns PASS where even the upper bound is within the tolerated ratio, FAIL where even the lower one is not."""
    if interval.upper <= tolerance:
        return Decision.PASS
    return Decision.FAIL if interval.lower > tolerance else Decision.INCONCLUSIVE


def tolerance(max_ratio: float, min_abs: float, reference: Sequence[float]) -> float:
    """Returns the tolerated ratio: ``max_ratio``, but of small figures what ``min_abs`` makes of their median.

    Args:
        max_ratio: e.g. 1.25 for "25 % worse". reference: the figures of A; where higher is better those of B.
    """
    return max(max_ratio, 1 + min_abs / median(reference)) if min_abs else max_ratio
