"""Contracts: what every trial must keep, whatever it is compared with. A bound on a figure, or what the setup claims.

Any proven break is FAIL at once, also in a trial of which only the figures are invalid (a saturated generator loses no messages of a
broker), in a discarded pair, and between sides that are not comparable. PASS is said only when no more trials come, and of valid ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from harness.analysis.combine import proves
from harness.analysis.slo import LEDGER_METRICS, counts_for
from harness.gate import phrases
from harness.gate.evidence import Evidence
from harness.gate.figures import (
    Seen,
    is_number,
    least,
    most,
    of_whole_runs,
    seen,
    why_not_lasting,
    why_not_usable,
    worst_of,
)
from harness.gate.loss import NO_FAULT, clean_bound, why_not_exercised, why_not_put_to_the_test
from harness.gate.outcome import Row, Verdict
from harness.gate.rows import row
from harness.gate.rules import AbsoluteRule, GuaranteeRule, Rule
from harness.metrics import METRICS
from harness.model import Verdict as Claimed
from harness.record import Figure, Guarantee

_KEEPS: dict[str, Callable[[float, float], bool]] = {
    "==": lambda value, limit: value == limit,
    "<=": lambda value, limit: value <= limit,
    ">=": lambda value, limit: value >= limit,
    "<": lambda value, limit: value < limit,
    ">": lambda value, limit: value > limit,
}
RELATIONS = tuple(_KEEPS)


def keeps(figure: Figure | None, relation: str, limit: float) -> bool | None:
    """Returns whether a figure keeps a bound; None where it is not known, or only a lower bound that does not tell."""
    if not is_number(figure):
        return None
    test, low, high = _KEEPS[relation], least(figure), most(figure)
    if low == high:
        return test(low, limit)
    if relation in (">=", ">"):
        return True if test(low, limit) else None
    beyond = low >= limit if relation == "<" else low > limit
    return False if beyond else None


def absolute(rule: AbsoluteRule, evidence: Evidence) -> Row:
    """Returns the row of a bound that every trial must keep."""
    of_ledger = rule.metric.startswith(LEDGER_METRICS)
    trials, every = seen(evidence, rule, "b"), seen(evidence, rule, "b", discarded=of_ledger)
    broken = [
        each
        for each in every
        if counts_for(each.trial, rule.metric) and keeps(each.figure, rule.relation, rule.limit) is False
    ]
    highest = rule.relation not in (">=", ">")
    told: dict[str, Any] = {
        "n": len(every if broken else trials),
        "seen_b": worst_of([each.figure for each in broken or trials], highest=highest),
        "a": seen(evidence, rule, "a"),
        "b": every,
        "notes": [*of_whole_runs(rule, trials), *_one_sided(rule), *_not_lasting(rule, trials)],
    }
    if broken:
        return row(rule, evidence.case, Verdict.FAIL, _broken(rule, broken, every), **told)
    if why := _why_no_trials(evidence, trials) or next(filter(None, (_why_not(rule, each) for each in trials)), ""):
        return row(rule, evidence.case, Verdict.INVALID, why, **told)
    kept = f"{phrases.count(len(trials), 'trial')} kept it" + _the_worst(rule, told["seen_b"], trials)
    bound = clean_bound(trials) if rule.metric == phrases.LOSS and rule.limit == 0 else ""
    told["notes"] += [bound] if bound else []
    if evidence.more:
        return row(rule, evidence.case, Verdict.INCONCLUSIVE, f"{kept}; more are to come", decided=False, **told)
    return row(rule, evidence.case, Verdict.PASS, kept, **told)


def _broken(rule: AbsoluteRule, broken: Sequence[Seen], every: Sequence[Seen]) -> str:
    shown = worst_of([each.figure for each in broken], highest=rule.relation not in (">=", ">"))
    of = next(
        each.name
        for each in broken
        if is_number(each.figure) and is_number(shown) and least(each.figure) == least(shown)
    )
    lost = " lost" if rule.metric == phrases.LOSS else ""
    told = f"{phrases.figure(rule.metric, shown)}{lost} in {of}; it must be {phrases.bound(rule)}"
    return told if len(every) == 1 else f"{len(broken)} of {len(every)} trials broke it: {told}"


def _the_worst(rule: AbsoluteRule, shown: Figure | None, trials: Sequence[Seen]) -> str:
    if shown is None or shown == 0:
        return ""
    return f": {'' if len(trials) == 1 else 'the worst has '}{phrases.figure(rule.metric, shown)}"


def _not_lasting(rule: AbsoluteRule, trials: Sequence[Seen]) -> list[str]:
    """Returns a note where a throughput cannot last: it was there, so that the bound is held against it all the same."""
    told = [why for each in trials if not each.why_invalid and (why := why_not_lasting(each, rule))]
    return [told[0] if len(told) == 1 else f"{len(told)} of {len(trials)} trials: {told[0]}"] if told else []


def _one_sided(rule: AbsoluteRule) -> list[str]:
    """Returns a note on a bound at the end at which nothing is bad."""
    upper, lower = rule.relation in ("<=", "<"), rule.relation in (">=", ">")
    if METRICS[rule.metric].higher_is_better and upper:
        return [f"more {rule.metric} is better: an upper bound on it says nothing of what is too little"]
    if rule.metric.startswith(("latency.", "lag.", "recovery.", "loss.")) and lower:
        return [f"less {rule.metric} is better: a lower bound on it says nothing of what is too much"]
    return []


def _why_no_trials(evidence: Evidence, trials: Sequence[Seen]) -> str:
    if why := evidence.unsound or evidence.cut:
        return why
    return "" if trials or evidence.more else "no trial was run"


def _why_not(rule: AbsoluteRule, each: Seen) -> str:
    """Returns why a trial does not show that the bound is kept, "" where it does."""
    if why := each.why_invalid or why_not_usable(each, rule):
        return why
    if rule.metric.startswith(LEDGER_METRICS) and (why := why_not_exercised(each.trial)):
        return f"{each.name}: {why}"
    if why := why_not_put_to_the_test(each, rule):
        return why
    if keeps(each.figure, rule.relation, rule.limit) is None:
        return f"{rule.metric} of {each.name} is {phrases.figure(rule.metric, each.figure)}: whether that is {phrases.bound(rule)} cannot be told"
    return ""


def guarantee(rule: GuaranteeRule, evidence: Evidence) -> Row:
    """Returns the row of a rule on what the setup claims."""
    every, trials = seen(evidence, rule, "b", discarded=True), seen(evidence, rule, "b")
    broken = [
        (each, given)
        for each in every
        if proves(each.trial)
        for given in _asked(rule, each)
        if given.verdict is Claimed.VIOLATED
    ]
    told: dict[str, Any] = {"n": len(every if broken else trials)}
    if broken:
        first, given = broken[0]
        count = len({id(each.judged) for each, _ in broken})
        which = "" if given.fault == NO_FAULT else f" under {given.fault}"
        words = f"the claim{which} ({given.claim}) was broken in {count} of {phrases.count(len(every), 'trial')}; {first.name}: {given.evidence}"
        return row(rule, evidence.case, Verdict.FAIL, words, **told)
    if why := _why_no_trials(evidence, trials) or next(
        filter(None, (_why_not_held(rule, each) for each in trials)), ""
    ):
        return row(rule, evidence.case, Verdict.INVALID, why, **told)
    held = f"held in {phrases.count(len(trials), 'trial')}"
    notes = _unclaimed(rule, trials)
    if evidence.more:
        return row(
            rule, evidence.case, Verdict.INCONCLUSIVE, f"{held}; more are to come", decided=False, notes=notes, **told
        )
    return row(rule, evidence.case, Verdict.PASS, held, notes=notes, **told)


def _asked(rule: GuaranteeRule, each: Seen) -> list[Guarantee]:
    return [given for given in each.trial.guarantees if rule.fault in ("", given.fault)]


def _why_not_held(rule: GuaranteeRule, each: Seen) -> str:
    """Returns why a trial does not show that the claims held, "" where it does."""
    if each.why_invalid:
        return each.why_invalid
    asked = _asked(rule, each)
    if not asked:
        return f"{each.name} had no {rule.fault}" if rule.fault else f"{each.name} says nothing of any claim"
    claimed = [given for given in asked if given.verdict is not Claimed.NO_CLAIM]
    if not claimed:
        return f"the setup claims nothing under {rule.fault}" if rule.fault else "the setup claims nothing"
    open_ = next((given for given in claimed if given.verdict is not Claimed.HELD), None)
    return (
        ""
        if open_ is None
        else f"{each.name}: {_of(open_)} {open_.verdict.value}: {open_.evidence or '; '.join(open_.notes)}"
    )


def _of(given: Guarantee) -> str:
    return "the claim without a fault" if given.fault == NO_FAULT else f"the claim under {given.fault}"


def _unclaimed(rule: Rule, trials: Sequence[Seen]) -> list[str]:
    """Returns the faults about which the setup claims nothing, so that nothing could be broken."""
    kinds = {
        given.fault: None for each in trials for given in each.trial.guarantees if given.verdict is Claimed.NO_CLAIM
    }
    return [f"the setup claims nothing under {kind}" for kind in kinds]
