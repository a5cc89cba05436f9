"""``brokerbench agent``: this machine lends itself to a run on another one, trial after trial, and keeps nothing of it.

Each trial has a process of its own (``fleet remote``), which runs the shards; slots and logs lie in folders of a journal, so that
nothing is left behind however this ends.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import BrokerbenchError, StartError, UnavailableError, UsageError
from harness.journal import Journal
from harness.load.door import SECRET_NAME, Door
from harness.redaction import hide

NEXT_TRIAL_S = 600.0
"""How long the next trial may let us wait, of which the coordinator has said that it comes: an analysis lies between."""
END_S = 3.0


def lend(door: Door, tell: Callable[[str], None]) -> None:
    """Serves the run at ``door`` until it is over.

    Args:
        tell: takes what happens, a sentence each.

    Raises:
        BrokerbenchError: nobody answers, or not to this agent.
        KeyboardInterrupt: Ctrl-C; its shards have ended.
    """
    with Journal.create(f"{secrets.randbits(64):016x}") as journal:
        logs = journal.temp_folder("logs")
        tell(f"waiting for a run at {door.at}, up to {door.wait_s:g} s")
        number, awaited = 0, door
        while True:
            number += 1
            folder = journal.folder(journal.slot_folder() / f"{number}")
            last = _serve(awaited, folder, logs, journal, tell)
            shutil.rmtree(folder, ignore_errors=True)
            if last["event"] == "over":
                tell("the run is over")
                return
            if last["event"] == "left":
                tell("trial done, its slots are handed over; waiting for the next")
                awaited = replace(door, wait_s=max(NEXT_TRIAL_S, door.wait_s))
            elif last["event"] == "lost":
                tell(
                    f"{last['text']}: the shards were ended, their slots removed; waiting up to {door.wait_s:g} s for it to return"
                )
                awaited = door
            else:
                raise _refusal(last, awaited, served=number > 1)


def _serve(door: Door, folder: Path, logs: Path, journal: Journal, tell: Callable[[str], None]) -> dict[str, Any]:
    """Serves one trial and returns the last thing that its process said."""
    with _process(door, folder, logs, journal) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said: dict[str, Any] = json.loads(line)
            if said["event"] == "joined":
                tell(f"joined run {said['run']} as agent {said['index']}: trial {said['trial']}, {said['setup']}")
            elif said["event"] == "waiting":
                wanted = _count(said["wanted"], "agent")
                tell(f"the run has the {wanted} that it asks for: waiting in case it needs one more")
            elif said["event"] == "loading":
                tell(f"{_count(said['shards'], 'shard')} running")
            elif said["event"] in ("cut", "back"):
                tell("the connection is back" if said["event"] == "back" else "the connection is cut")
            elif said["event"] == "handing":
                tell(f"handing over the slots of {_count(said['shards'], 'shard')}")
            else:
                return said
    words = (logs / "locust-agent.log").read_text(errors="replace").splitlines()[-3:]
    raise StartError("the agent's process has ended unexpectedly\n" + "\n".join(words))


@contextmanager
def _process(door: Door, folder: Path, logs: Path, journal: Journal) -> Iterator[subprocess.Popen[bytes]]:
    with (logs / "agent.log").open("ab") as log:
        process = journal.spawn(
            [sys.executable, "-m", "harness.load.fleet", "remote"],
            env={name: value for name, value in os.environ.items() if hide(value) == value},  # no URL with a password
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    words = {"door": door.words(), "folder": str(folder), "logs": str(logs)}
    try:
        process.stdin.write(json.dumps(words).encode() + b"\n")
        process.stdin.flush()
        yield process
    finally:
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        journal.forget(process.pid)


def _refusal(last: dict[str, Any], door: Door, *, served: bool) -> BrokerbenchError:
    """Returns why this agent is of no use to anybody."""
    what, text = last["event"], last.get("text", "")
    if what == "secret" and door.keys is None:
        return UsageError(
            f"{door.at} asks for a secret, or is no run of brokerbench",
            remedy=f"set {SECRET_NAME}, or give --secret-file FILE, as the run does",
        )
    if what == "secret":
        return UsageError(
            f"what listens at {door.at} does not answer to this secret",
            expected="a run of brokerbench with the same secret",
            remedy=f"give both sides the same {SECRET_NAME} or --secret-file; a run that is not given one asks for none",
        )
    if what == "refused":
        return UsageError(
            f"the run does not take this agent: {text}", remedy="install the same version on both machines"
        )
    if what == "unfit":
        return UnavailableError(f"this machine cannot run what the run asks for: {text}")
    came = "no further trial came" if served else "no run came"
    reached = "something listens there and says nothing" if text else "nobody listens there"
    return StartError(
        f"{came} to {door.at} within {door.wait_s:g} s: {reached}",
        remedy="start the run (brokerbench run SCENARIO --listen HOST:PORT), check address and firewall, or give --wait",
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
