"""What rules can see at the noise that ``calibrate`` found: refused before the first trial, warned of, or told. Pure.

A rule whose margin is small beside the noise of identical code would hardly ever PASS, whatever is compared: it cries wolf, or says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.analysis.signed_rank import Look
from harness.analysis.slo import LEDGER_METRICS
from harness.errors import UsageError
from harness.gate import power
from harness.gate.loss import why_never
from harness.gate.noise import Calibration, Spread
from harness.gate.power import Sight
from harness.gate.rules import RelativeRule, Rule

CALIBRATE = "brokerbench calibrate SCENARIO"


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What is known of one case before it is run.

    Args:
        ids: those that a rule's pattern may match, the shown one first. calibration: None = there is none of this environment.
    """

    ids: tuple[str, ...]
    calibration: Calibration | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What can be said before the first trial. ``sees``: a line for each relative rule and case; ``warnings``: what a reader must know."""

    sees: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _View:
    """A rule on a case whose noise is known, with the margin that holds there."""

    rule: RelativeRule
    case: str
    spread: Spread
    sigma_d: float
    margin: float

    @property
    def named(self) -> str:
        return f"rule {self.rule.id}, {self.case}"

    @property
    def noise(self) -> str:
        return f"identical code differs by {percent(self.sigma_d)} in {self.rule.metric} (σ of ln(B/A), {len(self.spread.a)} pairs)"


def outlook(rules: Sequence[Rule], cases: Sequence[Known], looks: Sequence[Look] = ()) -> Outlook:
    """Returns what relative rules can see in these cases.

    Args:
        looks: as planned; () = trials that are not compared in pairs.

    Raises:
        UsageError: a rule could hardly ever pass at the noise of this machine, or on losses not at all, with the pairs that it would need.
    """
    _require_possible(rules, cases, looks)
    views = list(_views(rules, cases))
    blind = [view for view in views if power.sight(view.sigma_d, view.margin) is Sight.BLIND]
    if blind:
        raise _refusal(blind, looks)
    poor = [view for view in views if power.sight(view.sigma_d, view.margin) is Sight.POOR]
    return Outlook(
        sees=tuple(_sees(view, looks) for view in views) if looks else (),
        warnings=(*_uncalibrated(rules, cases), *(_poor(view, looks) for view in poor)),
    )


def _require_possible(rules: Sequence[Rule], cases: Sequence[Known], looks: Sequence[Look]) -> None:
    """Refuses rules on losses that so few pairs could not even pass without any loss."""
    matched = [rule for rule in rules if any(rule.applies_to(*case.ids) for case in cases)]
    never = {rule.id: why for rule in matched if (why := why_never(rule, looks))}
    if never:
        raise UsageError(
            "\n".join(f"rule {name}: {why}" for name, why in never.items()),
            expected="a share of pairs or deployments that so many can tell from none",
            remedy="allow more, or ask the contract instead: metric = 'loss.confirmed', require = '== 0'",
        )


def percent(share: float) -> str:
    """Returns e.g. ``4.8 %``."""
    return f"{100 * share:.3g} %" if abs(share) < 1 else f"{100 * share:.0f} %"


def _views(rules: Sequence[Rule], cases: Sequence[Known]) -> Iterator[_View]:
    for rule in filter(_needs_noise, rules):
        assert isinstance(rule, RelativeRule)
        for case in cases:
            found = case.calibration.spread(rule.metric, rule.window) if case.calibration else None
            if found is None or not rule.applies_to(*case.ids):
                continue
            floor = 1 + rule.min_abs / max(found.middle, rule.min_abs) if rule.min_abs else 1.0
            yield _View(
                rule=rule,
                case=case.ids[0],
                spread=found,
                sigma_d=found.at(rule.min_abs),
                margin=max(rule.max_ratio, floor),
            )


def _needs_noise(rule: Rule) -> bool:
    return isinstance(rule, RelativeRule) and not rule.metric.startswith(LEDGER_METRICS) and rule.max_ratio > 1


def _refusal(blind: Sequence[_View], looks: Sequence[Look]) -> UsageError:
    planned = f", and at most {looks[-1].pairs} are planned" if looks else ""
    told = [
        f"{view.named}: {view.noise}, too much for a margin of {percent(view.margin - 1)}: it would need about "
        f"{power.pairs_needed(view.sigma_d, view.margin)} pairs to pass in 90 of 100 comparisons{planned}"
        for view in blind
    ]
    least = max(math.exp(power.REFUSED * view.sigma_d) - 1 for view in blind)
    return UsageError(
        "\n".join(told),
        expected=f"a margin that identical code keeps: max_worse of {percent(math.ceil(1000 * least) / 1000)} or more",
        remedy="widen the margin, gate a steadier metric, make phases.steady longer, or calibrate again when nothing else runs here",
    )


def _poor(view: _View, looks: Sequence[Look]) -> str:
    passes = (
        f": identical code passes in {100 * power.passes(looks, view.margin, view.sigma_d):.0f} of 100 comparisons"
        if looks
        else ""
    )
    return f"{view.named}: {view.noise}, much for a margin of {percent(view.margin - 1)}{passes}"


def _sees(view: _View, looks: Sequence[Look]) -> str:
    least = power.detectable(looks, view.margin, view.sigma_d)
    seen = (
        f"a B that is {percent(least - 1)} worse is seen in 80 of 100 comparisons"
        if math.isfinite(least)
        else "nothing can be seen"
    )
    return f"{view.named}: {view.noise}: {seen}"


def _uncalibrated(rules: Sequence[Rule], cases: Sequence[Known]) -> Iterator[str]:
    """Yields which cases that a relative rule applies to have no calibration."""
    wanted = [case for case in cases if any(_needs_noise(rule) and rule.applies_to(*case.ids) for rule in rules)]
    missing = [case.ids[0] for case in wanted if case.calibration is None]
    if missing:
        which = f"{len(missing)} of {len(wanted)} cases" if len(missing) > 3 else ", ".join(missing)
        yield f"no calibration of this machine for {which}: what can be seen is not known before; {CALIBRATE} measures it"
