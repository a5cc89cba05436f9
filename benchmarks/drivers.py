"""Driver by driver, end to end with the whole ledger, against the broker's own benchmark on the same broker in the same run.

Run ``python benchmarks/drivers.py [seconds] [setup …]``. Per setup one broker serves all turns: native, ours, native, ours …, so
that a pair sees the same broker and, as far as a shared machine goes, the same weather. A ratio is ours ÷ native of one pair.

- *Ours* is the shipped scenario ``saturate`` as ``brokerbench run`` runs it: one producer and one worker process, blocks of 256,
  every moment of every message in the ledger, then drained, searched and reconciled.
- *Native* does the same pair of operations at once, at the same depth, and keeps neither identities nor a ledger:
  two ``redis-benchmark -c 4 -P 256`` (about as many outstanding as our window of 1,000), or two ``pgbench``, one connection each as
  ours, in blocks of 256: a pipeline of ``INSERT`` and one commit, against claim and delete on the very table of the setup, or
  two C programs on librabbitmq (``librabbitmq_pair.c``): window 1,000, prefetch 1,000, an ack for 200, on such a queue as the setup's.

Both send for a while and take until nothing is left. ``through_per_s`` is messages ÷ the time from the first send to the last
receipt, and the ratio is of that: how the two directions share two cores meanwhile, which is luck, is in ``sent_per_s`` alone.
CPU is µs per message. *Load* is everything that is not the broker: native, the two tools; ours, shards and Locust.
The bar is that nothing is lost, and for RabbitMQ a ratio of 0.7; there is no other on the ratio: the ``library`` style is what an
application gets from the client library. Redis keeps nothing on disk here, so that the tools are compared and no rewrite of its log falls into one turn of two.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl

sys.path.insert(0, str(Path(__file__).parent))  # benchmarks are scripts, run without their folder on the path
from _librabbitmq import missing, rabbitmq_pair
from _native import Spent, carried
from naive_locust import tell

from harness import brokers
from harness.brokers import open_driver
from harness.brokers._postgres import PLANNER
from harness.brokers.contract import DriverOptions
from harness.cli.commands import catalogue
from harness.deployments.contract import Broker, BrokerOptions
from harness.deployments.embedded import EmbeddedDeployment
from harness.model import NO_CHOICE, Setup, Site
from harness.record import TrialRecord
from harness.run.progress import Deaf
from harness.run.runner import Run, RunOptions
from harness.scenario.read import read_scenario

SETUPS = (
    "null",
    "redis-list",
    "redis-reliable-list",
    "redis-stream",
    "postgres-lease",
    "postgres-delete",
    "rabbitmq-classic",
    "rabbitmq-quorum",
)
PAIRS = 3
BLOCK = 256
PAYLOAD = "x" * 256
QUEUE = "bb_native"
ENDLESS = str(2_000_000_000)
SCENARIO = (
    "load.batch=256",
    "load.saturate.window=1000",
    "workers.count=1",
    "workers.prefetch=256",
    "workers.settle.batch=256",
    "workers.visibility=1s",  # also how long the drain waits for silence
    "workers.sweep=500ms",
    "phases.warmup=500ms",
)
OF_BROKER = {"rabbitmq": ("workers.prefetch=1000", "workers.settle.batch=200")}  # as the C pair does it
BARS = {"rabbitmq": 0.7}
GROUP = "g"
REDIS = {  # what is sent, what is taken
    "redis-list": (("LPUSH", QUEUE), ("RPOP", QUEUE)),
    "redis-reliable-list": (("LPUSH", QUEUE), ("LMOVE", QUEUE, f"{QUEUE}:taken", "RIGHT", "LEFT")),
    "redis-stream": (
        ("XADD", QUEUE, "*", "p"),
        ("XREADGROUP", "GROUP", GROUP, "c", "COUNT", "1", "NOACK", "STREAMS", QUEUE, ">"),
    ),
}
INSERT = f'INSERT INTO "{QUEUE}" (payload) VALUES (:payload);\n'
PICK = f'SELECT id FROM "{QUEUE}" {{where}} LIMIT {BLOCK} FOR UPDATE SKIP LOCKED'
POSTGRES = {  # how a block is taken; what is sent is the same
    "postgres-lease": (
        f"UPDATE \"{QUEUE}\" SET status = 'running', attempts = attempts + 1, locked_by = 'n',"
        " locked_until = now() + interval '5 s' WHERE id = ANY(ARRAY("
        + PICK.format(where="WHERE status = 'pending' AND scheduled_at <= now() ORDER BY scheduled_at, id")
        + ")) RETURNING id, attempts, payload;\n"
        f"DELETE FROM \"{QUEUE}\" WHERE status = 'running' AND locked_by = 'n';\n"
    ),
    "postgres-delete": (
        f'DELETE FROM "{QUEUE}" WHERE id = ANY(ARRAY('
        + PICK.format(where="ORDER BY id")
        + ")) RETURNING id, payload;\n"
    ),
}


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one turn carried: messages per second sent, and carried through; CPU µs per message of the load and of the broker."""

    sent_per_s: float
    through_per_s: float
    load_us: float
    broker_us: float


