"""``kill: worker``: SIGKILL of worker shards, each replaced after a time or never."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import ClassVar

from harness.clock import now_ns
from harness.faults.contract import FaultKey, Healed, Stage, Strike
from harness.model import FaultKind


def kill_shards(stage: Stage, kind: str, count: int) -> Strike:
    """SIGKILLs the first ``count`` running shards of a kind; it hit when each one's wait status says SIGKILL."""
    names = list(stage.crew.running(kind))[:count]
    if not names:
        return Strike(t_ns=now_ns(), hit=False, evidence={"running": 0})
    killed = stage.crew.kill(names)
    times = [int(str(facts["t_ns"])) for facts in killed.values()]
    hit = all(facts.get("status") == -signal.SIGKILL for facts in killed.values())
    return Strike(
        t_ns=min(times), hit=hit, evidence={"killed": {n: dict(f) for n, f in killed.items()}}, shards=tuple(names)
    )


class KillWorker:
    """SIGKILL of workers; what they held must come again, by whatever the setup has for that."""

    verb: ClassVar[str] = "kill"
    target: ClassVar[str] = "worker"
    kind: ClassVar[FaultKind] = FaultKind.WORKER_KILL
    keys: ClassVar[tuple[FaultKey, ...]] = (
        FaultKey(name="count", unit="count", default="1", meaning="how many workers"),
        FaultKey(
            name="replace_after", unit="duration or never", default="1 s", meaning="when a new worker takes the place"
        ),
    )
    summary: ClassVar[str] = "SIGKILL of worker processes, replaced after a time or never"

    def __init__(self, settings: Mapping[str, float | int | None]) -> None:
        self._count = int(settings["count"] or 1)
        self._replace = settings["replace_after"] is not None
        self.hold_s = settings["replace_after"] if self._replace else 0.0
        self._dead: tuple[str, ...] = ()
        self._killed_ns: int | None = None

    def inject(self, stage: Stage) -> Strike:
        """Kills the workers."""
        strike = kill_shards(stage, "worker", self._count)
        self._dead, self._killed_ns = strike.shards, strike.t_ns
        return strike

    def heal(self, stage: Stage) -> Healed:
        """Starts a worker in each one's place; where that is never wanted, the fault was over when the signal was sent."""
        if not self._replace:
            return Healed(t_ns=self._killed_ns, evidence={"replaced": "never"})
        dead, self._dead = self._dead, ()
        new = [stage.crew.replace(name) for name in dead]
        return Healed(t_ns=now_ns(), evidence={"replaced": new})


FAULT = KillWorker
