"""Identities as sorted numbers, so that ten million of them are joined by arithmetic instead of a hash table."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

NEVER = int(np.iinfo(np.int64).max)
"""A time that was not reached: every comparison "by then" is false without a special case."""


def identity_keys(producer: npt.NDArray[Any], seq: npt.NDArray[Any]) -> Ints:
    """Returns one number per (producer, seq), in the same order; shape (n,)."""
    keys: Ints = (producer.astype(np.int64) << 32) | seq.astype(np.int64)
    return keys


def attempt_keys(identities: Ints, attempt: npt.NDArray[Any]) -> Ints:
    """Returns one number per (producer, seq, attempt), in the same order; shape (n,)."""
    keys: Ints = (identities << 8) | attempt.astype(np.int64)
    return keys


def producers_of(identities: Ints) -> Ints:
    """Returns the producer of each identity."""
    producers: Ints = identities >> 32
    return producers


class KeyIndex:
    """Finds identities in a sorted array of them.

    Args:
        keys: sorted, each once. Where every producer's are without a gap, as a schedule makes them, finding is arithmetic.
    """

    def __init__(self, keys: Ints) -> None:
        self._keys = keys
        bounds = np.searchsorted(keys, np.arange((1 << 16) + 1) << 32)
        first, count = bounds[:-1], np.diff(bounds)
        present = np.flatnonzero(count)
        first, count = first[present], count[present]
        self._gapless = bool((keys[first + count - 1] - keys[first] + 1 == count).all())
        self._shift = np.zeros(1 << 16, np.int64)  # from an identity to its position, by producer
        self._shift[present] = keys[first] - first

    def find(self, wanted: Ints) -> Ints:
        """Returns where each stands, −1 where it does not; shape (n,)."""
        if not len(self._keys):
            return np.full(len(wanted), -1, np.int64)
        at = wanted - self._shift[producers_of(wanted)] if self._gapless else np.searchsorted(self._keys, wanted)
        np.clip(at, 0, len(self._keys) - 1, out=at)
        at[self._keys[at] != wanted] = -1
        return at


def running_maximum_before(group: Ints, rank: Ints, ranks: int) -> Ints:
    """Returns for each row the largest rank of the rows before it in its group, −1 for the first of a group.

    Args:
        group: shape (n,), ascending, ≥ 0. rank: shape (n,), 0 ≤ rank < ``ranks``; ``ranks`` × groups must fit 63 bits.
    """
    before = np.full(len(rank), -1, np.int64)
    if len(rank) > 1:
        step = np.int64(ranks)
        highest = np.maximum.accumulate(group * step + rank)[:-1]
        before[1:] = np.where(group[1:] == group[:-1], highest - group[1:] * step, -1)
    return before
