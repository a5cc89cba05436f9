"""The tables of a trial: column names and types of ``record.md``, the same in memory and in Parquet.

Floor 0. Times are CLOCK_MONOTONIC ns as Int64, null = not reached. Enumerations are stored by name (categorical).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from harness.model import Class, Held, Mark, Outcome, Place, Settlement, SettleOutcome, Skipped

OUTCOME = pl.Enum([member.name for member in Outcome])
HELD = pl.Enum([member.name.lower() for member in Held if member is not Held.NO])
SETTLEMENT = pl.Enum([member.name for member in Settlement if member is not Settlement.NONE])
SETTLE_OUTCOME = pl.Enum([member.name for member in SettleOutcome if member is not SettleOutcome.OPEN])
SKIPPED = pl.Enum([member.name for member in Skipped if member is not Skipped.NO])
PLACE = pl.Enum([member.value for member in Place])
CLASS = pl.Enum([member.value for member in Class])


def _schema(columns: Mapping[str, Any]) -> pl.Schema:
    return pl.Schema(columns)  # one place for polars' wide union of column types


ATTEMPTS = _schema(
    {
        "producer": pl.UInt16,
        "seq": pl.UInt32,
        "attempt": pl.UInt8,
        "intended_ns": pl.Int64,
        "sent_ns": pl.Int64,
        "confirmed_ns": pl.Int64,
        "outcome": OUTCOME,
        "held": HELD,  # null = was not held
    }
)
"""One row per attempt; every message of the schedule has at least one (NOT_SENT where nothing was sent)."""

DELIVERIES = _schema(
    {
        "producer": pl.UInt16,  # producer, seq, attempt: null where the header was unreadable
        "seq": pl.UInt32,
        "attempt": pl.UInt8,
        "subscription": pl.UInt16,
        "worker": pl.UInt16,  # ShardRecord.number of a worker
        "asked_ns": pl.Int64,
        "received_ns": pl.Int64,
        "started_ns": pl.Int64,
        "finished_ns": pl.Int64,
        "failed_ns": pl.Int64,
        "settling_ns": pl.Int64,
        "settled_ns": pl.Int64,
        "settlement": SETTLEMENT,  # null = none was sent; AUTO = settled by finishing (no ack exists)
        "settle_outcome": SETTLE_OUTCOME,  # null = none; a settlement sent and never answered is UNKNOWN
        "entry": pl.Int64,  # the broker's id of its copy, null = it has none
        "redelivered": pl.Boolean,  # null = the broker does not say
        "delivery_count": pl.UInt16,  # null = the broker does not say
        "checksum_ok": pl.Boolean,
        "foreign": pl.Boolean,  # a message of another run or trial
        "skipped": SKIPPED,  # why an idempotency wrapper let it have no effect; null = it did not
    }
)
"""One row per delivery to a worker."""

LATER = {"deliveries": ("skipped",)}
"""Columns that came after 0.1.0, by table: run folders that are older lack them, and are read as if all of it were null."""

MESSAGES = _schema(
    {
        "producer": pl.UInt16,
        "seq": pl.UInt32,
        "subscription": pl.UInt16,
        "class": CLASS,
        **{mark.value: pl.UInt16 for mark in Mark},
        "received_ns": pl.Int64,  # first receipt
        "finished_ns": pl.Int64,  # first finish
    }
)
"""One row per identity: derived, can be made again from the others."""

RESIDUE = _schema(
    {
        "producer": pl.UInt16,  # producer, seq, attempt: null where the header was unreadable
        "seq": pl.UInt32,
        "attempt": pl.UInt8,
        "place": PLACE,
        "entry": pl.Int64,
        "hold_over": pl.Boolean,  # its delay or hold had run out while workers were asking; null = it has none
        "foreign": pl.Boolean,
    }
)
"""One row per copy found in the broker after the drain."""

CONNECTIONS = _schema({"shard": pl.String, "t_ns": pl.Int64, "up": pl.Boolean, "reason": pl.String})
"""One row each time a shard's connection came up or was lost; and, ``up`` all the while, when the broker began and ceased to hold a
producer up, where that took long (``facts.BLOCKED`` and its reason, ``facts.UNBLOCKED``)."""

SAMPLES = _schema({"t_ns": pl.Int64, "source": pl.String, "metric": pl.String, "value": pl.Float64})
"""One row per sampled number: ``source`` is ``broker``, ``load``, ``machine``, ``harness`` (the process beside them) or the name of a shard."""

CORE_SHARE = "core_share"
"""Metric of a shard: its share of one core over the second that ended at ``t_ns``."""
