"""Where the cases run: the keys ``deployment``, ``network`` and ``client``, and the parameters of a setup that belong to its container.

A container's parameters are written beside those of the setup, since a case is one combination of both; what reads them is
``harness.deployments``, never a driver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.model import NO_CHOICE, Container, Setup, Site
from harness.scenario.problems import Report, did_you_mean
from harness.scenario.quantities import Number, OrWord, size
from harness.scenario.shapes import BAD, ListOf, Schema, Shape, Words, refuse
from harness.scenario.source import Node
from harness.units import SIZE_BYTES, parse_size_bytes

DOCKER = "docker"
EMBEDDED = "embedded"
NETWORKS = ("bridge", "host", "overlay")
CLIENTS = ("container", "host")
VOLUMES = ("named", "bind", "anonymous", "tmpfs")
MOST_NETWORKS = 20
NO_LIMIT = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerParameter:
    """A limit or a place of storage that every setup has where its broker runs in a container.

    Args:
        word: value as read to the word that ids and records hold.
    """

    name: str
    shape: Shape
    word: Callable[[Any], str]
    meaning: str
    default: str = NO_LIMIT


def _size_word(size_bytes: int) -> str:
    """Returns a size in the unit that takes the fewest digits: sizes that are the same have the same word."""
    whole = [(size_bytes // factor, unit) for unit, factor in SIZE_BYTES.items() if size_bytes % factor == 0]
    return "{} {}".format(*min(whole))


CONTAINER_PARAMETERS: Mapping[str, ContainerParameter] = {
    each.name: each
    for each in (
        ContainerParameter(
            name="cpus",
            shape=OrWord(
                number=Number(what="a number of CPUs", example="0.5", least=("0.01", 0.01), most=("1024", 1024.0)),
                word=NO_LIMIT,
            ),
            word=lambda cpus: NO_LIMIT if cpus is None else f"{cpus:.12g}",
            meaning="most CPUs that the broker's container may use (docker); none, the default: no limit",
        ),
        ContainerParameter(
            name="memory",
            shape=OrWord(
                number=replace(size("6 MiB", "16384 GiB"), example="256 MiB"),  # the engine refuses less than 6 MiB
                word=NO_LIMIT,
            ),
            word=lambda size_bytes: NO_LIMIT if size_bytes is None else _size_word(size_bytes),
            meaning="most memory of the broker's container, beyond which the kernel kills it (docker); none, the default: no limit",
        ),
        ContainerParameter(
            name="volume",
            shape=Words(words=VOLUMES),
            word=str,
            meaning="where the container's data lie (docker): what of it outlives the container, and what a restart",
            default=VOLUMES[0],
        ),
    )
}
"""By name; a parameter of the setup's own of that name comes first."""


def container_of(written: Mapping[str, str]) -> Container:
    """Returns the container that these words ask for; no limit is as if it were not written."""
    written = {name: word for name, word in written.items() if word != NO_LIMIT}
    return Container(
        cpus=float(written["cpus"]) if "cpus" in written else None,
        memory_bytes=parse_size_bytes(written["memory"]) if "memory" in written else None,
        volume=written.get("volume", VOLUMES[0]),
        written=written,
    )


def not_default(container: Container | None) -> dict[str, str]:
    """Returns what of a container's parameters stands in the id of its case."""
    written = container.written if container else {}
    return {name: word for name, word in written.items() if word != CONTAINER_PARAMETERS[name].default}


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkChoice:
    """One item of ``network``; ``client`` is "" where the key ``client`` says it."""

    network: str
    client: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkShape:
    """A network, ``{network: {client: …}}``, or a list of such; read as a tuple of :class:`NetworkChoice`."""

    @property
    def expected(self) -> str:
        """Returns the words, and how one of them gets a client of its own."""
        return f"{', '.join(NETWORKS)}, a list of such, or '{{bridge: {{client: host}}}}' as one of them"

    def read(self, node: Node, report: Report) -> Any:
        """Returns the choices in the order written."""
        if node.kind == "list":
            return ListOf(item=_OneNetwork(expected=self.expected), most=MOST_NETWORKS).read(node, report)
        choice = _OneNetwork(expected=self.expected).read(node, report)
        return BAD if choice is BAD else (choice,)

    def schema(self) -> Schema:
        """Returns one, or an array."""
        one = _OneNetwork(expected=self.expected)
        return {"anyOf": [one.schema(), ListOf(item=one, most=MOST_NETWORKS).schema()]}


