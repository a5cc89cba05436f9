"""The Docker engine: whether it answers, and what its complaints mean to a user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException

from harness.errors import StartError, UnavailableError

LABEL = "brokerbench.run"
"""On every container, network and volume of ours; its value is the run id, 16 hex digits."""
LOOK_LIMIT_S = 5
LIMIT_S = 60

EMBEDDED = "or run a scenario that names nothing of Docker's with --set deployment=embedded"
REMEDY = "start the engine (systemctl start docker, or dockerd), " + EMBEDDED


@cache
def engine() -> docker.DockerClient:
    """Returns the client of the engine that ``DOCKER_HOST`` names, or this machine's; safe for several threads.

    Raises:
        UnavailableError: none answers, or we may not speak to it.
    """
    try:
        found = docker.from_env(timeout=LOOK_LIMIT_S)
        found.ping()
        found.api.timeout = LIMIT_S
    except (DockerException, requests.RequestException) as error:
        raise _no_engine(error) from error
    return found


def why_no_engine() -> str:
    """Returns why no engine can be used, with the remedy; "" where one answers."""
    try:
        engine()
    except UnavailableError as error:
        return str(error)
    return ""


@cache
def facts() -> Mapping[str, Any]:
    """Returns what the engine says of itself (``docker info``); raises UnavailableError."""
    told: Mapping[str, Any] = engine().info()
    return told


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turns the engine's complaints into ours.

    Args:
        doing: what was tried, for the message: ``the network bb_… cannot be made``.

    Raises:
        StartError: the engine refused, in its own words; UnavailableError: it does not answer any more.
    """
    try:
        yield
    except APIError as error:
        raise StartError(f"{doing}: {error.explanation or error}") from error
    except requests.RequestException as error:
        raise UnavailableError(f"{doing}: the engine does not answer: {last_words(error)}", remedy=REMEDY) from error


def _no_engine(error: Exception) -> UnavailableError:
    words = last_words(error)
    if "Permission denied" in words:
        return UnavailableError(
            "the Docker engine may not be spoken to: permission denied",
            expected="a user of the group docker, or root",
            remedy="sudo usermod -aG docker $USER and log in again, " + EMBEDDED,
        )
    return UnavailableError(f"no Docker engine answers: {words}", remedy=REMEDY)


def last_words(error: BaseException) -> str:
    """Returns the innermost reason: urllib3 and requests wrap it three times."""
    while error.__cause__ is not None or error.__context__ is not None:
        inner = error.__cause__ or error.__context__
        assert inner is not None
        error = inner
    return str(error)[:200]
