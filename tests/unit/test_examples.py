"""Which identities are shown, and all that is said of them."""

from __future__ import annotations

from dataclasses import replace

from histories import FACTS, UNFINISHED, UNSETTLED, History, attempt, copy, delivery

from harness.analysis.examples import BAD_CLASSES, TELLING_MARKS, examples
from harness.model import Class, Mark
from harness.record import Example, ExampleDelivery

LOADED = replace(FACTS, load_start_ns=100)


def shown(history: History) -> list[Example]:
    found = history.tables()
    return examples(history.reconciled(), found["attempts"], found["deliveries"], found["residue"], history.facts)


def test_a_good_history_has_no_examples() -> None:
    assert shown(History(attempts=[attempt(0), attempt(1)], deliveries=[delivery(0), delivery(1)])) == []


def test_of_our_own_retries_only_the_effect_is_shown() -> None:
    history = History(
        attempts=[attempt(), attempt(0, 2)], deliveries=[delivery(), delivery(received_ns=2000, attempt=2)]
    )
    assert [one.what for one in shown(history)] == ["duplicate_effect"]


def test_an_example_tells_all_that_happened_in_seconds_since_the_start_of_the_load() -> None:
    history = History(
        attempts=[attempt(6, outcome="UNKNOWN"), attempt(6, 2, intended_ns=100, sent_ns=500, confirmed_ns=600)],
        deliveries=[
            delivery(6, 3000, worker=1, entry=7, **UNFINISHED, **UNSETTLED),
            delivery(6, 1000, entry=7, settlement="RELEASE", finished_ns=None, failed_ns=1010),
            delivery(6, 1500, foreign=True),
        ],
        residue=[copy(6, "in_flight"), copy(6, "ready")],
        facts=LOADED,
    )
    stranded, asked_again = shown(history)
    assert asked_again == stranded.model_copy(update={"what": "asked_again"})
    assert stranded == Example(
        identity="0:6",
        what="stranded",
        intended_s=0.0,
        sent_s=10 / 1e9,
        confirmed_s=500 / 1e9,
        outcome="CONFIRMED",
        deliveries=[
            ExampleDelivery(
                worker=0,
                attempt=1,
                cause="",
                received_s=900 / 1e9,
                settled_s=930 / 1e9,
                settlement="RELEASE",
                settle_outcome="OK",
            ),
            ExampleDelivery(worker=1, attempt=1, cause="asked_again", received_s=2900 / 1e9),
        ],
        found=["in_flight", "ready"],
    )


def test_a_phantom_that_nobody_sent_has_no_times_of_sending() -> None:
    (phantom,) = shown(History(attempts=[], residue=[copy(3)]))
    assert phantom == Example(identity="0:3", what="phantom", found=["ready"])


def test_at_most_three_of_each_are_shown_the_lowest_first() -> None:
    history = History(attempts=[attempt(seq) for seq in range(9, 2, -1)])
    assert [(one.what, one.identity) for one in shown(history)] == [("lost", "0:3"), ("lost", "0:4"), ("lost", "0:5")]


def test_each_subscription_shows_its_own_deliveries() -> None:
    deliveries = [delivery(0, subscription=1), delivery(0, subscription=2, **UNFINISHED), delivery(1, subscription=1)]
    history = History(attempts=[attempt(0)], deliveries=deliveries)
    found = {one.what: [row.finished_s is not None for row in one.deliveries] for one in shown(history)}
    assert found == {"phantom": [True], "interrupted": [False]}


def test_every_class_that_is_not_good_and_every_mark_but_our_own_retries_can_be_shown() -> None:
    good = {Class.UNSENT, Class.REJECTED, Class.PROCESSED, Class.RECOVERED, Class.DEAD_LETTERED}
    assert set(BAD_CLASSES) == set(Class) - good
    assert set(TELLING_MARKS) == set(Mark) - {Mark.ATTEMPT_DUPLICATE}
