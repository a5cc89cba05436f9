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
    Mark.REDELIVERED_AFTER_UNKNOWN_ACK: "came again after an ack that was not known to be taken",
    Mark.REDELIVERED_UNACKED: "came again unacked",
    Mark.GIVEN_TWICE: "given twice",
}
"""Causes of repeats that nobody of ours asked for, in words."""


def repeat_words(cause: Mark, *, expired: bool) -> str:
    """Returns what is said of repeats of a cause; ``expired``: their hold had run out."""
    if expired and cause is Mark.REDELIVERED_UNACKED:
        return "came again unacked after the hold ran out"
    return REPEAT_WORDS[cause]


def unasked_repeats(repeats: pl.DataFrame) -> pl.DataFrame:
    """Returns ``cause``, ``expired``, ``previous_ns``, ``received_ns`` of each repeat that the harness did not ask for.

    What lies between the two moments can have caused it. A second copy came of the sending, however late the first was received.

    Args:
        repeats: as in :class:`harness.analysis.reconcile.Reconciled`.
    """
    wanted = [mark.value for mark in REPEAT_WORDS]
    cause = pl.col("cause").cast(pl.String)
    return (
        repeats.filter(cause.is_in(wanted))
        .sort("received_ns", maintain_order=True)
        .select(
            cause,
            "expired",
            pl.when(cause == Mark.PRODUCER_DUPLICATE.value)
            .then(pl.min_horizontal("previous_ns", "sent_ns"))
            .otherwise("previous_ns")
            .alias("previous_ns")
            .fill_null(pl.col("received_ns")),
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
