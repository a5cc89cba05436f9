"""How each kind of resource that a journal names is removed: one function per kind, in the order of :data:`SWEEPERS`.

A sweeper gets the whole journal, is idempotent, touches nothing that the journal does not name, and returns one sentence
per thing that it removed. What it cannot remove it adds to ``left``, and the journal is kept. A new kind (a loop device, say)
is one function and one line in the table.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import struct
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import processes
from harness.processes import Process
from harness.redaction import hide

ENGINE_KINDS = ("container", "network", "volume", "swarm")
ENGINE_GONE = "engine gone"
"""What was removed already: that an engine had it still tells which one to ask."""
ENGINE_VARIABLES = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
"""Which Docker engine a process speaks to: written down with each thing that is made there."""
MARKER = "BROKERBENCH_RUN"
PREFIX = "brokerbench-"
SHM = Path("/dev/shm")

_END_S = 10.0  # a SIGKILLed process that is still there after this is stuck in the kernel
_LOOK_S = 0.02
_CLEAN_LOOKS = 2
_CLEAN_LOOKS_OPEN_INTENT = 10  # a child that was just forked shows its environment only after its exec


@dataclass(kw_only=True, slots=True)
class Context:
    """What one journal says.

    Args:
        run_id: 16 hex digits.
        owner_start: start of the owner; no process of the run is older.
        wall_s: when the journal was begun, seconds since the epoch.
        same_boot: the machine has not been started anew since; otherwise pids and shared memory mean nothing.
        records: kind → its lines in order.
        queues: by name, setup, address and parameters of those queues whose address is known with its password.
        left: sentences on what could not be removed.
        shared_files: files of shared memory that ended processes had mapped; found on the way.
    """

    run_id: str
    owner_start: int
    wall_s: float
    same_boot: bool
    records: Mapping[str, list[dict[str, Any]]]
    queues: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    shared_files: set[Path] = field(default_factory=set)

    def folders(self) -> list[Path]:
        """Returns the folders that the journal names and that may be removed."""
        paths = [record.get("path") for record in self.records.get("folder", [])]
        return [Path(path) for path in paths if isinstance(path, str) and is_ours(Path(path), self.run_id)]

    def recorded(self) -> dict[int, set[int]]:
        """Returns pid → start times of the processes that the journal names."""
        found: dict[int, set[int]] = {}
        for record in self.records.get("process", []):
            if isinstance(record.get("pid"), int) and isinstance(record.get("start"), int):
                found.setdefault(record["pid"], set()).add(record["start"])
        return found


def is_ours(path: Path, run_id: str) -> bool:
    """Returns whether a path lies at or below ``brokerbench-<run_id>…`` in tmpfs or a folder for temporary files."""
    roots = {SHM, Path("/tmp"), Path("/var/tmp"), Path(tempfile.gettempdir()), Path(tempfile.gettempdir()).resolve()}
    if not path.is_absolute() or ".." in path.parts:
        return False
    return any(root in path.parents and path.relative_to(root).parts[0].startswith(PREFIX + run_id) for root in roots)


def sweep_processes(context: Context) -> list[str]:
    """Ends what the journal names, all their descendants and session members, and whatever carries the run's marker."""
    if not context.same_boot:
        return []
    ended: set[tuple[int, int]] = set()
    refused: set[int] = set()
    open_intents = len(context.records.get("intent", [])) > len(context.records.get("process", []))
    wanted, clean = (_CLEAN_LOOKS_OPEN_INTENT if open_intents else _CLEAN_LOOKS), 0
    deadline = time.monotonic() + _END_S
    while clean < wanted and time.monotonic() < deadline:
        doomed = [process for process in _of_run(context, ended) if process.pid not in refused]
        for process in doomed:
            context.shared_files |= processes.mapped_files(process.pid, f"{SHM}/PostgreSQL.")
        for process in doomed:
            try:
                if processes.send(process, signal.SIGKILL):
                    ended.add((process.pid, process.start))
            except PermissionError:
                refused.add(process.pid)
        clean = 0 if doomed else clean + 1
        if clean < wanted:
            time.sleep(_LOOK_S)
    if clean < wanted:
        context.left += [f"process {p.pid} does not end" for p in _of_run(context, ended)]
    context.left += [f"process {pid} belongs to another user" for pid in sorted(refused)]
    return [f"process {pid}" for pid, _ in sorted(ended)]


def _of_run(context: Context, ended: set[tuple[int, int]]) -> list[Process]:
    """Returns the living processes of the run, parents first as far as pids tell."""
    every = processes.snapshot()
    safe = processes.ancestors(os.getpid(), every)
    roots = [pid for pid, starts in context.recorded().items() if pid in every and every[pid].start in starts]
    found = processes.family(roots, every)
    marker, folders = f"{MARKER}={context.run_id}", context.folders()
    ended_pids = {pid for pid, _ in ended}
    for process in every.values():
        if process.pid in found or process.start < context.owner_start or process.pid in safe:
            continue
        if (
            process.session in ended_pids  # its leader was ended by this sweep a moment ago
            or processes.environment_holds(process.pid, marker)
            or (not process.on_terminal and _works_in(process.pid, folders))
        ):
            found |= processes.family([process.pid], every)
    return [every[pid] for pid in sorted(found - safe) if not every[pid].zombie]


def _works_in(pid: int, folders: list[Path]) -> bool:
    """Returns whether a process works below one of the folders: Postgres overwrites its environment with its title."""
    current = processes.working_folder(pid) if folders else None
    return current is not None and any(folder == current or folder in current.parents for folder in folders)


