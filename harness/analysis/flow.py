"""The ways that messages went through a trial: how they were answered, whether they were delivered and settled, and what became of them. Pure.

Neighbours: ``moments`` holds what is counted here, ``reports.charts.flow`` draws it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from harness.analysis.identities import NEVER
from harness.analysis.moments import NO_CLASS, Moments
from harness.model import Class, Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """So many identities that went the same way.

    Args:
        outcome: strongest of their attempts. delivered: received by a worker at some time. settled: a settlement took them out of the
            queue and was answered OK. became: their class.
    """

    outcome: Outcome
    delivered: bool
    settled: bool
    became: Class
    count: int


def ways_of(moments: Moments) -> tuple[Way, ...]:
    """Returns every way that any identity went, the most frequent first; one that the reconciliation does not name is undecided."""
    classes = list(Class)
    became = np.where(moments.class_code == NO_CLASS, classes.index(Class.UNDECIDED), moments.class_code)
    code = became.astype(np.uint8)
    code = code << 4 | moments.outcome << 2 | (moments.received_ns != NEVER) << 1 | (moments.settled_ns != NEVER)
    counts = np.bincount(code, minlength=1)
    return _ordered(
        Way(
            outcome=Outcome(each >> 2 & 3),
            delivered=bool(each & 2),
            settled=bool(each & 1),
            became=classes[each >> 4],
            count=int(counts[each]),
        )
        for each in map(int, np.flatnonzero(counts))
    )


def added(trials: Iterable[tuple[Way, ...]]) -> tuple[Way, ...]:
    """Returns the ways of several trials together."""
    counts: dict[tuple[Outcome, bool, bool, Class], int] = {}
    for way in (way for ways in trials for way in ways):
        key = (way.outcome, way.delivered, way.settled, way.became)
        counts[key] = counts.get(key, 0) + way.count
    return _ordered(
        Way(outcome=outcome, delivered=delivered, settled=settled, became=became, count=count)
        for (outcome, delivered, settled, became), count in counts.items()
    )


def _ordered(ways: Iterable[Way]) -> tuple[Way, ...]:
    return tuple(sorted(ways, key=lambda way: -way.count))
