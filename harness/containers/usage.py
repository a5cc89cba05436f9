"""What a container uses: CPU, time without it, memory, disk, network, and processes that the kernel killed in it for memory.

Read from the cgroup's files by the pid of its first process where we share a kernel with the engine: that costs the engine nothing, however often it is
done. Elsewhere (Docker Desktop's machine) the engine's own figures are asked for once a look.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import requests
from docker.errors import DockerException

from harness.containers.engine import engine
from harness.deployments._usage import sums
from harness.deployments.contract import Usage

NS_PER_S = 1e9
US_PER_S = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sums:
    """What one life of a container used so far; None = cannot be read."""

    cpu_s: float | None = None
    throttled_s: float | None = None
    written_bytes: float | None = None
    read_bytes: float | None = None
    received_bytes: float | None = None
    sent_bytes: float | None = None
    killed: float | None = None  # processes that the kernel killed for memory

    def joined(self, other: _Sums, join: Callable[[float, float], float]) -> _Sums:
        """Returns each figure joined with the other's; where only one is known, that one."""
        values = {each.name: (getattr(self, each.name), getattr(other, each.name)) for each in fields(_Sums)}
        return _Sums(
            **{
                name: join(mine, its) if mine is not None and its is not None else (its if mine is None else mine)
                for name, (mine, its) in values.items()
            }
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Processes:
    """The processes of a container as this machine sees them.

    Args:
        main: pid of the first one. all: every pid, the first one included.
    """

    main: int
    all: tuple[int, ...]


class Meter:
    """Adds up what a container uses over all its lives, restarted or made again; safe for several threads. No sum ever falls."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._earlier, self._current = _Sums(), _Sums()
        self._life: _Files | _Engine | None = None

    def follow(self, container_id: str, pid: int, *, own_network: bool) -> None:
        """Begins to measure a life of the container: call it whenever one was started.

        Args:
            container_id: whole. pid: of its first process, as the engine says.
            own_network: it is not on the host's, whose traffic is everybody's.
        """
        files = _Files(_folders(pid), container_id, pid, own_network=own_network)
        with self._guard:
            self._earlier = self._earlier.joined(self._current, float.__add__)
            self._current = _Sums()
            self._life = files if files.shared() else _Engine(container_id)

    def usage(self) -> Usage:
        """Returns what all lives used; memory is that of now, without the page cache."""
        with self._guard:
            memory = self._look()
            total = self._earlier.joined(self._current, float.__add__)
        return Usage(
            cpu_s=total.cpu_s,
            memory_bytes=memory,
            written_bytes=_whole(total.written_bytes),
            read_bytes=_whole(total.read_bytes),
            throttled_s=total.throttled_s,
            network_received_bytes=_whole(total.received_bytes),
            network_sent_bytes=_whole(total.sent_bytes),
        )

    def killed_for_memory(self) -> int:
        """Returns how many of its processes the kernel had killed for memory when it was last looked at."""
        with self._guard:
            return int(self._earlier.joined(self._current, float.__add__).killed or 0)

    def throttled_s(self) -> float:
        """Returns for how long its limit had kept it from running when it was last looked at."""
        with self._guard:
            return self._earlier.joined(self._current, float.__add__).throttled_s or 0.0

    def processes(self) -> Processes | None:
        """Returns its processes; None where this machine does not see them, or there are none."""
        with self._guard:
            return self._life.processes() if isinstance(self._life, _Files) else None

    def _look(self) -> int | None:
        if self._life is None:
            return None
        found, memory = self._life.look()
        self._current = self._current.joined(found, max)
        return memory


class _Files:
    """The files of one life's cgroups.

    Args:
        folders: controller → folder of version 1, that of version 2 under "".
    """

    def __init__(self, folders: Mapping[str, Path], container_id: str, pid: int, *, own_network: bool) -> None:
        self._folders, self._id, self._pid, self._own_network = folders, container_id, pid, own_network
        self._unified = "" in self._folders and "memory" not in self._folders

    def shared(self) -> bool:
        """Returns whether the pid that the engine says is that of this container on this machine too."""
        folder = self._folders.get("" if self._unified else "cpuacct")
        return folder is not None and self._id in str(folder) and (folder / "cgroup.procs").exists()

    def look(self) -> tuple[_Sums, int | None]:
        """Returns sums and memory now; nothing of what is gone."""
        sums_now, memory = self._unified_figures() if self._unified else self._v1_figures()
        received, sent = self._network()
        return sums_now.joined(_Sums(received_bytes=received, sent_bytes=sent), max), memory

    def processes(self) -> Processes | None:
        folder = self._folders["" if self._unified else "cpuacct"]
        # A container may make groups of its own below (systemd, nested engines); ours do not.
        pids = tuple(int(word) for word in _text(folder / "cgroup.procs").split())
        return Processes(main=self._pid, all=pids) if pids else None

    def _unified_figures(self) -> tuple[_Sums, int | None]:
        folder = self._folders[""]
        cpu, memory = _table(folder / "cpu.stat"), _table(folder / "memory.stat")
        disk = _devices(folder / "io.stat")
        used = _number(folder / "memory.current")
        found = _Sums(
            cpu_s=_scaled(cpu.get("usage_usec"), US_PER_S),
            throttled_s=_scaled(cpu.get("throttled_usec"), US_PER_S),
            written_bytes=disk.get("wbytes"),
            read_bytes=disk.get("rbytes"),
            killed=_table(folder / "memory.events").get("oom_kill"),
        )
        return found, _without_cache(used, memory.get("file"), memory.get("shmem"))

    def _v1_figures(self) -> tuple[_Sums, int | None]:
        """As above. Version 1 charges what the kernel writes back later to nobody (measured: 0 bytes of 100 MB, with an fsync of each write), so bytes of
        the disk are those of the processes, where we may read them."""
        memory = _table(self._folders["memory"] / "memory.stat")
        used = _number(self._folders["memory"] / "memory.usage_in_bytes")
        written, read = self._processes_disk()
        found = _Sums(
            cpu_s=_scaled(_number(self._folders["cpuacct"] / "cpuacct.usage"), NS_PER_S),
            throttled_s=_scaled(_table(self._folders["cpu"] / "cpu.stat").get("throttled_time"), NS_PER_S),
            written_bytes=written,
            read_bytes=read,
            killed=_table(self._folders["memory"] / "memory.oom_control").get("oom_kill"),
        )
        return found, _without_cache(used, memory.get("total_cache"), memory.get("total_shmem"))

    def _processes_disk(self) -> tuple[float | None, float | None]:
        running = self.processes()
        if running is None:
            return None, None
        members = list(_alive(running.all))
        main = next((process for process in members if process.pid == running.main), None)
        total = sums(members, main)
        written, read = total.written_bytes, total.read_bytes
        return None if written is None else float(written), None if read is None else float(read)

    def _network(self) -> tuple[float | None, float | None]:
        """Returns bytes received and sent over all interfaces but the loopback, as its first process sees them."""
        if not self._own_network:
            return None, None
        received, sent, seen = 0.0, 0.0, False
        for line in _text(Path(f"/proc/{self._pid}/net/dev")).splitlines()[2:]:
            name, _, figures = line.partition(":")
            if name.strip() != "lo":
                columns = figures.split()
                received, sent, seen = received + float(columns[0]), sent + float(columns[8]), True
        return (received, sent) if seen else (None, None)


class _Engine:
    """The engine's own figures of one life."""

    def __init__(self, container_id: str) -> None:
        self._id = container_id

    def look(self) -> tuple[_Sums, int | None]:
        """As :meth:`_Files.look`."""
        try:
            said: Mapping[str, Any] = engine().api.stats(self._id, decode=None, stream=False, one_shot=True)
        except (DockerException, requests.RequestException):
            return _Sums(), None
        cpu, memory = said.get("cpu_stats", {}), said.get("memory_stats", {})
        detail = memory.get("stats", {})
        disk: dict[str, float] = {}
        for each in said.get("blkio_stats", {}).get("io_service_bytes_recursive") or ():
            operation = str(each["op"]).lower()
            disk[operation] = disk.get(operation, 0.0) + float(each["value"])
        interfaces = (said.get("networks") or {}).values()
        found = _Sums(
            cpu_s=_scaled(cpu.get("cpu_usage", {}).get("total_usage"), NS_PER_S),
            throttled_s=_scaled(cpu.get("throttling_data", {}).get("throttled_time"), NS_PER_S),
            written_bytes=disk.get("write"),
            read_bytes=disk.get("read"),
            received_bytes=float(sum(each["rx_bytes"] for each in interfaces)) if interfaces else None,
            sent_bytes=float(sum(each["tx_bytes"] for each in interfaces)) if interfaces else None,
        )
        cached = detail.get("total_cache", detail.get("file"))
        return found, _without_cache(memory.get("usage"), cached, detail.get("total_shmem", detail.get("shmem")))


def _folders(pid: int) -> dict[str, Path]:
    """Returns controller → folder of a process's cgroup of version 1, and that of version 2 under ""."""
    mounts = _mounts()
    found = {}
    for line in _text(Path(f"/proc/{pid}/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            if controller in mounts:
                root, mount = mounts[controller]
                found[controller] = mount / path.removeprefix(root.rstrip("/")).lstrip("/")
    return found


@cache
def _mounts() -> dict[str, tuple[str, Path]]:
    """Returns controller → what of its tree is mounted, and where; version 2 under ""."""
    found = {}
    for line in _text(Path("/proc/self/mountinfo")).splitlines():
        before, _, after = line.partition(" - ")
        root, mount = before.split()[3:5]
        kind, _, options = after.split(maxsplit=2)
        if kind == "cgroup2":
            found[""] = (root, Path(mount))
        elif kind == "cgroup":
            found |= dict.fromkeys(options.split(","), (root, Path(mount)))
    return found


def _alive(pids: tuple[int, ...]) -> Iterator[psutil.Process]:
    for pid in pids:
        with suppress(psutil.Error):
            yield psutil.Process(pid)


def _text(path: Path) -> str:
    """Returns what a file of the kernel says, "" where it is gone or not ours to read."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    text = _text(path).strip()
    return float(text) if text.isdigit() else None


def _table(path: Path) -> dict[str, float]:
    """Returns name → number of a file with one pair a line."""
    pairs = (line.split() for line in _text(path).splitlines())
    return {pair[0]: float(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _devices(path: Path) -> dict[str, float]:
    """Returns name → number of ``io.stat``, whose lines are ``8:0 rbytes=… wbytes=…``, over all devices."""
    found: dict[str, float] = {}
    for line in _text(path).splitlines():
        for word in line.split()[1:]:
            name, _, value = word.partition("=")
            found[name] = found.get(name, 0.0) + float(value)
    return found


def _without_cache(used: float | None, cached: float | None, shared: float | None) -> int | None:
    """Returns memory without what is only a copy of files; shared memory (and a tmpfs) is counted with them, and is none."""
    return None if used is None else max(0, int(used - (cached or 0) + (shared or 0)))


def _scaled(value: float | None, per_unit: float) -> float | None:
    return None if value is None else value / per_unit


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
