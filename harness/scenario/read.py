"""The way from a name or a file to a :class:`Scenario`: everything is validated before anything starts, all errors at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from harness import redaction
from harness.scenario import expand, shipped
from harness.scenario.addresses import addresses, secrets_in_one_piece
from harness.scenario.build import ceiling_of, load_of, timed, workers_of
from harness.scenario.catalogue import Catalogue
from harness.scenario.checks import Draft, check
from harness.scenario.describe import as_dict, describe
from harness.scenario.keys import scenario_table
from harness.scenario.model import Case, Load, Scenario
from harness.scenario.problems import Report
from harness.scenario.shapes import BAD
from harness.scenario.sites import Ground, default_deployment, ground_of
from harness.scenario.source import Node, load_file, override, trials_override

__all__ = ["as_dict", "describe", "read_scenario"]


def read_scenario(
    source: str | Path, catalogue: Catalogue, overrides: Sequence[str] = (), *, trials: int | None = None
) -> Scenario:
    """Returns a scenario, complete and sound.

    Args:
        source: name of one that ships, or a path.
        catalogue: what may be named in it.
        overrides: ``key=value`` as given to ``--set``, applied in order after reading.
        trials: as given to ``--trials``.

    Raises:
        UsageError: it does not exist or cannot be read; ScenarioError with everything that is wrong with it.
    """
    path = shipped.find(source)
    text, root = load_file(path)
    report = Report()
    root = trials_override(override(root, overrides, report), trials)
    values = scenario_table(catalogue).read(root, report)
    scenario = _assemble(values, root, catalogue, report) if isinstance(values, dict) else None
    secrets_in_one_piece(root, text, report)
    report.raise_if_any()
    assert scenario is not None
    noted = _noted(overrides, trials)
    return Scenario(name=path.stem, path=str(path), text=redaction.hide(text), overrides=noted, **scenario)


def _assemble(values: dict[str, Any], root: Node, catalogue: Catalogue, report: Report) -> dict[str, Any]:
    """Returns the fields of a Scenario; they mean something only where ``report`` holds no problem."""
    deployment = _deployment(values, root, catalogue)
    unknown = BAD in (values["setups"], deployment, values["network"], values["client"])
    ground = Ground(deployment="", sites=())
    if not unknown:
        ground = ground_of(deployment, values["network"], values["client"])
    load_values, phases_values = values["load"], values["phases"]
    load = load_of(load_values, root, report) if isinstance(load_values, dict) else None
    rate_per_s = load_values["rate"] if isinstance(load_values, dict) else None
    phases = None
    if isinstance(phases_values, dict):
        load, phases = timed(load, rate_per_s, phases_values, root)
    ceiling = ceiling_of(load, load_values) if isinstance(load_values, dict) else None
    staff = workers_of(values["workers"]) if isinstance(values["workers"], dict) else None
    faults = values["faults"] or ()
    draft = Draft(
        root=root,
        load=load,
        workers=None if staff is None else max((each for each, _ in staff), key=lambda each: each.prefetch),
        setups=None if values["setups"] is BAD else values["setups"],
        idempotency=() if staff is None else tuple(each.idempotency for each, _ in staff),
        phases=phases,
        faults=None if faults is BAD else faults,
        agents=values["agents"],
        deployment=deployment,
        sites=ground.sites,
        catalogue=catalogue,
    )
    check(draft, report)
    setups = values["setups"]
    cases: tuple[Case, ...] = ()
    if not unknown and staff is not None:
        loads = [cast("Load", load), *([] if ceiling is None else [ceiling])]
        cases = expand.cases(setups, staff, ground, root, report, loads=loads)
    address = None
    if not unknown and values["address"] is not BAD:
        chosen = [choice.setup for choice in setups]
        address = addresses(values["address"], deployment, chosen, root, report)
    return {
        "address": address,
        "question": values["question"],
        "expect": values["expect"] or "",
        "deployment": deployment,
        "cases": cases,
        "load": load,
        "workers": cases[0].workers if cases else None,
        "phases": phases,
        "faults": faults,
        "trials": values["trials"],
        "agents": values["agents"],
        "seed": values["seed"],
        "slo": values["slo"] or (),
    }


def _deployment(values: dict[str, Any], root: Node, catalogue: Catalogue) -> Any:
    """Returns the deployment that is written, else the default; BAD where something that decides it is wrong."""
    if values["deployment"] is not None:
        return values["deployment"]
    if BAD in (values["setups"], values["faults"], values["agents"]):
        return BAD
    contained = any(choice.contained for choice in values["setups"])
    return default_deployment(values, root, contained, catalogue.default)


def _noted(overrides: Sequence[str], trials: int | None) -> tuple[str, ...]:
    return (*map(redaction.hide, overrides), *(() if trials is None else (f"trials={trials}",)))
