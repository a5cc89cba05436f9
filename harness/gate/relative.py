"""Relative rules: B is at most so much worse than A (``gate.md``, *Relative rules*); decided by pairs at planned looks, or, weaker,
by trials that were not run as pairs.

An invalid trial enters no relative rule: the row is INVALID, since what it would have been is not known. Of pairs the exact signed-rank
bounds decide (:mod:`harness.analysis.signed_rank`), of a baseline the rank-sum ones (:mod:`harness.analysis.rank_sum`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Any

from harness.analysis.comparable import Kind
from harness.analysis.comparable import Verdict as Likeness
from harness.analysis.rank_sum import independent_ratio
from harness.analysis.signed_rank import Decision, Interval, Look, Measured, decide, paired_ratio, tolerance
from harness.gate import noise, phrases, power
from harness.gate.evidence import Evidence
from harness.gate.figures import Seen, is_number, least, middle, most, seen, why_not_compared
from harness.gate.loss import discordant
from harness.gate.outcome import Row, Verdict
from harness.gate.rows import flagged, latched, outlook, planned, row, still_open
from harness.gate.rules import RelativeRule
from harness.metrics import METRICS

CPU_TICK_S = 0.01
"""In which the kernel counts a process' CPU."""

FEWEST = 3
"""Pairs from which on their own spread says something of the noise."""

WEAKER = (
    "weaker than ab: the sides were not run in pairs, so whatever changed between the two hours looks like a difference"
)


def relative(rule: RelativeRule, evidence: Evidence, *, cross_machine: bool = False) -> Row:
    """Returns a relative rule's row.

    Args:
        cross_machine: sides that are not comparable have the ratio of their middle figures told, as information.
    """
    sides = {"a": seen(evidence, rule, "a"), "b": seen(evidence, rule, "b")}
    if why := _nothing_to_compare(evidence, sides["a"]):
        waits = evidence.more and not evidence.counted and not evidence.unsound
        verdict = Verdict.INCONCLUSIVE if waits else Verdict.INVALID
        return row(rule, evidence.case, verdict, why, decided=not waits, **sides)
    likeness = evidence.comparability
    if likeness is not None and likeness.verdict is Likeness.REFUSED:
        unlike = [str(difference) for difference in likeness.of(Kind.IDENTITY)]
        return _unlike(rule, evidence, unlike, sides, told=cross_machine)
    if rule.metric == phrases.LOSS:
        found = discordant(rule, evidence, **sides)
    else:
        found = _paired(rule, evidence, **sides) if evidence.counted else _unpaired(rule, evidence, **sides)
    return flagged(found, likeness)


def _nothing_to_compare(evidence: Evidence, a: Sequence[Seen]) -> str:
    if evidence.unsound:
        return evidence.unsound
    if evidence.more and not evidence.counted:
        return "no pair yet"
    if evidence.looks and not evidence.counted:
        return "no pair counts"
    if not a:
        return "there is nothing to compare with"
    return "" if evidence.comparability is not None else "whether the two sides may be compared is not known"


def _unlike(
    rule: RelativeRule, evidence: Evidence, unlike: Sequence[str], sides: dict[str, list[Seen]], *, told: bool
) -> Row:
    """Returns the row of sides that are not comparable; ``told``: with the ratio of their middle figures."""
    notes = [f"must be the same: {each}" for each in unlike]
    shown: dict[str, Any] = {
        f"seen_{side}": middle([each.figure for each in those], rule.metric) for side, those in sides.items()
    }
    why = f"not comparable: {phrases.listed(unlike)}"
    if not told:
        return row(rule, evidence.case, Verdict.NOT_COMPARABLE, f"the sides are {why}", notes=notes, **shown, **sides)
    ratio = _plain_ratio(rule, shown["seen_a"], shown["seen_b"])
    reference, judged = _names(evidence)
    as_told = "no ratio is known" if ratio is None else phrases.compared(ratio, judged, reference)
    words = f"{as_told}; information only, for the sides are {why}"
    return row(rule, evidence.case, Verdict.NOT_COMPARABLE, words, estimate=ratio, notes=notes, **shown, **sides)


