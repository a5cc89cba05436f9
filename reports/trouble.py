"""What speaks against trials: why one is not valid, and what it warns of, each with what a user can do about it."""

from __future__ import annotations

import re

from harness.model import TrialStatus
from harness.record import CaseRecord, TrialRecord
from reports import figures, words

ENDED_EARLY = "the load ended early"
DRAIN_LIMIT = "the drain hit its limit"
_ENDED = re.compile(r"((?:producer|worker) (\S+)) ended by itself")


def reasons(trial: TrialRecord) -> list[tuple[str, str]]:
    """Returns why a trial is not valid, each reason with its remedy ("" = none known).

    A shard that ended is told with its own last words, which stand among the warnings. A remedy stands once, at the last of its
    reasons; what only follows from a load that ended early has none.
    """
    told = [_with_last_words(reason, trial.warnings) for reason in trial.reasons]
    early = any(reason.startswith(ENDED_EARLY) for reason in told)
    stopped = trial.status is TrialStatus.INTERRUPTED  # not the load was too short for a fault, but a person's patience
    follows = [
        (early and not reason.startswith(ENDED_EARLY)) or (stopped and reason.startswith("fault never fired"))
        for reason in told
    ]
    remedies = ["" if so else words.remedy(reason) for reason, so in zip(told, follows, strict=True)]
    return [
        (reason, remedy if remedy not in remedies[number + 1 :] else "")
        for number, (reason, remedy) in enumerate(zip(told, remedies, strict=True))
    ]


def warning(text: str, trial: TrialRecord) -> str:
    """Returns a warning of a trial, with what a user can do about it where that can help."""
    return text if DRAIN_LIMIT in text and _nothing_could_come(trial) else words.warning(text)


def _nothing_could_come(trial: TrialRecord) -> bool:
    """Returns whether what the drain waited for was lost: nothing of it was in the broker."""
    there = figures.became([trial], "stranded", "undecided") or figures.marked([trial], "left_behind")
    return bool(figures.lost([trial])) and not there


def _with_last_words(reason: str, warnings: list[str]) -> str:
    """Returns the reason, for a shard with what the fleet said of it: ``worker w0 ended by itself with status 1: the slot folder …``."""
    ended = _ENDED.match(reason)
    if ended is None:
        return reason
    own = re.compile(rf"{ended[1]} \(pid \d+\) ended unexpectedly: (.+)", re.DOTALL)
    shards_of_agent = re.compile(rf"(agent .+ ended .*), and with it .*\b{re.escape(ended[2])}\b.*", re.DOTALL)
    for warning in warnings:
        if found := own.match(warning) or shards_of_agent.match(warning):
            return reason if found[1].startswith("exit status") else f"{reason}: {plain(found[1])}"
    return reason


def first_words(reason: str) -> str:
    """Returns a reason without the lines of a log that may follow it."""
    return re.split(r"\n|[:;]? its last words", reason, maxsplit=1)[0]


def not_valid(case: CaseRecord) -> list[tuple[str, TrialRecord]]:
    """Returns the trials with reasons against them, alike ones once, each with the words that name it after the case id."""
    groups: dict[tuple[str, ...], list[TrialRecord]] = {}
    for trial in case.trials:
        if trial.reasons:
            groups.setdefault((trial.status, *trial.reasons), []).append(trial)
    named = []
    for trials in groups.values():
        numbers = ", ".join(str(trial.number) for trial in trials)
        which = f", trial{'s' if len(trials) > 1 else ''} {numbers}" if len(case.trials) > 1 else ""
        named.append((which, trials[0]))
    return named


def plain(text: str) -> str:
    """Returns a sentence that goes on inside another."""
    return text.strip().rstrip(".")
