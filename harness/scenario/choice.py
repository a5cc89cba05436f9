"""Some of a scenario's cases, chosen by patterns of their ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from harness.errors import UsageError
from harness.scenario.model import Scenario
from harness.scenario.problems import did_you_mean


def matches(pattern: str, case_id: str) -> bool:
    """Returns whether a pattern matches an id: ``*`` and ``?`` stand for any text and any letter, brackets for themselves."""
    return fnmatchcase(case_id, pattern.replace("[", "[[]"))


def chosen(scenario: Scenario, patterns: Sequence[str]) -> Scenario:
    """Returns a scenario of those cases that match one of the patterns, in its order; all of it where there is no pattern.

    Raises:
        UsageError: a pattern matches no case.
    """
    ids = [case.id for case in scenario.cases]
    for pattern in patterns:
        if not any(matches(pattern, each) for each in ids):
            raise UsageError(
                f"--case {pattern} matches no case of {scenario.name}",
                expected=f"one of {', '.join(ids)}, or a pattern such as 'redis-*'",
                remedy=did_you_mean(pattern, ids) or "put the pattern in quotes, so that the shell leaves it alone",
            )
    if not patterns:
        return scenario
    cases = tuple(case for case in scenario.cases if any(matches(pattern, case.id) for pattern in patterns))
    return replace(scenario, cases=cases, load=cases[0].load, workers=cases[0].workers)
