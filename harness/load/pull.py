"""A file of another machine, whole, in chunks that are each checked: asked for again when wrong or unanswered, resumed after a cut.

The one side answers :func:`chunk`, the other :func:`pull`\\ s. What lies between is given: nothing here knows of sockets.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.clock import NS_PER_S, now_ns
from harness.errors import EvidenceError

LEAST_BYTES, FIRST_BYTES, MOST_BYTES = 1 << 14, 1 << 18, 1 << 20
"""Sizes of a chunk: it grows while chunks come, and shrinks where none comes in time, to what the line can carry."""
SILENCE_S = 60.0

Ask = Callable[[int, int], Mapping[str, Any]]
"""Offset and length → what :func:`chunk` returned there, {} where no answer came in time."""


def chunk(path: Path, offset: int, length: int) -> dict[str, Any]:
    """Returns ``data`` of a file and its CRC-32, as they are now."""
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(length)
    return {"data": data, "crc": zlib.crc32(data)}


def pull(ask: Ask, size: int, into: Path, *, silence_s: float = SILENCE_S, clock: Callable[[], int] = now_ns) -> None:
    """Makes ``into`` the copy of a file of ``size`` bytes.

    Args:
        ask: waits a bounded time for each answer. silence_s: how long no sound chunk may come.
        clock: returns ns; injected by tests.

    Raises:
        EvidenceError: no sound chunk came for that long; ``into`` is removed. So it is after any error of ``ask``.
        OSError: it cannot be written.
    """
    try:
        _pull(ask, size, into, silence_s, clock)
    except BaseException:
        into.unlink(missing_ok=True)
        raise


def _pull(ask: Ask, size: int, into: Path, silence_s: float, clock: Callable[[], int]) -> None:
    done, sound_ns, wrong, length = 0, clock(), 0, FIRST_BYTES
    with into.open("wb") as file:
        while done < size:
            wanted = min(length, size - done)
            got = ask(done, wanted)
            data = got.get("data", b"")
            if len(data) == wanted and zlib.crc32(data) == got.get("crc"):
                file.write(data)
                done, sound_ns = done + wanted, clock()
                length = min(2 * length, MOST_BYTES)
                continue
            length = max(length // 2, LEAST_BYTES)
            wrong += bool(got)
            if clock() - sound_ns > silence_s * NS_PER_S:
                break
    if done < size:
        damaged = f", {wrong} damaged" if wrong else ""
        raise EvidenceError(f"{done:,} of {size:,} bytes came, then none for {silence_s:g} s{damaged}")
