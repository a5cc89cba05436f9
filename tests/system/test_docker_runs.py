"""Shipped scenarios on Docker, shortened, with the load in a container: the same claims hold as elsewhere, and nothing is left behind."""

from __future__ import annotations

import pytest

from harness.containers.engine import LABEL, engine
from harness.model import Verdict
from harness.record import CaseRecord
from tests.system.conftest import Bench

pytestmark = pytest.mark.slow


def shortened(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def lost(case: CaseRecord) -> float:
    (trial,) = case.trials
    figure = trial.metrics["whole"]["loss.confirmed"]
    assert isinstance(figure, float)
    return figure


def verdict(case: CaseRecord, fault: str) -> Verdict:
    (given,) = (given for given in case.guarantees if given.fault == fault)
    return given.verdict


def test_workers_that_are_killed_in_the_loads_container_lose_nothing_on_any_of_the_brokers(docker_bench: Bench) -> None:
    setups = ["redis-stream", "rabbitmq-quorum", "postgres-delete"]
    settings = shortened(f"setups=[{', '.join(setups)}]", "deployment=docker", "network=bridge", "phases.steady=9 s")
    finished = docker_bench("run", "worker-kill", *settings)
    assert finished.code == 0, finished.out + finished.err
    assert [case.id for case in finished.record.cases] == [f"{setup}@bridge" for setup in setups]
    assert finished.run is not None
    for case in finished.record.cases:
        assert (lost(case), verdict(case, "worker kill")) == (0, Verdict.HELD)
        (trial,) = case.trials
        (fault,) = trial.faults
        assert fault.hit
        facts = finished.run.trial_at(trial.folder).read_facts()
        killed = [shard for shard in facts.shards if shard.killed_ns is not None]
        assert len(killed) == 4
        assert all(shard.slots_found > 0 for shard in killed), "what they saw came back from the container"
    assert docker_bench.gone() == []


def test_a_killed_container_loses_what_its_settings_say_and_no_more(docker_bench: Bench) -> None:
    settings = shortened(
        "setups=[redis-stream: {persistence: [none, aof-everysec]}, postgres-lease: {synchronous_commit: on}]",
        "load.profile=[{constant: 2000/s, for: 6 s}, {spike: 20000/s, for: 100 ms}, {constant: 2000/s, for: 1900 ms}]",
        "faults.0.at=6120 ms",
        "deployment=docker",
        "network=bridge",
    )
    finished = docker_bench("run", "crash", *settings)
    assert finished.code == 0, finished.out + finished.err
    memory, file, table = finished.record.cases
    assert lost(memory) > 0
    assert (lost(file), lost(table)) == (0, 0)
    for case in (file, table):
        assert verdict(case, "broker kill") is Verdict.HELD
    for case in finished.record.cases:
        (fault,) = case.trials[0].faults
        assert fault.hit
        assert fault.evidence["gone"] is True
    assert docker_bench.gone() == []


def test_a_load_whose_container_is_removed_ends_the_trial_at_once_and_that_is_the_only_reason(
    docker_bench: Bench,
) -> None:
    words = shortened("setups=[redis-stream]", "deployment=docker", "network=bridge", "phases.steady=60 s", "faults=[]")
    started = docker_bench.start("run", "worker-kill", *words)
    docker_bench.wait_for(started, lambda lines: any(line.get("phase") == "steady" for line in lines))
    (run_id,) = docker_bench.run_ids()
    (load,) = [
        each
        for each in engine().containers.list(filters={"label": f"{LABEL}={run_id}"})
        if str(each.name).endswith("-load")
    ]
    load.remove(force=True)
    finished = docker_bench.finish(started)
    assert finished.code == 13, finished.out + finished.err
    assert finished.trial.reasons == ["the load ended early: its container was removed"]
    assert [line["phase"] for line in docker_bench.timeline() if "phase" in line][-1] == "steady"
    assert docker_bench.gone() == []
