"""``brokerbench sweep`` against the real null broker: a knee that is known is found, and a Ctrl-C keeps what was run."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.system.conftest import Bench

pytestmark = pytest.mark.slow

ASKED = """
question: From how many workers on does the broker, which hands out 400/s, carry no more?
setups: [{null: {service_rate: 400/s}}]
deployment: embedded
load: {rate: 450/s, arrival: constant}
workers: {count: 1, prefetch: 10, work: {constant: 4 ms}, settle: {batch: 5}, visibility: 1 s, sweep: 200 ms}
phases: {warmup: 200 ms, steady: 1500 ms, drain: 30 s}
"""
"""One worker carries less than 250/s, four would carry some 900/s: from four on the broker is what limits."""


@pytest.fixture
def asked(bench: Bench) -> Path:
    path = bench.home / "asked.yaml"
    path.write_text(ASKED)
    return path


@pytest.mark.alone
def test_the_knee_of_a_broker_of_a_known_rate_is_found_and_drawn(bench: Bench, asked: Path) -> None:
    done = bench("sweep", str(asked), "--over", "workers.count=8,1,4", "--json", "--order-seed", "5")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    [curve] = told["curves"]
    assert [point["value"] for point in curve["points"]] == ["1", "4", "8"]
    one, four, eight = (point["seen"]["throughput"]["median"] for point in curve["points"])
    assert 50 < one < 250
    assert four == pytest.approx(400, rel=0.05)
    assert eight == pytest.approx(400, rel=0.05)
    assert (curve["knee"]["found"], curve["knee"]["value"]) == ("knee", "4")
    [folder] = bench.runs.iterdir()
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "sweep.json").read_text()) == told
    for ran in told["runs"]:
        record = json.loads((folder / ran["run"] / "run.json").read_text())
        assert f"workers.count={ran['value']}" in record["overrides"]
    assert bench.gone() == []


def test_a_ctrl_c_ends_with_130_and_says_what_is_known(bench: Bench, asked: Path) -> None:
    process = bench.start("sweep", str(asked), "--over", "workers.count=4,8", "--set", "phases.steady=20 s")
    assert process.stderr is not None
    assert any(line.startswith("  steady") for line in process.stderr)
    os.kill(process.pid, signal.SIGINT)
    done = bench.finish(process)
    assert done.code == 130
    assert "no knee: only 0 of 2 values were run" in done.out
    assert "INTERRUPTED after 0 of 2 trials" in done.out
    [folder] = bench.runs.iterdir()
    assert json.loads((folder / "sweep.json").read_text())["status"] == "interrupted"
    assert bench.gone() == []
