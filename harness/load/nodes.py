"""What the coordinator needs of Locust, and of the agents of this machine; ``fleet``, which imports locust, is both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Nodes(Protocol):
    """Locust's side of the coordinator."""

    port: int  # where agents of this machine connect

    def hear(self, name: str, handler: Callable[[Any, Any], None]) -> None:
        """Calls ``handler(environment, message)`` for each message of that name."""

    def send(self, client: str, what: str, data: dict[str, Any]) -> bool:
        """Sends a message; returns whether the client is connected."""

    def start_users(self, total: int) -> None:
        """Spreads all users over the agents that are ready; afterwards nothing changes that any more."""

    def missing(self, client: str) -> None:
        """Tells Locust that an agent is gone."""

    def open_page(self, on_stop: Callable[[], None]) -> str:
        """Opens Locust's page and returns its URL."""


class AgentProcess(Protocol):
    """An agent of this machine, which waits for its words on its stdin; the end of that ends it."""

    pid: int
    stdin: Any

    def wait(self) -> int:
        """Waits for its end and returns its status."""

    def poll(self) -> int | None:
        """Returns its status if it was waited for and has ended."""

    def kill(self) -> None:
        """Sends SIGKILL."""
