"""What every chart says in the same words: which durability a case has, which trials are shown, and how those that do not count are told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.model import DurabilityClass, TrialStatus
from harness.record import CaseRecord, TrialRecord
from reports import figures, words
from reports.charts._style import GREY, Line
from reports.view import CaseView, TrialView

OUT = Line(GREY, ":", "x")
"""Of a trial that is not valid: dotted and grey, and its legend says why."""

FIRST = {"delivered": "delivered (first receipts)", "settled": "settled (first time)"}
"""Rates that count no repeat, as figures of the same name do not."""

_SETTINGS = ("persistence", "persistent", "synchronous_commit", "unlogged", "volume")
_AS_USUAL = {"unlogged": "false", "volume": "named"}  # these say nothing


@dataclass(frozen=True, slots=True)
class Group:
    """Cases that may be shown in one panel: their confirms survive the same, and they were loaded in the same way.

    Args:
        name: ``process-crash-safe``, ``process-crash-safe, closed loop``. title: with what that means.
    """

    name: str
    title: str
    views: tuple[CaseView, ...]


def setting(case: CaseRecord) -> str:
    """Returns the settings on which the durability of a case rests: ``persistence=aof-everysec``; "" where it has none."""
    told = [(name, case.parameters[name]) for name in _SETTINGS if case.parameters.get(name)]
    return ", ".join(f"{name}={value}" for name, value in told if value != _AS_USUAL.get(name))


def durability(case: CaseRecord) -> str:
    """Returns what a confirm survives, and by which setting: ``process-crash-safe, persistence=aof-everysec``."""
    return ", ".join(filter(None, (_class(case.durability_class), setting(case))))


def name_of(view: CaseView) -> str:
    """Returns a case's label with the settings of its durability that its id does not name."""
    missing = [each for each in setting(view.record).split(", ") if each and each not in view.label]
    return f"{view.label} ({', '.join(missing)})" if missing else view.label


def title_of(what: str, view: CaseView) -> str:
    """Returns the title of a chart of one case."""
    return f"{what}: {view.label} ({durability(view.record)})"


def title_of_all(what: str, views: Sequence[CaseView]) -> str:
    """Returns the title of a chart of several cases: every durability class that is shown stands in it with its settings."""
    told: dict[DurabilityClass, dict[str, None]] = {}
    for view in views:
        told.setdefault(view.record.durability_class, {})[setting(view.record)] = None
    of = [
        ", ".join(filter(None, (_class(kind), " or ".join(filter(None, told[kind])))))
        for kind in DurabilityClass
        if kind in told
    ]
    return f"{what}: {'; '.join(of)}"


def groups(views: Sequence[CaseView]) -> list[Group]:
    """Returns the cases by durability class, weakest first, those in closed loop apart; in each in the order given."""
    found = []
    for kind in DurabilityClass:
        for closed in (False, True):
            members = tuple(v for v in views if v.record.durability_class is kind and is_closed_loop(v) is closed)
            if members:
                name = f"{_class(kind)}, closed loop" if closed else _class(kind)
                found.append(Group(name, f"{name}: {words.DURABILITY[kind]}", members))
    return found


def is_closed_loop(view: CaseView) -> bool:
    """Returns whether a case sent as fast as it was let: its latencies are not those of a rate."""
    return view.record.ceiling or any(trial.series is not None and not trial.series.open_loop for trial in view.trials)


def without_ceilings(views: Sequence[CaseView]) -> list[CaseView]:
    """Returns the cases at the scenario's rate; all of them where none is."""
    return [view for view in views if not view.record.ceiling] or list(views)


def counted(view: CaseView) -> list[TrialView]:
    """Returns the trials whose figures count: the valid ones; where there is none, all that left figures behind."""
    numbers = {trial.number for trial in figures.counted(view.record)}
    return [trial for trial in view.trials if trial.record.number in numbers]


def is_valid(view: CaseView) -> bool:
    """Returns whether a case has a valid trial: without one nothing of it is a result."""
    return any(trial.status is TrialStatus.VALID for trial in view.record.trials)


def status_of(trial: TrialRecord) -> str:
    """Returns the word for a trial that does not count, "" for a valid one."""
    return "" if trial.status is TrialStatus.VALID else words.OF_STATUS[trial.status].word


def status_of_case(view: CaseView) -> str:
    """Returns the word for a case none of whose trials counts, "" otherwise."""
    return "" if is_valid(view) else next((status_of(trial) for trial in view.record.trials), words.UNAVAILABLE.word)


def trial_name(trial: TrialRecord) -> str:
    """Returns ``trial 2``, of one that does not count with the word: ``trial 2 INVALID``."""
    return f"trial {trial.number} {status_of(trial)}".strip()


def marked(name: str, view: CaseView) -> str:
    """Returns a case's name, with the word where none of its trials counts: ``redis-stream@bridge INVALID``."""
    return f"{name} {status_of_case(view)}".strip()


def _class(kind: DurabilityClass) -> str:
    return "durability unknown" if kind is DurabilityClass.UNKNOWN else kind.value
