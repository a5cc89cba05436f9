"""The proxy between real sockets: it passes everything on as it came, and cuts the reply that was ordered and no other."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.envelope import message_mark
from harness.proxy import cutter
from harness.proxy.cutter import Cutter
from harness.proxy.proxy import through, why_not

LIMIT_S = 10.0
MARK = message_mark(run_id=7, trial=1)


def message(producer: int = 0) -> bytes:
    return MARK + producer.to_bytes(2, "little") + b"x" * 20


class Server:
    """A broker whose connections the test answers by hand."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def taken(self) -> socket.socket:
        """Returns the next connection."""
        self._listener.settimeout(LIMIT_S)
        taken, _ = self._listener.accept()
        taken.settimeout(LIMIT_S)
        return taken

    def close(self) -> None:
        """Listens no more."""
        self._listener.close()


class Front:
    """A cutter in a thread, and what it told."""

    def __init__(self, port: int) -> None:
        self.told: queue.Queue[dict[str, Any]] = queue.Queue()
        self.cutter = Cutter("127.0.0.1", port, MARK, lambda **event: self.told.put(event))
        self._thread = threading.Thread(target=self.cutter.run)
        self._thread.start()

    def client(self) -> socket.socket:
        """Returns a new connection by way of the proxy."""
        return socket.create_connection(("127.0.0.1", self.cutter.port), LIMIT_S)

    def order(self, count: int = 1) -> None:
        """Orders cuts, and returns when the order is in force."""
        self.now(lambda: self.cutter.order(count, 0))

    def now(self, what: Callable[[], None]) -> None:
        """Has something done by the loop, and waits for it."""
        done = threading.Event()
        self.cutter.call(what)
        self.cutter.call(done.set)
        assert done.wait(LIMIT_S)

    def cut(self) -> dict[str, int]:
        """Returns the next cut."""
        while "cut" not in (event := self.told.get(timeout=LIMIT_S)):
            pass
        found: dict[str, int] = event["cut"]
        return found

    def close(self) -> None:
        """Ends it."""
        self.cutter.end()
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def front(server: Server) -> Iterator[Front]:
    made = Front(server.port)
    yield made
    made.close()


