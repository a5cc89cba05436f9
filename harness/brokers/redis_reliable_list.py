"""``redis-reliable-list``: ``LMOVE`` into a processing list, ``LREM`` as the ack, and a reaper on heartbeat keys.

Each connection is a *holder* with a name of its own: ``<client>#<random>``. It has

- ``<queue>:processing:<holder>``, the messages in its hands, newest on the left;
- ``<queue>:alive:<holder>``, a key that expires after the visibility time unless it is set again: its sign of life;
- its name in the set ``<queue>:holders``, so that nobody has to scan for processing lists.

After a reconnect the worker is a new holder: what the old connection moved, and what its cut-off replies never told, goes
back like a dead worker's. Taking back is one script per holder, so any number of reapers may do it at once.

A full Redis (``maxmemory``, noeviction) refuses ``LMOVE`` and ``BLMOVE``, though they need hardly any memory: consumers get
nothing until somebody's ack has made room. Acks, giving back, taking back and prolonging a sign of life it does not refuse.
Where nobody holds anything to ack, this design stands still for as long as Redis is over its limit.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

from harness.brokers._redis import RedisDriver
from harness.brokers._redis_claims import PARAMETERS, SCHEMES, at_least_once, durability
from harness.brokers._redis_link import Command, not_executed
from harness.brokers.contract import NO_DELIVERIES, Deliveries, Depth, DriverOptions, Ints, Residue
from harness.brokers.redis_list import block_limit, popped
from harness.clock import NS_PER_S, now_ns
from harness.model import Place, Settlement, SettleOutcome, Setup, Traits

SETUP = Setup(
    name="redis-reliable-list",
    broker="redis",
    summary="LPUSH, BLMOVE into a list per worker, LREM as ack; a reaper on heartbeat keys; over maxmemory Redis refuses BLMOVE",
    traits=Traits(reclaims=True, settle_detects_stale=True),
    parameters=PARAMETERS,
    schemes=SCHEMES,
    durability=durability,
    claims=at_least_once,
)

# KEYS: processing list, sign of life, queue, holders. ARGV: most ms of life left that count as idle, holder.
# The oldest message ends outermost, to be taken first. LPOP, not LMOVE: a full Redis refuses a script's LMOVE, but no
# command after the first write.
_TAKE_BACK = """
local life = redis.call('PTTL', KEYS[2])
if life > tonumber(ARGV[1]) then return 0 end
local moved = 0
local payload = redis.call('LPOP', KEYS[1])
while payload do
    redis.call('RPUSH', KEYS[3], payload)
    moved = moved + 1
    payload = redis.call('LPOP', KEYS[1])
