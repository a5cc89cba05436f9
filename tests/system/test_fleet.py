"""The fleet on a real Redis: what its slots say, what Locust says, and that everything ends whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from harness import brokers
from harness.brokers.contract import DriverOptions
from harness.clock import now_ns
from harness.deployments.contract import Broker, BrokerOptions
from harness.deployments.embedded import EmbeddedDeployment
from harness.errors import StartError
from harness.journal import Journal
from harness.ledger import AttemptState, SlotReader
from harness.load.plan import FleetPlan
from harness.load.seam import Fleet
from harness.model import Held, Outcome, SettleOutcome
from harness.scenario.model import Agents
from tests.shapes import idle_workers, phases, steady_load

RUN_ID = 0xF1EE7
SETUP = "redis-stream"
RATE_PER_S = 1500.0
STEADY_S = 2.0


def eventually(condition: Callable[[], bool], what: str, limit_s: float = 20.0) -> None:
    """Waits for something that must come; the limit only bounds a failure."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.02)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    monkeypatch.setenv("BROKERBENCH_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("BROKERBENCH_CHECK", "1")
    with Journal.create(f"{RUN_ID + os.getpid():016x}") as made:
        yield made


@pytest.fixture
def broker(journal: Journal, tmp_path: Path) -> Iterator[Broker]:
    setup = brokers.setup(SETUP)
    deployment = EmbeddedDeployment()
    if reason := deployment.unavailable(setup):
        pytest.skip(reason)
    folder = Path("/tmp") / f"brokerbench-{journal.run_id}-data"
    options = BrokerOptions(
        setup=setup, parameters=setup.complete({}), folder=folder, logs=tmp_path / "logs", journal=journal
    )
    made = deployment.up(options)
    try:
        yield made
    finally:
        made.down()


@pytest.fixture
def plan(journal: Journal, broker: Broker, tmp_path: Path) -> FleetPlan:
    run_id = int(journal.run_id, 16)
    made = FleetPlan(
        run_id=run_id,
        trial=1,
        folder=journal.slot_folder(),
        logs=tmp_path / "logs",
        place=broker.load_place,
        setup=SETUP,
        address=broker.address,
        queue=f"bb_{run_id:016x}_1",
        parameters=brokers.setup(SETUP).complete({}),
        load=steady_load(RATE_PER_S, STEADY_S),
        workers=idle_workers(),
        phases=phases(STEADY_S),
        seed=1,
    )
    prepare(made)
    return made


def prepare(plan: FleetPlan) -> None:
    driver = brokers.open_driver(
        DriverOptions(
            setup=plan.setup, address=plan.address, queue=plan.queue, parameters=plan.parameters, client="test"
        )
    )
    driver.connect()
    driver.prepare()
    driver.close()


@contextmanager
def started(plan: FleetPlan, journal: Journal) -> Iterator[Fleet]:
    with Fleet.start(plan, journal) as fleet:
        fleet.wait_ready(30)
        yield fleet
    assert not psutil.pid_exists(fleet.pid)


def begin(fleet: Fleet) -> int:
    start_ns = now_ns() + 100_000_000
    fleet.go(start_ns)
    return start_ns


def finish(fleet: Fleet, *, settled: Callable[[], bool] | None = None) -> None:
    """Ends the load as a run does: producers, a drain until all is settled, workers."""
    eventually(fleet.producers_done, "the schedule was sent")
    fleet.finish_producers(5)
    eventually(settled or (lambda: fleet.live().total("settled") >= fleet.live().total("confirmed")), "all settled")
    fleet.stop_workers(5)


