"""Driver by driver, end to end with the whole ledger, against the native tool on the same broker in the same run.

Run ``python benchmarks/drivers.py [seconds] [setup …]``. Per setup, on one fresh broker with the setup's default parameters:

- *client*: the driver alone in this process, publish and then consume + ack in blocks of 256: CPU µs per message and rates;
- *end to end*: one producer and one worker process in closed loop, every moment of every message in the ledger;
- *native*: the broker's own benchmark doing the same pair of operations at once, 256 messages outstanding (redis-benchmark
  from the PATH, which the wheel does not bring; pgbench in blocks of 256). It keeps no identities and no ledger.

There is no bar on the ratio yet: the ``library`` style is what an application gets from the client library.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # benchmarks are scripts, run without their folder on the path
from naive_locust import running, tell

from harness import brokers
from harness.brokers.contract import Block, Driver, DriverOptions
from harness.envelope import Stamper
from harness.model import Parameters, Settlement, Setup

SETUPS = ("redis-list", "redis-reliable-list", "redis-stream", "postgres-lease", "postgres-delete")
BLOCK = 256
PAYLOAD_BYTES = 256
CLIENT_MESSAGES = BLOCK * 100
NATIVE = {  # redis-benchmark: what is sent and taken
    "redis-list": (("LPUSH", "bench"), ("RPOP", "bench")),
    "redis-reliable-list": (("LPUSH", "bench"), ("LMOVE", "bench", "taken", "RIGHT", "LEFT")),
    "redis-stream": (
        ("XADD", "bench", "*", "p"),
        ("XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "NOACK", "STREAMS", "bench", ">"),
    ),
}
DDL = "CREATE TABLE bench_queue (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload bytea NOT NULL)"
INSERT = f"INSERT INTO bench_queue (payload) VALUES (decode(repeat('ab', {PAYLOAD_BYTES}), 'hex'));\n"
TAKE = f"DELETE FROM bench_queue WHERE id IN (SELECT id FROM bench_queue ORDER BY id FOR UPDATE SKIP LOCKED LIMIT {BLOCK});\n"


def main(seconds: float, names: tuple[str, ...]) -> int:
    """Prints one line per setup."""
    for name in names:
        setup = brokers.setup(name)
        parameters = setup.complete({})
        with running(setup, parameters) as (address, ours):
            costs = client_costs(setup, parameters, address)
            own = ours(1, seconds)
            native, tool = native_rate(setup, address, seconds)
        ratio = {"ratio": round(own / native, 3), "native_per_s": round(native)} if native else {}
        tell(what=f"{setup.label(parameters)} against {tool}", end_to_end_per_s=round(own), **ratio, **costs)
    return 0


def client_costs(setup: Setup, parameters: Parameters, address: str) -> dict[str, float]:
    """Returns CPU µs per message of this process, per direction, and the rates, of a driver alone."""
    driver = brokers.open_driver(
        DriverOptions(
            setup=setup.name,
            address=address,
            queue="bb_bench_client",
            parameters=parameters,
            client="c",
            prefetch=BLOCK,
        )
    )
    driver.connect()
    driver.prepare()
    try:
        sent = measured(lambda: publish_all(driver, setup.blocks_in_flight or 4))
        taken = measured(lambda: take_all(driver))
        driver.purge()
    finally:
        driver.close()
    return {
        "publish_us": sent[0],
        "publish_alone_per_s": sent[1],
        "consume_settle_us": taken[0],
        "consume_alone_per_s": taken[1],
    }


def measured(work: Callable[[], None]) -> tuple[float, int]:
    """Returns CPU µs per message here, and messages per second."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return round(cpu / CLIENT_MESSAGES * 1e6, 2), round(CLIENT_MESSAGES / wall)


def publish_all(driver: Driver, blocks_in_flight: int) -> None:
    """Publishes in blocks, a few of them unanswered."""
    stamper = Stamper(run_id=1, trial=1, producer=0, payload_bytes=PAYLOAD_BYTES, capacity=BLOCK)
    ones, zeros = np.ones(BLOCK), np.zeros(BLOCK)
    answered = 0
    for start in range(0, CLIENT_MESSAGES, BLOCK):
        while start - answered >= blocks_in_flight * BLOCK:
            answered += len(driver.poll_confirms(1.0).tokens)
        seqs = np.arange(start, start + BLOCK)
        driver.publish(Block(seqs, stamper.stamp(seqs, ones, zeros)))
    while answered < CLIENT_MESSAGES:
        answered += len(driver.poll_confirms(1.0).tokens)


