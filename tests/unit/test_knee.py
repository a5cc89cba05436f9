"""The knee of a curve: the smallest value whose median reaches 95 % of the best, and when there is none."""

from __future__ import annotations

import pytest

from harness.analysis.knee import knee_of
from harness.analysis.sweep import Knee, median, seen_of
from harness.model import DurabilityClass
from harness.record import AtLeast, Figure, Unknown
from tests.unit import records
from tests.unit.swept import P99, point, points, trial


def test_the_smallest_value_that_reaches_95_percent_of_the_best_is_the_knee() -> None:
    found = knee_of(points({"1": 250.0, "2": 500.0, "4": 950.0, "8": 1000.0}), "throughput")
    assert found == Knee(found="knee", value="4", best="8", reached=0.95)


def test_just_below_95_percent_is_not_enough() -> None:
    found = knee_of(points({"1": 250.0, "4": 949.9, "8": 1000.0, "16": 990.0}), "throughput")
    assert (found.found, found.value) == ("knee", "8")


def test_a_curve_that_rises_to_its_last_value_has_none() -> None:
    found = knee_of(points({"1": 250.0, "2": 500.0, "4": 940.0}), "throughput")
    assert found == Knee(found="rising", best="4", reached=500 / 940)


def test_a_last_value_without_a_valid_trial_does_not_end_the_rise() -> None:
    found = knee_of(points({"1": 250.0, "2": 500.0, "4": None}), "throughput")
    assert found == Knee(found="rising", best="2", reached=0.5)


def test_a_first_value_that_reaches_it_says_that_smaller_ones_were_not_tried() -> None:
    assert knee_of(points({"1": 990.0, "2": 1000.0}), "throughput").found == "first"


def test_where_lower_is_better_a_median_may_be_a_nineteenth_more_than_the_lowest() -> None:
    found = knee_of(points({"1": 0.100, "2": 0.0105, "4": 0.010, "8": 0.011}, P99), P99)
    assert found == Knee(found="knee", value="2", best="4", reached=0.010 / 0.0105)


def test_a_value_that_is_not_known_may_be_below_the_knee() -> None:
    found = knee_of(points({"1": 100.0, "2": None, "4": 990.0, "8": 1000.0}), "throughput")
    assert (found.value, found.missing) == ("4", ["2"])


def test_a_latency_of_at_least_more_than_allowed_is_known_not_to_be_the_knee() -> None:
    given = points({"1": AtLeast(at_least=5.0), "2": AtLeast(at_least=0.0101), "4": 0.010, "8": 0.010}, P99)
    found = knee_of(given, P99)
    assert (found.value, found.missing) == ("4", ["2"])


def test_words_have_no_order_and_so_no_knee() -> None:
    found = knee_of(points({"sleep": 900.0, "cpu": 1000.0}), "throughput")
    assert found == Knee(found="words", best="cpu")


def test_values_of_different_durability_do_not_compete() -> None:
    safe = point("1", [trial(1, 100.0)], durability=DurabilityClass.FSYNCED)
    assert knee_of([safe, *points({"2": 1000.0})], "throughput") == Knee(found="unlike")


@pytest.mark.parametrize("figures", [{"1": None, "2": None}, {"1": 5.0, "2": None}])
def test_a_curve_needs_two_points(figures: dict[str, float | None]) -> None:
    assert knee_of(points(figures), "throughput").found == "unknown"


@pytest.mark.parametrize("same", [0.0, 7.0])
def test_a_curve_whose_medians_are_all_the_same_is_flat_and_has_none(same: float) -> None:
    assert knee_of(points({"1": same, "2": same}), "throughput") == Knee(found="flat", best="1")
    assert knee_of(points({"1": same, "2": None, "4": same}), "throughput") == Knee(
        found="flat", best="1", missing=["2"]
    )


@pytest.mark.parametrize(
    ("figures", "higher", "middle"),
    [
        ([1.0, 3.0, 2.0], True, 2.0),
        ([1.0, 2.0], True, 1.0),
        ([1.0, 2.0], False, 2.0),
        ([1.0, AtLeast(at_least=0.5), 2.0], False, 2.0),
        ([1.0, AtLeast(at_least=0.5)], False, AtLeast(at_least=0.5)),
        ([1.0, AtLeast(at_least=0.5)], True, Unknown(unknown="a trial has only a lower bound")),
        ([1.0, Unknown(unknown="n too small")], False, Unknown(unknown="n too small")),
        ([], True, None),
    ],
)
def test_the_median_of_an_even_number_is_the_worse_of_two(
    figures: list[Figure], higher: bool, middle: Figure | None
) -> None:
    assert median(figures, higher_is_better=higher) == middle


def test_trials_that_are_not_valid_have_no_part_in_a_median() -> None:
    case = records.case(trials=[trial(1, 100.0), records.invalid_trial(2), trial(3, 120.0)])
    assert seen_of(case, "throughput").each == [100.0, 120.0]
