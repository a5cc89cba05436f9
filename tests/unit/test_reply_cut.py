"""What is said of replies that were cut off: exercised, whose second copies they are, what a claim on them allows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from trials import MS, Story, at, claim, fault

from harness.analysis.claims import allows_repeat, claim_words
from harness.brokers import setup, setups
from harness.model import Claim, FaultKind, Mark, MayLose, MayRepeat, Traits, Verdict
from harness.record import Guarantee

CUT = FaultKind.REPLY_CUT
SWALLOWED = {"cuts": 2, "swallowed_bytes": 40}
ONCE = claim(CUT, may_repeat=MayRepeat.NONE)
TWICE = claim(CUT, may_repeat=MayRepeat.NONE, may_duplicate=True)
STREAM = Traits(entry_ids=True, reclaims=True)


def reply_cut(made: Claim = ONCE, *, evidence: dict[str, int] | None = None, traits: Traits = STREAM) -> Story:
    """20 s at 1,000/s, replies cut from 10 s to 10.5 s; a message has entry 0 (none) unless a test gives it another copy."""
    story = Story(rate=1000, seconds=20, claims=(made,), traits=traits)
    shown = SWALLOWED if evidence is None else evidence
    story.facts_more = {"faults": (replace(fault(10, 10.5, CUT), evidence=shown),)}
    return story


def second_copy(story: Story, seq: int, received_s: float) -> None:
    """The broker has a second copy of a message, which comes at that time."""
    story.more_deliveries.append(story.delivery(seq, at(received_s), entry=99))


def judged(story: Story) -> dict[str, Guarantee]:
    return {given.fault: given for given in story.analysed().guarantees}


def verdicts(story: Story) -> tuple[Verdict, Verdict]:
    """Returns what is said of the cut, and of no fault."""
    given = judged(story)
    return given["reply cut"].verdict, given["none"].verdict


def test_it_is_exercised_by_what_was_swallowed() -> None:
    assert verdicts(reply_cut()) == (Verdict.HELD, Verdict.HELD)
    for nothing in ({"cuts": 0, "swallowed_bytes": 0}, {"cuts": 1, "swallowed_bytes": 0}, {"proxy": 0}):
        given = judged(reply_cut(evidence=nothing))["reply cut"]
        assert given.verdict is Verdict.NOT_EXERCISED
        assert given.evidence.endswith("no reply was swallowed")


def test_a_second_copy_is_within_a_claim_that_the_client_may_store_twice_and_breaks_any_other() -> None:
    for made, expected in ((ONCE, Verdict.VIOLATED), (TWICE, Verdict.HELD)):
        story = reply_cut(made)
        second_copy(story, 10_100, 10.2)
        given = judged(story)
        assert (given["reply cut"].verdict, given["none"].verdict) == (expected, Verdict.HELD)
        assert "; 1 stored twice by the broker" in given["reply cut"].evidence


def test_a_claim_on_second_copies_hides_no_other_repeat() -> None:
    story = reply_cut(TWICE)
    again = story.delivery(10_100, at(10.2))  # its ack was OK, and it is no other copy
    story.more_deliveries.append(again)
    assert verdicts(story)[0] is Verdict.VIOLATED


def test_a_second_copy_belongs_to_the_cut_by_its_sending_however_late_both_are_received() -> None:
    story = reply_cut(TWICE)
    story.received[10_100] = at(13)
    story.finished[10_100], story.settled[10_100] = at(13) + MS, at(13) + 2 * MS
    second_copy(story, 10_100, 13.1)
    assert verdicts(story) == (Verdict.HELD, Verdict.HELD)


def test_a_second_copy_of_what_was_sent_and_received_outside_the_cut_breaks_the_claim_without_a_fault() -> None:
    story = reply_cut(TWICE)
    second_copy(story, 2_000, 2.1)
    assert verdicts(story) == (Verdict.HELD, Verdict.VIOLATED)


def test_where_nothing_tells_copies_apart_a_pop_that_comes_again_is_a_second_copy() -> None:
    story = reply_cut(TWICE, traits=Traits(at_most_once=True, library_retries=True))
    story.more_deliveries.append(story.delivery(10_100, at(10.2), settlement="AUTO"))
    given = story.analysed()
    assert given.ledger.marks[Mark.PRODUCER_DUPLICATE] == 1
    assert verdicts(story) == (Verdict.HELD, Verdict.HELD)


@pytest.mark.parametrize("cause", list(Mark)[:8])
def test_may_duplicate_allows_second_copies_and_nothing_more(cause: Mark) -> None:
    gained = allows_repeat(TWICE, cause) and not allows_repeat(ONCE, cause)
    assert gained == (cause in (Mark.PRODUCER_DUPLICATE, Mark.DUPLICATE_OF_UNKNOWN_ORIGIN))


def test_a_claim_on_second_copies_reads_in_words() -> None:
    assert claim_words(TWICE) == "loses nothing; repeats nothing; the client may store a message twice"


def test_every_setup_claims_that_a_cut_reply_loses_nothing_and_doubles_nothing_by_default() -> None:
    for each in setups().values():
        made = {one.fault: one for one in each.claims_of(each.complete({}))}[CUT]
        assert (made.may_lose, made.may_duplicate) == (MayLose.NONE, False), each.name
        assert made.may_repeat in (MayRepeat.NONE, MayRepeat.EXPIRED), each.name


def test_with_the_clients_retries_each_fault_that_breaks_its_connection_may_double() -> None:
    for name in ("redis-list", "redis-stream"):
        of = setup(name)
        on, off = ({c.fault: c for c in of.claims_of(of.complete({"client_retries": word}))} for word in ("on", "off"))
        doubling = {kind for kind, made in on.items() if made.may_duplicate}
        assert doubling == {CUT, FaultKind.BROKER_KILL, FaultKind.BROKER_RESTART, FaultKind.BROKER_PAUSE}
        assert {kind: replace(made, may_duplicate=False, source="") for kind, made in on.items()} == {
            kind: replace(made, source="") for kind, made in off.items()
        }
        assert all("redis-py" in on[kind].source for kind in doubling)


def test_whether_the_library_publishes_again_follows_the_parameter() -> None:
    stream = setup("redis-stream")
    assert stream.traits_of(stream.complete({"client_retries": "on"})) == replace(stream.traits, library_retries=True)
    assert stream.traits_of(stream.complete({})) == stream.traits
    assert setup("null").traits_of({}) == setup("null").traits
