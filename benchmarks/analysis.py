"""Time and peak memory to gather, reconcile and measure ten million messages (bar: 20 s and 2 GB).

Run ``python benchmarks/analysis.py [messages] [--reconcile-only]``. Synthetic slots are written by child processes, as shards do: 2 producers, 4
workers, 1 in 1,000 messages delivered twice, 1 in 10,000 never. Peak memory is that of the analysing process, mapped slots included.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl

from harness import tables
from harness.analysis.analyse import TrialTables, analyse
from harness.analysis.reconcile import reconcile
from harness.brokers import setup
from harness.facts import ShardRecord, TrialFacts
from harness.gather import gather
from harness.ledger import CHECKSUM_OK, READABLE, AttemptState, DeliveryState, SlotFile
from harness.model import Outcome, Settlement, SettleOutcome

T = TypeVar("T")

RUN_ID, TRIAL = 7, 1
PRODUCERS, WORKERS = 2, 4
BLOCK = 1 << 15
START_NS = 1_000_000_000
TICK_NS = 1_000_000
BAR_S, BAR_MB = 20, 2000
SPACING_NS = 100_000  # 10,000/s and producer


def main(messages: int, alone: bool) -> None:
    """Prints one line of JSON per phase."""
    each = messages // PRODUCERS
    slots = Path(tempfile.mkdtemp(prefix="brokerbench-bench-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    trial = Path(tempfile.mkdtemp(prefix="brokerbench-bench-"))
    try:
        for number in range(PRODUCERS):
            in_child(lambda number=number: produce(slots, number, each))  # type: ignore[misc]
        for number in range(WORKERS):
            in_child(lambda number=number: work(slots, number, each))  # type: ignore[misc]
        measured(slots, trial, each, alone)
    finally:
        shutil.rmtree(slots)
        shutil.rmtree(trial)


def in_child(write: Callable[[], None]) -> None:
    """Runs in a process of its own, so that its memory is not ours."""
    pid = os.fork()
    if pid == 0:
        write()
        os._exit(0)
    if os.waitpid(pid, 0)[1] != 0:
        raise SystemExit("a writer of slots failed")


def produce(folder: Path, number: int, count: int) -> None:
    """Writes the slots of one producer, all confirmed."""
    file = SlotFile.create(
        folder / f"p{number}.slots",
        kind="producer",
        name=f"p{number}",
        run_id=RUN_ID,
        trial=TRIAL,
        number=number,
        scheduling="other",
        started_ns=START_NS,
    )
    rng = np.random.default_rng(number)
    for first in range(0, count, BLOCK):
        seqs = np.arange(first, min(first + BLOCK, count))
        at = file.reserve(len(seqs))
        slots = file.slots[at : at + len(seqs)]
        intended = START_NS + seqs * SPACING_NS
        slots["seq"], slots["attempt"], slots["intended_ns"] = seqs, 1, intended
        slots["sent_ns"] = (intended // TICK_NS + 1) * TICK_NS + 20_000
        slots["confirmed_ns"] = intended + rng.integers(2_000_000, 4_000_000, len(seqs))
        slots["outcome"] = Outcome.CONFIRMED
        slots["state"] = AttemptState.ANSWERED
        file.commit()
    file.close()


def work(folder: Path, number: int, each: int) -> None:
    """Writes the slots of one worker: every WORKERS-th message of every producer, a thousandth twice, some never."""
    file = SlotFile.create(
        folder / f"w{number}.slots",
        kind="worker",
        name=f"w{number}",
        run_id=RUN_ID,
        trial=TRIAL,
        number=number,
        scheduling="other",
        started_ns=START_NS,
    )
    rng = np.random.default_rng(100 + number)
    for first in range(number, each, BLOCK):
        seqs = np.arange(first, min(first + BLOCK, each), WORKERS).repeat(PRODUCERS)
        producers = np.arange(len(seqs)) % PRODUCERS
        came = (seqs % 10_000 != 9_999).astype(np.int64) + (seqs % 1_000 == 500)
        seqs, producers = seqs.repeat(came), producers.repeat(came)
        at = file.reserve(len(seqs))
        slots = file.slots[at : at + len(seqs)]
        received = START_NS + seqs * SPACING_NS + rng.integers(4_000_000, 8_000_000, len(seqs))
        received.sort()
        slots["seq"], slots["producer"], slots["attempt"], slots["flags"] = seqs, producers, 1, READABLE | CHECKSUM_OK
        slots["asked_ns"], slots["received_ns"] = received - 1_000_000, received
        slots["entry"] = (seqs << 8) + producers + 1
        slots["started_ns"], slots["finished_ns"] = received + 1_000, received + 2_000
        slots["settling_ns"], slots["settled_ns"] = received + 50_000, received + 900_000
        slots["settlement"], slots["settle_outcome"] = Settlement.ACK, SettleOutcome.OK
        slots["state"] = DeliveryState.SETTLED
        file.commit()
    file.close()


def measured(slots: Path, trial: Path, each: int, alone: bool) -> None:
    """Gathers, reconciles, measures; prints the seconds of each and the peak so far."""
    shards = [ShardRecord(name=f"p{n}", kind="producer", number=n, slots_reported=each) for n in range(PRODUCERS)]
    shards += [ShardRecord(name=f"w{n}", kind="worker", number=n) for n in range(WORKERS)]
    schedules = {n: START_NS + np.arange(each) * SPACING_NS for n in range(PRODUCERS)}
    begin = time.perf_counter()
    gathered = timed("gather", lambda: gather(slots, shards, schedules, trial, run_id=RUN_ID, trial=TRIAL))
    schedules.clear()
    end_ns = START_NS + each * SPACING_NS
    facts = TrialFacts(
        run_id=RUN_ID,
        trial=TRIAL,
        load_start_ns=START_NS,
        steady_start_ns=START_NS + 3_000_000_000,
        load_end_ns=end_ns,
        drain_end_ns=end_ns + 5_000_000_000,
        asking_until_ns=end_ns + 5_000_000_000,
        drain_complete=True,
        residue_sound=True,
        shards=gathered.shards,
        producers=PRODUCERS,
        scheduled=each * PRODUCERS,
    )
    empty = {
        name: pl.DataFrame(schema=schema)
        for name, schema in (
            ("residue", tables.RESIDUE),
            ("connections", tables.CONNECTIONS),
            ("samples", tables.SAMPLES),
        )
    }
    stream = setup("redis-stream")
    evidence = TrialTables(attempts=gathered.attempts, deliveries=gathered.deliveries, **empty)
    if alone:  # the peak of one phase is seen only where the other does not follow
        judge = partial(reconcile, evidence.attempts, evidence.deliveries, evidence.residue, evidence.connections)
        timed("reconcile", lambda: judge(facts, stream.traits))
        return
    found = timed("reconcile and measure", lambda: analyse(evidence, facts, stream, stream.complete({})))
    timed(
        "messages.parquet",
        lambda: found.messages.write_parquet(trial / "messages.parquet", compression="zstd", compression_level=1),
    )
    took_s = time.perf_counter() - begin
    print(json.dumps({"phase": "all", "s": round(took_s, 2), "peak_mb": peak_mb()}))
    print(json.dumps({"classes": {name: n for name, n in found.ledger.classes.items() if n}}))
    print(json.dumps({"marks": {name: n for name, n in found.ledger.marks.items() if n}}))
    assert not gathered.problems, gathered.problems
    if took_s > BAR_S or peak_mb() > BAR_MB:
        sys.exit(f"bar missed: {BAR_S} s and {BAR_MB} MB")


def timed(phase: str, call: Callable[[], T]) -> T:
    begin, cpu = time.perf_counter(), time.process_time()
    result = call()
    took = {"s": round(time.perf_counter() - begin, 2), "cpu_s": round(time.process_time() - cpu, 2)}
    print(json.dumps({"phase": phase, **took, "peak_mb": peak_mb()}), flush=True)
    return result


def peak_mb() -> int:
    """Returns the largest resident size of this process so far, in MB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    main(numbers[0] if numbers else 10_000_000, "--reconcile-only" in sys.argv)
