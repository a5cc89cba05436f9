"""What ``check`` says of a scenario: times as they were asked for."""

from __future__ import annotations

import pytest

from harness.scenario.describe import _exactly


@pytest.mark.parametrize(
    ("value_s", "text"),
    [
        (6.999, "6.999 s"),
        (7.0, "7 s"),
        (0.25, "250 ms"),
        (0.0125, "12.5 ms"),
        (0.00002, "20 µs"),
        (0.0, "0 s"),
        (3600.0, "3600 s"),
        (100.4, "100.4 s"),
        (0.1 + 0.2, "300 ms"),
    ],
)
def test_a_time_that_was_asked_for_is_not_rounded(value_s: float, text: str) -> None:
    assert _exactly(value_s) == text
