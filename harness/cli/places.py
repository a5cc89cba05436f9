"""Which deployment runs a scenario: the one that it names, or the one that this machine has everything for."""

from __future__ import annotations

import os
from collections.abc import Sequence

from harness.deployments.contract import Deployment
from harness.deployments.embedded import EmbeddedDeployment
from harness.deployments.external import ExternalDeployment
from harness.model import Setup
from harness.scenario.model import Scenario
from harness.scenario.sites import DOCKER

DEPLOYMENTS = (DOCKER, EmbeddedDeployment.name, ExternalDeployment.name)


def default_deployment(setups: Sequence[Setup]) -> str:
    """Returns where a scenario of these setups runs that does not say so."""
    return EmbeddedDeployment.name


def deployment_of(scenario: Scenario) -> Deployment:
    """Returns where the scenario's brokers run; no child of ours gets the environment variables of their addresses."""
    if scenario.deployment == DOCKER:
        from harness.deployments.docker import DockerDeployment  # noqa: PLC0415 - the SDK takes 0.2 s to import

        return DockerDeployment()
    if scenario.address is None:
        return EmbeddedDeployment()
    for name in scenario.address.variables:
        os.environ.pop(name, None)
    return ExternalDeployment(scenario.address.urls)
