"""Which messages came again without having been asked back, and between which moments: what the claims on repeats are judged by."""

from __future__ import annotations

import polars as pl

from harness.analysis.identities import NEVER, Ints, KeyIndex, identity_keys
from harness.analysis.moments import Moments
from harness.model import Mark

REPEAT_WORDS = {
    Mark.PRODUCER_DUPLICATE: "stored twice by the broker",
    Mark.DUPLICATE_OF_UNKNOWN_ORIGIN: "duplicates of unknown origin",
    Mark.REDELIVERED_AFTER_ACK: "came again after their ack",
    Mark.REDELIVERED_AFTER_UNKNOWN_ACK: "came again after an ack without answer",
    Mark.REDELIVERED_UNACKED: "came again unacked",
    Mark.GIVEN_TWICE: "given twice",
}
"""Causes of repeats that nobody of ours asked for, in words."""


def unasked_repeats(deliveries: pl.LazyFrame, causes: pl.Series) -> pl.DataFrame:
    """Returns ``cause``, ``previous_ns``, ``received_ns`` of each repeat that the harness did not ask for.

    Args:
        deliveries: the table. causes: one mark per row of it, or null.
    """
    wanted = [mark.value for mark in REPEAT_WORDS]
    none = pl.DataFrame(schema={"cause": pl.String, "previous_ns": pl.Int64, "received_ns": pl.Int64})
    if causes.null_count() == len(causes):
        return none
    key = ("producer", "seq", "subscription")
    rows = deliveries.select(*key, "received_ns").collect().with_columns(causes.alias("cause"))
    again = rows.filter(pl.col("cause").is_not_null()).select(*key).unique()
    return (
        rows.join(again, on=key, how="semi")
        .sort("received_ns", maintain_order=True)
        .with_columns(previous_ns=pl.col("received_ns").shift(1).over(key))
        .filter(pl.col("cause").cast(pl.String).is_in(wanted))
        .select(
            pl.col("cause").cast(pl.String),
            pl.col("previous_ns").fill_null(pl.col("received_ns")),
            "received_ns",
        )
    )


def left_after_ack(messages: pl.DataFrame, moments: Moments) -> Ints:
    """Returns when the messages were acked whose acked copy is still in the broker: each counts as redelivered after ack."""
    left = messages.filter((pl.col("left_behind") > 0) & (pl.col(Mark.REDELIVERED_AFTER_ACK.value) > 0))
    keys = identity_keys(left.get_column("producer").to_numpy(), left.get_column("seq").to_numpy())
    at = KeyIndex(moments.keys).find(keys)
    acked: Ints = moments.settled_ns[at[at >= 0]]
    found: Ints = acked[acked != NEVER]
    return found
