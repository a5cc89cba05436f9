"""Programs of this machine that are asked for a word, such as their version.

A program that somebody named in a variable may hang, write for ever, or start others that outlive it: an answer is bounded in
time and length, and whatever was started for it is killed with it. Neighbours: ``deployments`` and ``doctor`` ask.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from harness import processes
from harness.errors import UnavailableError

LIMIT_S = 10.0
LONGEST_BYTES = 1 << 20
_LOOK_S = 0.002

_asked: set[subprocess.Popen[bytes]] = set()
_guard = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a program said: its exit ``status``, and both of its outputs as text, ends trimmed."""

    status: int
    out: str
    err: str


def ask(argv: Sequence[str | os.PathLike[str]], *, limit_s: float = LIMIT_S, remedy: str = "") -> Answer:
    """Runs a program, without input and in a session of its own, and returns what it says.

    Args:
        argv: program and arguments. limit_s: how long it may take. remedy: of the error.

    Raises:
        UnavailableError: it cannot be started, takes longer, or says more than 1 MiB.
    """
    program = os.fspath(argv[0])
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = getattr(error, "strerror", None) or error
        raise UnavailableError(f"{program} does not run: {reason}", remedy=remedy) from error
    assert process.stdout is not None
    assert process.stderr is not None
    with _guard:
        _asked.add(process)
    deadline = time.monotonic() + limit_s
    try:
        out, err = _read(process.stdout, process.stderr, deadline)
        _await_end(process.pid, deadline)
    except TimeoutError:
        raise UnavailableError(f"{program} does not answer within {limit_s:g} s", remedy=remedy) from None
    except _TooLongError:
        raise UnavailableError(f"{program} says more than {LONGEST_BYTES:,} bytes", remedy=remedy) from None
    finally:
        _end(process)
        process.stdout.close()
        process.stderr.close()
    return Answer(status=process.returncode, out=out, err=err)


def end_asked() -> None:
    """Kills every program that is still being asked, for who gives up on an answer in another thread."""
    with _guard:
        unanswered = list(_asked)
    for process in unanswered:
        _end(process)


class _TooLongError(Exception):
    pass


def _read(out: IO[bytes], err: IO[bytes], deadline: float) -> tuple[str, str]:
    """Returns both outputs once both have ended; raises TimeoutError or _TooLongError."""
    texts = {out: bytearray(), err: bytearray()}
    with selectors.DefaultSelector() as selector:
        for stream in texts:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            left_s = deadline - time.monotonic()
            ready = selector.select(left_s) if left_s > 0 else []
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                stream = out if key.fileobj is out else err
                chunk = os.read(key.fd, 1 << 16)
                texts[stream] += chunk
                if not chunk:
                    selector.unregister(stream)
            if max(map(len, texts.values())) > LONGEST_BYTES:
                raise _TooLongError
    return texts[out].decode(errors="replace").strip(), texts[err].decode(errors="replace").strip()


def _await_end(pid: int, deadline: float) -> None:
    """Waits for the end of our child without taking note of it, so that its number stays its own; raises TimeoutError."""
    while (found := processes.find(pid)) is not None and not found.zombie:
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(_LOOK_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills what is left of the program's session, and takes note of its end."""
    with _guard:
        if process not in _asked:
            return
        _asked.discard(process)
    with contextlib.suppress(OSError):  # not waited for yet, so that number is no other's
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
