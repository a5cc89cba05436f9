"""What every driver must do when its broker is killed, stopped, paused or full. Each test has a broker of its own."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest
from redis import Redis

from harness.brokers.checked import CheckedDriver
from harness.errors import ConnectionLost, Unreachable
from harness.model import FaultKind, MayLose, Outcome, Settlement, SettleOutcome, Setup
from tests.contract.line import VISIBILITY_S, Line, eventually, only_setups, outcomes_of, publish_until_lost

OwnLine = Callable[..., Line]
one_of_each_broker_everywhere = pytest.mark.everywhere("redis-stream", "rabbitmq-quorum", "postgres-lease")


def _parameters_that_keep(setup: Setup, fault: FaultKind) -> dict[str, str] | None:
    """Returns the first settings under which the setup claims that the fault loses nothing that waits."""
    named = [parameter for parameter in setup.parameters if parameter.values]
    for values in itertools.product(*(parameter.values for parameter in named)):
        chosen = {parameter.name: value for parameter, value in zip(named, values, strict=True)}
        for claim in setup.claims(setup.complete(chosen)):
            if claim.fault is fault and claim.may_lose in (MayLose.NONE, MayLose.IN_FLIGHT):
                return chosen
    return None


@pytest.mark.everywhere
def test_a_killed_broker_is_noticed_and_after_its_restart_all_goes_on(setup: Setup, own_line: OwnLine) -> None:
    line = own_line(setup)
    producer, worker = line.open("p0"), line.open("w0")
    line.publish(producer, range(10))
    line.ripen()
    assert line.broker.kill()["gone"] is True
    assert not line.broker.alive()
    with pytest.raises(ConnectionLost):
        worker.consume(10, 5.0)
    outcomes = publish_until_lost(producer, line.block(range(100, 200)))
    assert set(outcomes.values()) <= {Outcome.NOT_SENT, Outcome.UNKNOWN}
    for driver in (producer, worker):
        with pytest.raises(Unreachable):
            driver.connect()
    assert publish_until_lost(producer, line.block([7])) == {7: Outcome.NOT_SENT}
    line.broker.start()
    for driver in (producer, worker):
        _connect(driver)
        driver.prepare()
    line.publish(producer, range(300, 310))
    left = [seq for seqs in line.found(worker).values() for seq in seqs]
    assert set(range(300, 310)) <= set(left)


@one_of_each_broker_everywhere
@only_setups(lambda setup: _parameters_that_keep(setup, FaultKind.BROKER_KILL) is not None)
def test_a_killed_broker_keeps_all_that_was_confirmed_where_it_says_so(setup: Setup, own_line: OwnLine) -> None:
    line = own_line(setup, **(_parameters_that_keep(setup, FaultKind.BROKER_KILL) or {}))
    producer = line.open("p0")
    for start in range(0, 1000, 100):
        line.publish(producer, range(start, start + 100))
    line.ripen()
    line.broker.kill()
    line.broker.start()
    worker = line.driver("w0")
    _connect(worker)
    worker.prepare()
    assert sorted(line.receive(worker, 1000).seqs) == list(range(1000))


@one_of_each_broker_everywhere
@only_setups(lambda setup: _parameters_that_keep(setup, FaultKind.BROKER_RESTART) is not None)
def test_a_broker_stopped_gracefully_keeps_all_that_was_confirmed_where_it_says_so(
    setup: Setup, own_line: OwnLine
) -> None:
    line = own_line(setup, **(_parameters_that_keep(setup, FaultKind.BROKER_RESTART) or {}))
    line.publish(line.open("p0"), range(100))
    line.ripen()
    assert line.broker.stop(20.0)["graceful"] is True
    line.broker.start()
    worker = line.driver("w0")
    _connect(worker)
    worker.prepare()
    assert sorted(line.receive(worker, 100).seqs) == list(range(100))


@one_of_each_broker_everywhere
def test_a_paused_broker_answers_when_it_goes_on_and_nothing_is_lost(setup: Setup, own_line: OwnLine) -> None:
    line = own_line(setup)
    producer = line.open("p0")
    line.publish(producer, range(10))
    assert line.broker.pause()["paused"] is True
    assert line.broker.alive()
    producer.publish(line.block(range(10, 20)))
    assert producer.poll_confirms(0.1).tokens.tolist() == []
    line.broker.resume()
    assert outcomes_of(producer, 10) == dict.fromkeys(range(10, 20), Outcome.CONFIRMED)
    assert sorted(line.receive(line.open("w0"), 20).seqs) == list(range(20))


@one_of_each_broker_everywhere
def test_a_broker_killed_while_a_fetch_waits_ends_the_fetch(setup: Setup, own_line: OwnLine) -> None:
    line = own_line(setup)
    worker, watcher = line.open("w0"), line.open("s0")
    line.ripen()
    killer = threading.Timer(0.2, line.broker.kill)
    killer.start()
    with pytest.raises(ConnectionLost):
        _consume_for_ever(worker)
    killer.join()
    with pytest.raises(ConnectionLost):
        watcher.depth()


has_a_limit = only_setups(lambda setup: "maxmemory" in {parameter.name for parameter in setup.parameters})


@has_a_limit
def test_a_full_broker_rejects_and_keeps_nothing_of_what_it_rejected(setup: Setup, own_line: OwnLine) -> None:
    line = own_line(setup, maxmemory="4 MB")
    producer, searcher = line.open("p0"), line.open("s0")
    confirmed = _fill(line, producer)
    assert line.found(searcher) == {"ready": confirmed}


@has_a_limit
def test_acks_are_taken_by_a_full_broker_and_make_room(setup: Setup, own_line: OwnLine) -> None:
    line = own_line(setup, maxmemory="4 MB")
    producer, worker = line.open("p0"), line.open("w0", visibility_s=60.0)
    line.publish(producer, range(1000), payload_bytes=1000)
    held = line.receive(worker, 1000)
    confirmed = _fill(line, producer, first=1000)
    if not setup.traits.at_most_once:  # there, room is made by taking
        _overfill(line)
        assert line.settle(worker, held, Settlement.ACK) == dict.fromkeys(held.seqs, SettleOutcome.OK)
    rest = line.receive(worker, len(confirmed))
    assert sorted(rest.seqs) == confirmed
    assert line.settle(worker, rest, Settlement.ACK) == dict.fromkeys(confirmed, SettleOutcome.OK)
    line.publish(producer, range(10_000, 10_500), payload_bytes=1000)
    assert line.found(worker) == {"ready": list(range(10_000, 10_500))}


@only_setups(lambda setup: setup.name in ("redis-list", "redis-stream"))
def test_a_broker_over_its_limit_still_hands_out_what_it_has(setup: Setup, own_line: OwnLine) -> None:
    line = own_line(setup, maxmemory="4 MB")
    producer, worker = line.open("p0"), line.open("w0")
    confirmed = _fill(line, producer)
    _overfill(line)
    worker.prepare()
    received = line.receive(worker, len(confirmed))
    assert sorted(received.seqs) == confirmed
    assert line.settle(worker, received, Settlement.ACK) == dict.fromkeys(confirmed, SettleOutcome.OK)
    assert line.found(worker) == {}
    line.publish(producer, range(10_000, 10_100), payload_bytes=1000)


@only_setups(lambda setup: setup.name == "redis-reliable-list")
def test_a_reliable_list_over_its_limit_stands_still_and_loses_nothing(setup: Setup, own_line: OwnLine) -> None:
    line = own_line(setup, maxmemory="4 MB")
    producer, dying, worker = line.open("p0"), line.open("w0"), line.open("w1")
    line.publish(producer, range(10))
    held = line.receive(dying, 10).seqs
    confirmed = _fill(line, producer, first=10)
    dying.close(abort=True)
    _overfill(line)
    assert worker.consume(10, 0.02).payloads == []
    eventually(lambda: worker.reclaim(VISIBILITY_S) == 10, "what the dead one held is not given back")
    assert worker.consume(10, 0.02).payloads == []
    assert line.found(worker) == {"ready": sorted(held + confirmed)}
    _limit(line, 0)
    received = line.receive(worker, len(confirmed) + 10)
    assert sorted(received.seqs) == sorted(held + confirmed)
    assert set(line.settle(worker, received, Settlement.ACK).values()) == {SettleOutcome.OK}
    assert line.found(worker) == {}


def _fill(line: Line, producer: CheckedDriver, first: int = 0) -> list[int]:
    """Publishes 1 kB messages until the broker rejects; returns the sequence numbers of what it confirmed."""
    outcomes: dict[int, Outcome] = {}
    for start in itertools.count(first, 100):
        producer.publish(line.block(range(start, start + 100), payload_bytes=1000))
        outcomes |= outcomes_of(producer, 100)
        if Outcome.REJECTED in outcomes.values():
            break
    assert set(outcomes.values()) == {Outcome.CONFIRMED, Outcome.REJECTED}
    return sorted(seq for seq, outcome in outcomes.items() if outcome is Outcome.CONFIRMED)


def _overfill(line: Line) -> None:
    """Takes half a megabyte of its limit away from a full broker: it stays full whatever its connections' buffers do."""
    _limit(line, 3_500_000)


def _limit(line: Line, size_bytes: int) -> None:
    with Redis.from_url(line.broker.address) as client:
        client.config_set("maxmemory", size_bytes)


def _consume_for_ever(worker: CheckedDriver) -> None:
    while True:
        worker.consume(1, 5.0)


def _connect(driver: CheckedDriver) -> None:
    def connected() -> bool:
        try:
            driver.connect()
        except Unreachable:
            return False
        return True

    eventually(connected, "the broker does not come back")
