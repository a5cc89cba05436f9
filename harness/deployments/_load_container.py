"""The load in a container on the broker's network, where applications run.

The engine makes the container, so that what is wrong is said at once; the docker CLI starts it and carries its pipes, as a child of
ours. When our end of stdin closes, by whatever end of ours or of the CLI's, the load ends, and the container with it: its first
process is the load's.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import requests
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.types import LogConfig, Mount, Ulimit

from harness.containers.engine import LABEL, THIS_MACHINE, engine, explained, facts
from harness.containers.images import load_image
from harness.containers.realtime import PRIORITY, give_realtime
from harness.containers.usage import Meter
from harness.deployments._befell import Throttling, incident
from harness.deployments._state import State, end_in_words
from harness.deployments.contract import CONTAINER, Incident, Usage
from harness.errors import StartError
from harness.facts import KILLED_FOR_MEMORY
from harness.journal import Journal
from harness.sweepers import MARKER

INTERPRETER = "python3"
PASSED_ON = "BROKERBENCH_CHECK"
START_LIMIT_S = 30.0
LOOK_S = 0.01
_SIGKILLED = 128 + 9  # as the docker CLI tells it of the container; its own end by a signal is negative

OUT_OF_MEMORY = "the kernel killed the load's container for memory"
_REFUSED_RIGHTS = re.compile("rlimit|capabilit|caps", re.IGNORECASE)


class LoadContainer:
    """Implements :class:`harness.deployments.contract.LoadPlace` with one container, for one trial.

    Args:
        journal: where the container is written before it is made.
        project: its name is ``<project>-load``.
        network: name of the engine's network that the broker is on; ``host`` = this machine's own.
    """

    name = CONTAINER

    def __init__(self, journal: Journal, *, project: str, network: str) -> None:
        self._journal = journal
        self._called = f"{project}-load"
        self._network = network
        self._container: Container | None = None
        self._making = threading.Lock()
        self._over = False
        self._meter = Meter()
        self._throttling = Throttling(self._meter, "load")
        self._killed_told = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._said = State(self._called, "load")
        self._why = ""
        self._why_guard = threading.Lock()
        self._end_told = False

    def spawn(
        self, module: str, *words: str, folders: Sequence[Path], stdin: int, stdout: int, stderr: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Starts ``python -m <module> <words>`` in a new container, with leave to ask for ``SCHED_FIFO`` where the engine can give it."""
        image = load_image().reference
        security = facts().get("SecurityOptions") or ()
        for rights in (_realtime(security), {}):
            with explained(f"the load's container {self._called} cannot be made"):
                container = self._make(image, ["-m", module, *words], folders, {**_identity(security), **rights})
            process = self._journal.spawn(
                ["docker", "start", "--attach", "--interactive", self._called],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env={
                    "DOCKER_HOST": THIS_MACHINE,
                    **os.environ,
                },  # where the SDK looks; the CLI alone would follow its context
            )
            try:
                problem = self._wait_started(process, container)
            except BaseException:  # not there any more: it was ended in between
                self._give_up(process)
                raise
            if not problem:
                self._process = process
                return process
            self._give_up(process)
            if not rights or not _REFUSED_RIGHTS.search(problem):
                break
        raise StartError(
            f"the load's container {self._called} cannot be started: {problem}", remedy="or run with --set client=host"
        )

    def _give_up(self, process: subprocess.Popen[bytes]) -> None:
        """Ends a CLI whose container does not run, and removes that."""
        process.kill()
        process.wait()
        self._journal.forget(process.pid)
        with self._making:
            self._remove()

    def _make(self, image: str, words: list[str], folders: Sequence[Path], rights: Mapping[str, Any]) -> Container:
        checked = {PASSED_ON: os.environ[PASSED_ON]} if PASSED_ON in os.environ else {}
        with self._making:
            if self._over:
                raise StartError(f"the load's container {self._called} was ended before it was made")
            self._journal.container(self._called)
            self._container = engine().containers.create(
                image,
                words,
                entrypoint=INTERPRETER,
                name=self._called,
                labels={LABEL: self._journal.run_id},
                network=self._network,
                stdin_open=True,
                environment={MARKER: self._journal.run_id, "HOME": "/tmp", **checked},
                mounts=[Mount(target=str(folder), source=str(folder), type="bind") for folder in folders],
                log_config=LogConfig(type="none"),  # its lines are read as they come
                working_dir="/",
                **rights,
            )
            return self._container

    def _wait_started(self, process: subprocess.Popen[bytes], container: Container) -> str:
        """Waits until the container runs, or has run; returns why it does not, "" where it does."""
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            ended = process.poll() is not None
            with explained(f"the load's container {self._called} cannot be looked at"):
                container.reload()
            state = container.attrs["State"]
            if state["Error"]:
                return str(state["Error"])
            if state["Status"] != "created":
                if state["Running"]:
                    self._meter.follow(str(container.id), state["Pid"], own_network=self._network != "host")
                return ""
            if ended:
                return f"docker start ended with status {process.returncode}"
            time.sleep(LOOK_S)
        process.kill()
        return f"it does not run after {START_LIMIT_S:g} s"

    def give_realtime(self, pids: Collection[int]) -> Collection[int]:
        """Puts processes under ``SCHED_FIFO`` from outside, where this machine sees them and we may."""
        running = self._meter.processes()
        return give_realtime(running.all, pids) if running is not None else ()

    def usage(self) -> Usage:
        """Returns what the container used."""
        return self._meter.usage()

    def incidents(self) -> Sequence[Incident]:
        """Returns that the kernel killed processes of the container for memory, that a CPU limit kept it waiting, or that it ended while nobody had ended it."""
        seen = [told for told in (self._end(), self._kill(), self._throttling.since()) if told is not None]
        return [*seen, *self._said.incidents()]

    def why_ended(self) -> str:
        """Returns why the load has ended: its container did, or the docker CLI, which carries its pipes; "" where it has not."""
        process = self._process
        if process is None or (status := process.poll()) is None:
            return ""
        with self._why_guard:  # one end has one cause, whoever asks
            self._why = self._why or self._how_ended(status)
            return self._why

    def _how_ended(self, status: int) -> str:
        """Says how the load has ended; ``status``: of the CLI, which hands the container's on unless it was itself struck."""
        cli = "the docker CLI, which carries the load's pipes,"
        if status < 0:
            return f"{cli} was ended by {signal.Signals(-status).name}"
        state = self._said.settled() if status == _SIGKILLED else self._said.look()
        if state["OOMKilled"]:
            return OUT_OF_MEMORY
        if state["Running"] and not self._said.silent:
            return f"{cli} ended with status {status} while the load's container ran"
        return end_in_words(state, self._said.silent)

    def _end(self) -> Incident | None:
        why = "" if self._end_told else self.why_ended()
        if not why:
            return None
        self._end_told = True
        if why == OUT_OF_MEMORY:
            self._killed_told = self._meter.killed_for_memory()
            return incident("load", KILLED_FOR_MEMORY, why)
        return incident("load", "ended", f"nobody ended the load: {why}")

    def _kill(self) -> Incident | None:
        killed = self._meter.killed_for_memory()
        more, self._killed_told = killed - self._killed_told, killed
        if more <= 0:
            return None
        return incident("load", KILLED_FOR_MEMORY, f"the kernel killed {more} of the load's processes for memory")

    def end(self) -> None:
        """Removes the container, whatever runs in it; one that :meth:`spawn` is about to make in another thread does not come up."""
        with self._making:
            self._over = True
            self._remove()

    def _remove(self) -> None:
        if self._container is None:
            return
        try:
            self._container.remove(force=True, v=True)
        except NotFound:
            pass
        except (APIError, requests.RequestException):
            return  # the journal still names it: the sweep says what is wrong
        self._journal.gone("container", self._called)
        self._container = None


def _identity(security: Sequence[str]) -> dict[str, Any]:
    """Returns as whom the load runs, so that it may write in our folders and what it writes is ours.

    Args:
        security: what the engine says of itself, e.g. ``name=rootless``.
    """
    rootless = _is("rootless", security)  # root there is us
    return {
        "user": "0:0" if rootless else f"{os.getuid()}:{os.getgid()}",
        "userns_mode": "host" if _is("userns", security) else None,  # else we were another there
        "security_opt": ["label=disable"],  # SELinux would keep it from our folders
    }


def _realtime(security: Sequence[str]) -> dict[str, Any]:
    """Returns what lets the load ask for ``SCHED_FIFO``: a capability serves root only, a limit serves all."""
    if os.getuid() == 0 or _is("rootless", security):
        return {"cap_add": ["SYS_NICE"]}
    return {"ulimits": [Ulimit(name="rtprio", soft=PRIORITY, hard=PRIORITY)]}


def _is(what: str, security: Sequence[str]) -> bool:
    return any(f"name={what}" in option.split(",") for option in security)
