"""The error and the power of looks at pairs, simulated with a seed, against what gate.md says of them.

The code that is simulated is the code that decides: ``bounds`` of whole arrays of runs. Log ratios of all runs are drawn around 0 with
σ = 1; a true ratio at Δ σ from the margin moves both bounds by Δ and changes nothing else, so that one simulation serves every Δ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from harness.analysis.signed_rank import FULL_LOOKS, QUICK_LOOKS, Differences, Floats, Look, bounds

RUNS = 20_000
STANDARD_ERRORS = 4.0


def log_bounds(
    d: Floats, blur: Floats | None = None, planned: Sequence[Look] = FULL_LOOKS
) -> list[tuple[Floats, Floats]]:
    """Returns the logs of lower and upper bounds of each look, (runs,) each."""
    found = []
    for look in planned:
        first = d[:, : look.pairs]
        wide = np.zeros_like(first) if blur is None else blur[:, : look.pairs]
        lower, upper = bounds(Differences(least=first, most=first, blur=wide), look.c)
        found.append((np.log(lower), np.log(upper)))
    return found


def decisions(
    found: Sequence[tuple[Floats, Floats]], margin: float, planned: Sequence[Look]
) -> tuple[float, float, float]:
    """Returns the shares of runs that PASS and that FAIL, the first decision latched, and the mean number of pairs."""
    runs = len(found[0][0])
    open_, passed, failed = np.ones(runs, bool), np.zeros(runs, bool), np.zeros(runs, bool)
    pairs = np.full(runs, float(planned[-1].pairs))
    for (lower, upper), look in zip(found, planned, strict=True):
        passed |= open_ & (upper <= margin)
        failed |= open_ & (lower > margin)
        now = open_ & (passed | failed)
        pairs[now] = look.pairs
        open_ &= ~now
    return float(passed.mean()), float(failed.mean()), float(pairs.mean())


@cache
def normal(planned: tuple[Look, ...]) -> list[tuple[Floats, Floats]]:
    return log_bounds(np.random.default_rng(6).standard_normal((RUNS, planned[-1].pairs)), planned=planned)


def within(share: float, expected: float, digits: int) -> bool:
    """Whether a simulated share is what the page says, within the error of the simulation and the page's rounding."""
    error = math.sqrt(max(expected * (1 - expected), 1e-4) / RUNS)
    return abs(share - expected) <= STANDARD_ERRORS * error + 0.5 * 10**-digits


@pytest.mark.parametrize(
    ("delta", "right", "pairs"),
    [(0, 0.037, 15.6), (0.5, 0.449, 14.1), (0.75, 0.772, 12.4), (1, 0.947, 10.3), (1.25, 0.994, 8.7), (1.5, 1, 7.6), (2, 1, 6.5)],
)  # fmt: skip
def test_three_looks_have_the_power_and_need_the_pairs_of_the_gate_page(
    delta: float, right: float, pairs: float
) -> None:
    passed, failed, mean = decisions(normal(FULL_LOOKS), delta, FULL_LOOKS)
    assert within(passed, right, 3)
    assert abs(mean - pairs) <= 0.05 + STANDARD_ERRORS * 4 / math.sqrt(RUNS)
    _, failed, mean = decisions(normal(FULL_LOOKS), -delta, FULL_LOOKS)
    assert within(failed, right, 3)
    assert abs(mean - pairs) <= 0.05 + STANDARD_ERRORS * 4 / math.sqrt(RUNS)


@pytest.mark.parametrize(("delta", "right", "pairs"), [(1, 0.771, 7.9), (1.5, 0.978, 6.5), (2, 0.999, 5.5)])
def test_two_quick_looks_have_the_power_and_need_the_pairs_of_the_gate_page(
    delta: float, right: float, pairs: float
) -> None:
    passed, _, mean = decisions(normal(QUICK_LOOKS), delta, QUICK_LOOKS)
    assert within(passed, right, 3)
    assert abs(mean - pairs) <= 0.05 + STANDARD_ERRORS * 2.5 / math.sqrt(RUNS)