def slots(plan: FleetPlan, kind: str) -> np.ndarray[Any, Any]:
    """Returns the slots of all shards of a kind."""
    return np.concatenate([SlotReader(path).slots() for path in sorted(plan.folder.glob(f"{kind[0]}*.slots"))])


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def ask(url: str, *, post: bool = False, **headers: str) -> Any:
    request = urllib.request.Request(url, data=b"" if post else None, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def page_totals(fleet: Fleet) -> dict[str, tuple[int, int]]:
    entries = ask(f"{fleet.web_url}/stats/requests")["stats"]
    return {entry["method"]: (entry["num_requests"], entry["num_failures"]) for entry in entries if entry["method"]}


def test_the_ledger_locust_and_its_page_agree_over_two_agents(plan: FleetPlan, journal: Journal) -> None:
    plan = replace(plan, agents=Agents(local=2), web=True, load=replace(plan.load, producers=2))
    with started(plan, journal) as fleet:
        start_ns = begin(fleet)
        finish(fleet)
        attempts, deliveries = slots(plan, "producer"), slots(plan, "worker")
        assert len(attempts) == RATE_PER_S * STEADY_S
        assert (attempts["outcome"] == Outcome.CONFIRMED).all()
        assert (attempts["sent_ns"] >= attempts["intended_ns"]).all()
        assert (attempts["intended_ns"] >= start_ns).all()
        assert len(np.unique(deliveries[["producer", "seq"]])) == len(attempts)
        assert (deliveries["settle_outcome"] == SettleOutcome.OK).all()
        n, received = len(attempts), len(deliveries)
        assert page_totals(fleet) == {"publish": (n, 0), "deliver": (received, 0), "settle": (received, 0)}
        live = fleet.live()
        assert (live.total("confirmed"), live.total("delivered"), live.total("settled")) == (n, received, received)
        assert {kind: int(counts.sum()) for kind, counts in live.latency.items()} == {"producer": n, "worker": received}
        records = fleet.shards()
        assert sorted((r.name, r.agent) for r in records if r.kind == "producer") == [("p0", 0), ("p1", 1)]
        assert sorted(r.agent for r in records if r.kind == "worker") == [0, 1]
        assert all(r.expected_exit and r.exit_status == 0 and r.cpu_s > 0 and r.ended_ns for r in records)
        assert sum(r.slots_reported for r in records) == n + received
        assert fleet.problems() == []
        rows = fleet.connections().group_by("shard", maintain_order=True).agg("up").to_dicts()
        assert all(row["up"] == [True, False] for row in rows)
        assert len(rows) == 4


def test_the_page_shows_and_changes_nothing_but_its_stop_button_is_heard(plan: FleetPlan, journal: Journal) -> None:
    with started(replace(plan, web=True), journal) as fleet:
        begin(fleet)
        assert fleet.web_url.startswith("http://127.0.0.1:")
        assert ask(f"{fleet.web_url}/swarm", post=True)["success"] is False
        for stranger in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
            with pytest.raises(urllib.error.HTTPError, match="403"):
                ask(f"{fleet.web_url}/stop", post=True, **stranger)
        assert fleet.problems() == []
        ask(f"{fleet.web_url}/stop", post=True)
        eventually(fleet.stopped_from_page, "the stop button was heard")
        assert fleet.problems() == ["stopped from the page"]
        assert list(fleet.running("producer")) == ["p0"]


def test_only_this_machine_can_reach_the_fleet(plan: FleetPlan, journal: Journal) -> None:
    with started(replace(plan, web=True), journal) as fleet:
        processes = [psutil.Process(fleet.pid), *descendants(fleet.pid)]
        listening = [c.laddr for p in processes for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        assert len(listening) == 2
        assert {address.ip for address in listening} == {"127.0.0.1"}
        assert not {address.port for address in listening} & {5557, 8089}


def test_a_launched_fleet_waits_for_its_broker_and_ends_without_it(plan: FleetPlan, journal: Journal) -> None:
    fleet = Fleet.launch(replace(plan, address=""), journal)
    eventually(lambda: len(list(plan.logs.glob("agent-0-shard-*.log"))) == 3, "three shards import what they need")
    family = [psutil.Process(fleet.pid), *descendants(fleet.pid)]
    assert fleet.shards() == []
    fleet.close()
    eventually(lambda: alive(family) == [], "all ended", limit_s=5.0)


def test_a_killed_worker_is_replaced_and_what_it_held_comes_again(plan: FleetPlan, journal: Journal) -> None:
    slow = replace(plan, workers=replace(plan.workers, work="constant", work_s=0.0005))
    with started(slow, journal) as fleet:
        begin(fleet)
        eventually(lambda: fleet.live().shards.get("w0", {}).get("delivered", 0) > 50, "w0 holds messages")
        before_ns = now_ns()
        killed = fleet.kill(["w0"])
        assert (killed["w0"]["status"], fleet.running("worker")) == (-signal.SIGKILL, ["w1"])
        assert before_ns <= int(str(killed["w0"]["t_ns"])) <= now_ns()
        assert fleet.replace("w0") == "w0.1"
        assert list(fleet.running("worker")) == ["w1", "w0.1"]
        finish(fleet, settled=lambda: len(_settled(slow) | _settling("w0", slow)) == RATE_PER_S * STEADY_S)
        records = {r.name: r for r in fleet.shards()}
        assert (records["w0"].exit_status, records["w0"].expected_exit) == (-signal.SIGKILL, True)
        assert records["w0"].killed_ns == killed["w0"]["t_ns"]
        assert records["w0.1"].number == 2
        assert records["w0.1"].agent == records["w0"].agent
        assert SlotReader(slow.folder / "w0.slots").header["closed"] == 0
        assert SlotReader(slow.folder / "w0.1.slots").header["closed"] == 1
        assert fleet.problems() == []


def _settled(plan: FleetPlan) -> set[int]:
    deliveries = slots(plan, "worker")
    return set(deliveries["seq"][deliveries["settle_outcome"] == SettleOutcome.OK].tolist())


def _settling(name: str, plan: FleetPlan) -> set[int]:
    """Returns what a shard was settling when it ended: the broker may have taken it without an answer."""
    mine = SlotReader(plan.folder / f"{name}.slots").slots()
    return set(mine["seq"][mine["settling_ns"] > 0].tolist())


def test_the_slots_of_a_killed_producer_survive(plan: FleetPlan, journal: Journal) -> None:
    with started(plan, journal) as fleet:
        begin(fleet)
        eventually(lambda: fleet.live().total("confirmed") > 500, "messages were confirmed")
        seen = fleet.live().total("sent")
        assert fleet.kill(["p0"])["p0"]["status"] == -signal.SIGKILL
        assert fleet.producers_done()
        attempts = slots(plan, "producer")
        assert len(attempts) >= seen
        assert (attempts["state"] != AttemptState.EMPTY).all()
        assert fleet.problems() == []


def test_a_killed_agent_is_named_its_shards_end_and_the_others_go_on(plan: FleetPlan, journal: Journal) -> None:
    plan = replace(plan, agents=Agents(local=2))
    with started(plan, journal) as fleet:
        begin(fleet)
        eventually(lambda: min((s["used"] for s in fleet.live().shards.values()), default=0) > 0, "all shards are busy")
        producer = next(r for r in fleet.shards() if r.kind == "producer")
        lost = [r for r in fleet.shards() if r.agent != producer.agent]
        assert [r.kind for r in lost] == ["worker"]
        agent = psutil.Process(lost[0].pid).parent()
        assert agent is not None
        agent.kill()
        eventually(lambda: bool(fleet.problems()), "the agent was missed", limit_s=3.0)
        assert fleet.problems() == [
            f"agent {lost[0].agent} (pid {agent.pid}) ended with status -9, and with it {lost[0].name}"
        ]
        eventually(lambda: not psutil.pid_exists(lost[0].pid), "its shard ended", limit_s=3.0)
        eventually(lambda: lost[0].name not in fleet.running("worker"), "its end was noted")
        finish(fleet, settled=lambda: len(_settled(plan) | _settling(lost[0].name, plan)) == RATE_PER_S * STEADY_S)
        assert (slots(plan, "producer")["outcome"] == Outcome.CONFIRMED).all()
        record = next(r for r in fleet.shards() if r.name == lost[0].name)
        assert (record.expected_exit, record.exit_status) == (False, None)
        assert len(SlotReader(plan.folder / f"{record.name}.slots").slots()) >= record.slots_reported > 0


def test_a_broker_that_dies_and_returns_holds_what_was_due_and_skips_nothing(
    plan: FleetPlan, journal: Journal, broker: Broker
) -> None:
    with started(plan, journal) as fleet:
        begin(fleet)
        eventually(lambda: fleet.live().total("confirmed") > 300, "messages were confirmed")
        broker.kill()
        down_ns = now_ns()
        time.sleep(0.5)  # the length of the outage
        broker.start()
        eventually(fleet.producers_done, "the schedule was sent")
        fleet.finish_producers(5)
        attempts = slots(plan, "producer")
        assert sorted(attempts["seq"].tolist()) == list(range(int(RATE_PER_S * STEADY_S)))
        held = attempts["held"] == Held.DISCONNECTED
        assert held[
            (attempts["intended_ns"] > down_ns + 50_000_000) & (attempts["intended_ns"] < down_ns + 450_000_000)
        ].all()
        assert not held[attempts["intended_ns"] < down_ns - 100_000_000].any()
        assert set(attempts["outcome"][held].tolist()) <= {Outcome.CONFIRMED, Outcome.UNKNOWN}
        ups = fleet.connections().filter(shard="p0")["up"].to_list()
        assert ups[:3] == [True, False, True]
        fleet.stop_workers(5)
        assert fleet.problems() == []


def test_a_load_that_cannot_connect_says_why(plan: FleetPlan, journal: Journal) -> None:
    with Fleet.start(replace(plan, address="redis://127.0.0.1:1/0"), journal) as fleet:
        with pytest.raises(StartError, match=r"the load did not start: .*(producer|worker) .* ended unexpectedly"):
            fleet.wait_ready(30)
        pids = [fleet.pid, *(p.pid for p in descendants(fleet.pid))]
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []


def test_closing_twice_is_harmless_and_leaves_no_process(plan: FleetPlan, journal: Journal) -> None:
    with Fleet.start(plan, journal) as fleet:
        fleet.wait_ready(30)
        family = descendants(fleet.pid)
        assert len(family) == 4  # an agent and three shards
        fleet.close()
        fleet.close()
        eventually(lambda: alive(family) == [], "all ended", limit_s=3.0)


@pytest.mark.parametrize("victim", ["coordinator", "harness"])
def test_when_either_end_of_the_pipe_is_killed_everything_below_ends(
    plan: FleetPlan, journal: Journal, tmp_path: Path, victim: str
) -> None:
    family: list[psutil.Process]
    if victim == "coordinator":
        with Fleet.start(plan, journal) as fleet:
            fleet.wait_ready(30)
            family = descendants(fleet.pid)
            os.kill(fleet.pid, signal.SIGKILL)
            eventually(lambda: alive(family) == [], "all ended", limit_s=5.0)
            eventually(lambda: fleet.problems() == ["the fleet has ended unexpectedly"], "it was noticed")
            fleet.finish_producers(1)  # nothing to end, and no error that would hide the first cause
        return
    script = tmp_path / "harness_of_its_own.py"
    script.write_text(_HARNESS)
    words = json.dumps(
        {"shards": [config.to_json() for config in plan.shards()], "web": False, "address": plan.address}
    )
    with subprocess.Popen(
        [sys.executable, script, str(tmp_path / "logs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(words + "\n")
        parent.stdin.flush()
        assert json.loads(parent.stdout.readline())["event"] == "ready"
        family = descendants(parent.pid)
        assert len(family) == 5
        parent.kill()
        eventually(lambda: alive(family) == [], "all ended", limit_s=5.0)


_HARNESS = """
import json, subprocess, sys
plan = json.loads(sys.stdin.readline()) | {"logs": sys.argv[1]}
fleet = subprocess.Popen([sys.executable, "-m", "harness.load.fleet", "coordinator", "1"], start_new_session=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
for words in plan, {"do": "connect", "address": plan["address"], "producers_address": ""}:
    fleet.stdin.write(json.dumps(words).encode() + b"\\n")
fleet.stdin.flush()
for line in fleet.stdout:
    if json.loads(line)["event"] == "ready":
        print(line.decode(), end="", flush=True)
"""
