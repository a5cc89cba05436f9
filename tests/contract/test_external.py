"""Brokers that are not ours: settings as found, what is shared stays untouched, what is ours goes however a run ends."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import pytest

from harness import brokers
from harness.brokers._postgres import QueueTable
from harness.brokers._redis import RedisDriver
from harness.deployments.contract import Broker, BrokerOptions
from harness.deployments.external import ExternalDeployment
from harness.errors import UnavailableError
from harness.journal import Journal
from harness.model import AS_FOUND, DurabilityClass, FaultKind, Setup
from harness.redaction import shown
from harness.sweeping import down
from tests.contract.conftest import StartBroker
from tests.contract.line import Line, eventually, only_setups

STREAM = brokers.setup("redis-stream")
LEASE = brokers.setup("postgres-lease")


@pytest.fixture(scope="module")
def server(start_broker: StartBroker) -> Iterator[Callable[[Setup], Broker]]:
    """Returns a broker whose settings a test may change."""
    running: dict[str, Broker] = {}

    def of(setup: Setup) -> Broker:
        if setup.broker not in running:
            running[setup.broker] = start_broker(setup, setup.complete({}))
        return running[setup.broker]

    yield of
    for broker in running.values():
        broker.down()


@dataclass
class There:
    """A line to a broker that is not ours, by an address."""

    address: str

    def alive(self) -> bool:
        return True


def line_to(setup: Setup, address: str, **written: str) -> Line:
    return Line(setup, setup.complete(written, as_found=True), There(address))  # type: ignore[arg-type]


def redis(line: Line, *words: str) -> Any:
    """Sends one command; its reply must be no error."""
    driver = line.open("admin").driver
    assert isinstance(driver, RedisDriver)
    return driver.checked(driver.call(words)[0])


def with_user(address: str, user: str, password: str) -> str:
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password)}@{parts.hostname}:{parts.port}"))


@pytest.mark.parametrize(
    ("settings", "persistence", "durability"),
    [
        ({"appendonly": "no", "save": ""}, "none", DurabilityClass.MEMORY),
        ({"appendonly": "no", "save": "3600 1"}, "rdb", DurabilityClass.MEMORY),
        ({"appendonly": "yes", "appendfsync": "always"}, "aof-always", DurabilityClass.FSYNCED),
        ({"appendfsync": "everysec", "save": "3600 1"}, "aof-everysec", DurabilityClass.PROCESS_CRASH_SAFE),
        ({"appendfsync": "always", "no-appendfsync-on-rewrite": "yes"}, AS_FOUND, DurabilityClass.UNKNOWN),
    ],
)
def test_the_persistence_of_a_redis_is_found(
    server: Callable[[Setup], Broker], settings: dict[str, str], persistence: str, durability: DurabilityClass
) -> None:
    with line_to(STREAM, server(STREAM).address) as line:
        for name, value in settings.items():
            redis(line, "CONFIG", "SET", name, value)
        effective = line.open("reader").prepare()
        assert effective.differences() == ()
        assert effective.parameters == {"maxmemory": ""} | (
            {} if persistence is AS_FOUND else {"persistence": persistence}
        )
        assert STREAM.durability_of({**line.parameters, **effective.parameters}) is durability
        redis(line, "CONFIG", "SET", "no-appendfsync-on-rewrite", "no")


def test_what_is_written_must_agree_and_the_rest_is_found(server: Callable[[Setup], Broker]) -> None:
    with line_to(STREAM, server(STREAM).address, persistence="none") as line:
        redis(line, "CONFIG", "SET", "appendonly", "yes")
        redis(line, "CONFIG", "SET", "maxmemory", "100mb")
        redis(line, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        effective = line.open("reader").prepare()
        assert "appendonly: asked 'no', found 'yes'" in effective.differences()
        assert effective.parameters == {"maxmemory": "104857600 B"}
        assert any("evicts any key" in note for note in effective.notes)
        redis(line, "CONFIG", "SET", "maxmemory", "0")


def test_a_redis_that_tells_nothing_claims_nothing_that_depends_on_it_and_serves_all_the_same(
    server: Callable[[Setup], Broker],
) -> None:
    """As a managed service forbids CONFIG and the list of clients."""
    with line_to(STREAM, server(STREAM).address) as line:
        redis(line, "ACL", "SETUSER", "bench", "on", ">pw", "~bb_*", "+@all", "-config", "-client", "+client|setname")
    with line_to(STREAM, with_user(server(STREAM).address, "bench", "pw")) as line:
        driver = line.open("reader")
        effective = driver.prepare()
        assert (effective.parameters, effective.differences()) == ({}, ())
        assert driver.connections() is None
        line.publish(driver, range(10))
        assert sorted(line.receive(driver, 10).seqs) == list(range(10))
        found = {**line.parameters, **effective.parameters}
    assert STREAM.durability_of(found) is DurabilityClass.UNKNOWN
    claimed = {claim.fault for claim in STREAM.claims_of(found)}
    assert FaultKind.BROKER_KILL not in claimed
    assert {FaultKind.NONE, FaultKind.WORKER_KILL} <= claimed


@pytest.mark.parametrize(("value", "found"), [("off", "off"), ("on", "on"), ("local", AS_FOUND)])
def test_the_commit_setting_of_a_postgres_is_left_and_found(
    server: Callable[[Setup], Broker], value: str, found: str
) -> None:
    address = f"{server(LEASE).address}?options={quote(f'-c synchronous_commit={value}')}"
    with line_to(LEASE, address) as line:
        effective = line.open("reader").prepare()
        assert effective.also["synchronous_commit"] == value
        assert effective.parameters.get("synchronous_commit", AS_FOUND) == found


def test_the_commit_setting_that_is_written_is_set(server: Callable[[Setup], Broker]) -> None:
    address = f"{server(LEASE).address}?options={quote('-c synchronous_commit=off -c work_mem=5MB')}"
    with line_to(LEASE, address, synchronous_commit="on") as line:
        opened = line.open("reader")
        assert opened.prepare().differences() == ()
        assert isinstance(opened.driver, QueueTable)
        assert opened.driver._session.query("SHOW work_mem") == [(b"5MB",)]


def test_a_user_who_may_not_make_a_table_is_told_so_before_anything_starts(server: Callable[[Setup], Broker]) -> None:
    with line_to(LEASE, server(LEASE).address) as line:
        driver = line.open("admin").driver
        assert isinstance(driver, QueueTable)
        driver._session.query("CREATE ROLE guest LOGIN PASSWORD 'canary-of-a-guest'")
        address = with_user(server(LEASE).address, "guest", "canary-of-a-guest")
        reason = ExternalDeployment({"postgres": address}).unavailable(LEASE)
        driver._session.query("DROP ROLE guest")
    assert "postgres-lease at 127.0.0.1:" in reason
    assert "permission denied" in reason
    assert "canary" not in reason


@only_setups(lambda setup: bool(setup.schemes) and setup.broker != "null")
def test_a_wrong_password_and_a_closed_port_are_told_without_the_password(
    setup: Setup, shared_brokers: StartBroker
) -> None:
    address = shared_brokers(setup, setup.complete({})).address
    wrong = with_user(address, urlsplit(address).username or "", "canary-canary")
    refused = ExternalDeployment({setup.broker: wrong}).unavailable(setup)
    assert refused
    assert "canary" not in refused
    closed = ExternalDeployment({setup.broker: f"{urlsplit(address).scheme}://u:canary-canary@127.0.0.1:1/0"})
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1") as caught:
        closed.up(BrokerOptions(setup=setup, parameters={}, folder=Path(), logs=Path(), journal=None))  # type: ignore[arg-type]
    assert "canary" not in str(caught.value)


@only_setups(lambda setup: bool(setup.schemes))
def test_only_our_own_is_removed_and_listed(
    setup: Setup, shared_brokers: StartBroker, journal: Journal, tmp_path: Path
) -> None:
    """Names that begin like ours, another run's queue beside ours, connections of others: none of them is touched."""
    address = shared_brokers(setup, setup.complete({})).address
    deployment = ExternalDeployment({setup.broker: address})
    with Line(setup, setup.complete({}), There(address)) as others:  # type: ignore[arg-type]
        mine = f"{others.queue}7"
        theirs = others.open("p0")
        others.publish(theirs, [1, 2])
        broker = deployment.up(
            BrokerOptions(
                setup=setup,
                parameters=setup.complete({}),
                folder=tmp_path,
                logs=tmp_path,
                journal=journal,
                queues=(mine,),
            )
        )
        with Line(setup, setup.complete({}), There(broker.address)) as ours:  # type: ignore[arg-type]
            ours.queue = mine
            driver = ours.open("p0")
            ours.publish(driver, [3])
            names = driver.connections()
            assert names is None or not any(others.queue + ":" in name for name in names)
            driver.close()
            broker.down()
            assert broker.notes == []
            assert others.found(theirs) == {"ready": [1, 2]}
            again = ours.open("p1")
            assert ours.found(again) == {}
            again.purge()


