"""What a run tells Prometheus: names, labels and counts, the alerts, and the dashboard that reads them."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from harness import histogram
from harness.cli.metrics import BOUNDS_S, MetricsServer, RunMetrics
from harness.clock import NS_PER_S
from harness.errors import ExitCode, UsageError
from harness.model import TrialStatus
from harness.run.progress import (
    CaseFinished,
    CaseStarted,
    Event,
    FaultHealed,
    FaultInjected,
    FaultPlanned,
    Listeners,
    PhaseChanged,
    RunStarted,
    Tick,
    Warned,
)
from tests.debian import program
from tests.unit import records

TELEMETRY = Path(__file__).parents[2] / "compose" / "telemetry"
DASHBOARD = TELEMETRY / "grafana" / "dashboards" / "brokerbench.json"
ID = "redis-stream@embedded"
RUN = RunStarted(
    t_ns=0,
    run_id="7",
    scenario="crash",
    deployment="embedded",
    cases=(records.case(ID, trials=[]), records.case("null@embedded", trials=[], unavailable="no")),
    trials=2,
    trial_s=20.0,
)
STEADY = PhaseChanged(phase="steady", t_ns=0, length_s=20.0)


def started(trial: int = 1, *, open_loop: bool = True) -> CaseStarted:
    return CaseStarted(t_ns=0, number=1, of=2, case_id=ID, trial=trial, trials=2, open_loop=open_loop)


def finished(trial: int = 1) -> CaseFinished:
    return CaseFinished(case=records.case(ID), trial=trial, status=TrialStatus.VALID)


def tick(count: int, latency_s: float = 0.002, **more: object) -> Tick:
    """Returns a tick of a load in which every message so far went its whole way in ``latency_s``."""
    latency = np.zeros(histogram.BUCKETS, np.uint64)
    histogram.add(latency, np.full(count, round(latency_s * NS_PER_S), np.int64))
    counts = dict.fromkeys(("offered", "sent", "confirmed", "delivered", "finished", "settled"), count)
    values = {"t_ns": 0, "latency": latency, "rejected": 0, "unknown": 0, "redelivered": 0, **counts, **more}
    return Tick(**values)  # type: ignore[arg-type]


def exposed(*events: Event) -> dict[str, float]:
    """Returns name and labels → value, as a server of Prometheus reads them."""
    made = RunMetrics()
    for event in (RUN, *events):
        made.notice(event)
    found = {}
    for family in text_string_to_metric_families(exposition(made)):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items() if name != "case")
            found[sample.name.removeprefix("brokerbench_") + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def exposition(made: RunMetrics) -> str:
    registry = CollectorRegistry()
    registry.register(made)
    return generate_latest(registry).decode()


def busy() -> RunMetrics:
    """Returns the metrics of a run in which everything has a value."""
    made = RunMetrics()
    for event in (
        RUN,
        started(),
        STEADY,
        FaultPlanned(index=0, label="kill broker", t_ns=9, hold_s=1.0),
        tick(5, backlog_broker=3, dead_letters=2, workers=1, core_shares={"producer": 0.5}),
    ):
        made.notice(event)
    return made


class TestCounts:
    def test_they_are_those_of_the_newest_tick(self) -> None:
        found = exposed(started(), STEADY, tick(50), tick(100, confirmed=90, unknown=4, rejected=6, redelivered=2))
        names = ("offered", "confirmed", "unknown", "rejected", "redelivered", "delivered")
        assert [found[f"messages_{name}_total"] for name in names] == [100, 90, 4, 6, 2, 100]

    def test_trials_of_a_case_add_up_and_what_is_over_stays(self) -> None:
        first = (started(), STEADY, tick(100), finished())
        assert exposed(*first)["messages_offered_total"] == 100
        assert exposed(*first, started(2))["messages_offered_total"] == 100
        both = exposed(*first, started(2), STEADY, tick(30), finished(2))
        assert both["messages_offered_total"] == 130
        assert both["end_to_end_latency_seconds_count"] == 130
        assert both["trials_total{status=valid}"] == 2

    def test_they_never_fall_even_where_a_killed_shard_is_missing_from_the_newest_sum(self) -> None:
        found = exposed(started(), STEADY, tick(100), tick(60))
        assert found["messages_delivered_total"] == 100
        assert found["end_to_end_latency_seconds_count"] == 100

    def test_a_case_begins_at_nothing_so_that_no_message_is_missed(self) -> None:
        assert exposed(started())["messages_offered_total"] == 0

    def test_faults_are_counted_when_they_strike_and_active_until_they_are_healed(self) -> None:
        planned = FaultPlanned(index=0, label="kill broker", t_ns=9, hold_s=1.0)
        struck = FaultInjected(index=0, label="kill broker", t_ns=9, hold_s=1.0)
        healed = FaultHealed(index=0, label="kill broker", t_ns=10)
        names = ("faults_injected_total{fault=kill broker}", "fault_active{fault=kill broker}")
        events: list[Event] = [started(), STEADY]
        seen = []
        for event in (planned, struck, healed):
            events.append(event)
            found = exposed(*events)
            seen.append([found[name] for name in names])
        assert seen == [[0, 0], [1, 1], [1, 0]]


class TestHistogram:
    def test_a_message_is_in_each_bucket_that_surely_holds_it(self) -> None:
        found = exposed(started(), STEADY, tick(7, latency_s=0.004))
        buckets = {bound: found[f"end_to_end_latency_seconds_bucket{{le={bound}}}"] for bound in (0.0025, 0.005, 300.0)}
        assert buckets == {0.0025: 0, 0.005: 7, 300.0: 7}
        assert found["end_to_end_latency_seconds_sum"] == pytest.approx(7 * 0.004, rel=0.01)

    def test_no_bucket_holds_a_latency_above_its_bound(self) -> None:
        latencies_s = np.geomspace(1e-6, 400, 2000)
        counts = np.zeros(histogram.BUCKETS, np.uint64)
        histogram.add(counts, (latencies_s * NS_PER_S).astype(np.int64))
        found = exposed(started(), STEADY, tick(0, latency=counts))
        for bound in BOUNDS_S:
            held, true = found[f"end_to_end_latency_seconds_bucket{{le={bound}}}"], int((latencies_s <= bound).sum())
            assert true * 0.98 - 2 <= held <= true

    def test_what_is_beyond_all_bounds_is_counted(self) -> None:
        found = exposed(started(), STEADY, tick(3, latency_s=9e4))
        assert found["end_to_end_latency_seconds_bucket{le=300.0}"] == 0
        assert found["end_to_end_latency_seconds_bucket{le=+Inf}"] == 3


class TestGauges:
    def test_they_are_there_only_while_the_load_runs(self) -> None:
        load = (started(), STEADY, tick(100, finished=60, backlog_broker=35, dead_letters=5, workers=2, workers_cut=1))
        found = exposed(*load)
        assert found["backlog_messages{by=ledger}"] == 40
        assert found["backlog_messages{by=broker}"] == 35
        assert found["dead_letter_messages"] == 5
        states = ("connected", "disconnected", "lost")
        assert [found[f"workers{{state={state}}}"] for state in states] == [2, 1, 0]
        after = exposed(*load, PhaseChanged(phase="searching", t_ns=1))
        assert not [name for name in after if name.startswith(("backlog", "dead", "workers", "load"))]
        assert after["phase{phase=searching}"] == 1
        assert after["messages_offered_total"] == 100

    def test_what_the_broker_does_not_tell_has_no_value(self) -> None:
        found = exposed(started(), STEADY, tick(100))
        assert "dead_letter_messages" not in found
        assert "backlog_messages{by=broker}" not in found

    def test_exactly_one_phase_is_1(self) -> None:
        found = exposed(started(), STEADY)
        assert [name for name, value in found.items() if name.startswith("phase") and value] == ["phase{phase=steady}"]
        waiting = PhaseChanged(phase="waiting for agents of other machines: 1 of 2 at 127.0.0.1:5557", t_ns=0)
        assert exposed(started(), waiting)["phase{phase=waiting for agents of other machines}"] == 1

    def test_a_trial_is_told_with_its_setup_and_loop_and_only_while_it_runs(self) -> None:
        labels = "setup=redis-stream,network=embedded,durability=process-crash-safe,loop=closed,trial=2"
        found = exposed(started(2, open_loop=False))
        told = [name for name in found if name.startswith("trial_info")]
        assert [set(name[len("trial_info{") : -1].split(",")) for name in told] == [set(labels.split(","))]
        assert not [name for name in exposed(started(), finished()) if name.startswith(("trial_info", "phase"))]

    def test_cases_that_are_not_run_are_not_planned(self) -> None:
        assert exposed()["trials_planned"] == 2


class TestServer:
    def test_it_serves_at_a_free_port_of_this_machine_alone_until_it_is_closed(self) -> None:
        with MetricsServer(0) as server:
            Listeners([server]).notice(RUN)
            Listeners([server]).notice(Warned(text="x"))
            assert server.url.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(server.url, timeout=10) as answer:
                assert b'scenario="crash"' in answer.read()
        port = int(server.url.split(":")[2].split("/")[0])
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=10):
            pass

    def test_a_port_that_somebody_has_is_refused_in_one_message(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(UsageError) as refused:
                MetricsServer(port)
        assert refused.value.exit_code is ExitCode.USAGE
        assert refused.value.problem == f"--metrics {port}: 127.0.0.1:{port} cannot be served: another program has it"
        assert "0 takes a free one" in refused.value.remedy


def promtool(*words: str | Path, given: str = "") -> str:
    """Returns what Prometheus's own tool says, which must be content."""
    tool = program("promtool", package="prometheus")
    done = subprocess.run([tool, *words], input=given, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def queries(node: object) -> Iterator[str]:
    """Yields every query of the dashboard, its variables filled in."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "expr":
                yield value.replace("$__rate_interval", "1m").replace("$case", ".*")
            elif name == "query" and isinstance(value, str) and value.startswith("label_values("):
                yield value.removeprefix("label_values(").split(",")[0]
            else:
                yield from queries(value)
    elif isinstance(node, list):
        for value in node:
            yield from queries(value)


class TestPrometheusAgrees:
    def test_the_metrics_are_named_and_explained_as_prometheus_asks(self) -> None:
        assert promtool("check", "metrics", given=exposition(busy())) == ""

    def test_each_alert_fires_on_what_it_is_for_and_not_on_what_is_like_it(self) -> None:
        assert "SUCCESS" in promtool("test", "rules", Path(__file__).parent / "data" / "alerts.yml")
        tested = set(re.findall(r"alertname: (\w+)", (Path(__file__).parent / "data" / "alerts.yml").read_text()))
        assert tested == set(re.findall(r"alert: (\w+)", (TELEMETRY / "rules.yml").read_text()))

    def test_the_configuration_is_right(self) -> None:
        assert "is valid prometheus config" in promtool("check", "config", TELEMETRY / "prometheus.yml")

    def test_the_queries_of_the_dashboard_can_be_read(self, tmp_path: Path) -> None:
        asked = [*queries(json.loads(DASHBOARD.read_text()))]
        assert len(asked) > 20
        rules = [{"record": f"dashboard:{at}", "expr": expr} for at, expr in enumerate(asked)]
        (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
        assert f"{len(asked)} rules found" in promtool("check", "rules", tmp_path / "rules.yml")


def test_dashboard_and_alerts_ask_for_nothing_that_a_run_does_not_tell() -> None:
    families = text_string_to_metric_families(exposition(busy()))
    told = {sample.name for family in families for sample in family.samples}
    asked = {
        name for expr in queries(json.loads(DASHBOARD.read_text())) for name in re.findall(r"brokerbench_\w+", expr)
    }
    alerts = "".join(
        re.findall(r"expr: (.*?)\n        (?:for|labels):", (TELEMETRY / "rules.yml").read_text(), re.DOTALL)
    )
    asked |= set(re.findall(r"brokerbench_\w+", alerts))
    assert len(asked) > 15
    assert asked - told == set()


def test_the_compose_file_mounts_what_is_there_and_serves_this_machine_alone() -> None:
    text = (TELEMETRY / "compose.yaml").read_text()
    mounted = re.findall(r"- \./([\w./]+):", text)
    assert sorted(mounted) == ["grafana/dashboards", "grafana/provisioning", "prometheus.yml", "rules.yml"]
    assert all((TELEMETRY / name).exists() for name in mounted)
    assert text.count("127.0.0.1:9090") == 2
    assert "GF_SERVER_HTTP_ADDR: 127.0.0.1" in text
