"""Files that appear whole or not at all, and folders that are new.

Floor 0; used by ``store`` and ``timeline``.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import BrokerbenchError, one_line


def plain_name(name: str) -> str:
    """Returns ``name`` with only what every file system takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"


def make_new(root: Path, name: str) -> Path:
    """Makes the folder ``root/name``, or ``name-2``, ``name-3`` … where that exists, and returns its path; raises OSError."""
    number = 1
    while True:
        path = root / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


@contextlib.contextmanager
def aside(path: Path) -> Iterator[Path]:
    """Yields a path beside ``path`` to write to; then fsyncs it and renames it over. Nothing of it stays after an error."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        temporary.touch()  # here for the reason why it cannot be: a library tells it in words of its own, or not at all
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file atomically and durably; raises OSError, and then the file that was there before stays."""
    with aside(path) as temporary:
        temporary.write_bytes(data)


def read_json(data: bytes) -> Any:
    """Returns what JSON says; raises ValueError where it is none, or holds a number that is not finite: no bound tells of those."""
    try:
        return json.loads(data, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is no finite number")
    return value


def plain_value(value: Any) -> Any:
    """Returns numpy scalars, mappings and paths as JSON knows them; raises TypeError for anything else."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def lost_place(path: Path, error: Exception) -> BrokerbenchError:
    """Returns the error for a file that cannot be written (any more), with the remedy."""
    told = re.search(r"\(os error (\d+)\)", str(error))  # so polars ends what it says of a full disk
    reason = os.strerror(int(told[1])) if told else getattr(error, "strerror", "") or one_line(error)
    if is_barred(error):
        way = f"get the right to write in {path.parent}, or name another folder,"
    elif isinstance(error, FileNotFoundError):
        way = f"see that {path.parent} is there, or name another folder,"
    else:
        way = f"free space in {path.parent} (df -h {path.parent})"
    return BrokerbenchError(
        f"{path} cannot be written: {reason}", remedy=f"{way} and run again; what was written before is whole"
    )


def is_barred(error: BaseException | None) -> bool:
    """Returns whether it is a right that lacks, or a medium that is only read: free space would not help."""
    return isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
