"""The load of one trial, as the story asks the fleet for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.deployments.contract import LoadPlace
from harness.load.config import ShardConfig
from harness.load.door import Door
from harness.model import Parameters
from harness.scenario.model import Agents, Load, Phases, Workers


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetPlan:
    """The load of one trial.

    Args:
        folder: slot folder. logs: where shards and Locust log. place: where the processes run.
        setup, address, queue, parameters: as in ``brokers.contract.DriverOptions``; the address "" where it is not known yet.
        producers_address: where producers find the broker, if it is another: by way of a proxy.
        agents: Locust workers on this machine and on others. web: open Locust's page.
        realtime: producers ask for ``SCHED_FIFO`` in open loop.
        door: where agents of other machines come in. more: another trial follows this one, for which they stay.
    """

    run_id: int
    trial: int
    folder: Path
    logs: Path
    place: LoadPlace
    setup: str
    address: str = field(default="", repr=False)
    queue: str
    parameters: Parameters
    load: Load
    workers: Workers
    phases: Phases
    seed: int
    agents: Agents = field(default_factory=Agents)
    web: bool = False
    realtime: bool = True
    producers_address: str = field(default="", repr=False)
    door: Door | None = None
    more: bool = False

    def words(self) -> dict[str, Any]:
        """Returns what the coordinator is told first."""
        remote = self.door is not None and {
            "wanted": self.agents.remote,
            "door": self.door.words(),
            "folder": str(self.folder),
            "more": self.more,
        }
        return {
            "shards": [config.to_json() for config in self.shards()],
            "remote": remote or None,
            "web": self.web,
            "logs": str(self.logs),
        }

    def shards(self) -> list[ShardConfig]:
        """Returns all shards: ``p0``, ``p1``, …, ``w0``, ``w1``, …"""
        every = [("producer", n) for n in range(self.load.producers)] + [
            ("worker", n) for n in range(self.workers.count)
        ]
        return [
            ShardConfig(
                name=f"{kind[0]}{number}",
                kind=kind,
                number=number,
                run_id=self.run_id,
                trial=self.trial,
                folder=self.folder,
                setup=self.setup,
                address=(kind == "producer" and self.producers_address) or self.address,
                queue=self.queue,
                parameters=self.parameters,
                load=self.load,
                workers=self.workers,
                phases=self.phases,
                seed=self.seed,
                realtime=self.realtime,
            )
            for kind, number in every
        ]
