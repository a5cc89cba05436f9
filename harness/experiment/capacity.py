"""A search for the capacity: the highest open-loop rate that a case holds, each rate tried in fresh trials with the rate frozen.

Every probe is one trial as a run of its own; ``capacity.json`` is saved after each. Neighbours: ``single`` runs a trial,
``harness.analysis.rate_search`` says which rate is next, ``harness.analysis.capacity`` what a trial shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from harness import __version__
from harness.analysis.capacity import (
    Asked,
    CapacityRecord,
    Probe,
    Searched,
    figures_shown,
    is_broken,
    judged,
    known_so_far,
    limit_words,
    rate_words,
    summed_up,
)
from harness.analysis.rate_search import Answer, Seen, Shown, Step, search
from harness.clock import now_ns, wall_ns
from harness.deployments.contract import Deployment
from harness.errors import ExitCode, UsageError
from harness.experiment.disturbance import OTHERS_SHARE, disturbance
from harness.experiment.probe import CapacityPlan, probe, require_searchable
from harness.experiment.single import Done, only, run_one
from harness.files import lost_place, make_new, plain_name, write_whole
from harness.model import TrialStatus
from harness.record import CaseRecord
from harness.run.completion import completed
from harness.run.progress import CaseFinished, CaseStarted, Event, Listener, PhaseChanged, RunStarted
from harness.run.runner import Run, RunOptions
from harness.scenario.describe import expected_trial_s
from harness.scenario.model import Case, Scenario
from harness.units import format_rate

RECORD = "capacity.json"
PICTURE = "capacity.png"

_EXIT = {
    "found": ExitCode.PASS,
    "at_least": ExitCode.INVALID,
    "none": ExitCode.BROKEN,
    "unsteady": ExitCode.INCONCLUSIVE,
    "untold": ExitCode.INVALID,
    "unfinished": ExitCode.NO_VERDICT,
}
SEVERITY = (ExitCode.NO_VERDICT, ExitCode.BROKEN, ExitCode.INVALID, ExitCode.INCONCLUSIVE)


class Capacity:
    """One search; :meth:`run` does it, :attr:`folder` and :attr:`record` are what became of it."""

    folder: Path
    record: CapacityRecord

    def __init__(self, plan: CapacityPlan, deployment: Deployment, listener: Listener) -> None:
        """Checks that every case can run here at its first rate; makes the folder, starts nothing.

        Raises:
            UnavailableError: a case cannot run here, with the remedy. UsageError: nothing to search for, the folder takes no write, or
                the slots would not fit.
        """
        require_searchable(plan)
        self._plan = plan
        self._deployment = deployment
        self._listener = listener
        options = RunOptions(root=plan.root, command=plan.command)
        for case in plan.cases:
            first = probe(plan, case, plan.start_of(case))
            Run(only(first, first.cases[0], seed=0), deployment, options, listener)  # refuses what cannot run
        self._number = 0
        self._shown: list[CaseRecord] = []
        self.folder = _new_folder(plan)
        self.record = self._first_record()
        self._save()

    def run(self) -> CapacityRecord:
        """Searches every case and returns the finished record, interrupted or not."""
        status: Literal["finished", "interrupted", "failed"] = "failed"
        try:
            for at, case in enumerate(self._plan.cases):
                self._search(at, case)
            status = "finished"
        except KeyboardInterrupt:
            status = "interrupted"
        finally:
            completed(lambda: self._finish(status))
        return self.record

    def _search(self, at: int, case: Case) -> None:
        steps = search(self._plan.start_of(case), least_per_s=self._plan.least_per_s, within=self._plan.within)
        answer: Answer | None = None
        step = next(steps)
        while answer is None:
            seen = self._step(at, case, step)
            try:
                step = steps.send(seen)
            except StopIteration as end:
                answer = end.value
        self._keep(at, summed_up(self.record.searches[at], answer))

    def _step(self, at: int, case: Case, step: Step) -> Seen:
        """Runs one probe, keeps what it shows and returns it; raises KeyboardInterrupt where a person ended it."""
        self._number += 1
        asked = probe(self._plan, case, step.rate_per_s)
        seed = (self._plan.scenario.seed + self._number - 1) % (1 << 32)
        told = _AsProbe(self._listener, self._label(case, step), self._number, self._shown)
        self._listener.notice(self._started(case, step, asked))
        try:
            done = run_one(
                asked,
                asked.cases[0],
                self._deployment,
                told,
                seed=seed,
                root=self.folder,
                command=self._plan.command,
            )
        except UsageError as error:  # e.g. no room for so many messages: known before anything was started
            seen = Seen(shown=Shown.GENERATOR)
            self._add(at, self._probe(step, asked, seed, done=None, seen=seen, reasons=[error.problem]))
            return seen
        seen, reasons = judged(done.trial, self._plan.bounds)
        made = self._probe(step, asked, seed, done=done, seen=seen, reasons=reasons)
        _, later = completed(lambda: self._add(at, made, done))
        if done.interrupted or later:
            raise KeyboardInterrupt
        self._tell(case, step, done, made)
        return seen

    def _probe(
        self, step: Step, asked: Scenario, seed: int, *, done: Done | None, seen: Seen, reasons: Sequence[str]
    ) -> Probe:
        trial = done.trial if done else None
        return Probe(
            number=self._number,
            rate_per_s=step.rate_per_s,
            purpose=step.purpose,
            again=step.again,
            steady_s=asked.phases.steady_s,
            seed=seed,
            run=done.folder.path.name if done else "",
            status=trial.status.value if trial else "",
            shown=seen.shown,
            clear=seen.clear,
            reasons=list(reasons),
            broken=is_broken(trial),
            warnings=list(trial.warnings) if trial else [],
            disturbed=disturbance(done.folder, trial, OTHERS_SHARE) if done and trial else "",
            seen=figures_shown(trial, self._plan.bounds),
        )

    def _add(self, at: int, made: Probe, done: Done | None = None) -> None:
        before = self.record.searches[at]
        update: dict[str, object] = {"probes": [*before.probes, made]}
        if done is not None:
            update["case"] = done.case.model_copy(update={"trials": [], "slo": [], "guarantees": []})
            self.record = self.record.model_copy(update={"fingerprint": done.record.fingerprint})
        self._keep(at, before.model_copy(update=update))

    def _keep(self, at: int, searched: Searched) -> None:
        searches = [*self.record.searches[:at], searched, *self.record.searches[at + 1 :]]
        self.record = self.record.model_copy(update={"searches": searches})
        self._save()

    def _tell(self, case: Case, step: Step, done: Done, made: Probe) -> None:
        """Lets the live view say what a probe showed."""
        shown = done.case.model_copy(update={"id": self._label(case, step)})
        self._shown.append(shown)
        words = (
            f"{format_rate(step.rate_per_s)} {made.shown.value}{': ' if made.reasons else ''}{'; '.join(made.reasons)}"
        )
        self._listener.notice(PhaseChanged(phase=words, t_ns=now_ns()))
        status = done.trial.status if done.trial else TrialStatus.FAILED
        self._listener.notice(CaseFinished(case=shown, trial=1, status=status, words=words))

    def _label(self, case: Case, step: Step) -> str:
        """Returns how the live view calls a probe; no two are called the same."""
        several = f"{case.id} " if len(self._plan.cases) > 1 else ""
        return (
            f"{several}{self._number}: {format_rate(step.rate_per_s)}, {step.purpose}{' again' if step.again else ''}"
        )

    def _started(self, case: Case, step: Step, asked: Scenario) -> RunStarted:
        """Returns the search so far as one run for the live view: a line per probe."""
        coming = _unstarted(case).model_copy(update={"id": self._label(case, step)})
        return RunStarted(
            t_ns=now_ns(),
            run_id="",
            scenario=f"{self._plan.scenario.name}, capacity",
            deployment=self._deployment.name,
            cases=(*self._shown, coming),
            trials=1,
            trial_s=expected_trial_s(asked),
        )

    def _finish(self, status: Literal["finished", "interrupted", "failed"]) -> None:
        searches = [known_so_far(each) if each.found == "unfinished" else each for each in self.record.searches]
        self.record = self.record.model_copy(
            update={"status": status, "ended_wall_ns": wall_ns(), "searches": searches}
        )
        code, reason = exit_of(self.record)
        self.record = self.record.model_copy(update={"exit_code": int(code), "exit_reason": reason})
        self._save()

    def _first_record(self) -> CapacityRecord:
        plan, scenario = self._plan, self._plan.scenario
        return CapacityRecord(
            tool_version=__version__,
            status="running",
            started_wall_ns=wall_ns(),
            scenario=scenario.name,
            question=scenario.question,
            expect=scenario.expect,
            scenario_text=scenario.text,
            overrides=list(scenario.overrides),
            command=plan.command,
            deployment=self._deployment.name,
            asked=[Asked(metric=bound.metric, limit=bound.limit, text=bound.text) for bound in plan.bounds],
            within=plan.within,
            searches=[Searched(case=_unstarted(case)) for case in plan.cases],
        )

    def _save(self) -> None:
        path = self.folder / RECORD
        try:
            write_whole(path, f"{self.record.model_dump_json(indent=1)}\n".encode())
        except OSError as error:
            raise lost_place(path, error) from error


class _AsProbe:
    """Tells of one trial's run as of a part of the search; what begins and ends it is the search's to tell."""

    def __init__(self, listener: Listener, label: str, number: int, before: Sequence[CaseRecord]) -> None:
        self._listener = listener
        self._label = label
        self._place = len(before) + 1
        self._number = number

    def notice(self, event: Event) -> None:
        """Takes one event."""
        match event:
            case RunStarted() | CaseFinished():
                pass
            case CaseStarted():
                told = replace(event, number=self._place, of=self._place, case_id=self._label, trial=1, trials=1)
                self._listener.notice(told)
            case _:
                self._listener.notice(event)


def exit_of(record: CapacityRecord) -> tuple[ExitCode, str]:
    """Returns how a search ends, and why: as the severest of its cases; a broken guarantee is none the less broken at a high rate."""
    if record.status == "interrupted":
        return ExitCode.INTERRUPTED, "interrupted"
    if record.status == "failed":
        return ExitCode.NO_VERDICT, "the search failed before its end"
    ends = [_end_of(searched) for searched in record.searches]
    for code in SEVERITY:
        those = [reason for end, reason in ends if end is code]
        if those:
            more = f" (and {len(those) - 1} more)" if len(those) > 1 else ""
            return code, f"{those[0]}{more}"
    return ExitCode.PASS, "every capacity was found and confirmed"


def _end_of(searched: Searched) -> tuple[ExitCode, str]:
    name = searched.case.id
    for each in searched.probes:
        if each.broken:
            return ExitCode.BROKEN, f"{name}: at {format_rate(each.rate_per_s)}: {each.reasons[0]}"
    words = {
        "found": "",
        "at_least": f"at least {rate_words(searched.rate_per_s)}: {limit_words(searched)}",
        "none": f"not even {rate_words(searched.above_per_s)} holds",
        "unsteady": "no rate held in every trial",
        "untold": limit_words(searched) if searched.others_refused else "no trial could be judged",
        "unfinished": "the search has no answer",
    }[searched.found]
    return _EXIT[searched.found], f"{name}: {words}"


def _unstarted(case: Case) -> CaseRecord:
    return CaseRecord(
        id=case.id,
        slug=case.slug,
        setup=case.setup.name,
        broker=case.setup.broker,
        parameters=dict(case.all_parameters),
        network=case.network,
        durability_class=case.setup.durability_of(case.all_parameters),
        summary=case.setup.summary,
        server="",
    )


def _new_folder(plan: CapacityPlan) -> Path:
    name = f"{datetime.now():%Y-%m-%dT%H-%M-%S}-{plain_name(plan.scenario.name)}-capacity"
    try:
        plan.root.mkdir(parents=True, exist_ok=True)
        return make_new(plan.root, name)
    except OSError as error:
        raise UsageError(
            f"the output folder {plan.root} does not take a write: {error.strerror or error}",
            expected="a folder in which searches can be kept",
            remedy="free space there, or name another one with -o DIR",
        ) from error
