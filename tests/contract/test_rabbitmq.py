"""What is RabbitMQ's alone: returns, alarms, back pressure, pushes, delivery limits, and the ways in which it ends a channel."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import numpy as np
import pytest

from harness.deployments.embedded_rabbitmq import EmbeddedRabbitMQ
from harness.errors import ConnectionLost
from harness.model import Outcome, Settlement, SettleOutcome, Setup
from tests.contract.line import Line, Received, eventually, only_setups, outcomes_of, publish_until_answered, settled_of
from tests.contract.test_settling import said_of

OwnLine = Callable[..., Line]

both = only_setups(lambda setup: setup.broker == "rabbitmq")
classic_only = only_setups(lambda setup: setup.name == "rabbitmq-classic")
quorum_only = only_setups(lambda setup: setup.name == "rabbitmq-quorum")


def erlang(line: Line, expression: str) -> str:
    """Returns what the node answers to an expression, a hundred times as quickly as rabbitmqctl."""
    node = line.broker
    assert isinstance(node, EmbeddedRabbitMQ)
    cookie = (node._home / ".erlang.cookie").read_text()
    address = f"127.0.0.1:{node._distribution_port}"
    command = ["erl_call", "-address", address, "-c", cookie, "-e"]
    done = subprocess.run(command, input=f"{expression}.\n", capture_output=True, text=True, timeout=20, check=True)
    return done.stdout


# Publishing.


@both
def test_a_message_that_no_queue_takes_is_rejected_although_it_is_confirmed(line: Line) -> None:
    producer = line.open("p0")
    line.publish(producer, [0])
    line.open("s0").purge()
    producer.publish(line.block(range(1, 300)))
    assert outcomes_of(producer, 299) == dict.fromkeys(range(1, 300), Outcome.REJECTED)
    producer.prepare()
    line.publish(producer, [400])
    assert line.found(producer) == {"ready": [400]}


@classic_only
def test_a_memory_alarm_shows_as_blocked_with_its_reason_and_confirms_come_when_it_is_over(line: Line) -> None:
    producer, worker = line.open("p0", answer_timeout_s=1.0), line.open("w0")
    line.publish(producer, range(10))
    assert producer.blocked() == ""
    erlang(line, "vm_memory_monitor:set_vm_memory_high_watermark(0)")
    try:
        producer.publish(line.block(range(10, 20)))
        eventually(
            lambda: producer.poll_confirms(0.01).tokens.tolist() == [] and bool(producer.blocked()), "never blocked"
        )
        assert producer.blocked() == "RabbitMQ blocks publishers: low on memory"
        assert line.receive(worker, 10).seqs == list(range(10))
        until = time.monotonic() + 1.5  # longer than it would wait for an answer
        while time.monotonic() < until:
            assert producer.poll_confirms(0.1).tokens.tolist() == []
    finally:
        erlang(line, "vm_memory_monitor:set_vm_memory_high_watermark(0.4)")
    assert outcomes_of(producer, 10) == dict.fromkeys(range(10, 20), Outcome.CONFIRMED)
    assert producer.blocked() == ""


@classic_only
def test_publishing_never_waits_for_a_broker_that_does_not_read(line: Line) -> None:
    producer = line.open("p0")
    line.broker.pause()
    try:
        for first in range(0, 20_000, 1000):  # 20 MB, more than two sockets hold
            producer.publish(line.block(range(first, first + 1000), payload_bytes=1000))
        assert producer.blocked() == "RabbitMQ does not read"
    finally:
        line.broker.resume()
    assert set(outcomes_of(producer, 20_000).values()) == {Outcome.CONFIRMED}
    assert producer.blocked() == ""
    assert producer.depth().ready == 20_000


@classic_only
def test_what_never_left_the_process_was_not_sent(setup: Setup, own_line: OwnLine) -> None:
    line = own_line(setup)
    producer = line.open("p0")
    line.broker.pause()
    for first in range(0, 20_000, 1000):
        producer.publish(line.block(range(first, first + 1000), payload_bytes=1000))
    line.broker.kill()
    with pytest.raises(ConnectionLost):
        producer.poll_confirms(20.0)
    confirms = producer.poll_confirms(0)
    outcomes = dict(zip(confirms.tokens.tolist(), confirms.outcomes.tolist(), strict=True))
    assert len(outcomes) == 20_000
    assert (outcomes[0], outcomes[19_999]) == (Outcome.UNKNOWN, Outcome.NOT_SENT)
    assert [outcomes[n] for n in range(20_000)] == sorted(outcomes.values(), reverse=True)


@classic_only
def test_transient_messages_are_lost_with_the_broker_although_they_were_confirmed(
    setup: Setup, own_line: OwnLine
) -> None:
    line = own_line(setup, persistent="false")
    producer = line.open("p0")
    line.publish(producer, range(500))
    line.broker.kill()
    line.broker.start()
    producer.connect()
    producer.prepare()
    assert line.found(producer) == {}


# Consuming.


@both
def test_what_comes_again_says_so_and_a_quorum_queue_counts(line: Line) -> None:
    producer, dying = line.open("p0"), line.open("w0")
    line.publish(producer, range(5))
    first = line.receive(dying, 5)
    assert said_of(first, "redelivered") == dict.fromkeys(range(5), 0)
    dying.close(abort=True)
    again = line.receive(line.open("w1"), 5)
    assert said_of(again, "redelivered") == dict.fromkeys(range(5), 1)
    counted = line.setup.name == "rabbitmq-quorum"
    assert said_of(first, "counts") == (dict.fromkeys(range(5), 1) if counted else {})
    assert said_of(again, "counts") == (dict.fromkeys(range(5), 2) if counted else {})


@both
def test_an_ack_of_many_never_takes_what_was_not_handed_in(line: Line) -> None:
    producer, worker = line.open("p0"), line.open("w0")
    line.publish(producer, range(12))
    received = line.receive(worker, 12)
    chosen = [0, 1, 2, 5, 6, 11]
    worker.settle(np.array(chosen), [received.handles[n] for n in chosen], Settlement.ACK)
    assert settled_of(worker, 6) == dict.fromkeys(chosen, SettleOutcome.OK)
    worker.close(abort=True)
    eventually(lambda: producer.depth().ready == 6, "what was not acked does not come back")
    assert line.found(producer) == {"ready": [3, 4, 7, 8, 9, 10]}


@both
@pytest.mark.parametrize("auto_ack", [False, True])
def test_what_was_pushed_before_a_cancel_is_kept_and_nothing_is_pushed_after_it(line: Line, auto_ack: bool) -> None:
    producer, worker = line.open("p0"), line.open("w0", prefetch=500, auto_ack=auto_ack)
    line.publish(producer, range(1000))
    first = worker.consume(5, 5.0)
    rest = worker.cancel()
    received = line.seqs(first) + line.seqs(rest)
    line.publish(producer, range(1000, 1003))
    assert worker.cancel().payloads == []
    found = line.found(producer)["ready"]
    assert sorted(received + found) == list(range(1003))
    if not auto_ack:
        both_parts = Received(seqs=received, handles=[], parts=[first, rest])
        assert set(line.settle(worker, both_parts, Settlement.ACK).values()) == {SettleOutcome.OK}
    assert sorted(line.receive(worker, min(len(found), 500)).seqs) == found[:500]


@classic_only
def test_with_auto_ack_what_was_pushed_is_not_lost_with_the_connection(line: Line) -> None:
    proxy = line.proxy()
    worker = line.open("w0", via=proxy, auto_ack=True)
    line.publish(line.open("p0"), range(50))
    seqs = line.seqs(worker.consume(1, 5.0))
    eventually(lambda: worker.depth().ready == 0, "not everything is pushed")
    worker.reclaim(0.0)
    worker.poll_settled(0.0)
    proxy.cut()
    while len(seqs) < 50:
        seqs += line.seqs(worker.consume(10, 1.0))
    assert sorted(seqs) == list(range(50))


@classic_only
def test_with_auto_ack_a_worker_whose_broker_is_killed_has_all_that_was_pushed(setup: Setup, own_line: OwnLine) -> None:
    line = own_line(setup)
    producer, worker = line.open("p0"), line.open("w0", prefetch=10, auto_ack=True)
    line.publish(producer, range(50))
    seqs = line.seqs(worker.consume(1, 5.0))
    eventually(lambda: worker.depth().ready == 0, "not everything is pushed")
    line.broker.kill()
    with pytest.raises(ConnectionLost):
        worker.depth()
    seqs += line.seqs(worker.cancel())
    assert sorted(seqs) == list(range(50))
    assert worker.cancel().payloads == []


@classic_only
def test_a_connection_lives_through_a_long_job_as_long_as_it_is_polled(line: Line) -> None:
    worker = line.open("w0", address=f"{line.broker.address}?heartbeat=1")
    line.publish(line.open("p0"), range(2))
    received = line.receive(worker, 2)
    until = time.monotonic() + 4.0  # RabbitMQ closes after two to three seconds without a sign
    while time.monotonic() < until:
        assert worker.poll_settled(0).tokens.tolist() == []
        time.sleep(0.2)
    assert line.settle(worker, received, Settlement.ACK) == dict.fromkeys(range(2), SettleOutcome.OK)


# Dead letters and ends.


@quorum_only
def test_a_message_that_reaches_its_delivery_limit_becomes_a_dead_letter(line: Line) -> None:
    worker = line.open("w0", parameters={"delivery_limit": "2"})
    line.publish(line.open("p0", parameters={"delivery_limit": "2"}), [7])
    for delivery in (1, 2, 3):
        received = line.receive(worker, 1)
        assert said_of(received, "counts") == {7: delivery}
        assert line.settle(worker, received, Settlement.RELEASE) == {7: SettleOutcome.OK}
    eventually(lambda: worker.depth().dead == 1, "the limit sends nothing to the dead letters")
    assert line.found(worker) == {"dead_letter": [7]}


@both
def test_a_queue_that_is_not_there_ends_the_connection_in_the_brokers_words(line: Line) -> None:
    worker, other = line.open("w0"), line.open("s0")
    other.purge()
    for operation in (worker.depth, lambda: worker.consume(1, 1.0), lambda: list(worker.residue())):
        with pytest.raises(ConnectionLost, match="404 NOT_FOUND - no queue"):
            operation()
        worker.connect()


@both
def test_a_queue_that_goes_under_a_consumer_ends_the_connection_and_the_next_goes_on(line: Line) -> None:
    worker, other = line.open("w0"), line.open("s0")
    assert worker.consume(1, 0.0).payloads == []
    other.purge()
    with pytest.raises(ConnectionLost, match="ended the consumer"):
        worker.consume(1, 10.0)
    worker.connect()
    worker.prepare()
    line.publish(other, [1])
    assert line.receive(worker, 1).seqs == [1]


@quorum_only
def test_a_queue_of_the_same_name_that_is_made_otherwise_is_told(line: Line) -> None:
    line.open("p0")
    other = line.driver("p1", parameters={"delivery_limit": "3"})
    other.connect()
    with pytest.raises(ConnectionLost, match=r"406 PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit'"):
        other.prepare()


@quorum_only
def test_a_quorum_queue_without_its_server_is_an_outcome_in_bounded_time_and_never_an_empty_queue(
    setup: Setup, own_line: OwnLine
) -> None:
    line = own_line(setup)
    producer, worker, searcher = (line.open(name, answer_timeout_s=1.0) for name in ("p0", "w0", "s0"))
    line.publish(producer, range(3))
    assert "ok" in erlang(line, f"ra:stop_server(quorum_queues, {{'%2F_{line.queue}', node()}})")
    with pytest.raises(ConnectionLost, match=r"541 INTERNAL_ERROR|no answer in time"):
        worker.consume(1, 1.0)
    for operation in (searcher.depth, lambda: list(searcher.residue())):
        with pytest.raises(ConnectionLost):
            operation()  # a passive declaration says: no message, no consumer
        searcher.connect()
    outcomes, _ = publish_until_answered(producer, line.block(range(10, 15)))
    assert outcomes == dict.fromkeys(range(10, 15), Outcome.UNKNOWN)


@both
def test_no_error_tells_the_password(line: Line) -> None:
    parts = urlsplit(line.broker.address)
    secret = "not-to-be-told"
    wrong = parts._replace(netloc=f"{parts.username}:{secret}@{parts.hostname}:{parts.port}").geturl()
    worker = line.driver("w0", address=wrong)
    with pytest.raises(Exception, match="ACCESS_REFUSED") as caught:
        worker.connect()
    assert secret not in repr(caught.value) + str(caught.value) + repr(vars(caught.value))
