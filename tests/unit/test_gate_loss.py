"""Budgets of lossy deployments, and losses of B against A: the exact bounds of gate.md, and what is no evidence."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.analysis.bounds import clean_deployments_upper, clopper_pearson_upper, discordant_tail
from harness.analysis.comparable import Comparability
from harness.analysis.signed_rank import FULL_LOOKS, QUICK_LOOKS, Look
from harness.errors import ExitCode, UsageError
from harness.gate.evidence import Evidence
from harness.gate.judge import judge, needs_pairs
from harness.gate.loss import why_never
from harness.gate.outcome import Row, Verdict
from harness.gate.rules import BudgetRule, Rule
from harness.gate.sight import Known, outlook
from harness.model import Verdict as Claimed
from harness.record import AtLeast, Figure, TrialRecord
from tests.unit import records
from tests.unit.gate_support import CASE, KERNEL, LOSS, contract, crashed, invalid, margin, paired, stored

LESS = margin(25, LOSS)
N, L, B = (0.0, 0.0), (0.0, 5.0), (5.0, 5.0)
"""Losses of A and B in a pair: none, only B, both."""
R = (5.0, 0.0)


def told(rule: Rule, evidence: Evidence) -> Row:
    [row] = judge([rule], [evidence])
    return row


def against(losses: list[tuple[float, float]], looks: tuple[Look, ...] = FULL_LOOKS, **more: object) -> Evidence:
    return paired([crashed(a) for a, _ in losses], [crashed(b) for _, b in losses], looks, **more)


def budget(percent: float, most: int | None = None) -> BudgetRule:
    return BudgetRule(id="budget", metric=LOSS, max_lossy=percent / 100, max_lost_per_fault=most)


def run(*lost: Figure, **more: object) -> Evidence:
    return stored([], [crashed(each) for each in lost], **more)


# The oracles of gate.md.


@pytest.mark.parametrize(("level", "enough"), [(Fraction(1, 20), 5), (Fraction(1, 60), 6)])
def test_five_discordant_pairs_say_it_at_five_percent_and_six_at_a_third_of_that(level: Fraction, enough: int) -> None:
    assert discordant_tail(enough, 0) <= level < discordant_tail(enough - 1, 0)


@pytest.mark.parametrize(("clean", "share"), [(1, 0.95), (5, 0.45), (10, 0.26), (59, 0.05)])
def test_so_many_clean_crashes_leave_so_much(clean: int, share: float) -> None:
    assert round(clean_deployments_upper(clean), 2) == share
    assert clopper_pearson_upper(0, clean) == pytest.approx(clean_deployments_upper(clean))


# B against A.


def test_six_pairs_in_which_only_b_loses_are_a_regression_at_the_first_look() -> None:
    row = told(LESS, against([L] * 6))
    assert (row.verdict, row.n, row.level) == (Verdict.FAIL, 6, 1 / 64)
    assert row.words == "only B lost in 6 of 6 pairs, only A in 0: a fair coin would rarely do that"
    assert row.asks == "B loses confirmed messages where A does not in at most 25 % of pairs"


def test_five_are_enough_where_the_first_look_is_at_five() -> None:
    assert told(LESS, against([L] * 5, QUICK_LOOKS)).verdict is Verdict.FAIL
    assert told(LESS, against([L, L, L, L, N], QUICK_LOOKS)).verdict is Verdict.INCONCLUSIVE


def test_pairs_in_which_both_lose_say_nothing() -> None:
    row = told(LESS, against([B] * 16))
    assert (row.verdict, row.n) == (Verdict.PASS, 16)
    assert row.words == (
        "only B lost in 0 of 16 pairs, only A in 0: B loses where A does not in at most 21.9 %, 25 % are allowed"
    )


def test_ten_pairs_without_loss_pass_a_share_that_they_can_tell() -> None:
    assert clopper_pearson_upper(0, 10, float(1 - FULL_LOOKS[1].level)) == pytest.approx(1 - (14 / 1024) ** 0.1)
    row = told(margin(35, LOSS), against([N] * 10))
    assert (row.verdict, row.n) == (Verdict.PASS, 10)
    assert told(margin(20, LOSS), against([N] * 16)).verdict is Verdict.INCONCLUSIVE


def test_a_loss_decision_is_latched() -> None:
    late = [L] * 6 + [R] * 10
    assert (told(LESS, against(late)).verdict, told(LESS, against(late)).n) == (Verdict.FAIL, 6)
    assert told(LESS, against(late[::-1])).verdict is not Verdict.FAIL


def test_until_a_look_the_pairs_so_far_are_told() -> None:
    row = told(LESS, against([L, N, R], more=True))
    assert (row.verdict, row.decided) == (Verdict.INCONCLUSIVE, False)
    assert row.words == "only B lost in 1 of 3 pairs, only A in 1; the next look comes with pair 6"


def test_losses_against_a_baseline_have_no_pairs() -> None:
    row = told(LESS, stored([crashed()] * 5, [crashed(5.0)] * 5))
    assert (row.verdict, row.words) == (Verdict.INVALID, "which side loses more is only told by pairs")
    assert row.notes == ["run `ab`, or write require = '== 0' or max_lossy instead"]


def test_of_an_invalid_trial_or_an_undecided_loss_nothing_is_said() -> None:
    saturated = invalid(5.0, LOSS, window="whole")
    row = told(LESS, paired([crashed()] * 6, [saturated, *[crashed()] * 5]))
    assert (row.verdict, row.words) == (Verdict.INVALID, "B of pair 1 is invalid: generator saturated: lag 48 ms")
    open_ = told(LESS, paired([crashed()] * 6, [crashed(AtLeast(at_least=0.0)), *[crashed()] * 5]))
    assert open_.words == "whether B of pair 1 lost anything cannot be told: messages are undecided"
    assert told(LESS, paired([crashed()] * 6, [crashed(AtLeast(at_least=1.0))] * 6)).verdict is Verdict.FAIL


def test_drift_leaves_losses_undecided_too() -> None:
    assert (
        told(LESS, against([L] * 6, comparability=Comparability(differences=(KERNEL,)))).verdict is Verdict.INCONCLUSIVE
    )


# Budgets.


def test_a_budget_holds_where_even_the_bound_does() -> None:
    row = told(budget(5), run(*[0.0] * 59))
    assert (row.verdict, row.n) == (Verdict.PASS, 59)
    assert row.level == pytest.approx(0.05)
    assert row.words == "0 of 59 deployments lost something, so 0 % to 4.95 % of such would; 5 % are allowed"
    assert told(budget(5), run(*[0.0] * 58)).verdict is Verdict.INCONCLUSIVE
    assert row.asks == "at most 5 % of fresh deployments lose anything by their fault"


def test_a_budget_is_broken_where_even_the_lower_bound_is_above() -> None:
    row = told(budget(10), run(*[20.0] * 4, *[0.0] * 6))
    assert (row.verdict, row.seen_b) == (Verdict.FAIL, 20.0)
    assert row.words == "4 of 10 deployments lost something, so 15 % to 69.6 % of such would; 10 % are allowed"
    assert told(budget(20), run(*[20.0] * 4, *[0.0] * 6)).verdict is Verdict.INCONCLUSIVE


def test_one_deployment_may_not_lose_more_than_any_may() -> None:
    row = told(budget(90, 100), run(0.0, 101.0, 100.0))
    assert (row.verdict, row.seen_b) == (Verdict.FAIL, 101.0)
    assert row.words == "101 messages lost in one deployment (run/2); 100 messages at most are allowed"
    assert row.asks == (
        "at most 90 % of fresh deployments lose anything by their fault, and none loses more than 100 messages"
    )
    assert told(budget(90, 101), run(0.0, 101.0, 100.0)).verdict is not Verdict.FAIL
    saturated = stored([], [invalid(500.0, LOSS, window="whole")], unsound="interrupted")
    assert told(budget(90, 100), saturated).verdict is Verdict.FAIL
    open_ = told(budget(90, 100), run(0.0, AtLeast(at_least=7.0)))
    assert (open_.verdict, open_.words) == (Verdict.INVALID, "whether run/2 lost more than 100 cannot be told")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (crashed(faults=[], guarantees=[]), "run/2 has no fault; a budget is of deployments with one fault each"),
        (crashed(faults=[records.broker_kill(), records.worker_kill()]), "run/2 has 2 faults; a budget is of deployments with one fault each"),
        (crashed(guarantees=[records.guarantee(Claimed.NOT_EXERCISED, evidence="nothing was exposed")]), "run/2: broker kill NOT EXERCISED: nothing was exposed"),
        (invalid(0.0, LOSS, window="whole"), "run/2 is invalid: generator saturated: lag 48 ms"),
        (crashed(AtLeast(at_least=0.0)), "whether run/2 lost anything cannot be told: messages are undecided"),
    ],
)  # fmt: skip
def test_a_budget_needs_clean_exercised_deployments(record: TrialRecord, words: str) -> None:
    row = told(budget(90), stored([], [crashed(), record]))
    assert (row.verdict, row.words) == (Verdict.INVALID, words)


def test_a_budget_that_a_look_has_decided_stands_whatever_befalls_later_pairs() -> None:
    before = told(budget(50), against([N] * 10, more=True))
    assert (before.verdict, before.n) == (Verdict.PASS, 6)
    assert told(budget(50), against([N] * 10, more=True, cut="interrupted")) == before
    assert told(budget(10), against([N] * 7, more=True, cut="interrupted")).words == (
        "interrupted; so far 0 of 6 deployments lost something, so 0 % to 50 % of such would; 10 % are allowed; "
        "the look at 10 pairs was not reached"
    )


def test_an_empty_or_unsound_budget_is_no_pass() -> None:
    assert told(budget(90), run()).words == "no trial was run"
    assert told(budget(90), run(0.0, unsound="interrupted")).words == "interrupted"


def test_of_pairs_a_budget_looks_where_the_others_look_with_their_level() -> None:
    waits = told(budget(30), against([N] * 3, more=True))
    assert (waits.verdict, waits.decided) == (Verdict.INCONCLUSIVE, False)
    assert waits.words == "0 of 3 deployments lost something; the next look comes with pair 6"
    row = told(budget(30), against([N] * 16))
    assert (row.verdict, row.n) == (Verdict.PASS, 16)
    assert row.level == pytest.approx(1266 / 65536)
    assert told(budget(40), against([N] * 10 + [L] * 6)).n == 10  # latched
    assert told(budget(10), against([N] * 16)).verdict is Verdict.INCONCLUSIVE


# What could never pass.


def test_a_rule_on_losses_that_could_never_pass_is_known_before_anything_is_run() -> None:
    assert why_never(margin(10, LOSS), FULL_LOOKS) == (
        "even 16 pairs without any loss leave up to 21.9 % possible, 10 % take about 38"
    )
    assert why_never(budget(5), deployments=20) == (
        "even 20 deployments without any loss leave up to 13.9 % possible, 5 % take about 59"
    )
    assert why_never(budget(5), deployments=59) == why_never(margin(25, LOSS), FULL_LOOKS) == ""
    assert why_never(contract("==", 0), FULL_LOOKS) == why_never(margin(1), FULL_LOOKS) == why_never(budget(5)) == ""


def test_such_a_rule_is_refused_before_pairs_are_run_unless_it_matches_no_case() -> None:
    cases = [Known(ids=(CASE,), calibration=None)]
    with pytest.raises(UsageError, match="even 10 pairs without any loss leave up to") as raised:
        outlook([LESS], cases, QUICK_LOOKS)
    assert raised.value.exit_code is ExitCode.USAGE
    outlook([LESS], cases, FULL_LOOKS)
    outlook([margin(10, LOSS, case="rabbit*"), contract("==", 0)], cases, QUICK_LOOKS)


def test_only_comparisons_and_budgets_wait_for_pairs() -> None:
    assert [needs_pairs(rule) for rule in (margin(10), LESS, budget(5), contract("==", 0))] == [True, True, True, False]


# Whatever the pairs.


@settings(deadline=None)
@given(losses=st.lists(st.sampled_from([N, L, R, B]), max_size=17), quick=st.booleans())
def test_losses_are_decided_at_the_first_look_that_tells(losses: list[tuple[float, float]], quick: bool) -> None:
    looks = QUICK_LOOKS if quick else FULL_LOOKS
    expected = Verdict.INCONCLUSIVE
    for look in looks:
        if len(losses) < look.pairs or expected is not Verdict.INCONCLUSIVE:
            break
        worse, better = losses[: look.pairs].count(L), losses[: look.pairs].count(R)
        level = float(look.level)
        upper = stats.beta.ppf(1 - level, worse + 1, look.pairs - worse) if worse < look.pairs else 1.0
        tail = stats.binom.sf(worse - 1, worse + better, 0.5)
        expected = Verdict.FAIL if tail <= level + 1e-12 else Verdict.PASS if upper <= 0.25 else expected
    row = told(LESS, against(losses, looks, more=True))
    assert row.verdict is expected
    assert row.decided == (expected is not Verdict.INCONCLUSIVE or len(losses) >= looks[-1].pairs)


@settings(deadline=None)
@given(lossy=st.integers(0, 30), clean=st.integers(0, 30), percent=st.sampled_from([5, 20, 50]))
def test_a_budget_is_decided_by_clopper_and_pearson(lossy: int, clean: int, percent: int) -> None:
    n = lossy + clean
    row = told(budget(percent), run(*[3.0] * lossy, *[0.0] * clean))
    if not n:
        assert row.verdict is Verdict.INVALID
        return
    upper = stats.beta.ppf(0.95, lossy + 1, clean) if clean else 1.0
    lower = stats.beta.ppf(0.05, lossy, clean + 1) if lossy else 0.0
    allowed, rounding = percent / 100, 1e-12
    expected = Verdict.INCONCLUSIVE
    if upper <= allowed + rounding:
        expected = Verdict.PASS
    elif lower > allowed + rounding:
        expected = Verdict.FAIL
    assert row.verdict is expected


def test_one_lossy_deployment_of_one_is_just_what_five_percent_allow() -> None:
    assert told(budget(5), run(3.0)).verdict is Verdict.INCONCLUSIVE  # its lower bound is 5 %, and not above
    assert told(budget(4.9), run(3.0)).verdict is Verdict.FAIL


def test_a_look_with_too_few_pairs_for_any_level_decides_nothing() -> None:
    blind = (Look(pairs=2, c=0, level=Fraction(0)),)
    for rule in (LESS, budget(50)):
        row = told(rule, against([L, L], blind))
        assert (row.verdict, row.n) == (Verdict.INCONCLUSIVE, 2)


def test_a_discarded_pair_hides_no_deployment_that_lost_too_much() -> None:
    row = told(budget(90, 100), against([(0.0, 500.0), N], discarded={1: "CPU stolen"}, more=True))
    assert (row.verdict, row.seen_b) == (Verdict.FAIL, 500.0)