class OneBroker:
    """A deployment whose broker outlives its trials; before each trial it is emptied and the native tool has its turn."""

    name = EmbeddedDeployment.name

    def __init__(self, setup: Setup, parameters: Mapping[str, str], trials: int, seconds: float) -> None:
        self.native: list[Turn] = []
        self._inner = EmbeddedDeployment()
        self._setup, self._parameters, self._trials, self._seconds = setup, parameters, trials, seconds
        self._broker: Broker | None = None

    def unavailable(self, setup: Setup, site: Site = NO_CHOICE) -> str:
        """Returns why this machine cannot run the setup."""
        return self._inner.unavailable(setup, site)

    def version(self, setup: Setup) -> str:
        """Returns which server runs."""
        return self._inner.version(setup)

    def up(self, options: BrokerOptions) -> Broker:
        """Starts the broker where there is none yet, lets the tool have its turn, and leaves an empty queue."""
        if self._broker is None:
            self._broker = self._inner.up(options)
            self._down, self._broker.down = self._broker.down, self._trial_is_over  # type: ignore[method-assign]
        self._clear()
        if not missing_tool(self._setup):
            self.native.append(self._native())
            self._clear()
        return self._broker

    def _trial_is_over(self) -> None:
        self._trials -= 1
        if not self._trials:
            self._down()  # what an error leaves running, the run's journal ends

    def _native(self) -> Turn:
        assert self._broker is not None
        address, before_s = self._broker.address, self._broker.usage().cpu_s
        if self._setup.broker == "redis":
            sent, spent = redis_pair(address, *REDIS[self._setup.name], self._seconds)
        elif self._setup.broker == "rabbitmq":
            sent, spent = rabbitmq_pair(address, self._setup, self._parameters, QUEUE, self._seconds)
        else:
            sent, spent = postgres_pair(address, self._setup, self._parameters, self._seconds)
        after_s = self._broker.usage().cpu_s
        assert before_s is not None and after_s is not None  # noqa: PT018
        return Turn(
            sent_per_s=sent / spent.sending_s,
            through_per_s=sent / spent.all_s,
            load_us=spent.cpu_s / sent * 1e6,
            broker_us=(after_s - before_s) / sent * 1e6,
        )

    def _clear(self) -> None:
        """Removes what earlier turns left: a table of millions of rows, a stream that was read and stays."""
        assert self._broker is not None
        if self._setup.broker == "redis":
            with redis_client(self._broker.address) as client:
                client.flushall()
        elif self._setup.broker == "postgres":
            with postgres_client(self._broker.address) as client:
                for (table,) in client.execute(
                    "SELECT tablename FROM pg_tables WHERE tablename LIKE 'bb\\_%'"
                ).fetchall():
                    client.execute(f'DROP TABLE "{table}"')


def main(seconds: float, names: Sequence[str]) -> int:
    """Prints per setup what both carried and the ratios; returns 1 where something was lost, a trial proved nothing, or a ratio is
    below its bar."""
    print(
        f"load average {' '.join(f'{load:.2f}' for load in os.getloadavg())}, {os.cpu_count()} cores", file=sys.stderr
    )
    return sum(not measured(brokers.setup(name), seconds) for name in names) and 1


