"""The handle of a trial on its proxy: started before the producers, ordered by faults, ended with the trial.

Neighbour: ``cutter``, the process itself, which says what a cut is and how it proves itself.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from harness.clock import NS_PER_S
from harness.envelope import message_mark
from harness.errors import BrokerbenchError, ExitCode, StartError, UsageError
from harness.journal import Journal
from harness.model import FaultKind

THROUGH_PROXY = frozenset({FaultKind.REPLY_CUT})
"""Faults for which the producers' connections lead through a proxy."""

START_LIMIT_S = 10.0
END_LIMIT_S = 5.0

_PLAIN = {"redis": 6379, "amqp": 5672, "postgresql": 5432, "postgres": 5432, "null": 0}


class ProxyLost(BrokerbenchError):
    """The proxy's process has ended or does not answer: the producers have no way to the broker any more."""

    exit_code = ExitCode.INVALID


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """One reply that no producer got.

    Args:
        producer: number of the producer of the first message in the request.
        messages: messages that went to the broker on that connection from the order to the cut; request_bytes: all their bytes.
        asked_ns: when they began to leave for the broker. answered_ns: when it first spoke after that: it had executed them.
        cut_ns: when the client was reset. swallowed_bytes: what the broker said that nobody got.
    """

    producer: int
    messages: int
    request_bytes: int
    asked_ns: int
    answered_ns: int
    cut_ns: int
    swallowed_bytes: int


def why_not(address: str) -> str:
    """Returns why no proxy can stand before a broker, "" where one can; the address is not part of the sentence."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "its address is no URL with one host and port"
    if parts.scheme in ("rediss", "amqps"):
        return f"{parts.scheme}:// is encrypted, and replies are cut in plain connections only"
    if parts.scheme not in _PLAIN or not host:
        return f"its address is no URL with a host ({', '.join(_PLAIN)})"
    query = parse_qs(parts.query)
    if set(query.get("sslmode", [])) - {"disable"}:
        return f"sslmode={query['sslmode'][0]} may be encrypted, and replies are cut in plain connections only (sslmode=disable)"
    return "" if not query.get("host") else "its address names another host in its query"


def target_of(address: str) -> tuple[str, int]:
    """Returns host and port of an address that :func:`why_not` finds nothing against."""
    parts = urlsplit(address)
    return str(parts.hostname), parts.port or _PLAIN[parts.scheme]


def through(address: str, port: int) -> str:
    """Returns the address of the same broker by way of a port on 127.0.0.1; libpq would encrypt by itself where the server can."""
    parts = urlsplit(address)
    if parts.scheme.startswith("postgres") and "sslmode" not in parse_qs(parts.query):
        parts = parts._replace(query="&".join(filter(None, (parts.query, "sslmode=disable"))))
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{port}"))


class Proxy:
    """The running proxy of one trial. Safe for threads."""

    def __init__(self, address: str, process: subprocess.Popen[bytes], journal: Journal) -> None:
        self._address, self._process, self._journal = address, process, journal
        self.pid = process.pid
        self._changed = threading.Condition()
        self._port = 0
        self._cuts: list[Cut] = []
        self._back_ns: int | None = None
        self._ended = self._stopped = False
        self._thread = threading.Thread(target=self._listen, name="proxy", daemon=True)

    @classmethod
    def start(cls, address: str, journal: Journal, *, run_id: int, trial: int) -> Proxy:
        """Starts a proxy before a broker, for the messages of one trial, and waits until it listens.

        Raises:
            UsageError: the connection cannot be looked into. StartError: the process did not come up.
        """
        if reason := why_not(address):
            raise UsageError(
                f"replies to producers cannot be cut before this broker: {reason}",
                expected="an address such as redis://host:6379/0, amqp://host:5672, postgresql://host:5432/database",
                remedy="use a connection without TLS for this scenario, or leave the fault out",
            )
        process = journal.spawn(
            [sys.executable, "-P", "-m", "harness.proxy.cutter"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        proxy = cls(address, process, journal)
        proxy._thread.start()
        host, port = target_of(address)
        try:
            proxy._tell(host=host, port=port, mark=message_mark(run_id=run_id, trial=trial).hex())
            with proxy._changed:
                proxy._changed.wait_for(lambda: proxy._port or proxy._ended, START_LIMIT_S)
            if not proxy._port:
                raise StartError(f"the proxy before the broker did not start (host {host!r})")
        except BrokerbenchError as error:
            proxy.close()
            raise StartError(str(error.problem)) from error
        return proxy

    @property
    def port(self) -> int:
        """Returns where it listens, on 127.0.0.1."""
        return self._port

    @property
    def address(self) -> str:
        """Returns the broker's address by way of the proxy."""
        return through(self._address, self._port)

    def cut(self, count: int, every_s: float) -> None:
        """Orders ``count`` cuts, the first at once, each next one ``every_s`` later; those of an earlier order are forgotten.

        Raises:
            ProxyLost: it has ended.
        """
        with self._changed:
            self._cuts, self._back_ns = [], None
        self._tell(do="cut", count=count, every_ns=int(every_s * NS_PER_S))

    def stop(self) -> None:
        """Orders no more cuts; once it returns, none comes any more. Raises ProxyLost: it has ended."""
        with self._changed:
            self._stopped = False
        self._tell(do="stop")
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._ended, END_LIMIT_S)

    def cuts(self, at_least: int, timeout_s: float) -> list[Cut]:
        """Returns the cuts since the last order, once there are so many or the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._cuts) >= at_least or self._ended, timeout_s)
            return list(self._cuts)

    def back_ns(self, timeout_s: float) -> int | None:
        """Returns when every producer that was cut had an answer to a message again; None if that does not happen in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_back() or self._ended, timeout_s)
            return self._back_ns if self._is_back() else None

    def _is_back(self) -> bool:
        return self._back_ns is not None and all(cut.cut_ns < self._back_ns for cut in self._cuts)

    def close(self) -> None:
        """Ends the process and with it every connection. Idempotent, never raises."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(END_LIMIT_S)
        with contextlib.suppress(BrokerbenchError):
            self._journal.forget(self._process.pid)

    def _tell(self, **order: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise ProxyLost("the proxy before the broker has ended") from error

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._hear(json.loads(line))
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _hear(self, told: Mapping[str, Any]) -> None:
        with self._changed:
            match told:
                case {"port": port}:
                    self._port = port
                case {"cut": cut}:
                    self._cuts.append(Cut(**cut))
                case {"stopped": True}:
                    self._stopped = True
                case {"back_ns": t_ns}:
                    self._back_ns = t_ns
            self._changed.notify_all()
