"""Finding figures in a record, and the middle of several trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.model import CAUSES, TrialStatus
from harness.record import AtLeast, CaseRecord, Figure, TrialRecord, Unknown

_WHOLE_FIRST = ("loss.", "class.", "mark.", "blocked", "backlog.", "cost.")
_MORE_IS_BETTER = ("throughput", "rate.")
UNSUSTAINED = ("filling", "draining")
"""Labels of a throughput that is not compared."""


@dataclass(frozen=True, slots=True)
class Found:
    """A figure over the trials of a case: the middle one and, with several trials, the range.

    With an even number the worse of the two in the middle: always a value that a trial really had, never an average.
    """

    middle: Figure | None
    lowest: Figure | None = None
    highest: Figure | None = None
    window: str = "steady"


@dataclass(frozen=True, slots=True)
class Loss:
    """Lost confirmed messages; ``or_more`` where some are undecided. True where any is proven."""

    count: int
    or_more: bool

    def __bool__(self) -> bool:
        return self.count > 0


def counted(case: CaseRecord) -> list[TrialRecord]:
    """Returns the trials whose figures count: the valid ones; where there is none, all that left figures behind."""
    valid = [trial for trial in case.trials if trial.status is TrialStatus.VALID]
    return valid or [trial for trial in case.trials if trial.metrics or trial.ledger]


def proving(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Returns the trials whose losses are proven: valid ones, and others whose ledger, drain and settings are sound."""
    return [trial for trial in trials if trial.status is TrialStatus.VALID or trial.evidence_sound]


