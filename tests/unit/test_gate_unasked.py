"""What befell trials and no rule asks about: told, whatever the verdict is."""

from __future__ import annotations

import pytest

from harness.gate.answer import answered
from harness.gate.evidence import Evidence
from harness.gate.rules import BudgetRule, GuaranteeRule, RelativeRule, Rule
from harness.model import Verdict
from harness.record import TrialRecord
from tests.unit import records
from tests.unit.gate_support import CASE, LOSS, P99, contract, crashed, margin, stored

SLOW = contract("<=", 1.0, P99)
CLAIMS = GuaranteeRule(id="claims", metric="guarantee")


def warnings(trial: TrialRecord, *rules: Rule, case: str = CASE) -> list[str]:
    """Returns the warnings of rules on two trials, the second of which is given."""
    fine = crashed(metrics={"steady": {P99: 0.01}, "whole": {LOSS: 0.0}})
    found: Evidence = stored([], [fine, trial], case=case, ids=(case,))
    return answered(rules, [found], kind="run", scenario="smoke").warnings


def with_claim(verdict: Verdict, evidence: str, lost: float = 0.0) -> TrialRecord:
    claim = records.guarantee(verdict, evidence=evidence)
    return crashed(metrics={"steady": {P99: 0.01}, "whole": {LOSS: lost}}, guarantees=[claim, records.no_fault()])


LOSSY = with_claim(Verdict.HELD, "312 exposed, 9 lost", 9.0)
BROKEN = with_claim(Verdict.VIOLATED, "9 of 312 lost", 9.0)
IDLE = with_claim(Verdict.NOT_EXERCISED, "no confirmed message was in the broker")


@pytest.mark.parametrize(
    ("trial", "rules", "said"),
    [
        (LOSSY, [SLOW], ["1 of 2 trials lost confirmed messages, 9; no rule asks about it (metric ="]),
        (LOSSY, [SLOW, contract("<=", 20)], []),
        (LOSSY, [SLOW, RelativeRule(id="less", metric=LOSS, max_ratio=1.3)], []),
        (BROKEN, [SLOW, CLAIMS], []),
        (BROKEN, [SLOW, contract("==", 0)], ["the claim under broker kill was VIOLATED in 1 of 2 trials: 9 of 312 lost;"]),
        (BROKEN, [SLOW], ["1 of 2 trials lost confirmed", "the claim under broker kill was VIOLATED in 1 of 2"]),
        (IDLE, [SLOW], ["1 of 2 trials: broker kill NOT EXERCISED: no confirmed message was in the broker; no rule"]),
        (IDLE, [SLOW, CLAIMS], []),
        (IDLE, [SLOW, BudgetRule(id="budget", metric=LOSS, max_lossy=0.1)], []),
        (with_claim(Verdict.HELD, "312 exposed, 0 lost"), [SLOW, margin(10)], []),
    ],
)  # fmt: skip
def test_what_no_rule_asks_about_is_told(trial: TrialRecord, rules: list[Rule], said: list[str]) -> None:
    found = warnings(trial, *rules)
    assert len(found) == len(said)
    assert all(each.startswith(f"{CASE}: {start}") for each, start in zip(found, said, strict=True))


def test_cases_of_which_no_rule_asks_anything_are_named() -> None:
    fine = with_claim(Verdict.HELD, "312 exposed, 0 lost")
    asked = contract("==", 0, case="redis-*")
    assert warnings(fine, asked) == [f"no rule asks anything of {CASE}: not judged"]
    assert warnings(fine, asked, SLOW) == []
