"""How fast the null broker hands out when it is told a rate; time is handed in."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest

from harness import envelope
from harness.brokers._null_pace import TICK_NS, Pace, parse_service_rate
from harness.brokers._null_queue import Queue
from tests.unit.test_null_queue import Chosen, seqs

MS = 1_000_000
S = 1000 * MS


def handed_out(queue: Queue, now_ns: int, max_n: int = 1_000_000) -> int:
    return len(queue.fetch(max_n, "w0", now_ns, auto_ack=True).payloads)


def queue_of(messages: int, rate_per_s: float, strikes: dict[int, str] | None = None) -> Queue:
    queue = Queue(Chosen(strikes or {}), lambda _: None, count(1).__next__, Pace(rate_per_s))
    stamper = envelope.Stamper(run_id=1, trial=1, producer=0, payload_bytes=64, capacity=messages)
    queue.publish(stamper.stamp(np.arange(messages), np.ones(messages, int), np.zeros(messages)), 0)
    return queue


@pytest.mark.parametrize("rate_per_s", [100.0, 1999.5, 2000.0, 30_000.0])
@pytest.mark.parametrize("step_ns", [MS // 7, MS, 13 * MS, 400 * MS])
def test_somebody_who_goes_on_asking_gets_the_rate_to_the_message(rate_per_s: float, step_ns: int) -> None:
    queue = queue_of(100_000, rate_per_s)
    first_ns = 5 * S
    begun = handed_out(queue, first_ns)
    given = sum(handed_out(queue, first_ns + step) for step in range(step_ns, 2 * S + 1, step_ns))
    assert begun == TICK_NS * rate_per_s // S + 1
    assert given == int((2 * S // step_ns * step_ns + TICK_NS) * rate_per_s / S) + 1 - begun


def test_messages_leave_evenly() -> None:
    queue = queue_of(5000, 2000.0)
    handed_out(queue, S)
    assert {handed_out(queue, S + at) for at in range(MS, S, MS)} == {2}


def test_idling_earns_a_tick_and_no_more() -> None:
    queue = queue_of(100_000, 2000.0)
    handed_out(queue, S)
    queue.pace.rests()
    assert handed_out(queue, 60 * S) == TICK_NS * 2000 // S + 1


def test_a_broker_that_woke_up_late_while_somebody_asked_makes_up_for_it() -> None:
    queue = queue_of(100_000, 2000.0)
    handed_out(queue, S)
    assert handed_out(queue, S + 700 * MS) == 1400


def test_a_small_fetch_leaves_the_rest_of_what_is_allowed_to_the_next() -> None:
    queue = queue_of(100_000, 2000.0)
    assert [handed_out(queue, S, max_n=40) for _ in range(4)] == [40, 40, 21, 0]


def test_what_must_leave_together_does_and_the_next_one_waits_for_it() -> None:
    queue = queue_of(10, 10.0, strikes={2: "reorder"})
    moments = [S + at * 100 * MS for at in range(9)]
    assert [seqs(queue.fetch(5, "w0", now_ns)) for now_ns in moments] == [[0], [1], [3, 2], [], [4], [5], [6], [7], [8]]


def test_nothing_leaves_before_its_time_even_where_a_fetch_ends() -> None:
    queue = queue_of(10, 1.0)
    assert handed_out(queue, S) == 1
    assert handed_out(queue, S + S // 2) == 0
    assert queue.gives_ns(S + S // 2) == 2 * S - TICK_NS


def test_a_queue_without_a_rate_hands_out_at_once() -> None:
    queue = queue_of(1000, 1.0)
    queue.pace = Pace(None)
    assert handed_out(queue, 0) == 1000


@pytest.mark.parametrize("text", ["0/s", "-5/s", "2000", "2000/min", "1e999/s", "fast", "17 %"])
def test_what_is_no_rate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="2000/s"):
        parse_service_rate(text)


def test_a_rate_may_be_left_out() -> None:
    assert (parse_service_rate(""), parse_service_rate("2000/s")) == (None, 2000.0)
