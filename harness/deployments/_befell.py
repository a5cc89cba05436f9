"""What befalls a broker's container without our doing, each thing told once: it ended, the kernel killed in it for memory, it is throttled."""

from __future__ import annotations

import threading
from collections.abc import Callable

from harness.clock import now_ns
from harness.containers.usage import Meter
from harness.deployments.contract import KILLED_FOR_MEMORY, Incident

FOR_MEMORY = "killed by the kernel for memory"


class Befell:
    """Knows what was told of a container.

    Args:
        meter: that measures it. memory: its limit in words, "" = it has none. cpus: most CPUs, None = no limit.
    """

    def __init__(self, meter: Meter, *, memory: str, cpus: float | None) -> None:
        self._meter, self._cpus = meter, cpus
        self.limit = f" (limit {memory})" if memory else ""
        self._guard = threading.Lock()
        self._ended = self._throttled = False
        self._killed = 0

    def begin(self) -> None:
        """Begins a life: what befell the one before is told, or will not be."""
        with self._guard:
            self._ended, self._killed = False, self._meter.killed_for_memory()

    def since(self, why_ended: Callable[[], str]) -> list[Incident]:
        """Returns what befell it since the last call, as of the meter's last look.

        Args:
            why_ended: returns why it has ended by itself, "" where it has not.
        """
        with self._guard:
            return [told for told in (self._end(why_ended), self._kill(), self._throttling()) if told is not None]

    def _end(self, why_ended: Callable[[], str]) -> Incident | None:
        why = "" if self._ended else why_ended()
        if not why:
            return None
        self._ended = True
        if why.startswith(FOR_MEMORY):
            self._killed = self._meter.killed_for_memory()
            return _incident(KILLED_FOR_MEMORY, f"the broker's container was {why}")
        return _incident("ended", f"nobody ended the broker's container: {why}")

    def _kill(self) -> Incident | None:
        killed = self._meter.killed_for_memory()
        more, self._killed = killed - self._killed, killed
        if more <= 0:
            return None
        processes = f"{more} process{'es' if more > 1 else ''}"
        return _incident(KILLED_FOR_MEMORY, f"the kernel killed {processes} of the broker for memory{self.limit}")

    def _throttling(self) -> Incident | None:
        if self._cpus is None or self._throttled or not self._meter.throttled_s():
            return None
        self._throttled = True
        return _incident(
            "throttled", f"the broker wanted more than its {self._cpus:g} CPUs, and was kept waiting from here on"
        )


def _incident(what: str, text: str) -> Incident:
    return Incident(t_ns=now_ns(), source="broker", what=what, text=text)
