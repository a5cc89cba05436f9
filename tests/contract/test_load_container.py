"""The load in a container: it answers, ends with its pipe, and what it saw comes back whole. A real engine, a real Redis beside it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from harness import brokers
from harness.brokers import open_driver
from harness.brokers.contract import DriverOptions
from harness.clock import now_ns
from harness.containers.engine import engine
from harness.containers.images import load_image
from harness.deployments._load_container import LoadContainer
from harness.deployments.contract import CONTAINER, Broker, BrokerOptions, Incident, LoadPlace
from harness.deployments.docker import DockerDeployment
from harness.environment import realtime_permitted
from harness.errors import StartError
from harness.facts import KILLED_FOR_MEMORY
from harness.gather import gather
from harness.journal import Journal
from harness.load.plan import FleetPlan
from harness.load.seam import Fleet
from harness.model import Container, Site
from tests.contract.line import eventually
from tests.shapes import idle_workers, phases, steady_load

pytestmark = pytest.mark.xdist_group("docker")

SETUP = brokers.setup("redis-stream")
RATE_PER_S = 1000.0
STEADY_S = 30.0
"""More than any test takes: each ends the load itself."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A load that runs in its container, on the network of a broker in another."""

    fleet: Fleet
    plan: FleetPlan
    broker: Broker

    @property
    def container(self) -> docker.models.containers.Container:
        """Returns the load's container, as the engine knows it."""
        return engine().containers.get(f"{self.plan.queue}-load")

    def wait_for(self, count: str, at_least: int) -> None:
        """Waits until the live counts have come so far."""
        eventually(lambda: self.fleet.live().total(count) >= at_least, f"{at_least} {count}")

    def gone(self) -> bool:
        """Returns whether the load's container is no longer there, or has ended."""
        with suppress(docker.errors.NotFound):
            return str(self.container.status) == "exited"
        return True


@pytest.fixture(params=["bridge", "host"])
def line(request: pytest.FixtureRequest, journal: Journal, tmp_path: Path) -> Iterator[Line]:
    """Starts a broker and a load of one producer and two workers on the network."""
    with ExitStack() as cleanup:
        started = _started(request.param, journal, tmp_path, cleanup)
        started.fleet.wait_ready(60)
        yield started


def _started(network: str, journal: Journal, logs: Path, cleanup: ExitStack, address: str = "") -> Line:
    deployment, site = DockerDeployment(), Site(network=network, client="container", container=Container())
    if reason := deployment.unavailable(SETUP, site):
        pytest.skip(reason)
    number = len(list(journal.slot_folder().iterdir())) + 100
    run_id, queue, parameters = int(journal.run_id, 16), f"bb_{journal.run_id}_{number}", SETUP.complete({})
    folder = journal.temp_folder(f"load-{number}") / "broker"
    options = BrokerOptions(
        setup=SETUP, parameters=parameters, folder=folder, logs=logs, journal=journal, queues=(queue,), site=site
    )
    broker = deployment.up(options)
    cleanup.callback(broker.down)
    driver = open_driver(
        DriverOptions(setup=SETUP.name, client="prepare", address=broker.address, queue=queue, parameters=parameters)
    )
    driver.connect()
    driver.prepare()
    driver.close()
    plan = FleetPlan(
        run_id=run_id,
        trial=number,
        folder=journal.folder(journal.slot_folder() / f"0-{number}"),
        logs=logs,
        place=broker.load_place,
        setup=SETUP.name,
        address=address or broker.load_address,
        queue=queue,
        parameters=parameters,
        load=steady_load(RATE_PER_S, STEADY_S),
        workers=idle_workers(),
        phases=phases(STEADY_S),
        seed=1,
    )
    fleet = Fleet.start(plan, journal)
    cleanup.callback(fleet.close)
    return Line(fleet=fleet, plan=plan, broker=broker)


