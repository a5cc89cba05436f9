"""The load on this machine: a child process of ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO

from harness.deployments.contract import Incident
from harness.journal import Journal


class ThisMachine:
    """Implements :class:`harness.deployments.contract.LoadPlace` without a container.

    Args:
        journal: where each process is written before it is started.
    """

    name = "this machine"

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def spawn(
        self, module: str, *words: str, folders: Sequence[Path], stdin: int, stdout: int, stderr: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Starts ``python -m <module> <words>``."""
        return self._journal.spawn([sys.executable, "-m", module, *words], stdin=stdin, stdout=stdout, stderr=stderr)

    def give_realtime(self, pids: Collection[int]) -> Collection[int]:
        """Returns none: here they get it themselves or not at all."""
        return ()

    def usage(self) -> None:
        """Returns None: the process tree tells."""

    def incidents(self) -> Sequence[Incident]:
        """Returns nothing: the journal's owner sees how its children end."""
        return ()

    def why_ended(self) -> str:
        """Returns nothing: whoever spawned it has its status."""
        return ""

    def end(self) -> None:
        """Does nothing: whoever spawned it ends it."""
