"""Exact one-sided bounds on how often something can happen that was seen x times.

Neighbours: ``measure`` prints :func:`poisson_upper` as ``loss.confirmed_upper_95``; ``guarantees`` puts the words around them.
Oracles in the tests: the tables of ``gate.md``. scipy is imported where it is used: it takes a quarter of a second, and what
stands here lies on the way to a run's first message.
"""

from __future__ import annotations

from fractions import Fraction
from math import comb

LEVEL = 0.95


def poisson_upper(seen: int, level: float = LEVEL) -> float:
    """Returns the one-sided upper bound on the mean of a Poisson count of which ``seen`` were seen (0 → 2.995732).

    Garwood (1936): half the chi-squared quantile with 2(x + 1) degrees of freedom, which is the inverse of the
    regularised gamma function. Divided by n it bounds the share of lost messages, *if losses were independent*.
    """
    from scipy import special  # noqa: PLC0415 - see above

    return float(special.gammaincinv(seen + 1, level))


def poisson_lower(seen: int, level: float = LEVEL) -> float:
    """Returns the one-sided lower bound on the mean of a Poisson count of which ``seen`` were seen (0 → 0)."""
    from scipy import special  # noqa: PLC0415 - see above

    return float(special.gammaincinv(seen, 1 - level)) if seen else 0.0


def clopper_pearson_upper(lossy: int, trials: int, level: float = LEVEL) -> float:
    """Returns the one-sided upper bound on the share of lossy trials (Clopper and Pearson 1934); 1 when all were."""
    if lossy >= trials:
        return 1.0
    from scipy import special  # noqa: PLC0415 - see above

    return float(special.betaincinv(lossy + 1, trials - lossy, level))


def clopper_pearson_lower(lossy: int, trials: int, level: float = LEVEL) -> float:
    """Returns the one-sided lower bound on the share of lossy trials; 0 when none was."""
    from scipy import special  # noqa: PLC0415 - see above

    return float(special.betaincinv(lossy, trials - lossy + 1, 1 - level)) if lossy else 0.0


def clean_deployments_upper(deployments: int, level: float = LEVEL) -> float:
    """Returns 1 − 0.05^(1/C): the bound on the share of lossy deployments when none of C fresh ones, each with one clean,
    exercised fault, lost anything (1: .95, 5: .45, 59: .05)."""
    return 1.0 - float((1.0 - level) ** (1.0 / deployments)) if deployments else 1.0


def discordant_tail(worse: int, better: int) -> Fraction:
    """Returns P(Bin(b + c, ½) ≥ b): how likely as many pairs in which only B lost are, were B no worse than A.

    Args:
        worse: b, pairs of trials in which B was lossy and A was not. better: c, pairs the other way round. Pairs in which both or
            neither lost say nothing. At most the level says "B loses more": 5 such pairs and none the other way at 0.05, 6 at 0.05/3.
    """
    n = worse + better
    return Fraction(sum(comb(n, k) for k in range(worse, n + 1)), 2**n)
