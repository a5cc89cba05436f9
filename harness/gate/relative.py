"""Relative rules: B is at most so much worse than A (``gate.md``, *Relative rules*); decided by pairs at planned looks, or, weaker,
by trials that were not run as pairs.

An invalid trial enters no relative rule: the row is INVALID, since what it would have been is not known. Of pairs the exact signed-rank
bounds decide (:mod:`harness.analysis.signed_rank`), of a baseline the rank-sum ones (:mod:`harness.analysis.rank_sum`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from statistics import median
from typing import Any

from harness.analysis.comparable import Kind
from harness.analysis.comparable import Verdict as Likeness
from harness.analysis.rank_sum import Ratio, independent_ratio
from harness.analysis.signed_rank import Decision, Interval, Look, Measured, decide, paired_ratio, tolerance
from harness.gate import noise, phrases, power
from harness.gate.evidence import Evidence
from harness.gate.figures import (
    Seen,
    is_number,
    least,
    middle,
    most,
    of_whole_runs,
    seen,
    why_not_lasting,
    why_not_usable,
)
from harness.gate.loss import discordant, why_not_put_to_the_test
from harness.gate.outcome import Row, Verdict
from harness.gate.rows import cut_short, flagged, latched, outlook, planned, row, still_open
from harness.gate.rules import RelativeRule
from harness.metrics import METRICS
from harness.record import AtLeast, Figure

CPU_TICK_S = 0.01
"""In which the kernel counts a process' CPU."""

ROUNDING = 1e-12
"""Of a ratio that went through its logarithm: 20 messages are no more than 10 and a min_abs of 10."""

FEWEST = 3
"""Pairs from which on their own spread says something of the noise."""

