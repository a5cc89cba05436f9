"""The two sides of an ``ab``: the scenario as each asks it, and who runs its trials."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.places import deployment_of
from harness.errors import UnavailableError, UsageError
from harness.redaction import HIDDEN, hide
from harness.scenario.sites import DOCKER

if TYPE_CHECKING:
    from harness.experiment.pairs import Arm
    from harness.gate.pairs import PairsRecord, SideRecord
    from harness.pairs_folder import PairsFolder
    from harness.scenario.model import Scenario


def command() -> str:
    """Returns what the user typed, without passwords."""
    return shlex.join(["brokerbench", *map(hide, sys.argv[1:])])


def read_side(scenario: str, overrides: Sequence[str], cases: Sequence[str]) -> Scenario:
    """Returns a scenario as one side asks it, of its cases those that match the patterns; raises UsageError."""
    from harness.cli.commands import catalogue  # noqa: PLC0415 - which imports this module
    from harness.scenario.choice import chosen  # noqa: PLC0415 - as above
    from harness.scenario.read import read_scenario  # noqa: PLC0415 - as above

    return chosen(read_scenario(scenario, catalogue(), overrides), cases)


def same_cases(whole: Scenario, part: Scenario, other: Scenario) -> Scenario:
    """Returns of the other side the cases that stand where those of ``part`` stand in ``whole``.

    Raises:
        UsageError: the sides do not have the same number of cases, so that none says which those are.
    """
    from harness.experiment.pairs import require_partners  # noqa: PLC0415 - analysis takes 0.5 s to import

    require_partners(whole, other)
    ids = [case.id for case in part.cases]
    return listed(other, [other.cases[at].id for at, case in enumerate(whole.cases) if case.id in ids])


def listed(scenario: Scenario, ids: Sequence[str]) -> Scenario:
    """Returns a scenario of those cases; all of it where it has none of them."""
    cases = tuple(case for case in scenario.cases if case.id in ids)
    return replace(scenario, cases=cases, load=cases[0].load, workers=cases[0].workers) if cases else scenario


def require_resumable(folder: PairsFolder, record: PairsRecord) -> None:
    """Raises UsageError where pairs that were cut short cannot be gone on with as they were begun."""
    from harness import __version__  # noqa: PLC0415 - as above

    if record.tool_version != __version__:
        raise UsageError(
            f"{folder.path} was begun by brokerbench {record.tool_version}, and this is {__version__}",
            expected="the same version for all pairs",
            remedy=f"pip install brokerbench=={record.tool_version}, or begin anew: {record.command}",
        )
    if any(HIDDEN in key for key in (*record.overrides, *record.a.overrides, *record.b.overrides)):
        raise UsageError(
            f"{folder.path} was begun with a password on the command line, which is stored nowhere",
            expected="an address that names it: redis://:${NAME}@host",
            remedy=f"begin anew: {record.command}",
        )


def python_of(path: Path | None) -> str:
    """Returns a Python's whole path, "" for this one."""
    return "" if path is None else os.path.abspath(path)  # noqa: PTH100 - a virtual environment is known by its link: not resolved


def images_of(option: str, given: Sequence[str], scenario: Scenario) -> dict[str, str]:
    """Returns broker → image; raises UsageError where it is not clear of which broker one is, or none is used."""
    if not given:
        return {}
    brokers = list(dict.fromkeys(case.setup.broker for case in scenario.cases))
    if scenario.deployment != DOCKER:
        raise UsageError(
            f"{option} {given[0]}: the brokers of this scenario run {scenario.deployment}, in no container",
            expected="a scenario on docker",
            remedy="--set deployment=docker",
        )
    found: dict[str, str] = {}
    for text in given:
        named, equals, image = text.partition("=")
        broker, image = (named, image) if equals else (brokers[0] if len(brokers) == 1 else "", text)
        if broker not in brokers or broker in found or not image:
            raise UsageError(
                f"{option} {text}: of which broker it is is not clear",
                expected=f"BROKER=IMAGE, once for each, where BROKER is {' or '.join(brokers)}",
                remedy=f"for example {option} {brokers[0]}={image or 'IMAGE'}",
            )
        found[broker] = image
    return found


def arms_of(
    read: Mapping[str, Scenario],
    sides: Mapping[str, SideRecord],
    keys: Mapping[str, Sequence[str]],
    environment: Mapping[str, str],
    *,
    some: bool,
) -> tuple[Arm, Arm]:
    """Returns who runs the trials of A and of B, each having been asked whether it can.

    Args:
        read: of each side, with those cases alone that are compared. keys: all overrides of a side, with the passwords that no record holds.
        environment: variables as they were at the start. some: the scenario has further cases.

    Raises:
        UsageError: a side cannot run here, or has no brokerbench.
    """
    a, b = (_arm(read[letter], sides[letter], keys[letter], environment, some=some) for letter in ("a", "b"))
    return a, b


def _arm(
    scenario: Scenario, side: SideRecord, keys: Sequence[str], environment: Mapping[str, str], *, some: bool
) -> Arm:
    from harness.experiment.elsewhere import Elsewhere  # noqa: PLC0415 - as above
    from harness.experiment.here import Here, named_images  # noqa: PLC0415 - as above
    from harness.experiment.pairs import Arm  # noqa: PLC0415 - as above

    if scenario.agents.remote:
        raise UsageError(
            f"the scenario asks for {scenario.agents.remote} agents of other machines: pairs are run on this one alone",
            expected="agents of this machine, which both sides share",
            remedy="--set agents=1",
        )
    if side.python:
        elsewhere = Elsewhere(
            python=Path(side.python),
            overrides=keys,
            several=some or len(scenario.cases) > 1,
            images=side.images,
            environment=environment,
        )
        elsewhere.check(scenario)
        return Arm(scenario=scenario, runner=elsewhere)
    deployment = deployment_of(scenario)
    with named_images(side.images):
        for case in scenario.cases:
            if reason := deployment.unavailable(case.setup, case.site):
                raise UnavailableError(f"{case.id}: {reason}")
    return Arm(scenario=scenario, runner=Here(deployment=deployment, command=command(), images=side.images))
