"""What a run has made, written down before it is made, so that nothing is left behind whatever happens to us.

A journal is a file of JSON lines in the state folder, held under a file lock while its run lives. A minder
(``harness.minder``), a process in a session of its own, waits at the other end of a pipe: when the run ends without a word, it
sweeps (``harness.sweeping``). ``brokerbench down`` sweeps what is left if the minder was killed too.

Shards and the fleet need no journal: they carry ``BROKERBENCH_RUN`` in their environment and end when their pipe closes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from harness import processes
from harness.clock import clock_domain
from harness.errors import StartError, UsageError
from harness.mounts import mount_of
from harness.redaction import shown
from harness.sweepers import ENGINE_VARIABLES, MARKER, PREFIX, SHM, is_ours
from harness.sweeping import journals, pid_namespace, sweep_locked

_LAYOUT = 1


class Journal:
    """The journal of a living run; made by :meth:`create`. Safe for use by several threads of one process.

    Args of the instance:
        run_id: 16 hex digits.
        path: the file.
        notes: sentences worth showing to the user, e.g. that there is no tmpfs.
    """

    def __init__(self, run_id: str, path: Path, file: int) -> None:
        self.run_id = run_id
        self.path = path
        self.notes: list[str] = []
        self._file = file
        self._guard = threading.Lock()
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._minder: subprocess.Popen[bytes] | None = None
        self._slots: Path | None = None
        self._queues: dict[str, dict[str, Any]] = {}

    @classmethod
    def create(cls, run_id: str) -> Journal:
        """Begins a journal and starts its minder.

        Raises:
            UsageError: the state folder cannot be written.
        """
        folder = journals()
        path = folder / f"{run_id}.jsonl"
        hidden = folder / f".{run_id}.new"  # nobody sweeps it before it is locked and has its first line
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        except OSError as error:
            raise _state_error(folder, error) from error
        journal = cls(run_id, path, file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            journal._write("run", **_first_line(run_id))
            os.link(hidden, path)  # unlike a rename this refuses to replace another run's journal
        except OSError as error:
            os.close(file)
            raise _state_error(folder, error) from error
        finally:
            with contextlib.suppress(OSError):
                hidden.unlink()
        journal._minder = _start_minder(path)
        return journal

    def folder(self, path: Path) -> Path:
        """Writes a folder down, then makes it with mode 0700; returns it.

        Raises:
            ValueError: it does not lie at or below ``brokerbench-<run_id>…`` in tmpfs or the folder for temporary files.
            StartError: it cannot be made.
        """
        if not is_ours(path, self.run_id):
            raise ValueError(
                f"folder {path}; expected one at or below {PREFIX}{self.run_id}… in {SHM} or {tempfile.gettempdir()}"
            )
        self._write("folder", path=str(path))
        try:
            path.mkdir(mode=0o700)
        except OSError as error:
            raise StartError(
                f"the folder {path} cannot be made: {error.strerror}",
                remedy=f"make {path.parent} writable, or free space",
            ) from error
        return path

    @staticmethod
    def slot_place() -> Path:
        """Returns below what :meth:`slot_folder` makes its folder: tmpfs where there is one."""
        tmpfs = mount_of(SHM).kind == "tmpfs" and os.access(SHM, os.W_OK)
        return SHM if tmpfs else Path(tempfile.gettempdir())

    def slot_folder(self) -> Path:
        """Returns the run's folder on tmpfs, made at the first call; elsewhere, with a note, where there is no tmpfs."""
        if self._slots is None:
            if self.slot_place() == SHM:
                self._slots = self.folder(SHM / f"{PREFIX}{self.run_id}")
            else:
                self._slots = self.temp_folder("slots")
                self.notes.append(
                    f"{SHM} is no writable tmpfs: slots lie in {self._slots}, and a store may wait for the disk"
                )
        return self._slots

    def temp_folder(self, name: str) -> Path:
        """Makes and returns ``brokerbench-<run_id>-<name>`` in the folder for temporary files, which other users may enter."""
        return self.folder(Path(tempfile.gettempdir()) / f"{PREFIX}{self.run_id}-{name}")

    def spawn(
        self, argv: Sequence[str | os.PathLike[str]], *, user: int | None = None, **popen: Any
    ) -> subprocess.Popen[bytes]:
        """Starts a process in a session of its own that the sweep will find, whenever we are killed.

        Args:
            argv: program and arguments; only the program's name is written down.
            user: user (and group) id to run as; needs root.
            popen: further arguments of :class:`subprocess.Popen`; ``env`` gets the run's marker.

        Raises:
            StartError: it cannot be started.
        """
        environment = dict(os.environ if popen.get("env") is None else popen["env"])
        popen["env"] = environment | {MARKER: self.run_id}
        if user is not None:
            popen = {"group": user, "extra_groups": [], **popen, "user": user}
        self._write("intent", program=os.fspath(argv[0]))
        try:
            child = subprocess.Popen(argv, start_new_session=True, **popen)
        except OSError as error:
            raise StartError(f"{os.fspath(argv[0])} cannot be started: {error.strerror}") from error
        self._children[child.pid] = child
        found = processes.find(child.pid)  # ours to wait for, so the pid cannot be used again before
        try:
            self._write("process", pid=child.pid, start=found.start if found else None)
        except UsageError:
            child.kill()
            child.wait()
            raise
        return child

    def forget(self, pid: int) -> None:
        """Writes down that a process has ended and was waited for; the sweep no longer looks for its number."""
        self._children.pop(pid, None)
        self._write("forgotten", pid=pid)

    def queue(self, queue: str, *, setup: str, address: str, parameters: Mapping[str, str]) -> None:
        """Writes down a queue that is about to be made on a broker that outlives the run, without the address's password; the minder
        is told the whole address over its pipe, so that it can remove the queue when we cannot."""
        made = {"setup": setup, "address": address, "parameters": dict(parameters)}
        self._write("queue", queue=queue, **made | {"address": shown(address)})
        self._queues[queue] = made
        self._tell_minder(queue=queue, **made)

    def queue_gone(self, queue: str) -> None:
        """Writes down that a queue was removed."""
        self._queues.pop(queue, None)
        self._write("queue gone", queue=queue)
        self._tell_minder(gone=queue)

    def container(self, name: str) -> None:
        """Writes down a container that is about to be made; labelled with the run (``containers.engine.LABEL``), it is found whatever its name."""
        self._of_engine("container", name=name)

    def network(self, name: str) -> None:
        """Writes down a network that is about to be made; labelled as a container is."""
        self._of_engine("network", name=name)

    def volume(self, name: str) -> None:
        """Writes down a named volume that is about to be made; labelled as a container is. Anonymous ones go with their container."""
        self._of_engine("volume", name=name)

    def swarm(self, *, gateway: bool) -> None:
        """Writes down a swarm that is about to be made, labelled with the run.

        Args:
            gateway: the engine's ``docker_gwbridge`` comes with it, and goes with it.
        """
        self._of_engine("swarm", name=self.run_id, gateway=gateway)

    def gone(self, kind: str, name: str) -> None:
        """Writes down that a ``container``, ``network`` or ``volume`` was removed: a sweep does not wait for it to appear."""
        self._write("gone", what=kind, name=name)

    def _of_engine(self, kind: str, **fields: Any) -> None:
        """Notes with each thing which engine has it: who sweeps may have another environment."""
        spoken_to = {name: os.environ[name] for name in ENGINE_VARIABLES if name in os.environ}
        self._write(kind, engine=spoken_to, **fields)

    def keep(self, what: str) -> None:
        """Ends our care for what was made and leaves it there: only ``brokerbench down`` removes it; idempotent after it.

        Args:
            what: for ``down`` to tell, e.g. the setup.
        """
        self._write("kept", what=what)
        self._release()

    def _tell_minder(self, **said: Any) -> None:
        assert self._minder is not None
        assert self._minder.stdin is not None
        with self._guard, contextlib.suppress(OSError):  # a killed minder: `down` remains
            self._minder.stdin.write(json.dumps(said).encode() + b"\n")
            self._minder.stdin.flush()

    def unminded(self) -> str:
        """Returns what it means that the minder has ended; "" while it lives."""
        if self._minder is None or self._minder.poll() is None:
            return ""
        return "the minder of the run was ended: if brokerbench is killed now, `brokerbench down` must clean up"

    def close(self) -> list[str]:
        """Removes whatever is left, the journal itself, and ends the minder; idempotent.

        Returns:
            What was still there, a sentence each; empty after an orderly end but for folders.
        """
        if self._file < 0:
            return []
        removed = sweep_locked(self.path, self._queues)
        for child in self._children.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=1.0)
        self._children.clear()
        self._release()
        return removed

    def _release(self) -> None:
        os.close(self._file)
        self._file = -1
        if self._minder is not None and self._minder.stdin is not None:
            with contextlib.suppress(OSError):  # what a killed minder was not told any more
                self._minder.stdin.close()
            self._minder.wait()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, kind: str, **fields: Any) -> None:
        """Appends one line; it is with the kernel, and so survives our SIGKILL, before this returns."""
        line = json.dumps({"kind": kind, **fields}).encode() + b"\n"
        with self._guard:
            try:
                if os.write(self._file, line) != len(line):
                    raise OSError(28, "No space left on device")
            except OSError as error:
                raise _state_error(self.path.parent, error) from error


def _first_line(run_id: str) -> dict[str, Any]:
    me = processes.find(os.getpid())
    return {
        "layout": _LAYOUT,
        "run_id": run_id,
        "pid": os.getpid(),
        "start": me.start if me else 0,
        "wall_s": time.time(),
        "boot_id": clock_domain().boot_id,
        "pid_namespace": pid_namespace(),
    }


def _start_minder(path: Path) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name != MARKER}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "harness.minder", str(path)],  # -P: a folder `harness` of the user's is not ours
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )


def _state_error(folder: Path, error: OSError) -> UsageError:
    return UsageError(
        f"the state folder {folder} cannot be written: {error.strerror}",
        remedy="free space there, or set BROKERBENCH_STATE to a folder that you may write",
    )
