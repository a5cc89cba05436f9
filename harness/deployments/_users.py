"""Whom a server runs as where we are root, and where that user may go."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from harness.errors import StartError


def unprivileged_user() -> int | None:
    """Returns the uid of ``nobody`` where we are root, for servers that refuse to run as root; None where we are not.

    Raises:
        StartError: we are root, and there is no such user.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        raise StartError(
            "there is no user 'nobody' to run the server as", remedy="run brokerbench as another user than root"
        ) from None


def may_enter(folder: Path, user: int) -> bool:
    """Returns whether a user without groups may pass through every folder on the way to this one."""
    real = folder.resolve()
    for place in (real, *real.parents):
        found = place.stat()
        needed = stat.S_IXUSR if found.st_uid == user else stat.S_IXOTH
        if not found.st_mode & needed:
            return False
    return True


def may_run(program: Path, user: int) -> bool:
    """Returns whether a user without groups may read and run a program of another user's."""
    return may_enter(program.parent, user) and program.stat().st_mode & 0o005 == 0o005


def check_reach(folder: Path, user: int, server: str) -> None:
    """Raises StartError where the user that a server must run as may not enter a folder."""
    if not may_enter(folder, user):
        raise StartError(
            f"the folder {folder} cannot be entered by the user {user} that {server} must run as",
            remedy="set TMPDIR to a folder that everybody may enter, such as /tmp",
        )