def test_a_load_in_a_container_reads_our_clock_and_what_it_saw_comes_back_whole(line: Line, tmp_path: Path) -> None:
    fleet, place = line.fleet, line.plan.place
    assert (place.name, fleet.shared_clock) == (CONTAINER, True)
    scheduling = {shard.name: shard.scheduling for shard in fleet.shards()}
    assert scheduling == {"p0": "fifo" if realtime_permitted() else "other", "w0": "other", "w1": "other"}
    before = place.usage()
    assert before is not None
    fleet.go(now_ns() + 100_000_000)
    line.wait_for("settled", 500)
    (killed,) = fleet.kill(["w1"]).items()
    assert (killed[0], killed[1]["status"]) == ("w1", -signal.SIGKILL)
    assert fleet.replace("w1") == "w1.1"
    line.wait_for("settled", 1000)
    used = place.usage()
    assert used is not None
    assert used.cpu_s is not None
    assert before.cpu_s is not None
    assert used.cpu_s > before.cpu_s > 0
    assert used.memory_bytes is not None
    assert used.memory_bytes > 10_000_000
    if line.container.attrs["HostConfig"]["NetworkMode"] == "host":
        assert used.network_sent_bytes is None, "what crosses the host's interfaces is everybody's"
    else:
        assert used.network_sent_bytes is not None
        assert used.network_sent_bytes > 500 * line.plan.load.payload_bytes
    fleet.finish_producers(5)
    fleet.stop_workers(5)
    fleet.close()
    assert line.gone()
    found = gather(line.plan.folder, fleet.shards(), {}, tmp_path, run_id=line.plan.run_id, trial=line.plan.trial)
    assert (found.problems, found.other_clocks) == ((), ())
    assert all(shard.slots_found >= shard.slots_reported > 0 for shard in found.shards if shard.name != "w1.1")
    assert {path.stat().st_uid for path in line.plan.folder.iterdir()} == {os.getuid()}


@pytest.mark.parametrize("line", ["bridge"], indirect=True)
def test_a_load_whose_docker_cli_is_killed_ends_and_keeps_its_slots(line: Line, tmp_path: Path) -> None:
    line.fleet.go(now_ns() + 100_000_000)
    line.wait_for("settled", 200)
    os.kill(line.fleet.pid, signal.SIGKILL)
    eventually(line.gone, "the container has ended with its pipe")
    line.fleet.close()
    why = "the docker CLI, which carries the load's pipes, was ended by SIGKILL"
    told = [(each.source, each.what, each.text) for each in line.plan.place.incidents()]
    assert told == [("load", "ended", f"nobody ended the load: {why}")]
    assert not any(shard.expected_exit for shard in line.fleet.shards())
    found = gather(line.plan.folder, line.fleet.shards(), {}, tmp_path, run_id=line.plan.run_id, trial=line.plan.trial)
    assert found.problems == ()
    assert all(shard.slots_found >= shard.slots_reported > 0 for shard in found.shards)
    assert sum(shard.slots_found for shard in found.shards if shard.kind == "worker") >= 200


@pytest.mark.parametrize("line", ["bridge"], indirect=True)
@pytest.mark.parametrize(
    ("victim", "text"),
    [
        ("p0", "the kernel killed 1 of the load's processes for memory"),
        ("", "the kernel killed the load's container for memory"),
    ],
)
def test_a_load_that_the_kernel_kills_for_memory_says_so(line: Line, victim: str, text: str) -> None:
    shards = {shard.name: shard.pid for shard in line.fleet.shards()}
    place, container = line.plan.place, line.container
    assert place.incidents() == []
    inside = f"echo 1000 > /proc/{shards.get(victim, 1)}/oom_score_adj"
    assert container.exec_run(["sh", "-c", inside]).exit_code == 0
    used = place.usage()
    assert used is not None
    assert used.memory_bytes is not None
    limit = used.memory_bytes + (32 << 20)
    container.update(mem_limit=limit, memswap_limit=limit)
    container.exec_run(["python3", "-c", f"import time; held = b'x' * {48 << 20}; time.sleep(60)"], detach=True)
    told: list[Incident] = []

    def killed() -> bool:
        place.usage()
        told.extend(place.incidents())
        return text in [each.text for each in told]

    eventually(killed, "it was not killed for memory")
    assert {(each.source, each.what) for each in told} == {("load", KILLED_FOR_MEMORY)}
    eventually(lambda: not {shard.name: shard for shard in line.fleet.shards()}["p0"].expected_exit, "p0 has not ended")
    ended = {shard.name: shard for shard in line.fleet.shards()}["p0"]
    assert ended.exit_status == (-signal.SIGKILL if victim else None)


