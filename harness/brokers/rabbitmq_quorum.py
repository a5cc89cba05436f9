"""``rabbitmq-quorum``: a quorum queue, whose confirms mean fsynced, with a safe way to its dead letters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pika.spec import Basic

from harness.brokers._rabbitmq import Arguments, RabbitMQDriver
from harness.brokers._rabbitmq_claims import quorum
from harness.clock import NS_PER_S, now_ns
from harness.model import DurabilityClass, MayLose, Parameter, Setup, Traits

KIND: Arguments = {"x-queue-type": "quorum"}
SETTLES_IN_S = 5.0
"""RabbitMQ 3.10: a quorum queue whose node is killed within a second of its declaration never comes back."""

QUICK_NS = 100_000_000


class QuorumQueue(RabbitMQDriver):
    """One connection to a quorum queue; see :class:`harness.brokers.contract.Driver`."""

    counts_deliveries = True

    def arguments(self) -> Arguments:
        """Returns the arguments of the queue; without the last two, dead letters may be lost on their way."""
        limit = self.options.parameters["delivery_limit"]
        return {
            **KIND,
            **({"x-delivery-limit": int(limit)} if limit else {}),
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.dead,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }

    def arguments_of_dead(self) -> Arguments:
        """Returns the arguments of the queue of its dead letters."""
        return KIND

    def counted(self, queue: str) -> tuple[int, int]:
        """Returns how many messages are ready in a queue, and how many consumers it has.

        "Nothing and nobody" is also what RabbitMQ says of a quorum queue that has no leader, or did not answer it within a quarter of
        a second. So it is asked again if that took long, and then for a message, which the queue itself must answer.
        """
        limit_ns = now_ns() + int(self.options.answer_timeout_s * NS_PER_S)
        while True:
            asked_ns = now_ns()
            said = super().counted(queue)
            if said != (0, 0):
                return said
            if now_ns() - asked_ns < QUICK_NS and self._is_empty(queue):
                return said
            if now_ns() > limit_ns:
                self.lose(TimeoutError(f"{queue} does not say what it holds"))

    def _is_empty(self, queue: str) -> bool:
        """Returns whether there is no message to get; gives one that there is back."""
        channel = self.open_channel()

        def get(done: Callable[[Any], None]) -> None:
            channel.add_callback(lambda _: done(True), [Basic.GetEmpty])
            channel.basic_get(queue, lambda *_: done(False))

        empty: bool = self.call(get)
        channel.close()  # which gives it back
        return empty


def _positive(text: str) -> int:
    """Returns a count; raises ValueError for what is none."""
    if not text.isdecimal() or not 0 < int(text) < 1 << 31:
        raise ValueError(f"{text!r} is no delivery limit; expected a whole number from 1")
    return int(text)


SETUP = Setup(
    name="rabbitmq-quorum",
    broker="rabbitmq",
    summary="quorum queue, mandatory publishes with confirms, pushed up to the prefetch, acked with `multiple`, dead letters at least once",
    traits=Traits(redelivered_flag=True, settle_detects_stale=True, pushes=True),
    schemes=("amqp", "amqps"),
    parameters=(
        Parameter(
            name="delivery_limit",
            check=_positive,
            meaning="deliveries after which a message becomes a dead letter; not set = RabbitMQ's own, none until 3.13, 20 from 4.0",
        ),
    ),
    durability=lambda _: DurabilityClass.FSYNCED,
    claims=lambda _: quorum(),
    auto_ack_loses=MayLose.ALL,
    settles_in_s=SETTLES_IN_S,
    own_health=True,
)
DRIVER = QuorumQueue
