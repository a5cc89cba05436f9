"""How much identical code differs from itself here: σ_d, the standard deviation of ln(B/A) over pairs of the same (``gate.md``).

``calibrate`` measures it, ``harness.calibrations`` keeps it per *environment class*, ``gate`` and ``ab`` say from it what can be seen.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median, stdev
from typing import Any, Literal

import numpy as np
from pydantic import Field

from harness.analysis.comparable import Side, scenario_hash
from harness.gate.outcome import Part
from harness.record import CaseRecord, Figure, RunRecord

SCHEMA_VERSION = 1
LEVEL = 0.05
FEWEST = 2
"""Pairs below which nothing is known of their spread."""

NOT_IDENTITY = ("filesystem_run",)
"""Of the fingerprint's group *identity*: where reports are written changes no figure (``comparable.MACHINE``)."""


def calibration_schema() -> dict[str, Any]:
    """Returns the JSON schema (draft 2020-12) of ``calibration.json``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Calibrations.model_json_schema(mode="serialization"),
    }


def environment_class(fingerprint: Mapping[str, Any]) -> str:
    """Returns 12 hex digits of what a machine is: figures of one class may be held against each other."""
    told = json.dumps(identity(fingerprint), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def identity(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields that an environment class is made of; what is unknown is null."""
    fields = {name: value for name, value in fingerprint.get("identity", {}).items() if name not in NOT_IDENTITY}
    docker = fingerprint.get("drift", {}).get("docker") or {}
    return fields | {f"docker_{name}": docker[name] for name in ("storage", "storage_filesystem") if name in docker}


def question(expanded: Mapping[str, Any], case: str, *, ceiling: bool = False) -> str:
    """Returns :func:`~harness.analysis.comparable.scenario_hash` of a case that may not have been run yet.

    Args:
        expanded: the scenario as the record has it (``harness.scenario.describe.as_dict``). case: its id.
    """
    told = dict(expanded)
    if ceiling:  # of the whole scenario, the load stands there as it is offered at its rate
        window = next(each["ceiling"] for each in told["cases"] if each["id"] == case)
        told["load"] = {**told["load"], "profile": [], "saturate_window": window, "window": window}
    run = RunRecord.model_construct(run_id="", scenario_expanded=told)
    return scenario_hash(Side(run=run, case=CaseRecord.model_construct(id=case, ceiling=ceiling), settings=()))


def sigma_d(a: Sequence[Figure | None], b: Sequence[Figure | None], *, min_abs: float = 0.0) -> float | None:
    """Returns the standard deviation of ln(B/A) over pairs (n − 1 below).

    Args:
        a, b: the figures of each pair, at the same index. min_abs: below it figures do not differ.

    Returns:
        None where it cannot be told: fewer than two pairs, a figure that is no number, a 0 without ``min_abs``.
    """
    d = log_ratios(a, b, min_abs=min_abs)
    return stdev(d) if d is not None and len(d) >= FEWEST else None


def log_ratios(a: Sequence[Figure | None], b: Sequence[Figure | None], *, min_abs: float = 0.0) -> list[float] | None:
    """Returns ln(B/A) of each pair, None where one has none."""
    found = []
    for one, other in zip(a, b, strict=True):
        if not isinstance(one, float | int) or not isinstance(other, float | int):
            return None
        low, high = max(one, min_abs), max(other, min_abs)
        if not (0 < low < math.inf and 0 < high < math.inf):
            return None
        found.append(math.log(high) - math.log(low))  # their ratio may be more than the largest float
    return found


def upper_factor(pairs: int) -> float:
    """Returns how many times as large as the σ_d of so many pairs the true one may be (95 %, one-sided): 1.65 for 10.

    With normal noise (n − 1) s² / σ² follows the chi-squared distribution with n − 1 degrees of freedom.
    """
    from scipy import special  # noqa: PLC0415 - a quarter of a second, that `run` and `--help` need not wait for

    return math.sqrt((pairs - 1) / (2 * float(special.gammaincinv((pairs - 1) / 2, LEVEL))))


