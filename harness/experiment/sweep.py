"""A sweep: one key of a scenario at several values, each value's trials in shuffled order, and where the curve bends.

Every round runs each value and case once, in an order of its own: what changes on this machine meanwhile falls on all values alike,
and a Ctrl-C leaves whole rounds. The trials of one round have the same seed, so the same schedule. ``sweep.json`` is saved after
every trial. Neighbours: ``single`` runs one trial, ``harness.analysis.sweep`` is what is left behind, ``values`` reads what is asked.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from harness import __version__
from harness.analysis.combine import combine_case
from harness.analysis.knee import knee_of
from harness.analysis.sweep import Curve, Point, Ran, SweepRecord, metrics_shown, seen_of
from harness.clock import now_ns, wall_ns
from harness.deployments.contract import Deployment
from harness.errors import ExitCode, UsageError
from harness.experiment.single import Done, only, run_one
from harness.experiment.values import Value
from harness.files import lost_place, make_new, plain_name, write_whole
from harness.model import TrialStatus
from harness.record import CaseRecord
from harness.run.completion import completed
from harness.run.progress import CaseFinished, CaseStarted, Event, Listener, RunStarted
from harness.run.runner import Run, RunOptions
from harness.scenario.describe import expected_trial_s
from harness.scenario.model import Case, Scenario

RECORD = "sweep.json"
PICTURE = "sweep.png"

SEVERITY = (ExitCode.NO_VERDICT, ExitCode.BROKEN, ExitCode.INVALID)


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepPlan:
    """What is asked.

    Args:
        key: that is swept. values: in ascending order; each with its scenario, all of as many cases. trials: of each value and case.
        metric: whose knee is asked for. order_seed: of the order. root: folder that gets the sweep's. command: what the user typed.
    """

    key: str
    values: tuple[Value, ...]
    trials: int
    metric: str
    order_seed: int
    root: Path
    command: str

    @property
    def expected_s(self) -> float:
        """Returns about how long the sweep takes."""
        return (
            sum(expected_trial_s(only(v.scenario, c, seed=0)) for v in self.values for c in v.scenario.cases)
            * self.trials
        )

    @property
    def runs(self) -> int:
        """Returns how many trials there are in all."""
        return self.trials * sum(len(value.scenario.cases) for value in self.values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One trial that is to be run: which round (from 1), value and case (from 0)."""

    trial: int
    value: int
    case: int


def steps(plan: SweepPlan) -> list[Step]:
    """Returns all trials in the order in which they are run: round by round, each shuffled by the plan's seed."""
    shuffler = random.Random(plan.order_seed)
    found: list[Step] = []
    for trial in range(1, plan.trials + 1):
        whole = [
            Step(trial=trial, value=value, case=case)
            for value, each in enumerate(plan.values)
            for case in range(len(each.scenario.cases))
        ]
        shuffler.shuffle(whole)
        found += whole
    return found