OWNER = """
    import json, sys, time
    from pathlib import Path
    from harness import brokers
    from harness.brokers.contract import DriverOptions
    from harness.deployments.contract import BrokerOptions
    from harness.deployments.external import ExternalDeployment
    from harness.journal import Journal

    told = json.loads(sys.stdin.readline())
    setup = brokers.setup(told["setup"])
    journal = Journal.create(told["run_id"])
    options = BrokerOptions(setup=setup, parameters=setup.complete({}), folder=Path("/"), logs=Path("/"), journal=journal,
                            queues=(told["queue"], told["queue"] + "_probe"))
    broker = ExternalDeployment({setup.broker: told["address"]}).up(options)
    for queue in options.queues:
        driver = brokers.open_driver(DriverOptions(setup=setup.name, address=broker.address, queue=queue,
                                                   parameters=options.parameters, client="p0"))
        driver.connect()
        driver.prepare()
    print(journal._minder.pid, flush=True)
    time.sleep(1000)
"""


def owner(setup: Setup, address: str, queue: str, run_id: str) -> tuple[subprocess.Popen[str], int]:
    """Starts a process that has made a queue; returns it and the pid of its minder."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({"setup": setup.name, "address": address, "queue": queue, "run_id": run_id}) + "\n")
    process.stdin.flush()
    return process, int(process.stdout.readline())


def names_of(line: Line, driver: Any) -> list[str]:
    """Returns what begins with the queue's name."""
    if isinstance(driver, RedisDriver):
        return [key.decode() for key in driver.checked(driver.call(("KEYS", f"{line.queue}*"))[0])]
    rows = driver._session.query(f"SELECT relname::text FROM pg_class WHERE starts_with(relname, '{line.queue}')")
    return [(name or b"").decode() for (name,) in rows]


