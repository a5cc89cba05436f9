"""Docker Compose version 2, a program beside the engine: found, refused where it is version 1, run for a bounded time, its complaints made ours."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from harness.containers.engine import EMBEDDED, THIS_MACHINE
from harness.containers.networks import no_addresses
from harness.errors import StartError, UnavailableError
from harness.journal import Journal
from harness.programs import ask

OLDEST = (2, 18)  # `!reset` in a file that is laid over another
UP_LIMIT_S = 60.0
REMEDY = (
    "install Compose v2: apt install docker-compose-plugin (Docker's own archive) or docker-compose-v2 (Ubuntu), or put the program of"
    " https://github.com/docker/compose/releases into ~/.docker/cli-plugins; " + EMBEDDED
)
_TAKEN = ("port is already allocated", "address already in use", "ports are not available")


@dataclass(frozen=True, kw_only=True, slots=True)
class Compose:
    """The program: what its command line begins with, and its version."""

    command: tuple[str, ...]
    version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """What one call of Compose is about.

    Args:
        name: of the project; its containers are ``<name>-<service>-1``. files: the base first.
        variables: what the files ask for; nothing else of ours that begins with ``BROKERBENCH_`` or ``COMPOSE_`` is handed on.
    """

    name: str
    files: tuple[Path, ...]
    variables: Mapping[str, str]


class PortTakenError(StartError):
    """A port of this machine that is to be published was taken by another in between."""


def folder() -> Path:
    """Returns where the compose files are: inside an installed wheel, else ``compose/`` of the checkout."""
    installed = Path(str(files("harness"))) / "_shipped" / "compose"
    return installed if installed.is_dir() else Path(str(files("harness"))).parent / "compose"


def compose() -> Compose:
    """Returns the program: the docker CLI's plugin, or ``docker-compose`` of the PATH; safe for several threads, and looked for once.

    Raises:
        UnavailableError: there is none, it is too old, or it does not answer.
    """
    with _looking:
        return _compose()


def look_ahead() -> None:
    """Begins to look for the program, which takes 0.1 s; whoever asks for it waits for the rest of that."""

    def look() -> None:
        with suppress(UnavailableError):  # who asks is told
            compose()

    threading.Thread(target=look, name="compose", daemon=True).start()


_looking = threading.Lock()


@cache
def _compose() -> Compose:
    seen = [] if shutil.which("docker") else ["the docker CLI is not in PATH"]
    for command in _candidates():
        program = " ".join(command)
        try:
            answer = ask([*command, "version", "--short"])
        except UnavailableError as error:
            seen.append(f"{program}: {error.problem}")
            continue
        match = re.match(r"(?:docker-compose version )?v?(\d+(?:\.\d+)+)", answer.out)
        if answer.status != 0 or match is None:
            continue
        if tuple(map(int, match[1].split(".")[:2])) >= OLDEST:
            return Compose(command=command, version=match[1])
        seen.append(f"{program} is {match[1]}{', Compose v1' if match[1].startswith('1.') else ''}")
    expected = f"Docker Compose {'.'.join(map(str, OLDEST))} or newer"
    raise UnavailableError("; ".join(["Docker Compose is not found", *seen]), expected=expected, remedy=REMEDY)


def why_not() -> str:
    """Returns why Compose cannot be used, with the remedy; "" where it can."""
    try:
        compose()
    except UnavailableError as error:
        return str(error)
    return ""


def up(project: Project, journal: Journal) -> None:
    """Makes and starts the project's containers, from images that are there; returns once they run.

    Raises:
        PortTakenError: a port was taken by another.
        UnavailableError: an image is missing, or the engine has no addresses for its network.
        StartError: anything else, in Compose's own words.
    """
    options = [word for file in project.files for word in ("--file", str(file))]
    command = [*compose().command, "--project-name", project.name, "--env-file", os.devnull, *options]
    command += ["up", "--detach", "--no-build", "--pull", "never", "--no-color"]
    status, said = _run(command, _environment(project.variables), journal)
    if status != 0:
        raise _explained(said)


def _run(command: Sequence[str], environment: Mapping[str, str], journal: Journal) -> tuple[int, str]:
    process = journal.spawn(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        said, _ = process.communicate(timeout=UP_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise StartError(f"{' '.join(compose().command)} up does not end within {UP_LIMIT_S:g} s") from None
    finally:
        if process.poll() is None:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)  # the plugin is a child of the CLI
            process.communicate()
        journal.forget(process.pid)
    return process.returncode, said.decode(errors="replace")


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Returns our environment without what would change the project behind our back."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("COMPOSE_", "BROKERBENCH_"))}
    return {"DOCKER_HOST": THIS_MACHINE, **ours, **variables}


def _explained(said: str) -> StartError | UnavailableError:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    reason = next((line for line in reversed(lines) if "rror" in line), lines[-1] if lines else "it says nothing")
    if any(words in said for words in _TAKEN):
        return PortTakenError(f"a port on 127.0.0.1 is taken: {reason}")
    if "No such image" in said or "not found: manifest unknown" in said:
        return UnavailableError(reason, remedy="brokerbench images build makes it where no registry answers")
    if no_addresses(said):
        return UnavailableError(reason, remedy="remove networks that nothing uses: docker network prune")
    return StartError(f"the container does not start: {reason}")


def _candidates() -> Iterator[tuple[str, ...]]:
    if docker := shutil.which("docker"):
        yield docker, "compose"
    for name in ("docker-compose", "docker-compose-v2"):
        if alone := shutil.which(name):
            yield (alone,)
