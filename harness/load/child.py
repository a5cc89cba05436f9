"""A shard process as its agent sees it: its live page and its CPU, read from outside. Nothing here blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import psutil

from harness.clock import NS_PER_S, now_ns
from harness.errors import EvidenceError
from harness.ledger import LIVE, SlotReader
from harness.load.config import ShardConfig
from harness.load.statistics import Sample, samples

COUNTS = tuple(name for name in LIVE.names or () if name != "latency")


class CpuShare:
    """The share of one core that a process has over a second.

    Args:
        pid: whose; it must not have been waited for while this is used.
    """

    def __init__(self, pid: int) -> None:
        self.newest: tuple[int, float] | None = None  # (end of that second in ns, share)
        self._pid = pid
        self._process: psutil.Process | None = None
        self._seen: list[tuple[int, float]] = []  # (t_ns, CPU seconds), the last second

    def look(self) -> None:
        """Measures now; call it several times a second."""
        try:
            self._process = self._process or psutil.Process(self._pid)
            used = self._process.cpu_times()
        except psutil.Error:
            return
        self.saw(now_ns(), used.user + used.system)

    def saw(self, t_ns: int, cpu_s: float) -> None:
        """Takes one measurement."""
        self._seen.append((t_ns, cpu_s))
        while len(self._seen) > 2 and t_ns - self._seen[1][0] >= NS_PER_S:
            self._seen.pop(0)
        first_ns, first_s = self._seen[0]
        if t_ns - first_ns >= NS_PER_S:
            self.newest = (t_ns, (cpu_s - first_s) * NS_PER_S / (t_ns - first_ns))


class Child:
    """One shard of one agent.

    Args:
        config: what it was told. process: its ``Popen``.
    """

    def __init__(self, config: ShardConfig, process: Any) -> None:
        self.config = config
        self.process = process
        self.cpu = CpuShare(process.pid)
        self._reader: SlotReader | None = None
        self._fed = np.zeros((), LIVE)  # live counts that Locust's statistics have

    def tell(self, line: str) -> None:
        """Writes a line to its stdin; where it has ended, its wait status says how."""
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            pass

    def sample(self) -> tuple[list[Sample], dict[str, Any]] | None:
        """Returns what it did since the last sample, and its counts for the coordinator; None while it has no slot file."""
        if self._reader is None:
            try:
                self._reader = SlotReader(self.config.slots_path)
            except EvidenceError:
                return None
        live = self._reader.live
        did = samples(self.config.kind, self._fed, live)
        self._fed = live
        buckets = np.flatnonzero(live["latency"])
        counts = {name: int(live[name]) for name in COUNTS}
        latency = [buckets.tolist(), live["latency"][buckets].tolist()]
        return did, {"counts": counts, "latency": latency, "core_share": self.cpu.newest}
