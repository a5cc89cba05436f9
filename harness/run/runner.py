"""Runs a scenario: case after case, trial after trial, saving the record at every step."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from harness import __version__
from harness.clock import now_ns, wall_ns
from harness.deployments.contract import Deployment
from harness.environment import docker_facts, fingerprint
from harness.errors import BrokerbenchError, UnavailableError
from harness.journal import Journal
from harness.ledger import require_room
from harness.load.door import Door
from harness.load.farewell import farewell
from harness.model import AS_FOUND, TrialStatus
from harness.proxy.proxy import why_not
from harness.record import CaseRecord, ImageRecord, RunRecord, TrialRecord
from harness.run.completion import completed
from harness.run.context import TrialContext, needs_proxy
from harness.run.entrance import check_door
from harness.run.health import described
from harness.run.progress import CaseFinished, CaseStarted, Listener, PhaseChanged, RunStarted, Warned
from harness.run.trial import Seen, Trial
from harness.scenario.describe import as_dict, expected_trial_s
from harness.scenario.model import Case, Scenario
from harness.schedule import expected_messages
from harness.store import RunFolder
from harness.sweeping import LEFT, down

NAMED_CASES = 4
"""Most cases whose ids stand before a reason that they share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """How a scenario is run.

    Args:
        root: folder that gets the run folder. command: what the user typed, to be printed as the way to repeat it.
        web: show Locust's page. skip_unavailable: run the other cases where one cannot run here.
        door: where agents of other machines come in, if the scenario asks for some.
    """

    root: Path
    command: str
    web: bool = False
    skip_unavailable: bool = False
    door: Door | None = None


