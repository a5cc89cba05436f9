"""How trials came back from their faults, on hand-built histories."""

from __future__ import annotations

import numpy as np
import pytest
from trials import MS, NULL, Story, at, connection, copy, fault, producer, worker

from harness.model import FaultKind, Traits
from harness.record import AtLeast, Figure, Unknown


def outage(*, recovered_at_s: float = 12.0, held: bool = True) -> Story:
    """30 s at 1,000/s; broker killed at 10 s, back at 12 s; nothing is sent meanwhile, all goes out at 12 s; what is due from 12 s until
    ``recovered_at_s`` takes 102 ms instead of 2."""
    story = Story(rate=1000, seconds=30, facts_more={"faults": (fault(10, 12),)})
    waited = story.due(10, 12)
    story.sent[waited] = at(12)
    story.confirmed[waited] = at(12) + 1 * MS
    story.received[waited] = at(12) + 2 * MS
    story.finished[waited] = at(12) + 3 * MS
    story.settled[waited] = at(12) + 4 * MS
    if held:
        story.held[waited] = "disconnected"
    slow = story.due(12, recovered_at_s)
    for moment in (story.received, story.finished, story.settled):
        moment[slow] += 100 * MS
    return story


def recovery(story: Story, index: int = 0) -> dict[str, Figure]:
    return story.analysed().faults[index].recovery


def test_gap_and_first_delivery_of_a_broker_that_was_away_for_two_seconds() -> None:
    # The last delivery before is that of the message due at 9.999 s, at 10.001 s; the next come at 12.002 s.
    figures = recovery(outage())
    assert figures["longest_gap"] == 2.001
    assert figures["first_delivery"] == 0.002


def test_recovered_is_the_start_of_the_first_three_good_slices() -> None:
    # Baseline p99 2 ms, so good is at most max(3 ms, 3 ms). Slices of 1 s from 12 s on hold 1,000 messages each.
    # Latencies are 102 ms until 14 s: slices [12, 13) and [13, 14) are bad, [14, 15), [15, 16), [16, 17) are good: 2 s after the heal.
    # (Backlog: what lies for 104 ms at 1,000/s are 104 messages, settled within [14, 14.104): the mean of [14, 15) is
    # 4 + about 100 * 0.05 > level 4, so that slice is bad too, and recovery is at 15 s: 3 s after the heal.)
    assert recovery(outage(recovered_at_s=14))["p99"] == 3.0


def test_without_a_slow_phase_the_first_slice_is_spoilt_by_the_burst_alone() -> None:
    # At 12 s 2,000 messages lie for 4 ms: a mean of 8 above the level in [12, 13); the next three slices are good.
    figures = recovery(outage())
    assert figures["p99"] == 1.0
    # The backlog is at its level from the first second on that does not hold the burst: 12.01 s on a grid of 10 ms.
    assert figures["backlog"] == 0.01


def test_not_recovered_before_the_end_of_the_load_is_at_least() -> None:
    figures = recovery(outage(recovered_at_s=30))
    assert figures["p99"] == AtLeast(at_least=18.0)
    assert figures["backlog"] == AtLeast(at_least=18.0)


def test_three_slices_must_fit_before_the_end() -> None:
    # Slow until 27.5 s: the slices from 28 s on are good, two of them, and the load ends at 30 s.
    assert recovery(outage(recovered_at_s=27.5))["p99"] == AtLeast(at_least=18.0)


def test_not_recovered_before_the_next_inject_is_at_least_the_time_until_it() -> None:
    story = outage(recovered_at_s=25)
    story.facts_more["faults"] = (fault(10, 12), fault(20, 20.5, FaultKind.BROKER_PAUSE, index=1))
    figures = recovery(story)
    assert figures["p99"] == AtLeast(at_least=8.0)
    # ... and no steady window is counted in between: recovery[0] lasts until the next inject.
    assert "recovery[0]" in story.analysed().metrics


def test_slices_are_as_long_as_a_thousand_messages_need() -> None:
    # At 200/s a slice takes 5 s: from 12 s on [12, 17), [17, 22), [22, 27) with 1,000 each; a slow message rate of more than 1 %
    # in the first makes it bad, and [17, 22), [22, 27), [27, 32) are the three.
    story = Story(rate=200, seconds=40, facts_more={"faults": (fault(10, 12),)})
    slow = np.flatnonzero(story.due(12, 17))[:11]  # 11 of 1,000 slow: rank 990 is among them
    story.received[slow] += 100 * MS
    assert recovery(story)["p99"] == pytest.approx(5.0, abs=0.01)
    quick = Story(rate=200, seconds=40, facts_more={"faults": (fault(10, 12),)})
    quick.received[slow[:10]] += 100 * MS  # 10 of 1,000: the 990th is still quick
    assert recovery(quick)["p99"] == 0.0


def test_a_lost_message_does_not_look_like_a_quick_one() -> None:
    # 11 of the 1,000 in the first slice never come: its p99 is "at least", so the slice is not good.
    story = Story(rate=1000, seconds=30, facts_more={"faults": (fault(10, 12),)})
    story.lose(np.flatnonzero(story.due(12, 13))[:11])
    assert recovery(story)["p99"] == 1.0


