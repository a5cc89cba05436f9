"""Brokers in containers of this machine's engine: the images of ``containers.images``, the files of ``compose/``, a network of their own or the host's.

Everything is written to the journal before it is made. Nothing is reachable from outside: ports are published on 127.0.0.1 only, and on the host's
network servers listen there.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from harness.brokers import is_ours
from harness.containers import compose, networks
from harness.containers.building import Say, quiet
from harness.containers.compose import PortTakenError, Project
from harness.containers.engine import engine, facts, why_no_engine
from harness.containers.images import Image, image_of, load_image, present
from harness.containers.networks import Network
from harness.deployments._container import Blueprint, ContainerBroker
from harness.deployments._here import ThisMachine
from harness.deployments._load_container import LoadContainer
from harness.deployments._process import free_port
from harness.deployments._servers import EVERYWHERE, LOOPBACK, NAME, SERVERS, Told
from harness.deployments.contract import Broker, BrokerOptions, LoadPlace
from harness.errors import StartError, UnavailableError
from harness.model import NO_CHOICE, Container, Setup, Site
from harness.units import format_bytes

PORT_TRIES = 5
PASSWORD_BYTES = 18
_TAKEN = re.compile("eaddrinuse|dist_port_already_used|Address already in use|Failed listening on port", re.IGNORECASE)


class DockerDeployment:
    """Starts brokers as containers.

    Args:
        init_swarm: the user's leave to make a swarm for overlay networks.
        say: is told how images are pulled and made, a line at a time.
    """

    name = "docker"

    def __init__(self, *, init_swarm: bool = False, say: Say = quiet) -> None:
        self._init_swarm = init_swarm
        self._say = say

    def unavailable(self, setup: Setup, site: Site = NO_CHOICE) -> str:
        """Returns why this machine cannot run the setup there, with the remedy; "" when it can: with all images, pulled or made where they are missing."""
        try:
            return self.why_not(setup, site) or _no_image(setup.broker, site, self._say)
        except UnavailableError as error:
            return str(error)

    def why_not(self, setup: Setup, site: Site) -> str:
        """Returns why this machine could not run the setup there if it had the images, with the remedy; "" when it could. Makes nothing."""
        if setup.broker not in SERVERS:
            has = ", ".join(sorted(SERVERS))
            return f"the docker deployment has no {setup.broker}; it has {has}"
        try:
            return (
                _not_in_image(setup, site)
                or why_no_engine()
                or compose.why_not()
                or _no_cli(site)
                or _too_far(site)
                or _too_much(site.container or Container())
                or networks.why_not(_kind(site), init_swarm=self._init_swarm)
            )
        except UnavailableError as error:
            return str(error)

    def version(self, setup: Setup) -> str:
        """Returns which server would run, e.g. ``redis 8.0.2 (image brokerbench/redis:…)``."""
        return _words(image_of(setup.broker))

    def up(self, options: BrokerOptions) -> Broker:
        """Starts a fresh broker in a container.

        Raises:
            UnavailableError: this machine cannot run it. StartError: it did not come up; nothing of it is left.
        """
        reason = self.unavailable(options.setup, options.site)
        if reason:
            raise UnavailableError(reason)
        image = image_of(options.setup.broker)
        options.logs.mkdir(parents=True, exist_ok=True)
        options.journal.folder(options.folder)
        project = options.queues[0] if options.queues else f"bb_{options.journal.run_id}_{secrets.token_hex(4)}"
        try:
            network = networks.make(_kind(options.site), project, options.journal, init_swarm=self._init_swarm)
        except BaseException:
            shutil.rmtree(options.folder, ignore_errors=True)
            raise
        load_place = _load_place(options, project, network)
        options.meanwhile(load_place)
        password = secrets.token_urlsafe(PASSWORD_BYTES)  # any user of this machine reaches 127.0.0.1
        for _ in range(PORT_TRIES):
            broker = _broker(options, image, project, network, password=password, load_place=load_place)
            try:
                broker.make()
            except StartError as error:
                taken = isinstance(error, PortTakenError) or _TAKEN.search(str(error))
                broker.take_away() if taken else broker.down()
                if not taken:
                    raise
            except BaseException:
                broker.down()
                raise
            else:
                return broker
        broker.down()
        raise StartError(f"no port on 127.0.0.1 stayed free in {PORT_TRIES} tries")


def _broker(
    options: BrokerOptions, image: Image, project: str, network: Network, *, password: str, load_place: LoadPlace
) -> ContainerBroker:
    """Chooses ports, writes the server's configuration, and returns its broker, which is not made yet."""
    server = SERVERS[options.setup.broker]
    container = options.site.container or Container()
    on_host = network.kind == "host"
    outside = free_port()
    inside = outside if on_host else server.port
    told = Told(
        parameters=options.parameters,
        listen=LOOPBACK if on_host else EVERYWHERE,
        port=inside,
        password=password,
        memory_bytes=container.memory_bytes,
    )
    variables = {
        "BROKERBENCH_RUN": options.journal.run_id,
        "BROKERBENCH_IMAGE": image.reference,
        "BROKERBENCH_CONFIG": str(_written(options.folder / "config", server.files(told))),
        "BROKERBENCH_PASSWORD": password,
        "BROKERBENCH_PORT": str(outside),
        "BROKERBENCH_NETWORK": network.name,
        "BROKERBENCH_CPUS": str(container.cpus or 0),
        "BROKERBENCH_MEMORY": str(container.memory_bytes or 0),
        **_volume(container.volume, options.folder),
        **({name: str(free_port()) for name in server.further_ports} if on_host else {}),
    }
    base, over = compose.folder() / options.setup.broker / "compose.yaml", "host" if on_host else "existing"
    blueprint = Blueprint(
        project=Project(name=project, files=(base, compose.folder() / f"network-{over}.yaml"), variables=variables),
        network=network,
        port=inside,
        folder=options.folder,
        volume=f"{project}_data" if container.volume == "named" else "",
        image=image.reference,
        log=options.logs / f"{options.setup.broker}.log",
        memory=container.written.get("memory") or _size(container.memory_bytes),
        cpus=container.cpus,
    )

    def address(host: str) -> str:
        return server.address(host=host, port=inside, password=password)

    outer = server.address(host=LOOPBACK, port=outside, password=password)
    within = options.site.client == "container" and not on_host
    broker = ContainerBroker(
        blueprint,
        options.journal,
        address=outer,
        load_address=address(NAME) if within else outer,
        address_at=address if within else None,
        version=_words(image),
        load_place=load_place,
    )
    if container.memory_bytes and not facts().get("SwapLimit", True):
        broker.notes.append(
            "this kernel does not limit swap: the broker's container may use more than its limit of memory by swapping"
        )
    return broker