class Run:
    """One run of a scenario, a context manager; :meth:`run` does it, :attr:`record` and :attr:`folder` are what became of it."""

    folder: RunFolder
    record: RunRecord

    def __init__(self, scenario: Scenario, deployment: Deployment, options: RunOptions, listener: Listener) -> None:
        """Checks what this machine can run; makes nothing.

        Raises:
            UnavailableError: a setup cannot run here, with the remedy.
            UsageError: the slots would not fit.
        """
        self._scenario = scenario
        self._deployment = deployment
        self._options = options
        self._listener = listener
        self._run_id = secrets.randbits(64)
        self._unavailable = _unavailable(scenario, deployment)
        if self._unavailable and not options.skip_unavailable:
            raise _refusal(self._unavailable, of=len(scenario.cases))
        self._door = check_door(scenario, options.door)
        self._agents_stay = False
        require_room(Journal.slot_place(), expected_messages(scenario.load, scenario.phases))

    def __enter__(self) -> Run:
        """Removes what killed runs left, begins the journal, then the run folder; starts no broker.

        Raises:
            UsageError: the state folder or the output folder takes no write.
        """
        for sentence in down(kept=False):
            if not sentence.startswith(LEFT):  # `doctor` tells of that, and `down` how to go on
                self._listener.notice(Warned(text=f"left by an ended run, removed now: {sentence}"))
        self._journal = Journal.create(f"{self._run_id:016x}")
        try:
            self.folder = RunFolder.create(self._options.root, self._scenario.name, datetime.now())
            self.record = self._first_record(self._unavailable)
            self.folder.save(self.record)
        except BaseException:
            self._journal.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.close()  # removes whatever a broken phase left

    def run(self) -> RunRecord:
        """Runs every trial of every case and returns the finished record, interrupted or not."""
        status = "finished"
        self._listener.notice(self._start())
        try:
            for index, case in enumerate(self._scenario.cases):
                if not self.record.cases[index].unavailable:
                    self._case(self._journal, index, case)
        except KeyboardInterrupt:
            status = "interrupted"
        _, interrupted = completed(self._take_leave)
        self._finish("interrupted" if interrupted else status)
        return self.record

    def _take_leave(self) -> None:
        self._say_goodbye()
        for sentence in self._journal.close():
            if sentence.startswith(LEFT):
                self._listener.notice(Warned(text=sentence))

    def _start(self) -> RunStarted:
        return RunStarted(
            t_ns=now_ns(),
            run_id=self.record.run_id,
            scenario=self.record.scenario,
            deployment=self.record.deployment,
            cases=tuple(self.record.cases),
            trials=self._scenario.trials,
            trial_s=expected_trial_s(self._scenario),
        )

    def _case(self, journal: Journal, index: int, case: Case) -> None:
        for number in range(1, self._scenario.trials + 1):
            self._listener.notice(
                CaseStarted(
                    t_ns=now_ns(),
                    number=index + 1,
                    of=len(self._scenario.cases),
                    case_id=case.id,
                    trial=number,
                    trials=self._scenario.trials,
                    open_loop=case.load.saturate_window is None,
                )
            )
            self._trial(journal, index, number, case)

    def _trial(self, journal: Journal, index: int, number: int, case: Case) -> None:
        slots = journal.folder(journal.slot_folder() / f"{index}-{number}")
        for note in journal.notes:
            self._listener.notice(Warned(text=note))
        context = TrialContext(
            run_id=self._run_id,
            index=index,
            number=number,
            scenario=self._scenario,
            case=case,
            deployment=self._deployment,
            journal=journal,
            folder=self.folder.trial(case.slug, number),
            listener=self._listener,
            slots=slots,
            web=self._options.web,
            door=self._door,
            more=self._more(index, number),
        )
        context.folder.make()
        trial = Trial(context)
        trial.seen.warnings.extend(journal.notes)
        interrupted = False
        try:
            trial.run()
        except KeyboardInterrupt:
            interrupted = True
        except BrokerbenchError:
            pass  # seen.aborted has it; what was seen until then is analysed like any other evidence
        if trial.seen.agents_stay is not None:
            self._agents_stay = trial.seen.agents_stay
        # The load is over: a Ctrl-C from here on ends the run, and takes nothing from this trial.
        _, later = completed(partial(self._conclude, context, trial, interrupted=interrupted))
        if interrupted or later:
            raise KeyboardInterrupt

    def _conclude(self, context: TrialContext, trial: Trial, *, interrupted: bool) -> None:
        """Keeps what a trial left behind, and its figures."""
        index, number = context.index, context.number
        self._save(status="loaded", index=index, seen=trial.seen)
        self._listener.notice(PhaseChanged(phase="analysing", t_ns=now_ns()))
        result = self._analysed(context, trial, interrupted=interrupted)
        shutil.rmtree(context.slots, ignore_errors=True)
        self._save(status="running", index=index, trial=result)
        self._listener.notice(
            CaseFinished(case=self.record.cases[index], trial=number, status=result.status, words=_words(result))
        )

    def _more(self, index: int, number: int) -> bool:
        """Returns whether another trial is to follow."""
        return number < self._scenario.trials or any(not case.unavailable for case in self.record.cases[index + 1 :])

    def _say_goodbye(self) -> None:
        """Tells agents that were promised another trial, which did not come, that the run is over."""
        if self._door is not None and self._agents_stay:
            farewell(self._door, self._scenario.agents.remote, self._journal)

    def _analysed(self, context: TrialContext, trial: Trial, *, interrupted: bool) -> TrialRecord:
        """Returns the record of a trial; an analysis that breaks yields a failed trial, never a good one."""
        from harness.run.ceiling import known_ceiling  # noqa: PLC0415 - likewise
        from harness.run.harvest import harvest  # noqa: PLC0415 - imported once the load has ended: no first message waits for it
        from harness.run.recompute import analysed_trial  # noqa: PLC0415 - likewise

        name = self.folder.relative(context.folder)
        try:
            trial.seen.ceiling_per_s = known_ceiling(self.record.fingerprint, context.case, self._scenario.agents)
            harvest(context, trial.seen)
            analysed = analysed_trial(
                context.folder,
                name=name,
                number=context.number,
                setup=context.case.setup,
                parameters=context.case.all_parameters,
                interrupted=interrupted,
            )
            if trial.seen.has_broker or interrupted:
                return analysed
            return analysed.model_copy(update={"status": TrialStatus.UNAVAILABLE, "reasons": [trial.seen.aborted]})
        except Exception as error:
            reasons = [f"the evidence could not be analysed: {described(error)}"]
            if trial.seen.aborted:
                reasons.insert(0, trial.seen.aborted)
            status = TrialStatus.INTERRUPTED if interrupted else TrialStatus.FAILED
            return TrialRecord(number=context.number, status=status, reasons=reasons, folder=name)

    def _first_record(self, unavailable: dict[str, str]) -> RunRecord:
        scenario = self._scenario
        return RunRecord(
            tool_version=__version__,
            run_id=f"{self._run_id:016x}",
            status="running",
            started_wall_ns=wall_ns(),
            started_ns=now_ns(),
            scenario=scenario.name,
            question=scenario.question,
            expect=scenario.expect,
            scenario_text=scenario.text,
            overrides=list(scenario.overrides),
            scenario_expanded=as_dict(scenario),
            deployment=self._deployment.name,
            command=self._options.command,
            fingerprint=fingerprint_of(self.folder.path, scenario),
            cases=[_first_case(case, self._deployment, unavailable.get(case.id, "")) for case in scenario.cases],
        )

    def _save(self, *, status: str, index: int, seen: Seen | None = None, trial: TrialRecord | None = None) -> None:
        case = self.record.cases[index]
        if seen is not None:
            case = _seen(case, self._scenario.cases[index], seen)
        if trial is not None:
            from harness.analysis.combine import combine_case  # noqa: PLC0415 - as in `_analysed`

            case = combine_case(case.model_copy(update={"trials": [*case.trials, trial]}), self._scenario.slo)
        cases = [*self.record.cases[:index], case, *self.record.cases[index + 1 :]]
        self.record = self.record.model_copy(update={"cases": cases, "status": status})
        self.folder.save(self.record)

    def _finish(self, status: str) -> None:
        from harness.analysis.combine import run_exit  # noqa: PLC0415 - as in `_analysed`

        self.record = self.record.model_copy(update={"status": status, "ended_wall_ns": wall_ns()})
        code, reason = run_exit(self.record)
        self.record = self.record.model_copy(update={"exit_code": int(code), "exit_reason": reason})
        self.folder.save(self.record)


