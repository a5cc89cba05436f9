"""Percentile curves and the ways of messages on hand-made trials, each number worked out in a comment."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trials import MS, NULL, Story, fault

from harness.analysis.analyse import TrialTables, with_load_end
from harness.analysis.curve import Curve, Points, curve_of, points_of
from harness.analysis.flow import Way, added, ways_of
from harness.analysis.identities import NEVER
from harness.analysis.moments import Moments, gather_moments
from harness.analysis.percentiles import Distribution, figures
from harness.model import Class, Outcome
from harness.record import AtLeast, Unknown

PERMILLE = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999}


def moments_of(story: Story) -> Moments:
    tables: TrialTables = story.tables()
    return gather_moments(tables.attempts.lazy(), tables.deliveries.lazy(), story.analysed().messages)


def ways(story: Story) -> tuple[Way, ...]:
    return ways_of(moments_of(story), story.analysed().messages, story.tables().deliveries.lazy())


def curve(story: Story) -> Curve:
    return curve_of(moments_of(story), story.facts(), story.analysed().faults)


def at(points: Points, share: float) -> float:
    return float(points.latency_s[points.share == share][0])


def late_by_ms(values: np.ndarray) -> Story:
    story = Story(rate=100, seconds=len(values) / 100, drain_s=60)
    story.received = story.intended + values * MS
    story.finished, story.settled = story.received + MS, story.received + 2 * MS
    return story


def test_points_are_the_nearest_ranks_of_the_messages_of_the_window() -> None:
    # 1,000 messages, 1..1000 ms late in any order: at 50 % the 500th, at 75 % the 750th; 90 % has exactly 100 beyond it, and is the last.
    points = curve(late_by_ms(np.random.default_rng(1).permutation(1000) + 1)).windows["whole"]
    assert (points.count, points.share[0], points.latency_s[0]) == (1000, 0, 0.001)
    assert [at(points, share) for share in (0.25, 0.5, 0.75, 0.9)] == [0.25, 0.5, 0.75, 0.9]
    assert (points.share[-1], points.latency_s[-1], points.censored_from) == (0.9, 0.9, len(points.share))


@pytest.mark.parametrize(("count", "last"), [(1, 0.5), (199, 0.5), (200, 0.5), (400, 0.75), (1001, 901 / 1001)])
def test_a_curve_goes_to_the_median_and_on_to_the_last_share_with_100_messages_beyond(count: int, last: float) -> None:
    points = points_of(Distribution(values_ns=np.arange(count) + 1))
    assert points.share[-1] == pytest.approx(last, abs=1e-9)
    assert last == 0.5 or points.latency_s[-1] * 1e9 == pytest.approx(count - 100)


def test_from_the_smallest_latency_of_a_message_that_never_came_on_all_is_at_least() -> None:
    # 100 messages a second for 10 s, 2 ms late each, and workers ask for 60 s more. The first 150 never came: at least 68.5 s to 70 s.
    # 850 came: up to the share of 85 % all is 2 ms, above it "at least".
    story = late_by_ms(np.full(1000, 2))
    story.lose(slice(0, 150))
    points = curve(story).windows["whole"]
    first = points.censored_from
    assert points.latency_s[first - 1] == 0.002
    assert points.share[first - 1] <= 0.85 < points.share[first]
    assert points.latency_s[first] > 68.5
    assert at(points, 0.9) == pytest.approx(69.0, abs=0.011)


def test_the_steady_window_leaves_out_fault_and_recovery_as_the_figures_do() -> None:
    # 20 s at 1,000/s, of which 2 s warm-up; a fault from 10 s to 12 s that nothing suffered from: recovered at once. Steady loses 9..12 s.
    story = Story(warmup_s=2.0, facts_more={"faults": (fault(10.0, 12.0),)})
    found = curve(story).windows
    assert {name: points.count for name, points in found.items()} == {"steady": 15_000, "whole": 20_000}
    story.received[story.due(10.0, 12.0)] = story.received[
        story.due(13.0, 13.001)
    ]  # all that were due came at 13.002 s
    assert curve(story).windows["steady"].latency_s.max() == pytest.approx(0.002)
    assert curve(story).windows["whole"].latency_s.max() > 2.5


def test_a_trial_whose_load_never_began_has_no_curve() -> None:
    story = Story(seconds=1.0, facts_more={"load_start_ns": None, "load_end_ns": None})
    assert curve_of(moments_of(Story(seconds=1.0)), story.facts(), ()).windows == {}


def test_a_load_that_was_cut_short_ends_with_the_last_that_was_seen_of_it_as_in_the_figures() -> None:
    # The last of 1,000 messages was due at 0.999 s and delivered at 1.001 s: there the load ends, and every message was due in it.
    story = Story(seconds=1.0, facts_more={"load_end_ns": None, "aborted": "an agent was lost"})
    facts, moments = story.facts(), moments_of(story)
    assert curve_of(moments, facts, ()).windows == {}
    assert curve_of(moments, with_load_end(facts, moments), ()).windows["whole"].count == 1000


@given(
    count=st.integers(1, 30_000), seed=st.integers(0, 2**32 - 1), spread=st.integers(1, 10**9), never=st.integers(0, 500)
)  # fmt: skip
def test_every_point_is_the_nearest_rank_computed_naively(count: int, seed: int, spread: int, never: int) -> None:
    values = np.random.default_rng(seed).integers(0, spread, count)
    censored = int(values[: min(never, count)].min(initial=NEVER))
    points = points_of(Distribution(values_ns=values.copy(), smallest_censored_ns=censored))
    ordered = sorted(map(int, values))
    for number, (share, latency_s) in enumerate(zip(points.share, points.latency_s, strict=True)):
        rank = max(1, ceil(Fraction(round(share * 10**9), 10**9) * count))
        assert latency_s == ordered[rank - 1] / 1e9
        assert share <= 0.5 or count - rank >= 100
        assert (number >= points.censored_from) == (ordered[rank - 1] >= censored)
    assert np.all(np.diff(points.share) > 0)
    assert np.all(np.diff(points.latency_s) >= 0)
    assert len(points.share) < 400
    for name, printed in figures(Distribution(values_ns=values, smallest_censored_ns=censored)).items():
        if name != "max" and not isinstance(printed, Unknown):
            drawn = at(points, PERMILLE[name])
            assert drawn == (printed.at_least if isinstance(printed, AtLeast) else printed)


# The ways of messages.


def test_ways_are_counted_by_answer_delivery_settlement_and_class() -> None:
    # 1,000 messages: 0..9 never answered and gone, 10..14 confirmed and lost, 15..17 worked off and their ack never answered.
    story = Story(seconds=1.0)
    story.outcome[:10], story.confirmed[:10] = "UNKNOWN", NULL
    story.lose(slice(0, 15))
    story.settled[15:18] = NULL
    assert ways(story) == (
        Way(outcome=Outcome.CONFIRMED, delivered=True, settled=True, became=Class.PROCESSED, count=982),
        Way(outcome=Outcome.UNKNOWN, delivered=False, settled=False, became=Class.VANISHED, count=10),
        Way(outcome=Outcome.CONFIRMED, delivered=False, settled=False, became=Class.LOST, count=5),
        Way(outcome=Outcome.CONFIRMED, delivered=True, settled=False, became=Class.PROCESSED, count=3),
    )


def test_the_ways_of_several_trials_are_added() -> None:
    one = ways(Story(seconds=1.0))
    assert [way.count for way in added([one, one, ()])] == [2000]
