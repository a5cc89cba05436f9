"""Lists of parameter values become cases: one per combination, in the order written."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence

from harness.model import NO_CHOICE
from harness.scenario.addresses import EXTERNAL
from harness.scenario.entries import SetupChoice
from harness.scenario.keys import WORKERS
from harness.scenario.model import Case, Workers
from harness.scenario.problems import Report
from harness.scenario.source import Node

MAX_CASES = 500
_MAX_SLUG = 120


Staff = Sequence[tuple[Workers, Mapping[str, int | str]]]
"""The workers of each case, and the values of the keys that were written as lists."""


def cases(choices: Sequence[SetupChoice], staff: Staff, network: str, root: Node, report: Report) -> tuple[Case, ...]:
    """Returns the cases of all setups, each with all workers; notes too many of them, and those that come twice."""
    count = sum(math.prod(len(values) for values in choice.asked.values()) for choice in choices) * len(staff)
    if count > MAX_CASES:
        place = root.nearest("setups").place
        report.add(place, "setups", f"the lists expand to {count:,} cases", expected=f"at most {MAX_CASES}")
        return ()
    found: dict[str, Case] = {}
    slugs: set[str] = set()
    for choice in choices:
        for parameters, (workers, varied) in itertools.product(_combinations(choice, network), staff):
            label = choice.setup.label(parameters, _not_default(varied), as_found=network == EXTERNAL)
            id_ = f"{label}@{network}"
            if id_ in found:
                node = choice.node
                report.add(node.place, node.path, f"the case {id_} comes twice", remedy="remove one of the two")
                continue
            found[id_] = Case(
                id=id_,
                slug=_slug(id_, slugs),
                setup=choice.setup,
                parameters=parameters,
                network=network,
                site=NO_CHOICE,
                workers=workers,
                varied=varied,
            )
            slugs.add(found[id_].slug)
    return tuple(found.values())


def _not_default(varied: Mapping[str, int | str]) -> dict[str, int | str]:
    defaults = {key.name: key.default for key in WORKERS.keys}
    return {name: value for name, value in varied.items() if str(value) != defaults[name]}


def _combinations(choice: SetupChoice, network: str) -> Iterator[dict[str, str]]:
    names = list(choice.asked)
    for values in itertools.product(*choice.asked.values()):
        yield choice.setup.complete(dict(zip(names, values, strict=True)), as_found=network == EXTERNAL)


def _slug(id_: str, taken: set[str]) -> str:
    """Returns a name for a folder: letters, digits, dots and dashes, unique also where case is not told apart."""
    plain = re.sub(r"[^a-z0-9.]+", "-", id_.lower()).strip("-.")[:_MAX_SLUG]
    numbered = (f"{plain}-{number}" for number in itertools.count(2))
    return next(slug for slug in itertools.chain([plain], numbered) if slug not in taken)
