"""Which image runs: the one that a variable names, the official one, or the equivalent that ``brokerbench images build`` makes.

Nobody chooses by a flag: what is on this machine is used before a registry is asked, and the record says what ran.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound

from harness.containers import building
from harness.containers.building import VERSION, Say, quiet
from harness.containers.engine import engine, explained
from harness.errors import UnavailableError, one_line
from harness.programs import end_asked

OFFICIAL = {"redis": "redis:8", "rabbitmq": "rabbitmq:4-management", "postgres": "postgres:17"}
"""By broker: the images that run by default."""
VARIABLE = "BROKERBENCH_IMAGE_"
"""Followed by the broker in capitals: an image of the user's own."""
PULL_LIMIT_S = 600
ASK_LIMIT_S = 5
"""For a registry to say whether it has an image."""
BUILD = "brokerbench images build"


class Source(StrEnum):
    """Where an image comes from."""

    VARIABLE = "variable"
    OFFICIAL = "official"
    BUILT = "built"

    @property
    def words(self) -> str:
        """What a user is told."""
        return {
            "variable": "a variable names it",
            "official": "the official image",
            "built": "made here of Debian packages",
        }[self]


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """An image on this machine's engine.

    Args:
        name: the broker, or ``load``.
        reference: what ``docker run`` takes.
        digest: of the registry where it came from one, else the image's id; ``sha256:…``.
        version: of what runs in it, "" where the image does not say.
        source: why it is this one.
    """

    name: str
    reference: str
    digest: str
    version: str
    source: Source


def present(broker: str) -> Image | None:
    """Returns the image that would run for a broker if no registry were asked, None if there is none; raises UnavailableError."""
    for reference, source in _choices(broker):
        found = _look(broker, reference, source)
        if found is not None or source is Source.VARIABLE:  # whoever names an image wants that one
            return found
    return None


def image_of(broker: str, say: Say = quiet) -> Image:
    """Returns the image that runs for a broker; pulls one where none is here and a registry answers.

    Args:
        broker: a key of ``OFFICIAL``.
        say: is told of a pull, a line at a time.

    Raises:
        UnavailableError: no engine, or no image here and none to be had.
    """
    found = present(broker)
    if found is not None:
        return found
    reference, source = next(_choices(broker))
    why = pull(reference, say)
    found = None if why else _look(broker, reference, source)
    if found is not None:
        return found
    if source is Source.VARIABLE:
        raise UnavailableError(
            f"{_variable(broker)} names {reference}, which is not here: {why}",
            remedy=f"docker pull {reference}, or unset {_variable(broker)}",
        )
    raise UnavailableError(
        f"there is no image for {broker}: {reference} is not here: {why}",
        remedy=f"{BUILD} makes one of Debian packages; or docker pull {reference} where a registry can be reached",
    )


def present_load() -> Image | None:
    """Returns the image in which the load would run if it need not be made, else None; raises UnavailableError."""
    return _look("load", building.reference("load"), Source.BUILT)


def load_image(say: Say = quiet) -> Image:
    """Returns the image in which the load runs, made of the code that is running; made now where it is missing.

    Raises:
        UnavailableError: no engine, or it cannot be made here.
    """
    reference = make("load", say)
    found = _look("load", reference, Source.BUILT)
    if found is None:
        raise UnavailableError(f"{reference} has gone away", remedy=f"{BUILD} load")
    return found


def make(name: str, say: Say = quiet) -> str:
    """Makes one of our images where it is missing, on the official base if that can be had; returns its tag; raises UnavailableError."""
    return building.build(name, say, registry=lambda image: not pull(image, say))


def make_all(names: Iterable[str], say: Say = quiet) -> None:
    """Makes images side by side, since a build waits for the network most of its time; raises UnavailableError if one cannot be made."""
    problems: list[BaseException] = []

    def one(name: str) -> None:
        try:
            make(name, say)
        except BaseException as error:  # told by who waits
            problems.append(error)

    make("base", say)
    # Ctrl-C ends us, and the engine gives a build up whose client has gone.
    makers = [threading.Thread(target=one, args=(name,), name=name, daemon=True) for name in names]
    try:
        for maker in makers:
            maker.start()
        for maker in makers:
            maker.join()
    finally:
        end_asked()
    if problems:
        raise problems[0]


def pull(reference: str, say: Say = quiet) -> str:
    """Pulls an image, if its registry answers quickly; returns "", or why it cannot be had, which is then remembered."""
    with _pulling:
        return _pull_once(reference, say)


