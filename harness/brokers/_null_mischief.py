"""Which messages the null broker wrongs, and how: a seeded choice by identity, in known numbers.

A dose is a *share* (``0.01``, ``1 %``): each message is struck with that probability; or a *count* (``17``): the first so many of a
seeded choice of one in 20, so a run needs some 20 messages for each. Whether a message is struck depends on the seed, the queue's name
and its identity alone, not on time or on how messages were put into blocks. A message is struck once: of several strikes the first
in the order of :data:`KINDS` counts.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.units import parse_ratio

KINDS = {
    "drop": "swallowed: not kept, and the publisher gets no answer",
    "forget": "confirmed, and not kept",
    "corrupt": "kept with one byte flipped: in the padding or in the header, by the seed",
    "duplicate": "given twice: a second copy with an entry of its own, or the same entry handed out twice, by the seed",
    "delay": "confirmed at once, and not handed out for 200 ms",
    "reorder": "handed out after the next message of its producer",
    "phantom": "followed by a message that nobody sent: a sound envelope with 2³¹ added to seq",
}
NONE = len(KINDS)
COUNTED_SHARE = 1 / 20

Keys = npt.NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dose:
    """How many to strike: ``count`` of them, or each with probability ``share``."""

    count: int | None = None
    share: float = 0.0


def parse_dose(text: str) -> Dose:
    """Returns the dose that a scenario writes; "" is none.

    Raises:
        ValueError: neither a count nor a share.
    """
    text = text.strip()
    if not text:
        return Dose(share=0.0)
    if text.isdecimal():
        return Dose(count=int(text))
    try:
        share = parse_ratio(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"{text!r} is no dose; expected a count such as 17, or a share such as 0.01 or '1 %'")
    return Dose(share=share)


def mixed(keys: Keys, salt: int) -> Keys:
    """Returns splitmix64's finaliser (Steele, Lea, Flood 2014) of each key with a salt, shape (n,) → (n,)."""
    with np.errstate(over="ignore"):
        z = (keys ^ np.uint64(salt)) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


class Mischief:
    """The choice for one queue.

    Args:
        doses: kind → dose, as the scenario writes them. seed, queue: what the choice depends on.
        struck: how many of each kind were struck before (a broker that was restarted goes on counting).
    """

    def __init__(self, doses: Mapping[str, str], *, seed: int, queue: str, struck: Mapping[str, int]) -> None:
        parsed = [parse_dose(doses.get(kind, "")) for kind in KINDS]
        self._shares = [COUNTED_SHARE if dose.count else dose.share for dose in parsed]
        self._left = [
            None if dose.count is None else dose.count - struck.get(kind, 0)
            for kind, dose in zip(KINDS, parsed, strict=True)
        ]
        base = np.array([seed & (1 << 64) - 1, zlib.crc32(queue.encode())], np.uint64)
        root = int(mixed(base[:1], int(base[1]) << 8)[0])
        self._salts = [int(mixed(np.array([index], np.uint64), root)[0]) for index in range(NONE + 1)]
        self.honest = not any(self._shares)

    def choose(self, keys: Keys) -> npt.NDArray[np.uint8]:
        """Returns per message the position in :data:`KINDS` of what is to be done to it, ``NONE`` for nothing.

        Args:
            keys: what identifies the messages, in their order.
        """
        chosen = np.full(len(keys), NONE, np.uint8)
        for kind, share in enumerate(self._shares):
            left = self._left[kind]
            if share <= 0.0 or (left is not None and left <= 0):
                continue
            below = np.uint64(min(int(share * 2**64), 2**64 - 1))
            rows = np.flatnonzero((mixed(keys, self._salts[kind]) <= below) & (chosen == NONE))
            if left is not None:
                rows = rows[:left]
                self._left[kind] = left - len(rows)
            chosen[rows] = kind
        return chosen

    def give_back(self, kind: str) -> None:
        """Says that a strike that was chosen could not be made."""
        index = list(KINDS).index(kind)
        left = self._left[index]
        if left is not None:
            self._left[index] = left + 1

    def draw(self, key: int) -> int:
        """Returns 64 seeded bits that belong to a message, for the details of what is done to it."""
        return int(mixed(np.array([key], np.uint64), self._salts[NONE])[0])
