"""Jepsen's total-queue checker, transcribed to multisets, beside the counts that the ledger uses."""

from __future__ import annotations

from collections import Counter

import numpy as np
from histories import UNFINISHED, History, attempt, delivery
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.jepsen import total_queue

# One operation of a history: (type, function, value), as jepsen.checker/total-queue reads it.
Op = tuple[str, str, int]


def check(history: list[Op]) -> dict[str, Counter[int]]:
    """Returns the sets of ``jepsen.checker/total-queue``, line by line on ``collections.Counter``.

    Counter's ``-`` and ``&`` are multiset minus and intersect: multiplicities never fall below zero.
    """
    attempts = Counter(value for kind, f, value in history if kind == "invoke" and f == "enqueue")
    enqueues = Counter(value for kind, f, value in history if kind == "ok" and f == "enqueue")
    dequeues = Counter(value for kind, f, value in history if kind == "ok" and f == "dequeue")
    ok = dequeues & attempts
    unexpected = Counter({value: n for value, n in dequeues.items() if value not in attempts})
    duplicated = dequeues - attempts - unexpected
    lost = enqueues - dequeues
    recovered = ok - enqueues
    return {"lost": lost, "unexpected": unexpected, "duplicated": duplicated, "recovered": recovered}


def as_jepsen(history: History) -> list[Op]:
    """Returns the same history as operations: an attempt is invoked, then ok, fail or info; finished work is a dequeue."""
    answer = {"CONFIRMED": "ok", "REJECTED": "fail", "NOT_SENT": "fail", "UNKNOWN": "info"}
    ops = []
    for row in history.attempts:
        ops += [("invoke", "enqueue", row["seq"]), (answer[row["outcome"]], "enqueue", row["seq"])]
    for row in history.deliveries:
        ops += [("invoke", "dequeue", -1), ("ok" if row["finished_ns"] else "info", "dequeue", row["seq"])]
    return ops


def sizes(history: History) -> dict[str, int]:
    return {name: found.total() for name, found in check(as_jepsen(history)).items()}


def test_a_message_that_was_enqueued_and_never_dequeued_is_lost() -> None:
    history = History(attempts=[attempt(0), attempt(1), attempt(1, 2)], deliveries=[delivery(1)])
    expected = {"lost": 2, "unexpected": 0, "duplicated": 0, "recovered": 0}  # 1 was enqueued twice, and dequeued once
    assert history.reconciled().counts.jepsen == sizes(history) == expected


def test_a_dequeue_of_what_nobody_enqueued_is_unexpected_each_time() -> None:
    history = History(attempts=[], deliveries=[delivery(5), delivery(5, 2000)])
    expected = {"lost": 0, "unexpected": 2, "duplicated": 0, "recovered": 0}
    assert history.reconciled().counts.jepsen == sizes(history) == expected


def test_more_dequeues_than_attempts_are_duplicated() -> None:
    history = History(deliveries=[delivery(received_ns=t) for t in (1000, 2000, 3000)])
    expected = {"lost": 0, "unexpected": 0, "duplicated": 2, "recovered": 0}
    assert history.reconciled().counts.jepsen == sizes(history) == expected


def test_a_dequeue_of_an_enqueue_of_unknown_outcome_is_recovered() -> None:
    history = History(attempts=[attempt(outcome="UNKNOWN")], deliveries=[delivery()])
    expected = {"lost": 0, "unexpected": 0, "duplicated": 0, "recovered": 1}
    assert history.reconciled().counts.jepsen == sizes(history) == expected


def test_a_delivery_whose_work_did_not_finish_is_no_dequeue() -> None:
    history = History(deliveries=[delivery(**UNFINISHED)])
    expected = {"lost": 1, "unexpected": 0, "duplicated": 0, "recovered": 0}
    assert history.reconciled().counts.jepsen == sizes(history) == expected


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(["CONFIRMED", "UNKNOWN", "REJECTED", "NOT_SENT"])), max_size=12
    ),
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=16),
)
def test_the_sets_of_any_history_that_both_can_read_are_jepsens(
    sent: list[tuple[int, str]], came: list[tuple[int, bool]]
) -> None:
    tried: Counter[int] = Counter()
    attempts = []
    for seq, outcome in sent:
        tried[seq] += 1
        attempts.append(attempt(seq, tried[seq], outcome))
    deliveries = [
        delivery(seq, 1000 + at, **({} if finished else UNFINISHED)) for at, (seq, finished) in enumerate(came)
    ]
    history = History(attempts=attempts, deliveries=deliveries)
    assert history.reconciled().counts.jepsen == sizes(history)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 9)), max_size=20))
def test_each_set_is_jepsens_identity_by_identity(counts: list[tuple[int, int, int]]) -> None:
    counts = [(tried, min(confirmed, tried), finished) for tried, confirmed, finished in counts]
    ops: list[Op] = []
    for value, (tried, confirmed, finished) in enumerate(counts):
        ops += [("invoke", "enqueue", value)] * tried + [("ok", "enqueue", value)] * confirmed
        ops += [("ok", "dequeue", value)] * finished
    columns = np.array(counts, np.int64).reshape(-1, 3).T
    found = total_queue(*columns)
    for name, expected in check(ops).items():
        assert getattr(found, name).tolist() == [expected[value] for value in range(len(counts))]
