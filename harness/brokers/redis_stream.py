"""``redis-stream``: ``XADD``, a consumer group read with ``XREADGROUP``, ``XACK`` + ``XDEL`` as the ack, ``XAUTOCLAIM`` as reclaim.

The ack is one script. Pipelined, the two could be cut apart, and an entry that is acked but still in the stream would count as
ready; in a MULTI, a full Redis refuses them (as it refuses every command that is queued), so that no ack could ever make room.

An entry's number is its id as ``milliseconds << 20 | sequence``: unique while fewer than 2**20 entries are added in one
millisecond, never 0, and in the order of the stream.

*Reclaim* makes us the owner of entries whose owner has been idle, and keeps them in hand: the next ``consume`` delivers
them before it asks for new ones. A worker that dies with them in hand leaves them in its own pending list, as any other
delivery. Entries that we hold already (work that outlasts the visibility time) are not delivered to us twice: taking them over
again only prolongs our hold.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import itemgetter
from typing import Any

import numpy as np
from redis.exceptions import ResponseError

from harness.brokers._redis import PAGE, RedisDriver
from harness.brokers._redis_claims import (
    CLIENT_RETRIES,
    PARAMETERS,
    SCHEMES,
    at_least_once,
    durability,
    library_retries,
)
from harness.brokers._redis_link import Command, not_executed
from harness.brokers.contract import NO_DELIVERIES, Deliveries, Depth, DriverOptions, Flags, Ints, Residue
from harness.clock import NS_PER_S, now_ns
from harness.model import Place, Settlement, SettleOutcome, Setup, Traits

SETUP = Setup(
    name="redis-stream",
    broker="redis",
    summary="XADD, XREADGROUP, XACK + XDEL in a script as ack, XAUTOCLAIM of what its owner has left idle",
    traits=Traits(entry_ids=True, reclaims=True),
    parameters=(*PARAMETERS, CLIENT_RETRIES),
    library_retries=library_retries,
    schemes=SCHEMES,
    durability=durability,
    claims=at_least_once,
)

GROUP = "workers"
FIELD = "p"
_SEQUENCE_BITS = 20
_RELEASED = "released"  # the owner of entries that were given back
_LONG_AGO_MS = 10 * 365 * 86_400_000

# KEYS: stream. ARGV: group, ids. In pages, for Lua passes no more than some thousand arguments.
_ACK = f"""
local acked = 0
for first = 2, #ARGV, {PAGE} do
    local last = math.min(first + {PAGE} - 1, #ARGV)
    acked = acked + redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, first, last))
    redis.call('XDEL', KEYS[1], unpack(ARGV, first, last))
