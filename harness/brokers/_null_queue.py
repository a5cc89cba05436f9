"""One queue of the null broker: an honest lease queue in memory, and what it does to messages on request.

Every wrong is told to ``log`` when it is done, with the identity of the message: this is the truth that a ledger is held against.
Pure but for its log: the time is handed in. Neighbours: ``_null_mischief`` (which messages), ``_null_pace`` (how fast),
``_null_server`` (who asks).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from harness import envelope
from harness.brokers._null_mischief import KINDS, NONE, Mischief
from harness.brokers._null_pace import Pace
from harness.brokers._null_protocol import Messages
from harness.brokers.contract import Flags, Ints
from harness.clock import NS_PER_S
from harness.model import Place, Settlement, SettleOutcome

DELAY_NS = NS_PER_S // 5
PAGE = 1000
PLACES = (Place.READY, Place.DELAYED, Place.IN_FLIGHT, Place.DEAD_LETTER)
PHANTOM_SEQ = 1 << 31
_NAMES = tuple(KINDS)

Log = Callable[[Mapping[str, Any]], None]


@dataclass(slots=True, eq=False)
class Message:
    """One copy that the broker keeps.

    Args:
        with_next: it must be handed out in one answer with the message behind it (else another worker might get that one,
            and nobody could see the order).
        twice: it is to be handed out twice in one answer.
    """

    entry: int
    payload: bytes
    count: int = 0
    holder: str = ""
    held_ns: int = 0
    visible_ns: int = 0
    with_next: bool = False
    twice: Mapping[str, Any] | None = None

    @property
    def handle(self) -> int:
        """Returns what settles this delivery of it, and no other."""
        return self.entry << 16 | self.count & 0xFFFF


@dataclass(slots=True, eq=False)
class _Aside:
    """A message that waits for its follower, so as to come after it."""

    message: Message
    identity: dict[str, Any]
    until_ns: int


@dataclass(slots=True, eq=False)
class Queue:
    """A queue.

    Args:
        mischief: what to do to which messages.
        log: takes one record per wrong done.
        new_entry: returns an id that no other copy of this broker has or had.
        pace: how fast it hands out.
        max_ready: while so many wait in it, nothing more is confirmed; None = it never fills.
    """

    mischief: Mischief
    log: Log
    new_entry: Callable[[], int]
    pace: Pace = field(default_factory=lambda: Pace(None))
    max_ready: int | None = None
    _ready: deque[Message] = field(default_factory=deque)
    _held: dict[int, Message] = field(default_factory=dict)
    _delayed: list[tuple[int, int, Message]] = field(default_factory=list)
    _dead: list[Message] = field(default_factory=list)
    _aside: dict[int, _Aside] = field(default_factory=dict)  # by producer

    # What a broker does.

    def publish(self, payloads: npt.NDArray[np.uint8], now_ns: int) -> npt.NDArray[np.uint32]:
        """Takes messages, shape (n, width); returns the positions of those that it confirms."""
        count, width = payloads.shape
        raw: list[bytes] = np.ascontiguousarray(payloads).view(f"V{width}").reshape(count).tolist()
        if self.mischief.honest:
            self._ready.extend(Message(self.new_entry(), payload) for payload in raw)
            return np.arange(count, dtype=np.uint32)
        parsed = envelope.parse(raw)
        keys = _keys(parsed)
        struck = np.full(count, NONE, np.uint8)
        struck[parsed.readable] = self.mischief.choose(keys[parsed.readable])
        confirmed = np.ones(count, np.bool_)
        for row in range(count):
            kind = "" if struck[row] == NONE else _NAMES[struck[row]]
            identity = {
                "producer": int(parsed.producer[row]),
                "seq": int(parsed.seq[row]),
                "attempt": int(parsed.attempt[row]),
            }
            confirmed[row] = kind != "drop"
            if not kind:
                self._keep(Message(self.new_entry(), raw[row]), identity if parsed.readable[row] else None)
            else:
                self._wrong(kind, raw[row], identity, self.mischief.draw(int(keys[row])), now_ns)
        return np.flatnonzero(confirmed).astype(np.uint32)

    def fetch(self, max_n: int, client: str, now_ns: int, *, auto_ack: bool = False) -> Messages:
        """Hands out up to ``max_n`` messages as the pace allows, each held by ``client`` until it is settled or reclaimed."""
        self.advance(now_ns)
        given: list[Message] = []
        if self._ready:
            allowed = self.pace.allows(now_ns)
            if allowed == 1 and (self._ready[0].with_next or self._ready[0].twice):
                allowed = 2  # whole, or nobody could see the order; the next one leaves later
            max_n = int(min(max_n, allowed))
        while self._ready and len(given) < max_n:
            message = self._ready[0]
            if (message.with_next or message.twice) and given and len(given) + 2 > max_n:
                break  # for the next answer, whole
            self._ready.popleft()
            message.with_next = False
            given.append(message)
            if message.twice:
                self._hand_out_again(message, given, max_n)
        self.pace.gave(len(given))
        for message in {id(m): m for m in given}.values():
            message.count += 1
            if not auto_ack:
                message.holder, message.held_ns = client, now_ns
                self._held[message.entry] = message
        return Messages(
            np.array([m.entry for m in given], np.int64),
            np.array([m.count for m in given], np.int64),
            [m.payload for m in given],
        )

    def settle(self, client: str, handles: Ints, what: Settlement) -> Flags:
        """Settles what ``client`` still holds; returns ``SettleOutcome`` OK or STALE for each."""
        outcomes = np.full(len(handles), SettleOutcome.STALE.value, np.uint8)
        back: list[Message] = []
        for row, handle in enumerate(handles.tolist()):
            message = self._held.get(handle >> 16)
            if message is None or message.handle != handle or message.holder != client:
                continue
            del self._held[message.entry]
            outcomes[row] = SettleOutcome.OK.value
            if what is Settlement.DEAD:
                self._dead.append(message)
            elif what is Settlement.RETRY:
                self._ready.append(message)
            elif what is Settlement.RELEASE:
                back.append(message)
        self._ready.extendleft(reversed(back))
        return outcomes

    def reclaim(self, min_idle_s: float, now_ns: int) -> int:
        """Makes ready again what has been held for so long; returns how many."""
        until_ns = now_ns - round(min_idle_s * NS_PER_S)
        expired = [message for message in self._held.values() if message.held_ns <= until_ns]
        for message in expired:
            del self._held[message.entry]
        self._ready.extendleft(reversed(expired))
        return len(expired)

    def advance(self, now_ns: int) -> None:
        """Makes ready what was delayed or put aside until now."""
        while self._delayed and self._delayed[0][0] <= now_ns:
            self._ready.append(heapq.heappop(self._delayed)[2])
        for producer, aside in [(p, a) for p, a in self._aside.items() if a.until_ns <= now_ns]:
            del self._aside[producer]
            self._ready.append(aside.message)  # nobody followed: it was not wronged
            self.mischief.give_back("reorder")

    def next_ns(self) -> int | None:
        """Returns when :meth:`advance` next has something to do."""
        times = [aside.until_ns for aside in self._aside.values()]
        times += [until_ns for until_ns, _, _ in self._delayed[:1]]
        return min(times, default=None)

    def gives_ns(self, now_ns: int) -> int | None:
        """Returns from when a fetch would get something, ``now_ns`` or later; None = nothing is ready."""
        if not self._ready:
            return None
        return now_ns if self.pace.allows(now_ns) else self.pace.next_ns()

    @property
    def full(self) -> bool:
        """Whether publishers have to wait for their confirms."""
        return self.max_ready is not None and len(self._ready) >= self.max_ready

    def depth(self) -> tuple[int, int, int, int]:
        """Returns how many are ready, in flight, delayed, dead."""
        return len(self._ready) + len(self._aside), len(self._held), len(self._delayed), len(self._dead)

    def peek(self, place: Place, after: int, now_ns: int) -> Messages:
        """Returns a page of what is kept in a place, by entry; the marks say for how many ns it has been held, or by how
        many its delay is over (negative: it is not)."""
        kept: Mapping[Place, Iterable[Message]] = {
            Place.READY: [*self._ready, *(aside.message for aside in self._aside.values())],
            Place.DELAYED: [message for _, _, message in self._delayed],
            Place.IN_FLIGHT: self._held.values(),
            Place.DEAD_LETTER: self._dead,
        }
        page = sorted((m for m in kept[place] if m.entry > after), key=lambda m: m.entry)[:PAGE]
        since = {Place.DELAYED: [m.visible_ns for m in page], Place.IN_FLIGHT: [m.held_ns for m in page]}
        marks = since.get(place, [now_ns] * len(page))
        return Messages(
            np.array([m.entry for m in page], np.int64),
            now_ns - np.array(marks, np.int64),
            [m.payload for m in page],
        )

    # What an honest broker does not do.

    def _keep(self, message: Message, identity: Mapping[str, Any] | None) -> None:
        """Makes a message ready; the one that was put aside for it comes behind it."""
        self._ready.append(message)
        if identity is None or identity["attempt"] != 1:
            return
        aside = self._aside.pop(identity["producer"], None)
        if aside is not None:
            message.with_next = True
            self._ready.append(aside.message)
            self._tell("reorder", aside.identity, aside.message.entry, detail=f"after seq {identity['seq']}")

    def _wrong(self, kind: str, payload: bytes, identity: dict[str, Any], bits: int, now_ns: int) -> None:
        if kind in ("drop", "forget"):
            self._tell(kind, identity, None)
            return
        message = Message(self.new_entry(), payload)
        if kind == "reorder":
            if identity["attempt"] == 1 and identity["producer"] not in self._aside:
                self._aside[identity["producer"]] = _Aside(message, identity, now_ns + DELAY_NS)
            else:
                self.mischief.give_back(kind)
                self._ready.append(message)
            return
        if kind == "delay":
            message.visible_ns = now_ns + DELAY_NS
            heapq.heappush(self._delayed, (message.visible_ns, message.entry, message))
            self._tell(kind, identity, message.entry)
            return
        self._ready.append(message)
        if kind == "corrupt":
            message.payload, where = _flipped(payload, bits)
            self._tell(kind, identity, message.entry, detail=where)
        elif kind == "phantom":
            ghost = Message(self.new_entry(), _phantom(payload))
            self._ready.append(ghost)
            unsent = identity | {"seq": (identity["seq"] + PHANTOM_SEQ) & 0xFFFFFFFF}
            self._tell(kind, unsent, ghost.entry, detail=f"behind seq {identity['seq']}")
        elif bits & 1:
            copy = Message(self.new_entry(), payload)
            self._ready.append(copy)
            self._tell(kind, identity, copy.entry, detail="copy")
        else:
            message.twice = identity

    def _hand_out_again(self, message: Message, given: list[Message], max_n: int) -> None:
        identity, message.twice = message.twice or {}, None
        if len(given) < max_n:
            given.append(message)
            self._tell("duplicate", identity, message.entry, detail="again")
        else:  # a fetch of one has no room: a copy instead
            copy = Message(self.new_entry(), message.payload)
            self._ready.appendleft(copy)
            self._tell("duplicate", identity, copy.entry, detail="copy")

    def _tell(self, kind: str, identity: Mapping[str, Any], entry: int | None, *, detail: str = "") -> None:
        self.log({"strike": kind, **identity, "entry": entry, "detail": detail})


def _keys(parsed: envelope.Parsed) -> npt.NDArray[np.uint64]:
    producer, attempt, seq = (part.astype(np.uint64) for part in (parsed.producer, parsed.attempt, parsed.seq))
    keys: npt.NDArray[np.uint64] = producer << np.uint64(40) | attempt << np.uint64(32) | seq
    return keys


def _flipped(payload: bytes, bits: int) -> tuple[bytes, str]:
    """Returns the payload with one byte changed, and where: ``padding`` (the identity stays readable) or ``header``."""
    wrong = bytearray(payload)
    padding = len(payload) - envelope.HEADER_BYTES
    in_padding = bool(bits & 1) and padding > 0
    place = envelope.HEADER_BYTES + (bits >> 8) % padding if in_padding else (bits >> 8) % envelope.HEADER_BYTES
    if not in_padding and place >= 36:
        place = 16  # the last field of the header guards the padding: flipped, it would make the padding wrong
    wrong[place] ^= 1 + (bits >> 40) % 255
    return bytes(wrong), "padding" if in_padding else "header"


def _phantom(payload: bytes) -> bytes:
    """Returns a message that nobody sent, with a sound envelope."""
    rows = np.frombuffer(payload, np.uint8)[None, :].copy()
    head = rows[:, : envelope.HEADER_BYTES].copy().view(envelope.LAYOUT)[:, 0]
    head["seq"] = (head["seq"].astype(np.int64) + PHANTOM_SEQ) & 0xFFFFFFFF
    head["header_sum"] = envelope.checksum(head.view(np.uint8).reshape(1, -1)[:, :32])
    rows[:, : envelope.HEADER_BYTES] = head.view(np.uint8).reshape(1, -1)
    return rows.tobytes()
