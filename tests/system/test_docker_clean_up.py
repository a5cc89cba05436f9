"""Whatever ends a run on Docker, nothing of it stays: no process, no container, no network, no volume, no swarm, no journal."""

from __future__ import annotations

import signal
import socket
import subprocess
from urllib.parse import urlsplit

import pytest

from harness.containers.engine import engine
from harness.containers.remains import found_by_name
from harness.record import RunRecord
from tests.shapes import phase, searched, struck
from tests.system.conftest import Bench

pytestmark = pytest.mark.slow

SCENARIO = """
question: Is anything left behind?
deployment: docker
network: {network}
setups: [redis-stream]
load: {{rate: 300/s}}
workers: {{count: 1, visibility: 1 s, sweep: 250 ms}}
phases: {{warmup: 1 s, steady: {steady}, drain: 20 s}}
faults: {faults}
"""
SHORT = {"steady": "2 s", "faults": "[]"}
STRUCK = {"steady": "12 s", "faults": "[{at: 6 s, kill: broker, restart_after: 4 s}]"}

PHASES = {
    "start of the broker": (phase("starting broker"), "bridge", SHORT),
    "start of the load": (phase("preparing"), "bridge", SHORT),
    "steady": (phase("steady"), "bridge", SHORT),
    "during a fault": (struck, "bridge", STRUCK),
    "drain": (phase("drain"), "host", SHORT),
    "analysis": (searched, "bridge", SHORT),
}


@pytest.mark.parametrize(
    "phases", [("start of the broker", "drain"), ("start of the load", "analysis")], ids=" and ".join
)
def test_after_sigkill_of_two_runs_at_once_their_minders_remove_everything(
    docker_bench: Bench, phases: list[str]
) -> None:
    worlds = [_world(docker_bench, when) for when in phases]
    started = [_start(world, when) for world, when in zip(worlds, phases, strict=True)]
    for world, process, when in zip(worlds, started, phases, strict=True):
        world.wait_for(process, PHASES[when][0])
        process.kill()
        process.communicate()
    assert [world.gone() for world in worlds] == [[], []]


def test_sigkill_and_ctrl_c_leave_nothing_of_a_load_that_comes_up_while_its_broker_does(docker_bench: Bench) -> None:
    worlds = [_world(docker_bench, end) for end in ("sigkill", "ctrl-c")]
    text = SCENARIO.format(network="bridge", **SHORT).replace("redis-stream", "postgres-lease")
    started = [world.start("run", world.scenario("clean-up", text)) for world in worlds]
    for world, process, number in zip(worlds, started, (signal.SIGKILL, signal.SIGINT), strict=True):
        world.wait_for(process, lambda lines, world=world: _has_load(world))  # type: ignore[misc]
        process.send_signal(number)
    started[0].communicate()
    _ended_in_order(worlds[1], started[1])
    assert worlds[0].gone() == []


def test_during_a_fault_sigkill_leaves_nothing_and_ctrl_c_ends_in_order(docker_bench: Bench) -> None:
    worlds = [_world(docker_bench, end) for end in ("sigkill", "ctrl-c")]
    killed, interrupted = (_start(world, "during a fault") for world in worlds)
    for world, process in zip(worlds, (killed, interrupted), strict=True):
        world.wait_for(process, struck)
        process.send_signal(signal.SIGKILL if process is killed else signal.SIGINT)
    killed.communicate()
    _ended_in_order(worlds[1], interrupted)
    (fault,) = worlds[1].finish(interrupted).folder.read_facts().faults
    assert fault.healed_ns is not None
    assert worlds[0].gone() == []