@only_setups(lambda setup: setup.name in ("redis-stream", "postgres-delete"))
def test_a_sigkill_of_the_run_leaves_no_queue_and_no_file_ever_held_the_password(
    setup: Setup, shared_brokers: StartBroker, journal: Journal
) -> None:
    address, run_id = shared_brokers(setup, setup.complete({})).address, secrets.token_hex(8)
    with Line(setup, setup.complete({}), There(address)) as watcher:  # type: ignore[arg-type]
        admin = watcher.open("admin").driver
        admin.purge()
        process, _ = owner(setup, address, watcher.queue, run_id)
        try:
            assert names_of(watcher, admin) != []
            written = (journal.path.parent / f"{run_id}.jsonl").read_text()
            assert shown(address) in written
            assert urlsplit(address).password not in written
        finally:
            process.kill()
            process.communicate()
        eventually(lambda: names_of(watcher, admin) == [], "the minder removes the queues")
        eventually(lambda: not (journal.path.parent / f"{run_id}.jsonl").exists(), "and the journal")


def test_where_the_minder_was_killed_too_down_needs_the_address(shared_brokers: StartBroker, journal: Journal) -> None:
    address, run_id = shared_brokers(STREAM, STREAM.complete({})).address, secrets.token_hex(8)
    with Line(STREAM, STREAM.complete({}), There(address)) as watcher:  # type: ignore[arg-type]
        admin = watcher.open("admin").driver
        admin.purge()
        process, minder = owner(STREAM, address, watcher.queue, run_id)
        process.send_signal(signal.SIGSTOP)
        subprocess.run(["kill", "-9", str(minder)], check=True)
        process.kill()
        process.communicate()
        left = [sentence for sentence in down() if run_id in str(sentence) or watcher.queue in sentence]
        assert [sentence.partition(";")[0] for sentence in left] == [
            f"left: queue {watcher.queue} at {shown(address)}",
            f"left: queue {watcher.queue}_probe at {shown(address)}",
        ]
        assert names_of(watcher, admin) != []
        assert f"queue {watcher.queue} at {shown(address)}" in down([address])
        assert names_of(watcher, admin) == []
        assert down() == []
