"""Lists of parameter values become cases: one per combination, in the order written."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from harness.scenario.addresses import EXTERNAL
from harness.scenario.entries import SetupChoice
from harness.scenario.keys import WORKERS
from harness.scenario.model import Case, Load, Workers
from harness.scenario.problems import Report
from harness.scenario.sites import DOCKER, Ground, container_of, not_default, where
from harness.scenario.source import Node

MAX_CASES = 500
_MAX_SLUG = 120


Staff = Sequence[tuple[Workers, Mapping[str, int | str]]]
"""The workers of each case, and the values of the keys that were written as lists."""


def cases(
    choices: Sequence[SetupChoice], staff: Staff, ground: Ground, root: Node, report: Report, *, loads: Sequence[Load]
) -> tuple[Case, ...]:
    """Returns the cases of all setups, each with all loads and workers at all sites; notes too many of them, and those that come twice.

    Cases that differ in nothing but their site stand together: what is compared runs one after the other.
    """
    deployment, sites = ground.deployment, dict.fromkeys(ground.sites)
    each = len(loads) * len(staff) * len(sites)
    count = sum(math.prod(len(values) for values in choice.asked.values()) for choice in choices) * each
    if count > MAX_CASES:
        place = root.nearest("setups").place
        report.add(place, "setups", f"the lists expand to {count:,} cases", expected=f"at most {MAX_CASES}")
        return ()
    found: dict[str, Case] = {}
    slugs: set[str] = set()
    for choice in choices:
        every = itertools.product(_combinations(choice), staff, enumerate(loads), sites)
        for written, (workers, varied), (number, load), bare in every:
            site = bare
            if deployment == DOCKER:
                site = replace(bare, container=container_of({n: written[n] for n in choice.contained}))
            external = deployment == EXTERNAL
            parameters = choice.setup.complete(written, as_found=external)
            ceiling = number > 0
            also = {**not_default(site.container), **_not_default(varied), **({"load": "ceiling"} if ceiling else {})}
            id_ = f"{choice.setup.label(parameters, also, as_found=external)}@{where(site, deployment)}"
            if id_ in found:
                node = choice.node
                report.add(node.place, node.path, f"the case {id_} comes twice", remedy="remove one of the two")
                continue
            found[id_] = Case(
                id=id_,
                slug=_slug(id_, slugs),
                setup=choice.setup,
                parameters=parameters,
                network=site.network or deployment,
                site=site,
                load=load,
                workers=workers,
                varied=varied,
                ceiling=ceiling,
            )
            slugs.add(found[id_].slug)
    return tuple(found.values())


def _not_default(varied: Mapping[str, int | str]) -> dict[str, int | str]:
    defaults = {key.name: key.default for key in WORKERS.keys}
    return {name: value for name, value in varied.items() if str(value) != defaults[name]}


def _combinations(choice: SetupChoice) -> Iterator[dict[str, str]]:
    names = list(choice.asked)
    for values in itertools.product(*choice.asked.values()):
        yield dict(zip(names, values, strict=True))


def _slug(id_: str, taken: set[str]) -> str:
    """Returns a name for a folder: letters, digits, dots and dashes, unique also where case is not told apart."""
    plain = re.sub(r"[^a-z0-9.]+", "-", id_.lower()).strip("-.")[:_MAX_SLUG]
    numbered = (f"{plain}-{number}" for number in itertools.count(2))
    return next(slug for slug in itertools.chain([plain], numbered) if slug not in taken)
