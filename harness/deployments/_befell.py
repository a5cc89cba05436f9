"""What befalls a container without our doing, each thing told once: it ended, the kernel killed in it for memory, a CPU limit kept it waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable

from harness.clock import now_ns
from harness.containers.usage import Meter
from harness.deployments.contract import Incident
from harness.facts import KILLED_FOR_MEMORY

FOR_MEMORY = "killed by the kernel for memory"
WAITED_S = 0.010
"""For how long a limit must have kept it waiting before that is told: as much as a schedule may lag on any machine."""


class Throttling:
    """Tells once that a CPU limit kept a container waiting while it was watched: what its start cost is not the load's.

    Args:
        meter: that measures it. source: ``broker`` or ``load``. limit: which limit, in words.
    """

    def __init__(self, meter: Meter, source: str, limit: str = "a CPU limit") -> None:
        self._meter, self._source, self._limit = meter, source, limit
        self._before_s: float | None = None  # it was first watched
        self._told = False

    def since(self) -> Incident | None:
        """Returns that it was kept waiting for at least ``WAITED_S`` since the first call, the first time that this is so.

        Only the first call looks; the others take the meter's last look.
        """
        if self._before_s is None:
            self._meter.usage()
            self._before_s = self._meter.throttled_s()
        if self._told or self._meter.throttled_s() - self._before_s < WAITED_S:
            return None
        self._told = True
        return incident(self._source, "throttled", f"{self._limit} first kept the {self._source} waiting here")


class Befell:
    """Knows what was told of a container.

    Args:
        meter: that measures it. memory: its limit in words, "" = it has none. cpus: most CPUs, None = no limit.
    """

    def __init__(self, meter: Meter, *, memory: str, cpus: float | None) -> None:
        self._meter = meter
        self._throttling = Throttling(
            meter, "broker", "a CPU limit" if cpus is None else f"its CPU limit of {cpus:g} CPUs"
        )
        self.limit = f" (limit {memory})" if memory else ""
        self._guard = threading.Lock()
        self._ended = False
        self._killed = 0

    def begin(self) -> None:
        """Begins a life: what befell the one before is told, or will not be."""
        with self._guard:
            self._ended, self._killed = False, self._meter.killed_for_memory()

    def since(self, why_ended: Callable[[], str]) -> list[Incident]:
        """Returns what befell it since the last call, as of the meter's last look; throttling counts from the first call on.

        Args:
            why_ended: returns why it has ended by itself, "" where it has not.
        """
        with self._guard:
            return [told for told in (self._end(why_ended), self._kill(), self._throttling.since()) if told is not None]

    def _end(self, why_ended: Callable[[], str]) -> Incident | None:
        why = "" if self._ended else why_ended()
        if not why:
            return None
        self._ended = True
        if why.startswith(FOR_MEMORY):
            self._killed = self._meter.killed_for_memory()
            return incident("broker", KILLED_FOR_MEMORY, f"the broker's container was {why}")
        return incident("broker", "ended", f"nobody ended the broker's container: {why}")

    def _kill(self) -> Incident | None:
        killed = self._meter.killed_for_memory()
        more, self._killed = killed - self._killed, killed
        if more <= 0:
            return None
        processes = f"{more} process{'es' if more > 1 else ''}"
        return incident(
            "broker", KILLED_FOR_MEMORY, f"the kernel killed {processes} of the broker for memory{self.limit}"
        )


def incident(source: str, what: str, text: str) -> Incident:
    """Returns what is seen now."""
    return Incident(t_ns=now_ns(), source=source, what=what, text=text)
