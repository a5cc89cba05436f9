"""What ``calibrate`` has found out of the cases of a scenario, looked up before they are run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness import calibrations
from harness.experiment.single import only
from harness.gate.noise import Calibration, question
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
