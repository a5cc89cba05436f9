"""Brokers in containers: the engine, Compose, the images that would run, the swarm. Makes nothing and asks no registry."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from harness.containers.building import exists, reference
from harness.containers.compose import compose
from harness.containers.engine import engine, facts
from harness.containers.images import BUILD, OFFICIAL, Image, present, present_load
from harness.containers.packages import INSTALLER, why_no_installer
from harness.doctor.finding import Check, Seen, missing, ok
from harness.errors import UnavailableError

FOR = "for brokers in containers"
LOAD = "the load, where it runs beside them"
NO_ENGINE = "no engine"
INSTALL = "apt install docker.io, or Docker's own packages, and start dockerd; or run with --set deployment=embedded"
ABOVE = "as for the engine"
_GROUP = "Brokers in containers"


def checks() -> Iterator[Check]:
    """Yields the checks of this module."""
    yield Check(id="docker.engine", group=_GROUP, what="Docker engine", look=lambda: answering(_told()))
    yield Check(id="docker.compose", group=_GROUP, what="Compose", look=_compose)
    for broker, official in OFFICIAL.items():
        remedy = f"docker pull {official}, or {BUILD} where no registry can be reached"
        look = _image(lambda broker=broker: present(broker), f"the image of {broker}", remedy)  # type: ignore[misc]
        yield Check(id=f"docker.image.{broker}", group=_GROUP, what=f"image {broker}", look=look)
    yield Check(id="docker.image.load", group=_GROUP, what="image load", look=_load)
    yield Check(id="docker.swarm", group=_GROUP, what="swarm", look=lambda: swarm(_told()))


@cache
def _told() -> Mapping[str, Any] | UnavailableError:
    """Returns what the engine says of itself, or why it says nothing; one that does not answer is waited for once."""
    try:
        engine()
        return facts()
    except UnavailableError as error:
        return error


def answering(told: Mapping[str, Any] | UnavailableError) -> Seen:
    """Judges the engine; ``told``: what it says of itself, or why it says nothing."""
    if isinstance(told, UnavailableError):
        return missing(told.problem, FOR, told.remedy if shutil.which("docker") else INSTALL)
    value = f"{told['ServerVersion']}, {told.get('Driver') or 'unknown'} storage, control groups {_groups(told)}"
    if told.get("OSType", "linux") != "linux":
        return missing(value, f"{FOR}, which are Linux's", "switch the engine to Linux containers")
    return ok(value, FOR)


def _groups(told: Mapping[str, Any]) -> str:
    return f"v{told['CgroupVersion']}" if told.get("CgroupVersion") else "unknown"


def _compose() -> Seen:
    """Finds Compose; raises UnavailableError, with its remedy, where there is none that is new enough."""
    found = compose()
    return ok(f"{found.version} ({' '.join(found.command)})", f"starts setups, {FOR}")


def _image(look: Callable[[], Image | None], what: str, remedy: str) -> Callable[[], Seen]:
    def seen() -> Seen:
        told = _told()
        return missing(NO_ENGINE, what, ABOVE) if isinstance(told, UnavailableError) else image(look(), what, remedy)

    return seen


def _load() -> Seen:
    """Looks for the load's image, and whether it can be made; it is made of one with the libraries, which are fetched once."""
    remedy = f"the first run that needs it makes it; or {BUILD} load"
    seen = _image(present_load, LOAD, remedy)()
    if seen == missing("not here", LOAD, remedy) and not exists(reference("libraries")) and (why := why_no_installer()):
        return missing(f"not here, and it cannot be made: {why}", LOAD, f"{INSTALLER}, then {BUILD} load")
    return seen


def image(found: Image | None, what: str, remedy: str) -> Seen:
    """Judges the image that would run now, None where there is none; ``what`` it is, and the ``remedy`` where it is missing."""
    if found is None:
        return missing("not here", what, remedy)
    return ok(f"{found.reference}, version {found.version or 'unknown'}", f"{what}: {found.source.words}")


def swarm(told: Mapping[str, Any] | UnavailableError) -> Seen:
    """Judges whether overlay networks can be had."""
    meaning = "for overlay networks"
    if isinstance(told, UnavailableError):
        return missing(NO_ENGINE, meaning, ABOVE)
    state = (told.get("Swarm") or {}).get("LocalNodeState") or "unknown"
    if state == "active":
        return ok("active", meaning)
    return missing(state, meaning, "run with --init-swarm, which makes one and leaves it again")
