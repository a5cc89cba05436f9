"""From rules and evidence to the whole answer: rows, what is only information, what a reader must know besides, and how the command ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from harness import __version__
from harness.analysis.ceiling import NEAR
from harness.analysis.comparable import Kind
from harness.analysis.comparable import Verdict as Likeness
from harness.analysis.used import OTHERS
from harness.gate.evidence import Evidence, Judged
from harness.gate.judge import judge
from harness.gate.outcome import Outcome, Verdict, exit_of
from harness.gate.phrases import count
from harness.gate.rules import RelativeRule, Rule
from harness.gate.unasked import unasked

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
        cross_machine: relative rules between sides that are not comparable become information and decide nothing, unless there is no
            other rule: ratios alone prove nothing, so it ends as it would without.
        warnings: what a reader must know. more: further fields of the outcome (question, sides, runs …).
    """
    rows, information, told = judge(rules, evidences, cross_machine=cross_machine), [], list(warnings)
    if cross_machine and (unlike := _unlike(rules, evidences)):
        across = [row for row in rows if (row.rule, row.case) in unlike]
        information = [row.model_copy(update={"verdict": Verdict.NOT_COMPARABLE}) for row in across]
        rows = [row for row in rows if (row.rule, row.case) not in unlike] or judge(rules, evidences)
        told.append(ACROSS)
    told += unasked(rules, evidences)
    code, reason = exit_of(rows, inconclusive=inconclusive)
    if information:
        reason += f"; {count(len(information), 'ratio')} between sides that are not comparable: information only"
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


def warned(trials: Sequence[Judged]) -> Iterator[str]:
    """Yields what may have moved the figures of trials: the generator's ceiling, and other programs; in how many, and the last as an example."""
    for beginning in (NEAR, OTHERS):
        told = [warning for trial in trials for warning in trial.record.warnings if warning.startswith(beginning)]
        if told:
            yield f"{len(told)} of {len(trials)} trials: {told[-1]}"


def _unlike(rules: Sequence[Rule], evidences: Sequence[Evidence]) -> set[tuple[str, str]]:
    """Returns rule and case wherever a relative rule meets sides that are not comparable."""
    refused = [
        each
        for each in evidences
        if not (each.unsound or each.cut)
        and each.comparability is not None
        and each.comparability.verdict is Likeness.REFUSED
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
