"""One Redis connection, pipelined: what was sent is owed replies, in order, and each reply becomes one outcome.

The connection is redis-py's own (its packing, its socket, its hiredis parser), with retries off and one difference to
its ``Pipeline``: replies are read one by one, so that a connection which breaks among the replies of a pipeline leaves
the answered messages answered and only the others UNKNOWN. Neighbour: ``_redis``, the drivers' common part.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from redis._parsers.hiredis import NOT_ENOUGH_DATA, _HiredisParser
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, parse_url
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from harness.brokers import _tls
from harness.brokers.contract import Flags, Ints
from harness.clock import NS_PER_S, now_ns
from harness.errors import ConnectionLost, Unreachable, UsageError

Command = Sequence[str | bytes | int]
Judge = Callable[[Any], int]

_NOT_EXECUTED = (OutOfMemoryError, BusyLoadingError, ReadOnlyError, MasterDownError, NoPermissionError)
_NOT_EXECUTED_CODES = frozenset({"MISCONF", "NOREPLICAS", "BUSY", "WRONGTYPE"})
_OF_ADDRESS = ("host", "port", "path", "db", "username", "password", "connection_class")
_TLS_FILES = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}
_EXPECTED = "redis://USER:…@HOST:PORT/DB, or rediss://…?ssl_ca_certs=FILE&ssl_certfile=…&ssl_keyfile=…"
READ_BYTES = 1 << 17  # one recv takes the replies of a whole window


def not_executed(reply: object) -> bool:
    """Returns whether an error reply proves that the command had no effect.

    Redis refuses these before it runs the command (``processCommand``): no memory, loading, a replica, the master down, no
    permission, the last snapshot or AOF write failed (MISCONF), too few replicas, a script runs; WRONGTYPE is found first
    thing inside it. Every other error is no proof.
    """
    if isinstance(reply, _NOT_EXECUTED):
        return True
    return isinstance(reply, ResponseError) and str(reply).partition(" ")[0] in _NOT_EXECUTED_CODES


@dataclass(slots=True, eq=False)
class Owed:
    """Replies that the server owes for commands sent together.

    Args:
        count: how many replies.
        sent_ns: when they were sent. limit_ns: when an unanswered one means that the connection is lost.
        tokens: shape (n,), None for a call whose caller reads ``replies`` itself.
        judge: reply → outcome. whole: the last reply judges all tokens (a script); else one reply per token.
        unknown: the outcome of what stays unanswered.
        into: where outcomes are collected.
    """

    count: int
    sent_ns: int
    limit_ns: int
    tokens: Ints | None = None
    judge: Judge | None = None
    whole: bool = False
    unknown: int = 0
    into: list[tuple[Ints, Flags, Ints]] = field(default_factory=list)
    replies: list[Any] = field(default_factory=list)
    t_ns: list[int] = field(default_factory=list)
    told: int = 0

    @property
    def complete(self) -> bool:
        """Returns whether every reply has come."""
        return len(self.replies) == self.count

    def tell(self) -> None:
        """Collects the outcomes of the replies that have come since the last call."""
        if self.tokens is None or self.judge is None:
            return
        if self.whole:
            if self.complete:
                self._collect(self.tokens, [self.judge(self.replies[-1])] * len(self.tokens), self.t_ns[-1])
            return
        first, end = self.told, len(self.replies)
        if end > first:
            self._collect(self.tokens[first:end], list(map(self.judge, self.replies[first:])), self.t_ns[first:])
            self.told = end

    def give_up(self, outcome: int, t_ns: int) -> None:
        """Collects what has come, and ``outcome`` for the rest."""
        self.tell()
        if self.tokens is not None:
            rest = self.tokens[self.told :]
            self._collect(rest, [outcome] * len(rest), t_ns)

    def _collect(self, tokens: Ints, outcomes: list[int], t_ns: list[int] | int) -> None:
        if len(tokens):
            self.into.append(
                (tokens, np.array(outcomes, np.uint8), np.broadcast_to(np.array(t_ns, np.int64), tokens.shape))
            )


class Link:
    """A connection and what the server owes on it. Not for several threads.

    Args:
        address: ``redis://…``, ``rediss://…`` or ``unix://…``.
        name: given by ``CLIENT SETNAME``.
        connect_timeout_s: limit on connecting and on the first PING.
        answer_timeout_s: limit on an answer, beyond what a command itself may block.
    """

    def __init__(self, address: str, name: str, *, connect_timeout_s: float, answer_timeout_s: float) -> None:
        self._address = address
        self._name = name
        self._connect_timeout_s = connect_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._connection: Any = None  # redis-py's Connection, whose methods have no types
        self._owed: deque[Owed] = deque()

    @property
    def up(self) -> bool:
        """Returns whether there is a connection, as far as is known."""
        return self._connection is not None

    def connect(self) -> None:
        """Connects anew, and asks once; raises Unreachable when nobody answers or the server is still loading."""
        self.close()
        settings = _settings(self._address)
        connection: Any = settings.pop("connection_class", Connection)(
            **settings,
            parser_class=_HiredisParser,  # see `_read`
            client_name=self._name,
            protocol=2,  # replies of one shape on every server
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=self._connect_timeout_s,
            socket_timeout=self._connect_timeout_s,
            socket_read_size=READ_BYTES,
        )
        try:
            connection.connect()
            connection.send_command("PING", check_health=False)
            connection.read_response()
        except (RedisError, OSError) as error:
            connection.disconnect()
            if isinstance(error, AuthenticationError):
                raise Unreachable(f"Redis refuses the password: {error}") from error
            remedy = _tls.remedy(
                str(error),
                authority="rediss://…?ssl_ca_certs=FILE",
                unchecked="leave the names unchecked: ssl_check_hostname=false",
                client="rediss://…?ssl_certfile=FILE&ssl_keyfile=FILE",
                encrypted=isinstance(connection, SSLConnection),
            )
            raise Unreachable(f"Redis does not answer: {error}", remedy=remedy) from error
        # From now on only waits of our own count; the socket's time-out is left for sends into a full buffer.
        connection.socket_timeout = self._answer_timeout_s
        connection._parser._socket_timeout = self._answer_timeout_s
        connection._sock.settimeout(self._answer_timeout_s)
        self._connection = connection

    def send(
        self,
        commands: Sequence[Command],
        *,
        tokens: Ints | None = None,
        judge: Judge | None = None,
        whole: bool = False,
        unknown: int = 0,
        not_sent: int = 0,
        into: list[tuple[Ints, Flags, Ints]] | None = None,
        block_s: float = 0.0,
    ) -> Owed:
        """Sends commands in one write; their replies are then owed. See :class:`Owed` for the arguments.

        Args:
            not_sent: the outcome of the tokens if no byte can have left. block_s: how long the commands may block.

        Raises:
            ConnectionLost: every outcome that was owed is collected.
        """
        now = now_ns()
        owed = Owed(
            count=len(commands),
            sent_ns=now,
            limit_ns=now + int((self._answer_timeout_s + block_s) * NS_PER_S),
            tokens=tokens,
            judge=judge,
            whole=whole,
            unknown=unknown,
            into=into if into is not None else [],
        )
        if not commands:
            return owed
        try:
            connection = self._alive()
            connection.can_read(0)  # raises where the server has closed: nothing has left then
        except (RedisError, OSError, ConnectionLost) as error:
            owed.give_up(not_sent, now_ns())
            self.lose(error)
        self._owed.append(owed)
        try:
            for piece in connection.pack_commands(commands):
                connection._sock.sendall(piece)  # send_packed_command would close at once, with answers still unread
        except OSError as error:
            self._read()
            self.lose(error)
        return owed

    def call(self, commands: Sequence[Command], *, block_s: float = 0.0) -> list[Any]:
        """Sends commands and returns their replies, error replies as exceptions in their place.

        Raises:
            ConnectionLost: it broke, no answer came in time, or the server is loading its data again.
        """
        owed = self.send(commands, block_s=block_s)
        while not owed.complete:
            self._wait((owed.limit_ns - now_ns()) / NS_PER_S)
            self._read()
        for reply in owed.replies:
            if isinstance(reply, BusyLoadingError):
                self.lose(reply)
        return owed.replies

    def collect(self, into: list[tuple[Ints, Flags, Ints]], wait_s: float) -> None:
        """Reads the replies that have come, waiting up to ``wait_s`` until ``into`` holds an outcome or nothing is owed.

        Raises:
            ConnectionLost: it broke, or an answer is overdue; every outcome that was owed is collected.
        """
        deadline = now_ns() + int(wait_s * NS_PER_S)
        while self._owed:
            self._read()
            left_s = (deadline - now_ns()) / NS_PER_S
            if into or left_s <= 0:
                return
            self._wait(left_s)

    def lose(self, error: BaseException) -> NoReturn:
        """Gives up the connection: what is owed becomes unknown; raises ConnectionLost."""
        self._abandon()
        raise ConnectionLost(f"the connection to Redis is lost: {error}") from error

    def close(self) -> None:
        """Closes without waiting for what is owed, which becomes unknown. Idempotent."""
        self._abandon()

    def _abandon(self) -> None:
        t_ns = now_ns()
        while self._owed:
            owed = self._owed.popleft()
            owed.give_up(owed.unknown, t_ns)
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    def _alive(self) -> Any:
        if self._connection is None:
            raise ConnectionLost("there is no connection")
        return self._connection

    def _read(self) -> None:
        """Takes every reply that has come, without waiting: not for the rest of one that has come in part either.

        The parser is asked directly: ``read_response`` asks the socket before each reply, at five times the cost.
        """
        parser, owed_all = self._alive()._parser, self._owed
        t_ns = now_ns()
        try:
            while owed_all:
                reply = parser._reader.gets()
                if reply is NOT_ENOUGH_DATA:
                    if not parser.read_from_socket(timeout=0, raise_on_timeout=False):
                        break
                    t_ns = now_ns()
                    continue
                owed = owed_all[0]
                owed.replies.append(_sound(reply))
                owed.t_ns.append(t_ns)
                if len(owed.replies) == owed.count:
                    owed_all.popleft()
                    owed.tell()
        except (RedisError, OSError) as error:
            self.lose(error)
        if owed_all:
            owed_all[0].tell()
            if now_ns() > owed_all[0].limit_ns:
                self.lose(TimeoutError(f"no answer for {self._answer_timeout_s:g} s"))

    def _wait(self, wait_s: float) -> None:
        """Sleeps until the socket has something to read, in µs where poll() knows only ms, up to ``wait_s``."""
        if wait_s > 0:
            select.select([self._alive()._sock], [], [], wait_s)


def _settings(address: str) -> dict[str, Any]:
    """Returns what redis-py reads out of an address; raises UsageError where that is not about where, who, or TLS."""
    try:
        settings: dict[str, Any] = parse_url(address)  # type: ignore[no-untyped-call]
        other = sorted(key for key in settings if not key.startswith("ssl_") and key not in _OF_ADDRESS)
        if settings.get("connection_class") is not SSLConnection:
            other += sorted(key for key in settings if key.startswith("ssl_"))
    except ValueError as error:
        raise UsageError(f"redis-py cannot read the address: {error}", expected=_EXPECTED) from error
    if other:
        raise UsageError(f"the address of Redis holds {', '.join(other)}", expected=_EXPECTED)
    for key in _TLS_FILES & settings.keys():  # redis-py says only that "no such file" was found
        try:
            Path(settings[key]).read_bytes()
        except OSError as error:
            raise UsageError(f"{key} in the address of Redis, {settings[key]}: {error.strerror}") from error
    if "ssl_certfile" in settings:
        settings.setdefault("ssl_password", "")  # without one OpenSSL asks on the terminal
        _tls.require_key(settings["ssl_certfile"], settings.get("ssl_keyfile"), settings["ssl_password"])
    elif "ssl_keyfile" in settings:
        raise UsageError("the address of Redis holds ssl_keyfile without ssl_certfile", expected=_EXPECTED)
    return settings


def _sound(reply: Any) -> Any:
    """Returns a reply, error replies as they came; raises one that means the connection is of no use (as redis-py does)."""
    if isinstance(reply, list) and reply and isinstance(reply[0], RedisConnectionError):
        reply = reply[0]
    if isinstance(reply, RedisConnectionError) and not isinstance(reply, BusyLoadingError):
        raise reply
    return reply
