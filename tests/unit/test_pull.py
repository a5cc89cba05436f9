"""A file comes whole whatever happens on the way: chunks that are damaged, cut short, or never answered."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import EvidenceError
from harness.load.pull import FIRST_BYTES, LEAST_BYTES, MOST_BYTES, chunk, pull

S = 1_000_000_000


class Line:
    """What lies between two machines: answers each question as ``mischief`` says, and takes ``cost_s`` for it."""

    def __init__(self, source: Path, mischief: Iterator[str], cost_s: float = 5.0) -> None:
        self._source, self._mischief, self._cost_ns = source, mischief, int(cost_s * S)
        self.asked: list[tuple[int, int]] = []
        self.now_ns = 0

    def clock(self) -> int:
        return self.now_ns

    def __call__(self, offset: int, length: int) -> dict[str, Any]:
        self.asked.append((offset, length))
        what = next(self._mischief, "sound")
        answer = chunk(self._source, offset, length)
        if what == "silent":
            self.now_ns += self._cost_ns
            return {}
        if what == "damaged":
            data = bytearray(answer["data"])
            data[len(data) // 2] ^= 1
            return answer | {"data": bytes(data)}
        if what == "short":
            data = answer["data"][:-1]
            return {"data": data, "crc": zlib.crc32(data)}
        return answer


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "w0.slots"
    path.write_bytes(np.random.default_rng(1).integers(0, 256, 5 * MOST_BYTES + 123, np.uint8).tobytes())
    return path


def test_a_file_comes_whole_in_chunks_that_grow(source: Path, tmp_path: Path) -> None:
    line = Line(source, iter(()))
    pull(line, source.stat().st_size, tmp_path / "copy", clock=line.clock)
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert [length for _, length in line.asked[:4]] == [FIRST_BYTES, 2 * FIRST_BYTES, MOST_BYTES, MOST_BYTES]


def test_what_is_damaged_short_or_unanswered_is_asked_for_again_from_where_it_was(source: Path, tmp_path: Path) -> None:
    line = Line(source, iter(["sound", "damaged", "short", "silent", "silent", "sound", "silent"]))
    pull(line, source.stat().st_size, tmp_path / "copy", clock=line.clock)
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert [offset for offset, _ in line.asked[1:6]] == [FIRST_BYTES] * 5
    assert min(length for _, length in line.asked) >= LEAST_BYTES


def test_only_as_much_as_is_told_of_comes(source: Path, tmp_path: Path) -> None:
    line = Line(source, iter(()))
    pull(line, 1000, tmp_path / "copy", clock=line.clock)
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()[:1000]
    pull(line, 0, tmp_path / "empty", clock=line.clock)
    assert (tmp_path / "empty").read_bytes() == b""


def test_a_line_that_stays_cut_ends_after_the_silence_and_leaves_no_half_file(source: Path, tmp_path: Path) -> None:
    line = Line(source, iter(["sound", "damaged", *["silent"] * 100]))
    with pytest.raises(EvidenceError, match=r"262,144 of 5,243,003 bytes came, then none for 20 s, 1 damaged"):
        pull(line, source.stat().st_size, tmp_path / "copy", silence_s=20, clock=line.clock)
    assert not (tmp_path / "copy").exists()
    assert line.now_ns == 25 * S
