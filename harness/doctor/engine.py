"""Docker: the engine, compose, swarm. Asked by its own command; no scenario of this version runs on it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from harness.doctor.finding import Check, Seen, missing, ok, unknown, worse
from harness.errors import UnavailableError
from harness.programs import Answer, ask

LIMIT_S = 5.0
FOR = "for brokers in containers; no scenario of this version uses it"
NOTHING_NOW = "nothing to do now"


def checks() -> Iterator[Check]:
    """Yields the checks of this module."""
    yield Check(
        id="docker.engine", group="Not needed by this version", what="Docker engine", look=lambda: engine(_info())
    )
    yield Check(
        id="docker.compose", group="Not needed by this version", what="compose", look=lambda: compose(*_compose())
    )
    yield Check(id="docker.swarm", group="Not needed by this version", what="swarm", look=lambda: swarm(_info()))


@cache
def _info() -> Mapping[str, Any] | str:
    """Returns what ``docker info`` says, or why it says nothing."""
    if not shutil.which("docker"):
        return "the command docker is not found"
    try:
        answer = ask(["docker", "info", "--format", "{{json .}}"], limit_s=LIMIT_S)
    except UnavailableError as error:
        return error.problem
    return info(answer)


def info(answer: Answer) -> Mapping[str, Any] | str:
    """Reads the answer of ``docker info``: an object with ``ServerVersion``, or the reason why there is none."""
    try:
        told = json.loads(answer.out)
    except ValueError:
        told = None
    if isinstance(told, dict) and told.get("ServerVersion"):
        return told
    errors = told.get("ServerErrors") if isinstance(told, dict) else None
    words = str(errors[0]) if isinstance(errors, list) and errors else answer.err or answer.out
    first = words.strip().splitlines()[0] if words.strip() else f"docker info ended with status {answer.status}"
    return first.removeprefix("ERROR: ")[:200]


def engine(told: Mapping[str, Any] | str) -> Seen:
    """Judges the engine; ``told``: what ``docker info`` said, or why it said nothing."""
    if isinstance(told, str):
        return missing(told, FOR, f"{NOTHING_NOW}; to have one: apt install docker.io, and start dockerd")
    value = f"{told['ServerVersion']}, {told.get('Driver') or 'unknown'} storage, control groups {_groups(told)}"
    if told.get("OSType", "linux") != "linux":
        return missing(value, FOR, f"{NOTHING_NOW}; switch the engine to Linux containers")
    return ok(value, FOR)


def _groups(told: Mapping[str, Any]) -> str:
    return f"v{told['CgroupVersion']}" if told.get("CgroupVersion") else "unknown"


def swarm(told: Mapping[str, Any] | str) -> Seen:
    """Judges whether overlay networks can be had."""
    meaning = "for overlay networks; no scenario of this version uses them"
    if isinstance(told, str):
        return missing("no engine", meaning, NOTHING_NOW)
    state = (told.get("Swarm") or {}).get("LocalNodeState") or "unknown"
    if state == "active":
        return ok("active", meaning)
    return missing(state, meaning, f"{NOTHING_NOW}; docker swarm init would make one")


def _compose() -> tuple[Answer | None, Answer | None]:
    """Returns what the plugin and the stand-alone program say of their version; None where there is none that answers."""

    def version(*words: str) -> Answer | None:
        if not shutil.which(words[0]):
            return None
        try:
            return ask([*words, "version", "--short"], limit_s=LIMIT_S)
        except UnavailableError:
            return None

    return version("docker", "compose"), version("docker-compose")


def compose(plugin: Answer | None, alone: Answer | None) -> Seen:
    """Judges compose: version 2 or newer, as plugin or as program of its own; version 1 is refused."""
    found = {
        name: number
        for name, answer in (("docker compose", plugin), ("docker-compose", alone))
        if (number := _number(answer))
    }
    for name, number in found.items():
        if int(number.split(".")[0]) >= 2:
            return ok(f"{number} ({name})", FOR)
    remedy = f"{NOTHING_NOW}; it takes version 2: apt install docker-compose-plugin, or docker-compose-v2"
    if found:
        name, number = next(iter(found.items()))
        return worse(f"{number} ({name})", f"version 1 is at its end of life; {FOR}", remedy)
    if plugin is None and alone is None:
        return missing("not found", FOR, remedy)
    if plugin is not None and plugin.status == 0:
        return unknown(f"docker compose says {plugin.out[:60]!r}", FOR, remedy)
    return missing("docker has no plugin compose", FOR, remedy)


def _number(answer: Answer | None) -> str:
    found = re.match(r"v?(\d+(?:\.\d+)+)", answer.out) if answer and answer.status == 0 else None
    return found[1] if found else ""
