"""Imports all that may run in the container: a package that is missing is seen now, and everything is compiled."""

import importlib
import pkgutil

import harness.brokers
import harness.load

for package in (harness.brokers, harness.load):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
