"""Bounds against the tables of gate.md."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from harness.analysis.bounds import (
    clean_deployments_upper,
    clopper_pearson_lower,
    clopper_pearson_upper,
    discordant_tail,
    poisson_lower,
    poisson_upper,
)


@pytest.mark.parametrize(
    ("seen", "lower", "upper"),
    [(0, 0.0, 2.995732), (1, 0.051293, 4.743865), (5, 1.970150, 10.513035), (10, 5.425406, 16.962219)],
)
def test_poisson_bounds_are_those_of_the_gate_page(seen: int, lower: float, upper: float) -> None:
    assert (round(poisson_lower(seen), 6), round(poisson_upper(seen), 6)) == (lower, upper)


@pytest.mark.parametrize(("deployments", "share"), [(1, 0.95), (5, 0.45), (10, 0.26), (59, 0.05)])
def test_lossless_deployments_bound_the_share_of_lossy_ones_as_the_gate_page_says(
    deployments: int, share: float
) -> None:
    assert round(clean_deployments_upper(deployments), 2) == share


def test_without_a_deployment_nothing_is_known() -> None:
    assert clean_deployments_upper(0) == 1.0


@pytest.mark.parametrize("trials", [1, 5, 10, 59])
def test_clopper_pearson_of_no_lossy_trial_is_the_deployment_bound(trials: int) -> None:
    # P(no lossy one among C) = (1 - p)**C = 0.05 has the solution p = 1 - 0.05**(1/C).
    assert clopper_pearson_upper(0, trials) == pytest.approx(clean_deployments_upper(trials), abs=1e-12)
    assert clopper_pearson_lower(0, trials) == 0.0


def test_clopper_pearson_inverts_the_binomial_tails() -> None:
    # 1 of 2 lossy: P(X <= 1 | p) = 1 - p**2 = 0.05 gives p = sqrt(0.95); P(X >= 1 | p) = 1 - (1 - p)**2 = 0.05 gives 1 - sqrt(0.95).
    assert clopper_pearson_upper(1, 2) == pytest.approx(0.95**0.5)
    assert clopper_pearson_lower(1, 2) == pytest.approx(1 - 0.95**0.5)


def test_when_every_trial_was_lossy_the_upper_bound_is_certainty() -> None:
    assert clopper_pearson_upper(3, 3) == 1.0
    assert clopper_pearson_lower(3, 3) == pytest.approx(0.05 ** (1 / 3))


@pytest.mark.parametrize(
    ("worse", "better", "tail"),
    [
        (5, 0, Fraction(1, 32)),
        (6, 0, Fraction(1, 64)),
        (7, 1, Fraction(9, 256)),
        (0, 0, Fraction(1)),
        (0, 3, Fraction(1)),
    ],
)
def test_pairs_in_which_one_side_only_lost_are_tossed_coins(worse: int, better: int, tail: Fraction) -> None:
    assert discordant_tail(worse, better) == tail


def test_five_discordant_pairs_are_needed_at_the_level_and_six_at_a_third_of_it() -> None:
    level = Fraction(1, 20)
    assert discordant_tail(5, 0) <= level < discordant_tail(4, 0)
    assert discordant_tail(6, 0) <= level / 3 < discordant_tail(5, 0)


def test_with_losses_in_batches_of_twenty_the_bound_on_messages_is_wrong_in_a_third_of_all_trials() -> None:
    """Why it is printed with the words "if losses were independent", and gates nothing."""
    batches = 10.0  # expected, of 20 messages each
    wrong = sum(
        math.exp(-batches) * batches**k / math.factorial(k) for k in range(20) if poisson_upper(20 * k) < 20 * batches
    )
    assert round(wrong, 2) == 0.33
