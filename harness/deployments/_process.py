"""A broker's process tree: started through the journal, killed, stopped, paused and measured as a whole.

Shared by the launchers of the embedded deployment (``embedded_<broker>.py``). A broker is more than its main process: each
PostgreSQL child is a session of its own, Redis forks to write snapshots. So everything here acts on the *members*: the main
process, its descendants, what shares its session, and members seen before that lost their parent.
"""

from __future__ import annotations

import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from harness.clock import now_ns
from harness.deployments._usage import Sums, memory_bytes, sums
from harness.deployments.contract import Usage
from harness.errors import StartError
from harness.journal import Journal
from harness.processes import snapshot

GONE_TIMEOUT_S = 10.0  # after SIGKILL only the kernel's own work is left; more than this is a fault of the machine
STATE_TIMEOUT_S = 2.0
POLL_S = 0.005
_PORTS = range(20_000, 32_000)


class ProcessTree:
    """One broker's processes over all its incarnations; safe to be measured by one thread while another one kills it.

    Args:
        journal: where each process is written before it is started.
        log: file that standard output and error are appended to.
    """

    def __init__(self, journal: Journal, *, log: Path) -> None:
        self.log = log
        self.journal = journal
        self._popen: subprocess.Popen[bytes] | None = None
        self._main: psutil.Process | None = None
        self._companion: subprocess.Popen[bytes] | None = None
        self._seen: set[psutil.Process] = set()
        self._earlier = Sums()
        self._current = Sums()
        self._lock = threading.RLock()

    @property
    def pid(self) -> int | None:
        """Returns the main process's id, None while there is none."""
        return self._main.pid if self._main is not None else None

    def start(
        self,
        argv: Sequence[str],
        *,
        user: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Starts the main process and returns at once.

        Args:
            argv: command. user: uid to run as, only where we are root (None = as we are). env: whole environment
            (None = ours). cwd: working folder.

        Raises:
            StartError: it runs already, or the command cannot be started.
        """
        if self.alive():
            raise StartError(f"process {self.pid} of {argv[0]} runs already", remedy="stop or kill it first")
        if self._popen is not None:
            self._end_incarnation()
        popen = self._spawn(argv, user=user, env=env, cwd=cwd)
        with self._lock:
            self._popen = popen
            self._main = psutil.Process(popen.pid)  # a zombie until we reap it, so it is there
            self._seen.add(self._main)

    def accompany(
        self,
        argv: Sequence[str],
        *,
        user: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        """Starts what the main process needs and does not end itself, before :meth:`start`, and returns at once.

        It is a member like all others, except that it is ended once they have stopped. What is left of an earlier
        incarnation is killed first.

        Args:
            argv, user, env, cwd: as for :meth:`start`. stdin: an open file that becomes its standard input.

        Raises:
            StartError: the main process runs, or the command cannot be started.
        """
        if self.alive():
            raise StartError(f"process {self.pid} runs already", remedy="stop or kill it first")
        self.kill()
        companion = self._spawn(argv, user=user, env=env, cwd=cwd, stdin=stdin)
        with self._lock:
            self._companion = companion
            self._seen.add(psutil.Process(companion.pid))

    def alive(self) -> bool:
        """Returns whether the main process runs (paused counts); does not reap it."""
        return self._main is not None and _runs(self._main)

    def members(self) -> list[psutil.Process]:
        """Returns the processes that run now, the main one first."""
        with self._lock:
            return [process for process in self._all() if _runs(process)]

    def kill(self) -> dict[str, object]:
        """SIGKILLs the whole tree; see :meth:`harness.deployments.contract.Broker.kill`."""
        with self._lock:
            t_ns = now_ns()
            struck = self._freeze()
            self._measure()
            for process in struck:
                _send(process, signal.SIGKILL)
            gone = wait_until(lambda: not any(map(_runs, struck)), GONE_TIMEOUT_S)
            left = [process.pid for process in struck if _runs(process)]
            took_s = (now_ns() - t_ns) / 1e9
            status = self._end_incarnation()
        pids = [process.pid for process in struck]
        return {"pids": pids, "gone": gone, "left": left, "status": status, "took_s": took_s, "t_ns": t_ns}

    def stop(self, timeout_s: float, *, order: signal.Signals = signal.SIGTERM) -> dict[str, object]:
        """Sends ``order`` to the main process and waits for the whole tree; kills it after ``timeout_s``.

        Returns ``graceful``, ``pids``, ``status`` (return code, negative = signal), ``took_s`` and ``t_ns``.
        """
        t_ns = now_ns()
        self.resume()  # a stopped process does not act on SIGTERM
        asked = self.members()
        if self._main is not None:
            _send(self._main, order)
        graceful = wait_until(lambda: not any(map(_runs, self._without_companion(asked + self.members()))), timeout_s)
        if not graceful:
            killed = self.kill()
            return {**killed, "graceful": False, "took_s": (now_ns() - t_ns) / 1e9, "t_ns": t_ns}
        took_s = (now_ns() - t_ns) / 1e9
        with self._lock:
            self._measure()  # the main process is a zombie until we reap it: its sums are still to be read
            status = self._end_incarnation()
        return {"graceful": True, "pids": [p.pid for p in asked], "status": status, "took_s": took_s, "t_ns": t_ns}

    def pause(self) -> dict[str, object]:
        """SIGSTOPs the whole tree; returns ``paused``, the ``states`` read back by pid, and ``t_ns``."""
        with self._lock:
            t_ns = now_ns()
            found = states(self._freeze())
        paused = bool(found) and all(state == psutil.STATUS_STOPPED for state in found.values())
        return {"paused": paused, "states": found, "t_ns": t_ns}

    def resume(self) -> dict[str, object]:
        """SIGCONTs the whole tree, harmless when it is not paused; returns ``states`` read back by pid, and ``t_ns``."""
        with self._lock:
            t_ns = now_ns()
            members = self.members()
            for process in members:
                _send(process, signal.SIGCONT)
            wait_until(lambda: psutil.STATUS_STOPPED not in states(members).values(), STATE_TIMEOUT_S)
        return {"states": states(members), "t_ns": t_ns}

    def usage(self) -> Usage:
        """Returns what all incarnations used.

        CPU and bytes of children that are gone are counted as far as the kernel hands them to the main process (it does
        when they are waited for). Bytes are those that went towards a disk: a tmpfs counts none. Memory is the private
        pages of all members plus the largest shared part, since PostgreSQL's buffers are mapped by each of its children.
        """
        with self._lock:
            self._measure()
            total = self._earlier.plus(self._current)
            memory = memory_bytes(self.members())
        return Usage(
            cpu_s=total.cpu_s, memory_bytes=memory, written_bytes=total.written_bytes, read_bytes=total.read_bytes
        )

    def log_tail(self, lines: int = 10) -> str:
        """Returns the last lines of the log, "" where there is none."""
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def end(self) -> None:
        """Kills what is left; idempotent, never raises."""
        try:
            self.kill()
        except (OSError, psutil.Error):
            return

    def _all(self) -> list[psutil.Process]:
        """Returns every member that still has a pid, zombies included, the main process first; remembers them."""
        if not self._seen:
            return []
        leaders = {started.pid for started in (self._popen, self._companion) if started is not None}
        found = {process for process in self._seen if process.is_running()}
        family = {process.pid for process in found}
        for pid in _relatives(family, leaders) - family:
            with suppress(psutil.Error):
                found.add(psutil.Process(pid))
        self._seen |= found
        return sorted(found, key=lambda process: (process != self._main, process.pid))

    def _freeze(self) -> list[psutil.Process]:
        """Stops the main process, then what it started, until nothing new is found: then nothing can be forked unseen."""
        stopped: list[psutil.Process] = []
        if self._main is not None and _runs(self._main):
            _send(self._main, signal.SIGSTOP)
            wait_until(partial(_all_stand, [self._main]), STATE_TIMEOUT_S)
        while new := [process for process in self.members() if process not in stopped]:
            for process in new:
                _send(process, signal.SIGSTOP)
            wait_until(partial(_all_stand, new), STATE_TIMEOUT_S)
            stopped += new
        return stopped

    def _measure(self) -> None:
        """Takes the sums of this incarnation; they never fall, though a child may vanish between two looks."""
        members = self._all()
        if members:
            self._current = self._current.at_least(sums(members, self._main))

    def _end_incarnation(self) -> int | None:
        """Ends the companion, reaps what was started, adds its sums to the earlier ones; returns the main process's status."""
        with self._lock:
            if self._companion is not None:
                self._companion.kill()
            status = None if self._popen is None else self._popen.wait(GONE_TIMEOUT_S)
            for started in (self._popen, self._companion):
                if started is not None:
                    started.wait(GONE_TIMEOUT_S)
                    self.journal.forget(started.pid)
            self._earlier, self._current = self._earlier.plus(self._current), Sums()
            self._popen = self._main = self._companion = None
            self._seen = set()
            return status

    def _without_companion(self, members: Sequence[psutil.Process]) -> list[psutil.Process]:
        pid = self._companion.pid if self._companion is not None else None
        return [process for process in members if process.pid != pid]

    def _spawn(
        self,
        argv: Sequence[str],
        *,
        user: int | None,
        env: Mapping[str, str] | None,
        cwd: Path | None,
        stdin: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            try:
                return self.journal.spawn(
                    list(argv),
                    user=user,
                    stdin=stdin,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=cwd,
                    env=None if env is None else dict(env),
                )
            except OSError as error:
                raise StartError(f"{argv[0]} cannot be started: {error}") from error


def free_port() -> int:
    """Returns a TCP port that is free on 127.0.0.1, outside the range of outgoing connections.

    While a broker is down its clients try to connect again and again: to a port of that range such a try can meet itself
    (a simultaneous open), and anything else on the machine may take the port before the broker is back.
    """
    try:
        low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except (OSError, ValueError):
        low, high = 32_768, 65_535
    quiet = [port for port in _PORTS if not low <= port <= high]
    for port in secrets.SystemRandom().sample(quiet, min(len(quiet), 200)):
        if _bind(port):
            return port
    return _bind(0)


def _bind(port: int) -> int:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
        return int(probe.getsockname()[1])


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return False


def _all_stand(processes: Sequence[psutil.Process]) -> bool:
    return all(state == psutil.STATUS_STOPPED for state in states(filter(_runs, processes)).values())


def states(processes: Iterable[psutil.Process]) -> dict[int, str]:
    """Returns pid → state; of a frozen one it is ``stopped``, or ``disk-sleep`` where its container was, with cgroups of version 1."""
    found: dict[int, str] = {}
    for process in processes:
        try:
            found[process.pid] = str(process.status())
        except psutil.Error:
            found[process.pid] = "gone"
    return found


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)  # checks that the pid is still the same process
    except psutil.NoSuchProcess:
        return


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Returns whether a condition came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _relatives(family: set[int], leaders: set[int]) -> set[int]:
    """Returns the pids of all descendants of a family and of the sessions that ``leaders`` lead: journalled processes get one of
    their own. One look at the process table: while a tree is being stopped every millisecond is one in which it still answers."""
    table = snapshot().values()
    relatives = family | {process.pid for process in table if process.session in leaders}
    while born := {process.pid for process in table if process.ppid in relatives} - relatives:
        relatives |= born
    return relatives
