"""From the slot files of one trial to its two big tables, written as Parquet while they are made.

Floor 2. Slots are read block by block and never all at once: a mapped page of tmpfs counts as memory of this process, and ten
million messages have more than a gigabyte of slots. The rows of ``attempts.parquet`` stand in the order of (producer, seq,
attempt), those of ``deliveries.parquet`` shard by shard in the order in which each worker received them.

Neighbours: ``ledger`` (what a slot says and how far it can be trusted), ``tables`` (columns), ``analysis.reconcile`` (reads them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from polars.io.plugins import register_io_source

from harness import tables
from harness.clock import clock_domain
from harness.errors import BrokerbenchError, EvidenceError
from harness.facts import ShardRecord
from harness.files import aside
from harness.ledger import (
    ATTEMPT_SLOT,
    CHECKSUM_OK,
    DELIVERY_SLOT,
    FOREIGN,
    READABLE,
    REDELIVERED,
    REDELIVERED_KNOWN,
    AttemptState,
    DeliveryState,
    SlotReader,
)
from harness.model import Held, Outcome, Settlement, SettleOutcome, Skipped

Ints = npt.NDArray[np.int64]
Slots = npt.NDArray[Any]

BLOCK_SLOTS = 1 << 18
ROW_GROUP = 1 << 19


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """What the shards of a trial saw.

    Args:
        attempts, deliveries: scans of the files that were written, with the types of ``tables.ATTEMPTS`` and ``tables.DELIVERIES``.
        shards: the expected ones with ``slots_found``, ``fetch_open``, ``fetch_max_n`` filled in, then those that nobody expected.
        problems: a sentence for each shard whose slots are missing or unreadable; any makes the ledger incomplete.
        other_clocks: shards whose clock is not proven to be this process's.
        asking_until_ns: last moment at which a worker was asking, as the workers themselves recorded it; None = no worker asked.
    """

    attempts: pl.LazyFrame
    deliveries: pl.LazyFrame
    shards: tuple[ShardRecord, ...]
    problems: tuple[str, ...]
    other_clocks: tuple[str, ...]
    asking_until_ns: int | None


def gather(
    folder: Path,
    expected: Sequence[ShardRecord],
    schedules: Mapping[int, Ints],
    into: Path,
    *,
    run_id: int,
    trial: int,
) -> Gathered:
    """Writes ``attempts.parquet`` and ``deliveries.parquet`` from the slot files of one trial.

    Every message of a schedule has a row at the end. One without a slot was never due (NOT_SENT), unless slots of its producer
    are missing: then nobody knows (UNKNOWN).

    Args:
        folder: where the slot files are, ``<shard name>.slots`` each.
        expected: all shards that ever ran.
        schedules: producer number → intended send times in absolute ns, shape (n,); the index is the message's ``seq``. Empty
            for ``saturate``.
        into: folder of the trial; files there are replaced.
        run_id, trial: what the files must belong to.

    Returns:
        The tables and what is wrong with them; a missing or broken slot file is a problem there, not an exception.

    Raises:
        BrokerbenchError: a table cannot be written (the disk is full); nothing of it is left, and no other file is touched.
    """
    found = [_open(folder, shard, run_id, trial) for shard in (*expected, *_unexpected(folder, expected))]
    producers = {file.shard.number: file for file in found if file.shard.kind == "producer"}
    workers = [file for file in found if file.shard.kind == "worker"]
    none = np.zeros(0, np.int64)

    def attempt_blocks() -> Iterator[pl.DataFrame]:
        for number in sorted(producers.keys() | schedules.keys()):
            for block in _attempts_of(producers.get(number), schedules.get(number, none)):
                yield _frame(block, "producer", number)

    def delivery_blocks() -> Iterator[pl.DataFrame]:
        for file in workers:
            for block in _blocks_of(file):
                yield _frame(block, "worker", file.shard.number)

    attempts = _write(attempt_blocks, ATTEMPT_SLOT, "producer", _attempts, into / "attempts.parquet")
    deliveries = _write(delivery_blocks, DELIVERY_SLOT, "worker", _deliveries, into / "deliveries.parquet")
    asked = [file.asked_ns for file in workers if file.asked_ns]
    return Gathered(
        attempts=attempts,
        deliveries=deliveries,
        shards=tuple(file.shard for file in found),
        problems=tuple(file.problem for file in found if file.problem),
        other_clocks=tuple(file.shard.name for file in found if file.other_clock),
        asking_until_ns=max(asked, default=None),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    """One shard and its slots; ``reader`` None = no file that can be read."""

    shard: ShardRecord
    reader: SlotReader | None
    problem: str
    other_clock: bool = False
    asked_ns: int = 0


def _open(folder: Path, shard: ShardRecord, run_id: int, trial: int) -> _File:
    try:
        reader = SlotReader(folder / f"{shard.name}.slots")
        head = reader.header
        if (head["run_id"], head["trial"], head["kind"], head["number"]) != (run_id, trial, shard.kind, shard.number):
            raise EvidenceError(f"{reader.path} belongs to another shard, trial or run")
    except EvidenceError as error:
        return _File(
            shard=replace(shard, slots_found=-1),
            reader=None,
            problem=f"slots of {shard.name} are missing: {error.problem}",
        )
    used = _count_used(reader)
    domain = clock_domain()
    return _File(
        shard=replace(
            shard,
            slots_found=used,
            fetch_open=head["fetch_max_n"] > 0 and not head["closed"],
            fetch_max_n=head["fetch_max_n"] if not head["closed"] else 0,
        ),
        reader=reader,
        problem=(
            f"slots of {shard.name} are missing: {used:,} found, it had reported {shard.slots_reported:,}"
            if used < shard.slots_reported
            else ""
        ),
        other_clock=(head["boot_id"], head["time_namespace"]) != (domain.boot_id, domain.time_namespace)
        or not domain.boot_id
        or not domain.time_namespace,
        asked_ns=head["fetch_ns"],
    )


def _unexpected(folder: Path, expected: Sequence[ShardRecord]) -> list[ShardRecord]:
    """Returns a record for each slot file that no record names (its agent died before it told): evidence is never left out."""
    known = {shard.name for shard in expected}
    records = []
    for path in sorted(folder.glob("*.slots")):
        if path.stem in known:
            continue
        try:
            head = SlotReader(path).header
        except EvidenceError:  # a shard that died while it made its file: it had not begun
            continue
        records.append(
            ShardRecord(
                name=path.stem,
                kind=head["kind"],
                number=head["number"],
                pid=head["pid"],
                scheduling=head["scheduling"],
                started_ns=head["started_ns"],
                expected_exit=False,
            )
        )
    return records


def _count_used(reader: SlotReader) -> int:
    """Returns how many slots say something."""
    return sum(int(np.count_nonzero(block["state"])) for block in _raw_blocks(reader))


def _raw_blocks(reader: SlotReader) -> Iterator[Slots]:
    """Yields views of the slots in file order, letting each block's pages go before the next."""
    slots = reader.slots()
    for first in range(0, len(slots), BLOCK_SLOTS):
        yield slots[first : first + BLOCK_SLOTS]
        reader.forget()


