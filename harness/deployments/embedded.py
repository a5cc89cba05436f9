"""Brokers as child processes of this machine: a private folder, 127.0.0.1, a free port; no Docker.

One broker = one module ``embedded_<broker>.py`` beside this one, found by name, with three functions: ``unavailable() -> str``,
``version() -> str`` and ``up(options: BrokerOptions) -> Broker``, which mean what :class:`harness.deployments.contract.Deployment`
says. A launcher finds ``options.folder`` made (mode 0700, journalled) and ``options.logs`` existing.
"""

from __future__ import annotations

import importlib
import pkgutil
import shutil
from functools import cache
from typing import Protocol, cast

import harness.deployments
from harness.deployments._here import ThisMachine
from harness.deployments.contract import Broker, BrokerOptions
from harness.errors import UnavailableError
from harness.model import NO_CHOICE, Setup, Site

_PREFIX = "embedded_"


class Launcher(Protocol):
    """The functions of a launcher's module."""

    def unavailable(self) -> str:
        """Returns why the server cannot run here, with the remedy; "" when it can."""

    def version(self) -> str:
        """Returns which server would run, and where it comes from."""

    def up(self, options: BrokerOptions) -> Broker:
        """Starts a fresh broker; returns once its process runs and its port answers."""


class EmbeddedDeployment:
    """Starts brokers as child processes."""

    name = "embedded"

    def unavailable(self, setup: Setup, site: Site = NO_CHOICE) -> str:
        """Returns why this machine cannot run the setup, with the remedy; "" when it can."""
        if setup.broker not in brokers():
            return f"the embedded deployment has no {setup.broker}; it has {', '.join(brokers())}"
        return _launcher(setup.broker).unavailable()

    def version(self, setup: Setup) -> str:
        """Returns which server would run."""
        return _launcher(setup.broker).version()

    def up(self, options: BrokerOptions) -> Broker:
        """Starts a fresh broker.

        Raises:
            UnavailableError: this machine cannot run it. StartError: it did not come up; nothing of it is left.
        """
        reason = self.unavailable(options.setup, options.site)
        if reason:
            raise UnavailableError(reason)
        options.logs.mkdir(parents=True, exist_ok=True)
        options.journal.folder(options.folder)
        options.meanwhile(ThisMachine(options.journal))
        try:
            return _launcher(options.setup.broker).up(options)
        except BaseException:
            shutil.rmtree(options.folder, ignore_errors=True)
            raise


@cache
def brokers() -> list[str]:
    """Returns the brokers that can be embedded, sorted."""
    found = pkgutil.iter_modules(harness.deployments.__path__)
    return sorted(module.name.removeprefix(_PREFIX) for module in found if module.name.startswith(_PREFIX))


@cache
def _launcher(broker: str) -> Launcher:
    return cast("Launcher", importlib.import_module(f"{harness.deployments.__name__}.{_PREFIX}{broker}"))
