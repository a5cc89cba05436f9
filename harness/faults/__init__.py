"""Faults, one module each, found by name; third parties declare an entry point ``brokerbench.faults`` that names a module with ``FAULT``."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points

from harness.faults.contract import Fault


@cache
def faults() -> dict[tuple[str, str], type[Fault]]:
    """Returns all faults by (verb, target), as scenarios write them: ``kill: broker``."""
    own = [f"{__name__}.{m.name}" for m in pkgutil.iter_modules(__path__) if m.name != "contract"]
    modules = [*own, *(point.value for point in entry_points(group="brokerbench.faults"))]
    found: list[type[Fault]] = [importlib.import_module(name).FAULT for name in modules]
    return {(fault.verb, fault.target): fault for fault in found}
