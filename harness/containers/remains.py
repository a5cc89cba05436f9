"""Removes what a run has in the engine: containers with their anonymous volumes, then networks, volumes, and the swarm that it made.

What carries the run's label, or a name that begins with ``bb_<run_id>``, is the run's: so half-made things are found, and nothing
else is touched. ``sweepers`` calls this after the run's processes have ended.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from harness.containers.engine import LABEL, last_words
from harness.containers.foreign import cleaner, empty
from harness.sweepers import ENGINE_GONE, ENGINE_KINDS, Context
from harness.sweeping import journals

GATEWAY = "docker_gwbridge"
"""The bridge that a swarm makes and does not take with it."""
GATEWAY_LABEL = f"{LABEL}.gateway"
"""On a swarm of ours: ``True`` where that bridge came with it."""

KEPT = "kept"
"""What stands for the trial's number in names of what ``brokerbench up`` keeps: ``bb_<run_id>_kept``."""

_ONCE_OVER = "brokerbench down removes it once that is over"
_RUN_ID = re.compile("[0-9a-f]{16}")
_OURS = re.compile("brokerbench/(base|redis|rabbitmq|postgres|load):|(redis|rabbitmq|postgres):")
_ANSWER_S = 20  # for one answer of the engine
_GIVE_UP_S = 10.0  # what is refused for so long is stuck
_SETTLE_S = 1.0  # what a killed client had just asked for, the engine may still be making
_LOOK_S = 0.05


def remove_all(context: Context) -> list[str]:
    """Removes all that the run of a journal has in the engine, within a bounded time; idempotent.

    What was written down and is not there is waited for for a moment: the engine finishes what a killed client had asked for.

    Returns:
        A sentence per thing that was removed; what could not be is in ``context.left``.
    """
    try:
        with _client(context) as client:
            return _Removal(client.api, context).run()
    except (DockerException, requests.RequestException) as error:
        return _unanswered(context, error)


def empty_folder(path: Path, context: Context) -> str:
    """Removes what containers of a journal's run have left in a folder of it, as root; returns why it cannot, "" where it could."""
    try:
        with _client(context) as client:
            for tag in (tag for image in client.images.list() for tag in image.tags if _OURS.match(tag)):
                with suppress(ImageNotFound):  # removed a moment ago: old images of the load are
                    empty(client, path, tag, cleaner(context.run_id), context.run_id)
                    return ""
    except (DockerException, requests.RequestException) as error:
        return f": {last_words(error)}"
    return ": it holds files of a container's users, and there is no image of a broker to remove them with; remove it as root"


@contextmanager
def _client(context: Context) -> Iterator[docker.DockerClient]:
    """Speaks to the engine that the run spoke to."""
    lines = [line for kind in (ENGINE_GONE, *ENGINE_KINDS) for line in context.records.get(kind, [])]
    client = docker.from_env(environment=_spoken_to(lines), timeout=_ANSWER_S)
    try:
        yield client
    finally:
        client.close()


def _unanswered(context: Context, error: Exception) -> list[str]:
    what = f"containers, networks or volumes labelled {LABEL}={context.run_id}"
    context.left.append(f"{what}: the engine that has them does not answer: {last_words(error)}")
    return []


