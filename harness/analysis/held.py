"""What a worker held at a moment: received, and not settled as far as it knew.

That is the most that it can have held (:func:`open_counts`: the budget of a claim). What a dead worker *really* held
(:func:`held_by`: whether a kill was exercised, and the time to redelivery) leaves out what the broker had taken: a delivery
whose settlement was on its way, and that never came again. What it died with before it could write it down is known only by what
the broker says of it when it comes again (:func:`swallowed_by`).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from harness.analysis.exposure import BROKER_FAULTS, exposed, span
from harness.analysis.identities import KeyIndex, identity_keys
from harness.analysis.moments import Moments
from harness.facts import FaultRecord, TrialFacts

_KEY = ("producer", "seq", "subscription")


def _closed_ns() -> pl.Expr:
    """Returns when a delivery was out of its worker's hands: an answer came (OK or STALE; a settlement that no ack carries
    counts from the finish), null = never."""
    answered = pl.col("settle_outcome").is_in(["OK", "STALE"])
    return pl.when(answered).then(pl.coalesce("settled_ns", "finished_ns"))


def open_at(deliveries: pl.LazyFrame, t_ns: int) -> pl.LazyFrame:
    """Returns the deliveries of this run that were in a worker's hands at ``t_ns``."""
    return deliveries.filter(
        ~pl.col("foreign").fill_null(False) & (pl.col("received_ns") <= t_ns) & ~(_closed_ns() <= t_ns).fill_null(False)
    )


def open_counts(deliveries: pl.LazyFrame, at_ns: dict[int, int]) -> int:
    """Returns how many deliveries were open: worker number → moment; their sum."""
    if not at_ns:
        return 0
    moment = pl.col("worker").replace_strict(at_ns, default=None, return_dtype=pl.Int64)
    found = deliveries.filter(
        ~pl.col("foreign").fill_null(False)
        & pl.col("worker").is_in(list(at_ns))
        & (pl.col("received_ns") <= moment)
        & ~(_closed_ns() <= moment).fill_null(False)
    )
    return int(found.select(pl.len()).collect().item())


def held_by(deliveries: pl.LazyFrame, worker: int, t_ns: int) -> pl.DataFrame:
    """Returns one row per identity that ``worker`` held at ``t_ns``.

    Column: ``again_ns`` (next receipt by anybody after ``t_ns``, null = never). One whose settlement had left and that never came
    again was taken by the broker, and is left out.
    """
    held = (
        open_at(deliveries, t_ns)
        .filter((pl.col("worker") == worker) & pl.col("producer").is_not_null())
        .group_by(_KEY)
        .agg(settling=(pl.col("settling_ns") <= t_ns).fill_null(False).any())
        .collect()
    )
    later = (
        deliveries.filter(~pl.col("foreign").fill_null(False) & (pl.col("received_ns") > t_ns))
        .join(held.lazy().select(_KEY), on=_KEY, how="semi")
        .group_by(_KEY)
        .agg(again_ns=pl.col("received_ns").min())
        .collect()
    )
    found = held.join(later, on=_KEY, how="left")
    return found.filter(pl.col("again_ns").is_not_null() | ~pl.col("settling")).select("again_ns")


def swallowed_by(
    fault: FaultRecord, facts: TrialFacts, moments: Moments, deliveries: pl.LazyFrame, connections: pl.DataFrame
) -> pl.Series:
    """Returns how long after its death each message came that a killed worker had been given and had not written down.

    It died inside a fetch, the message was exposed to the kill, and at its first delivery on record, which came later, the broker itself
    says that it was given before: nobody else can have had it. Not where a fault of the broker, or a connection that a living
    worker lost, lies between: then the broker may say so of messages that nobody was given.
    """
    struck = [shard for shard in facts.shards if shard.name in fault.shards and shard.fetch_open]
    died_ns = min((shard.killed_ns for shard in struck if shard.killed_ns is not None), default=None)
    if died_ns is None:
        return pl.Series(dtype=pl.Int64)
    own = deliveries.filter(~pl.col("foreign").fill_null(False) & pl.col("producer").is_not_null())
    given_before = pl.col("redelivered").fill_null(False) | (pl.col("delivery_count").fill_null(0) > 1)
    again = own.filter(given_before & (pl.col("received_ns") > died_ns)).group_by(_KEY).agg(pl.col("received_ns").min())
    first = own.join(again.select(_KEY), on=_KEY, how="semi").group_by(_KEY).agg(first_ns=pl.col("received_ns").min())
    found = again.join(first, on=_KEY).filter(pl.col("received_ns") == pl.col("first_ns")).collect()
    at = KeyIndex(moments.keys).find(identity_keys(found["producer"].to_numpy(), found["seq"].to_numpy()))
    found, at = found.filter(at >= 0), at[at >= 0]  # what nobody sent is a phantom
    came_ns, sent_ns = found["received_ns"].to_numpy(), moments.sent_ns[at]
    sure = exposed(moments, fault, facts, settles_itself=False)[at]
    for other in facts.faults:
        if other.kind in BROKER_FAULTS and other.injected_ns is not None:
            start, end = span(other, facts)
            sure &= (came_ns < start) | (sent_ns > end)
    killed = [shard.name for shard in facts.shards if shard.killed_ns is not None]
    broke = np.sort(connections.filter(~pl.col("up") & ~pl.col("shard").is_in(killed))["t_ns"].to_numpy())
    sure &= np.searchsorted(broke, sent_ns) == np.searchsorted(broke, came_ns, "right")
    return pl.Series(came_ns[sure] - died_ns, dtype=pl.Int64)
