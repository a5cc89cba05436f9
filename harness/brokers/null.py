"""The null broker's driver: blocks in, blocks out, with confirms and settlements by window.

Its broker (``_null_server``) keeps messages in memory, honestly unless it is asked to wrong them in known numbers; so what the harness
finds can be held against what was really done. The queue's misbehaviour is declared when a client connects. A queue whose name ends in
``_probe`` is always honest: it only asks whether the broker serves.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from harness.brokers import _null_protocol as wire
from harness.brokers._null_link import Link
from harness.brokers._null_mischief import KINDS, parse_dose
from harness.brokers._null_pace import parse_max_ready, parse_service_rate
from harness.brokers._null_protocol import Op
from harness.brokers._null_queue import PLACES
from harness.brokers._outcomes import Outcomes
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
from harness.model import (
    Claim,
    DurabilityClass,
    FaultKind,
    MayLose,
    MayRepeat,
    Outcome,
    Parameter,
    Parameters,
    Place,
    Settlement,
    SettleOutcome,
    Setup,
    Traits,
)


class NullDriver:
    """One connection to one queue of the null broker; see :class:`harness.brokers.contract.Driver`."""

    def __init__(self, options: DriverOptions) -> None:
        self._options = options
        self._doses = {} if options.queue.endswith("_probe") else dict(options.parameters)
        self._confirms = Outcomes()
        self._settled = Outcomes()
        self._swallowed: deque[tuple[Ints, int]] = deque()  # published, left out of their block's answer; and the limit
        self._link = Link(
            options.address,
            connect_timeout_s=options.connect_timeout_s,
            answer_timeout_s=options.answer_timeout_s,
            ended=self._ended,
        )
        self._found: dict[str, Any] = {}

    def connect(self) -> None:
        """Connects and declares the queue; raises Unreachable."""
        self._link.close(abort=True)
        self._link.connect()
        try:
            self._hello(self._options.connect_timeout_s)
        except ConnectionLost as error:
            raise Unreachable(f"the null broker does not say hello: {error.problem}") from error

    def prepare(self) -> Effective:
        """Declares the queue again, where it was purged, and reads its parameters back."""
        self._hello(self._options.answer_timeout_s)
        return Effective(
            version=self._found["version"],
            asked={parameter.name: self._doses.get(parameter.name, "") for parameter in SETUP.parameters},
            found=self._found["parameters"],
            also={"seed": str(self._found["seed"])},
        )

    def blocked(self) -> str:
        """Returns that the broker does not read where bytes of ours wait, "" otherwise."""
        return "the broker does not read" if self._link.up and self._link.stuffed else ""

    def publish(self, block: Block) -> None:
        """Sends a block and returns."""
        tokens = np.array(block.tokens, np.int64)
        try:
            self._link.check()
        except ConnectionLost:
            self._confirms.add(tokens, Outcome.NOT_SENT.value, now_ns())
            raise

        def done(answer: bytes | None, left: bool) -> None:
            if answer is None:
                self._confirms.add(tokens, (Outcome.UNKNOWN if left else Outcome.NOT_SENT).value, now_ns())
                return
            positions = np.frombuffer(answer, "<u4")
            self._confirms.add(tokens[positions], Outcome.CONFIRMED.value, now_ns())
            if len(positions) < len(tokens):
                limit_ns = now_ns() + int(self._options.answer_timeout_s * NS_PER_S)
                self._swallowed.append((np.delete(tokens, positions), limit_ns))

        body = wire.PUBLISH.pack(*block.payloads.shape) + block.payloads.tobytes()
        self._link.send(Op.PUBLISH, body, done)

    def poll_confirms(self, wait_s: float) -> Confirms:
        """Returns the outcomes that have arrived."""
        self._pump(self._confirms, wait_s)
        if self._swallowed and self._link.up and now_ns() > self._swallowed[0][1]:
            self._link.lose("a message was not answered in time")
        return self._confirms.confirms()

    def consume(self, max_n: int, wait_s: float) -> Deliveries:
        """Asks once; the broker answers as soon as it has something, or after ``wait_s``."""
        asked_ns = now_ns()
        limit_s = wait_s + self._options.answer_timeout_s
        request = wire.CONSUME.pack(max_n, wait_s, self._options.auto_ack)
        found = wire.unpack_messages(self._link.ask(Op.CONSUME, request, limit_s=limit_s))
        if not found.payloads:
            return NO_DELIVERIES
        handles = (found.entries << 16 | found.marks & 0xFFFF).tolist()
        counts = found.marks.astype(np.uint16)
        return Deliveries(list(found.payloads), handles, entries=found.entries, counts=counts, asked_ns=asked_ns)

    def cancel(self) -> Deliveries:
        """Returns nothing: nothing is pushed."""
        return NO_DELIVERIES

    def settle(self, tokens: Ints, handles: Sequence[Any], what: Settlement) -> None:
        """Sends settlements and returns."""
        tokens = np.array(tokens, np.int64)

        def done(answer: bytes | None, _: bool) -> None:
            outcomes = SettleOutcome.UNKNOWN.value if answer is None else np.frombuffer(answer, np.uint8)
            self._settled.add(tokens, outcomes, now_ns())

        try:
            self._link.check()
        except ConnectionLost:
            done(None, False)
            raise
        self._link.send(Op.SETTLE, wire.pack_settle(what, np.asarray(handles, np.int64)), done)

    def poll_settled(self, wait_s: float) -> Settled:
        """Returns the settlements' outcomes that have arrived."""
        self._pump(self._settled, wait_s)
        return self._settled.settled()

    def reclaim(self, min_idle_s: float) -> int:
        """Makes ready again what has been held for ``min_idle_s``; returns how many."""
        return int(wire.NUMBERS.unpack(self._link.ask(Op.RECLAIM, wire.RECLAIM.pack(min_idle_s)))[0])

    def depth(self) -> Depth:
        """Returns what the broker says that it holds."""
        ready, in_flight, delayed, dead = wire.NUMBERS.unpack(self._link.ask(Op.DEPTH))
        return Depth(ready=ready, in_flight=in_flight, delayed=delayed, dead=dead)

    def connections(self) -> list[str] | None:
        """Returns the names of the other clients of this queue."""
        names: list[str] = json.loads(self._link.ask(Op.CLIENTS))
        return names

    def residue(self) -> Iterator[Residue]:
        """Yields all that the broker keeps, place by place."""
        for number, place in enumerate(PLACES):
            last = 0
            while True:
                page = wire.unpack_messages(self._link.ask(Op.PEEK, wire.PEEK.pack(number, last)))
                if not page.payloads:
                    break
                last = int(page.entries[-1])
                holds = {Place.DELAYED: 0, Place.IN_FLIGHT: int(self._options.visibility_s * NS_PER_S)}
                over = (page.marks >= holds[place]).astype(np.uint8) if place in holds else None
                yield Residue(place, list(page.payloads), page.entries, over)

    def purge(self) -> None:
        """Removes the queue."""
        self._link.ask(Op.PURGE)

    def close(self, abort: bool = False) -> None:
        """Closes the connection."""
        self._link.close(abort=abort)

    def _hello(self, limit_s: float) -> None:
        wanted = {"queue": self._options.queue, "client": self._options.client, "parameters": self._doses}
        self._found = json.loads(self._link.ask(Op.HELLO, json.dumps(wanted).encode(), limit_s=limit_s))

    def _pump(self, outcomes: Outcomes, wait_s: float) -> None:
        """Takes answers until there are outcomes, the time is over, or there is no connection."""
        deadline_ns = now_ns() + int(wait_s * NS_PER_S)
        while self._link.up:
            self._link.pump(0.0 if outcomes else (deadline_ns - now_ns()) / NS_PER_S)
            if outcomes or now_ns() >= deadline_ns:
                return

    def _ended(self) -> None:
        while self._swallowed:
            self._confirms.add(self._swallowed.popleft()[0], Outcome.UNKNOWN.value, now_ns())


