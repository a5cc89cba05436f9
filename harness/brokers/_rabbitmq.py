"""What the RabbitMQ drivers share: one connection, a channel that publishes and declares, one that consumes.

Queues: ``<queue>`` and ``<queue>_dead`` for its dead letters; ``purge`` removes exactly these. Messages are pushed up to the prefetch; the
consumer starts with the first ``consume``. A channel that the broker closes (404, 406, 541 …) ends the connection, in the broker's words.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np
from pika import BasicProperties, exceptions
from pika.spec import Basic

from harness.brokers._outcomes import Outcomes
from harness.brokers._rabbitmq_acks import Unacked
from harness.brokers._rabbitmq_confirms import Answer, Window
from harness.brokers._rabbitmq_pushed import Arrived
from harness.brokers._rabbitmq_search import bodies_of
from harness.brokers._rabbitmq_tls import remedy
from harness.brokers._rabbitmq_wire import Wire, parameters_of, words
from harness.brokers.contract import (
    NO_DELIVERIES,
    Block,
    Confirms,
    Deliveries,
    Depth,
    DriverOptions,
    Effective,
    Ints,
    Residue,
    Settled,
)
from harness.clock import NS_PER_S, now_ns
from harness.errors import ConnectionLost, Unreachable
from harness.model import Outcome, Place, Settlement, SettleOutcome

GOODBYE_S = 2.0
PAGE = 1000
BARRIER_NS = 2_000_000
"""Between two barriers that nobody waits for: each costs the broker as much as a message."""

Arguments = Mapping[str, str | int]


class RabbitMQDriver:
    """The common part of a driver; a design says how its queues are declared and what its deliveries tell.

    Handles are numbers: the channel's in the high bits, the delivery tag in the low.
    """

    delivery_mode = 2
    counts_deliveries = False  # whether deliveries carry x-delivery-count

    def __init__(self, options: DriverOptions) -> None:
        self.options = options
        self.queue = options.queue
        self.dead = f"{options.queue}_dead"
        self._wire: Wire | None = None
        self._publishing: Any = None  # pika's channels
        self._consuming: Any = None
        self._consumer = ""
        self._confirmed, self._settled = Outcomes(), Outcomes()
        self._window = Window(self._confirmed)
        self._answers: list[Answer] = []
        self._unacked = Unacked(self._settled, options.prefetch)
        self._arrived: deque[Arrived] = deque()
        self._properties = BasicProperties(delivery_mode=self.delivery_mode)

    # What a design adds.

    def arguments(self) -> Arguments:
        """Returns the arguments of the queue."""
        raise NotImplementedError

    def arguments_of_dead(self) -> Arguments:
        """Returns the arguments of the queue of its dead letters."""
        raise NotImplementedError

    # The connection.

    def connect(self) -> None:
        """Connects and opens the channel that publishes."""
        self.close(abort=True)
        limit_s = self.options.connect_timeout_s
        parameters = parameters_of(self.options.address, f"bb:{self.queue}:{self.options.client}")
        deadline = now_ns() + int(limit_s * NS_PER_S)
        try:
            wire = self._wire = Wire(parameters, limit_s)
        except (OSError, exceptions.AMQPError) as error:
            told, encrypted = words(error), parameters.ssl_options is not None
            helps = remedy(told, encrypted=encrypted)
            raise Unreachable(f"RabbitMQ does not answer: {told}", remedy=helps) from None
        try:
            while not wire.is_open:
                self._pump_until(deadline)
            self._publishing = self.open_channel(deadline)
            self.call(lambda done: self._publishing.confirm_delivery(self._on_confirm, done), deadline=deadline)
        except ConnectionLost as error:
            raise Unreachable(f"RabbitMQ does not take the connection: {error.problem}") from None
        self._publishing.add_on_return_callback(self._on_return)

    def prepare(self) -> Effective:
        """Declares both queues. That RabbitMQ takes a declaration again proves that the queue is as it says (else 406)."""
        self._declare(self.dead, self.arguments_of_dead())
        self._declare(self.queue, self.arguments())
        asked = {"durable": "true", **{name: str(value) for name, value in self.arguments().items()}}
        server = self._up().server_properties or {}
        also = {
            name: _text(server[name]) for name in ("product", "version", "platform", "cluster_name") if name in server
        }
        version = f"{also.get('product', 'RabbitMQ')} {also.get('version', 'of unknown version')}"
        return Effective(
            version=version,
            asked=asked,
            found=dict(asked),
            also=also,
            encrypted=self._up().params.ssl_options is not None,
        )

    def blocked(self) -> str:
        """Returns the alarm that RabbitMQ tells of, or that it does not read."""
        if self._wire is None:
            return ""
        if self._wire.block_reason:
            return self._wire.block_reason
        return "RabbitMQ does not read" if self._wire.congested else ""

    # Publishing.

    def publish(self, block: Block) -> None:
        """Publishes with ``mandatory`` through the default exchange; what the socket does not take leaves with the next polls."""
        tokens = np.array(block.tokens, np.int64)
        try:
            self.pump(0.0)
        except ConnectionLost:
            self._confirmed.add(tokens, Outcome.NOT_SENT.value, now_ns())
            raise
        bodies = block.as_bytes()
        self._window.published(tokens, bodies, self._up().position)
        self._up().publish(self._publishing, self.queue, self._properties, bodies)
        self.pump(0.0)

    def poll_confirms(self, wait_s: float) -> Confirms:
        """Returns the outcomes that have come."""
        if self._wire is not None:
            self._poll(self._confirmed, self._window, wait_s)
            if self._wire.block_reason:
                self._window.touch()
            elif self._window.waiting_ns(now_ns()) > self.options.answer_timeout_s * NS_PER_S:
                self.lose(self._overdue())
        return self._confirmed.confirms()

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        self._answers.append((method.delivery_tag, method.multiple, isinstance(method, Basic.Ack)))

    def _on_return(self, _: Any, __: Any, ___: Any, body: bytes) -> None:
        self._window.came_back(body)

    # Consuming.

    def consume(self, max_n: int, wait_s: float) -> Deliveries:
        """Returns what was pushed; starts the consumer where there is none."""
        deadline = now_ns() + int(wait_s * NS_PER_S)
        if not (self._arrived and self.options.auto_ack):  # those are ours whatever became of the connection
            self._subscribe()
            self.pump(0.0)
            while not self._arrived and (left_ns := deadline - now_ns()) > 0:
                self.pump(left_ns / NS_PER_S)
        return self._hand_out(max_n)

    def cancel(self) -> Deliveries:
        """Ends the consumer; returns all that RabbitMQ had pushed until then and nobody has consumed.

        Where there is no connection that is what was auto-acked, for RabbitMQ will not push it again.
        """
        if self._consumer and self._wire is not None:
            consumer, self._consumer = self._consumer, ""

            def leave(done: Callable[[Any], None]) -> None:
                self._consuming.basic_cancel(consumer, done)
                # pika would give back, or with auto-ack drop, what is pushed before the broker has heard of it.
                self._consuming._cancelled.discard(consumer)

            self.call(leave)
        return self._hand_out(len(self._arrived))

    def _subscribe(self) -> None:
        if self._consumer:
            return
        if self._consuming is None:
            self._consuming = self.open_channel()
            self._unacked.begin()
        self.call(lambda done: self._consuming.basic_qos(prefetch_count=self.options.prefetch, callback=done))
        self._consuming.add_on_cancel_callback(self._on_cancelled_by_broker)
        self.call(
            lambda done: self._consuming.basic_consume(
                self.queue,
                self._on_delivery,
                auto_ack=self.options.auto_ack,
                consumer_tag=self.options.client,
                callback=done,
            )
        )
        self._consumer = self.options.client
        self._up().take_pushed(self._consuming.channel_number, self._arrived.append)

    def _on_delivery(self, _: Any, method: Any, properties: Any, body: bytes) -> None:
        self._arrived.append((method.delivery_tag, method.redelivered, body, properties.headers))

    def _on_cancelled_by_broker(self, _: Any) -> None:
        self._up().end(ConnectionAbortedError("the broker has ended the consumer: its queue has gone or moved"))

    def _hand_out(self, max_n: int) -> Deliveries:
        n = min(max_n, len(self._arrived))
        if not n:
            return NO_DELIVERIES
        take = self._arrived.popleft
        tags, redelivered, bodies, headers = zip(*(take() for _ in range(n)), strict=True)
        counts = [1 + (said or {}).get("x-delivery-count", 0) for said in headers] if self.counts_deliveries else None
        return Deliveries(
            list(bodies),
            self._unacked.handles(tags),
            redelivered=np.array(redelivered, np.uint8),
            counts=None if counts is None else np.minimum(counts, np.iinfo(np.uint16).max).astype(np.uint16),
        )

    # Settling.

    def settle(self, tokens: Ints, handles: Sequence[Any], what: Settlement) -> None:
        """Sends acks and nacks, with ``multiple`` where that names no more than was handed in; RETRY knows no delay here."""
        tokens = np.array(tokens, np.int64)
        if self._wire is None or self._consuming is None:
            self._settled.add(tokens, SettleOutcome.UNKNOWN.value, now_ns())
            raise ConnectionLost("there is no connection")
        for tag, multiple in self._unacked.settle(tokens, handles):
            if what in (Settlement.ACK, Settlement.AUTO):
                self._consuming.basic_ack(tag, multiple)
            else:
                self._consuming.basic_nack(tag, multiple, requeue=what is not Settlement.DEAD)
        self._wire.flush()
        self._check()

    def poll_settled(self, wait_s: float) -> Settled:
        """Returns the settlements that the broker is known to have taken; asks it by a method that it must answer."""
        if self._wire is not None:
            self._ask(now_ns(), at_once=wait_s > 0)
            self._poll(self._settled, self._unacked, wait_s)
            overdue_ns = now_ns() - self._unacked.asked_ns if self._unacked.asking else 0
            if overdue_ns > self.options.answer_timeout_s * NS_PER_S:
                self.lose(self._overdue())
        return self._settled.settled()

    def _ask(self, now: int, *, at_once: bool) -> None:
        due = at_once or now - self._unacked.asked_ns > BARRIER_NS
        if self._unacked and not self._unacked.asking and due:
            self._unacked.ask()
            # Sets what is set already, and only for consumers to come.
            self._consuming.basic_qos(prefetch_count=self.options.prefetch, callback=lambda _: self._unacked.answered())

    def give_sign(self) -> None:
        """Sends the heartbeats that are due: RabbitMQ closes a connection that stays mute for a minute, say in a long job."""
        self.pump(0.0)

    def reclaim(self, min_idle_s: float) -> int:
        """Returns 0: RabbitMQ gives back by itself what a closed connection held."""
        return 0

    # What the broker holds.

    def depth(self) -> Depth:
        """Returns what is ready; what is unacked AMQP does not tell."""
        ready, consumers = self.counted(self.queue)
        return Depth(ready=ready, dead=self.counted(self.dead)[0], consumers=consumers)

    def connections(self) -> None:
        """Returns None: AMQP does not tell."""
        return

    def residue(self) -> Iterator[Residue]:
        """Yields what is ready in both queues, by consuming without an ack, and gives it back."""
        for queue, place in ((self.dead, Place.DEAD_LETTER), (self.queue, Place.READY)):
            found = bodies_of(self, queue)
            for start in range(0, len(found), PAGE):
                yield Residue(place, found[start : start + PAGE])

    def purge(self) -> None:
        """Deletes both queues; our own consumer first, whose end by the broker would count as a loss."""
        self.cancel()
        self.call(lambda done: self._publishing.queue_delete(self.queue, callback=done))
        self.call(lambda done: self._publishing.queue_delete(self.dead, callback=done))

    def counted(self, queue: str) -> tuple[int, int]:
        """Returns how many messages are ready in a queue, and how many consumers it has."""
        return self.declared(queue)

    def declared(self, queue: str, channel: Any = None) -> tuple[int, int]:
        """Returns what a passive declaration says of the same, on a channel of its own or on the one that publishes."""
        said = self.call(lambda done: (channel or self._publishing).queue_declare(queue, passive=True, callback=done))
        return said.method.message_count, said.method.consumer_count

    def close(self, abort: bool = False) -> None:
        """Says goodbye and reads its answer, a bounded time; with ``abort`` just closes."""
        wire = self._wire
        if wire is not None and not abort:
            with suppress(Exception):  # a goodbye that fails is none
                deadline = now_ns() + int(GOODBYE_S * NS_PER_S)
                wire.close()
                while wire.ended is None and now_ns() < deadline:
                    wire.pump((deadline - now_ns()) / NS_PER_S)
        self._abandon()

    # How all of it speaks.

    def _declare(self, queue: str, arguments: Arguments) -> None:
        self.call(
            lambda done: self._publishing.queue_declare(queue, durable=True, arguments=dict(arguments), callback=done)
        )

    def open_channel(self, deadline: int | None = None) -> Any:
        channel = self.call(lambda done: self._up().channel(on_open_callback=done), deadline=deadline)
        channel.add_on_close_callback(self._on_channel_closed)
        return channel

    def close_channel(self, channel: Any, done: Callable[[Any], None]) -> None:
        channel.add_on_close_callback(lambda _, __: done(None))
        channel.close()

    def _on_channel_closed(self, _: Any, reason: BaseException) -> None:
        if not isinstance(reason, exceptions.ChannelClosedByClient) and self._wire is not None:
            self._wire.end(reason)

    def call(self, send: Callable[[Callable[[Any], None]], object], *, deadline: int | None = None) -> Any:
        """Sends a method with a callback for its answer, and returns that answer; raises ConnectionLost where none comes."""
        self._check()
        answers: list[Any] = []
        until = deadline or now_ns() + int(self.options.answer_timeout_s * NS_PER_S)
        try:
            send(answers.append)
        except exceptions.AMQPError as error:
            self.lose(error)
        while not answers:
            self._pump_until(until)
        return answers[0]

    def _pump_until(self, deadline: int) -> None:
        left_ns = deadline - now_ns()
        if left_ns <= 0:
            self.lose(self._overdue())
        self.pump(left_ns / NS_PER_S)

    def _overdue(self) -> TimeoutError:
        return TimeoutError("no answer in time")

    def _poll(self, outcomes: Outcomes, waiting: Window | Unacked, wait_s: float) -> None:
        """Reads until there is an outcome, nothing waits for one, or the time is over; at least once."""
        deadline = now_ns() + int(wait_s * NS_PER_S)
        self.pump(0.0)
        while waiting and not outcomes and (left_ns := deadline - now_ns()) > 0:
            self.pump(left_ns / NS_PER_S)

    def pump(self, wait_s: float) -> None:
        wire = self._up()
        wire.pump(wait_s)
        if self._answers:
            answers, self._answers = self._answers, []
            self._window.answered(answers)
        self._check()

    def _check(self) -> None:
        error = self._up().ended
        if error is not None:
            self.lose(error)

    def _up(self) -> Wire:
        if self._wire is None:
            raise ConnectionLost("there is no connection")
        return self._wire

    def lose(self, error: BaseException) -> NoReturn:
        self._abandon()
        raise ConnectionLost(f"the connection to RabbitMQ is lost: {words(error)}") from None

    def _abandon(self) -> None:
        """Drops the connection; what waits for an answer becomes unknown, what was pushed comes again elsewhere.

        What was auto-acked does not, so all of it that has come is kept for the next ``consume`` or ``cancel``.
        """
        if self._wire is None:
            return
        if self.options.auto_ack:
            self._wire.read_the_rest()
        self._wire.abort()
        if self._answers:
            self._window.answered(self._answers)
            self._answers = []
        self._window.lost(self._wire.may_have_left)
        self._unacked.lost()
        if not self.options.auto_ack:
            self._arrived.clear()
        self._window = Window(self._confirmed)
        self._wire = self._publishing = self._consuming = None
        self._consumer = ""


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