@dataclass(frozen=True, kw_only=True, slots=True)
class _OneNetwork:
    expected: str

    def read(self, node: Node, report: Report) -> Any:
        """Returns a NetworkChoice."""
        if node.kind == "map" and node.entries:
            return self._with_client(node, report)
        if node.kind == "text" and node.text in NETWORKS:
            return NetworkChoice(network=node.text)
        if node.kind == "text":
            remedy = did_you_mean(node.text, NETWORKS) or f"write {', '.join(NETWORKS[:-1])} or {NETWORKS[-1]}"
            return refuse(node, report, self, f"{node} is none of them", remedy)
        return refuse(node, report, self)

    def _with_client(self, node: Node, report: Report) -> Any:
        if len(node.entries) > 1:
            text = f"{len(node.entries)} networks stand in one item"
            return refuse(node, report, self, text, "write one list item for each network")
        name, inner = next(iter(node.entries.items()))
        if name not in NETWORKS:
            return refuse(inner, report, self, f"{name!r} is no network", did_you_mean(name, NETWORKS))
        if list(inner.entries) != ["client"]:
            text = "below a network stands its client, and nothing else"
            return refuse(inner, report, self, text, f"write {name}, or {{{name}: {{client: host}}}}")
        client = Words(words=CLIENTS).read(inner.entries["client"], report)
        return BAD if client is BAD else NetworkChoice(network=name, client=client)

    def schema(self) -> Schema:
        """Returns a word, or an object with one network."""
        client = {
            "type": "object",
            "properties": {"client": Words(words=CLIENTS).schema()},
            "required": ["client"],
            "additionalProperties": False,
        }
        networks = {"type": "object", "properties": dict.fromkeys(NETWORKS, client), "additionalProperties": False}
        return {"anyOf": [Words(words=NETWORKS).schema(), {**networks, "minProperties": 1, "maxProperties": 1}]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """A deployment and the sites on it at which every case runs, their containers still to come."""

    deployment: str
    sites: tuple[Site, ...]


def ground_of(deployment: str, networks: Sequence[NetworkChoice], client: str) -> Ground:
    """Returns one site for each network, or the one without a choice."""
    sites: tuple[Site, ...] = (NO_CHOICE,)
    if deployment == DOCKER:
        sites = tuple(Site(network=each.network, client=each.client or client) for each in networks)
    return Ground(deployment=deployment, sites=sites)


def where(site: Site, deployment: str) -> str:
    """Returns what stands behind the ``@`` of a case id, e.g. ``bridge,client=host``."""
    if not site.network:
        return deployment
    return site.network if site.client == CLIENTS[0] else f"{site.network},client={site.client}"


def default_deployment(
    values: Mapping[str, Any], root: Node, contained: bool, serves: Callable[[Sequence[Setup]], str]
) -> str:
    """Returns where a scenario runs that does not say so.

    What only docker has decides for it, and what docker cannot do against it; else ``serves`` says it, having looked at this machine.

    Args:
        values: of the scenario's table. contained: a setup has a parameter that belongs to its container.
    """
    faults = values["faults"] or ()
    if "network" in root.entries or "client" in root.entries or contained:
        return DOCKER
    if any(fault.verb == "recreate" for fault in faults):
        return DOCKER
    if values["address"] is not None or values["agents"].remote:
        return EMBEDDED  # which refuses the address, and says why
    if any((fault.verb, fault.target) == ("cut", "producer") for fault in faults):
        return EMBEDDED
    return serves([choice.setup for choice in values["setups"]])
