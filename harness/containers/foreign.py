"""Folders of ours in which a container has left files of users that are not us."""

from __future__ import annotations

import secrets
import shutil
from contextlib import suppress
from pathlib import Path

import docker
from docker.errors import NotFound
from docker.types import Mount

from harness.containers.engine import LABEL, engine, explained
from harness.journal import Journal

_INSIDE = "/brokerbench"
_EMPTIED_S = 60


def remove_folder(path: Path, image: str, journal: Journal) -> None:
    """Removes a folder; what we may not remove ourselves, a container removes as root.

    Args:
        image: any that is there and has ``sh`` and ``find``.

    Raises:
        StartError: the engine refused. UnavailableError: it does not answer.
    """
    name = cleaner(journal.run_id)
    journal.container(name)
    with explained(f"the folder {path} cannot be removed"):
        empty(engine(), path, image, name, journal.run_id)
    journal.gone("container", name)
    shutil.rmtree(path, ignore_errors=True)


def cleaner(run_id: str) -> str:
    """Returns a name for a container that empties a folder of a run."""
    return f"bb_{run_id}_cleaner_{secrets.token_hex(3)}"


def empty(client: docker.DockerClient, path: Path, image: str, name: str, run_id: str) -> None:
    """Removes all that is in a folder, as root, in a container of which nothing stays; raises what the engine's library raises."""
    made = client.containers.create(
        image,
        ["-c", f"find {_INSIDE} -mindepth 1 -delete"],
        entrypoint="sh",
        user="0:0",
        name=name,
        labels={LABEL: run_id},
        mounts=[Mount(target=_INSIDE, source=str(path), type="bind")],
        network_mode="none",
    )
    try:
        made.start()
        made.wait(timeout=_EMPTIED_S)
    finally:
        # v: the brokers' images declare volumes, which `remove=True` of the library's `run` leaves behind.
        with suppress(NotFound):
            made.remove(v=True, force=True)
