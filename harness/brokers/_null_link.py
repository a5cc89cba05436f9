"""The client's end of a connection to the null broker: requests out, answers in, never waiting longer than told."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable
from typing import NoReturn
from urllib.parse import urlsplit

from harness.brokers import _null_protocol as wire
from harness.brokers._null_protocol import Op
from harness.clock import NS_PER_S, now_ns
from harness.errors import ConnectionLost, Unreachable

PATIENCE_S = 0.1
_RECEIVE = 1 << 20
_RESET = struct.pack("ii", 1, 0)

Done = Callable[[bytes | None, bool], None]
"""Called once per request: with the answer's body, or None when the connection was lost; and whether a byte may have left."""


class Link:
    """One connection; not safe for threads.

    Args:
        address: ``null://127.0.0.1:port``.
        connect_timeout_s, answer_timeout_s: limits on the connection's start and on each answer.
        ended: called after a connection was closed or lost and its outstanding requests were told.
    """

    def __init__(
        self, address: str, *, connect_timeout_s: float, answer_timeout_s: float, ended: Callable[[], None]
    ) -> None:
        parts = urlsplit(address)
        self._where = (parts.hostname or "127.0.0.1", parts.port or 0)
        self._connect_timeout_s = connect_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._ended = ended
        self._line: socket.socket | None = None
        self._poll = select.poll()
        self._received = bytearray()
        self._unsent: list[tuple[int, memoryview, bool]] = []
        self._open: dict[int, tuple[Done, int]] = {}  # number → (done, limit_ns), in the order of their sending
        self._number = 0

    @property
    def up(self) -> bool:
        """Returns whether there is a connection, as far as we know."""
        return self._line is not None

    @property
    def stuffed(self) -> bool:
        """Returns whether bytes wait because the broker does not read."""
        return bool(self._unsent)

    def connect(self) -> None:
        """Connects; raises Unreachable."""
        try:
            self._line = socket.create_connection(self._where, self._connect_timeout_s)
        except OSError as error:
            raise Unreachable(f"the null broker takes no connection: {error.strerror or error}") from error
        self._line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._line.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._line, select.POLLIN)
        self._received.clear()

    def check(self) -> None:
        """Reads what has come, so that a broken connection is noticed before anything is sent; raises ConnectionLost."""
        self.pump(0.0)

    def send(self, op: Op, body: bytes, done: Done, *, limit_s: float | None = None) -> None:
        """Sends a request, or keeps what the socket does not take now for :meth:`pump`.

        Args:
            limit_s: how long the answer may take; None = the usual time.
        """
        self._live()
        self._number = (self._number + 1) & 0xFFFFFFFF
        limit_s = self._answer_timeout_s if limit_s is None else limit_s
        self._open[self._number] = (done, now_ns() + int(limit_s * NS_PER_S))
        self._unsent.append((self._number, memoryview(wire.frame(op, self._number, body)), False))
        try:
            self._flush()
        except OSError as error:
            self.lose(str(error))

    def pump(self, wait_s: float) -> None:
        """Sends and reads what can be; waits up to ``wait_s`` for the first answer to arrive."""
        line = self._live()
        self._poll.modify(line, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        ready = self._poll.poll(max(0.0, wait_s) * 1000)
        if ready:
            try:
                self._flush()
                data = line.recv(_RECEIVE) if ready[0][1] & ~select.POLLOUT else None
            except BlockingIOError:
                data = None
            except OSError as error:
                self.lose(error.strerror or str(error))
            if data == b"":
                self.lose("the broker closed it")
            if data:
                self._received += data
                self._take_answers()
        elif self._open and now_ns() > min(limit_ns for _, limit_ns in self._open.values()):
            self.lose("no answer in time")

    def ask(self, op: Op, body: bytes = b"", *, limit_s: float | None = None) -> bytes:
        """Returns the answer to a request.

        Raises:
            ConnectionLost: none came, or the broker refused it.
        """
        answers: list[bytes] = []
        self.send(op, body, lambda answer, _: answers.append(answer or b""), limit_s=limit_s)
        while not answers:
            self.pump(PATIENCE_S)
        return answers[0]

    def lose(self, reason: str) -> NoReturn:
        """Gives the connection up; raises ConnectionLost."""
        self.close(abort=True)
        raise ConnectionLost(f"the connection to the null broker broke: {reason}")

    def close(self, *, abort: bool = False) -> None:
        """Ends the connection, with ``abort`` by a reset; tells what was outstanding; never raises."""
        line, self._line = self._line, None
        if line is None:
            return
        if abort:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        line.close()
        untouched = {number for number, _, touched in self._unsent if not touched}
        outstanding, self._open, self._unsent = self._open, {}, []
        for number, (done, _) in outstanding.items():
            done(None, number not in untouched)
        self._ended()

    def _live(self) -> socket.socket:
        if self._line is None:
            raise ConnectionLost("there is no connection to the null broker", remedy="connect again")
        return self._line

    def _flush(self) -> None:
        line = self._live()
        try:
            while self._unsent:
                number, rest, _ = self._unsent[0]
                rest = rest[line.send(rest) :]
                self._unsent[0] = (number, rest, True)
                if not rest:
                    self._unsent.pop(0)
        except BlockingIOError:
            return

    def _take_answers(self) -> None:
        try:
            for op, number, body in wire.frames(self._received):
                if op is Op.REFUSED:
                    self.lose(body.decode())
                done, _ = self._open.pop(number)
                done(body, True)
        except (ValueError, KeyError) as error:
            self.lose(f"it answered what was not asked: {error}")
