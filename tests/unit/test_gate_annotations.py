"""Annotations: at most ten of each kind, each one line that says one thing to GitHub's runner and nothing else."""

from __future__ import annotations

import re

import outcomes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.gate.outcome import Row
from reports.escape import printable
from reports.gate.annotations import MAX_TEXT, annotations

COMMAND = re.compile(r"::(error|warning) title=([^:,\r\n]*)::([^\r\n]*)")


def read(line: str) -> tuple[str, str, str]:
    """Returns kind, title and message as the runner reads them (``ActionCommand.TryParseV2``)."""
    found = COMMAND.fullmatch(line)
    assert found is not None, line
    kind, title, message = found.groups()
    for code, sign in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        title = title.replace(code, sign)
        message = message.replace(code, sign) if code not in ("%3A", "%2C") else message
    return kind, title, message


def told(*rows: Row, **changed: object) -> list[tuple[str, str, str]]:
    fields = {"warnings": [], "flags": []} | changed
    return [read(line) for line in annotations(outcomes.outcome(*rows, **fields))]


def test_what_is_broken_or_proves_nothing_is_an_error() -> None:
    found = told(outcomes.unmatched(), outcomes.held(), outcomes.incomparable(), outcomes.lossy())
    assert [(kind, title) for kind, title, _ in found] == [
        ("error", "FAIL: no-loss"),
        ("error", "INVALID: kafka-p99"),
        ("error", "NOT COMPARABLE: throughput"),
    ]
    assert found[1][2] == "no case at all: the pattern kafka-* matches no case"


def test_what_nobody_can_tell_is_a_warning_and_so_is_what_a_reader_must_know() -> None:
    found = told(outcomes.undecided(), warnings=["not calibrated"], flags=["kernel differs"])
    assert [(kind, title) for kind, title, _ in found] == [
        ("warning", "INCONCLUSIVE: steady-p99"),
        ("warning", "brokerbench"),
        ("warning", "brokerbench"),
    ]
    assert [message for _, _, message in found[1:]] == ["not calibrated", "kernel differs"]


def test_a_gate_that_passes_without_a_word_annotates_nothing() -> None:
    assert told(outcomes.held(), outcomes.lossless()) == []


def test_rules_of_a_case_of_which_the_same_is_said_share_one() -> None:
    found = told(outcomes.lossy(rule="r1", words="interrupted"), outcomes.lossy(rule="r2", words="interrupted"))
    assert found == [("error", "FAIL: r1, r2", f"{outcomes.REDIS}: interrupted")]


def test_no_row_at_all_is_an_error() -> None:
    (only,) = annotations(outcomes.empty(warnings=[], flags=[]))
    assert read(only) == ("error", "brokerbench", "INVALID: no rule was applied to any case, so nothing is proven.")


@pytest.mark.parametrize(("rows", "last"), [(10, "FAIL: throughput"), (11, "… and 2 more"), (200, "… and 191 more")])
def test_there_are_ten_errors_at_most_and_the_last_counts_the_rest(rows: int, last: str) -> None:
    found = told(*[outcomes.regression(words=str(n)) for n in range(rows)])
    assert len(found) == 10
    assert {kind for kind, _, _ in found} == {"error"}
    assert last in f"{found[-1][1]} {found[-1][2]}"


def test_ten_warnings_have_room_beside_ten_errors() -> None:
    some = [str(n) for n in range(12)]
    found = told(
        *[outcomes.regression(words=each) for each in some], *[outcomes.undecided(words=each) for each in some]
    )
    assert [kind for kind, _, _ in found] == ["error"] * 10 + ["warning"] * 10


def test_what_ends_a_command_is_escaped() -> None:
    row = outcomes.lossy(rule="a,b::c", words="100 %\nlost::error::now, all")
    assert annotations(outcomes.outcome(row, warnings=[], flags=[])) == [
        f"::error title=FAIL%3A a%2Cb%3A%3Ac::{outcomes.REDIS}: 100 %25%0Alost::error::now, all"
    ]


def test_a_message_is_not_endless() -> None:
    (only,) = told(outcomes.lossy(words="x" * 100_000))
    assert len(only[2]) == MAX_TEXT + 1
    assert only[2].endswith("…")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_nothing_of_a_record_becomes_a_command(rule: str, case: str, words: str) -> None:
    (line,) = annotations(outcomes.outcome(outcomes.lossy(rule=rule, case=case, words=words), warnings=[], flags=[]))
    kind, title, message = read(line)
    assert (kind, title) == ("error", printable(f"FAIL: {rule}".replace("\r\n", "\n")))
    assert message == printable(f"{case or 'no case at all'}: {words}".replace("\r\n", "\n"))
