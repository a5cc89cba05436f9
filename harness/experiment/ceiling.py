"""What the generator can do on this machine: the case's load in closed loop, against the null broker, which does next to nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness import __version__
from harness.analysis.slo import figure_of
from harness.brokers import setup
from harness.clock import wall_ns
from harness.deployments.embedded import EmbeddedDeployment
from harness.errors import EvidenceError
from harness.experiment.disturbance import OTHERS_SHARE, disturbance
from harness.experiment.single import Done, run_one
from harness.gate.noise import Ceiling
from harness.model import NO_CHOICE, TrialStatus
from harness.run.ceiling import generator
from harness.run.progress import Listener
from harness.scenario.model import Agents, Case, Phases, Scenario

TRIALS = 3
PHASES = Phases(warmup_s=1.0, steady_s=4.0, drain_s=60.0)
NULL = "null"
LEAST_READY = 1000
"""The null broker confirms no more while so many wait, so that producers do not run away from the workers, and all keep pace."""


def ceiling_scenario(scenario: Scenario, case: Case) -> Scenario:
    """Returns the case's load and workers in closed loop on the null broker; the work itself is none of the generator's."""
    null = setup(NULL)
    load = replace(case.load, profile=(), saturate_window=case.load.window, retry_attempts=0)
    workers = replace(case.workers, work="none", work_s=0.0, idempotency="none")
    own = Case(
        id=f"{NULL}@{EmbeddedDeployment.name}",
        slug=f"{NULL}-{EmbeddedDeployment.name}",
        setup=null,
        parameters=null.complete({"max_ready": str(max(LEAST_READY, 2 * workers.count * workers.prefetch))}),
        network=EmbeddedDeployment.name,
        site=NO_CHOICE,
        load=load,
        workers=workers,
        varied={},
    )
    return replace(
        scenario,
        name=f"{scenario.name}-ceiling",
        question="What can the generator do on this machine?",
        expect="",
        deployment=EmbeddedDeployment.name,
        cases=(own,),
        load=load,
        workers=workers,
        phases=PHASES,
        faults=(),
        trials=1,
        agents=Agents(local=scenario.agents.local),
        slo=(),
        address=None,
    )


def measure_ceiling(scenario: Scenario, case: Case, listener: Listener, *, root: Path, command: str) -> Ceiling:
    """Runs the trials and returns the best that they reached, since what disturbs one only takes from it; stores nothing.

    Args:
        root: gets a run folder for each.

    Raises:
        KeyboardInterrupt: a person ended it.
        EvidenceError: a trial is not valid, so that its figures mean nothing.
    """
    asked = ceiling_scenario(scenario, case)
    rates, disturbed = [], []
    for number in range(TRIALS):
        done = run_one(
            asked,
            asked.cases[0],
            EmbeddedDeployment(),
            listener,
            seed=scenario.seed + number,
            root=root,
            command=command,
        )
        if done.interrupted:
            raise KeyboardInterrupt
        rates.append(_rate(done))
        disturbed.append(disturbance(done.folder, done.case.trials[0], OTHERS_SHARE))
    return Ceiling(
        load=generator(case, scenario.agents),
        rate_per_s=round(max(rates), 1),
        trials=TRIALS,
        disturbed=disturbed[0] if all(disturbed) else "",
        tool_version=__version__,
        measured_wall_ns=wall_ns(),
    )


def _rate(done: Done) -> float:
    """Returns how many messages a second went all the way: confirmed, and worked off at the same pace."""
    trial = done.trial
    figures = [figure_of(trial, f"rate.{name}") for name in ("confirmed", "delivered")] if trial else []
    numbers = [float(figure) for figure in figures if isinstance(figure, float | int)]
    if trial is None or trial.status is not TrialStatus.VALID or len(numbers) < 2:
        why = "; ".join(trial.reasons) if trial else "it has no trial"
        raise EvidenceError(
            f"the generator's ceiling cannot be told: {why or 'a rate is missing'}",
            expected="a valid trial on the null broker",
            remedy=f"look into {done.folder.path}, and calibrate again when nothing else runs here",
        )
    return min(numbers)
