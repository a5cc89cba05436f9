"""``redis-list``: ``LPUSH`` and ``BRPOP``; taking a message removes it, so it is delivered at most once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from harness.brokers._redis import RedisDriver
from harness.brokers._redis_claims import CLIENT_RETRIES, PARAMETERS, SCHEMES, at_most_once, durability, library_retries
from harness.brokers._redis_link import Command
from harness.brokers.contract import NO_DELIVERIES, Deliveries, Depth, Ints, Residue
from harness.clock import now_ns
from harness.model import Place, Settlement, SettleOutcome, Setup, Traits

SETUP = Setup(
    name="redis-list",
    broker="redis",
    summary="LPUSH, BRPOP: a message is gone once it is handed out",
    traits=Traits(at_most_once=True),
    parameters=(*PARAMETERS, CLIENT_RETRIES),
    library_retries=library_retries,
    schemes=SCHEMES,
    durability=durability,
    claims=at_most_once,
)


class RedisList(RedisDriver):
    """A plain list: new messages on the left, the oldest taken from the right. Handles are payloads."""

    def publishing(self, payloads: list[bytes]) -> list[Command]:
        """Returns one LPUSH per payload."""
        return list(zip(repeat("LPUSH"), repeat(self.queue), payloads, strict=False))

    def consume(self, max_n: int, wait_s: float) -> Deliveries:
        """Blocks for the first message and takes what else is there in the same write."""
        asked_ns = now_ns()
        payloads = popped(self, max_n, wait_s)
        return Deliveries(payloads, payloads, asked_ns=asked_ns) if payloads else NO_DELIVERIES

    def settle(self, tokens: Ints, handles: Sequence[Any], what: Settlement) -> None:
        """ACK is true already and needs no broker; RELEASE and RETRY give back to the front, DEAD to the dead letters."""
        if what in (Settlement.ACK, Settlement.AUTO):
            n = len(tokens)
            self.settled.append((tokens, np.full(n, SettleOutcome.OK, np.uint8), np.full(n, now_ns(), np.int64)))
            return
        command, key = ("LPUSH", self.dead) if what is Settlement.DEAD else ("RPUSH", self.queue)
        self.settle_by([(command, key, payload) for payload in handles], tokens, pushed)

    def depth(self) -> Depth:
        """Returns the lengths of the lists; what is in flight is unknown to Redis, and nobody's."""
        ready, dead = map(self.checked, self.call(("LLEN", self.queue), ("LLEN", self.dead)))
        return Depth(ready=ready, in_flight=0, dead=dead)

    def residue(self) -> Iterator[Residue]:
        """Yields the list and the dead letters."""
        yield from self.residue_of_list(self.queue, Place.READY)
        yield from self.residue_of_list(self.dead, Place.DEAD_LETTER)


def popped(driver: RedisDriver, max_n: int, wait_s: float) -> list[bytes]:
    """Returns up to ``max_n`` messages taken off the queue, waiting up to ``wait_s`` for the first."""
    commands: list[Command] = [("BRPOP", driver.queue, block_limit(wait_s))] if wait_s > 0 else []
    if rest := max_n - len(commands):
        commands.append(("RPOP", driver.queue, rest))
    payloads: list[bytes] = []
    for command, reply in zip(commands, driver.call(*commands, block_s=wait_s), strict=True):
        if driver.checked(reply) is not None:
            payloads += [reply[1]] if command[0] == "BRPOP" else reply
    return payloads


def block_limit(wait_s: float) -> str:
    """Returns a time-out of a blocking command in seconds, at least 2 ms.

    0 would mean for ever, and Redis before 7.0.8 makes that of 1 ms too (redis/redis#11687). An idle Redis looks at
    time-outs ten times a second only (``hz 10``), so an answer may come up to 0.1 s late.
    """
    return f"{max(wait_s, 0.002):.4f}"


def pushed(reply: object) -> int:
    """Returns OK where the reply is the length of a list."""
    return SettleOutcome.OK if isinstance(reply, int) else SettleOutcome.UNKNOWN


DRIVER = RedisList
