"""Rules and what was seen, in words that a newcomer understands: ``asks`` and ``words`` of every row are made of these."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.gate.rules import AbsoluteRule, BudgetRule, GuaranteeRule, RelativeRule, Rule
from harness.metrics import METRICS
from harness.model import FaultKind
from harness.record import AtLeast, Figure, Unknown
from harness.units import format_bytes, format_count, format_duration, format_rate

LOSS = "loss.confirmed"

_BY_UNIT: dict[str, Callable[[float], str]] = {
    "s": format_duration,
    "/s": format_rate,
    "count": format_count,
    "ratio": lambda value: f"{value:.4g}",  # as rules are written: 0.99
    "B": format_bytes,
    "s/million": lambda value: f"{format_duration(value / 1e6)} per message",
}
_RELATIONS = {"==": "exactly", "<=": "at most", ">=": "at least", "<": "less than", ">": "more than"}
_TWICE = 2.0
"""A ratio from which on "so many times" reads better than "so many percent"."""


def number(metric: str, value: float) -> str:
    """Returns a figure's value in the units that people read."""
    if metric == "loss.ratio":
        return f"{value * 100:.4g} %"  # as reports have it, and as it is written
    return _BY_UNIT[METRICS[metric].unit](value)


def figure(metric: str, seen: Figure | None) -> str:
    """Returns a figure in words: ``≥`` where it is only a lower bound, why where it is not known."""
    if seen is None:
        return "missing"
    if isinstance(seen, Unknown):
        return seen.unknown
    return f"≥ {number(metric, seen.at_least)}" if isinstance(seen, AtLeast) else number(metric, seen)


def percent(share: float) -> str:
    """Returns a share as a percentage of three digits: ``25 %``, ``0.3 %``; of more where three would make less than all into all."""
    if share >= 9.995:
        return f"{share * 100:,.0f} %"
    told = (f"{share * 100:.{digits}g}" for digits in range(3, 18))
    return f"{next((each for each in told if share >= 1 or float(each) < 100), 100)} %"


def compared(ratio: float, judged: str, reference: str, relation: str = "=") -> str:
    """Returns how many times worse in words: ``B is 25 % worse than A``; from twice on ``B is 3.4 times as bad as A``.

    Args:
        relation: ``≥`` or ``≤`` where the ratio is only a bound; that a bound lies below 1 does not make B better.
    """
    least = {"≥": "at least ", "≤": "at most "}.get(relation, "")
    if ratio >= _TWICE:
        return f"{judged} is {least}{ratio:.3g} times as bad as {reference}"
    share = f"{abs(ratio - 1) * 100:.1f} %"
    if share == "0.0 %":
        beyond = {"≥": " or worse", "≤": " or better"}.get(relation, "")
        return f"{judged} is as good as {reference}{beyond}"
    if ratio > 1:
        return f"{judged} is {least}{share} worse than {reference}"
    least = {"≥": "at most ", "≤": "at least "}.get(relation, "")
    open_ = ", if it is better at all" if relation == "≥" else ""
    return f"{judged} is {least}{share} better than {reference}{open_}"


def _signed(ratio: float | None) -> str:
    """Returns a ratio as an end of a range: ``+25.0 %``, ``−10.0 %``, ``3.4 times``."""
    if ratio is None:
        return ""
    if ratio >= _TWICE:
        return f"{ratio:.3g} times"
    return f"{'+' if ratio >= 1 else '−'}{abs(ratio - 1) * 100:.1f} %"


def interval(lower: float | None, upper: float | None) -> str:
    """Returns the two bounds of a ratio: ``+3.1 % to +9.8 %``."""
    least, most = _signed(lower), _signed(upper)
    if least and most:
        return f"{least} to {most}"
    return f"{least} or more" if least else f"{most} or less" if most else "no bounds"


def count(how_many: int, noun: str) -> str:
    """Returns ``1 pair``, ``16 pairs``."""
    return f"{format_count(how_many)} {noun}{'' if how_many == 1 else 's'}"


def listed(items: Sequence[str], most: int = 3) -> str:
    """Returns the first items, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def asks(rule: Rule) -> str:
    """Returns a rule in words."""
    match rule:
        case RelativeRule(metric=metric) if metric == LOSS:
            return f"B loses confirmed messages where A does not in at most {percent(rule.max_ratio - 1)} of pairs"
        case RelativeRule():
            return _asks_relative(rule)
        case AbsoluteRule():
            return f"{_named(rule)} is {bound(rule)} in every trial"
        case GuaranteeRule():
            where = "without a fault" if rule.fault == FaultKind.NONE.value else f"under {rule.fault}"
            which = f"what the setup claims {where}" if rule.fault else "all that the setup claims"
            return f"{which} was put to the test and held, in every trial"
        case BudgetRule():
            most = rule.max_lost_per_fault
            single = "" if most is None else f", and none loses more than {count(most, 'message')}"
            return f"at most {percent(rule.max_lossy)} of fresh deployments lose anything by their fault{single}"
    raise AssertionError(f"a rule of a kind that nobody knows: {rule!r}")


def _asks_relative(rule: RelativeRule) -> str:
    told = f"{_named(rule)} at most {percent(rule.max_ratio - 1)} worse"
    if METRICS[rule.metric].higher_is_better:
        told += f" (at least {percent(1 / rule.max_ratio)} of the reference's)"
    return f"{told}, or {number(rule.metric, rule.min_abs)} where that is more" if rule.min_abs else told


def _named(rule: Rule) -> str:
    return f"{rule.metric} ({rule.window})" if rule.window else rule.metric


def bound(rule: AbsoluteRule) -> str:
    """Returns an absolute rule's bound: ``at most 50 ms``."""
    relation = "" if rule.relation == "==" and rule.limit == 0 else f"{_RELATIONS[rule.relation]} "
    return f"{relation}{number(rule.metric, rule.limit)}"


def is_of_the_run(metric: str) -> bool:
    """Returns whether a figure belongs to the run as a whole, so that it has no other window."""
    return metric.startswith(("loss.", "class.", "mark.", "cost."))
