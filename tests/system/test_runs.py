"""Whole runs on real brokers: what they lose, what they print, and that it can all be computed again."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
import urllib.request
from pathlib import Path

import jsonschema
import pytest

from harness.model import Verdict
from harness.store import RunFolder, record_schema
from tests.system.conftest import Bench

pytestmark = pytest.mark.slow

SHORT = """
question: What does a short run show?
setups: [{setups}]
load: {{rate: 1000/s, producers: 2}}
workers: {{count: 2, visibility: 1 s, sweep: 500 ms}}
phases: {{warmup: 500 ms, steady: {steady}, drain: 20 s}}
{more}
"""


def short(bench: Bench, *setups: str, steady: str = "3 s", more: str = "") -> str:
    """Writes a short scenario and returns its path."""
    return bench.scenario("short", SHORT.format(setups=", ".join(setups), steady=steady, more=more))


def test_worker_kill_loses_nothing_at_least_once_and_at_most_what_was_held_at_most_once(bench: Bench) -> None:
    finished = bench("run", "worker-kill", "--set", "phases.steady=11 s")
    assert finished.code == 0, finished.out + finished.err
    redelivery = {}
    for case in finished.record.cases:
        (trial,) = case.trials
        loss = trial.metrics["whole"]["loss.confirmed"]
        assert isinstance(loss, float)
        assert loss <= (4 * 20 if case.setup == "redis-list" else 0)
        (claim,) = [g for g in case.guarantees if g.fault == "worker kill"]
        assert claim.verdict is Verdict.HELD, claim
        redelivery[case.setup] = trial.faults[0].recovery.get("redelivery_max")
    # The holds end with the connection, or with visibility (2 s) after the fetch and at the next sweep (500 ms).
    assert isinstance(redelivery["postgres-delete"], float)
    for setup in ("redis-stream", "postgres-lease"):
        figure = redelivery[setup]
        assert isinstance(figure, float)
        assert figure > redelivery["postgres-delete"]


def test_a_rate_that_overloads_the_generator_ends_invalid_with_13(bench: Bench) -> None:
    finished = bench("run", "overload")
    assert finished.code == 13, finished.out
    assert finished.trial.status == "invalid"
    assert any("generator saturated" in reason for reason in finished.trial.reasons)


def test_report_makes_every_figure_again_to_the_last_digit(bench: Bench) -> None:
    path = short(
        bench,
        "redis-stream",
        "postgres-lease",
        steady="7 s",
        more="faults: [{at: 6 s, kill: broker, restart_after: 500 ms}]",
    )
    finished = bench("run", path)
    assert finished.run is not None
    before = (finished.run.path / "run.json").read_bytes()
    page = (finished.run.path / "report.md").read_bytes()
    for derived in finished.run.path.glob("cases/*/*/messages.parquet"):
        derived.unlink()
    again = bench("report", str(finished.run.path.relative_to(bench.home)))
    assert again.code == finished.code, again.err
    assert (finished.run.path / "run.json").read_bytes() == before
    assert (finished.run.path / "report.md").read_bytes() == page
    assert again.out == finished.out


def test_run_json_fits_its_published_schema_and_stdout_holds_nothing_else(bench: Bench) -> None:
    finished = bench("run", short(bench, "null"), "--json")
    assert finished.code == 0, finished.err
    assert finished.err == ""
    printed = json.loads(finished.out)
    jsonschema.Draft202012Validator(record_schema()).validate(printed)
    schema = bench("schema", "--record")
    assert json.loads(schema.out) == record_schema()


def test_every_file_of_the_run_folder_is_there(bench: Bench) -> None:
    finished = bench("run", short(bench, "redis-list"))
    assert finished.run is not None
    files = {str(p.relative_to(finished.run.path)) for p in finished.run.path.rglob("*") if p.is_file()}
    trial = "cases/redis-list-embedded/trial-1"
    tables = ("attempts", "deliveries", "messages", "connections", "residue", "samples")
    wanted = {
        "run.json",
        "report.md",
        "report.html",
        "charts/timeline-redis-list-embedded.png",
        f"{trial}/timeline.jsonl",
        f"{trial}/settings.json",
    }
    assert wanted | {f"{trial}/{name}.parquet" for name in tables} <= files
    samples = finished.table("samples")
    steady_s = samples["t_ns"].max() - samples["t_ns"].min()  # type: ignore[operator]
    for source, metric in (
        ("broker", "cpu_s"),
        ("broker", "memory_bytes"),
        ("broker", "depth_ready"),
        ("load", "cpu_s"),
    ):
        rows = samples.filter((samples["source"] == source) & (samples["metric"] == metric))
        assert len(rows) >= steady_s / 1e9, f"{metric} of {source} at 1 Hz or more"


def test_two_agents_share_the_shards_and_nothing_is_missing(bench: Bench) -> None:
    finished = bench("run", short(bench, "redis-stream", more="agents: 2"))
    assert finished.code == 0, finished.out + finished.err
    shards = finished.folder.read_facts().shards
    assert {shard.agent for shard in shards} == {0, 1}
    assert len(finished.table("messages")) == len(finished.table("attempts"))


def test_what_the_shards_of_a_killed_agent_saw_is_in_the_ledger_and_the_trial_says_what_is_missing(
    bench: Bench,
) -> None:
    process = bench.start("run", short(bench, "redis-stream", steady="8 s", more="agents: 2"))
    bench.wait_for(process, lambda lines: any(line.get("phase") == "steady" for line in lines))
    fleet = {p.pid: p for p in bench.running("harness.load.fleet")}
    agents = [p for p in fleet.values() if p.ppid() in fleet]
    assert len(agents) == 2
    agents[0].send_signal(signal.SIGKILL)
    finished = bench.finish(process)
    assert finished.code == 13, finished.out
    assert finished.trial.status == "invalid"
    lost = [shard for shard in finished.folder.read_facts().shards if not shard.expected_exit]
    assert lost
    for shard in lost:
        assert any(shard.name in reason for reason in finished.trial.reasons)
        assert shard.slots_found > 0, "what it saw is in the ledger"
    assert bench.gone() == []


def test_the_totals_of_locusts_page_equal_the_ledgers(bench: Bench) -> None:
    process = bench.start("run", short(bench, "redis-stream", steady="4 s"), "--web")
    assert process.stderr is not None
    url = next(match[1] for line in process.stderr if (match := re.search(r"(http://127\.0\.0\.1:\d+)", line)))
    bench.wait_for(process, lambda lines: any(line.get("phase") == "drain" for line in lines))
    totals: dict[str, int] = {}
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        try:
            with urllib.request.urlopen(f"{url}/stats/requests", timeout=5) as answer:
                totals = {entry["method"]: entry["num_requests"] for entry in json.load(answer)["stats"]}
        except OSError:
            break  # the page is gone with the load: what it showed last counts
        time.sleep(0.02)
    finished = bench.finish(process)
    attempts, deliveries = finished.table("attempts"), finished.table("deliveries")
    assert totals["publish"] == len(attempts)
    assert totals["deliver"] == len(deliveries)


def test_a_gap_shows_in_the_plain_live_view(bench: Bench) -> None:
    path = short(bench, "redis-stream", steady="9 s", more="faults: [{at: 6 s, pause: broker, for: 2 s}]")
    finished = bench("run", path)
    assert finished.code == 0, finished.out + finished.err
    lines = finished.err.splitlines()
    assert any("pause broker" in line for line in lines)
    assert any("delivered 0/s" in line for line in lines), "a second without messages prints its line"


def test_a_graceful_restart_and_a_killed_producer_are_judged(bench: Bench) -> None:
    path = short(
        bench, "redis-stream", steady="9 s", more="faults: [{at: 6 s, restart: broker}, {at: 8 s, kill: producer}]"
    )
    finished = bench("run", path)
    kinds = {g.fault: g.verdict for g in finished.case.guarantees}
    assert kinds["broker restart"] in (Verdict.HELD, Verdict.NOT_EXERCISED)
    assert kinds["producer kill"] in (Verdict.HELD, Verdict.NOT_EXERCISED)
    assert finished.trial.metrics["whole"]["loss.confirmed"] == 0
    assert finished.trial.ledger is not None
    assert finished.trial.ledger.classes["unsent"] > 0, "what the dead producer had not sent stays in the ledger"


def test_a_run_folder_can_be_moved_and_read(bench: Bench, tmp_path: Path) -> None:
    finished = bench("run", short(bench, "null", steady="1 s"))
    assert finished.run is not None
    moved = tmp_path / "elsewhere"
    shutil.move(finished.run.path, moved)
    again = bench("report", str(moved))
    assert again.code == 0, again.err
    assert RunFolder.open(moved).load().cases[0].trials[0].status == "valid"
