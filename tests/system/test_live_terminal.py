"""The live view on a real terminal: it fits when that becomes narrower, and Ctrl-C leaves it whole."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable

import pytest

from tests.system.conftest import COMMAND, Bench

pytestmark = pytest.mark.slow

SHOW, HIDE = b"\x1b[?25h", b"\x1b[?25l"
CODES = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")
SCENARIO = """
question: What does the terminal show?
setups: [null]
load: {rate: 200/s}
workers: {count: 1, visibility: 1 s, sweep: 250 ms}
phases: {warmup: 500 ms, steady: 30 s, drain: 10 s}
"""


class Terminal:
    """A terminal on which ``brokerbench`` runs, and all that it has written."""

    def __init__(self, bench: Bench, *words: str) -> None:
        self._fd, theirs = os.openpty()
        self.resize(100)
        self.seen = b""
        environment = bench.environment(TERM="xterm-256color")
        del environment["COLUMNS"]
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *COMMAND, *words], stdin=theirs, stdout=theirs, stderr=theirs, cwd=bench.home, env=environment
        )  # fmt: skip
        os.close(theirs)

    def resize(self, columns: int) -> None:
        """Gives it another width."""
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        """Presses keys."""
        os.write(self._fd, keys)

    def until(self, done: Callable[[bytes], object], since: int = 0) -> None:
        """Reads until what was written from ``since`` on is as wanted."""
        limit = time.monotonic() + 60
        while not done(self.seen[since:]):
            assert time.monotonic() < limit, self.seen[since:].decode(errors="replace")
            self._read()

    def finish(self) -> int:
        """Reads to the end of the command and returns its exit code."""
        while self.process.poll() is None:
            self._read()
        while self._read():
            pass
        os.close(self._fd)
        return self.process.returncode

    def _read(self) -> bool:
        ready, _, _ = select.select([self._fd], [], [], 0.1)
        try:
            self.seen += os.read(self._fd, 1 << 16) if ready else b""
        except OSError:  # nobody has its other end any more
            return False
        return bool(ready)


@pytest.fixture
def terminal(bench: Bench) -> Terminal:
    made = Terminal(bench, "run", bench.scenario("shown", SCENARIO))
    made.until(lambda text: b"steady" in text and b"delivered 2" in text)
    return made


def test_it_fits_a_terminal_that_becomes_narrower_and_ctrl_c_leaves_it_whole(terminal: Terminal, bench: Bench) -> None:
    terminal.resize(50)
    at = len(terminal.seen)
    terminal.until(lambda text: text.count(b"steady") > 2, since=at)
    frames = CODES.sub(b"", terminal.seen[at:]).decode(errors="ignore").split("steady")[1:-1]
    assert frames
    assert all(len(line) <= 50 for frame in frames for line in re.split(r"[\r\n]+", f"steady{frame}"))
    terminal.type(b"\x03")
    terminal.until(lambda text: b"ending: healing" in text)
    assert terminal.finish() == 130
    assert terminal.seen.rindex(SHOW) > terminal.seen.rindex(HIDE)
    assert b"INTERRUPTED" in terminal.seen
    assert bench.gone() == []


def test_a_second_ctrl_c_leaves_it_whole_too(terminal: Terminal, bench: Bench) -> None:
    terminal.type(b"\x03")
    terminal.until(lambda text: b"ending: healing" in text)
    terminal.type(b"\x03")
    assert terminal.finish() == 130
    assert terminal.seen.rindex(SHOW) > terminal.seen.rindex(HIDE)
    assert b"left at once" in terminal.seen
    assert bench.gone() == []
