"""How a shard keeps time: an absolute grid of ticks, exact timers, and real-time scheduling where it is permitted.

Measured (``performance.md``): a plain process that sleeps to the next tick with a timer slack of 1 ns stays within the tick;
``SCHED_FIFO`` keeps that when others saturate the cores. It must never run without sleeping to the next tick, or the kernel's
real-time throttling stops it for tens of milliseconds.
"""

from __future__ import annotations

import ctypes
import gc
import os

PR_SET_TIMERSLACK = 29  # linux/prctl.h


def next_tick_ns(now: int, origin: int, tick: int) -> int:
    """Returns the first point after ``now`` of the grid ``origin + k × tick``; all in ns."""
    return origin + ((now - origin) // tick + 1) * tick


def exact_timers() -> None:
    """Sets this thread's timer slack to 1 ns (the default is 50 µs); where the system has no such call nothing happens."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)


def no_collections() -> None:
    """Keeps the garbage collector out of the measuring loop, which makes no cycles."""
    gc.collect()
    gc.freeze()
    gc.disable()


def go_realtime() -> str:
    """Puts this thread under ``SCHED_FIFO`` where permitted; returns ``fifo`` or ``other``."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except (OSError, AttributeError):
        return "other"
    return "fifo"
