"""What a shard hears and says: commands as JSON lines on stdin, a few events as JSON lines on stdout.

A thread blocked on stdin sets plain attributes that the measuring loop reads; so the loop never touches a pipe. When stdin ends, the
agent has died: the loop ends as if told to, at once; where it hangs in a call the process ends all the same.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from harness.clock import NS_PER_S, now_ns

ORPHAN_GRACE_S = 0.3


class Orders:
    """The commands that have arrived; written by one thread, read by another, each attribute on its own.

    Attributes:
        load_start_ns: zero of the schedule; None until ``go``.
        told_ns: when ``finish`` arrived, which also ends the schedule; None = not told to finish.
        finish_ns: until when a producer sends what was due by then and takes confirms.
        stop: a worker finishes what it holds and ends.
        orphaned: nobody is there any more; whatever takes long is dropped.
    """

    def __init__(self) -> None:
        self.load_start_ns: int | None = None
        self.told_ns: int | None = None
        self.finish_ns = 0
        self.stop = False
        self.orphaned = False
        self._arrived = threading.Event()
        self._lines = _lines()

    def first(self) -> bytes:
        """Blocks for the first line of stdin and returns it; b"" when there is none. Call it before :meth:`listen`."""
        return next(self._lines, b"")

    def listen(self) -> None:
        """Starts to read stdin, from its second line on."""
        threading.Thread(target=self._read, name="orders", daemon=True).start()

    def wait(self, timeout_s: float) -> None:
        """Blocks until something arrives or ``timeout_s`` has passed."""
        self._arrived.wait(timeout_s)
        self._arrived.clear()

    def obey(self, order: dict[str, Any]) -> None:
        """Takes one command: ``go``, ``finish`` or ``stop``."""
        if order["do"] == "go":
            self.load_start_ns = int(order["load_start_ns"])
        elif order["do"] == "finish":
            self.finish_ns = int(order["until_ns"])
            self.told_ns = now_ns()
        elif order["do"] == "stop":
            self.stop = True
        self._arrived.set()

    def _read(self) -> None:
        for line in self._lines:
            self.obey(json.loads(line))
        now = now_ns()
        self.finish_ns, self.told_ns = (
            now + int(ORPHAN_GRACE_S / 2 * NS_PER_S),
            now,
        )  # what has been answered is still seen
        self.orphaned = self.stop = True
        self._arrived.set()
        time.sleep(ORPHAN_GRACE_S)
        os._exit(0)  # the loop hangs in a call; what it saw is in its slots


def _lines() -> Iterator[bytes]:
    """Yields the lines of stdin, without its buffered reader: a thread inside that would abort the interpreter at its end."""
    rest = b""
    while chunk := os.read(0, 65536):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines


def say(event: str, **facts: Any) -> None:
    """Writes one event; a reader that has gone is none of the loop's business."""
    try:
        sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
        sys.stdout.flush()
    except OSError:
        pass
