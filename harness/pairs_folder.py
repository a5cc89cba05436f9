"""The folder of an ``ab``: ``ab.json``, and below it a run folder for every trial.

A trial of pair 3 of a case lies in ``<case>/pair-3-a/<run folder>``, so that whatever befalls us, a trial tells by its place what it is.
Neighbours: ``gate.pairs`` is the model, ``experiment.pairs`` writes, ``gate`` and ``ab`` (through ``cli``) read.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from harness.errors import BrokenRunFolderError, UsageError, first_problem, one_line
from harness.files import read_json
from harness.gate.pairs import SCHEMA_VERSION, CasePairs, Letter, PairsRecord, Trial
from harness.model import TrialStatus
from harness.store import RECORD, RunFolder

PAIRS = "ab.json"
RULES = "rules.toml"
_OF_A_TRIAL = re.compile(r"pair-[1-9][0-9]*-[ab]")


def is_pairs(path: Path) -> bool:
    """Returns whether a path, a folder or its ``ab.json``, is that of pairs."""
    return (path.parent if path.name == PAIRS else path).joinpath(PAIRS).is_file()


def _named(record: PairsRecord) -> Iterator[tuple[CasePairs, int, Letter, str]]:
    """Yields case, number, side and run folder of each trial, first those of finished pairs; all but the interrupted."""
    for case in record.cases:
        for pair in case.pairs:
            yield case, pair.number, "a", pair.a
            yield case, pair.number, "b", pair.b
    cases = {case.b: case for case in record.cases}
    for (
        ran
    ) in record.unpaired:  # it may have proven a loss; what was interrupted proves nothing, and often has no trial
        if ran.case in cases and ran.status != TrialStatus.INTERRUPTED:
            yield cases[ran.case], ran.pair, ran.side, ran.run


def _require_places(record: PairsRecord) -> None:
    """Raises ValueError where a record names a case that it does not have, or a case no folder can be named after."""
    if record.begun is not None and not 0 <= record.begun.case < len(record.cases):
        raise ValueError(f"begun.case: {record.begun.case} is no index of its {len(record.cases)} cases")
    for at, case in enumerate(record.cases):
        if not case.slug or case.slug in (".", "..") or set(case.slug) & {"/", "\0"}:
            raise ValueError(f"cases.{at}.slug: {case.slug!r} is no name of a folder")


class PairsFolder:
    """Pairs on disk; make it with :meth:`create` or :meth:`open`. Trials are read once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._trials: dict[str, Trial] = {}

    @classmethod
    def create(cls, root: Path, scenario_name: str, started: datetime) -> PairsFolder:
        """Makes ``root/2026-11-21T10-15-03-ab-crash``; raises UsageError where it cannot be made or takes no write."""
        return cls(RunFolder.create(root, f"ab-{scenario_name}", started).path)

    @classmethod
    def open(cls, path: Path) -> PairsFolder:
        """Returns the folder at ``path``, given as the folder or as its ``ab.json``; raises BrokenRunFolderError."""
        folder = path.parent if path.name == PAIRS else path
        if not (folder / PAIRS).is_file():
            what = "is not a folder of pairs: it has no ab.json" if folder.is_dir() else "does not exist"
            raise BrokenRunFolderError(
                f"{folder} {what}",
                expected=f"a folder that `brokerbench ab` made, with {PAIRS} in it",
                remedy=f"look for it with: ls {folder.parent if folder.parent.is_dir() else 'runs'}",
            )
        return cls(folder)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other processes from running pairs in this folder too.

        Raises:
            UsageError: one does already.
        """
        handle = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"{self.path} is in use: another brokerbench runs its pairs now",
                    expected="a comparison that has ended",
                    remedy="wait for it, or end it with Ctrl-C where it runs",
                ) from None
            yield
        finally:
            os.close(handle)

    def save(self, record: PairsRecord) -> None:
        """Writes ``ab.json`` whole or not at all; raises BrokerbenchError."""
        text = json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False)
        RunFolder(self.path).write(PAIRS, f"{text}\n")

    def load(self) -> PairsRecord:
        """Reads ``ab.json``; raises BrokenRunFolderError where it is cut short, of a newer version, or names what lies elsewhere."""
        path = self.path / PAIRS
        try:
            value = read_json(path.read_bytes())
            version = value.get("schema_version") if isinstance(value, dict) else None
            if type(version) is int and version > SCHEMA_VERSION:
                raise BrokenRunFolderError(
                    f"{path} has schema version {version}, written by brokerbench {value.get('tool_version', '?')}",
                    expected=f"version {SCHEMA_VERSION} or older",
                    remedy="read it with a newer brokerbench: pip install --upgrade brokerbench",
                )
            record = PairsRecord.model_validate(value)
            _require_places(record)
            return record
        except (OSError, ValueError) as error:  # not JSON, not UTF-8, not our model (pydantic's errors are ValueErrors)
            why = first_problem(error) if isinstance(error, ValidationError) else one_line(error)
            raise BrokenRunFolderError(
                f"{path} cannot be read: {why}",
                expected=f"a record of pairs of version {SCHEMA_VERSION}",
                remedy="restore the file from a copy, or make it again: brokerbench ab",
            ) from error

    def trial(self, run: str) -> Trial:
        """Returns a trial by the path of its run folder as the record names it; raises BrokenRunFolderError."""
        if run not in self._trials:
            self._trials[run] = self._read(run)
        return self._trials[run]

    def trials(self, record: PairsRecord) -> dict[str, Trial]:
        """Returns all trials that were run to their end by the paths of their run folders.

        Raises:
            BrokenRunFolderError: one cannot be read, or is not what the record takes it for: it would prove what nobody ran.
        """
        found: dict[str, Trial] = {}
        places: dict[str, str] = {}
        for case, number, letter, run in _named(record):
            trial = self.trial(run)
            same = places.get(trial.run.run_id)
            if why := self._why_not(record, case, number, letter, trial) or (same and f"it is the run in {same} again"):
                raise BrokenRunFolderError(
                    f"{self.path / PAIRS} names {run} as {letter.upper()} of pair {number} of {case.b}: {why}",
                    expected="a run of its own for each trial, below the folder of its case, pair and side",
                    remedy="the record or a run was changed since it was written: restore it from a copy",
                )
            places[trial.run.run_id] = run
            found[run] = trial
        return found

    def _why_not(self, record: PairsRecord, case: CasePairs, number: int, letter: Letter, trial: Trial) -> str:
        """Returns why a trial is not that of a side of a pair of a case, "" where it is."""
        if (self.path / trial.path).parent != self.place(case.slug, number, letter):
            return "it lies elsewhere"
        asked, side = (case.a, record.a) if letter == "a" else (case.b, record.b)
        got = trial.run.cases[0].id
        return "" if got == asked or side.python else f"it is of {got}"  # another brokerbench may call a case otherwise

    def place(self, slug: str, number: int, letter: Letter) -> Path:
        """Returns the folder that gets the run folder of a trial."""
        return self.path / slug / f"pair-{number}-{letter}"

    def relative(self, run: RunFolder) -> str:
        """Returns what :meth:`trial` takes."""
        return run.path.relative_to(self.path).as_posix()

    def runs(self) -> Iterator[str]:
        """Yields the paths of all run folders that are there, whether the record names them or not."""
        for found in sorted(self.path.glob(f"*/pair-*-[ab]/*/{RECORD}")):
            if _OF_A_TRIAL.fullmatch(found.parent.parent.name):
                yield self.relative(RunFolder(found.parent))

    def _read(self, run: str) -> Trial:
        path = self.path / run
        if "\0" in run or not path.resolve().is_relative_to(self.path.resolve()):
            raise BrokenRunFolderError(
                f"{self.path / PAIRS} names a run outside its folder: {run!r}",
                expected="a path below the folder of the pairs",
                remedy="the record was changed since it was written: restore it from a copy",
            )
        folder = RunFolder.open(path)
        record = folder.load()
        if len(record.cases) != 1 or len(record.cases[0].trials) != 1:
            raise BrokenRunFolderError(
                f"{path} is not a run of one trial of one case",
                expected="a run that `brokerbench ab` made",
                remedy="restore it from a copy",
            )
        try:
            settings = folder.trial_at(record.cases[0].trials[0].folder).read_settings()
        except BrokenRunFolderError:
            settings = None
        return Trial(run=record, settings=settings, path=run)
