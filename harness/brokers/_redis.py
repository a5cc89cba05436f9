"""What the Redis drivers share: one pipelined link, outcomes by token, settings, clean-up.

Keys: ``<queue>`` holds what is ready, ``<queue>:dead`` the dead letters, ``<queue>:…`` whatever a design needs besides;
``purge`` removes exactly these. A connection is named ``bb:<queue>:<client>``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from redis.exceptions import NoPermissionError, RedisError

from harness.brokers._redis_claims import DURABILITY, asked, library_retries, meaning, notes
from harness.brokers._redis_library import VERSION, Library
from harness.brokers._redis_link import Command, Link, not_executed
from harness.brokers.contract import (
    NO_CONFIRMS,
    NO_DELIVERIES,
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
from harness.clock import now_ns
from harness.model import AS_FOUND, Outcome, Place, Settlement, SettleOutcome

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
        name = f"bb:{options.queue}:{options.client}"
        self.link = Link(
            options.address,
            name,
            connect_timeout_s=options.connect_timeout_s,
            answer_timeout_s=options.answer_timeout_s,
        )
        self._library = Library(options.address, name) if library_retries(options.parameters) else None
        self._confirmed: list[tuple[Ints, Flags, Ints]] = []
        self.settled: list[tuple[Ints, Flags, Ints]] = []

    def connect(self) -> None:
        """Connects; a server that is still loading its data counts as unreachable."""
        self.link.connect()

    def prepare(self) -> Effective:
        """Declares what the design needs and reads the live settings back."""
        self.declare()
        parameters = self.options.parameters
        wanted = asked(parameters)
        names = dict.fromkeys((*wanted, *DURABILITY, *_ALSO))
        *replies, info = self.call(*(("CONFIG", "GET", name) for name in names), ("INFO", "server"))
        found = {name: reply[1].decode() for name, reply in zip(names, replies, strict=True) if _is_pair(reply)}
        means = meaning(found)
        return Effective(
            version=_version(info),
            asked=wanted,
            found={name: value for name, value in found.items() if name in wanted},
            also={name: value for name, value in found.items() if name not in wanted} | self._client_settings(),
            parameters={name: value for name, value in means.items() if parameters.get(name) == AS_FOUND},
            encrypted=self.options.address.startswith("rediss:"),
            notes=tuple(notes(found)) if AS_FOUND in parameters.values() else (),
        )

    def declare(self) -> None:
        """Makes what must be there before the first message; nothing for lists."""

    def blocked(self) -> str:
        """Returns "": a full Redis rejects, it does not stop reading."""
        return ""

    def publish(self, block: Block) -> None:
        """Sends one command per message in one write; with the client's own retries it blocks until their answers are there."""
        commands = self.publishing(block.as_bytes())
        if self._library is not None and self.link.up:
            self._publish_by(self._library, commands, block.tokens)
            return
        self.link.send(
            commands,
            tokens=block.tokens,
            judge=published,
            unknown=Outcome.UNKNOWN,
            not_sent=Outcome.NOT_SENT,
            into=self._confirmed,
        )

    def _publish_by(self, library: Library, commands: list[Command], tokens: Ints) -> None:
        """A refusal may be that of a second try, whose first was executed: it proves nothing here."""
        outcomes = np.full(len(tokens), Outcome.UNKNOWN, np.uint8)
        try:
            replies = library.execute(commands)
            outcomes[[published(reply) == Outcome.CONFIRMED for reply in replies]] = Outcome.CONFIRMED
        except (RedisError, OSError) as error:
            self.link.lose(error)
        finally:
            self._confirmed.append((tokens, outcomes, np.full(len(tokens), now_ns(), np.int64)))

    def _client_settings(self) -> dict[str, str]:
        """Returns which client library speaks, and what it does by itself."""
        return {"redis-py": VERSION, **(self._library.settings() if self._library else {"client retries": "0"})}

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

    def cancel(self) -> Deliveries:
        """Returns nothing: nothing is pushed."""
        return NO_DELIVERIES

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

    def connections(self) -> list[str] | None:
        """Returns the names of the queue's other connections; None where this Redis lets us not ask."""
        own, listing = self.call(("CLIENT", "ID"), ("CLIENT", "LIST"))
        if isinstance(listing, NoPermissionError) or isinstance(own, NoPermissionError):
            return None
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
        if self._library is not None:
            self._library.close()

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
