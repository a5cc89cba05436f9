"""The pytest plugin as its users have it: an installed entry point, in a pytest of its own, against the real null broker."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.conftest import NO_ENGINE

pytest_plugins = "pytester"
pytestmark = pytest.mark.slow

SCENARIO = """
question: Does it keep what it confirmed?
setups: [null]
load: {rate: 400/s}
workers: {count: 1, visibility: 500 ms, sweep: 200 ms}
phases: {warmup: 200 ms, steady: 1 s, drain: 10 s}
"""
TESTS = """
import pytest

kept = []

def test_a_rule_that_holds(brokerbench):
    result = brokerbench.run("asked.yaml", setups=[{"null": {"forget": 3}}], load__rate="300/s")
    kept.append(result)
    result.require("throughput >= 100/s", "class.phantom == 0")
    assert result.record.overrides == ['setups=[{"null": {"forget": 3}}]', "load.rate=300/s"]

def test_a_rule_that_is_broken(brokerbench):
    kept[0].require("loss.confirmed == 0")

def test_an_invalid_run_of_which_nothing_is_asked(brokerbench):
    kept.append(brokerbench.run("asked.yaml", load__tick="1 s"))

def test_an_invalid_run_that_is_asked(brokerbench):
    kept[1].require("loss.confirmed == 0")
"""


def test_the_plugin_is_found_by_every_pytest_in_whose_environment_brokerbench_is() -> None:
    [found] = [each for each in entry_points(group="pytest11") if each.name == "brokerbench"]
    assert found.value == "harness.pytest_plugin"


def test_rules_hold_or_fail_and_what_proves_nothing_is_an_error(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**NO_ENGINE, "BROKERBENCH_STATE": str(pytester.path / "state"), "COLUMNS": "160"}.items():
        monkeypatch.setenv(name, value)
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    folder = pytester.mkdir("tests")  # scenarios are found beside the test, from whatever folder pytest is called
    (folder / "asked.yaml").write_text(SCENARIO)
    (folder / "test_gate.py").write_text(TESTS)
    done = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider", "tests/test_gate.py")
    done.assert_outcomes(passed=2, failed=2, errors=1)
    page = done.stdout.str()
    assert (
        "RuleBroken: FAIL: loss.confirmed == 0, null[forget=3]@embedded: 3 in cases/null-forget-3-embedded/trial-1"
        in page
    )
    assert "✗ FAIL   loss.confirmed == 0     3  1 trial" in page
    assert "ERROR at teardown of test_an_invalid_run_of_which_nothing_is_asked" in page
    assert (
        "asked proves nothing, and nothing was asked of it: null@embedded: trial 1 invalid: generator saturated" in page
    )
    assert "EvidenceError: INVALID: loss.confirmed == 0, null@embedded: cases/null-embedded/trial-1 is invalid" in page
    frames = [line for line in page.splitlines() if "harness/" in line and ".py:" in line]
    assert frames == []
    assert not any(Path("/dev/shm").glob(f"*{pytester.path.name}*"))
