"""The processes of a container as this machine sees them, and what listens in its network."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

_LISTENING = "0A"


def gone(processes: Sequence[psutil.Process]) -> bool:
    """Returns whether all have ended; one that nobody has waited for has."""
    for process in processes:
        with suppress(psutil.Error):
            if process.is_running() and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                return False
    return True


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