def sweep_engine(context: Context) -> list[str]:
    """Removes the run's containers, networks, volumes and swarm; asks the engine only where the journal says that there were some."""
    if not context.records.keys() & set(ENGINE_KINDS):
        return []
    from harness.containers.remains import remove_all  # noqa: PLC0415 - the engine's library takes 0.15 s to import

    return remove_all(context)


def sweep_shared_memory(context: Context) -> list[str]:
    """Frees the System V segments and ``/dev/shm/PostgreSQL.*`` of servers whose data lay in the run's folders."""
    if not context.same_boot:
        return []
    removed = []
    for number in sorted(_segments(context)):
        context.shared_files |= _dynamic_segments(number)
        if _libc().shmctl(number, 0, None) == 0:  # 0 = IPC_RMID
            removed.append(f"shared memory segment {number}")
    for path in sorted(context.shared_files):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            removed.append(f"shared memory {path}")
    return removed


def _segments(context: Context) -> set[int]:
    """Returns the ids of System V segments that are the run's: named in a ``postmaster.pid``, or made by a recorded process."""
    found = set()
    table = _segment_table()
    for folder in context.folders():
        for pattern in ("postmaster.pid", "*/postmaster.pid", "*/*/postmaster.pid"):
            for path in folder.glob(pattern):
                with contextlib.suppress(OSError, ValueError, IndexError):
                    key, number = (int(word) for word in path.read_text().splitlines()[6].split())
                    if table is None or (number in table and table[number]["key"] == key):
                        found.add(number)
    for number, row in (table or {}).items():
        # Its maker's pid may have been used again since: then another process made it, which is alive or made it later.
        if row["cpid"] in context.recorded() and row["nattch"] == 0 and row["ctime"] >= int(context.wall_s):
            alive = processes.find(row["cpid"])
            if alive is None or alive.zombie or alive.start in context.recorded()[row["cpid"]]:
                found.add(number)
    return found


def _segment_table() -> dict[int, dict[str, int]] | None:
    """Returns id → columns of every System V segment; None where the system has no such list."""
    try:
        head, *rows = Path("/proc/sysvipc/shm").read_text().splitlines()
    except OSError:
        return None
    names = head.split()
    lines = [dict(zip(names, map(int, row.split()), strict=False)) for row in rows]
    return {line["shmid"]: line for line in lines}


def _dynamic_segments(number: int) -> set[Path]:
    """Returns the ``/dev/shm/PostgreSQL.*`` that a dead server left, as its System V segment tells.

    The segment begins with ``PGShmemHeader`` (magic int32, pid int32, size, size, handle of the control segment uint32); the
    control segment with ``dsm_control_header`` (magic, items in use, most items: uint32), then items of 40 bytes that begin
    with their handle (PostgreSQL 9.4 to 18, ``pg_shmem.h`` and ``dsm.c``). What does not look so is left alone.
    """
    libc = _libc()
    address = libc.shmat(number, None, 0o10000)  # 0o10000 = SHM_RDONLY
    if address in (None, ctypes.c_void_p(-1).value):
        return set()
    try:
        magic, _pid, _total, _free, control = struct.unpack("<iiQQI", ctypes.string_at(address, 28))
    finally:
        libc.shmdt(ctypes.c_void_p(address))
    path = SHM / f"PostgreSQL.{control}"
    if magic != 679834894 or not control or not path.is_file():
        return set()
    try:
        content = path.read_bytes()
        control_magic, used, _most = struct.unpack_from("<III", content)
        items = used if control_magic == 0x9A503D32 else 0
        handles = [struct.unpack_from("<II", content, 16 + 40 * index) for index in range(items)]
    except (OSError, struct.error):
        return {path}
    return {path} | {SHM / f"PostgreSQL.{handle}" for handle, references in handles if references}


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
    return libc


def sweep_folders(context: Context) -> list[str]:
    """Removes the folders that the journal names, with all in them; never follows a link.

    Where the run had containers, those may have left files of users that are not us: then a container removes them.
    """
    removed = []
    for path in context.folders():
        if path.is_symlink() or not path.is_dir():
            continue
        shutil.rmtree(path, ignore_errors=True)
        why = ""
        if path.exists() and context.records.keys() & set(ENGINE_KINDS):
            from harness.containers.remains import empty_folder  # noqa: PLC0415 - as above

            why = empty_folder(path, context)
            shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            context.left.append(f"folder {path} cannot be removed{why}")
        else:
            removed.append(f"folder {path}")
    return removed


def sweep_queues(context: Context) -> list[str]:
    """Removes the run's queues from brokers that outlive it, where their addresses are known."""
    removed = []
    for record in context.records.get("queue", []):
        what = f"queue {record.get('queue')} at {record.get('address')}"
        known = context.queues.get(str(record.get("queue")))
        if known is None:
            remedy = "its password is stored nowhere: brokerbench down --address URL, or remove it there yourself"
            context.left.append(f"{what}; {remedy}")
            continue
        from harness.brokers import purge_queue  # noqa: PLC0415 - a minder needs it only where something was left

        try:
            purge_queue(record["queue"], setup=known["setup"], address=known["address"], parameters=known["parameters"])
            removed.append(what)
        except Exception as error:  # whatever a driver does, the other queues are removed
            context.left.append(f"{what} cannot be removed: {hide(str(error))}")
    return removed


SWEEPERS: Mapping[str, Callable[[Context], list[str]]] = {
    "process": sweep_processes,
    "engine": sweep_engine,
    "shared memory": sweep_shared_memory,
    "folder": sweep_folders,
    "queue": sweep_queues,
}
"""In order: what uses a thing ends before the thing itself."""
