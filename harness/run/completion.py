"""Work that a Ctrl-C must not cut short: what a trial whose load has ended left behind can be had only once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

Result = TypeVar("Result")


def completed(work: Callable[[], Result]) -> tuple[Result, bool]:
    """Does ``work`` to its end in a thread of its own: a signal interrupts only the main thread, which waits.

    A second Ctrl-C ends the process at once (``harness.cli``).

    Returns:
        What ``work`` returned, and whether a Ctrl-C came meanwhile.

    Raises:
        Exception: what ``work`` raised.
    """
    outcome: Future[Result] = Future()
    taken = threading.Lock()

    def attempt() -> None:
        if taken.acquire(blocking=False):
            try:
                outcome.set_result(work())
            except BaseException as error:  # whoever waits gets it
                outcome.set_exception(error)

    interrupted = False
    try:
        threading.Thread(target=attempt, name="completion", daemon=True).start()
    except KeyboardInterrupt:  # which may have come before the thread
        interrupted = True
        attempt()
    while True:
        try:
            wait([outcome])
            break
        except KeyboardInterrupt:
            interrupted = True
    return outcome.result(), interrupted
