"""Windows of a trial and the arithmetic of intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from trials import Story, at, fault

from harness.analysis.windows import (
    all_windows,
    baseline_window,
    count_inside,
    covered_ns,
    inside,
    length_s,
    less,
    limit_ns,
    union,
)
from harness.clock import NS_PER_S
from harness.facts import TrialFacts

SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6)


def moments_of(intervals: object) -> set[int]:
    return {t for start, end in intervals for t in range(start, end)}  # type: ignore[attr-defined]


def facts(**more: object) -> TrialFacts:
    return replace(Story(seconds=30, warmup_s=3).facts(), **more)


def test_touching_and_overlapping_intervals_become_one() -> None:
    assert union([(5, 7), (1, 3), (3, 4), (6, 9), (2, 2)]) == ((1, 4), (5, 9))


@given(SPANS, SPANS)
def test_less_leaves_exactly_the_moments_outside(window: list[tuple[int, int]], holes: list[tuple[int, int]]) -> None:
    rest = less(union(window), holes)
    assert moments_of(rest) == moments_of(window) - moments_of(holes)
    assert rest == union(rest)


@given(SPANS, st.lists(st.integers(-5, 45), max_size=20))
def test_inside_and_its_count_agree_with_the_definition(spans: list[tuple[int, int]], times: list[int]) -> None:
    window = union(spans)
    t_ns = np.array(times, np.int64)
    expected = [t in moments_of(window) for t in times]
    assert inside(window, t_ns).tolist() == expected
    assert count_inside(window, t_ns) == sum(expected)


@given(SPANS, SPANS)
def test_covered_time_is_the_union_of_spans_within_the_window(
    spans: list[tuple[int, int]], of: list[tuple[int, int]]
) -> None:
    window = union(of)
    start = np.array([s for s, _ in spans], np.int64)
    end = np.array([e for _, e in spans], np.int64)
    assert covered_ns(start, end, window) == len(moments_of(spans) & moments_of(window))


def test_without_a_fault_steady_and_baseline_are_the_load_after_warm_up() -> None:
    windows = all_windows(facts(), {})
    assert windows.steady == windows.baseline == ((at(3), at(30)),)
    assert windows.whole == ((at(0), at(30)),)
    assert windows.drain == ((at(30), at(36)),)
    assert list(windows.measured()) == ["steady", "whole"]


def test_baseline_ends_a_second_before_the_first_fault_and_is_fixed_once() -> None:
    two = facts(faults=(fault(20, 22, index=1), fault(10, 12)))
    assert baseline_window(two) == ((at(3), at(9)),)


def test_steady_is_the_load_less_the_union_of_fault_and_recovery_windows() -> None:
    # Fault 0: 9 to 12, recovered at 14. Fault 1: 13 (before the first has recovered) to 15, recovered at 18.5.
    overlapping = facts(faults=(fault(10, 12), fault(14, 15, index=1)))
    windows = all_windows(overlapping, {0: at(14), 1: at(18.5)})
    assert windows.fault == {0: ((at(9), at(12)),), 1: ((at(13), at(15)),)}
    assert windows.recovery == {0: ((at(12), at(14)),), 1: ((at(15), at(18.5)),)}
    assert windows.steady == ((at(3), at(9)), (at(18.5), at(30)))
    assert length_s(windows.steady) == 17.5
    assert list(windows.measured()) == ["steady", "whole", "fault[0]", "fault[1]", "recovery[0]", "recovery[1]"]


def test_a_fault_that_never_heals_takes_the_rest_of_the_load() -> None:
    windows = all_windows(facts(faults=(fault(10, None),)), {})
    assert windows.fault[0] == ((at(9), at(30)),)
    assert windows.recovery == {}
    assert windows.steady == ((at(3), at(9)),)


def test_a_fault_that_never_fired_has_no_window() -> None:
    windows = all_windows(facts(faults=(fault(None, None),)), {})
    assert windows.fault == {}
    assert windows.steady == ((at(3), at(30)),)


def test_nothing_left_means_no_steady_window() -> None:
    windows = all_windows(facts(faults=(fault(4, 5),)), {0: at(30)})
    assert windows.steady == ()
    assert "steady" not in windows.measured()


def test_a_trial_that_ended_before_its_load_has_no_windows() -> None:
    assert all_windows(facts(load_end_ns=None), {}).measured() == {}
    assert baseline_window(facts(load_end_ns=None)) == ()


def test_recovery_is_watched_until_the_next_inject_or_the_end_of_the_load() -> None:
    both = facts(faults=(fault(10, 12), fault(20, 21, index=1)))
    assert [limit_ns(each, both) for each in both.faults] == [at(20), at(30)]


def test_the_length_of_a_window_counts_all_its_intervals() -> None:
    assert length_s(((0, NS_PER_S), (5 * NS_PER_S, 7 * NS_PER_S))) == 3.0