def test_two_runs_that_make_a_swarm_at_once_share_it_and_after_ctrl_c_of_both_it_is_left(docker_bench: Bench) -> None:
    before = engine().info()["Swarm"]["LocalNodeState"]
    if others := found_by_name(engine().api):
        pytest.skip(f"others run on this engine, whose names it would forget with a swarm: {', '.join(others)}")
    worlds = [_world(docker_bench, name) for name in ("one", "other")]
    swarm = SCENARIO.format(network="overlay", steady="30 s", faults="[]")
    started = [world.start("run", world.scenario("clean-up", swarm), "--init-swarm") for world in worlds]
    for world, process in zip(worlds, started, strict=True):
        world.wait_for(process, phase("preparing"))
    first, last = started
    first.send_signal(signal.SIGINT)
    finished = worlds[0].finish(first)
    assert finished.code == 130, finished.err
    assert finished.err.count("left: swarm") == 1, finished.err
    assert "brokerbench down removes it once that is over" in finished.err
    last.send_signal(signal.SIGINT)
    _ended_in_order(worlds[1], last)
    assert engine().info()["Swarm"]["LocalNodeState"] == before
    assert worlds[0]("down").code == 0
    assert worlds[0].leftovers() == []


def test_the_next_start_removes_a_killed_run_and_neither_a_living_one_nor_what_is_kept(docker_bench: Bench) -> None:
    kept = [docker_bench("up", "redis-stream", "--set", "persistence=none")]
    path = docker_bench.scenario("living", SCENARIO.format(network="bridge", steady="15 s", faults="[]"))
    living = docker_bench.start("run", path, "-o", str(docker_bench.home / "others"))
    killed = _start(docker_bench, "steady")
    docker_bench.wait_for(killed, PHASES["steady"][0])
    killed_id, living_id = (_record(docker_bench, folder).run_id for folder in ("runs", "others"))
    (minder,) = docker_bench.running("harness.minder", killed_id)
    minder.kill()
    killed.kill()
    killed.communicate()
    assert len(docker_bench.labelled({killed_id})) >= 3  # containers, network, volume
    its = docker_bench.labelled({living_id})

    kept.append(docker_bench("up", "redis-list"))
    assert docker_bench.labelled({killed_id}) == []
    assert docker_bench.labelled({living_id}) == its
    out, err = living.communicate(timeout=60)
    finished = _record(docker_bench, "others")
    assert finished.status == "finished", out + err
    assert [reason for reason in finished.cases[0].trials[0].reasons if "generator" not in reason] == []
    assert docker_bench.labelled({living_id}) == []

    assert [up.code for up in kept] == [0, 0]
    for up in kept:
        with socket.create_connection(("127.0.0.1", urlsplit(_address(up.out)).port or 0), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            assert connection.recv(100).startswith(b"-NOAUTH")
    down = docker_bench("down")
    assert down.code == 0, down.err
    assert sorted(line for line in down.out.splitlines() if line.startswith("what was kept")) == [
        "what was kept: redis-list@bridge",
        "what was kept: redis-stream[persistence=none]@bridge",
    ]
    assert docker_bench.gone() == []


def _has_load(bench: Bench) -> bool:
    """Returns whether the container of the load is there."""
    return any(name.endswith("-load") for name in bench.labelled(bench.run_ids()))


def _world(bench: Bench, name: str) -> Bench:
    """Returns a world below a world, for one of several runs at once; what it starts is ended with the other."""
    home = bench.home / name.replace(" ", "-")
    home.mkdir()
    return Bench(home, docker=True, started=bench.started)


def _start(bench: Bench, when: str) -> subprocess.Popen[str]:
    """Starts a run that comes to the phase soon."""
    _, network, further = PHASES[when]
    path = bench.scenario("clean-up", SCENARIO.format(network=network, **further))
    return bench.start("run", path)


def _ended_in_order(bench: Bench, process: subprocess.Popen[str]) -> None:
    finished = bench.finish(process)
    assert finished.code == 130, finished.err
    assert "Traceback" not in finished.err
    assert "left:" not in finished.err
    assert finished.trial.status == "interrupted"
    assert bench.leftovers() == []


def _record(bench: Bench, folder: str) -> RunRecord:
    (path,) = bench.home.glob(f"{folder}/*/run.json")
    return RunRecord.model_validate_json(path.read_text())


def _address(said: str) -> str:
    """Returns the address that ``up`` printed."""
    (line,) = (line for line in said.splitlines() if line.startswith("  address"))
    return line.split()[1]
