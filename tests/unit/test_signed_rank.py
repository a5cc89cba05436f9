"""Intervals of paired ratios, to the digit against the tables of gate.md, and what must hold of any pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.analysis.signed_rank import (
    ALPHA,
    FULL_LOOKS,
    QUICK_LOOKS,
    Decision,
    Interval,
    attained,
    crit,
    decide,
    null_counts,
    paired_ratio,
    tolerance,
)
from harness.record import AtLeast

D = [.031, -.012, .054, .087, .009, .120, -.045, .066, .023, .071, .098, -.004, .042, .015, .110, .036]  # fmt: skip
"""The worked example of gate.md."""


def ratios(d: Sequence[float]) -> tuple[list[float], list[float]]:
    """Returns figures of A and of B whose log ratios are ``d``."""
    return [1.0] * len(d), [math.exp(one) for one in d]


@pytest.mark.parametrize(
    ("n", "c", "below", "c_third", "below_third"),
    [
        (5, 1, 1, 0, 0),
        (6, 3, 3, 1, 1),
        (8, 6, 10, 3, 3),
        (10, 11, 43, 7, 14),
        (12, 18, 189, 12, 55),
        (16, 36, 3062, 27, 950),
        (20, 61, 51017, 49, 17180),
    ],
)
def test_critical_values_are_those_of_the_gate_page(n: int, c: int, below: int, c_third: int, below_third: int) -> None:
    assert (crit(n, ALPHA), attained(n, c)) == (c, Fraction(below, 2**n))
    assert (crit(n, ALPHA / 3), attained(n, c_third)) == (c_third, Fraction(below_third, 2**n))


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_null_counts_are_those_of_all_signs_tried_out(n: int) -> None:
    sums = [sum(rank for rank, on in enumerate(signs, 1) if on) for signs in product((0, 1), repeat=n)]
    assert list(null_counts(n)) == [sums.count(k) for k in range(n * (n + 1) // 2 + 1)]


def test_a_level_that_is_just_reached_counts_as_reached() -> None:
    # In floats 1/20 of 20 cases can be 1.0000000000000002 of them.
    assert crit(5, Fraction(1, 32)) == 1
    assert crit(5, Fraction(1, 32) - Fraction(1, 10**30)) == 0


def test_what_a_look_cannot_spend_is_carried_over() -> None:
    assert [(look.pairs, look.c) for look in FULL_LOOKS] == [(6, 1), (10, 7), (16, 29)]
    assert [look.level for look in FULL_LOOKS] == [Fraction(1, 64), Fraction(14, 1024), Fraction(1266, 65536)]
    assert sum(look.level for look in FULL_LOOKS) == Fraction(1593, 32768)
    assert [(look.pairs, look.c) for look in QUICK_LOOKS] == [(5, 1), (10, 8)]
    assert [look.level for look in QUICK_LOOKS] == [Fraction(1, 32), Fraction(19, 1024)]


@pytest.mark.parametrize(
    ("look", "found"),
    list(
        zip(
            FULL_LOOKS,
            [
                (1.049171, 0.988072, 1.127497),
                (1.040811, 0.998501, 1.082204),
                (1.043938, 1.016129, 1.073045),
            ],
            strict=True,
        )
    ),
    ids=lambda value: f"{value.pairs} pairs" if hasattr(value, "pairs") else "",
)
def test_the_worked_example_of_the_gate_page_comes_out_at_each_look(look, found) -> None:  # type: ignore[no-untyped-def]
    told = paired_ratio(*ratios(D[: look.pairs]), c=look.c)
    assert told.estimate is not None
    assert (round(told.estimate, 6), round(told.lower, 6), round(told.upper, 6)) == found
    assert (told.n, told.c, told.level) == (look.pairs, look.c, look.level)


def test_with_all_pairs_positive_the_bounds_are_the_outermost_averages() -> None:
    told = paired_ratio([1, 1, 1, 1, 1], [1.1, 1.2, 1.3, 1.4, 1.5])
    assert (told.c, told.level, told.confidence) == (1, Fraction(1, 32), 0.9375)
    assert (told.lower, told.upper) == pytest.approx((1.1, 1.5))
    assert told.estimate == pytest.approx(1.3, abs=0.01)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_four_pairs_give_an_estimate_and_no_interval(n: int) -> None:
    told = paired_ratio([2.0] * n, [3.0] * n)
    assert told.estimate == pytest.approx(1.5)
    assert (told.bounded, told.lower, told.upper, told.level, told.confidence) == (False, 0.0, math.inf, 0, 0.0)


def test_higher_is_better_turns_the_ratio_so_that_more_than_one_is_worse() -> None:
    lower_better = paired_ratio([100, 110, 90, 105, 95], [80, 88, 72, 84, 76])
    higher_better = paired_ratio([100, 110, 90, 105, 95], [80, 88, 72, 84, 76], higher_is_better=True)
    assert lower_better.estimate == pytest.approx(0.8)
    assert (higher_better.estimate, higher_better.lower) == pytest.approx((1.25, 1.25))


def test_the_resolution_of_the_instrument_widens_both_bounds_and_not_the_estimate() -> None:
    sharp = paired_ratio([10] * 5, [12] * 5)
    blurred = paired_ratio([10] * 5, [12] * 5, resolution=1.0)
    e = 0.5 * (1 / 10 + 1 / 12)
    assert (sharp.lower, sharp.upper) == pytest.approx((1.2, 1.2))
    assert (blurred.lower, blurred.upper) == pytest.approx((1.2 * math.exp(-e), 1.2 * math.exp(e)))
    assert blurred.estimate == sharp.estimate


def test_a_figure_that_can_be_zero_needs_the_size_below_which_figures_do_not_differ() -> None:
    with pytest.raises(ValueError, match="0 has no ratio; expected min_abs"):
        paired_ratio([0, 1, 1, 1, 1], [1, 1, 1, 1, 1])
    told = paired_ratio([0, 0.5, 1, 1, 1], [1, 1, 0.2, 0, 4], min_abs=1)
    assert (told.estimate, told.lower, told.upper) == pytest.approx((1.0, 1.0, 4.0))


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_a_figure_without_a_ratio_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="is no figure with a ratio"):
        paired_ratio([1.0], [wrong])


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [1.0, 2.0])])
def test_what_is_not_in_pairs_is_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="expected pairs"):
        paired_ratio(a, b)


def test_a_censored_b_is_worse_than_anything_and_a_censored_a_better() -> None:
    five, never = [1.0] * 5, [AtLeast(at_least=9.0)] * 5
    assert ends(paired_ratio(five, never)) == (math.inf, math.inf, math.inf)
    assert ends(paired_ratio(never, five)) == (0.0, 0.0, 0.0)
    assert ends(paired_ratio(five, never, higher_is_better=True)) == (0.0, 0.0, 0.0)
    assert ends(paired_ratio(never, five, higher_is_better=True)) == (math.inf, math.inf, math.inf)


def test_of_a_pair_with_both_censored_nothing_is_known() -> None:
    never = AtLeast(at_least=9.0)
    assert ends(paired_ratio([never] * 5, [never] * 5)) == (None, 0.0, math.inf)
    assert ends(paired_ratio([never] * 5, [never] * 5, higher_is_better=True)) == (None, 0.0, math.inf)
    # One such pair among ten, at c = 11: the ten averages with it are unknown, so that the 11th smallest is the smallest known one.
    told = paired_ratio([1.0] * 9 + [never], [1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, never])
    assert (told.c, told.lower, told.upper) == (11, pytest.approx(1.1), pytest.approx(1.9))
    assert told.estimate == pytest.approx(1.5, abs=0.02)


def test_opposite_infinities_are_never_averaged() -> None:
    never = AtLeast(at_least=9.0)
    told = paired_ratio([1.0, never, 1.0, 1.0, 1.0], [never, 1.0, 1.1, 1.2, 1.3])
    assert (told.lower, told.upper) == (0.0, math.inf)
    assert told.estimate == pytest.approx(1.2, abs=0.01)
    # Of ten pairs at c = 11 ten averages are −∞ for the lower bound: one pair by itself and with eight, and the one with its opposite.
    figures = [1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8]
    told = paired_ratio([1.0] * 8 + [never, 1.0], [*figures, 1.0, never])
    assert (told.lower, told.upper) == pytest.approx((1.1, 1.8))


def test_where_what_is_unknown_decides_there_is_no_estimate() -> None:
    never = AtLeast(at_least=9.0)
    assert paired_ratio([1.0, 1.0, never], [1.0, never, never]).estimate is None
    assert paired_ratio([never, 1.0], [1.0, never]).estimate is None


def ends(told: Interval) -> tuple[float | None, float, float]:
    return told.estimate, told.lower, told.upper


@pytest.mark.parametrize(
    ("lower", "upper", "decision"),
    [
        (0.9, 1.10, Decision.PASS),
        (1.01, 1.10, Decision.PASS),  # slower, within tolerance
        (1.10, 1.2, Decision.INCONCLUSIVE),
        (1.1001, 1.2, Decision.FAIL),
        (0.0, math.inf, Decision.INCONCLUSIVE),
    ],
)
def test_a_rule_passes_by_its_upper_bound_and_fails_by_its_lower_one(
    lower: float, upper: float, decision: Decision
) -> None:
    told = Interval(estimate=1.0, lower=lower, upper=upper, n=6, c=1, level=Fraction(1, 64))
    assert decide(told, 1.10) is decision


def test_small_figures_are_tolerated_to_differ_by_an_absolute_size() -> None:
    assert tolerance(1.25, 0.0, []) == 1.25
    assert tolerance(1.25, 0.002, [0.001, 0.004, 0.5]) == 1.5
    assert tolerance(1.25, 0.002, [0.1]) == 1.25


# What must hold of any pairs.

UNHURRIED = settings(deadline=None, max_examples=60)
LOGS = st.lists(st.floats(-3, 3).map(lambda d: round(d, 3)), min_size=5, max_size=24)


def close(one: float | None, other: float | None) -> bool:
    assert one is not None
    assert other is not None
    return math.isclose(one, other, rel_tol=1e-9)


@UNHURRIED
@given(LOGS)
def test_bounds_enclose_the_estimate(d: list[float]) -> None:
    told = paired_ratio(*ratios(d))
    assert told.estimate is not None
    assert told.lower <= told.estimate * (1 + 1e-12)
    assert told.estimate <= told.upper * (1 + 1e-12)
    assert told.level <= ALPHA


@UNHURRIED
@given(LOGS)
def test_swapping_a_and_b_mirrors_the_interval(d: list[float]) -> None:
    a, b = ratios(d)
    told, mirrored = paired_ratio(a, b), paired_ratio(b, a)
    assert close(told.estimate, 1 / (mirrored.estimate or 0))
    assert close(told.lower, 1 / mirrored.upper)
    assert close(told.upper, 1 / mirrored.lower)
    assert close(told.estimate, paired_ratio(b, a, higher_is_better=True).estimate)


@UNHURRIED
@given(LOGS, st.randoms(use_true_random=False))
def test_the_order_of_pairs_does_not_matter(d: list[float], random) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(d)
    random.shuffle(shuffled)
    assert paired_ratio(*ratios(d)) == paired_ratio(*ratios(shuffled))


@UNHURRIED
@given(LOGS, st.floats(0.01, 100))
def test_the_unit_of_the_figures_does_not_matter(d: list[float], unit: float) -> None:
    a, b = ratios(d)
    told, scaled = paired_ratio(a, b), paired_ratio([unit * x for x in a], [unit * x for x in b])
    assert all(close(*pair) for pair in zip(ends(told), ends(scaled), strict=True))


@UNHURRIED
@given(LOGS, st.floats(1, 5))
def test_a_b_that_is_so_many_times_worse_in_each_pair_is_so_in_the_interval(d: list[float], factor: float) -> None:
    a, b = ratios(d)
    told, worse = paired_ratio(a, b), paired_ratio(a, [factor * x for x in b])
    assert all(close(factor * one, other) for one, other in zip(map(float, ends(told)), ends(worse), strict=True))  # type: ignore[arg-type]


@UNHURRIED
@given(LOGS, st.data())
def test_one_pair_that_gets_worse_moves_nothing_the_other_way(d: list[float], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(d) - 1))
    worse = [one + (data.draw(st.floats(0, 2)) if i == at else 0) for i, one in enumerate(d)]
    before, after = paired_ratio(*ratios(d)), paired_ratio(*ratios(worse))
    slack = 1 - 1e-12
    assert all(
        one * slack <= other for one, other in zip(map(float, ends(before)), map(float, ends(after)), strict=True)
    )  # type: ignore[arg-type]


@UNHURRIED
@given(st.lists(st.floats(-3, 3), min_size=5, max_size=16), st.floats(-1, 1))
def test_the_bounds_are_where_scipys_exact_test_turns_over(d: list[float], margin: float) -> None:
    moved = [one - margin for one in d]
    if len({abs(one) for one in moved}) < len(d) or min(abs(one) for one in moved) < 1e-6:
        return  # with ties or zeros scipy's is not exact
    told = paired_ratio(*ratios(d))
    if min(abs(math.log(told.lower) - margin), abs(math.log(told.upper) - margin)) < 1e-9:
        return  # on the edge itself rounding decides
    worse = stats.wilcoxon(moved, alternative="greater", method="exact").pvalue
    better = stats.wilcoxon(moved, alternative="less", method="exact").pvalue
    assert (told.lower > math.exp(margin)) == (worse <= 0.05)
    assert (told.upper < math.exp(margin)) == (better <= 0.05)