class Sweep:
    """One sweep; :meth:`run` does it, :attr:`folder` and :attr:`record` are what became of it."""

    folder: Path
    record: SweepRecord

    def __init__(self, plan: SweepPlan, deployments: Sequence[Deployment], listener: Listener) -> None:
        """Checks that every value can run here; makes the folder, starts nothing.

        Args:
            deployments: where the brokers of each value run.

        Raises:
            UnavailableError: a value cannot run here, with the remedy. UsageError: the folder takes no write, or the slots would not fit.
        """
        self._plan = plan
        self._deployments = tuple(deployments)
        self._listener = listener
        options = RunOptions(root=plan.root, command=plan.command)
        for value, deployment in zip(plan.values, self._deployments, strict=True):
            for case in value.scenario.cases:
                Run(only(value.scenario, case, seed=0), deployment, options, listener)  # refuses what cannot run
        self._cases: dict[tuple[int, int], CaseRecord] = {}
        self._runs: dict[tuple[int, int], list[str]] = {}
        self.folder = _new_folder(plan)
        self.record = self._first_record()
        self._save()

    def run(self) -> SweepRecord:
        """Runs every trial and returns the finished record, interrupted or not."""
        every = steps(self._plan)
        status: Literal["finished", "interrupted", "failed"] = "failed"
        try:
            self._listener.notice(self._started(every))
            for number, step in enumerate(every, 1):
                done = self._step(step, number, len(every))
                _, later = completed(lambda step=step, done=done: self._keep(step, done))  # type: ignore[misc]
                if done.interrupted or later:
                    raise KeyboardInterrupt
            status = "finished"
        except KeyboardInterrupt:
            status = "interrupted"
        finally:
            completed(lambda: self._finish(status))
        return self.record

    def _step(self, step: Step, number: int, of: int) -> Done:
        value = self._plan.values[step.value]
        scenario = value.scenario
        told = _AsCaseOfAll(self._listener, self._label(step), number, of)
        done = run_one(
            scenario,
            scenario.cases[step.case],
            self._deployments[step.value],
            told,
            seed=self._seed(step),
            root=self.folder,
            command=self._plan.command,
        )
        self._words = told.words
        return done

    def _seed(self, step: Step) -> int:
        """Returns the seed of a trial: the scenario's for the first round, the next for the next."""
        return (self._plan.values[step.value].scenario.seed + step.trial - 1) % (1 << 32)

    def _keep(self, step: Step, done: Done) -> None:
        """Keeps what a run has shown in the record, saves it and tells it."""
        value = self._plan.values[step.value]
        name = done.folder.path.name
        place = (step.value, step.case)
        before = self._cases.get(place)
        trials = list(before.trials) if before else []
        if done.trial is not None:
            update = {"number": step.trial, "folder": f"{name}/{done.trial.folder}"}
            trials.append(done.trial.model_copy(update=update))
        self._cases[place] = combine_case(done.case.model_copy(update={"trials": trials}), value.scenario.slo)
        self._runs.setdefault(place, []).append(name)
        status = done.trial.status if done.trial else None
        ran = Ran(
            value=value.text,
            case=done.case.id,
            trial=step.trial,
            seed=self._seed(step),
            run=name,
            status=status.value if status else "",
            exit_code=done.record.exit_code,
            exit_reason=done.record.exit_reason,
        )
        update = {"runs": [*self.record.runs, ran], "curves": self._curves(), "fingerprint": done.record.fingerprint}
        self.record = self.record.model_copy(update=update)
        self._save()
        shown = self._cases[place].model_copy(update={"id": self._label(step)})
        self._listener.notice(
            CaseFinished(case=shown, trial=step.trial, status=status or TrialStatus.FAILED, words=self._words)
        )

    def _finish(self, status: Literal["finished", "interrupted", "failed"]) -> None:
        curves = [self._bent(curve) for curve in self.record.curves]
        code, reason = exit_of(self.record.runs, status, self._plan.key)
        update = {
            "status": status,
            "ended_wall_ns": wall_ns(),
            "curves": curves,
            "exit_code": int(code),
            "exit_reason": reason,
        }
        self.record = self.record.model_copy(update=update)
        self._save()

    def _bent(self, curve: Curve) -> Curve:
        """Returns a curve with its knee, if every value was run: where one is missing, the best may be there."""
        if len(curve.ran) < len(self._plan.values):
            return curve
        return curve.model_copy(update={"knee": knee_of(curve.points, self._plan.metric)})

    def _curves(self) -> list[Curve]:
        return [
            Curve(
                label=label,
                points=[self._point(at, number) for at in range(len(self._plan.values)) if (at, number) in self._cases],
            )
            for number, label in enumerate(labels([value.scenario for value in self._plan.values]))
        ]

    def _point(self, value: int, case: int) -> Point:
        known = self._cases[value, case]
        seen = {metric: seen_of(known, metric) for metric in metrics_shown(self._plan.metric)}
        given = self._plan.values[value]
        return Point(value=given.text, at=given.at, case=known, runs=self._runs[value, case], seen=seen)

    def _label(self, step: Step) -> str:
        """Returns how the live view calls a value (and a case, where there are several)."""
        value = self._plan.values[step.value]
        told = f"{self._plan.key}={value.text}"
        cases = value.scenario.cases
        return told if len(cases) == 1 else f"{told} {cases[step.case].id}"

    def _started(self, every: Sequence[Step]) -> RunStarted:
        """Returns the whole sweep as one run for the live view: a line per value and case, in ascending order."""
        plan = self._plan
        first = [step for step in sorted(every, key=lambda s: (s.case, s.value)) if step.trial == 1]
        later = [step for step in every if step.trial > 1]  # so that there are as many as trials to come
        cases = tuple(
            _unstarted(plan.values[step.value].scenario.cases[step.case], self._label(step))
            for step in (*first, *later)
        )
        return RunStarted(
            t_ns=now_ns(),
            run_id="",
            scenario=f"{plan.values[0].scenario.name} over {plan.key}",
            deployment=self._deployments[0].name,
            cases=cases,
            trials=1,
            trial_s=plan.expected_s / plan.runs,
        )

    def _first_record(self) -> SweepRecord:
        plan, scenario = self._plan, self._plan.values[0].scenario
        return SweepRecord(
            tool_version=__version__,
            status="running",
            started_wall_ns=wall_ns(),
            scenario=scenario.name,
            question=scenario.question,
            expect=scenario.expect,
            scenario_text=scenario.text,
            overrides=[each for each in scenario.overrides if not each.startswith(f"{plan.key}=")],
            command=plan.command,
            deployment=self._deployments[0].name,
            key=plan.key,
            values=[value.text for value in plan.values],
            metric=plan.metric,
            open_loop=scenario.load.saturate_window is None,
            trials=plan.trials,
            order_seed=plan.order_seed,
            curves=[],
        )

    def _save(self) -> None:
        path = self.folder / RECORD
        try:
            write_whole(path, f"{self.record.model_dump_json(indent=1)}\n".encode())
        except OSError as error:
            raise lost_place(path, error) from error


