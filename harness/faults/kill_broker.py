"""``kill: broker``: SIGKILL of the broker's whole process tree, and a start on the same data after a time.

The page cache survives, so this tests a crash of the process, not fsync.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.faults.contract import FaultKey, Healed, Stage, Strike
from harness.faults.restart_broker import bring_back, with_end
from harness.model import FaultKind


class KillBroker:
    """SIGKILL, then ``start`` and a real operation."""

    verb: ClassVar[str] = "kill"
    target: ClassVar[str] = "broker"
    kind: ClassVar[FaultKind] = FaultKind.BROKER_KILL
    keys: ClassVar[tuple[FaultKey, ...]] = (
        FaultKey(name="restart_after", unit="duration", default="2 s", meaning="time for which the broker stays dead"),
    )
    summary: ClassVar[str] = "SIGKILL of the broker's whole process tree, restarted on the same data"

    def __init__(self, settings: Mapping[str, float | int | None]) -> None:
        self.hold_s = settings["restart_after"]

    def inject(self, stage: Stage) -> Strike:
        """Kills the tree; it hit when every process is gone."""
        evidence = with_end(stage.broker.kill())
        return Strike(t_ns=int(str(evidence["t_ns"])), hit=bool(evidence.get("gone")), evidence=evidence)

    def heal(self, stage: Stage) -> Healed:
        """Starts the broker again and waits for a real operation; does nothing where it runs."""
        return bring_back(stage)


FAULT = KillBroker
