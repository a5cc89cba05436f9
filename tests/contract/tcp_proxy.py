"""A small TCP proxy for tests: it stands between a driver and its broker, and cuts, swallows or delays on command."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, field
from types import TracebackType

CHUNK = 65536


@dataclass
class _Pair:
    """One client's connection and the one to the broker that belongs to it."""

    client: socket.socket
    broker: socket.socket
    threads: list[threading.Thread] = field(default_factory=list)

    def close(self) -> None:
        """Ends both sides so that what was already passed on can still be read."""
        for side in (self.client, self.broker):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def reset(self) -> None:
        """Ends the client's side with a reset: what it has not read yet is gone."""
        with contextlib.suppress(OSError):
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


class TcpProxy:
    """Passes bytes on in both directions; orders count the bytes that the broker answers from the order on.

    Args:
        host, port: where the broker listens.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._guard = threading.Lock()
        self._pairs: list[_Pair] = []
        self._pass: int | None = None  # answered bytes still passed on; None = all
        self._then = ""
        self._delay_s = 0.0
        self._done = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def cut_after(self, answered_bytes: int) -> None:
        """Passes so many bytes of answers on, then cuts the connection."""
        self._order(answered_bytes, "cut")

    def swallow_after(self, answered_bytes: int) -> None:
        """Passes so many bytes of answers on, then swallows all others; requests go through."""
        self._order(answered_bytes, "swallow")

    def delay(self, delay_s: float) -> None:
        """Holds every piece of an answer back for so long."""
        self._delay_s = delay_s

    def cut(self) -> None:
        """Resets every connection now."""
        with self._guard:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.reset()

    def heal(self) -> None:
        """Passes everything on again; connections that were swallowed from stay mute."""
        with self._guard:
            self._pass, self._then, self._delay_s = None, "", 0.0

    def close(self) -> None:
        """Ends every connection and thread."""
        self._done.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(5)
        with self._guard:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.close()
        for pair in pairs:
            for thread in pair.threads:
                thread.join(5)

    def __enter__(self) -> TcpProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _order(self, answered_bytes: int, then: str) -> None:
        with self._guard:
            self._pass, self._then = answered_bytes, then

    def _accept(self) -> None:
        while not self._done.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(self._target, 5)
            except OSError:
                client.close()  # as a broker that is down: the connection ends at once
                continue
            broker.settimeout(None)
            pair = _Pair(client, broker)
            pair.threads = [
                threading.Thread(target=self._pump_requests, args=(pair,), daemon=True),
                threading.Thread(target=self._pump_answers, args=(pair,), daemon=True),
            ]
            with self._guard:
                self._pairs.append(pair)
            for thread in pair.threads:
                thread.start()

    def _pump_requests(self, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while data := pair.client.recv(CHUNK):
                pair.broker.sendall(data)
        pair.close()

    def _pump_answers(self, pair: _Pair) -> None:
        mute = False
        with contextlib.suppress(OSError):
            while data := pair.broker.recv(CHUNK):
                self._done.wait(self._delay_s)
                passed, then = self._portion(data)
                if passed and not mute:
                    pair.client.sendall(passed)
                if then == "cut":
                    break
                mute = mute or then == "swallow"
        pair.close()

    def _portion(self, data: bytes) -> tuple[bytes, str]:
        """Returns what of an answer goes through, and what happens after it."""
        with self._guard:
            if self._pass is None:
                return data, ""
            if len(data) < self._pass:
                self._pass -= len(data)
                return data, ""
            passed, self._pass = data[: self._pass], 0
            return passed, self._then
