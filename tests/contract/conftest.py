"""Real brokers for the contract suite, one per broker kind and settings, each test on a queue of its own.

A server that this machine lacks skips its tests, with the reason; ``tests/conftest.py`` makes that a failure in CI. A test
that does not apply to a setup is not made for it (``only_setups``). With ``BROKERBENCH_ADDRESS`` set to a URL the drivers of its broker are tested
there, on a server that runs already: a driver of a third party is (docs/adding-a-driver.md).

A test that is marked ``everywhere`` runs on Docker too, at the port that a container publishes: what depends on where a broker runs, and enough of the
rest to know that the images serve every setup. With ``BROKERBENCH_DEPLOYMENT=docker`` all of ``test_drivers.py``, ``test_settling.py`` and
``test_broker_faults.py`` does, and nothing embedded.
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol
from urllib.parse import urlsplit

import pytest

from harness import brokers
from harness.brokers.contract import DriverOptions
from harness.deployments.contract import Broker, BrokerOptions, Deployment
from harness.deployments.docker import DockerDeployment
from harness.deployments.embedded import EmbeddedDeployment
from harness.deployments.external import ExternalDeployment
from harness.errors import Unreachable
from harness.journal import Journal
from harness.model import NO_CHOICE, Container, Setup, Site
from tests.contract.line import Line, eventually


def _deployment() -> Deployment:
    if address := os.environ.get("BROKERBENCH_ADDRESS", ""):
        there = (setup.broker for setup in brokers.setups().values() if urlsplit(address).scheme in setup.schemes)
        return ExternalDeployment(dict.fromkeys(there, address))
    return DockerDeployment() if os.environ.get("BROKERBENCH_DEPLOYMENT") == "docker" else EmbeddedDeployment()


DEPLOYMENT = _deployment()
DOCKER = DockerDeployment()
SITE = Site(network="bridge", client="host", container=Container())
ON_DOCKER = ("redis", "rabbitmq", "postgres")


class StartBroker(Protocol):
    """Starts a broker, or returns one that runs."""

    def __call__(self, setup: Setup, parameters: Mapping[str, str], deployment: Deployment = DEPLOYMENT) -> Broker: ...


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Makes a test for every setup that it is for, and where it needs a broker for every place that it is for."""
    if "setup" not in metafunc.fixturenames:
        return
    only = metafunc.definition.get_closest_marker("setups")
    names = list(only.args) if only else brokers.names()
    if DEPLOYMENT.name == "docker":
        names = [name for name in names if brokers.setup(name).broker in ON_DOCKER]
    if "deployment" not in metafunc.fixturenames:
        metafunc.parametrize("setup", names, indirect=True)
        return
    made = [pytest.param(name, DEPLOYMENT, id=name) for name in names]
    everywhere = metafunc.definition.get_closest_marker("everywhere")
    if everywhere and DEPLOYMENT.name == "embedded":
        together = pytest.mark.xdist_group("docker")
        wanted = [
            name for name in everywhere.args or names if name in names and brokers.setup(name).broker in ON_DOCKER
        ]
        made += [pytest.param(name, DOCKER, id=f"{name}-docker", marks=together) for name in wanted]
    metafunc.parametrize(("setup", "deployment"), made, indirect=True)


@pytest.fixture(scope="session")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    """A journal in a state folder of the tests' own; closing it removes whatever a test left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BROKERBENCH_STATE", str(tmp_path_factory.mktemp("state")))
        with Journal.create(secrets.token_hex(8)) as opened:
            yield opened


@pytest.fixture(scope="session")
def start_broker(journal: Journal, tmp_path_factory: pytest.TempPathFactory) -> StartBroker:
    """Starts a fresh broker; its taker takes it down."""
    base = journal.temp_folder("contract")
    base.chmod(0o711)  # a server that runs as another user must reach its own folder
    numbers = itertools.count()

    def start(setup: Setup, parameters: Mapping[str, str], deployment: Deployment = DEPLOYMENT) -> Broker:
        site = SITE if deployment.name == "docker" else NO_CHOICE
        if reason := deployment.unavailable(setup, site):
            pytest.skip(reason)
        number = next(numbers)
        options = BrokerOptions(
            setup=setup,
            parameters=parameters,
            folder=base / f"{setup.broker}-{number}",
            logs=tmp_path_factory.mktemp("logs"),
            journal=journal,
            queues=(f"bb_{journal.run_id}_{number}",),
            site=site,
        )
        broker = deployment.up(options)
        if deployment.name == "docker":  # its process runs; whether it serves is the caller's to find out
            eventually(lambda: _serves(setup, parameters, broker), "the broker takes no connection")
        return broker

    return start


def _serves(setup: Setup, parameters: Mapping[str, str], broker: Broker) -> bool:
    options = {"setup": setup.name, "parameters": parameters, "address": broker.address, "queue": "none"}
    driver = brokers.open_driver(DriverOptions(client="health", **options))
    try:
        driver.connect()
    except Unreachable:
        return False
    finally:
        driver.close()
    return True


@pytest.fixture(scope="session")
def shared_brokers(start_broker: StartBroker) -> Iterator[StartBroker]:
    """Returns the broker of these settings that all tests share, started at its first use."""
    running: dict[tuple[str, str, tuple[tuple[str, str], ...]], Broker] = {}

    def shared(setup: Setup, parameters: Mapping[str, str], deployment: Deployment = DEPLOYMENT) -> Broker:
        key = (deployment.name, setup.broker, tuple(sorted(parameters.items())))
        if key not in running:
            running[key] = start_broker(setup, parameters, deployment)
        return running[key]

    yield shared
    for broker in running.values():
        broker.down()


@pytest.fixture
def setup(request: pytest.FixtureRequest) -> Setup:
    """Every setup that there is, or that the test is for."""
    return brokers.setup(request.param)


@pytest.fixture
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """Where the brokers of the test run."""
    chosen: Deployment = request.param
    return chosen


@pytest.fixture
def line(setup: Setup, deployment: Deployment, shared_brokers: StartBroker) -> Iterator[Line]:
    """A queue of its own on the shared broker with the setup's default parameters."""
    parameters = setup.complete({})
    with Line(setup, parameters, shared_brokers(setup, parameters, deployment)) as opened:
        yield opened


@pytest.fixture
def own_line(deployment: Deployment, start_broker: StartBroker) -> Iterator[Callable[..., Line]]:
    """Makes a queue on a broker that only this test uses, with the given parameters: it may be killed."""
    opened: list[Line] = []

    def make(setup: Setup, **parameters: str) -> Line:
        complete = setup.complete(parameters)
        opened.append(Line(setup, complete, start_broker(setup, complete, deployment)))
        return opened[-1]

    yield make
    for made in opened:
        made.close()
        made.broker.down()
