"""The scenarios that need containers, shortened: each shows what it is there to show."""

from __future__ import annotations

import polars as pl
import pytest

from harness.model import TrialStatus, Verdict
from harness.record import CaseRecord, TrialRecord
from tests.system.conftest import Bench, Finished

pytestmark = pytest.mark.slow


def run(bench: Bench, name: str, *settings: str) -> Finished:
    return bench("run", name, *(word for setting in settings for word in ("--set", setting)))


def trial_of(case: CaseRecord) -> TrialRecord:
    (trial,) = case.trials
    return trial


def whole(case: CaseRecord, metric: str) -> float:
    return trial_of(case).metrics["whole"].get(metric) or 0.0  # type: ignore[return-value]


def samples(finished: Finished, case: CaseRecord, metric: str) -> list[float]:
    assert finished.run is not None
    table = finished.run.trial_at(trial_of(case).folder).read_table("samples")
    return table.filter((pl.col("source") == "broker") & (pl.col("metric") == metric))["value"].to_list()


def test_a_bind_mount_outlives_the_container_and_an_anonymous_volume_does_not(docker_bench: Bench) -> None:
    finished = run(
        docker_bench,
        "volume-trap",
        "setups=[redis-stream: {volume: [bind, anonymous]}]",
        "load.profile=[{constant: 300/s, for: 6 s}, {spike: 20000/s, for: 50 ms}, {constant: 300/s, for: 950 ms}]",
    )
    assert finished.code == 0, finished.out + finished.err
    for case, volume in zip(finished.record.cases, ("bind", "anonymous"), strict=True):
        (fault,) = trial_of(case).faults
        assert fault.hit
        assert fault.evidence["container_before"] != fault.evidence["container_after"]
        (given,) = (given for given in case.guarantees if given.fault == "broker recreate")
        assert given.loss is not None
        if volume == "bind":
            assert (given.verdict, given.loss.lost) == (Verdict.HELD, 0)
        else:
            assert given.verdict is Verdict.NO_CLAIM
            assert given.loss.lost > 200
    assert docker_bench.gone() == []


def test_acknowledged_messages_come_again_from_a_classic_queue_and_hardly_from_a_quorum_queue(
    docker_bench: Bench,
) -> None:
    finished = run(
        docker_bench,
        "acked-messages-again",
        "load.profile=[{constant: 300/s, for: 6 s}, {spike: 20000/s, for: 150 ms}, {constant: 0/s, for: 1850 ms}]",
    )
    assert finished.code == 0, finished.out + finished.err
    classic, quorum = finished.record.cases
    assert (whole(classic, "loss.confirmed"), whole(quorum, "loss.confirmed")) == (0, 0)
    again = whole(classic, "mark.redelivered_after_ack")
    assert again > 50
    assert whole(quorum, "mark.redelivered_after_ack") < again / 2


def test_a_full_container_makes_brokers_refuse_hold_back_or_die(docker_bench: Bench) -> None:
    finished = run(docker_bench, "memory-limit-backpressure", "phases.drain=15 s")
    refusing, dying, blocking = finished.record.cases
    assert finished.code == 13, finished.out + finished.err
    assert trial_of(refusing).status is TrialStatus.VALID
    assert whole(refusing, "class.rejected") > 0
    assert whole(refusing, "loss.confirmed") == 0
    assert trial_of(dying).status is TrialStatus.INVALID
    assert "killed by the kernel for memory" in trial_of(dying).reasons[0]
    assert whole(blocking, "blocked") > 0
    assert whole(blocking, "class.rejected") == 0


def test_a_limit_on_its_cpu_throttles_a_broker_and_shows_in_p99(docker_bench: Bench) -> None:
    finished = run(docker_bench, "noisy-neighbour", "setups=[redis-stream: {cpus: 0.05}]", "phases.steady=5 s")
    assert finished.code == 0, finished.out + finished.err
    assert samples(finished, finished.case, "throttled_s")[-1] > 0.5
    assert whole(finished.case, "latency.publish.p99") > 0.03


def test_one_run_holds_the_hosts_network_and_a_published_port(docker_bench: Bench) -> None:
    finished = run(
        docker_bench,
        "network-modes",
        "setups=[redis-stream]",
        "network=[host, {bridge: {client: host}}]",
        "phases.steady=3 s",
    )
    assert finished.code == 0, finished.out + finished.err
    assert [case.id for case in finished.record.cases] == [
        "redis-stream@host",
        "redis-stream@bridge,client=host",
        "redis-stream[load=ceiling]@host",
        "redis-stream[load=ceiling]@bridge,client=host",
    ]
    for case in finished.record.cases:
        assert whole(case, "loss.confirmed") == 0
        assert samples(finished, case, "cpu_s")[-1] > 0
