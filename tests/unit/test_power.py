"""What looks can see: the tables of gate.md come out of the code, simulated with a seed; and what is refused, warned of and needed."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from harness.analysis.signed_rank import FULL_LOOKS, QUICK_LOOKS, Look
from harness.gate import power
from harness.gate.power import Sight

ERROR = 4 * math.sqrt(0.25 / power.RUNS)
"""Four standard errors of a simulated share, at most."""


@pytest.mark.parametrize(
    ("delta", "right", "pairs"),
    [(0, 0.037, 15.6), (0.5, 0.449, 14.1), (0.75, 0.772, 12.4), (1, 0.947, 10.3), (1.25, 0.994, 8.7), (1.5, 1, 7.6), (2, 1, 6.5)],
)  # fmt: skip
def test_three_looks_take_the_right_decision_as_often_and_as_soon_as_the_gate_page_says(
    delta: float, right: float, pairs: float
) -> None:
    below, above = power.chances(FULL_LOOKS, delta), power.chances(FULL_LOOKS, -delta)
    assert below.passes == pytest.approx(right, abs=min(ERROR, 0.002 + 2 * (1 - right)))
    assert above.fails == pytest.approx(right, abs=min(ERROR, 0.002 + 2 * (1 - right)))
    assert (below.pairs, above.pairs) == pytest.approx((pairs, pairs), abs=0.15)


@pytest.mark.parametrize(("delta", "right", "pairs"), [(1, 0.771, 7.9), (1.5, 0.978, 6.5), (2, 0.999, 5.5)])
def test_two_quick_looks_too(delta: float, right: float, pairs: float) -> None:
    told = power.chances(QUICK_LOOKS, delta)
    assert told.passes == pytest.approx(right, abs=ERROR)
    assert told.pairs == pytest.approx(pairs, abs=0.15)


@pytest.mark.parametrize(
    ("noise", "margin", "fails_80", "identical_pass"),
    [
        (0.02, 1.05, 1.066, 1.00), (0.02, 1.10, 1.117, 1.00), (0.02, 1.25, 1.270, 1.00),
        (0.05, 1.05, 1.092, 0.94), (0.05, 1.10, 1.144, 1.00), (0.05, 1.25, 1.300, 1.00),
        (0.10, 1.05, 1.135, 0.43), (0.10, 1.10, 1.189, 0.93), (0.10, 1.25, 1.351, 1.00),
        (0.20, 1.05, 1.227, 0.16), (0.20, 1.10, 1.285, 0.42), (0.20, 1.25, 1.460, 0.98),
    ],
)  # fmt: skip
def test_what_is_seen_and_what_passes_at_a_noise_and_a_margin_is_what_the_gate_page_says(
    noise: float, margin: float, fails_80: float, identical_pass: float
) -> None:
    # the power rises by about 1.2 a σ there, so that the simulation's error moves the ratio by ERROR / 1.2 σ
    assert power.detectable(FULL_LOOKS, margin, noise) == pytest.approx(fails_80, abs=0.0006 + ERROR / 1.2 * noise)
    assert power.passes(FULL_LOOKS, margin, noise) == pytest.approx(identical_pass, abs=0.005 + ERROR / 2)


def test_without_noise_the_margin_itself_is_seen_and_identical_code_passes() -> None:
    assert power.detectable(FULL_LOOKS, 1.1, 0.0) == pytest.approx(1.1)
    assert power.passes(FULL_LOOKS, 1.1, 0.0) == 1.0


def test_a_look_without_bounds_sees_nothing_and_passes_nothing() -> None:
    blind = (Look(pairs=4, c=0, level=Fraction(0)),)
    assert power.detectable(blind, 1.1, 0.05) == math.inf
    assert power.chances(blind, 5.0) == power.Chances(passes=0.0, fails=0.0, pairs=4.0)


def test_more_is_seen_with_a_lower_chance_and_with_less_noise() -> None:
    seen = [power.detectable(QUICK_LOOKS, 1.25, noise) for noise in (0.02, 0.05, 0.10)]
    assert seen == sorted(seen)
    assert power.detectable(QUICK_LOOKS, 1.25, 0.05, chance=0.5) < seen[1]


def test_the_simulation_is_seeded() -> None:
    first = power.detectable(FULL_LOOKS, 1.1, 0.05)
    power._log_bounds.cache_clear()
    power._beyond.cache_clear()
    assert power.detectable(FULL_LOOKS, 1.1, 0.05) == first


@pytest.mark.parametrize(
    ("noise", "margin", "sight"),
    [
        (0.07, 1.10, Sight.CLEAR),  # ln 1.10 = 0.0953
        (0.0763, 1.10, Sight.POOR),  # 1.25 × 0.0763 = 0.0954
        (0.105, 1.10, Sight.POOR),
        (0.106, 1.10, Sight.BLIND),  # 0.90 × 0.106 = 0.0954
        (0.0, 1.01, Sight.CLEAR),
    ],
)
def test_a_rule_is_refused_where_identical_code_passes_less_than_90_of_100_and_warned_of_below_99(
    noise: float, margin: float, sight: Sight
) -> None:
    assert power.sight(noise, margin) is sight


def test_at_the_border_of_refusal_identical_code_passes_90_of_100_and_at_that_of_the_warning_99() -> None:
    assert power.chances(FULL_LOOKS, power.REFUSED).passes == pytest.approx(0.90, abs=ERROR)
    assert power.chances(FULL_LOOKS, power.WARNED).passes == pytest.approx(0.994, abs=0.003)


@pytest.mark.parametrize(("noise", "margin", "pairs"), [(0.20, 1.05, 219), (0.106, 1.10, 17), (0.01, 1.25, 5)])
def test_the_pairs_that_are_needed_grow_with_the_square_of_the_noise(noise: float, margin: float, pairs: int) -> None:
    assert power.pairs_needed(noise, margin) == pairs
