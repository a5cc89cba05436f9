"""``SCHED_FIFO`` for processes of a container, given from outside where it cannot be had inside.

A kernel with CONFIG_RT_GROUP_SCHED refuses it to every CPU group of cgroup version 1 that has no real-time share, and the engine's have none. Root of
this machine moves such a process into the group of the machine itself, as if it ran without a container; its CPU time is counted in another
controller, and stays that of the container.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

CPU = Path("/sys/fs/cgroup/cpu")
PROC = Path("/proc")
PRIORITY = 1


def give_realtime(seen: Collection[int], wanted: Collection[int]) -> set[int]:
    """Puts processes under ``SCHED_FIFO``; returns those that have it, by their numbers in the container.

    Args:
        seen: the container's processes, by their numbers here. wanted: which of them, by their numbers in the container.
    """
    given = set()
    for pid, inside in _numbers(seen):
        if inside in wanted and (_set(pid) or (_leave_group(pid) and _set(pid))):
            given.add(inside)
    return given


def _numbers(pids: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yields the number of each process here and in its own namespace."""
    for pid in pids:
        with suppress(OSError):
            found = re.search(r"^NSpid:(.*)$", (PROC / str(pid) / "status").read_text(), re.MULTILINE)
            if found:
                yield pid, int(found[1].split()[-1])


def _set(pid: int) -> bool:
    try:
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except (OSError, AttributeError):
        return False
    return True


def _leave_group(pid: int) -> bool:
    """Returns whether the process now belongs to the machine's own CPU group; never where that group counts CPU time, too."""
    if not (CPU / "cpu.rt_runtime_us").exists() or (CPU / "cpuacct.usage").exists():
        return False
    try:
        (CPU / "cgroup.procs").write_text(str(pid))
    except OSError:
        return False
    return True
