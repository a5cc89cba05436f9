"""What a fault is: it strikes, shows that it hit, and always heals.

A fault is one module with ``FAULT``, a class made from the scenario's entry. The runner calls ``inject`` when it is due, waits
``hold_s``, then calls ``heal`` (also after an error or Ctrl-C; ``heal`` is idempotent and safe when nothing was injected).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from harness.deployments.contract import Broker
from harness.model import FaultKind
from harness.proxy.proxy import Proxy


class Crew(Protocol):
    """What a fault may do to shards; the fleet implements it (``harness.load``)."""

    def running(self, kind: str) -> Sequence[str]:
        """Returns the names of running shards of that kind (``producer``, ``worker``), in order."""

    def kill(self, names: Sequence[str]) -> Mapping[str, Mapping[str, object]]:
        """SIGKILLs shards and waits for them; returns per name ``{"pid", "t_ns" (signal sent), "status" (-9), …}``."""

    def replace(self, name: str) -> str:
        """Starts a shard in the place of a dead one and waits until it is ready; returns its name (a new generation)."""


class Health(Protocol):
    """Returns when a real operation succeeds again."""

    def __call__(self, timeout_s: float) -> int:
        """Returns the ns at which it succeeded; raises StartError after ``timeout_s``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What a fault acts upon.

    Args:
        proxy: through which the producers speak to the broker; None unless a fault of the scenario has a kind that needs it
            (``harness.proxy.proxy.THROUGH_PROXY``).
    """

    broker: Broker
    crew: Crew
    healthy: Health
    seed: int = 1
    proxy: Proxy | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Strike:
    """What an injection did: when the first signal left, whether it hit, the facts, the shards struck."""

    t_ns: int
    hit: bool
    evidence: Mapping[str, object] = field(default_factory=dict)
    shards: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Healed:
    """When the target worked again (None = it never will, by design, e.g. ``replace_after: never``), and the facts."""

    t_ns: int | None
    evidence: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultKey:
    """One further key of a fault's entry in a scenario.

    Args:
        name: key. unit: ``duration``, ``count``, or ``duration or never``. default: as written; None = required.
    """

    name: str
    unit: str
    default: str | None = None
    meaning: str = ""


class Fault(Protocol):
    """One fault of one trial."""

    verb: ClassVar[str]  # scenario key: kill, restart, pause, cut
    target: ClassVar[str]  # its value: broker, worker, producer
    kind: ClassVar[FaultKind]
    keys: ClassVar[tuple[FaultKey, ...]]
    summary: ClassVar[str]

    hold_s: float | None  # from injection to heal; None = heals only at the end of the load

    def __init__(self, settings: Mapping[str, float | int | None]) -> None:
        """Takes the values of ``keys``: seconds, counts, None for never."""

    def inject(self, stage: Stage) -> Strike:
        """Strikes now."""

    def heal(self, stage: Stage) -> Healed:
        """Undoes it and waits until the target works; idempotent."""
