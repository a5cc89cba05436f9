"""Whatever ends a run, nothing of it stays: no process, no folder, no shared memory, no journal."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.shapes import phase, struck
from tests.system.conftest import Bench

pytestmark = pytest.mark.slow

SCENARIO = """
question: Is anything left behind?
setups: [{setup}]
load: {{rate: 1000/s}}
workers: {{count: 2, work: {{constant: 1500 us}}, visibility: 2 s, sweep: 500 ms}}
phases: {{warmup: 1 s, steady: {steady}, drain: 20 s}}
{faults}
"""
FAULT = "faults: [{at: 6 s, kill: broker, restart_after: 2 s}]"

AFTER_THE_LOAD = ("drain", "analysis")
"""Their tests need no fault before, which would take its time."""

PHASES = {
    "start of the broker": phase("starting broker"),
    "prepare": phase("preparing"),
    "warm-up": phase("warm-up"),
    "steady": phase("steady"),
    "during a fault": struck,
    "drain": phase("drain"),
    "analysis": lambda lines: any(line["kind"] == "down" for line in lines),
}


@pytest.mark.parametrize("setup", ["redis-stream", "postgres-lease"])
@pytest.mark.parametrize("when", PHASES)
def test_after_sigkill_of_the_harness_the_minder_removes_everything(bench: Bench, when: str, setup: str) -> None:
    process = _at(bench, when, setup)
    process.kill()
    process.communicate()
    assert bench.gone() == []


@pytest.mark.parametrize("when", ["start of the broker", "steady", "during a fault", "drain"])
def test_after_sigkill_of_harness_and_minder_down_removes_everything(bench: Bench, when: str) -> None:
    process = _at(bench, when, "postgres-lease")
    minders = bench.running("harness.minder")
    assert len(minders) == 1
    minders[0].kill()
    process.kill()
    process.communicate()
    down = bench("down")
    assert down.code == 0, down.out + down.err
    assert bench.gone() == []


@pytest.mark.parametrize("when", PHASES)
def test_ctrl_c_ends_in_order_with_130_and_keeps_the_partial_run(bench: Bench, when: str) -> None:
    process = _at(bench, when, "redis-stream")
    process.send_signal(signal.SIGINT)
    finished = bench.finish(process)
    assert finished.code == 130, finished.err
    assert "Traceback" not in finished.err
    assert finished.record.status == "interrupted"
    assert finished.trial.status == ("valid" if when == "analysis" else "interrupted")
    assert (len(finished.table("messages")) > 0) == (when not in ("start of the broker", "prepare"))
    assert bench.gone() == []


def test_a_fault_is_healed_on_ctrl_c_before_the_run_ends(bench: Bench) -> None:
    process = _at(bench, "during a fault", "redis-stream")
    process.send_signal(signal.SIGINT)
    finished = bench.finish(process)
    (fault,) = finished.folder.read_facts().faults
    assert fault.healed_ns is not None


def test_a_second_ctrl_c_leaves_at_once_and_the_minder_cleans_up(bench: Bench) -> None:
    process = _at(bench, "steady", "postgres-lease")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    assert bench.finish(process).code == 130
    assert bench.gone() == []


def test_two_runs_at_once_do_not_touch_each_other(bench: Bench) -> None:
    first = _at(bench, "steady", "redis-stream")
    path = _scenario(bench, "second", "redis-stream", steady="9 s", faults=FAULT)
    second = bench.start("run", path, "-o", str(bench.home / "others"))
    second.send_signal(signal.SIGSTOP)  # it can neither end nor clean up before it is killed
    os.kill(second.pid, signal.SIGKILL)
    second.communicate()
    assert bench("down").code == 0
    finished = bench.finish(first)
    assert finished.code == 0, finished.out + finished.err
    assert finished.trial.status == "valid"
    assert bench.gone() == []


def _at(bench: Bench, when: str, setup: str) -> subprocess.Popen[str]:
    short = when in AFTER_THE_LOAD
    steady, faults = ("2 s", "") if short else ("9 s", FAULT)
    process = bench.start("run", _scenario(bench, "clean-up", setup, steady=steady, faults=faults))
    bench.wait_for(process, PHASES[when])
    return process


def _scenario(bench: Bench, name: str, setup: str, *, steady: str, faults: str) -> str:
    return bench.scenario(name, SCENARIO.format(setup=setup, steady=steady, faults=faults))
