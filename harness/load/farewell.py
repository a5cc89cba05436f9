"""The last word to agents of other machines that wait for another trial, where no fleet runs that could say it."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress

from harness.errors import BrokerbenchError
from harness.journal import Journal
from harness.load.door import Door

FAREWELL_TIMEOUT_S = 12.0


def farewell(door: Door, agents: int, journal: Journal) -> None:
    """Tells agents that wait for another trial that there is none; waits a few seconds for them, never raises."""
    with suppress(OSError, BrokerbenchError):
        logs = journal.temp_folder("farewell")
        process = journal.spawn(
            [sys.executable, "-m", "harness.load.fleet", "coordinator", "0"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdin is not None
        remote = {"wanted": agents, "door": door.words(), "folder": "", "more": False}
        words = {"shards": [], "remote": remote, "web": False, "logs": str(logs)}
        with suppress(OSError):
            process.stdin.write(json.dumps(words).encode() + b"\n")
            process.stdin.flush()
        try:
            process.wait(FAREWELL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        journal.forget(process.pid)
