"""A few identities of each bad class and mark, with all that happened to them: what a reader asks for first.

Pure. Neighbours: ``reconcile`` (found them), ``record.Example`` (how they are kept).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from harness.analysis.reconcile import Reconciled, Table
from harness.clock import NS_PER_S
from harness.facts import TrialFacts
from harness.model import Class, Mark, Outcome
from harness.record import Example, ExampleDelivery

BAD_CLASSES = (
    Class.PHANTOM,
    Class.STRANDED,
    Class.UNDECIDED,
    Class.VANISHED,
    Class.LOST_IN_SETTLING,
    Class.INTERRUPTED,
    Class.LOST,
)
TELLING_MARKS = tuple(mark for mark in Mark if mark is not Mark.ATTEMPT_DUPLICATE)
MOST = 3
"""Examples of each class or mark."""

_KEY = pl.col("producer").cast(pl.Int64) * (1 << 32) + pl.col("seq").cast(pl.Int64)


def examples(
    reconciled: Reconciled, attempts: Table, deliveries: Table, residue: pl.DataFrame, facts: TrialFacts
) -> list[Example]:
    """Returns up to three examples of each bad class, then of each mark, the lowest (subscription, producer, seq) first.

    Args:
        reconciled: what ``reconcile`` made of the other arguments. Only the rows of the chosen identities are read.
        facts: for the start of the load, from which seconds count.
    """
    chosen = _chosen(reconciled.messages)
    if not chosen:
        return []
    wanted = sorted({row["key"] for _, row in chosen})
    sent = attempts.lazy().filter(_KEY.is_in(wanted)).sort("attempt").collect()
    came = (
        deliveries.lazy()
        .with_row_index("row")
        .filter(_KEY.is_in(wanted) & ~pl.col("foreign").fill_null(False))
        .sort("received_ns", "row")
        .collect()
    )
    came = came.with_columns(cause=reconciled.causes.gather(came.get_column("row")).cast(pl.String).fill_null(""))
    found = residue.filter(_KEY.is_in(wanted) & ~pl.col("foreign").fill_null(False))
    seconds = _seconds_since(facts.load_start_ns or 0)
    return [
        _example(
            what,
            row,
            sent.filter(row["key"] == _KEY).rows(named=True),
            came.filter((row["key"] == _KEY) & (pl.col("subscription") == row["subscription"])).rows(named=True),
            found.filter(row["key"] == _KEY).get_column("place").to_list(),
            seconds,
        )
        for what, row in chosen
    ]


def _chosen(messages: pl.DataFrame) -> list[tuple[str, dict[str, Any]]]:
    """Returns (class or mark, an identity of it) pairs."""
    tests = [(name.value, pl.col("class") == name.value) for name in BAD_CLASSES]
    tests += [(mark.value, pl.col(mark.value) > 0) for mark in TELLING_MARKS]
    columns = [pl.col("subscription"), pl.col("producer"), pl.col("seq"), _KEY.alias("key")]
    return [
        (what, row)
        for what, holds in tests
        for row in messages.lazy().filter(holds).select(columns).head(MOST).collect().rows(named=True)
    ]


def _seconds_since(start_ns: int) -> Callable[[int | None], float | None]:
    def seconds(t_ns: int | None) -> float | None:
        return None if t_ns is None else (t_ns - start_ns) / NS_PER_S

    return seconds


def _first(rows: list[dict[str, Any]], name: str) -> int | None:
    return min((row[name] for row in rows if row[name] is not None), default=None)


def _strongest(rows: list[dict[str, Any]]) -> Outcome | None:
    return max((Outcome[row["outcome"]] for row in rows), default=None)


def _example(  # noqa: PLR0917 – the parts of one example, in its own order
    what: str,
    row: dict[str, Any],
    sent: list[dict[str, Any]],
    came: list[dict[str, Any]],
    found: list[str],
    seconds: Callable[[int | None], float | None],
) -> Example:
    confirmed = [attempt for attempt in sent if attempt["outcome"] == "CONFIRMED"]
    return Example(
        identity=f"{row['producer']}:{row['seq']}",
        what=what,
        intended_s=seconds(_first(sent, "intended_ns")),
        sent_s=seconds(_first(sent, "sent_ns")),
        confirmed_s=seconds(_first(confirmed, "confirmed_ns")),
        outcome=None if (strongest := _strongest(sent)) is None else strongest.name,
        deliveries=[
            ExampleDelivery(
                worker=one["worker"],
                attempt=one["attempt"],
                cause=one["cause"],
                received_s=seconds(one["received_ns"]) or 0.0,
                finished_s=seconds(one["finished_ns"]),
                settled_s=seconds(one["settled_ns"]),
                settlement=one["settlement"],
                settle_outcome=one["settle_outcome"],
                skipped=one["skipped"],
            )
            for one in came
        ],
        found=found,
    )
