"""A network of the test's own: namespaces as machines, joined by a bridge, each with a monotonic clock of its own where asked for.

A test that can do without falls back to :class:`Here`. Namespaces live as long as their holders, which end with the test's pipe to them: nothing is left behind, even by a test that is killed.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOOLS = ("ip", "tc", "nsenter", "unshare")


class Machine:
    """A network namespace, and a time namespace where ``shift_s`` is given: how far its clock stands before ours."""

    def __init__(self, shift_s: int | None = None) -> None:
        self.shift_s = shift_s
        clock = ["--time", f"--monotonic={shift_s}"] if shift_s is not None else []
        self._holder = subprocess.Popen(["unshare", "--net", *clock, "--fork", "cat"], stdin=subprocess.PIPE)
        self.pid = self._held()

    def enter(self, *command: str) -> list[str]:
        """Returns a command that runs inside."""
        clock = ["--time"] if self.shift_s is not None else []
        return ["nsenter", "--target", self.pid, "--net", *clock, *command]

    def ip(self, words: str) -> None:
        """Runs ``ip`` inside."""
        subprocess.run(self.enter("ip", *words.split()), check=True, capture_output=True)

    def tc(self, words: str) -> None:
        """Runs ``tc`` (traffic control) inside."""
        subprocess.run(self.enter("tc", *words.split()), check=True, capture_output=True)

    def end(self) -> None:
        """Lets the namespaces go."""
        assert self._holder.stdin is not None
        self._holder.stdin.close()
        self._holder.wait()

    def _held(self) -> str:
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self._holder.poll() is not None:
                raise OSError("no namespace could be made")
            for pid in children.read_text().split():
                if os.readlink(f"/proc/{pid}/exe").endswith("cat"):
                    return pid
            time.sleep(0.01)
        raise OSError("no namespace was made in time")


class Here(Machine):
    """This machine, where namespaces cannot be made: everybody is on 127.0.0.1, and no cable can be cut."""

    def __init__(self) -> None:
        self.shift_s = None

    def enter(self, *command: str) -> list[str]:
        """Returns the command."""
        return list(command)


@contextmanager
def lan(*shifts_s: int | None) -> Iterator[list[Machine]]:
    """Makes machines 10.77.0.1, 10.77.0.2, …; the link of number n to the others, but for the first, is ``link<n>`` in the first."""
    machines: list[Machine] = []
    try:
        for shift_s in shifts_s:
            machines.append(Machine(shift_s))
            machines[-1].ip("link set lo up")
        first, *others = machines
        for words in ("link add bridge type bridge", "addr add 10.77.0.1/24 dev bridge", "link set bridge up"):
            first.ip(words)
        for number, machine in enumerate(others, 2):
            first.ip(f"link add link{number} type veth peer name eth0 netns {machine.pid}")
            first.ip(f"link set link{number} master bridge up")
            machine.ip(f"addr add 10.77.0.{number}/24 dev eth0")
            machine.ip("link set eth0 up")
        yield machines
    finally:
        for machine in machines:
            machine.end()


@functools.cache
def why_not() -> str:
    """Returns why namespaces cannot be made here; "" where they can."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"{', '.join(missing)} not found"
    try:
        with lan(None, 1000):
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no right to make namespaces: {error}"
