"""Whole histories that nobody would have thought of, judged by the analysis and by the page's rules in plain Python."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from histories import FACTS, History, attempt, broker_kill, copy, delivery, worker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import compare

from harness.facts import ShardRecord
from harness.model import FaultKind, Traits

TIMES = st.integers(0, 40).map(lambda tick: 1000 + 100 * tick)  # few values, so that ties are common
MAYBE = st.none() | TIMES
SEQS = st.integers(0, 3)
PRODUCERS = st.integers(0, 1)
WORKERS = st.integers(0, 2)


@st.composite
def attempts(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows = []
    for producer, seq in draw(st.sets(st.tuples(PRODUCERS, SEQS), max_size=8)):
        for number in draw(st.sets(st.integers(1, 3), min_size=1)):
            outcome = draw(st.sampled_from(["CONFIRMED", "CONFIRMED", "UNKNOWN", "REJECTED", "NOT_SENT"]))
            sent = {} if outcome == "NOT_SENT" else {"sent_ns": draw(TIMES)}
            rows.append(attempt(seq, number, outcome, producer=producer, **sent))
    return draw(st.permutations(rows))


@st.composite
def deliveries(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows = []
    for _ in range(draw(st.integers(0, 14))):
        received = draw(TIMES)
        settlement = draw(st.sampled_from([None, "ACK", "ACK", "AUTO", "RELEASE", "RETRY", "DEAD"]))
        answer = draw(st.sampled_from(["OK", "OK", "STALE", "UNKNOWN"])) if settlement else None
        finished = draw(MAYBE)
        rows.append(
            delivery(
                draw(SEQS),
                received,
                producer=draw(PRODUCERS),
                attempt=draw(st.sampled_from([1, 1, 1, 2, 3])),
                subscription=draw(st.sampled_from([0, 0, 0, 1])),
                worker=draw(WORKERS),
                asked_ns=received - draw(st.sampled_from([0, 50, 500])),
                started_ns=draw(MAYBE),
                finished_ns=finished,
                failed_ns=draw(MAYBE) if finished is None else None,
                settlement=settlement,
                settle_outcome=answer,
                settling_ns=draw(TIMES) if settlement else None,
                settled_ns=draw(TIMES) if answer in ("OK", "STALE") else None,
                entry=draw(st.sampled_from([None, 7, 7, 8])),
                redelivered=draw(st.sampled_from([None, True, False])),
                checksum_ok=draw(st.sampled_from([True, True, False])),
                foreign=draw(st.sampled_from([False] * 9 + [True])),
                skipped=draw(st.sampled_from([None] * 8 + ["TAKEN", "DONE"])) if finished is None else None,
            )
        )
        if draw(st.integers(0, 15)) == 0:
            rows[-1].update(producer=None, seq=None, attempt=None, checksum_ok=False)
    return rows


RESIDUE = st.lists(
    st.builds(
        copy,
        SEQS,
        st.sampled_from(["ready", "in_flight", "dead_letter"]),
        producer=PRODUCERS,
        attempt=st.integers(1, 2),
        entry=st.sampled_from([None, 7, 8]),
        foreign=st.sampled_from([False, False, True]),
    ),
    max_size=3,
)
CONNECTIONS = st.lists(
    st.fixed_dictionaries(
        {
            "shard": st.sampled_from(["w0", "w1", "p0"]),
            "t_ns": TIMES,
            "up": st.booleans(),
            "reason": st.just(""),
        }
    ),
    max_size=4,
)
SHARDS = st.tuples(
    st.builds(worker, st.just(0), killed_ns=MAYBE, ended_ns=MAYBE, slots_found=st.sampled_from([0, 0, 0, -1])),
    st.builds(worker, st.just(1), killed_ns=MAYBE),
    st.builds(worker, st.just(2)),
    st.builds(
        ShardRecord,
        name=st.just("p1"),
        kind=st.just("producer"),
        number=st.just(1),
        slots_found=st.sampled_from([0, 0, 0, -1]),
    ),
)
FAULTS = st.lists(
    st.builds(
        broker_kill,
        TIMES,
        MAYBE,
        st.sampled_from([FaultKind.BROKER_KILL, FaultKind.BROKER_PAUSE, FaultKind.WORKER_KILL]),
    ),
    max_size=2,
).map(tuple)
TRAITS = st.builds(
    Traits,
    **dict.fromkeys(("entry_ids", "redelivered_flag", "reclaims", "at_most_once", "library_retries"), st.booleans()),
)
HISTORIES = st.builds(
    History,
    attempts=attempts(),
    deliveries=deliveries(),
    residue=RESIDUE,
    connections=CONNECTIONS,
    facts=st.builds(
        lambda sound, shards, faults, auto_ack, visibility_ns: replace(
            FACTS,
            residue_sound=sound,
            shards=shards,
            faults=faults,
            auto_ack=auto_ack,
            visibility_s=visibility_ns / 1e9,
        ),
        st.sampled_from([True, True, False]),
        SHARDS,
        FAULTS,
        st.booleans(),
        st.sampled_from([500, 1000, 2000, 100_000]),
    ),
    traits=TRAITS,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HISTORIES)
def test_every_history_is_judged_as_the_page_says(history: History) -> None:
    compare(history)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HISTORIES, st.randoms())
def test_the_order_of_attempts_and_residue_does_not_matter(history: History, random: Any) -> None:
    shuffled = replace(
        history,
        attempts=random.sample(history.attempts, len(history.attempts)),
        residue=random.sample(history.residue, len(history.residue)),
    )
    first, second = history.reconciled(), shuffled.reconciled()
    assert first.messages.equals(second.messages)
    assert first.counts == second.counts
