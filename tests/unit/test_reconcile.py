"""Each class, each cause and each mark of ``measurement.md`` section 3 on a history built by hand for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from histories import (
    FACTS,
    LIST,
    RABBIT,
    RELIABLE_LIST,
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

from harness import tables
from harness.facts import ShardRecord
from harness.model import CAUSES, Class, FaultKind, Mark, Traits

NOT_SOUND = replace(FACTS, residue_sound=False)


def classes(history: History) -> list[str]:
    return history.reconciled().messages["class"].to_list()


def marks(history: History) -> dict[str, int]:
    """Returns the marks that were set at all, over all messages, and checks that the counts say the same."""
    result = history.reconciled()
    columns = {mark.value: int(result.messages[mark.value].sum()) for mark in Mark}
    assert result.counts.marks == columns
    return {name: count for name, count in columns.items() if count}


# -- classes --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "history",
    [
        History(attempts=[], deliveries=[delivery()]),
        History(attempts=[], residue=[copy()]),
        History(attempts=[attempt(outcome="NOT_SENT")], deliveries=[delivery(**UNFINISHED)]),
        History(attempts=[attempt(outcome="REJECTED")], residue=[copy(place="dead_letter")]),
        History(attempts=[], deliveries=[delivery()], facts=NOT_SOUND),
    ],
)
def test_what_was_seen_though_it_cannot_have_come_is_a_phantom(history: History) -> None:
    assert classes(history) == ["phantom"]


def test_a_message_that_never_left_is_unsent() -> None:
    assert classes(History(attempts=[attempt(outcome="NOT_SENT", held="disconnected")])) == ["unsent"]


def test_a_refused_message_that_nobody_saw_is_rejected() -> None:
    assert classes(History(attempts=[attempt(outcome="REJECTED")])) == ["rejected"]


def test_a_confirmed_message_whose_work_finished_is_processed_wherever_else_it_is_found() -> None:
    assert classes(History(deliveries=[delivery()], residue=[copy(place="dead_letter")], facts=NOT_SOUND)) == [
        "processed"
    ]


def test_an_unanswered_message_whose_work_finished_is_recovered() -> None:
    assert classes(History(attempts=[attempt(outcome="UNKNOWN")], deliveries=[delivery()])) == ["recovered"]


def test_a_message_found_in_the_dead_letter_place_is_dead_lettered() -> None:
    history = History(deliveries=[delivery(**UNFINISHED)], residue=[copy(place="ready"), copy(place="dead_letter")])
    assert classes(history) == ["dead_lettered"]


@pytest.mark.parametrize("place", ["ready", "delayed", "in_flight", "running"])
def test_a_message_found_elsewhere_is_stranded_even_where_the_search_was_not_sound(place: str) -> None:
    assert classes(History(residue=[copy(place=place)], facts=NOT_SOUND)) == ["stranded"]


@pytest.mark.parametrize(
    "facts",
    [
        NOT_SOUND,
        replace(FACTS, shards=(worker(0, slots_found=4, slots_reported=5),)),
        replace(FACTS, shards=(worker(0, slots_found=-1),)),
    ],
    ids=["search not sound", "slots missing", "slot file missing"],
)
@pytest.mark.parametrize("outcome", ["CONFIRMED", "UNKNOWN"])
def test_a_message_that_is_gone_is_undecided_where_the_evidence_is_not_sound(facts: Any, outcome: str) -> None:
    assert classes(History(attempts=[attempt(outcome=outcome)], facts=facts)) == ["undecided"]


def test_an_unanswered_message_that_is_gone_vanished_received_or_not() -> None:
    history = History(
        attempts=[attempt(0, outcome="UNKNOWN"), attempt(1, outcome="UNKNOWN")], deliveries=[delivery(1, **UNFINISHED)]
    )
    assert classes(history) == ["vanished", "vanished"]


@pytest.mark.parametrize("settlement", ["RELEASE", "RETRY", "DEAD"])
def test_a_confirmed_message_that_is_gone_after_its_worker_gave_it_back_is_lost_in_settling(settlement: str) -> None:
    given_back = {**UNFINISHED, "settlement": settlement}
    assert classes(History(deliveries=[delivery(**given_back)])) == ["lost_in_settling"]
    not_answered = {**given_back, "settle_outcome": "UNKNOWN", "settled_ns": None}
    assert classes(History(deliveries=[delivery(**not_answered)])) == ["interrupted"]
    received_again = [delivery(**given_back), delivery(received_ns=2000, **UNFINISHED, **UNSETTLED)]
    assert classes(History(deliveries=received_again[::-1])) == ["interrupted"]


def test_a_confirmed_message_that_was_received_and_is_gone_is_interrupted() -> None:
    assert classes(History(deliveries=[delivery(**UNFINISHED, **UNSETTLED)])) == ["interrupted"]


def test_a_confirmed_message_that_nobody_saw_is_lost() -> None:
    assert classes(History()) == ["lost"]


def test_the_outcome_of_an_identity_is_the_strongest_of_its_attempts() -> None:
    history = History(
        attempts=[
            attempt(0, 1, "CONFIRMED"),
            attempt(0, 2, "UNKNOWN"),
            attempt(1, 1, "REJECTED"),
            attempt(1, 2, "UNKNOWN"),
            attempt(2, 1, "NOT_SENT"),
            attempt(2, 2, "REJECTED"),
        ]
    )
    result = history.reconciled()
    assert result.outcomes.to_list() == ["CONFIRMED", "UNKNOWN", "REJECTED"]
    assert result.messages["class"].to_list() == ["lost", "vanished", "rejected"]


def test_every_identity_of_a_producer_whose_slots_are_missing_is_unknown_at_least() -> None:
    shard = ShardRecord(name="p0", kind="producer", number=0, slots_found=2, slots_reported=3)
    history = History(
        attempts=[attempt(0), attempt(1, outcome="NOT_SENT"), attempt(0, producer=1, outcome="NOT_SENT")],
        deliveries=[delivery(2), delivery(0, producer=1)],
    ).with_facts(shards=(worker(0), shard))
    result = history.reconciled()
    assert result.outcomes.to_list() == ["CONFIRMED", "UNKNOWN", "UNKNOWN", "NOT_SENT"]
    assert result.messages["class"].to_list() == ["lost", "vanished", "recovered", "phantom"]


def test_messages_of_another_run_and_unreadable_ones_are_counted_apart_and_judge_nobody() -> None:
    unreadable = {"producer": None, "seq": None, "attempt": None, "checksum_ok": False}
    history = History(
        deliveries=[delivery(foreign=True), delivery(7, foreign=True), delivery(**unreadable)],
        residue=[copy(foreign=True), copy(8, foreign=True), copy(producer=None, seq=None, attempt=None)],
    )
    result = history.reconciled()
    assert result.messages["class"].to_list() == ["lost"]
    assert (result.counts.foreign, result.counts.unreadable) == (2, 1)
    assert (result.counts.foreign_found, result.counts.unreadable_found) == (2, 1)
    assert result.causes.to_list() == [None, None, None]
    assert result.repeats.height == 0
    assert marks(history) == {}


def test_each_subscription_judges_every_identity_for_itself() -> None:
    history = History(
        attempts=[attempt(0), attempt(1)],
        deliveries=[delivery(0, subscription=1), delivery(1, subscription=1), delivery(0, subscription=2)],
    )
    messages = history.reconciled().messages
    assert messages.select("subscription", "seq", "class").rows() == [
        (1, 0, "processed"),
        (1, 1, "processed"),
        (2, 0, "processed"),
        (2, 1, "lost"),
    ]
    assert marks(history) == {}


def test_the_table_of_messages_has_its_columns_and_the_first_times() -> None:
    history = History(
        attempts=[attempt(0), attempt(1)],
        deliveries=[delivery(0, 2000, entry=7), delivery(0, 1000, entry=7, **UNFINISHED)],
    )
    messages = history.reconciled().messages
    assert messages.schema == tables.MESSAGES
    assert messages.select("received_ns", "finished_ns").rows() == [(1000, 2010), (None, None)]


def test_nothing_at_all_is_judged_as_nothing() -> None:
    result = History(attempts=[]).reconciled()
    assert (result.messages.height, result.messages.schema) == (0, tables.MESSAGES)
    assert set(result.counts.classes) == {name.value for name in Class}
    assert set(result.counts.marks) == {name.value for name in Mark}
    assert not any(result.counts.classes.values())


def test_the_counts_say_how_many_of_each() -> None:
    history = History(
        attempts=[
            attempt(0),
            attempt(1),
            attempt(2, outcome="UNKNOWN", held="blocked"),
            attempt(3, outcome="NOT_SENT", held="disconnected"),
            attempt(4, outcome="REJECTED", held="disconnected"),
        ],
        deliveries=[delivery(0, entry=1), delivery(0, 2000, entry=2), delivery(2), delivery(9)],
    )
    counts = history.reconciled().counts
    assert counts.identities == 6
    assert {name: n for name, n in counts.classes.items() if n} == {
        "phantom": 1,
        "unsent": 1,
        "rejected": 1,
        "processed": 1,
        "recovered": 1,
        "lost": 1,
    }
    assert counts.outcomes == {"NOT_SENT": 1, "REJECTED": 1, "UNKNOWN": 1, "CONFIRMED": 2}
    assert counts.held == {"disconnected": 2, "blocked": 1, "window": 0}
    assert counts.jepsen == {"lost": 1, "unexpected": 1, "duplicated": 1, "recovered": 1}


# -- causes ---------------------------------------------------------------------------------------------------------------------


def cause(first: dict[str, Any], second: dict[str, Any], history: History) -> str:
    """Returns why the second of two deliveries came; everything else of the history is as given."""
    result = replace(history, deliveries=[delivery(**first), delivery(received_ns=3000, **second)]).reconciled()
    assert result.causes[0] is None
    return str(result.causes[1])


ENTRY = {"entry": 7}
HELD = {**ENTRY, **UNSETTLED}
TWICE = History(attempts=[attempt(), attempt(attempt=2)])


def test_the_first_delivery_of_another_attempt_is_an_attempt_duplicate() -> None:
    assert cause(ENTRY, {"attempt": 2, "entry": 8}, TWICE) == "attempt_duplicate"


@pytest.mark.parametrize("settlement", ["RELEASE", "RETRY", "DEAD"])
def test_a_repeat_of_what_was_given_back_was_asked_again(settlement: str) -> None:
    back = {**ENTRY, "settlement": settlement}
    assert cause(back, ENTRY, TWICE) == "asked_again"
    assert cause({**back, "settle_outcome": "UNKNOWN", "settled_ns": None}, ENTRY, TWICE) == "asked_again"
    assert cause(back, {"entry": 8}, TWICE) == "asked_again"  # a retry can be a new entry
    assert cause({**back, "settle_outcome": "STALE"}, ENTRY, TWICE) == "given_twice"
    assert cause({**back, "settling_ns": 3001, "settled_ns": 3002}, ENTRY, TWICE) == "given_twice"


def test_where_entries_differ_any_earlier_delivery_of_the_attempt_can_have_been_given_back() -> None:
    back, held, new = (
        delivery(entry=1, settlement="RETRY"),
        delivery(received_ns=2000, entry=2),
        delivery(received_ns=3000, entry=3),
    )
    assert History(deliveries=[back, held, new]).reconciled().causes.to_list() == [None, "asked_again", "asked_again"]


def test_a_second_copy_is_a_producer_duplicate() -> None:
    assert cause(ENTRY, {"entry": 8}, TWICE) == "producer_duplicate"
    rabbit = replace(TWICE, traits=RABBIT)
    assert cause(UNSETTLED, {"redelivered": False}, rabbit) == "producer_duplicate"
    assert cause(UNSETTLED, {"redelivered": True}, rabbit) == "given_twice"  # true proves nothing
    pop = replace(TWICE, traits=LIST)
    assert cause(UNSETTLED, {}, pop) == "producer_duplicate"
    assert cause(UNSETTLED, {}, pop.with_facts(faults=(broker_kill(2000, 2500),))) == "redelivered_unacked"
    assert (
        cause(UNSETTLED, {}, replace(TWICE, traits=RELIABLE_LIST)) == "given_twice"
    )  # a pop with reclaim tells nothing


def test_with_library_retries_a_repeat_after_a_broker_fault_has_no_known_origin() -> None:
    retrying = Traits(at_most_once=True, library_retries=True)
    history = replace(TWICE, traits=retrying).with_facts(faults=(broker_kill(2000, 2500),))
    assert cause({}, {}, history) == "duplicate_of_unknown_origin"
    assert cause(ENTRY, ENTRY, replace(history, traits=replace(retrying, entry_ids=True))) == "redelivered_after_ack"


def test_a_repeat_asked_for_after_the_ack_was_ok_came_after_its_ack() -> None:
    assert cause(ENTRY, ENTRY, TWICE) == "redelivered_after_ack"
    assert cause({**ENTRY, "settlement": "AUTO"}, ENTRY, TWICE) == "redelivered_after_ack"


@pytest.mark.parametrize(
    "ack",
    [
        {"settle_outcome": "UNKNOWN", "settled_ns": None},
        {"settle_outcome": "STALE"},
        {"settling_ns": 2980, "settled_ns": 2995},  # OK, but seen after the repeat had been asked for at 2990
    ],
)
def test_a_repeat_while_an_ack_was_not_known_to_be_ok_came_after_an_unknown_ack(ack: dict[str, Any]) -> None:
    assert cause({**ENTRY, **ack}, ENTRY, TWICE) == "redelivered_after_unknown_ack"


@pytest.mark.parametrize(
    "history",
    [
        TWICE.with_facts(shards=(worker(0, killed_ns=2000),)),
        TWICE.with_facts(shards=(worker(0, ended_ns=2000),)),
        replace(TWICE, connections=[lost(0, 2000)]),
        TWICE.with_facts(faults=(broker_kill(2000, 2500),)),
        TWICE.with_facts(faults=(broker_kill(2000, None, FaultKind.BROKER_RESTART),)),
        TWICE.with_facts(faults=(broker_kill(2000, None, FaultKind.BROKER_RECREATE),)),
        TWICE.with_facts(visibility_s=2000e-9),
    ],
    ids=["killed", "ended", "cut", "broker killed", "broker restarted", "recreated", "hold over"],
)
def test_a_repeat_of_what_its_holder_let_go_is_redelivered_unacked(history: History) -> None:
    assert cause(HELD, {**ENTRY, "worker": 1}, history) == "redelivered_unacked"


@pytest.mark.parametrize(
    "history",
    [
        TWICE,
        TWICE.with_facts(shards=(worker(0), worker(1, killed_ns=2000))),
        TWICE.with_facts(shards=(worker(0, killed_ns=3001),)),
        replace(TWICE, connections=[lost(0, 999), lost(0, 3001), lost(1, 2000)]),
        TWICE.with_facts(faults=(broker_kill(500, 900), broker_kill(3001, None))),
        TWICE.with_facts(faults=(broker_kill(2000, 2500, FaultKind.BROKER_PAUSE),)),
        replace(TWICE, traits=Traits(entry_ids=True)).with_facts(visibility_s=2000e-9),
    ],
    ids=[
        "nothing",
        "another killed",
        "killed later",
        "cut before, after, another",
        "faults before, after",
        "pause",
        "no reclaim",
    ],
)
def test_a_repeat_that_nothing_explains_was_given_twice(history: History) -> None:
    assert cause(HELD, {**ENTRY, "worker": 1}, history) == "given_twice"


def test_a_repeat_is_compared_with_the_latest_delivery_of_its_own_entry() -> None:
    deliveries = [
        delivery(received_ns=t, entry=e, **more) for t, e, more in ((1000, 1, {}), (2000, 2, UNSETTLED), (3000, 1, {}))
    ]
    assert History(deliveries=deliveries).reconciled().causes.to_list() == [
        None,
        "producer_duplicate",
        "redelivered_after_ack",
    ]


def test_causes_stand_beside_their_row_of_the_deliveries_table() -> None:
    history = History(
        attempts=[attempt(0), attempt(1)],
        deliveries=[
            delivery(1, 3000, entry=5),
            delivery(0, 1000),
            delivery(4, 1000, foreign=True),
            delivery(1, 1000, entry=4),
        ],
    )
    result = history.reconciled()
    assert result.causes.to_list() == ["producer_duplicate", None, None, None]
    assert result.causes.dtype.categories.to_list() == [mark.value for mark in CAUSES]  # type: ignore[attr-defined]
    assert result.messages["producer_duplicate"].to_list() == [0, 1]
    assert result.repeats.rows() == [(0, "producer_duplicate", 3000, 1000, False, 110)]


# -- further marks --------------------------------------------------------------------------------------------------------------

KILLED = replace(FACTS, shards=(worker(0, killed_ns=2000, ended_ns=2100), worker(1)))


@pytest.mark.parametrize(
    ("first", "second", "facts", "expected"),
    [
        ({"finished_ns": 3001}, {"worker": 1}, FACTS, 1),
        ({"finished_ns": 3000}, {"worker": 1}, FACTS, 0),
        ({"finished_ns": None, "failed_ns": 3001}, {"worker": 1}, FACTS, 1),
        ({"finished_ns": 3001}, {"worker": 0}, FACTS, 0),
        ({"started_ns": 3000, "finished_ns": 3100}, {"worker": 1}, FACTS, 1),
        ({"started_ns": 3000, "finished_ns": 3100}, {"worker": 1, "finished_ns": 3000}, FACTS, 0),  # over as it begins
        (UNFINISHED, {"worker": 1}, FACTS, 1),
        (UNFINISHED, {"worker": 1}, KILLED, 0),
        (UNFINISHED, {"worker": 1}, replace(KILLED, shards=(worker(0, killed_ns=3001), worker(1))), 1),
        ({**UNFINISHED, "started_ns": None}, {"worker": 1}, FACTS, 0),
    ],
)
def test_work_of_different_workers_on_one_message_at_once_is_overlapping_execution(
    first: dict[str, Any], second: dict[str, Any], facts: Any, expected: int
) -> None:
    history = History(
        deliveries=[delivery(**ENTRY, **first), delivery(received_ns=3000, **ENTRY, **second)], facts=facts
    )
    assert marks(history).get("overlapping_execution", 0) == expected


def test_each_finish_after_the_first_is_a_duplicate_effect() -> None:
    history = History(deliveries=[delivery(received_ns=1000 * at, **ENTRY) for at in (1, 2, 3)])
    assert marks(history) == {"redelivered_after_ack": 2, "duplicate_effect": 2}


def test_a_payload_whose_checksum_differs_is_corrupt_but_seen() -> None:
    history = History(deliveries=[delivery(checksum_ok=False)])
    assert marks(history) == {"corrupt": 1}
    assert classes(history) == ["processed"]


def test_what_is_still_in_the_broker_after_its_work_finished_is_left_behind() -> None:
    unacked = History(deliveries=[delivery(**HELD)], residue=[copy(place="in_flight", **ENTRY)])
    assert marks(unacked) == {"left_behind": 1}
    dead = replace(unacked, residue=[copy(place="dead_letter", **ENTRY)])
    assert marks(dead) == {}
    unfinished = History(deliveries=[delivery(**HELD, **UNFINISHED)], residue=[copy(**ENTRY)])
    assert marks(unfinished) == {}


def test_what_is_left_behind_after_an_ack_counts_as_redelivered_after_ack() -> None:
    acked = History(deliveries=[delivery(**ENTRY)], residue=[copy(**ENTRY)])
    assert marks(acked) == {"left_behind": 1, "redelivered_after_ack": 1}
    second_copy = replace(acked, residue=[copy(entry=8)])
    assert marks(second_copy) == {"left_behind": 1}
    no_ids = replace(second_copy, traits=RELIABLE_LIST)
    assert marks(no_ids) == {"left_behind": 1, "redelivered_after_ack": 1}
    another_attempt = replace(no_ids, residue=[copy(attempt=2)])
    assert marks(another_attempt) == {"left_behind": 1}


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        ([attempt(attempt=1), attempt(attempt=2, outcome="REJECTED")], 1),
        ([attempt(attempt=1), attempt(attempt=2, outcome="NOT_SENT")], 1),
        ([attempt(attempt=1)], 1),
        ([attempt(attempt=1), attempt(attempt=2, outcome="UNKNOWN")], 0),
        ([attempt(attempt=1, outcome="REJECTED")], 0),  # none can have come: the whole identity is a phantom
    ],
)
def test_a_delivery_of_an_attempt_that_cannot_have_come_is_a_phantom_attempt(
    attempts: list[dict[str, Any]], expected: int
) -> None:
    assert marks(History(attempts=attempts, deliveries=[delivery(attempt=2)])).get("phantom_attempt", 0) == expected


def test_a_first_delivery_after_one_that_was_sent_later_is_reordered() -> None:
    sent = [attempt(seq, sent_ns=110 + seq) for seq in range(4)]
    order = [delivery(seq, 1000 + at) for at, seq in enumerate((2, 0, 1, 3))]
    result = History(attempts=sent, deliveries=order).reconciled()
    assert result.messages["reordered"].to_list() == [1, 1, 0, 0]


def test_the_order_of_sending_counts_not_the_number_of_the_message() -> None:
    sent = [attempt(0, sent_ns=200), attempt(1, sent_ns=100), attempt(2, sent_ns=200)]
    order = [delivery(seq, 1000) for seq in (1, 0, 2)]  # received in one block: the table's order counts
    assert marks(History(attempts=sent, deliveries=order)) == {}
    assert marks(History(attempts=sent, deliveries=[delivery(seq, 1000) for seq in (2, 0, 1)])) == {"reordered": 2}


def test_order_is_compared_within_one_worker_and_one_producer_only() -> None:
    sent = [attempt(0, sent_ns=100), attempt(1, sent_ns=200), attempt(0, producer=1, sent_ns=50)]
    order = [delivery(1, 1000, worker=0), delivery(0, 1001, worker=1), delivery(0, 1002, producer=1)]
    assert marks(History(attempts=sent, deliveries=order)) == {}


def test_repeats_and_further_attempts_are_not_reordered() -> None:
    sent = [attempt(0), attempt(0, 2), attempt(1, sent_ns=111)]
    order = [delivery(0, 1000), delivery(1, 1001), delivery(0, 1002), delivery(0, 1003, attempt=2)]
    assert "reordered" not in marks(History(attempts=sent, deliveries=order))


def test_a_worker_that_stood_still_after_asking_may_receive_last_what_it_was_given_first() -> None:
    # Given to worker 0 at 1,000, whose hold ran out at 6,000; worker 1 got it at 6,100, worker 0 saw its own only at 6,200.
    late = delivery(received_ns=6200, asked_ns=1000, worker=0, entry=7, **UNSETTLED)
    first = delivery(received_ns=6100, asked_ns=6050, worker=1, entry=7)
    result = History(deliveries=[first, late]).reconciled()
    assert result.causes.to_list() == [None, "redelivered_unacked"]
    assert result.repeats["expired"].to_list() == [True]
    early = delivery(received_ns=6200, asked_ns=1200, worker=0, entry=7, **UNSETTLED)  # nobody else could have it yet
    assert History(deliveries=[first, early]).reconciled().causes.to_list() == [None, "given_twice"]
