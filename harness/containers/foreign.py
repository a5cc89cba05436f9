"""Folders of ours in which a container has left files of users that are not us."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from docker.types import Mount

from harness.containers.engine import LABEL, engine, explained
from harness.journal import Journal

_INSIDE = "/brokerbench"


def remove_folder(path: Path, image: str, journal: Journal) -> None:
    """Removes a folder; what we may not remove ourselves, a container removes as root.

    Args:
        image: any that is there and has ``rm``.

    Raises:
        StartError: the engine refused. UnavailableError: it does not answer.
    """
    name = f"bb_{journal.run_id}_cleaner_{secrets.token_hex(3)}"
    journal.container(name)
    with explained(f"the folder {path} cannot be removed"):
        engine().containers.run(
            image,
            ["-c", f"find {_INSIDE} -mindepth 1 -delete"],
            entrypoint="sh",
            user="0:0",
            name=name,
            labels={LABEL: journal.run_id},
            mounts=[Mount(target=_INSIDE, source=str(path), type="bind")],
            network_mode="none",
            remove=True,
        )
    journal.gone("container", name)
    shutil.rmtree(path, ignore_errors=True)
