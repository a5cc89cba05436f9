"""``brokerbench up``: keeps a setup running, to be looked at by hand, until ``brokerbench down``."""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import click

from harness.brokers import setups
from harness.brokers.contract import DriverOptions
from harness.cli.output import readers_may_leave, say
from harness.cli.places import DOCKER_BROKERS
from harness.deployments._servers import NAME, SERVERS
from harness.errors import StartError, UnavailableError, UsageError
from harness.journal import Journal
from harness.model import Container, Setup, Site
from harness.scenario.catalogue import Catalogue
from harness.scenario.entries import SetupChoice, SetupEntry
from harness.scenario.problems import Place, Report, did_you_mean, one_of
from harness.scenario.sites import DOCKER, NETWORKS, container_of, not_default
from harness.scenario.source import Node, override
from harness.sweeping import down

HEALTHY_LIMIT_S = 60.0
_NO_PARAMETERS = {
    "network": "--network {value}",
    "deployment": "remove it: `brokerbench up` keeps brokers in Docker only",
    "client": "remove it: `brokerbench up` starts no load",
}
"""Keys of scenarios to what `up` takes instead."""


@click.command()
@click.argument("setup")
@click.option("--network", type=click.Choice(NETWORKS), default=NETWORKS[0], show_default=True)
@click.option(
    "--set",
    "parameters",
    multiple=True,
    metavar="PARAMETER=VALUE",
    help="Of the setup or its container, e.g. --set persistence=none or --set cpus=0.5.",
)
@click.option(
    "--init-swarm", is_flag=True, help="Make a swarm for an overlay network where there is none; down leaves it."
)
@click.option("--json", "as_json", is_flag=True, help="Print where it is as JSON and nothing else.")
def up(setup: str, network: str, parameters: tuple[str, ...], init_swarm: bool, as_json: bool) -> None:
    """Start the broker of SETUP in Docker, say where it is, and keep it running until `brokerbench down`."""
    from harness.containers.images import image_of  # noqa: PLC0415 - `list` needs none of it
    from harness.containers.remains import KEPT  # noqa: PLC0415 - as above
    from harness.deployments.contract import BrokerOptions  # noqa: PLC0415 - as above
    from harness.deployments.docker import DockerDeployment  # noqa: PLC0415 - the SDK takes 0.2 s to import
    from harness.run.health import Probe, probe_queue  # noqa: PLC0415 - as above

    chosen, written = _read(setup, parameters)
    own = {parameter.name for parameter in chosen.parameters}
    container = container_of({name: value for name, value in written.items() if name not in own})
    site = Site(network=network, client="host", container=container)
    complete = chosen.complete(written)
    deployment = DockerDeployment(init_swarm=init_swarm)
    if reason := deployment.unavailable(chosen, site):
        raise UnavailableError(reason)
    down(kept=False)
    run_id = secrets.token_hex(8)
    queue = f"bb_{run_id}_{KEPT}"
    with Journal.create(run_id) as journal, _dead_at_its_start(container):
        broker = deployment.up(
            BrokerOptions(
                setup=chosen,
                parameters=complete,
                folder=Path(tempfile.gettempdir()) / f"brokerbench-{run_id}-1",
                logs=journal.temp_folder("logs"),
                journal=journal,
                queues=(queue, probe_queue(queue)),
                site=site,
            )
        )
        options = DriverOptions(
            setup=chosen.name, address=broker.address, queue=queue, parameters=complete, client="up"
        )
        Probe(options, alive=broker.alive, log_tail=broker.log_tail)(HEALTHY_LIMIT_S)
        name = f"{chosen.label(complete, not_default(container))}@{network}"
        found = {
            "name": name,
            "address": broker.address,
            "load_address": _inside(broker.address, chosen, network),
            "network": network if network == "host" else queue,
            "server": broker.version,
            "image": image_of(chosen.broker).reference,
            "run_id": run_id,
            "notes": broker.notes,
        }
        lines = [
            ("address", broker.address),
            *([] if network == "host" else [("network", f"{queue}, where other containers find it as broker")]),
            ("server", broker.version),
            *(("note", note) for note in broker.notes),
            ("remove", "brokerbench down"),
        ]
        with readers_may_leave():
            click.echo(json.dumps(found, indent=1) if as_json else f"{name} is running")
            for what, words in [] if as_json else lines:
                say(f"  {what:<8} {words}")
        journal.keep(name)


@contextmanager
def _dead_at_its_start(container: Container) -> Iterator[None]:
    """Turns a broker that does not come up into what this machine cannot do, as in `run`; raises UnavailableError."""
    try:
        yield
    except StartError as error:
        memory = container.written.get("memory")
        remedy = f"give it more than --set memory={memory!r}" if memory else "see its last words; `brokerbench doctor`"
        raise UnavailableError(error.problem, expected=error.expected, remedy=error.remedy or remedy) from error


def _inside(address: str, setup: Setup, network: str) -> str:
    """Returns the address at which other containers of its network find a broker."""
    if network == "host":
        return address
    url = urlsplit(address)
    user = url.netloc.rpartition("@")[0]
    return url._replace(netloc=f"{user}@{NAME}:{SERVERS[setup.broker].port}").geturl()


def _read(name: str, parameters: Sequence[str]) -> tuple[Setup, dict[str, str]]:
    """Returns the setup, and what was written of its parameters and its container's.

    Raises:
        UsageError: it does not exist. ScenarioError: a parameter is not one of its own or has no such value, as in a scenario.
    """
    if name not in setups():
        remedy = did_you_mean(name, setups()) or "brokerbench list"
        raise UsageError(f"the setup {name!r} does not exist", expected=one_of(setups()), remedy=remedy)
    if setups()[name].broker not in DOCKER_BROKERS:
        raise UsageError(
            f"{name} cannot run in Docker, which has no server of {setups()[name].broker}",
            expected=f"a setup of {', '.join(sorted(DOCKER_BROKERS))}",
            remedy="brokerbench list",
        )
    report = Report()
    place = Place(option="brokerbench up")
    written = override(Node(path=name, place=place, kind="map"), parameters, report)
    for key, remedy in _NO_PARAMETERS.items():
        if key in written.entries and key not in {parameter.name for parameter in setups()[name].parameters}:
            given = written.entries[key]
            report.add(given.place, key, "is no parameter of a setup", remedy=remedy.format(value=given.text or "…"))
    report.raise_if_any()
    entry = Node(path="", place=place, kind="map", entries={name: written})
    catalogue = Catalogue(setups=setups(), faults={}, deployments=(DOCKER,), docker_brokers=DOCKER_BROKERS)
    choice = SetupEntry(catalogue=catalogue).read(entry, report)
    report.raise_if_any()
    assert isinstance(choice, SetupChoice)
    for parameter, values in choice.asked.items():
        if len(values) > 1:
            report.add(place, parameter, f"{len(values)} values", expected="one value: it is one broker that is kept")
    report.raise_if_any()
    return choice.setup, {parameter: values[0] for parameter, values in choice.asked.items()}
