"""What a broker in a container does under each fault, on each volume and within its limits; a real engine, real servers."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any, cast

import psutil
import pytest
from docker import DockerClient
from redis import ConnectionError, Redis

from harness import brokers
from harness.clock import now_ns
from harness.containers.engine import LABEL, engine
from harness.containers.usage import Meter
from harness.deployments import _state, docker
from harness.deployments._process import free_port
from harness.deployments.contract import Broker, BrokerOptions, Incident
from harness.deployments.docker import DockerDeployment
from harness.facts import KILLED_FOR_MEMORY
from harness.faults.contract import Stage
from harness.faults.recreate_broker import RecreateBroker
from harness.journal import Journal
from harness.model import Container, Site
from harness.run.health import Probe
from tests.contract.line import eventually

LIMIT_S = 60.0
pytestmark = pytest.mark.xdist_group("docker")
Up = Callable[..., Broker]


@pytest.fixture
def up(journal: Journal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Starts a broker for a setup at a site; it is taken down at the end, after which nothing of it may be left."""
    base = journal.temp_folder(f"docker-{time.monotonic_ns()}")
    started: list[Broker] = []
    numbers = itertools.count()

    def start(name: str, *, network: str = "bridge", **container: Any) -> Broker:
        setup, site = brokers.setup(name), Site(network=network, client="host", container=Container(**container))
        if reason := DockerDeployment().unavailable(setup, site):
            pytest.skip(reason)
        number = next(numbers)
        options = BrokerOptions(
            setup=setup,
            parameters=setup.complete({}),
            folder=base / str(number),
            logs=tmp_path_factory.mktemp("logs"),
            journal=journal,
            queues=(f"bb_{journal.run_id}_{time.monotonic_ns()}",),
            site=site,
        )
        started.append(DockerDeployment().up(options))
        return started[-1]

    yield start
    for broker in started:
        broker.down()
        broker.down()
        assert broker.notes == []
    assert _left(journal.run_id) == []
    assert list(base.iterdir()) == []


def _left(run_id: str) -> list[str]:
    """Returns what the engine still has of a run."""
    wanted = {"filters": {"label": f"{LABEL}={run_id}"}}
    found = (
        engine().containers.list(all=True, **wanted),
        engine().networks.list(**wanted),
        engine().volumes.list(**wanted),
    )
    return [str(thing.name) for things in found for thing in things]


def _healthy(name: str, broker: Broker) -> None:
    setup = brokers.setup(name)
    options = brokers.DriverOptions(
        setup=name, address=broker.address, queue="q", parameters=setup.complete({}), client="probe"
    )
    Probe(options, alive=broker.alive, log_tail=broker.log_tail)(LIMIT_S)


def _inspected(broker: Broker) -> Mapping[str, Any]:
    (found,) = [each for each in engine().containers.list(all=True) if str(_port(broker)) in str(each.ports)]
    attributes: Mapping[str, Any] = found.attrs
    return attributes


def _port(broker: Broker) -> int:
    return int(broker.address.rsplit(":", 1)[1].split("/")[0])


def _run_inside(broker: Broker, *command: str) -> None:
    """Starts a command in the broker's container and does not wait for it."""
    engine().containers.get(_inspected(broker)["Id"]).exec_run([*command], detach=True)


def _fill(client: Redis) -> None:
    for number in range(64):
        client.set(str(number), b"x" * (1 << 20))


def test_a_container_that_is_killed_stopped_paused_or_made_again_keeps_address_and_data(up: Up) -> None:
    broker = up("redis-stream")
    used = [broker.usage()]
    with Redis.from_url(broker.address) as client:
        client.set("seen", "by all")
        client.execute_command("WAITAOF", 1, 0, 5000)

    killed = broker.kill()
    assert killed["gone"] is True
    assert (len(killed["pids"]), killed["left"], killed["status"]) == (1, [], -9)  # type: ignore[arg-type]
    assert not broker.alive()
    broker.start()
    used.append(broker.usage())

    stopped = broker.stop(10.0)
    assert (stopped["graceful"], stopped["status"], broker.alive()) == (True, 0, False)
    broker.start()
    used.append(broker.usage())

    paused = broker.pause()
    assert (paused["paused"], len(paused["states"]), broker.alive()) == (True, 1, True)  # type: ignore[arg-type]
    broker.resume()
    assert set(broker.resume()["states"].values()) <= {"sleeping", "running"}  # type: ignore[attr-defined]

    made_again = broker.recreate(10.0)
    assert made_again["graceful"] is True
    assert made_again["container_before"] != made_again["container_after"]
    used.append(broker.usage())

    _healthy("redis-stream", broker)
    with Redis.from_url(broker.address) as client:
        assert client.get("seen") == b"by all"
    for name in ("cpu_s", "written_bytes", "network_received_bytes", "network_sent_bytes"):
        figures = [getattr(each, name) for each in used]
        assert figures == sorted(figures)
        assert figures[-1] > figures[0]
    assert broker.incidents() == []
    assert broker.why_ended() == ""
    assert broker.log_tail(1) in broker.log_tail(200)


