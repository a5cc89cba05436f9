"""What a run says about itself while it runs: small immutable events, and whoever listens.

``run`` emits, ``cli.live`` listens; tests listen with a list. Times are CLOCK_MONOTONIC ns. Counts are cumulative since the
load of the trial began, summed over all shards, so that a lost tick costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from harness.model import TrialStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseStarted:
    """A trial of a case begins; what was shown of the one before is over.

    Args:
        number, of: position of the case, from 1. case_id: as printed. trial, trials: position of the trial, from 1.
    """

    number: int
    of: int
    case_id: str
    trial: int = 1
    trials: int = 1


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Warned:
    """Something that the reader should know now; one sentence."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseFinished:
    """A trial is over.

    Args:
        case_id, trial: as in :class:`CaseStarted`. status: whether its evidence can be used.
        words: one sentence on what it showed, or why it is not valid; "" = none.
    """

    case_id: str
    trial: int
    status: TrialStatus
    words: str = ""


Event = CaseStarted | PhaseChanged | FaultInjected | FaultHealed | Tick | Warned | CaseFinished


class Listener(Protocol):
    """Takes events; called from several threads, must return at once and never raise."""

    def notice(self, event: Event) -> None:
        """Takes one event."""


class Deaf:
    """Listens to nothing: for ``--quiet`` and ``--json``."""

    def notice(self, event: Event) -> None:
        """Takes one event."""