def take_all(driver: Driver) -> None:
    """Consumes and acks until all is settled."""
    taken = settled = 0
    while taken < CLIENT_MESSAGES:
        deliveries = driver.consume(BLOCK, 0.5)
        n = len(deliveries.payloads)
        if n:
            driver.settle(np.arange(taken, taken + n), deliveries.handles, Settlement.ACK)
        taken += n
        settled += len(driver.poll_settled(0).tokens)
    while settled < taken:
        settled += len(driver.poll_settled(1.0).tokens)


def native_rate(setup: Setup, address: str, seconds: float) -> tuple[float, str]:
    """Returns messages per second of the broker's own benchmark (0 where there is none), and its name."""
    if setup.broker == "redis":
        return redis_rate(address, *NATIVE[setup.name], seconds), "redis-benchmark"
    return postgres_rate(address, seconds), "pgbench"


def redis_rate(address: str, send: tuple[str, ...], take: tuple[str, ...], seconds: float) -> float:
    """Returns pairs per second of two redis-benchmarks, one sending and one taking, at once."""
    tool = shutil.which("redis-benchmark")
    if tool is None:
        print("redis-benchmark is not on the PATH (apt install redis-tools): no native figure", file=sys.stderr)
        return 0.0
    import redis  # noqa: PLC0415

    if send[0] == "XADD":
        with redis.Redis.from_url(address) as client, suppress(redis.ResponseError):
            client.xgroup_create("bench", "g", id="0", mkstream=True)
    parts = urlsplit(address)
    shared = [tool, "-p", str(parts.port), "-a", parts.password or "", "-c", "4", "-P", "64", "-q", "-n"]

    def pair(count: int) -> float:
        began = time.perf_counter()
        running = [
            subprocess.Popen([*shared, str(count), *words], stdout=subprocess.DEVNULL)
            for words in ((*send, "x" * PAYLOAD_BYTES), take)
        ]
        statuses = [process.wait() for process in running]
        if any(statuses):
            raise SystemExit("redis-benchmark failed; its words stand above")
        return count / (time.perf_counter() - began)

    return pair(int(pair(50_000) * seconds))


def postgres_rate(address: str, seconds: float) -> float:
    """Returns rows per second through a plain table: one pgbench inserting, one deleting, in blocks, at once."""
    import psycopg  # noqa: PLC0415

    from harness.deployments.embedded_postgres import binaries  # noqa: PLC0415

    with psycopg.connect(address, autocommit=True) as connection, tempfile.TemporaryDirectory() as folder:
        connection.execute(DDL)
        insert, take = Path(folder, "insert.sql"), Path(folder, "take.sql")
        insert.write_text("\\startpipeline\n" + INSERT * BLOCK + "\\endpipeline\n")
        take.write_text(TAKE)
        common = [str(binaries() / "pgbench"), "-n", "-M", "prepared", "-T", str(int(seconds))]
        environment = dict(os.environ) | postgres_environment(address)
        running = [
            subprocess.Popen([*common, "-f", str(script)], env=environment, stdout=subprocess.PIPE, text=True)
            for script in (insert, take)
        ]
        inserting, _ = (process.communicate()[0] for process in running)
        inserted = int(re.search(r"actually processed: (\d+)", inserting)[1]) * BLOCK  # type: ignore[index]
        row = connection.execute("SELECT count(*) FROM bench_queue").fetchone()
        return (inserted - (row[0] if row else 0)) / int(seconds)


def postgres_environment(address: str) -> Mapping[str, str]:
    """Returns what libpq reads from the environment instead of from a command line that others can see."""
    parts = urlsplit(address)
    return {
        "PGHOST": str(parts.hostname),
        "PGPORT": str(parts.port),
        "PGUSER": str(parts.username),
        "PGPASSWORD": parts.password or "",
        "PGDATABASE": parts.path.lstrip("/"),
    }


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0, tuple(sys.argv[2:]) or SETUPS))
