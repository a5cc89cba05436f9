"""The processes of this machine, told apart by pid *and* start time, since pids are used again.

On Linux everything comes from ``/proc``; elsewhere from psutil. Neighbours: ``sweepers`` ends what a run left,
``journal`` writes down what it starts. Nothing here imports numpy or psutil at once: the minder must start in no time.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
HAS_PROC = (PROC / "self" / "stat").exists()


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """One process as it was seen.

    Args:
        pid, ppid, session: numbers of itself, its parent, its session's leader.
        start: when it started; Linux: clock ticks since boot, elsewhere µs since the epoch. Equal pid and start = same process.
        on_terminal: it has a controlling terminal (ours never have: each gets a session of its own).
        zombie: it has ended and only waits for its parent to look.
    """

    pid: int
    ppid: int
    session: int
    start: int
    on_terminal: bool
    zombie: bool


def find(pid: int) -> Process | None:
    """Returns the process with that pid now, None where there is none."""
    return _find_proc(pid) if HAS_PROC else _find_psutil(pid)


def snapshot() -> dict[int, Process]:
    """Returns every process that can be seen, by pid; not atomic."""
    if HAS_PROC:
        pids: Iterable[int] = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal()]
    else:
        import psutil  # noqa: PLC0415 - only where there is no /proc

        pids = psutil.pids()
    return {pid: process for pid in pids if (process := find(pid)) is not None}


def _find_proc(pid: int) -> Process | None:
    try:
        stat = (PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    rest = stat[stat.rindex(b")") + 2 :].split()  # a command's name may hold spaces and brackets
    return Process(
        pid=pid,
        ppid=int(rest[1]),
        session=int(rest[3]),
        start=int(rest[19]),
        on_terminal=rest[4] != b"0",
        zombie=rest[0] in (b"Z", b"X"),
    )


def _find_psutil(pid: int) -> Process | None:
    import psutil  # noqa: PLC0415

    try:
        found = psutil.Process(pid)
        with found.oneshot():
            return Process(
                pid=pid,
                ppid=found.ppid(),
                session=os.getsid(pid),
                start=round(found.create_time() * 1e6),
                on_terminal=found.terminal() is not None,
                zombie=found.status() == psutil.STATUS_ZOMBIE,
            )
    except (psutil.Error, OSError):
        return None


def environment_holds(pid: int, item: str) -> bool:
    """Returns whether the process was started with ``NAME=value`` in its environment; False where it may not be read."""
    if HAS_PROC:
        try:
            return item.encode() in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            return False
    import psutil  # noqa: PLC0415

    name, _, value = item.partition("=")
    try:
        return bool(psutil.Process(pid).environ().get(name) == value)
    except (psutil.Error, OSError):
        return False


def working_folder(pid: int) -> Path | None:
    """Returns the current folder of a process; None where it may not be read. A removed folder ends in `` (deleted)``."""
    if HAS_PROC:
        try:
            return Path(os.readlink(PROC / str(pid) / "cwd"))  # a magic link: resolving it would leave our namespace
        except OSError:
            return None
    import psutil  # noqa: PLC0415

    try:
        return Path(psutil.Process(pid).cwd())
    except (psutil.Error, OSError):
        return None


def mapped_files(pid: int, prefix: str) -> set[Path]:
    """Returns the files beginning with ``prefix`` that a process has mapped; empty where that cannot be read."""
    try:
        lines = (PROC / str(pid) / "maps").read_text(errors="replace").splitlines()
    except OSError:
        return set()
    paths = (line.split(maxsplit=5)[5] for line in lines if prefix in line and line.count(" ") >= 5)
    return {Path(path.removesuffix(" (deleted)")) for path in paths if path.startswith(prefix)}


def family(roots: Iterable[int], processes: Mapping[int, Process]) -> set[int]:
    """Returns ``roots``, all their descendants, and all members of a session that one of these leads."""
    found: set[int] = set()
    fresh = {pid for pid in roots if pid in processes}
    while fresh:
        found |= fresh
        fresh = {p.pid for p in processes.values() if p.ppid in fresh or p.session in fresh} - found
    return found


def ancestors(pid: int, processes: Mapping[int, Process]) -> set[int]:
    """Returns ``pid`` and every parent above it."""
    found: set[int] = set()
    while pid in processes and pid not in found:
        found.add(pid)
        pid = processes[pid].ppid
    return found


def send(process: Process, what: signal.Signals) -> bool:
    """Sends a signal to that very process, never to another one under its pid; returns whether it was there.

    Raises:
        PermissionError: it belongs to somebody else.
    """
    with contextlib.suppress(ProcessLookupError):
        handle = _pin(process.pid)
        try:
            if not _is_same(process):  # checked while the handle pins the pid
                return False
            if handle is None:
                os.kill(process.pid, what)
            else:
                signal.pidfd_send_signal(handle, what)
            return True
        finally:
            if handle is not None:
                os.close(handle)
    return False


def _pin(pid: int) -> int | None:
    """Returns a handle that means this process only; None on a system, kernel or sandbox without them."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError:
        return None


def _is_same(process: Process) -> bool:
    now = find(process.pid)
    return now is not None and now.start == process.start
