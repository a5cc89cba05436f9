"""Rules applied to pairs: the outcome of an ``ab``, with all that a reader must know of how its pairs came to be. Pure.

``ab`` asks after every pair, ``gate`` asks of a folder that is finished, or not; both get the same answer to the same pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

from harness.analysis.ceiling import NEAR
from harness.gate.answer import answered
from harness.gate.evidence import Evidence
from harness.gate.judge import needs_pairs
from harness.gate.outcome import OrderEffect, Outcome, Row, Told, Verdict
from harness.gate.pairs import CasePairs, PairsRecord, SideRecord, Trial, evidences
from harness.gate.rules import Rule
from harness.record import Figure


@dataclass(frozen=True, kw_only=True, slots=True)
class Jury:
    """Who judges pairs.

    Args:
        rules: what is asked. inconclusive: what a verdict that is none either way costs. cross_machine: as :func:`answered`.
        sigma_d: case id → metric → noise of a calibration. warnings: further sentences that a reader must know.
    """

    rules: tuple[Rule, ...]
    inconclusive: Literal["fail", "warn"] = "fail"
    cross_machine: bool = False
    sigma_d: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def outcome(self, record: PairsRecord, trials: Mapping[str, Trial], *, live: bool = False) -> Outcome:
        """Returns the verdicts on the pairs of a record, finished or not; arguments as of :func:`harness.gate.pairs.evidences`."""
        found = evidences(record, trials, live=live, sigma_d=self.sigma_d)
        told = answered(
            self.rules,
            found,
            kind="pairs",
            scenario=record.scenario,
            inconclusive=self.inconclusive,
            cross_machine=self.cross_machine,
            warnings=[*self.warnings, *_near_the_ceiling(found)],
            **_circumstances(record, trials),
        )
        return told.model_copy(
            update={"order_effects": [each for row in told.rows for each in _order_effect(row, found)]}
        )

    def is_decided(self, case: str, outcome: Outcome) -> bool:
        """Returns whether no further pair can decide a rule on a case.

        A contract waits for none, since every trial has to keep it; with contracts alone nothing is open once all are broken.
        """
        waiting = {rule.id for rule in self.rules if needs_pairs(rule)}
        rows = [row for row in outcome.rows if row.case == case]
        if of_pairs := [row for row in rows if row.rule in waiting]:
            return all(row.decided for row in of_pairs)
        return bool(rows) and all(row.verdict is Verdict.FAIL for row in rows)

    def waits(self, case: CasePairs) -> bool:
        """Returns whether any rule on a case is of the kind that pairs decide."""
        return any(needs_pairs(rule) and rule.applies_to(case.b, case.a) for rule in self.rules)


def _circumstances(record: PairsRecord, trials: Mapping[str, Trial]) -> dict[str, Any]:
    return {
        "question": record.question,
        "sides": [_told("A", record, record.a, trials), _told("B", record, record.b, trials)],
        "runs": list(record.trials),
        "discarded": {
            case.b: {letter: sum(letter in pair.disturbed for pair in case.pairs) for letter in ("a", "b")}
            for case in record.cases
            if len(case.counted) < len(case.pairs)
        },
        "details": {"seed": record.seed, "stopping": record.stopping, "looks": [look.pairs for look in record.looks]},
    }


def _told(name: str, record: PairsRecord, side: SideRecord, trials: Mapping[str, Trial]) -> Told:
    """Returns a side with the versions that its trials turned out to be of."""
    versions: dict[str, None] = {}
    for pair in (pair for case in record.cases for pair in case.pairs):
        run = trials[pair.a if name == "A" else pair.b].run
        commit = run.fingerprint.get("subject", {}).get("commit")
        versions[f"brokerbench {run.tool_version}{f' ({commit[:12]})' if isinstance(commit, str) else ''}"] = None
        for case in run.cases:
            if case.server:
                versions[case.server] = None
            if case.image is not None:
                versions[f"image {case.image.reference} {case.image.digest[:19]}"] = None
    return Told(name=name, what=side.what, versions=list(versions))


def _order_effect(row: Row, found: Sequence[Evidence]) -> Iterator[OrderEffect]:
    """Yields by how much being second changes a figure of a relative rule.

    ln(B/A) is the difference of the sides plus that effect where A came first, less it where B did: half the difference of both means is
    the effect, however the coins fell.
    """
    if row.tolerated is None:
        return
    firsts = {pair.number: pair.first for each in found if each.case == row.case for pair in each.counted}
    a = {value.pair: value.figure for value in row.a}
    logs: dict[str, list[float]] = {"a": [], "b": []}
    for value in row.b:
        one, other = _number(a.get(value.pair)), _number(value.figure)
        if value.pair in firsts and one and other:
            logs[firsts[value.pair]].append(math.log(other / one))
    if logs["a"] and logs["b"]:
        effect = (fmean(logs["a"]) - fmean(logs["b"])) / 2
        yield OrderEffect(
            case=row.case, metric=row.metric, ratio=math.exp(effect), pairs=len(logs["a"]) + len(logs["b"])
        )


def _number(figure: Figure | None) -> float | None:
    return float(figure) if isinstance(figure, float | int) and figure > 0 else None


def _near_the_ceiling(found: Sequence[Evidence]) -> Iterator[str]:
    """Yields of each case how many trials the generator may have limited, with the warning of one of them."""
    for each in found:
        told = [
            warning
            for pair in each.counted
            for trial in (pair.a, pair.b)
            for warning in trial.record.warnings
            if warning.startswith(NEAR)
        ]
        if told:
            yield f"{each.case}: {len(told)} of {2 * len(each.counted)} trials {told[-1]}"
