"""PostgreSQL's binary forms, against psycopg's own dumpers."""

from __future__ import annotations

import numpy as np
import pytest
from psycopg.adapt import PyFormat, Transformer

from harness.brokers import _pgbinary


def dumped(value: object) -> bytes:
    transformer = Transformer()
    return bytes(transformer.get_dumper(value, PyFormat.BINARY).dump(value) or b"")


@pytest.mark.parametrize("count", [1, 2, 257])
def test_arrays_are_what_psycopg_would_send(count: int) -> None:
    wide = np.arange(count) + 2**40
    assert _pgbinary.int8_array(wide) == dumped(wide.tolist())
    payloads = np.random.default_rng(1).integers(0, 256, (count, 40), np.uint8)
    assert _pgbinary.bytea_array(payloads) == dumped([row.tobytes() for row in payloads])


def test_single_values_are_big_endian() -> None:
    assert (_pgbinary.int8(-2), _pgbinary.int4(258)) == (b"\xff" * 7 + b"\xfe", b"\0\0\1\2")
    assert _pgbinary.float8(1.5) == b"\x3f\xf8" + bytes(6)