def test_a_broker_that_never_came_back_has_no_time_of_recovery() -> None:
    story = Story(rate=1000, seconds=20, facts_more={"faults": (fault(10, None),), "broker_back": False})
    story.lose(story.due(10, 20))
    story.outcome[story.due(10, 20)] = "UNKNOWN"
    story.confirmed[story.due(10, 20)] = NULL
    figures = recovery(story)
    assert figures["first_delivery"] == Unknown(unknown="never healed")
    assert figures["p99"] == Unknown(unknown="never healed")
    # The last delivery was at 10.001 s; workers asked until 26 s.
    assert figures["longest_gap"] == AtLeast(at_least=15.999)


def test_nothing_delivered_after_the_heal_is_at_least_the_time_that_workers_asked() -> None:
    story = Story(rate=1000, seconds=20, facts_more={"faults": (fault(10, 12),)})
    story.lose(story.due(10, 20))
    figures = recovery(story)
    assert figures["first_delivery"] == AtLeast(at_least=14.0)  # from 12 s to 26 s
    assert figures["longest_gap"] == AtLeast(at_least=15.999)


def test_a_fault_without_a_baseline_says_so() -> None:
    story = Story(rate=1000, seconds=20, facts_more={"faults": (fault(0.5, 1),)})
    assert recovery(story)["p99"] == Unknown(unknown="no baseline")


def test_a_fault_that_never_fired_has_no_recovery() -> None:
    assert recovery(Story(rate=1000, seconds=5, facts_more={"faults": (fault(None, None),)})) == {}


# Time in which nothing was waiting.


def without(story: Story, from_s: float, until_s: float) -> Story:
    """Takes out what is due in [from, until): nothing is offered then."""
    gone = story.due(from_s, until_s)
    for name in ("intended", "sent", "confirmed", "received", "finished", "settled", "outcome", "held", "worker"):
        setattr(story, name, getattr(story, name)[~gone])
    return story


def test_silence_while_nothing_was_waiting_is_no_gap() -> None:
    # Nothing is due from 10.5 s to 15 s; the broker is away from 10 s to 10.5 s: what was due then comes at 10.502 s.
    story = Story(rate=1000, seconds=20, facts_more={"faults": (fault(10, 10.5),)})
    waited = story.due(10, 10.5)
    for moment, after in ((story.sent, 0), (story.confirmed, 1), (story.received, 2), (story.finished, 3)):
        moment[waited] = at(10.5) + after * MS
    story.settled[waited], story.held[waited] = at(10.504), "disconnected"
    figures = recovery(without(story, 10.5, 15))
    assert figures["longest_gap"] == 0.501
    assert figures["first_delivery"] == 0.002


def test_the_first_delivery_counts_from_the_first_message_that_waits() -> None:
    # Nothing is due from 9 s to 15 s, the heal is at 12 s: the message due at 15 s waits 2 ms.
    figures = recovery(without(Story(rate=1000, seconds=20, facts_more={"faults": (fault(10, 12),)}), 9, 15))
    assert figures["first_delivery"] == 0.002
    assert figures["longest_gap"] == 0.002


def test_with_nothing_left_to_deliver_there_is_no_first_delivery() -> None:
    figures = recovery(without(Story(rate=1000, seconds=20, facts_more={"faults": (fault(10, 12),)}), 9.9, 20))
    assert figures["first_delivery"] == Unknown(unknown="nothing was waiting")
    assert figures["longest_gap"] == Unknown(unknown="nothing was waiting")


def test_a_repeat_is_no_first_delivery_of_what_was_waiting() -> None:
    story = without(Story(rate=1000, seconds=20, facts_more={"faults": (fault(10, 12),)}), 9.9, 20)
    story.more_deliveries = [story.delivery(9_800, at(15))]
    assert recovery(story)["first_delivery"] == Unknown(unknown="nothing was waiting")


def test_a_message_that_was_passed_over_makes_no_gap() -> None:
    # One message due at 9.5 s is lost; from 10 s to 15 s nothing is due: it was passed over at 9.503 s.
    story = Story(rate=1000, seconds=20, facts_more={"faults": (fault(11, 12),)})
    story.lose(9_500)
    figures = recovery(without(story, 10, 15))
    assert figures["longest_gap"] == 0.002


def test_what_the_broker_never_had_is_not_waited_for_after_the_heal() -> None:
    # The last message, sent at 9.999 s into the dying broker, never got an answer and was not found: vanished. Back at 12 s.
    story = without(Story(rate=1000, seconds=20, facts_more={"faults": (fault(10, 12),)}), 10, 20)
    story.lose(-1)
    story.outcome[-1], story.confirmed[-1] = "UNKNOWN", NULL
    figures = recovery(story)
    assert figures["first_delivery"] == Unknown(unknown="nothing was waiting")
    assert figures["longest_gap"] == AtLeast(at_least=2.0)  # from 10 s (the delivery of 9.998 s) to the heal


# Time to redelivery.


