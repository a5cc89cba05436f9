"""Every rule × every case; and, with the whole gate, how the verdicts of gate.md come together in one exit code."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.comparable import Comparability
from harness.errors import ExitCode
from harness.gate.evidence import Evidence
from harness.gate.judge import judge
from harness.gate.outcome import Row, Verdict, exit_of
from harness.gate.rules import AbsoluteRule, BudgetRule, GuaranteeRule, RelativeRule, Rule
from harness.record import TrialRecord
from tests.unit.gate_support import CPU, LOSS, P99, contract, crashed, invalid, margin, of_ratios, paired, trial

STREAM, LIST = "redis-stream[persistence=none]@bridge", "redis-list@bridge"


def case(name: str, *ids: str, d: float = 0.0) -> Evidence:
    return of_ratios([d] * 6, case=name, ids=(name, *ids))


def test_every_rule_is_judged_for_every_case_that_it_matches_in_the_order_of_the_rules() -> None:
    rules = [margin(25, case="redis-*"), contract("<=", 1, P99, case=STREAM)]
    rows = judge(rules, [case(STREAM), case(LIST, d=0.5), case("null@bridge")])
    assert [(row.rule, row.case, row.verdict) for row in rows] == [
        ("margin", STREAM, "PASS"),
        ("margin", LIST, "FAIL"),
        ("contract", STREAM, "PASS"),
    ]


def test_a_pattern_may_match_the_other_sides_id() -> None:
    [row] = judge([margin(25, case=LIST)], [case(STREAM, LIST)])
    assert (row.case, row.verdict) == (STREAM, Verdict.PASS)


@pytest.mark.parametrize("rule", [margin(25, case="rabbit*"), contract("==", 0, case="rabbit*"), GuaranteeRule(id="g", metric="guarantee", case="rabbit*"), BudgetRule(id="b", metric=LOSS, case="rabbit*", max_lossy=0.1)])  # fmt: skip
def test_a_pattern_without_a_case_is_never_a_pass(rule: Rule) -> None:
    [row] = judge([rule], [case(STREAM), case(LIST)])
    assert (row.verdict, row.case, row.decided) == (Verdict.INVALID, "", True)
    assert row.words == f"the pattern 'rabbit*' matches no case; there are: {STREAM}, {LIST}"
    assert judge([rule], [])[0].words == "the pattern 'rabbit*' matches no case; there are: none"


def exit_code(rules: list[Rule], *evidences: Evidence) -> ExitCode:
    return exit_of(judge(rules, evidences))[0]


@pytest.mark.parametrize(
    ("evidence", "code"),
    [
        (paired([trial(0.01)] * 6, [trial(0.010 * 1.02)] * 6), 0),
        (paired([trial(0.01)] * 6, [trial(0.014)] * 6), 10),
        (of_ratios([0.3 * (-1) ** n for n in range(16)]), 11),
        (of_ratios([0.0] * 6, comparability=Comparability(differences=(CPU,))), 12),
        (paired([trial(0.01)] * 6, [invalid(0.01)] * 6), 13),
        (paired([trial(0.01)] * 6, [trial()] * 6), 13),
    ],
)
def test_the_exit_code_of_one_relative_rule(evidence: Evidence, code: int) -> None:
    assert exit_code([margin(10)], evidence) == code


def test_the_severest_verdict_decides() -> None:
    unlike = of_ratios([0.0] * 6, comparability=Comparability(differences=(CPU,)), case="unlike", ids=("unlike",))
    open_ = of_ratios([0.3 * (-1) ** n for n in range(16)], case="open", ids=("open",))
    bad = paired([trial(0.01)], [invalid(0.01)], case="bad", ids=("bad",))
    slow = of_ratios([1.0] * 6, case="slow", ids=("slow",))
    assert exit_code([margin(10)], open_, unlike) == ExitCode.NOT_COMPARABLE
    assert exit_code([margin(10)], open_, unlike, bad) == ExitCode.INVALID
    assert exit_code([margin(10)], open_, unlike, bad, slow) == ExitCode.BROKEN


def test_a_proven_loss_between_machines_that_are_not_comparable_is_a_broken_contract() -> None:
    lossy = paired([crashed()] * 6, [crashed(3.0)] * 6, comparability=Comparability(differences=(CPU,)))
    assert exit_code([margin(10), contract("==", 0)], lossy) == ExitCode.BROKEN


# Whatever there is: more pairs never take back what was said, and nothing but sound evidence passes.

RULES: list[Rule] = [
    margin(10),
    RelativeRule(id="less loss", metric=LOSS, max_ratio=1.3),
    AbsoluteRule(id="quick", metric=P99, relation="<=", limit=0.02, text="<= 20 ms"),
    contract("==", 0),
    GuaranteeRule(id="claims", metric="guarantee"),
    BudgetRule(id="budget", metric=LOSS, max_lossy=0.4, max_lost_per_fault=50),
]


def _trial(log: float, lost: int, state: str) -> TrialRecord:
    figures = {"steady": {P99: 0.01 * math.exp(log)}, "whole": {LOSS: float(lost)}}
    if state == "invalid":
        return invalid(faults=crashed().faults, guarantees=crashed().guarantees, metrics=figures)
    return crashed(metrics={} if state == "missing" else figures)


TRIALS = st.builds(
    _trial,
    st.floats(-0.8, 0.8),
    st.sampled_from([0, 0, 0, 0, 3, 90]),
    st.sampled_from(["valid"] * 20 + ["invalid", "missing"]),
)


def _rows(a: list[TrialRecord], b: list[TrialRecord], *, more: bool) -> dict[str, Row]:
    return {row.rule: row for row in judge(RULES, [paired(a, b, more=more)])}


@settings(deadline=None, max_examples=30)
@given(trials=st.lists(st.tuples(TRIALS, TRIALS), min_size=1, max_size=17))
def test_what_is_decided_stays_decided_whatever_pairs_follow(trials: list[tuple[TrialRecord, TrialRecord]]) -> None:
    a, b = [one for one, _ in trials], [other for _, other in trials]
    decided: dict[str, Row] = {}
    for n in (*range(1, len(trials) + 1, 3), len(trials)):
        rows = _rows(a[:n], b[:n], more=True)
        for name, before in decided.items():
            assert rows[name].decided
            # A contract that is invalid may still be broken by a later loss, and nothing else changes.
            assert rows[name].verdict in (
                before.verdict,
                *([Verdict.FAIL] if before.verdict is Verdict.INVALID or name == "budget" else []),
                *([Verdict.INVALID] if before.verdict is Verdict.PASS and name == "budget" else []),  # of every trial
            )
        decided = {name: row for name, row in rows.items() if row.decided}
    over = _rows(a, b, more=False)
    assert all(row.decided for row in over.values())
    assert all(over[name].verdict is row.verdict for name, row in decided.items())


@settings(deadline=None, max_examples=30)
@given(trials=st.lists(st.tuples(TRIALS, TRIALS), max_size=8), why=st.sampled_from(["", "interrupted"]))
def test_nothing_but_sound_evidence_passes(trials: list[tuple[TrialRecord, TrialRecord]], why: str) -> None:
    evidence = paired([one for one, _ in trials], [other for _, other in trials], cut=why)
    for row in judge(RULES, [evidence]):
        assert row.words
        assert not row.words.startswith(" ")
        at_a_look = row.rule in ("margin", "less loss", "budget") and row.n in (6, 10, 16)
        if not trials or (why and not (at_a_look and row.verdict is Verdict.PASS)):
            assert row.verdict in (Verdict.FAIL, Verdict.INVALID)
        if row.verdict is Verdict.PASS:
            used = [other for _, other in trials[: row.n]]
            assert all(each.status == "valid" and (each.metrics or row.rule == "claims") for each in used)
