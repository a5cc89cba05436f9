"""The run folder of ``record.md``: what a run leaves behind, written so that a crash of ours loses no evidence.

Whole files (``run.json``, Parquet, settings, reports) appear atomically: written aside, fsynced, renamed. The timeline grows line by
line (``timeline``). Reading changes nothing, and names what is wrong with the value, what was expected and the remedy.

Neighbours: ``run`` writes, ``reports`` and ``analysis`` (through ``cli``) read.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
from pydantic import ValidationError

from harness import tables
from harness.errors import BrokenRunFolderError, BrokerbenchError, UsageError, first_problem, one_line
from harness.facts import TrialFacts
from harness.files import aside, lost_place, make_new, plain_name, plain_value, read_json, write_whole
from harness.record import SCHEMA_VERSION, RunRecord
from harness.timeline import Timeline, facts_of, read_lines

RECORD = "run.json"
TIMELINE = "timeline.jsonl"
SETTINGS = "settings.json"
LOGS = "logs"
TABLES = {
    "attempts": tables.ATTEMPTS,
    "deliveries": tables.DELIVERIES,
    "messages": tables.MESSAGES,
    "connections": tables.CONNECTIONS,
    "residue": tables.RESIDUE,
    "samples": tables.SAMPLES,
}
PROBE_BYTES = 1 << 16

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


def record_schema() -> dict[str, Any]:
    """Returns the JSON schema (draft 2020-12) of ``run.json``."""
    schema = RunRecord.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


@dataclass(frozen=True)
class RunFolder:
    """One run on disk; make it with :meth:`create` or :meth:`open`."""

    path: Path

    @classmethod
    def create(cls, root: Path, scenario_name: str, started: datetime) -> RunFolder:
        """Makes ``root/2026-11-21T10-15-03-crash`` (``-2``, ``-3`` … where another run started in the same second).

        Raises:
            UsageError: the folder cannot be made, or does not take a write (read-only, disk full): nothing was started yet.
        """
        name = f"{started:%Y-%m-%dT%H-%M-%S}-{plain_name(scenario_name)}"
        try:
            root.mkdir(parents=True, exist_ok=True)
            path = make_new(root, name)
        except OSError as error:
            raise _unwritable(root, error) from error
        try:
            write_whole(path / ".probe", b"\0" * PROBE_BYTES)
            (path / ".probe").unlink()
        except OSError as error:
            _remove_empty(path)
            raise _unwritable(root, error) from error
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Returns the run folder at ``path``, given as the folder or as its ``run.json``; reads nothing of it yet.

        Raises:
            BrokenRunFolderError: there is no such folder, or it is not a run folder.
        """
        folder = path.parent if path.name == RECORD else path
        if not folder.is_dir():
            raise BrokenRunFolderError(
                f"{folder} is a file, not a run folder" if folder.exists() else f"run folder {folder} does not exist",
                expected="a folder that `brokerbench run` wrote",
                remedy=f"look for it with: ls {folder.parent if folder.parent.is_dir() else 'runs'}",
            )
        if not (folder / RECORD).is_file():
            raise BrokenRunFolderError(
                f"{folder} is not a run folder: it has no {RECORD}",
                expected=f"a folder that `brokerbench run` wrote, with {RECORD} in it",
                remedy=_nearest_remedy(folder),
            )
        return cls(folder)

    def save(self, record: RunRecord) -> None:
        """Writes ``run.json``; the one before stays whole until this one is on disk.

        Raises:
            BrokerbenchError: it cannot be written, or holds a number that JSON has no word for (not a number, infinity).
        """
        try:
            text = json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False)
        except ValueError as error:
            raise BrokerbenchError(
                f"the record of this run holds a number that {RECORD} cannot: {error}",
                expected='finite numbers, or {"unknown": …}',
                remedy="report this as a bug of brokerbench; the tables and the timeline of the trials are whole",
            ) from error
        self.write(RECORD, text + "\n")

    def load(self) -> RunRecord:
        """Reads ``run.json``; raises BrokenRunFolderError where it is missing, cut short, or of a newer version."""
        path = self.path / RECORD
        value = _read_json(path)
        version = value.get("schema_version") if isinstance(value, dict) else None
        if type(version) is not int or version < 1:
            raise BrokenRunFolderError(
                f"{path} has the schema version {version!r}",
                expected=f"a whole number from 1 to {SCHEMA_VERSION}",
                remedy="this file was not written by `brokerbench run`, or was changed since: restore it",
            )
        if version > SCHEMA_VERSION:
            raise BrokenRunFolderError(
                f"{path} has schema version {version}, written by brokerbench {value.get('tool_version', '?')}",
                expected=f"version {SCHEMA_VERSION} or older",
                remedy="read it with a newer brokerbench: pip install --upgrade brokerbench",
            )
        try:
            return RunRecord.model_validate(value)
        except ValidationError as error:
            raise BrokenRunFolderError(
                f"{path} does not fit its schema: {first_problem(error)}",
                expected=f"a record of version {version} (brokerbench schema --record)",
                remedy="restore the file from a copy, or make it again: brokerbench run",
            ) from error

    def load_as_evidence(self) -> RunRecord:
        """Reads ``run.json`` as :meth:`load`; raises BrokenRunFolderError also where one trial would count as several."""
        record = self.load()
        named = Counter(trial.folder for case in record.cases for trial in case.trials)
        for folder, times in named.items():
            if times > 1:
                raise BrokenRunFolderError(
                    f"{self.path / RECORD} names the trial in {folder} {times} times",
                    expected="a folder of its own for each trial",
                    remedy="the record was changed since it was written: restore it from a copy",
                )
        return record

    def trial(self, slug: str, number: int) -> TrialFolder:
        """Returns the folder of one trial of a case, which may not exist yet."""
        return TrialFolder(self.path / "cases" / slug / f"trial-{number}")

    def trial_at(self, relative: str) -> TrialFolder:
        """Returns the folder that a :class:`~harness.record.TrialRecord` names in ``folder``; raises BrokenRunFolderError."""
        path = self.path / relative
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise BrokenRunFolderError(
                f"{self.path / RECORD} names a trial's folder outside the run: {relative!r}",
                expected="a path below the run folder",
                remedy="the record was changed since it was written: restore it from a copy",
            )
        return TrialFolder(path)

    def relative(self, trial: TrialFolder) -> str:
        """Returns what :meth:`trial_at` takes, with forward slashes."""
        return trial.path.relative_to(self.path).as_posix()

    def write(self, name: str, text: str) -> Path:
        """Writes a file of the run folder atomically (UTF-8) and returns its path; raises BrokerbenchError."""
        return _write(self.path / name, text.encode())

    def write_pictures(self, name: str, pictures: Mapping[str, bytes]) -> None:
        """Writes ``<name>/<picture>.png`` for each and removes those of an earlier time; raises BrokerbenchError."""
        folder = self.path / name
        try:
            folder.mkdir(exist_ok=True)
            for picture, data in pictures.items():
                write_whole(folder / f"{plain_name(picture)}.png", data)
            for old in set(folder.glob("*.png")) - {folder / f"{plain_name(picture)}.png" for picture in pictures}:
                old.unlink()
        except OSError as error:
            raise lost_place(folder, error) from error