end
return acked
"""

# KEYS: stream, dead letters. ARGV: group, id. XACK comes first: after a write a full Redis lets the script go on to LPUSH.
_BURY = """
local entry = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
if not entry or redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('LPUSH', KEYS[2], entry[2][2])
return 1
"""


# KEYS: stream. ARGV: group, id, consumer, new owner, ms idle. What was taken over from us is its new owner's, who may be at it.
_RELEASE = """
local row = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)[1]
if not row or row[2] ~= ARGV[3] then return 0 end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[4], 0, ARGV[2], 'IDLE', ARGV[5], 'JUSTID')
return 1
"""


@dataclass(slots=True)
class _Claimed:
    """An entry taken over and not delivered yet: its payload, its deliveries so far, and when it was taken over last."""

    payload: bytes
    count: int
    t_ns: int


class RedisStream(RedisDriver):
    """A stream with one consumer group. Handles are entry ids (bytes)."""

    def __init__(self, options: DriverOptions) -> None:
        super().__init__(options)
        self._held: set[bytes] = set()
        self._claimed: dict[bytes, _Claimed] = {}
        self._cursor = b"0-0"

    def connect(self) -> None:
        """Connects; what an earlier connection held is held no longer, and comes again when its idle time is over."""
        super().connect()
        self._held.clear()
        self._claimed.clear()

    def declare(self) -> None:
        """Makes the stream and its group, which reads from the beginning; nothing happens where they are there."""
        (reply,) = self.call(("XGROUP", "CREATE", self.queue, GROUP, "0", "MKSTREAM"))
        if isinstance(reply, Exception) and not str(reply).startswith("BUSYGROUP") and self._group() is None:
            self.link.lose(reply)  # a full Redis refuses before it looks whether the group is there

    def publishing(self, payloads: list[bytes]) -> list[Command]:
        """Returns one XADD per payload."""
        return list(zip(repeat("XADD"), repeat(self.queue), repeat("*"), repeat(FIELD), payloads, strict=False))

    def consume(self, max_n: int, wait_s: float) -> Deliveries:
        """Delivers what was reclaimed, else new entries; makes the group anew where the broker has come back empty."""
        self._drop_outlasted()
        if self._claimed:
            return self._deliver_claimed(max_n)
        asked_ns = now_ns()
        block: Command = ("BLOCK", max(int(wait_s * 1000), 1)) if wait_s > 0 else ()
        noack: Command = ("NOACK",) if self.options.auto_ack else ()
        command = ("XREADGROUP", "GROUP", GROUP, self.options.client, "COUNT", max_n, *block, *noack)
        (reply,) = self.call((*command, "STREAMS", self.queue, ">"), block_s=wait_s)
        if _no_group(reply):
            self.declare()
            return NO_DELIVERIES
        if not_executed(reply):
            time.sleep(wait_s)
            return NO_DELIVERIES
        if self.checked(reply) is None:
            return NO_DELIVERIES
        return self._deliver_new(reply[0][1], asked_ns)

    def _deliver_new(self, entries: list[Any], asked_ns: int) -> Deliveries:
        ids, payloads = _ids_and_payloads(entries)
        if self.options.auto_ack:
            self.settle_by([("XDEL", self.queue, *ids)], np.zeros(0, np.int64), _ok, whole=True)
        else:
            self._held.update(ids)
        n = len(ids)
        return Deliveries(
            payloads,
            ids,
            entries=entry_numbers(ids),
            redelivered=np.zeros(n, np.uint8),
            counts=np.ones(n, np.uint16),
            asked_ns=asked_ns,
        )

    def _deliver_claimed(self, max_n: int) -> Deliveries:
        ids = list(self._claimed)[:max_n]
        taken = [self._claimed.pop(key) for key in ids]
        self._held.update(ids)
        return Deliveries(
            [entry.payload for entry in taken],
            ids,
            entries=entry_numbers(ids),
            redelivered=np.ones(len(ids), np.uint8),
            counts=np.array([entry.count for entry in taken], np.uint16),
            asked_ns=min(entry.t_ns for entry in taken),
        )

    def _drop_outlasted(self) -> None:
        """Forgets what has lain in our hand for so long that others may have taken it; what they have not, is idle and comes again."""
        since_ns = now_ns() - int(self.options.visibility_s * NS_PER_S)
        for key in [key for key, entry in self._claimed.items() if entry.t_ns <= since_ns]:
            del self._claimed[key]

    def settle(self, tokens: Ints, handles: Sequence[Any], what: Settlement) -> None:
        """Acks and deletes in one script; RELEASE and RETRY let the next reclaim of anybody take them."""
        self._held.difference_update(handles)
        if not len(tokens):
            return
        if what in (Settlement.ACK, Settlement.AUTO):
            self.settle_by(
                [("EVAL", _ACK, 1, self.queue, GROUP, *handles)],
                tokens,
                _ok,  # Redis does not say whose they were, so nothing is ever stale
                whole=True,
            )
        elif what is Settlement.DEAD:
            self.settle_by(
                [("EVAL", _BURY, 2, self.queue, self.dead, GROUP, handle) for handle in handles], tokens, _found
            )
        else:
            own = (self.options.client, _RELEASED, _LONG_AGO_MS)
            self.settle_by(
                [("EVAL", _RELEASE, 1, self.queue, GROUP, handle, *own) for handle in handles], tokens, _found
            )

    def reclaim(self, min_idle_s: float) -> int:
        """Takes over up to a prefetch of entries idle for ``min_idle_s``, to be delivered here next; returns how many."""
        idle_ms = max(int(min_idle_s * 1000), 0)
        room = self.options.prefetch - len(self._claimed)
        claimed_ns, taken = now_ns(), dict[bytes, bytes]()
        while room > 0:
            command = ("XAUTOCLAIM", self.queue, GROUP, self.options.client, idle_ms, self._cursor, "COUNT", room)
            (reply,) = self.call(command)
            if _no_group(reply) or not_executed(reply):
                return 0
            self._cursor, entries = self.checked(reply)[:2]
            # Redis 6.2 answers nil for an entry that was deleted while it was pending.
            found = [entry for entry in entries if entry is not None and entry[1] is not None]
            taken |= {entry[0]: entry[1][1] for entry in found if entry[0] not in self._held}
            room -= len(found)
            if self._cursor == b"0-0":
                break
        return self._keep(taken, claimed_ns)

    def _keep(self, taken: dict[bytes, bytes], claimed_ns: int) -> int:
        """Puts what was taken over into the hand, with its delivery counts; what lies there already stays once."""
        for key in taken.keys() & self._claimed.keys():  # ours for longer now
            self._claimed[key].t_ns = claimed_ns
            del taken[key]
        if not taken:
            return 0
        counts = self._counts(min(taken, key=_order), max(taken, key=_order))
        self._claimed |= {key: _Claimed(payload, counts.get(key, 2), claimed_ns) for key, payload in taken.items()}
        return len(taken)

    def _counts(self, first: bytes, last: bytes) -> dict[bytes, int]:
        """Returns how often our pending entries between two ids were delivered."""
        limit = self.options.prefetch + len(self._held)
        (rows,) = self.call(("XPENDING", self.queue, GROUP, first, last, limit, self.options.client))
        return {row[0]: row[3] for row in self.checked(rows)}

    def depth(self) -> Depth:
        """Returns length less pending, pending, and dead letters. With auto-ack Redis cannot tell what is ready."""
        length, pending, dead = self.call(("XLEN", self.queue), ("XPENDING", self.queue, GROUP), ("LLEN", self.dead))
        in_flight = 0 if _no_group(pending) else self.checked(pending)[0]
        ready = None if self.options.auto_ack else max(self.checked(length) - in_flight, 0)
        return Depth(ready=ready, in_flight=in_flight, dead=self.checked(dead))

    def residue(self) -> Iterator[Residue]:
        """Yields the pending entries list, the entries after the last delivered one, and the dead letters."""
        yield from self._pending()
        for page in self._entries_after(self._last_delivered()):
            ids, payloads = _ids_and_payloads(page)
            yield Residue(Place.READY, payloads, entries=entry_numbers(ids))
        yield from self.residue_of_list(self.dead, Place.DEAD_LETTER)

    def _pending(self) -> Iterator[Residue]:
        start = b"-"
        while True:
            (rows,) = self.call(("XPENDING", self.queue, GROUP, start, "+", PAGE))
            if _no_group(rows) or not self.checked(rows):
                return
            found = self.call(*(("XRANGE", self.queue, row[0], row[0]) for row in rows))
            kept = [(row, entries[0]) for row, entries in zip(rows, map(self.checked, found), strict=True) if entries]
            ids, payloads = _ids_and_payloads([entry for _, entry in kept])
            over = [row[2] >= self.options.visibility_s * 1000 for row, _ in kept]
            yield Residue(Place.IN_FLIGHT, payloads, entries=entry_numbers(ids), hold_over=_flags(over))
            start = b"(" + rows[-1][0]

    def _last_delivered(self) -> bytes:
        group = self._group()
        return group[b"last-delivered-id"] if group else b"0-0"

    def _group(self) -> dict[bytes, Any] | None:
        """Returns what Redis says of the group; None where it, or the stream, is missing."""
        (groups,) = self.call(("XINFO", "GROUPS", self.queue))
        if isinstance(groups, ResponseError) and "no such key" in str(groups):
            return None
        for group in self.checked(groups):
            fields: dict[bytes, Any] = dict(zip(group[::2], group[1::2], strict=True))
            if fields[b"name"] == GROUP.encode():
                return fields
        return None

    def _entries_after(self, start: bytes) -> Iterator[list[Any]]:
        while page := self.checked(self.call(("XRANGE", self.queue, b"(" + start, "+", "COUNT", PAGE))[0]):
            yield page
            start = page[-1][0]


def entry_numbers(ids: list[bytes]) -> Ints:
    """Returns ``milliseconds << 20 | sequence`` of entry ids, shape (n,)."""
    text = b" ".join(ids).replace(b"-", b" ").decode()
    parts = np.fromstring(text, dtype=np.int64, sep=" ").reshape(-1, 2)
    numbers: Ints = (parts[:, 0] << _SEQUENCE_BITS) | parts[:, 1]
    return numbers


def _ids_and_payloads(entries: list[Any]) -> tuple[list[bytes], list[bytes]]:
    fields = map(itemgetter(1), entries)
    return list(map(itemgetter(0), entries)), list(map(itemgetter(1), fields))


def _order(key: bytes) -> tuple[int, int]:
    ms, _, sequence = key.partition(b"-")
    return int(ms), int(sequence)


def _flags(values: list[bool]) -> Flags:
    return np.array(values, np.uint8)


def _no_group(reply: object) -> bool:
    return isinstance(reply, ResponseError) and str(reply).startswith("NOGROUP")


def _ok(reply: object) -> int:
    return SettleOutcome.OK if isinstance(reply, int) else SettleOutcome.UNKNOWN


def _found(reply: object) -> int:
    """Returns STALE where a single entry is no longer pending."""
    if isinstance(reply, Exception):
        return SettleOutcome.UNKNOWN
    return SettleOutcome.OK if reply else SettleOutcome.STALE


DRIVER = RedisStream