def measured(setup: Setup, seconds: float) -> bool:
    """Runs the pairs of one setup and prints them; returns whether all evidence was sound and nothing lost."""
    overrides = [f"setups=[{setup.name}]", *SCENARIO, *OF_BROKER.get(setup.broker, ()), f"phases.steady={seconds:g}s"]
    if setup.broker == "redis":
        overrides.append(f"setups.{setup.name}.persistence=none")
    scenario = read_scenario("saturate", catalogue(), overrides, trials=PAIRS)
    case = scenario.cases[0]
    broker = OneBroker(setup, case.parameters, PAIRS, seconds)
    with tempfile.TemporaryDirectory(prefix="brokerbench-bench-") as folder:
        with Run(
            scenario, broker, RunOptions(root=Path(folder), command="python -m benchmarks drivers"), Deaf()
        ) as run:
            trials = run.run().cases[0].trials
        broken = [trial for trial in trials if not trial.evidence_sound or loss(trial)]
        for trial in broken:
            reasons = "; ".join(trial.reasons)
            tell(what=setup.name, trial=trial.number, status=trial.status, reasons=reasons, lost=loss(trial))
        if len(trials) < PAIRS or broken:
            return False
        ours = [ours_of(trial, run.folder.path / trial.folder) for trial in trials]
    ratio = report(setup.label(case.parameters), broker.native, ours, missing_tool(setup))
    return ratio is None or ratio >= BARS.get(setup.broker, 0.0)


def ours_of(trial: TrialRecord, folder: Path) -> Turn:
    """Returns what a trial carried, from its ledger."""
    attempts = pl.scan_parquet(folder / "attempts.parquet").select(
        pl.len(), first=pl.col("sent_ns").min(), last=pl.col("sent_ns").max()
    )
    (sent, first_ns, last_ns), *_ = attempts.collect().iter_rows()
    received = pl.scan_parquet(folder / "deliveries.parquet").select(pl.col("received_ns").max())
    whole = trial.metrics["whole"]
    return Turn(
        sent_per_s=sent / (last_ns - first_ns) * 1e9,
        through_per_s=sent / (received.collect().item() - first_ns) * 1e9,
        load_us=plain(whole["cost.load_cpu"]),  # seconds per million messages
        broker_us=plain(whole["cost.broker_cpu"]),
    )


def report(label: str, native: Sequence[Turn], ours: Sequence[Turn], missing: str) -> float | None:
    """Prints one line for each side and one for the ratios, medians first; returns the median ratio, None where there is none."""
    tell(what=label, who="brokerbench", **figures(ours))
    if missing:
        if missing != NO_TOOL:
            tell(what=label, ratio=f"skipped: {missing}")
        return None
    tell(what=label, who="native", **figures(native))
    ratios = [own.through_per_s / other.through_per_s for own, other in zip(ours, native, strict=True)]
    tell(what=label, who="brokerbench ÷ native", ratio=median(ratios), lowest=min(ratios), highest=max(ratios))
    return median(ratios)


def figures(turns: Sequence[Turn]) -> dict[str, float]:
    """Returns the medians of turns, and between what the rate lay."""
    through = [turn.through_per_s for turn in turns]
    return {
        "through_per_s": round(median(through)),
        "lowest": round(min(through)),
        "highest": round(max(through)),
        "sent_per_s": round(median([turn.sent_per_s for turn in turns])),
        "load_us": median([turn.load_us for turn in turns]),
        "broker_us": median([turn.broker_us for turn in turns]),
    }


def median(values: Sequence[float]) -> float:
    """Returns the median to four digits."""
    return float(f"{statistics.median(values):.4g}")


def plain(figure: Any) -> float:
    """Returns a figure that is a number; raises SystemExit for one that is not."""
    if isinstance(figure, float):
        return figure
    raise SystemExit(f"a trial has no such figure: {figure}")


def loss(trial: TrialRecord) -> float:
    """Returns how many confirmed messages a trial lost."""
    found = trial.metrics.get("whole", {}).get("loss.confirmed")
    return found if isinstance(found, float) else float("nan")


NO_TOOL = "no native tool"


def missing_tool(setup: Setup) -> str:
    """Returns why there is no native figure, "" where there is one."""
    if setup.broker == "redis":
        found = shutil.which("redis-benchmark")
        return "" if found else "redis-benchmark is not on the PATH (Debian: apt install redis-tools)"
    if setup.broker == "postgres":
        return "" if pgbench().exists() else f"{pgbench()} does not exist"
    if setup.broker == "rabbitmq":
        return missing()
    return NO_TOOL


