"""Files that appear whole or not at all, and folders that are new.

Floor 0; used by ``store``.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path


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


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
