"""The engine's word on one container: as it is now, that it is not there any more, or its last word where the engine does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import requests
from docker.errors import DockerException, NotFound

from harness.containers.engine import engine, last_words
from harness.deployments._befell import incident
from harness.deployments.contract import Incident
from harness.errors import UnavailableError

SETTLE_TIMEOUT_S = 2.0
LOOK_S = 0.02
REMOVED: Mapping[str, Any] = MappingProxyType(
    {"Running": False, "Paused": False, "OOMKilled": False, "ExitCode": None, "Status": "removed"}
)
"""Of a container that the engine does not know: nobody knows any more with which status it ended."""


class State:
    """Asks, and tells once where the engine does not answer: that is no end of the container.

    Args:
        container: its name. source: ``broker`` or ``load``.
    """

    def __init__(self, container: str, source: str) -> None:
        self._container, self._source = container, source
        self._known: Mapping[str, Any] = {**REMOVED, "Running": True, "Status": "running"}
        self._silent = ""
        self._told = False
        self._guard = threading.Lock()

    @property
    def silent(self) -> str:
        """Returns why the engine did not answer when it was last asked, "" = it did."""
        return self._silent

    def begins(self, state: Mapping[str, Any]) -> None:
        """Takes note of the state that a life of the container began with."""
        with self._guard:
            self._known = state

    def look(self) -> Mapping[str, Any]:
        """Returns ``State`` of ``docker inspect``, ``REMOVED``, or what was last known."""
        known, silent = None, ""
        try:
            known = engine().api.inspect_container(self._container)["State"]
        except NotFound:
            known = REMOVED
        except (DockerException, requests.RequestException, UnavailableError) as error:
            silent = last_words(error)
        with self._guard:
            self._known, self._silent = known or self._known, silent
            return self._known

    def settled(self) -> Mapping[str, Any]:
        """Returns the state after a SIGKILL that was not ours: the engine may hear of the end before it hears of its cause, and removes what it killed."""
        state = self.look()
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while not state["OOMKilled"] and state["ExitCode"] is not None and time.monotonic() < deadline:
            time.sleep(LOOK_S)
            state = self.look()
        return state

    def incidents(self) -> list[Incident]:
        """Returns that the engine did not answer, the first time that this is so."""
        if self._told or not self._silent:
            return []
        self._told = True
        text = f"the engine did not answer when it was asked of the {self._source}'s container: {self._silent}"
        return [incident(self._source, "unanswered", text)]


def end_in_words(state: Mapping[str, Any], silent: str) -> str:
    """Returns how a container has ended.

    Args:
        state, silent: as :class:`State` has them.
    """
    if state["Status"] == "removed":
        return "its container was removed"
    if state["Running"] or state["ExitCode"] is None:
        return f"its container's processes are gone, and the engine does not say why{f': {silent}' if silent else ''}"
    return f"its container ended with status {state['ExitCode']}"
