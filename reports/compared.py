"""A comparison as it is handed on: what ``compare --json`` prints, and what terminal, Markdown and page are laid out from.

History of the format:

- 1: the first.

Figures are those of ``run.json``: a number in base units, ``at_least`` or ``unknown``. The JSON schema is exported by
``brokerbench schema --comparison``. Neighbours: ``comparison`` makes it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.model import DurabilityClass, Verdict
from harness.record import Figure

COMPARISON_VERSION = 1


def comparison_schema() -> dict[str, Any]:
    """Returns the JSON schema (draft 2020-12) of ``compare --json``."""
    schema = Comparison.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Interval(_Part):
    """What the trials say about a ratio: the truth lies between the bounds, each of which is wrong with at most 5 %."""

    low: float = Field(description="one-sided 95 % bound; 0 = none, as trials of the reference are only 'at least'")
    high: float | None = Field(description="one-sided 95 % bound; null = none, as trials are only 'at least'")
    level: float = Field(description="the probability, really attained, with which one bound is wrong")


class Difference(_Part):
    """A figure of one case against that of the reference."""

    absolute: float | None = Field(
        description="what the ratio comes to at the reference's middle value, in the metric's unit; null = none, as that is only 'at least'"
    )
    ratio: float | None = Field(
        description="times the reference's: with an interval its estimate (Hodges and Lehmann's), else of the middle values; null = none"
    )
    relation: Literal["=", "≥", "≤"] = Field(description="≥, ≤: one of the two is only 'at least'")
    interval: Interval | None = None
    no_interval: str = Field(default="", description="why there is no interval")


class Compared(_Part):
    """One figure of one case."""

    middle: Figure | None = Field(description="of the trials that count; with an even number the worse of the two")
    lowest: Figure | None = None
    highest: Figure | None = None
    window: str = Field(description="steady or whole; mixed: not of all trials the same, and so not compared")
    trials: dict[int, Figure] = Field(description="number of the trial → its figure")
    label: str = Field(default="", description="of a throughput: filling or draining, and so not compared")
    difference: Difference | None = None
    why: str = Field(default="", description="why there is no difference; empty = it is the reference, or there is one")


class LossTold(_Part):
    """Confirmed messages that were lost, of all trials whose evidence is sound."""

    lost: int | None = Field(description="null = no trial says")
    or_more: bool = Field(description="some are undecided: at least that many")
    of: int = Field(description="confirmed messages of those trials")
    trials: int
    bound: str = Field(description="what that proves, in words; empty = nothing")


class Claimed(_Part):
    """A claim and what was seen of it."""

    fault: str
    verdict: Verdict
    claim: str
    evidence: str


class Arm(_Part):
    """One case of one run: a row of every table."""

    label: str = Field(description="the case's id, with several runs behind the run's name")
    run: str = Field(description="name of the run")
    case: str = Field(description="id of the case")
    slug: str
    durability_class: DurabilityClass
    ceiling: bool = Field(description="it ran in closed loop, beside a case at the scenario's rate")
    symbol: str
    verdict: str = Field(description="in a word or two, as everywhere")
    told: str = Field(description="the verdict in a sentence")
    trials: int = Field(description="that there are")
    planned: int = Field(description="that the scenario asks for")
    valid: int
    reference: str = Field(
        description="label of the arm that it is compared with; empty = none; its own = it is the reference"
    )
    loss: LossTold
    repeats: int | None
    guarantees: list[Claimed]
    figures: dict[str, Compared]


class Group(_Part):
    """Arms whose confirms survive the same, and that were loaded in the same way: only here differences are computed."""

    title: str
    durability_class: DurabilityClass
    ceiling: bool
    arms: list[Arm]


class Setting(_Part):
    """Something that is not the same everywhere: its name, and its value by label of run or arm; null = it has none there."""

    name: str
    values: dict[str, str | None]


class Source(_Part):
    """One run that is compared."""

    name: str
    folder: str
    run_id: str
    status: str
    started_wall_ns: int
    tool_version: str
    scenario: str
    deployment: str
    command: str
    lag: str = Field(description="how late its load generator was")


class Comparison(_Part):
    """Cases side by side."""

    schema_version: Annotated[int, Field(ge=1)] = COMPARISON_VERSION
    tool_version: str
    question: str
    expect: str
    runs: list[Source]
    cross_machine: bool = Field(description="the environments differ: ratios are information, no evidence")
    unlike: list[str] = Field(
        description="what of the environments must be the same and is not; only with `cross_machine`"
    )
    drift: list[str] = Field(description="what of the environments should be the same and is not")
    groups: list[Group]
    parameters: list[Setting] = Field(description="of the cases, what differs")
    settings: list[Setting] = Field(description="asked for and read back, of each arm, what differs")
    scenarios: list[Setting] = Field(description="of the scenarios, what differs between runs")
    fingerprints: list[Setting] = Field(description="of the environments, what differs between runs")
    notes: list[str]
