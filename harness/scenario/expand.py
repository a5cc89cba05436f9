"""Lists of parameter values become cases: one per combination, in the order written."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence

from harness.model import Setup
from harness.scenario.entries import SetupChoice
from harness.scenario.model import Case
from harness.scenario.problems import Report
from harness.scenario.source import Node

MAX_CASES = 500
_MAX_SLUG = 120


def cases(choices: Sequence[SetupChoice], network: str, root: Node, report: Report) -> tuple[Case, ...]:
    """Returns the cases of all setups; notes too many of them, and those that come twice."""
    count = sum(math.prod(len(values) for values in choice.asked.values()) for choice in choices)
    if count > MAX_CASES:
        place = root.nearest("setups").place
        report.add(place, "setups", f"the lists expand to {count:,} cases", expected=f"at most {MAX_CASES}")
        return ()
    found: dict[str, Case] = {}
    slugs: set[str] = set()
    for choice in choices:
        for parameters in _combinations(choice):
            id_ = f"{choice.setup.label(parameters)}@{network}"
            if id_ in found:
                node = choice.node
                report.add(node.place, node.path, f"the case {id_} comes twice", remedy="remove one of the two")
                continue
            found[id_] = _case(id_, choice.setup, parameters, network, slugs)
    return tuple(found.values())


def _combinations(choice: SetupChoice) -> Iterator[dict[str, str]]:
    names = list(choice.asked)
    for values in itertools.product(*choice.asked.values()):
        yield choice.setup.complete(dict(zip(names, values, strict=True)))


def _case(id_: str, setup: Setup, parameters: dict[str, str], network: str, taken: set[str]) -> Case:
    slug = _slug(id_, taken)
    taken.add(slug)
    return Case(id=id_, slug=slug, setup=setup, parameters=parameters, network=network)


def _slug(id_: str, taken: set[str]) -> str:
    """Returns a name for a folder: letters, digits, dots and dashes, unique also where case is not told apart."""
    plain = re.sub(r"[^a-z0-9.]+", "-", id_.lower()).strip("-.")[:_MAX_SLUG]
    numbered = (f"{plain}-{number}" for number in itertools.count(2))
    return next(slug for slug in itertools.chain([plain], numbered) if slug not in taken)
