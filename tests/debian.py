"""Programs of Debian packages that some tests need beside Python."""

from __future__ import annotations

import shutil

import pytest


def program(name: str, *, package: str) -> str:
    """Returns the path of a program; skips the test, with the remedy, where it is missing (which in CI is a failure)."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name} here; remedy: apt install --no-install-recommends {package}")
    return path
