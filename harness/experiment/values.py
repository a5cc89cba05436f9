"""The values of ``--over KEY=v1,v2,…``: each makes a scenario of its own, and all are read before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import UsageError
from harness.scenario.catalogue import Catalogue
from harness.scenario.describe import as_dict
from harness.scenario.model import Scenario
from harness.scenario.problems import Problem, ScenarioError
from harness.scenario.read import read_scenario
from harness.units import parse_duration_s, parse_rate_per_s, parse_ratio, parse_size_bytes

EXAMPLE = "workers.prefetch=1,10,100,1000"
LEAST = 2
NOT_SWEPT = {
    "trials": "say how often each value is run with --trials",
    "question": "it changes nothing that is measured",
    "expect": "it changes nothing that is measured",
    "slo": "it changes nothing that is measured",
    "seed": "it changes nothing about the broker: to see the noise, repeat a value with --trials",
}
_OPENS, _CLOSES = "[{", "]}"
_KINDS: tuple[Callable[[object], float], ...] = (parse_ratio, parse_duration_s, parse_size_bytes, parse_rate_per_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """One value of the key.

    Args:
        text: as written. at: in base units; None = it is a word, as are all then. scenario: with the key at this value.
    """

    text: str
    at: float | None
    scenario: Scenario


def read_over(over: str) -> tuple[str, tuple[str, ...]]:
    """Returns the key and the texts of ``KEY=v1,v2,…``; a comma inside brackets or quotes divides nothing.

    Raises:
        UsageError: no key, fewer than two values, one of them twice, or a key that is not for sweeping.
    """
    key, equals, rest = over.partition("=")
    key = key.strip()
    texts = _divided(rest) if equals else []
    problem = remedy = ""
    if not key or not equals:
        problem = "names no key and values"
    elif key.partition(".")[0] in NOT_SWEPT:
        problem, remedy = f"{key.partition('.')[0]} is not for sweeping", NOT_SWEPT[key.partition(".")[0]]
    elif not all(texts):
        problem = "has an empty value"
    elif len(texts) < LEAST:
        problem = f"has {len(texts)} value: no curve goes through one point"
    elif twice := next((text for text in texts if texts.count(text) > 1), ""):
        problem = f"has the value {twice} twice"
    if problem:
        raise UsageError(
            f"--over {over}: {problem}",
            expected="a key of the scenario and at least two different values",
            remedy=remedy or f"for example --over {EXAMPLE}",
        )
    return key, tuple(texts)


def read_values(
    source: str | Path, catalogue: Catalogue, overrides: Sequence[str], key: str, texts: Sequence[str]
) -> tuple[Value, ...]:
    """Returns every value with its scenario, in ascending order; words in the order given.

    Cases in which no value changes anything are left out.

    Raises:
        UsageError: the scenario cannot be read; an override is of the swept key; two values mean the same; they give different numbers
            of cases. ScenarioError: everything that is wrong with the scenario or with any value.
    """
    _require_others(overrides, key)
    scenarios: dict[str, Scenario] = {}
    problems: list[Problem] = []
    for text in texts:
        given = f"{key}={text}"
        try:
            scenarios[text] = read_scenario(source, catalogue, [*overrides, given])
        except ScenarioError as error:
            problems += [_of_over(problem, given) for problem in error.problems]
    if problems:
        raise _wrong(list(dict.fromkeys(problems)), key, lambda: read_scenario(source, catalogue, overrides))
    _require_alike(key, scenarios)
    at = _positions(texts)
    kept = _touched(list(scenarios.values()))
    values = [
        Value(text=text, at=place, scenario=_of_cases(scenarios[text], kept))
        for text, place in zip(texts, at, strict=True)
    ]
    return tuple(values if None in at else sorted(values, key=lambda value: value.at or 0.0))


def _require_others(overrides: Sequence[str], key: str) -> None:
    """Raises UsageError for an override that every value would take back."""
    for each in overrides:
        name = each.partition("=")[0].strip()
        if f"{name}.".startswith(f"{key}."):
            raise UsageError(
                f"--set {each}: {key} is what --over sweeps, so nothing would be left of it",
                expected="another key",
                remedy="leave it out, or add its value to those of --over",
            )


def _wrong(problems: Sequence[Problem], key: str, without: Callable[[], Scenario]) -> UsageError:
    """Returns what is wrong with values; where a case comes twice only because of them, in words for that.

    Args:
        without: reads the scenario without any of the values.
    """
    twice = all(problem.text.endswith(" comes twice") for problem in problems)
    with suppress(UsageError):
        if twice and without():
            raised = "; ".join(problem.text for problem in problems)
            return UsageError(
                f"--over {key}: {raised}: the scenario names that setup more than once, and a value is given to each of them",
                expected="a scenario in which no two cases are the same at a value",
                remedy="sweep a copy of the scenario that names the setup once",
            )
    return ScenarioError(problems)


def _of_over(problem: Problem, given: str) -> Problem:
    """Returns a problem that a value has, as one of ``--over``."""
    if problem.place.option != f"--set {given}":
        return problem
    return replace(problem, place=replace(problem.place, option=f"--over {given}"))


def _require_alike(key: str, scenarios: dict[str, Scenario]) -> None:
    """Raises UsageError where values cannot be points of the same curves."""
    first, other = next(iter(scenarios.items()))
    for text, scenario in scenarios.items():
        if len(scenario.cases) != len(other.cases):
            raise UsageError(
                f"--over {key}: {first} gives {len(other.cases)} cases, {text} gives {len(scenario.cases)}",
                expected="values of which each gives as many cases, so that every case has a curve",
                remedy="give single values, not lists",
            )
    meant: dict[str, str] = {}
    for text, scenario in scenarios.items():
        same = meant.setdefault(repr(as_dict(scenario)), text)
        if same != text:
            raise UsageError(
                f"--over {key}: {same} and {text} are the same scenario",
                expected="values that differ",
                remedy="leave one out, or look whether another key of the scenario decides here: brokerbench check",
            )


def _touched(scenarios: Sequence[Scenario]) -> list[int]:
    """Returns the positions of the cases in which the values make a difference: a setup's parameter makes none for other setups."""
    first = scenarios[0]
    every = range(len(first.cases))
    if any(_of_all_cases(each) != _of_all_cases(first) for each in scenarios):
        return list(every)
    return [at for at in every if any(each.cases[at] != first.cases[at] for each in scenarios)]


def _of_all_cases(scenario: Scenario) -> tuple[object, ...]:
    """Returns what holds for all cases alike; load and workers are each case's own."""
    return (scenario.deployment, scenario.address, scenario.phases, scenario.faults, scenario.agents)


def _of_cases(scenario: Scenario, kept: Sequence[int]) -> Scenario:
    return replace(scenario, cases=tuple(scenario.cases[at] for at in kept))


def _positions(texts: Sequence[str]) -> list[float | None]:
    """Returns every value in base units, None for each where they are not quantities of one kind."""
    for parse in _KINDS:
        try:
            return [parse(text.strip().strip("'\"")) for text in texts]
        except ValueError:
            continue
    return [None] * len(texts)


def _divided(text: str) -> list[str]:
    """Returns the parts between commas that stand in no brackets and no quotes."""
    parts, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in _OPENS:
            depth += 1
        elif sign in _CLOSES:
            depth -= 1
        if sign == "," and depth <= 0 and not quote:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]
