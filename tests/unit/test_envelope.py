"""The identity inside the payload: what is stamped is what is read, and what was damaged is noticed."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.envelope import HEADER_BYTES, Stamper, checksum, parse

U64 = (1 << 64) - 1


def words_checksum(data: bytes) -> int:
    """Returns the checksum as the module's text defines it, in plain Python."""

    def key(i: int) -> int:
        z = (i + 1) * 0x9E3779B97F4A7C15 & U64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & U64
        z = (z ^ z >> 27) * 0x94D049BB133111EB & U64
        return z ^ z >> 31

    data += bytes(-len(data) % 4)
    words = struct.unpack(f"<{len(data) // 4}I", data)
    return (key(0) + sum(key(i + 1) * word for i, word in enumerate(words)) & U64) >> 32


def stamped(payload_bytes: int = 256, count: int = 3) -> list[bytes]:
    stamper = Stamper(run_id=2**64 - 2, trial=2, producer=3, payload_bytes=payload_bytes, capacity=8)
    seqs = np.arange(count)
    return [row.tobytes() for row in stamper.stamp(seqs, np.ones(count, np.uint8), seqs * 1000)]


@settings(deadline=None)
@given(
    payload_bytes=st.integers(HEADER_BYTES, 700),
    rows=st.lists(
        st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(-(2**63), 2**63 - 1)),
        min_size=1,
        max_size=8,
    ),
    run_id=st.integers(0, U64),
    trial=st.integers(0, 2**16 - 1),
    producer=st.integers(0, 2**16 - 1),
)
def test_what_was_stamped_is_read_back(
    payload_bytes: int, rows: list[tuple[int, int, int]], run_id: int, trial: int, producer: int
) -> None:
    stamper = Stamper(run_id=run_id, trial=trial, producer=producer, payload_bytes=payload_bytes, capacity=8)
    seqs, attempts, intended = (np.array(column) for column in zip(*rows, strict=True))
    payloads = [row.tobytes() for row in stamper.stamp(seqs, attempts, intended)]
    assert {len(payload) for payload in payloads} == {payload_bytes}
    found = parse(payloads)
    assert found.readable.all()
    assert found.checksum_ok.all()
    assert set(found.run_id.tolist()) == {run_id}
    assert set(found.trial.tolist()) == {trial}
    assert set(found.producer.tolist()) == {producer}
    assert list(zip(found.seq.tolist(), found.attempt.tolist(), found.intended_ns.tolist(), strict=True)) == rows


def test_the_layout_is_the_one_that_other_languages_read() -> None:
    payload = stamped(payload_bytes=45)[2]
    magic, version, run_id, trial, producer, seq, attempt = struct.unpack_from("<3sBQHHIB", payload)
    intended_ns, header_sum, padding_sum = struct.unpack_from("<qII", payload, 24)
    assert (magic, version, run_id, trial, producer) == (b"BKB", 1, 2**64 - 2, 2, 3)
    assert (seq, attempt, intended_ns) == (2, 1, 2000)
    assert header_sum == words_checksum(payload[:32])
    assert padding_sum == words_checksum(payload[40:])


@given(st.binary(max_size=70))
def test_the_checksum_is_the_documented_one(data: bytes) -> None:
    row = np.frombuffer(data, np.uint8).reshape(1, -1)
    assert checksum(row).tolist() == [words_checksum(data)]


@given(st.integers(0, 255), st.integers(1, 255))
def test_any_changed_byte_is_noticed(at: int, change: int) -> None:
    whole = stamped()[0]
    damaged = whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :]
    found = parse([whole, damaged])
    assert found.checksum_ok.tolist() == [True, False]
    # bytes 0..35 are the header and its sum; 36..39 the sum of the padding, which the header does not cover
    assert found.readable.tolist() == [True, at >= 36]


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_payloads_that_are_not_ours_are_unreadable_and_stop_nothing(others: list[bytes]) -> None:
    ours = stamped()
    found = parse([*others, *ours])
    assert found.readable.tolist() == [False] * len(others) + [True] * len(ours)
    assert found.seq[len(others) :].tolist() == [0, 1, 2]
    assert found.checksum_ok.tolist() == found.readable.tolist()


def test_a_payload_cut_short_is_corrupt_even_where_its_header_is_whole() -> None:
    whole = stamped()[1]
    found = parse([whole[:100], whole[: HEADER_BYTES - 1], whole + b"x"])
    assert found.readable.tolist() == [True, False, True]
    assert found.checksum_ok.tolist() == [False, False, False]


def test_nothing_is_read_from_nothing() -> None:
    assert len(parse([]).readable) == 0


def test_a_payload_too_small_for_its_identity_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 40 B"):
        Stamper(run_id=1, trial=1, producer=1, payload_bytes=39, capacity=1)


def test_a_block_may_be_smaller_than_the_stamper() -> None:
    assert len(stamped(count=1)) == 1
