"""What is wrong with a scenario: all of it at once, each with its place, and one exception that carries them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.errors import UsageError
from harness.redaction import hide


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a value was written.

    Args:
        file: path of the scenario, or ``""`` for the command line.
        line: from 1; 0 = the whole file.
        option: the override as typed, e.g. ``--set load.rate=5000``; ``""`` for the file.
        order: position of the override on the command line, for sorting.
    """

    file: str = ""
    line: int = 0
    option: str = ""
    order: int = 0

    def __str__(self) -> str:
        if self.option:
            return self.option
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong: where, which key (dotted path), what, what was expected, and the remedy."""

    place: Place
    key: str
    text: str
    expected: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        head = f"{self.place}: {self.key}: {self.text}" if self.key else f"{self.place}: {self.text}"
        lines = [head]
        if self.expected:
            lines.append(f"expected: {self.expected}")
        if self.remedy:
            lines.append(f"remedy: {self.remedy}")
        return "\n    ".join(lines)


class ScenarioError(UsageError):
    """All that is wrong with a scenario, in the order of its lines; known before anything was started."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = "" if count == 1 else f"{count} errors; nothing was started\n"
        super().__init__(head + "\n".join(str(problem) for problem in self.problems))


class Report:
    """Collects problems while a scenario is read; :meth:`raise_if_any` ends the reading."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def add(self, place: Place, key: str, text: str, *, expected: str = "", remedy: str = "") -> None:
        """Notes one problem; the same one is noted once."""
        problem = Problem(place=place, key=hide(key), text=hide(text), expected=expected, remedy=hide(remedy))
        if problem not in self._found:
            self._found.append(problem)

    def raise_if_any(self) -> None:
        """Raises ScenarioError with all problems: those of the file by line, then those of the command line in order."""
        if self._found:
            raise ScenarioError(
                sorted(self._found, key=lambda p: (bool(p.place.option), p.place.order, p.place.line))  # stable
            )


def nearest(word: str, words: Iterable[str]) -> str:
    """Returns the one of ``words`` that ``word`` was probably meant to be, "" where none is close."""
    by_lower = {known.lower(): known for known in words}
    close = difflib.get_close_matches(word.lower().replace("_", "-"), by_lower, n=1, cutoff=0.6) or (
        difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    )
    return by_lower[close[0]] if close else ""


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Returns the remedy for a typing error, e.g. ``did you mean 'redis-stream'?``, or ""."""
    close = nearest(word, words)
    return f"did you mean {close!r}?" if close else ""


def one_of(words: Iterable[str]) -> str:
    """Returns ``one of a, b, c`` for an ``expected`` text."""
    listed = list(words)
    return listed[0] if len(listed) == 1 else f"one of {', '.join(listed)}"
