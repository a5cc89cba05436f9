"""The faults of a trial, each in its time: inject, observe that it hit, wait, always heal (the word is Jepsen's).

One thread, so that a fault that takes long (a graceful stop) does not hold the story up. ``stop`` heals at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harness.clock import now_ns
from harness.faults.contract import Fault, Stage
from harness.model import FaultRecord
from harness.run.health import described


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A fault and when it is due, in CLOCK_MONOTONIC ns."""

    fault: Fault
    label: str
    at_ns: int


class Nemesis:
    """Runs the planned faults in order of time.

    Args:
        stage: what they act upon.
        planned: the faults, in the scenario's order (their position is their index in the record).
        tell: called with each new state of a record, from the nemesis's own thread.
    """

    def __init__(self, stage: Stage, planned: Sequence[Planned], tell: Callable[[FaultRecord], None]) -> None:
        self._stage = stage
        self._planned = sorted(enumerate(planned), key=lambda item: item[1].at_ns)
        self._tell = tell
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nemesis", daemon=True)
        self._records: dict[int, FaultRecord] = {
            index: FaultRecord(index=index, kind=p.fault.kind, label=p.label, planned_ns=p.at_ns)
            for index, p in self._planned
        }
        self._unhealed = False
        self.broken: list[str] = []

    def start(self) -> None:
        """Starts waiting for the first fault."""
        self._thread.start()

    def done(self) -> bool:
        """Returns whether every fault was injected and healed, or failed."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Injects nothing more and heals what is injected; returns when that is done. Idempotent."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def unhealed(self) -> bool:
        """Returns whether some target did not come to work again."""
        return self._unhealed

    def records(self) -> tuple[FaultRecord, ...]:
        """Returns what has happened, in the scenario's order."""
        return tuple(self._records[index] for index in sorted(self._records))

    def _run(self) -> None:
        for index, planned in self._planned:
            if self._wait_until(planned.at_ns):
                return
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
            self._unhealed = True
            self.broken.append(f"{planned.label} could not be healed: {described(error)}")

    def _wait_until(self, t_ns: int) -> bool:
        """Returns True when it was told to stop before ``t_ns``."""
        return self._stop.wait(max(0.0, (t_ns - now_ns()) / 1e9))

    def _note(self, record: FaultRecord) -> None:
        self._records[record.index] = record
        self._tell(record)
