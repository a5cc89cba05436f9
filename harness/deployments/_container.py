"""A broker that is one container: what :mod:`harness.deployments.docker` returns from ``up``.

Compose makes the container, and the engine is asked for all that happens to it afterwards. Its processes are looked at directly where this machine
sees them (it shares a kernel with the engine): whether it lives is asked ten times a second, and the engine has other work to do.
"""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests
from docker.errors import APIError, DockerException, NotFound

from harness.clock import now_ns
from harness.containers import networks
from harness.containers.compose import Project, up
from harness.containers.engine import engine, explained
from harness.containers.foreign import remove_folder
from harness.containers.networks import Network
from harness.containers.usage import Meter
from harness.deployments._befell import FOR_MEMORY, Befell
from harness.deployments._inside import gone, listens
from harness.deployments._process import POLL_S, states, wait_until
from harness.deployments._state import State, end_in_words
from harness.deployments.contract import Incident, LoadPlace, Usage
from harness.errors import BrokerbenchError, StartError
from harness.journal import Journal

GONE_TIMEOUT_S = 10.0
LISTEN_TIMEOUT_S = 60.0  # RabbitMQ: 4 s on an idle machine; after a SIGKILL it reads its queues before it listens
LOOK_S = 0.02
LAST_WORDS = 25
LOG_LINES = 20_000
_SIGNAL = 128  # above it, a container's exit status is that of a signal


@dataclass(frozen=True, kw_only=True, slots=True)
class Blueprint:
    """What a container is made from, each time anew.

    Args:
        project: what Compose is told. network: which it joins. port: where its server listens in it.
        folder: private, with its configuration and, for ``volume: bind``, its data. volume: name of its named volume, "" = it has none.
        image: reference, for what must be done inside. log: file that its lines go to before it is removed.
        memory: its limit in words, "" = it has none. cpus: most CPUs, None = no limit.
    """

    project: Project
    network: Network
    port: int
    folder: Path
    volume: str
    image: str
    log: Path
    memory: str = ""
    cpus: float | None = None

    @property
    def container(self) -> str:
        """Returns the container's name."""
        return f"{self.project.name}-broker-1"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Life:
    """From one start of the container to its end; ``main`` is None where this machine does not see its processes."""

    container_id: str
    pid: int
    main: psutil.Process | None


