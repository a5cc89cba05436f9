"""What the workers saw. Pure; one half of the join that ``reconcile`` makes, ``sends`` is the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from harness import tables
from harness.analysis.causes import Bools, Codes, Repeats
from harness.analysis.identities import NEVER, Ints, KeyIndex, identity_keys
from harness.model import Settlement, SettleOutcome, Skipped

assert [Settlement(1 + at).name for at in range(5)] == list(tables.SETTLEMENT.categories)
assert [SettleOutcome(1 + at).name for at in range(3)] == list(tables.SETTLE_OUTCOME.categories)


def column(table: pl.LazyFrame, what: str | pl.Expr) -> npt.NDArray[Any]:
    """Returns one column that has no nulls; not to be written into."""
    return table.select(what).collect().to_series().to_numpy()


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipts:
    """The deliveries that count: not those of another run, not those whose header could not be read.

    Args:
        table: ``tables.DELIVERIES``; ``height`` its rows.
        rows: row in the table of each delivery that counts, None = all of them.
        attempt, identity: of those rows; ``identity`` is the position in ``Sends.keys``, set by :meth:`placed`.
        subscriptions: all that occur; ``subscription`` per row, None where there is one only.
        unreadable, foreign: how many deliveries do not count, and why.
    """

    table: pl.LazyFrame
    height: int
    rows: Ints | None
    attempt: npt.NDArray[np.uint8]
    identity: Ints
    subscription: npt.NDArray[np.uint16] | None
    subscriptions: tuple[int, ...]
    unreadable: int
    foreign: int

    @classmethod
    def read(cls, table: pl.LazyFrame) -> Receipts:
        """Returns the deliveries of ``tables.DELIVERIES`` that count."""
        foreign = column(table, pl.col("foreign").fill_null(False))
        readable = column(table, pl.col("producer").is_not_null())
        counts = readable & ~foreign
        rows = None if bool(counts.all()) else np.flatnonzero(counts)
        subscription = _at(column(table, "subscription"), rows)
        occurring = np.flatnonzero(np.bincount(subscription)) if len(subscription) else np.zeros(1, np.int64)
        return cls(
            table=table,
            height=len(counts),
            rows=rows,
            attempt=_at(column(table, pl.col("attempt").fill_null(0)), rows),
            identity=np.zeros(0, np.int64),
            subscription=subscription if len(occurring) > 1 else None,
            subscriptions=tuple(occurring.tolist()),
            unreadable=int(np.count_nonzero(~readable & ~foreign)),
            foreign=int(np.count_nonzero(foreign)),
        )

    def only(self, subscription: int) -> Receipts:
        """Returns the deliveries of one subscription."""
        if self.subscription is None:
            return self
        inside = np.flatnonzero(self.subscription == subscription)
        return replace(
            self,
            rows=self.table_rows(inside),
            attempt=self.attempt[inside],
            subscription=None,
            subscriptions=(subscription,),
        )

    def keys(self) -> Ints:
        """Returns the identity of each as a number."""
        return identity_keys(*(self.column(pl.col(name).fill_null(0)) for name in ("producer", "seq")))

    def placed(self, index: KeyIndex) -> Receipts:
        """Returns the same with ``identity`` set."""
        return replace(self, identity=index.find(self.keys()))

    def table_rows(self, at: Ints) -> Ints:
        """Returns the rows of the table for positions among these deliveries."""
        return at if self.rows is None else self.rows[at]

    def column(self, what: str | pl.Expr, at: Ints | None = None) -> npt.NDArray[Any]:
        """Returns one column (without nulls) of these deliveries, or of those at positions ``at``."""
        if at is not None and not len(at):
            return column(self.table.head(0), what)
        return _at(column(self.table, what), self.rows if at is None else self.table_rows(at))

    def times(self, name: str, at: Ints | None = None) -> Ints:
        """Returns a column of times, null as ``NEVER``."""
        return self.column(pl.col(name).fill_null(NEVER), at)

    def settlement(self, at: Ints | None = None) -> Codes:
        """Returns ``model.Settlement`` of each."""
        return self.column(_code("settlement"), at)

    def settle_outcome(self, at: Ints | None = None) -> Codes:
        """Returns ``model.SettleOutcome`` of each."""
        return self.column(_code("settle_outcome"), at)

    def skipped(self, why: Skipped | None = None) -> Bools:
        """Returns which an idempotency wrapper let have no effect, for one reason or for any."""
        chosen = pl.col("skipped").is_not_null() if why is None else (pl.col("skipped") == why.name).fill_null(False)
        return self.column(chosen)

    def entry(self, at: Ints | None = None) -> Ints:
        """Returns the broker's id of its copy, 0 = none."""
        return self.column(pl.col("entry").fill_null(0), at)

    def repeats(self, at: Ints) -> tuple[Repeats, Ints]:
        """Returns the deliveries at positions ``at`` sorted by identity and time of receipt, and ``at`` in that order."""
        received_ns = self.times("received_ns", at)
        order = np.lexsort((received_ns, self.identity[at]))  # stable: the table's order decides where times are equal
        at, received_ns = at[order], received_ns[order]
        asked_ns = self.times("asked_ns", at)
        return Repeats(
            identity=self.identity[at],
            attempt=self.attempt[at],
            entry=self.entry(at),
            worker=self.column("worker", at),
            asked_ns=np.where(asked_ns == NEVER, received_ns, asked_ns),
            received_ns=received_ns,
            started_ns=self.times("started_ns", at),
            finished_ns=self.times("finished_ns", at),
            failed_ns=self.times("failed_ns", at),
            settling_ns=self.times("settling_ns", at),
            settled_ns=self.times("settled_ns", at),
            settlement=self.settlement(at),
            settle_outcome=self.settle_outcome(at),
            redelivered=self.column(pl.col("redelivered").cast(pl.Int8).fill_null(-1), at),
        ), at

    def with_settlement(self, kinds: tuple[Settlement, ...], at: Ints | None = None) -> Bools:
        """Returns which were settled in one of these ways, answered OK."""
        settled: Bools = np.isin(self.settlement(at), kinds) & (self.settle_outcome(at) == SettleOutcome.OK)
        return settled


def _code(name: str) -> pl.Expr:
    """Returns an enumeration's number in ``model``: its table has all but the 0, in the same order, and null for 0."""
    return (pl.col(name).to_physical().cast(pl.UInt8) + 1).fill_null(0)


def _at(values: npt.NDArray[Any], rows: Ints | None) -> npt.NDArray[Any]:
    return values if rows is None else values[rows]
