"""Every combination of what can be known of a message, judged by the analysis and by the page's rules in plain Python."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from histories import (
    FACTS,
    LIST,
    RABBIT,
    RELIABLE_LIST,
    STREAM,
    UNFINISHED,
    UNSETTLED,
    History,
    attempt,
    broker_kill,
    copy,
    delivery,
    lost,
    worker,
)
from reference import compare

from harness.facts import ShardRecord, TrialFacts
from harness.model import FaultKind, Traits

OUTCOMES = ("CONFIRMED", "UNKNOWN", "REJECTED", "NOT_SENT")
ATTEMPTS = [(), *((one,) for one in OUTCOMES), *product(OUTCOMES, OUTCOMES)]
PLACES = [(), ("ready",), ("delayed",), ("in_flight",), ("running",), ("dead_letter",), ("ready", "dead_letter")]
SETTLED = [UNSETTLED] + [
    {"settlement": what, "settle_outcome": how, **({} if how != "UNKNOWN" else {"settled_ns": None})}
    for what, how in product(("ACK", "AUTO", "RELEASE", "RETRY", "DEAD"), ("OK", "STALE", "UNKNOWN"))
]
WORK = [{}, UNFINISHED, {**UNFINISHED, "failed_ns": 1010}, {**UNFINISHED, "started_ns": None}]
SHORT = [
    {**work, **settled, "attempt": number}
    for work, settled, number in product(
        WORK[:2],
        [
            UNSETTLED,
            {},
            {"settlement": "RELEASE"},
            {"settlement": "DEAD", "settle_outcome": "UNKNOWN", "settled_ns": None},
            {"settlement": "RETRY", "settle_outcome": "STALE"},
        ],
        (1, 2),
    )
]
SOUND = {
    "sound": FACTS,
    "search not sound": replace(FACTS, residue_sound=False),
    "a worker's slots missing": replace(FACTS, shards=(worker(0), worker(1, slots_found=9, slots_reported=10))),
    "a worker's file missing": replace(FACTS, shards=(worker(0), worker(1, slots_found=-1))),
    "a producer's slots missing": replace(
        FACTS, shards=(worker(0), worker(1), ShardRecord(name="p0", kind="producer", number=0, slots_found=-1))
    ),
}


def written(combinations: list[tuple[Any, Any, Any]], facts: TrialFacts, traits: Traits) -> History:
    """Returns a history in which each combination of attempts, deliveries and places is one message."""
    attempts, deliveries, residue = [], [], []
    for seq, (outcomes, received, places) in enumerate(combinations):
        attempts += [attempt(seq, number, outcome) for number, outcome in enumerate(outcomes, 1)]
        deliveries += [
            delivery(seq, 1000 * at, **{"worker": 1 - at % 2, "entry": 7, **more})
            for at, more in enumerate(received, 1)
        ]
        residue += [copy(seq, place, entry=7) for place in places]
    return History(attempts=attempts, deliveries=deliveries, residue=residue, facts=facts, traits=traits)


@pytest.mark.parametrize("facts", SOUND.values(), ids=SOUND.keys())
def test_each_message_received_at_most_once_falls_into_exactly_the_class_of_the_page(facts: TrialFacts) -> None:
    once = [({**work, **settled, "attempt": number},) for work, settled, number in product(WORK, SETTLED, (1, 2))]
    compare(written(list(product(ATTEMPTS, [(), *once], PLACES)), facts, STREAM))


@pytest.mark.parametrize("traits", [STREAM, RELIABLE_LIST], ids=["entry ids", "no ids"])
def test_each_message_received_twice_falls_into_exactly_the_class_of_the_page(traits: Traits) -> None:
    compare(written(list(product(ATTEMPTS, product(SHORT, SHORT), PLACES[:2] + PLACES[-1:])), FACTS, traits))


# -- causes: a first delivery at 1000 and its repeat at 3000, asked for at 2900 ------------------------------------------------

FIRST = [
    UNSETTLED,
    *({"settlement": what, "settling_ns": 1020, "settled_ns": 1030} for what in ("ACK", "AUTO", "RELEASE", "DEAD")),
    *(
        {"settlement": what, "settling_ns": 1020, "settled_ns": None, "settle_outcome": "UNKNOWN"}
        for what in ("ACK", "RETRY")
    ),
    *(
        {"settlement": what, "settling_ns": 1020, "settled_ns": 1030, "settle_outcome": "STALE"}
        for what in ("ACK", "RELEASE")
    ),
    {"settlement": "ACK", "settling_ns": 2890, "settled_ns": 2900},  # OK just when the repeat was asked for
    {"settlement": "ACK", "settling_ns": 2890, "settled_ns": 2899},
    {"settlement": "ACK", "settling_ns": 2900, "settled_ns": 2950},
    {"settlement": "ACK", "settling_ns": 2901, "settled_ns": 2950},  # left too late to be the reason
    {"settlement": "RELEASE", "settling_ns": 3000, "settled_ns": 3100},
    {"settlement": "RELEASE", "settling_ns": 3001, "settled_ns": 3100},
]
SECOND = [
    {"asked_ns": 2900, "worker": worker, "attempt": number, "entry": entry, "redelivered": flag}
    for worker, number, entry, flag in product((0, 1), (1, 2), (7, 8, None), (None, False, True))
]
EVENTS = {
    "nothing": FACTS,
    "broker killed before": replace(FACTS, faults=(broker_kill(500, 999),)),
    "broker healed when the first came": replace(FACTS, faults=(broker_kill(500, 1000),)),
    "broker killed between": replace(FACTS, faults=(broker_kill(1500, 2500),)),
    "broker killed for good": replace(FACTS, faults=(broker_kill(3000, None),)),
    "broker killed after": replace(FACTS, faults=(broker_kill(3001, None),)),
    "broker paused between": replace(FACTS, faults=(broker_kill(1500, 2500, FaultKind.BROKER_PAUSE),)),
    "broker recreated between": replace(FACTS, faults=(broker_kill(1500, 2500, FaultKind.BROKER_RECREATE),)),
    "broker restarted between": replace(FACTS, faults=(broker_kill(1500, 2500, FaultKind.BROKER_RESTART),)),
    "fault never fired": replace(FACTS, faults=(replace(broker_kill(1500, None), injected_ns=None),)),
    "holder killed between": replace(FACTS, shards=(worker(0, killed_ns=2000, ended_ns=2001), worker(1))),
    "holder killed after": replace(FACTS, shards=(worker(0, killed_ns=3001, ended_ns=3002), worker(1))),
    "holder ended when the repeat came": replace(FACTS, shards=(worker(0, ended_ns=3000), worker(1))),
    "hold ran out exactly": replace(FACTS, visibility_s=2010e-9),
    "hold nearly ran out": replace(FACTS, visibility_s=2011e-9),
    "acknowledged by receiving": replace(FACTS, auto_ack=True),
}
TRAITS = {
    "stream": STREAM,
    "lease without reclaim": Traits(entry_ids=True),
    "reliable list": RELIABLE_LIST,
    "list": LIST,
    "rabbit": RABBIT,
    "library retries": Traits(at_most_once=True, reclaims=True, library_retries=True),
    "nothing told": Traits(),
}


@pytest.mark.parametrize("traits", TRAITS.values(), ids=TRAITS.keys())
@pytest.mark.parametrize("facts", EVENTS.values(), ids=EVENTS.keys())
def test_each_repeat_has_exactly_the_cause_of_the_page(facts: TrialFacts, traits: Traits) -> None:
    pairs = [(("CONFIRMED", "CONFIRMED"), pair, ()) for pair in product(FIRST, SECOND)]
    history = written(pairs, facts, traits)
    for row in history.deliveries:
        if row["received_ns"] == 2000:  # the repeat
            row.update(received_ns=3000, started_ns=3000, finished_ns=3010, settling_ns=3020, settled_ns=3030)
    compare(history)


@pytest.mark.parametrize(("t_ns", "up"), [(999, False), (1000, False), (3000, False), (3001, False), (2000, True)])
def test_each_repeat_after_a_lost_connection_has_exactly_the_cause_of_the_page(t_ns: int, up: bool) -> None:
    pairs = [(("CONFIRMED",), ({}, {**second, "attempt": 1}), ()) for second in SECOND]
    history = written(pairs, FACTS, STREAM)
    for row in history.deliveries:
        row.update(UNSETTLED)
    compare(replace(history, connections=[{**lost(0, t_ns), "up": up}]))
