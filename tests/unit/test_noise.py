"""The noise of identical trials: its size, how large it may be, what being second does, and of which environment it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from harness.gate import noise
from harness.gate.noise import Calibration, Calibrations, Ceiling
from harness.record import AtLeast, Figure, Unknown
from tests.unit.test_comparable import FINGERPRINT

D = [0.031, -0.012, 0.054, 0.087, 0.009]


def sides(d: Sequence[float]) -> tuple[list[Figure | None], list[Figure | None]]:
    return [100.0] * len(d), [100.0 * math.exp(each) for each in d]


def test_the_noise_is_the_standard_deviation_of_the_log_ratios() -> None:
    mean = sum(D) / 5
    expected = math.sqrt(sum((d - mean) ** 2 for d in D) / 4)
    assert noise.sigma_d(*sides(D)) == pytest.approx(expected)


@pytest.mark.parametrize("wrong", [None, AtLeast(at_least=3.0), Unknown(unknown="n too small"), 0.0, math.inf])
def test_one_pair_without_a_ratio_leaves_the_noise_unknown(wrong: Figure | None) -> None:
    assert noise.sigma_d([1.0, 1.0, wrong], [1.0, 1.1, 1.0]) is None


@pytest.mark.parametrize("d", [[], [0.1]])
def test_fewer_than_two_pairs_tell_no_noise(d: list[float]) -> None:
    assert noise.sigma_d(*sides(d)) is None


def test_a_ratio_beyond_the_largest_float_is_noise_too() -> None:
    assert noise.sigma_d([1e300, 1.0], [1e-320, 1.0]) == pytest.approx(1009.47, abs=0.01)


def test_below_min_abs_figures_do_not_differ() -> None:
    assert noise.sigma_d([0.0, 0.5, 1.0], [1.0, 0.1, 0.3], min_abs=1.0) == 0.0


@pytest.mark.parametrize(("pairs", "factor"), [(5, 2.372), (10, 1.645), (16, 1.437), (100, 1.134)])
def test_the_true_noise_may_be_so_many_times_as_large(pairs: int, factor: float) -> None:
    """sqrt((n - 1) / chi-squared quantile at 5 %), e.g. 9 / 3.325113 for ten pairs."""
    assert noise.upper_factor(pairs) == pytest.approx(factor, abs=0.0006)


def test_a_spread_tells_what_the_second_trial_of_a_pair_did_beside_the_first() -> None:
    told = noise.spread([100.0, 110.0, 100.0], [110.0, 100.0, 110.0], ["a", "b", "a"])
    assert told is not None
    assert told.order_effect == pytest.approx(1.1)
    assert (told.a, told.b, told.middle) == ([100.0, 110.0, 100.0], [110.0, 100.0, 110.0], 105.0)
    assert told.sigma_d_upper == pytest.approx(told.sigma_d * noise.upper_factor(3))


def test_a_spread_is_another_where_small_figures_do_not_differ() -> None:
    told = noise.spread([1.0, 1.0, 9.0], [2.0, 1.0, 9.0], ["a", "b", "a"])
    assert told is not None
    assert told.at(0.0) == told.sigma_d > 0
    assert told.at(3.0) == 0.0


def test_an_environment_is_the_same_whatever_drifts_and_another_with_any_part_of_its_identity() -> None:
    same = {**FINGERPRINT, "drift": {**FINGERPRINT["drift"], "kernel": "9.9"}, "live": {"boot_id": "x"}}
    assert noise.environment_class(same) == noise.environment_class(FINGERPRINT)
    for name in FINGERPRINT["identity"]:
        changed = {**FINGERPRINT, "identity": {**FINGERPRINT["identity"], name: "another"}}
        alike = noise.environment_class(changed) == noise.environment_class(FINGERPRINT)
        assert alike == (name == "filesystem_run")  # where reports are written changes no figure


def test_dockers_storage_is_a_part_of_the_environment_and_its_version_is_none() -> None:
    def on(**docker: str) -> dict[str, Any]:
        return {"identity": {"cpus": 2}, "drift": {"docker": docker}}

    one = noise.environment_class(on(storage="overlay2", engine="28.0"))
    assert one == noise.environment_class(on(storage="overlay2", engine="29.0"))
    assert one != noise.environment_class(on(storage="btrfs", engine="28.0"))
    assert one != noise.environment_class({"identity": {"cpus": 2}})


def calibration(case: str = "null@embedded", question: str = "q", **more: Any) -> Calibration:
    told = noise.spread([100.0] * 3, [101.0, 99.0, 100.0], ["a", "b", "a"])
    assert told is not None
    values: dict[str, Any] = {
        "scenario": "smoke", "question": question, "case": case, "tool_version": "1", "measured_wall_ns": 1, "pairs": 3,
        "first": ["a", "b", "a"], "spreads": {"": {"throughput": told}},
    }  # fmt: skip
    return Calibration(**values | more)


def test_a_new_calibration_takes_the_place_of_an_older_one_of_the_same_case_and_question() -> None:
    empty = Calibrations(environment="e", identity={})
    known = (
        empty.with_calibration(calibration())
        .with_calibration(calibration("other"))
        .with_calibration(calibration(question="p"))
    )
    again = known.with_calibration(calibration(pairs=9))
    assert [(each.case, each.question, each.pairs) for each in again.calibrations] == [
        ("other", "q", 3),
        ("null@embedded", "p", 3),
        ("null@embedded", "q", 9),
    ]
    found = again.of("q", "null@embedded")
    assert found is not None
    assert found.pairs == 9
    assert set(found.sigma_d) == {"throughput"}
    assert (again.of("q", "none"), again.of("x", "other")) == (None, None)


def test_a_ceiling_is_that_of_the_same_load_and_the_newest() -> None:
    def ceiling(rate_per_s: float, producers: int) -> Ceiling:
        return Ceiling(
            load={"producers": producers}, rate_per_s=rate_per_s, trials=3, tool_version="1", measured_wall_ns=1
        )

    known = Calibrations(environment="e", identity={}).with_ceiling(ceiling(1.0, 1)).with_ceiling(ceiling(2.0, 2))
    known = known.with_ceiling(ceiling(3.0, 1))
    assert [each.rate_per_s for each in known.ceilings] == [2.0, 3.0]
    found = known.ceiling({"producers": 1})
    assert found is not None
    assert found.rate_per_s == 3.0
    assert known.ceiling({"producers": 3}) is None
