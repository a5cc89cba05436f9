"""The moments of each identity, as plain arrays: what measuring, recovery and guarantees are computed from.

One entry per identity of the schedule; ``NEVER`` (the largest int64) stands for "not reached", so that
``sent <= t < left`` holds without a special case. Built once per trial from the tables, column by column, since ten million
messages must fit beside them.

With several subscriptions the first event of any counts here (no scenario of this version makes more than one).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from harness.analysis.identities import NEVER, Ints, KeyIndex, identity_keys
from harness.analysis.receipts import column
from harness.model import Class, Outcome, Settlement

Codes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

CLASS_CODE = {name: code for code, name in enumerate(Class)}
NO_CLASS = 255
ENDS_STAY = (Settlement.ACK, Settlement.AUTO, Settlement.DEAD)
"""Settlements that take a message out of the queue; RELEASE and RETRY put it back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """Arrays of one length, in the order of ``keys``; times in ns of CLOCK_MONOTONIC, ``NEVER`` = not reached.

    Args:
        keys: which (producer, seq) each entry is (``identities.identity_keys``), ascending.
        intended_ns: when it was due (its first attempt).
        sent_ns: first sent. first_sent_ns: sent of the first attempt alone (for the schedule lag).
        confirmed_ns: first CONFIRMED answer; confirmed_sent_ns: when that attempt was sent.
        received_ns: first receipt; received_sent_ns: when the attempt that was delivered was sent.
        finished_ns: first finish of any delivery; finished_sent_ns: likewise.
        settled_ns: first settlement that ended its stay and was answered OK.
        outcome: strongest of its attempts (``model.Outcome``). held: whether any attempt was held.
        class_code: position in ``model.Class``, 255 = the reconciliation does not name it.
        delivery_events_ns: receipts of all deliveries of this run, repeats included, sorted.
    """

    keys: Ints
    intended_ns: Ints
    sent_ns: Ints
    first_sent_ns: Ints
    confirmed_ns: Ints
    confirmed_sent_ns: Ints
    received_ns: Ints
    received_sent_ns: Ints
    finished_ns: Ints
    finished_sent_ns: Ints
    settled_ns: Ints
    outcome: Codes
    held: Mask
    class_code: Codes
    delivery_events_ns: Ints

    def is_class(self, *classes: Class) -> Mask:
        """Returns which identities fell into one of the classes."""
        found = np.zeros(len(self.class_code), bool)
        for name in classes:
            found |= self.class_code == CLASS_CODE[name]
        return found

    def are_in(self, messages: pl.DataFrame) -> Mask:
        """Returns which identities stand in these rows of the reconciliation's table."""
        found = np.zeros(len(self.keys), bool)
        if len(messages):
            at = KeyIndex(self.keys).find(_keys_of(messages.lazy()))
            found[at[at >= 0]] = True
        return found


def ended_stay() -> pl.Expr:
    """Returns which deliveries were settled so that the message left the queue, answered OK."""
    return (pl.col("settle_outcome") == "OK") & pl.col("settlement").is_in([what.name for what in ENDS_STAY])


def _times(table: pl.LazyFrame, what: str | pl.Expr) -> Ints:
    """Returns a column of times as int64, null as ``NEVER``."""
    return column(table, (pl.col(what) if isinstance(what, str) else what).fill_null(NEVER))


def _first(size: int, position: Ints, t_ns: Ints) -> Ints:
    """Returns the earliest time per identity; rows with position −1 are left out."""
    earliest = np.full(size, NEVER, np.int64)
    if np.any(position < 0):
        known = position >= 0
        position, t_ns = position[known], t_ns[known]
    np.minimum.at(earliest, position, t_ns)
    return earliest


def gather_moments(attempts: pl.LazyFrame, deliveries: pl.LazyFrame, messages: pl.DataFrame) -> Moments:
    """Returns the moments of all identities of ``attempts``.

    Args:
        attempts, deliveries: tables of ``harness.tables``; only the columns needed are read.
        messages: the reconciliation's table, for the classes and the first receipts and finishes.
    """
    row_keys = _keys_of(attempts)
    one_row_each = bool(np.all(row_keys[1:] > row_keys[:-1]))  # what a run without retries leaves: nothing to sort
    keys = row_keys if one_row_each else np.unique(row_keys)
    index = KeyIndex(keys)
    rows = None if one_row_each else index.find(row_keys)
    del row_keys
    sends = _sends(attempts, len(keys), rows)
    return Moments(
        keys=keys,
        **_judged(keys, index, messages),
        **sends,
        **_receipts(attempts, deliveries, index, rows, sends["sent_ns"]),
    )


def _keys_of(table: pl.LazyFrame) -> Ints:
    return identity_keys(column(table, "producer"), column(table, "seq"))