@pytest.mark.parametrize(
    ("noise", "margin", "fails_80", "identical_pass"),
    [
        (0.02, 1.05, 1.066, 1.00), (0.02, 1.10, 1.117, 1.00), (0.02, 1.25, 1.270, 1.00),
        (0.05, 1.05, 1.092, 0.94), (0.05, 1.10, 1.144, 1.00), (0.05, 1.25, 1.300, 1.00),
        (0.10, 1.05, 1.135, 0.43), (0.10, 1.10, 1.189, 0.93), (0.10, 1.25, 1.351, 1.00),
        (0.20, 1.05, 1.227, 0.16), (0.20, 1.10, 1.285, 0.42), (0.20, 1.25, 1.460, 0.98),
    ],
)  # fmt: skip
def test_what_can_be_seen_at_a_noise_and_a_margin_is_what_the_gate_page_says(
    noise: float, margin: float, fails_80: float, identical_pass: float
) -> None:
    found = normal(FULL_LOOKS)
    rounding = 0.0005 / fails_80 / noise  # of the page's ratio, in σ; the power rises by about 1.3 a σ there
    _, failed, _ = decisions(found, math.log(margin / fails_80) / noise, FULL_LOOKS)
    assert abs(failed - 0.8) <= 1.3 * rounding + 0.01
    passed, _, _ = decisions(found, math.log(margin) / noise, FULL_LOOKS)
    assert within(passed, identical_pass, 2)


def test_identical_code_hardly_ever_fails() -> None:
    _, failed, _ = decisions(normal(FULL_LOOKS), math.log(1.10) / 0.20, FULL_LOOKS)
    assert within(failed, 0.0013, 4)


@pytest.mark.parametrize("shape", ["normal", "laplace", "t3", "cauchy", "skewed"])
def test_the_error_at_the_margin_is_below_five_percent_whatever_the_shape_of_the_noise(shape: str) -> None:
    random = np.random.default_rng(17)
    size = (RUNS, 16)
    d = {
        "normal": lambda: random.standard_normal(size),
        "laplace": lambda: random.laplace(size=size),
        "t3": lambda: random.standard_t(3, size),
        "cauchy": lambda: random.standard_t(1, size),
        "skewed": lambda: random.exponential(size=size) - random.exponential(size=size),  # each side is, alike
    }[shape]()
    passed, failed, _ = decisions(log_bounds(np.clip(d, -300, 300)), 0.0, FULL_LOOKS)
    for wrong in (passed, failed):
        assert (
            0.034 - STANDARD_ERRORS * math.sqrt(0.035 / RUNS)
            <= wrong
            <= 0.037 + STANDARD_ERRORS * math.sqrt(0.035 / RUNS)
        )
        assert wrong < 0.05


def test_ties_of_a_coarse_instrument_give_false_passes_unless_its_resolution_is_told() -> None:
    """Figures of 10 units, read in whole ones; B is worse by exactly the margin, so that whole numbers fall on it."""
    random = np.random.default_rng(29)
    margin, noise = 1.10, 0.07
    a = np.round(10 * np.exp(noise / math.sqrt(2) * random.standard_normal((RUNS, 16))))
    b = np.round(10 * margin * np.exp(noise / math.sqrt(2) * random.standard_normal((RUNS, 16))))
    d = np.log(b) - np.log(a)
    at_margin = math.log(margin) + 1e-12  # 11/10 is a PASS, whatever the last bit of its logarithm
    unaware, _, _ = decisions(log_bounds(d), at_margin, FULL_LOOKS)
    aware, _, _ = decisions(log_bounds(d, 0.5 * (1 / a + 1 / b)), at_margin, FULL_LOOKS)
    assert unaware > 0.14
    assert aware < 0.05
