"""A small catalogue with the shapes of real setups and faults, and helpers that read scenarios from text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.model import DurabilityClass, Parameter, Setup, Traits
from harness.scenario.catalogue import Catalogue
from harness.scenario.model import Scenario
from harness.scenario.problems import Problem, ScenarioError
from harness.scenario.read import read_scenario

SCHEMES = {"redis": ("redis", "rediss"), "postgres": ("postgresql", "postgres")}


def _setup(name: str, *parameters: Parameter) -> Setup:
    return Setup(
        name=name,
        broker=name.partition("-")[0],
        summary=f"{name} for tests",
        traits=Traits(at_most_once=name == "redis-list"),
        parameters=parameters,
        durability=lambda _: DurabilityClass.MEMORY,
        claims=lambda _: (),
        schemes=SCHEMES.get(name.partition("-")[0], ()),
    )


def _count(text: str) -> int:
    if not text.isdigit():
        raise ValueError(f"{text!r} is no count; expected a whole number")
    return int(text)


PERSISTENCE = Parameter(
    name="persistence",
    values=("aof-everysec", "none", "aof-always"),
    meaning="what survives the server",
    of_broker=True,
)
COMMIT = Parameter(name="synchronous_commit", values=("on", "off"), of_broker=True)
UNLOGGED = Parameter(name="unlogged", values=("false", "true"))

SETUPS = (
    _setup("redis-list", PERSISTENCE),
    _setup("redis-stream", PERSISTENCE),
    _setup("postgres-lease", COMMIT, UNLOGGED),
    _setup("null", Parameter(name="drop", check=_count, meaning="how many confirmed messages are thrown away")),
)


@dataclass(frozen=True)
class Key:
    name: str
    unit: str
    default: str | None = None
    meaning: str = ""


@dataclass(frozen=True)
class Spec:
    verb: str
    target: str
    keys: Sequence[Key]
    summary: str = "for tests"


FAULTS = (
    Spec("kill", "broker", (Key("restart_after", "duration", "2 s"),)),
    Spec("restart", "broker", (Key("stop_timeout", "duration", "10 s"),)),
    Spec("recreate", "broker", (Key("stop_timeout", "duration", "10 s"),)),
    Spec("pause", "broker", (Key("for", "duration"),)),
    Spec("kill", "worker", (Key("count", "count", "1"), Key("replace_after", "duration or never", "1 s"))),
    Spec("kill", "producer", (Key("count", "count", "1"),)),
    Spec("cut", "producer", (Key("count", "count", "1"), Key("every", "duration", "500 ms"))),
)

CATALOGUE = Catalogue(
    setups={setup.name: setup for setup in SETUPS},
    faults={(fault.verb, fault.target): fault for fault in FAULTS},
    deployments=("docker", "embedded", "external"),
)

MINIMAL = "question: Does it work?\nsetups: [redis-stream]\nload: {rate: 1000/s}\n"


def read_text(tmp_path: Path, text: str, *overrides: str, trials: int | None = None) -> Scenario:
    """Reads a scenario from YAML text."""
    path = tmp_path / "asked.yaml"
    path.write_text(text, encoding="utf-8")
    return read_scenario(path, CATALOGUE, overrides, trials=trials)


def problems_of(tmp_path: Path, text: str, *overrides: str, trials: int | None = None) -> tuple[Problem, ...]:
    """Returns everything that is wrong with a scenario; fails where nothing is."""
    with pytest.raises(ScenarioError) as caught:
        read_text(tmp_path, text, *overrides, trials=trials)
    return caught.value.problems


def problem_of(tmp_path: Path, text: str, *overrides: str) -> Problem:
    """Returns the one thing that is wrong with a scenario."""
    problems = problems_of(tmp_path, text, *overrides)
    assert len(problems) == 1, "\n".join(map(str, problems))
    return problems[0]
