"""What every driver must do when a message is settled, given back, left by its holder, or held too long."""

from __future__ import annotations

import time

import pytest

from harness.model import Settlement, SettleOutcome
from tests.contract.line import LIMIT_S, VISIBILITY_S, Line, Received, eventually, only_setups

knows_acks = only_setups(lambda setup: not setup.traits.at_most_once)


def entries_of(received: Received) -> dict[int, int]:
    """Returns the broker's entry number of each message; nothing where it has none."""
    return said_of(received, "entries")


def said_of(received: Received, column: str) -> dict[int, int]:
    """Returns what the broker says of each message; only those of which it says something."""
    said: dict[int, int] = {}
    seqs = iter(received.seqs)
    for part in received.parts:
        values = getattr(part, column)
        for index in range(len(part.payloads)):
            seq = next(seqs)
            if values is not None:
                said[seq] = int(values[index])
    return said


@pytest.mark.everywhere
@knows_acks
def test_a_dead_holders_messages_come_again(line: Line) -> None:
    producer, dying, living = line.open("p0"), line.open("w0", prefetch=4), line.open("w1")
    line.publish(producer, range(10))
    before = line.receive(dying, 4)
    rest = line.receive(living, 6)
    assert sorted(before.seqs + rest.seqs) == list(range(10))
    assert set(line.settle(living, rest, Settlement.ACK).values()) == {SettleOutcome.OK}
    dying.close(abort=True)
    again = line.receive(living, 4, reclaiming=True, acking=True)
    assert sorted(again.seqs) == sorted(before.seqs)
    assert set(said_of(again, "redelivered").values()) <= {1}
    assert set(said_of(again, "counts").values()) <= {2}
    assert entries_of(again) == entries_of(before)
    assert line.found(living) == {}


@knows_acks
def test_a_holder_that_gives_signs_of_life_keeps_its_messages(line: Line) -> None:
    producer, holder, other = line.open("p0"), line.open("w0", visibility_s=60.0), line.open("w1", visibility_s=60.0)
    line.publish(producer, range(3))
    held = line.receive(holder, 3)
    assert other.reclaim(60.0) == 0
    assert holder.reclaim(60.0) == 0
    assert other.consume(3, 0.02).payloads == []
    assert set(line.settle(holder, held, Settlement.ACK).values()) == {SettleOutcome.OK}


@only_setups(lambda setup: setup.name == "redis-reliable-list")
def test_a_holder_in_the_middle_of_a_job_keeps_its_messages_by_signs_of_life(line: Line) -> None:
    producer, holder, other = line.open("p0"), line.open("w0"), line.open("w1")
    line.publish(producer, range(3))
    held = line.receive(holder, 3)
    until = time.monotonic() + 2 * VISIBILITY_S
    while time.monotonic() < until:
        holder.give_sign()
        assert other.reclaim(VISIBILITY_S) == 0
    assert set(line.settle(holder, held, Settlement.ACK).values()) == {SettleOutcome.OK}


@knows_acks
def test_two_reapers_give_each_message_back_once(line: Line) -> None:
    producer, dying = line.open("p0"), line.open("w0")
    line.publish(producer, range(50))
    line.receive(dying, 50)
    dying.close(abort=True)
    workers = [line.open("w1"), line.open("w2")]
    seqs: list[int] = []
    deadline = time.monotonic() + LIMIT_S
    while len(seqs) < 50:
        assert time.monotonic() < deadline, f"{len(seqs)} of 50 came back"
        for worker in workers:
            worker.reclaim(VISIBILITY_S)
        for worker in workers:
            part = worker.consume(10, 0.005)
            got = Received(seqs=line.seqs(part), handles=list(part.handles), parts=[part])
            line.settle(worker, got, Settlement.ACK)
            seqs += got.seqs
    assert sorted(seqs) == list(range(50))
    assert line.found(workers[0]) == {}


@pytest.mark.everywhere
@only_setups(lambda setup: setup.traits.reclaims and setup.traits.settle_detects_stale)
def test_an_ack_after_the_hold_was_given_to_another_is_stale(line: Line) -> None:
    producer, slow, quick = line.open("p0"), line.open("w0"), line.open("w1")
    line.publish(producer, range(3))
    late = line.receive(slow, 3)
    line.receive(quick, 3, reclaiming=True)
    assert line.settle(slow, late, Settlement.ACK) == dict.fromkeys(range(3), SettleOutcome.STALE)
    assert len([seq for seqs in line.found(quick).values() for seq in seqs]) == 3


