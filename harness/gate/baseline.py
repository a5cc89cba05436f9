"""A baseline: the figures of one case in one environment, kept as a file that is reviewed and committed like code.

History of the format:

- 1: the first.

The text is a pure function of the run: sorted keys, no time, no run id, no name of a folder; the trials of a figure stand on one line. So the
same run makes the same bytes, and another run of the same code changes nothing but figures. Figures are rounded to seven digits, which is
less than any clock can tell; whole numbers are not.

Neighbours: ``comparable`` says whether a baseline and a run may be held against each other, ``harness.cli.judging`` reads and writes the files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from harness.analysis.comparable import ASKED, Side, read_back
from harness.files import plain_name
from harness.gate.evidence import Judged
from harness.gate.noise import environment_class
from harness.gate.outcome import Part
from harness.model import TrialStatus
from harness.record import AtLeast, CaseRecord, FaultResult, Figure, Metrics, RunRecord, TrialRecord, Unknown

SCHEMA_VERSION = 1
DIGITS = 7
NOT_A_RUN = "baseline"
"""Stands where a record has the id of its run, and differs from all of them."""

KEPT = ("identity", "drift", "subject")
"""The groups of the fingerprint that say what a machine and a broker are; ``live`` is the hour."""


class KeptFault(Part):
    """A fault as it happened in every trial."""

    index: int
    kind: str
    label: str
    planned_s: float
    recovery: dict[str, list[Figure | None]] = Field(
        description="metric name without its `recovery.` → figure of each trial"
    )


class Baseline(Part):
    """The figures of one case in one environment."""

    schema_version: Annotated[int, Field(ge=1)] = SCHEMA_VERSION
    tool_version: str = Field(description="of the brokerbench that ran it")
    scenario: str = Field(description="its name")
    question: str
    environment: str = Field(description="12 hex digits of what the machine is")
    deployment: str
    asked: dict[str, Any] = Field(description="of the expanded scenario what makes two questions the same")
    case: dict[str, Any] = Field(description="the case as its run had it, without trials and verdicts")
    read_back: dict[str, str] | None = Field(description="durability settings as the broker answered; null = not known")
    fingerprint: dict[str, Any] = Field(description="identity, drift and subject of the machine that ran it")
    trials: int = Field(ge=1)
    metrics: dict[str, dict[str, list[Figure | None]]] = Field(
        description="window → metric → figure of each trial; null = that trial has none"
    )
    throughput_label: dict[str, list[str]] = Field(
        description="window → `sustained`, `filling` or `draining`, of each trial"
    )
    faults: list[KeptFault] = Field(default=[])
    latencies: dict[str, list[list[int]]] = Field(
        default={},
        description="window → of each trial the end-to-end latencies: bucket, count, bucket, count …; a bucket b is as in HDR histograms of 1 µs"
        " and 128 sub-buckets: with e, r = b div 128, b mod 128 it ends at (r + 1) · 2ᵉ µs",
    )

    @property
    def lists(self) -> Iterator[Sequence[object]]:
        """Yields all that has a part for each trial."""
        yield from (each for figures in self.metrics.values() for each in figures.values())
        yield from (each for fault in self.faults for each in fault.recovery.values())
        yield from self.throughput_label.values()
        yield from self.latencies.values()

    @property
    def case_id(self) -> str:
        """Returns the id of the case."""
        return str(self.case["id"])

    @property
    def file_name(self) -> str:
        """Returns how its file is called: scenario, case and environment class."""
        return f"{plain_name(self.scenario)}--{plain_name(str(self.case['slug']))}--{self.environment}.json"

    @property
    def side(self) -> Side:
        """Returns it as a comparison sees it."""
        expanded = {name: value for name, value in self.asked.items() if name != "varied"}
        expanded["cases"] = [{"id": self.case_id, "workers": self.asked.get("varied", {})}]
        run = RunRecord(
            tool_version=self.tool_version,
            run_id=NOT_A_RUN,
            status="finished",
            started_wall_ns=0,
            started_ns=0,
            scenario=self.scenario,
            question=self.question,
            scenario_text="",
            scenario_expanded=expanded,
            deployment=self.deployment,
            command="",
            fingerprint=self.fingerprint,
        )
        settings = None if self.read_back is None else {"found": self.read_back}
        return Side(run=run, case=CaseRecord.model_validate(self.case), settings=[settings] * self.trials)

    def is_of(self, case: CaseRecord) -> bool:
        """Returns whether it was made of these very trials: no clock says the same of two runs."""
        return self.metrics == _metrics(case.trials)

    def judged(self, place: str) -> tuple[Judged, ...]:
        """Returns its trials as a rule sees them; ``place``: of the file, as shown."""
        return tuple(
            Judged(record=self._trial(number), place=f"{place}, trial {number + 1}") for number in range(self.trials)
        )

    def _trial(self, number: int) -> TrialRecord:
        metrics: Metrics = {
            window: {name: figure for name, each in figures.items() if (figure := each[number]) is not None}
            for window, figures in self.metrics.items()
        }
        return TrialRecord(
            number=number + 1,
            status=TrialStatus.VALID,
            reasons=[],
            folder="",
            metrics=metrics,
            throughput_label={window: each[number] for window, each in self.throughput_label.items() if each[number]},
            faults=[_fault(fault, number) for fault in self.faults],
            evidence_sound=True,
        )


def _fault(fault: KeptFault, number: int) -> FaultResult:
    recovery = {name: figure for name, each in fault.recovery.items() if (figure := each[number]) is not None}
    return FaultResult(
        index=fault.index,
        kind=fault.kind,
        label=fault.label,
        planned_s=fault.planned_s,
        injected_s=fault.planned_s,
        healed_s=None,
        hit=True,
        exposed=None,
        evidence={},
        recovery=recovery,
    )


def baseline_of(side: Side, latencies: Mapping[str, Sequence[list[int]]]) -> Baseline:
    """Returns the baseline of a case of a run, all trials of which are valid.

    Args:
        side: of the run. latencies: window → of each trial its sparse histogram.
    """
    run, case = side.run, side.case
    trials = case.trials
    asked = {name: run.scenario_expanded.get(name) for name in (*ASKED, "seed", "address")}
    varied: dict[str, Any] = next(
        (each.get("workers", {}) for each in run.scenario_expanded.get("cases", []) if each.get("id") == case.id), {}
    )
    return Baseline(
        tool_version=run.tool_version,
        scenario=run.scenario,
        question=run.question,
        environment=environment_class(run.fingerprint),
        deployment=run.deployment,
        asked={**asked, "varied": varied},
        case=case.model_dump(mode="json", exclude={"trials", "guarantees", "slo", "unavailable"}),
        read_back=read_back(side),
        fingerprint={group: run.fingerprint[group] for group in KEPT if group in run.fingerprint},
        trials=len(trials),
        metrics=_metrics(trials),
        throughput_label={
            window: [trial.throughput_label.get(window, "") for trial in trials]
            for window in _names(trial.throughput_label for trial in trials)
        },
        faults=list(_faults(trials)),
        latencies={window: list(each) for window, each in latencies.items()},
    )


def _metrics(trials: Sequence[TrialRecord]) -> dict[str, dict[str, list[Figure | None]]]:
    found: dict[str, dict[str, list[Figure | None]]] = {}
    for window in _names(trial.metrics for trial in trials):
        each = [trial.metrics.get(window, {}) for trial in trials]
        found[window] = {name: [_short(figures.get(name)) for figures in each] for name in _names(each)}
    return found


def _faults(trials: Sequence[TrialRecord]) -> Iterator[KeptFault]:
    for fault in trials[0].faults:
        same = [next((each for each in trial.faults if each.index == fault.index), None) for trial in trials]
        recoveries = [each.recovery if each else {} for each in same]
        yield KeptFault(
            index=fault.index,
            kind=fault.kind,
            label=fault.label,
            planned_s=fault.planned_s,
            recovery={name: [_short(each.get(name)) for each in recoveries] for name in _names(recoveries)},
        )


def _names(each: Any) -> list[str]:
    return sorted({name for names in each for name in names})


def _short(figure: Figure | None) -> Figure | None:
    if figure is None or isinstance(figure, Unknown):
        return figure
    if isinstance(figure, AtLeast):
        return AtLeast(at_least=_rounded(figure.at_least))
    return _rounded(figure)


def _rounded(value: float) -> float:
    return value if not math.isfinite(value) or value == int(value) else float(f"{value:.{DIGITS}g}")


def baseline_schema() -> dict[str, Any]:
    """Returns the JSON schema (draft 2020-12) of a baseline."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Baseline.model_json_schema(mode="serialization"),
    }


def text_of(baseline: Baseline) -> str:
    """Returns the file's text."""
    return "".join(_lines(baseline.model_dump(mode="json"), "")) + "\n"


def _lines(value: Any, indent: str) -> Iterator[str]:
    """Yields JSON whose objects take a line per key, and whose lists of plain values stand on one line."""
    inner = f"{indent} "
    if isinstance(value, dict) and value and not _is_plain(value):
        parts = [(f"{inner}{_plain(name)}: ", value[name]) for name in sorted(value)]
        ends = "{}"
    elif isinstance(value, list) and not all(map(_is_plain, value)):
        parts = [(inner, each) for each in value]
        ends = "[]"
    else:
        yield _plain(value)
        return
    yield ends[0]
    for number, (before, each) in enumerate(parts):
        yield (",\n" if number else "\n") + before
        yield from _lines(each, inner)
    yield f"\n{indent}{ends[1]}"


def _is_plain(value: Any) -> bool:
    """Returns whether it is no more than a figure: a number, a word, or an object that says why it is not one."""
    if isinstance(value, dict):
        return set(value) in ({"at_least"}, {"unknown"})
    return not isinstance(value, list)


def _plain(value: Any) -> str:
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
