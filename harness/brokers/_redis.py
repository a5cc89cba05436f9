"""What the Redis drivers share: one pipelined link, outcomes by token, settings, clean-up.

Keys: ``<queue>`` holds what is ready, ``<queue>:dead`` the dead letters, ``<queue>:…`` whatever a design needs besides;
``purge`` removes exactly these. A connection is named ``bb:<queue>:<client>``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from harness.brokers._redis_claims import asked
from harness.brokers._redis_link import Command, Link, not_executed
from harness.brokers.contract import (
    NO_CONFIRMS,
    NO_SETTLED,
    Block,
    Confirms,
    Deliveries,
    Depth,
    DriverOptions,
    Effective,
    Flags,
    Ints,
    Residue,
    Settled,
)
from harness.model import Outcome, Place, Settlement, SettleOutcome

PAGE = 1000
_ALSO = (
    "aof-use-rdb-preamble",
    "no-appendfsync-on-rewrite",
    "auto-aof-rewrite-percentage",
    "hz",
    "io-threads",
    "maxclients",
)


def published(reply: object) -> int:
    """Returns the outcome that a reply to one publishing command proves."""
    if not isinstance(reply, Exception):
        return Outcome.CONFIRMED
    return Outcome.REJECTED if not_executed(reply) else Outcome.UNKNOWN


class RedisDriver:
    """The common part of a driver; a design adds publish, consume, settle, residue and depth."""

    def __init__(self, options: DriverOptions) -> None:
        self.options = options
        self.queue = options.queue
        self.dead = f"{options.queue}:dead"
        self.link = Link(
            options.address,
            f"bb:{options.queue}:{options.client}",
            connect_timeout_s=options.connect_timeout_s,
            answer_timeout_s=options.answer_timeout_s,
        )
        self._confirmed: list[tuple[Ints, Flags, Ints]] = []
        self.settled: list[tuple[Ints, Flags, Ints]] = []

    def connect(self) -> None:
        """Connects; a server that is still loading its data counts as unreachable."""
        self.link.connect()

    def prepare(self) -> Effective:
        """Declares what the design needs and reads the live settings back."""
        self.declare()
        wanted = asked(self.options.parameters)
        names = (*wanted, *_ALSO)
        *replies, info = self.call(*(("CONFIG", "GET", name) for name in names), ("INFO", "server"))
        found = {name: reply[1].decode() for name, reply in zip(names, replies, strict=True) if _is_pair(reply)}
        return Effective(
            version=_version(info),
            asked=wanted,
            found={name: value for name, value in found.items() if name in wanted},
            also={name: value for name, value in found.items() if name not in wanted},
        )

    def declare(self) -> None:
        """Makes what must be there before the first message; nothing for lists."""

    def blocked(self) -> str:
        """Returns "": a full Redis rejects, it does not stop reading."""
        return ""

    def publish(self, block: Block) -> None:
        """Sends one command per message in one write."""
        self.link.send(
            self.publishing(block.as_bytes()),
            tokens=block.tokens,
            judge=published,
            unknown=Outcome.UNKNOWN,
            not_sent=Outcome.NOT_SENT,
            into=self._confirmed,
        )

    def publishing(self, payloads: list[bytes]) -> list[Command]:
        """Returns one command per payload."""
        raise NotImplementedError

    def poll_confirms(self, wait_s: float) -> Confirms:
        """Returns the outcomes that have come."""
        if self.link.up:
            self.link.collect(self._confirmed, wait_s)
        return Confirms(*_drain(self._confirmed)) if self._confirmed else NO_CONFIRMS

    def poll_settled(self, wait_s: float) -> Settled:
        """Returns the settlements' outcomes that have come."""
        if self.link.up:
            self.link.collect(self.settled, wait_s)
        return Settled(*_drain(self.settled)) if self.settled else NO_SETTLED

    def settle_by(self, commands: Sequence[Command], tokens: Ints, judge: Any, *, whole: bool = False) -> None:
        """Sends settling commands: one per token, or with ``whole`` commands whose last reply judges all."""
        self.link.send(
            commands,
            tokens=tokens,
            judge=judge,
            whole=whole,
            unknown=SettleOutcome.UNKNOWN,
            not_sent=SettleOutcome.UNKNOWN,
            into=self.settled,
        )

    def reclaim(self, min_idle_s: float) -> int:
        """Returns 0: nothing is held."""
        return 0

    def call(self, *commands: Command, block_s: float = 0.0) -> list[Any]:
        """Returns the replies to commands, error replies as exceptions in their place; raises ConnectionLost."""
        return self.link.call(commands, block_s=block_s)

    def checked(self, reply: Any) -> Any:
        """Returns a reply that must not be an error; raises ConnectionLost with the server's words where it is one."""
        if isinstance(reply, Exception):
            self.link.lose(reply)
        return reply

    def connections(self) -> list[str]:
        """Returns the names of the queue's other connections."""
        own, listing = self.call(("CLIENT", "ID"), ("CLIENT", "LIST"))
        clients = (
            dict(item.split("=", 1) for item in line.split()) for line in self.checked(listing).decode().splitlines()
        )
        return sorted(
            client["name"]
            for client in clients
            if client["name"].startswith(f"bb:{self.queue}:") and int(client["id"]) != own
        )

    def listed(self, key: str) -> Iterator[list[bytes]]:
        """Yields a list's elements in pages, in the order in which they would be popped.

        Counted from the right, so that what is still pushed on the left moves nothing.
        """
        end = -1
        while page := self.checked(self.call(("LRANGE", key, end - PAGE + 1, end))[0]):
            yield page[::-1]
            end -= PAGE

    def residue_of_list(self, key: str, place: Place, *, hold_over: bool | None = None) -> Iterator[Residue]:
        """Yields what a list holds; ``hold_over`` is the same for all of it."""
        for page in self.listed(key):
            flags = None if hold_over is None else np.full(len(page), hold_over, np.uint8)
            yield Residue(place, page, hold_over=flags)

    def purge(self) -> None:
        """Removes the keys of this queue, found by scanning; names of other queues do not match."""
        cursor = b"0"
        self.checked(self.call(("UNLINK", self.queue))[0])
        while True:
            cursor, keys = self.checked(self.call(("SCAN", cursor, "MATCH", f"{self.queue}:*", "COUNT", PAGE))[0])
            if keys:
                self.checked(self.call(("UNLINK", *keys))[0])
            if cursor == b"0":
                return

    def close(self, abort: bool = False) -> None:
        """Closes; Redis knows no goodbye that matters."""
        self.link.close()

    # What a design adds.

    def consume(self, max_n: int, wait_s: float) -> Deliveries:
        """Returns up to ``max_n`` messages."""
        raise NotImplementedError

    def settle(self, tokens: Ints, handles: Sequence[Any], what: Settlement) -> None:
        """Sends settlements."""
        raise NotImplementedError

    def depth(self) -> Depth:
        """Returns what Redis holds."""
        raise NotImplementedError

    def residue(self) -> Iterator[Residue]:
        """Yields what Redis holds."""
        raise NotImplementedError


def _is_pair(reply: object) -> bool:
    return isinstance(reply, list) and len(reply) == 2  # an unknown setting is answered with an empty list


def _version(info: Any) -> str:
    fields = (
        dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
        if isinstance(info, bytes)
        else {}
    )
    if "valkey_version" in fields:
        return f"Valkey {fields['valkey_version']}"
    return f"Redis {fields.get('redis_version', 'of unknown version')}"


def _drain(parts: list[tuple[Ints, Flags, Ints]]) -> tuple[Ints, Flags, Ints]:
    taken, parts[:] = list(parts), []
    if len(taken) == 1:
        return taken[0]
    tokens, outcomes, t_ns = zip(*taken, strict=True)
    return np.concatenate(tokens), np.concatenate(outcomes), np.concatenate(t_ns)
