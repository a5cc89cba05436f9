"""Time, size and peak memory of the report page of a run of three million messages (bar: 10 s, 5 MB).

Run ``python benchmarks/page.py [messages]``. The run folder is synthetic, written as a run writes it: 2 producers, 4 workers, a broker that is
dead for 2 s, 1 in 1,000 messages delivered twice, 1 in 10,000 never. The page is made by a process of its own, so that its imports count.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from harness import tables
from harness.analysis.combine import combine_case, run_exit
from harness.brokers import setup
from harness.facts import FaultRecord, ShardRecord, TrialFacts
from harness.model import FaultKind
from harness.record import CaseRecord, RunRecord
from harness.run.recompute import analysed_trial
from harness.store import RunFolder, TrialFolder

PRODUCERS, WORKERS = 2, 4
S = 1_000_000_000
START_NS = 1_000 * S
RATE_PER_S = 30_000
WARMUP_S, KILLED_S, DEAD_S = 3, 40, 2
BAR_S, BAR_BYTES = 10, 5_000_000


def main(messages: int) -> None:
    """Prints one line of JSON."""
    with tempfile.TemporaryDirectory(prefix="brokerbench-bench-") as root:
        folder = run_folder(Path(root), messages)
        begin = time.perf_counter()
        code = f"from pathlib import Path; from harness.store import RunFolder; from reports import write_reports; print(write_reports(RunFolder.open(Path({str(folder.path)!r}))))"
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
        took_s = time.perf_counter() - begin
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        page = Path(done.stdout.strip())
        size = page.stat().st_size
        found = {
            "phase": "report.html",
            "messages": messages,
            "s": round(took_s, 2),
            "cpu_s": round(used.ru_utime + used.ru_stime, 2),
            "peak_mb": round(used.ru_maxrss * 1024 / 1e6),
            "page_kb": round(size / 1000),
            "charts": page.read_text().count("<figure"),
        }
        print(json.dumps(found))
    if took_s > BAR_S or size > BAR_BYTES:
        sys.exit(f"bar missed: {BAR_S} s and {BAR_BYTES} bytes")


def run_folder(root: Path, messages: int) -> RunFolder:
    """Returns the folder of a run of one case and one trial."""
    folder = RunFolder.create(root, "page", datetime.now(UTC))
    stream = setup("redis-stream")
    parameters = stream.complete({})
    trial = folder.trial("redis-stream", 1)
    trial.make()
    write_tables(trial, messages)
    trial.write_settings({"version": "none", "asked": {}, "found": {}, "also": {}})
    record = analysed_trial(trial, name=folder.relative(trial), number=1, setup=stream, parameters=parameters)
    case = CaseRecord(
        id="redis-stream@embedded",
        slug="redis-stream",
        setup=stream.name,
        broker=stream.broker,
        parameters=dict(parameters),
        network="embedded",
        durability_class=stream.durability_of(parameters),
        summary=stream.summary,
        server="synthetic",
        trials=[record],
    )
    run = RunRecord(
        tool_version="0",
        run_id="0" * 16,
        status="finished",
        started_wall_ns=time.time_ns(),
        started_ns=START_NS,
        scenario="page",
        question="How long does the page of many messages take?",
        scenario_text="",
        scenario_expanded={},
        deployment="embedded",
        command="",
        cases=[combine_case(case, [])],
    )
    code, reason = run_exit(run)
    folder.save(run.model_copy(update={"exit_code": int(code), "exit_reason": reason}))
    return folder


def write_tables(trial: TrialFolder, messages: int) -> None:
    """Writes what a trial leaves behind before it is analysed."""
    rng = np.random.default_rng(1)
    number = np.arange(messages)
    intended = START_NS + number * (S // RATE_PER_S)
    killed, back = START_NS + (WARMUP_S + KILLED_S) * S, START_NS + (WARMUP_S + KILLED_S + DEAD_S) * S

    def once_back(t_ns: npt.NDArray[np.int64], per_s: int) -> npt.NDArray[np.int64]:
        """Moments of the dead time come afterwards, as many per second as the broker then takes."""
        dead = (t_ns >= killed) & (t_ns < back)
        return np.where(dead, back + np.cumsum(dead) * (S // per_s), t_ns)

    sent = once_back(intended + rng.integers(20_000, 1_000_000, messages), 60_000)
    confirmed = sent + rng.integers(500_000, 3_000_000, messages)
    attempts = {
        "producer": number % PRODUCERS,
        "seq": number // PRODUCERS,
        "attempt": np.ones(messages, np.uint8),
        "intended_ns": intended,
        "sent_ns": sent,
        "confirmed_ns": confirmed,
    }
    frame = pl.DataFrame(attempts).with_columns(outcome=pl.lit("CONFIRMED"), held=pl.lit(None))
    trial.write_table("attempts", frame.cast(dict(tables.ATTEMPTS)))  # type: ignore[arg-type]
    came = np.where(number % 10_000 == 9_999, 0, 1 + (number % 1_000 == 500))
    of = number.repeat(came)
    received = confirmed[of] + rng.exponential(3e6, len(of)).astype(np.int64) + 50_000
    received[1:][of[1:] == of[:-1]] += 5 * S
    worker = rng.integers(0, WORKERS, len(of))
    deliveries = {
        "producer": of % PRODUCERS,
        "seq": of // PRODUCERS,
        "attempt": np.ones(len(of), np.uint8),
        "subscription": np.zeros(len(of), np.uint16),
        "worker": worker,
        "asked_ns": received - 1_000_000,
        "received_ns": received,
        "started_ns": received + 1_000,
        "finished_ns": received + 2_000,
        "failed_ns": pl.Series([None] * len(of), dtype=pl.Int64),
        "settling_ns": received + 50_000,
        "settled_ns": received + 900_000,
    }
    frame = pl.DataFrame(deliveries).with_columns(
        settlement=pl.lit("ACK"),
        settle_outcome=pl.lit("OK"),
        entry=pl.Series(of, dtype=pl.Int64),
        redelivered=pl.lit(None),
        delivery_count=pl.lit(None),
        checksum_ok=pl.lit(True),
        foreign=pl.lit(False),
        skipped=pl.lit(None),
    )
    trial.write_table("deliveries", frame.cast(dict(tables.DELIVERIES)))  # type: ignore[arg-type]
    trial.write_table("residue", pl.DataFrame(schema=tables.RESIDUE))
    trial.write_table("connections", pl.DataFrame(schema=tables.CONNECTIONS))
    end = int(received[-1])
    t_ns = np.arange(START_NS, end, S // 2)
    sampled = [("broker", "cpu_s"), ("broker", "memory_bytes"), ("load", "cpu_s")]
    trial.write_table(
        "samples",
        pl.concat(
            pl.DataFrame({"t_ns": t_ns, "value": np.arange(len(t_ns)) * 0.2}).select(
                "t_ns", source=pl.lit(source), metric=pl.lit(metric), value="value"
            )
            for source, metric in sampled
        ).cast(dict(tables.SAMPLES)),  # type: ignore[arg-type]
    )
    fault = FaultRecord(
        index=0,
        kind=FaultKind.BROKER_KILL,
        label="kill broker",
        planned_ns=killed,
        injected_ns=killed,
        healed_ns=back,
        hit=True,
    )
    shards = [ShardRecord(name=f"p{n}", kind="producer", number=n) for n in range(PRODUCERS)]
    shards += [ShardRecord(name=f"w{n}", kind="worker", number=n) for n in range(WORKERS)]
    facts = TrialFacts(
        run_id=0,
        trial=1,
        load_start_ns=START_NS,
        steady_start_ns=START_NS + WARMUP_S * S,
        load_end_ns=int(intended[-1]),
        drain_end_ns=end + 3 * S,
        asking_until_ns=end + 3 * S,
        drain_complete=True,
        residue_sound=True,
        faults=(fault,),
        shards=tuple(shards),
        producers=PRODUCERS,
        scheduled=messages,
    )
    with trial.timeline() as timeline:
        timeline.append_facts(end, facts)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3_000_000)
