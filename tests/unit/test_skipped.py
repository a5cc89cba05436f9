"""What an idempotency wrapper skips, from the worker's slot to the sentence: a loss that is the workers' own breaks no claim."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import records
from histories import FACTS, UNFINISHED, UNSETTLED, History, delivery, worker
from scenario_support import MINIMAL, problem_of, read_text
from test_gather import came, gathered, shard, slot_file, write
from test_worker import WORKERS, MemoryDriver, Stage, payloads
from trials import Story, at, claim, fault

from harness.analysis.examples import examples
from harness.analysis.reconcile import Reconciled
from harness.ledger import DeliveryState
from harness.load.idempotency import Result, WrapperFailed
from harness.model import FaultKind, MayRepeat, Settlement, SettleOutcome, Skipped, Verdict
from harness.record import CaseRecord
from reports import story, words
from reports.columns import columns

SKIPPED = {"started_ns": None, **UNFINISHED}


# The worker.


class GivingBack(MemoryDriver):
    """Notes how each delivery was settled."""

    def settle(self, tokens: Any, handles: Sequence[Any], what: Settlement) -> None:
        self.settled.append([what, *handles])
        self.answers.append(self.outcomes(tokens.tolist(), SettleOutcome.OK))


class Scripted:
    """A wrapper that does what the test says, message by message: a result, and whether the job runs before it."""

    def __init__(self, *script: tuple[Result | None, bool]) -> None:
        self._script = iter(script)
        self.seen: list[tuple[int, int]] = []

    def work(self, producer: int, seq: int, job: Callable[[], None], effect: Callable[[], None]) -> Result:
        self.seen.append((producer, seq))
        result, runs = next(self._script)
        if runs:
            job()
        if result is Result.FINISHED:
            effect()
        if result is None:
            raise WrapperFailed("no answer")
        return result


def worked(folder: Path, *script: tuple[Result | None, bool]) -> Stage:
    stage = Stage(folder)
    stage.driver.__class__ = GivingBack
    stage.worker._wrapper = Scripted(*script)  # type: ignore[assignment]
    stage.give(payloads(len(script)))
    stage.worker.turn()
    stage.worker.turn()
    return stage


def test_what_is_skipped_is_acknowledged_without_having_begun(tmp_path: Path) -> None:
    stage = worked(tmp_path, (Result.FINISHED, True), (Result.TAKEN, False), (Result.DONE, False))
    assert stage.driver.settled == [[Settlement.ACK, 0, 1, 2]]
    assert stage.slots["skipped"].tolist() == [Skipped.NO, Skipped.TAKEN, Skipped.DONE]
    assert (stage.slots["started_ns"] > 0).tolist() == [True, False, False]
    assert (stage.slots["finished_ns"] > 0).tolist() == [True, False, False]
    assert stage.slots["failed_ns"].tolist() == [0, 0, 0]
    assert stage.slots["state"].tolist() == [DeliveryState.SETTLED] * 3
    assert stage.file.live[0]["finished"] == 1
    assert stage.worker._wrapper.seen == [(0, 0), (0, 1), (0, 2)]  # type: ignore[union-attr]


def test_a_run_in_vain_failed_and_is_acknowledged_only_where_the_effect_is_there(tmp_path: Path) -> None:
    stage = worked(tmp_path, (Result.FINISHED, True), (Result.OVERTAKEN, True), (Result.DONE, True), (None, True))
    assert stage.driver.settled == [
        [Settlement.ACK, 0],  # what was done before goes first
        [Settlement.RELEASE, 1],
        [Settlement.ACK, 2],
        [Settlement.RELEASE, 3],
    ]
    assert (stage.slots["failed_ns"] > 0).tolist() == [False, True, True, True]
    assert stage.slots["skipped"].tolist() == [Skipped.NO, Skipped.NO, Skipped.DONE, Skipped.NO]


def test_an_effect_that_was_had_stays_one_when_the_wrapper_fails_after_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.driver.__class__ = GivingBack

    class FailsInFinally:
        def work(self, producer: int, seq: int, job: Callable[[], None], effect: Callable[[], None]) -> Result:
            job()
            effect()
            raise WrapperFailed("no answer to DEL")

    stage.worker._wrapper = FailsInFinally()  # type: ignore[assignment]
    stage.give(payloads(1))
    stage.worker.turn()
    assert (stage.slots["finished_ns"][0] > 0, stage.slots["failed_ns"][0]) == (True, 0)
    assert stage.driver.settled == [[Settlement.RELEASE, 0]]


def test_a_message_of_another_run_has_no_key(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.worker._wrapper = Scripted()  # type: ignore[assignment]  # would end the test
    stage.give(payloads(1, run_id=8))
    stage.worker.turn()
    assert stage.slots["finished_ns"][0] > 0


def test_the_table_says_why_a_delivery_was_skipped(tmp_path: Path) -> None:
    file = slot_file(tmp_path, "w0")
    rows = [came(0), came(1, skipped=Skipped.TAKEN, finished_ns=0), came(2, skipped=Skipped.DONE, finished_ns=0)]
    write(file, [*rows, came(3, skipped=Skipped.DONE, state=DeliveryState.STARTED)])
    table = gathered(tmp_path, [shard("w0")]).deliveries.select("skipped", "finished_ns").collect()
    assert table.rows() == [(None, 4000), ("TAKEN", None), ("DONE", None), (None, None)]


# The ledger: worker 0 is killed at 2,000 with the message in its hands.

KILLED = replace(FACTS, shards=(worker(0, killed_ns=2000, ended_ns=2100), worker(1)))


def killed(*later: dict[str, Any], **first: Any) -> History:
    return History(
        facts=KILLED,
        deliveries=[delivery(received_ns=1000, **{**UNSETTLED, **UNFINISHED, **first}), *later],
    )


def again(**more: Any) -> dict[str, Any]:
    return delivery(received_ns=8000, worker=1, **more)


def became(reconciled: Reconciled) -> tuple[str, dict[str, int], int]:
    marks = {name: count for name, count in reconciled.counts.marks.items() if count}
    return reconciled.messages["class"][0], marks, reconciled.counts.skipped_losses


def test_key_first_loses_what_was_in_work_and_the_loss_is_the_workers_own() -> None:
    history = killed(again(skipped="TAKEN", **SKIPPED))
    assert became(history.reconciled()) == ("interrupted", {"redelivered_unacked": 1, "skipped": 1}, 1)


def test_delete_in_finally_doubles_what_was_done_and_not_acknowledged() -> None:
    history = killed(again(), finished_ns=1010)
    assert became(history.reconciled()) == ("processed", {"redelivered_unacked": 1, "duplicate_effect": 1}, 0)


def test_done_marker_does_it_once() -> None:
    done = killed(again(skipped="DONE", **SKIPPED), finished_ns=1010).reconciled()
    assert became(done) == ("processed", {"redelivered_unacked": 1, "skipped": 1}, 0)
    assert became(killed(again()).reconciled()) == ("processed", {"redelivered_unacked": 1}, 0)


def test_an_effect_that_a_killed_worker_could_not_note_any_more_is_seen_by_who_finds_its_marker() -> None:
    reconciled = killed(again(skipped="DONE", **SKIPPED)).reconciled()
    assert became(reconciled) == ("processed", {"redelivered_unacked": 1, "skipped": 1}, 0)
    assert reconciled.messages["finished_ns"].to_list() == [None]
    assert reconciled.counts.jepsen["lost"] == 0


def test_a_run_that_was_overtaken_has_no_effect() -> None:
    overtaken = {"failed_ns": 1500, **UNFINISHED, "settlement": "RELEASE", "settle_outcome": "STALE"}
    history = History(deliveries=[delivery(received_ns=1000, **overtaken), again()])
    assert became(history.reconciled()) == ("processed", {"redelivered_unacked": 1}, 0)


def test_an_example_tells_that_it_was_skipped() -> None:
    history = killed(again(skipped="TAKEN", **SKIPPED))
    tables = history.tables()
    found = examples(history.reconciled(), tables["attempts"], tables["deliveries"], tables["residue"], KILLED)
    assert [(one.what, [each.skipped for each in one.deliveries]) for one in found] == [
        ("interrupted", [None, "TAKEN"]),
        ("redelivered_unacked", [None, "TAKEN"]),
        ("skipped", [None, "TAKEN"]),
    ]


# The verdict.


def trial_with(lost_by_the_broker: int, lost_by_the_workers: int) -> Story:
    """Returns a load in which a worker is killed at 5 s with messages in its hands, of which some never come again."""
    told = Story(rate=1000, seconds=20)
    told.facts_more = {"faults": (fault(5, 6, FaultKind.WORKER_KILL, shards=("w0",)),)}
    told.claims = (claim(FaultKind.WORKER_KILL), claim(FaultKind.NONE, may_repeat=MayRepeat.NONE))
    both = slice(4999, 4999 + lost_by_the_broker + lost_by_the_workers)
    told.finished[both] = told.settled[both] = -1
    told.more_deliveries = [
        told.delivery(seq, at(8), started_ns=None, finished_ns=None, skipped="TAKEN", worker=1)
        for seq in range(both.start + lost_by_the_broker, both.stop)
    ]
    return told


def test_what_the_workers_skipped_breaks_no_claim_and_is_told() -> None:
    analysed = trial_with(0, 3).analysed()
    kill = analysed.guarantees[1]
    assert kill.verdict is not Verdict.VIOLATED
    assert "3 more delivered again and skipped by the workers' idempotency wrapper" in kill.evidence
    assert " 0 of " in f" {kill.evidence}"
    assert analysed.metrics["whole"]["loss.confirmed"] == 3
    assert (analysed.ledger.classes["interrupted"], analysed.ledger.skipped_losses) == (3, 3)


def test_a_loss_of_the_brokers_beside_it_still_does() -> None:
    kill = trial_with(2, 3).analysed().guarantees[1]
    assert kill.verdict is Verdict.VIOLATED
    assert kill.evidence.startswith("2 of ")


# The report.


def reported(lost: int, by_skipping: int, verdict: Verdict = Verdict.HELD, **marks: int) -> CaseRecord:
    ledger = records.ledger(lost=lost, **marks).model_copy(update={"skipped_losses": by_skipping})
    return records.case(trials=[records.trial(lost=lost, ledger=ledger)], guarantees=[records.guarantee(verdict)])


def test_a_loss_by_the_workers_is_not_said_of_the_broker() -> None:
    case = reported(9, 9, skipped=9, duplicate_effect=0)
    assert str(story.sign(case)) == "▼ LOST by the workers"
    assert story.sentence(case) == (
        "LOST 9 of 40,000 confirmed messages when the broker was killed — the broker delivered them again, and the workers' "
        "idempotency wrapper skipped them; 0 effects doubled."
    )
    run = records.run().model_copy(update={"cases": [case]})
    assert story.headline(run) == (
        "1 of 1 case LOST confirmed messages, not by the broker: the workers skipped what it delivered again. "
        "No claim was broken."
    )
    cells = {column.heading: column.cell(case).text for column in columns(run)}
    assert (cells["lost"], cells["skipped"], cells["verdict"]) == ("9", "9", "▼ LOST by the workers")


def test_a_broken_claim_is_told_beside_it() -> None:
    case = reported(9, 7, Verdict.VIOLATED, skipped=7, duplicate_effect=4)
    assert story.sign(case) is words.VIOLATED
    assert "the broker delivered 7 of them again" in story.sentence(case)
    assert "of the others its claim forbids that: VIOLATED" in story.sentence(case)
    assert "4 effects doubled" in story.sentence(case)


def test_a_claim_broken_by_something_else_is_told_too() -> None:
    assert "BROKE its claim" in story.sentence(reported(9, 9, Verdict.VIOLATED, skipped=9))


# The scenario.


def test_a_list_of_wrappers_is_a_case_each(tmp_path: Path) -> None:
    read = read_text(tmp_path, MINIMAL + "workers: {idempotency: [none, key-first], prefetch: [10, 100]}\n")
    assert [(case.id, case.workers.idempotency, case.workers.prefetch) for case in read.cases] == [
        ("redis-stream[prefetch=10]@embedded", "none", 10),
        ("redis-stream[prefetch=10,idempotency=key-first]@embedded", "key-first", 10),
        ("redis-stream@embedded", "none", 100),
        ("redis-stream[idempotency=key-first]@embedded", "key-first", 100),
    ]


@pytest.mark.parametrize(
    ("setup", "ack", "text"),
    [
        ("postgres-lease", "explicit", "key-first keeps its keys in the Redis under test, and postgres-lease has none"),
        (
            "redis-list",
            "explicit",
            "key-first is for messages that come twice, and redis-list delivers each at most once",
        ),
        ("redis-stream", "auto", "key-first acknowledges what it skips, and with ack: auto nothing is acknowledged"),
    ],
)
def test_a_wrapper_that_cannot_work_is_refused_with_the_reason(tmp_path: Path, setup: str, ack: str, text: str) -> None:
    asked = MINIMAL.replace("redis-stream", setup) + f"workers: {{ack: {ack}, idempotency: [none, key-first]}}\n"
    problem = problem_of(tmp_path, asked)
    assert (problem.key, problem.text) == ("workers.idempotency", text)
    assert problem.remedy


def test_the_word_of_a_wrapper_is_spelled_out_when_it_is_wrong(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, MINIMAL + "workers: {idempotency: key_first}\n")
    assert (problem.text, problem.remedy) == ("'key_first' is none of them", "did you mean 'key-first'?")


def test_workers_have_no_wrapper_unless_they_are_told(tmp_path: Path) -> None:
    assert read_text(tmp_path, MINIMAL).workers.idempotency == WORKERS.idempotency == "none"