@pytest.mark.parametrize(("volume", "kept"), [("bind", [b"here"]), ("anonymous", [None]), ("tmpfs", [None])])
def test_a_container_made_again_keeps_what_its_volume_does(up: Up, volume: str, kept: list[bytes | None]) -> None:
    broker = up("redis-stream", volume=volume)
    (mount,) = [each for each in _inspected(broker)["Mounts"] if each["Destination"] == "/data"]
    assert mount["Type"] == {"anonymous": "volume"}.get(volume, volume)
    with Redis.from_url(broker.address) as client:
        client.set("seen", "here")
    fault = RecreateBroker({"stop_timeout": 10.0})
    stage = Stage(broker=broker, crew=cast(Any, None), healthy=lambda _: now_ns())
    strike = fault.inject(stage)
    struck_ns = now_ns()
    healed = fault.heal(stage)
    assert strike.hit
    assert healed.t_ns is not None
    started_ns = int(str(strike.evidence["started_ns"]))
    assert int(str(strike.evidence["ended_ns"])) <= started_ns < struck_ns, "it was made and started by then"
    assert healed.evidence == {"start_to_healthy_s": (healed.t_ns - started_ns) / 1e9}
    with Redis.from_url(broker.address) as client:
        assert [client.get("seen")] == kept
    assert mount.get("Name") not in [each.name for each in engine().volumes.list()]


def test_a_broker_that_the_kernel_kills_for_memory_says_so_and_can_be_started_again(up: Up) -> None:
    broker = up("redis-list", memory_bytes=24 << 20, written={"memory": "24 MiB"})
    _run_inside(broker, "tail", "/dev/zero")  # it holds all that it reads
    told: list[Incident] = []

    def killed() -> bool:
        broker.usage()
        told.extend(broker.incidents())
        return bool(told)

    eventually(killed, "nothing was killed for memory")
    assert [(each.what, each.source) for each in told] == [(KILLED_FOR_MEMORY, "broker")]
    assert "the kernel killed 1 process of the broker for memory (limit 24 MiB)" in told.pop().text
    assert broker.alive()

    with Redis.from_url(broker.address, socket_timeout=10) as client, pytest.raises(ConnectionError):
        _fill(client)
    eventually(lambda: not broker.alive(), "it lives")
    assert broker.why_ended() == "killed by the kernel for memory (limit 24 MiB)"
    assert killed()
    assert [(each.what, each.text) for each in told] == [
        (KILLED_FOR_MEMORY, "the broker's container was killed by the kernel for memory (limit 24 MiB)")
    ]
    assert broker.incidents() == []
    broker.start()
    _healthy("redis-list", broker)
    assert broker.why_ended() == ""


def test_a_container_that_others_remove_is_told_from_an_engine_that_does_not_answer(
    up: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = up("redis-list")
    name = _inspected(broker)["Name"]
    with closing(DockerClient(base_url="tcp://127.0.0.1:1", version="1.41")) as nobody, monkeypatch.context() as patch:
        patch.setattr(_state, "engine", lambda: nobody)
        broker.resume()
        assert [each.what for each in broker.incidents()] == ["unanswered"]
        assert (broker.alive(), broker.why_ended(), broker.incidents()) == (True, "", [])

    engine().api.remove_container(name, force=True)
    eventually(lambda: not broker.alive(), "it lives")
    (told,) = broker.incidents()
    assert told.text == "nobody ended the broker's container: its container was removed"
    assert (broker.why_ended(), broker.log_tail()) == ("its container was removed", "")


def test_a_broker_that_wants_more_than_its_cpus_is_seen_to_wait_for_them(up: Up) -> None:
    broker = up("redis-list", cpus=0.1)
    _run_inside(broker, "timeout", "1", "sh", "-c", "while :; do :; done")  # as initdb does, say
    eventually(lambda: (broker.usage().throttled_s or 0) > 0.2, "it is not throttled")
    eventually(lambda: len(engine().api.top(_inspected(broker)["Id"])["Processes"]) == 1, "it has not ended")
    assert broker.incidents() == [], "it waited before it was watched"
    before_s = broker.usage().throttled_s or 0
    _run_inside(broker, "timeout", "3", "sh", "-c", "while :; do :; done")
    eventually(lambda: (broker.usage().throttled_s or 0) > before_s + 0.2, "it is not throttled")
    assert [(each.source, each.what, each.text) for each in broker.incidents()] == [
        ("broker", "throttled", "its CPU limit of 0.1 CPUs first kept the broker waiting here")
    ]
    assert broker.incidents() == []
    engines = Meter()  # as where the engine has another kernel than we: its own figures
    engines.follow(_inspected(broker)["Id"], 0, own_network=True)
    before, told, after = broker.usage(), engines.usage(), broker.usage()
    for name in ("cpu_s", "throttled_s", "network_received_bytes", "network_sent_bytes"):
        assert getattr(before, name) <= getattr(told, name) <= getattr(after, name)
    assert told.memory_bytes == pytest.approx(after.memory_bytes, rel=0.5)


def test_rabbitmq_on_the_hosts_network_knows_its_limit_and_listens_on_nothing_but_the_loopback(up: Up) -> None:
    broker = up("rabbitmq-classic", network="host", memory_bytes=256 << 20)
    assert broker.load_address == broker.address
    pids = broker.pause()["states"].keys()  # type: ignore[attr-defined]
    broker.resume()
    places = {
        each.laddr.ip
        for pid in pids
        for each in psutil.Process(pid).net_connections("tcp")
        if each.status == psutil.CONN_LISTEN
    }
    assert places <= {"127.0.0.1", "::1"}
    assert "127.0.0.1" in places
    assert "Memory high watermark set to 153 MiB (161061273 bytes) of 256 MiB" in broker.log_tail(1000)
    broker.kill()
    broker.start()
    _healthy("rabbitmq-classic", broker)


def test_a_port_that_another_took_in_between_costs_only_another_try(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    first = up("redis-list")
    ports = iter([_port(first)])
    monkeypatch.setattr(docker, "free_port", lambda: next(ports, 0) or free_port())
    assert _port(up("redis-list")) != _port(first)
    _healthy("redis-list", first)