class ContainerBroker:
    """Implements :class:`harness.deployments.contract.Broker`.

    Args:
        blueprint: what it is made from. address, load_address: URLs for processes of this machine and for the load. version: of its server and image.
        address_at: URL for the load by the container's own address on its network, None = the load goes another way. load_place: where the load runs.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        journal: Journal,
        *,
        address: str,
        load_address: str,
        version: str,
        load_place: LoadPlace,
        address_at: Callable[[str], str] | None = None,
    ) -> None:
        self.address, self.load_address, self.load_place = address, load_address, load_place
        self.version = version
        self.ours = True
        self.notes: list[str] = [*blueprint.network.notes]
        self._address_at, self._own_address = address_at, ""
        self._blueprint = blueprint
        self._journal = journal
        self._meter = Meter()
        self._befell = Befell(self._meter, memory=blueprint.memory, cpus=blueprint.cpus)
        self._life: _Life | None = None
        self._said = State(blueprint.container, "broker")
        self._why = ""
        self._why_guard = threading.Lock()
        self._ended_by_us = True
        self._down = False

    def make(self) -> None:
        """Makes the container and starts it; returns once its server listens.

        Raises:
            StartError: it does not start, or ended while it started; with the log's last lines.
        """
        self._journal.container(self._blueprint.container)
        if self._blueprint.volume:
            self._journal.volume(self._blueprint.volume)
        up(self._blueprint.project, self._journal)
        self._begin()

    def start(self) -> None:
        """Starts it again on the same address and data; returns once its server listens."""
        self._await_end()
        with explained(f"the container {self._blueprint.container} does not start again"):
            engine().api.start(self._blueprint.container)
        self._begin()

    def kill(self) -> Mapping[str, object]:
        """SIGKILLs the container and waits until its processes are gone."""
        pids, members = self._members()
        self._meter.usage()  # its last figures go with it
        self._ended_by_us = True
        t_ns = now_ns()
        with explained(f"the container {self._blueprint.container} cannot be killed"):
            killer = threading.Thread(target=self._send_kill, name="killer")
            killer.start()
            while killer.is_alive() and not (members and gone(members)):
                killer.join(POLL_S)
            took_s = (now_ns() - t_ns) / 1e9
            killer.join()
        all_gone = wait_until(lambda: gone(members), GONE_TIMEOUT_S) and not self.alive()
        left = [process.pid for process in members if not gone([process])]
        return {"pids": pids, "gone": all_gone, "left": left, "status": self._status(), "took_s": took_s, "t_ns": t_ns}

    def stop(self, timeout_s: float) -> Mapping[str, object]:
        """Asks it to end by its image's own signal; the engine kills it after ``timeout_s``."""
        self.resume()
        pids, members = self._members()
        self._meter.usage()
        self._ended_by_us = True
        t_ns = now_ns()
        seconds = math.ceil(timeout_s)
        with explained(f"the container {self._blueprint.container} cannot be stopped"):
            engine().api.stop(self._blueprint.container, timeout=seconds)
        wait_until(lambda: gone(members), GONE_TIMEOUT_S)
        took_s = (now_ns() - t_ns) / 1e9
        status = self._status()
        graceful = status not in (-9, None)
        return {"graceful": graceful, "pids": pids, "status": status, "took_s": took_s, "t_ns": t_ns}

    def pause(self) -> Mapping[str, object]:
        """Freezes the container; returns ``paused`` as the engine reads it back, the ``states`` of its processes, and ``t_ns``."""
        _, members = self._members()
        t_ns = now_ns()
        with explained(f"the container {self._blueprint.container} cannot be paused"):
            engine().api.pause(self._blueprint.container)
            paused = bool(self._said.look()["Paused"])
        return {"paused": paused, "states": states(members), "t_ns": t_ns}

    def resume(self) -> Mapping[str, object]:
        """Thaws the container; harmless when it is not paused."""
        _, members = self._members()
        t_ns = now_ns()
        with explained(f"the container {self._blueprint.container} cannot be thawed"):
            if self._said.look()["Paused"]:
                engine().api.unpause(self._blueprint.container)
        return {"states": states(members), "t_ns": t_ns}

    def recreate(self, stop_timeout_s: float) -> Mapping[str, object]:
        """Stops it gracefully, removes its container and its anonymous volumes, and makes and starts a new one on the named or bound ones."""
        evidence = self.stop(stop_timeout_s)
        before = self._life.container_id[:12] if self._life is not None else ""
        self._save_log()
        with explained(f"the container {self._blueprint.container} cannot be removed"):
            engine().api.remove_container(self._blueprint.container, v=True)
        started_ns = now_ns()
        up(self._blueprint.project, self._journal)
        self._begin()
        after = self._life.container_id[:12] if self._life is not None else ""
        return {**evidence, "container_before": before, "container_after": after, "started_ns": started_ns}

    def alive(self) -> bool:
        """Returns whether the first process of the container runs (paused counts)."""
        life = self._life
        if life is None:
            return False
        if life.main is not None:
            return not gone([life.main])
        return bool(self._said.look()["Running"])

    def why_ended(self) -> str:
        """Returns why it is not alive where that was not our doing: the kernel killed it for memory, it was removed, or with which status it ended."""
        if self._life is None or self._ended_by_us or self.alive():
            return ""
        with self._why_guard:  # one end has one cause, whoever asks
            if not self._why:
                state = self._await_end()
                if state["ExitCode"] == _SIGNAL + 9:
                    state = self._said.settled()
                killed = f"{FOR_MEMORY}{self._befell.limit}"
                self._why = killed if state["OOMKilled"] else end_in_words(state, self._said.silent)
            return self._why

    def incidents(self) -> Sequence[Incident]:
        """Returns what befell the container since the last call: it ended by itself, processes of it were killed for memory, its CPU limit kept it waiting."""
        return [*self._befell.since(self.why_ended), *self._said.incidents()]

    def usage(self) -> Usage:
        """Returns what all its lives used, made again or not."""
        return self._meter.usage()

    def log_tail(self, lines: int = 10) -> str:
        """Returns the last lines of its log."""
        try:
            said: bytes = engine().api.logs(self._blueprint.container, tail=lines)
        except (DockerException, requests.RequestException):
            said = self._blueprint.log.read_bytes() if self._blueprint.log.exists() else b""
        return "\n".join(said.decode(errors="replace").splitlines()[-lines:])

    def down(self) -> None:
        """Removes container, volume, network and private folder; idempotent, never raises."""
        if self._down:
            return
        self._down = self._ended_by_us = True
        self.load_place.end()
        for remove in (self._save_log, self._remove_container, self._remove_volume, self._remove_network):
            try:
                remove()
            except (BrokerbenchError, DockerException, requests.RequestException, OSError) as error:
                self.notes.append(f"not removed yet: {error}")  # the journal still names it
        shutil.rmtree(self._blueprint.folder, ignore_errors=True)
        if self._blueprint.folder.exists():
            with suppress(BrokerbenchError):
                remove_folder(self._blueprint.folder, self._blueprint.image, self._journal)

    def take_away(self) -> None:
        """Removes the container alone, so that it can be made again otherwise, on the same network and folder."""
        self._remove_container()
        self._remove_volume()

    def _begin(self) -> None:
        """Takes note of a life that has begun, and waits until its server listens."""
        name = self._blueprint.container
        with explained(f"the container {name} cannot be looked at"):
            said = engine().api.inspect_container(name)
        self._keep_address(said)
        pid = int(said["State"]["Pid"])
        self._meter.follow(said["Id"], pid, own_network=self._blueprint.network.kind != "host")
        main = None
        if self._meter.processes() is not None:
            with suppress(psutil.Error):
                main = psutil.Process(pid)
        self._life = _Life(container_id=said["Id"], pid=pid, main=main)
        self._befell.begin()
        self._said.begins(said["State"])
        self._why, self._ended_by_us = "", False
        try:
            self._await_listening()
        except BaseException:
            self._ended_by_us = True
            raise

    def _keep_address(self, said: Mapping[str, Any]) -> None:
        """Tells the load the broker's address on a bridge network.

        The engine knows it by name; but whoever makes it leave a swarm, be it another run's, makes it forget the names of all containers that run
        (Engine 20.10). The address stays: it gives the first one that is free.

        Raises:
            StartError: it did not stay.
        """
        network = self._blueprint.network
        if network.kind != "bridge":
            return
        address = str(said["NetworkSettings"]["Networks"][network.name]["IPAddress"])
        if not address:
            return
        if address != (self._own_address or address):
            raise StartError(
                f"the broker's container had the address {self._own_address} on {network.name}, and has {address} now"
            )
        self._own_address = address
        if self._address_at is not None:
            self.load_address = self._address_at(address)

    def _await_listening(self) -> None:
        """A published port takes connections whether its server listens or not; the kernel tells whether something does in the container."""
        life, port = self._life, self._blueprint.port
        deadline = time.monotonic() + LISTEN_TIMEOUT_S
        while True:
            if not self.alive():
                raise StartError(
                    f"the broker's container ended while it started: {self.why_ended()}; its last words:\n{self.log_tail(LAST_WORDS)}"
                )
            if life is None or life.main is None or listens(life.pid, port):
                return
            if time.monotonic() > deadline:
                raise StartError(
                    f"nothing in the broker's container listens on port {port} after {LISTEN_TIMEOUT_S:g} s{self._within()};"
                    f" its last words:\n{self.log_tail(LAST_WORDS)}"
                )
            time.sleep(LOOK_S)

    def _within(self) -> str:
        memory = self._befell.limit.strip(" ()").removeprefix("limit ")
        return f", with at most {memory} of memory" if memory else ""

    def _send_kill(self) -> None:
        with suppress(APIError, requests.RequestException):  # it has ended by itself: `gone` and the status tell
            engine().api.kill(self._blueprint.container, "SIGKILL")

    def _members(self) -> tuple[list[int], list[psutil.Process]]:
        """Returns the pids of its processes, the first one first, and those that this machine sees."""
        found = self._meter.processes()
        if found is None:
            return self._pids_as_told(), []
        pids = [found.main, *sorted(set(found.all) - {found.main})]
        members = []
        for pid in pids:
            with suppress(psutil.Error):
                members.append(psutil.Process(pid))
        return [process.pid for process in members], members

    def _pids_as_told(self) -> list[int]:
        with suppress(DockerException, requests.RequestException):
            rows = engine().api.top(self._blueprint.container)["Processes"] or ()
            return [int(row[1]) for row in rows]
        return []

    def _status(self) -> int | None:
        """Returns its exit status, negative = the signal that ended it, None = nobody knows."""
        state = self._await_end()
        if state["Running"] or state["ExitCode"] is None:
            return None
        status = int(state["ExitCode"])
        return _SIGNAL - status if status > _SIGNAL else status

    def _await_end(self) -> Mapping[str, Any]:
        """Returns the engine's last word on a container whose processes have ended: it takes a moment to notice."""
        deadline = time.monotonic() + GONE_TIMEOUT_S
        while (state := self._said.look())["Running"] and not self.alive() and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        return state

    def _save_log(self) -> None:
        """Appends the container's log to the file that outlives it."""
        try:
            said: bytes = engine().api.logs(self._blueprint.container, tail=LOG_LINES)
        except NotFound:
            return
        with self._blueprint.log.open("ab") as file:
            file.write(said)

    def _remove_container(self) -> None:
        with suppress(NotFound):
            engine().api.remove_container(self._blueprint.container, v=True, force=True)
        self._journal.gone("container", self._blueprint.container)

    def _remove_volume(self) -> None:
        if not self._blueprint.volume:
            return
        with suppress(NotFound):
            engine().api.remove_volume(self._blueprint.volume)
        self._journal.gone("volume", self._blueprint.volume)

    def _remove_network(self) -> None:
        networks.remove(self._blueprint.network, self._journal)
