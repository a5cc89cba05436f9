"""How a driver and the null broker speak: frames of blocks over one TCP connection, little endian.

A frame is ``size u32 · operation u8 · 3 bytes 0 · number u32`` and a body of ``size`` bytes. The client numbers its requests;
the answer carries the number. Answers to PUBLISH come apart from the others' order: the positions that the broker confirms,
which may be fewer than were published; what it swallowed is never named. All other requests get one answer each.
Neighbours: ``_null_server`` and ``null`` (the two ends), ``_null_queue`` (what the broker does with messages).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from harness.brokers.contract import Flags, Ints

HEAD = struct.Struct("<IB3xI")
MAX_BODY = 1 << 28
PUBLISH = struct.Struct("<II")  # messages, bytes of each; then the payloads
CONSUME = struct.Struct("<Id?3x")  # most messages, seconds to wait, whether receiving settles
RECLAIM = struct.Struct("<d")  # seconds idle
PEEK = struct.Struct("<Bq")  # position of the place in PLACES, entry after which to go on
NUMBERS = struct.Struct("<qqqq")


class Op(IntEnum):
    """What a frame asks for or answers."""

    HELLO = 1  # JSON {queue, client, parameters} → JSON {version, seed, parameters}; declares the queue, first parameters win
    PUBLISH = 2  # → the positions that are confirmed, u32
    CONSUME = 3  # → see pack_messages; the mark is the delivery count
    SETTLE = 4  # settlement u8 (in 8 bytes), handles i64 → outcomes u8
    RECLAIM = 5  # → NUMBERS, the first one counts
    DEPTH = 6  # → NUMBERS: ready, in flight, delayed, dead
    PEEK = 7  # → one page, see pack_messages; the mark is the age of the hold in ns
    CLIENTS = 8  # → JSON list of names of other connections to the queue
    PURGE = 9  # → empty
    REFUSED = 15  # text: why


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages on the wire: entries, marks and payloads of one length."""

    entries: Ints
    marks: Ints
    payloads: Sequence[bytes]


def frame(op: Op, number: int, body: bytes = b"") -> bytes:
    """Returns a whole frame."""
    return HEAD.pack(len(body), op, number) + body


def frames(buffer: bytearray) -> Iterator[tuple[Op, int, bytes]]:
    """Yields the whole frames at the front of a buffer and takes them out of it; raises ValueError for what is none."""
    at = 0
    try:
        while len(buffer) - at >= HEAD.size:
            size, op, number = HEAD.unpack_from(buffer, at)
            if size > MAX_BODY:
                raise ValueError(f"a frame of {size:,} bytes; expected at most {MAX_BODY:,}")
            end = at + HEAD.size + size
            if len(buffer) < end:
                return
            body = bytes(memoryview(buffer)[at + HEAD.size : end])
            at = end
            yield Op(op), number, body
    finally:
        del buffer[:at]


def pack_messages(messages: Messages) -> bytes:
    """Returns ``count u32 · 4 bytes 0 · entries i64 · marks i64 · sizes i64 · payloads``."""
    count = len(messages.payloads)
    sizes = np.fromiter(map(len, messages.payloads), np.int64, count)
    numbers = np.concatenate([messages.entries, messages.marks, sizes]).astype("<i8")
    return b"".join([struct.pack("<I4x", count), numbers.tobytes(), *messages.payloads])


def unpack_messages(body: bytes) -> Messages:
    """Returns what :func:`pack_messages` packed."""
    (count,) = struct.unpack_from("<I4x", body)
    entries, marks, sizes = np.frombuffer(body, "<i8", 3 * count, 8).astype(np.int64).reshape(3, count)
    ends = 8 + 24 * count + np.cumsum(sizes)
    starts = ends - sizes
    payloads = [body[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return Messages(entries, marks, payloads)


def pack_settle(settlement: int, handles: Ints) -> bytes:
    """Returns the body of SETTLE."""
    return struct.pack("<B7x", settlement) + handles.astype("<i8").tobytes()


def unpack_settle(body: bytes) -> tuple[int, Ints]:
    """Returns the settlement and the handles."""
    return body[0], np.frombuffer(body, "<i8", offset=8).astype(np.int64)


def pack_flags(flags: Flags) -> bytes:
    """Returns outcomes as bytes."""
    return flags.astype(np.uint8).tobytes()
