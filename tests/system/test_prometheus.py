"""A run watched by a real Prometheus: what its queries answer is what the run's record says in the end."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.debian import program
from tests.system.conftest import Bench

pytestmark = pytest.mark.slow

SCENARIO = """
question: Does Prometheus see what happens?
setups: [redis-stream]
load: {rate: 500/s}
workers: {count: 2, visibility: 1 s, sweep: 250 ms}
phases: {warmup: 500 ms, steady: 8 s, drain: 20 s}
faults: [{at: 6 s, kill: worker, replace_after: 1 s}]
"""
CONFIGURATION = """
global: {{scrape_interval: 400ms, scrape_timeout: 400ms}}
scrape_configs: [{{job_name: brokerbench, static_configs: [{{targets: ["{target}"]}}]}}]
"""


class Prometheus:
    """A server that asks a run, and can be asked."""

    def __init__(self, port: int) -> None:
        self._api = f"http://127.0.0.1:{port}/api/v1/query?"

    def ready(self) -> bool:
        """Returns whether it has seen the run."""
        try:
            return bool(self("brokerbench_run_info"))
        except OSError:
            return False

    def __call__(self, query: str) -> dict[str, float]:
        """Returns the labels of each answer, but case and origin, → its value."""
        with urllib.request.urlopen(self._api + urllib.parse.urlencode({"query": query}), timeout=10) as answer:
            found = json.load(answer)["data"]["result"]
        hidden = ("__name__", "instance", "job", "case")
        return {
            ",".join(value for name, value in each["metric"].items() if name not in hidden): float(each["value"][1])
            for each in found
        }


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[Prometheus]:
    """Starts a server that asks ``target``; it ends with the test."""
    (folder / "prometheus.yml").write_text(CONFIGURATION.format(target=target))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("wb") as log:
        server = subprocess.Popen(
            [program("prometheus", package="prometheus"), *words, f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log,
            stderr=log,
        )
    try:
        yield Prometheus(port)
    finally:
        server.kill()
        server.wait()


def test_what_prometheus_has_seen_of_a_run_is_what_its_record_says(bench: Bench, tmp_path: Path) -> None:
    running = bench.start("run", bench.scenario("watched", SCENARIO), "--json", "--metrics", "0")
    assert running.stderr is not None
    line = running.stderr.readline()
    url = re.fullmatch(r"metrics: http://(127\.0\.0\.1:\d+)/metrics\n", line)
    assert url, line
    with prometheus(url[1], tmp_path) as asked:
        limit = time.monotonic() + 30
        while not asked.ready() and time.monotonic() < limit:
            time.sleep(0.05)
        finished = bench.finish(running)
        trial = finished.trial

        def last(metric: str) -> dict[str, float]:
            return asked(f"last_over_time(brokerbench_{metric}[2m])")

        def highest(metric: str) -> dict[str, float]:
            return asked(f"max_over_time(brokerbench_{metric}[2m])")

        outcomes = trial.ledger.outcomes
        deliveries = finished.table("deliveries")
        assert last("messages_offered_total") == {"": trial.ledger.identities}
        assert last("messages_sent_total") == {"": len(finished.table("attempts"))}
        for outcome in ("CONFIRMED", "REJECTED", "UNKNOWN"):
            assert last(f"messages_{outcome.lower()}_total") == {"": outcomes[outcome]}
        assert last("messages_delivered_total") == {"": len(deliveries)}
        assert last("messages_redelivered_total") == {"": int(deliveries["redelivered"].sum())}
        assert last("end_to_end_latency_seconds_count") == {"": len(deliveries)}
        assert last("faults_injected_total") == {"kill worker": 1}
        assert highest("fault_active") == {"kill worker": 1}
        assert highest("workers")["lost"] == 1
        assert highest("phase")["steady"] == highest("phase")["drain"] == 1
        assert asked("resets(brokerbench_messages_delivered_total[2m])") == {"": 0}
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", int(url[1].split(":")[1]))):
        pass


def test_a_port_that_is_taken_ends_the_command_before_anything_starts(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = bench("run", "smoke", "--metrics", str(port))
    assert finished.code == 2
    assert finished.err.startswith(f"brokerbench: --metrics {port}: 127.0.0.1:{port} cannot be served: another program")
    assert (finished.err.count("remedy:"), finished.out, bench.runs.exists()) == (1, "", False)
