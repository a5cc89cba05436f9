"""A trial moment by moment: hand-made moments, and what must stand in each slice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from trials import MS, NULL, START_NS, S, Story, at, fault

from harness.analysis.moments import Moments, gather_moments
from harness.analysis.percentiles import Distribution, nearest_rank_ns
from harness.analysis.series import MAX_SLICES, Series, Span, series_of
from harness.facts import FaultRecord
from harness.model import FaultKind
from harness.record import AtLeast, FaultResult, Unknown


def moments_of(story: Story) -> Moments:
    told = story.tables()
    return gather_moments(told.attempts.lazy(), told.deliveries.lazy(), story.analysed().messages)


def series(story: Story, *faults: FaultResult) -> Series:
    found = series_of(moments_of(story), story.tables().samples, story.facts(), faults)
    assert found is not None
    return found


def small(**more: Any) -> Story:
    """Returns 4 s of 100/s, 1 s of them warm-up, and 1 s of drain: 50 slices of 100 ms with 10 messages in each of the load."""
    return Story(rate=100, seconds=4, warmup_s=1, drain_s=1, **more)


def result(**more: Any) -> FaultResult:
    values: dict[str, Any] = {
        "index": 0,
        "kind": "broker kill",
        "label": "kill broker",
        "planned_s": 1.0,
        "injected_s": 1.01,
    }
    values |= {"healed_s": 1.5, "hit": True, "exposed": 3, "evidence": {}, "recovery": {}}
    return FaultResult(**values | more)


def test_every_slice_of_a_steady_load_holds_its_messages_and_seconds_count_from_the_start_of_steady() -> None:
    found = series(small())
    np.testing.assert_allclose(found.edges_s, np.arange(-10, 41) / 10, atol=1e-12)
    load = [100.0] * 40 + [0.0] * 10
    for rate in (found.offered, found.confirmed, found.delivered, found.settled):
        assert rate.tolist() == load
    np.testing.assert_allclose(found.backlog, [0.4] * 40 + [0.0] * 10)  # each is in the queue for 4 of 10 ms
    assert found.p50_s[:40].tolist() == [0.002] * 40
    assert np.isnan(found.p50_s[40:]).all()
    assert np.isnan(found.p99_s).all()  # 10 messages tell no p99
    assert found.latency.sum(axis=1).tolist() == [10] * 40 + [0] * 10
    assert found.phases == (
        Span(name="warm-up", start_s=-1, end_s=0),
        Span(name="steady", start_s=0, end_s=3),
        Span(name="drain", start_s=3, end_s=4),
    )


def test_what_never_came_is_in_no_bin_but_in_every_percentile_and_in_no_backlog() -> None:
    story = small()
    story.lose(story.due(2.0, 2.2))  # two slices, of the third the last half
    story.lose(story.due(2.25, 2.3))
    found = series(story)
    assert found.late.tolist() == [0] * 20 + [10, 10, 5] + [0] * 27
    assert found.latency.sum(axis=1)[20:23].tolist() == [0, 0, 5]
    assert found.p50_s[20:23].tolist() == [np.inf, np.inf, 0.002]  # the 5th of 10 came
    assert found.delivered[20:23].tolist() == [0, 0, 50]
    np.testing.assert_allclose(found.backlog[20:23], [0, 0, 0.2])


def test_rates_stand_where_their_own_event_is_and_latencies_where_messages_were_due() -> None:
    story = small()
    late = story.due(1.0, 1.1)
    for moments in (story.received, story.finished, story.settled):
        moments[late] += 500 * MS
    found = series(story)
    assert found.delivered[10:16].tolist() == [0, 100, 100, 100, 100, 200]
    assert found.p50_s[10] == 0.502
    np.testing.assert_allclose(found.backlog[10:16], [5.5, 10.4, 10.4, 10.4, 10.4, 5.3])  # they stay 504 ms: 10 at once


@pytest.mark.parametrize(("rate", "seconds", "warmup_s"), [(1000, 0.03, 0), (200, 5, 1), (1000, 7.3, 2), (40, 600, 3)])
def test_rates_times_width_give_the_counts_in_at_most_120_slices_whatever_the_length(
    rate: int, seconds: float, warmup_s: float
) -> None:
    rng = np.random.default_rng(7)
    story = Story(rate=rate, seconds=seconds, warmup_s=warmup_s)
    count = len(story.intended)
    story.intended = story.sent = START_NS + np.sort(rng.integers(0, round(seconds * S), count))
    story.received = story.intended + rng.integers(MS, 3000 * MS, count)
    story.confirmed, story.finished = story.intended + MS, story.received + MS
    story.settled = story.finished + rng.integers(0, 700 * MS, count)
    story.lose(rng.random(count) < 0.1)
    story.settled[rng.random(count) < 0.1] = NULL
    found = series(story)
    width_s = np.diff(found.edges_s)
    assert len(width_s) <= MAX_SLICES
    np.testing.assert_allclose(width_s, width_s[0], rtol=1e-9)
    expected = {
        "offered": count,
        "confirmed": count,
        "delivered": np.count_nonzero(story.received != NULL),
        "settled": np.count_nonzero(story.settled != NULL),
    }
    for name, number in expected.items():
        assert (getattr(found, name) * width_s).sum() == pytest.approx(number, rel=1e-9)
    assert found.latency.sum() + found.late.sum() == count


def test_slices_are_made_longer_where_only_that_gives_a_p99_but_never_fewer_than_forty() -> None:
    def width_s(rate: int, seconds: float) -> float:
        edges_s = series(Story(rate=rate, seconds=seconds)).edges_s
        return round(float(edges_s[1] - edges_s[0]), 6)

    assert width_s(3000, 5) == 0.1  # 300 messages in each
    assert width_s(600, 10) == 0.25  # 150
    assert width_s(100, 10) == 0.25  # 25, but 40 slices
    assert width_s(100, 600) == 6  # what 120 slices need


def test_percentiles_and_cells_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(3)
    story = Story(rate=2000, seconds=6)
    story.received = story.intended + rng.lognormal(15, 1.5, len(story.intended)).astype(np.int64)
    story.finished = story.settled = story.received + MS
    never = rng.random(len(story.intended)) < 0.004
    story.lose(never)
    found = series(story)
    latency = np.where(never, np.iinfo(np.int64).max, story.received - story.intended)
    at_slice = np.searchsorted(found.edges_s, (story.intended - START_NS) / S + 1e-12, "right") - 1
    for number in range(len(found.late)):
        inside = latency[at_slice == number]
        came = inside[inside != np.iinfo(np.int64).max]
        np.testing.assert_array_equal(found.latency[number], np.histogram(came / S, found.latency_edges_s)[0])
        assert found.late[number] == len(inside) - len(came)
        for permille, value_s in ((500, found.p50_s[number]), (990, found.p99_s[number])):
            expected = nearest_rank_ns(Distribution(values_ns=inside.copy()), permille)
            if expected is None:
                assert np.isnan(value_s)
            else:
                assert value_s == (np.inf if expected == np.iinfo(np.int64).max else expected / S)
    ratios = found.latency_edges_s[1:] / found.latency_edges_s[:-1]
    np.testing.assert_allclose(ratios, ratios[-1], rtol=1e-4)  # edges are whole ns


def test_totals_become_what_was_used_between_two_samples_and_gauges_stay_as_they_are() -> None:
    cpu = [(0.5, 1.0), (1.0, 1.5), (1.5, 0.2), (2.0, 0.4)]  # the counter of a new process begins again
    samples = [(at(t_s), "broker", "cpu_s", value) for t_s, value in cpu]
    samples += [(at(t_s), "machine", "cpu_busy_s", 700 + t_s) for t_s in (0.5, 1.5)]
    samples += [(at(t_s), "broker", "memory_bytes", 1e6 * t_s) for t_s in (-0.5, 0.5, 1.5, 30.0)]
    samples += [(at(t_s), "broker", "written_bytes", 4096 * t_s) for t_s in (1.0, 2.0)]
    samples += [(at(1.0), "p0", "core_share", 0.3)]
    found = series(small(samples=samples))
    assert list(found.cpu) == ["broker", "machine"]
    np.testing.assert_allclose(found.cpu["broker"].t_s, [-0.25, 0.75])
    np.testing.assert_allclose(found.cpu["broker"].value, [1.0, 0.4])
    np.testing.assert_allclose(found.cpu["machine"].value, [1.0])
    assert (found.memory["broker"].t_s.tolist(), found.memory["broker"].value.tolist()) == ([-0.5, 0.5], [5e5, 1.5e6])
    assert (found.disk["broker"].t_s.tolist(), found.disk["broker"].value.tolist()) == ([0.5], [4096.0])
    assert found.backlog_broker is None
    assert found.backlog_parts == ()


def test_the_brokers_backlog_is_what_it_tells_of_without_what_lies_in_the_dead_letter_place() -> None:
    depth = {"depth_ready": 5.0, "depth_in_flight": 2.0, "depth_dead_letter": 9.0}
    samples = [(at(t_s), "broker", name, value) for t_s in (1.0, 2.0) for name, value in depth.items()]
    found = series(small(samples=samples))
    assert found.backlog_broker is not None
    assert (found.backlog_broker.t_s.tolist(), found.backlog_broker.value.tolist()) == ([0.0, 1.0], [7.0, 7.0])
    assert found.backlog_parts == ("ready", "in flight")


def test_faults_stand_at_their_own_times_and_end_where_their_recovery_was_seen_or_waited_for() -> None:
    found = series(
        small(),
        result(index=2, injected_s=2.5, healed_s=None, recovery={"p99": Unknown(unknown="never healed")}),
        result(index=1, injected_s=1.9, healed_s=2.0, recovery={"p99": AtLeast(at_least=0.5)}),
        result(recovery={"p99": 0.25}),
        result(index=3, injected_s=None, healed_s=None),
    )
    assert found.faults == (
        Span(name="kill broker", index=0, start_s=1.01, end_s=1.5, recovered_s=1.75, watched_s=1.75),
        Span(name="kill broker", index=1, start_s=1.9, end_s=2.0, recovered_s=None, watched_s=2.5),
        Span(name="kill broker", index=2, start_s=2.5, end_s=None, recovered_s=None, watched_s=None),
    )


def test_a_fault_that_healed_long_after_the_load_is_still_on_the_axis() -> None:
    found = series(small(facts_more={"drain_end_ns": at(60)}), result(healed_s=20.0))
    assert found.edges_s[-1] >= 20.0
    assert found.phases[-1] == Span(name="drain", start_s=3, end_s=59)
    assert found.edges_s[-1] < 24  # the quiet that follows is not drawn


def test_the_times_are_those_of_the_results_of_the_analysis() -> None:
    kill: FaultRecord = fault(10, 12.5, FaultKind.BROKER_KILL)
    story = Story(seconds=25, facts_more={"faults": (kill,)})
    found = series(story, *story.analysed().faults)
    assert found.faults == (
        Span(name="broker kill", index=0, start_s=10.0, end_s=12.5, recovered_s=12.5, watched_s=12.5),
    )


def test_what_was_due_after_a_load_that_was_cut_short_was_never_offered() -> None:
    story = small(facts_more={"load_end_ns": at(2), "drain_end_ns": at(2.5), "asking_until_ns": at(2.5)})
    unsent = story.due(2.0, 4.0)
    story.lose(unsent)
    story.sent[unsent] = story.confirmed[unsent] = NULL
    story.outcome[unsent] = "NOT_SENT"
    found = series(story)
    assert found.offered.sum() * 0.05 == pytest.approx(200)
    assert found.late.sum() == 0
    assert [(phase.name, phase.end_s) for phase in found.phases] == [("warm-up", 0), ("steady", 1), ("drain", 1.5)]


def test_a_load_that_never_began_or_ended_at_once_has_no_series_and_one_cut_in_warm_up_has_no_steady() -> None:
    story = small()
    moments, samples, facts = moments_of(story), story.tables().samples, story.facts()
    assert series_of(moments, samples, replace(facts, load_start_ns=None), ()) is None
    assert series_of(moments, samples, replace(facts, load_end_ns=facts.load_start_ns), ()) is None
    cut = series_of(moments, samples, replace(facts, load_end_ns=at(0.5), drain_end_ns=None), ())
    assert cut is not None
    assert [(phase.name, phase.start_s, phase.end_s) for phase in cut.phases] == [
        ("warm-up", -1, -0.5),
        ("drain", -0.5, None),
    ]


def test_a_closed_loop_says_so() -> None:
    assert series(small(facts_more={"open_loop": False, "cores": 2})).open_loop is False
    assert series(small(facts_more={"cores": 2})).cores == 2


def test_more_cores_than_there_are_cannot_be_in_use() -> None:
    story = small()
    story.samples = [(at(t_s), "machine", "cpu_busy_s", busy) for t_s, busy in ((0, 0.0), (1, 2.3), (2, 3.3))]
    assert series(story).cpu["machine"].value.tolist() == pytest.approx([2.3, 1.0])
    story.facts_more = {"cores": 2}
    assert series(story).cpu["machine"].value.tolist() == pytest.approx([2.0, 1.0])


def test_a_fault_whose_target_is_never_replaced_has_no_end() -> None:
    gone = result(injected_s=1.0, healed_s=1.0, recovery={"p99": 0.5}, evidence={"replaced": "never"})
    [span] = series(small(), gone).faults
    assert (span.start_s, span.end_s, span.never_replaced, span.recovered_s) == (1.0, None, True, 1.5)
