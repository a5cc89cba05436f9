"""PostgreSQL's binary forms of the few types that queue tables use: parameters from arrays, columns to arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from psycopg.pq.abc import PGresult

from harness.brokers.contract import Ints

INT8_OID, BYTEA_OID = 20, 17


def int8_array(values: Ints) -> bytes:
    """Returns ``bigint[]`` in binary form for an array of shape (n,)."""
    body = np.empty(len(values), [("size", ">i4"), ("value", ">i8")])
    body["size"], body["value"] = 8, values
    return _array(INT8_OID, len(values), body.tobytes())


def bytea_array(payloads: npt.NDArray[np.uint8]) -> bytes:
    """Returns ``bytea[]`` in binary form for rows of bytes, shape (n, width)."""
    count, width = payloads.shape
    body = np.empty((count, 4 + width), np.uint8)
    body[:, :4] = np.frombuffer(width.to_bytes(4), np.uint8)
    body[:, 4:] = payloads
    return _array(BYTEA_OID, count, body.tobytes())


def _array(oid: int, count: int, body: bytes) -> bytes:
    """Header of a one-dimensional array (``array_recv``): dimensions, null flag, element type, length, lower bound."""
    return np.array([1, 0, oid, count, 1], ">i4").tobytes() + body


def int4(value: int) -> bytes:
    """Returns an ``integer`` in binary form."""
    return value.to_bytes(4, signed=True)


def int8(value: int) -> bytes:
    """Returns a ``bigint`` in binary form."""
    return value.to_bytes(8, signed=True)


def float8(value: float) -> bytes:
    """Returns a ``double precision`` in binary form."""
    return np.array(value, ">f8").tobytes()


def int8_column(result: PGresult, column: int) -> Ints:
    """Returns a ``bigint`` column without NULLs, shape (rows,)."""
    return np.frombuffer(b"".join(bytea_column(result, column)), ">i8").astype(np.int64)


def int4_column(result: PGresult, column: int) -> Ints:
    """Returns an ``integer`` column without NULLs, shape (rows,)."""
    return np.frombuffer(b"".join(bytea_column(result, column)), ">i4").astype(np.int64)


def bytea_column(result: PGresult, column: int) -> list[bytes]:
    """Returns a column's values as they came; NULL as empty."""
    value = result.get_value
    return [value(row, column) or b"" for row in range(result.ntuples)]


def rows(result: PGresult) -> list[tuple[bytes | None, ...]]:
    """Returns all values as they came, NULL as None; for small results."""
    columns = range(result.nfields)
    return [tuple(result.get_value(row, column) for column in columns) for row in range(result.ntuples)]
