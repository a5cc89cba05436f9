"""What a comparison of pairs can see: chances of PASS and FAIL at a noise, a margin and planned looks.

The code that decides is simulated (:func:`harness.analysis.signed_rank.walsh` and the looks' c) with normal noise and a fixed seed. Log
ratios are drawn around 0 with σ = 1; a true ratio at Δ σ from the margin moves both bounds by Δ and changes nothing else, so that one
simulation of some tenths of a second serves every ratio, margin and noise.

Neighbours: ``noise`` says how large σ_d is, ``rules`` how large the margin; the tables of ``docs/statistics.md`` are made here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache

import numpy as np

from harness.analysis.signed_rank import Floats, Look, walsh

RUNS = 20_000
SEED = 7
MOST, STEPS = 100.0, 40
"""σ_d beyond which no ratio is looked for, and halvings of that interval."""

CHANCE = 0.8
REFUSED, WARNED = 0.90, 1.25
"""ln m / σ_d below which a rule is refused, and warned of: identical code passes 90 and 99 of 100 times at 6, 10 and 16 pairs."""

PAIRS = 13.0
"""16 pairs are enough at ln m = 0.90 σ_d, and the need grows with the square of the noise."""

FEWEST = 5
"""Fewer pairs have no bounds at all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chances:
    """How a comparison ends.

    Args:
        passes, fails: shares of comparisons, the first decision latched; the rest is INCONCLUSIVE. pairs: how many it takes, on average.
    """

    passes: float
    fails: float
    pairs: float


class Sight(Enum):
    """What a rule can see at a noise."""

    CLEAR = "clear"
    POOR = "poor"
    BLIND = "blind"


def sight(sigma_d: float, max_ratio: float) -> Sight:
    """Returns BLIND where identical code would often not pass even with all looks, POOR where sometimes not."""
    margin = math.log(max_ratio)
    if margin < REFUSED * sigma_d:
        return Sight.BLIND
    return Sight.POOR if margin < WARNED * sigma_d else Sight.CLEAR


def pairs_needed(sigma_d: float, max_ratio: float) -> int:
    """Returns with how many pairs identical code passes in 90 of 100 comparisons: about 13 (σ_d / ln m)².

    Args:
        sigma_d: standard deviation of ln(B/A) over pairs. max_ratio: the margin m, above 1.
    """
    return max(FEWEST, math.ceil(PAIRS * (sigma_d / math.log(max_ratio)) ** 2))


def detectable(looks: Sequence[Look], max_ratio: float, sigma_d: float, chance: float = CHANCE) -> float:
    """Returns the smallest true ratio B/A that these looks call FAIL with that chance; ∞ where they never can.

    Args:
        looks: as planned. max_ratio: the margin. sigma_d: the noise; 0 = none.
    """
    beyond = _beyond(tuple(looks), chance)
    if math.isinf(beyond):
        return math.inf
    return math.exp(min(math.log(max_ratio) + beyond * sigma_d, 700.0))


@cache
def _beyond(looks: tuple[Look, ...], chance: float) -> float:
    """Returns how many σ_d beyond the margin a true ratio must lie to FAIL with that chance; ∞ where none does."""
    least, most = 0.0, MOST
    if chances(looks, -most).fails < chance:
        return math.inf
    for _ in range(STEPS):
        middle = (least + most) / 2
        least, most = (least, middle) if chances(looks, -middle).fails >= chance else (middle, most)
    return most


def passes(looks: Sequence[Look], max_ratio: float, sigma_d: float) -> float:
    """Returns the share of comparisons in which identical code would PASS."""
    return chances(looks, math.log(max_ratio) / sigma_d if sigma_d else 1e9).passes


def chances(looks: Sequence[Look], delta: float) -> Chances:
    """Returns how a comparison ends whose true ratio lies ``delta`` σ_d below the margin (negative: above it)."""
    bounds = _log_bounds(tuple((look.pairs, look.c) for look in looks))
    runs = len(bounds[0][0])
    open_, passed, failed = np.ones(runs, bool), np.zeros(runs, bool), np.zeros(runs, bool)
    pairs = np.full(runs, float(looks[-1].pairs))
    for (lower, upper), look in zip(bounds, looks, strict=True):
        passed |= open_ & (upper <= delta)
        failed |= open_ & (lower > delta)
        now = open_ & (passed | failed)
        pairs[now] = look.pairs
        open_ &= ~now
    return Chances(passes=float(passed.mean()), fails=float(failed.mean()), pairs=float(pairs.mean()))


@cache
def _log_bounds(looks: tuple[tuple[int, int], ...]) -> list[tuple[Floats, Floats]]:
    """Returns lower and upper bounds at each look, (runs,) each, in σ around the true ratio."""
    d = np.random.default_rng(SEED).standard_normal((RUNS, looks[-1][0]))
    found = []
    for pairs, c in looks:
        if c == 0:
            found.append((np.full(RUNS, -math.inf), np.full(RUNS, math.inf)))
            continue
        averages = walsh(d[:, :pairs], -math.inf)
        found.append((averages[:, c - 1], averages[:, averages.shape[1] - c]))
    return found