def _unavailable(scenario: Scenario, deployment: Deployment) -> dict[str, str]:
    reasons = {
        case.id: _no_proxy(scenario, case) or deployment.unavailable(case.setup, case.site) for case in scenario.cases
    }
    return {case_id: reason for case_id, reason in reasons.items() if reason}


def _refusal(unavailable: dict[str, str], *, of: int) -> UnavailableError:
    """Returns the error that names each reason once, behind the cases that it keeps from running.

    Args:
        unavailable: case id → reason. of: how many cases there are.
    """
    cases: dict[str, list[str]] = {}
    for case_id, reason in unavailable.items():
        cases.setdefault(reason, []).append(case_id)
    told = [f"{_listed(ids, of)}: {reason}" for reason, ids in cases.items()]
    others = of - len(unavailable)
    rest = "the other case" if others == 1 else f"the {others} other cases"
    return UnavailableError("\n".join(told), remedy=f"--skip-unavailable runs {rest}" if others else "")


def _listed(ids: Sequence[str], of: int) -> str:
    if 1 < len(ids) == of:
        return f"all {of} cases"
    more = len(ids) - NAMED_CASES
    return ", ".join(ids[:NAMED_CASES]) + (f" and {more} more" if more > 0 else "")


def _no_proxy(scenario: Scenario, case: Case) -> str:
    """Returns why the proxy that a fault needs cannot stand before the broker, "" where it can or none is needed."""
    if scenario.address is None or not needs_proxy(scenario):
        return ""
    reason = why_not(scenario.address.urls[case.setup.broker])
    return f"{case.setup.name}: replies to producers cannot be cut: {reason}" if reason else ""


def _first_case(case: Case, deployment: Deployment, unavailable: str) -> CaseRecord:
    return CaseRecord(
        id=case.id,
        slug=case.slug,
        setup=case.setup.name,
        broker=case.setup.broker,
        parameters=dict(case.all_parameters),
        network=case.network,
        ceiling=case.ceiling,
        client=case.site.client if case.site.network else "",
        durability_class=case.setup.durability_of(case.all_parameters),
        summary=case.setup.summary,
        server="" if unavailable else deployment.version(case.setup),
        image=_image(case) if case.site.container and not unavailable else None,
        unavailable=unavailable,
        as_found=[name for name, value in case.parameters.items() if value == AS_FOUND],
    )


def fingerprint_of(folder: Path, scenario: Scenario) -> dict[str, Any]:
    """Returns the fingerprint of this machine, with that of its engine where the scenario runs on it."""
    found = fingerprint(folder)
    if any(case.site.container for case in scenario.cases):
        from harness.containers import building, compose, engine  # noqa: PLC0415 - as in `_image`

        found["drift"]["docker"] = docker_facts(engine.facts(), compose.compose().version)
        found["subject"]["load_image"] = building.reference("load")
    return found


def _image(case: Case) -> ImageRecord:
    from harness.containers.images import image_of  # noqa: PLC0415 - the SDK takes 0.2 s to import; other deployments need none of it

    found = image_of(case.setup.broker)
    return ImageRecord(reference=found.reference, digest=found.digest, source=found.source)


def _seen(case: CaseRecord, asked: Case, seen: Seen) -> CaseRecord:
    """Returns a case with what its broker turned out to be; what trials of one broker disagree on is unknown."""
    update: dict[str, object] = {"server": seen.server} if seen.server else {}
    if seen.effective is not None and case.as_found:
        found = {name: seen.effective.parameters.get(name, AS_FOUND) for name in case.as_found}
        if case.trials:
            found = {name: value if case.parameters[name] == value else AS_FOUND for name, value in found.items()}
        parameters = case.parameters | found
        update |= {"parameters": parameters, "durability_class": asked.setup.durability_of(parameters)}
    return case.model_copy(update=update)


def _words(trial: TrialRecord) -> str:
    return "; ".join(trial.reasons[:2])
