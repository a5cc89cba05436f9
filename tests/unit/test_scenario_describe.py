"""What ``check`` says of a scenario: times as they were asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.scenario.describe import _exactly, describe
from tests.unit.scenario_support import MINIMAL, read_text


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


@pytest.mark.parametrize(
    ("fault", "left"),
    [
        ("kill: broker, restart_after: 2 s", ""),
        ("kill: broker, restart_after: 2001 ms", "2.999 s"),
        ("pause: broker, for: 5 s", "0 s"),
        ("restart: broker", ""),
        ("kill: worker, replace_after: 4 s", ""),
    ],
)
def test_too_little_load_after_a_fault_of_the_broker_to_see_a_recovery_is_said(
    tmp_path: Path, fault: str, left: str
) -> None:
    text = f"{MINIMAL}phases: {{steady: 15 s}}\nfaults: [{{at: 10 s, {fault}}}]\n"
    said = [line for line in describe(read_text(tmp_path, text)).splitlines() if line.startswith("warning")]
    why = "too short to see a recovery; make phases.steady longer"
    assert said == ([f"warning: {left} of load after that fault: {why}"] if left else [])
