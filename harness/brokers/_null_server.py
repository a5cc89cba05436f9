"""The null broker: a real server process on 127.0.0.1 that keeps its queues in memory, and lies about them on request.

``python -m harness.brokers._null_server --port P --seed S --log FILE``. One thread, many queues; see ``_null_protocol`` for what it
understands, ``_null_mischief`` and ``_null_pace`` for what it can be asked to do. What it did wrong is in the log, a JSON line each, written before
the answer leaves; a server that is started again on its log goes on counting.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.brokers import _null_protocol as wire
from harness.brokers._null_mischief import KINDS, Mischief
from harness.brokers._null_pace import Pace, parse_max_ready, parse_service_rate
from harness.brokers._null_protocol import Op
from harness.brokers._null_queue import PLACES, Queue
from harness.clock import NS_PER_S, now_ns
from harness.model import Settlement

VERSION = "null broker 1"
_RECEIVE = 1 << 20
_LIMITS = ("service_rate", "max_ready")
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Client:
    """One connection: what it sent and did not finish, what it has not read yet, and its open fetch."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self.name = ""
        self.queue = ""
        self.received = bytearray()
        self.unsent = bytearray()
        self.fetch: tuple[int, int, int, bool] | None = None  # number, max_n, deadline_ns, auto_ack


class Server:
    """The broker.

    Args:
        listener: a listening socket. seed: of what it does wrong. log: where it writes that down.
    """

    def __init__(self, listener: socket.socket, *, seed: int, log: Path) -> None:
        self._listener = listener
        self._seed = seed
        self._struck = _struck_before(log)
        self._log = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, _READ)
        self._clients: set[Client] = set()
        self._waiting: deque[Client] = deque()
        self._withheld: deque[tuple[Client, int, bytes]] = deque()  # confirms of a full queue: client, number, answer
        self._queues: dict[str, Queue] = {}
        self._doses: dict[str, dict[str, str]] = {}
        # Ids begin where an earlier start of this machine's clock cannot have come: at most 1,024 per ms were given out.
        self._entry = (now_ns() // 1_000_000) << 10
        self._own = {Op.CLIENTS: self._clients_of, Op.PURGE: self._purge}
        self._ended = False

    def run(self) -> None:
        """Serves until SIGTERM."""
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, self._end)
        while not self._ended:
            for key, events in self._selector.select(self._patience_s()):
                if key.data is None:
                    self._accept()
                else:
                    self._serve(key.data, events)
            self._serve_waiting()

    def _end(self, *_: object) -> None:
        self._ended = True

    def _patience_s(self) -> float:
        """Returns how long nothing happens by itself; at most a second, so that a signal is seen."""
        times = [client.fetch[2] for client in self._waiting if client.fetch]
        times += [t_ns for queue in self._queues.values() if (t_ns := queue.next_ns()) is not None]
        now = now_ns()
        times += [t_ns for queue in self._asked() if (t_ns := queue.gives_ns(now)) is not None]
        return min(1.0, max(0.0, (min(times) - now) / NS_PER_S)) if times else 1.0

    def _asked(self) -> list[Queue]:
        """Returns the queues that a fetch waits for."""
        names = {client.queue for client in self._waiting if client.fetch}
        return [queue for name, queue in self._queues.items() if name in names]

    def _accept(self) -> None:
        line, _ = self._listener.accept()
        line.setblocking(False)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Client(line)
        self._clients.add(client)
        self._selector.register(line, _READ, client)

    def _serve(self, client: Client, events: int) -> None:
        try:
            if events & _WRITE:
                self._flush(client)
            if events & _READ:
                data = client.line.recv(_RECEIVE)
                if not data:
                    raise ConnectionResetError
                client.received += data
                for op, number, body in wire.frames(client.received):
                    self._answer(client, op, number, body)
        except (OSError, ValueError, KeyError):
            self._drop(client)

    def _drop(self, client: Client) -> None:
        """Forgets a connection; what it holds stays held until it is reclaimed."""
        if client in self._clients:
            self._clients.remove(client)
            self._selector.unregister(client.line)
            client.line.close()
            client.fetch = None

    def _send(self, client: Client, op: Op, number: int, body: bytes) -> None:
        client.unsent += wire.frame(op, number, body)
        self._flush(client)

    def _flush(self, client: Client) -> None:
        try:
            while client.unsent:
                del client.unsent[: client.line.send(client.unsent)]
        except BlockingIOError:
            pass
        self._selector.modify(client.line, _READ | _WRITE if client.unsent else _READ, client)

    def _answer(self, client: Client, op: Op, number: int, body: bytes) -> None:
        if op is Op.HELLO:
            self._send(client, op, number, self._hello(client, json.loads(body)))
            return
        queue = self._queues.get(client.queue)
        if queue is None:
            self._send(client, Op.REFUSED, number, b"this queue was purged; connect again to declare it")
        elif op is Op.CONSUME:
            max_n, wait_s, auto_ack = wire.CONSUME.unpack(body)
            client.fetch = (number, max_n, now_ns() + round(wait_s * NS_PER_S), auto_ack)
            self._waiting.append(client)
        else:
            answer = self._own[op](client) if op in self._own else _REQUESTS[op](queue, client.name, body)
            if op is Op.PUBLISH and queue.full:
                self._withheld.append((client, number, answer))
            else:
                self._send(client, op, number, answer)

    def _hello(self, client: Client, wanted: Mapping[str, Any]) -> bytes:
        """Declares the queue; the parameters of the first declaration hold."""
        client.queue, client.name = wanted["queue"], wanted["client"]
        if client.queue not in self._queues:
            doses = {kind: str(wanted["parameters"].get(kind, "")) for kind in KINDS}
            struck = self._struck.get(client.queue, Counter())
            mischief = Mischief(doses, seed=self._seed, queue=client.queue, struck=struck)
            name, limits = client.queue, {each: str(wanted["parameters"].get(each, "")) for each in _LIMITS}
            self._queues[name] = Queue(
                mischief,
                lambda record: self._tell(name, record),
                self._new_entry,
                Pace(parse_service_rate(limits["service_rate"])),
                parse_max_ready(limits["max_ready"]),
            )
            self._doses[name] = doses | limits
        found = {"version": VERSION, "seed": self._seed, "parameters": self._doses[client.queue]}
        return json.dumps(found).encode()

    def _clients_of(self, client: Client) -> bytes:
        others = [other.name for other in self._clients if other.queue == client.queue and other is not client]
        return json.dumps(sorted(others)).encode()

    def _purge(self, client: Client) -> bytes:
        del self._queues[client.queue], self._doses[client.queue]
        return b""

    def _serve_waiting(self) -> None:
        """Answers the fetches that have something to get or have waited long enough, the oldest first."""
        now = now_ns()
        for queue in self._queues.values():
            queue.advance(now)
        for _ in range(len(self._waiting)):
            client = self._waiting.popleft()
            if client.fetch is None:
                continue
            number, max_n, deadline_ns, auto_ack = client.fetch
            queue_now = self._queues.get(client.queue)
            gives_ns = queue_now.gives_ns(now) if queue_now else None
            if queue_now is not None and (gives_ns is None or gives_ns > now) and now < deadline_ns:
                self._waiting.append(client)
                continue
            client.fetch = None
            try:
                if queue_now is None:
                    self._send(client, Op.REFUSED, number, b"this queue was purged; connect again to declare it")
                else:
                    found = queue_now.fetch(max_n, client.name, now, auto_ack=auto_ack)
                    self._send(client, Op.CONSUME, number, wire.pack_messages(found))
            except OSError:
                self._drop(client)
        self._confirm_withheld()
        asked = self._asked()
        for queue in self._queues.values():
            if queue not in asked or queue.gives_ns(now) is None:
                queue.pace.rests()

    def _confirm_withheld(self) -> None:
        """Answers those whose queue has room again, or is gone."""
        for _ in range(len(self._withheld)):
            client, number, answer = self._withheld.popleft()
            queue = self._queues.get(client.queue)
            if queue is not None and queue.full:
                self._withheld.append((client, number, answer))
            elif client in self._clients:
                try:
                    self._send(client, Op.PUBLISH, number, answer)
                except OSError:
                    self._drop(client)

    def _new_entry(self) -> int:
        self._entry += 1
        return self._entry

    def _tell(self, queue: str, record: Mapping[str, Any]) -> None:
        os.write(self._log, json.dumps({"t_ns": now_ns(), "queue": queue, **record}).encode() + b"\n")


