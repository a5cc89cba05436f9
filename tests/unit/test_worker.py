"""The working loop: one slot per delivery, work around it, settlements in batches, and nothing settled over another connection."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.brokers.contract import NO_DELIVERIES, NO_SETTLED, Deliveries, Settled
from harness.envelope import Stamper
from harness.errors import ConnectionLost, Unreachable
from harness.ledger import CHECKSUM_OK, FOREIGN, READABLE, REDELIVERED, REDELIVERED_KNOWN, DeliveryState, SlotFile
from harness.load.connection import Connection
from harness.load.inbox import Inbox
from harness.load.orders import Orders
from harness.load.worker import Worker
from harness.model import Settlement, SettleOutcome
from harness.scenario.model import Workers

MS = 1_000_000
WORKERS = Workers(
    count=1,
    prefetch=10,
    ack="explicit",
    settle_batch=4,
    settle_linger_s=1.0,
    work="none",
    work_s=0.0,
    work_kind="sleep",
    visibility_s=5.0,
    sweep_s=1.0,
)


def payloads(count: int, *, run_id: int = 7, first: int = 0) -> list[bytes]:
    """Returns messages ``first, first + 1, …`` of producer 0, due at 1 ms, 2 ms, …"""
    stamper = Stamper(run_id=run_id, trial=1, producer=0, payload_bytes=64, capacity=count)
    rows = stamper.stamp(
        np.arange(first, first + count), np.ones(count), (np.arange(first, first + count, dtype=np.int64) + 1) * MS
    )
    return [row.tobytes() for row in rows]


class MemoryDriver:
    """A queue in this process that hands out what the test puts in, and answers when it says so."""

    def __init__(self) -> None:
        self.ready: list[Deliveries] = []
        self.pushed = NO_DELIVERIES
        self.reachable = True
        self.answering = True
        self.settled: list[list[int]] = []
        self.reclaims: list[float] = []
        self.unanswered: list[int] = []
        self.answers: list[Settled] = []

    def connect(self) -> None:
        if not self.reachable:
            raise Unreachable("refused")

    def prepare(self) -> None: ...

    def cancel(self) -> Deliveries:
        pushed, self.pushed = self.pushed, NO_DELIVERIES
        return pushed

    def consume(self, max_n: int, wait_s: float) -> Deliveries:
        if not self.reachable:
            raise ConnectionLost("cut")
        return self.ready.pop(0) if self.ready else NO_DELIVERIES

    def settle(self, tokens: Any, handles: Sequence[Any], what: Settlement) -> None:
        assert what is Settlement.ACK
        if not self.reachable:
            self.answers.append(self.outcomes(tokens.tolist(), SettleOutcome.UNKNOWN))
            raise ConnectionLost("cut")
        self.settled.append(list(handles))
        self.unanswered += tokens.tolist()

    def outcomes(self, tokens: list[int], outcome: SettleOutcome) -> Settled:
        n = len(tokens)
        return Settled(np.array(tokens, np.int64), np.full(n, outcome, np.uint8), np.full(n, 99 * MS, np.int64))

    def poll_settled(self, wait_s: float) -> Settled:
        if self.answers:
            return self.answers.pop(0)
        if not self.answering or not self.unanswered:
            return NO_SETTLED
        tokens, self.unanswered = self.unanswered, []
        return self.outcomes(tokens, SettleOutcome.OK)

    def reclaim(self, min_idle_s: float) -> int:
        self.reclaims.append(min_idle_s)
        return 0

    def close(self, abort: bool = False) -> None: ...


class Stage:
    """One worker; its clock advances by 1 ms at each look, so that moments differ."""

    def __init__(self, folder: Path, workers: Workers = WORKERS, *, auto: bool = False, pushes: bool = False) -> None:
        self.now = 0
        self.driver = MemoryDriver()
        self.file = SlotFile.create(
            folder / "w0.slots", kind="worker", name="w0", run_id=7, trial=1, number=0, scheduling="other", started_ns=0
        )
        self.orders = Orders()
        connection = Connection(
            self.driver,  # type: ignore[arg-type]
            folder / "w0.connections.jsonl",
            self.file.live["connected"],
            clock=self.clock,
        )
        connection.first(1.0, lambda: False)
        self.worker = Worker(
            inbox=Inbox(self.file, run_id=7, trial=1),
            file=self.file,
            connection=connection,
            orders=self.orders,
            workers=workers,
            auto=auto,
            pushes=pushes,
            seed=(1, 0),
            clock=self.clock,
        )

    def clock(self) -> int:
        self.now += MS
        return self.now

    @property
    def slots(self) -> np.ndarray:
        return self.file.slots[: self.file.used]

    def give(self, bodies: list[bytes], **facts: Any) -> None:
        self.driver.ready.append(Deliveries(bodies, list(range(len(bodies))), **facts))


def test_every_delivery_takes_a_slot_with_its_moments_in_order(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.give(payloads(3), asked_ns=5)
    stage.worker.turn()
    stage.worker.turn()
    assert stage.slots["seq"].tolist() == [0, 1, 2]
    assert stage.slots["state"].tolist() == [DeliveryState.SETTLED] * 3
    one = stage.slots[0]
    moments = [int(one[f"{name}_ns"]) for name in ("asked", "received", "started", "finished", "settling", "settled")]
    assert moments == sorted(moments)
    assert one["asked_ns"] < one["received_ns"] < one["started_ns"] == one["finished_ns"] < one["settling_ns"]
    assert (one["settlement"], one["settle_outcome"]) == (Settlement.ACK, SettleOutcome.OK)
    live = stage.file.live[0]
    assert (live["used"], live["delivered"], live["finished"], live["settled"]) == (3, 3, 3, 3)
    assert int(live["latency"].sum()) == 3


def test_what_the_broker_and_the_envelope_say_is_kept(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    broken = bytearray(payloads(1)[0])
    broken[50] ^= 1
    bodies = [*payloads(1, first=5), bytes(broken), *payloads(1, run_id=8), b"not ours at all"]
    stage.give(
        bodies,
        entries=np.array([11, 12, 13, 14]),
        redelivered=np.array([0, 1, 0, 0], np.uint8),
        counts=np.array([1, 2, 1, 1], np.uint16),
        asked_ns=42,
    )
    stage.worker.turn()
    known = REDELIVERED_KNOWN
    assert stage.slots["flags"].tolist() == [
        READABLE | CHECKSUM_OK | known,
        READABLE | REDELIVERED | known,
        READABLE | CHECKSUM_OK | FOREIGN | known,
        known,
    ]
    assert stage.slots["entry"].tolist() == [11, 12, 13, 14]
    assert stage.slots["delivery_count"].tolist() == [1, 2, 1, 1]
    assert stage.slots["asked_ns"].tolist() == [42] * 4
    assert stage.slots["seq"].tolist() == [5, 0, 0, 0]
    assert stage.file.live[0]["redelivered"] == 1
    assert int(stage.file.live[0]["latency"].sum()) == 2  # no latency of a foreign or unreadable message


def test_settlements_leave_in_batches_and_the_rest_before_the_next_fetch(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.give(payloads(10))
    stage.worker.turn()
    assert stage.driver.settled == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_fetch_is_announced_before_it_is_sent_and_taken_back_when_its_deliveries_are_in_slots(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    seen: list[int] = []
    header = stage.file._header
    consume = stage.driver.consume

    def watched(max_n: int, wait_s: float) -> Deliveries:
        seen.append(int(header["fetch_max_n"][0]))
        return consume(max_n, wait_s)

    stage.driver.consume = watched  # type: ignore[method-assign]
    stage.worker.turn()
    assert (seen, int(header["fetch_max_n"][0])) == ([10], 0)
    assert int(header["fetch_ns"][0]) > 0


@pytest.mark.parametrize("work", ["constant", "exponential"])
def test_jobs_are_worked_one_after_the_other(tmp_path: Path, work: str) -> None:
    stage = Stage(tmp_path, _with(work=work, work_s=1e-6))
    stage.give(payloads(5))
    stage.worker.turn()
    starts, ends = stage.slots["started_ns"].tolist(), stage.slots["finished_ns"].tolist()
    assert all(start < end for start, end in zip(starts, ends, strict=True))
    assert all(end < start for end, start in zip(ends, starts[1:], strict=False))
    assert stage.driver.settled == [[0, 1, 2, 3], [4]]


def test_a_job_that_burns_cpu_burns_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, _with(work="constant", work_s=1e-4, work_kind="cpu"))
    stage.give(payloads(1))
    before_ns = time.thread_time_ns()
    stage.worker.turn()
    assert time.thread_time_ns() - before_ns >= 100_000


def test_a_settlement_does_not_wait_longer_than_the_linger(tmp_path: Path) -> None:
    stage = Stage(tmp_path, _with(work="constant", work_s=1e-6, settle_linger_s=0.0))
    stage.give(payloads(3))
    stage.worker.turn()
    assert stage.driver.settled == [[0], [1], [2]]


def test_long_jobs_do_not_keep_the_worker_from_sweeping(tmp_path: Path) -> None:
    stage = Stage(tmp_path, _with(work="constant", work_s=1e-6, sweep_s=0.01))
    stage.give(payloads(10))
    stage.worker.turn()
    assert len(stage.driver.reclaims) >= 2
    assert set(stage.driver.reclaims) == {5.0}


def test_with_auto_ack_finishing_settles_and_the_broker_hears_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, auto=True)
    stage.give(payloads(3))
    stage.worker.turn()
    assert stage.driver.settled == []
    assert stage.slots["settlement"].tolist() == [Settlement.AUTO] * 3
    assert stage.slots["settle_outcome"].tolist() == [SettleOutcome.OK] * 3
    assert stage.slots["settled_ns"].tolist() == stage.slots["finished_ns"].tolist()
    assert stage.file.live[0]["settled"] == 3


def test_with_auto_ack_what_was_received_is_worked_although_the_connection_is_lost_at_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path, auto=True, pushes=True)
    stage.give(payloads(3))

    def lost(_: float) -> Settled:
        stage.driver.poll_settled = lambda _: NO_SETTLED  # type: ignore[method-assign]
        raise ConnectionLost("cut")

    stage.driver.poll_settled = lost  # type: ignore[method-assign]
    stage.worker.turn()
    assert stage.file.live[0]["connected"] == 0
    assert stage.slots["state"].tolist() == [DeliveryState.SETTLED] * 3
    assert stage.slots["settlement"].tolist() == [Settlement.AUTO] * 3


def test_with_auto_ack_what_the_driver_still_has_is_worked_before_it_connects_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, auto=True, pushes=True)
    stage.driver.reachable = False
    stage.worker.turn()
    stage.driver.pushed = Deliveries(payloads(3), [0, 1, 2])
    stage.worker.turn()
    assert stage.file.live[0]["connected"] == 0
    assert stage.slots["seq"].tolist() == [0, 1, 2]
    assert stage.slots["state"].tolist() == [DeliveryState.SETTLED] * 3


@pytest.mark.parametrize(("auto", "worked"), [(True, [0, 1, 2]), (False, [])])
def test_a_connection_lost_while_stopping_leaves_no_auto_acked_delivery_unworked(
    tmp_path: Path, auto: bool, worked: list[int]
) -> None:
    stage = Stage(tmp_path, auto=auto, pushes=True)
    stage.driver.pushed = Deliveries(payloads(3), [0, 1, 2])
    cancel = stage.driver.cancel

    def lost() -> Deliveries:
        stage.driver.cancel = cancel  # type: ignore[method-assign]
        raise ConnectionLost("cut")

    stage.driver.cancel = lost  # type: ignore[method-assign]
    stage.orders.stop = True
    stage.worker.run()
    assert stage.slots["seq"].tolist() == worked
    assert stage.slots["state"].tolist() == [DeliveryState.SETTLED] * len(worked)


def test_a_connection_lost_while_settling_leaves_unknown_and_settles_nothing_more_of_that_fetch(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.give(payloads(6))
    consume = stage.driver.consume

    def then_cut(max_n: int, wait_s: float) -> Deliveries:
        deliveries = consume(max_n, wait_s)
        stage.driver.reachable = False
        return deliveries

    stage.driver.consume = then_cut  # type: ignore[method-assign]
    stage.worker.turn()
    assert stage.slots["state"].tolist() == [DeliveryState.SETTLED] * 4 + [DeliveryState.WORKED] * 2
    assert stage.slots["settle_outcome"].tolist() == [SettleOutcome.UNKNOWN] * 4 + [SettleOutcome.OPEN] * 2
    assert stage.file.live[0]["settled"] == 0
    assert stage.file.live[0]["connected"] == 0


def test_after_a_loss_it_connects_again_and_goes_on_fetching(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.driver.reachable = False
    stage.worker.turn()
    stage.driver.reachable = True
    stage.give(payloads(1))
    for _ in range(3):
        stage.worker.turn()
    assert stage.file.used == 1
    log = (tmp_path / "w0.connections.jsonl").read_text().splitlines()
    assert [line.split('"reason": ')[1] for line in log] == ['"connected"}', '"cut"}', '"reconnected"}']


def test_where_the_broker_pushes_a_fetch_is_outstanding_until_the_worker_stops(tmp_path: Path) -> None:
    stage = Stage(tmp_path, pushes=True)
    stage.give(payloads(2))
    stage.worker.turn()
    assert int(stage.file._header["fetch_max_n"][0]) == 10
    stage.orders.stop = True
    stage.worker.run()
    assert int(stage.file._header["fetch_max_n"][0]) == 0


def test_told_to_stop_it_works_and_settles_what_was_pushed_until_then(tmp_path: Path) -> None:
    stage = Stage(tmp_path, pushes=True)
    stage.driver.pushed = Deliveries(payloads(3), [0, 1, 2])
    stage.orders.stop = True
    stage.worker.run()
    assert stage.slots["seq"].tolist() == [0, 1, 2]
    assert stage.slots["state"].tolist() == [DeliveryState.SETTLED] * 3
    assert stage.driver.settled == [[0, 1, 2]]


def test_told_to_stop_it_waits_for_the_last_answers(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.give(payloads(2))
    stage.driver.answering = False
    stage.worker.turn()
    assert stage.slots["state"].tolist() == [DeliveryState.SETTLING] * 2
    stage.driver.answering = True
    stage.orders.stop = True
    stage.worker.run()
    assert stage.slots["state"].tolist() == [DeliveryState.SETTLED] * 2


def _with(**changes: Any) -> Workers:
    return replace(WORKERS, **changes)


class GivingSigns(MemoryDriver):
    """Holds what it holds as long as it gives signs of life."""

    signs = 0

    def give_sign(self) -> None:
        self.signs += 1
        if not self.reachable:
            raise ConnectionLost("cut")


def signing(folder: Path, kind: str) -> tuple[Stage, GivingSigns]:
    """Returns a worker whose jobs take 40 ms of 100 ms of visibility, so that a look is due every 12.5 ms of real time."""
    workers = replace(WORKERS, work="constant", work_s=0.04, work_kind=kind, visibility_s=0.1)
    stage = Stage(folder)
    driver = stage.worker._connection.driver = stage.driver = GivingSigns()
    stage.worker = Worker(
        inbox=stage.worker._inbox,
        file=stage.file,
        connection=stage.worker._connection,
        orders=stage.orders,
        workers=workers,
        auto=False,
        seed=(1, 0),
    )
    return stage, driver


@pytest.mark.parametrize("kind", ["sleep", "cpu"])
def test_a_sign_of_life_is_given_in_the_middle_of_a_job(tmp_path: Path, kind: str) -> None:
    stage, driver = signing(tmp_path, kind)
    stage.give(payloads(1))
    stage.worker.turn()
    assert driver.signs >= 1
    assert driver.settled == [[0]]


def test_a_connection_that_breaks_at_a_sign_lets_the_jobs_end_and_settles_nothing(tmp_path: Path) -> None:
    stage, driver = signing(tmp_path, "sleep")
    stage.give(payloads(2))
    consume = driver.consume

    def consume_and_break(max_n: int, wait_s: float) -> Deliveries:
        found = consume(max_n, wait_s)
        driver.reachable = False
        return found

    driver.consume = consume_and_break  # type: ignore[method-assign]
    stage.worker.turn()
    assert driver.signs == 1
    assert (stage.slots["finished_ns"] > 0).tolist() == [True, True]
    assert driver.settled == []