def _durability(_: Parameters) -> DurabilityClass:
    return DurabilityClass.MEMORY


def _claims(_: Parameters) -> tuple[Claim, ...]:
    """Returns what an honest null broker claims, whatever it is asked to do: a misbehaviour is a broken claim."""
    none, everything, source = MayLose.NONE, MayLose.ALL, "definition: an honest lease queue in memory"
    return (
        Claim(fault=FaultKind.NONE, may_lose=none, may_repeat=MayRepeat.EXPIRED, source=source),
        Claim(fault=FaultKind.BROKER_KILL, may_lose=everything, source=source),
        Claim(fault=FaultKind.BROKER_RESTART, may_lose=everything, source=source),
        Claim(fault=FaultKind.BROKER_PAUSE, may_lose=none, source=source),
        Claim(fault=FaultKind.WORKER_KILL, may_lose=none, source=source),
        Claim(fault=FaultKind.PRODUCER_KILL, may_lose=none, source=source),
        Claim(fault=FaultKind.REPLY_CUT, may_lose=none, may_repeat=MayRepeat.EXPIRED, source=source),
    )


SETUP = Setup(
    name="null",
    broker="null",
    summary="a server of our own that keeps messages in memory, and wrongs them in known numbers on request",
    traits=Traits(entry_ids=True, reclaims=True, settle_detects_stale=True),
    schemes=("null",),
    parameters=(
        *(Parameter(name=kind, check=parse_dose, meaning=meaning) for kind, meaning in KINDS.items()),
        Parameter(
            name="service_rate",
            check=parse_service_rate,
            meaning="no message is wronged, but no more are handed out, evenly, than for example `2000/s`",
        ),
        Parameter(
            name="max_ready",
            check=parse_max_ready,
            meaning="no message is wronged, but none is confirmed while so many wait to be handed out, for example `1000`",
        ),
    ),
    durability=_durability,
    claims=_claims,
)
DRIVER = NullDriver
