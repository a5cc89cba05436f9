"""What befell trials, and whether any rule asks about it: rules that pass say nothing of what they do not ask, so a reader is told. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.analysis.combine import proves
from harness.analysis.slo import LEDGER_METRICS, RECOVERY
from harness.gate import phrases
from harness.gate.evidence import Evidence, Judged
from harness.gate.figures import find, is_number, least, worst_of
from harness.gate.loss import NO_FAULT, why_not_exercised
from harness.gate.rules import AbsoluteRule, GuaranteeRule, RelativeRule, Rule
from harness.model import TrialStatus
from harness.model import Verdict as Claimed

LOST, BROKEN, IDLE = "lost", "broken", "idle"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something that befell trials of a case.

    Args:
        what: ``LOST`` messages, a claim ``BROKEN``, a fault ``IDLE``, that put nothing to the test. fault: of a claim. words: a sentence
            without its end.
    """

    what: str
    words: str
    fault: str = ""


def findings(trials: Sequence[Judged]) -> Iterator[Finding]:
    """Yields what trials prove against what they ran on, and what they do not prove at all."""
    of = phrases.count(len(trials), "trial")
    proving = [each for each in trials if proves(each.record)]
    lost = {each.place: find(each.record, phrases.LOSS)[0] for each in proving}
    lossy = {place: figure for place, figure in lost.items() if is_number(figure) and least(figure) > 0}
    if lossy:
        most = worst_of(list(lossy.values()), highest=True)
        words = f"{len(lossy)} of {of} lost confirmed messages, {phrases.figure(phrases.LOSS, most)}{' in one' if len(lossy) > 1 else ''}"
        yield Finding(what=LOST, words=words)
    broken = [
        (each, given) for each in proving for given in each.record.guarantees if given.verdict is Claimed.VIOLATED
    ]
    for fault in dict.fromkeys(given.fault for _, given in broken):
        same = [given for _, given in broken if given.fault == fault]
        claim = "without a fault" if fault == NO_FAULT else f"under {fault}"
        yield Finding(
            what=BROKEN,
            fault=fault,
            words=f"the claim {claim} was VIOLATED in {len(same)} of {of}: {same[-1].evidence}",
        )
    idle = [
        why for each in trials if each.record.status is TrialStatus.VALID and (why := why_not_exercised(each.record))
    ]
    if idle:
        yield Finding(what=IDLE, words=f"{len(idle)} of {of}: {idle[-1]}")


def unasked(rules: Sequence[Rule], evidences: Sequence[Evidence]) -> Iterator[str]:
    """Yields what befell each case without a rule that asks about it, and the cases of which no rule asks anything."""
    for each in evidences:
        mine = [rule for rule in rules if rule.applies_to(*each.ids)]
        trials = [*(pair.b for pair in each.pairs), *each.b]
        for found in findings(trials):
            if not any(_asks(rule, found) for rule in mine):
                yield f"{each.case}: {found.words}; no rule asks about it ({_ASK[found.what]} would)"
    alone = [each.case for each in evidences if not any(rule.applies_to(*each.ids) for rule in rules)]
    if alone:
        yield f"no rule asks anything of {phrases.listed(alone, most=8)}: not judged"


_ASK = {LOST: 'metric = "loss.confirmed", require = "== 0"', BROKEN: 'guarantee = "held"', IDLE: 'guarantee = "held"'}
"""The rule that asks about a finding."""


def _asks(rule: Rule, found: Finding) -> bool:
    if isinstance(rule, GuaranteeRule):
        return rule.fault in ("", found.fault)
    if found.what == LOST:
        return rule.metric.startswith("loss.")
    if found.what == BROKEN or isinstance(rule, RelativeRule):
        return False
    return not isinstance(rule, AbsoluteRule) or rule.metric.startswith((*LEDGER_METRICS, RECOVERY))