# redis-benchmark


def redis_pair(address: str, send: Sequence[str], take: Sequence[str], seconds: float) -> tuple[int, Spent]:
    """Returns how many messages two redis-benchmarks carried, one sending, one taking, and what that took."""
    parts = urlsplit(address)
    command = ["redis-benchmark", "-p", str(parts.port), "-c", "4", "-P", str(BLOCK), "-q", "-n", ENDLESS]
    command += ["-a", parts.password] if parts.password else []
    stream = send[0] == "XADD"
    with redis_client(address) as client:
        if stream:
            client.xgroup_create(QUEUE, GROUP, id="0", mkstream=True)

        def all_taken() -> bool:
            if not stream:
                return not client.llen(QUEUE)
            (group,) = client.xinfo_groups(QUEUE)
            return bool(group["last-delivered-id"] == client.xinfo_stream(QUEUE)["last-generated-id"])

        client.config_resetstat()
        spent = carried([*command, *send, PAYLOAD], [*command, *take], seconds, all_taken)
        return int(client.info("commandstats")[f"cmdstat_{send[0].lower()}"]["calls"]), spent


@contextmanager
def redis_client(address: str) -> Iterator[Any]:
    """Yields redis-py's client."""
    import redis  # noqa: PLC0415

    client = redis.Redis.from_url(address)
    try:
        yield client
    finally:
        client.close()


# pgbench


def postgres_pair(address: str, setup: Setup, parameters: Mapping[str, str], seconds: float) -> tuple[int, Spent]:
    """Returns how many messages two pgbench carried, one inserting, one taking, and what that took."""
    driver = open_driver(
        DriverOptions(setup=setup.name, address=address, queue=QUEUE, parameters=parameters, client="native")
    )
    driver.connect()
    driver.prepare()
    driver.close()
    settings = {**PLANNER, "synchronous_commit": parameters["synchronous_commit"]}
    environment = os.environ | postgres_environment(address)
    environment["PGOPTIONS"] = " ".join(f"-c {name}={value}" for name, value in settings.items())
    with tempfile.TemporaryDirectory(prefix="brokerbench-bench-") as folder, postgres_client(address) as client:
        insert, take = Path(folder, "insert.sql"), Path(folder, "take.sql")
        insert.write_text("\\startpipeline\n" + INSERT * BLOCK + "\\endpipeline\n")
        take.write_text(POSTGRES[setup.name])
        command = [
            str(pgbench()),
            "--no-vacuum",
            "-M",
            "prepared",
            "-c",
            "1",
            "-t",
            ENDLESS,
            "-D",
            f"payload={PAYLOAD}",
        ]

        def all_taken() -> bool:
            return client.execute(f'SELECT 1 FROM "{QUEUE}" LIMIT 1').fetchone() is None

        client.execute("SET enable_seqscan = off")  # or it walks over everything that was there
        spent = carried([*command, "-f", str(insert)], [*command, "-f", str(take)], seconds, all_taken, env=environment)
        # Every message has taken a number; the block that was cut short at the end is a thousandth of the whole.
        row = client.execute(f'SELECT last_value FROM "{QUEUE}_id_seq"').fetchone()
        return int(row[0]), spent


def postgres_environment(address: str) -> dict[str, str]:
    """Returns what libpq reads from the environment instead of from a command line that others can see."""
    parts = urlsplit(address)
    return {
        "PGHOST": str(parts.hostname),
        "PGPORT": str(parts.port),
        "PGUSER": str(parts.username),
        "PGPASSWORD": parts.password or "",
        "PGDATABASE": parts.path.lstrip("/"),
    }


@contextmanager
def postgres_client(address: str) -> Iterator[Any]:
    """Yields psycopg's connection."""
    import psycopg  # noqa: PLC0415

    with psycopg.connect(address, autocommit=True) as client:
        yield client


def pgbench() -> Path:
    """Returns the pgbench that came with the server."""
    from harness.deployments.embedded_postgres import binaries  # noqa: PLC0415

    return binaries() / "pgbench"


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.5, sys.argv[2:] or SETUPS))
