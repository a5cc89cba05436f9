"""Whole runs on brokers that are not ours: nothing tells the password, nothing of ours stays, and what happened to the broker is told."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from harness import brokers
from harness.brokers._postgres import QueueTable
from harness.brokers._redis import RedisDriver
from harness.brokers.contract import DriverOptions
from harness.deployments.contract import Broker, BrokerOptions
from harness.deployments.embedded import EmbeddedDeployment
from harness.journal import Journal
from harness.model import TrialStatus
from tests.system.conftest import Bench

pytestmark = pytest.mark.slow

SCENARIO = """\
question: What does the broker that runs already give?
setups: [{setups}]
deployment: external
load: {{rate: 400/s}}
phases: {{warmup: 0 s, steady: {steady}, drain: 3 s}}
workers: {{visibility: 1 s, sweep: 200 ms}}
{more}
"""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], Broker]]:
    """Starts brokers that the runs under test know nothing of but their addresses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BROKERBENCH_STATE", str(tmp_path / "another-state"))
        with Journal.create(secrets.token_hex(8)) as journal:
            base = journal.temp_folder("served")
            base.chmod(0o711)
            running: list[Broker] = []

            def start(name: str) -> Broker:
                setup = brokers.setup(name)
                if reason := EmbeddedDeployment().unavailable(setup):
                    pytest.skip(reason)
                options = BrokerOptions(
                    setup=setup, parameters=setup.complete({}), folder=base / name, logs=tmp_path, journal=journal
                )
                running.append(EmbeddedDeployment().up(options))
                return running[-1]

            yield start
            for broker in running:
                broker.down()


def driver(name: str, address: str) -> Any:
    """Returns a connected driver, for looking at the broker from outside."""
    setup = brokers.setup(name)
    made = brokers.open_driver(
        DriverOptions(setup=name, address=address, queue="looker", parameters=setup.complete({}), client="looker")
    )
    deadline = time.monotonic() + 20
    while True:
        try:
            made.connect()
            return made
        except brokers.contract.Unreachable:  # type: ignore[attr-defined]
            assert time.monotonic() < deadline
            time.sleep(0.05)


def names(name: str, address: str) -> list[str]:
    """Returns the names of all that begins as ours do on a broker."""
    looker = driver(name, address)
    try:
        if isinstance(looker, RedisDriver):
            return sorted(key.decode() for key in looker.checked(looker.call(("KEYS", "*"))[0]))
        assert isinstance(looker, QueueTable)
        rows = looker._session.query("SELECT relname::text FROM pg_class WHERE relname LIKE 'bb%'")
        return sorted((row or b"").decode() for (row,) in rows)
    finally:
        looker.close()


def password(broker: Broker) -> str:
    return str(urlsplit(broker.address).password)


def files_with(folder: Path, words: list[str]) -> list[str]:
    """Returns the files below a folder that hold one of the words."""
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and any(word.encode() in path.read_bytes() for word in words)
    ]


def test_a_run_leaves_no_password_anywhere_and_nothing_of_its_own(bench: Bench, serve: Callable[[str], Broker]) -> None:
    redis, postgres = serve("redis-stream"), serve("postgres-lease")
    canaries = [password(redis), password(postgres)]
    looker = driver("redis-stream", redis.address)
    looker.call(("SET", "somebody:else", "1"), ("LPUSH", "bb_somebody_else", "2"))
    text = SCENARIO.format(
        setups="redis-stream, postgres-lease",
        steady="7 s",
        more="faults: [{at: 6 s, kill: worker, replace_after: 100 ms}]",
    )
    path = bench.scenario("ours", text + "address:\n  redis: ${BB_REDIS}\n")
    process = bench.start("run", path, "--set", f"address.postgres={postgres.address}", BB_REDIS=redis.address)
    told, looks = [], 0
    while process.poll() is None:
        looks += 1
        told += _children_that_tell(process.pid, canaries)
        time.sleep(0.2)
    finished = bench.finish(process)
    assert looks > 20
    assert told == []
    assert finished.code in (0, 13), finished.err  # 13: the killed worker may have held nothing
    for case in finished.record.cases:
        (trial,) = case.trials
        assert trial.status is TrialStatus.VALID, trial.reasons
        assert case.network == "external"
        used = [trial.metrics["whole"].get(f"cost.{what}") for what in ("broker_cpu", "broker_memory_peak")]
        assert not any(isinstance(figure, float) for figure in used)
    stream, lease = finished.record.cases
    assert {name: stream.parameters[name] for name in stream.as_found} == {
        "persistence": "aof-everysec",
        "maxmemory": "",
    }
    assert {name: lease.parameters[name] for name in lease.as_found} == {"synchronous_commit": "on"}
    assert [case.durability_class.value for case in finished.record.cases] == ["process-crash-safe", "fsynced"]
    first = finished.err.splitlines()[0]
    for broker, version in ((redis, "Redis "), (postgres, "PostgreSQL ")):
        assert version in first
        assert f"at 127.0.0.1:{urlsplit(broker.address).port}, not encrypted" in first
    assert "as found: persistence aof-everysec" in finished.out
    assert files_with(bench.home, canaries) == []
    assert not any(word in finished.out + finished.err for word in canaries)
    assert bench("report", str(finished.run.path) if finished.run else "").code == finished.code
    assert names("redis-stream", redis.address) == ["bb_somebody_else", "somebody:else"]
    assert names("postgres-lease", postgres.address) == []
    assert bench.leftovers() == []


