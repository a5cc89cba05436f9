"""Real brokers for the contract suite, one per broker kind and settings, each test on a queue of its own.

A server that this machine lacks skips its tests, with the reason; ``tests/conftest.py`` makes that a failure in CI. A test
that does not apply to a setup is not made for it (``only_setups``). With ``BROKERBENCH_ADDRESS`` set to a URL the drivers of its broker are tested
there, on a server that runs already: a driver of a third party is (docs/adding-a-driver.md).
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

import pytest

from harness import brokers
from harness.deployments.contract import Broker, BrokerOptions, Deployment
from harness.deployments.embedded import EmbeddedDeployment
from harness.deployments.external import ExternalDeployment
from harness.journal import Journal
from harness.model import Setup
from tests.contract.line import Line


def _deployment() -> Deployment:
    address = os.environ.get("BROKERBENCH_ADDRESS", "")
    there = (setup.broker for setup in brokers.setups().values() if urlsplit(address).scheme in setup.schemes)
    return ExternalDeployment(dict.fromkeys(there, address)) if address else EmbeddedDeployment()


DEPLOYMENT = _deployment()
StartBroker = Callable[[Setup, Mapping[str, str]], Broker]


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

    def start(setup: Setup, parameters: Mapping[str, str]) -> Broker:
        reason = DEPLOYMENT.unavailable(setup)
        if reason:
            pytest.skip(reason)
        folder = base / f"{setup.broker}-{next(numbers)}"
        logs = tmp_path_factory.mktemp("logs")
        options = BrokerOptions(setup=setup, parameters=parameters, folder=folder, logs=logs, journal=journal)
        return DEPLOYMENT.up(options)

    return start


@pytest.fixture(scope="session")
def shared_brokers(start_broker: StartBroker) -> Iterator[StartBroker]:
    """Returns the broker of these settings that all tests share, started at its first use."""
    running: dict[tuple[str, tuple[tuple[str, str], ...]], Broker] = {}

    def shared(setup: Setup, parameters: Mapping[str, str]) -> Broker:
        key = (setup.broker, tuple(sorted(parameters.items())))
        if key not in running:
            running[key] = start_broker(setup, parameters)
        return running[key]

    yield shared
    for broker in running.values():
        broker.down()


@pytest.fixture(params=brokers.names())
def setup(request: pytest.FixtureRequest) -> Setup:
    """Every setup that there is."""
    return brokers.setup(request.param)


@pytest.fixture
def line(setup: Setup, shared_brokers: StartBroker) -> Iterator[Line]:
    """A queue of its own on the shared broker with the setup's default parameters."""
    parameters = setup.complete({})
    with Line(setup, parameters, shared_brokers(setup, parameters)) as opened:
        yield opened


@pytest.fixture
def own_line(start_broker: StartBroker) -> Iterator[Callable[..., Line]]:
    """Makes a queue on a broker that only this test uses, with the given parameters: it may be killed."""
    opened: list[Line] = []

    def make(setup: Setup, **parameters: str) -> Line:
        complete = setup.complete(parameters)
        opened.append(Line(setup, complete, start_broker(setup, complete)))
        return opened[-1]

    yield make
    for made in opened:
        made.close()
        made.broker.down()
