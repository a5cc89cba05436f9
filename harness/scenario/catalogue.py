"""What a scenario may name: setups, faults and deployments, handed in by the floors above as plain data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from harness.model import Setup


class FaultKeySpec(Protocol):
    """One further key of a fault's entry (``harness.faults.contract.FaultKey``)."""

    @property
    def name(self) -> str:
        """Returns the key."""

    @property
    def unit(self) -> str:
        """Returns ``duration``, ``count`` or ``duration or never``."""

    @property
    def default(self) -> str | None:
        """Returns the default as written; None = required."""

    @property
    def meaning(self) -> str:
        """Returns one line for the reference."""


class FaultSpec(Protocol):
    """What a scenario must know of a fault; the fault's class itself has it (``harness.faults.contract.Fault``)."""

    @property
    def verb(self) -> str:
        """Returns the key: kill, restart, pause."""

    @property
    def target(self) -> str:
        """Returns its value: broker, worker, producer."""

    @property
    def keys(self) -> Sequence[FaultKeySpec]:
        """Returns its further keys."""

    @property
    def summary(self) -> str:
        """Returns one line for the reference."""


def _embedded(setups: Sequence[Setup]) -> str:
    return "embedded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalogue:
    """What this version serves.

    Args:
        setups: by name.
        faults: by (verb, target).
        deployments: names.
        docker_brokers: of which docker has a server; None = of all. not_in_image: setups whose driver is not in the image of the load.
        default: setups of a scenario to the deployment that runs them where the scenario names none; it may look at this machine.
    """

    setups: Mapping[str, Setup]
    faults: Mapping[tuple[str, str], FaultSpec]
    deployments: Sequence[str] = ("embedded",)
    docker_brokers: Collection[str] | None = None
    not_in_image: Collection[str] = ()
    default: Callable[[Sequence[Setup]], str] = field(default=_embedded)

    def on_docker(self, setup: Setup) -> bool:
        """Returns whether docker has a server of a setup's broker."""
        return self.docker_brokers is None or setup.broker in self.docker_brokers

    def verbs(self) -> tuple[str, ...]:
        """Returns the keys by which faults are told apart, in order."""
        return tuple(dict.fromkeys(verb for verb, _ in self.faults))


# Names of the design that a later version serves: refused by name, never ignored. What a catalogue holds is served.
LATER_SETUPS = ("rabbitmq-stream",)
LATER_VERBS = ("partition", "power-loss")
LATER_TARGETS = (("kill", "node"),)
