"""The fingerprint, and the watcher of the machine's stalls."""

from __future__ import annotations

import json
import os
import queue
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import environment, mounts
from harness.environment import (
    cgroup_cpu_quota,
    cgroup_memory_limit,
    docker_facts,
    fingerprint,
    machine_usage,
    memory_free,
)
from harness.journal import Journal
from harness.stalls import StallWatcher


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    monkeypatch.setenv("BROKERBENCH_STATE", str(tmp_path / "state"))
    with Journal.create(secrets.token_hex(8)) as made:
        yield made


def test_the_fingerprint_has_four_groups_of_plain_json(tmp_path: Path) -> None:
    found = fingerprint(tmp_path)
    assert list(found) == ["identity", "drift", "subject", "live"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["identity"]["cpus"] == os.cpu_count()
    assert found["drift"]["libraries"]["redis"]
    assert found["subject"]["brokerbench"]


def test_the_fingerprint_holds_no_environment_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = secrets.token_hex(16)
    monkeypatch.setenv("PGPASSWORD", secret)
    monkeypatch.setenv("REDIS_URL", f"redis://:{secret}@127.0.0.1/0")
    assert secret not in json.dumps(fingerprint(tmp_path))


def tree(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, None),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/cpu.max": "150000 100000"}, 1.5),
        (  # the tightest of all levels holds
            {
                "proc/self/cgroup": "0::/a/b",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000",
                "sys/fs/cgroup/a/cpu.max": "50000 100000",
            },
            0.5,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/x\n0::/",
                "sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us": "200000",
                "sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us": "100000",
            },
            2.0,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            None,
        ),
        # inside a container the path of the outside is not mounted: its own root is
        ({"proc/self/cgroup": "0::/../../x", "sys/fs/cgroup/cpu.max": "300000 100000"}, 3.0),
        ({}, None),
    ],
)
def test_the_cpu_quota_of_control_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], quota: float | None
) -> None:
    tree(tmp_path, files)
    monkeypatch.setattr(environment, "PROC", tmp_path / "proc")
    monkeypatch.setattr(environment, "SYS", tmp_path / "sys")
    assert cgroup_cpu_quota() == quota


@pytest.mark.parametrize(
    ("files", "limit", "free"),
    [
        ({"proc/self/cgroup": "0::/a", "sys/fs/cgroup/a/memory.max": "max"}, None, 10_000),
        (  # a cache of files that nobody reads can be had
            {
                "proc/self/cgroup": "0::/a",
                "sys/fs/cgroup/a/memory.max": "4000",
                "sys/fs/cgroup/a/memory.current": "3000",
                "sys/fs/cgroup/a/memory.stat": "file 900\ninactive_file 500",
            },
            4000,
            1500,
        ),
        (  # the tightest of all levels holds, and it need not be the one with the smallest limit
            {
                "proc/self/cgroup": "0::/a/b",
                "sys/fs/cgroup/a/memory.max": "9000",
                "sys/fs/cgroup/a/memory.current": "8900",
                "sys/fs/cgroup/a/b/memory.max": "4000",
                "sys/fs/cgroup/a/b/memory.current": "1000",
            },
            4000,
            100,
        ),
        (
            {
                "proc/self/cgroup": "9:memory:/docker/x",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": str((1 << 63) - 4096),
                "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": "6000",
                "sys/fs/cgroup/memory/docker/x/memory.usage_in_bytes": "5000",
                "sys/fs/cgroup/memory/docker/x/memory.stat": "inactive_file 1\ntotal_inactive_file 200",
            },
            6000,
            1200,
        ),
        (
            {
                "proc/self/cgroup": "0::/",
                "sys/fs/cgroup/memory.max": "4000",
                "sys/fs/cgroup/memory.current": "4100",
            },
            4000,
            0,
        ),
        ({}, None, 10_000),
    ],
)
def test_the_memory_that_control_groups_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], limit: int | None, free: int
) -> None:
    tree(tmp_path, files)
    monkeypatch.setattr(environment, "PROC", tmp_path / "proc")
    monkeypatch.setattr(environment, "SYS", tmp_path / "sys")
    monkeypatch.setattr(environment.psutil, "virtual_memory", lambda: SimpleNamespace(available=10_000))
    assert cgroup_memory_limit() == limit
    assert memory_free() == free


