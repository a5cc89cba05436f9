"""One exception tree; every message gives the value, what was expected, and the remedy."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from harness.redaction import hide

if TYPE_CHECKING:
    from pydantic import ValidationError


class ExitCode(IntEnum):
    """How ``brokerbench`` ends; 1 is never used on purpose, since an uncaught exception exits with it."""

    PASS = 0
    USAGE = 2
    BROKEN = 10
    INCONCLUSIVE = 11
    NOT_COMPARABLE = 12
    INVALID = 13
    NO_VERDICT = 70
    INTERRUPTED = 130


class BrokerbenchError(Exception):
    """Anything that ends a command with one clear message instead of a traceback.

    Args:
        problem: what is wrong, with the value that was met.
        expected: what would have been right.
        remedy: what the user can do now.
    """

    exit_code = ExitCode.NO_VERDICT

    def __init__(self, problem: str, *, expected: str = "", remedy: str = "") -> None:
        self.problem = hide(problem)  # also in words of a client library, which may quote an address
        self.expected = hide(expected)
        self.remedy = hide(remedy)
        super().__init__(self.problem)

    def __str__(self) -> str:
        parts = [self.problem]
        if self.expected:
            parts.append(f"expected: {self.expected}")
        if self.remedy:
            parts.append(f"remedy: {self.remedy}")
        return "\n  ".join(parts)


class UsageError(BrokerbenchError):
    """The user asked for something that cannot be; known before anything was started."""

    exit_code = ExitCode.USAGE


class UnavailableError(UsageError):
    """This machine lacks something that the scenario needs (a binary, an engine, a right)."""


class Interrupted(BrokerbenchError):
    """A Ctrl-C came when there was something to tell already, and it has been told."""

    exit_code = ExitCode.INTERRUPTED


class NotComparableError(BrokerbenchError):
    """Figures whose difference would say something about their surroundings, not about the brokers."""

    exit_code = ExitCode.NOT_COMPARABLE


class BrokenRunFolderError(UsageError):
    """A run folder that cannot be read: missing, cut short, or of a newer version."""


class StartError(BrokerbenchError):
    """A broker or a process of ours did not come up."""

    exit_code = ExitCode.INVALID


class EvidenceError(BrokerbenchError):
    """What a trial left behind cannot be read or proves nothing."""

    exit_code = ExitCode.INVALID


class Unreachable(BrokerbenchError):
    """A broker does not take a connection (now); nothing was sent."""

    exit_code = ExitCode.INVALID


class ConnectionLost(BrokerbenchError):
    """The connection broke under an operation; what was outstanding is unknown."""

    exit_code = ExitCode.INVALID


def first_problem(error: ValidationError) -> str:
    """Returns the place and the words of the first thing that does not fit a model, and how many more there are."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the whole"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place}: {first['msg']}{more}"


def one_line(error: Exception) -> str:
    """Returns the first line of what an error of a library says, at most 200 characters."""
    return (str(error) or type(error).__name__).splitlines()[0][:200]
