"""What processes have used, read from the system while they are there (zombies included, for what theirs is still to be read)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """What a tree used: CPU seconds, and bytes read and written where /proc tells (None = it does not)."""

    cpu_s: float = 0.0
    read_bytes: int | None = 0
    written_bytes: int | None = 0

    def plus(self, other: Sums) -> Sums:
        return Sums(
            cpu_s=self.cpu_s + other.cpu_s,
            read_bytes=_both(self.read_bytes, other.read_bytes, int.__add__),
            written_bytes=_both(self.written_bytes, other.written_bytes, int.__add__),
        )

    def at_least(self, other: Sums) -> Sums:
        return Sums(
            cpu_s=max(self.cpu_s, other.cpu_s),
            read_bytes=_both(self.read_bytes, other.read_bytes, max),
            written_bytes=_both(self.written_bytes, other.written_bytes, max),
        )


def _both(one: int | None, other: int | None, join: Callable[[int, int], int]) -> int | None:
    return None if one is None or other is None else join(one, other)


def sums(members: Sequence[psutil.Process], main: psutil.Process | None) -> Sums:
    total = Sums()
    for process in members:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        cpu_s = times.user + times.system
        if process == main:  # children that were waited for; the others are members themselves
            cpu_s += times.children_user + times.children_system
        read_bytes, written_bytes = _io(process.pid)
        total = total.plus(Sums(cpu_s=cpu_s, read_bytes=read_bytes, written_bytes=written_bytes))
    return total


def _io(pid: int) -> tuple[int | None, int | None]:
    """Returns the bytes read and written (children that were waited for included: the kernel adds them), None = not told.

    The kernel counts a whole folio as written when a clean one becomes dirty, and on filesystems with large folios that is up
    to 2 MiB for an 8 KiB write (seen: 190 kB per message of a queue table). No more can have gone to the disk than was handed
    to ``write``, so that is the bound; it includes sockets, so it cannot stand alone.
    """
    try:
        text = Path(f"/proc/{pid}/io").read_text()
    except ProcessLookupError:
        return 0, 0
    except OSError:
        return None, None
    fields = dict(line.split(": ") for line in text.splitlines())
    return int(fields["read_bytes"]), min(int(fields["write_bytes"]), int(fields["wchar"]))


def memory_bytes(members: Sequence[psutil.Process]) -> int:
    private, shared = 0, 0
    for process in members:
        try:
            memory = process.memory_info()
        except psutil.Error:
            continue
        part = getattr(memory, "shared", 0)
        private += max(memory.rss - part, 0)
        shared = max(shared, part)
    return private + shared