def _blocks_of(file: _File) -> Iterator[Slots]:
    """Yields the slots in use of one shard, in file order."""
    if file.reader is None:
        return
    for block in _raw_blocks(file.reader):
        state = block["state"]
        yield block if state.all() else block[state != 0]


def _attempts_of(file: _File | None, intended_ns: Ints) -> Iterator[Slots]:
    """Yields the slots of one producer in the order of (seq, attempt), with a slot for each scheduled message that left none."""
    slots = file.reader.slots() if file is not None and file.reader is not None else np.zeros(0, ATTEMPT_SLOT)
    keys = np.concatenate([np.zeros(0, np.int64), *(_order_keys(block) for block in _forgetful(file))])
    without = np.ones(len(intended_ns), np.bool_)
    seqs = keys >> 8
    without[seqs[(keys > 0) & (seqs < len(intended_ns))]] = False
    missing = np.flatnonzero(without)
    unknown = file is not None and bool(file.problem)
    keys = np.concatenate([keys, (missing << 8) + 1])
    in_order = bool((keys[1:] > keys[:-1]).all()) and bool(len(keys) == 0 or keys[0] > 0)
    order = None if in_order else np.argsort(keys, kind="stable")[np.count_nonzero(keys == 0) :]  # 0 = slot not in use
    total = len(keys) if order is None else len(order)
    del keys, seqs, without
    for first in range(0, total, BLOCK_SLOTS):
        last = min(first + BLOCK_SLOTS, total)
        if order is None and last <= len(slots):  # nearly all blocks of a run without retries
            yield slots[first:last]
        else:
            rows = np.arange(first, last) if order is None else order[first:last]
            left = rows < len(slots)
            block = np.zeros(len(rows), ATTEMPT_SLOT)
            block[left] = slots[rows[left]]
            block[~left] = _never_written(missing[rows[~left] - len(slots)], intended_ns, unknown=unknown)
            yield block
        if file is not None and file.reader is not None:
            file.reader.forget()


def _forgetful(file: _File | None) -> Iterator[Slots]:
    return _raw_blocks(file.reader) if file is not None and file.reader is not None else iter(())


def _order_keys(block: Slots) -> Ints:
    """Returns seq and attempt as one number, 0 where a slot is not in use (attempts count from 1)."""
    keys: Ints = (block["seq"].astype(np.int64) << 8) + block["attempt"]
    keys[block["state"] == AttemptState.EMPTY] = 0
    return keys


def _never_written(seqs: Ints, intended_ns: Ints, *, unknown: bool) -> Slots:
    """Returns what the slots of messages would say that left none: due but not sent, or sent at a time that nobody knows."""
    slots = np.zeros(len(seqs), ATTEMPT_SLOT)
    slots["seq"], slots["attempt"], slots["intended_ns"] = seqs, 1, intended_ns[seqs]
    slots["state"] = AttemptState.SENT if unknown else AttemptState.DUE
    return slots


