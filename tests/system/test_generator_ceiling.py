"""The generator's ceiling on a real null broker, and a real run that comes near it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import calibrations
from harness.analysis.ceiling import NEAR
from harness.environment import fingerprint
from harness.experiment import ceiling
from harness.gate.noise import Ceiling
from harness.run.ceiling import generator
from harness.run.progress import Deaf
from harness.scenario.model import Phases
from harness.store import RunFolder
from tests.system.conftest import Bench
from tests.unit.scenario_support import read_text

pytestmark = pytest.mark.slow

SCENARIO = """
question: What can the generator do?
setups: ["null"]
deployment: embedded
load: {rate: 500/s, producers: 1}
workers: {count: 1, visibility: 1 s, sweep: 100 ms}
phases: {warmup: 200 ms, steady: 1 s, drain: 10 s}
"""


def test_producers_and_workers_keep_one_pace_at_the_ceiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceiling, "PHASES", Phases(warmup_s=0.5, steady_s=1.0, drain_s=30.0))
    monkeypatch.setattr(ceiling, "TRIALS", 1)
    monkeypatch.setenv("BROKERBENCH_STATE", str(tmp_path / "state"))
    scenario = read_text(tmp_path, SCENARIO)
    told = ceiling.measure_ceiling(scenario, scenario.cases[0], Deaf(), root=tmp_path / "runs", command="calibrate")
    assert told.rate_per_s > 500
    [run] = (tmp_path / "runs").iterdir()
    trial = RunFolder.open(run).load().cases[0].trials[0]
    whole = trial.metrics["whole"]
    backlog = whole["backlog.max"]
    assert isinstance(backlog, float)
    assert backlog <= ceiling.LEAST_READY + 2 * scenario.workers.prefetch + 2 * scenario.load.window
    assert trial.throughput_label["steady"] == "sustained"


def test_a_run_near_the_ceiling_says_so_and_again_when_its_figures_are_made_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKERBENCH_STATE", str(bench.home / "state"))
    scenario = read_text(bench.home, SCENARIO)
    load = generator(scenario.cases[0], scenario.agents)
    known = Ceiling(load=load, rate_per_s=600.0, trials=3, tool_version="1", measured_wall_ns=1)
    calibrations.write(fingerprint(bench.home), lambda stored: stored.with_ceiling(known))
    done = bench("run", bench.scenario("near", SCENARIO))
    assert done.code == 0, done.err
    [warning] = [each for each in done.trial.warnings if each.startswith(NEAR)]
    assert "of the 600/s that it reached on the null broker (told above 70 %)" in warning
    assert done.run is not None
    again = bench("report", str(done.run.path), "--json")
    [trial] = json.loads(again.out)["cases"][0]["trials"]
    assert warning in trial["warnings"]