def _plain_ratio(rule: RelativeRule, a: Any, b: Any) -> float | None:
    """Returns how many times worse one figure is than another, None where that is not a number."""
    if not isinstance(a, float) or not isinstance(b, float):
        return None
    one, other = max(a, rule.min_abs), max(b, rule.min_abs)
    if METRICS[rule.metric].higher_is_better:
        one, other = other, one
    return other / one if one > 0 and other > 0 else None


def _paired(rule: RelativeRule, evidence: Evidence, a: Sequence[Seen], b: Sequence[Seen]) -> Row:
    looks = planned(evidence)

    def at(look: Look) -> Row:
        first_a, first_b = a[: look.pairs], b[: look.pairs]
        if why := _why_not(rule, first_a, first_b):
            return row(rule, evidence.case, Verdict.INVALID, why, a=a, b=b)
        found = paired_ratio(_measured(first_a), _measured(first_b), c=look.c, **_how(rule, first_a, first_b))
        return _told(rule, evidence, found, first_a, first_b, looks=looks, all_a=a, all_b=b)

    found = latched(looks, len(a), at)
    if found is not None and found.verdict is not Verdict.INCONCLUSIVE:
        return found
    last = looks[-1].pairs
    if why := _why_not(rule, a[:last], b[:last]):  # the next look would meet it
        return row(rule, evidence.case, Verdict.INVALID, why, a=a, b=b)
    if found is None:
        so_far = paired_ratio(_measured(a), _measured(b), c=0, **_how(rule, a, b))
        found = _told(rule, evidence, so_far, a, b, looks=looks, all_a=a, all_b=b)
    waits = still_open(evidence, looks)
    return found.model_copy(update={"decided": not waits, "words": found.words + outlook(evidence, looks)})


def _unpaired(rule: RelativeRule, evidence: Evidence, a: Sequence[Seen], b: Sequence[Seen]) -> Row:
    if why := _why_not(rule, a, b):
        return row(rule, evidence.case, Verdict.INVALID, why, a=a, b=b)
    found = independent_ratio(_measured(a), _measured(b), **_how(rule, a, b))
    told = _told(rule, evidence, found, a, b, looks=(), all_a=a, all_b=b)
    few = "" if found.bounded else f"; {len(a)} and {len(b)} trials are too few for bounds, which need 3 of each side"
    waits = evidence.more
    return told.model_copy(update={"notes": [WEAKER, *told.notes], "words": told.words + few, "decided": not waits})


def _why_not(rule: RelativeRule, a: Sequence[Seen], b: Sequence[Seen]) -> str:
    """Returns why no ratio can be made of these trials, "" where one can."""
    if not b:
        return "no trial was run"
    ordered = [one for pair in zip(a, b, strict=True) for one in pair] if len(a) == len(b) else [*a, *b]
    for each in ordered:
        if why := why_not_compared(each, rule):
            return why
        assert is_number(each.figure)  # `why_not_compared` has said so
        size = max(least(each.figure), rule.min_abs)
        if not 0 < size < math.inf:
            return f"{rule.metric} of {each.name} is {phrases.figure(rule.metric, each.figure)}, which has no ratio"
    if len({each.window for each in ordered}) > 1:
        whole = phrases.listed([each.name for each in ordered if each.window != "steady"])
        return f"{rule.metric} stands in different windows: {whole} had no steady window left"
    return ""


def _measured(trials: Sequence[Seen]) -> list[Measured]:
    return [each.figure for each in trials if is_number(each.figure)]