class Spread(Part):
    """One figure over the pairs of a calibration, in the order of time."""

    a: list[float]
    b: list[float]
    sigma_d: float = Field(description="standard deviation of ln(B/A)")
    sigma_d_upper: float = Field(description="95 % upper bound of the true one, were it normal")
    order_effect: float = Field(description="second trial of a pair / first, geometric mean")

    def at(self, min_abs: float) -> float:
        """Returns σ_d where figures below ``min_abs`` do not differ."""
        found = sigma_d(self.a, self.b, min_abs=min_abs) if min_abs else None
        return self.sigma_d if found is None else found

    @property
    def middle(self) -> float:
        """Returns the median of all trials."""
        return median([*self.a, *self.b])


class Calibration(Part):
    """The noise of one case here."""

    scenario: str
    question: str = Field(
        description="16 hex digits of what is asked of the case: load, workers, phases, faults, agents"
    )
    case: str
    tool_version: str
    measured_wall_ns: int
    pairs: int
    first: list[Literal["a", "b"]] = Field(description="which trial of each pair came first")
    spreads: dict[str, dict[str, Spread]] = Field(
        description="window → metric → its spread; the window `` is that which holds where none is named"
    )

    def spread(self, metric: str, window: str = "") -> Spread | None:
        """Returns the spread of a figure, None where it is not known."""
        return self.spreads.get(window, {}).get(metric)

    @property
    def sigma_d(self) -> dict[str, float]:
        """Returns metric → σ_d in the window that holds where none is named."""
        return {metric: each.sigma_d for metric, each in self.spreads.get("", {}).items()}


class Ceiling(Part):
    """What the generator can do on the null broker, with one load and one set of workers."""

    load: dict[str, Any] = Field(
        description="producers, payload, style, window, batch, workers …: those to which it applies"
    )
    rate_per_s: float = Field(
        description="messages per second that were confirmed and delivered at one pace, best of the trials"
    )
    trials: int
    disturbed: str = Field(
        default="",
        description="what other programs took of the machine, where they did in every trial: it may be higher",
    )
    tool_version: str
    measured_wall_ns: int


class Calibrations(Part):
    """All that is known of one environment class: ``calibration.json``."""

    schema_version: int = SCHEMA_VERSION
    environment: str = Field(description="its environment class")
    identity: dict[str, Any] = Field(description="what the class is made of")
    calibrations: list[Calibration] = Field(default=[])
    ceilings: list[Ceiling] = Field(default=[])

    def of(self, question: str, case: str) -> Calibration | None:
        """Returns the noise of a case of which the same was asked, None where it is not known."""
        found = [each for each in self.calibrations if (each.question, each.case) == (question, case)]
        return found[-1] if found else None

    def ceiling(self, load: Mapping[str, Any]) -> Ceiling | None:
        """Returns what the generator can do with such a load, None where it is not known."""
        return next((each for each in reversed(self.ceilings) if each.load == dict(load)), None)

    def with_calibration(self, new: Calibration) -> Calibrations:
        """Returns these and a new one, in the place of an older one of the same."""
        others = [each for each in self.calibrations if (each.question, each.case) != (new.question, new.case)]
        return self.model_copy(update={"calibrations": [*others, new]})

    def with_ceiling(self, new: Ceiling) -> Calibrations:
        """Returns these and a new one, in the place of an older one of the same."""
        return self.model_copy(update={"ceilings": [*(e for e in self.ceilings if e.load != new.load), new]})


def spread(a: Sequence[Figure | None], b: Sequence[Figure | None], first: Sequence[str]) -> Spread | None:
    """Returns the spread of a figure over pairs; None where a trial has none, or where a 0 makes a ratio impossible.

    Args:
        first: ``a`` or ``b`` for each pair.
    """
    d = log_ratios(a, b)
    if d is None or len(d) < FEWEST:
        return None
    second = [each if came == "a" else -each for each, came in zip(d, first, strict=True)]  # ln(second / first)
    noise = stdev(d)
    return Spread(
        a=[_short(each) for each in a],
        b=[_short(each) for each in b],
        sigma_d=noise,
        sigma_d_upper=noise * upper_factor(len(d)),
        order_effect=math.exp(fmean(second)),
    )


def _short(figure: Figure | None) -> float:
    assert isinstance(figure, float | int)  # `log_ratios` found a ratio
    return float(np.format_float_scientific(figure, precision=6))
