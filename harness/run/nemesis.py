"""The faults of a trial, each in its time: inject, observe that it hit, wait, always heal (the word is Jepsen's).

Each fault has a thread of its own, so that one that takes long (a graceful stop, a worker that starts) puts off neither the story
nor the next fault; only faults on the same target wait for each other. ``stop`` heals at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harness.clock import now_ns
from harness.facts import FaultRecord
from harness.faults.contract import Fault, Stage
from harness.run.health import described


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A fault and when it is due, in CLOCK_MONOTONIC ns."""

    fault: Fault
    label: str
    at_ns: int


class Nemesis:
    """Runs the planned faults.

    Args:
        stage: what they act upon.
        planned: the faults, in the scenario's order (their position is their index in the record).
        until_ns: end of the load: a fault that could not be injected by then never is.
        tell: called with each new state of a record, from the nemesis's own threads.
    """

    def __init__(
        self, stage: Stage, planned: Sequence[Planned], until_ns: int, tell: Callable[[FaultRecord], None]
    ) -> None:
        self._stage = stage
        self._planned = list(planned)
        self._until_ns = until_ns
        self._tell = tell
        self._stop = threading.Event()
        self._targets = {p.fault.target: threading.Lock() for p in planned}
        self._threads = [
            threading.Thread(target=self._run, args=(index,), name=f"nemesis-{index}", daemon=True)
            for index in range(len(self._planned))
        ]
        self._records = [
            FaultRecord(index=index, kind=p.fault.kind, label=p.label, planned_ns=p.at_ns)
            for index, p in enumerate(self._planned)
        ]
        self._unhealed = False
        self.broken: list[str] = []

    def start(self) -> None:
        """Starts waiting for the faults' times."""
        for thread in self._threads:
            thread.start()

    def done(self) -> bool:
        """Returns whether every fault was injected and healed, or failed."""
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Injects nothing more and heals what is injected; returns when that is done. Idempotent."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def strikes_broker(self) -> bool:
        """Returns whether a fault has the broker in its hands now, so that it may be dead or stopped by our own doing."""
        lock = self._targets.get("broker")
        return lock is not None and lock.locked()

    def unhealed(self) -> bool:
        """Returns whether some target did not come to work again."""
        return self._unhealed

    def records(self) -> tuple[FaultRecord, ...]:
        """Returns what has happened, in the scenario's order."""
        return tuple(self._records)

    def _run(self, index: int) -> None:
        planned = self._planned[index]
        if self._wait_until(planned.at_ns):
            return
        with self._targets[planned.fault.target]:
            if now_ns() < self._until_ns and not self._stop.is_set():
                self._one(index, planned)

    def _one(self, index: int, planned: Planned) -> None:
        fault = planned.fault
        try:
            strike = fault.inject(self._stage)
            self._note(
                replace(
                    self._records[index],
                    injected_ns=strike.t_ns,
                    hit=strike.hit,
                    evidence=strike.evidence,
                    shards=strike.shards,
                )
            )
            if fault.hold_s is not None:
                self._wait_until(strike.t_ns + int(fault.hold_s * 1e9))
        except Exception as error:  # whatever broke, the target must be healed
            self.broken.append(f"{planned.label} could not be injected: {described(error)}")
        try:
            healed = fault.heal(self._stage)
            record = self._records[index]
            self._note(replace(record, healed_ns=healed.t_ns, evidence={**record.evidence, **healed.evidence}))
        except Exception as error:
            self._unhealed = self._unhealed or fault.target == "broker"
            self.broken.append(f"{planned.label} could not be healed: {described(error)}")

    def _wait_until(self, t_ns: int) -> bool:
        """Returns True when it was told to stop before ``t_ns``."""
        return self._stop.wait(max(0.0, (t_ns - now_ns()) / 1e9))

    def _note(self, record: FaultRecord) -> None:
        self._records[record.index] = record
        self._tell(record)
