"""Faults, one module each, found by name; third parties declare an entry point ``brokerbench.faults`` that names a module with ``FAULT``."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points

from harness.errors import UsageError
from harness.faults.contract import Fault

_PARTS = ("verb", "target", "kind", "keys", "summary", "inject", "heal")


@cache
def faults() -> dict[tuple[str, str], type[Fault]]:
    """Returns all faults by (verb, target), as scenarios write them: ``kill: broker``.

    Raises:
        UsageError: what a package of a third party declares is no fault, or has the name of another.
    """
    own = [f"{__name__}.{m.name}" for m in pkgutil.iter_modules(__path__) if m.name != "contract"]
    found: dict[tuple[str, str], type[Fault]] = {}
    for module in [*own, *(point.value for point in entry_points(group="brokerbench.faults"))]:
        fault = _load(module)
        name = (fault.verb, fault.target)
        if name in found:
            raise UsageError(
                f"the fault '{fault.verb}: {fault.target}' is there twice: in {found[name].__module__} and in {module}",
                remedy="give one another name, or uninstall its package",
            )
        found[name] = fault
    return found


def _load(module: str) -> type[Fault]:
    remedy = "correct it, or uninstall the package that declares it as an entry point brokerbench.faults"
    try:
        fault: type[Fault] | None = getattr(importlib.import_module(module), "FAULT", None)
    except ImportError as error:
        raise UsageError(f"the fault module {module!r} cannot be imported: {error}", remedy=remedy) from error
    if missing := [part for part in _PARTS if not hasattr(fault, part)]:
        problem = f"FAULT in the module {module!r} has no {', '.join(missing)}"
        raise UsageError(problem, expected="what harness.faults.contract says", remedy=remedy)
    assert fault is not None
    return fault
