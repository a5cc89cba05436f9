"""Writing to a stdout whose reader may leave, or that takes no more."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from harness.errors import BrokerbenchError
from reports.escape import printable


def say(text: str, *, err: bool = False) -> None:
    """Prints text that may quote others as text: no control characters, with which it could write over what we say."""
    click.echo(printable(text), err=err)


@contextmanager
def readers_may_leave() -> Iterator[None]:
    """Lets whoever reads our stdout leave early (`| head`): how the command ends does not change by that.

    click and rich answer a closed pipe with SystemExit.

    Raises:
        BrokerbenchError: stdout takes no more, e.g. a full disk.
    """
    try:
        yield
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):
        _mute()
    except OSError as error:
        if error.filename is not None:  # a file, not our stdout
            raise
        _mute()
        raise BrokerbenchError(
            f"stdout could not be written: {error.strerror or error}",
            remedy="make room where it goes, or send it elsewhere",
        ) from error


def _mute() -> None:
    """Throws away what is still to be written: Python would complain of it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
