"""Baselines as files: made from a run folder, written where the user says, read for a gate.

Floor 2. What stands in one: :mod:`harness.gate.baseline`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from harness.analysis.analyse import with_load_end
from harness.analysis.comparable import Side, comparability
from harness.analysis.curve import spreads
from harness.analysis.moments import gather_moments
from harness.errors import EvidenceError, UsageError, first_problem, one_line
from harness.files import lost_place, read_json, write_whole
from harness.gate.baseline import SCHEMA_VERSION, Baseline, baseline_of, text_of
from harness.histogram import sparse
from harness.model import TrialStatus
from harness.record import CaseRecord, RunRecord, TrialRecord
from harness.store import RunFolder

MAKE = "brokerbench baseline update RUN"


def made(folder: RunFolder) -> list[Baseline]:
    """Returns the baseline of every case of a run.

    Raises:
        EvidenceError: the run was interrupted or is not over, or a trial of it is not valid: nothing is to be held against it.
        BrokenRunFolderError: the record, or a table of a trial, is missing or damaged.
    """
    record = folder.load_as_evidence()
    if problem := next(why_not(record), ""):
        raise EvidenceError(
            f"{folder.path} makes no baseline: {problem}",
            expected="a run that came to its end, all trials of which are valid",
            remedy=f"run it again: {record.command}",
        )
    return [_of_case(folder, record, case) for case in record.cases]


def why_not(record: RunRecord) -> Iterator[str]:
    """Yields each reason why a run proves nothing as a whole."""
    if record.status != "finished":
        running = record.status in ("running", "loaded")
        yield "it has not come to its end: it runs still, or was killed" if running else f"it {_ENDED[record.status]}"
    if not record.cases:
        yield "it has no case"
    for case in record.cases:
        if case.unavailable or not case.trials:
            yield f"{case.id} was not run" + (f": {one_line(Exception(case.unavailable))}" if case.unavailable else "")
        for trial in case.trials:
            if trial.status is not TrialStatus.VALID:
                why = f": {' '.join(trial.reasons[0].split())}" if trial.reasons else ""
                yield f"trial {trial.number} of {case.id} is {trial.status.value}{why}"
            for fault in trial.faults:
                if not fault.hit:
                    yield f"in trial {trial.number} of {case.id} the fault '{fault.label}' did not strike"


_ENDED = {"interrupted": "was interrupted", "failed": "failed"}


def _of_case(folder: RunFolder, record: RunRecord, case: CaseRecord) -> Baseline:
    settings = [folder.trial_at(trial.folder).read_settings() for trial in case.trials]
    latencies: dict[str, list[list[int]]] = {}
    for number, trial in enumerate(case.trials):
        for window, counts in _latencies(folder, trial):
            latencies.setdefault(window, [[] for _ in case.trials])[number] = counts
    if "steady" in latencies:
        latencies.pop("whole", None)
    return baseline_of(Side(run=record, case=case, settings=settings), latencies)


def _latencies(folder: RunFolder, trial: TrialRecord) -> Iterator[tuple[str, list[int]]]:
    """Yields each window with the sparse histogram of its end-to-end latencies."""
    stored = folder.trial_at(trial.folder)
    facts = stored.read_facts()
    messages = stored.read_table("messages")
    moments = gather_moments(stored.scan_table("attempts"), stored.scan_table("deliveries"), messages)
    for window, spread in spreads(moments, with_load_end(facts, moments), trial.faults):
        yield window, sparse(spread.values_ns)


def write(folder: Path, baseline: Baseline) -> tuple[Path, str]:
    """Writes a baseline into a folder, which is made where it is missing.

    Returns:
        The file, and what became of it: ``new``, ``changed`` or ``as it was``.

    Raises:
        BrokerbenchError: it cannot be written; a file that was there is whole then.
    """
    path = folder / baseline.file_name
    data = text_of(baseline).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        was = path.read_bytes() if path.exists() else None
        if was == data:
            return path, "as it was"
        write_whole(path, data)
    except OSError as error:
        raise lost_place(path, error) from error
    return path, "new" if was is None else "changed"


def read(path: Path) -> list[tuple[Path, Baseline]]:
    """Returns the baseline in a file, or those in a folder, by name.

    Raises:
        UsageError: there is none, it cannot be read, is no baseline, or of a newer version.
    """
    if (path / "run.json").is_file() or path.name == "run.json":
        raise UsageError(
            f"{path} is a run, not a baseline",
            expected="a file that `brokerbench baseline update` wrote, or a folder of such files",
            remedy=f"make one of it: brokerbench baseline update {path}",
        )
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise UsageError(
            f"there is no baseline in {path}", expected="files that end in .json", remedy=f"make one: {MAKE} -o {path}"
        )
    return [(file, _read_file(file)) for file in files]


def _read_file(path: Path) -> Baseline:
    try:
        value = read_json(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"the baseline {path} cannot be read: {error.strerror}",
            expected="a file that `brokerbench baseline update` wrote",
            remedy=f"name another one, or make it: {MAKE}",
        ) from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise _broken(path, f"it is not whole JSON: {one_line(error)}") from error
    version = value.get("schema_version") if isinstance(value, dict) else None
    if type(version) is not int or version < 1:
        raise _broken(
            path, f"it has the schema version {version!r}, expected a whole number from 1 to {SCHEMA_VERSION}"
        )
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"the baseline {path} has schema version {version}, written by brokerbench {value.get('tool_version', '?')}",
            expected=f"version {SCHEMA_VERSION} or older",
            remedy="read it with a newer brokerbench: pip install --upgrade brokerbench",
        )
    try:
        baseline = Baseline.model_validate(value)
        if any(len(each) > baseline.trials for each in baseline.lists):
            raise _broken(path, f"a list has more than the {baseline.trials} figures that it has trials")
        baseline.judged("")  # a list that lacks a trial shows here
        comparability(baseline.side, baseline.side)  # and here a part that is of another shape
    except ValidationError as error:
        raise _broken(path, first_problem(error)) from error
    except (IndexError, KeyError) as error:
        raise _broken(path, f"a list has fewer than the {value['trials']} figures that it has trials") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise _broken(path, f"a part of it has another shape: {one_line(error)}") from error
    return baseline


def _broken(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{path} is no baseline: {why}",
        expected="a file that `brokerbench baseline update` wrote (brokerbench schema --baseline)",
        remedy=f"restore it from version control, or make it again: {MAKE}",
    )
