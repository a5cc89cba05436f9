"""From rules and evidence to the answer: rows, what is only information, and for a run what a reader must know besides.

Neighbour: ``pairs_outcome`` has the outcome of pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness import __version__
from harness.analysis.ceiling import NEAR
from harness.analysis.comparable import Kind
from harness.analysis.comparable import Verdict as Likeness
from harness.gate.evidence import Evidence
from harness.gate.judge import judge
from harness.gate.outcome import Outcome, Row, Verdict, exit_of
from harness.gate.rules import RelativeRule, Rule

ACROSS = "the sides are not comparable: their ratios are information, on which no verdict stands; contracts are judged all the same"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What rules say of evidence.

    Args:
        rows: a verdict each. information: ratios of sides that are not comparable, on which none stands.
        warnings: what a reader must know of them.
    """

    rows: list[Row]
    information: list[Row]
    warnings: list[str]


def answer(rules: Sequence[Rule], evidences: Sequence[Evidence], *, cross_machine: bool = False) -> Answer:
    """Returns what rules say of each case.

    Args:
        cross_machine: relative rules between sides that are not comparable become information and decide nothing, unless there is no
            other rule: ratios alone prove nothing, so it ends as it would without.
    """
    rows = judge(rules, evidences, cross_machine=cross_machine)
    unlike = _unlike(rules, evidences) if cross_machine else set()
    if not unlike:
        return Answer(rows=rows, information=[], warnings=[])
    told = [row for row in rows if (row.rule, row.case) in unlike]
    gating = [row for row in rows if (row.rule, row.case) not in unlike]
    return Answer(
        rows=gating or judge(rules, evidences),
        information=[row.model_copy(update={"verdict": Verdict.NOT_COMPARABLE}) for row in told],
        warnings=[ACROSS],
    )


def outcome_of_run(
    found: Answer,
    evidences: Sequence[Evidence],
    *,
    kind: Literal["baseline", "run"],
    scenario: str,
    inconclusive: Literal["fail", "warn"] = "fail",
    warnings: Iterable[str] = (),
    **more: Any,
) -> Outcome:
    """Returns the outcome of a gate on a run, alone or against baselines.

    Args:
        evidences: one per case. inconclusive: ``warn``: ends with 0 where nothing is worse than INCONCLUSIVE.
        warnings: what a reader must know besides. more: further fields of the outcome (question, sides).
    """
    code, reason = exit_of(found.rows, inconclusive=inconclusive)
    return Outcome(
        tool_version=__version__,
        kind=kind,
        scenario=scenario,
        rows=found.rows,
        information=found.information,
        flags=_drift(evidences),
        warnings=list(dict.fromkeys([*found.warnings, *warnings, *_near_the_ceiling(evidences)])),
        exit_code=int(code),
        exit_reason=reason,
        **more,
    )


def _near_the_ceiling(evidences: Sequence[Evidence]) -> Iterator[str]:
    """Yields of each case one trial's warning that the generator may have been the limit."""
    for each in evidences:
        told = [warning for trial in each.b for warning in trial.record.warnings if warning.startswith(NEAR)]
        if told:
            yield f"{each.case}: {len(told)} of {len(each.b)} trials {told[-1]}"


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
