"""The producing loop: what is due goes out in order, what must wait is held for a reason, and nothing is skipped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.brokers.contract import NO_CONFIRMS, Block, Confirms
from harness.envelope import Stamper, parse
from harness.errors import ConnectionLost, Unreachable
from harness.ledger import AttemptState, SlotFile
from harness.load.connection import RETRY_NS, Connection
from harness.load.orders import Orders
from harness.load.outbox import Outbox
from harness.load.pacing import next_tick_ns
from harness.load.producer import Producer
from harness.model import Held, Outcome

MS = 1_000_000
START = 1_000 * MS


class MemoryDriver:
    """A broker in this process whose answers, alarms and connection the test controls."""

    def __init__(self) -> None:
        self.reachable = True
        self.up = False
        self.alarm = ""
        self.confirming = True
        self.outcome = Outcome.CONFIRMED
        self.payloads: list[bytes] = []
        self.blocks: list[int] = []
        self.unanswered: list[int] = []
        self.late: list[Confirms] = []
        self.now = 0
        self.on_loss = Outcome.UNKNOWN

    def connect(self) -> None:
        if not self.reachable:
            raise Unreachable("refused")
        self.up = True

    def prepare(self) -> None: ...

    def blocked(self) -> str:
        return self.alarm

    def publish(self, block: Block) -> None:
        if not self.reachable:
            self.lose(block.tokens.tolist())
        self.blocks.append(len(block.tokens))
        self.payloads += block.as_bytes()
        self.unanswered += block.tokens.tolist()

    def lose(self, not_accepted: list[int]) -> None:
        self.up = False
        self.late.append(self.outcomes(self.unanswered, Outcome.UNKNOWN))
        self.late.append(self.outcomes(not_accepted, Outcome.NOT_SENT))
        self.unanswered = []
        raise ConnectionLost("cut")

    def outcomes(self, tokens: list[int], outcome: Outcome) -> Confirms:
        n = len(tokens)
        return Confirms(np.array(tokens, np.int64), np.full(n, outcome, np.uint8), np.full(n, self.now, np.int64))

    def poll_confirms(self, wait_s: float) -> Confirms:
        if self.late:
            answer = self.late.pop(0)
            return answer if len(answer.tokens) else self.poll_confirms(wait_s)
        if not self.up or not self.confirming or not self.unanswered:
            return NO_CONFIRMS
        tokens, self.unanswered = self.unanswered, []
        return self.outcomes(tokens, self.outcome)

    def close(self, abort: bool = False) -> None: ...


class Stage:
    """One producer with a clock that only the test moves."""

    def __init__(self, folder: Path, offsets_ms: list[float] | None, **limits: int) -> None:
        self.now = START
        self.driver = MemoryDriver()
        self.file = SlotFile.create(
            folder / "p0.slots",
            kind="producer",
            name="p0",
            run_id=7,
            trial=1,
            number=0,
            scheduling="other",
            started_ns=0,
        )
        self.orders = Orders()
        self.connection = Connection(
            self.driver,  # type: ignore[arg-type]
            folder / "p0.connections.jsonl",
            self.file.live["connected"],
            clock=lambda: self.now,
        )
        self.connection.first(1.0, lambda: False)
        self.outbox = Outbox(self.file, **{"window": 100, "batch": 10} | limits)
        self.producer = Producer(
            outbox=self.outbox,
            stamper=Stamper(run_id=7, trial=1, producer=0, payload_bytes=64, capacity=limits.get("batch", 10)),
            connection=self.connection,
            orders=self.orders,
            offsets_ns=None if offsets_ms is None else (np.array(offsets_ms) * MS).astype(np.int64),
            load_s=0.01,
            tick_ns=MS,
            cpu=self.file.live["cpu_ns"],
            clock=lambda: self.now,
        )
        self.producer.begin(START)

    def at(self, ms: float) -> None:
        """Looks once at ``ms`` after the start."""
        self.now = START + int(ms * MS)
        self.driver.now = self.now
        self.producer.step(self.now)

    @property
    def slots(self) -> np.ndarray:
        return self.file.slots[: self.file.used]

    def sent_seqs(self) -> list[int]:
        return parse(self.driver.payloads).seq.tolist()

    def held(self) -> list[str]:
        return [Held(value).name for value in self.slots["held"].tolist()]


def test_the_next_tick_is_on_the_absolute_grid_and_always_ahead() -> None:
    assert [next_tick_ns(now, 100, 10) for now in (95, 100, 101, 109, 110, 1234)] == [100, 110, 110, 110, 120, 1240]


def test_a_message_goes_when_it_is_due_and_not_before(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [1, 2, 3])
    stage.at(0.9)
    assert stage.file.used == 0
    stage.at(2)
    assert stage.sent_seqs() == [0, 1]
    assert stage.slots["intended_ns"].tolist() == [START + MS, START + 2 * MS]
    assert stage.slots["sent_ns"].tolist() == [START + 2 * MS] * 2
    assert stage.held() == ["NO", "NO"]


def test_what_is_due_is_cut_into_blocks_of_at_most_the_batch(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [0] * 25)
    stage.at(0)
    assert stage.driver.blocks == [10, 10, 5]
    assert stage.sent_seqs() == list(range(25))


def test_an_envelope_says_who_it_is_and_when_it_was_due(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [1])
    stage.at(1.5)
    parsed = parse(stage.driver.payloads)
    assert bool(parsed.checksum_ok[0])
    assert (parsed.run_id[0], parsed.trial[0], parsed.producer[0], parsed.seq[0], parsed.attempt[0]) == (7, 1, 0, 0, 1)
    assert parsed.intended_ns[0] == START + MS


def test_a_confirm_is_stored_with_its_time_and_counted(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [0, 0])
    stage.at(0)
    stage.at(1)
    assert stage.slots["state"].tolist() == [AttemptState.ANSWERED] * 2
    assert stage.slots["outcome"].tolist() == [Outcome.CONFIRMED] * 2
    assert stage.slots["confirmed_ns"].tolist() == [START + MS] * 2
    live = stage.file.live[0]
    assert (live["offered"], live["sent"], live["confirmed"], live["unknown"]) == (2, 2, 2, 0)
    stage.outbox.count_latencies()
    assert int(stage.file.live[0]["latency"].sum()) == 2


def test_a_full_window_with_nothing_to_read_holds_what_is_due(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [0] * 6, window=4)
    stage.driver.confirming = False
    stage.at(0)
    assert stage.held() == ["NO"] * 4 + ["WINDOW"] * 2
    assert stage.slots["state"].tolist() == [AttemptState.SENT] * 4 + [AttemptState.DUE] * 2
    stage.driver.confirming = True
    stage.at(5)
    assert stage.sent_seqs() == list(range(6))
    assert stage.slots["sent_ns"].tolist()[4:] == [START + 5 * MS] * 2
    assert stage.held() == ["NO"] * 4 + ["WINDOW"] * 2


def test_a_full_window_with_confirms_to_read_is_our_slowness_and_holds_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [0] * 12, window=4)
    stage.at(0)
    assert stage.sent_seqs() == list(range(12))
    assert stage.held() == ["NO"] * 12


def test_blocks_in_flight_bound_what_is_out_as_the_window_does(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [0] * 25, blocks_in_flight=2)
    stage.driver.confirming = False
    stage.at(0)
    assert stage.driver.blocks == [10, 10]
    assert stage.held() == ["NO"] * 20 + ["WINDOW"] * 5
    stage.driver.confirming = True
    stage.at(1)
    assert stage.sent_seqs() == list(range(25))


def test_an_alarm_that_lasts_is_written_down_once_with_its_reason_and_its_end(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [0, 500])
    stage.driver.alarm = "low on disk"
    for ms in (0, 50, 100, 150, 200):
        stage.at(ms)
    stage.driver.alarm = ""
    stage.at(300)
    stage.driver.alarm = "does not read"  # for a moment only
    stage.at(500)
    stage.at(520)
    stage.driver.alarm = ""
    stage.at(540)
    lines = [json.loads(line) for line in (tmp_path / "p0.connections.jsonl").read_text().splitlines()]
    assert lines[1:] == [
        {"t_ns": START, "up": True, "reason": "blocked: low on disk"},
        {"t_ns": START + 300 * MS, "up": True, "reason": "unblocked"},
    ]
    assert stage.sent_seqs() == [0, 1]


def test_an_alarm_of_the_broker_holds_what_is_due_until_it_is_over(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [0, 3])
    stage.driver.alarm = "memory"
    stage.at(0)
    assert stage.held() == ["BLOCKED"]
    stage.driver.alarm = ""
    stage.at(3)
    assert stage.sent_seqs() == [0, 1]
    assert stage.held() == ["BLOCKED", "NO"]


def test_messages_due_while_disconnected_are_held_and_go_out_in_order_afterwards(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [0, 1, 60, 61, 120])
    stage.at(0)
    stage.driver.confirming = stage.driver.reachable = False
    stage.at(1)  # publishing notices: the first is unknown, the second never left
    assert stage.slots["outcome"].tolist()[0] == Outcome.UNKNOWN
    assert stage.slots["state"].tolist() == [AttemptState.ANSWERED, AttemptState.DUE]
    stage.at(60)
    stage.driver.reachable = stage.driver.confirming = True
    stage.at(62 + RETRY_NS / MS)
    stage.at(120)
    assert stage.sent_seqs() == [0, 1, 2, 3, 4]
    assert stage.held() == ["NO", "DISCONNECTED", "DISCONNECTED", "DISCONNECTED", "NO"]
    assert stage.slots["attempt"].tolist() == [1] * 5
    assert stage.file.live[0]["sent"] == 5
    log = (tmp_path / "p0.connections.jsonl").read_text().splitlines()
    assert [line.split('"reason": ')[1] for line in log] == ['"connected"}', '"cut"}', '"reconnected"}']


def test_a_late_confirm_turns_unknown_into_confirmed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [0])
    stage.at(0)
    stage.driver.confirming = False
    stage.driver.late.append(stage.driver.outcomes([0], Outcome.UNKNOWN))
    stage.at(1)
    assert stage.file.live[0]["unknown"] == 1
    stage.driver.late.append(stage.driver.outcomes([0], Outcome.CONFIRMED))
    stage.at(2)
    live = stage.file.live[0]
    assert (live["unknown"], live["confirmed"]) == (0, 1)
    assert stage.slots["outcome"].tolist() == [Outcome.CONFIRMED]
    assert stage.outbox.outstanding == 0


def test_an_unknown_never_replaces_a_confirm(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [0])
    stage.at(0)
    stage.at(1)
    stage.driver.late.append(stage.driver.outcomes([0], Outcome.UNKNOWN))
    stage.at(2)
    assert stage.slots["outcome"].tolist() == [Outcome.CONFIRMED]
    assert stage.file.live[0]["unknown"] == 0


def test_a_retry_is_a_new_attempt_of_the_same_message_in_a_new_slot(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [0], retries=1, backoff_ns=5 * MS)
    stage.driver.outcome = Outcome.REJECTED
    stage.at(0)
    stage.at(1)
    assert not stage.producer.finished(stage.now)
    stage.driver.outcome = Outcome.CONFIRMED
    stage.at(5.9)
    assert stage.file.used == 1
    stage.at(6)
    stage.at(7)
    assert stage.slots[["seq", "attempt", "outcome"]].tolist() == [(0, 1, Outcome.REJECTED), (0, 2, Outcome.CONFIRMED)]
    assert parse(stage.driver.payloads).attempt.tolist() == [1, 2]
    assert stage.file.live[0]["offered"] == 1


def test_without_retries_a_rejected_message_is_not_tried_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [0])
    stage.driver.outcome = Outcome.REJECTED
    stage.at(0)
    stage.at(100)
    assert stage.file.used == 1
    assert stage.producer.finished(stage.now)


def test_saturate_keeps_the_window_full_and_is_never_late(tmp_path: Path) -> None:
    stage = Stage(tmp_path, None, window=15)
    stage.driver.confirming = False
    stage.at(0)
    stage.at(0)
    assert stage.driver.blocks == [10, 5]
    assert stage.slots["intended_ns"].tolist() == stage.slots["sent_ns"].tolist() == [START] * 15
    stage.driver.confirming = True
    stage.at(1)
    stage.at(10)  # the load is over: nothing more
    assert stage.file.used == 25
    assert stage.producer.finished(stage.now)


def test_told_to_finish_it_takes_the_last_confirms_and_makes_nothing_due_any_more(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [0, 1, 50])
    stage.driver.confirming = False
    stage.at(1)
    stage.orders.told_ns, stage.orders.finish_ns = stage.now, stage.now + 100 * MS
    stage.at(60)
    assert stage.file.used == 2
    assert not stage.producer.over(stage.now)
    stage.driver.confirming = True
    stage.at(61)
    assert stage.producer.over(stage.now)


def test_told_to_finish_it_ends_at_the_limit_even_without_answers(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [0])
    stage.driver.confirming = False
    stage.at(0)
    stage.orders.told_ns, stage.orders.finish_ns = stage.now, stage.now + 100 * MS
    assert not stage.producer.over(START + 99 * MS)
    assert stage.producer.over(START + 100 * MS)


@pytest.mark.parametrize("late", [False, True])
def test_a_call_that_slept_because_the_broker_did_not_read_holds_what_fell_due_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    stage = Stage(tmp_path, [0, 20, 40])
    waits = iter([3, 4 if not late else 3])
    monkeypatch.setattr("harness.load.producer._voluntary_waits", lambda: next(waits, 9))
    publish = stage.driver.publish

    def slow(block: Block) -> None:
        publish(block)
        if stage.now == START:
            stage.now = START + 30 * MS

    stage.driver.publish = slow  # type: ignore[method-assign]
    stage.at(0)
    if late:  # nobody waited: the core was taken from us, which is our lag
        stage.at(30)
    assert stage.held()[:2] == (["NO", "BLOCKED"] if not late else ["NO", "NO"])
