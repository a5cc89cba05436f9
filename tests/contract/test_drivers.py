"""What every driver must do on a real, healthy broker."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from harness.brokers.contract import NO_DELIVERIES
from harness.envelope import parse
from harness.model import Parameter, Settlement, SettleOutcome, Setup
from tests.contract.line import VISIBILITY_S, Line, eventually, only_setups, outcomes_of

SAMPLES = {"maxmemory": "64 MB", "delivery_limit": "20"}
"""Values for parameters that name none."""


@pytest.mark.everywhere
def test_messages_come_back_as_they_were_published_and_are_gone_once_acked(line: Line) -> None:
    producer, worker = line.open("p0"), line.open("w0")
    line.publish(producer, range(300))
    received = line.receive(worker, 300)
    assert sorted(received.seqs) == list(range(300))
    parsed = parse([payload for part in received.parts for payload in part.payloads])
    assert parsed.readable.all()
    assert parsed.checksum_ok.all()
    assert set(parsed.run_id.tolist()) == {line.run_id}
    assert line.settle(worker, received, Settlement.ACK) == dict.fromkeys(range(300), SettleOutcome.OK)
    assert line.found(worker) == {}


@pytest.mark.everywhere
@pytest.mark.parametrize("payload_bytes", [40, 41, 65536])
def test_payloads_of_any_size_come_back_whole(line: Line, payload_bytes: int) -> None:
    producer, worker = line.open("p0", payload_bytes=payload_bytes), line.open("w0", payload_bytes=payload_bytes)
    line.publish(producer, range(8), payload_bytes=payload_bytes)
    received = line.receive(worker, 8)
    payloads = [payload for part in received.parts for payload in part.payloads]
    assert {len(payload) for payload in payloads} == {payload_bytes}
    assert parse(payloads).checksum_ok.all()


def test_several_blocks_may_be_out_before_their_outcomes_are_taken(line: Line) -> None:
    producer = line.open("p0")
    blocks = min(line.setup.blocks_in_flight or 4, 4)
    for number in range(blocks):
        producer.publish(line.block(range(number * 100, number * 100 + 100)))
    assert sorted(outcomes_of(producer, blocks * 100)) == list(range(blocks * 100))
    assert producer.poll_confirms(0).tokens.tolist() == []
    assert line.found(producer) == {"ready": list(range(blocks * 100))}


def test_a_worker_gets_no_more_than_it_asks_for(line: Line) -> None:
    producer, worker = line.open("p0"), line.open("w0")
    line.publish(producer, range(10))
    assert len(worker.consume(1, 0.05).payloads) == 1
    assert len(worker.consume(1, 0).payloads) <= 1
    assert len(worker.consume(3, 0.05).payloads) <= 3


def test_an_empty_queue_gives_nothing_and_leaves_no_fetch_open(line: Line) -> None:
    producer, worker = line.open("p0"), line.open("w0")
    for wait_s in (0.0, 0.001, 0.05):
        assert worker.consume(10, wait_s).payloads == NO_DELIVERIES.payloads
    worker.close()
    line.publish(producer, range(3))
    assert line.found(producer) == {"ready": [0, 1, 2]}


def test_deliveries_of_the_first_time_are_not_called_repeats(line: Line) -> None:
    producer, worker = line.open("p0"), line.open("w0")
    line.publish(producer, range(5))
    received = line.receive(worker, 5)
    for part in received.parts:
        assert part.redelivered is None or not part.redelivered.any()
        assert part.counts is None or (part.counts == 1).all()
    assert (received.parts[0].entries is not None) == line.setup.traits.entry_ids


@pytest.mark.everywhere
def test_the_residue_search_finds_what_is_ready_and_what_is_held(line: Line) -> None:
    producer, worker, searcher = line.open("p0"), line.open("w0", prefetch=4), line.open("s0")
    line.publish(producer, range(10))
    held = line.receive(worker, 4)
    found = line.found(searcher)
    assert found["ready"] == sorted(set(range(10)) - set(held.seqs))
    if line.setup.traits.at_most_once:
        assert "in_flight" not in found
    elif searcher.depth().in_flight is not None:
        assert found["in_flight"] == sorted(held.seqs)
    else:
        worker.close(abort=True)
        eventually(lambda: searcher.depth().ready == 10, "what a dead worker held is not given back")
        assert line.found(searcher) == {"ready": list(range(10))}


@only_setups(lambda setup: setup.traits.reclaims)
def test_the_residue_search_tells_whether_a_hold_has_run_out(line: Line) -> None:
    producer, searcher = line.open("p0"), line.open("s0")
    line.publish(producer, range(2))
    line.receive(line.open("w0", visibility_s=60.0), 1)
    line.receive(line.open("w1", visibility_s=VISIBILITY_S), 1)

    def over() -> list[int]:
        parts = [part for part in searcher.residue() if part.hold_over is not None]
        return sorted(int(flag) for part in parts for flag in part.hold_over)

    def one_is_over() -> bool:
        return 1 in over()

    eventually(one_is_over, "no hold ever ran out")
    assert len(over()) == 2


def test_depth_counts_without_disturbing(line: Line) -> None:
    producer, worker = line.open("p0"), line.open("w0")
    line.publish(producer, range(7))
    assert worker.depth().ready == 7
    assert worker.depth() == worker.depth()
    assert sorted(line.receive(worker, 7).seqs) == list(range(7))


@pytest.mark.everywhere
def test_connections_show_a_client_while_it_is_there(line: Line) -> None:
    watcher = line.open("s0")
    if watcher.connections() is None:
        return  # the broker cannot tell, and says so
    assert watcher.connections() == []
    worker = line.open("w0")
    assert len(watcher.connections() or []) == 1
    worker.close()
    eventually(lambda: watcher.connections() == [], "the closed connection is still listed")


def test_connections_of_another_queue_are_not_this_queues(line: Line) -> None:
    watcher = line.open("s0")
    line.open("probe", queue=f"{line.queue}_probe")
    assert not watcher.connections()


@pytest.mark.everywhere
def test_purge_removes_this_queue_and_no_other(line: Line) -> None:
    producer = line.open("p0")
    others = [line.open("p0", queue=f"{line.queue}{suffix}") for suffix in ("_probe", "0")]
    for driver in (producer, *others):
        line.publish(driver, range(3))
    line.receive(line.open("w0"), 1)
    producer.purge()
    producer.prepare()
    assert line.found(producer) == {}
    for other in others:
        assert line.found(other) == {"ready": [0, 1, 2]}
        other.purge()


def test_a_message_of_another_run_comes_as_it_is(line: Line) -> None:
    producer, worker = line.open("p0"), line.open("w0")
    line.publish(producer, range(2), run_id=line.run_id ^ 1)
    received = line.receive(worker, 2)
    parsed = parse([payload for part in received.parts for payload in part.payloads])
    assert set(parsed.run_id.tolist()) == {line.run_id ^ 1}


def test_bytes_that_are_no_envelope_come_as_they_are(line: Line) -> None:
    producer, worker = line.open("p0"), line.open("w0")
    block = line.block([0])
    block.payloads[:] = np.arange(256, dtype=np.uint8)
    producer.publish(block)
    outcomes_of(producer, 1)
    deliveries = worker.consume(1, 1.0)
    assert deliveries.payloads == [bytes(range(256))]


def test_prepare_again_changes_nothing(line: Line) -> None:
    producer = line.open("p0")
    line.publish(producer, range(3))
    first = producer.prepare()
    assert line.open("s0").prepare() == first
    assert line.found(producer) == {"ready": [0, 1, 2]}


def test_connecting_again_leaves_messages_where_they_are(line: Line) -> None:
    producer = line.open("p0")
    line.publish(producer, range(3))
    producer.connect()
    line.publish(producer, range(3, 5))
    assert line.found(producer) == {"ready": [0, 1, 2, 3, 4]}


def test_close_may_be_called_at_any_time_and_twice(line: Line) -> None:
    line.driver("p0").close()
    driver = line.open("p1")
    driver.close(abort=True)
    driver.close()
    assert driver.poll_confirms(0).tokens.tolist() == []
    assert driver.poll_settled(0).tokens.tolist() == []


def _values(parameter: Parameter) -> tuple[str, ...]:
    sample = SAMPLES.get(parameter.name)
    return parameter.values or ((sample,) if sample else ())


def test_every_setting_is_read_back_as_it_was_asked_for(setup: Setup, own_line: Callable[..., Line]) -> None:
    for parameter in setup.parameters:
        for value in _values(parameter):
            line = own_line(setup, **{parameter.name: value})
            effective = line.open("s0").prepare()
            assert effective.differences() == (), (parameter.name, value)
            line.broker.down()


def test_every_parameter_value_has_a_durability_class_and_claims(setup: Setup) -> None:
    for parameter in setup.parameters:
        for value in _values(parameter) or (parameter.default_value,):
            parameters = setup.complete({parameter.name: value})
            assert setup.durability(parameters)
            claims = setup.claims(parameters)
            assert len({claim.fault for claim in claims}) == len(claims)
            assert all(claim.source for claim in claims)
