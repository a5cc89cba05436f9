"""Relative rules: the worked example of gate.md through the whole gate, latched looks, and every reason to say nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.comparable import Comparability
from harness.analysis.signed_rank import FULL_LOOKS, QUICK_LOOKS, decide, paired_ratio
from harness.gate.evidence import Evidence
from harness.gate.judge import judge
from harness.gate.outcome import Row, Verdict
from harness.gate.rules import RelativeRule
from harness.model import TrialStatus
from harness.record import AtLeast, Figure, TrialRecord, Unknown
from tests.unit import records
from tests.unit.gate_support import (
    CASE,
    CPU,
    KERNEL,
    P99,
    D,
    invalid,
    margin,
    of_ratios,
    paired,
    stored,
    trial,
)


def told(rule: RelativeRule, evidence: Evidence) -> Row:
    [row] = judge([rule], [evidence])
    return row


@pytest.mark.parametrize(
    ("pairs", "estimate", "lower", "upper"),
    [(6, 1.049171, 0.988072, 1.127497), (10, 1.040811, 0.998501, 1.082204), (16, 1.043938, 1.016129, 1.073045)],
)
def test_the_worked_example_of_the_gate_page(pairs: int, estimate: float, lower: float, upper: float) -> None:
    row = told(margin(3), of_ratios(D[:pairs]))
    assert (round(row.estimate or 0, 6), round(row.lower or 0, 6), round(row.upper or 0, 6)) == (estimate, lower, upper)
    assert (row.verdict, row.n, row.tolerated) == (Verdict.INCONCLUSIVE, pairs, 1.03)


@pytest.mark.parametrize(
    ("percent", "verdict", "n"),
    [(15, "PASS", 6), (10, "PASS", 10), (7.5, "PASS", 16), (5, "INCONCLUSIVE", 16), (1.5, "FAIL", 16)],
)
def test_the_first_look_that_decides_stands(percent: float, verdict: str, n: int) -> None:
    row = told(margin(percent), of_ratios(D))
    assert (row.verdict, row.n, row.level) == (verdict, n, float({each.pairs: each.level for each in FULL_LOOKS}[n]))


def test_a_row_has_every_trials_value_also_of_pairs_after_the_deciding_look() -> None:
    row = told(margin(15), of_ratios(D))
    assert [value.pair for value in row.b] == list(range(1, 17))
    assert row.b[1].figure == pytest.approx(0.01 * math.exp(-0.012))
    assert (row.a[15].trial, row.b[15].trial) == ("pair-16/a", "pair-16/b")
    assert row.seen_b == pytest.approx(0.01 * math.exp(0.054))  # of the six that decided: of two middle ones the worse


def test_what_was_decided_is_said_with_its_interval_and_its_margin() -> None:
    assert told(margin(15), of_ratios(D)).words == (
        "B is 4.9 % worse than A (−1.2 % to +12.7 %, 6 pairs): within the 15 % that is tolerated"
    )
    assert told(margin(7.5), of_ratios(D)).words == (
        "B is 4.4 % worse than A (+1.6 % to +7.3 %, 16 pairs): slower, within the 7.5 % that is tolerated"
    )
    assert (
        told(margin(1.5), of_ratios(D)).words
        == "B is 4.4 % worse than A (+1.6 % to +7.3 %, 16 pairs); 1.5 % is tolerated"
    )
    assert told(margin(5), of_ratios(D)).words == (
        "B is 4.4 % worse than A (+1.6 % to +7.3 %, 16 pairs): neither within 5 % nor beyond is proven"
    )


def test_before_the_first_look_nothing_is_decided_and_the_estimate_is_told_without_bounds() -> None:
    row = told(margin(25), of_ratios(D[:3], more=True))
    assert (row.verdict, row.decided, row.lower, row.upper, row.level) == (
        Verdict.INCONCLUSIVE,
        False,
        None,
        None,
        None,
    )
    assert row.words == (
        "B is 2.6 % worse than A (3 pairs): neither within 25 % nor beyond is proven; the next look comes with pair 6"
    )


def test_no_pair_yet_waits_and_none_at_all_is_invalid() -> None:
    waits, none = told(margin(25), of_ratios([], more=True)), told(margin(25), of_ratios([]))
    assert (waits.verdict, waits.decided, waits.words) == (Verdict.INCONCLUSIVE, False, "no pair yet")
    assert (none.verdict, none.decided, none.words) == (Verdict.INVALID, True, "no pair counts")


def test_between_looks_the_last_look_is_told() -> None:
    row = told(margin(5), of_ratios(D[:8], more=True))
    assert (row.n, row.decided) == (6, False)
    assert row.words.endswith("neither within 5 % nor beyond is proven; the next look comes with pair 10")
    cut_short = told(margin(5), of_ratios(D[:8]))
    assert (cut_short.n, cut_short.decided) == (6, True)
    assert cut_short.words.endswith("; the look at 10 pairs was not reached")


def test_the_last_look_is_the_end_even_if_more_pairs_could_come() -> None:
    assert told(margin(5), of_ratios(D, more=True)).decided


def test_quick_looks_decide_after_five_and_ten_pairs() -> None:
    row = told(margin(25), of_ratios([0.3] * 5, looks=QUICK_LOOKS))
    assert (row.verdict, row.n, row.level) == (Verdict.FAIL, 5, 1 / 32)


def test_less_throughput_is_worse_and_said_so_with_what_must_be_left() -> None:
    slower = paired([trial(1000.0, "throughput")] * 6, [trial(700.0, "throughput")] * 6)
    row = told(margin(10, "throughput"), slower)
    assert row.verdict is Verdict.FAIL
    assert row.estimate == pytest.approx(10 / 7)
    assert row.words == "B is 42.9 % worse than A (+42.9 % to +42.9 %, 6 pairs); 10 % is tolerated"
    assert row.asks == "throughput at most 10 % worse (at least 90.9 % of the reference's)"
    assert told(margin(45, "throughput"), slower).verdict is Verdict.PASS


def test_from_twice_on_a_ratio_is_told_as_times() -> None:
    assert told(margin(10), of_ratios([math.log(3.4)] * 6)).words == (
        "B is 3.4 times as bad as A (3.4 times to 3.4 times, 6 pairs); 10 % is tolerated"
    )


def test_better_and_as_good_are_told() -> None:
    assert told(margin(10), of_ratios([math.log(0.8)] * 6)).words.startswith("B is 20.0 % better than A (−20.0 % to")
    assert told(margin(10), of_ratios([0.0] * 6)).words.startswith("B is as good as A")


# min_abs, zero, resolution, censored figures.


def test_small_figures_differ_by_min_abs_at_least() -> None:
    doubled = paired([trial(0.001)] * 6, [trial(0.002)] * 6)
    assert told(margin(25), doubled).verdict is Verdict.FAIL
    within = told(margin(25, min_abs=0.002), doubled)
    assert (within.verdict, within.tolerated) == (Verdict.PASS, 2.0)  # both are raised to 2 ms, and 2 ms more are 100 %
    assert within.asks == f"{P99} at most 25 % worse, or 2 ms where that is more"


def test_min_abs_matters_little_for_large_figures() -> None:
    assert told(margin(25, min_abs=0.002), of_ratios(D, base=1.0)).tolerated == 1.25


def test_a_zero_without_min_abs_has_no_ratio() -> None:
    row = told(margin(25), paired([trial(0.0)] * 6, [trial(0.1)] * 6))
    assert (row.verdict, row.words) == (Verdict.INVALID, f"{P99} of A of pair 1 is 0 s, which has no ratio")
    assert told(margin(25, min_abs=0.1), paired([trial(0.0)] * 6, [trial(0.1)] * 6)).verdict is Verdict.PASS


def test_a_negative_figure_has_no_ratio() -> None:
    assert told(margin(25), paired([trial(0.1)] * 6, [trial(-0.1)] * 6)).verdict is Verdict.INVALID


def test_recoveries_are_found_in_slices_of_a_second_so_ties_prove_nothing() -> None:
    def recovered(after_s: Figure) -> TrialRecord:
        return trial(faults=[records.broker_kill(after_s)])

    same = paired([recovered(2.0)] * 16, [recovered(2.0)] * 16)
    row = told(margin(25, "recovery.p99", min_abs=0.1), same)
    assert row.verdict is Verdict.INCONCLUSIVE  # 2 s ± 0.5 s each
    assert row.lower == pytest.approx(math.exp(-0.5))
    assert row.upper == pytest.approx(math.exp(0.5))


def test_cpu_is_counted_in_ticks_of_ten_milliseconds() -> None:
    def used(per_million_s: float) -> TrialRecord:
        whole = {"cost.broker_cpu": per_million_s, "class.processed": 9_000.0, "class.recovered": 1_000.0}
        return trial(metrics={"whole": whole})

    row = told(margin(25, "cost.broker_cpu", min_abs=0.1), paired([used(10.0)] * 6, [used(10.0)] * 6))
    assert row.upper == pytest.approx(math.exp(0.5 * (0.1 + 0.1)))  # 10 ms over 10,000 messages: 1 s per million


def test_a_recovery_of_b_that_was_never_over_is_beyond_every_margin() -> None:
    def recovered(after_s: Figure) -> TrialRecord:
        return trial(faults=[records.broker_kill(after_s)])

    never = paired([recovered(10.0)] * 6, [recovered(AtLeast(at_least=3.0))] * 6)
    row = told(margin(25, "recovery.p99", min_abs=0.1), never)
    assert (row.verdict, row.estimate, row.lower, row.upper) == (Verdict.FAIL, None, None, None)
    assert row.words == "6 of 6 trials of B and 0 of 6 trials of A saw no end of it; 25 % is tolerated"
    both = paired([recovered(AtLeast(at_least=9.0))] * 6, [recovered(AtLeast(at_least=3.0))] * 6)
    assert told(margin(25, "recovery.p99", min_abs=0.1), both).verdict is Verdict.INCONCLUSIVE


def test_a_reference_that_is_often_censored_does_not_widen_the_margin() -> None:
    def recovered(after_s: Figure) -> TrialRecord:
        return trial(faults=[records.broker_kill(after_s)])

    half = [recovered(AtLeast(at_least=0.2)) if n % 2 else recovered(0.2) for n in range(6)]
    row = told(margin(25, "recovery.first_delivery", min_abs=0.1), paired(half, [recovered(0.1)] * 6))
    assert row.tolerated is not None
    assert row.tolerated > 1.25
    most = [recovered(AtLeast(at_least=0.2)) if n % 3 else recovered(0.2) for n in range(6)]
    assert told(margin(25, "recovery.p99", min_abs=0.1), paired(most, [recovered(0.1)] * 6)).tolerated == 1.25


# What proves nothing.


@pytest.mark.parametrize("side", ["A", "B"])
def test_an_invalid_trial_enters_no_relative_rule(side: str) -> None:
    good, bad = [trial(0.01)] * 6, [*[trial(0.01)] * 3, invalid(0.01), *[trial(0.01)] * 2]
    row = told(margin(25), paired(bad, good) if side == "A" else paired(good, bad))
    assert (row.verdict, row.decided) == (Verdict.INVALID, True)
    assert row.words == f"{side} of pair 4 is invalid: generator saturated: lag 48 ms"


def test_an_invalid_trial_is_told_at_once_not_at_the_next_look() -> None:
    row = told(margin(25), paired([trial(0.01)] * 2, [trial(0.01), invalid(0.01)], more=True))
    assert (row.verdict, row.decided) == (Verdict.INVALID, True)


def test_a_decision_that_was_made_before_an_invalid_trial_stands() -> None:
    b = [trial(0.01)] * 7
    b[6] = invalid(0.01)
    assert told(margin(25), paired([trial(0.01)] * 7, b, more=True)).verdict is Verdict.PASS
    noisy = of_ratios(D[:6]).pairs
    late = paired(
        [pair.a.record for pair in noisy] + [trial(0.01)], [pair.b.record for pair in noisy] + [invalid(0.01)]
    )
    assert told(margin(5), late).verdict is Verdict.INVALID  # the look at six did not decide this one


def test_a_discarded_pair_does_not_count() -> None:
    d = [*D[:3], 3.0, *D[3:6]]
    row = told(margin(15), of_ratios(d, discarded={4: "stolen"}))
    assert (row.verdict, row.n, round(row.estimate or 0, 6)) == (Verdict.PASS, 6, 1.049171)
    assert [value.pair for value in row.a] == [1, 2, 3, 5, 6, 7]
    assert told(margin(15), of_ratios([0.1], discarded={1: "stolen"})).words == "no pair counts"


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (trial(), f"B of pair 2 has no {P99}"),
        (trial(Unknown(unknown="n too small")), f"{P99} of B of pair 2 is not known: n too small (a percentile needs 100 messages beyond it: p99 needs 10,000)"),
        (trial(Unknown(unknown="no messages")), f"{P99} of B of pair 2 is not known: no messages"),
        (trial(0.01, status=TrialStatus.INTERRUPTED, reasons=["interrupted by Ctrl-C"]), "B of pair 2 is interrupted: interrupted by Ctrl-C"),
        (trial(0.01, status=TrialStatus.FAILED), "B of pair 2 is failed"),
        (trial(0.01, window="whole"), f"{P99} stands in different windows: B of pair 2 had no steady window left"),
    ],
)  # fmt: skip
def test_a_figure_that_is_not_there_is_never_a_pass(record: TrialRecord, words: str) -> None:
    good = [trial(0.01)] * 6
    row = told(margin(25), paired(good, [good[0], record, *good[2:]]))
    assert (row.verdict, row.words) == (Verdict.INVALID, words)


def test_a_window_that_a_trial_does_not_have_is_said() -> None:
    row = told(margin(25, window="steady"), paired([trial(0.01, window="whole")] * 6, [trial(0.01)] * 6))
    assert row.words == f"A of pair 1 has no {P99} in the window steady; no steady window was left"
    faulty = told(margin(25, window="fault[1]"), of_ratios(D))
    assert (faulty.verdict, faulty.words) == (Verdict.INVALID, f"A of pair 1 has no {P99} in the window fault[1]")


def test_where_no_trial_has_a_steady_window_the_figures_of_the_whole_run_are_said_to_be_that() -> None:
    row = told(margin(25), paired([trial(0.01, window="whole")] * 6, [trial(0.01, window="whole")] * 6))
    assert (row.verdict, row.window) == (Verdict.PASS, "whole")
    assert row.notes == ["no steady window was left: the figures are of the whole run, faults included"]


@pytest.mark.parametrize(("label", "moved"), [("filling", "grew"), ("draining", "shrank")])
def test_a_throughput_that_is_not_sustained_is_not_compared(label: str, moved: str) -> None:
    b = trial(900.0, "throughput", throughput_label={"steady": label, "whole": "sustained"})
    row = told(margin(25, "throughput"), paired([trial(1000.0, "throughput")] * 6, [b] * 6))
    assert (row.verdict, row.words) == (
        Verdict.INVALID,
        f"the throughput of B of pair 1 cannot last ({label}: its backlog {moved}); "
        "more workers, or a smaller window of the closed loop, let it",
    )


def test_a_figure_that_is_next_to_0_is_a_figure() -> None:
    row = told(margin(15), paired([trial(1e-320), trial(0.01)] * 3, [trial(0.01), trial(0.02)] * 3))
    assert (row.verdict, row.n, row.upper) == (Verdict.FAIL, 6, None)  # each B is worse


def test_what_is_unsound_proves_nothing() -> None:
    row = told(margin(15), of_ratios([0.5] * 12, unsound="a record contradicts itself"))
    assert (row.verdict, row.words) == (Verdict.INVALID, "a record contradicts itself")


def test_what_no_look_has_decided_when_it_was_cut_short_is_invalid() -> None:
    row = told(margin(15), of_ratios(D[:3], cut="interrupted"))
    assert (row.verdict, row.decided, row.n, row.level) == (Verdict.INVALID, True, 3, None)
    assert row.estimate == pytest.approx(1.0263, abs=1e-4)
    assert row.words == (
        "interrupted; so far B is 2.6 % worse than A (3 pairs): neither within 15 % nor beyond is proven; "
        "the look at 6 pairs was not reached"
    )
    assert told(margin(15), of_ratios(D, looks=(), cut="interrupted")).words == "interrupted"


@pytest.mark.parametrize(("d", "verdict"), [([0.5] * 12, Verdict.FAIL), ([0.0, 0.01] * 6, Verdict.PASS)])
def test_what_a_look_has_decided_stands_whatever_befalls_later_pairs(d: list[float], verdict: Verdict) -> None:
    before = told(margin(15), of_ratios(d, more=True))
    assert (before.verdict, before.decided) == (verdict, True)
    assert told(margin(15), of_ratios(d, more=True, cut="interrupted")) == before
    drifted = of_ratios(d, cut="interrupted", comparability=Comparability(differences=(KERNEL,)))
    assert told(margin(15), drifted).verdict is Verdict.INCONCLUSIVE
    unlike = of_ratios(d, cut="interrupted", comparability=Comparability(differences=(CPU,)))
    assert told(margin(15), unlike).words == "interrupted"


def test_without_a_reference_there_is_nothing_to_compare_with() -> None:
    assert told(margin(25), stored([], [trial(0.01)])).words == "there is nothing to compare with"
    unknown = told(margin(25), of_ratios(D, comparability=None))
    assert (unknown.verdict, unknown.words) == (Verdict.INVALID, "whether the two sides may be compared is not known")


# Comparable or not.


def test_sides_that_are_not_comparable_have_no_ratio() -> None:
    row = told(margin(25), of_ratios(D, comparability=Comparability(differences=(CPU, KERNEL))))
    assert (row.verdict, row.estimate, row.words) == (
        Verdict.NOT_COMPARABLE,
        None,
        "the sides are not comparable: CPU model: EPYC / Xeon",
    )
    assert row.notes == ["must be the same: CPU model: EPYC / Xeon"]


def test_across_machines_the_ratio_of_the_middle_figures_is_information() -> None:
    unlike = of_ratios([math.log(1.5)] * 6, comparability=Comparability(differences=(CPU,)))
    [row] = judge([margin(25)], [unlike], cross_machine=True)
    assert (row.verdict, row.lower) == (Verdict.NOT_COMPARABLE, None)
    assert row.estimate == pytest.approx(1.5)
    assert row.words == (
        "B is 50.0 % worse than A; information only, for the sides are not comparable: CPU model: EPYC / Xeon"
    )


@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_drift_between_the_sides_leaves_neither_pass_nor_fail(ratio: float) -> None:
    drifted = Comparability(differences=(KERNEL,))
    row = told(margin(25), of_ratios([math.log(ratio)] * 6, comparability=drifted))
    would = "PASS" if ratio == 1 else "FAIL"
    assert (row.verdict, row.decided) == (Verdict.INCONCLUSIVE, True)
    assert row.words.startswith(f"it would be {would} (B is ")
    assert row.words.endswith("but the sides differ in more than what is compared: kernel: 6.1 / 6.8")
    assert row.notes == ["differs between the sides: kernel: 6.1 / 6.8"]


# Noise, and what it lets be seen.


def test_the_noise_is_that_of_the_pairs_where_there_are_three() -> None:
    row = told(margin(15), of_ratios(D, sigma_d={P99: 0.5}))
    mean = sum(D[:6]) / 6
    assert row.sigma_d == pytest.approx(math.sqrt(sum((each - mean) ** 2 for each in D[:6]) / 5))
    assert told(margin(15), of_ratios(D[:2], sigma_d={P99: 0.5}, more=True)).sigma_d == 0.5
    assert told(margin(15), of_ratios(D[:2], more=True)).sigma_d is None


def test_a_row_says_the_smallest_difference_that_would_have_been_seen() -> None:
    row = told(margin(10), of_ratios([0.02 * (-1) ** n for n in range(16)]))
    assert row.detectable == pytest.approx(1.117, abs=0.003)  # the table of gate.md: 2 % of noise, margin 10 %
    assert told(margin(25), stored([trial(0.01)] * 3, [trial(0.01)] * 3)).detectable is None


# Against a baseline.


def test_against_a_baseline_every_trial_is_held_against_every_one() -> None:
    row = told(margin(25), stored([trial(0.010 + n / 1e5) for n in range(5)], [trial(0.018)] * 5))
    assert (row.verdict, row.n, row.level) == (Verdict.FAIL, 5, 12 / 252)
    assert row.words.startswith("this run is 79.6 % worse than the baseline (")
    assert row.words.endswith(", 5 and 5 trials); 25 % is tolerated")
    assert row.notes == [
        "weaker than ab: the sides were not run in pairs, so whatever changed between the two hours looks like a difference"
    ]
    assert (row.a[0].pair, row.a[0].trial, row.b[4].trial) == (None, "base/1", "run/5")


def test_two_trials_have_no_bounds_against_a_baseline() -> None:
    row = told(margin(25), stored([trial(0.01)] * 3, [trial(0.01)] * 2))
    assert (row.verdict, row.lower, row.upper, row.level) == (Verdict.INCONCLUSIVE, None, None, None)
    assert row.words == (
        "this run is as good as the baseline (3 and 2 trials): neither within 25 % nor beyond is proven; "
        "too few trials for bounds (3 of each side are enough)"
    )


def test_an_invalid_trial_of_a_run_is_named_by_its_place() -> None:
    row = told(margin(25), stored([trial(0.01)] * 3, [trial(0.01), invalid(0.01), trial(0.01)]))
    assert (row.verdict, row.words) == (Verdict.INVALID, "run/2 is invalid: generator saturated: lag 48 ms")
    assert told(margin(25), stored([trial(0.01)] * 3, [])).words == "no trial was run"


# Whatever the pairs.

LOGS = st.lists(st.floats(-0.5, 0.5), min_size=0, max_size=18)


@settings(deadline=None, max_examples=60)
@given(d=LOGS, percent=st.sampled_from([5.0, 10.0, 25.0]), quick=st.booleans())
def test_a_decision_is_that_of_the_first_look_that_decides_and_never_changes(
    d: list[float], percent: float, quick: bool
) -> None:
    looks, rule = QUICK_LOOKS if quick else FULL_LOOKS, margin(percent)
    expected = None
    for look in looks:
        if len(d) >= look.pairs:
            first = paired_ratio([0.01] * look.pairs, [0.01 * math.exp(each) for each in d[: look.pairs]], c=look.c)
            expected = decide(first, 1 + percent / 100).value
            if expected != "INCONCLUSIVE":
                break
    row = told(rule, of_ratios(d, looks=looks, more=True))
    assert row.verdict == (expected or "INCONCLUSIVE")
    assert row.decided == (row.verdict is not Verdict.INCONCLUSIVE or len(d) >= looks[-1].pairs)
    if row.verdict is not Verdict.INCONCLUSIVE:
        before = told(rule, of_ratios(d[: row.n], looks=looks, more=True))
        assert (before.verdict, before.words, before.estimate) == (row.verdict, row.words, row.estimate)


@settings(deadline=None, max_examples=60)
@given(d=LOGS, bad=st.integers(0, 17), side=st.sampled_from("ab"))
def test_with_an_invalid_trial_there_is_no_pass_beyond_the_looks_before_it(d: list[float], bad: int, side: str) -> None:
    a, b = [trial(0.01) for _ in d], [trial(0.01 * math.exp(each)) for each in d]
    if bad < len(d):
        (a if side == "a" else b)[bad] = invalid(0.01)
    row = told(margin(10), paired(a, b, more=True))
    if row.verdict in (Verdict.PASS, Verdict.FAIL):
        assert row.n <= bad or bad >= len(d)


def test_the_case_of_a_row_is_that_of_its_evidence() -> None:
    assert told(margin(10), of_ratios(D)).case == CASE


def test_pairs_without_planned_looks_are_looked_at_once_all_together() -> None:
    row = told(margin(15), of_ratios(D, looks=()))
    assert (row.n, row.level, row.verdict) == (16, 3062 / 65536, Verdict.PASS)


def test_where_a_side_is_censored_in_one_pair_a_bound_is_open() -> None:
    def recovered(after_s: Figure) -> TrialRecord:
        return trial(faults=[records.broker_kill(after_s)])

    never = [recovered(AtLeast(at_least=9.0)), *[recovered(3.0)] * 5]
    row = told(margin(25, "recovery.first_delivery", min_abs=0.001), paired([recovered(3.0)] * 6, never))
    assert row.seen_a == 0.0312  # the figure that the rule asks for, which both have alike
    row = told(margin(25, "recovery.backlog", min_abs=0.001), paired([recovered(3.0)] * 6, never))
    assert row.verdict is Verdict.INCONCLUSIVE  # 1.4 s each, ± 0.5 s
    row = told(margin(25, "recovery.p99", min_abs=0.001), paired([recovered(3.0)] * 6, never))
    assert (row.verdict, row.upper, row.seen_b) == (Verdict.INCONCLUSIVE, None, 3.0)
    assert row.words.startswith("B is as good as A (−28.3 % or more, 6 pairs)")


def test_drift_is_noted_also_where_nothing_is_decided() -> None:
    row = told(margin(5), of_ratios(D, comparability=Comparability(differences=(KERNEL,))))
    assert (row.verdict, row.notes) == (Verdict.INCONCLUSIVE, ["differs between the sides: kernel: 6.1 / 6.8"])


def test_across_machines_less_throughput_is_worse_too_and_an_unknown_ratio_is_said_to_be() -> None:
    unlike = Comparability(differences=(CPU,))
    slower = paired([trial(900.0, "throughput")], [trial(600.0, "throughput")], comparability=unlike)
    [row] = judge([margin(10, "throughput")], [slower], cross_machine=True)
    assert row.estimate == pytest.approx(1.5)
    [row] = judge([margin(10)], [paired([trial()], [trial(0.1)], comparability=unlike)], cross_machine=True)
    assert (row.estimate, row.words[:37]) == (None, "no ratio is known; information only, ")


def test_the_middle_of_two_is_the_worse_one() -> None:
    b = [trial(each, "throughput") for each in (900.0, 910.0, 920.0, 930.0, 940.0, 950.0)]
    assert told(margin(25, "throughput"), paired([trial(1000.0, "throughput")] * 6, b)).seen_b == 920.0


def test_where_more_is_better_min_abs_is_held_against_what_b_has_left() -> None:
    less = paired([trial(100.0, "throughput")] * 6, [trial(60.0, "throughput")] * 6)
    row = told(margin(25, "throughput", min_abs=40.0), less)
    assert row.tolerated == pytest.approx(100 / 60)
    assert row.verdict is Verdict.PASS
    assert told(margin(25, "throughput", min_abs=39.0), less).verdict is Verdict.FAIL


@pytest.mark.parametrize("b", [1400.0, 101.0, 1997.0])
def test_where_more_is_better_a_min_abs_above_half_of_the_reference_could_never_fail(b: float) -> None:
    rule = margin(10, "throughput", min_abs=5000.0)
    row = told(
        rule, paired([trial(1997.0, "throughput")] * 6, [trial(b, "throughput")] * 6, sigma_d={"throughput": 0.02})
    )
    assert (row.verdict, row.detectable, row.sigma_d) == (Verdict.INVALID, None, None)
    assert row.words == (
        "this rule cannot fail: what is below 5,000/s (min_abs) counts as that much, and A has 1,997/s; write a min_abs below 998/s"
    )
    unpaired = told(rule, stored([trial(1997.0, "throughput")] * 3, [trial(b, "throughput")] * 3))
    assert (unpaired.verdict, "the baseline has 1,997/s" in unpaired.words) == (Verdict.INVALID, True)


def test_figures_that_were_raised_to_min_abs_are_never_as_good_and_told_as_measured() -> None:
    row = told(margin(10, min_abs=100.0), paired([trial(0.150)] * 6, [trial(2.0)] * 6))
    raised = (
        "what is below 100 s (min_abs) counts as 100 s; by the middle figures as measured B is 13.3 times as bad as A"
    )
    assert (row.verdict, row.notes) == (Verdict.PASS, [raised])
    assert row.words == (
        f"between B and A no difference counts (+0.0 % to +0.0 %, 6 pairs): within the 100 % that is tolerated; {raised}"
    )
    assert row.detectable == pytest.approx(2 * 100 / 0.150)  # as measured, not of what was raised
    partly = told(margin(10, min_abs=0.2), paired([trial(0.150)] * 6, [trial(2.0)] * 6))
    assert (partly.verdict, partly.words.startswith("B is 10 times as bad as A")) == (Verdict.FAIL, True)
    assert partly.words.endswith("as measured B is 13.3 times as bad as A")


def test_a_figure_of_a_faults_window_proves_nothing_where_the_fault_was_not_exercised() -> None:
    missed = trial(0.01, window="fault[0]", faults=[records.broker_kill().model_copy(update={"exposed": 0})])
    row = told(margin(25, window="fault[0]"), paired([missed] * 6, [missed] * 6))
    assert (row.verdict, "NOT EXERCISED" in row.words) == (Verdict.INVALID, True)
    struck = trial(0.01, window="fault[0]", faults=[records.broker_kill()])
    assert told(margin(25, window="fault[0]"), paired([struck] * 6, [struck] * 6)).verdict is Verdict.PASS


def test_no_sight_is_claimed_of_looks_that_were_never_made() -> None:
    assert told(margin(25), of_ratios(D[:3])).detectable is None
    assert told(margin(25), of_ratios(D[:3], more=True)).detectable is not None
    cut, whole = told(margin(5), of_ratios(D[:8])), told(margin(5), of_ratios(D))
    assert (cut.detectable or 0) > (whole.detectable or 9)  # one look of three sees less


def test_what_drifted_would_never_have_been_a_fail() -> None:
    drifted = told(margin(25), of_ratios(D, comparability=Comparability(differences=(KERNEL,))))
    assert (drifted.verdict, drifted.detectable) == (Verdict.INCONCLUSIVE, None)


def test_at_least_ten_milliseconds_is_not_better_than_a_hundred_and_fifty() -> None:
    row = told(margin(25), stored([trial(0.150)] * 3, [trial(AtLeast(at_least=0.010))] * 3))
    assert (row.verdict, row.estimate, row.upper) == (Verdict.INCONCLUSIVE, None, None)
    assert row.words == (
        "this run is at most 93.3 % better than the baseline, if it is better at all (−93.3 % or more, 3 and 3 trials): "
        "neither within 25 % nor beyond is proven"
    )


def test_a_missing_steady_window_is_told_before_a_backlog_that_grew() -> None:
    grew = trial(900.0, "throughput", window="whole", throughput_label={"whole": "filling"})
    steady = trial(900.0, "throughput", throughput_label={"steady": "sustained", "whole": "filling"})
    row = told(margin(25, "throughput"), paired([steady] * 6, [grew] * 6))
    assert row.words.startswith("throughput stands in different windows: B of pair 1")
    both = told(margin(25, "throughput"), paired([grew] * 6, [grew] * 6))
    assert "its backlog grew over the whole run, for no steady window was left" in both.words


def test_the_coarsest_trial_says_what_could_be_resolved() -> None:
    def used(done: float) -> TrialRecord:
        return trial(metrics={"whole": {"cost.broker_cpu": 10.0, "class.processed": done}})

    row = told(margin(25, "cost.broker_cpu", min_abs=0.1), paired([used(1e6)] * 6, [used(1e4)] * 6))
    assert row.upper == pytest.approx(math.exp(0.5 * (0.1 + 0.1)))