@pytest.mark.parametrize(
    ("files", "recorded"),
    [
        ({"proc/self/cgroup": "0::/a", "sys/fs/cgroup/a/cpu.max": "150000 100000"}, 1.5),
        ({"proc/self/cgroup": "0::/a", "sys/fs/cgroup/a/cpu.max": "max 100000"}, "none"),
        ({"proc/self/cgroup": "4:memory:/"}, None),
        ({}, None),
    ],
)
def test_the_fingerprint_tells_no_quota_from_an_unknown_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], recorded: float | str | None
) -> None:
    tree(tmp_path, files)
    monkeypatch.setattr(environment, "PROC", tmp_path / "proc")
    monkeypatch.setattr(environment, "SYS", tmp_path / "sys")
    assert fingerprint(tmp_path)["identity"]["cgroup_cpu_quota"] == recorded


def test_a_filesystem_that_the_system_does_not_tell_is_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fingerprint(tmp_path)["identity"]["filesystem_data"]
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "none")
    found = fingerprint(tmp_path)["identity"]
    assert [found[name] for name in ("filesystem_data", "filesystem_slots", "filesystem_run")] == [None, None, None]


def test_dockers_part_of_the_fingerprint_says_where_volumes_are_stored(tmp_path: Path) -> None:
    told = {"ServerVersion": "20.10.24", "CgroupVersion": "1", "Driver": "overlay2", "OperatingSystem": "Debian 12"}
    overlay = {**told, "DriverStatus": [["Backing Filesystem", "extfs"], ["userxattr", "false"]]}
    assert docker_facts(overlay, "2.26.1") == {
        "engine": "20.10.24",
        "compose": "2.26.1",
        "cgroup": "1",
        "storage": "overlay2",
        "storage_filesystem": "extfs",
        "system": "Debian 12",
    }
    snapshotter = {**told, "Driver": "overlayfs", "DockerRootDir": str(tmp_path)}
    assert docker_facts(snapshotter, "2.26.1")["storage_filesystem"] == mounts.mount_of(tmp_path).kind
    assert docker_facts(told, "2.26.1")["storage_filesystem"] is None


def test_pressure_totals_are_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = "some avg10=1.25 avg60=0.50 avg300=0.10 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1"
    tree(tmp_path, {"proc/pressure/cpu": some})
    monkeypatch.setattr(environment, "PROC", tmp_path / "proc")
    usage = machine_usage()
    assert usage["pressure_cpu_s"] == 2.5
    assert "pressure_io_s" not in usage


def test_totals_of_the_machine_never_fall() -> None:
    before = machine_usage()
    deadline = time.process_time() + 0.05
    while time.process_time() < deadline:
        pass
    after = machine_usage()
    assert before.keys() == after.keys()
    assert all(after[name] >= before[name] for name in before)
    assert after["cpu_busy_s"] > before["cpu_busy_s"]


def test_an_installed_package_has_no_commit(tmp_path: Path) -> None:
    assert environment._commit(tmp_path) is None


def test_a_stopped_watcher_sees_a_stall_of_that_length(journal: Journal) -> None:
    with StallWatcher(journal) as watcher:
        assert watcher._process is not None
        begun = time.monotonic_ns()
        watcher._process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        watcher._process.send_signal(signal.SIGCONT)
        ended = time.monotonic_ns()
        while watcher.max_stall_s() < 0.25:
            assert time.monotonic_ns() - ended < 30e9
            time.sleep(0.005)
    longest = max(watcher.stalls(), key=lambda stall: stall.length_ns)
    assert longest.length_ns >= 0.29e9
    assert longest.t_ns - longest.length_ns >= begun - 20e6
    assert watcher.max_stall_s() == longest.length_ns / 1e9
    assert watcher.steal_s() >= 0.0


def test_an_interpreter_of_ours_that_lets_nobody_run_is_no_stall_of_the_machine(journal: Journal) -> None:
    with StallWatcher(journal) as watcher:
        begun = time.monotonic()
        sum(range(60_000_000))  # one call in C: it holds this interpreter's lock all the while
        held_s = time.monotonic() - begun
        assert watcher.max_stall_s() < held_s / 2


def test_the_watch_leaves_no_process_and_can_be_asked_afterwards(journal: Journal) -> None:
    with StallWatcher(journal) as watcher:
        pass
    assert watcher.max_stall_s() >= 0.0
    assert journal._children == {}


def test_a_watcher_that_is_killed_is_missed_and_one_that_is_stopped_is_not(journal: Journal) -> None:
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()
    with StallWatcher(journal, ended.put):
        begun = time.monotonic_ns()
    with StallWatcher(journal, ended.put) as watcher:
        assert watcher._process is not None
        watcher._process.kill()
        assert begun < ended.get(timeout=30) < time.monotonic_ns()
    assert ended.empty()


def test_a_watcher_that_dies_does_not_hold_up_the_run(journal: Journal) -> None:
    with StallWatcher(journal) as watcher:
        assert watcher._process is not None
        watcher._process.kill()
    assert watcher._process is None
