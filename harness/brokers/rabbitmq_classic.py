"""``rabbitmq-classic``: a durable classic queue of version 2; persistent messages, or transient ones, which no restart survives."""

from __future__ import annotations

from harness.brokers._rabbitmq import Arguments, RabbitMQDriver
from harness.brokers._rabbitmq_claims import persistent, transient
from harness.brokers.contract import DriverOptions
from harness.model import Claim, DurabilityClass, MayLose, Parameter, Parameters, Setup, Traits

KIND: Arguments = {"x-queue-type": "classic", "x-queue-version": 2}
SETTLES_IN_S = 2.5
"""RabbitMQ 3.10: a durable queue that a new node declares is not on disk at once: gone with what it had confirmed, 4 times of some 60
that its node was killed within half a second; Erlang's ``disk_log`` writes after 2 s at the latest."""


class ClassicQueue(RabbitMQDriver):
    """One connection to a classic queue; see :class:`harness.brokers.contract.Driver`."""

    def __init__(self, options: DriverOptions) -> None:
        self.delivery_mode = 2 if _persistent(options.parameters) else 1
        super().__init__(options)

    def arguments(self) -> Arguments:
        """Returns the arguments of the queue."""
        return {**KIND, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.dead}

    def arguments_of_dead(self) -> Arguments:
        """Returns the arguments of the queue of its dead letters."""
        return KIND


def _persistent(parameters: Parameters) -> bool:
    return parameters["persistent"] == "true"


def _durability(parameters: Parameters) -> DurabilityClass:
    """Returns what a confirm survives: RabbitMQ confirms persistent messages once written, not once fsynced."""
    return DurabilityClass.PROCESS_CRASH_SAFE if _persistent(parameters) else DurabilityClass.MEMORY


def _claims(parameters: Parameters) -> tuple[Claim, ...]:
    return persistent() if _persistent(parameters) else transient()


SETUP = Setup(
    name="rabbitmq-classic",
    broker="rabbitmq",
    summary="durable classic queue v2, mandatory publishes with confirms, pushed up to the prefetch, acked with `multiple`",
    traits=Traits(redelivered_flag=True, settle_detects_stale=True, pushes=True),
    schemes=("amqp", "amqps"),
    parameters=(
        Parameter(
            name="persistent",
            values=("true", "false"),
            meaning="delivery mode 2, written to disk before the confirm; or 1, kept in memory",
        ),
    ),
    durability=_durability,
    claims=_claims,
    auto_ack_loses=MayLose.ALL,
    settles_in_s=SETTLES_IN_S,
)
DRIVER = ClassicQueue
