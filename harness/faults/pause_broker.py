"""``pause: broker``: SIGSTOP of the broker's whole process tree, SIGCONT after a time; connections stay open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.faults.contract import FaultKey, Healed, Stage, Strike
from harness.faults.restart_broker import BACK_LIMIT_S
from harness.model import FaultKind


class PauseBroker:
    """SIGSTOP, SIGCONT."""

    verb: ClassVar[str] = "pause"
    target: ClassVar[str] = "broker"
    kind: ClassVar[FaultKind] = FaultKind.BROKER_PAUSE
    keys: ClassVar[tuple[FaultKey, ...]] = (FaultKey(name="for", unit="duration", meaning="length of the pause"),)
    summary: ClassVar[str] = "SIGSTOP of the broker's whole process tree, then SIGCONT"

    def __init__(self, settings: Mapping[str, float | int | None]) -> None:
        self.hold_s = settings["for"]

    def inject(self, stage: Stage) -> Strike:
        """Stops every process; it hit when all of them read back as stopped."""
        evidence = stage.broker.pause()
        return Strike(t_ns=int(str(evidence["t_ns"])), hit=bool(evidence.get("paused")), evidence=evidence)

    def heal(self, stage: Stage) -> Healed:
        """Continues every process and waits for a real operation."""
        resumed = stage.broker.resume()
        return Healed(t_ns=stage.healthy(BACK_LIMIT_S), evidence={"resumed_ns": resumed["t_ns"]})


FAULT = PauseBroker
