"""An idle watcher: a process that only sleeps, and so notices when the machine did not let it wake.

``python -m harness.stalls`` sleeps 10 ms at a time and writes a line for each stall: when it ended, how late the wake-up
was, and how much CPU time the hypervisor had stolen by then. It runs apart so that nothing of ours (the interpreter's lock, a
collection of garbage) can look like a stall of the machine. :class:`StallWatcher` is its other end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from harness.journal import Journal

PERIOD_NS = 10_000_000
REPORTED_NS = 20_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Stall:
    """The machine stood still for us: ``length_ns`` up to ``t_ns``; ``steal_s`` = stolen in all CPUs since the watch began."""

    t_ns: int
    length_ns: int
    steal_s: float


class StallWatcher:
    """Watches from ``__enter__`` on until ``__exit__``; what it has seen can be asked at any time, also afterwards.

    Args:
        ended_early: is told once, with the time, that the watch is over before its time (somebody killed it); from another thread.
    """

    def __init__(self, journal: Journal, ended_early: Callable[[int], None] = lambda _: None) -> None:
        self._journal = journal
        self._ended_early = ended_early
        self._ending = False
        self._seen: list[Stall] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._reader = threading.Thread(target=self._read, name="stalls", daemon=True)
        self._ready = threading.Event()

    def __enter__(self) -> StallWatcher:
        """Starts the watch and waits until it runs. Raises StartError when its process cannot be started."""
        self._process = self._journal.spawn(
            [sys.executable, "-P", "-m", "harness.stalls"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._reader.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._ending = True
        self._process.stdin.close()
        self._reader.join()
        self._process.wait()
        self._journal.forget(self._process.pid)
        self._process = None

    def max_stall_s(self) -> float:
        """Returns the longest stall so far in s; below 20 ms too, so that quiet is a measured fact."""
        return max((stall.length_ns for stall in tuple(self._seen)), default=0) / 1e9

    def stalls(self) -> list[Stall]:
        """Returns the stalls above 20 ms so far, in order."""
        return [stall for stall in tuple(self._seen) if stall.length_ns > REPORTED_NS]

    def steal_s(self) -> float:
        """Returns the CPU seconds stolen by the hypervisor up to the newest line; final after ``__exit__``."""
        return self._seen[-1].steal_s if self._seen else 0.0

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                t_ns, length_ns, steal = line.split()
                self._seen.append(Stall(t_ns=int(t_ns), length_ns=int(length_ns), steal_s=float(steal)))
                self._ready.set()
        if not self._ending:  # it died: the run goes on without a watch
            self._ended_early(time.monotonic_ns())
        self._ready.set()


def stolen_s() -> float:
    """Returns the CPU seconds stolen from all CPUs since the boot; 0 where the system does not tell."""
    try:
        first = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return 0.0
    return int(first[8]) / os.sysconf("SC_CLK_TCK") if len(first) > 8 else 0.0


def main() -> None:
    """Writes a line at the start, at each new longest or reported stall, and at the end of stdin."""
    before, longest = stolen_s(), -1
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.buffer.read()
        ended.set()

    threading.Thread(
        target=wait_for_the_end, daemon=True
    ).start()  # blocked in a read: it holds no lock and wakes nobody
    due = time.monotonic_ns()
    while not ended.is_set():
        now = time.monotonic_ns()
        late = now - due
        if late > longest or late > REPORTED_NS:
            longest = max(longest, late)
            print(now, late, stolen_s() - before, flush=True)
        due = now + PERIOD_NS  # from that look on: a stall between it and the sleep is one too
        time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
    print(time.monotonic_ns(), 0, stolen_s() - before, flush=True)


if __name__ == "__main__":
    main()
