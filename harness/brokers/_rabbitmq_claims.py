"""What the RabbitMQ setups claim (``guarantees.md``, RabbitMQ)."""

from __future__ import annotations

from harness.model import Claim, FaultKind, MayLose, MayRepeat

_CONFIRMS = "rabbitmq.com/docs/confirms"
_CLASSIC = "rabbitmq.com/docs/classic-queues"
_QUORUM = "rabbitmq.com/docs/quorum-queues"
_ALL = "rabbitmq.com/docs/queues, Durability: a transient message is lost with its node, confirmed or not"


def persistent() -> tuple[Claim, ...]:
    """Returns the claims of a classic queue with persistent messages."""
    kill = (
        f"{_CONFIRMS}: confirmed once written; acks are written later, so that what was acked may come again (measured)"
    )
    return _claims(MayLose.NONE, kill, f"{_CLASSIC}: a durable queue keeps its persistent messages")


def transient() -> tuple[Claim, ...]:
    """Returns the claims of a classic queue with transient messages, which no restart survives."""
    return _claims(MayLose.ALL, _ALL, _ALL)


def quorum() -> tuple[Claim, ...]:
    """Returns the claims of a quorum queue."""
    kill = f"{_QUORUM}, Data Safety: confirmed once a majority has it on disk; acks that were on their way may be gone (measured)"
    return _claims(MayLose.NONE, kill, f"{_QUORUM}, Data Safety")


def _claims(lost_by_restart: MayLose, kill: str, restart: str) -> tuple[Claim, ...]:
    acks = f"{_CONFIRMS}, Automatic Requeueing: unacked messages come again when their channel closes"
    kept = lost_by_restart is MayLose.NONE
    return (
        Claim(fault=FaultKind.NONE, may_lose=MayLose.NONE, may_repeat=MayRepeat.NONE, source=f"{_CONFIRMS}"),
        Claim(fault=FaultKind.WORKER_KILL, may_lose=MayLose.NONE, source=acks),
        Claim(fault=FaultKind.PRODUCER_KILL, may_lose=MayLose.NONE, may_repeat=MayRepeat.NONE, source=_CONFIRMS),
        Claim(fault=FaultKind.REPLY_CUT, may_lose=MayLose.NONE, may_repeat=MayRepeat.NONE, source=_CONFIRMS),
        Claim(fault=FaultKind.BROKER_PAUSE, may_lose=MayLose.NONE, source=acks),
        Claim(fault=FaultKind.BROKER_RESTART, may_lose=lost_by_restart, source=restart),
        Claim(
            fault=FaultKind.BROKER_KILL,
            may_lose=lost_by_restart,
            may_repeat=MayRepeat.ACKED if kept else MayRepeat.UNACKED,
            source=kill,
        ),
    )
