"""What a gate answers: a row per rule and case, a verdict each, and the exit code of the whole.

The form is versioned: ``gate --json`` prints it, ``ab.json`` holds it, JUnit, Markdown and annotations are made from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.errors import ExitCode
from harness.record import Figure

SCHEMA_VERSION = 1


class Part(BaseModel):
    """A part of a record: frozen, and nothing in it that its model does not name."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Verdict(StrEnum):
    """What is said of a rule and a case. Unknown is neither PASS nor FAIL."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_COMPARABLE = "NOT COMPARABLE"
    INVALID = "INVALID"

    @property
    def exit_code(self) -> ExitCode:
        """How a gate ends of which this is the severest verdict."""
        return _EXIT[self]


_EXIT = {
    Verdict.FAIL: ExitCode.BROKEN,
    Verdict.INVALID: ExitCode.INVALID,
    Verdict.NOT_COMPARABLE: ExitCode.NOT_COMPARABLE,
    Verdict.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
    Verdict.PASS: ExitCode.PASS,
}
"""In the order of severity, the severest first."""

SEVERITY = tuple(_EXIT)


def outcome_schema() -> dict[str, Any]:
    """Returns the JSON schema (draft 2020-12) of an outcome."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Outcome.model_json_schema(mode="serialization"),
    }


def severest(verdicts: Iterable[Verdict]) -> Verdict | None:
    """Returns the severest of several verdicts (FAIL > INVALID > NOT COMPARABLE > INCONCLUSIVE > PASS), None of none."""
    return min(verdicts, key=SEVERITY.index, default=None)


class Value(Part):
    """A figure of one trial."""

    pair: int | None = Field(default=None, description="of which pair; null = it was run as none")
    trial: str = Field(description="run folder and trial, relative to the folder that was judged")
    figure: Figure | None = Field(description="null = the trial does not have it")


class Row(Part):
    """One rule for one case."""

    rule: str = Field(description="its id")
    asks: str = Field(description="the rule in words, e.g. `latency.end_to_end.p99 (steady) at most 25 % worse`")
    metric: str = Field(description="`guarantee` for a rule on guarantees")
    window: str = ""
    case: str = Field(description="the case's id; empty = the rule's pattern matched none")
    verdict: Verdict
    words: str = Field(description="one sentence: what was seen, against what is allowed")
    seen_a: Figure | None = Field(default=None, description="middle figure of the reference")
    seen_b: Figure | None = Field(
        default=None, description="middle figure of what is judged; of a bound that every trial must keep, the worst"
    )
    estimate: float | None = Field(
        default=None, description="how many times worse B is; > 1 = worse, for throughput too"
    )
    lower: float | None = Field(default=None, description="one-sided bound of that; null = none")
    upper: float | None = Field(default=None, description="one-sided bound of that; null = none, or infinite")
    tolerated: float | None = Field(default=None, description="the ratio up to which the rule holds")
    n: int = Field(default=0, description="pairs or trials that the verdict stands on")
    level: float | None = Field(default=None, description="with what probability one bound is wrong at this look")
    decided: bool = Field(default=True, description="false = more pairs may still decide it")
    sigma_d: float | None = Field(
        default=None, description="noise: standard deviation of ln(B/A) over pairs; null = too few"
    )
    detectable: float | None = Field(
        default=None, description="the smallest ratio that this comparison would have called FAIL in 80 of 100 cases"
    )
    notes: list[str] = []
    a: list[Value] = []
    b: list[Value] = []


class Ran(Part):
    """One trial as it was run, in the order of time."""

    case: str
    pair: int
    side: Literal["a", "b"]
    run: str = Field(description="its run folder, relative to the folder of the pairs")
    status: str
    started_wall_ns: int
    ended_wall_ns: int | None = Field(
        default=None, description="null = it did not come to its end, or that is not known"
    )
    discarded: str = Field(default="", description="why its pair does not count; empty = it does")


class Told(Part):
    """One side of a comparison, as it is to be shown."""

    name: str = Field(description="`A` or `B`, or `baseline` and `run`")
    what: str = Field(description="what it is: overrides, a Python, an image, a run folder, a file")
    versions: list[str] = Field(default=[], description="brokerbench, server and image that it turned out to be")


class OrderEffect(Part):
    """By how much the second trial of a pair differed from the first."""

    case: str
    metric: str
    ratio: float = Field(description="second / first, whatever A and B differ by taken out")
    pairs: int


class Outcome(Part):
    """All verdicts of a gate."""

    schema_version: Annotated[int, Field(ge=1)] = SCHEMA_VERSION
    tool_version: str
    kind: Literal["pairs", "baseline", "run"] = Field(
        description="pairs: trials of A and B one after the other; baseline: against stored figures; run: nothing to compare with"
    )
    scenario: str
    question: str = ""
    sides: list[Told] = []
    rows: list[Row]
    information: list[Row] = Field(
        default=[],
        description="ratios of sides that are not comparable, with `--cross-machine`: told, and no verdict stands on them",
    )
    runs: list[Ran] = []
    discarded: dict[str, dict[str, int]] = Field(
        default={}, description="case → `a`, `b` → how many pairs were discarded for what befell that side's trial"
    )
    order_effects: list[OrderEffect] = []
    flags: list[str] = Field(default=[], description="what differs between the sides without making them incomparable")
    warnings: list[str] = Field(
        default=[], description="what a reader must know: no calibration, above 70 % of the ceiling …"
    )
    exit_code: int
    exit_reason: str
    details: dict[str, Any] = {}


def exit_of(rows: Iterable[Row], *, inconclusive: Literal["fail", "warn"] = "fail") -> tuple[ExitCode, str]:
    """Returns how a gate ends, and why in a sentence; no row at all proves nothing.

    Args:
        inconclusive: ``warn`` ends with 0 where nothing is worse than INCONCLUSIVE.
    """
    told = list(rows)
    worst = severest(row.verdict for row in told)
    if worst is None:
        return ExitCode.INVALID, "no rule was applied to any case"
    if worst is Verdict.PASS:
        return ExitCode.PASS, f"all {len(told)} rules hold" if len(told) > 1 else "the rule holds"
    those = [row for row in told if row.verdict is worst]
    more = f" (and {len(those) - 1} more)" if len(those) > 1 else ""
    reason = f"{worst}: {those[0].rule}{f', {those[0].case}' if those[0].case else ''}: {those[0].words}{more}"
    if worst is Verdict.INCONCLUSIVE and inconclusive == "warn":
        return ExitCode.PASS, reason
    return worst.exit_code, reason
