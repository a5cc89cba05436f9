"""From rules and what there is to judge by, to rows: every rule × every case that it matches.

A pure function of the trials so far, in their order: asked again with more of them, it says again what it once decided, since looks are latched. So ``ab`` asks it after every pair, and whoever reads its folder later gets the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.gate.absolute import absolute, guarantee
from harness.gate.evidence import Evidence
from harness.gate.loss import budget
from harness.gate.outcome import Row, Verdict
from harness.gate.phrases import listed
from harness.gate.relative import relative
from harness.gate.rows import row
from harness.gate.rules import AbsoluteRule, BudgetRule, GuaranteeRule, RelativeRule, Rule


def judge(rules: Sequence[Rule], evidences: Sequence[Evidence], *, cross_machine: bool = False) -> list[Row]:
    """Returns a row for each rule and each case that it matches, in the order of the rules; a rule that matches none is INVALID.

    Args:
        evidences: one per case. cross_machine: relative rules between sides that are not comparable tell their ratio, and decide nothing.
    """
    rows = []
    for rule in rules:
        matched = [each for each in evidences if rule.applies_to(*each.ids)]
        rows += [_judged(rule, each, cross_machine=cross_machine) for each in matched] or [_unmatched(rule, evidences)]
    return rows


def needs_pairs(rule: Rule) -> bool:
    """Returns whether more pairs may decide a rule; contracts are kept until the last, so that nobody waits for them."""
    return isinstance(rule, RelativeRule | BudgetRule)


def _unmatched(rule: Rule, evidences: Sequence[Evidence]) -> Row:
    known = listed([each.case for each in evidences], most=8) or "none"
    return row(rule, "", Verdict.INVALID, f"the pattern {rule.case!r} matches no case; there are: {known}")


def _judged(rule: Rule, evidence: Evidence, *, cross_machine: bool) -> Row:
    match rule:
        case RelativeRule():
            return relative(rule, evidence, cross_machine=cross_machine)
        case AbsoluteRule():
            return absolute(rule, evidence)
        case GuaranteeRule():
            return guarantee(rule, evidence)
        case BudgetRule():
            return budget(rule, evidence)
    raise AssertionError(f"a rule of a kind that nobody knows: {rule!r}")
