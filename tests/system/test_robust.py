"""Things that go wrong outside the scenario: readers that leave, servers that others kill, damaged tables."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from harness.model import TrialStatus
from tests.system.conftest import COMMAND, Bench

pytestmark = pytest.mark.slow

SCENARIO = """
question: What if something else goes wrong?
setups: [{setup}]
load: {{rate: 1000/s}}
workers: {{count: 2, visibility: 1 s, sweep: 500 ms{more}}}
phases: {{warmup: 500 ms, steady: {steady}, drain: 20 s}}
"""


def scenario(bench: Bench, setup: str, steady: str = "2 s", more: str = "") -> str:
    """Writes a scenario and returns its path."""
    return bench.scenario("wrong", SCENARIO.format(setup=setup, steady=steady, more=more))


def steady(lines: list[dict[str, object]]) -> bool:
    """True once the measured part has begun."""
    return any(line.get("phase") == "steady" for line in lines)


def test_a_broker_that_somebody_else_kills_is_no_verdict_on_its_setup(bench: Bench) -> None:
    process = bench.start("run", scenario(bench, "redis-stream", "20 s"))
    bench.wait_for(process, steady)
    servers = [p for p in bench.processes() if p.name() == "redis-server"]
    assert len(servers) == 1
    servers[0].kill()
    finished = bench.finish(process)
    assert finished.code == 13, finished.out
    assert finished.trial.status is TrialStatus.INVALID
    assert any("broker ended unexpectedly" in reason for reason in finished.trial.reasons), finished.trial.reasons
    assert "VIOLATED" not in finished.out
    assert bench.gone() == []


def test_ctrl_c_reaches_a_run_whose_reader_goes_with_it(bench: Bench) -> None:
    words = f"{' '.join(map(repr, COMMAND))} run {scenario(bench, 'redis-stream', '20 s')} 2>&1 | cat > output"
    shell = subprocess.Popen(
        ["bash", "-c", words], cwd=bench.home, env=bench.environment(), start_new_session=True, text=True
    )
    bench.started.append(shell)
    bench.wait_for(shell, steady)
    os.killpg(shell.pid, signal.SIGINT)
    shell.wait(timeout=60)
    assert bench.gone() == []
    (record,) = bench.runs.glob("*/run.json")
    assert '"status": "interrupted"' in record.read_text()


@pytest.mark.parametrize("words", [["list"], ["check", "quickstart"], ["schema"], ["run", "smoke", "--quiet"]])
def test_a_reader_that_leaves_early_does_not_change_the_exit_code(bench: Bench, words: list[str]) -> None:
    process = bench.start(*words)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None  # so that communicate() takes the rest of stderr only
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_one_damaged_table_costs_its_trial_and_leaves_the_folder_as_it_was(bench: Bench) -> None:
    finished = bench("run", scenario(bench, "null, redis-list"))
    assert finished.run is not None
    record = (finished.run.path / "run.json").read_bytes()
    (finished.run.path / "cases/null-embedded/trial-1/deliveries.parquet").write_bytes(b"PAR1")
    again = bench("report", str(finished.run.path))
    assert again.code == 70, again.out
    assert "deliveries.parquet" in again.err
    assert "redis-list@embedded: kept every confirmed message" in again.out.replace("\n", " ")
    assert (finished.run.path / "run.json").read_bytes() == record


@pytest.mark.parametrize("setup", ["redis-stream", "redis-reliable-list", "postgres-lease", "postgres-delete", "null"])
def test_auto_ack_runs_on_every_setup_and_is_labelled(bench: Bench, setup: str) -> None:
    finished = bench("run", scenario(bench, setup, "1 s", ", ack: auto"))
    assert finished.trial.status is TrialStatus.VALID, finished.trial.reasons
    assert "auto-ack" in finished.out


def test_a_console_that_knows_no_signs_gets_a_table_all_the_same(bench: Bench) -> None:
    finished = bench("run", "smoke", PYTHONIOENCODING="ascii")
    assert finished.code == 0, finished.err
    assert "VERDICT" in finished.out
    finished.out.encode("ascii")
