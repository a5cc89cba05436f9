"""What is said of rules before the first trial: a blind one is refused with the pairs that it needs, a poor one is warned of."""

from __future__ import annotations

import math

import pytest

from harness.analysis.signed_rank import FULL_LOOKS, QUICK_LOOKS
from harness.errors import ExitCode, UsageError
from harness.gate.noise import Calibration, spread
from harness.gate.rules import AbsoluteRule, RelativeRule
from harness.gate.sight import Known, outlook

CASE = "redis-stream[persistence=none]@embedded"
P99 = "latency.end_to_end.p99"


def known(sigma: float, case: str = CASE, *, size: float = 0.010, metric: str = P99, window: str = "") -> Known:
    """Returns a case whose figures scatter by exactly so much: ± of two pairs, each σ / √2 from the middle."""
    a, b = [size, size], [size * math.exp(each * sigma / math.sqrt(2)) for each in (1, -1)]
    told = spread(a, b, ["a", "b"])
    assert told is not None
    calibration = Calibration(
        scenario="s", question="q", case=case, tool_version="1", measured_wall_ns=1, pairs=2, first=["a", "b"],
        spreads={window: {metric: told}},
    )  # fmt: skip
    return Known(ids=(case,), calibration=calibration)


def rule(max_ratio: float = 1.10, metric: str = P99, **more: object) -> RelativeRule:
    return RelativeRule(id="steady-p99", metric=metric, max_ratio=max_ratio, **more)  # type: ignore[arg-type]


def test_a_rule_that_the_noise_would_decide_is_refused_with_the_pairs_that_it_needs() -> None:
    with pytest.raises(UsageError) as told:
        outlook([rule()], [known(0.2)], FULL_LOOKS)
    assert told.value.exit_code is ExitCode.USAGE
    assert told.value.problem == (
        f"rule steady-p99, {CASE}: identical code differs by 20 % in {P99} (σ of ln(B/A), 2 pairs), too much for a margin of 10 %: "
        "it would need about 58 pairs to pass in 90 of 100 comparisons, and at most 16 are planned"
    )
    assert (
        told.value.expected == "a margin that identical code keeps: max_worse of 19.8 % or more"
    )  # exp(0.9 × 0.2) − 1 = 0.1972
    assert outlook([rule(1.198)], [known(0.2)], FULL_LOOKS).warnings != ()


def test_all_blind_rules_are_named_at_once() -> None:
    cases = [known(0.2), known(0.3, "null@embedded")]
    with pytest.raises(UsageError) as told:
        outlook([rule(), rule(1.2)], cases, QUICK_LOOKS)
    assert len(told.value.problem.splitlines()) == 3  # 20 % is only poor for a margin of 20 %
    assert "at most 10 are planned" in told.value.problem


def test_a_rule_that_sees_poorly_is_warned_of_with_the_chance_of_identical_code() -> None:
    told = outlook([rule()], [known(0.09)], FULL_LOOKS)
    [warning] = told.warnings
    assert warning.startswith(f"rule steady-p99, {CASE}: identical code differs by 9 % in {P99}")
    assert "much for a margin of 10 %: identical code passes in 9" in warning
    assert warning.endswith("of 100 comparisons")


def test_what_a_rule_can_see_is_told_where_pairs_are_planned() -> None:
    told = outlook([rule()], [known(0.05)], FULL_LOOKS)
    assert told.warnings == ()
    assert told.sees == (
        f"rule steady-p99, {CASE}: identical code differs by 5 % in {P99} (σ of ln(B/A), 2 pairs): a B that is 14.3 % worse is seen in 80 of 100 comparisons",
    )
    assert outlook([rule()], [known(0.05)]).sees == ()


def test_small_figures_are_tolerated_to_differ_by_min_abs_before_anything_is_refused() -> None:
    with pytest.raises(UsageError):
        outlook([rule()], [known(0.2)], FULL_LOOKS)
    assert (
        outlook([rule(min_abs=0.010)], [known(0.2)], FULL_LOOKS).warnings == ()
    )  # 10 ms more of 10 ms: a margin of 100 %


def test_cases_without_a_calibration_are_named_and_refuse_nothing() -> None:
    told = outlook([rule()], [Known(ids=("a@embedded",), calibration=None), known(0.01)], FULL_LOOKS)
    assert told.warnings == (
        "no calibration of this machine for a@embedded: what can be seen is not known before; brokerbench calibrate SCENARIO measures it",
    )
    many = [Known(ids=(f"{n}@embedded",), calibration=None) for n in range(4)]
    assert "for 4 of 4 cases: " in outlook([rule()], many).warnings[0]


def test_only_relative_rules_of_cases_that_they_match_need_a_calibration() -> None:
    alone = [Known(ids=("a@embedded",), calibration=None)]
    no_loss = AbsoluteRule(id="x", metric="loss.confirmed", relation="==", limit=0.0, text="== 0")
    lossy = rule(metric="loss.confirmed", max_ratio=1.25)
    assert outlook([no_loss, lossy, rule(case="redis-*")], alone, FULL_LOOKS).warnings == ()


def test_the_noise_is_that_of_the_rules_own_window() -> None:
    case = known(0.2, window="whole")
    assert outlook([rule()], [case], FULL_LOOKS).sees == ()
    with pytest.raises(UsageError):
        outlook([rule(window="whole")], [case], FULL_LOOKS)
