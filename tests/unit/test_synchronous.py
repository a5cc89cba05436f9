"""The base of drivers for synchronous clients: outcomes stay true wherever the client breaks off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from harness.brokers.contract import Block, DriverOptions
from harness.brokers.synchronous import SynchronousDriver
from harness.errors import ConnectionLost, Unreachable
from harness.model import Outcome, Settlement, SettleOutcome

BLOCK = Block(np.arange(10, 15), np.zeros((5, 40), np.uint8))


class Client(SynchronousDriver):
    """Breaks after a number of answers; has the messages 1 to 3."""

    breaks_after = 99
    refuses = False
    waiting = (1, 2, 3)
    told: list[tuple[list[int], Settlement]]

    def open(self) -> None:
        self.told = []
        if self.refuses:
            raise OSError("refused")

    def hang_up(self) -> None:
        raise RuntimeError("there is nothing to close")

    def answers(self, count: int) -> Iterator[int]:
        with self.speaking():
            for number in range(count):
                if number == self.breaks_after:
                    raise EOFError
                yield number

    def put(self, payloads: list[bytes]) -> Iterator[Outcome]:
        return (Outcome.REJECTED if number == 1 else Outcome.CONFIRMED for number in self.answers(len(payloads)))

    def take(self, count: int) -> list[tuple[int, bytes]]:
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return [(number, b"x") for number in taken]

    def tell(self, handles: Sequence[Any], what: Settlement) -> Iterator[SettleOutcome]:
        self.told.append((list(handles), what))
        return (SettleOutcome.OK for _ in self.answers(len(handles)))


def client(*, connected: bool = True, **options: Any) -> Client:
    made = Client(DriverOptions(setup="x", address="", queue="q", parameters={}, client="c", **options))  # type: ignore[abstract]
    if connected:
        made.connect()
    return made


def outcomes(made: Client) -> dict[int, Outcome]:
    found = made.poll_confirms(0)
    return {token: Outcome(outcome) for token, outcome in zip(found.tokens.tolist(), found.outcomes, strict=True)}


def test_each_message_has_the_outcome_of_its_own_answer() -> None:
    made = client()
    made.publish(BLOCK)
    confirmed = dict.fromkeys(range(10, 15), Outcome.CONFIRMED)
    assert outcomes(made) == {**confirmed, 11: Outcome.REJECTED}
    assert outcomes(made) == {}


def test_what_was_answered_before_the_connection_broke_stands_and_the_rest_is_unknown() -> None:
    made = client()
    made.breaks_after = 2
    with pytest.raises(ConnectionLost, match="EOFError"):
        made.publish(BLOCK)
    unknown = dict.fromkeys(range(12, 15), Outcome.UNKNOWN)
    assert outcomes(made) == {10: Outcome.CONFIRMED, 11: Outcome.REJECTED, **unknown}
    with pytest.raises(ConnectionLost, match="there is no connection"):
        made.publish(BLOCK)
    assert outcomes(made) == dict.fromkeys(range(10, 15), Outcome.NOT_SENT)


def test_settlements_that_were_not_answered_are_unknown() -> None:
    made = client()
    made.breaks_after = 1
    with pytest.raises(ConnectionLost):
        made.settle(np.array([7, 8]), [1, 2], Settlement.ACK)
    settled = made.poll_settled(0)
    assert settled.tokens.tolist() == [7, 8]
    assert settled.outcomes.tolist() == [SettleOutcome.OK, SettleOutcome.UNKNOWN]


def test_a_broker_that_refuses_is_unreachable_in_its_own_words() -> None:
    made = client(connected=False)
    made.refuses = True
    with pytest.raises(Unreachable, match="refused"):
        made.connect()
    assert not made.up


@pytest.mark.parametrize(("max_n", "expected"), [(1, [1]), (2, [1, 2]), (9, [1, 2, 3])])
def test_a_fetch_brings_what_is_there_up_to_what_was_asked_for(max_n: int, expected: list[int]) -> None:
    made = client()
    deliveries = made.consume(max_n, 0)
    assert deliveries.handles == expected
    assert deliveries.entries is not None
    assert deliveries.entries.tolist() == expected


def test_with_auto_ack_what_was_taken_is_acked_before_it_is_handed_over() -> None:
    made = client(auto_ack=True)
    deliveries = made.consume(1, 0)
    assert deliveries.handles == [1]
    assert made.told == [([1], Settlement.ACK)]
