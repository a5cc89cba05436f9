"""``recreate: broker``: a graceful stop, its container removed and made again, as ``docker rm`` and ``docker run`` do.

What the broker wrote outlives that only where its volume does: a named one and a folder of the host (``bind``) do, an anonymous one and a
``tmpfs`` are those of the container. Docker only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.faults.contract import FaultKey, Healed, Stage, Strike
from harness.faults.restart_broker import bring_back, with_end
from harness.model import FaultKind


class RecreateBroker:
    """Stop, remove, make, start."""

    verb: ClassVar[str] = "recreate"
    target: ClassVar[str] = "broker"
    kind: ClassVar[FaultKind] = FaultKind.BROKER_RECREATE
    keys: ClassVar[tuple[FaultKey, ...]] = (
        FaultKey(name="stop_timeout", unit="duration", default="10 s", meaning="after this a SIGKILL follows"),
    )
    summary: ClassVar[str] = "graceful stop of the broker, its container removed and made again with the same volumes"
    hold_s: float | None = 0.0

    def __init__(self, settings: Mapping[str, float | int | None]) -> None:
        self._stop_timeout_s = float(settings["stop_timeout"] or 0)
        self._started_ns: int | None = None

    def inject(self, stage: Stage) -> Strike:
        """Replaces the container; it hit when another one stands in its place."""
        evidence = with_end(stage.broker.recreate(self._stop_timeout_s))
        self._started_ns = int(str(evidence["started_ns"]))
        before, after = evidence["container_before"], evidence["container_after"]
        return Strike(t_ns=int(str(evidence["t_ns"])), hit=bool(after) and before != after, evidence=evidence)

    def heal(self, stage: Stage) -> Healed:
        """Starts the broker where it does not run, and waits for a real operation; that takes from the making of its new container on."""
        return bring_back(stage, self._started_ns)


FAULT = RecreateBroker
