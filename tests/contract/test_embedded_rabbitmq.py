"""RabbitMQ as child processes: on which ports, as whom, and what a kill, a stop and an end leave."""

from __future__ import annotations

import os
import secrets
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import pika
import pika.exceptions
import psutil
import pytest

from harness import brokers
from harness.deployments import embedded_rabbitmq
from harness.deployments._process import free_port
from harness.deployments.embedded_rabbitmq import EmbeddedRabbitMQ
from harness.errors import StartError
from harness.journal import Journal
from tests.contract.conftest import DEPLOYMENT, StartBroker

SETUP = brokers.setup("rabbitmq-classic")
LIMIT_S = 60.0
QUEUE = "kept"

HARNESS = """
import sys
from pathlib import Path
from harness.deployments import embedded_rabbitmq
from harness.deployments.contract import BrokerOptions
from harness.journal import Journal

with Journal.create("{run_id}") as journal:
    base = journal.temp_folder("orphan")
    base.chmod(0o711)
    folder = journal.folder(base / "rabbitmq")
    options = BrokerOptions(setup=None, parameters={{}}, folder=folder, logs=Path("{logs}"), journal=journal)
    node = embedded_rabbitmq.up(options)
    print(*(process.pid for process in node.tree.members()), flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def node(start_broker: StartBroker) -> Iterator[EmbeddedRabbitMQ]:
    """One node for the tests that leave it running."""
    broker = start_broker(SETUP, {})
    assert isinstance(broker, EmbeddedRabbitMQ)
    try:
        with closing(connected(broker.address)) as connection:
            connection.channel().queue_declare(QUEUE, durable=True)
        time.sleep(SETUP.settles_in_s)
        yield broker
    finally:
        broker.down()


def connected(address: str) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(address))


def put(address: str, body: bytes) -> None:
    connection = connected(address)
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_publish("", QUEUE, body, pika.BasicProperties(delivery_mode=2), mandatory=True)
    connection.close()


def taken(address: str) -> bytes | None:
    connection = connected(address)
    body: bytes | None = connection.channel().basic_get(QUEUE, auto_ack=True)[2]
    connection.close()
    return body


def listening(node: EmbeddedRabbitMQ) -> dict[str, set[tuple[str, int]]]:
    """Returns name → address and port of every listening socket of every process of the tree."""
    found: dict[str, set[tuple[str, int]]] = {}
    for process in node.tree.members():
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                found.setdefault(process.name(), set()).add((connection.laddr.ip, connection.laddr.port))
    return found


def names(node: EmbeddedRabbitMQ) -> list[str]:
    return sorted(process.name() for process in node.tree.members())


def runs(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def test_every_port_of_every_process_is_on_127_0_0_1(node: EmbeddedRabbitMQ) -> None:
    found = listening(node)
    assert set(found) == {"beam.smp", "epmd"}  # the broker, and the distribution of Erlang that it cannot do without
    assert len(found["beam.smp"]) == 2
    assert len(found["epmd"]) == 1
    assert {address for sockets in found.values() for address, _ in sockets} == {"127.0.0.1"}
    assert urlsplit(node.address).port in {port for _, port in found["beam.smp"]}


def test_nobody_gets_in_without_the_password_which_only_the_node_can_read(node: EmbeddedRabbitMQ) -> None:
    password = urlsplit(node.address).password or ""
    members = node.tree.members()
    folder = Path(members[0].cwd())
    for process in members:
        with suppress(psutil.NoSuchProcess):  # Erlang's helpers come and go
            assert password not in " ".join([*process.cmdline(), *process.environ().values()])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    holders = [path for path in folder.rglob("*") if path.is_file() and password.encode() in path.read_bytes()]
    assert folder / "rabbitmq.conf" in holders
    assert [path for path in holders if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    assert password not in node.tree.log.read_text()
    for address in (node.address.replace(password, "wrong"), f"amqp://guest:guest@{node.address.partition('@')[2]}"):
        with pytest.raises(pika.exceptions.ProbableAuthenticationError):
            connected(address)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become another user")
def test_where_we_are_root_all_of_it_runs_as_nobody(node: EmbeddedRabbitMQ) -> None:
    assert {process.username() for process in node.tree.members()} == {"nobody"}


def test_a_kill_ends_the_whole_tree_and_it_comes_back_on_its_address_with_its_data(node: EmbeddedRabbitMQ) -> None:
    put(node.address, b"before the kill")
    members, ports = node.tree.members(), listening(node)
    assert {"beam.smp", "epmd", "erl_child_setup", "inet_gethost"} <= set(names(node))
    evidence = node.kill()
    assert (evidence["gone"], evidence["left"], evidence["status"]) == (True, [], -9)
    assert {process.pid for process in members} <= set(cast("list[int]", evidence["pids"]))
    assert not any(map(runs, members))
    assert not node.alive()
    node.start()
    assert listening(node) == ports
    assert taken(node.address) == b"before the kill"


def test_a_stop_is_graceful_ends_epmd_too_and_it_comes_back_with_its_data(node: EmbeddedRabbitMQ) -> None:
    put(node.address, b"before the stop")
    members, ports = node.tree.members(), listening(node)
    evidence = node.stop(LIMIT_S)
    assert (evidence["graceful"], evidence["status"]) == (True, 0)
    assert "SIGTERM received - shutting down" in node.log_tail(20)
    assert not any(map(runs, members))
    node.start()
    assert listening(node) == ports
    assert taken(node.address) == b"before the stop"


def test_a_pause_stops_all_of_it_and_a_resume_lets_it_go_on(node: EmbeddedRabbitMQ) -> None:
    with closing(connected(node.address)) as connection:
        evidence = node.pause()
        assert evidence["paused"] is True
        assert {"stopped"} == {process.status() for process in node.tree.members()}
        node.resume()
        connection.channel().queue_declare("after", exclusive=True)
    assert node.alive()


def test_two_nodes_do_not_meet_and_the_end_of_one_leaves_the_other(
    node: EmbeddedRabbitMQ, start_broker: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_rabbitmq, "TAKES_SOCKETS", b"as where epmd was not built for systemd")
    other = start_broker(SETUP, {})
    assert isinstance(other, EmbeddedRabbitMQ)
    members = other.tree.members()
    folder, mine = Path(members[0].cwd()), Path(node.tree.members()[0].cwd())
    put(node.address, b"mine")
    try:
        ports = [{port for _, port in set().union(*listening(one).values())} for one in (node, other)]
        assert len(set().union(*ports)) == 6
        assert {address for address, _ in listening(other)["epmd"]} <= {"127.0.0.1", "::1"}
        assert registered(node) != registered(other)
        assert len(registered(node)) == len(registered(other)) == 1
        assert (folder / ".erlang.cookie").read_text() != (mine / ".erlang.cookie").read_text()
        with closing(connected(other.address)) as connection, pytest.raises(pika.exceptions.ChannelClosedByBroker):
            connection.channel().queue_declare(QUEUE, passive=True)
    finally:
        other.down()
        other.down()
    assert not any(map(runs, members))
    assert not folder.exists()
    assert taken(node.address) == b"mine"


def registered(node: EmbeddedRabbitMQ) -> list[str]:
    """Returns what the node's own epmd answers to NAMES_REQ: a line for every node that it knows."""
    (port,) = {port for _, port in listening(node)["epmd"]}
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as client:
        client.sendall(b"\x00\x01n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    return answer[4:].decode().splitlines()


def test_ports_that_others_took_in_between_are_left_to_them(
    start_broker: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as others:
        sockets = [others.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        numbers = [one.getsockname()[1] for one in sockets]
        real = free_port
        # Three ports a try, of which the first, second and third are taken in turn; then all are free.
        given = [numbers[0], real(), real(), real(), numbers[1], real(), real(), real(), numbers[2]]
        monkeypatch.setattr(embedded_rabbitmq, "free_port", lambda: given.pop(0) if given else real())
        node = start_broker(SETUP, {})
        assert isinstance(node, EmbeddedRabbitMQ)
        try:
            assert given == []
            assert not {port for _, port in set().union(*listening(node).values())} & set(numbers)
            connected(node.address).close()
        finally:
            node.down()


def test_a_server_that_ends_at_once_is_told_with_its_last_words_and_leaves_nothing(
    start_broker: StartBroker, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = journal.temp_folder("broken")
    root.chmod(0o755)
    (root / "plugins" / "rabbit-3.12.1").mkdir(parents=True)
    server = root / "sbin" / "rabbitmq-server"
    server.parent.mkdir()
    server.write_text("#!/bin/sh\necho this cannot be\nexit 1\n")
    server.chmod(0o755)
    monkeypatch.setenv(embedded_rabbitmq.VARIABLE, str(server))
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(StartError, match=r"rabbitmq-server ended while it started.*\nthis cannot be"):
        start_broker(SETUP, {})
    assert not [process for process in psutil.Process().children(recursive=True) if process not in before]


def test_after_sigkill_of_the_harness_the_minder_ends_node_and_epmd(tmp_path: Path) -> None:
    if reason := DEPLOYMENT.unavailable(SETUP):
        pytest.skip(reason)
    run_id = secrets.token_hex(8)
    code = HARNESS.format(run_id=run_id, logs=tmp_path)
    environment = {**os.environ, "BROKERBENCH_STATE": str(tmp_path / "state")}
    harness = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    with harness:
        assert harness.stdout is not None
        members = [psutil.Process(int(word)) for word in harness.stdout.readline().split()]
        assert {"beam.smp", "epmd"} <= {process.name() for process in members}
        harness.kill()
    folder = Path(tempfile.gettempdir()) / f"brokerbench-{run_id}-orphan"
    deadline = time.monotonic() + LIMIT_S
    while any(map(runs, members)) or folder.exists():
        assert time.monotonic() < deadline, "the minder leaves something"
        time.sleep(0.02)
