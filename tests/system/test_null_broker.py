"""A broker that misbehaves in known numbers, through the command line: just that is found, message by message."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import polars as pl
import pytest

from harness.model import Class, Mark
from tests.system.conftest import Bench, Finished

pytestmark = pytest.mark.slow

SCENARIO = """
question: Is what the broker did what the report says?
setups:
  - null: {doses}
load: {{rate: 2000/s, producers: 2}}
workers: {{count: 2, visibility: 1 s, sweep: 500 ms}}
phases: {{warmup: 0 s, steady: 2 s, drain: 20 s}}
"""

Identity = tuple[int, int]


def run(bench: Bench, **doses: str) -> Finished:
    """Runs 2 s at 2,000/s against a null broker with these doses."""
    return bench("run", bench.scenario("null", SCENARIO.format(doses=json.dumps(doses))))


def wrongs(finished: Finished) -> list[dict[str, Any]]:
    """Returns what the broker did to messages of the trial, as it wrote it down itself."""
    log = finished.folder.logs / "null-broker.log.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()]


def struck(finished: Finished, strike: str, detail: str = "") -> set[Identity]:
    """Returns the identities of the broker's log with one kind of strike."""
    return {
        (w["producer"], w["seq"]) for w in wrongs(finished) if w["strike"] == strike and w["detail"].startswith(detail)
    }


def of_class(finished: Finished, name: Class) -> set[Identity]:
    """Returns the identities of the ledger with a class."""
    rows = finished.table("messages").filter(pl.col("class").cast(pl.String) == name.value)
    return set(rows.select("producer", "seq").rows())


def marked(finished: Finished, mark: Mark) -> set[Identity]:
    """Returns the identities of the ledger with a mark."""
    messages = finished.table("messages")
    return set(messages.filter(messages[mark.value] > 0).select("producer", "seq").rows())


def test_an_honest_broker_gives_zero_of_everything(bench: Bench) -> None:
    finished = run(bench)
    assert finished.code == 0, finished.out + finished.err
    assert finished.trial.ledger is not None
    counts = {name: n for name, n in finished.trial.ledger.classes.items() if n}
    assert counts == {"processed": len(finished.table("attempts"))}
    assert {name: n for name, n in finished.trial.ledger.marks.items() if n and name != "reordered"} == {}
    assert wrongs(finished) == []


def test_confirmed_and_not_kept_is_lost_exactly(bench: Bench) -> None:
    finished = run(bench, forget="17")
    assert finished.code == 10, "a loss that the claim does not allow"
    assert len(struck(finished, "forget")) == 17
    assert of_class(finished, Class.LOST) == struck(finished, "forget")
    assert finished.trial.metrics["whole"]["loss.confirmed"] == 17


def test_swallowed_without_an_answer_is_unknown_and_no_loss(bench: Bench) -> None:
    finished = run(bench, drop="1 %")
    assert struck(finished, "drop")
    assert of_class(finished, Class.VANISHED) == struck(finished, "drop")
    assert finished.trial.metrics["whole"]["loss.confirmed"] == 0


def test_duplicates_are_told_apart_by_what_the_broker_did(bench: Bench) -> None:
    finished = run(bench, duplicate="1 %")
    assert finished.code == 10
    assert marked(finished, Mark.PRODUCER_DUPLICATE) == struck(finished, "duplicate", "copy") != set()
    assert marked(finished, Mark.GIVEN_TWICE) == struck(finished, "duplicate", "again") != set()


def test_phantoms_are_found_and_break_every_guarantee(bench: Bench) -> None:
    finished = run(bench, phantom="9")
    assert finished.code == 10
    assert len(struck(finished, "phantom")) == 9
    assert of_class(finished, Class.PHANTOM) == struck(finished, "phantom")


def test_corrupt_payloads_are_found(bench: Bench) -> None:
    finished = run(bench, corrupt="1 %")
    assert finished.code == 10
    headers = struck(finished, "corrupt", "header")
    assert marked(finished, Mark.CORRUPT) == struck(finished, "corrupt", "padding") != set()
    assert of_class(finished, Class.LOST) == headers != set()
    assert finished.trial.ledger is not None
    assert finished.trial.ledger.unreadable == len(headers)


def test_delay_and_reorder_lose_nothing_and_show_as_lateness_and_order(bench: Bench) -> None:
    finished = run(bench, delay="1 %", reorder="1 %")
    assert finished.code == 0, finished.out
    delayed = struck(finished, "delay")
    assert delayed
    assert struck(finished, "reorder") <= marked(finished, Mark.REORDERED)
    longest = finished.trial.metrics["whole"]["latency.end_to_end.max"]
    assert isinstance(longest, float)
    assert longest >= 0.2, "a delayed message is not handed out for 200 ms"


def test_everything_at_once_adds_up(bench: Bench) -> None:
    doses = {"drop": "5", "forget": "1 %", "duplicate": "7", "corrupt": "1 %", "phantom": "3", "delay": "4"}
    finished = run(bench, **doses)
    assert finished.code == 10
    headers = struck(finished, "corrupt", "header")
    assert of_class(finished, Class.LOST) == struck(finished, "forget") | headers
    assert of_class(finished, Class.VANISHED) == struck(finished, "drop")
    assert of_class(finished, Class.PHANTOM) == struck(finished, "phantom")
    done = Counter(w["strike"] for w in wrongs(finished))
    assert (done["drop"], done["duplicate"], done["phantom"], done["delay"]) == (5, 7, 3, 4)
    assert "LOST" in finished.out
