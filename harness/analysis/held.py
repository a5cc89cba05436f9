"""What a worker held at a moment: received, and not settled as far as it knew.

That is the most that it can have held (:func:`open_counts`: the budget of a claim). What a dead worker *really* held
(:func:`held_by`: whether a kill was exercised, and the time to redelivery) leaves out what the broker had taken: a delivery
whose settlement was on its way, and that never came again.
"""

from __future__ import annotations

import polars as pl


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
    key = ("producer", "seq", "subscription")
    held = (
        open_at(deliveries, t_ns)
        .filter((pl.col("worker") == worker) & pl.col("producer").is_not_null())
        .group_by(key)
        .agg(settling=(pl.col("settling_ns") <= t_ns).fill_null(False).any())
        .collect()
    )
    later = (
        deliveries.filter(~pl.col("foreign").fill_null(False) & (pl.col("received_ns") > t_ns))
        .join(held.lazy().select(key), on=key, how="semi")
        .group_by(key)
        .agg(again_ns=pl.col("received_ns").min())
        .collect()
    )
    found = held.join(later, on=key, how="left")
    return found.filter(pl.col("again_ns").is_not_null() | ~pl.col("settling")).select("again_ns")
