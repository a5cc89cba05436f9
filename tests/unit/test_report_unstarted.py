"""What a run says in which no broker came up: why, once and whole, and how it ended; nothing is judged."""

from __future__ import annotations

import pytest
import records
from rich.console import Console

from harness.model import TrialStatus, Verdict
from harness.record import CaseRecord, RunRecord, TrialRecord
from reports.markdown import page
from reports.terminal import print_run

ENDED = "the broker's process has ended; its last words:\nexec: redis-server: not found"
SAME = "the broker's container ended while it started: status 127; its last words:\nexec: redis-server: not found"
REMEDY = "remedy: see the broker's log in the trial's folder"
NO_NETWORK = "the network bb_0123456789abcdef_{} cannot be made\n  remedy: docker network prune"


def never_up(id_: str, *reasons: str) -> CaseRecord:
    trials = [
        TrialRecord(
            number=number,
            status=TrialStatus.UNAVAILABLE,
            reasons=[reason],
            folder="",
            warnings=["the search of the broker was not sound: the trial ended before the search"],
        )
        for number, reason in enumerate(reasons, 1)
    ]
    return records.case(id_, trials=trials, guarantees=[records.guarantee(Verdict.UNKNOWN, evidence="no evidence")])


def ended(*cases: CaseRecord, status: str = "finished") -> RunRecord:
    reason = f"no broker came up: {cases[0].trials[0].reasons[0]}"
    return records.run(list(cases), status=status, exit_code=2, exit_reason=reason)


def printed(record: RunRecord) -> str:
    console = Console(width=100)
    with console.capture() as captured:
        print_run(record, console)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def test_the_terminal_says_the_one_reason_whole_and_the_exit_code() -> None:
    record = ended(never_up("a@bridge", ENDED, SAME), never_up("b@bridge", SAME, ENDED))
    assert printed(record) == (
        "\nVERDICT  No broker came up: no verdict.\n"
        "  a@bridge, b@bridge\n"
        "    the broker's process has ended; its last words:\n"
        "    exec: redis-server: not found\n"
        f"    {REMEDY}\n"
        "\nExit code 2: no broker came up"
    )


def test_the_page_says_the_same() -> None:
    told = page(ended(never_up("a@bridge", ENDED)))
    head, _, rest = told.partition("\n\n`a@bridge`:\n\n")
    assert head.endswith("**VERDICT: No broker came up: no verdict.**")
    assert f"{ENDED}\n{REMEDY}" in rest
    assert "\n\nExit code 2: no broker came up.\n\n" in rest
    assert "Run it again:" in rest
    for word in ("UNKNOWN", "not sound", "## "):
        assert word not in told


def test_reasons_that_differ_in_the_names_of_their_trials_only_are_one() -> None:
    record = ended(never_up("a@bridge", NO_NETWORK.format(1)), never_up("b@bridge", NO_NETWORK.format(2)))
    assert printed(record).count("cannot be made") == 1


def test_each_of_several_reasons_names_its_cases_and_what_could_not_run_here_stays_told() -> None:
    skipped = records.case("c@overlay", trials=[], guarantees=[], unavailable="no swarm")
    record = ended(never_up("a@bridge", ENDED), never_up("b@bridge", NO_NETWORK.format(1)), skipped)
    text = printed(record)
    assert "  a@bridge\n    the broker's process" in text
    assert "  b@bridge\n    the network bb_" in text
    assert "  c@overlay was not run: no swarm.\n" in text
    assert "`c@overlay` was not run: no swarm." in page(record)


@pytest.mark.parametrize("status", ["finished", "interrupted"])
def test_a_run_with_a_broker_or_an_interrupted_one_is_told_in_full(status: str) -> None:
    cases = [never_up("a@bridge", ENDED)] + ([records.case()] if status == "finished" else [])
    assert "Load generator:" in printed(ended(*cases, status=status))
