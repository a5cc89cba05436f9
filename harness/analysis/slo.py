"""The SLOs of a scenario against what was seen: met, missed, or not to be told.

A figure that is "at least 2 s" misses a bound of 1 s, and says nothing about one of 3 s. Over trials the worst counts: an SLO is met
when every trial that counts meets it.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.model import TrialStatus
from harness.record import AtLeast, Expectation, Figure, TrialRecord, Unknown
from harness.scenario.model import Bound

LEDGER_METRICS = ("loss.", "class.", "mark.")
"""Proven by the ledger alone, also where the figures of a saturated generator mean nothing."""

RECOVERY = "recovery."

NOTHING_WAITED = Unknown(unknown="nothing was waiting")
"""Of a recovery with nothing to deliver: it does not apply, so it says nothing beside those that do."""


def figure_of(trial: TrialRecord, metric: str, *, highest: bool = True) -> Figure | None:
    """Returns a figure of a trial in the window that holds where none is named: *steady*, and *whole* for what belongs to the
    run or where no steady window was left; of recoveries the worst of all faults. None where the trial does not have it."""
    if metric.startswith(RECOVERY):
        name = metric.removeprefix(RECOVERY)
        each = [fault.recovery[name] for fault in trial.faults if name in fault.recovery]
        return worst([figure for figure in each if figure != NOTHING_WAITED] or each, highest=highest)
    windows = (trial.metrics[window] for window in ("steady", "whole") if window in trial.metrics)
    return next((window[metric] for window in windows if metric in window), None)


def is_met(figure: Figure | None, limit: float, *, at_least: bool) -> bool | None:
    """Returns whether a figure keeps a bound, None where it cannot be told.

    Args:
        at_least: the bound is a lower one.
    """
    if isinstance(figure, AtLeast):
        reached = figure.at_least >= limit if at_least else figure.at_least > limit
        return at_least if reached else None
    if figure is None or isinstance(figure, Unknown):
        return None
    return figure >= limit if at_least else figure <= limit


def worst(figures: Sequence[Figure], *, highest: bool = True) -> Figure | None:
    """Returns the worst of several figures: unknown where one is, else the largest (smallest with ``highest`` False); where
    one is censored, the largest is too."""
    unknown = next((figure for figure in figures if isinstance(figure, Unknown)), None)
    if unknown is not None or not figures:
        return unknown
    values = [_lower_bound(figure) for figure in figures]
    if not highest:
        return min(values)
    largest = max(values)
    return AtLeast(at_least=largest) if any(isinstance(figure, AtLeast) for figure in figures) else largest


def _lower_bound(figure: Figure) -> float:
    assert not isinstance(figure, Unknown)  # the caller has returned with it
    return figure.at_least if isinstance(figure, AtLeast) else figure


def counts_for(trial: TrialRecord, metric: str) -> bool:
    """Returns whether a trial says anything about a metric."""
    proves = trial.status is TrialStatus.INVALID and trial.evidence_sound and metric.startswith(LEDGER_METRICS)
    return trial.status is TrialStatus.VALID or proves


def expectation(bound: Bound, trials: Sequence[TrialRecord]) -> Expectation:
    """Returns one SLO over all trials of a case."""
    highest = not bound.at_least
    figures = [figure_of(t, bound.metric, highest=highest) for t in trials if counts_for(t, bound.metric)]
    met = [is_met(figure, bound.limit, at_least=bound.at_least) for figure in figures]
    missed = [figure for figure, kept in zip(figures, met, strict=True) if kept is False and figure is not None]
    shown = [figure for figure in figures if figure is not None]
    return Expectation(
        metric=bound.metric,
        bound=bound.text,
        seen=worst(missed or shown, highest=highest),
        met=False if missed else True if met and all(kept is True for kept in met) else None,
    )
