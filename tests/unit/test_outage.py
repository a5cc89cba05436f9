"""Outages of a broker that is not ours: nobody is connected, and nobody wanted it so."""

from __future__ import annotations

import polars as pl
import pytest

from harness import tables
from harness.run.outage import outage_words, outages

S = 10**9


def log(*rows: tuple[str, int, bool, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=tables.CONNECTIONS, orient="row")


BOTH_UP = (("p0", 1, True, "connected"), ("w0", 2, True, "connected"))


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ((), []),
        (BOTH_UP, []),
        ((*BOTH_UP, ("p0", 3, False, "closed"), ("w0", 4, False, "closed")), []),
        ((*BOTH_UP, ("p0", 3, False, "reset"), ("p0", 4, True, "reconnected")), []),
        ((*BOTH_UP, ("p0", 3, False, "reset"), ("w0", 4, False, "reset"), ("w0", 9, True, "reconnected")), [(4, 9)]),
        ((*BOTH_UP, ("p0", 3, False, "closed"), ("w0", 4, False, "reset")), [(4, None)]),
        ((*BOTH_UP, ("w0", 3, False, "reset"), ("p0", 4, False, "reset"), ("w0", 5, False, "reset")), [(4, None)]),
    ],
)
def test_an_outage_is_a_time_without_any_connection_that_nobody_closed(
    rows: tuple[tuple[str, int, bool, str], ...], found: list[tuple[int, int | None]]
) -> None:
    assert list(outages(log(*rows))) == found


def test_outages_are_told_from_the_start_of_the_load() -> None:
    rows = (("w0", 0, True, "connected"), ("w0", 5 * S, False, "reset"), ("w0", 7 * S, True, "reconnected"))
    assert outage_words(log(*rows), 2 * S) == "nobody could reach it from 3 s for 2 s (since the load began)"
    assert outage_words(log(*rows[:2]), 2 * S) == "nobody could reach it from 3 s on (since the load began)"
    assert outage_words(log(*rows[:1]), 2 * S) == ""