def _how(rule: RelativeRule, a: Sequence[Seen], b: Sequence[Seen]) -> dict[str, Any]:
    """Returns how ratios of these figures are made."""
    return {
        "higher_is_better": METRICS[rule.metric].higher_is_better,
        "resolution": max(resolution(rule.metric, each) for each in (*a, *b)),
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


def _tolerated(rule: RelativeRule, a: Sequence[Seen], b: Sequence[Seen]) -> float:
    better = b if METRICS[rule.metric].higher_is_better else a
    reference = [max(most(each), rule.min_abs) for each in _measured(better)]
    return tolerance(rule.max_ratio, rule.min_abs, reference) if math.isfinite(median(reference)) else rule.max_ratio


def _told(
    rule: RelativeRule,
    evidence: Evidence,
    found: Interval,
    a: Sequence[Seen],
    b: Sequence[Seen],
    *,
    looks: Sequence[Look],
    all_a: Sequence[Seen],
    all_b: Sequence[Seen],
) -> Row:
    """Returns the row of an interval from these trials."""
    tolerated = _tolerated(rule, a, b)
    decision = decide(found, tolerated)
    spread = _sigma_d(rule, evidence, a, b)
    return row(
        rule,
        evidence.case,
        Verdict(decision.value),
        _words(rule, evidence, found, decision, tolerated, a, b),
        seen_a=middle([each.figure for each in a], rule.metric),
        seen_b=middle([each.figure for each in b], rule.metric),
        estimate=_finite(found.estimate),
        lower=_finite(found.lower) if found.bounded else None,
        upper=_finite(found.upper),
        tolerated=tolerated,
        n=found.n,
        level=float(found.level) if found.bounded else None,
        sigma_d=spread,
        detectable=None if spread is None or not looks else _finite(power.detectable(looks, tolerated, spread)),
        notes=_notes(rule, a),
        a=all_a,
        b=all_b,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and 0 < value < math.inf else None


def _sigma_d(rule: RelativeRule, evidence: Evidence, a: Sequence[Seen], b: Sequence[Seen]) -> float | None:
    """Returns the noise of these pairs; of fewer than three that of the calibration."""
    known = evidence.sigma_d.get(rule.metric)
    if not evidence.counted or len(a) < FEWEST:
        return known
    own = noise.sigma_d([each.figure for each in a], [each.figure for each in b], min_abs=rule.min_abs)
    return known if own is None else own


def _notes(rule: RelativeRule, a: Sequence[Seen]) -> list[str]:
    if not rule.window and a[0].window == "whole" and not phrases.is_of_the_run(rule.metric):
        return ["no steady window was left: the figures are of the whole run, faults included"]
    return []


def _names(evidence: Evidence) -> tuple[str, str]:
    return ("A", "B") if evidence.pairs else ("the baseline", "this run")


def _words(
    rule: RelativeRule,
    evidence: Evidence,
    found: Interval,
    decision: Decision,
    tolerated: float,
    a: Sequence[Seen],
    b: Sequence[Seen],
) -> str:
    """Returns a sentence: how much worse, between which bounds, against what is tolerated."""
    reference, judged = _names(evidence)
    unit = f"{found.n} pairs" if evidence.pairs else f"{len(a)} and {len(b)} trials"
    unit = unit if found.n != 1 or not evidence.pairs else "1 pair"
    allowed = phrases.percent(tolerated - 1)
    if found.estimate is None or not 0 < found.estimate < math.inf:
        told = _beyond(judged, reference, a, b)
    else:
        bounds = f"{phrases.interval(_finite(found.lower), _finite(found.upper))}, " if found.bounded else ""
        told = f"{phrases.compared(found.estimate, judged, reference)} ({bounds}{unit})"
    match decision:
        case Decision.FAIL:
            return f"{told}; {allowed} is tolerated"
        case Decision.PASS:
            within = f"within the {allowed} that are tolerated"
            return f"{told}: {_slower(rule)}, but {within}" if found.lower > 1 else f"{told}: {within}"
        case _:
            return f"{told}: neither within {allowed} nor beyond is proven"


def _beyond(judged: str, reference: str, a: Sequence[Seen], b: Sequence[Seen]) -> str:
    """Returns what is said where a figure is only "at least" too often for a ratio."""
    open_a, open_b = (sum(not isinstance(each.figure, float) for each in side) for side in (a, b))
    return f"only a lower bound is known in {open_b} of {len(b)} trials of {judged}, and in {open_a} of {len(a)} of {reference}"


def _slower(rule: RelativeRule) -> str:
    quick = rule.metric == "throughput" or rule.metric.startswith(("rate.", "latency.", "recovery.", "lag."))
    return "slower" if quick else "more"
