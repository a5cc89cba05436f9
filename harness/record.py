"""``run.json``: the versioned result of a run, as every reader holds on to it.

History of the format:

- 1: the first.

A *figure* is a number, or an object that says why it is not one: ``{"at_least": 2.1}`` (censored: the truth is that or more) or
``{"unknown": "n too small"}``. Durations are in seconds. The JSON schema is exported by ``brokerbench schema --record``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.model import DurabilityClass, TrialStatus, Verdict

SCHEMA_VERSION = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AtLeast(_Part):
    """A censored figure: the truth is this or more."""

    at_least: float


class Unknown(_Part):
    """A figure that is not printed, and why."""

    unknown: str


Figure = float | AtLeast | Unknown
Metrics = dict[str, dict[str, Figure]]
"""Window (``steady``, ``whole``, ``fault[0]``, ``recovery[0]``) → metric name of ``record.md`` → figure."""


class ExampleDelivery(_Part):
    """One delivery of an example identity."""

    worker: int
    attempt: int
    cause: str = Field(description="mark of this delivery, empty for the first")
    received_s: float
    finished_s: float | None = None
    settled_s: float | None = None
    settlement: str | None = None
    settle_outcome: str | None = None
    skipped: str | None = Field(default=None, description="why an idempotency wrapper skipped it: TAKEN or DONE")


class Example(_Part):
    """What happened to one identity of a bad class or mark, in seconds since the start of the load."""

    identity: str = Field(description="producer:seq")
    what: str = Field(description="class or mark that it is an example of")
    intended_s: float | None = None
    sent_s: float | None = None
    confirmed_s: float | None = None
    outcome: str | None = None
    deliveries: list[ExampleDelivery] = []
    found: list[str] = Field(default=[], description="places of the broker in which it was found")


class FaultResult(_Part):
    """One fault as it happened, times in seconds since the start of *steady*."""

    index: int
    kind: str
    label: str
    planned_s: float
    injected_s: float | None
    healed_s: float | None
    hit: bool
    exposed: int | None = Field(description="CONFIRMED messages that were in the broker while the fault lasted")
    evidence: dict[str, Any]
    recovery: dict[str, Figure] = Field(description="metric name without its `recovery.` prefix → figure")

    @property
    def never_replaced(self) -> bool:
        """Whether nothing took the place of what was killed, by design: ``healed_s`` is then the kill itself (``facts.FaultRecord``)."""
        return self.evidence.get("replaced") == "never"


class Loss(_Part):
    """How many messages were lost of those that a guarantee is about."""

    lost: int
    of: int
    what: str = Field(description="which they are, e.g. 'exposed messages'")
    budget: int | None = Field(default=None, description="how many the claim allows; null = it sets no number")


class Guarantee(_Part):
    """A claim and what was seen of it."""

    fault: str
    claim: str = Field(description="in words, e.g. 'loses nothing; may repeat unacked'")
    verdict: Verdict
    evidence: str = Field(description="one sentence with the counts")
    exposed: int | None = None
    loss: Loss | None = None
    counts: dict[str, int] = Field(default={}, description="of what else was seen, by its words")
    notes: list[str] = Field(default=[], description="what else there is to say, without a count")
    bounded: int = Field(
        default=0,
        description="how many messages a HELD without a loss speaks for: those exposed; worker kill: those that the killed held",
    )


class LedgerCounts(_Part):
    """How many identities fell into each class, and how often each mark was set."""

    identities: int
    classes: dict[str, int]
    marks: dict[str, int]
    unreadable: int = Field(description="deliveries whose header could not be read: no identity")
    foreign: int = Field(description="deliveries of another run or trial")
    unreadable_found: int = Field(default=0, description="copies found in the broker whose header could not be read")
    foreign_found: int = Field(default=0, description="copies of another run or trial found in the broker")
    skipped_losses: int = Field(
        default=0,
        description="of the losses: delivered again and skipped by the workers' idempotency wrapper, so no loss of the broker's",
    )
    outcomes: dict[str, int] = Field(description="identities by the strongest outcome of their attempts")
    held: dict[str, int] = Field(description="identities that were held, by reason")
    jepsen: dict[str, int] = Field(
        description="sizes of Jepsen's total-queue sets: lost, unexpected, duplicated, recovered"
    )


class IncidentResult(_Part):
    """Something that befell a container without the scenario's doing."""

    at_s: float = Field(description="when it was seen, since the start of *steady*; before that negative")
    phase: str = Field(
        default="",
        description="that it fell in: `warm-up`, `steady` or `drain`, else `before the load`, `after the drain`; empty: not known",
    )
    source: str = Field(description="`broker` or `load`")
    what: str = Field(description="`killed for memory`, `throttled`, `ended`")
    text: str = Field(description="one sentence")