def _publish(queue: Queue, _: str, body: bytes) -> bytes:
    count, width = wire.PUBLISH.unpack_from(body)
    payloads = np.frombuffer(body, np.uint8, count * width, wire.PUBLISH.size).reshape(count, width)
    return queue.publish(payloads, now_ns()).astype("<u4").tobytes()


def _settle(queue: Queue, name: str, body: bytes) -> bytes:
    what, handles = wire.unpack_settle(body)
    return wire.pack_flags(queue.settle(name, handles, Settlement(what)))


def _reclaim(queue: Queue, _: str, body: bytes) -> bytes:
    return wire.NUMBERS.pack(queue.reclaim(wire.RECLAIM.unpack(body)[0], now_ns()), 0, 0, 0)


def _depth(queue: Queue, _: str, __: bytes) -> bytes:
    return wire.NUMBERS.pack(*queue.depth())


def _peek(queue: Queue, _: str, body: bytes) -> bytes:
    place, after = wire.PEEK.unpack(body)
    return wire.pack_messages(queue.peek(PLACES[place], after, now_ns()))


_REQUESTS = {Op.PUBLISH: _publish, Op.SETTLE: _settle, Op.RECLAIM: _reclaim, Op.DEPTH: _depth, Op.PEEK: _peek}


def _struck_before(log: Path) -> dict[str, Counter[str]]:
    """Returns queue → kind → how many, from the log of an earlier start; a line cut short by a SIGKILL is passed over."""
    struck: dict[str, Counter[str]] = {}
    if log.exists():
        for line in log.read_text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            struck.setdefault(record["queue"], Counter())[record["strike"]] += 1
    return struck


def main(arguments: list[str] | None = None) -> None:
    """Listens on 127.0.0.1 and serves until SIGTERM."""
    parser = argparse.ArgumentParser(prog="harness.brokers._null_server", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", chosen.port))
        listener.listen(512)
        print(f"{time.strftime('%F %T')} listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
        Server(listener, seed=chosen.seed, log=chosen.log).run()


if __name__ == "__main__":
    main(sys.argv[1:])
