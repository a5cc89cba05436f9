"""The networks that brokers stand on: one per trial, or the host's own; and the swarm that an overlay network needs.

``remains`` removes what was left of them. Both kinds are made here, so compose files find them as external ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from docker.errors import APIError, NotFound
from docker.models.networks import Network as EngineNetwork

from harness.containers.engine import LABEL, engine, explained
from harness.containers.remains import GATEWAY, GATEWAY_LABEL, is_run
from harness.errors import StartError, UnavailableError
from harness.journal import Journal

KINDS = ("bridge", "host", "overlay")

OVERLAY_NOTE = "overlay: broker and load are on one engine, so their traffic does not cross VXLAN; between two machines it would, and cost more"
"""What a reader of an overlay's figures must know."""

_ALLOCATED_S = 10.0  # an overlay network's addresses are given by the swarm, some 10 ms after it was made
_PENDING_S = 10.0
_LOOK_S = 0.01
_SWARM_ADDRESS, _SWARM_LISTENS = "127.0.0.1", "127.0.0.1:2377"


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """A network for the containers of one trial.

    Args:
        kind: ``bridge``, ``host``, ``overlay``. name: as the engine and compose files call it; ``host`` for the host's own.
        notes: what a reader of the figures should know of it.
    """

    kind: str
    name: str
    notes: tuple[str, ...] = ()


def why_not(kind: str, *, init_swarm: bool = False) -> str:
    """Returns why there can be no such network, with the remedy; "" where there can. Makes nothing.

    Args:
        init_swarm: the user's leave to make a swarm.

    Raises:
        UnavailableError: no engine answers.
    """
    if kind != "overlay":
        return ""
    with explained("what the engine says of its swarm cannot be read"):
        swarm = _settled_swarm()
    state = swarm.get("LocalNodeState", "inactive")
    if state == "inactive":
        remedy = "--init-swarm makes one on 127.0.0.1 and leaves it at the end; or docker swarm init"
        return "" if init_swarm else f"an overlay network needs a swarm, and this engine is in none\n  remedy: {remedy}"
    if state == "pending":
        return f"an overlay network needs a swarm, and this engine's is not ready after {_PENDING_S:g} s\n  remedy: look at docker info, and try again"
    if state != "active":
        problem = swarm.get("Error") or f"its state is {state!r}"
        return f"an overlay network needs a swarm that works: {problem}\n  remedy: docker swarm unlock, or docker swarm leave"
    if not swarm.get("ControlAvailable"):
        return "this engine is a worker of its swarm, and only a manager makes overlay networks\n  remedy: run on a manager"
    return ""


def make(kind: str, name: str, journal: Journal, *, init_swarm: bool = False) -> Network:
    """Makes a network, written down before and labelled with its run; of kind ``host`` it returns the host's own.

    Args:
        kind: one of :data:`KINDS`. name: ``bb_<run_id>…``, of this trial only.
        init_swarm: make a swarm where an overlay network finds none; it is left when the run ends.

    Raises:
        UnavailableError: there can be none, see :func:`why_not`, or the engine has no addresses left for it.
        StartError: the engine refused.
    """
    if kind == "host":
        return Network(kind=kind, name="host")
    if kind == "overlay":
        _need_swarm(journal, init_swarm=init_swarm)
    journal.network(name)
    with _told(name):
        try:
            made = _create(kind, name, journal)
        except APIError as error:
            if kind != "overlay" or "not a swarm manager" not in str(error.explanation):
                raise
            _need_swarm(journal, init_swarm=init_swarm)  # another run's end has just left it
            made = _create(kind, name, journal)
        if kind == "overlay":
            _wait_for_addresses(made, name)
    return Network(kind=kind, name=name, notes=(OVERLAY_NOTE,) if kind == "overlay" else ())


def remove(network: Network, journal: Journal) -> None:
    """Removes a network whose containers are gone; idempotent.

    Raises:
        StartError: a container still uses it. UnavailableError: the engine does not answer.
    """
    if network.kind == "host":
        return
    with explained(f"the network {network.name} cannot be removed"):
        for found in engine().networks.list(names=[network.name], filters={"label": f"{LABEL}={journal.run_id}"}):
            try:
                found.remove()
            except NotFound:
                continue
    journal.gone("network", network.name)


def _create(kind: str, name: str, journal: Journal) -> EngineNetwork:
    return engine().networks.create(
        name, driver=kind, attachable=kind == "overlay", labels={LABEL: journal.run_id}, check_duplicate=True
    )


def _settled_swarm() -> dict[str, Any]:
    """Returns what the engine says of its swarm; one that another run is making takes about half a second."""
    deadline = time.monotonic() + _PENDING_S
    while True:
        swarm: dict[str, Any] = engine().info().get("Swarm", {})
        if swarm.get("LocalNodeState") != "pending" or time.monotonic() > deadline:
            return swarm
        time.sleep(_LOOK_S)


def _need_swarm(journal: Journal, *, init_swarm: bool) -> None:
    """Sees to it that there is a swarm; one of brokerbench's is written down by all who use it, and the last one leaves it."""
    if reason := why_not("overlay", init_swarm=init_swarm):
        raise UnavailableError(reason)
    with explained("a swarm cannot be made"):
        if engine().info()["Swarm"]["LocalNodeState"] == "inactive":
            gateway = not engine().networks.list(names=[GATEWAY])
            journal.swarm(gateway=gateway)
            labels = {LABEL: journal.run_id, GATEWAY_LABEL: str(gateway)}
            try:
                # Loopback only: nothing of the swarm can be reached from outside, and no other machine joins it.
                engine().swarm.init(advertise_addr=_SWARM_ADDRESS, listen_addr=_SWARM_LISTENS, labels=labels)
            except APIError as error:
                if "already part of a swarm" not in str(error.explanation):
                    raise
        _settled_swarm()
        labels = engine().api.inspect_swarm()["Spec"].get("Labels") or {}
        if is_run(labels.get(LABEL)) and labels[LABEL] != journal.run_id:
            journal.swarm(gateway=labels.get(GATEWAY_LABEL) == str(True))


def _wait_for_addresses(network: EngineNetwork, name: str) -> None:
    deadline = time.monotonic() + _ALLOCATED_S
    while not network.attrs["IPAM"]["Config"]:
        if time.monotonic() > deadline:
            raise StartError(f"the swarm gave the network {name} no addresses within {_ALLOCATED_S:g} s", remedy=_PRUNE)
        time.sleep(_LOOK_S)
        network.reload()


_POOL_WORDS = ("non-overlapping ipv4 address pool", "all predefined address pools have been fully subnetted")
_PRUNE = "remove networks that nothing uses (docker network ls, docker network prune), or give the engine more: default-address-pools in daemon.json"


def no_addresses(words: str) -> bool:
    """Returns whether the engine, or compose, says that it has no address pool left for one more network."""
    return any(sign in words.lower() for sign in _POOL_WORDS)


@contextmanager
def _told(name: str) -> Iterator[None]:
    with explained(f"the network {name} cannot be made"):
        try:
            yield
        except APIError as error:
            if not no_addresses(str(error.explanation)):
                raise
            raise UnavailableError(
                f"the engine has no addresses left for one more network: {error.explanation}", remedy=_PRUNE
            ) from error
