"""The Docker engine: whether it answers, and what its complaints mean to a user."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, TLSParameterError

from harness.errors import StartError, UnavailableError

LABEL = "brokerbench.run"
"""On every container, network and volume of ours; its value is the run id, 16 hex digits."""
THIS_MACHINE = "unix:///var/run/docker.sock"
"""Where the SDK looks for the engine if ``DOCKER_HOST`` is not set; the CLI alone would follow the user's context."""
LOOK_LIMIT_S = 5
LIMIT_S = 60

EMBEDDED = "or run a scenario that names nothing of Docker's with --set deployment=embedded"
REMEDY = "start the engine (systemctl start docker, or dockerd), " + EMBEDDED


@cache
def engine() -> docker.DockerClient:
    """Returns the client of the engine that ``DOCKER_HOST`` names, or this machine's; safe for several threads.

    Raises:
        UnavailableError: none answers, we may not speak to it, or the user's CLI speaks to another.
    """
    _require_no_context()
    try:
        found = docker.from_env(timeout=LOOK_LIMIT_S)
        found.ping()
        found.api.timeout = LIMIT_S
    except (DockerException, requests.RequestException, NameError, ValueError, OSError) as error:
        raise _no_engine(error) from error  # NameError: an address for which the SDK lacks a library, as of ssh://
    return found


def _require_no_context() -> None:
    """Raises UnavailableError where the docker CLI would speak to another engine than the SDK, which knows no contexts."""
    if os.environ.get("DOCKER_HOST"):
        return  # for both of them
    variable = os.environ.get("DOCKER_CONTEXT", "")
    name = variable or _read(_config() / "config.json").get("currentContext") or "default"
    if name == "default":
        return
    named = f"DOCKER_CONTEXT={name}" if variable else f"the docker CLI's current context {name!r}"
    undo = "unset DOCKER_CONTEXT" if variable else "docker context use default"
    address = _address_of(name)
    if not address:
        raise UnavailableError(f"{named} names no engine that is known here", remedy=f"{undo}, or correct it")
    if address != THIS_MACHINE:
        raise UnavailableError(
            f"{named} is the engine at {address}, and brokerbench follows no contexts",
            remedy=f"export DOCKER_HOST={address}, or {undo}",
        )


def _address_of(context: str) -> str:
    """Returns where a context's engine is, "" where that cannot be told."""
    told = _read(_config() / "contexts" / "meta" / hashlib.sha256(context.encode()).hexdigest() / "meta.json")
    try:
        return str(told["Endpoints"]["docker"]["Host"])
    except (KeyError, TypeError):
        return ""


def _config() -> Path:
    """Returns the folder of the docker CLI's settings."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _read(path: Path) -> Mapping[str, Any]:
    """Returns what a file of the docker CLI's says, {} where it says nothing."""
    try:
        told = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


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
    if isinstance(error, TLSParameterError):
        verify, path = os.environ.get("DOCKER_TLS_VERIFY", ""), os.environ.get("DOCKER_CERT_PATH") or "~/.docker"
        return UnavailableError(
            f"the certificates for the Docker engine cannot be read: DOCKER_TLS_VERIFY={verify} DOCKER_CERT_PATH={path}",
            expected="ca.pem, cert.pem and key.pem in that folder",
            remedy="unset or correct DOCKER_TLS_VERIFY and DOCKER_CERT_PATH",
        )
    if address := os.environ.get("DOCKER_HOST"):
        ssh = address.startswith("ssh://")
        return UnavailableError(
            f"no Docker engine answers at DOCKER_HOST={address}: {'ssh:// is not supported' if ssh else words}",
            expected="unix:///PATH or tcp://HOST:PORT of an engine that runs on this machine",
            remedy="unset or correct DOCKER_HOST, " + EMBEDDED,
        )
    return UnavailableError(f"no Docker engine answers: {words}", remedy=REMEDY)


def last_words(error: BaseException) -> str:
    """Returns the innermost reason: urllib3 and requests wrap it three times."""
    while error.__cause__ is not None or error.__context__ is not None:
        inner = error.__cause__ or error.__context__
        assert inner is not None
        error = inner
    return str(error)[:200]