def worst_first(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Returns the trials in the order in which they are worth showing: those that lost most first, what is not proven last."""

    def badness(trial: TrialRecord) -> tuple[bool, int]:
        found = lost([trial])
        return bool(proving([trial])), found.count if found else 0

    return sorted(trials, key=badness, reverse=True)


def look(trial: TrialRecord, name: str) -> tuple[Figure | None, str]:
    """Returns a metric and its window: ``steady`` where none is named; ``whole`` where it is about the whole run, or no steady window is left."""
    order = ("whole", "steady") if name.startswith(_WHOLE_FIRST) else ("steady", "whole")
    found = [(trial.metrics[window][name], window) for window in order if name in trial.metrics.get(window, {})]
    for value, window in found:
        if not (isinstance(value, Unknown) and "no steady window" in value.unknown):
            return value, window
    return found[0] if found else (None, order[0])


def over_trials(case: CaseRecord, name: str) -> Found:
    """Returns a metric over the trials that count."""
    looked = [look(trial, name) for trial in counted(case)]
    windows = {window for value, window in looked if value is not None}
    found = middle([value for value, _ in looked if value is not None], more_is_better=name.startswith(_MORE_IS_BETTER))
    return Found(found.middle, found.lowest, found.highest, windows.pop() if len(windows) == 1 else "steady")


def each(trials: Sequence[TrialRecord], name: str) -> list[Figure]:
    """Returns a metric of each trial that has it."""
    return [value for value, _ in (look(trial, name) for trial in trials) if value is not None]


def recovery(case: CaseRecord, name: str) -> Found:
    """Returns a recovery figure over the trials that count, of each trial the worst of its faults."""
    of_trials = [worst([fault.recovery[name] for fault in t.faults if name in fault.recovery]) for t in counted(case)]
    return middle([value for value in of_trials if value is not None])


def middle(values: Sequence[Figure], *, more_is_better: bool = False) -> Found:
    """Returns the middle value and the range; values that are unknown stand aside unless there are no others.

    A value that is only "at least" may be any larger one: where that could move the middle, or the highest, it is "at least" too.
    """
    known = sorted((value for value in values if not isinstance(value, Unknown)), key=_size, reverse=more_is_better)
    if not known:
        return Found(values[0] if values else None)
    if len(known) == 1:
        return Found(known[0])
    ends = sorted(known, key=_size)
    return Found(_at_rank(known, more_is_better=more_is_better), ends[0], worst(ends))


def _at_rank(known: Sequence[Figure], *, more_is_better: bool) -> Figure:
    """Returns the value in the middle of sorted ones, "at least" where it were another if the censored ones were larger."""
    at = len(known) // 2
    size, largest = _size(known[at])[0], [math.inf if isinstance(each, AtLeast) else _size(each)[0] for each in known]
    return known[at] if sorted(largest, reverse=more_is_better)[at] == size else AtLeast(at_least=size)


def together(values: Sequence[Figure]) -> Found:
    """Returns the sum and the range of one count of each trial: of the middle one a loss in a single trial would be 0.

    Where a trial's count is unknown, or only "at least", so is the sum "at least": what is unknown is not none.
    """
    found = middle(values)
    known = [value for value in values if not isinstance(value, Unknown)]
    if not known:
        return found
    total = sum(_size(value)[0] for value in known)
    at_least = len(known) < len(values) or any(isinstance(value, AtLeast) for value in known)
    return Found(AtLeast(at_least=total) if at_least else total, found.lowest, found.highest)


def lost(trials: Sequence[TrialRecord]) -> Loss | None:
    """Returns how many confirmed messages the trials lost together, None where none of them says."""
    known = [value for value in each(trials, "loss.confirmed") if not isinstance(value, Unknown)]
    if not known:
        return None
    return Loss(sum(int(_size(value)[0]) for value in known), any(isinstance(value, AtLeast) for value in known))


def confirmed(trials: Sequence[TrialRecord]) -> int:
    """Returns how many messages were confirmed in the trials together."""
    return sum(trial.ledger.outcomes.get("CONFIRMED", 0) for trial in trials if trial.ledger)


def repeats(trials: Sequence[TrialRecord]) -> int | None:
    """Returns the deliveries after the first (every one has exactly one cause), None where there is no ledger."""
    ledgers = [trial.ledger for trial in trials if trial.ledger]
    return sum(ledger.marks.get(cause.value, 0) for ledger in ledgers for cause in CAUSES) if ledgers else None


def became(trials: Sequence[TrialRecord], *classes: str) -> int | None:
    """Returns how many messages of the trials together fell into any of the classes, None where there is no ledger."""
    ledgers = [trial.ledger for trial in trials if trial.ledger]
    return sum(ledger.classes.get(name, 0) for ledger in ledgers for name in classes) if ledgers else None


def marked(trials: Sequence[TrialRecord], mark: str) -> int | None:
    """Returns how often the trials together set a mark, None where there is no ledger."""
    ledgers = [trial.ledger for trial in trials if trial.ledger]
    return sum(ledger.marks.get(mark, 0) for ledger in ledgers) if ledgers else None


def by_skipping(trials: Sequence[TrialRecord]) -> int:
    """Returns how many of the losses of the trials together are the workers' own: delivered again, and skipped by their wrapper."""
    return sum(trial.ledger.skipped_losses for trial in trials if trial.ledger)


def held(trials: Sequence[TrialRecord]) -> dict[str, int]:
    """Returns the messages of the trials together that were held at some time, by reason, the most frequent first."""
    counts: dict[str, int] = {}
    for trial in trials:
        for reason, number in (trial.ledger.held if trial.ledger else {}).items():
            counts[reason] = counts.get(reason, 0) + number
    return dict(sorted(((r, n) for r, n in counts.items() if n), key=lambda pair: -pair[1]))


def faults(case: CaseRecord) -> list[str]:
    """Returns the kinds of fault that struck in the trials that count, in order, each once."""
    return list(dict.fromkeys(f.kind for trial in counted(case) for f in trial.faults if f.injected_s is not None))


def _size(value: Figure) -> tuple[float, bool]:
    assert not isinstance(value, Unknown)  # callers filter
    return (value.at_least, True) if isinstance(value, AtLeast) else (value, False)


def worst(values: Sequence[Figure]) -> Figure | None:
    """Returns the largest of durations or counts, as "at least" where any is censored: its truth may be the largest."""
    known = [value for value in values if not isinstance(value, Unknown)]
    if not known:
        return values[0] if values else None
    largest = max(known, key=_size)
    censored = any(isinstance(value, AtLeast) for value in known)
    return AtLeast(at_least=_size(largest)[0]) if censored else largest
