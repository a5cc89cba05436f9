"""A run in which no broker came up: there is nothing to judge or to measure, only why, once."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.model import TrialStatus
from harness.record import RunRecord
from reports import trouble

HEADLINE = "No broker came up: no verdict."
_LAST_WORDS = re.compile(r"its last words:\s*(.+)", re.DOTALL)
_OWN_NAMES = re.compile(r"bb_[0-9a-f]{16}_\d+")


def is_unstarted(record: RunRecord) -> bool:
    """Returns whether every trial ended before its broker was up (``analysis.combine.run_exit``)."""
    trials = [trial for case in record.cases if not case.unavailable for trial in case.trials]
    return record.status != "interrupted" and bool(trials) and all(t.status is TrialStatus.UNAVAILABLE for t in trials)


def reasons(record: RunRecord) -> Iterator[tuple[list[str], str]]:
    """Yields each reason whole, with its last words and its remedy, once, behind the cases that it holds for."""
    found: dict[str, tuple[list[str], str]] = {}
    for case in record.cases:
        for trial in [] if case.unavailable else case.trials[:1]:
            told = [f"{reason}\nremedy: {remedy}" if remedy else reason for reason, remedy in trouble.reasons(trial)]
            whole = "\n".join(told) or "no reason was recorded"
            # The same end is seen by whoever looks first, in words of his own.
            ended = _LAST_WORDS.search(whole)
            key = _OWN_NAMES.sub("", ended[1] if ended else whole)
            found.setdefault(key, ([], whole))[0].append(case.id)
    yield from found.values()


def exit_line(record: RunRecord) -> str:
    """Returns the exit code; its reason stands above."""
    return f"Exit code {record.exit_code}: {(record.exit_reason or 'no broker came up').partition(':')[0]}"
