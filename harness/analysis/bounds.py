"""Exact one-sided bounds on how often something can happen that was seen x times.

Neighbours: ``measure`` prints :func:`poisson_upper` as ``loss.confirmed_upper_95``; ``guarantees`` puts the words around them.
Oracles in the tests: the tables of ``gate.md``.
"""

from __future__ import annotations

from scipy import special

LEVEL = 0.95


def poisson_upper(seen: int, level: float = LEVEL) -> float:
    """Returns the one-sided upper bound on the mean of a Poisson count of which ``seen`` were seen (0 → 2.995732).

    Garwood (1936): half the chi-squared quantile with 2(x + 1) degrees of freedom, which is the inverse of the
    regularised gamma function. Divided by n it bounds the share of lost messages, *if losses were independent*.
    """
    return float(special.gammaincinv(seen + 1, level))


def poisson_lower(seen: int, level: float = LEVEL) -> float:
    """Returns the one-sided lower bound on the mean of a Poisson count of which ``seen`` were seen (0 → 0)."""
    return float(special.gammaincinv(seen, 1 - level)) if seen else 0.0


def clopper_pearson_upper(lossy: int, trials: int, level: float = LEVEL) -> float:
    """Returns the one-sided upper bound on the share of lossy trials (Clopper and Pearson 1934); 1 when all were."""
    if lossy >= trials:
        return 1.0
    return float(special.betaincinv(lossy + 1, trials - lossy, level))


def clopper_pearson_lower(lossy: int, trials: int, level: float = LEVEL) -> float:
    """Returns the one-sided lower bound on the share of lossy trials; 0 when none was."""
    return float(special.betaincinv(lossy, trials - lossy + 1, 1 - level)) if lossy else 0.0


def clean_deployments_upper(deployments: int, level: float = LEVEL) -> float:
    """Returns 1 − 0.05^(1/C): the bound on the share of lossy deployments when none of C fresh ones, each with one clean,
    exercised fault, lost anything (1: .95, 5: .45, 59: .05)."""
    return 1.0 - float((1.0 - level) ** (1.0 / deployments)) if deployments else 1.0
