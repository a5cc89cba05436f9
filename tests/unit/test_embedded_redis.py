"""Which redis-server is taken, and what it is told."""

from __future__ import annotations

import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import brokers
from harness.deployments import embedded_redis
from harness.deployments.contract import BrokerOptions
from harness.deployments.embedded import EmbeddedDeployment
from harness.deployments.embedded import brokers as embedded_brokers
from harness.errors import StartError, UnavailableError
from harness.journal import Journal

SETUP = brokers.setup("redis-list")


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    monkeypatch.setenv("BROKERBENCH_STATE", str(tmp_path / "state"))
    with Journal.create(secrets.token_hex(8)) as opened:
        yield opened


@pytest.fixture
def options(journal: Journal, tmp_path: Path) -> BrokerOptions:
    return BrokerOptions(
        setup=SETUP,
        parameters=SETUP.complete({}),
        folder=journal.temp_folder("redis") / "data",
        logs=tmp_path / "logs",
        journal=journal,
    )


def server(tmp_path: Path, says: str) -> str:
    """Returns the path of a program that answers --version so, and does nothing else."""
    path = tmp_path / "redis-server"
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return str(path)


def test_the_variable_goes_before_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(embedded_redis.VARIABLE, server(tmp_path, "Redis server v=7.2.4 sha=0:0 bits=64"))
    assert embedded_redis.version() == "redis-server 7.2.4 (BROKERBENCH_REDIS_SERVER)"
    assert embedded_redis.unavailable() == ""


def test_valkey_is_called_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(embedded_redis.VARIABLE, server(tmp_path, "Valkey server v=8.1.1 sha=0:0 bits=64"))
    assert embedded_redis.version() == "valkey-server 8.1.1 (BROKERBENCH_REDIS_SERVER)"


@pytest.mark.parametrize(
    ("says", "problem"),
    [("Redis server v=6.0.16 sha=0", "redis-server 6.0.16"), ("something else", "'something else'")],
)
def test_a_server_that_is_too_old_or_none_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, problem: str
) -> None:
    monkeypatch.setenv(embedded_redis.VARIABLE, server(tmp_path, says))
    with pytest.raises(UnavailableError, match=problem):
        embedded_redis.version()
    assert "apt install redis-server" in embedded_redis.unavailable()


def test_a_variable_that_leads_nowhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(embedded_redis.VARIABLE, "/nowhere/redis-server")
    assert "/nowhere/redis-server does not run" in embedded_redis.unavailable()


def test_a_server_that_ends_at_once_is_told_with_its_last_words_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: BrokerOptions
) -> None:
    monkeypatch.setenv(embedded_redis.VARIABLE, server(tmp_path, "Redis server v=7.2.4 cannot be"))
    with pytest.raises(StartError, match=r"Redis server v=7\.2\.4 cannot be"):
        EmbeddedDeployment().up(options)
    assert not options.folder.exists()


def test_a_running_server_is_private_and_down_leaves_nothing(options: BrokerOptions) -> None:
    deployment = EmbeddedDeployment()
    if reason := deployment.unavailable(SETUP):
        pytest.skip(reason)
    broker = deployment.up(options)
    assert stat.S_IMODE(options.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((options.folder / "redis.conf").stat().st_mode) == 0o600
    assert broker.alive()
    assert broker.version == deployment.version(SETUP)
    assert "Redis is starting" in broker.log_tail(50)
    broker.down()
    broker.down()
    assert not broker.alive()
    assert not options.folder.exists()


def test_every_broker_of_the_setups_can_be_embedded() -> None:
    assert {setup.broker for setup in brokers.setups().values()} <= set(embedded_brokers())
