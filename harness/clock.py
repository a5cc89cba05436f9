"""The one clock: ``CLOCK_MONOTONIC`` in nanoseconds, and what proves that two processes share it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

NS_PER_S = 1_000_000_000

now_ns = time.monotonic_ns


def wall_ns() -> int:
    """Returns the wall clock in ns since the epoch; only for labels, never for measuring."""
    return time.time_ns()


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockDomain:
    """Where ``CLOCK_MONOTONIC`` is one clock: the boot id and the time namespace agree."""

    boot_id: str
    time_namespace: str


def clock_domain() -> ClockDomain:
    """Returns the domain of this process; parts that the system does not tell are empty and match nothing."""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot_id = ""
    try:
        time_namespace = os.readlink("/proc/self/ns/time")
    except OSError:
        time_namespace = ""
    return ClockDomain(boot_id=boot_id, time_namespace=time_namespace)


def sleep_until(t_ns: int) -> None:
    """Blocks until ``t_ns`` of :func:`now_ns`; returns at once when it has passed."""
    left_ns = t_ns - now_ns()
    if left_ns > 0:
        time.sleep(left_ns / NS_PER_S)
