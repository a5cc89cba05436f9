"""What a sweep leaves behind (``sweep.json``): one key of a scenario at several values, a curve per case, and where each bends.

Pure. Neighbours: ``knee`` finds the bend, ``harness.experiment.sweep`` runs the trials, ``reports.sweep`` shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.analysis.slo import counts_for, figure_of
from harness.metrics import METRICS
from harness.model import DurabilityClass, TrialStatus
from harness.record import AtLeast, CaseRecord, Figure, Unknown

SCHEMA_VERSION = 1
SHARE = 0.95
"""Of the best median, from which on a value is as good: the knee is the smallest such."""
ALSO_SHOWN = ("throughput", "latency.end_to_end.p99")
"""What is told of every value, beside the figure whose knee is asked for."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Seen(_Part):
    """A figure over the valid trials of a value; with an even number the worse of the two in the middle is the median."""

    median: Figure | None = Field(description="null = no valid trial has it")
    each: list[Figure] = Field(description="of every valid trial, in the order of their numbers")


class Point(_Part):
    """One value of the key, for one case."""

    value: str = Field(description="as given to --over")
    at: float | None = Field(description="the value in base units; null = it is a word")
    case: CaseRecord = Field(
        description="with all trials at this value; `folder` of a trial is relative to the folder of the sweep"
    )
    runs: list[str] = Field(default=[], description="the run folder of each trial, relative to the folder of the sweep")
    seen: dict[str, Seen] = Field(default={}, description="metric → figure")


class Knee(_Part):
    """Where a curve bends: the smallest value whose median reaches 95 % of the best."""

    found: Literal["knee", "first", "flat", "rising", "words", "unlike", "unknown"] = Field(
        description="knee: there is one; first: the smallest value is it, smaller ones were not tried; flat: every median is the same; rising: only the largest value"
        " reaches it, so there is none among these; words: the values have no order; unlike: they differ in what a confirm survives;"
        " unknown: fewer than two values have the figure"
    )
    value: str | None = Field(default=None, description="null = none was found")
    best: str | None = Field(default=None, description="the value with the best median; null = none has one")
    reached: float | None = Field(
        default=None,
        description="the best median of smaller values than the last, as a share of the best (where lower is better the other way"
        " round); of a knee: its own",
    )
    missing: list[str] = Field(default=[], description="values below the knee of which nothing is known")


class Curve(_Part):
    """One case over all values, in ascending order; words in the order given."""

    label: str = Field(description="the case's id without what the values change in it")
    points: list[Point]
    knee: Knee | None = Field(default=None, description="null = not every value was run")

    @property
    def ran(self) -> list[Point]:
        """Returns the values of which a trial came to its end."""
        return [p for p in self.points if any(t.status is not TrialStatus.INTERRUPTED for t in p.case.trials)]


class Ran(_Part):
    """One trial, in the order of time."""

    value: str
    case: str
    trial: int
    seed: int
    run: str
    status: str = Field(description="of the trial; empty = it has none")
    exit_code: int | None
    exit_reason: str = ""


class SweepRecord(_Part):
    """All that a sweep says about itself."""

    schema_version: Annotated[int, Field(ge=1)] = SCHEMA_VERSION
    tool_version: str
    status: Literal["running", "finished", "interrupted", "failed"]
    started_wall_ns: int
    ended_wall_ns: int | None = None
    scenario: str
    question: str
    expect: str = ""
    scenario_text: str = Field(
        description="as written; --set in `overrides`, the key and its values in `key` and `values`"
    )
    overrides: list[str] = []
    command: str
    deployment: str
    fingerprint: dict[str, Any] = {}
    key: str = Field(description="that was swept, e.g. `workers.prefetch`")
    values: list[str]
    metric: str = Field(description="whose knee is asked for")
    open_loop: bool = Field(description="a schedule offers the load, so that throughput ends at what it offers")
    trials: int = Field(description="asked for, of each value and case")
    order_seed: int = Field(description="of the order in which values were run; the same one gives the same order")
    curves: list[Curve]
    runs: list[Ran] = []
    exit_code: int | None = None
    exit_reason: str = ""


def sweep_schema() -> dict[str, Any]:
    """Returns the JSON schema of ``sweep.json``."""
    made = SweepRecord.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def seen_of(case: CaseRecord, metric: str) -> Seen:
    """Returns a figure over the trials of a case that say anything about it."""
    higher = METRICS[metric].higher_is_better
    figures = [figure_of(trial, metric, highest=not higher) for trial in case.trials if counts_for(trial, metric)]
    told = [figure for figure in figures if figure is not None]
    return Seen(median=median(told, higher_is_better=higher), each=told)


def median(figures: Sequence[Figure], *, higher_is_better: bool) -> Figure | None:
    """Returns the middle figure, of an even number the worse of the two; unknown where one is: it might be anywhere.

    One that is "at least" is the worst where lower is better, so it stands at that end; where higher is better, nothing is known.
    """
    unknown = next((figure for figure in figures if isinstance(figure, Unknown)), None)
    if unknown is not None or not figures:
        return unknown
    if higher_is_better and any(isinstance(figure, AtLeast) for figure in figures):
        return Unknown(unknown="a trial has only a lower bound")
    ordered = sorted(figures, key=_badness, reverse=higher_is_better)
    return ordered[len(ordered) // 2]


def _badness(figure: Figure) -> tuple[bool, float]:
    assert not isinstance(figure, Unknown)  # the caller has returned with it
    return (True, figure.at_least) if isinstance(figure, AtLeast) else (False, figure)


def metrics_shown(metric: str) -> tuple[str, ...]:
    """Returns what is told of every value, the figure that is asked for first."""
    return tuple(dict.fromkeys((metric, *ALSO_SHOWN)))


def durability_classes(points: Sequence[Point]) -> tuple[DurabilityClass, ...]:
    """Returns what confirms survive at these values, each once."""
    return tuple(dict.fromkeys(point.case.durability_class for point in points))
