"""Passes bytes between clients and a broker, one TCP connection each: what a proxy is before it does anything.

One thread, sockets that never block. ``cutter`` cuts replies on top of this; tests of the drivers do worse. It knows no protocol, so
TLS passes too, but nothing in it can be found. Hooks (:meth:`Relay.from_client`, :meth:`Relay.from_broker`) get every piece as it
came and say what goes on.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from harness.clock import NS_PER_S, now_ns

CHUNK = 1 << 16
FULL = 1 << 18  # bytes that wait for a side that does not read; beyond it nothing more is taken from the other
_RESET = struct.pack("ii", 1, 0)


@dataclass(eq=False, slots=True)
class Side:
    """One end: its socket, the bytes that wait for it, and how far it has come.

    Args:
        ended: it says no more. shut: it was told that nothing more comes. gone: its socket is closed.
    """

    sock: socket.socket
    waiting: bytearray = field(default_factory=bytearray)
    connecting: bool = False
    ended: bool = False
    shut: bool = False
    gone: bool = False


class Pair:
    """One client's connection and the one to the broker that belongs to it."""

    def __init__(self, client: socket.socket, broker: socket.socket) -> None:
        self.client, self.broker = Side(client), Side(broker, connecting=True)
        self.kept = (
            False  # the broker is not told that its client is gone: whoever says so lets it go, by `Relay.leave`
        )

    def other(self, side: Side) -> Side:
        """Returns the side that a side speaks to."""
        return self.broker if side is self.client else self.client


