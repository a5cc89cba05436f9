"""Drivers: the code that speaks to brokers, one module per setup, found by name.

A module declares ``SETUP`` (:class:`harness.model.Setup`) and ``DRIVER`` (a class with the constructor and methods of
:class:`harness.brokers.contract.Driver`). A module whose name begins with ``_`` is shared by drivers. Third parties declare an
entry point ``brokerbench.drivers`` whose name is the setup's and whose value is such a module.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType

from harness import redaction
from harness.brokers.contract import Driver, DriverOptions
from harness.errors import UsageError
from harness.model import Parameters, Setup

PURGE_LIMIT_S = 5.0
_SHARED = {"contract", "checked", "synchronous"}


@cache
def _modules() -> dict[str, str]:
    """Returns setup name → module name, without importing a client library's driver before it is wanted."""
    own = {
        m.name.replace("_", "-"): f"{__name__}.{m.name}"
        for m in pkgutil.iter_modules(__path__)
        if not m.name.startswith("_") and m.name not in _SHARED
    }
    return own | {point.name: point.value for point in entry_points(group="brokerbench.drivers")}


def is_ours(name: str) -> bool:
    """Returns whether the driver of a setup comes with this package, and so into the image of the load."""
    return _modules().get(name, "").startswith(f"{__name__}.")


def names() -> list[str]:
    """Returns the names of all setups, sorted."""
    return sorted(_modules())


@cache
def _load(name: str) -> ModuleType:
    if name not in _modules():
        raise UsageError(f"setup {name!r} does not exist", expected=f"one of {', '.join(names())}")
    try:
        module = importlib.import_module(_modules()[name])
    except ImportError as error:
        raise UsageError(
            f"setup {name!r} needs the Python package {error.name!r}, which is not installed",
            remedy=f"pip install {error.name}",
        ) from error
    declared = getattr(module, "SETUP", None)
    if not isinstance(declared, Setup) or declared.name != name or not hasattr(module, "DRIVER"):
        raise UsageError(
            f"the module {_modules()[name]!r} is no driver of the setup {name!r}",
            expected=f"SETUP, a Setup of the name {name!r}, and DRIVER, a class",
            remedy="correct it, or uninstall the package that declares it as an entry point brokerbench.drivers",
        )
    return module


def setup(name: str) -> Setup:
    """Returns the setup of that name; raises UsageError for an unknown one or a missing client library."""
    found: Setup = _load(name).SETUP
    return found


class _Setups(Mapping[str, Setup]):
    """All setups by name; a driver's client library is imported when its setup is looked at, which takes up to 0.1 s."""

    def __getitem__(self, name: str) -> Setup:
        if name not in self:
            raise KeyError(name)
        return setup(name)

    def __contains__(self, name: object) -> bool:
        return name in _modules()

    def __iter__(self) -> Iterator[str]:
        return iter(names())

    def __len__(self) -> int:
        return len(_modules())


def setups() -> Mapping[str, Setup]:
    """Returns all setups by name, sorted; each is loaded when it is looked at, as by :func:`setup`."""
    return _Setups()


def purge_queue(queue: str, *, setup: str, address: str, parameters: Parameters) -> None:
    """Removes all that belongs to a queue of ours from a broker; raises BrokerbenchError where it cannot be asked."""
    driver = open_driver(
        DriverOptions(
            setup=setup,
            address=address,
            queue=queue,
            parameters=parameters,
            client="cleaner",
            connect_timeout_s=PURGE_LIMIT_S,
            answer_timeout_s=PURGE_LIMIT_S,
        )
    )
    try:
        driver.connect()
        driver.purge()
    finally:
        driver.close()


def open_driver(options: DriverOptions) -> Driver:
    """Returns a driver, not yet connected."""
    redaction.keep(options.address)
    driver: Driver = _load(options.setup).DRIVER(options)
    return driver
