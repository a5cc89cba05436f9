"""Intervals of ratios of trials that were not run as pairs, against published critical values, all orders tried out, and scipy."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.analysis.rank_sum import attained, crit, independent_ratio, null_counts
from harness.analysis.signed_rank import ALPHA
from harness.record import AtLeast


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 4), (3, 2), (4, 4), (5, 3)])
def test_null_counts_are_those_of_all_orders_tried_out(m: int, n: int) -> None:
    every = [sum(ranks) - m * (m + 1) // 2 for ranks in combinations(range(1, m + n + 1), m)]
    assert list(null_counts(m, n)) == [every.count(k) for k in range(m * n + 1)]


@pytest.mark.parametrize(
    ("m", "n", "largest"),
    # One-sided 0.05 in the usual tables of Mann and Whitney's U: reject up to and with this U.
    [(3, 3, 0), (3, 4, 0), (4, 4, 1), (4, 5, 2), (5, 5, 4), (5, 10, 11), (8, 8, 15), (10, 10, 27), (20, 20, 138)],
)
def test_critical_values_are_those_of_the_published_tables(m: int, n: int, largest: int) -> None:
    assert crit(m, n, ALPHA) == largest + 1
    assert attained(m, n, largest + 1) <= ALPHA < attained(m, n, largest + 2)


def test_three_trials_of_each_side_just_give_an_interval() -> None:
    told = independent_ratio([10, 11, 12], [20, 22, 24])
    assert (told.n, told.c, told.level, told.confidence) == (3, 1, Fraction(1, 20), 0.9)
    assert (told.estimate, told.lower, told.upper) == pytest.approx((2.0, 20 / 12, 2.4))


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 9), (2, 4), (2, 2), (3, 2)])
def test_fewer_trials_give_an_estimate_and_no_interval(m: int, n: int) -> None:
    told = independent_ratio([2.0] * m, [3.0] * n)
    assert told.estimate == pytest.approx(1.5)
    assert (told.n, told.bounded, told.lower, told.upper, told.level) == (min(m, n), False, 0.0, math.inf, 0)


def test_what_is_only_at_least_bounds_the_ratio_from_the_side_that_is_sure_and_from_no_other() -> None:
    slow = [AtLeast(at_least=value) for value in (9.1, 9.2, 9.3)]
    told = independent_ratio([7.0, 8.0, 9.0], slow)
    assert (told.relation, told.estimate, told.lower, told.upper) == (
        "≥", pytest.approx(9.2 / 8), pytest.approx(9.1 / 9), math.inf,
    )  # fmt: skip
    mirrored = independent_ratio(slow, [7.0, 8.0, 9.0])
    assert (mirrored.relation, mirrored.estimate, mirrored.lower, mirrored.upper) == (
        "≤", pytest.approx(8 / 9.2), 0.0, pytest.approx(9 / 9.1),
    )  # fmt: skip
    unknown = independent_ratio(slow, slow)
    assert (unknown.estimate, unknown.lower, unknown.upper) == (None, 0.0, math.inf)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_what_was_not_waited_for_is_never_claimed(data: st.DataObject) -> None:
    """Cut at any moment, the bounds hold those that all of the truth would have given, and the estimate keeps its word."""
    a, b = (data.draw(st.lists(st.floats(1, 100), min_size=3, max_size=6)) for _ in "ab")
    cut = data.draw(st.floats(0.5, 100))
    seen = [[AtLeast(at_least=cut) if x > cut else x for x in side] for side in (a, b)]
    whole, told = independent_ratio(a, b), independent_ratio(*seen)
    assert told.lower <= whole.lower * (1 + 1e-9)
    assert told.upper >= whole.upper * (1 - 1e-9)
    if told.estimate is not None and whole.estimate is not None:
        side = {"=": 0, "≥": 1, "≤": -1}[told.relation]
        assert side or told.estimate == pytest.approx(whole.estimate)
        assert side * (whole.estimate - told.estimate) >= -1e-9 * whole.estimate


def test_resolution_and_zeros_are_treated_as_in_pairs() -> None:
    blurred = independent_ratio([10] * 3, [12] * 3, resolution=1.0)
    e = 0.5 * (1 / 10 + 1 / 12)
    assert (blurred.lower, blurred.upper) == pytest.approx((1.2 * math.exp(-e), 1.2 * math.exp(e)))
    assert independent_ratio([0, 0, 0], [0.5, 2, 1], min_abs=1).upper == 2
    with pytest.raises(ValueError, match="0 has no ratio"):
        independent_ratio([0.0], [1.0])
    with pytest.raises(ValueError, match="expected one of each side"):
        independent_ratio([], [1.0])


UNHURRIED = settings(deadline=None, max_examples=60)
FIGURES = st.lists(st.floats(0.01, 100), min_size=3, max_size=9)


@UNHURRIED
@given(FIGURES, FIGURES)
def test_swapping_a_and_b_mirrors_the_interval(a: list[float], b: list[float]) -> None:
    told, mirrored = independent_ratio(a, b), independent_ratio(b, a)
    turned = independent_ratio(b, a, higher_is_better=True)
    assert told.lower == pytest.approx(1 / mirrored.upper)
    assert told.upper == pytest.approx(1 / mirrored.lower)
    assert (told.estimate, told.lower, told.upper) == pytest.approx((turned.estimate, turned.lower, turned.upper))


@UNHURRIED
@given(FIGURES, FIGURES, st.floats(0.01, 100), st.floats(1, 5), st.randoms(use_true_random=False))
def test_unit_and_order_do_not_matter_and_a_factor_of_b_is_a_factor_of_the_interval(  # type: ignore[no-untyped-def]
    a: list[float], b: list[float], unit: float, factor: float, random
) -> None:
    told = independent_ratio(a, b)
    shuffled = random.sample(a, len(a)), random.sample(b, len(b))
    assert independent_ratio(*shuffled) == told
    moved = independent_ratio([unit * x for x in a], [unit * factor * x for x in b])
    expected = factor * (told.estimate or 0), factor * told.lower, factor * told.upper
    assert (moved.estimate, moved.lower, moved.upper) == pytest.approx(expected)


@UNHURRIED
@given(FIGURES, FIGURES, st.floats(0.1, 10))
def test_the_bounds_are_where_scipys_exact_test_turns_over(a: list[float], b: list[float], ratio: float) -> None:
    moved = [ratio * x for x in a]
    if len({*moved, *b}) < len(a) + len(b):
        return  # with ties scipy's is not exact
    told = independent_ratio(a, b)
    if min(abs(told.lower / ratio - 1), abs(told.upper / ratio - 1)) < 1e-9:
        return  # on the edge itself rounding decides
    worse = stats.mannwhitneyu(b, moved, alternative="greater", method="exact").pvalue
    better = stats.mannwhitneyu(b, moved, alternative="less", method="exact").pvalue
    assert (told.lower > ratio) == (worse <= 0.05 + 1e-12)
    assert (told.upper < ratio) == (better <= 0.05 + 1e-12)


@pytest.mark.parametrize(
    ("n", "spread", "most"), [(3, 1, 0.053), (3, 3, 0.075), (5, 1, 0.052), (5, 3, 0.055), (10, 1, 0.05), (10, 3, 0.06)]
)
def test_the_error_is_the_level_where_both_sides_are_alike_and_a_little_more_where_one_is_noisier(
    n: int, spread: float, most: float
) -> None:
    """What the page of statistics says: a reason to run pairs. 20,000 runs: the standard error is 0.0015."""
    random = np.random.default_rng(6)
    a, b = random.standard_normal((20_000, n)), spread * random.standard_normal((20_000, n))
    every = np.sort((b[:, None, :] - a[:, :, None]).reshape(20_000, -1), axis=1)
    wrong = float((every[:, crit(n, n, ALPHA) - 1] > 0).mean())
    assert wrong <= most
    if spread == 1:
        assert wrong == pytest.approx(float(attained(n, n, crit(n, n, ALPHA))), abs=0.006)