class Relay:
    """Listens on 127.0.0.1 and a free port; each connection there becomes one to the broker.

    :meth:`run` is the loop, for a thread or process of its own. All other methods belong to that thread, except :meth:`call` and
    :meth:`end`.

    Args:
        host, port: where the broker listens.

    Raises:
        OSError: ``host`` has no address, or there is no port.
    """

    def __init__(self, host: str, port: int) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self._family, self._target = found[0], found[4]
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self.pairs: dict[Pair, None] = {}
        self._waker, self._wakes = socket.socketpair()
        self._wakes.setblocking(False)
        self._calls: list[Callable[[], None]] = []
        self._guard = threading.Lock()
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._turns = itertools.count()
        self._over = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wakes, selectors.EVENT_READ)

    # What a proxy of some use overrides.

    def opened(self, pair: Pair) -> Pair:
        """Returns the pair of a new connection; a subclass may make one of its own of it."""
        return pair

    def from_client(self, pair: Pair, data: bytes) -> None:
        """Gets what a client said."""
        self.send(pair, pair.broker, data)

    def from_broker(self, pair: Pair, data: bytes) -> None:
        """Gets what the broker said."""
        self.send(pair, pair.client, data)

    def closed(self, pair: Pair) -> None:
        """Is told that both sides of a connection are gone."""

    # For any thread.

    def call(self, what: Callable[[], None]) -> None:
        """Has something done by the loop, soon."""
        with self._guard:
            self._calls.append(what)
        with contextlib.suppress(OSError):
            self._waker.send(b"!")

    def end(self) -> None:
        """Ends the loop and every connection, soon."""
        self.call(self._end)

    # For the loop's own thread.

    def run(self) -> None:
        """Passes bytes on until :meth:`end`."""
        try:
            while not self._over:
                self._look()
        finally:
            for pair in list(self.pairs):
                self.close(pair)
            for sock in (self._listener, self._waker, self._wakes):
                sock.close()
            self._selector.close()

    def at(self, t_ns: int, what: Callable[[], None]) -> None:
        """Has something done at a time."""
        heapq.heappush(self._timers, (t_ns, next(self._turns), what))

    def send(self, pair: Pair, to: Side, data: bytes | bytearray) -> None:
        """Passes bytes to a side, now or when it reads; bytes for one that is gone are dropped."""
        if to.gone or to.shut:
            return
        if not to.waiting and not to.connecting:
            data = data[self._sent(pair, to, data) :]
        if data and not to.gone:
            to.waiting += data
            self._watch(pair)

    def read(self, pair: Pair, side: Side) -> bytes | None:
        """Returns what a side has said, b"" if it says no more, None if there is nothing (yet)."""
        if side.ended or side.connecting:
            return None
        try:
            data = side.sock.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            self._broke(pair, side)
            return None
        side.ended = not data
        return data

    def reset(self, pair: Pair, side: Side) -> None:
        """Ends a side with a reset: what it has not read yet is gone for it."""
        with contextlib.suppress(OSError):
            side.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.leave(pair, side)

    def leave(self, pair: Pair, side: Side) -> None:
        """Closes a side; the connection goes on for as long as the other one is there."""
        if side.gone:
            return
        self._forget(side)
        side.sock.close()
        side.gone = side.ended = side.shut = True
        side.waiting.clear()
        if pair.other(side).gone and pair in self.pairs:
            del self.pairs[pair]
            self.closed(pair)

    def close(self, pair: Pair) -> None:
        """Closes both sides; what was passed on can still be read."""
        for side in (pair.client, pair.broker):
            self.leave(pair, side)

    def shut(self, pair: Pair, to: Side) -> None:
        """Tells a side that nothing more comes, once it has what waits for it."""
        if to.shut or to.waiting or to.connecting:
            return
        to.shut = True
        with contextlib.suppress(OSError):
            to.sock.shutdown(socket.SHUT_WR)
        self._settle(pair)

    def _look(self) -> None:
        wait_s = None if not self._timers else max(0.0, (self._timers[0][0] - now_ns()) / NS_PER_S)
        ready = self._selector.select(wait_s)
        while self._timers and self._timers[0][0] <= now_ns():  # first, for the wait is in whole ms, rounded up
            heapq.heappop(self._timers)[2]()
        for key, events in ready:
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._wakes:
                self._take_calls()
            else:
                pair, side = key.data
                if events & selectors.EVENT_WRITE and not side.gone:
                    self._write(pair, side)
                if events & selectors.EVENT_READ and not side.gone:
                    self._read(pair, side)

    def _take_calls(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wakes.recv(CHUNK)
        with self._guard:
            calls, self._calls = self._calls, []
        for call in calls:
            call()

    def _end(self) -> None:
        self._over = True

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        broker = socket.socket(self._family, socket.SOCK_STREAM)
        for sock in (client, broker):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = self.opened(Pair(client, broker))
        self.pairs[pair] = None
        with contextlib.suppress(BlockingIOError, OSError):  # whether it worked shows when it can be written to
            broker.connect(self._target)
        self._watch(pair)

    def _read(self, pair: Pair, side: Side) -> None:
        data = self.read(pair, side)
        if data:
            (self.from_client if side is pair.client else self.from_broker)(pair, data)
        elif data is not None:
            self.shut(pair, pair.other(side))
            self._settle(pair)

    def _write(self, pair: Pair, side: Side) -> None:
        if side.connecting:
            error = side.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:  # as a broker that is down: the connection ends at once
                self.close(pair)
                return
            side.connecting = False
        del side.waiting[: self._sent(pair, side, side.waiting)]
        if not side.gone and pair.other(side).ended and not pair.kept:
            self.shut(pair, side)
        self._watch(pair)

    def _sent(self, pair: Pair, to: Side, data: bytes | bytearray) -> int:
        if not data:
            return 0
        try:
            return to.sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._broke(pair, to)
            return 0

    def _broke(self, pair: Pair, side: Side) -> None:
        """One side is gone without a goodbye: a client learns it as it happened, a broker still gets what was on its way."""
        if side is pair.broker:
            self.leave(pair, side)
            self.reset(pair, pair.client)
            return
        self.leave(pair, side)
        if not pair.kept:
            self.shut(pair, pair.broker)
        self._watch(pair)

    def _settle(self, pair: Pair) -> None:
        """Closes a connection on which nobody says anything more."""
        if pair.client.ended and pair.broker.ended and not (pair.client.waiting or pair.broker.waiting):
            self.close(pair)
        else:
            self._watch(pair)

    def _watch(self, pair: Pair) -> None:
        """Waits for what may happen next: for more of a side only while the other one takes it."""
        for side in (pair.client, pair.broker):
            if side.gone:
                continue
            events = selectors.EVENT_WRITE if side.waiting or side.connecting else 0
            if not side.ended and not side.connecting and len(pair.other(side).waiting) < FULL:
                events |= selectors.EVENT_READ
            known = self._selector.get_map().get(side.sock)
            if known is None:
                if events:
                    self._selector.register(side.sock, events, (pair, side))
            elif not events:
                self._selector.unregister(side.sock)
            elif known.events != events:
                self._selector.modify(side.sock, events, (pair, side))

    def _forget(self, side: Side) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(side.sock)
