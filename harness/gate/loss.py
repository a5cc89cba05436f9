"""Losses: whether they were put to the test, how often they may come, and which side has more of them (``gate.md``, *Loss*).

Losses come in batches: a crash takes what was not on disk, all of it. So the unit is the fresh deployment with one clean, exercised
fault, lossy or not. A *budget* holds Clopper and Pearson's bounds on the share of lossy ones against what is allowed; A against B only
the *discordant* pairs count, in which one side lost and the other did not. The contract, no loss at all, is an absolute rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import comb

from harness.analysis.bounds import (
    LEVEL,
    clean_deployments_upper,
    clopper_pearson_lower,
    clopper_pearson_upper,
    discordant_tail,
)
from harness.analysis.combine import proves
from harness.analysis.signed_rank import ALPHA, Look
from harness.analysis.slo import RECOVERY
from harness.gate import phrases
from harness.gate.evidence import Evidence
from harness.gate.figures import Seen, is_number, least, most, seen, why_not_usable, worst_of
from harness.gate.outcome import Row, Verdict
from harness.gate.rows import cut_short, latched, outlook, planned, row, still_open
from harness.gate.rules import BudgetRule, RelativeRule, Rule
from harness.model import FaultKind
from harness.model import Verdict as Claimed
from harness.record import TrialRecord

NO_FAULT = FaultKind.NONE.value


def why_not_put_to_the_test(each: Seen, rule: Rule) -> str:
    """Returns why a figure says nothing of the fault whose window or recovery a rule asks for, "" where it does, and of all other rules."""
    if not rule.window.startswith(("fault[", "recovery[")) and not rule.metric.startswith(RECOVERY):
        return ""
    index = int(rule.window.partition("[")[2].rstrip("]")) if "[" in rule.window else None
    why = why_not_exercised(each.trial, index)
    return f"{each.name}: {why}" if why else ""


def why_not_exercised(trial: TrialRecord, index: int | None = None) -> str:
    """Returns why a trial without a loss proves nothing about its faults, "" where each kind of them was put to the test.

    A trial whose scenario has no fault was put to the test if anything was confirmed in it.

    Args:
        index: of the one fault that is asked for; None = all.
    """
    if trial.ledger is not None and not trial.ledger.outcomes.get("CONFIRMED", 0):
        return "nothing was confirmed"
    given = {each.fault: each for each in trial.guarantees}
    asked = [fault for fault in trial.faults if index in (None, fault.index)]
    for kind in dict.fromkeys(fault.kind for fault in asked):
        claimed = given.get(kind)
        if claimed is not None and claimed.verdict is Claimed.NOT_EXERCISED:
            return f"{kind} NOT EXERCISED: {'; '.join(claimed.notes) or claimed.evidence}"
        struck = [fault for fault in asked if fault.kind == kind and fault.hit and fault.exposed]
        if not struck and (claimed is None or claimed.verdict is Claimed.NO_CLAIM):
            return f"{kind} NOT EXERCISED: nothing shows that it hit a confirmed message"
    return ""


def clean_bound(trials: Sequence[Seen]) -> str:
    """Returns how many of such deployments may lose all the same, of trials with faults none of which lost anything; "" = no fault."""
    count = sum(bool(each.trial.faults) for each in trials)
    if not count:
        return ""
    deployments = "1 fresh deployment with its faults" if count == 1 else f"{count} fresh deployments with their faults"
    return f"{deployments} and no loss: at most {clean_deployments_upper(count) * 100:.0f} % of such would lose (95 %)"


def discordant(rule: RelativeRule, evidence: Evidence, a: Sequence[Seen], b: Sequence[Seen]) -> Row:
    """Returns the row of a rule on losses of B against A: FAIL where pairs in which only B lost are too many for a fair coin, PASS
    where even the bound of their share is allowed."""
    if not evidence.counted:
        words = "which side loses more is only told by pairs"
        return row(rule, evidence.case, Verdict.INVALID, words, notes=[PAIRS_ONLY], a=a, b=b)
    looks, allowed = planned(evidence), rule.max_ratio - 1

    def at(look: Look) -> Row:
        first_a, first_b = a[: look.pairs], b[: look.pairs]
        if why := _why_not_lossy([*first_a, *first_b], rule):
            return row(rule, evidence.case, Verdict.INVALID, why, a=a, b=b)
        worse, better = _discordant_pairs(first_a, first_b)
        upper = clopper_pearson_upper(worse, look.pairs, float(1 - look.level)) if look.c else 1.0
        failed = look.c > 0 and discordant_tail(worse, better) <= look.level
        passed = not failed and _held_against(worse, look.pairs, allowed, look.level) is Verdict.PASS
        verdict = Verdict.FAIL if failed else Verdict.PASS if passed else Verdict.INCONCLUSIVE
        told = f"only B lost in {worse} of {look.pairs} pairs, only A in {better}"
        words = {
            Verdict.FAIL: f"{told}: a fair coin would rarely do that",
            Verdict.PASS: f"{told}: B loses where A does not in at most {phrases.percent(upper)}, {phrases.percent(allowed)} are allowed",
            Verdict.INCONCLUSIVE: f"{told}: B may lose where A does not in up to {phrases.percent(upper)}, {phrases.percent(allowed)} are allowed",
        }[verdict]
        return row(rule, evidence.case, verdict, words, n=look.pairs, level=float(look.level) or None, a=a, b=b)

    found = latched(looks, len(a), at)
    if found is not None and found.verdict is not Verdict.INCONCLUSIVE:
        return found
    if why := _why_not_lossy([*a, *b], rule):
        return row(rule, evidence.case, Verdict.INVALID, why, a=a, b=b)
    waits = still_open(evidence, looks)
    if found is None:
        worse, better = _discordant_pairs(a, b)
        words = f"only B lost in {worse} of {phrases.count(len(a), 'pair')}, only A in {better}"
        found = row(rule, evidence.case, Verdict.INCONCLUSIVE, words, n=len(a), a=a, b=b)
    return found.model_copy(update={"decided": not waits, "words": found.words + outlook(evidence, looks)})


PAIRS_ONLY = "run `ab`, or write require = '== 0' or max_lossy instead"


def _discordant_pairs(a: Sequence[Seen], b: Sequence[Seen]) -> tuple[int, int]:
    """Returns in how many pairs only B lost, and in how many only A."""
    lossy = [(is_lossy(one), is_lossy(other)) for one, other in zip(a, b, strict=True)]
    return lossy.count((False, True)), lossy.count((True, False))


def budget(rule: BudgetRule, evidence: Evidence) -> Row:
    """Returns the row of a budget of lossy deployments: no single one may lose too much, and not too many may lose anything."""
    every, trials = seen(evidence, rule, "b", discarded=True), seen(evidence, rule, "b")
    if found := _too_much_at_once(rule, evidence, every):
        return found
    if why := evidence.unsound or ("" if evidence.looks and trials else evidence.cut):
        return row(rule, evidence.case, Verdict.INVALID, why, n=len(trials), b=trials)
    if evidence.cut:
        evidence = replace(evidence, more=False)
    looks = planned(evidence)

    def at(look: Look) -> Row:
        if why := _why_no_budget(rule, evidence, trials[: look.pairs]):
            return row(rule, evidence.case, Verdict.INVALID, why, n=len(trials), b=trials)
        return _share(rule, evidence, trials[: look.pairs], look.level, every=trials)

    found = latched(looks, len(trials), at)
    stands = (
        Verdict.FAIL,
        *([Verdict.PASS] if rule.max_lost_per_fault is None else []),
    )  # else it asks something of every trial
    if found is not None and found.verdict in stands:
        return found
    if why := _why_no_budget(rule, evidence, trials):
        return row(rule, evidence.case, Verdict.INVALID, why, n=len(trials), b=trials)
    if not looks:
        found = _share(rule, evidence, trials, ALPHA, every=trials)
    if found is not None and found.verdict is not Verdict.INCONCLUSIVE:
        return found
    waits = still_open(evidence, looks)
    if found is None:
        words = f"{sum(map(is_lossy, trials))} of {phrases.count(len(trials), 'deployment')} lost something"
        found = row(rule, evidence.case, Verdict.INCONCLUSIVE, words, n=len(trials), b=trials)
    told = {"decided": not waits, "words": found.words + outlook(evidence, looks)}
    return cut_short(found.model_copy(update=told), evidence)


def _share(
    rule: BudgetRule, evidence: Evidence, trials: Sequence[Seen], level: Fraction, *, every: Sequence[Seen]
) -> Row:
    lossy, of = sum(map(is_lossy, trials)), len(trials)
    sure = float(1 - level)
    lower, upper = clopper_pearson_lower(lossy, of, sure), clopper_pearson_upper(lossy, of, sure)
    words = (
        f"{lossy} of {phrases.count(of, 'deployment')} lost something, so {phrases.percent(lower)} to {phrases.percent(upper)} of such"
        f" would; {phrases.percent(rule.max_lossy)} are allowed"
    )
    verdict = _held_against(lossy, of, rule.max_lossy, level)
    shown = worst_of([each.figure for each in trials], highest=True)
    return row(rule, evidence.case, verdict, words, n=of, level=float(level), seen_b=shown, b=every)


def _held_against(lossy: int, of: int, allowed: float, level: Fraction) -> Verdict:
    """Returns PASS where Clopper and Pearson's upper bound is allowed, FAIL where the lower one is not.

    A bound solves "so many or fewer (or more) are as likely as the level", so that the likelihood at what is allowed tells on which
    side of it the bound lies; in fractions, since one lossy deployment of one is just allowed at 5 %.
    """
    share = Fraction(allowed).limit_denominator(10**9)
    exactly = [comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(lossy + 1)]
    so_many_or_fewer = sum(exactly, Fraction(0))
    if so_many_or_fewer <= level:
        return Verdict.PASS
    return Verdict.FAIL if 1 - so_many_or_fewer + exactly[-1] < level else Verdict.INCONCLUSIVE


def _too_much_at_once(rule: BudgetRule, evidence: Evidence, trials: Sequence[Seen]) -> Row | None:
    """Returns the row of a deployment that provably lost more than any may."""
    allowed = rule.max_lost_per_fault
    if allowed is None:
        return None
    proving = [each for each in trials if proves(each.trial) and is_number(each.figure)]
    over = [each for each in proving if is_number(each.figure) and least(each.figure) > allowed]
    if not over:
        return None
    shown = worst_of([each.figure for each in over], highest=True)
    words = (
        f"{phrases.figure(rule.metric, shown)} messages lost in one deployment ({over[0].name}{' and others' if len(over) > 1 else ''});"
        f" {phrases.count(allowed, 'message')} at most {'is' if allowed == 1 else 'are'} allowed"
    )
    return row(rule, evidence.case, Verdict.FAIL, words, n=len(trials), seen_b=shown, b=trials)


def _why_no_budget(rule: BudgetRule, evidence: Evidence, trials: Sequence[Seen]) -> str:
    """Returns why the trials are no deployments with one clean, exercised fault each."""
    if not trials and not evidence.more:
        return "no trial was run"
    for each in trials:
        if len(each.trial.faults) != 1 and not each.why_invalid:
            have = "no fault" if not each.trial.faults else f"{len(each.trial.faults)} faults"
            return f"{each.name} has {have}; a budget is of deployments with one fault each"
        if not each.why_invalid and (why := why_not_exercised(each.trial)):
            return f"{each.name}: {why}"
    if why := _why_not_lossy(trials, rule):
        return why
    allowed = rule.max_lost_per_fault
    unsure = [
        each.name for each in trials if allowed is not None and is_number(each.figure) and most(each.figure) > allowed
    ]
    return f"whether {phrases.listed(unsure)} lost more than {allowed} cannot be told" if unsure else ""


def _why_not_lossy(trials: Sequence[Seen], rule: Rule) -> str:
    """Returns why it is not known of a trial whether it lost anything, "" where it is of all."""
    for each in trials:
        if why := each.why_invalid or why_not_usable(each, rule):
            return why
        assert is_number(each.figure)  # `why_not_usable` has said so
        if least(each.figure) == 0 and most(each.figure) > 0:
            return f"whether {each.name} lost anything cannot be told: messages are undecided"
    return ""


def is_lossy(each: Seen) -> bool:
    """Returns whether a trial provably lost something."""
    return is_number(each.figure) and least(each.figure) > 0


def why_never(rule: Rule, looks: Sequence[Look] = (), *, deployments: int = 0) -> str:
    """Returns why a rule on losses could not pass even if nothing is ever lost, with what it would take; "" where it can.

    Args:
        looks: planned, of pairs. deployments: how many trials there will be where there are none.
    """
    match rule:
        case RelativeRule(metric=phrases.LOSS):
            allowed = rule.max_ratio - 1
        case BudgetRule():
            allowed = rule.max_lossy
        case _:
            return ""
    known = [clopper_pearson_upper(0, look.pairs, float(1 - look.level)) for look in looks if look.c]
    known += [clopper_pearson_upper(0, deployments)] if deployments else []
    if not known or min(known) <= allowed:
        return ""
    n = max([look.pairs for look in looks], default=deployments)
    level = float(looks[-1].level) if looks else 1 - LEVEL
    needed = math.ceil(math.log(level) / math.log1p(-allowed)) if 0 < allowed < 1 else 0
    takes = f", {phrases.percent(allowed)} take about {needed}" if needed else ""
    of = "pairs" if looks else "deployments"
    return f"even {n} {of} without any loss leave up to {phrases.percent(min(known))} possible{takes}"
