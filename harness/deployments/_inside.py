"""The processes of a container as this machine sees them, and what listens in its network."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

POLL_S = 0.005
_LISTENING = "0A"


def gone(processes: Sequence[psutil.Process]) -> bool:
    """Returns whether all have ended; one that nobody has waited for has."""
    for process in processes:
        with suppress(psutil.Error):
            if process.is_running() and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                return False
    return True


def states(processes: Sequence[psutil.Process]) -> dict[int, str]:
    """Returns pid → state; of a frozen one it is ``disk-sleep`` with cgroups of version 1."""
    found = {}
    for process in processes:
        try:
            found[process.pid] = str(process.status())
        except psutil.Error:
            found[process.pid] = "gone"
    return found


def listens(pid: int, port: int) -> bool:
    """Returns whether something listens on a TCP port in the network that a process is on."""
    ending = f":{port:04X}"
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                columns = line.split()
                if columns[1].endswith(ending) and columns[3] == _LISTENING:
                    return True
    return False


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Returns whether a condition came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