def got(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        assert more, data
        data += more
    return data


def is_reset(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) != b"" and False
    except ConnectionResetError:
        return True


def test_everything_passes_in_both_directions_however_much(server: Server, front: Front) -> None:
    data = bytes(range(256)) * 20_000  # 5 MB, more than all buffers on the way
    with front.client() as client, server.taken() as broker:
        for sender, receiver in ((client, broker), (broker, client)):
            sending = threading.Thread(target=sender.sendall, args=(data,))
            sending.start()
            assert got(receiver, len(data)) == data
            sending.join(LIMIT_S)


def test_a_side_that_says_no_more_still_hears(server: Server, front: Front) -> None:
    with front.client() as client, server.taken() as broker:
        client.sendall(b"ask")
        client.shutdown(socket.SHUT_WR)
        assert got(broker, 3) == b"ask"
        assert broker.recv(1) == b""
        broker.sendall(b"answer")
        assert got(client, 6) == b"answer"
        broker.close()
        assert client.recv(1) == b""
    front.now(lambda: None)
    assert not front.cutter.pairs


def test_a_broker_that_is_down_ends_the_connection(server: Server, front: Front) -> None:
    server.close()
    with front.client() as client:
        assert client.recv(1) == b""


def test_a_broker_that_dies_is_a_reset_for_the_client(server: Server, front: Front) -> None:
    with front.client() as client, server.taken() as broker:
        client.sendall(b"ask")
        got(broker, 3)
        broker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        broker.close()
        assert is_reset(client)


def test_what_a_client_that_was_killed_had_sent_reaches_the_broker(server: Server, front: Front) -> None:
    client = front.client()
    with server.taken() as broker:
        client.sendall(b"last words")
        client.close()
        assert got(broker, 10) == b"last words"
        assert broker.recv(1) == b""


def test_a_cut_swallows_the_reply_resets_the_client_and_counts(server: Server, front: Front) -> None:
    with front.client() as client, server.taken() as broker:
        front.order()
        asked = message(3) + message(3)
        client.sendall(asked)
        assert got(broker, len(asked)) == asked
        broker.sendall(b"+OK")
        assert is_reset(client)
        broker.sendall(b"+OK")  # still taken, for nobody
        cut = front.cut()
        assert (cut["producer"], cut["messages"], cut["request_bytes"]) == (3, 2, len(asked))
        assert cut["swallowed_bytes"] == 6
        assert cut["asked_ns"] <= cut["answered_ns"] <= cut["cut_ns"]
        assert broker.recv(1) == b""  # and then it is let go


def test_a_request_waits_until_older_ones_are_answered(
    server: Server, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutter, "SETTLED_NS", 500_000_000)
    with front.client() as client, server.taken() as broker:
        client.sendall(b"older")
        assert got(broker, 5) == b"older"
        broker.sendall(b"its")
        assert got(client, 3) == b"its"
        front.order()
        client.sendall(message())
        broker.sendall(b" answer")
        assert got(client, 7) == b" answer"
        assert got(broker, len(message())) == message()
        broker.sendall(b"+OK")
        assert is_reset(client)
        assert front.cut()["swallowed_bytes"] == 3


def test_a_request_to_which_an_answer_is_owed_is_not_taken_apart(server: Server, front: Front) -> None:
    with front.client() as client, server.taken() as broker:
        client.sendall(b"the first half of a request and ")
        got(broker, 32)
        front.order()
        client.sendall(message())
        assert got(broker, len(message())) == message()
        broker.sendall(b"+OK")
        assert got(client, 3) == b"+OK"
        client.sendall(message())
        got(broker, len(message()))
        broker.sendall(b"+OK")
        assert is_reset(client)


def test_only_messages_of_the_trial_are_cut(server: Server, front: Front) -> None:
    foreign = message_mark(run_id=8, trial=1) + b"\0" * 22
    with front.client() as client, server.taken() as broker:
        front.order()
        for other in (b"PING", foreign):
            client.sendall(other)
            assert got(broker, len(other)) == other
            broker.sendall(b"+PONG")
            assert got(client, 5) == b"+PONG"
        assert front.told.empty()


def test_a_message_that_comes_in_pieces_is_found_once(server: Server, front: Front) -> None:
    whole = message(1) + message(1)
    with front.client() as client, server.taken() as broker:
        front.order()
        for piece in (whole[:41], whole[41:43], whole[43:]):  # the second begins at 36
            client.sendall(piece)
            got(broker, len(piece))
        broker.sendall(b"+OK")
        assert is_reset(client)
        assert front.cut()["messages"] == 2


def test_one_connection_is_cut_at_a_time_and_the_others_go_on(server: Server, front: Front) -> None:
    with front.client() as first, server.taken() as of_first, front.client() as second, server.taken() as of_second:
        front.order()
        first.sendall(message(0))
        got(of_first, len(message()))
        second.sendall(message(1))
        got(of_second, len(message()))
        of_second.sendall(b"+OK")
        assert got(second, 3) == b"+OK"
        of_first.sendall(b"+OK")
        assert is_reset(first)
        assert front.cut()["producer"] == 0


def test_when_the_producers_that_were_cut_have_answers_again_it_is_told(server: Server, front: Front) -> None:
    with front.client() as client, server.taken() as broker:
        front.order()
        client.sendall(message(5))
        got(broker, len(message()))
        broker.sendall(b"+OK")
        assert is_reset(client)
        cut = front.cut()
    with front.client() as other, server.taken() as broker:  # another producer's answer says nothing of this one
        other.sendall(message(6))
        got(broker, len(message()))
        broker.sendall(b"+OK")
        got(other, 3)
    assert front.told.empty()
    with front.client() as again, server.taken() as broker:
        again.sendall(message(5))
        got(broker, len(message()))
        broker.sendall(b"+OK")
        got(again, 3)
    assert front.told.get(timeout=LIMIT_S)["back_ns"] > cut["cut_ns"]


def test_an_order_that_is_withdrawn_lets_what_it_held_go_on(
    server: Server, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutter, "SETTLED_NS", 60_000_000_000)
    with front.client() as client, server.taken() as broker:
        client.sendall(b"older")
        got(broker, 5)
        broker.sendall(b"its answer")
        got(client, 10)
        front.order(2)
        client.sendall(message())
        front.now(lambda: None)
        front.now(front.cutter.stop)
        assert got(broker, len(message())) == message()
        broker.sendall(b"+OK")
        assert got(client, 3) == b"+OK"


def test_an_address_goes_through_the_proxy_with_all_else_kept() -> None:
    assert through("redis://:p%40ss@db.example:6379/3", 5000) == "redis://:p%40ss@127.0.0.1:5000/3"
    assert through("postgresql://u:p@db/x?application_name=a", 5) == (
        "postgresql://u:p@127.0.0.1:5/x?application_name=a&sslmode=disable"
    )
    assert through("postgresql://db/x?sslmode=disable", 5) == "postgresql://127.0.0.1:5/x?sslmode=disable"
    assert why_not("redis://:p%40ss@db.example:6379/3") == ""
