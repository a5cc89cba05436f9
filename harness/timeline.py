"""``timeline.jsonl`` of a trial: what happened and when, one JSON object a line, each flushed as it happens.

Every line has ``t_ns`` and ``kind``; the line of kind ``facts`` holds what analysis starts from.

Neighbours: ``run`` writes; ``store`` says where the file is and reads it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.errors import BrokenRunFolderError, first_problem
from harness.facts import TrialFacts
from harness.files import lost_place, plain_value

_FACTS = TypeAdapter(TrialFacts)


class Timeline:
    """Appends to ``timeline.jsonl``: a line has left this process before :meth:`append` returns, so that a SIGKILL of ours loses none.

    Safe to share between threads.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise lost_place(path, error) from error

    def append(self, t_ns: int, kind: str, **fields: object) -> None:
        """Writes one line; raises BrokerbenchError where the disk is full, and then leaves no half line behind."""
        value = {"t_ns": t_ns, "kind": kind, **fields}
        line = json.dumps(value, ensure_ascii=False, allow_nan=False, default=plain_value).encode() + b"\n"
        with self._lock:
            before = self._file.tell()
            left = memoryview(line)
            try:
                while left:
                    left = left[self._file.write(left) :]
            except OSError as error:
                with contextlib.suppress(OSError):
                    self._file.truncate(before)
                raise lost_place(self._path, error) from error

    def append_facts(self, t_ns: int, facts: TrialFacts) -> None:
        """Writes the facts of the trial, from which analysis starts; raises BrokerbenchError where the disk is full."""
        self.append(t_ns, "facts", facts=_FACTS.dump_python(facts))

    def close(self) -> None:
        """Closes the file after an fsync; idempotent."""
        with self._lock:
            if not self._file.closed:
                with contextlib.suppress(OSError):
                    os.fsync(self._file.fileno())
                self._file.close()

    def __enter__(self) -> Timeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the lines in the order written; a last line that a crash cut short is left out.

    Raises:
        BrokenRunFolderError: a whole line is not a JSON object.
    """
    whole = path.read_bytes().split(b"\n")[:-1]  # what follows the last newline was never finished
    return [_timeline_line(path, number, line) for number, line in enumerate(whole, 1)]


def facts_of(lines: Sequence[dict[str, Any]], path: Path) -> TrialFacts:
    """Returns the facts of the trial, the last written where there are several.

    Args:
        lines: of the timeline. path: where they were read, for the message.

    Raises:
        BrokenRunFolderError: no facts in it (the run was ended before), or facts of another shape.
    """
    told = [line for line in lines if line.get("kind") == "facts"]
    if not told:
        raise BrokenRunFolderError(
            f"{path} has no line of kind 'facts'",
            expected="the facts that a trial writes when its load has ended",
            remedy="this trial was cut short before its end and has no figures: run it again",
        )
    try:
        return _FACTS.validate_python(told[-1].get("facts"))
    except ValidationError as error:
        raise BrokenRunFolderError(
            f"the facts in {path} do not fit: {first_problem(error)}",
            expected="facts as this version of brokerbench writes them",
            remedy="read the run with the version that wrote it (tool_version in run.json)",
        ) from error


def _timeline_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        value = json.loads(line)
        if isinstance(value, dict) and "t_ns" in value and "kind" in value:
            return value
    raise BrokenRunFolderError(
        f"{path} line {number} is damaged: {line[:60].decode(errors='replace')!r}",
        expected='a JSON object with "t_ns" and "kind"',
        remedy="restore the file from a copy; the other trials can still be read",
    )
