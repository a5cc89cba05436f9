"""``brokerbench ab`` as a user meets it: against the null broker, here and by another Python, interrupted, killed and gone on with."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from harness.containers.building import reference
from harness.containers.engine import engine
from harness.experiment.pairs import coin
from harness.gate.outcome import Outcome
from harness.gate.pairs import PairsRecord
from harness.pairs_folder import PairsFolder
from tests.system.conftest import Bench

pytestmark = pytest.mark.slow

SCENARIO = """
question: Does B lose what A keeps?
setups: ["null": {}]
deployment: embedded
load: {rate: 500/s}
workers: {count: 1, visibility: 300 ms, sweep: 100 ms}
phases: {warmup: 100 ms, steady: 1 s, drain: 20 s}
"""
TOO_FEW = """
[[rule]]
id = "p99"
metric = "latency.end_to_end.p99"
max_worse = "25%"

[[rule]]
id = "no-loss"
metric = "loss.confirmed"
require = "== 0"
"""
"""A second of 500/s has no p99: the rule is without evidence after one pair, and nothing waits for another."""

A_FIRST = next(seed for seed in range(100) if coin(seed, 0, 1) == "a")


def record_of(bench: Bench) -> PairsRecord:
    return folder_of(bench).load()


def folder_of(bench: Bench) -> PairsFolder:
    [path] = bench.runs.glob("*/ab.json")
    return PairsFolder.open(path)


def under_load(bench: Bench, started: subprocess.Popen[str], side: str) -> None:
    """Waits until a trial of this side is under load."""
    limit = time.monotonic() + 60
    while not any(
        '"steady"' in path.read_text() for path in bench.runs.rglob(f"pair-*-{side}/*/cases/*/*/timeline.jsonl")
    ):
        assert started.poll() is None, started.communicate()[1]
        assert time.monotonic() < limit, "no load within 60 s"
        time.sleep(0.02)


def test_a_comparison_is_interrupted_killed_and_gone_on_with_to_its_end(bench: Bench) -> None:
    """A is run here and B, which loses three messages, by another Python; nothing is left at any end."""
    scenario = bench.scenario("loses", SCENARIO)
    (bench.home / "rules.toml").write_text(TOO_FEW)
    asked = [
        "ab",
        scenario,
        "--b",
        "setups.null.forget=3",
        "--b-python",
        sys.executable,
        "--rules",
        "rules.toml",
        "--quick",
    ]
    started = bench.start(*asked, "--others", "100%", "--order-seed", str(A_FIRST))
    under_load(bench, started, "a")
    started.send_signal(signal.SIGINT)
    ended = bench.finish(started)
    folder = folder_of(bench).path.relative_to(bench.home)
    assert ended.code == 130
    assert f"interrupted after 0 whole pairs; all is kept in {folder}" in ended.err
    assert f"brokerbench ab --resume {folder}" in ended.err
    assert "Exit code 130" in ended.out
    assert bench.gone() == []

    started = bench.start("ab", "--resume", str(folder))
    under_load(bench, started, "b")
    started.kill()
    started.communicate()
    assert bench.gone() == []

    finished = bench("ab", "--resume", str(folder), "--json")
    assert finished.code == 10, finished.err  # the loss is proven, whatever else lacks evidence
    assert finished.err == ""
    told = Outcome.model_validate_json(finished.out)
    assert [(row.rule, row.verdict.value) for row in told.rows] == [("p99", "INVALID"), ("no-loss", "FAIL")]
    record = record_of(bench)
    assert (record.status, record.outcome) == ("finished", told)
    assert [(ran.side, ran.status, bool(ran.discarded)) for ran in record.trials] == [
        ("a", "interrupted", True),
        ("a", "valid", True),
        ("b", "interrupted", True),
        ("a", "valid", False),
        ("b", "valid", False),
    ]
    assert [side.what for side in told.sides] == ["as written", f"setups.null.forget=3, {sys.executable}"]
    assert bench.gone() == []
    again = bench("ab", "--resume", str(folder))
    assert again.code == 2
    assert "has come to its end" in again.err


@pytest.mark.xdist_group("docker")
def test_each_side_runs_in_the_image_that_it_names(docker_bench: Bench) -> None:
    """The image of A under a name of its own, which goes with the test, is B's."""
    ours = reference("redis")
    if not engine().images.list(ours):
        pytest.skip(f"the image {ours} is not here: brokerbench images build")
    name = f"brokerbench-test/{docker_bench.home.name.replace('_', '-')}:b"
    engine().images.get(ours).tag(name)
    try:
        scenario = docker_bench.scenario(
            "images", SCENARIO.replace('"null": {}', "redis-stream").replace("embedded", "docker\nclient: host")
        )
        (docker_bench.home / "rules.toml").write_text(TOO_FEW)
        asked = ["ab", scenario, "--a-image", ours, "--b-image", f"redis={name}", "--rules", "rules.toml", "--quick"]
        finished = docker_bench(*asked, "--json", "--others", "100%")
        assert finished.code == 13, finished.err
        record = record_of(docker_bench)
        trials = folder_of(docker_bench).trials(record)
        [pair] = record.cases[0].pairs
        ran = [trials[run].run.cases[0].image for run in (pair.a, pair.b)]
        assert [image.reference for image in ran if image is not None] == [ours, name]
        told = Outcome.model_validate_json(finished.out)
        assert told.rows[0].verdict.value == "INVALID"  # the images are what is compared: nothing is refused for them
        assert [side.what for side in told.sides] == [f"image {ours}", f"image {name}"]
        assert docker_bench.gone() == []
    finally:
        engine().images.remove(name)
