"""The process that stands between the producers and the broker, passes everything on, and cuts replies to order.

A cut proves itself. From the order on

1. the next message of the trial, found by its envelope, that a producer sends on a connection where the broker spoke last chooses that
   connection. It waits, with whatever the producer sends meanwhile, until the broker has said nothing for :data:`SETTLED_NS`: until
   what went before is answered;
2. the first bytes that the broker says after that answer this request: it was executed. They are swallowed, and the client is reset;
3. the connection to the broker stays for as long as it has something to say (:data:`LINGER_NS`), so that all that was passed on is
   executed.

Its first line of stdin says where the broker is and what a message begins with, each further line is an order; it tells its port, each
cut, and when all who were cut have an answer again, as lines of JSON. It ends when its stdin does.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness.clock import now_ns
from harness.proxy.relay import Pair, Relay

SETTLED_NS = 20_000_000
LINGER_NS = 100_000_000
_PRODUCER_BYTES = 2  # its number follows the mark in the envelope

Tell = Callable[..., None]


class _Watched(Pair):
    """A connection, and what must be known of it to cut it: the tail of what was said, and whether an answer is owed."""

    def __init__(self, client: socket.socket, broker: socket.socket) -> None:
        super().__init__(client, broker)
        self.tail = b""
        self.owed = False
        self.heard_ns = 0
        self.senders: set[int] = set()  # producers of what was sent on it since the last answer


@dataclass(kw_only=True, slots=True)
class _Victim:
    """The connection that an order has chosen, and what was seen on it since; the figures are those of ``proxy.Cut``."""

    pair: _Watched
    producer: int
    held: bytearray = field(default_factory=bytearray)
    senders: list[int] = field(default_factory=list)
    request_bytes: int = 0
    asked_ns: int = 0  # 0 = it still waits for older answers
    answered_ns: int = 0
    cut_ns: int = 0
    swallowed_bytes: int = 0

    def asks(self, data: bytes, senders: list[int]) -> None:
        """Counts what its client said."""
        self.senders += senders
        self.request_bytes += len(data)

    def figures(self) -> dict[str, int]:
        """Returns what is told of the cut."""
        return {
            "producer": self.producer,
            "messages": len(self.senders),
            "request_bytes": self.request_bytes,
            "asked_ns": self.asked_ns,
            "answered_ns": self.answered_ns,
            "cut_ns": self.cut_ns,
            "swallowed_bytes": self.swallowed_bytes,
        }


class Cutter(Relay):
    """A relay that cuts replies to order, one connection at a time.

    Args:
        host, port: of the broker. mark: what every message of the trial begins with. tell: where events go.
    """

    def __init__(self, host: str, port: int, mark: bytes, tell: Tell) -> None:
        super().__init__(host, port)
        self._mark = mark
        self._tell = tell
        self._left = 0
        self._every_ns = 0
        self._armed = False
        self._due_ns = 0
        self._victim: _Victim | None = None
        self._cut_off: dict[Pair, _Victim] = {}  # their clients are gone, their brokers may still speak
        self._missing: set[int] = set()  # producers that were cut and have had no answer since

    def order(self, count: int, every_ns: int) -> None:
        """Cuts ``count`` times from now on."""
        self._left, self._every_ns = count, every_ns
        self._due(now_ns())

    def stop(self) -> None:
        """Cuts no more; a connection that has been chosen and not cut goes on unharmed."""
        self._left, self._armed = 0, False
        victim, self._victim = self._victim, None
        if victim is not None and victim.held:
            self._pass_on(victim.pair, bytes(victim.held), victim.senders)

    def opened(self, pair: Pair) -> Pair:
        """Returns a pair that is watched."""
        return _Watched(pair.client.sock, pair.broker.sock)

    def from_client(self, pair: Pair, data: bytes) -> None:
        """Passes a request on; that of the connection to be cut waits until older ones are answered."""
        assert isinstance(pair, _Watched)
        senders = self._senders(pair, data)
        if self._armed and self._victim is None and senders and not pair.owed:
            self._victim = _Victim(pair=pair, producer=senders[0])
        victim = self._victim
        if victim is None or victim.pair is not pair:
            self._pass_on(pair, data, senders)
            return
        victim.asks(data, senders)
        if victim.asked_ns:
            self.send(pair, pair.broker, data)
        else:
            victim.held += data
            self._ask(victim)

    def _pass_on(self, pair: _Watched, data: bytes, senders: list[int]) -> None:
        pair.owed = True
        pair.senders.update(senders)
        self.send(pair, pair.broker, data)

    def from_broker(self, pair: Pair, data: bytes) -> None:
        """Passes an answer on, or swallows it."""
        assert isinstance(pair, _Watched)
        pair.owed, pair.heard_ns = False, now_ns()
        if (cut := self._cut_off.get(pair)) is not None:
            cut.swallowed_bytes += len(data)
            return
        victim = self._victim
        if victim is not None and victim.pair is pair and victim.asked_ns:
            self._cut(victim, data)
            return
        self.send(pair, pair.client, data)
        if self._missing & pair.senders:
            self._missing -= pair.senders
            if not self._missing:
                self._tell(back_ns=now_ns())
        pair.senders.clear()

    def closed(self, pair: Pair) -> None:
        """Writes a cut down when nothing more can be swallowed; a victim that is gone before it is cut is none."""
        if (cut := self._cut_off.pop(pair, None)) is not None:
            self._tell(cut=cut.figures())
        if self._victim is not None and self._victim.pair is pair:
            self._victim = None

    def _due(self, t_ns: int) -> None:
        if self._left and not self._armed and self._victim is None:
            self._armed, self._due_ns = True, t_ns

    def _ask(self, victim: _Victim) -> None:
        """Passes the request on once the broker has nothing more to say to older ones.

        Nothing waits for an answer here: it might be owed to what this request is the rest of.
        """
        pair = victim.pair
        if self._victim is not victim or victim.asked_ns:
            return
        if now_ns() < pair.heard_ns + SETTLED_NS:
            self.at(pair.heard_ns + SETTLED_NS, lambda: self._ask(victim))
            return
        victim.asked_ns = now_ns()
        self.send(pair, pair.broker, bytes(victim.held))
        victim.held.clear()

    def _cut(self, victim: _Victim, data: bytes) -> None:
        """Swallows the first of an answer, passes on what the client has said until now, and resets it."""
        pair = victim.pair
        victim.answered_ns = victim.cut_ns = now_ns()
        victim.swallowed_bytes += len(data)
        pair.kept = True
        self._cut_off[pair] = victim
        self._victim, self._armed = None, False
        while more := self.read(pair, pair.client):
            victim.asks(more, self._senders(pair, more))
            self.send(pair, pair.broker, more)
        victim.cut_ns = now_ns()
        self._missing.add(victim.producer)
        self.reset(pair, pair.client)
        self._left -= 1
        if self._left:
            due_ns = max(self._due_ns + self._every_ns, victim.cut_ns)
            self.at(due_ns, lambda: self._due(due_ns))
        self._linger(pair)

    def _linger(self, pair: _Watched) -> None:
        """Lets the broker go when it has said nothing more for a while."""
        quiet_ns = pair.heard_ns + LINGER_NS
        if pair.broker.gone:
            return
        if now_ns() < quiet_ns or pair.broker.waiting:
            self.at(max(quiet_ns, now_ns() + LINGER_NS // 10), lambda: self._linger(pair))
            return
        self.leave(pair, pair.broker)

    def _senders(self, pair: _Watched, data: bytes) -> list[int]:
        """Returns the producer of each message in what a client said; a message may begin in what it said before.

        Nobody looks while nothing is to be cut and nobody is missing.
        """
        said = pair.tail + data
        length = len(self._mark) + _PRODUCER_BYTES
        pair.tail = said[-(length - 1) :]  # too short to be found twice
        found = list[int]()
        at = said.find(self._mark) if self._armed or self._missing or self._cut_off else -1
        while at >= 0 and at + length <= len(said):
            found.append(int.from_bytes(said[at + length - _PRODUCER_BYTES : at + length], "little"))
            at = said.find(self._mark, at + length)
        return found


def main() -> None:
    """Reads where the broker is, says where it listens, and does what each further line orders, until stdin ends."""
    lines = sys.stdin.buffer
    first = json.loads(lines.readline() or b"null")
    if first is None:
        return

    def tell(**event: Any) -> None:
        with contextlib.suppress(OSError):
            sys.stdout.write(json.dumps(event) + "\n")
            sys.stdout.flush()

    try:
        cutter = Cutter(first["host"], first["port"], bytes.fromhex(first["mark"]), tell)
    except OSError:
        sys.exit(1)

    def stop() -> None:
        cutter.stop()
        tell(stopped=True)

    def obey() -> None:
        for line in lines:
            order = json.loads(line)
            if order["do"] == "cut":
                cutter.call(lambda order=order: cutter.order(order["count"], order["every_ns"]))  # type: ignore[misc]
            else:
                cutter.call(stop)
        cutter.end()

    threading.Thread(target=obey, daemon=True).start()
    tell(port=cutter.port)
    cutter.run()


if __name__ == "__main__":
    main()
