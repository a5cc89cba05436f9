"""From rules and evidence to the whole answer: rows, what is only information, what a reader must know besides, and how the command ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from harness import __version__
from harness.analysis.comparable import Kind
from harness.analysis.comparable import Verdict as Likeness
from harness.gate.evidence import Evidence
from harness.gate.judge import judge
from harness.gate.outcome import Outcome, Verdict, exit_of
from harness.gate.rules import RelativeRule, Rule

ACROSS = "the sides are not comparable: their ratios are information, on which no verdict stands; contracts are judged all the same"


def answered(
    rules: Sequence[Rule],
    evidences: Sequence[Evidence],
    *,
    kind: Literal["pairs", "baseline", "run"],
    scenario: str,
    inconclusive: Literal["fail", "warn"] = "fail",
    cross_machine: bool = False,
    warnings: Iterable[str] = (),
    **more: Any,
) -> Outcome:
    """Returns the outcome of a gate.

    Args:
        evidences: one per case. kind, scenario: as in :class:`Outcome`.
        inconclusive: ``warn``: ends with 0 where nothing is worse than INCONCLUSIVE.
        cross_machine: ratios of sides that are not comparable become information, and do not decide how it ends, unless there is nothing else.
        warnings: what a reader must know. more: further fields of the outcome (question, sides, runs …).
    """
    rows, information = judge(rules, evidences, cross_machine=cross_machine), []
    told = list(warnings)
    if cross_machine and (unlike := _unlike(rules, evidences)):
        information = [
            row.model_copy(update={"verdict": Verdict.NOT_COMPARABLE}) for row in rows if (row.rule, row.case) in unlike
        ]
        gating = [row for row in rows if (row.rule, row.case) not in unlike]
        rows = gating or judge(rules, evidences)  # ratios alone prove nothing: it ends as it would without the flag
        told.append(ACROSS)
    code, reason = exit_of(rows, inconclusive=inconclusive)
    return Outcome(
        tool_version=__version__,
        kind=kind,
        scenario=scenario,
        rows=rows,
        information=information,
        flags=_drift(evidences),
        warnings=list(dict.fromkeys(told)),
        exit_code=int(code),
        exit_reason=reason,
        **more,
    )


def _unlike(rules: Sequence[Rule], evidences: Sequence[Evidence]) -> set[tuple[str, str]]:
    """Returns rule and case wherever a relative rule meets sides that are not comparable."""
    refused = [
        each
        for each in evidences
        if not each.unsound and each.comparability is not None and each.comparability.verdict is Likeness.REFUSED
    ]
    return {
        (rule.id, each.case)
        for rule in rules
        if isinstance(rule, RelativeRule)
        for each in refused
        if rule.applies_to(*each.ids)
    }


def _drift(evidences: Sequence[Evidence]) -> list[str]:
    """Returns what differs between the sides without making them incomparable, each once; what is not so of all cases names them."""
    found: dict[str, list[str]] = {}
    compared = [each for each in evidences if each.comparability is not None]
    for each in compared:
        assert each.comparability is not None
        for difference in each.comparability.of(Kind.DRIFT):
            found.setdefault(str(difference), []).append(each.case)
    return [
        sentence if len(cases) == len(compared) else f"{sentence} ({', '.join(cases)})"
        for sentence, cases in found.items()
    ]
