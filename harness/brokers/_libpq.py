"""One PostgreSQL connection in libpq's pipeline mode that never waits longer than it was told.

psycopg's own ``pq`` layer is used without its ``Connection``, whose waits have no limit: a server that is stopped with SIGSTOP
would hold us for ever. A *request* is one or more statements and a sync; the server runs them as one transaction (unless one
of them is ``BEGIN``) and ends it at the sync, so that the answer to the sync is the answer of the commit. Requests are
answered in their order. Neighbours: ``_pgbinary`` (values), ``_postgres`` (queue tables), ``postgres_lease``, ``postgres_delete``.
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import psycopg
from psycopg import conninfo, pq
from psycopg.pq.abc import PGconn, PGresult

from harness.brokers import _tls
from harness.brokers._pgbinary import rows
from harness.clock import NS_PER_S, now_ns
from harness.errors import ConnectionLost, EvidenceError, Unreachable, UsageError
from harness.redaction import shown

BINARY = 1
_NO_PASSPHRASE = (
    "none was told"  # with none, or an empty one, OpenSSL asks on the terminal for that of an encrypted key
)
_DAMAGE = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a request.

    Args:
        sql: text with ``$1``, ``$2`` …; prepared once per connection.
        values: parameters in binary form, see ``_pgbinary``; None = NULL.
    """

    sql: str
    values: Sequence[bytes | None] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error that the server reported.

    Args:
        severity: ``ERROR``: the transaction is rolled back, the connection lives; ``FATAL`` and ``PANIC``: it ends.
        sqlstate: five characters. message: in the server's words.
    """

    severity: str
    sqlstate: str
    message: str

    @property
    def proves_rollback(self) -> bool:
        """Returns whether nothing of the transaction can have been kept: after its commit record PostgreSQL reports no
        plain ERROR, and 40003 and class 08 say themselves that they do not know."""
        return self.severity == "ERROR" and self.sqlstate != "40003" and not self.sqlstate.startswith("08")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said to one request, complete with the answer to its sync.

    Args:
        results: one per statement that succeeded. refusal: the first error, None = all succeeded and are committed.
        warned: the server warned meanwhile (a cut wait for a standby commits with a warning). t_ns: when it was seen.
    """

    results: Sequence[PGresult]
    refusal: Refusal | None
    warned: bool
    t_ns: int


Done = Callable[[Answer | None], None]
"""Called once per request: with its answer, or with None when the connection was lost before it came."""


@dataclass(slots=True)
class _Request:
    done: Done
    sent_ns: int
    fresh: list[str]  # statements that are prepared with it: what they answer comes before their results
    wanted: list[bool]  # per result to come: False = only the answer to a PREPARE
    results: list[PGresult] = field(default_factory=list)
    refusal: Refusal | None = None
    warned: bool = False


