"""A calibration: pairs of trials of the same thing, so that what differs between A and B is the noise of this machine.

The pairs are run by ``pairs``, as those of an ``ab``; the generator's ceiling by ``ceiling``. What came out is kept by
``harness.calibrations`` for the environment that the trials themselves tell in their fingerprints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import __version__, calibrations
from harness.analysis.slo import LEDGER_METRICS
from harness.clock import wall_ns
from harness.errors import EvidenceError
from harness.experiment.ceiling import measure_ceiling
from harness.experiment.disturbance import OTHERS_SHARE
from harness.experiment.known import question_of
from harness.experiment.pairs import Arm, Watcher, new_record, run_pairs
from harness.gate.figures import find
from harness.gate.noise import Calibration, Calibrations, Ceiling, Spread, spread
from harness.gate.pairs import CasePairs, PairsRecord, Trial
from harness.metrics import METRICS
from harness.model import TrialStatus
from harness.pairs_folder import PairsFolder
from harness.record import Figure
from harness.redaction import hide
from harness.run.ceiling import generator
from harness.run.progress import Listener, Warned
from harness.scenario.describe import expected_trial_s
from harness.scenario.model import Case, Scenario

FEWEST = 3
"""Valid pairs of a case from which on anything is said of its noise."""
ADVISED = 10
"""With fewer the true noise may be more than 1.65 times as large."""
CEILING_TRIAL_S = 12.0
CEILING_TRIALS = 3
CEILING = "ceiling"
"""Folder of the runs on the null broker, below that of the pairs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a calibration has found.

    Args:
        calibrations: of each case, in the scenario's order. ceilings: what the generator can do, by case id. fingerprint: of the environment.
        notes: what a reader must know.
    """

    calibrations: tuple[Calibration, ...]
    ceilings: dict[str, Ceiling]
    fingerprint: dict[str, Any]
    notes: tuple[str, ...]

    def keep(self) -> Path:
        """Stores it for this environment and returns the file; raises BrokerbenchError."""

        def with_these(known: Calibrations) -> Calibrations:
            for each in self.calibrations:
                known = known.with_calibration(each)
            for ceiling in self.ceilings.values():
                known = known.with_ceiling(ceiling)
            return known

        return calibrations.write(self.fingerprint, with_these)


def expected_s(scenario: Scenario, pairs: int) -> float:
    """Returns about how long a calibration takes."""
    ceilings = len(list(_generators(scenario)))
    return 2 * pairs * len(scenario.cases) * expected_trial_s(scenario) + ceilings * CEILING_TRIALS * CEILING_TRIAL_S


def new_calibration(
    arm: Arm, *, pairs: int, command: str, seed: int | None = None, others_share: float = OTHERS_SHARE
) -> PairsRecord:
    """Returns the record of a calibration of which nothing has been run.

    Args:
        arm: the scenario and who runs its trials, of both sides. pairs: of each case. seed: of the coins; None = a new one.
        others_share: share of the CPUs that others may use during a trial.
    """
    overrides = [hide(each) for each in arm.scenario.overrides]
    return new_record(
        (arm, arm),
        command=command,
        stopping="fixed",
        pairs=pairs,
        seed=seed,
        others_share=others_share,
        overrides=overrides,
    )


def calibrate(folder: PairsFolder, record: PairsRecord, arm: Arm, watcher: Watcher) -> tuple[PairsRecord, Found | None]:
    """Runs what a calibration still lacks and returns its record and what it tells, None after a Ctrl-C; stores nothing.

    Args:
        record: new, or of a calibration that was cut short. arm: as of :func:`new_calibration`.

    Raises:
        EvidenceError: too few pairs are valid. BrokerbenchError: a trial cannot be run at all.
    """
    folder.save(record)
    try:
        ceilings, notes = _ceilings(folder, arm.scenario, watcher, record.command)
    except KeyboardInterrupt:
        record = record.model_copy(update={"status": "interrupted"})
        folder.save(record)
        return record, None
    record = run_pairs(folder, record, (arm, arm), watcher)
    if record.status != "finished":
        return record, None
    trials = folder.trials(record)
    found = [
        _calibration(record, each, question_of(arm.scenario, case), trials)
        for each, case in zip(record.cases, arm.scenario.cases, strict=True)
    ]
    fingerprint = next(iter(trials.values())).run.fingerprint
    notes += [note for each, case in zip(found, record.cases, strict=True) for note in _doubts(each, case)]
    return record, Found(calibrations=tuple(found), ceilings=ceilings, fingerprint=fingerprint, notes=tuple(notes))


# The ceiling.


def _generators(scenario: Scenario) -> Iterator[Case]:
    """Yields the first case of each way in which the scenario uses the generator."""
    seen: list[dict[str, Any]] = []
    for case in scenario.cases:
        if (asked := generator(case, scenario.agents)) not in seen:
            seen.append(asked)
            if not scenario.agents.remote:
                yield case


def _ceilings(
    folder: PairsFolder, scenario: Scenario, listener: Listener, command: str
) -> tuple[dict[str, Ceiling], list[str]]:
    """Returns the ceilings by case id, and why there is none; a ceiling that cannot be told costs no calibration."""
    notes = []
    if scenario.agents.remote:
        notes.append("agents of other machines make the load: the generator's ceiling was not measured")
    found: list[Ceiling] = []
    for case in _generators(scenario):
        try:
            found.append(measure_ceiling(scenario, case, listener, root=folder.path / CEILING, command=command))
        except EvidenceError as error:
            notes.append(error.problem)
            listener.notice(Warned(text=error.problem))
    notes += [f"the generator's ceiling may be higher: {each.disturbed}" for each in found if each.disturbed]
    told = {case.id: each for case in scenario.cases for each in found if each.load == generator(case, scenario.agents)}
    return told, notes


# The noise.


def _calibration(record: PairsRecord, case: CasePairs, question: str, trials: dict[str, Trial]) -> Calibration:
    """Returns the noise of one case; raises EvidenceError where too few pairs tell of it."""
    pairs = [(pair, trials[pair.a], trials[pair.b]) for pair in case.counted]
    valid = [each for each in pairs if all(trial.record.status is TrialStatus.VALID for trial in each[1:])]
    if len(valid) < FEWEST:
        raise _too_few(case, [trial for _, *both in pairs for trial in both], len(valid))
    first = [pair.first for pair, _, _ in valid]
    return Calibration(
        scenario=record.scenario,
        question=question,
        case=case.a,
        tool_version=__version__,
        measured_wall_ns=wall_ns(),
        pairs=len(valid),
        first=first,
        spreads=_spreads([(a, b) for _, a, b in valid], first),
    )


def _spreads(pairs: Sequence[tuple[Trial, Trial]], first: Sequence[str]) -> dict[str, dict[str, Spread]]:
    """Returns window → figure → its spread, of all figures that every trial has."""
    found: dict[str, dict[str, Spread]] = {}
    for window in ["", *_windows(pairs)]:
        for metric in METRICS:
            if metric.startswith(LEDGER_METRICS):
                continue
            a, b = ([_figure(pair[side], metric, window) for pair in pairs] for side in (0, 1))
            told = spread(a, b, first)
            if told is not None:
                found.setdefault(window, {})[metric] = told
    return found


def _windows(pairs: Sequence[tuple[Trial, Trial]]) -> list[str]:
    return list(dict.fromkeys(window for pair in pairs for trial in pair for window in trial.record.metrics))


def _figure(trial: Trial, metric: str, window: str) -> Figure | None:
    return find(trial.record, metric, window)[0]


def _too_few(case: CasePairs, trials: Sequence[Trial], valid: int) -> EvidenceError:
    why = dict.fromkeys(
        " ".join(reason.split())
        for trial in trials
        if trial.record.status is not TrialStatus.VALID
        for reason in trial.record.reasons[:1]
    )
    discarded = len(case.pairs) - len(case.counted)
    told = [*why, *([f"{discarded} pairs were disturbed by other programs"] if discarded else [])]
    return EvidenceError(
        f"{case.a}: only {valid} of {len(case.pairs)} pairs tell of its noise: {'; '.join(told)}",
        expected=f"{FEWEST} pairs of valid trials or more",
        remedy="mend what makes the trials invalid (brokerbench check, a lower rate), or calibrate when nothing else runs here",
    )


def _doubts(found: Calibration, case: CasePairs) -> Iterator[str]:
    if case.over == "discards":
        yield f"{case.a}: {len(case.pairs) - len(case.counted)} pairs were disturbed by other programs, so that no more were run"
    if (invalid := len(case.counted) - found.pairs) > 0:
        yield f"{case.a}: {invalid} of {len(case.counted)} pairs have an invalid trial and were left out"
    if found.pairs < ADVISED:
        yield f"{case.a}: {found.pairs} pairs; {ADVISED} or more tell the noise within a factor of 1.65"
