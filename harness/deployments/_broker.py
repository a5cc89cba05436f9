"""A broker that is one process tree: what the launchers ``embedded_<broker>.py`` return from ``up``."""

from __future__ import annotations

import shutil
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.deployments._here import ThisMachine
from harness.deployments._process import POLL_S, ProcessTree
from harness.deployments.contract import Incident, LoadPlace, Usage
from harness.errors import StartError, UnavailableError

LISTEN_TIMEOUT_S = 20.0


class TreeBroker:
    """Implements :class:`harness.deployments.contract.Broker` over a :class:`ProcessTree`.

    Args:
        tree: its processes. address: URL for drivers. version: server and where it comes from.
        folder: private folder with its data, removed by :meth:`down`.
        launch: starts ``tree`` on the same address and data; called by :meth:`start`.
        stop_order: the signal that asks for a graceful end.
    """

    def __init__(
        self,
        *,
        tree: ProcessTree,
        address: str,
        version: str,
        folder: Path,
        launch: Callable[[], None],
        stop_order: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.address = self.load_address = address
        self.load_place: LoadPlace = ThisMachine(tree.journal)
        self.version = version
        self.ours = True
        self.notes: list[str] = []
        self.tree = tree
        self._folder = folder
        self._launch = launch
        self._stop_order = stop_order

    def start(self) -> None:
        """Starts it again on the same address and data; returns once the process runs."""
        self._launch()

    def kill(self) -> Mapping[str, object]:
        """SIGKILLs the whole tree and waits until it is gone."""
        return self.tree.kill()

    def stop(self, timeout_s: float) -> Mapping[str, object]:
        """Asks it to end, kills it after ``timeout_s``."""
        return self.tree.stop(timeout_s, order=self._stop_order)

    def pause(self) -> Mapping[str, object]:
        """SIGSTOPs the whole tree."""
        return self.tree.pause()

    def resume(self) -> Mapping[str, object]:
        """SIGCONTs the whole tree."""
        return self.tree.resume()

    def recreate(self, stop_timeout_s: float) -> Mapping[str, object]:
        """Refuses: there is no container."""
        raise UnavailableError("an embedded broker has no container to recreate", expected="deployment: docker")

    def why_ended(self) -> str:
        """Returns nothing: its log tells."""
        return ""

    def incidents(self) -> Sequence[Incident]:
        """Returns nothing: there is no container."""
        return ()

    def alive(self) -> bool:
        """Returns whether the main process runs."""
        return self.tree.alive()

    def usage(self) -> Usage:
        """Returns what all its incarnations used."""
        return self.tree.usage()

    def log_tail(self, lines: int = 10) -> str:
        """Returns the last lines of its log."""
        return self.tree.log_tail(lines)

    def down(self) -> None:
        """Ends every process and removes the private folder; idempotent, never raises."""
        self.tree.end()
        shutil.rmtree(self._folder, ignore_errors=True)


def wait_listening(tree: ProcessTree, port: int, what: str, timeout_s: float = LISTEN_TIMEOUT_S) -> None:
    """Returns once 127.0.0.1:``port`` takes a connection.

    Raises:
        StartError: the process ended, or nothing listened in time; with the log's last lines.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not tree.alive():
            raise StartError(f"{what} ended while it started; its last words:\n{tree.log_tail()}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(POLL_S)
    raise StartError(
        f"{what} does not listen on 127.0.0.1:{port} after {timeout_s:g} s; its last words:\n{tree.log_tail()}"
    )