class Session:
    """One connection; not safe for threads. Every method may raise :class:`harness.errors.ConnectionLost`, after it has
    told all requests that were outstanding.

    Args:
        address: URL or conninfo; may hold a password, never printed.
        name: ``application_name``.
        settings: session settings, sent with the start of the connection.
        connect_timeout_s, answer_timeout_s: limits on the connection's start and on silence while an answer is due.
        ended: called after a connection was closed or lost and its outstanding requests were told.
    """

    def __init__(
        self,
        address: str,
        *,
        name: str,
        settings: Mapping[str, str],
        connect_timeout_s: float,
        answer_timeout_s: float,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._conninfo = _conninfo(
            address,
            application_name=name,
            settings=[f"-c {key}={value}" for key, value in settings.items()],
            keepalives=1,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
        )
        self._connect_timeout_s = connect_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._ended = ended
        self._connection: PGconn | None = None
        self._socket = -1
        self._poll = select.poll()
        self._names: dict[str, bytes] = {}
        self._prepared = 0
        self._requests: deque[_Request] = deque()
        self._answered_ns = 0
        self._unsent = False

    @property
    def up(self) -> bool:
        """Returns whether there is a connection, as far as we know."""
        return self._connection is not None

    @property
    def encrypted(self) -> bool:
        """Returns whether the connection is made over TLS."""
        return bool(self._live().ssl_in_use)

    @property
    def busy(self) -> bool:
        """Returns whether answers are outstanding."""
        return bool(self._requests)

    @property
    def stuffed(self) -> bool:
        """Returns whether bytes wait because the server does not read."""
        return self._unsent

    def connect(self) -> None:
        """Connects; raises Unreachable when that fails or takes too long. The old connection, if any, must be closed."""
        deadline_ns = now_ns() + int(self._connect_timeout_s * NS_PER_S)
        try:
            connection = pq.PGconn.connect_start(self._conninfo.encode())
            try:
                _finish_connecting(connection, deadline_ns)
                connection.nonblocking = 1
                connection.enter_pipeline_mode()
            except BaseException:
                connection.finish()
                raise
        except psycopg.Error as error:
            told = _one_line(str(error))
            raise Unreachable(f"PostgreSQL takes no connection: {told}", remedy=_remedy(told)) from error
        connection.notice_handler = self._notice
        self._connection = connection
        self._poll = select.poll()
        self._socket = connection.socket
        self._poll.register(self._socket, select.POLLIN)
        self._names = {}
        self._unsent = False

    def send(self, statements: Sequence[Statement], done: Done) -> None:
        """Hands a request to libpq and sends what the socket takes.

        Raises:
            ConnectionLost: ``done`` was called with None if a byte may have left, and not at all if none did; see
                :meth:`check` for the latter's usual cause.
        """
        connection = self._live()
        request = _Request(done, now_ns(), [], [])
        self._requests.append(request)
        try:
            for statement in statements:
                self._send_statement(connection, statement, request)
            connection.pipeline_sync()
            self._unsent = bool(connection.flush())
        except psycopg.Error as error:
            self.lose(str(error))

    def check(self) -> None:
        """Reads what has arrived, so that a connection that is known to be broken is noticed before anything is sent."""
        self._live()
        self.pump(0.0)

    def pump(self, wait_s: float) -> None:
        """Sends what is waiting, reads what has come and calls ``done`` for it; waits up to ``wait_s`` for the first byte."""
        connection = self._live()
        if self._unsent:
            self._poll.modify(self._socket, select.POLLIN | select.POLLOUT)
        ready = self._poll.poll(max(0.0, wait_s) * 1000)  # ms; a fraction is rounded up
        if self._unsent:
            self._poll.modify(self._socket, select.POLLIN)
        if not ready:
            self._check_silence()
            return
        problem = ""
        try:
            if self._unsent:
                self._unsent = bool(connection.flush())
            if ready[0][1] & ~select.POLLOUT:
                connection.consume_input()
        except psycopg.Error as error:
            problem = str(error) or "the connection was closed"
        problem = self._take_results(connection) or problem
        if problem:
            self.lose(problem)
        self._check_silence()

    def ask(self, *statements: Statement) -> Answer:
        """Sends a request and waits for its answer."""
        answers: list[Answer | None] = []
        self.send(statements, answers.append)
        while not answers:
            self.pump(self._answer_timeout_s)
        if answers[0] is None:  # pump raised ConnectionLost already; only a caller's own handling can lead here
            raise ConnectionLost("the connection to PostgreSQL broke")
        return answers[0]

    def query(self, sql: str, *values: bytes | None) -> list[tuple[bytes | None, ...]]:
        """Returns the rows of one statement, values in binary form; raises EvidenceError where the server refuses it."""
        answer = self.ask(Statement(sql, values))
        if answer.refusal is not None:
            raise EvidenceError(f"PostgreSQL refused a query: {answer.refusal.message} ({answer.refusal.sqlstate})")
        return rows(answer.results[-1])

    def close(self, *, abort: bool = False) -> None:
        """Ends the connection, with ``abort`` without a goodbye; tells outstanding requests; never raises."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if abort:
            try:
                with socket.socket(fileno=os.dup(connection.socket)) as line:
                    line.shutdown(socket.SHUT_RDWR)
            except (OSError, psycopg.Error):
                pass  # libpq has closed it already
        connection.finish()
        outstanding, self._requests = self._requests, deque()
        for request in outstanding:
            request.done(None)
        self._ended()

    def lose(self, reason: str) -> NoReturn:
        """Gives the connection up; raises ConnectionLost."""
        self.close(abort=True)
        raise ConnectionLost(f"the connection to PostgreSQL broke: {_one_line(reason)}")

    def _live(self) -> PGconn:
        if self._connection is None:
            raise ConnectionLost("there is no connection to PostgreSQL", remedy="connect again")
        return self._connection

    def _send_statement(self, connection: PGconn, statement: Statement, request: _Request) -> None:
        name = self._names.get(statement.sql)
        if name is None:
            self._prepared += 1
            name = self._names[statement.sql] = b"s%d" % self._prepared
            connection.send_prepare(name, statement.sql.encode())
            request.fresh.append(statement.sql)
            request.wanted.append(False)
        connection.send_query_prepared(name, statement.values, [BINARY] * len(statement.values), BINARY)
        request.wanted.append(True)

    def _take_results(self, connection: PGconn) -> str:
        """Completes requests as far as answers have arrived; returns why the connection ended, "" if it did not."""
        blanks = 0
        while self._requests and blanks < 2 and not connection.is_busy():
            result = connection.get_result()
            blanks = blanks + 1 if result is None else 0
            if result is None:
                continue
            request = self._requests[0]
            if result.status == pq.ExecStatus.PIPELINE_SYNC:
                self._complete(self._requests.popleft())
            elif result.status in _DAMAGE:
                refusal = _refusal(result)
                request.refusal = request.refusal or refusal
                if refusal.severity != "ERROR":
                    return refusal.message or "the server ended the connection"
            elif result.status != pq.ExecStatus.PIPELINE_ABORTED:
                request.results.append(result)
        return ""

    def _complete(self, request: _Request) -> None:
        self._answered_ns = now_ns()
        if request.refusal is not None:
            for sql in request.fresh:  # whether it was prepared is not known: the next use takes a new name
                self._names.pop(sql, None)
        results = [result for result, wanted in zip(request.results, request.wanted, strict=False) if wanted]
        request.done(Answer(results, request.refusal, request.warned, self._answered_ns))

    def _check_silence(self) -> None:
        if not self._requests:
            return
        since_ns = max(self._requests[0].sent_ns, self._answered_ns)
        if now_ns() - since_ns > self._answer_timeout_s * NS_PER_S:
            self.lose(f"no answer for {self._answer_timeout_s:g} s")

    def _notice(self, result: PGresult) -> None:
        if self._requests and _field(result, pq.DiagnosticField.SEVERITY_NONLOCALIZED) == "WARNING":
            self._requests[0].warned = True


def _conninfo(address: str, *, settings: Sequence[str], **words: str | int) -> str:
    """Returns what libpq connects by; options that the address has stay, ours come after them."""
    try:
        known = conninfo.conninfo_to_dict(address)
        theirs = known.get("options") or ""
        words["sslpassword"] = str(known.get("sslpassword") or _NO_PASSPHRASE)
        return conninfo.make_conninfo(address, options=" ".join([str(theirs), *settings]).strip(), **words)
    except psycopg.ProgrammingError as error:
        raise UsageError(
            f"libpq cannot read the address {shown(address)}: {_one_line(str(error))}",
            expected="postgresql://USER:…@HOST:PORT/DATABASE?…",
            remedy="write special characters of the password percent-encoded",
        ) from error


def _remedy(told: str) -> str:
    if "private key file" in told:
        return "a key that is encrypted needs a plain copy (openssl pkey -in KEY -out PLAIN), or sslpassword=… in the address"
    return _tls.remedy(
        told,
        authority="postgresql://…?sslmode=verify-full&sslrootcert=FILE",
        unchecked="leave the names unchecked: sslmode=verify-ca",
        client="postgresql://…?sslcert=FILE&sslkey=FILE",
        encrypted=False,
    )


def _finish_connecting(connection: PGconn, deadline_ns: int) -> None:
    """Runs libpq's connection state machine to its end; raises OperationalError on failure or past the deadline."""
    state = pq.PollingStatus.WRITING
    while state != pq.PollingStatus.OK:
        if state == pq.PollingStatus.FAILED or connection.status == pq.ConnStatus.BAD:
            raise psycopg.OperationalError(connection.get_error_message())
        event = select.POLLIN if state == pq.PollingStatus.READING else select.POLLOUT
        poll = select.poll()
        poll.register(connection.socket, event)  # the socket may be another one at each step
        left_ns = deadline_ns - now_ns()
        if left_ns <= 0 or not poll.poll(left_ns / 1e6):
            raise psycopg.OperationalError("it does not answer in time")
        state = pq.PollingStatus(connection.connect_poll())


def _refusal(result: PGresult) -> Refusal:
    return Refusal(
        _field(result, pq.DiagnosticField.SEVERITY_NONLOCALIZED),
        _field(result, pq.DiagnosticField.SQLSTATE),
        _field(result, pq.DiagnosticField.MESSAGE_PRIMARY) or result.get_error_message().strip(),
    )


def _field(result: PGresult, field_code: int) -> str:
    return (result.error_field(field_code) or b"").decode(errors="replace")


def _one_line(text: str) -> str:
    return " ".join(text.split())
