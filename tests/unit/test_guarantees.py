"""Every way to a verdict, on hand-built trials."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from trials import MS, NULL, Story, at, claim, connection, copy, fault, producer, worker

from harness.analysis.claims import allows_repeat, bound_words, claim_for, claim_words, with_auto_ack
from harness.analysis.exposure import Stand, blame, exposed, span
from harness.analysis.moments import gather_moments
from harness.analysis.reconcile import reconcile
from harness.facts import FaultRecord
from harness.faults.restart_broker import with_end
from harness.model import Claim, FaultKind, Mark, MayLose, MayRepeat, Traits, Verdict
from harness.record import Guarantee, Loss, Unknown

KILL = FaultKind.BROKER_KILL
WORKER = FaultKind.WORKER_KILL
CUT = [connection("w0", 10.001, up=False), connection("w0", 12, up=True)]


def broker_kill(claims: tuple[Claim, ...] = (claim(KILL),), **more: Any) -> Story:
    """20 s at 1,000/s, broker killed at 10 s and back at 12 s; what is due meanwhile is held and goes out at 12 s.

    Exposed are the messages due 9.996 to 9.999 s: sent before the kill, settled (4 ms later) at 10 s or after it. Those that
    were held are confirmed at 12.001 s, after the heal.
    """
    story = Story(rate=1000, seconds=20, claims=claims, connections=list(CUT), **more)
    story.facts_more = {"faults": (fault(10, 12),)}
    waited = story.due(10, 12)
    for moment, later in ((story.sent, 0), (story.confirmed, 1), (story.received, 2), (story.finished, 3)):
        moment[waited] = at(12) + later * MS
    story.settled[waited] = at(12) + 4 * MS
    story.held[waited] = "disconnected"
    return story


def guarantees(story: Story) -> dict[str, Guarantee]:
    return {given.fault: given for given in story.analysed().guarantees}


def verdict(story: Story, kind: FaultKind = KILL) -> Verdict:
    return guarantees(story)[kind.value].verdict


# Words.


def test_a_claim_reads_in_words() -> None:
    assert claim_words(claim(KILL)) == "loses nothing; may repeat unacked"
    assert claim_words(claim(KILL, MayLose.IN_FLIGHT, may_repeat=MayRepeat.NONE)) == (
        "loses at most what was in flight; repeats nothing"
    )
    assert claim_words(claim(KILL, MayLose.WINDOW, window_s=0.6, may_repeat=MayRepeat.ACKED)) == (
        "loses at most what was confirmed in the last 600 ms; may repeat even acked"
    )
    assert claim_words(claim(KILL, MayLose.ALL, may_strand=True)) == (
        "may lose all; may repeat unacked; may leave messages undelivered"
    )
    assert claim_words(None) == "no claim"


def test_a_bound_is_printed_with_its_condition() -> None:
    assert bound_words(0, 3000) == "if losses were independent, at most 0.1 % of all (3,000 exposed, 95 %)"
    assert bound_words(0, 10_000_000) == (
        "if losses were independent, at most 0.00003 % of all (10,000,000 exposed, 95 %)"
    )


@pytest.mark.parametrize("exposed_n", [0, 1, 6])
def test_a_bound_that_says_next_to_nothing_is_not_printed(exposed_n: int) -> None:
    assert bound_words(0, exposed_n) == ""


def test_every_setup_claims_that_nothing_is_lost_or_repeated_without_a_fault() -> None:
    made = claim_for(FaultKind.NONE, ())
    assert made is not None
    assert (made.may_lose, made.may_repeat) == (MayLose.NONE, MayRepeat.NONE)
    assert claim_for(KILL, ()) is None


@pytest.mark.parametrize(
    ("cause", "allowed_from"),
    [
        (Mark.ATTEMPT_DUPLICATE, MayRepeat.NONE),
        (Mark.ASKED_AGAIN, MayRepeat.NONE),
        (Mark.REDELIVERED_UNACKED, MayRepeat.UNACKED),
        (Mark.REDELIVERED_AFTER_UNKNOWN_ACK, MayRepeat.UNACKED),
        (Mark.REDELIVERED_AFTER_ACK, MayRepeat.ACKED),
        (Mark.PRODUCER_DUPLICATE, MayRepeat.ACKED),
        (Mark.DUPLICATE_OF_UNKNOWN_ORIGIN, MayRepeat.ACKED),
        (Mark.GIVEN_TWICE, None),
    ],
)
def test_each_claim_on_repeats_includes_those_before_it(cause: Mark, allowed_from: MayRepeat | None) -> None:
    order = list(MayRepeat)
    allowed = [allows_repeat(claim(KILL, may_repeat=each), cause) for each in order]
    assert allowed == [allowed_from is not None and at >= order.index(allowed_from) for at in range(4)]


@pytest.mark.parametrize("cause", [Mark.REDELIVERED_UNACKED, Mark.REDELIVERED_AFTER_UNKNOWN_ACK])
def test_a_claim_on_holds_allows_what_comes_again_when_they_have_run_out(cause: Mark) -> None:
    made = claim(KILL, may_repeat=MayRepeat.EXPIRED)
    assert allows_repeat(made, cause, expired=True)
    assert not allows_repeat(made, cause)
    assert not allows_repeat(made, Mark.REDELIVERED_AFTER_ACK, expired=True)
    assert not allows_repeat(claim(KILL, may_repeat=MayRepeat.NONE), cause, expired=True)


# Without a fault.


def test_a_clean_run_holds_what_is_claimed_without_a_fault() -> None:
    given = guarantees(Story(rate=1000, seconds=5))
    assert list(given) == ["none"]
    assert given["none"].verdict is Verdict.HELD
    assert given["none"].exposed == 5000
    assert given["none"].evidence == (
        "0 of 5,000 confirmed messages lost; if losses were independent, at most 0.06 % of all (5,000 exposed, 95 %)"
    )


def test_a_loss_without_a_fault_breaks_the_no_fault_claim() -> None:
    story = Story(rate=1000, seconds=5)
    story.lose(slice(10, 13))
    given = guarantees(story)["none"]
    assert (given.verdict, given.evidence) == (Verdict.VIOLATED, "3 of 5,000 confirmed messages lost")


def test_a_repeat_without_a_fault_breaks_the_no_fault_claim() -> None:
    story = Story(rate=1000, seconds=5)
    story.settled[7] = NULL  # never acked; the hold of 5 s runs out: redelivered unacked
    story.traits = Traits(reclaims=True)
    story.more_deliveries = [story.delivery(7, at(6))]
    given = guarantees(story)["none"]
    assert (given.verdict, given.evidence) == (
        Verdict.VIOLATED,
        "0 of 5,000 confirmed messages lost; 1 came again unacked after the hold ran out",
    )
    story.claims = (claim(FaultKind.NONE, may_repeat=MayRepeat.EXPIRED),)
    assert verdict(story, FaultKind.NONE) is Verdict.HELD
    story.more_deliveries = [story.delivery(7, at(4))]  # before the hold of 5 s had run out: given twice
    assert verdict(story, FaultKind.NONE) is Verdict.VIOLATED
    story.more_deliveries = []
    story.claims = (claim(FaultKind.NONE),)
    assert verdict(story, FaultKind.NONE) is Verdict.HELD


def test_a_message_given_twice_is_within_no_claim() -> None:
    story = Story(rate=1000, seconds=5, traits=Traits(entry_ids=True))
    story.claims = (claim(FaultKind.NONE, may_repeat=MayRepeat.ACKED),)
    story.settled[7] = NULL
    story.more_deliveries = [story.delivery(7, at(1))]
    given = guarantees(story)["none"]
    assert (given.verdict, given.evidence) == (Verdict.VIOLATED, "0 of 5,000 confirmed messages lost; 1 given twice")


def test_phantoms_and_corrupt_messages_break_every_claim() -> None:
    story = broker_kill()
    story.outcome[3] = "REJECTED"  # and delivered all the same
    story.more_deliveries = [story.delivery(5, at(0.5), checksum_ok=False, attempt=1)]
    given = guarantees(story)
    assert {kind: each.verdict for kind, each in given.items()} == {
        "none": Verdict.VIOLATED,
        "broker kill": Verdict.VIOLATED,
    }
    assert "1 phantom; 1 corrupt" in given["broker kill"].evidence


def test_an_unreadable_header_is_corruption() -> None:
    story = Story(rate=1000, seconds=5)
    story.more_deliveries = [story.delivery(0, at(1), producer=None, attempt=None, checksum_ok=False) | {"seq": None}]
    assert guarantees(story)["none"].evidence == ("0 of 5,000 confirmed messages lost; 1 with an unreadable header")
    assert verdict(story, FaultKind.NONE) is Verdict.VIOLATED


def test_an_attempt_that_cannot_have_come_breaks_every_claim() -> None:
    story = Story(rate=1000, seconds=5)
    story.more_deliveries = [story.delivery(5, at(1), attempt=2)]  # nobody made a second attempt
    given = guarantees(story)["none"]
    assert given.verdict is Verdict.VIOLATED
    assert "1 of a phantom attempt" in given.evidence


# Exposure.


def test_exposed_is_confirmed_before_the_heal_with_a_stay_that_overlaps_the_fault() -> None:
    # Killed at 10 s: due 9.996 s settles at 10.000 s and still overlaps; 9.995 s does not. Confirmed by the heal at 12 s: not those
    # sent at 12 s (12.001 s).
    story = broker_kill()
    given = guarantees(story)["broker kill"]
    assert given.exposed == 4
    assert story.analysed().faults[0].exposed == 4
    assert guarantees(story)["none"].exposed == 20_000 - 4


def moments(story: Story) -> Any:
    tables = story.tables()
    found = reconcile(
        tables.attempts, tables.deliveries, tables.residue, tables.connections, story.facts(), story.traits
    )
    return gather_moments(tables.attempts.lazy(), tables.deliveries.lazy(), found.messages)


@pytest.mark.parametrize("kind", [KILL, FaultKind.BROKER_RESTART, FaultKind.BROKER_RECREATE])
def test_what_was_sent_when_the_broker_had_ended_is_not_exposed_to_its_end(kind: FaultKind) -> None:
    # All that was due from 10 s on was sent at once and confirmed by the broker that came back, before it healed at 12 s.
    story = broker_kill((claim(kind),))
    late = story.due(10, 12)
    story.sent[late], story.confirmed[late] = story.intended[late], at(11.5)
    took = replace(fault(10, 12, kind), evidence={"ended_ns": at(10.003)})
    story.facts_more = {"faults": (took,)}
    given = guarantees(story)
    assert (given[kind.value].exposed, given[kind.value].bounded) == (
        8,
        8,
    )  # due 9.996 to 9.999 s, and 10.000 to 10.003 s
    assert given["none"].exposed == 20_000 - 8
    story.lose([10_003, 10_004])  # sent as it ended, and after that
    given = guarantees(story)
    assert given[kind.value].evidence == "1 of 8 exposed messages lost"
    assert given["none"].evidence == "1 of 19,992 messages that met no fault lost"


@pytest.mark.parametrize(
    "told",
    [
        fault(10, 12),  # a run folder of before
        replace(fault(10, 12), evidence={"took_s": 0.003}),
        replace(fault(10, 12, FaultKind.BROKER_PAUSE), evidence={"ended_ns": at(10.003)}),
    ],
)
def test_without_the_end_of_the_broker_all_that_was_confirmed_until_the_heal_is_exposed(told: FaultRecord) -> None:
    story = broker_kill()
    late = story.due(10, 12)
    story.sent[late], story.confirmed[late] = story.intended[late], at(11.5)
    assert np.count_nonzero(exposed(moments(story), told, story.facts(), settles_itself=False)) == 2_004


def test_the_evidence_of_an_end_says_when_it_was_over_where_that_is_known() -> None:
    assert with_end({"gone": True, "took_s": 0.5, "t_ns": 7})["ended_ns"] == 500_000_007
    assert with_end({"graceful": True, "took_s": 0.5, "t_ns": 7})["ended_ns"] == 500_000_007
    assert "ended_ns" not in with_end({"gone": False, "took_s": 0.5, "t_ns": 7})
    assert with_end({"gone": True, "t_ns": 7}) == {"gone": True, "t_ns": 7}


def test_a_kill_of_a_broker_that_was_empty_is_not_exercised_whatever_came_until_it_healed() -> None:
    story = broker_kill()
    late = story.due(10, 12)
    story.sent[late], story.confirmed[late] = at(11), at(11.5)
    story.settled[9_990:10_000] = story.intended[9_990:10_000]
    story.facts_more = {"faults": (replace(fault(10, 12), evidence={"ended_ns": at(10.003)}),)}
    given = guarantees(story)["broker kill"]
    assert (given.verdict, given.exposed, given.evidence) == (Verdict.NOT_EXERCISED, 0, "nothing was exposed to it")


def test_where_a_delivery_settles_itself_the_stay_ends_at_receipt_for_a_broker_and_at_the_finish_for_a_worker() -> None:
    story = Story(rate=1000, seconds=20, traits=Traits(at_most_once=True))
    facts, at_10 = story.facts(), moments(story)
    hit = exposed(at_10, fault(10, 10.0005), facts, settles_itself=True)
    # Sent by 10.0005 s and confirmed (1 ms) by then, received (2 ms) at 10 s or later: due 9.998, 9.999 s.
    assert np.flatnonzero(hit).tolist() == [9_998, 9_999]
    dead = fault(10, 10, WORKER, shards=("w1",))
    hit = exposed(at_10, dead, facts, settles_itself=True)
    # Settled (4 ms here) at 10 s or later, until 100 ms after the signal: due 9.996 s to 10.099 s (confirmed at 10.100 s).
    assert np.flatnonzero(hit).tolist() == list(range(9_996, 10_100))


def test_a_worker_kill_lasts_until_the_broker_can_have_noticed() -> None:
    story = Story(facts_more={"shards": (producer(), worker(1, killed_ns=at(10), ended_ns=at(10.3)))})
    assert span(fault(10, 10, WORKER, shards=("w1",)), story.facts()) == (at(10), at(10.4))
    assert span(fault(10, 15, WORKER, shards=("w1",)), story.facts()) == (at(10), at(15))
    assert span(fault(10, 12), story.facts()) == (at(10), at(12))


def test_a_fault_that_never_healed_lasts_to_the_end() -> None:
    start, end = span(fault(10, None), Story().facts())
    assert start == at(10)
    assert end > at(10_000)


# Broker kill.


def test_a_kill_that_lost_nothing_is_held_and_prints_how_many_were_exposed() -> None:
    given = guarantees(broker_kill())["broker kill"]
    assert given.verdict is Verdict.HELD
    assert given.evidence == (
        "0 of 4 exposed messages lost"  # a bound of 75 % would say nothing
    )


def test_a_loss_of_what_was_exposed_violates_a_claim_to_lose_nothing_and_not_the_no_fault_claim() -> None:
    story = broker_kill()
    story.lose([9_998, 9_999])
    given = guarantees(story)
    assert given["broker kill"].verdict is Verdict.VIOLATED
    assert given["broker kill"].evidence == "2 of 4 exposed messages lost"
    assert given["none"].verdict is Verdict.HELD


def test_a_loss_that_met_no_fault_is_not_the_faults() -> None:
    story = broker_kill()
    story.lose(15_000)  # sent after the heal
    given = guarantees(story)
    assert given["broker kill"].verdict is Verdict.HELD
    assert given["none"].verdict is Verdict.VIOLATED
    assert given["none"].evidence == "1 of 19,996 messages that met no fault lost"


def test_may_lose_all_allows_any_exposed_loss() -> None:
    story = broker_kill((claim(KILL, MayLose.ALL),))
    story.lose([9_996, 9_997, 9_998, 9_999])
    given = guarantees(story)["broker kill"]
    assert (given.verdict, given.evidence) == (Verdict.HELD, "4 of 4 exposed messages lost")


def test_a_window_allows_what_was_confirmed_within_it() -> None:
    # Lost: due 9.400 s, confirmed 9.401 s (and never received, so exposed), and due 9.999 s, confirmed 10.000 s.
    story = broker_kill((claim(KILL, MayLose.WINDOW, window_s=0.6),))
    story.lose([9_400, 9_999])
    assert verdict(story) is Verdict.HELD
    story.claims = (claim(KILL, MayLose.WINDOW, window_s=0.598),)
    assert verdict(story) is Verdict.VIOLATED


def test_in_flight_allows_the_open_deliveries_and_the_fetches_of_cut_workers() -> None:
    # w0 was cut at 10.001 s. Received by then and not settled by then: due 9.998 and 9.999 s (9.997 settles at 10.001 s). With a
    # prefetch of 3, 5 may be lost.
    story = broker_kill((claim(KILL, MayLose.IN_FLIGHT),))
    story.facts_more["prefetch"] = 3
    story.lose([9_000, 9_001, 9_002, 9_003, 9_004])
    given = guarantees(story)["broker kill"]
    assert given.evidence.startswith("5 of 9 exposed messages lost (in flight: 5)")
    assert given.verdict is Verdict.HELD
    story.lose(9_005)
    assert verdict(story) is Verdict.VIOLATED


def test_without_a_claim_there_is_no_verdict_but_what_was_seen() -> None:
    story = broker_kill(())
    story.lose([9_998, 9_999])
    given = guarantees(story)
    assert given["broker kill"].verdict is Verdict.NO_CLAIM
    assert (given["broker kill"].claim, given["broker kill"].evidence) == ("no claim", "2 of 4 exposed messages lost")
    assert given["none"].verdict is Verdict.HELD


def test_a_kill_without_evidence_is_not_exercised() -> None:
    story = broker_kill()
    story.connections = []
    given = guarantees(story)["broker kill"]
    assert given.verdict is Verdict.NOT_EXERCISED
    assert given.evidence == "0 of 4 exposed messages lost; no shard saw the connection break"


def test_a_kill_that_nothing_was_exposed_to_is_not_exercised() -> None:
    story = broker_kill()
    story.settled[9_990:10_000] = story.intended[9_990:10_000]  # settled at once: nothing in the broker at 10 s
    given = guarantees(story)["broker kill"]
    assert (given.verdict, given.exposed) == (Verdict.NOT_EXERCISED, 0)
    assert given.evidence.endswith("nothing was exposed to it")


def test_a_fault_that_never_fired_is_not_exercised() -> None:
    story = Story(rate=1000, seconds=5, claims=(claim(KILL),), facts_more={"faults": (fault(None, None),)})
    given = guarantees(story)["broker kill"]
    assert (given.verdict, given.evidence) == (
        Verdict.NOT_EXERCISED,
        "the fault never fired",
    )


def test_a_loss_is_proven_even_where_the_evidence_of_the_fault_is_missing() -> None:
    story = broker_kill()
    story.connections = []
    story.lose(9_999)
    assert verdict(story) is Verdict.VIOLATED


def test_while_an_exposed_message_is_undecided_the_verdict_is_unknown() -> None:
    story = broker_kill()
    story.lose(9_999)
    story.facts_more["residue_sound"] = False
    given = guarantees(story)
    assert given["broker kill"].verdict is Verdict.UNKNOWN
    assert given["broker kill"].evidence == "0 of 4 exposed messages lost; 1 undecided"
    assert given["none"].verdict is Verdict.HELD  # it was exposed to the kill


def test_the_counts_stand_beside_their_words() -> None:
    story = broker_kill()
    story.facts_more |= {"faults": (fault(10, None),), "broker_back": False, "residue_sound": False}
    story.lose(story.due(9.9, 20))
    story.outcome[story.due(10, 20)] = "UNKNOWN"
    story.confirmed[story.due(10, 20)] = NULL
    given = guarantees(story)["broker kill"]
    assert given.loss == Loss(lost=0, of=100, what="exposed messages")
    assert given.counts == {"undecided": 100}
    assert given.notes == ["unavailable: the broker did not come back"]
    assert (given.exposed, given.bounded) == (100, 100)


def test_a_broker_that_does_not_come_back_is_unavailable() -> None:
    story = broker_kill()
    story.facts_more |= {"faults": (fault(10, None),), "broker_back": False, "residue_sound": False}
    story.lose(story.due(9.9, 20))
    story.outcome[story.due(10, 20)] = "UNKNOWN"
    story.confirmed[story.due(10, 20)] = NULL
    given = guarantees(story)
    assert given["broker kill"].verdict is Verdict.VIOLATED
    assert given["broker kill"].evidence == (
        "0 of 100 exposed messages lost; 100 undecided; unavailable: the broker did not come back"
    )
    assert given["none"].verdict is Verdict.HELD


def test_a_broker_that_ended_by_itself_proves_nothing() -> None:
    story = Story(rate=1000, seconds=5, facts_more={"broker_back": False, "broker_died": "status -9"})
    given = guarantees(story)["none"]
    assert given.verdict is Verdict.UNKNOWN
    assert given.evidence == (
        "0 of 5,000 confirmed messages lost; the broker ended unexpectedly, by no fault of the scenario"
    )


def test_a_broker_that_goes_away_without_a_fault_breaks_the_no_fault_claim() -> None:
    story = Story(rate=1000, seconds=5, facts_more={"broker_back": False})
    assert guarantees(story)["none"].evidence.endswith("unavailable: the broker did not come back")
    assert verdict(story, FaultKind.NONE) is Verdict.VIOLATED


# Repeats under a fault.


def repeated(received_s: float, **more: Any) -> Story:
    """Message 9,990, received 9.992 s and acked 9.994 s, comes again after the kill at 10 s."""
    story = broker_kill(traits=Traits(entry_ids=True))
    story.more_deliveries = [story.delivery(9_990, at(received_s), **more)]
    return story


def test_a_repeat_after_an_ack_violates_a_claim_that_only_unacked_ones_come_again() -> None:
    story = repeated(12.5)
    given = guarantees(story)
    assert given["broker kill"].verdict is Verdict.VIOLATED
    assert given["broker kill"].evidence == "0 of 4 exposed messages lost; 1 came again after their ack"
    assert given["none"].verdict is Verdict.HELD
    story.claims = (claim(KILL, may_repeat=MayRepeat.ACKED),)
    assert verdict(story) is Verdict.HELD


def test_an_unacked_repeat_is_within_a_claim_that_allows_it_and_beyond_one_that_does_not() -> None:
    story = repeated(12.5)
    story.settled[9_990] = NULL
    assert verdict(story) is Verdict.HELD
    assert "1 came again unacked" in guarantees(story)["broker kill"].evidence
    story.claims = (claim(KILL, may_repeat=MayRepeat.NONE),)
    assert verdict(story) is Verdict.VIOLATED


def test_a_repeat_that_was_over_before_the_fault_is_nobodys() -> None:
    story = repeated(9.999, asked_ns=at(9.998))
    given = guarantees(story)
    assert given["broker kill"].verdict is Verdict.HELD
    assert given["none"].verdict is Verdict.VIOLATED


def test_an_acked_message_that_is_still_in_the_broker_counts_as_repeated_after_its_ack() -> None:
    story = broker_kill()
    story.residue = [copy(9_990)]
    given = guarantees(story)
    assert given["broker kill"].verdict is Verdict.VIOLATED
    assert "1 came again after their ack" in given["broker kill"].evidence
    late = broker_kill()
    late.residue = [copy(15_000)]  # acked after the heal: no fault explains it
    assert verdict(late, FaultKind.NONE) is Verdict.VIOLATED
    assert verdict(late) is Verdict.HELD


def test_held_says_where_repeats_after_an_ack_were_not_put_to_the_test() -> None:
    story = broker_kill()
    story.settled[story.due(8, 10)] = at(12.5)  # no settlement answered in the last second
    given = guarantees(story)["broker kill"]
    assert given.verdict is Verdict.HELD
    assert given.evidence.endswith("no ack in the last second before it: repeats after an ack were not put to the test")


# Stranded.


def stranded(place: str, *, hold_over: bool | None, **facts: Any) -> Story:
    story = broker_kill()
    story.lose(9_999)
    story.residue = [copy(9_999, place, hold_over=hold_over)]
    story.facts_more |= facts
    return story


@pytest.mark.parametrize(
    ("place", "hold_over", "expected"),
    [
        ("in_flight", True, Verdict.VIOLATED),
        ("in_flight", False, Verdict.UNKNOWN),
        ("delayed", True, Verdict.VIOLATED),
        ("delayed", False, Verdict.UNKNOWN),
        ("running", None, Verdict.VIOLATED),
        ("ready", None, Verdict.VIOLATED),
        ("in_flight", None, Verdict.VIOLATED),
    ],
)
def test_stranded_and_the_claim(place: str, hold_over: bool | None, expected: Verdict) -> None:
    story = stranded(place, hold_over=hold_over)
    assert verdict(story) is expected
    assert verdict(story, FaultKind.NONE) is Verdict.HELD  # it was exposed to the kill
    story.claims = (claim(KILL, may_strand=True),)
    assert verdict(story) is Verdict.HELD


def test_what_is_ready_is_not_delivered_only_if_workers_asked_in_vain_for_the_longest_hold() -> None:
    # Visibility 5 s + sweep 1 s: the last delivery came at 20.001 s, and workers asked until 24 s: not long enough to tell.
    story = stranded("ready", hold_over=None, drain_complete=False, asking_until_ns=at(24))
    assert verdict(story) is Verdict.UNKNOWN
    assert guarantees(story)["broker kill"].evidence.endswith(
        "; 1 still waiting when the drain ended: raise phases.drain"
    )
    busy = stranded(
        "in_flight", hold_over=True, drain_complete=False, asking_until_ns=at(24)
    )  # held by those who work still
    assert guarantees(busy)["broker kill"].evidence.endswith(
        "; 1 still waiting when the drain ended: raise phases.drain"
    )
    held = stranded("in_flight", hold_over=False, drain_complete=False, asking_until_ns=at(24))
    assert guarantees(held)["broker kill"].evidence.endswith("; 1 stranded with their hold not over")
    assert (
        verdict(stranded("ready", hold_over=None, drain_complete=False, asking_until_ns=at(26.1))) is Verdict.VIOLATED
    )


def test_what_is_stranded_without_a_fault_breaks_the_no_fault_claim() -> None:
    story = Story(rate=1000, seconds=5)
    story.lose(3)
    story.residue = [copy(3, "running")]
    assert guarantees(story)["none"].evidence == ("0 of 5,000 confirmed messages lost; 1 not delivered (stranded)")
    assert verdict(story, FaultKind.NONE) is Verdict.VIOLATED


def test_a_dead_lettered_message_is_neither_lost_nor_stranded() -> None:
    story = Story(rate=1000, seconds=5)
    story.lose(3)
    story.residue = [copy(3, "dead_letter")]
    assert verdict(story, FaultKind.NONE) is Verdict.HELD


# Worker and producer kills, pause.


def worker_kill(claims: tuple[Claim, ...], held: int = 5, **shard: Any) -> Story:
    """20 s at 1,000/s; worker 1 killed at 10 s with ``held`` messages received and not settled, which never come again."""
    story = Story(rate=1000, seconds=20, claims=claims, traits=Traits(at_most_once=True))
    killed = worker(1, **{"killed_ns": at(10), "ended_ns": at(10.001), "exit_status": -9, **shard})
    story.facts_more = {
        "faults": (fault(10, 10, WORKER, shards=("w1",)),),
        "shards": (producer(), worker(0), killed),
    }
    mine = slice(9_998 - held, 9_998)
    story.worker[mine] = 1
    story.finished[mine] = story.settled[mine] = NULL
    return story


def test_an_at_most_once_worker_may_lose_what_it_held() -> None:
    given = guarantees(worker_kill((claim(WORKER, MayLose.IN_FLIGHT),)))
    assert given["worker kill"].verdict is Verdict.HELD
    assert "5 of" in given["worker kill"].evidence
    assert "(in flight: 5)" in given["worker kill"].evidence
    assert given["none"].verdict is Verdict.HELD


def test_what_the_dead_workers_fetch_had_asked_for_is_in_flight_too() -> None:
    # Two messages confirmed just after the signal were given to the dead: lost, and covered by its open fetch of two.
    claims = (claim(WORKER, MayLose.IN_FLIGHT),)
    story = worker_kill(claims, fetch_open=True, fetch_max_n=2)
    story.lose([10_005, 10_006])
    assert verdict(story, WORKER) is Verdict.HELD
    assert verdict(story, FaultKind.NONE) is Verdict.HELD
    without = worker_kill(claims)
    without.lose([10_005, 10_006])
    assert verdict(without, WORKER) is Verdict.VIOLATED


def test_an_at_least_once_setup_may_not_lose_what_a_killed_worker_held() -> None:
    story = worker_kill((claim(WORKER),))
    assert guarantees(story)["worker kill"].verdict is Verdict.VIOLATED


@pytest.mark.parametrize(
    ("shard", "held", "why"),
    [
        ({"exit_status": 0}, 5, "no worker ended by SIGKILL"),
        ({}, 0, "no open delivery of the killed workers is on record"),
    ],
)
def test_a_worker_kill_needs_the_signal_and_an_open_delivery(shard: dict[str, Any], held: int, why: str) -> None:
    story = worker_kill((claim(WORKER, MayLose.IN_FLIGHT),), held=held, **shard)
    given = guarantees(story)["worker kill"]
    assert given.verdict is Verdict.NOT_EXERCISED
    assert given.evidence.endswith(why)


def test_a_delivery_whose_ack_was_on_its_way_and_that_never_came_again_was_not_held() -> None:
    # One definition for both: `exercised` and the time to redelivery.
    story = worker_kill((claim(WORKER, MayLose.IN_FLIGHT),), held=0)
    story.lose(9_997)
    acked = {"worker": 1, "settling_ns": at(9.9995), "settled_ns": None, "settle_outcome": "UNKNOWN"}
    story.more_deliveries = [story.delivery(9_997, at(9.999), **acked)]
    trial = story.analysed()
    assert trial.guarantees[1].evidence.endswith("no open delivery of the killed workers is on record")
    assert trial.faults[0].recovery["redelivery_max"] == Unknown(unknown="nothing was held")


def test_the_bound_of_a_worker_kill_speaks_for_what_the_killed_worker_held() -> None:
    story = worker_kill((claim(WORKER),), held=60)
    story.traits = Traits()
    story.more_deliveries = [story.delivery(which, at(11)) for which in range(9_938, 9_998)]
    given = guarantees(story)["worker kill"]
    assert (given.verdict, given.bounded) == (Verdict.HELD, 60)
    assert given.exposed is not None
    assert given.exposed > 60
    assert "at most 5 % of all (60 held by killed workers, 95 %)" in given.evidence


def test_what_was_lost_in_the_fetch_of_a_killed_worker_was_held() -> None:
    story = worker_kill((claim(WORKER, MayLose.IN_FLIGHT),), held=0, fetch_open=True, fetch_max_n=2)
    story.lose([10_005, 10_006])
    assert guarantees(story)["worker kill"].verdict is Verdict.HELD


def swallowed(**delivery: Any) -> Story:
    """A worker killed inside a fetch: a message that it never wrote down comes 5 s later, for the first time on record."""
    story = worker_kill((claim(WORKER),), held=0, fetch_open=True, fetch_max_n=2)
    story.traits = Traits(entry_ids=True, reclaims=True)
    story.lose(9_999)
    story.more_deliveries = [story.delivery(9_999, at(15), **delivery)]
    return story


@pytest.mark.parametrize("delivery", [{"redelivered": True}, {"delivery_count": 2}])
def test_what_the_broker_says_it_gave_before_was_in_the_fetch_of_the_killed_worker(delivery: dict[str, Any]) -> None:
    trial = swallowed(**delivery).analysed()
    given = trial.guarantees[1]
    assert (given.verdict, given.bounded) == (Verdict.HELD, 1)
    assert trial.faults[0].recovery["redelivery_max"] == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("delivery", "fetch_open", "broke"),
    [
        ({"redelivered": False, "delivery_count": 1}, True, False),  # it only waited
        ({"redelivered": True}, False, False),  # the dead had asked for nothing
        ({"redelivered": True}, True, True),  # it may have been a living worker's, whose connection broke
    ],
)
def test_what_may_have_been_given_to_nobody_or_to_another_was_not_held(
    delivery: dict[str, Any], fetch_open: bool, broke: bool
) -> None:
    story = swallowed(**delivery)
    producers, living, killed = story.facts_more["shards"]
    story.facts_more["shards"] = (producers, living, replace(killed, fetch_open=fetch_open))
    if broke:
        story.connections = [{"shard": "w0", "t_ns": at(12), "up": False, "reason": "reset"}]
    given = guarantees(story)["worker kill"]
    assert given.verdict is Verdict.NOT_EXERCISED
    assert given.evidence.endswith("no open delivery of the killed workers is on record")


def producer_kill(*, unanswered: bool) -> Story:
    story = Story(rate=1000, seconds=20, claims=(claim(FaultKind.PRODUCER_KILL),))
    story.facts_more = {
        "faults": (fault(10, 10, FaultKind.PRODUCER_KILL, shards=("p0",)),),
        "shards": (producer(killed_ns=at(10), exit_status=-9), worker(0)),
    }
    if unanswered:
        story.outcome[9_999], story.confirmed[9_999] = "UNKNOWN", NULL
    return story


def test_a_producer_kill_is_exercised_by_what_was_sent_and_unanswered() -> None:
    assert verdict(producer_kill(unanswered=True), FaultKind.PRODUCER_KILL) is Verdict.HELD
    given = guarantees(producer_kill(unanswered=False))["producer kill"]
    assert given.verdict is Verdict.NOT_EXERCISED
    assert given.evidence.endswith("nothing of the killed producer was unanswered")


def pause(*, answered_s: float | None = None) -> Story:
    """Paused from 10 s to 12 s: what is due meanwhile is answered at 12 s; one answer may come in between."""
    story = Story(rate=1000, seconds=20, claims=(claim(FaultKind.BROKER_PAUSE),))
    story.facts_more = {"faults": (fault(10, 12, FaultKind.BROKER_PAUSE),)}
    waited = story.due(9.99, 12)
    for moment in (story.confirmed, story.received, story.finished, story.settled):
        moment[waited] = at(12)
    story.confirmed[story.due(9.99, 10)] -= 2_005 * MS
    if answered_s is not None:
        story.confirmed[10_000] = at(answered_s)
    return story


def test_a_pause_is_exercised_by_silence_while_messages_were_due() -> None:
    assert verdict(pause(), FaultKind.BROKER_PAUSE) is Verdict.HELD
    assert verdict(pause(answered_s=10.1), FaultKind.BROKER_PAUSE) is Verdict.HELD  # silent for 1.9 of 2 s
    given = guarantees(pause(answered_s=11))["broker pause"]
    assert given.verdict is Verdict.NOT_EXERCISED
    assert given.evidence.endswith("answers came during the pause (longest silence 50% of it)")


def test_a_pause_ends_when_the_broker_goes_on_whenever_a_probe_gets_through() -> None:
    story = pause()
    late = replace(fault(10, 15, FaultKind.BROKER_PAUSE), evidence={"resumed_ns": at(12)})
    story.facts_more = {"faults": (late,)}
    assert verdict(story, FaultKind.BROKER_PAUSE) is Verdict.HELD


# Several faults.


def test_one_guarantee_per_kind_of_fault_with_none_first() -> None:
    story = broker_kill((claim(KILL), claim(WORKER)))
    story.facts_more["faults"] = (
        fault(10, 12),
        fault(14, 14, WORKER, index=1, shards=("w1",)),
        fault(16, 17, index=2),
    )
    assert list(guarantees(story)) == ["none", "broker kill", "worker kill"]


def test_a_harm_that_met_two_faults_of_one_kind_counts_once() -> None:
    # Received before the kill at 10 s and again after the one at 14 s: each repeat lies around both.
    story = broker_kill((claim(KILL),))
    story.facts_more = {"faults": (fault(10, 12), fault(14, 15, index=1))}
    for which in (9_998, 9_999):
        story.settled[which] = NULL
    story.more_deliveries = [story.delivery(9_998, at(16)), story.delivery(9_999, at(16.1))]
    assert guarantees(story)["broker kill"].counts == {"came again unacked": 2}
    story.claims = (claim(KILL, may_repeat=MayRepeat.NONE),)
    given = guarantees(story)["broker kill"]
    assert (given.verdict, given.counts) == (Verdict.VIOLATED, {"came again unacked": 2})


def two_faults(first: Claim, second: Claim) -> Story:
    """A worker kill at 5 s and a broker kill at 10 s; message 4,999 is confirmed before both and never received: exposed to both."""
    story = broker_kill((first, second))
    story.facts_more["faults"] = (fault(5, 5, WORKER, shards=("w1",)), fault(10, 12, index=1))
    story.facts_more["shards"] = (producer(), worker(0), worker(1, killed_ns=at(5), exit_status=-9))
    story.worker[4_990] = 1
    story.settled[4_990] = at(5.5)
    story.lose(4_999)
    return story


def test_a_loss_exposed_to_several_faults_violates_all_if_all_forbid_it() -> None:
    story = two_faults(claim(WORKER), claim(KILL))
    assert verdict(story, WORKER) is Verdict.VIOLATED
    assert verdict(story, KILL) is Verdict.VIOLATED
    assert verdict(story, FaultKind.NONE) is Verdict.HELD


def test_a_loss_that_one_of_several_faults_allows_leaves_those_that_forbid_it_unknown() -> None:
    story = two_faults(claim(WORKER), claim(KILL, MayLose.ALL))
    given = guarantees(story)
    assert given["worker kill"].verdict is Verdict.UNKNOWN
    assert "1 lost that may belong to another fault" in given["worker kill"].evidence
    assert given["broker kill"].verdict is Verdict.HELD


def test_a_fault_without_a_claim_may_have_done_it() -> None:
    story = two_faults(claim(WORKER), claim(FaultKind.PRODUCER_KILL))
    assert verdict(story, WORKER) is Verdict.UNKNOWN
    assert verdict(story, KILL) is Verdict.NO_CLAIM


APART, ALLOWS, LIMITS, FORBIDS = Stand


@pytest.mark.parametrize(
    ("stands", "budgets", "violated", "unknown"),
    [
        ([], {}, {}, {}),
        ([[FORBIDS, APART]], {}, {0: 1}, {}),
        ([[FORBIDS, FORBIDS]] * 2, {}, {0: 2, 1: 2}, {}),
        ([[FORBIDS, ALLOWS]], {}, {}, {0: 1}),
        # Within its budget a limited fault explains the harm, so one that forbids it stays unknown.
        ([[FORBIDS, LIMITS]] * 2, {1: 2}, {}, {0: 2}),
        ([[FORBIDS, LIMITS]] * 3, {1: 2}, {0: 3, 1: 3}, {}),
        ([[LIMITS, APART]] * 3, {0: 3}, {}, {}),
        ([[LIMITS, APART]] * 4, {0: 3}, {0: 4}, {}),
        # Two limited faults together hold what lies within both.
        ([[LIMITS, LIMITS]] * 5, {0: 3, 1: 2}, {}, {}),
        ([[LIMITS, LIMITS]] * 6, {0: 3, 1: 2}, {0: 6, 1: 6}, {}),
        # The first is over by its own alone; the second holds what is left to it.
        ([[LIMITS, APART]] * 4 + [[LIMITS, LIMITS]], {0: 3, 1: 1}, {0: 4}, {}),
        # What a fault allows needs no budget.
        ([[LIMITS, ALLOWS]] * 9, {0: 1}, {}, {}),
    ],
)
def test_blame(stands: list[list[int]], budgets: dict[int, int], violated: Any, unknown: Any) -> None:
    array = np.array(stands, np.uint8).reshape(-1, 2)
    found = blame(array, budgets)
    assert ({**found.violated}, {**found.unknown}) == (violated, unknown)


def test_blame_tells_a_harm_once_for_faults_that_are_told_together() -> None:
    assert blame(np.array([[FORBIDS, FORBIDS]] * 2, np.uint8), {}, [0, 0]).violated == {0: 2}


@pytest.mark.parametrize(
    ("claimed", "of_workers", "then"),
    [
        (MayLose.NONE, MayLose.IN_FLIGHT, MayLose.IN_FLIGHT),
        (MayLose.NONE, MayLose.ALL, MayLose.ALL),
        (MayLose.WINDOW, MayLose.IN_FLIGHT, MayLose.WINDOW_OR_IN_FLIGHT),
        (MayLose.ALL, MayLose.IN_FLIGHT, MayLose.ALL),
    ],
)
def test_with_auto_ack_what_ends_a_workers_connection_may_lose_what_the_worker_had(
    claimed: MayLose, of_workers: MayLose, then: MayLose
) -> None:
    claims = [claim(kind, claimed) for kind in (FaultKind.WORKER_KILL, FaultKind.BROKER_KILL, FaultKind.BROKER_PAUSE)]
    assert [one.may_lose for one in with_auto_ack(claims, of_workers)] == [then, then, claimed]
