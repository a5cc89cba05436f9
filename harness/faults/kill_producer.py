"""``kill: producer``: SIGKILL of producer shards; nobody takes their place, and what they had not sent stays unsent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.faults.contract import FaultKey, Healed, Stage, Strike
from harness.faults.kill_worker import kill_shards
from harness.model import FaultKind


class KillProducer:
    """SIGKILL of producers."""

    verb: ClassVar[str] = "kill"
    target: ClassVar[str] = "producer"
    kind: ClassVar[FaultKind] = FaultKind.PRODUCER_KILL
    keys: ClassVar[tuple[FaultKey, ...]] = (
        FaultKey(name="count", unit="count", default="1", meaning="how many producers"),
    )
    summary: ClassVar[str] = "SIGKILL of producer processes, not replaced"
    hold_s: float | None = 0.0

    def __init__(self, settings: Mapping[str, float | int | None]) -> None:
        self._count = int(settings["count"] or 1)
        self._killed_ns: int | None = None

    def inject(self, stage: Stage) -> Strike:
        """Kills the producers."""
        strike = kill_shards(stage, "producer", self._count)
        self._killed_ns = strike.t_ns
        return strike

    def heal(self, stage: Stage) -> Healed:
        """Has nothing to mend: the fault was over when the signal was sent."""
        return Healed(t_ns=self._killed_ns, evidence={"replaced": "never"})


FAULT = KillProducer
