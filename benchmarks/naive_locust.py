"""A Redis list at saturation, with identities and the whole ledger, against Locust users as people write them (bar: 8 ×).

Run ``python benchmarks/naive_locust.py [seconds]``. One Redis without persistence serves all, in turns. A naive user does one
command per task and fires an event per request; ten of them in one process, as ``locust -u 10`` runs them. Twice: all ``LPUSH``
(half of the work, since nothing is received; the bar is on this one), and half ``LPUSH``, half ``RPOP``, counted by what comes out: the same work as ours, but
for the ledger, which only ours has.
"""

from __future__ import annotations

import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

BAR = 8.0
ROUNDS = 3
USERS = 10
PAYLOAD_BYTES = 256
WARMUP_S = 1.0
NAIVE = "--naive"


def main(seconds: float) -> int:
    """Prints both rates and their ratio, medians of three turns; returns 1 where the bar is missed."""
    from harness import brokers  # noqa: PLC0415 - the naive half of this file must not import what Locust has not patched

    setup = brokers.setup("redis-list")
    parameters = setup.complete({"persistence": "none"})
    with running(setup, parameters) as (address, ours):
        rates = [
            (ours(number, seconds), naive(address, seconds, "both"), naive(address, seconds, "push"))
            for number in range(1, ROUNDS + 1)
        ]
    own, both, push = (statistics.median(rate) for rate in zip(*rates, strict=True))
    same_work, to_push = (statistics.median(rate[0] / rate[index] for rate in rates) for index in (1, 2))
    what = "sent, received, acknowledged, every moment recorded"
    tell(who="brokerbench, redis-list", what=what, rate_per_s=round(own))
    tell(who="naive Locust users", what="LPUSH and RPOP", rate_per_s=round(both))
    tell(who="naive Locust users", what="LPUSH only", rate_per_s=round(push))
    tell(what="ratio on the same work", ratio=round(same_work, 2))
    tell(what="ratio to LPUSH only", ratio=round(to_push, 2), bar=BAR, met=to_push >= BAR)
    return int(to_push < BAR)


def tell(**figures: object) -> None:
    """Prints one line."""
    print(json.dumps(figures), flush=True)


@contextmanager
def running(setup, parameters) -> Iterator[tuple[str, Callable[[int, float], float]]]:  # type: ignore[no-untyped-def]
    """Yields a fresh Redis's address, and what measures our own rate on it."""
    from harness.deployments.contract import BrokerOptions  # noqa: PLC0415
    from harness.deployments.embedded import EmbeddedDeployment  # noqa: PLC0415
    from harness.journal import Journal  # noqa: PLC0415

    run_id = secrets.token_hex(8)
    with Journal.create(run_id) as journal, tempfile.TemporaryDirectory(prefix="brokerbench-bench-") as logs:
        folder = Path(tempfile.gettempdir()) / f"brokerbench-{run_id}-broker"
        options = BrokerOptions(
            setup=setup, parameters=parameters, folder=folder, logs=Path(logs), journal=journal, seed=1
        )
        broker = EmbeddedDeployment().up(options)
        try:
            yield broker.address, lambda number, seconds: saturated(journal, options, broker.address, number, seconds)
        finally:
            broker.down()