def _spoken_to(lines: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Returns the variables that name the engine which the run spoke to, as it noted them with each thing."""
    noted = [line["engine"] for line in lines if isinstance(line.get("engine"), Mapping)]
    variables = {str(name): str(value) for name, value in noted[-1].items()} if noted else {}
    return {
        "DOCKER_HOST": "",
        **variables,
    }  # the library takes an empty mapping for none, and our own environment instead


@dataclass(frozen=True, kw_only=True, slots=True)
class _Thing:
    """Something of the run that is there.

    Args:
        foreign: names of containers of others that use it, which only their owner can end.
    """

    kind: str
    name: str
    remove: Callable[[], object]
    foreign: Callable[[], list[str]] = list


class _Removal:
    """One removal: looks and removes until nothing is there and nothing can come."""

    def __init__(self, api: docker.APIClient, context: Context) -> None:
        self._api = api
        self._run_id = context.run_id
        self._context = context
        self._removed: dict[str, None] = {}
        records = context.records
        self._awaited = {(kind, str(line.get("name"))) for kind in ENGINE_KINDS for line in records.get(kind, [])}
        self._used_swarm = bool(records.get("swarm"))
        self._gateway_came = any(line.get("gateway") for line in records.get("swarm", []))

    def run(self) -> list[str]:
        """Returns a sentence per thing that was removed."""
        began = time.monotonic()
        while True:
            stuck, hopeless = self._once()
            waited_s = time.monotonic() - began
            settled = not self._awaited or waited_s >= _SETTLE_S
            if (not stuck and settled) or waited_s >= _GIVE_UP_S:
                self._context.left += stuck + hopeless
                return list(self._removed)
            time.sleep(_LOOK_S)

    def _once(self) -> tuple[list[str], list[str]]:
        """Removes what is there; returns sentences on what did not go yet, and on what will not go."""
        stuck, hopeless = list[str](), list[str]()
        for look in (self._containers, self._networks, self._volumes, self._swarm):
            for thing in look():
                if foreign := thing.foreign():
                    hopeless.append(f"{thing.kind} {thing.name} is used by {', '.join(foreign)}; {_ONCE_OVER}")
                    self._awaited.discard((thing.kind, thing.name))
                    continue
                try:
                    thing.remove()
                except NotFound:
                    pass  # it went by itself, or another sweep was faster
                except APIError as error:
                    stuck.append(f"{thing.kind} {thing.name} cannot be removed: {error.explanation or error}")
                    continue
                self._removed[f"{thing.kind} {thing.name}"] = None
                self._awaited.discard((thing.kind, thing.name))
        return stuck, hopeless

    def _containers(self) -> Iterator[_Thing]:
        for id_, name in self._ours(lambda filters: self._api.containers(all=True, filters=filters)):
            # v: anonymous volumes go with it; named ones are found as volumes.
            yield _Thing(
                kind="container",
                name=name,
                remove=partial(self._api.remove_container, id_, force=True, v=True),
            )

    def _networks(self) -> Iterator[_Thing]:
        for id_, name in self._ours(lambda filters: self._api.networks(filters=filters)):
            yield _Thing(
                kind="network",
                name=name,
                remove=partial(self._api.remove_network, id_),
                foreign=partial(self._users_of, id_),
            )

    def _volumes(self) -> Iterator[_Thing]:
        for name, _ in self._ours(lambda filters: self._api.volumes(filters=filters)["Volumes"] or []):
            yield _Thing(kind="volume", name=name, remove=partial(self._api.remove_volume, name))

    def _ours(self, look: Callable[[dict[str, str]], list[dict[str, Any]]]) -> Iterator[tuple[str, str]]:
        """Yields id and name of what carries our label or our name."""
        prefix = f"bb_{self._run_id}"
        found: dict[str, str] = {}
        for filters in ({"label": f"{LABEL}={self._run_id}"}, {"name": prefix}):
            for one in look(filters):
                name = one["Names"][0].lstrip("/") if one.get("Names") else one.get("Name", "")
                if "label" in filters or name.startswith(prefix):
                    found[one.get("Id") or name] = name or str(one["Id"])[:12]
        yield from found.items()

    def _users_of(self, network: str) -> list[str]:
        """Returns the names of containers that use a network of ours without being ours, which have all been removed before."""
        using = self._api.containers(all=True, filters={"network": network})
        ours = {id_ for id_, _ in self._ours(lambda filters: self._api.containers(all=True, filters=filters))}
        return [f"container {one['Names'][0].lstrip('/')}" for one in using if one["Id"] not in ours]

    def _swarm(self) -> Iterator[_Thing]:
        """Yields the swarm of brokerbench that the run made or used, then the bridge that came with it: whoever is the last leaves it."""
        if not self._used_swarm:
            return
        if maker := self._maker_of_swarm():
            self._awaited.discard(("swarm", self._run_id))
            its_maker_sees_to_it = maker != self._run_id and (journals() / f"{maker}.jsonl").exists()
            if its_maker_sees_to_it and self._users_of_swarm():
                return
            yield _Thing(
                kind="swarm",
                name=maker,
                remove=partial(self._api.leave_swarm, force=True),
                foreign=self._users_of_swarm,
            )
        if self._gateway_came and not self._in_swarm():
            for one in self._api.networks(names=[GATEWAY]):
                yield _Thing(kind="network", name=GATEWAY, remove=partial(self._api.remove_network, one["Id"]))

    def _in_swarm(self) -> bool:
        return bool(self._api.info()["Swarm"]["LocalNodeState"] != "inactive")

    def _maker_of_swarm(self) -> str:
        """Returns the id of the run that made the swarm; "" where there is none or brokerbench did not make it."""
        swarm = self._api.info()["Swarm"]
        if swarm["LocalNodeState"] != "active" or not swarm["ControlAvailable"]:
            return ""
        maker = (self._api.inspect_swarm()["Spec"].get("Labels") or {}).get(LABEL)
        return str(maker) if is_run(maker) else ""

    def _users_of_swarm(self) -> list[str]:
        """Returns what others have in the swarm, and what they would lose when the engine leaves it."""
        api = self._api
        nodes = [f"node {node['Description']['Hostname']}" for node in api.nodes()]
        of_swarm = [one for one in api.networks() if one.get("Scope") == "swarm" and not one.get("Ingress")]
        networks = [one for one in of_swarm if (one.get("Labels") or {}).get(LABEL) != self._run_id]
        named = [("service", api.services()), ("secret", api.secrets()), ("config", api.configs())]  # type: ignore[no-untyped-call]
        return [
            *(nodes if len(nodes) > 1 else []),
            *(f"network {one['Name']}" for one in networks),
            *(f"container {name}" for name in found_by_name(api, self._run_id)),
            *(f"{kind} {one['Spec']['Name']}" for kind, found in named for one in found),
        ]


def is_run(label: str | None) -> bool:
    """Returns whether a label's value is that of a run, not of what was made by hand."""
    return _RUN_ID.fullmatch(label or "") is not None


def found_by_name(api: docker.APIClient, run_id: str = "") -> list[str]:
    """Returns the names of running containers, but for those of a run, that others may find by their names.

    An engine that leaves a swarm forgets the names of all containers that run, on bridges too (seen with 20.10: libnetwork's
    ``cleanupServiceDiscovery``). The load of a trial is told its broker's address, so trials of other runs lose nothing;
    of what ``brokerbench up`` keeps the user was told the name.
    """
    found = []
    for one in api.containers():
        name, its_run = one["Names"][0].lstrip("/"), one["Labels"].get(LABEL, "")
        of_trial = is_run(its_run) and re.match(rf"bb_{its_run}_(?!{KEPT})", name)
        on_network_of_its_own = set(one["NetworkSettings"]["Networks"]) - {"bridge", "host", "none"}
        if on_network_of_its_own and not of_trial and (not its_run or its_run != run_id):
            found.append(name)
    return found