@dataclass(frozen=True)
class TrialFolder:
    """One trial on disk."""

    path: Path

    @property
    def logs(self) -> Path:
        """Returns the folder of the broker's and the shards' own logs."""
        return self.path / LOGS

    def make(self) -> None:
        """Makes the folder and its ``logs``; raises BrokerbenchError where it exists already or cannot be made."""
        try:
            self.path.mkdir(parents=True)
            self.logs.mkdir()
        except OSError as error:
            raise lost_place(self.path, error) from error

    def write_table(self, name: str, frame: pl.DataFrame) -> None:
        """Writes ``<name>.parquet`` of :data:`TABLES`.

        Raises:
            ValueError: the columns or their types are not those of ``harness.tables`` (a mistake of ours).
            BrokerbenchError: it cannot be written.
        """
        if problem := _schema_problem(frame.schema, TABLES[name]):
            raise ValueError(f"table {name}: {problem}")
        path = self.path / f"{name}.parquet"
        try:
            with aside(path) as temporary:
                frame.write_parquet(temporary, compression="zstd")
        except (OSError, pl.exceptions.PolarsError) as error:
            raise lost_place(path, error) from error

    def read_table(self, name: str) -> pl.DataFrame:
        """Reads ``<name>.parquet``, older ones too; raises BrokenRunFolderError where it is missing, damaged or has other columns."""
        path = self.path / f"{name}.parquet"
        if not path.is_file():
            raise self._missing(path)
        try:
            # Bytes, not the path: polars would map the file, and one that is truncated later would be a SIGBUS.
            frame = pl.read_parquet(path.read_bytes())
        except (OSError, pl.exceptions.PolarsError) as error:
            raise _unreadable_table(path, name, error) from error
        return self._as_now(name, frame, frame.schema)

    def scan_table(self, name: str) -> pl.LazyFrame:
        """Returns a scan of ``<name>.parquet``, of which only the columns that are needed get read; else as :meth:`read_table`."""
        path = self.path / f"{name}.parquet"
        if not path.is_file():
            raise self._missing(path)
        try:
            frame = pl.scan_parquet(path)
            schema = frame.collect_schema()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise _unreadable_table(path, name, error) from error
        return self._as_now(name, frame, schema)

    def timeline(self) -> Timeline:
        """Opens ``timeline.jsonl`` for appending; raises BrokerbenchError where it cannot be opened."""
        return Timeline(self.path / TIMELINE)

    def read_timeline(self) -> list[dict[str, Any]]:
        """Returns the lines of ``timeline.jsonl`` in the order written; a last line that a crash cut short is left out.

        Raises:
            BrokenRunFolderError: the file is missing, or a whole line is not a JSON object.
        """
        path = self.path / TIMELINE
        if not path.is_file():
            raise self._missing(path)
        return read_lines(path)

    def read_facts(self) -> TrialFacts:
        """Returns the facts of the trial, the last written where there are several.

        Raises:
            BrokenRunFolderError: no timeline, no facts in it (the run was ended before), or facts of another shape.
        """
        return facts_of(self.read_timeline(), self.path / TIMELINE)

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Writes ``settings.json``: what was asked for and what was read back; raises BrokerbenchError."""
        text = json.dumps(settings, indent=1, ensure_ascii=False, default=plain_value)
        _write(self.path / SETTINGS, f"{text}\n".encode())

    def read_settings(self) -> dict[str, Any]:
        """Returns ``settings.json``; raises BrokenRunFolderError where it is missing or cut short."""
        path = self.path / SETTINGS
        if not path.is_file():
            raise self._missing(path)
        value = _read_json(path)
        if not isinstance(value, dict):
            raise BrokenRunFolderError(
                f"{path} holds a {type(value).__name__}", expected="a JSON object", remedy="restore it from a copy"
            )
        return value

    def _as_now(self, name: str, frame: Frame, found: pl.Schema) -> Frame:
        """Returns a table of this or an older version as this one has it; raises BrokenRunFolderError for anything else."""
        wanted = TABLES[name]
        later = {column: wanted[column] for column in tables.LATER.get(name, ()) if column not in found}
        grown = {column: wanted[column] for column, dtype in found.items() if _has_grown(dtype, wanted.get(column))}
        if problem := _schema_problem(pl.Schema({**found, **later, **grown}), wanted):
            raise BrokenRunFolderError(
                f"{self.path / name}.parquet: {problem}",
                expected=f"the columns of {name} as documented for the run folder",
                remedy="restore the file from a copy; it was written by something else",
            )
        if not later and not grown:
            return frame
        return frame.with_columns(
            *(pl.lit(None, dtype).alias(column) for column, dtype in later.items()),
            *(pl.col(column).cast(dtype) for column, dtype in grown.items()),
        )

    def _missing(self, path: Path) -> BrokenRunFolderError:
        what = f"{path.name} of the trial" if self.path.is_dir() else "the trial's folder"
        return BrokenRunFolderError(
            f"{what} is missing: {path if self.path.is_dir() else self.path}",
            expected="a trial that ran to its end",
            remedy="restore it from a copy, or run the scenario again; the other trials can still be read",
        )


def _unreadable_table(path: Path, name: str, error: Exception) -> BrokenRunFolderError:
    return BrokenRunFolderError(
        f"{path} cannot be read: {one_line(error)}",
        expected=f"the Parquet table of {name}",
        remedy="restore the file from a copy; the other trials can still be read",
    )


def _remove_empty(path: Path) -> None:
    with contextlib.suppress(OSError):
        for leftover in path.iterdir():
            leftover.unlink()
        path.rmdir()


def _write(path: Path, data: bytes) -> Path:
    try:
        write_whole(path, data)
    except OSError as error:
        raise lost_place(path, error) from error
    return path


def _read_json(path: Path) -> Any:
    try:
        return read_json(path.read_bytes())
    except OSError as error:
        raise BrokenRunFolderError(
            f"{path} cannot be read: {error.strerror}", remedy="check that it exists and that you may read it"
        ) from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise BrokenRunFolderError(
            f"{path} is not whole JSON: {one_line(error)}",
            expected="one JSON object",
            remedy="it was cut short or changed since it was written: restore it from a copy",
        ) from error


def _has_grown(found: pl.DataType, wanted: pl.DataType | None) -> bool:
    """Returns whether a column's words have got company since it was written."""
    if not isinstance(found, pl.Enum) or not isinstance(wanted, pl.Enum) or found == wanted:
        return False
    return set(found.categories) <= set(wanted.categories)


def _schema_problem(found: pl.Schema, wanted: pl.Schema) -> str:
    """Returns the first difference in words, "" where names, order and types agree."""
    if list(found) != list(wanted):
        missing, further = [n for n in wanted if n not in found], [n for n in found if n not in wanted]
        return f"columns differ: missing {missing or 'none'}, unknown {further or 'none'}" + (
            "" if missing or further else ", order differs"
        )
    for name, dtype in wanted.items():
        if found[name] != dtype:
            return f"column {name} is {found[name]}, expected {dtype}"
    return ""


def _nearest_remedy(folder: Path) -> str:
    inside = sorted(child.name for child in folder.iterdir() if (child / RECORD).is_file())
    if inside:
        which = "the run" if len(inside) == 1 else f"one of the {len(inside)} runs"
        return f"name {which} in it, e.g. {folder / inside[-1]}"
    return f"name a folder that holds a {RECORD}"


def _unwritable(root: Path, error: OSError) -> UsageError:
    return UsageError(
        f"the output folder {root} does not take a write: {error.strerror or error}",
        expected="a folder in which runs can be kept",
        remedy="free space there, or name another one with -o DIR",
    )
