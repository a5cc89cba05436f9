"""What one shard is told before it starts: one line of JSON on its stdin (never in its arguments: the address may hold a password)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.model import Parameters
from harness.scenario.model import Load, Phases, Segment, Workers


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardConfig:
    """One shard of one trial.

    Args:
        name: ``p0``, ``w3``, ``w3.1``. kind: ``producer`` or ``worker``. number: as in ``model.ShardRecord``.
        run_id, trial: as in the envelope.
        folder: where its slot file and its connection log go.
        setup, address, queue, parameters: as in ``brokers.contract.DriverOptions``.
        load, workers, phases, seed: as in the scenario.
        clock_offset_ns: about how far this machine's clock stands before the coordinator's: for the envelope and the live view;
            the times in the slots are this machine's own.
        realtime: ask for ``SCHED_FIFO`` in open loop, where the system permits it.
    """

    name: str
    kind: str
    number: int
    run_id: int
    trial: int
    folder: Path
    setup: str
    address: str = field(repr=False)
    queue: str
    parameters: Parameters
    load: Load
    workers: Workers
    phases: Phases
    seed: int
    realtime: bool = True
    clock_offset_ns: int = 0

    @property
    def slots_path(self) -> Path:
        """Returns the path of the slot file."""
        return self.folder / f"{self.name}.slots"

    @property
    def connections_path(self) -> Path:
        """Returns the path of the connection log: JSON lines with ``t_ns``, ``up``, ``reason``."""
        return self.folder / f"{self.name}.connections.jsonl"

    def to_json(self) -> str:
        """Returns one line."""
        return json.dumps(asdict(self) | {"folder": str(self.folder)})


def load_from(fields: dict[str, Any]) -> Load:
    """Returns the load from what ``dataclasses.asdict`` made of it, after JSON."""
    profile = tuple(
        Segment(**segment | {name: tuple(segment[name]) for name in ("rates_per_s", "times_s")})
        for segment in fields["profile"]
    )
    return Load(**fields | {"profile": profile})


def config_from_json(line: str | bytes) -> ShardConfig:
    """Returns the configuration that :meth:`ShardConfig.to_json` wrote."""
    fields = json.loads(line)
    return ShardConfig(
        **fields
        | {
            "folder": Path(fields["folder"]),
            "load": load_from(fields["load"]),
            "workers": Workers(**fields["workers"]),
            "phases": Phases(**fields["phases"]),
        }
    )
