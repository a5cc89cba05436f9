"""A scenario as it is after reading: frozen, in base units, with every default filled in.

Made by ``harness.scenario.read``; everything above only reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.model import Parameters, Setup, Site
from harness.redaction import shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """One piece of a load profile; rates are totals over all producers.

    Args:
        kind: ``constant``, ``ramp``, ``steps``, ``spike``, ``sine``, ``replay``.
        duration_s: its length.
        rates_per_s: constant, spike: (rate,); ramp: (from, to); steps: the rates, each for an equal part of the length;
            sine: (lowest, highest).
        period_s: of the sine; 0 otherwise.
        times_s: of the replay, seconds from the segment's start, sorted; () otherwise.
    """

    kind: str
    duration_s: float
    rates_per_s: tuple[float, ...] = ()
    period_s: float = 0.0
    times_s: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """How messages are offered.

    Args:
        profile: pieces of *steady*, in order (``rate`` is one constant piece); () with ``saturate``.
        saturate_window: outstanding confirms per producer in closed loop; None = open loop.
        arrival: ``poisson`` or ``constant``.
        window: most unconfirmed messages per producer. batch: most messages in one block. tick_s: time between looks.
        retry_attempts: further attempts of the harness after REJECTED or UNKNOWN (0 = none); retry_backoff_s between.
    """

    profile: tuple[Segment, ...]
    saturate_window: int | None
    arrival: str
    producers: int
    payload_bytes: int
    window: int
    batch: int
    tick_s: float
    style: str
    retry_attempts: int
    retry_backoff_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Workers:
    """How messages are worked off.

    Args:
        ack: ``explicit`` or ``auto``. work: ``none``, ``constant`` or ``exponential`` with mean ``work_s``.
        work_kind: ``sleep`` or ``cpu``.
        idempotency: the wrapper around the work (``harness.load.idempotency``), or ``none``.
    """

    count: int
    prefetch: int
    ack: str
    settle_batch: int
    settle_linger_s: float
    work: str
    work_s: float
    work_kind: str
    visibility_s: float
    sweep_s: float
    idempotency: str = "none"

    @property
    def longest_hold_s(self) -> float:
        """Returns for how long nothing may come before the drain is over: max(visibility + sweep, 3 s)."""
        return max(self.visibility_s + self.sweep_s, 3.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Phases:
    """Lengths; ``drain_s`` is a limit."""

    warmup_s: float
    steady_s: float
    drain_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultEntry:
    """One fault as the scenario asks for it: ``at_s`` after the start of *steady*; ``settings`` are the values of its keys."""

    at_s: float
    verb: str
    target: str
    settings: Mapping[str, float | int | None]

    @property
    def label(self) -> str:
        """Returns e.g. ``kill broker``."""
        return f"{self.verb} {self.target}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """One SLO: ``metric`` at most ``limit`` (base units), at least where ``at_least`` (throughput, rates); ``text`` as written."""

    metric: str
    limit: float
    text: str
    at_least: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One combination that is run; ``id`` is printed, ``slug`` names its folder.

    Args:
        network: as printed after ``@``: a network of Docker's, or another deployment's name. site: where exactly it runs.
        load: what it is offered. ceiling: that is ``load.ceiling``, beside a case at the scenario's rate.
        workers: how its messages are worked off.
        varied: which keys of ``workers`` were written as a list, and this case's value of each.
    """

    id: str
    slug: str
    setup: Setup
    parameters: Parameters
    network: str
    site: Site
    load: Load
    workers: Workers
    varied: Mapping[str, int | str]
    ceiling: bool = False

    @property
    def all_parameters(self) -> Parameters:
        """Returns the parameters and those of its container: what records hold and claims depend on; drivers get only their own."""
        container = self.site.container
        return {**self.parameters, **({"volume": container.volume, **container.written} if container else {})}


@dataclass(frozen=True, kw_only=True, slots=True)
class Agents:
    """How many agents run the shards: on this machine, and lent by other machines."""

    local: int = 1
    remote: int = 0

    @property
    def total(self) -> int:
        """Returns how many there are in all."""
        return self.local + self.remote


@dataclass(frozen=True, kw_only=True, slots=True)
class Addresses:
    """Where brokers run already.

    Args:
        urls: broker → URL, which may hold a password: neither printed nor stored, nor handed on but over a pipe.
        variables: names of the environment variables that stand in them.
    """

    urls: Mapping[str, str] = field(repr=False)
    variables: tuple[str, ...] = ()

    def shown(self) -> dict[str, str]:
        """Returns broker → scheme, host, port and path."""
        return {broker: shown(url) for broker, url in self.urls.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """One question and how it is asked.

    ``load`` and ``workers`` are those of the first case: what a case has of its own, it has in ``Case.load`` and ``Case.workers``.
    """

    name: str
    path: str
    text: str
    question: str
    expect: str
    deployment: str
    cases: tuple[Case, ...]
    load: Load
    workers: Workers
    phases: Phases
    faults: tuple[FaultEntry, ...]
    trials: int
    agents: Agents
    seed: int
    slo: tuple[Bound, ...]
    address: Addresses | None = None  # of ``external``
    overrides: tuple[str, ...] = ()

    @property
    def longest_hold_s(self) -> float:
        """Returns for how long nothing may come before the drain is over: max(visibility + sweep, 3 s)."""
        return self.workers.longest_hold_s