def _frame(block: Slots, shard_column: str, number: int) -> pl.DataFrame:
    columns = {name: np.ascontiguousarray(block[name]) for name in block.dtype.names or ()}
    return pl.DataFrame(columns).with_columns(pl.lit(number, pl.UInt16).alias(shard_column))


def _write(
    blocks: Callable[[], Iterator[pl.DataFrame]],
    slot: np.dtype[Any],
    shard_column: str,
    table: Callable[[pl.LazyFrame], pl.LazyFrame],
    path: Path,
) -> pl.LazyFrame:
    """Streams blocks of raw slots through ``table`` into a Parquet file that appears whole or not at all; returns its scan."""

    def source(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        for block in blocks():
            yield block if with_columns is None else block.select(with_columns)

    schema = _frame(np.zeros(0, slot), shard_column, 0).schema
    rows = table(register_io_source(source, schema=schema))
    try:
        with aside(path) as part:
            rows.sink_parquet(part, compression="lz4", row_group_size=ROW_GROUP)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise BrokerbenchError(
            f"{path} cannot be written: {reason}",
            remedy=f"free space in {path.parent} (df -h {path.parent}) and run again",
        ) from error
    return pl.scan_parquet(path)


def _covered(state: int) -> pl.Expr:
    return pl.col("state") >= state


def _reached(column: str, state: int) -> pl.Expr:
    """Returns a time where the slot's state covers it and it was stored, else null."""
    return pl.when(_covered(state) & (pl.col(column) != 0)).then(pl.col(column)).alias(column)


def _attempts(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Returns ``tables.ATTEMPTS`` from slots: open after sending is UNKNOWN, open before it NOT_SENT.

    ``confirmed_ns`` is when the *broker's* answer was seen: there is none with UNKNOWN and NOT_SENT.
    """
    outcome = (
        pl.when(_covered(AttemptState.ANSWERED))
        .then(pl.col("outcome"))
        .when(_covered(AttemptState.SENT))
        .then(pl.lit(int(Outcome.UNKNOWN), pl.UInt8))
        .otherwise(pl.lit(int(Outcome.NOT_SENT), pl.UInt8))
    )
    answered = outcome.is_in([int(Outcome.CONFIRMED), int(Outcome.REJECTED)])
    return raw.select(
        "producer",
        "seq",
        "attempt",
        "intended_ns",
        _reached("sent_ns", AttemptState.SENT),
        pl.when(answered & (pl.col("confirmed_ns") != 0)).then(pl.col("confirmed_ns")).alias("confirmed_ns"),
        outcome.cat.to(tables.OUTCOME).alias("outcome"),
        pl.when(pl.col("held") != Held.NO).then(pl.col("held") - 1).cat.to(tables.HELD).alias("held"),
    )


def _deliveries(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Returns ``tables.DELIVERIES`` from slots: the state says which fields count; a settlement without an answer is UNKNOWN."""

    def flag(bit: int) -> pl.Expr:
        return (pl.col("flags") & bit) != 0

    settling = _covered(DeliveryState.SETTLING) & (pl.col("settlement") != Settlement.NONE)
    answered = _covered(DeliveryState.SETTLED) & (pl.col("settle_outcome") != SettleOutcome.OPEN)
    settle_outcome = pl.when(answered).then(pl.col("settle_outcome")).otherwise(int(SettleOutcome.UNKNOWN))
    known = answered & (pl.col("settle_outcome") != SettleOutcome.UNKNOWN) & (pl.col("settled_ns") != 0)
    return raw.select(
        *(pl.when(flag(READABLE)).then(pl.col(name)).alias(name) for name in ("producer", "seq", "attempt")),
        "subscription",
        "worker",
        "asked_ns",
        "received_ns",
        _reached("started_ns", DeliveryState.STARTED),
        _reached("finished_ns", DeliveryState.WORKED),
        _reached("failed_ns", DeliveryState.WORKED),
        _reached("settling_ns", DeliveryState.SETTLING),
        pl.when(settling & known).then(pl.col("settled_ns")).alias("settled_ns"),
        pl.when(settling).then(pl.col("settlement") - 1).cat.to(tables.SETTLEMENT).alias("settlement"),
        pl.when(settling).then(settle_outcome.cast(pl.UInt8) - 1).cat.to(tables.SETTLE_OUTCOME).alias("settle_outcome"),
        pl.when(pl.col("entry") != 0).then(pl.col("entry")).alias("entry"),
        pl.when(flag(REDELIVERED_KNOWN)).then(flag(REDELIVERED)).alias("redelivered"),
        pl.when(pl.col("delivery_count") != 0).then(pl.col("delivery_count")).alias("delivery_count"),
        flag(CHECKSUM_OK).alias("checksum_ok"),
        flag(FOREIGN).alias("foreign"),
        pl.when(_covered(DeliveryState.WORKED) & (pl.col("skipped") != Skipped.NO))
        .then(pl.col("skipped") - 1)
        .cat.to(tables.SKIPPED)
        .alias("skipped"),
    )
