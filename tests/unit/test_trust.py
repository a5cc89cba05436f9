"""Whether a trial can be trusted, reason by reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from trials import MS, NULL, Story, at, fault, producer, worker

from harness.analysis.analyse import AnalysedTrial
from harness.analysis.trust import lag_bound_s
from harness.facts import KILLED_FOR_MEMORY, IncidentRecord
from harness.model import FaultKind, TrialStatus
from harness.record import AtLeast, Unknown
from harness.tables import CORE_SHARE


def judged(story: Story | None = None, **facts: Any) -> AnalysedTrial:
    story = story or Story(rate=1000, seconds=10)
    story.facts_more |= facts
    return story.analysed()


def test_a_clean_trial_is_valid_and_its_evidence_sound() -> None:
    trial = judged()
    assert (trial.status, trial.reasons, trial.evidence_sound) == (TrialStatus.VALID, (), True)


@pytest.mark.parametrize(
    ("p99", "bound"),
    [
        (None, 0.010),
        (0.050, 0.010),  # 10 % of it is 5 ms
        (0.400, 0.040),
        (AtLeast(at_least=2.0), 0.2),
        (Unknown(unknown="n too small"), 0.010),
    ],
)
def test_the_bound_of_the_lag_is_the_larger_of_ten_ms_and_a_tenth_of_the_p99(p99: Any, bound: float) -> None:
    assert lag_bound_s(p99) == pytest.approx(bound)


def test_a_lag_beyond_its_bound_is_a_saturated_generator() -> None:
    # 2 % of 10,000 messages go out 11 ms late; the p99 latency is 2 ms, so the bound is 10 ms.
    story = Story(rate=1000, seconds=10)
    story.sent[:200] += 11 * MS
    trial = judged(story)
    assert trial.status is TrialStatus.INVALID
    assert trial.reasons == ("generator saturated: schedule lag p99 11 ms, bound 10 ms",)
    assert trial.lag_bound_s == 0.010
    assert trial.evidence_sound  # a loss in it would still be proven


def test_the_lag_is_judged_however_few_messages_there_are() -> None:
    story = Story(rate=10, seconds=5)
    story.sent += 500 * MS
    assert judged(story).reasons == ("generator saturated: schedule lag p99 500 ms of only 50 messages, bound 10 ms",)


def test_a_lag_within_a_tenth_of_a_long_p99_is_none() -> None:
    story = Story(rate=1000, seconds=10)
    story.sent[:200] += 11 * MS
    story.received[:200] += 198 * MS  # p99 200 ms: bound 20 ms
    assert judged(story).status is TrialStatus.VALID


def test_a_held_message_is_not_lag() -> None:
    story = Story(rate=1000, seconds=10)
    story.sent[:200] += 900 * MS
    story.held[:200] = "window"
    assert judged(story).status is TrialStatus.VALID


def test_a_shard_above_nine_tenths_of_a_core_is_a_saturated_generator() -> None:
    story = Story(rate=1000, seconds=10)
    story.samples = [(at(5), "p0", CORE_SHARE, 0.93), (at(6), "p0", CORE_SHARE, 0.2), (at(5), "w0", CORE_SHARE, 0.9)]
    trial = judged(story)
    assert trial.reasons == ("generator saturated: producer p0 stood at 93% of a core, bound 90%",)


def test_a_closed_loop_cannot_saturate_the_generator() -> None:
    story = Story(rate=1000, seconds=10)
    story.samples = [(at(5), "p0", CORE_SHARE, 1.0)]
    assert judged(story, open_loop=False).status is TrialStatus.VALID


def test_a_worker_that_catches_up_after_a_fault_may_use_its_core() -> None:
    story = Story(rate=1000, seconds=20)
    story.samples = [(at(11.5), "w0", CORE_SHARE, 1.0)]  # its second began at 10.5, while the broker was dead
    assert judged(story, faults=(fault(10, 11),)).status is TrialStatus.VALID


def test_due_messages_that_nothing_held_and_nobody_sent_are_the_generators_fault() -> None:
    story = Story(rate=1000, seconds=10)
    story.lose(slice(0, 7))
    story.outcome[:7] = "NOT_SENT"
    story.sent[:7] = story.confirmed[:7] = NULL
    assert judged(story).reasons == ("generator saturated: 7 due messages were never sent, though nothing held them",)
    held = Story(rate=1000, seconds=10)
    held.lose(slice(0, 7))
    held.outcome[:7], held.held[:7] = "NOT_SENT", "disconnected"
    held.sent[:7] = held.confirmed[:7] = NULL
    assert judged(held).status is TrialStatus.VALID


def test_a_fault_that_waited_for_the_one_before_it_until_the_end_says_so() -> None:
    first = fault(5, None)
    second = replace(fault(None, None, index=1), planned_ns=at(7))
    assert judged(faults=(first, second)).reasons[-1] == (
        "fault never fired: broker kill, which waited for broker kill before it to heal"
    )


def test_a_fault_that_never_fired_makes_a_trial_invalid() -> None:
    trial = judged(faults=(fault(None, None),))
    assert trial.reasons == ("fault never fired: broker kill",)
    assert judged(faults=(fault(5, 6, hit=False),)).reasons == (
        "fault never fired: broker kill was ordered, and nothing shows that it hit",
    )


def test_missing_slots_make_a_trial_invalid_and_its_evidence_unsound() -> None:
    trial = judged(shards=(producer(slots_reported=12_000, slots_found=11_990), worker(0, slots_found=-1)))
    assert trial.reasons == (
        "slots missing: 11,990 of p0 found, it had reported 12,000",
        "ledger unreadable: the slots of w0 are missing",
    )
    assert not trial.evidence_sound


def test_a_lost_agent_is_named_with_all_shards_whose_slots_it_took_along() -> None:
    lost = {"agent": 1, "slots_found": -1, "expected_exit": False, "exit_status": None}
    trial = judged(shards=(producer(), worker(0, **lost), worker(1, **lost)))
    assert trial.reasons == (
        "ledger unreadable: agent 1 was lost, and with it the slots of w0, w1",
        "worker w0 ended by itself",
        "worker w1 ended by itself",
    )
    trial = judged(shards=(producer(), worker(0, agent=1, slots_found=-1)))
    assert trial.reasons == ("ledger unreadable: the slots of w0 are missing, which agent 1 ran",)


def test_settings_that_differ_make_a_trial_invalid_and_its_evidence_unsound() -> None:
    trial = judged(settings_differ=("appendfsync: asked 'always', found 'everysec'",))
    assert trial.reasons == ("settings differ: appendfsync: asked 'always', found 'everysec'",)
    assert not trial.evidence_sound


def test_an_unsound_search_leaves_the_trial_valid_and_its_losses_undecided() -> None:
    trial = judged(residue_sound=False, residue_problems=("2 connections of the run remain",))
    assert (trial.status, trial.evidence_sound) == (TrialStatus.VALID, False)
    assert trial.warnings == ("the search of the broker was not sound: 2 connections of the run remain",)


def test_a_clock_error_larger_than_the_latency_claimed_makes_a_trial_invalid() -> None:
    assert judged(clock_error_s=0.0019).status is TrialStatus.VALID
    assert judged(clock_error_s=0.0021).reasons == (
        "clock error 2.1 ms is larger than the latency claimed (2 ms at the median)",
    )


def test_nothing_sent_is_no_evidence() -> None:
    story = Story(rate=100, seconds=1)
    story.lose(slice(None))
    story.outcome[:], story.held[:] = "NOT_SENT", "disconnected"
    story.sent[:] = story.confirmed[:] = NULL
    trial = judged(story)
    assert (trial.status, trial.reasons) == (TrialStatus.INVALID, ("nothing was sent",))


def test_a_shard_that_ended_by_itself_makes_a_trial_invalid() -> None:
    trial = judged(shards=(producer(expected_exit=False, exit_status=1), worker(0)))
    assert trial.reasons == ("producer p0 ended by itself with status 1",)
    assert trial.evidence_sound  # what it sent is UNKNOWN at worst
    dead_worker = judged(shards=(producer(), worker(0, expected_exit=False, exit_status=-11)))
    assert dead_worker.reasons == ("worker w0 ended by itself with status -11",)
    assert not dead_worker.evidence_sound  # it may have swallowed messages


def of_memory(source: str) -> dict[str, Any]:
    text = f"the kernel killed the {source}'s container for memory"
    return {"incidents": (IncidentRecord(t_ns=at(3), source=source, what=KILLED_FOR_MEMORY, text=text),)}


def test_a_shard_that_the_kernel_killed_for_memory_is_told_so() -> None:
    killed = {"expected_exit": False, "exit_status": -9}
    lost = {"expected_exit": False, "exit_status": None}
    other = {"expected_exit": False, "exit_status": 1}
    trial = judged(shards=(producer(**killed), worker(0, **lost), worker(1, **other)), **of_memory("load"))
    assert trial.reasons == (
        "the kernel killed producer p0 for memory",
        "worker w0 ended with a process of the load that the kernel killed for memory",
        "worker w1 ended by itself with status 1",
    )
    assert judged(shards=(producer(**killed), worker(0)), **of_memory("broker")).reasons == (
        "producer p0 ended by itself with status -9",
    )
    assert judged(shards=(producer(exit_status=-9), worker(0)), **of_memory("load")).reasons == ()  # a fault's doing


def test_a_load_whose_container_was_killed_for_memory_ended_early_for_that() -> None:
    lost = producer(expected_exit=False, exit_status=None)
    trial = judged(aborted="the fleet has ended", shards=(lost, worker(0)), **of_memory("load"))
    assert trial.reasons == (
        "the load ended early: the fleet has ended; the kernel killed the load's container for memory",
    )
    trial = judged(aborted="the broker does not serve", **of_memory("load"))
    assert trial.reasons == ("the load ended early: the broker does not serve",)


def test_a_fault_that_ctrl_c_came_before_is_told_as_such() -> None:
    trial = judged(aborted="interrupted by Ctrl-C", faults=(fault(None, None),))
    assert trial.reasons == ("interrupted by Ctrl-C", "interrupted before the fault fired: broker kill")


def test_a_load_that_ended_early_is_invalid_and_after_ctrl_c_interrupted() -> None:
    trial = judged(aborted="agent 1 was lost")
    assert (trial.status, trial.reasons) == (TrialStatus.INVALID, ("the load ended early: agent 1 was lost",))


def test_after_ctrl_c_only_the_interruption_and_real_losses_count() -> None:
    # Interrupted at 6 s: p0 and w0 ended then; w1 had died at 3 s by itself.
    story = Story(rate=1000, seconds=10)
    cut = story.due(6, 10)
    story.lose(cut)
    story.outcome[cut], story.sent[cut], story.confirmed[cut] = "NOT_SENT", NULL, NULL
    gone = {"expected_exit": False}
    trial = judged(
        story,
        aborted="interrupted by Ctrl-C",
        load_end_ns=at(6),
        shards=(producer(ended_ns=at(6.1), **gone), worker(0, **gone), worker(1, ended_ns=at(3), **gone)),
    )
    assert trial.status is TrialStatus.INTERRUPTED
    assert trial.reasons == ("interrupted by Ctrl-C", "worker w1 ended by itself")
    assert trial.metrics["whole"]["rate.offered"] == 1000.0
    # Where nobody noted the end of the load it is the last thing seen: the receipt of the message due at 5.999 s.
    old = judged(story, load_end_ns=None)
    assert old.metrics["whole"]["rate.offered"] == pytest.approx(1000.0, rel=0.001)


def test_a_load_that_was_cut_short_before_its_start_is_not_blamed_for_sending_nothing() -> None:
    story = Story(rate=1, seconds=0)
    trial = judged(story, aborted="interrupted by Ctrl-C", load_end_ns=at(0))
    assert trial.reasons == ("interrupted by Ctrl-C",)


def test_messages_that_a_dead_producer_left_unsent_are_not_the_generators_fault() -> None:
    story = Story(rate=1000, seconds=10)
    cut = story.due(6, 10)
    story.lose(cut)
    story.outcome[cut], story.sent[cut], story.confirmed[cut] = "NOT_SENT", NULL, NULL
    dead = judged(story, shards=(producer(expected_exit=False, exit_status=-9, ended_ns=at(6)), worker(0)))
    assert dead.reasons == ("producer p0 ended by itself with status -9",)
    died = judged(story, broker_died="redis-server ended with status -9", shards=(producer(), worker(0)))
    assert died.reasons == ("the broker ended unexpectedly: redis-server ended with status -9",)
    assert died.status is TrialStatus.INVALID


def test_a_fault_that_fired_late_is_told_and_one_after_the_load_is_no_test() -> None:
    story = Story(rate=1000, seconds=20, warmup_s=1)
    late = replace(fault(11.2, 12), planned_ns=at(8))
    assert judged(story, faults=(late,)).reasons == ()
    assert "broker kill fired 3.2 s late (planned 7 s, injected 10.2 s)" in judged(story, faults=(late,)).warnings
    assert not any("late" in told for told in judged(story, faults=(replace(late, planned_ns=at(10.2)),)).warnings)
    after = replace(fault(20.5, 21), planned_ns=at(19.9))
    assert judged(story, faults=(after,)).reasons == (
        "fault fired after the load had ended: broker kill (planned 18.9 s, injected 19.5 s)",
    )


def test_a_trial_that_never_began_is_analysed_all_the_same() -> None:
    story = Story(rate=1, seconds=0)
    trial = judged(
        story,
        aborted="the broker did not start",
        load_start_ns=None,
        steady_start_ns=None,
        load_end_ns=None,
        asking_until_ns=None,
        drain_end_ns=None,
        residue_sound=False,
        broker_back=False,
        faults=(fault(None, None, FaultKind.BROKER_KILL),),
    )
    assert trial.status is TrialStatus.INVALID
    assert trial.reasons == (
        "the load ended early: the broker did not start",
        "fault never fired: broker kill",
    )
    assert not trial.evidence_sound
    assert list(trial.metrics) == ["whole"]


@pytest.mark.parametrize(
    ("at_s", "phase"),
    [
        (-0.1, "before the load"),
        (1.9, "warm-up"),
        (2, "steady"),
        (9.9, "steady"),
        (10, "drain"),
        (16, "after the drain"),
    ],
)
def test_what_befell_a_container_knows_its_phase(at_s: float, phase: str) -> None:
    story = Story(rate=1000, seconds=10, warmup_s=2)
    seen = IncidentRecord(t_ns=at(at_s), source="broker", what="throttled", text="it was held")
    [incident] = judged(story, incidents=(seen,)).incidents
    assert (incident.at_s, incident.phase) == (pytest.approx(at_s - 2), phase)


def test_negative_latencies_stay_visible_and_are_counted() -> None:
    story = Story(rate=1000, seconds=10)
    story.received[:9000] -= 5 * MS
    trial = judged(story)
    assert "9,000 messages have a negative latency: the clocks of the shards differ" in trial.warnings
    assert trial.metrics["steady"]["latency.end_to_end.p50"] == -0.003


def test_a_stall_of_the_machine_is_told_beside_the_figures() -> None:
    assert judged(machine_stall_max_s=0.35).warnings == (
        "the machine stood still for up to 350 ms while under load: gaps and tails up to that are its own",
    )


def busy(others: float) -> list[tuple[int, str, str, float]]:
    """Returns samples of a load of 10 s on which broker and load use half a core each, others so many, and 0.3 are stolen."""
    rates = {("broker", "cpu_s"): 0.5, ("load", "cpu_s"): 0.5}
    rates |= {("machine", "cpu_busy_s"): 1.3 + others, ("machine", "cpu_steal_s"): 0.3}
    ends = [(at(t_s), *key, 7.0 + rate * t_s) for key, rate in rates.items() for t_s in (0, 10)]
    return [*ends, (at(15), "machine", "cpu_busy_s", 900.0)]  # the drain is not under load


@pytest.mark.parametrize(
    ("others", "told"),
    [
        (0.19, ()),
        (0.21, ("other programs used 0.2 of 2 cores while under load: latencies hold their part",)),
        (1.6, ("other programs used 1.6 of 2 cores while under load: latencies hold their part",)),
    ],
)
def test_other_programs_that_use_more_than_a_tenth_of_the_cores_are_told(others: float, told: tuple[str, ...]) -> None:
    story = Story(rate=1000, seconds=10, samples=busy(others))
    assert judged(story, cores=2).warnings == told
    assert judged(story, cores=None).warnings == ()  # an older run does not know its cores


def test_of_a_broker_whose_cpu_is_not_known_nothing_is_said_of_other_programs() -> None:
    samples = [sample for sample in busy(1.6) if sample[1] != "broker"]
    assert judged(Story(rate=1000, seconds=10, samples=samples), cores=2).warnings == ()


def test_a_run_without_a_steady_window_says_whose_figures_it_prints() -> None:
    trial = judged(Story(rate=1000, seconds=10), faults=(fault(0.9, None),))
    assert "steady" not in trial.metrics
    assert "no steady window: the figures are of the whole run, faults included" in trial.warnings
    assert trial.metrics["whole"]["latency.end_to_end.p99"] == 0.002
