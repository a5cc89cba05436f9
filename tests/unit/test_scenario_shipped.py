"""The scenarios that ship: found by name, sound with the real setups and faults, and each as long as it says."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from harness.brokers import setups
from harness.errors import UsageError
from harness.faults import faults
from harness.model import FaultKind
from harness.scenario import shipped
from harness.scenario.catalogue import Catalogue
from harness.scenario.describe import expected_run_s, expected_trial_s
from harness.scenario.model import Scenario
from harness.scenario.read import read_scenario
from harness.scenario.schema import json_schema
from harness.schedule import expected_messages

CATALOGUE = Catalogue(setups=setups(), faults=faults(), deployments=("docker", "embedded", "external"))
NAMES = [
    "acked-messages-again",
    "broker-graceful-restart",
    "broker-pause",
    "client-retry-duplicates",
    "crash",
    "fsync",
    "idempotency-trap",
    "lease-shorter-than-job",
    "memory-limit-backpressure",
    "network-modes",
    "noisy-neighbour",
    "overload",
    "prefetch-sweep",
    "quickstart",
    "regression",
    "saturate",
    "smoke",
    "volume-trap",
    "worker-kill",
]
ON_DOCKER = (
    "acked-messages-again",
    "memory-limit-backpressure",
    "network-modes",
    "noisy-neighbour",
    "volume-trap",
)


def read(name: str) -> Scenario:
    return read_scenario(name, CATALOGUE)


def test_all_are_found_by_name():
    assert list(shipped.all()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_is_sound_and_states_question_and_expectation(name: str):
    scenario = read(name)
    assert scenario.name == name
    assert scenario.question.endswith("?")
    assert scenario.expect.endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_each_is_valid_for_editors(name: str):
    written = YAML(typ="safe", pure=True).load(shipped.find(name))
    jsonschema.Draft202012Validator(json_schema(CATALOGUE)).validate(written)


def test_quickstart_is_three_cases_that_end_within_a_minute():
    scenario = read("quickstart")
    assert [case.id for case in scenario.cases] == [
        "redis-stream[persistence=none]@embedded",
        "redis-stream@embedded",
        "postgres-lease@embedded",
    ]
    assert [(fault.label, fault.settings) for fault in scenario.faults] == [("kill broker", {"restart_after": 0.5})]
    assert scenario.longest_hold_s == 3.0
    assert expected_run_s(scenario) < 60


def test_quickstart_has_enough_messages_for_a_p99_before_its_fault():
    scenario = read("quickstart")
    start_s, first_s = scenario.phases.warmup_s, scenario.faults[0].at_s
    assert expected_messages(scenario.load, scenario.phases, from_s=start_s, to_s=start_s + first_s - 1) > 10_000


def test_worker_kill_covers_the_seven_setups_and_redelivers_within_the_run():
    scenario = read("worker-kill")
    assert [case.setup.name for case in scenario.cases] == [
        *("redis-list", "redis-reliable-list", "redis-stream", "rabbitmq-classic", "rabbitmq-quorum"),
        *("postgres-lease", "postgres-delete"),
    ]
    (fault,) = scenario.faults
    workers = scenario.workers
    assert fault.label == "kill worker"
    assert fault.settings == {"count": 4, "replace_after": 1.0}  # half of them: some surely hold something
    assert fault.at_s + workers.visibility_s + 2 * workers.sweep_s < scenario.phases.steady_s
    assert workers.count / workers.work_s > 1.3 * 1000  # the load, with room to catch up


def test_crash_has_seven_cases_and_a_burst_that_waits_when_the_broker_dies():
    scenario = read("crash")
    assert [case.id.removesuffix("@embedded") for case in scenario.cases] == [
        *("redis-stream[persistence=none]", "redis-stream"),
        *("rabbitmq-classic", "rabbitmq-classic[persistent=false]", "rabbitmq-quorum"),
        *("postgres-lease", "postgres-lease[synchronous_commit=off]"),
    ]
    (fault,) = scenario.faults
    before = [piece.duration_s for piece in scenario.load.profile[:2]]
    assert (fault.label, fault.at_s) == ("kill broker", pytest.approx(sum(before) + 0.02))
    assert scenario.load.profile[1].rates_per_s == (20_000.0,)


def test_broker_pause_stops_for_two_of_thirty_seconds_and_holds_outlast_it():
    scenario = read("broker-pause")
    assert [(fault.label, fault.settings) for fault in scenario.faults] == [("pause broker", {"for": 2.0})]
    assert (scenario.phases.steady_s, scenario.load.profile[0].rates_per_s) == (30.0, (2000.0,))
    assert scenario.workers.visibility_s > 2.0


def test_prefetch_sweep_has_every_prefetch_on_every_setup_and_no_hold_runs_out_by_itself():
    scenario = read("prefetch-sweep")
    assert {case.workers.prefetch for case in scenario.cases} == {1, 10, 100, 1000}
    assert len(scenario.cases) == 4 * len({case.setup.name for case in scenario.cases})
    assert scenario.workers.visibility_s > 2 * 1000 * scenario.workers.work_s
    assert (
        scenario.workers.count / scenario.workers.work_s < scenario.load.profile[0].rates_per_s[0]
    )  # messages always wait


def test_idempotency_trap_compares_all_wrappers():
    scenario = read("idempotency-trap")
    wrappers = [case.workers.idempotency for case in scenario.cases]
    assert wrappers == ["none", "delete-in-finally", "key-first", "done-marker"]


def test_lease_shorter_than_job_has_jobs_on_both_sides_of_the_lease():
    workers = read("lease-shorter-than-job").workers
    assert (workers.work, workers.prefetch) == ("exponential", 1)  # a hold is one job
    assert workers.work_s < workers.visibility_s < 3 * workers.work_s


def test_saturate_is_closed_loop_on_the_five_setups():
    scenario = read("saturate")
    assert scenario.load.saturate_window == 1000
    assert len(scenario.cases) == 5


@pytest.mark.parametrize("name", ON_DOCKER)
def test_what_needs_containers_says_so_and_ends_within_five_minutes(name: str):
    scenario = read(name)
    assert scenario.deployment == "docker"
    assert expected_run_s(scenario) < 300


@pytest.mark.parametrize("ceiling", [False, True])
def test_the_networks_are_compared_on_three_brokers_and_from_outside_at_a_rate_and_in_closed_loop(ceiling: bool):
    cases = [case for case in read("network-modes").cases if case.ceiling is ceiling]
    ways = {(case.site.network, case.site.client) for case in cases}
    assert ways == {*((word, "container") for word in ("bridge", "host", "overlay")), ("bridge", "host")}
    assert len(cases) == 4 * len({case.setup.broker for case in cases}) == 12
    assert {case.load.saturate_window for case in cases} == {1000 if ceiling else None}


def test_volume_trap_recreates_while_a_burst_waits_and_only_two_volumes_claim_to_keep_it():
    scenario = read("volume-trap")
    (fault,) = scenario.faults
    before = [piece.duration_s for piece in scenario.load.profile[:2]]
    assert (fault.label, fault.at_s) == ("recreate broker", pytest.approx(sum(before) + 0.01))
    assert fault.at_s > max(case.setup.settles_in_s for case in scenario.cases)
    claiming = {
        case.site.container.volume
        for case in scenario.cases
        if case.site.container is not None
        and any(claim.fault is FaultKind.BROKER_RECREATE for claim in case.setup.claims_of(case.all_parameters))
    }
    assert claiming == {"named", "bind"}


def test_acked_messages_again_kills_between_acks_when_nothing_new_has_come_for_a_second():
    scenario = read("acked-messages-again")
    (fault,) = scenario.faults
    _, spike, pause, _ = scenario.load.profile
    since_s = fault.at_s - sum(piece.duration_s for piece in scenario.load.profile[:2])
    assert pause.rates_per_s == (0.0,)
    assert 0.9 < since_s < pause.duration_s
    acked = since_s * scenario.workers.count / scenario.workers.work_s
    assert acked < 2048  # a classic queue writes what it has acknowledged once it is so much
    assert spike.rates_per_s[0] * spike.duration_s > 2 * acked  # a backlog is left


def test_smoke_is_short():
    assert expected_trial_s(read("smoke")) < 10


def test_an_unknown_name_gets_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        shipped.find("quikstart")
    assert caught.value.problem == "there is no scenario 'quikstart'"
    assert caught.value.remedy == "did you mean 'quickstart'?"
    assert "worker-kill" in caught.value.expected


def test_a_path_wins_where_it_is_written_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("smoke").write_text("mine")
    Path("mine.yaml").write_text("mine")
    assert shipped.find("smoke") == Path("smoke")
    assert shipped.find("mine.yaml") == Path("mine.yaml")
    assert shipped.find("folder/other") == Path("folder/other")
    assert shipped.find("quickstart").is_absolute()


def test_a_folder_with_the_name_of_a_scenario_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("smoke").mkdir()
    assert shipped.find("smoke") == shipped.all()["smoke"]