def test_a_launched_load_is_ended_at_any_moment_and_leaves_no_container(journal: Journal, tmp_path: Path) -> None:
    if reason := DockerDeployment().unavailable(SETUP, Site(network="host", client="container", container=Container())):
        pytest.skip(reason)
    before, at_once, later = (_plan_of(journal, tmp_path, number, "host") for number in (901, 902, 903))
    before.place.end()
    fleet = Fleet.launch(before, journal)
    with pytest.raises(StartError, match="ended before it was made"):
        fleet.connect("redis://127.0.0.1:1")
    fleet.close()
    Fleet.launch(at_once, journal).close()
    fleet = Fleet.launch(later, journal)
    eventually(lambda: _running(later), "the load's container runs")
    fleet.close()
    assert fleet.shards() == []
    assert [_made(plan.queue) for plan in (before, at_once, later)] == [[], [], []]


def test_a_broker_that_does_not_come_up_takes_the_load_with_it_that_was_launched_meanwhile(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, site = DockerDeployment(), Site(network="bridge", client="container", container=Container())
    if reason := deployment.unavailable(SETUP, site):
        pytest.skip(reason)
    monkeypatch.setenv("BROKERBENCH_IMAGE_REDIS", load_image().reference)  # there is no redis-server in it
    fleets: list[Fleet] = []

    def meanwhile(place: LoadPlace) -> None:
        plan = _plan_of(journal, tmp_path, 904, "bridge", place)
        fleets.append(Fleet.launch(plan, journal))
        eventually(lambda: _running(plan), "the load's container runs")

    options = BrokerOptions(
        setup=SETUP,
        parameters=SETUP.complete({}),
        folder=journal.temp_folder("dead") / "broker",
        logs=tmp_path,
        journal=journal,
        queues=(f"bb_{journal.run_id}_904",),
        site=site,
        meanwhile=meanwhile,
    )
    with pytest.raises(StartError, match="redis-server"):
        deployment.up(options)
    (fleet,) = fleets
    assert _made(fleet.plan.queue) == []
    fleet.connect("redis://127.0.0.1:1")
    with pytest.raises(StartError, match="the fleet has ended"):
        fleet.wait_ready(10)
    fleet.close()


def _plan_of(journal: Journal, logs: Path, number: int, network: str, place: LoadPlace | None = None) -> FleetPlan:
    """Returns a load that does not know its broker yet."""
    queue = f"bb_{journal.run_id}_{number}"
    return FleetPlan(
        run_id=int(journal.run_id, 16),
        trial=number,
        folder=journal.folder(journal.slot_folder() / f"0-{number}"),
        logs=logs,
        place=place or LoadContainer(journal, project=queue, network=network),
        setup=SETUP.name,
        queue=queue,
        parameters=SETUP.complete({}),
        load=steady_load(RATE_PER_S, STEADY_S),
        workers=idle_workers(),
        phases=phases(STEADY_S),
        seed=1,
    )


def _running(plan: FleetPlan) -> bool:
    with suppress(docker.errors.NotFound):
        return str(engine().containers.get(f"{plan.queue}-load").status) == "running"
    return False


def _made(project: str) -> list[str]:
    """Returns the containers and networks of a trial."""
    only, client = {"name": project}, engine()
    return [
        *(str(each.name) for each in client.containers.list(all=True, filters=only, ignore_removed=True)),
        *(str(each.name) for each in client.networks.list(filters=only)),
    ]


def test_a_load_that_cannot_reach_its_broker_says_so_and_leaves_no_container(journal: Journal, tmp_path: Path) -> None:
    with ExitStack() as cleanup:
        wrong = _started("bridge", journal, tmp_path, cleanup, address="redis://broker:1")
        with pytest.raises(StartError, match="broker:1"):
            wrong.fleet.wait_ready(60)
        wrong.fleet.close()
        assert wrong.gone()
