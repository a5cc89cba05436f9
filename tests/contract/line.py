"""One queue on one broker, as the tests of the contract speak to it: through checked drivers only."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from harness.brokers import open_driver, setups
from harness.brokers.checked import CheckedDriver
from harness.brokers.contract import Block, Deliveries, DriverOptions
from harness.deployments.contract import Broker
from harness.envelope import Stamper, parse
from harness.errors import ConnectionLost, Unreachable
from harness.model import Outcome, Settlement, SettleOutcome, Setup
from harness.proxy.proxy import Proxy, through
from tests.contract.tcp_proxy import TcpProxy

LIMIT_S = 20.0
"""Far more than anything takes: a test that reaches it has failed."""

VISIBILITY_S = 0.4
PREFETCH = 1000
"""More than any test has messages: a test whose worker is to hold fewer says so, since a broker that pushes goes up to it."""


@dataclass(frozen=True, kw_only=True)
class Received:
    """What a consumer got: sequence numbers in order, handles, and what the broker says of each."""

    seqs: list[int]
    handles: list[Any]
    parts: list[Deliveries]


class Line:
    """A queue with producers and workers on it; ``close`` closes them and purges the queue."""

    def __init__(self, setup: Setup, parameters: dict[str, str], broker: Broker) -> None:
        self.setup, self.parameters, self.broker = setup, parameters, broker
        self.run_id = secrets.randbits(63)
        self.queue = f"bb_{self.run_id:016x}_1"
        self._opened: list[CheckedDriver] = []
        self._proxies: list[TcpProxy] = []
        self._prepared_s: float | None = None

    def driver(self, client: str, *, via: TcpProxy | Proxy | None = None, **options: Any) -> CheckedDriver:
        """Returns a driver that is not connected yet."""
        address = self.broker.address
        if via is not None:
            address = through(address, via.port)
        complete: dict[str, Any] = {
            "address": address,
            "parameters": self.parameters,
            "queue": self.queue,
            "visibility_s": VISIBILITY_S,
            "prefetch": PREFETCH,
            **options,
        }
        driver = CheckedDriver(open_driver(DriverOptions(setup=self.setup.name, client=client, **complete)))
        self._opened.append(driver)
        return driver

    def open(self, client: str, *, via: TcpProxy | Proxy | None = None, **options: Any) -> CheckedDriver:
        """Returns a connected driver, its queue prepared."""
        driver = self.driver(client, via=via, **options)
        driver.connect()
        driver.prepare()
        self._prepared_s = self._prepared_s or time.monotonic()
        return driver

    def ripen(self) -> None:
        """Waits until a fault may strike the broker: a young queue is not safely made (``Setup.settles_in_s``)."""
        assert self._prepared_s is not None
        time.sleep(max(0.0, self._prepared_s + self.setup.settles_in_s - time.monotonic()))

    def proxy(self) -> TcpProxy:
        """Returns a proxy in front of the broker."""
        parts = urlsplit(self.broker.address)
        proxy = TcpProxy(str(parts.hostname), int(parts.port or 0))
        self._proxies.append(proxy)
        return proxy

    def block(self, seqs: Sequence[int], *, payload_bytes: int = 256, run_id: int | None = None) -> Block:
        """Returns a block of messages with these sequence numbers; their tokens are the same numbers."""
        n = len(seqs)
        stamper = Stamper(
            run_id=self.run_id if run_id is None else run_id,
            trial=1,
            producer=0,
            payload_bytes=payload_bytes,
            capacity=n,
        )
        tokens = np.array(seqs, np.int64)
        return Block(tokens, stamper.stamp(tokens, np.ones(n), np.full(n, 7)))

    def publish(self, driver: CheckedDriver, seqs: Sequence[int], **block: Any) -> None:
        """Publishes messages, all of which must be confirmed."""
        driver.publish(self.block(seqs, **block))
        assert outcomes_of(driver, len(seqs)) == dict.fromkeys(seqs, Outcome.CONFIRMED)

    def receive(self, driver: CheckedDriver, count: int, *, reclaiming: bool = False, acking: bool = False) -> Received:
        """Returns ``count`` messages; fails if they do not come.

        Args:
            acking: ack each part as it comes, all of which must be OK. A design whose hold is a transaction fetches no more
                before it has settled what it has, so what others are just letting go of comes in parts only to one that acks.
        """
        parts: list[Deliveries] = []
        deadline = time.monotonic() + LIMIT_S
        while (got := sum(len(part.payloads) for part in parts)) < count:
            assert time.monotonic() < deadline, f"{got} of {count} messages came"
            if reclaiming:
                driver.reclaim(VISIBILITY_S)
            part = driver.consume(count - got, 0.05)
            if part.payloads:
                parts.append(part)
            if part.payloads and acking:
                one = Received(seqs=self.seqs(part), handles=list(part.handles), parts=[part])
                assert set(self.settle(driver, one, Settlement.ACK).values()) == {SettleOutcome.OK}
        return Received(
            seqs=[seq for part in parts for seq in self.seqs(part)],
            handles=[handle for part in parts for handle in part.handles],
            parts=parts,
        )

    def seqs(self, deliveries: Deliveries) -> list[int]:
        """Returns the sequence numbers of deliveries."""
        return [int(seq) for seq in parse(deliveries.payloads).seq]

    def settle(self, driver: CheckedDriver, received: Received, what: Settlement) -> dict[int, SettleOutcome]:
        """Settles all that was received; returns the outcomes by sequence number."""
        for part, seqs in zip(received.parts, split(received.seqs, received.parts), strict=True):
            driver.settle(np.array(seqs, np.int64), part.handles, what)
        return settled_of(driver, len(received.seqs))

    def found(self, driver: CheckedDriver) -> dict[str, list[int]]:
        """Returns sequence numbers by place, as the residue search finds them; the counts must agree with the depth."""
        places: dict[str, list[int]] = {}
        for part in driver.residue():
            places.setdefault(part.place.value, []).extend(int(seq) for seq in parse(part.payloads).seq)
        for place, count in driver.depth().by_place().items():
            assert count is None or count == len(places.get(place, [])), (place, count, places)
        return {place: sorted(seqs) for place, seqs in places.items() if seqs}

    def close(self) -> None:
        """Closes everything and removes the queue where the broker still runs."""
        for driver in self._opened:
            driver.close()
        for proxy in self._proxies:
            proxy.shut_down()
        if self.broker.alive():
            cleaner = self.driver("cleaner", connect_timeout_s=2.0, answer_timeout_s=5.0)
            try:
                cleaner.connect()
                cleaner.purge()
            except (Unreachable, ConnectionLost):
                pass
            cleaner.close()

    def __enter__(self) -> Line:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def outcomes_of(driver: CheckedDriver, count: int) -> dict[int, Outcome]:
    """Returns the outcomes of ``count`` messages by token; fails if they do not come."""
    outcomes: dict[int, Outcome] = {}
    deadline = time.monotonic() + LIMIT_S
    while len(outcomes) < count:
        assert time.monotonic() < deadline, f"{len(outcomes)} of {count} outcomes came"
        confirms = driver.poll_confirms(0.05)
        outcomes |= {t: Outcome(o) for t, o in zip(confirms.tokens.tolist(), confirms.outcomes.tolist(), strict=True)}
    return outcomes


def publish_until_answered(driver: CheckedDriver, block: Block) -> tuple[dict[int, Outcome], int]:
    """Publishes over a connection that may be lost; returns the outcomes by token, and how often a loss was told."""
    outcomes: dict[int, Outcome] = {}
    told = 0
    try:
        driver.publish(block)
    except ConnectionLost:
        told += 1
    deadline = time.monotonic() + LIMIT_S
    while len(outcomes) < len(block.tokens):
        assert time.monotonic() < deadline, (
            f"{len(outcomes)} of {len(block.tokens)} outcomes came, loss told {told} times"
        )
        try:
            confirms = driver.poll_confirms(0.05)
        except ConnectionLost:
            told += 1
            continue
        outcomes |= {t: Outcome(o) for t, o in zip(confirms.tokens.tolist(), confirms.outcomes.tolist(), strict=True)}
    return outcomes, told


def publish_until_lost(driver: CheckedDriver, block: Block) -> dict[int, Outcome]:
    """Publishes over a connection that is lost, which must be told exactly once; returns the outcomes by token."""
    outcomes, told = publish_until_answered(driver, block)
    assert told == 1
    return outcomes


def settle_until_lost(driver: CheckedDriver, received: Received) -> dict[int, SettleOutcome]:
    """Acks over a connection that is (being) lost, which must be told; returns the outcomes by token."""
    outcomes: dict[int, SettleOutcome] = {}
    told = False
    try:
        driver.settle(np.array(received.seqs, np.int64), received.handles, Settlement.ACK)
    except ConnectionLost:
        told = True
    deadline = time.monotonic() + LIMIT_S
    while not told or len(outcomes) < len(received.seqs):
        assert time.monotonic() < deadline, f"{len(outcomes)} settlements were answered, loss told: {told}"
        try:
            settled = driver.poll_settled(0.05)
        except ConnectionLost:
            told = True
            continue
        answers = zip(settled.tokens.tolist(), settled.outcomes.tolist(), strict=True)
        outcomes |= {token: SettleOutcome(outcome) for token, outcome in answers}
    return outcomes


def settled_of(driver: CheckedDriver, count: int) -> dict[int, SettleOutcome]:
    """Returns the outcomes of ``count`` settlements by token; fails if they do not come."""
    outcomes: dict[int, SettleOutcome] = {}
    deadline = time.monotonic() + LIMIT_S
    while len(outcomes) < count:
        assert time.monotonic() < deadline, f"{len(outcomes)} of {count} settlements were answered"
        settled = driver.poll_settled(0.05)
        outcomes |= {
            t: SettleOutcome(o) for t, o in zip(settled.tokens.tolist(), settled.outcomes.tolist(), strict=True)
        }
    return outcomes


def only_setups(condition: Callable[[Setup], bool]) -> pytest.MarkDecorator:
    """Limits a test to the setups to which it applies, instead of skipping it at the others."""
    names = [name for name, setup in setups().items() if condition(setup)]
    return pytest.mark.setups(*names)


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Returns once a condition holds; fails if it does not."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def split(seqs: list[int], parts: Sequence[Deliveries]) -> list[list[int]]:
    """Returns the sequence numbers of each part."""
    ends = np.cumsum([len(part.payloads) for part in parts]).tolist()
    return [seqs[start:end] for start, end in zip([0, *ends], ends, strict=False)]