@knows_acks
def test_a_second_ack_never_counts_as_a_message_gone_twice(line: Line) -> None:
    producer, worker, searcher = line.open("p0"), line.open("w0", prefetch=2), line.open("s0")
    line.publish(producer, range(3))
    received = line.receive(worker, 2)
    line.settle(worker, received, Settlement.ACK)
    again = line.settle(worker, received, Settlement.ACK)
    assert set(again.values()) <= {SettleOutcome.OK, SettleOutcome.STALE}
    if line.setup.traits.settle_detects_stale:
        assert set(again.values()) == {SettleOutcome.STALE}
    worker.close()
    eventually(lambda: searcher.depth().ready == 1, "the message that was not acked has gone")
    assert line.found(searcher) == {"ready": [seq for seq in range(3) if seq not in received.seqs]}


@pytest.mark.parametrize("what", [Settlement.RELEASE, Settlement.RETRY])
def test_a_message_given_back_comes_again(line: Line, what: Settlement) -> None:
    producer, worker = line.open("p0"), line.open("w0", visibility_s=60.0)
    line.publish(producer, range(3))
    received = line.receive(worker, 3)
    worker.cancel()  # else a broker that pushes gives them to the same worker again
    assert line.settle(worker, received, what) == dict.fromkeys(range(3), SettleOutcome.OK)
    other = line.open("w1")
    again = line.receive(other, 3, reclaiming=True)
    assert sorted(again.seqs) == [0, 1, 2]
    assert line.settle(other, again, Settlement.ACK) == dict.fromkeys(range(3), SettleOutcome.OK)
    assert line.found(other) == {}


@only_setups(lambda setup: setup.traits.reclaims)
def test_what_another_holds_by_now_cannot_be_given_back(line: Line) -> None:
    producer, slow, quick = line.open("p0"), line.open("w0"), line.open("w1")
    line.publish(producer, range(3))
    late = line.receive(slow, 3)
    held = line.receive(quick, 3, reclaiming=True)
    assert line.settle(slow, late, Settlement.RELEASE) == dict.fromkeys(range(3), SettleOutcome.STALE)
    other = line.open("w2", visibility_s=60.0)
    assert other.reclaim(60.0) == 0
    assert other.consume(3, 0.02).payloads == []
    assert line.settle(quick, held, Settlement.ACK) == dict.fromkeys(range(3), SettleOutcome.OK)


@only_setups(lambda setup: setup.traits.reclaims)
def test_a_hold_that_was_taken_back_is_delivered_only_while_it_is_ours(line: Line) -> None:
    producer, dying, slow, quick = line.open("p0"), line.open("w0"), line.open("w1"), line.open("w2")
    line.publish(producer, range(3))
    line.receive(dying, 3)
    dying.close(abort=True)
    eventually(lambda: slow.reclaim(VISIBILITY_S) > 0, "nothing was taken back")
    time.sleep(1.1 * VISIBILITY_S)  # stands still before it asks for them
    held = line.receive(quick, 3, reclaiming=True)
    assert sorted(held.seqs) == [0, 1, 2]
    assert slow.consume(3, 0.02).payloads == []


@pytest.mark.everywhere
def test_a_dead_message_lies_with_the_dead_letters_and_does_not_come_again(line: Line) -> None:
    producer, worker = line.open("p0"), line.open("w0", prefetch=2)
    line.publish(producer, range(4))
    received = line.receive(worker, 2)
    assert line.settle(worker, received, Settlement.DEAD) == dict.fromkeys(received.seqs, SettleOutcome.OK)
    rest = line.receive(worker, 2)
    line.settle(worker, rest, Settlement.ACK)
    worker.reclaim(0.0)
    assert worker.consume(4, 0.02).payloads == []
    eventually(lambda: worker.depth().dead == 2, "the dead letters do not come to their place")
    assert line.found(worker) == {"dead_letter": sorted(received.seqs)}


def test_with_auto_ack_a_message_is_settled_by_receiving_it(line: Line) -> None:
    producer, worker = line.open("p0"), line.open("w0", auto_ack=True)
    line.publish(producer, range(4))
    assert sorted(line.receive(worker, 4).seqs) == [0, 1, 2, 3]
    worker.close()
    other = line.open("w1", auto_ack=True)
    eventually(lambda: line.found(other) == {}, "a message received with auto-ack is still there")
    assert other.reclaim(0.0) == 0
    assert other.consume(4, 0.02).payloads == []
