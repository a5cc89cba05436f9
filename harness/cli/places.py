"""Which deployment runs a scenario: the one that it names, or the one that this machine has everything for."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache

from harness.cli.output import say
from harness.deployments._servers import SERVERS
from harness.deployments.contract import Deployment
from harness.deployments.embedded import EmbeddedDeployment
from harness.deployments.external import ExternalDeployment
from harness.errors import UnavailableError, UsageError
from harness.model import Setup, Site
from harness.scenario.model import Scenario
from harness.scenario.sites import CLIENTS, DOCKER, NETWORKS

DEPLOYMENTS = (DOCKER, EmbeddedDeployment.name, ExternalDeployment.name)
DOCKER_BROKERS = tuple(SERVERS)
DEFAULT_SITE = Site(network=NETWORKS[0], client=CLIENTS[0])


def why_not_docker(setup: Setup) -> str:
    """Returns why this machine cannot run a setup on Docker at once, with the remedy; "" where it can.

    Pulls and makes nothing: an image that would first have to come is a reason, too.
    """
    return _why_no_docker() or _why_not_there(setup)


def why_not_embedded(setup: Setup) -> str:
    """Returns why this machine cannot run a setup as child processes, with the remedy; "" where it can."""
    return EmbeddedDeployment().unavailable(setup)


def default_deployment(setups: Sequence[Setup], why_not: Callable[[Setup], str] = why_not_docker) -> str:
    """Returns where a scenario of these setups runs that does not say so: on docker where it can all run there at once."""
    return EmbeddedDeployment.name if any(map(why_not, setups)) else DOCKER


def deployment_of(scenario: Scenario, *, init_swarm: bool = False, quiet: bool = False) -> Deployment:
    """Returns where the scenario's brokers run; no child of ours gets the environment variables of their addresses.

    Args:
        init_swarm: the user's leave to make a swarm for an overlay network.
        quiet: say nothing on stderr of images that are pulled or made.
    """
    if scenario.deployment == DOCKER:
        from harness.containers import compose  # noqa: PLC0415 - the SDK takes 0.2 s to import

        compose.look_ahead()
        from harness.deployments.docker import DockerDeployment  # noqa: PLC0415 - as above

        return DockerDeployment(init_swarm=init_swarm, say=_silent if quiet else _tell)
    if scenario.address is None:
        return EmbeddedDeployment()
    for name in scenario.address.variables:
        os.environ.pop(name, None)
    return ExternalDeployment(scenario.address.urls)


def _tell(line: str) -> None:
    with suppress(OSError):  # nobody reads stderr: no reason not to run
        say(line, err=True)


def _silent(line: str) -> None:
    pass


def require_page(scenario: Scenario) -> None:
    """Refuses Locust's page where nobody could open it.

    Raises:
        UsageError: the load runs in a container on a network of its own.
    """
    for case in scenario.cases:
        if case.site.client == "container" and case.site.network != "host":
            raise UsageError(
                f"--web: {case.id} runs the load in a container, whose page on 127.0.0.1 is not this machine's",
                expected="the load on this machine, or on the host network",
                remedy="--set client=host, --set network=host, or --set deployment=embedded",
            )


@cache
def _why_no_docker() -> str:
    """Returns what is missing whatever the setup: the engine, Compose, the image of the load or what it is made on."""
    from harness.containers import building, compose, engine, images  # noqa: PLC0415 - as above

    try:
        reason = engine.why_no_engine() or compose.why_not()
        if reason or images.present_load() or building.exists(building.reference("libraries")):
            return reason
    except UnavailableError as error:
        return str(error)
    return f"the image of the load is not here\n  remedy: {images.BUILD}"


def _why_not_there(setup: Setup) -> str:
    from harness.containers import images  # noqa: PLC0415 - as above
    from harness.deployments.docker import DockerDeployment  # noqa: PLC0415

    try:
        if setup.broker in images.OFFICIAL and images.present(setup.broker) is None:
            return f"no image of {setup.broker} is here\n  remedy: {images.BUILD}, or docker pull {images.OFFICIAL[setup.broker]}"
        return DockerDeployment().why_not(setup, DEFAULT_SITE)
    except UnavailableError as error:
        return str(error)
