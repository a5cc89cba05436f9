"""The identity of a message, carried inside its payload (``record.md``, Envelope).

Fixed layout, little endian, 40 bytes, then padding to the payload's size::

    0  magic      3 bytes  b"BKB"
    3  version    u8       1
    4  run_id     u64
    12 trial      u16
    14 producer   u16
    16 seq        u32
    20 attempt    u8       1 for the first
    21 reserved   3 bytes  0
    24 intended_ns i64     CLOCK_MONOTONIC of the coordinator's host
    32 header_sum u32      checksum of bytes 0..31
    36 padding_sum u32     checksum of bytes 40.. (zeros appended to a multiple of 4)

The checksum of 4-byte words ``w[0], w[1], …`` is the multilinear hash ``(K[0] + sum(K[i + 1] * w[i])) mod 2**64 >> 32``
(Lemire and Kaser, "Strongly universal string hashing is fast", 2014), with ``K[i]`` the i-th output of splitmix64 seeded
with 0: a few lines in any language, and one matrix product for a block of messages.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

HEADER_BYTES = 40
MAGIC = b"BKB"
VERSION = 1

LAYOUT = np.dtype(
    [
        ("magic", "S3"),
        ("version", "u1"),
        ("run_id", "<u8"),
        ("trial", "<u2"),
        ("producer", "<u2"),
        ("seq", "<u4"),
        ("attempt", "u1"),
        ("reserved", "V3"),
        ("intended_ns", "<i8"),
        ("header_sum", "<u4"),
        ("padding_sum", "<u4"),
    ]
)
assert LAYOUT.itemsize == HEADER_BYTES

Bytes2D = npt.NDArray[np.uint8]


def message_mark(*, run_id: int, trial: int) -> bytes:
    """Returns the first 14 bytes of every payload of one trial; the producer's number (u16) follows them."""
    return struct.pack("<3sBQH", MAGIC, VERSION, run_id, trial)


@cache
def _keys(count: int) -> npt.NDArray[np.uint64]:
    """Returns the first ``count`` outputs of splitmix64 (Steele, Lea, Flood 2014) seeded with 0."""
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


_HEADER_KEYS = _keys(9)


def checksum(rows: Bytes2D) -> npt.NDArray[np.uint32]:
    """Returns the checksum of each row of bytes, shape (n, any) → (n,)."""
    count, width = rows.shape
    if width % 4:
        rows = np.concatenate([rows, np.zeros((count, 4 - width % 4), np.uint8)], axis=1)
    words = np.ascontiguousarray(rows).view("<u4")
    return _hash_words(words, _keys(words.shape[1] + 1))


def _hash_words(words: npt.NDArray[np.uint32], keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    with np.errstate(over="ignore"):
        total: npt.NDArray[np.uint64] = words.astype(np.uint64) @ keys[1:] + keys[0]
    return (total >> np.uint64(32)).astype(np.uint32)


class Stamper:
    """Makes payloads in blocks from a template; the buffer is reused, so a block is valid until the next call.

    Args:
        run_id, trial, producer: the part of the identity that stays.
        payload_bytes: size of a payload, at least 40.
        capacity: most messages in a block.
        seed: of the padding, which is the same in every message of a run.
        clock_offset_ns: how far this machine's clock stands before the coordinator's.
    """

    def __init__(
        self,
        *,
        run_id: int,
        trial: int,
        producer: int,
        payload_bytes: int,
        capacity: int,
        seed: int = 0,
        clock_offset_ns: int = 0,
    ) -> None:
        if payload_bytes < HEADER_BYTES:
            raise ValueError(
                f"payload of {payload_bytes} B; expected at least {HEADER_BYTES} B, which the envelope needs"
            )
        self._clock_offset_ns = clock_offset_ns
        self._rows = np.zeros((capacity, payload_bytes), np.uint8)
        self._rows[:, HEADER_BYTES:] = np.random.default_rng(seed).integers(
            0, 256, payload_bytes - HEADER_BYTES, np.uint8
        )
        self._headers = self._rows[:, :HEADER_BYTES].copy().view(LAYOUT)[:, 0]
        head = self._headers
        head["magic"], head["version"] = MAGIC, VERSION
        head["run_id"], head["trial"], head["producer"] = run_id, trial, producer
        head["padding_sum"] = checksum(self._rows[:1, HEADER_BYTES:])[0]
        self._words = self._headers.view("<u4").reshape(capacity, HEADER_BYTES // 4)

    def stamp(self, seqs: npt.NDArray[Any], attempts: npt.NDArray[Any], intended_ns: npt.NDArray[Any]) -> Bytes2D:
        """Returns payloads of shape (n, payload_bytes) for arrays of length n ≤ capacity; valid until the next call."""
        n = len(seqs)
        head = self._headers[:n]
        head["seq"], head["attempt"], head["intended_ns"] = seqs, attempts, intended_ns
        if self._clock_offset_ns:
            head["intended_ns"] -= self._clock_offset_ns
        head["header_sum"] = _hash_words(self._words[:n, :8], _HEADER_KEYS)
        rows = self._rows[:n]
        rows[:, :HEADER_BYTES] = head.view(np.uint8).reshape(n, HEADER_BYTES)
        return rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """What payloads say, as arrays of one length; where ``readable`` is False the other fields mean nothing."""

    readable: npt.NDArray[np.bool_]
    run_id: npt.NDArray[np.uint64]
    trial: npt.NDArray[np.uint16]
    producer: npt.NDArray[np.uint16]
    seq: npt.NDArray[np.uint32]
    attempt: npt.NDArray[np.uint8]
    intended_ns: npt.NDArray[np.int64]
    checksum_ok: npt.NDArray[np.bool_]


def parse(payloads: list[bytes]) -> Parsed:
    """Reads the envelopes of payloads of any sizes, in their order; never raises for what they hold."""
    sizes = set(map(len, payloads))
    if len(sizes) == 1 and (width := sizes.pop()) >= HEADER_BYTES:
        return _parse_rows(np.frombuffer(b"".join(payloads), np.uint8).reshape(-1, width))
    parts = [_parse_rows(np.zeros((0, HEADER_BYTES), np.uint8))]
    for payload in payloads:  # only where something is broken or foreign: a row each
        whole = payload if len(payload) >= HEADER_BYTES else bytes(HEADER_BYTES)
        parts.append(_parse_rows(np.frombuffer(whole, np.uint8).reshape(1, -1)))
    return Parsed(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in Parsed.__slots__})


def _parse_rows(rows: Bytes2D) -> Parsed:
    n = len(rows)
    raw = np.ascontiguousarray(rows[:, :HEADER_BYTES])
    head = raw.view(LAYOUT).reshape(n)
    readable = (head["magic"] == MAGIC) & (head["version"] == VERSION) & (head["header_sum"] == checksum(raw[:, :32]))
    return Parsed(
        readable=readable,
        run_id=head["run_id"],
        trial=head["trial"],
        producer=head["producer"],
        seq=head["seq"],
        attempt=head["attempt"],
        intended_ns=head["intended_ns"],
        checksum_ok=readable & (head["padding_sum"] == checksum(rows[:, HEADER_BYTES:])),
    )