def killed_worker(held: int = 5) -> Story:
    """20 s at 1,000/s; worker 1 is killed at 10 s with the last ``held`` messages in its hands, received and not settled."""
    killed = worker(1, killed_ns=at(10), ended_ns=at(10.002), exit_status=-9)
    story = Story(rate=1000, seconds=20, traits=Traits(reclaims=True))
    story.facts_more = {
        "faults": (fault(10, 10, FaultKind.WORKER_KILL, shards=("w1",)),),
        "shards": (producer(), worker(0), killed),
    }
    mine = slice(10_000 - 2 - held, 10_000 - 2)  # received 2 ms after due: by 10 s
    story.worker[mine] = 1
    story.finished[mine] = story.settled[mine] = NULL
    return story


def test_redelivery_is_from_the_death_to_the_second_receipt_of_what_was_held() -> None:
    story = killed_worker()
    times_s = [15.0, 15.1, 15.2, 15.3, 16.0]
    story.more_deliveries = [story.delivery(9_993 + i, at(t)) for i, t in enumerate(times_s)]
    figures = recovery(story)
    assert figures["redelivery_p50"] == 5.2
    assert figures["redelivery_max"] == 6.0


def test_what_never_came_again_is_at_least_the_time_that_workers_asked() -> None:
    story = killed_worker()
    story.more_deliveries = [story.delivery(9_993 + i, at(15)) for i in range(3)]
    figures = recovery(story)
    assert figures["redelivery_p50"] == 5.0
    assert figures["redelivery_max"] == AtLeast(at_least=16.0)


def test_an_ack_on_its_way_that_is_never_given_again_was_not_held() -> None:
    story = killed_worker(held=1)
    seq = 9_997
    story.lose(seq)
    story.more_deliveries = [
        story.delivery(seq, at(9.99), worker=1, settling_ns=at(9.995), settled_ns=None, settle_outcome="UNKNOWN")
    ]
    assert recovery(story)["redelivery_max"] == Unknown(unknown="nothing was held")


def test_only_worker_kills_have_a_time_to_redelivery() -> None:
    assert "redelivery_max" not in recovery(outage())


# Reconnected but idle.


def idle_story() -> Story:
    """30 s at 1,000/s; broker away from 10 s to 11 s; workers are back at 11 s and get nothing until 18 s, then all."""
    story = Story(rate=1000, seconds=30, facts_more={"faults": (fault(10, 11),)})
    late = story.due(11, 18)
    for moment in (story.received, story.finished, story.settled):
        moment[late] = at(18)
    away = story.due(9.999, 11)
    story.received[away] = story.finished[away] = story.settled[away] = at(18)
    story.connections = [
        connection("w0", 0, up=True),
        connection("w0", 10, up=False),
        connection("w0", 11, up=True),
    ]
    return story


def test_connected_workers_that_get_nothing_for_five_seconds_are_idle() -> None:
    # Messages went in all the time and came at 18 s; the worker has been back since 11 s.
    analysed = idle_story().analysed()
    assert analysed.faults[0].recovery["idle"] == 7.0
    assert any("reconnected but idle" in warning and "7.0 s" in warning for warning in analysed.warnings)


def test_workers_that_are_not_connected_are_not_idle() -> None:
    story = idle_story()
    story.connections = [connection("w0", 10, up=False), connection("w0", 17.5, up=True)]
    assert "idle" not in recovery(story)
    story.connections = [connection("w0", 0, up=True), connection("w0", 11.5, up=False)]
    assert "idle" not in recovery(story)


def test_an_empty_queue_is_not_idleness() -> None:
    # Nothing is due from 11 s to 18 s.
    story = Story(rate=1000, seconds=30, facts_more={"faults": (fault(10, 11),)})
    gone = story.due(11, 18)
    for name in ("intended", "sent", "confirmed", "received", "finished", "settled", "outcome", "held", "worker"):
        setattr(story, name, getattr(story, name)[~gone])
    story.connections = [connection("w0", 0, up=True)]
    assert "idle" not in recovery(story)


def test_what_a_dead_worker_swallowed_is_not_ready() -> None:
    # Killed at the end of the load with one message popped and never received, which comes back after its hold, 6 s later.
    story = Story(rate=1000, seconds=10)
    story.received[-1] = story.finished[-1] = story.settled[-1] = at(16.5)
    story.facts_more = {
        "faults": (fault(9.999, 9.999, FaultKind.WORKER_KILL, shards=("w1",)),),
        "shards": (producer(), worker(0), worker(1, killed_ns=at(9.999), exit_status=-9)),
    }
    story.connections = [connection("w0", 0, up=True)]
    assert "idle" not in recovery(story)


def test_messages_that_stay_ready_to_the_end_are_idleness_too() -> None:
    story = Story(rate=1000, seconds=20, facts_more={"faults": (fault(10, 11),)})
    story.lose(story.due(10, 20))
    story.residue = [copy(int(seq)) for seq in np.flatnonzero(story.due(10, 20))]
    story.connections = [connection("w0", 11, up=True)]
    assert recovery(story)["idle"] == 15.0  # until 26 s
