"""Annotations of a pull request: lines that GitHub's runner reads from a job's output as commands.

A step may have ten errors and ten warnings; what is beyond is counted in the last one. Source of the escapes: ``@actions/core``,
``command.ts``.
"""

from collections.abc import Sequence

from harness.gate.outcome import Outcome, Row, Verdict
from reports.escape import printable
from reports.gate import told

MOST = 10
MAX_TEXT = 1000
"""Characters of a message; a page shows some hundred."""


def annotations(outcome: Outcome) -> list[str]:
    """Returns workflow commands, a line each: errors for what is broken or proves nothing, warnings for what nobody can tell.

    At most ten of each, the severest first; an outcome without a word to say has none.
    """
    rows = told.together([row for row in outcome.rows if row.verdict is not Verdict.PASS])
    errors = [_of(*each) for each in rows if each[1].verdict is not Verdict.INCONCLUSIVE]
    if not outcome.rows:
        errors = [("brokerbench", told.NO_ROWS)]
    warnings = [_of(*each) for each in rows if each[1].verdict is Verdict.INCONCLUSIVE]
    warnings += [("brokerbench", line) for line in (*outcome.warnings, *outcome.flags)]
    return [*_commands("error", errors), *_commands("warning", warnings)]


def _of(rules: str, row: Row) -> tuple[str, str]:
    return f"{row.verdict}: {rules}", f"{told.case(row.case)}: {row.words}"


def _commands(kind: str, told_of: Sequence[tuple[str, str]]) -> list[str]:
    if len(told_of) > MOST:
        left_out = len(told_of) - MOST + 1
        told_of = [*told_of[: MOST - 1], ("brokerbench", f"… and {left_out} more: see the job's summary or log")]
    return [f"::{kind} title={_property(title)}::{_data(message)}" for title, message in told_of]


def _data(text: str) -> str:
    clipped = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
    return printable(clipped.replace("\r\n", "\n")).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