def saturated(journal, options, address: str, number: int, seconds: float) -> float:  # type: ignore[no-untyped-def]
    """Returns messages per second that our fleet carries through: one producer, one worker, closed loop."""
    from harness.brokers import open_driver  # noqa: PLC0415
    from harness.brokers.contract import DriverOptions  # noqa: PLC0415
    from harness.clock import now_ns  # noqa: PLC0415
    from harness.deployments._here import ThisMachine  # noqa: PLC0415
    from harness.load.plan import FleetPlan  # noqa: PLC0415
    from harness.load.seam import Fleet  # noqa: PLC0415
    from harness.scenario.model import Load, Phases, Workers  # noqa: PLC0415

    queue = f"bb_{journal.run_id}_{number}"
    driver = open_driver(
        DriverOptions(
            setup=options.setup.name, address=address, queue=queue, parameters=options.parameters, client="prepare"
        )
    )
    driver.connect()
    driver.prepare()
    plan = FleetPlan(
        run_id=int(journal.run_id, 16),
        trial=number,
        folder=journal.folder(journal.slot_folder() / str(number)),
        logs=options.logs,
        place=ThisMachine(journal),
        setup=options.setup.name,
        address=address,
        queue=queue,
        parameters=options.parameters,
        load=Load(
            profile=(),
            saturate_window=2000,
            arrival="constant",
            producers=1,
            payload_bytes=PAYLOAD_BYTES,
            window=2000,
            batch=500,
            tick_s=0.001,
            style="library",
            retry_attempts=0,
            retry_backoff_s=0.0,
        ),
        workers=Workers(
            count=1,
            prefetch=500,
            ack="explicit",
            settle_batch=500,
            settle_linger_s=0.005,
            work="none",
            work_s=0.0,
            work_kind="sleep",
            visibility_s=5.0,
            sweep_s=1.0,
        ),
        phases=Phases(warmup_s=WARMUP_S, steady_s=seconds, drain_s=30.0),
        seed=1,
    )
    with Fleet.start(plan, journal) as fleet:
        fleet.wait_ready(30.0)
        fleet.go(now_ns() + 200_000_000)
        time.sleep(0.2 + WARMUP_S)
        before = fleet.live()
        time.sleep(seconds)
        after = fleet.live()
        fleet.finish_producers(10.0)
        fleet.stop_workers(10.0)
    driver.purge()
    driver.close()
    return (after.total("settled") - before.total("settled")) / ((after.t_ns - before.t_ns) / 1e9)


def naive(address: str, seconds: float, what: str) -> float:
    """Returns messages per second of naive users; Locust patches its process, so it gets one of its own."""
    command = [sys.executable, "-P", __file__, NAIVE, what, str(seconds)]
    environment = os.environ | {"NAIVE_URL": address}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return float(done.stdout)


def naive_main(what: str, seconds: float) -> None:
    """Runs naive users and prints their messages per second, after a warm-up."""
    from gevent import monkey  # noqa: PLC0415

    monkey.patch_all()
    import gevent  # noqa: PLC0415
    import redis  # noqa: PLC0415
    from locust import User, task  # noqa: PLC0415
    from locust.env import Environment  # noqa: PLC0415

    payload = b"x" * PAYLOAD_BYTES
    counted = {"push": "LPUSH", "both": "RPOP"}[what]
    done = 0

    class Naive(User):
        """What people write first."""

        abstract = True

        def on_start(self) -> None:
            self.client = redis.Redis.from_url(os.environ["NAIVE_URL"])

        def timed(self, name: str, *words: object) -> None:
            nonlocal done
            begin = time.perf_counter()
            answer = self.client.execute_command(name, *words)
            self.environment.events.request.fire(
                request_type="redis",
                name=name,
                response_time=(time.perf_counter() - begin) * 1000,
                response_length=0,
                exception=None,
                context={},
            )
            done += name == counted and answer is not None

    class Producer(Naive):
        @task
        def push(self) -> None:
            self.timed("LPUSH", "naive", payload)

    class Worker(Naive):
        @task
        def pop(self) -> None:
            self.timed("RPOP", "naive")

    environment = Environment(user_classes=[Producer, Worker] if what == "both" else [Producer])
    runner = environment.create_local_runner()
    runner.start(USERS, spawn_rate=USERS)
    gevent.sleep(WARMUP_S)
    before, begin = done, time.perf_counter()
    gevent.sleep(seconds)
    rate = (done - before) / (time.perf_counter() - begin)
    runner.quit()
    redis.Redis.from_url(os.environ["NAIVE_URL"]).delete("naive")
    print(rate)


if __name__ == "__main__":
    if NAIVE in sys.argv:
        naive_main(sys.argv[2], float(sys.argv[3]))
    else:
        sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0))
