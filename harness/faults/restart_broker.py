"""``restart: broker``: a graceful stop, and a start on the same data at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.clock import NS_PER_S, now_ns
from harness.faults.contract import FaultKey, Healed, Stage, Strike
from harness.model import FaultKind

BACK_LIMIT_S = 60.0
"""How long a broker may take to serve again; recovery from a write-ahead log is part of it."""


def bring_back(stage: Stage, started_ns: int | None = None) -> Healed:
    """Starts a broker that does not run, waits for a real operation, and says when that succeeded.

    Args:
        started_ns: when the fault itself began to start it; None = it did not.
    """
    started_ns = started_ns or now_ns()
    if not stage.broker.alive():
        stage.broker.start()
    healed_ns = stage.healthy(BACK_LIMIT_S)
    return Healed(t_ns=healed_ns, evidence={"start_to_healthy_s": (healed_ns - started_ns) / 1e9})


def with_end(evidence: Mapping[str, object]) -> Mapping[str, object]:
    """Returns the evidence of a kill or stop with ``ended_ns``: what is sent after that, it cannot hurt.

    Only for a fault that ends the broker once: without it, all that was sent until the broker healed counts as exposed.
    """
    took_s = evidence.get("took_s")
    if not isinstance(took_s, int | float) or not evidence.get("gone", True):
        return evidence
    return {**evidence, "ended_ns": int(str(evidence["t_ns"])) + round(took_s * NS_PER_S)}


class RestartBroker:
    """SIGTERM, wait, start."""

    verb: ClassVar[str] = "restart"
    target: ClassVar[str] = "broker"
    kind: ClassVar[FaultKind] = FaultKind.BROKER_RESTART
    keys: ClassVar[tuple[FaultKey, ...]] = (
        FaultKey(name="stop_timeout", unit="duration", default="10 s", meaning="after this a SIGKILL follows"),
    )
    summary: ClassVar[str] = "graceful stop of the broker, started again at once on the same data"
    hold_s: float | None = 0.0

    def __init__(self, settings: Mapping[str, float | int | None]) -> None:
        self._stop_timeout_s = float(settings["stop_timeout"] or 0)

    def inject(self, stage: Stage) -> Strike:
        """Stops the broker; it hit when it ended, gracefully or not (the evidence says which)."""
        evidence = with_end(stage.broker.stop(self._stop_timeout_s))
        return Strike(t_ns=int(str(evidence["t_ns"])), hit=not stage.broker.alive(), evidence=evidence)

    def heal(self, stage: Stage) -> Healed:
        """Starts the broker again and waits for a real operation."""
        return bring_back(stage)


FAULT = RestartBroker
