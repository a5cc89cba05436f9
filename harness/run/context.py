"""What every phase of a trial shares: the scenario and case, identities, folders, and how to tell the world."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.brokers.contract import DriverOptions
from harness.deployments.contract import Deployment
from harness.faults import faults
from harness.journal import Journal
from harness.load.door import Door
from harness.proxy.proxy import THROUGH_PROXY
from harness.run.health import probe_queue
from harness.run.progress import Listener
from harness.scenario.model import Case, Scenario
from harness.store import TrialFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialContext:
    """One trial of one case.

    Args:
        run_id: as in the envelope. number: of the trial, from 1. index: of the case, from 0: with ``number`` it
            makes the trial id of the envelope, so that a message of another case is foreign.
        slots: folder of this trial's slots, on tmpfs.
        web: whether Locust's page is wanted.
        door: where agents of other machines come in; None = none are asked for. more: another trial follows.
    """

    run_id: int
    index: int
    number: int
    scenario: Scenario
    case: Case
    deployment: Deployment
    journal: Journal
    folder: TrialFolder
    listener: Listener
    slots: Path
    web: bool = False
    door: Door | None = None
    more: bool = False

    @property
    def trial_id(self) -> int:
        """Returns the envelope's ``trial``: unique in the run."""
        return self.index * self.scenario.trials + self.number

    @property
    def queue(self) -> str:
        """Returns the name of the queue of this trial."""
        return f"bb_{self.run_id:016x}_{self.trial_id}"

    @property
    def queues(self) -> tuple[str, ...]:
        """Returns the names of all queues that this trial makes."""
        return self.queue, probe_queue(self.queue)

    @property
    def broker_folder(self) -> Path:
        """Returns where the broker's private folder is to be made."""
        return Path(tempfile.gettempdir()) / f"brokerbench-{self.journal.run_id}-{self.trial_id}"

    def driver_options(self, address: str, client: str) -> DriverOptions:
        """Returns what a driver of this trial is made from."""
        workers = self.case.workers
        return DriverOptions(
            setup=self.case.setup.name,
            address=address,
            queue=self.queue,
            parameters=self.case.parameters,
            client=client,
            prefetch=workers.prefetch,
            visibility_s=workers.visibility_s,
            payload_bytes=self.case.load.payload_bytes,
            answer_timeout_s=answer_timeout_s(self.scenario),
            auto_ack=workers.ack == "auto",
        )


def needs_proxy(scenario: Scenario) -> bool:
    """Returns whether the producers speak to the broker through a proxy, because a fault of the scenario needs it."""
    return any(faults()[fault.verb, fault.target].kind in THROUGH_PROXY for fault in scenario.faults)


def answer_timeout_s(scenario: Scenario) -> float:
    """Returns how long a client waits for an answer: longer than any pause of the scenario, so that a pause is lateness, not a broken connection."""
    pauses = [float(fault.settings.get("for") or 0) for fault in scenario.faults]
    return max(30.0, math.ceil(2 * max(pauses, default=0.0)) + 5.0)
