"""The validating wrapper names what a driver does wrong; here the driver is a few lines that do one thing wrong each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.brokers.checked import CheckedDriver, ContractBroken
from harness.brokers.contract import NO_CONFIRMS, NO_SETTLED, Block, Confirms, Deliveries, Depth, Residue, Settled
from harness.clock import now_ns
from harness.errors import ConnectionLost, Unreachable
from harness.model import Outcome, Place, Settlement, SettleOutcome

BLOCK = Block(np.array([3, 4], np.int64), np.zeros((2, 8), np.uint8))


class Answers:
    """A driver whose methods return or raise what the test says."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {"poll_confirms": NO_CONFIRMS, "poll_settled": NO_SETTLED, **answers}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def answer(*_: Any) -> Any:
            value = self.answers.get(name)
            if isinstance(value, Exception):
                raise value
            return value() if callable(value) else value

        return answer


def wrapped(**answers: Any) -> CheckedDriver:
    driver = CheckedDriver(Answers(**answers))  # type: ignore[arg-type]
    driver.connect()
    return driver


def confirms(tokens: list[int], outcomes: list[int], t_ns: list[int] | None = None) -> Callable[[], Confirms]:
    return lambda: Confirms(
        np.array(tokens, np.int64),
        np.array(outcomes, np.uint8),
        np.array([now_ns()] * len(tokens) if t_ns is None else t_ns, np.int64),
    )


def test_true_answers_pass_through() -> None:
    driver = wrapped(poll_confirms=confirms([3, 4], [Outcome.CONFIRMED, Outcome.UNKNOWN]))
    driver.publish(BLOCK)
    assert driver.poll_confirms(0).tokens.tolist() == [3, 4]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (confirms([3, 3], [3, 3]), "token 3 was answered twice"),
        (confirms([5], [3]), "token 5 was answered twice, or never handed over"),
        (confirms([3], [9]), "outcome 9 of token 3"),
        (confirms([3, 4], [3]), r"outcomes: uint8\(1,\)"),
        (confirms([3], [3], [1]), "answered at 1"),
        (confirms([3], [3], [1 << 62]), f"answered at {1 << 62}"),
        (Confirms(np.array([3]), np.array([3]), np.array([now_ns()])), "outcomes: int64"),
    ],
)
def test_a_wrong_confirm_is_named(answer: object, problem: str) -> None:
    driver = wrapped(poll_confirms=answer)
    driver.publish(BLOCK)
    with pytest.raises(ContractBroken, match=problem):
        driver.poll_confirms(0)


def test_a_token_may_be_published_again_only_once_it_was_answered() -> None:
    driver = wrapped(poll_confirms=confirms([3, 4], [Outcome.NOT_SENT] * 2))
    driver.publish(BLOCK)
    with pytest.raises(ContractBroken, match="token 3 is still unanswered"):
        driver.publish(BLOCK)
    driver.poll_confirms(0)
    driver.publish(BLOCK)


def test_tokens_that_a_lost_connection_swallows_are_missed() -> None:
    driver = wrapped(publish=ConnectionLost("gone"))
    with pytest.raises(ConnectionLost):
        driver.publish(BLOCK)
    with pytest.raises(ContractBroken, match="2 tokens were never answered"):
        driver.poll_confirms(0)


def test_a_loss_is_told_once() -> None:
    driver = wrapped(poll_confirms=ConnectionLost("gone"))
    with pytest.raises(ConnectionLost):
        driver.poll_confirms(0)
    with pytest.raises(ContractBroken, match="raised though the loss was told before"):
        driver.poll_confirms(0)


@pytest.mark.parametrize("name", ["prepare", "blocked", "depth", "connections", "purge"])
def test_an_error_of_another_kind_is_the_drivers_fault(name: str) -> None:
    driver = wrapped(**{name: KeyError("x")})
    with pytest.raises(ContractBroken, match=f"{name}: raised KeyError"):
        getattr(driver, name)()


def test_connect_says_unreachable_and_nothing_else() -> None:
    with pytest.raises(Unreachable):
        wrapped(connect=Unreachable("down"))
    with pytest.raises(ContractBroken, match="connect: raised ConnectionLost"):
        wrapped(connect=ConnectionLost("down"))


@pytest.mark.parametrize(
    ("deliveries", "problem"),
    [
        (Deliveries([b"a", b"b"], [1, 2]), "2 messages, asked for 1"),
        (Deliveries([b"a"], []), "0 handles for 1 messages"),
        (Deliveries([bytearray(b"a")], [1]), "a payload is not bytes"),  # type: ignore[list-item]
        (Deliveries([b"a"], [1], entries=np.zeros(1, np.int64)), "entry number 0"),
        (Deliveries([b"a"], [1], entries=np.ones(2, np.int64)), r"entries: int64\(2,\)"),
        (Deliveries([b"a"], [1], redelivered=np.full(1, 2, np.uint8)), "neither 0 nor 1"),
        (Deliveries([b"a"], [1], counts=np.zeros(1, np.uint16)), "counts: a value below 1"),
        (Deliveries([b"a"], [1], asked_ns=1 << 62), "asked at"),
    ],
)
def test_a_wrong_delivery_is_named(deliveries: Deliveries, problem: str) -> None:
    with pytest.raises(ContractBroken, match=problem):
        wrapped(consume=deliveries).consume(1, 0)


def test_a_settlement_that_stays_open_is_no_answer() -> None:
    still_open = Settled(np.array([7]), np.array([SettleOutcome.OPEN], np.uint8), np.array([1 << 62]))
    driver = wrapped(poll_settled=still_open)
    driver.settle(np.array([7]), ["handle"], Settlement.ACK)
    with pytest.raises(ContractBroken, match="outcome 0 of token 7"):
        driver.poll_settled(0)


def test_counts_and_places_are_checked() -> None:
    with pytest.raises(ContractBroken, match="reclaim: -1"):
        wrapped(reclaim=-1).reclaim(1.0)
    with pytest.raises(ContractBroken, match="depth: ready is -1"):
        wrapped(depth=Depth(ready=-1)).depth()
    with pytest.raises(ContractBroken, match="'somewhere' is no place"):
        list(wrapped(residue=[Residue("somewhere", [])]).residue())  # type: ignore[arg-type]
    wrong = Residue(Place.READY, [b"a"], hold_over=np.zeros(2, np.uint8))
    with pytest.raises(ContractBroken, match="hold_over"):
        list(wrapped(residue=[wrong]).residue())


def test_close_must_not_raise() -> None:
    with pytest.raises(ContractBroken, match="close: raised OSError"):
        wrapped(close=OSError("x")).close()
