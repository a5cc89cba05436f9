"""The broker's own tools: two processes at once, one that sends and one that takes, of which nothing is left afterwards."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

TAKE_LIMIT_S = 60.0
BOTH_LIMIT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a native turn took: seconds of sending, seconds until nothing was left, CPU seconds of the two tools."""

    sending_s: float
    all_s: float
    cpu_s: float


def carried(
    send: Sequence[str],
    take: Sequence[str],
    seconds: float,
    all_taken: Callable[[], bool],
    *,
    env: Mapping[str, str] | None = None,
) -> Spent:
    """Runs both at once, ends the sender after a while and the taker once nothing is left."""
    with children(send, take, env=env) as (sender, taker):
        began = time.perf_counter()
        time.sleep(seconds)
        if sender.poll() is not None or taker.poll() is not None:
            raise SystemExit(f"{send[0]} ended early; its words stand above")
        cpu_s = ended(sender)
        sending_s = time.perf_counter() - began
        while not all_taken():
            if time.perf_counter() - began > TAKE_LIMIT_S:
                raise SystemExit(f"{take[0]} has not taken everything after {TAKE_LIMIT_S:g} s")
            time.sleep(0.01)
        all_s = time.perf_counter() - began
        return Spent(sending_s=sending_s, all_s=all_s, cpu_s=cpu_s + ended(taker))


def both(send: Sequence[str], take: Sequence[str], *, env: Mapping[str, str]) -> tuple[list[int], list[int], float]:
    """Runs both at once until both end by themselves; returns the whole numbers that each said, and their CPU seconds.

    Raises:
        SystemExit: one of them failed, or takes too long.
    """
    with children(take, send, env=env, stdout=subprocess.PIPE) as running:
        said, cpu_s = [], 0.0
        limit = threading.Timer(BOTH_LIMIT_S, lambda: [process.kill() for process in running])
        limit.start()
        for process in running:
            assert process.stdout is not None
            said.append([int(word) for word in process.stdout.read().split()])
            cpu_s += waited(process)
            if process.returncode:
                raise SystemExit(f"{send[0]} failed with {process.returncode}; its words stand above")
        limit.cancel()
        return said[1], said[0], cpu_s


@contextmanager
def children(
    *commands: Sequence[str], env: Mapping[str, str] | None = None, stdout: int = subprocess.DEVNULL
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Yields running processes, of which none is left."""
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            running.append(subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=stdout))
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def ended(process: subprocess.Popen[bytes]) -> float:
    """Ends a process and returns the CPU seconds that it used."""
    process.kill()
    return waited(process)


def waited(process: subprocess.Popen[bytes]) -> float:
    """Waits for the end of a process and returns the CPU seconds that it used."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime
