"""What ``calibrate`` has found out of the cases of a scenario, looked up before they are run."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import calibrations
from harness.analysis.signed_rank import Look
from harness.experiment.single import only
from harness.gate.noise import Calibration, question
from harness.gate.rules import Rule
from harness.gate.sight import Known, Outlook, outlook
from harness.run.runner import fingerprint_of
from harness.scenario.describe import as_dict
from harness.scenario.model import Case, Scenario


def known_noise(scenario: Scenario) -> tuple[dict[str, Calibration], str]:
    """Returns the calibrations of this environment by case id, and why they cannot be read ("" = they can, or there are none)."""
    stored, problem = calibrations.read(fingerprint_of(Path(tempfile.gettempdir()), scenario))
    found = {case.id: stored.of(question_of(scenario, case), case.id) for case in scenario.cases}
    return {case: each for case, each in found.items() if each is not None}, problem


def question_of(scenario: Scenario, case: Case) -> str:
    """Returns what is asked of a case, as a hash; the same for a run of it alone and for one of the whole scenario."""
    return question(as_dict(only(scenario, case, seed=scenario.seed)), case.id, ceiling=case.ceiling)


@dataclass(frozen=True, kw_only=True, slots=True)
class Before:
    """What is known of a comparison before its first trial.

    Args:
        sigma_d: id of B's case → metric → noise. outlook: what its rules can see, and what a reader must know.
    """

    sigma_d: dict[str, dict[str, float]]
    outlook: Outlook


def known_before(rules: Sequence[Rule], a: Scenario, b: Scenario, looks: Sequence[Look]) -> Before:
    """Returns what calibrations of this environment say of a comparison: those of A's cases, else those of B's.

    Args:
        a, b: both sides, of which the n-th case of one is compared with the n-th of the other. looks: as planned.

    Raises:
        UsageError: a rule could hardly ever pass at the noise of this machine.
    """
    (noise_a, problem), (noise_b, _) = known_noise(a), known_noise(b)
    cases = [
        Known(ids=tuple(dict.fromkeys((y.id, x.id))), calibration=noise_a.get(x.id) or noise_b.get(y.id))
        for x, y in zip(a.cases, b.cases, strict=True)
    ]
    seen = outlook(rules, cases, looks)
    warnings = [problem] if problem else list(seen.warnings)
    return Before(
        sigma_d={each.ids[0]: each.calibration.sigma_d for each in cases if each.calibration},
        outlook=Outlook(sees=seen.sees, warnings=tuple(warnings)),
    )
