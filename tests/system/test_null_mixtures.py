"""A thousand seeded mixtures of wrongs, done by one real null broker: the reconciliation finds exactly what its log says."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from harness import envelope, tables
from harness.analysis.reconcile import Reconciled, reconcile
from harness.brokers import open_driver, setup
from harness.brokers._null_mischief import KINDS
from harness.brokers.contract import Block, Deliveries, Driver, DriverOptions
from harness.clock import now_ns
from harness.deployments._process import free_port
from harness.errors import Unreachable
from harness.facts import ShardRecord, TrialFacts
from harness.model import Class, Mark, Outcome, Settlement, SettleOutcome

MIXTURES = 1000
AT_ONCE = 50  # queues that wait out their delays together
SEED = 20_261_121
LIMIT_S = 20.0


@dataclass(frozen=True)
class Server:
    """The one null broker."""

    address: str
    log: Path

    def wrongs(self) -> dict[str, list[dict[str, Any]]]:
        """Returns queue → what was done to its messages, as the broker itself wrote it down."""
        done: dict[str, list[dict[str, Any]]] = {}
        for line in self.log.read_text().splitlines():
            record = json.loads(line)
            done.setdefault(record["queue"], []).append(record)
        return done


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Starts a null broker and ends it."""
    log = tmp_path_factory.mktemp("null") / "null-broker.log.jsonl"
    log.touch()
    port = free_port()
    command = [sys.executable, "-m", "harness.brokers._null_server", f"--port={port}", f"--seed={SEED}", f"--log={log}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield Server(f"null://127.0.0.1:{port}", log)
        finally:
            process.terminate()
            assert process.wait(LIMIT_S) == 0


@dataclass
class Mixture:
    """One queue with its producer, its workers, and what they saw."""

    number: int
    address: str
    attempts: pl.DataFrame = field(default_factory=tables.ATTEMPTS.to_frame)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = self.rng = np.random.default_rng([SEED, self.number])
        self.count = int(rng.integers(60, 201))
        self.payload_bytes = int(rng.choice([48, 100, 256]))
        self.doses: dict[str, str] = {}
        if self.number % 10:  # every tenth is honest
            for kind in KINDS:
                if rng.random() < 0.4:
                    counted = rng.random() < 0.5
                    self.doses[kind] = str(rng.integers(1, 5)) if counted else f"{rng.integers(1, 9)} %"
        self.queue = f"bb_{self.number:016x}_1"
        self.workers = [self.driver(f"w{index}") for index in range(rng.integers(1, 3))]

    def driver(self, client: str) -> Driver:
        """Returns a connected client of the queue."""
        driver = open_driver(
            DriverOptions(
                setup="null",
                address=self.address,
                queue=self.queue,
                parameters=setup("null").complete(self.doses),
                client=client,
            )
        )
        limit = time.monotonic() + LIMIT_S
        while True:
            try:
                driver.connect()
                return driver
            except Unreachable:
                assert time.monotonic() < limit, "the null broker does not come up"
                time.sleep(0.01)

    def publish(self) -> None:
        """Publishes all in blocks of uneven sizes; what is not answered by the end is UNKNOWN."""
        producer = self.driver("p0")
        assert producer.prepare().differences() == ()
        stamper = envelope.Stamper(
            run_id=self.number, trial=1, producer=0, payload_bytes=self.payload_bytes, capacity=self.count
        )
        seqs = np.arange(self.count)
        outcomes = np.full(self.count, Outcome.UNKNOWN.value, np.uint8)
        sent_ns = np.zeros(self.count, np.int64)
        confirmed_ns = np.zeros(self.count, np.int64)
        at = 0
        while at < self.count:
            block = seqs[at : at + int(self.rng.integers(1, 40))]
            sent_ns[block] = now_ns()
            producer.publish(Block(block, stamper.stamp(block, np.ones(len(block)), sent_ns[block])))
            at += len(block)
        producer.depth()  # answered after every block
        confirms = producer.poll_confirms(0)
        outcomes[confirms.tokens], confirmed_ns[confirms.tokens] = confirms.outcomes, confirms.t_ns
        producer.close()
        self.attempts = pl.DataFrame(
            {
                "producer": np.zeros(self.count, np.uint16),
                "seq": seqs,
                "attempt": np.ones(self.count, np.uint8),
                "intended_ns": sent_ns,
                "sent_ns": sent_ns,
                "confirmed_ns": [t_ns or None for t_ns in confirmed_ns.tolist()],
                "outcome": [Outcome(code).name for code in outcomes],
                "held": [None] * self.count,
            },
            schema=tables.ATTEMPTS,
        )

    def drain(self) -> None:
        """Lets the workers take turns until the broker holds nothing."""
        limit = time.monotonic() + LIMIT_S
        while any(self.workers[0].depth().by_place().values()):
            assert time.monotonic() < limit, f"mixture {self.number} does not drain"
            for index, worker in enumerate(self.workers):
                asked_ns = now_ns()
                found = worker.consume(int(self.rng.integers(2, 60)), 0.0)
                if found.payloads:
                    self._work(index, worker, found, asked_ns)
        for worker in self.workers:
            worker.close()

    def _work(self, index: int, worker: Driver, found: Deliveries, asked_ns: int) -> None:
        count, parsed = len(found.payloads), envelope.parse(found.payloads)
        assert found.entries is not None
        received_ns = now_ns()
        settling_ns = now_ns()
        worker.settle(np.arange(count), found.handles, Settlement.ACK)
        settled = worker.poll_settled(LIMIT_S)
        assert settled.tokens.tolist() == list(range(count))
        for row in range(count):
            readable = bool(parsed.readable[row])
            self.rows.append(
                {
                    "producer": int(parsed.producer[row]) if readable else None,
                    "seq": int(parsed.seq[row]) if readable else None,
                    "attempt": int(parsed.attempt[row]) if readable else None,
                    "subscription": 0,
                    "worker": index,
                    "asked_ns": asked_ns,
                    "received_ns": received_ns,
                    "started_ns": received_ns,
                    "finished_ns": settling_ns,
                    "settling_ns": settling_ns,
                    "settled_ns": int(settled.t_ns[row]),
                    "settlement": "ACK",
                    "settle_outcome": SettleOutcome(settled.outcomes[row]).name,
                    "entry": int(found.entries[row]),
                    "checksum_ok": bool(parsed.checksum_ok[row]),
                    "foreign": False,
                }
            )

    def reconciled(self) -> Reconciled:
        """Returns what the harness makes of it."""
        shards = [ShardRecord(name=f"w{index}", kind="worker", number=index) for index in range(len(self.workers))]
        facts = TrialFacts(
            run_id=self.number,
            trial=1,
            residue_sound=True,
            drain_complete=True,
            shards=tuple(shards),
            scheduled=self.count,
        )
        deliveries = pl.DataFrame(self.rows, schema=tables.DELIVERIES)
        empty = tables.RESIDUE.to_frame(), tables.CONNECTIONS.to_frame()
        return reconcile(self.attempts, deliveries, *empty, facts, setup("null").traits)

    def late(self) -> set[int]:
        """Returns the messages that a worker received first after one that was sent later; found one by one."""
        seen: set[int] = set()
        newest = [-1] * len(self.workers)
        late = set()
        for row in self.rows:
            seq = row["seq"]
            if seq is None or seq >= self.count or seq in seen:
                continue
            seen.add(seq)
            if seq < newest[row["worker"]]:
                late.add(seq)
            newest[row["worker"]] = max(newest[row["worker"]], seq)
        return late


def expected(mixture: Mixture, wrongs: list[dict[str, Any]]) -> dict[int, tuple[str, dict[str, int]]]:
    """Returns seq → class and marks, from the broker's own log."""
    truth: dict[int, tuple[str, dict[str, int]]] = {seq: (Class.PROCESSED, {}) for seq in range(mixture.count)}
    for wrong in wrongs:
        seq, how = wrong["seq"], (wrong["strike"], wrong["detail"].split(" ")[0])
        truth[seq] = {
            ("drop", ""): (Class.VANISHED, {}),
            ("forget", ""): (Class.LOST, {}),
            ("corrupt", "header"): (Class.LOST, {}),
            ("corrupt", "padding"): (Class.PROCESSED, {Mark.CORRUPT: 1}),
            ("duplicate", "copy"): (Class.PROCESSED, {Mark.PRODUCER_DUPLICATE: 1, Mark.DUPLICATE_EFFECT: 1}),
            ("duplicate", "again"): (Class.PROCESSED, {Mark.GIVEN_TWICE: 1, Mark.DUPLICATE_EFFECT: 1}),
            ("delay", ""): (Class.PROCESSED, {}),
            ("reorder", "after"): (Class.PROCESSED, {}),
            ("phantom", "behind"): (Class.PHANTOM, {}),
        }[how]
    for seq in mixture.late():
        truth[seq][1][Mark.REORDERED] = 1
    return truth


def found(reconciled: Reconciled) -> dict[int, tuple[str, dict[str, int]]]:
    """Returns seq → class and the marks that are not zero, as reconciled."""
    marks = [mark.value for mark in Mark]
    return {
        row["seq"]: (row["class"], {mark: row[mark] for mark in marks if row[mark]})
        for row in reconciled.messages.iter_rows(named=True)
    }


def test_every_wrong_of_a_thousand_mixtures_is_found_and_nothing_else(server: Server) -> None:
    done: Counter[str] = Counter()
    for first in range(0, MIXTURES, AT_ONCE):
        mixtures = [Mixture(number, server.address) for number in range(first, first + AT_ONCE)]
        for mixture in mixtures:
            mixture.publish()
        for mixture in mixtures:
            mixture.drain()
        wrongs = server.wrongs()
        for mixture in mixtures:
            log = wrongs.get(mixture.queue, [])
            struck = {kind: {w["seq"] for w in log if w["strike"] == kind} for kind in KINDS}
            reconciled = mixture.reconciled()
            about = f"mixture {mixture.number} with {mixture.doses}"
            assert found(reconciled) == expected(mixture, log), about
            assert reconciled.counts.unreadable == sum(w["detail"] == "header" for w in log), about
            assert struck["reorder"] <= mixture.late() <= struck["reorder"] | struck["delay"], about
            assert bool(mixture.number % 10) or not log, "an honest queue was wronged"
            for kind, dose in mixture.doses.items():
                assert not dose.isdecimal() or len(struck[kind]) <= int(dose), f"{about}: too many of {kind}"
            done.update(w["strike"] + " " + w["detail"].split(" ")[0] for w in log)
    # Each wrong in each of its forms was really done, many times.
    assert min(done.values()) > 100, done
    assert len(done) == 9, done