WEAKER = (
    "weaker than ab: the sides were not run in pairs, so whatever changed between the two hours looks like a difference"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sides:
    """The figures of both sides, of pairs at the same index."""

    a: list[Seen]
    b: list[Seen]

    def first(self, pairs: int) -> _Sides:
        """Returns those of the first pairs."""
        return _Sides(a=self.a[:pairs], b=self.b[:pairs])

    @property
    def values(self) -> dict[str, list[Seen]]:
        """Returns both as a row takes them."""
        return {"a": self.a, "b": self.b}

    def middle(self, metric: str) -> dict[str, Any]:
        """Returns the middle figure of each as a row takes them."""
        return {f"seen_{side}": middle([each.figure for each in those], metric) for side, those in self.values.items()}


def relative(rule: RelativeRule, evidence: Evidence, *, cross_machine: bool = False) -> Row:
    """Returns a relative rule's row.

    Args:
        cross_machine: sides that are not comparable have the ratio of their middle figures told, as information.
    """
    sides = _Sides(a=seen(evidence, rule, "a"), b=seen(evidence, rule, "b"))
    if evidence.cut:
        evidence = replace(evidence, more=False)
    if why := _nothing_to_compare(evidence):
        waits = evidence.more and not evidence.counted
        verdict = Verdict.INCONCLUSIVE if waits else Verdict.INVALID
        return row(rule, evidence.case, verdict, why, decided=not waits, **sides.values)
    likeness = evidence.comparability
    if likeness is not None and likeness.verdict is Likeness.REFUSED:
        unlike = [str(difference) for difference in likeness.of(Kind.IDENTITY)]
        return _unlike(rule, evidence, unlike, sides, told=cross_machine)
    if rule.metric == phrases.LOSS:
        found = discordant(rule, evidence, **sides.values)
    else:
        found = _paired(rule, evidence, sides) if evidence.counted else _unpaired(rule, evidence, sides)
    return flagged(cut_short(found, evidence), likeness)


def _nothing_to_compare(evidence: Evidence) -> str:
    if evidence.unsound:
        return evidence.unsound
    if evidence.cut and not _may_be_decided(evidence):
        return evidence.cut
    if not evidence.counted and evidence.more:
        return "no pair yet"
    if not evidence.counted and (evidence.looks or evidence.pairs):
        return "no pair counts"
    if not evidence.counted and not evidence.a:
        return evidence.no_a or "there is nothing to compare with"
    return "" if evidence.comparability is not None else "whether the two sides may be compared is not known"


def _may_be_decided(evidence: Evidence) -> bool:
    """Returns whether a planned look may have decided a rule before its pairs were cut short, or too many of them discarded."""
    likeness = evidence.comparability
    alike = likeness is not None and likeness.verdict is not Likeness.REFUSED
    return bool(evidence.looks and evidence.counted) and alike


def _unlike(rule: RelativeRule, evidence: Evidence, unlike: Sequence[str], sides: _Sides, *, told: bool) -> Row:
    """Returns the row of sides that are not comparable; ``told``: with the ratio of their middle figures."""
    notes = [f"must be the same: {each}" for each in unlike]
    shown, why = sides.middle(rule.metric), f"not comparable: {phrases.listed(unlike)}"
    if not told:
        words = f"the sides are {why}"
        return row(rule, evidence.case, Verdict.NOT_COMPARABLE, words, notes=notes, **shown, **sides.values)
    ratio = _plain_ratio(rule, shown["seen_a"], shown["seen_b"])
    reference, judged = _names(evidence)
    notes += _raised(rule, evidence, sides)
    as_told = "no ratio is known" if ratio is None else phrases.compared(ratio, judged, reference)
    words = f"{as_told}; information only, for the sides are {why}"
    return row(rule, evidence.case, Verdict.NOT_COMPARABLE, words, estimate=ratio, notes=notes, **shown, **sides.values)


def _plain_ratio(rule: RelativeRule, a: Figure | None, b: Figure | None) -> float | None:
    """Returns how many times worse one figure is than another, None where that is not a number."""
    if not isinstance(a, float) or not isinstance(b, float):
        return None
    return _times_worse(rule, max(a, rule.min_abs), max(b, rule.min_abs))


def _times_worse(rule: RelativeRule, one: float, other: float) -> float | None:
    if METRICS[rule.metric].higher_is_better:
        one, other = other, one
    return other / one if one > 0 and other > 0 else None


def _paired(rule: RelativeRule, evidence: Evidence, sides: _Sides) -> Row:
    looks = planned(evidence)

    def at(look: Look) -> Row:
        first = sides.first(look.pairs)
        if why := _why_not(rule, first):
            return row(rule, evidence.case, Verdict.INVALID, why, **sides.values)
        found = paired_ratio(_measured(first.a), _measured(first.b), c=look.c, **_how(rule, first))
        return _told(rule, evidence, found, first, looks=looks, every=sides)

    found = latched(looks, len(sides.a), at)
    if found is not None and found.verdict is not Verdict.INCONCLUSIVE:
        return found
    if why := _why_not(rule, sides.first(looks[-1].pairs)):  # the next look would meet it
        return row(rule, evidence.case, Verdict.INVALID, why, **sides.values)
    if found is None:
        so_far = paired_ratio(_measured(sides.a), _measured(sides.b), c=0, **_how(rule, sides))
        found = _told(rule, evidence, so_far, sides, looks=looks, every=sides)
    waits = still_open(evidence, looks)
    told: dict[str, Any] = {"decided": not waits, "words": found.words + outlook(evidence, looks)}
    if not waits:  # looks that were never made cannot have seen anything
        made = [look for look in looks if look.pairs <= len(sides.a)]
        told["detectable"] = _detectable(rule, sides.first(found.n), made, found.tolerated, found.sigma_d)
    return found.model_copy(update=told)


def _unpaired(rule: RelativeRule, evidence: Evidence, sides: _Sides) -> Row:
    disturbed = [each for each in evidence.b if each.disturbed]
    if 2 * len(disturbed) > len(evidence.b):
        why = f"{len(disturbed)} of {len(evidence.b)} trials were disturbed from outside: {disturbed[-1].disturbed}"
        return row(rule, evidence.case, Verdict.INVALID, why, **sides.middle(rule.metric), **sides.values)
    sides = _Sides(a=sides.a, b=[each for each in sides.b if not each.judged.disturbed])
    if why := _why_not(rule, sides):
        return row(rule, evidence.case, Verdict.INVALID, why, **sides.values)
    found = independent_ratio(_measured(sides.a), _measured(sides.b), **_how(rule, sides))
    told = _told(rule, evidence, found, sides, looks=(), every=sides)
    few = "" if found.bounded else "; too few trials for bounds (3 of each side are enough)"
    return told.model_copy(
        update={
            "notes": [
                WEAKER,
                *(f"left out, as others took the machine: {each.place}" for each in disturbed),
                *told.notes,
            ],
            "words": told.words + few,
        }
    )


def _why_not(rule: RelativeRule, sides: _Sides) -> str:
    """Returns why no ratio can be made of these trials, "" where one can."""
    if not sides.b:
        return "no trial was run"
    every = [each for pair in zip_longest(sides.a, sides.b) for each in pair if each is not None]
    for each in every:
        if why := each.why_invalid or why_not_usable(each, rule) or why_not_put_to_the_test(each, rule):
            return why
    if len({each.window for each in every}) > 1:
        whole = phrases.listed([each.name for each in every if each.window != "steady"])
        return f"{rule.metric} stands in different windows: {whole} had no steady window left"
    for each in every:
        if why := why_not_lasting(each, rule):
            return why
        assert is_number(each.figure)  # `why_not_usable` has said so
        if not 0 < max(least(each.figure), rule.min_abs) < math.inf:
            return f"{rule.metric} of {each.name} is {phrases.figure(rule.metric, each.figure)}, which has no ratio"
    return _why_never_fail(rule, sides)


def _why_never_fail(rule: RelativeRule, sides: _Sides) -> str:
    """Returns why not even a B that does nothing would be told as worse, "" where it would: where more is better, a reference that is
    small beside ``min_abs`` cannot be fallen short of by that much."""
    a = middle([each.figure for each in sides.a], rule.metric)
    if not METRICS[rule.metric].higher_is_better or not rule.min_abs or not isinstance(a, float):
        return ""
    times = max(rule.max_ratio, 2.0)  # min_abs is tolerated, of a figure that counts as min_abs
    if a > times * rule.min_abs * (1 + ROUNDING):
        return ""
    reference = "the baseline" if sides.a[0].pair is None else "A"
    return (
        f"this rule cannot fail: what is below {phrases.number(rule.metric, rule.min_abs)} (min_abs) counts as that much, and {reference}"
        f" has {phrases.number(rule.metric, a)}; write a min_abs below {phrases.number(rule.metric, a / times)}"
    )


def _measured(trials: Sequence[Seen]) -> list[Measured]:
    return [each.figure for each in trials if is_number(each.figure)]


def _how(rule: RelativeRule, sides: _Sides) -> dict[str, Any]:
    """Returns how ratios of these figures are made."""
    return {
        "higher_is_better": METRICS[rule.metric].higher_is_better,
        "resolution": max(resolution(rule.metric, each) for each in (*sides.a, *sides.b)),
        "min_abs": rule.min_abs,
    }


def resolution(metric: str, of: Seen) -> float:
    """Returns in what steps a figure of a trial was measured, in its unit."""
    if METRICS[metric].unit != "s/million":
        return METRICS[metric].resolution
    whole = of.trial.metrics.get("whole", {})
    done = sum(
        float(each) for name in ("class.processed", "class.recovered") if isinstance(each := whole.get(name), float)
    )
    return CPU_TICK_S / (done / 1e6) if done else 0.0


def _tolerated(rule: RelativeRule, sides: _Sides) -> float:
    better = sides.b if METRICS[rule.metric].higher_is_better else sides.a
    reference = [max(most(each), rule.min_abs) for each in _measured(better)]
    return tolerance(rule.max_ratio, rule.min_abs, reference) if math.isfinite(median(reference)) else rule.max_ratio


def _told(
    rule: RelativeRule, evidence: Evidence, found: Interval, sides: _Sides, *, looks: Sequence[Look], every: _Sides
) -> Row:
    """Returns the row of an interval.

    Args:
        sides: of which it is. looks: planned; () = there are no pairs. every: all trials that there are.
    """
    tolerated = _tolerated(rule, sides)
    decision = decide(found, tolerated * (1 + ROUNDING))
    spread = _sigma_d(rule, evidence, sides)
    raised = _raised(rule, evidence, sides)
    bounded = isinstance(found, Ratio) and found.relation != "="
    return row(
        rule,
        evidence.case,
        Verdict(decision.value),
        "; ".join(
            [
                _seen_words(evidence, found, sides, raised=bool(raised))
                + _verdict_words(rule, found, decision, phrases.percent(tolerated - 1)),
                *raised,
            ]
        ),
        **sides.middle(rule.metric),
        estimate=None if bounded else _finite(found.estimate),
        lower=_finite(found.lower),
        upper=_finite(found.upper),
        tolerated=tolerated,
        n=found.n,
        level=float(found.level) if found.bounded else None,
        sigma_d=spread,
        detectable=_detectable(rule, sides, looks, tolerated, spread),
        notes=[*of_whole_runs(rule, sides.b), *raised],
        **every.values,
    )


def _raised(rule: RelativeRule, evidence: Evidence, sides: _Sides) -> list[str]:
    """Returns that figures were raised to ``min_abs``, with what the middle ones were as measured; () where none was."""
    if not any(least(figure) < rule.min_abs for figure in _measured([*sides.a, *sides.b])):
        return []
    a, b = (middle([each.figure for each in side], rule.metric) for side in (sides.a, sides.b))
    ratio = _times_worse(rule, a, b) if isinstance(a, float) and isinstance(b, float) else None
    reference, judged = _names(evidence)
    told = (
        f"{judged} has {phrases.figure(rule.metric, b)}, {reference} {phrases.figure(rule.metric, a)}"
        if ratio is None
        else phrases.compared(ratio, judged, reference)
    )
    floor = phrases.number(rule.metric, rule.min_abs)
    return [f"what is below {floor} (min_abs) counts as {floor}; by the middle figures as measured {told}"]


def _detectable(
    rule: RelativeRule, sides: _Sides, looks: Sequence[Look], tolerated: float | None, spread: float | None
) -> float | None:
    """Returns the smallest ratio, as measured, that these looks call FAIL in 80 of 100 comparisons; None where there is none."""
    if spread is None or tolerated is None or not looks:
        return None
    ratio = _finite(power.detectable(looks, tolerated, spread))
    a = middle([each.figure for each in sides.a], rule.metric)
    if ratio is None or not rule.min_abs or not isinstance(a, float):
        return ratio
    if METRICS[rule.metric].higher_is_better:
        return ratio if ratio < a / rule.min_abs else None  # a B below min_abs counts as min_abs
    return ratio * max(a, rule.min_abs) / a if a > 0 else None


def _finite(value: float | None) -> float | None:
    """Returns a ratio, None where it is none: a bound that says nothing, or what is beyond everything that was seen."""
    return value if value is not None and 0 < value < math.inf else None


def _sigma_d(rule: RelativeRule, evidence: Evidence, sides: _Sides) -> float | None:
    """Returns the noise of these pairs; of fewer than three, or where it is not known, that of the calibration."""
    known = evidence.sigma_d.get(rule.metric)
    if not evidence.counted or len(sides.a) < FEWEST:
        return known
    figures = ([each.figure for each in side] for side in (sides.a, sides.b))
    own = noise.sigma_d(*figures, min_abs=rule.min_abs)
    return known if own is None else own


def _names(evidence: Evidence) -> tuple[str, str]:
    return ("A", "B") if evidence.pairs else ("the baseline", "this run")


def _seen_words(evidence: Evidence, found: Interval, sides: _Sides, *, raised: bool) -> str:
    """Returns by how much B is worse, between which bounds, of how many trials; ``raised``: of figures that may be less than they count."""
    reference, judged = _names(evidence)
    of = f"{len(sides.a)} and {phrases.count(len(sides.b), 'trial')}"
    of = phrases.count(found.n, "pair") if evidence.pairs else of
    if _finite(found.estimate) is None:
        return f"{_censored(judged, sides.b)} and {_censored(reference, sides.a)} saw no end of it"
    assert found.estimate is not None  # as just seen
    bounds = f"{phrases.interval(_finite(found.lower), _finite(found.upper))}, " if found.bounded else ""
    relation = found.relation if isinstance(found, Ratio) else "="
    told = phrases.compared(found.estimate, judged, reference, relation)
    if raised and told == phrases.compared(1.0, judged, reference):
        told = f"between {judged} and {reference} no difference counts"
    return f"{told} ({bounds}{of})"


def _verdict_words(rule: RelativeRule, found: Interval, decision: Decision, tolerated: str) -> str:
    match decision:
        case Decision.FAIL:
            return f"; {tolerated} is tolerated"
        case Decision.PASS:
            slower = f"{_slower(rule)}, " if found.lower > 1 else ""
            return f": {slower}within the {tolerated} that is tolerated"
        case _:
            return f": neither within {tolerated} nor beyond is proven"


def _censored(name: str, trials: Sequence[Seen]) -> str:
    """Returns how many trials of a side have only a lower bound."""
    opened = sum(isinstance(each.figure, AtLeast) for each in trials)
    return f"{opened} of {phrases.count(len(trials), 'trial')} of {name}"


def _slower(rule: RelativeRule) -> str:
    quick = rule.metric == "throughput" or rule.metric.startswith(("rate.", "latency.", "recovery.", "lag."))
    return "slower" if quick else "more"
