"""What a run says about itself while it runs: small immutable events, and whoever listens.

``run`` emits, ``cli.live`` and ``cli.metrics`` listen; tests listen with a list. Times are CLOCK_MONOTONIC ns. Counts are cumulative since the
load of the trial began, summed over all shards, so that a lost tick costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from harness.model import TrialStatus
from harness.record import CaseRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStarted:
    """A run begins.

    Args:
        t_ns: when. run_id, scenario, deployment: as in the record. cases: as the record has them before their first trial, in
            order. trials: how many each of them is to get. trial_s: about how long one takes.
    """

    t_ns: int
    run_id: str
    scenario: str
    deployment: str
    cases: tuple[CaseRecord, ...]
    trials: int
    trial_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseStarted:
    """A trial of a case begins; what was shown of the one before is over.

    Args:
        t_ns: when. number, of: position of the case, from 1. case_id: as printed. trial, trials: position of the trial, from 1.
        open_loop: it is offered a schedule, whatever the broker takes.
    """

    t_ns: int
    number: int
    of: int
    case_id: str
    trial: int = 1
    trials: int = 1
    open_loop: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseChanged:
    """The trial entered a phase.

    Args:
        phase: in words: ``starting broker``, ``preparing``, ``warm-up``, ``steady``, ``drain``, ``searching``, ``analysing`` …
        t_ns: when. length_s: how long it will last; None = not known. limit: ``length_s`` is only a limit (drain).
    """

    phase: str
    t_ns: int
    length_s: float | None = None
    limit: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultPlanned:
    """A fault is to strike at ``t_ns``; ``hold_s`` after that it is to be healed, None = not before the load ends."""

    index: int
    label: str
    t_ns: int
    hold_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultInjected:
    """A fault struck; ``hold_s`` is when it is due to be healed, None = not before the load ends."""

    index: int
    label: str
    t_ns: int
    hold_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultHealed:
    """The target of a fault works again."""

    index: int
    label: str
    t_ns: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tick:
    """The newest counts; to be emitted at least once a second, also when nothing has changed: a gap must be seen.

    Args:
        offered: identities due. sent: attempts. confirmed, rejected, unknown: attempts by outcome.
        delivered: receipts, repeats included. finished, settled: deliveries. redelivered: receipts that the broker flags as repeats.
        latency: end-to-end counts per bucket of ``harness.histogram``, shape (BUCKETS,); not changed after emission.
        backlog: messages not yet settled, where the emitter knows better than offered − finished.
        backlog_broker: messages that the broker says it holds; None = unknown.
        dead_letters: messages that the broker says are in the dead letter place; None = unknown, or it has none.
        workers: connected. workers_cut: that run without a connection. workers_lost: that ended and were not replaced.
        core_shares: kind of shard → the largest share of one core that one of them used in its last second; missing while unknown.
    """

    t_ns: int
    offered: int
    sent: int
    confirmed: int
    rejected: int
    unknown: int
    delivered: int
    finished: int
    settled: int
    redelivered: int
    latency: npt.NDArray[np.uint64]
    backlog: int | None = None
    backlog_broker: int | None = None
    dead_letters: int | None = None
    workers: int = 0
    workers_cut: int = 0
    workers_lost: int = 0
    core_shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Warned:
    """Something that the reader should know now; one sentence."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseFinished:
    """A trial is over.

    Args:
        case: with all its trials so far, this one last. trial: as in :class:`CaseStarted`. status: whether its evidence can be used.
        words: why it cannot; "" = it can.
    """

    case: CaseRecord
    trial: int
    status: TrialStatus
    words: str = ""


Event = (
    RunStarted | CaseStarted | PhaseChanged | FaultPlanned | FaultInjected | FaultHealed | Tick | Warned | CaseFinished
)


class Listener(Protocol):
    """Takes events; called from several threads, must return at once and never raise."""

    def notice(self, event: Event) -> None:
        """Takes one event."""


class Listeners:
    """Tells several listeners, in order."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = tuple(listeners)

    def notice(self, event: Event) -> None:
        """Takes one event."""
        for listener in self._listeners:
            listener.notice(event)


class Deaf:
    """Listens to nothing: for ``--quiet`` and ``--json``."""

    def notice(self, event: Event) -> None:
        """Takes one event."""
