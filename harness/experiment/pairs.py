"""Pairs of trials: A and B one after the other, in an order that a coin decides, until every rule is decided or all pairs are run.

The record is saved after every trial, and a trial's folder tells which it is: whatever ends us, :func:`run_pairs` goes on with the same
coins and seeds, runs the pair again that was not finished, and no other. Neighbours: ``single`` runs a trial here, ``elsewhere`` by
another Python's brokerbench, ``gate`` judges.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from harness import __version__
from harness.clock import now_ns, wall_ns
from harness.errors import BrokenRunFolderError, EvidenceError, UsageError
from harness.experiment.disturbance import OTHERS_SHARE, disturbance
from harness.experiment.single import Done
from harness.gate.jury import Jury
from harness.gate.outcome import Outcome, Ran
from harness.gate.pairs import LOOKS, Begun, CasePairs, Letter, PairRecord, PairsRecord, SideRecord
from harness.model import TrialStatus
from harness.pairs_folder import PairsFolder
from harness.run.progress import Event, Listener
from harness.scenario.model import Case, Scenario
from harness.store import RunFolder

AGAIN = "its pair was not finished, and was run again"


class Runner(Protocol):
    """Runs the trials of one side."""

    def run(self, scenario: Scenario, case: Case, listener: Listener, *, seed: int, root: Path) -> Done:
        """Runs one trial, whose run folder lies in ``root``; a Ctrl-C comes back as an interrupted trial, or is raised.

        Raises:
            BrokerbenchError: it cannot be run at all.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One side of a comparison: its scenario, of which the n-th case is paired with the other side's n-th, and who runs its trials."""

    scenario: Scenario
    runner: Runner


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialBegan:
    """A trial of a pair begins.

    Args:
        t_ns: when. case: its index. number: of the pair. letter: side. second: the other trial of the pair is over.
    """

    t_ns: int
    case: int
    number: int
    letter: Letter
    second: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialOver:
    """A trial of a pair is over; ``took_s`` from its begin to its last figure."""

    case: int
    number: int
    letter: Letter
    done: Done
    took_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How it stands, told at the start and after every pair: ``record.outcome`` has the rules as far as they are decided."""

    record: PairsRecord


class Watcher(Protocol):
    """Takes the events of the pairs, and those of the trials in between; must return at once and never raise."""

    def notice(self, event: Event | TrialBegan | TrialOver | Standing) -> None:
        """Takes one event."""


def coin(seed: int, case: int, number: int) -> Letter:
    """Returns which trial of a pair is run first: a fair coin for each pair of each case, the same one whenever it is asked for."""
    return "b" if hashlib.sha256(f"{seed}/{case}/{number}".encode()).digest()[0] & 1 else "a"


def run_pairs(
    folder: PairsFolder, record: PairsRecord, arms: tuple[Arm, Arm], watcher: Watcher, jury: Jury | None = None
) -> PairsRecord:
    """Runs the pairs that a record still lacks and returns it, finished or interrupted by a Ctrl-C; it is saved at every step.

    One pair of each case after the other. A case is over when each of its rules is decided, when as many pairs count as it takes at
    most, or when more than ``record.max_discarded`` were disturbed.

    Args:
        record: new (:func:`new_record`), or of a comparison that was cut short. arms: A and B.
        jury: without one no case ends before its last pair (a calibration).

    Raises:
        BrokerbenchError: a trial cannot be run at all, or a folder takes no write; what was run until then is kept.
    """
    a, b = arms
    return _Pairs(folder, record, {"a": a, "b": b}, watcher, jury).run()


def require_partners(a: Scenario, b: Scenario) -> None:
    """Raises UsageError where the two sides do not have the same number of cases."""
    if len(a.cases) != len(b.cases):
        raise UsageError(
            f"A has {len(a.cases)} cases and B {len(b.cases)}: a case of A has no partner in B",
            expected="the same number of cases on both sides, the first of A being compared with the first of B, and so on",
            remedy="name on each side a single value where the scenario has a list of them",
        )


def new_record(
    arms: tuple[Arm, Arm],
    *,
    command: str,
    stopping: Literal["full", "quick", "fixed"],
    pairs: int = 0,
    seed: int | None = None,
    others_share: float = OTHERS_SHARE,
    a: SideRecord | None = None,
    b: SideRecord | None = None,
    **asked: Any,
) -> PairsRecord:
    """Returns the record of pairs of which none has been run.

    Args:
        command: what the user typed. pairs: how many, with ``fixed`` stopping; the planned looks say it otherwise.
        seed: of the coins; None = a new one. a, b: how the sides differ. asked: further fields of the record (rules …).

    Raises:
        UsageError: the two scenarios do not have the same number of cases.
    """
    one, other = (arm.scenario for arm in arms)
    require_partners(one, other)
    looks = LOOKS.get(stopping, ())
    most = looks[-1].pairs if looks else pairs
    return PairsRecord(
        tool_version=__version__,
        status="running",
        started_wall_ns=wall_ns(),
        scenario=one.name,
        scenario_path=str(Path(one.path).resolve()),
        scenario_text=one.text,
        question=one.question,
        deployment=one.deployment,
        command=command,
        seed=secrets.randbits(32) if seed is None else seed,
        stopping=stopping,
        most=most,
        others_share=others_share,
        max_discarded=max(2, most // 2),
        a=a or SideRecord(),
        b=b or SideRecord(),
        cases=[CasePairs(a=x.id, b=y.id, slug=x.slug) for x, y in zip(one.cases, other.cases, strict=True)],
        **asked,
    )


def remaining(record: PairsRecord, case: CasePairs) -> tuple[int, int]:
    """Returns how many pairs a case still takes, at least and at most, if none is discarded."""
    if case.over:
        return 0, 0
    n, planned = len(case.counted), record.planned(case)
    least = next((pairs for pairs in planned if pairs > n), planned[-1])
    return max(0, least - n), max(0, planned[-1] - n)


def limited(record: PairsRecord, jury: Jury) -> PairsRecord:
    """Returns the record with the cases of which nothing waits for pairs ending with the first look: contracts alone need no more."""
    first = record.looks[0].pairs if record.looks else 0
    cases = [case.model_copy(update={"most": 0 if jury.waits(case) else first}) for case in record.cases]
    return record.model_copy(update={"cases": cases})


class _Pairs:
    def __init__(
        self, folder: PairsFolder, record: PairsRecord, arms: dict[Letter, Arm], watcher: Watcher, jury: Jury | None
    ) -> None:
        self._folder = folder
        self._record = limited(record, jury) if jury else record
        self._arms = arms
        self._watcher = watcher
        self._jury = jury
        self._stop = (
            False  # a Ctrl-C came after the last trial had been measured: its pair is finished, nothing further begun
        )

    def run(self) -> PairsRecord:
        try:
            self._save(status="running")
            self._take_up()
            self._look()
            while any(not case.over for case in self._record.cases):
                for index in range(len(self._record.cases)):
                    if not self._record.cases[index].over:
                        self._pair(index)
            self._end("finished")
        except KeyboardInterrupt:
            self._end("interrupted")
        except BaseException:
            self._end("failed")
            raise
        return self._record

    # A pair.

    def _pair(self, index: int) -> None:
        case = self._record.cases[index]
        number = 1 + max((pair.number for pair in case.pairs), default=0)
        first = coin(self._record.seed, index, number)
        second: Letter = "b" if first == "a" else "a"
        one = self._trial(index, number, first, second=False)
        self._save(begun=Begun(case=index, number=number, run=one))
        self._finish(index, number, first, {first: one, second: self._trial(index, number, second, second=True)})

    def _trial(self, index: int, number: int, letter: Letter, *, second: bool) -> str:
        """Runs one trial and returns its run folder as the record names it; raises KeyboardInterrupt where it was not run to its end."""
        arm, began_ns = self._arms[letter], now_ns()
        self._watcher.notice(TrialBegan(t_ns=began_ns, case=index, number=number, letter=letter, second=second))
        done = arm.runner.run(
            arm.scenario,
            arm.scenario.cases[index],
            self._watcher,
            seed=arm.scenario.seed + number,
            root=self._folder.place(self._record.cases[index].slug, number, letter),
        )
        if done.trial is None or done.trial.status is TrialStatus.INTERRUPTED:
            self._note(index, number, letter, done.folder, "interrupted")
            if done.interrupted or done.trial is not None:
                raise KeyboardInterrupt
            raise EvidenceError(
                f"{done.folder.path} ended without a trial: {done.record.exit_reason or done.record.status}",
                remedy="its run.json and logs say more; --resume runs the pair again",
            )
        self._note(index, number, letter, done.folder, done.trial.status.value)
        self._watcher.notice(
            TrialOver(case=index, number=number, letter=letter, done=done, took_s=(now_ns() - began_ns) / 1e9)
        )
        if done.interrupted and not second:
            raise KeyboardInterrupt
        self._stop = done.interrupted
        return self._folder.relative(done.folder)

    def _finish(self, index: int, number: int, first: Letter, runs: dict[Letter, str]) -> None:
        """Takes a finished pair into the record, looks at the rules, and saves."""
        case = self._record.cases[index]
        disturbed = {letter: why for letter, run in runs.items() if (why := self._disturbed(run))}
        pair = PairRecord(number=number, first=first, a=runs["a"], b=runs["b"], disturbed=disturbed)
        case = case.model_copy(update={"pairs": [*case.pairs, pair]})
        discarded = len(case.pairs) - len(case.counted)
        over = "discards" if discarded > self._record.max_discarded else ""
        over = over or ("all pairs" if len(case.counted) >= self._record.planned(case)[-1] else "")
        self._update(index, case.model_copy(update={"over": over}))
        told = [
            ran.model_copy(update={"discarded": pair.discarded}) if ran.run in (pair.a, pair.b) else ran
            for ran in self._record.trials
        ]
        self._save(begun=None, trials=told)
        self._look()
        if self._stop:
            raise KeyboardInterrupt

    def _disturbed(self, run: str) -> str:
        trial = self._folder.trial(run)
        return disturbance(RunFolder(self._folder.path / run), trial.record, self._record.others_share)

    def _look(self) -> None:
        """Judges the pairs so far, and ends the cases of which every rule is decided."""
        if self._jury is not None:
            outcome = self._judged(self._jury)
            for index, case in enumerate(self._record.cases):
                if not case.over and case.counted and self._jury.is_decided(case.b, outcome):
                    self._update(index, case.model_copy(update={"over": "decided"}))
            outcome = self._judged(self._jury)  # contracts are kept where no more pairs come
            self._record = self._record.model_copy(update={"outcome": outcome})
        self._save()
        self._watcher.notice(Standing(record=self._record))

    def _judged(self, jury: Jury) -> Outcome:
        return jury.outcome(self._record, self._folder.trials(self._record), live=True)

    # What an earlier session left.

    def _take_up(self) -> None:
        """Takes up where an earlier session ended: a pair whose second trial is there is finished, all else that no pair has is run again."""
        begun, known = self._record.begun, {ran.run for ran in self._record.trials}
        for run in self._folder.runs():
            if run not in known:
                self._adopt(run)
        if begun is not None and begun.number not in {pair.number for pair in self._record.cases[begun.case].pairs}:
            case = self._record.cases[begun.case]
            first = coin(self._record.seed, begun.case, begun.number)
            second: Letter = "b" if first == "a" else "a"
            of_second = str(self._folder.place(case.slug, begun.number, second).relative_to(self._folder.path))
            ended = [
                ran.run
                for ran in self._record.trials
                if ran.run.startswith(f"{of_second}/") and ran.status != "interrupted" and not ran.discarded
            ]
            if ended:
                self._finish(begun.case, begun.number, first, {first: begun.run, second: ended[-1]})
        paired = {run for case in self._record.cases for pair in case.pairs for run in (pair.a, pair.b)}
        told = [
            ran if ran.run in paired or ran.discarded else ran.model_copy(update={"discarded": AGAIN})
            for ran in self._record.trials
        ]
        self._save(begun=None, trials=told)

    def _adopt(self, run: str) -> None:
        """Takes a trial into the record that ended, or was ended, after the record was saved last."""
        slug, pair, *_ = run.split("/")
        _, number, letter = pair.split("-")
        index = next((at for at, case in enumerate(self._record.cases) if case.slug == slug), None)
        if index is None or letter not in ("a", "b"):
            return
        folder = RunFolder(self._folder.path / run)
        try:
            status = self._folder.trial(run).record.status.value
        except BrokenRunFolderError:
            status = "interrupted"
        self._note(index, int(number), "a" if letter == "a" else "b", folder, status)

    # The record.

    def _note(self, index: int, number: int, letter: Letter, folder: RunFolder, status: str) -> None:
        try:
            run = folder.load()
            started, ended = run.started_wall_ns, run.ended_wall_ns
        except BrokenRunFolderError:
            started, ended = wall_ns(), None
        ran = Ran(
            case=self._record.cases[index].b,
            pair=number,
            side=letter,
            run=self._folder.relative(folder),
            status=status,
            started_wall_ns=started,
            ended_wall_ns=ended,
        )
        self._save(trials=[*self._record.trials, ran])

    def _update(self, index: int, case: CasePairs) -> None:
        cases = [*self._record.cases]
        cases[index] = case
        self._record = self._record.model_copy(update={"cases": cases})

    def _save(self, **update: object) -> None:
        self._record = self._record.model_copy(update=update)
        self._folder.save(self._record)

    def _end(self, status: str) -> None:
        self._save(status=status, ended_wall_ns=wall_ns())