def _load_place(options: BrokerOptions, project: str, network: Network) -> LoadPlace:
    if options.site.client == "container":
        return LoadContainer(options.journal, project=project, network=network.name)
    return ThisMachine(options.journal)


def _kind(site: Site) -> str:
    return site.network or "bridge"


def _not_in_image(setup: Setup, site: Site) -> str:
    """Returns why the load's container has no driver for a setup; "" where it has, or is not needed."""
    if site.client != "container" or is_ours(setup.name):
        return ""
    return f"the driver of {setup.name} comes from another package, which is not in the image of the load\n  remedy: client: host"


def _no_cli(site: Site) -> str:
    """Returns that the program is missing that carries the pipes of the load's container; "" where it is here, or not needed."""
    if site.client != "container" or shutil.which("docker"):
        return ""
    return "the docker CLI is not in PATH, and the load's container needs it\n  remedy: apt install docker-cli, or --set client=host"


def _no_image(broker: str, site: Site, say: Say) -> str:
    """Returns "" where the images are here, pulled or made now; raises UnavailableError where one cannot be had."""
    if present(broker) is None:
        image_of(broker, say)
    if site.client == "container":
        load_image(say)
    return ""


def _too_far(site: Site) -> str:
    """Returns why this engine's containers are out of reach on 127.0.0.1; "" where they are not."""
    address = str(engine().api.base_url)
    if not re.match(r"https?://(127\.0\.0\.1|localhost|\[::1\])\b|http\+|npipe:", address):
        return (
            f"the engine at {address} is another machine's, and brokers are reached on 127.0.0.1 only"
            "\n  remedy: run brokerbench on that machine, or unset DOCKER_HOST"
        )
    system = str(facts().get("OperatingSystem", ""))
    if _kind(site) == "host" and "Docker Desktop" in system:
        return (
            f"the host network of {system} is that of its own virtual machine, where nothing on 127.0.0.1 is within reach"
            "\n  remedy: network: bridge"
        )
    return ""


def _too_much(container: Container) -> str:
    """Returns why the engine cannot give a container so much; "" where it can."""
    cpus = int(facts().get("NCPU") or 0)
    if container.cpus is not None and cpus and container.cpus > cpus:
        return f"cpus: {container.cpus:g} is more than the engine has\n  expected: at most {cpus}\n  remedy: write cpus: {cpus} or less"
    return ""


def _volume(kind: str, folder: Path) -> Mapping[str, str]:
    """Returns the variables of the compose files that say where data lie."""
    if kind == "bind":
        data = folder / "data"
        data.mkdir(exist_ok=True)  # its owner becomes the server's user: the image's entry point, as root, sees to that
        return {"BROKERBENCH_VOLUME": "bind", "BROKERBENCH_VOLUME_SOURCE": str(data)}
    return {
        "named": {"BROKERBENCH_VOLUME": "volume", "BROKERBENCH_VOLUME_SOURCE": "data"},
        "anonymous": {"BROKERBENCH_VOLUME": "volume", "BROKERBENCH_VOLUME_SOURCE": ""},
        "tmpfs": {"BROKERBENCH_VOLUME": "tmpfs", "BROKERBENCH_VOLUME_SOURCE": ""},
    }[kind]


def _written(folder: Path, texts: Mapping[str, str]) -> Path:
    """Writes files that the container's user may read; nobody else gets into the private folder around them."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    for name, text in texts.items():
        path = folder / name
        path.write_text(text)
        path.chmod(0o644)
    return folder


def _words(image: Image) -> str:
    return f"{image.name} {image.version or '(version unknown)'} (image {image.reference})"


def _size(size_bytes: int | None) -> str:
    return format_bytes(size_bytes) if size_bytes else ""