def _children_that_tell(pid: int, words: list[str]) -> list[str]:
    """Returns the children of a command whose arguments or environment hold one of the words."""
    found = []
    try:
        for child in psutil.Process(pid).children(recursive=True):
            for name in ("cmdline", "environ"):
                try:
                    content = Path(f"/proc/{child.pid}/{name}").read_bytes()
                except OSError:
                    continue
                found += [f"{name} of {child}" for word in words if word.encode() in content]
    except psutil.NoSuchProcess:
        pass
    return found


def test_a_run_that_is_killed_leaves_no_queue_on_the_broker(bench: Bench, serve: Callable[[str], Broker]) -> None:
    redis = serve("redis-reliable-list")
    path = bench.scenario("killed", SCENARIO.format(setups="redis-reliable-list", steady="60 s", more=""))
    process = bench.start("run", path, "--set", f"address={redis.address}")
    bench.wait_for(process, lambda lines: any(line.get("phase") == "steady" for line in lines))
    assert names("redis-reliable-list", redis.address) != []
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert bench.gone() == []
    assert names("redis-reliable-list", redis.address) == []
    assert files_with(bench.home, [password(redis)]) == []


def test_a_broker_that_vanishes_is_told_and_what_stayed_there_can_be_removed_later(
    bench: Bench, serve: Callable[[str], Broker]
) -> None:
    redis = serve("redis-stream")
    path = bench.scenario("vanished", SCENARIO.format(setups="redis-stream", steady="4 s", more=""))
    process = bench.start("run", path, "--set", f"address={redis.address}")
    bench.wait_for(process, lambda lines: any(line.get("phase") == "steady" for line in lines))
    redis.kill()
    finished = bench.finish(process)
    assert finished.code == 13
    assert finished.trial.status is TrialStatus.INVALID
    assert any("cannot be reached any more" in reason for reason in finished.trial.reasons)
    assert any("could not be removed" in warning for warning in finished.trial.warnings)
    assert not any(guarantee.verdict.value == "VIOLATED" for guarantee in finished.case.guarantees)
    redis.start()
    driver("redis-stream", redis.address).close()
    without = bench("down")
    assert without.code == 70
    assert "brokerbench down --address URL" in without.out
    cleaned = bench("down", "--address", "${BB_REDIS}", BB_REDIS=redis.address)
    assert (cleaned.code, cleaned.err) == (0, "")
    assert names("redis-stream", redis.address) == []
    assert files_with(bench.home, [password(redis)]) == []
    assert bench("down").out == "nothing was left behind\n"


def test_what_cannot_be_reached_is_refused_before_anything_is_written(
    bench: Bench, serve: Callable[[str], Broker]
) -> None:
    broker = serve("redis-list")
    path = bench.scenario("refused", SCENARIO.format(setups="redis-list", steady="4 s", more=""))
    wrong = broker.address.replace(password(broker), "canary-of-a-password")
    closed = broker.address.replace(str(urlsplit(broker.address).port), "1")
    for address, told in ((wrong, "password"), (closed, "127.0.0.1:1")):
        refused = bench("run", path, "--set", f"address={address}")
        assert refused.code == 2, refused.err
        assert told in refused.err
        assert not any(word in refused.out + refused.err for word in ("canary-of-a-password", password(broker)))
    skipped = bench("run", path, "--set", f"address={wrong}", "--skip-unavailable")
    assert skipped.code == 13
    assert files_with(bench.home, ["canary-of-a-password"]) == []
