"""One trial of one case as a run of its own: what all experiments are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from harness.deployments.contract import Deployment
from harness.record import CaseRecord, RunRecord, TrialRecord
from harness.run.progress import Listener
from harness.run.runner import Run, RunOptions
from harness.scenario.model import Case, Scenario
from harness.store import RunFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """A run of one trial that is over; ``interrupted``: by a Ctrl-C, so that the experiment ends too."""

    folder: RunFolder
    record: RunRecord

    @property
    def case(self) -> CaseRecord:
        """Returns the one case."""
        return self.record.cases[0]

    @property
    def trial(self) -> TrialRecord | None:
        """Returns the one trial; None where the run ended before it had any."""
        return next(iter(self.case.trials), None)

    @property
    def interrupted(self) -> bool:
        """Returns whether a person ended it."""
        return self.record.status == "interrupted"


def only(scenario: Scenario, case: Case, *, seed: int) -> Scenario:
    """Returns a scenario of one trial of one case: the same question, put once."""
    return replace(scenario, cases=(case,), load=case.load, workers=case.workers, trials=1, seed=seed)


def run_one(
    scenario: Scenario, case: Case, deployment: Deployment, listener: Listener, *, seed: int, root: Path, command: str
) -> Done:
    """Runs one trial and returns what became of it; the run folder lies in ``root``.

    Args:
        seed: of schedules and service times; the two trials of a pair have the same. command: what the user typed.

    Raises:
        UnavailableError: the setup cannot run here. UsageError: no room, or a folder takes no write.
    """
    options = RunOptions(root=root, command=command)
    with Run(only(scenario, case, seed=seed), deployment, options, listener) as run:
        record = run.run()
    return Done(folder=run.folder, record=record)
