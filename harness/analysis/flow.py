"""The ways that messages went through a trial: how they were answered, whether they were delivered and settled, and what became of them. Pure.

Neighbours: ``moments`` holds what is counted here, ``reports.charts.flow`` draws it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from harness.analysis.identities import NEVER, KeyIndex, identity_keys
from harness.analysis.moments import NO_CLASS, Moments, ended_stay
from harness.model import Class, Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """So many identities that went the same way.

    Args:
        outcome: strongest of their attempts; None = nobody attempted them: phantoms. delivered: received by a worker at some time. settled: a settlement took them out of the
            queue and was answered OK. became: their class.
    """

    outcome: Outcome | None
    delivered: bool
    settled: bool
    became: Class
    count: int


def ways_of(moments: Moments, messages: pl.DataFrame, deliveries: pl.LazyFrame) -> tuple[Way, ...]:
    """Returns every way that any identity went, the most frequent first; one that the reconciliation does not name is undecided.

    Args:
        moments: of all that were attempted. messages, deliveries: the tables, for what came though nobody attempted it.
    """
    return _ordered([*_attempted(moments), *_unattempted(moments, messages, deliveries)])


def _attempted(moments: Moments) -> Iterator[Way]:
    classes = list(Class)
    became = np.where(moments.class_code == NO_CLASS, classes.index(Class.UNDECIDED), moments.class_code)
    code = became.astype(np.uint8)
    code = code << 4 | moments.outcome << 2 | (moments.received_ns != NEVER) << 1 | (moments.settled_ns != NEVER)
    counts = np.bincount(code, minlength=1)
    for each in map(int, np.flatnonzero(counts)):
        yield Way(
            outcome=Outcome(each >> 2 & 3),
            delivered=bool(each & 2),
            settled=bool(each & 1),
            became=classes[each >> 4],
            count=int(counts[each]),
        )


def _unattempted(moments: Moments, messages: pl.DataFrame, deliveries: pl.LazyFrame) -> Iterator[Way]:
    """Yields the ways of phantoms that no attempt names: they have no moments of sending."""
    phantoms = messages.filter(pl.col("class") == Class.PHANTOM.value).select("producer", "seq", "received_ns")
    if phantoms.is_empty():
        return
    keys = identity_keys(phantoms["producer"].to_numpy(), phantoms["seq"].to_numpy())
    phantoms = phantoms.filter(pl.Series(KeyIndex(moments.keys).find(keys) < 0))
    own = deliveries.filter(~pl.col("foreign").fill_null(False) & ended_stay()).select("producer", "seq").unique()
    ended = own.with_columns(settled=True).collect()
    told = phantoms.join(ended, on=["producer", "seq"], how="left").select(
        delivered=pl.col("received_ns").is_not_null(), settled=pl.col("settled").fill_null(False)
    )
    for (delivered, settled), same in told.group_by("delivered", "settled"):
        yield Way(
            outcome=None, delivered=bool(delivered), settled=bool(settled), became=Class.PHANTOM, count=same.height
        )


def added(trials: Iterable[tuple[Way, ...]]) -> tuple[Way, ...]:
    """Returns the ways of several trials together."""
    counts: dict[tuple[Outcome | None, bool, bool, Class], int] = {}
    for way in (way for ways in trials for way in ways):
        key = (way.outcome, way.delivered, way.settled, way.became)
        counts[key] = counts.get(key, 0) + way.count
    return _ordered(
        Way(outcome=outcome, delivered=delivered, settled=settled, became=became, count=count)
        for (outcome, delivered, settled, became), count in counts.items()
    )


def _ordered(ways: Iterable[Way]) -> tuple[Way, ...]:
    return tuple(sorted(ways, key=lambda way: -way.count))
