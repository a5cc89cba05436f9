"""Reads what is ready in a queue by consuming it without an ack, and gives all of it back (which a delivery limit counts)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from harness.brokers.contract import DriverOptions
from harness.clock import NS_PER_S, now_ns

RETURN_S = 2.0
MOST_UNACKED = 65535  # what AMQP can ask for; "no limit" means 2,000 to a quorum queue

Done = Callable[[Any], None]


class Link(Protocol):
    """What is needed of a connection; a driver has it (``_rabbitmq``)."""

    options: DriverOptions

    def open_channel(self) -> Any:
        """Returns a channel of pika's."""

    def close_channel(self, channel: Any, done: Done) -> None:
        """Closes it."""

    def call(self, send: Callable[[Done], object]) -> Any:
        """Returns the answer to a method."""

    def pump(self, wait_s: float) -> None:
        """Reads what comes."""

    def counted(self, queue: str) -> tuple[int, int]:
        """Returns how many messages are ready, and how many consumers there are."""

    def declared(self, queue: str, channel: Any = None) -> tuple[int, int]:
        """Returns what a passive declaration says of the same."""

    def lose(self, error: BaseException) -> NoReturn:
        """Gives the connection up."""


def bodies_of(link: Link, queue: str) -> list[bytes]:
    """Returns the bodies of all that is ready.

    A consumer holds 65,535 at most, so further ones join while messages are left. The queue is read to its end when it says that
    nothing is ready, and that it has consumers, as it must (else it did not answer, see ``rabbitmq_quorum``); and when the channel
    has then answered once more: what was on its way has come before that.

    Raises:
        ConnectionLost: the connection broke, or the queue is said to hold more, which does not come.
    """
    bodies: list[bytes] = []
    if link.counted(queue) == (0, 0):
        return bodies
    channel = link.open_channel()
    room, seen, progress_ns = 0, -1, now_ns()
    while True:
        if len(bodies) == room:
            link.call(lambda done: _consume(channel, queue, bodies, done))
            room += MOST_UNACKED
        if len(bodies) != seen:
            seen, progress_ns = len(bodies), now_ns()
        if now_ns() - progress_ns > link.options.answer_timeout_s * NS_PER_S:
            link.lose(TimeoutError(f"{queue} is said to hold more, which does not come"))
        ready, consumers = link.declared(queue, channel)
        link.call(lambda done: channel.basic_qos(prefetch_count=MOST_UNACKED, callback=done))
        if consumers and not ready:
            break
        link.pump(0.05)
    link.call(lambda done: link.close_channel(channel, done))
    _wait_until_back(link, queue, len(bodies))
    return bodies


def _consume(channel: Any, queue: str, bodies: list[bytes], done: Done) -> None:
    channel.basic_qos(prefetch_count=MOST_UNACKED)
    channel.basic_consume(queue, lambda _, __, ___, body: bodies.append(body), callback=done)


def _wait_until_back(link: Link, queue: str, count: int) -> None:
    """Waits a bounded time until what was given back is ready again; less comes where a delivery limit is reached."""
    deadline = now_ns() + int(RETURN_S * NS_PER_S)
    while now_ns() < deadline and link.declared(queue)[0] < count:
        link.pump(0.01)