class _AsCaseOfAll:
    """Tells of one trial's run as of a part of the sweep; what begins and ends the whole is the sweep's to tell."""

    def __init__(self, listener: Listener, label: str, number: int, of: int) -> None:
        self._listener = listener
        self._label = label
        self._number = number
        self._of = of
        self.words = ""

    def notice(self, event: Event) -> None:
        """Takes one event."""
        match event:
            case RunStarted():
                pass
            case CaseStarted():
                told = replace(event, number=self._number, of=self._of, case_id=self._label, trial=1, trials=1)
                self._listener.notice(told)
            case CaseFinished():
                self.words = event.words
            case _:
                self._listener.notice(event)


def labels(scenarios: Sequence[Scenario]) -> list[str]:
    """Returns of each case what its ids have in common over all values: ``redis-stream[maxmemory=1 GB]@embedded``."""
    return [_common([scenario.cases[at].id for scenario in scenarios]) for at in range(len(scenarios[0].cases))]


def _common(ids: Sequence[str]) -> str:
    if len({*ids}) == 1:
        return ids[0]
    parts = [_parts(each) for each in ids]
    names = list(dict.fromkeys(name for name, _, _ in parts))
    places = list(dict.fromkeys(place for _, _, place in parts))
    shared = [each for each in parts[0][1] if all(each in told for _, told, _ in parts)]
    name = names[0] if len(names) == 1 else " or ".join(names)
    settings = f"[{', '.join(shared)}]" if shared else ""
    return f"{name}{settings}{f'@{places[0]}' if len(places) == 1 else ''}"


def _parts(case_id: str) -> tuple[str, list[str], str]:
    """Returns the setup's name, what stands in brackets, and where it runs."""
    label, _, place = case_id.rpartition("@")
    name, _, settings = label.partition("[")
    return name, [each.strip() for each in settings.removesuffix("]").split(",") if each], place


def exit_of(runs: Sequence[Ran], status: str, key: str) -> tuple[ExitCode, str]:
    """Returns how a sweep ends and why: as the severest of its runs; without one it proves nothing."""
    if status == "interrupted":
        return ExitCode.INTERRUPTED, "interrupted"
    for code in SEVERITY:
        those = [run for run in runs if _code(run) is code]
        if those:
            more = f" (and {len(those) - 1} more)" if len(those) > 1 else ""
            return code, f"{key}={those[0].value}: {those[0].exit_reason}{more}"
    if not runs or status == "failed":
        return ExitCode.NO_VERDICT, "the sweep failed before its end"
    return ExitCode.PASS, "all trials valid, no guarantee broken"


def _code(run: Ran) -> ExitCode:
    """Returns how one run ended; one whose broker did not come up left nothing to judge by."""
    code = ExitCode.NO_VERDICT if run.exit_code is None else ExitCode(run.exit_code)
    return code if code in (*SEVERITY, ExitCode.PASS) else ExitCode.INVALID


def _unstarted(case: Case, label: str) -> CaseRecord:
    return CaseRecord(
        id=label,
        slug=case.slug,
        setup=case.setup.name,
        broker=case.setup.broker,
        parameters=dict(case.all_parameters),
        network=case.network,
        ceiling=case.ceiling,
        durability_class=case.setup.durability_of(case.all_parameters),
        summary=case.setup.summary,
        server="",
    )


def _new_folder(plan: SweepPlan) -> Path:
    scenario = plan.values[0].scenario
    name = f"{datetime.now():%Y-%m-%dT%H-%M-%S}-{plain_name(scenario.name)}-sweep"
    try:
        plan.root.mkdir(parents=True, exist_ok=True)
        return make_new(plan.root, name)
    except OSError as error:
        raise UsageError(
            f"the output folder {plan.root} does not take a write: {error.strerror or error}",
            expected="a folder in which runs can be kept",
            remedy="free space there, or name another one with -o DIR",
        ) from error