end
if life < 0 then redis.call('SREM', KEYS[4], ARGV[2]) end
return moved
"""

# KEYS: processing list, destination. ARGV: payload, LPUSH or RPUSH.
_HAND_OVER = """
if redis.call('LREM', KEYS[1], -1, ARGV[1]) == 0 then return 0 end
redis.call(ARGV[2], KEYS[2], ARGV[1])
return 1
"""

FEW = 8  # LMOVEs after a fetch that brought nothing: each one that finds nothing is a command for nothing


class RedisReliableList(RedisDriver):
    """A list with a processing list per holder. Handles are (holder, payload)."""

    def __init__(self, options: DriverOptions) -> None:
        super().__init__(options)
        self._holder = ""
        self._next_beat_ns = 0
        self._last_got = 0

    def connect(self) -> None:
        """Connects as a new holder."""
        super().connect()
        self._holder = f"{self.options.client}#{secrets.token_hex(4)}"
        self._next_beat_ns = 0

    def publishing(self, payloads: list[bytes]) -> list[Command]:
        """Returns one LPUSH per payload."""
        return list(zip(repeat("LPUSH"), repeat(self.queue), payloads, strict=False))

    def consume(self, max_n: int, wait_s: float) -> Deliveries:
        """Blocks for the first message and takes what else is there in the same write; with auto-ack it pops instead."""
        asked_ns = now_ns()
        take = popped if self.options.auto_ack else RedisReliableList._move
        payloads = take(self, max_n, wait_s)
        self._last_got = len(payloads)
        if not payloads:
            return NO_DELIVERIES
        return Deliveries(payloads, list(zip(repeat(self._holder), payloads, strict=False)), asked_ns=asked_ns)

    def _move(self, max_n: int, wait_s: float) -> list[bytes]:
        if not self._sign():
            time.sleep(wait_s)
            return []
        processing = self._processing(self._holder)
        move = (self.queue, processing, "RIGHT", "LEFT")
        first: list[Command] = [("BLMOVE", *move, block_limit(wait_s))] if wait_s > 0 else []
        more = min(max_n, max(2 * self._last_got, FEW)) - len(first)
        replies = self.call(*first, *repeat(("LMOVE", *move), more), block_s=wait_s)
        if any(map(not_executed, replies)):  # a full Redis refuses LMOVE
            time.sleep(wait_s)
        return [reply for reply in replies if reply is not None and not not_executed(reply) and self.checked(reply)]

    def settle(self, tokens: Ints, handles: Sequence[Any], what: Settlement) -> None:
        """Takes each message out of its holder's list; it is STALE where it was taken back before."""
        if what in (Settlement.ACK, Settlement.AUTO):
            commands: list[Command] = [("LREM", self._processing(holder), -1, payload) for holder, payload in handles]
        else:
            goal, push = (self.dead, "LPUSH") if what is Settlement.DEAD else (self.queue, "RPUSH")
            commands = [
                ("EVAL", _HAND_OVER, 2, self._processing(holder), goal, payload, push) for holder, payload in handles
            ]
        self.settle_by(commands, tokens, _removed)

    def reclaim(self, min_idle_s: float) -> int:
        """Gives back what holders have who gave no sign of life for ``min_idle_s``, and gives our own sign.

        A holder's key lives for the visibility time, so its idle time is what is missing of that.
        """
        self._sign(now=True)
        (holders,) = self.call(("SMEMBERS", self._holders))
        life_ms = max(int((self.options.visibility_s - min_idle_s) * 1000), -1)
        others = [name.decode() for name in self.checked(holders) if name.decode() != self._holder]
        if not others:
            return 0
        replies = self.call(*(self._take_back(holder, life_ms) for holder in others))
        return sum(reply for reply in replies if not not_executed(reply) and self.checked(reply))

    def give_sign(self) -> None:
        """Gives the sign of life where a quarter of the visibility time has passed since the last one."""
        self._sign()

    def depth(self) -> Depth:
        """Returns the lengths of the queue, of all processing lists, and of the dead letters."""
        ready, dead, holders = map(
            self.checked, self.call(("LLEN", self.queue), ("LLEN", self.dead), ("SMEMBERS", self._holders))
        )
        lengths = self.call(*(("LLEN", self._processing(name.decode())) for name in holders)) if holders else []
        return Depth(ready=ready, in_flight=sum(map(self.checked, lengths)), dead=dead)

    def residue(self) -> Iterator[Residue]:
        """Yields the queue, each holder's list (its hold is over when its sign of life is gone), and the dead letters."""
        yield from self.residue_of_list(self.queue, Place.READY)
        for name in sorted(self.checked(self.call(("SMEMBERS", self._holders))[0])):
            holder = name.decode()
            alive = self.checked(self.call(("EXISTS", self._alive(holder)))[0])
            yield from self.residue_of_list(self._processing(holder), Place.IN_FLIGHT, hold_over=not alive)
        yield from self.residue_of_list(self.dead, Place.DEAD_LETTER)

    @property
    def _holders(self) -> str:
        return f"{self.queue}:holders"

    def _processing(self, holder: str) -> str:
        return f"{self.queue}:processing:{holder}"

    def _alive(self, holder: str) -> str:
        return f"{self.queue}:alive:{holder}"

    def _take_back(self, holder: str, life_ms: int) -> Command:
        keys = (self._processing(holder), self._alive(holder), self.queue, self._holders)
        return ("EVAL", _TAKE_BACK, len(keys), *keys, life_ms, holder)

    def _sign(self, *, now: bool = False) -> bool:
        """Gives the sign of life where a quarter of the visibility time has passed since the last one, or ``now``.

        Returns:
            Whether this holder is known and alive. Where a full Redis refuses that, nothing may be moved: nobody would find it.
        """
        asked_ns, visibility_s = now_ns(), self.options.visibility_s
        if not now and asked_ns < self._next_beat_ns:
            return True
        life_ms = max(int(visibility_s * 1000), 1)
        alive = self._alive(self._holder)
        known, prolonged, made = self.call(
            ("SADD", self._holders, self._holder),
            ("PEXPIRE", alive, life_ms),  # what a full Redis does not refuse
            ("SET", alive, 1, "PX", life_ms),
        )
        if not_executed(known) or (not_executed(made) and not self.checked(prolonged)):
            self._next_beat_ns = 0
            return False
        self.checked(known)
        self._next_beat_ns = asked_ns + int(visibility_s * NS_PER_S / 4)
        return True


def _removed(reply: object) -> int:
    if not isinstance(reply, int):
        return SettleOutcome.UNKNOWN
    return SettleOutcome.OK if reply else SettleOutcome.STALE


DRIVER = RedisReliableList