class TrialRecord(_Part):
    """One trial of one case."""

    number: int
    status: TrialStatus
    reasons: list[str] = Field(description="why it is not valid")
    warnings: list[str] = []
    folder: str = Field(description="relative to the run folder")
    metrics: Metrics = {}
    throughput_label: dict[str, str] = Field(
        default={},
        description="window → `sustained`, `filling` or `draining`; only a sustained throughput is compared",
    )
    ledger: LedgerCounts | None = None
    faults: list[FaultResult] = []
    guarantees: list[Guarantee] = []
    examples: list[Example] = []
    incidents: list[IncidentResult] = Field(default=[], description="what befell the containers, by time")
    throttled_s: dict[str, float] = Field(
        default={},
        description="`broker`, `load` → for how long a CPU limit kept it from running, from the load's start to the end of the drain, where that can be read",
    )
    lag_bound_s: float | None = None
    evidence_sound: bool = Field(
        default=False,
        description="ledger, drain and settings are sound: a proven loss counts even if the trial is invalid",
    )


class Expectation(_Part):
    """An SLO of the scenario and what was seen."""

    metric: str
    bound: str
    seen: Figure | None
    met: bool | None = Field(description="null = cannot be told")


class ImageRecord(_Part):
    """The image that a broker's container was made from."""

    reference: str = Field(description="e.g. `redis:8`")
    digest: str = Field(description="`sha256:…`: of the registry, or of a built image its id")
    source: str = Field(description="where it came from, e.g. `official`, `built`")


class CaseRecord(_Part):
    """One combination of setup × parameters × network."""

    id: str
    slug: str
    setup: str
    broker: str
    parameters: dict[str, str]
    network: str = Field(description="of Docker's networks the one that it ran on, else the name of the deployment")
    client: str = Field(
        default="", description="where the load ran on that network: `container` or `host`; empty without Docker"
    )
    ceiling: bool = Field(default=False, description="it ran in closed loop, beside a case at the scenario's rate")
    durability_class: DurabilityClass
    summary: str = Field(description="what the setup does, in one line")
    server: str = Field(description="which server ran")
    image: ImageRecord | None = Field(default=None, description="of its container; null = it ran in none")
    trials: list[TrialRecord] = []
    guarantees: list[Guarantee] = Field(default=[], description="over all trials")
    slo: list[Expectation] = []
    unavailable: str = ""
    as_found: list[str] = Field(
        default=[],
        description="parameters that were not asked for but left as a broker that is not ours had them; their value in `parameters`"
        " is what was read back, `as found` where that is unknown",
    )


class RunRecord(_Part):
    """Everything that a run says about itself."""

    schema_version: Annotated[int, Field(ge=1)] = SCHEMA_VERSION
    tool_version: str
    run_id: str = Field(description="16 hex digits, as in the envelope")
    status: Literal["running", "loaded", "finished", "interrupted", "failed"]
    started_wall_ns: int
    started_ns: int = Field(description="CLOCK_MONOTONIC at the same moment")
    ended_wall_ns: int | None = None
    scenario: str
    question: str
    expect: str = ""
    scenario_text: str = Field(description="as written, with --set applied noted in `overrides`")
    overrides: list[str] = []
    scenario_expanded: dict[str, Any] = Field(description="every key, defaults filled in, base units")
    deployment: str
    command: str = Field(description="the command that repeats the run")
    fingerprint: dict[str, Any] = {}
    cases: list[CaseRecord] = []
    exit_code: int | None = None
    exit_reason: str = ""
