"""One figure of each trial, as a rule asks for it: in its window, and whether a verdict may stand on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeGuard

from harness.analysis.slo import RECOVERY, figure_of, worst
from harness.gate.evidence import Evidence, Judged
from harness.gate.outcome import Value
from harness.gate.phrases import is_of_the_run, listed
from harness.gate.rules import Rule
from harness.metrics import METRICS
from harness.model import TrialStatus
from harness.record import AtLeast, Figure, TrialRecord, Unknown

Side = Literal["a", "b"]
SUSTAINED = "sustained"
LAST = "more workers, or a smaller window of the closed loop, let it"


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A figure of one trial.

    Args:
        judged: the trial. side: whose it is. pair: of which pair, None = it was run as none.
        figure: None = the trial does not have it. window: that it stands in; "" = there is none.
    """

    judged: Judged
    side: Side
    pair: int | None
    figure: Figure | None
    window: str

    @property
    def trial(self) -> TrialRecord:
        """Returns the trial's record."""
        return self.judged.record

    @property
    def name(self) -> str:
        """Returns the trial as a sentence names it: ``B of pair 3``, or its place."""
        if self.pair is None:
            return self.judged.place
        unfinished = ", which was not finished" if self.judged.unfinished else ""
        return f"{self.side.upper()} of pair {self.pair}{unfinished}"

    @property
    def value(self) -> Value:
        """Returns it as a row holds it."""
        return Value(pair=self.pair, trial=self.judged.place, figure=self.figure)

    @property
    def why_invalid(self) -> str:
        """Returns why the trial is not valid, "" where it is."""
        status = self.trial.status
        if status is TrialStatus.VALID:
            return ""
        why = f": {' '.join(self.trial.reasons[0].split())}" if self.trial.reasons else ""
        return f"{self.name} is {status.value}{why}"


def seen(evidence: Evidence, rule: Rule, side: Side, *, discarded: bool = False) -> list[Seen]:
    """Returns a rule's figure of every trial of one side, in the order of time; of guarantees, that have none, only the trials.

    Args:
        discarded: also those of discarded pairs, and of B those of pairs that were not finished.
    """
    pairs = evidence.pairs if discarded else evidence.counted
    trials = [(pair.number, pair.b if side == "b" else pair.a) for pair in pairs]
    trials += evidence.alone if discarded and side == "b" else ()
    alone = evidence.b if side == "b" else evidence.a
    return [_seen(judged, rule, side, number) for number, judged in [*trials, *((None, each) for each in alone)]]


def _seen(judged: Judged, rule: Rule, side: Side, pair: int | None) -> Seen:
    figure, window = find(judged.record, rule.metric, rule.window)
    return Seen(judged=judged, side=side, pair=pair, figure=figure, window=window)


def find(trial: TrialRecord, metric: str, window: str = "") -> tuple[Figure | None, str]:
    """Returns a figure and the window in which it stands.

    Args:
        window: "" = *steady*, or *whole* for what belongs to the run and where no steady window was left; of recoveries all faults.
    """
    if metric.startswith(RECOVERY):
        if not window:
            return figure_of(trial, metric), ""
        fault = next(
            (fault for fault in trial.faults if window in (f"fault[{fault.index}]", f"recovery[{fault.index}]")), None
        )
        return (fault.recovery.get(metric.removeprefix(RECOVERY)) if fault else None), window
    wanted = [window] if window else ["steady", "whole"]
    return next(
        ((trial.metrics[name][metric], name) for name in wanted if metric in trial.metrics.get(name, {})), (None, "")
    )


def why_not_usable(each: Seen, rule: Rule) -> str:
    """Returns why a figure can be neither kept nor broken, "" where it is a number or a lower bound."""
    if isinstance(each.figure, Unknown):
        beyond = (
            " (a percentile needs 100 messages beyond it: p99 needs 10,000)"
            if "too small" in each.figure.unknown
            else ""
        )
        return f"{rule.metric} of {each.name} is not known: {each.figure.unknown}{beyond}"
    if each.figure is not None:
        return ""
    where = f" in the window {rule.window}" if rule.window else ""
    none_left = "; no steady window was left" if rule.window == "steady" and "steady" not in each.trial.metrics else ""
    return f"{each.name} has no {rule.metric}{where}{none_left}"


def why_not_lasting(each: Seen, rule: Rule) -> str:
    """Returns why a throughput cannot last, so that it enters no ratio; "" where it can, and of all else."""
    label = each.trial.throughput_label.get(each.window, "")
    if rule.metric == "throughput" and label not in ("", SUSTAINED):
        moved = "grew" if label == "filling" else "shrank"
        unasked = " over the whole run, for no steady window was left" if each.window == "whole" != rule.window else ""
        return f"the throughput of {each.name} cannot last ({label}: its backlog {moved}{unasked}); {LAST}"
    return ""


def of_whole_runs(rule: Rule, trials: Sequence[Seen]) -> list[str]:
    """Returns a note where a rule that names no window met trials without a steady one."""
    whole = [each.name for each in trials if each.window == "whole"]
    if rule.window or not whole or is_of_the_run(rule.metric):
        return []
    which = "" if len(whole) == len(trials) else f" in {listed(whole)}"
    return [f"no steady window was left{which}: the figures are of the whole run, faults included"]


def is_number(figure: Figure | None) -> TypeGuard[float | AtLeast]:
    """Returns whether something can be said of a figure's size."""
    return figure is not None and not isinstance(figure, Unknown)


def least(figure: float | AtLeast) -> float:
    """Returns the smallest value that a figure can have."""
    return figure.at_least if isinstance(figure, AtLeast) else figure


def most(figure: float | AtLeast) -> float:
    """Returns the largest value that a figure can have."""
    return math.inf if isinstance(figure, AtLeast) else figure


def middle(figures: Sequence[Figure | None], metric: str) -> Figure | None:
    """Returns the middle figure, of two in the middle the worse: one that a trial really had. "At least" counts as the largest."""
    known = sorted(filter(is_number, figures), key=lambda each: (most(each), least(each)))
    if not known:
        return None
    return known[(len(known) - 1) // 2 if METRICS[metric].higher_is_better else len(known) // 2]


def worst_of(figures: Sequence[Figure | None], *, highest: bool) -> Figure | None:
    """Returns the largest or the smallest of those that are known, None where none is."""
    return worst([each for each in figures if is_number(each)], highest=highest)
