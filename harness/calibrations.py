"""What ``calibrate`` has found out of this machine: ``<state>/calibrations/<environment class>/calibration.json``.

Floor 2. A run reads it to say that it came near the generator's ceiling, ``ab`` and ``gate`` to say what they can see. It is a help, never
a condition: a file that is missing, damaged or of a newer version costs a sentence, and no run.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import first_problem, one_line
from harness.files import lost_place, write_whole
from harness.gate.noise import SCHEMA_VERSION, Calibrations, environment_class, identity
from harness.sweeping import state_folder

NAME = "calibration.json"


def place(environment: str) -> Path:
    """Returns where the calibration of an environment class is, or would be."""
    return state_folder() / "calibrations" / environment / NAME


def read(fingerprint: Mapping[str, Any]) -> tuple[Calibrations, str]:
    """Returns what is known of the environment of a fingerprint, and why nothing of it can be read ("" = it can, or there is none).

    Never raises for what is in the file, or in its place.
    """
    environment = environment_class(fingerprint)
    nothing = Calibrations(environment=environment, identity=identity(fingerprint))
    path = place(environment)
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return nothing, ""
    except (OSError, ValueError, RecursionError) as error:
        return nothing, _unread(path, one_line(error))
    version = value.get("schema_version") if isinstance(value, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        return nothing, _unread(path, f"it has schema version {version}, a newer brokerbench wrote it")
    try:
        return Calibrations.model_validate(value), ""
    except ValidationError as error:
        return nothing, _unread(path, first_problem(error))


def write(fingerprint: Mapping[str, Any], change: Callable[[Calibrations], Calibrations]) -> Path:
    """Changes what is known of the environment of a fingerprint and returns the file; safe across processes.

    What could not be read is written anew.

    Raises:
        BrokerbenchError: the state folder takes no write.
    """
    path = place(environment_class(fingerprint))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent):
            known = change(read(fingerprint)[0])
            write_whole(path, f"{known.model_dump_json(indent=1)}\n".encode())
    except OSError as error:
        raise lost_place(path, error) from error
    return path


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _unread(path: Path, why: str) -> str:
    return f"the calibration of this machine cannot be read: {path}: {why}; measure it anew: brokerbench calibrate"