_pulling = threading.Lock()
_known: dict[str, str] = {}
"""By registry that did not answer, and by image: why it cannot be had."""


def _pull_once(reference: str, say: Say) -> str:
    registry = _registry(reference)
    for known in (registry, reference):
        if known in _known:
            return _known[known]
    unreachable, why = _asked(reference)
    if why:
        _known[registry if unreachable else reference] = why
        return why
    say(f"pulling {reference}")
    deadline = time.monotonic() + PULL_LIMIT_S
    repository, tag = _parts(reference)
    told: Mapping[str, Any]
    try:
        for told in engine().api.pull(repository, tag, stream=True, decode=True):
            why = why or str(told.get("error", ""))[:200]  # read to the end, which gives the connection back
            if told.get("status") == "Pull complete":
                say(f"pulling {reference}: layer {told.get('id')}")
            if time.monotonic() > deadline:
                why = f"the pull took longer than {PULL_LIMIT_S} s"
                break
    except (APIError, requests.RequestException) as error:
        why = one_line(error)
    if why:
        _known[reference] = why
    return why


def _asked(reference: str) -> tuple[bool, str]:
    """Asks a registry, through the engine, whether it has an image; returns whether no answer came, and why it cannot be had."""
    try:
        with closing(docker.from_env(timeout=ASK_LIMIT_S)) as client:
            client.images.get_registry_data(reference)
    except APIError as error:
        # The engine answers 500 for a registry that it cannot reach, and passes 401, 403 and 404 on.
        return error.status_code is None or error.status_code >= 500, str(error.explanation or error)[:200]
    except (DockerException, requests.RequestException):
        return True, f"no registry answers within {ASK_LIMIT_S} s"
    return False, ""


def _registry(reference: str) -> str:
    """Returns the host that an image comes from."""
    host, slash, _ = reference.partition("/")
    return host if slash and (host == "localhost" or re.search(r"[.:]", host)) else "docker.io"


def _parts(reference: str) -> tuple[str, str]:
    """Returns the repository, and the tag or digest, of an image's name."""
    if "@" in reference:
        repository, _, digest = reference.partition("@")
        return repository, digest
    repository, colon, tag = reference.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (reference, "latest")


def _choices(broker: str) -> Iterator[tuple[str, Source]]:
    """Yields the images that may run for a broker, the best first; raises UnavailableError for a broker that has none."""
    if named := os.environ.get(_variable(broker)):
        yield named, Source.VARIABLE
        return
    if broker not in OFFICIAL:
        raise UnavailableError(
            f"no image is known for {broker}",
            expected=f"one of {', '.join(OFFICIAL)}",
            remedy="run it with --set deployment=embedded",
        )
    yield OFFICIAL[broker], Source.OFFICIAL
    yield building.reference(broker), Source.BUILT


def _variable(broker: str) -> str:
    return VARIABLE + broker.upper()


def _look(name: str, reference: str, source: Source) -> Image | None:
    """Returns an image that the engine has, None where it has not; raises UnavailableError."""
    with explained(f"the image {reference}"):
        try:
            told: Mapping[str, Any] = engine().images.get(reference).attrs
        except ImageNotFound:
            return None
        except APIError as error:
            if source is Source.VARIABLE and error.status_code == 400:
                raise UnavailableError(
                    f"{_variable(name)}={reference!r} is no name of an image: {error.explanation}",
                    expected=f"a name as docker run takes it, e.g. {OFFICIAL[name]}",
                    remedy=f"correct or unset {_variable(name)}",
                ) from error
            raise
    digests = told.get("RepoDigests") or []
    return Image(
        name=name,
        reference=reference,
        digest=digests[0].partition("@")[2] if digests else str(told["Id"]),
        version=_version(told.get("Config") or {}),
        source=source,
    )


def _version(config: Mapping[str, Any]) -> str:
    """Returns what an image says of the version that it runs: ours in a label, official ones in their variables."""
    if own := (config.get("Labels") or {}).get(VERSION):
        return str(own)
    variables = dict(word.partition("=")[::2] for word in config.get("Env") or [])
    for variable in ("REDIS_VERSION", "REDIS_DOWNLOAD_URL", "RABBITMQ_VERSION", "PG_VERSION"):
        if found := re.search(r"\d+(\.\d+)+", variables.get(variable, "")):
            return found[0]
    return ""