def _sends(attempts: pl.LazyFrame, size: int, rows: Ints | None) -> dict[str, Any]:
    """Returns what the attempts say; ``rows`` is the position of each attempt, None = the rows are the identities."""
    intended, sent = _times(attempts, "intended_ns"), _times(attempts, "sent_ns")
    confirmed = _times(attempts, pl.when(pl.col("outcome") == Outcome.CONFIRMED.name).then("confirmed_ns"))
    outcome = column(attempts, pl.col("outcome").to_physical().cast(pl.UInt8))
    held = column(attempts, pl.col("held").is_not_null())
    if rows is None:
        return {
            "intended_ns": intended,
            "sent_ns": sent,
            "first_sent_ns": sent,
            "confirmed_ns": confirmed,
            "confirmed_sent_ns": sent,
            "outcome": outcome,
            "held": held,
        }
    first_confirmed = _first(size, rows, confirmed)
    first_sent = _first(size, rows, sent)
    strongest = np.zeros(size, np.uint8)
    np.maximum.at(strongest, rows, outcome)
    ever_held = np.zeros(size, bool)
    np.logical_or.at(ever_held, rows, held)
    number = column(attempts, "attempt")
    lowest = np.full(size, 255, np.uint8)
    np.minimum.at(lowest, rows, number)
    is_first = number == lowest[rows]
    return {
        "intended_ns": _first(size, rows, intended),
        "sent_ns": first_sent,
        "first_sent_ns": _first(size, rows[is_first], sent[is_first]),
        "confirmed_ns": first_confirmed,
        "confirmed_sent_ns": _of_event(
            first_sent, rows, sent, (confirmed == first_confirmed[rows]) & (confirmed != NEVER)
        ),
        "outcome": strongest,
        "held": ever_held,
    }


def _of_event(otherwise: Ints, rows: Ints, value: Ints, is_event: Mask) -> Ints:
    """Returns ``otherwise`` with the value of the row that is the event, where an identity has one."""
    chosen = otherwise.copy()
    chosen[rows[is_event]] = value[is_event]
    return chosen


def _receipts(
    attempts: pl.LazyFrame, deliveries: pl.LazyFrame, index: KeyIndex, rows: Ints | None, sent: Ints
) -> dict[str, Any]:
    """Returns what the deliveries say of each identity."""
    counts = ~pl.col("foreign").fill_null(False) & pl.col("producer").is_not_null()
    own = deliveries if column(deliveries, counts).all() else deliveries.filter(counts)
    position, size = index.find(_keys_of(own)), len(sent)
    found = {
        "settled_ns": _first(
            size, position, _times(own, pl.when(ended_stay()).then(pl.coalesce("settled_ns", "finished_ns")))
        ),
        "delivery_events_ns": np.sort(_times(own, "received_ns")),
        "received_sent_ns": sent,
        "finished_sent_ns": sent,
    }
    if rows is None:
        return found
    known = position >= 0
    at = position[known]
    of_attempt = _sent_of_deliveries(attempts, own, position, rows)[known]
    of_attempt = np.where(of_attempt == NEVER, sent[at], of_attempt)
    for event in ("received", "finished"):
        t_ns = _times(own, f"{event}_ns")[known]
        is_first = (t_ns == _first(size, at, t_ns)[at]) & (t_ns != NEVER)
        found[f"{event}_sent_ns"] = _of_event(sent, at, of_attempt, is_first)
    return found


def _sent_of_deliveries(attempts: pl.LazyFrame, own: pl.LazyFrame, position: Ints, rows: Ints) -> Ints:
    """Returns for each delivery when the attempt that it carries was sent, ``NEVER`` where there is none such."""
    key = (rows << 8) | column(attempts, "attempt")
    order = np.argsort(key)
    key, sent = key[order], _times(attempts, "sent_ns")[order]
    wanted = (position << 8) | column(own, pl.col("attempt").fill_null(0))
    at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    return np.where(key[at] == wanted, sent[at], NEVER)


def _judged(keys: Ints, index: KeyIndex, messages: pl.DataFrame) -> dict[str, Any]:
    """Returns the class, first receipt and first finish of each identity."""
    table = messages.lazy()
    found = {
        "class_code": column(table, pl.col("class").to_physical().cast(pl.UInt8)),
        "received_ns": _times(table, "received_ns"),
        "finished_ns": _times(table, "finished_ns"),
    }
    message_keys = _keys_of(table)
    if np.array_equal(keys, message_keys):
        return found
    position = index.find(message_keys)
    known = position >= 0
    codes = np.full(len(keys), NO_CLASS, np.uint8)
    codes[position[known]] = found["class_code"][known]
    first = {name: _first(len(keys), position, found[name]) for name in ("received_ns", "finished_ns")}
    return {"class_code": codes, **first}
