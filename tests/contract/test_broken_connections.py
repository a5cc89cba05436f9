"""What every driver must do when the network breaks: outcomes stay true, message by message."""

from __future__ import annotations

import threading
import time

import pytest

from harness.brokers.checked import CheckedDriver
from harness.brokers.contract import Depth
from harness.errors import ConnectionLost, Unreachable
from harness.model import Outcome, SettleOutcome
from tests.contract.line import (
    Line,
    eventually,
    only_setups,
    publish_until_answered,
    publish_until_lost,
    settle_until_lost,
)

N = 256


@pytest.mark.parametrize("answered_bytes", [0, 1, 100, 700])
def test_a_connection_cut_in_the_middle_of_a_batch_leaves_true_outcomes(line: Line, answered_bytes: int) -> None:
    proxy = line.proxy()
    producer, witness = line.open("p0", via=proxy), line.open("w0")
    line.publish(producer, [1000])
    proxy.cut_after(answered_bytes)
    outcomes, told = publish_until_answered(producer, line.block(range(N)))
    assert told == (set(outcomes.values()) != {Outcome.CONFIRMED})  # the whole answer may be shorter than that
    _are_true(line, witness, outcomes)
    if line.setup.broker == "redis" and answered_bytes >= 100:  # each reply is a few bytes
        assert 0 < list(outcomes.values()).count(Outcome.CONFIRMED) < N
    proxy.heal()
    producer.connect()
    line.publish(producer, range(2000, 2010))
    assert {*range(2000, 2010), 1000} <= set(_everything(line, witness))


def test_a_connection_that_is_reset_leaves_true_outcomes(line: Line) -> None:
    proxy = line.proxy()
    producer, witness = line.open("p0", via=proxy), line.open("w0")
    proxy.delay(60.0)  # no answer comes before the reset
    resetting = threading.Timer(0.05, proxy.cut)
    resetting.start()
    outcomes = publish_until_lost(producer, line.block(range(N)))
    resetting.join()
    assert set(outcomes.values()) <= {Outcome.UNKNOWN, Outcome.NOT_SENT}
    _are_true(line, witness, outcomes)


def test_a_confirm_that_never_comes_is_unknown_and_its_message_may_be_there(line: Line) -> None:
    proxy = line.proxy()
    producer, witness = line.open("p0", via=proxy, answer_timeout_s=0.3), line.open("w0")
    proxy.swallow_after(0)
    assert publish_until_lost(producer, line.block(range(N))) == dict.fromkeys(range(N), Outcome.UNKNOWN)
    assert _everything(line, witness) == list(range(N))
    proxy.heal()
    producer.connect()
    line.publish(producer, [5000])


def test_a_connection_that_broke_while_idle_sends_nothing_or_says_unknown(line: Line) -> None:
    proxy = line.proxy()
    producer, witness = line.open("p0", via=proxy), line.open("w0")
    line.publish(producer, [1000])
    proxy.cut()
    outcomes = publish_until_lost(producer, line.block(range(N)))
    assert set(outcomes.values()) <= {Outcome.NOT_SENT, Outcome.UNKNOWN}
    assert _everything(line, witness) == [1000]


def test_without_a_connection_nothing_is_sent(line: Line) -> None:
    producer = line.open("p0")
    producer.close()
    assert publish_until_lost(producer, line.block(range(N))) == dict.fromkeys(range(N), Outcome.NOT_SENT)


@only_setups(lambda setup: not setup.traits.at_most_once)
def test_an_ack_whose_answer_is_lost_is_unknown(line: Line) -> None:
    proxy = line.proxy()
    producer, worker = line.open("p0"), line.open("w0", via=proxy)
    line.publish(producer, range(20))
    received = line.receive(worker, 20)
    proxy.cut_after(0)
    assert settle_until_lost(worker, received) == dict.fromkeys(received.seqs, SettleOutcome.UNKNOWN)


def test_a_fetch_whose_answer_is_lost_says_so_and_loses_nothing_where_acks_exist(line: Line) -> None:
    proxy = line.proxy()
    producer, worker = line.open("p0"), line.open("w0", via=proxy)
    line.publish(producer, range(20))
    proxy.cut_after(0)
    with pytest.raises(ConnectionLost):
        worker.consume(5, 1.0)
    proxy.heal()
    worker.connect()
    if line.setup.traits.at_most_once:
        left = line.found(worker).get("ready", [])
        assert len(left) in (15, 20)
        return
    received = line.receive(worker, 20, reclaiming=True, acking=True)
    assert sorted(received.seqs) == list(range(20))


def test_a_broker_that_accepts_and_never_speaks_is_unreachable(line: Line) -> None:
    proxy = line.proxy()
    line.open("w0")
    proxy.swallow_after(0)
    mute = line.driver("p0", via=proxy, connect_timeout_s=0.3)
    with pytest.raises(Unreachable):
        mute.connect()


def _are_true(line: Line, witness: CheckedDriver, outcomes: dict[int, Outcome]) -> None:
    """What was confirmed is there; what is unknown may be; what was not sent is not; nothing else is."""
    there = set(_everything(line, witness)) - {1000}
    assert len(outcomes) == N
    assert {seq for seq, outcome in outcomes.items() if outcome is Outcome.CONFIRMED} <= there
    assert there <= {seq for seq, outcome in outcomes.items() if outcome in (Outcome.CONFIRMED, Outcome.UNKNOWN)}


def _everything(line: Line, witness: CheckedDriver) -> list[int]:
    """Returns what the broker holds, once it has dealt with what the cut connection had sent."""
    looks: list[Depth] = []

    def at_rest() -> bool:
        looks.append(witness.depth())
        time.sleep(0.05)
        return len(looks) >= 4 and len(set(looks[-4:])) == 1

    eventually(at_rest, "the broker does not come to rest")
    return sorted(seq for seqs in line.found(witness).values() for seq in seqs)
