"""What differs between two cases, and whether they may be compared: every row of the table of gate.md."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from harness.analysis.comparable import (
    ASKED,
    CASE,
    MACHINE,
    NEW_KEYS,
    OF_A_LATER_RUN,
    OF_A_PYTHON,
    OF_AN_IMAGE,
    Comparability,
    Kind,
    Side,
    Verdict,
    comparability,
    declared_by,
    scenario_hash,
)
from harness.environment import docker_facts, fingerprint
from harness.errors import ExitCode
from harness.model import DurabilityClass
from harness.record import ImageRecord
from tests.unit import records

FINGERPRINT: dict[str, Any] = {
    "identity": {
        "cpu_model": "AMD EPYC 7B13",
        "cpus": 4,
        "cpus_usable": 4,
        "cgroup_cpu_quota": "none",
        "architecture": "x86_64",
        "system": "Linux",
        "filesystem_data": "ext4",
        "filesystem_slots": "tmpfs",
        "filesystem_run": "ext4",
        "measurement_version": 2,
    },
    "drift": {
        "kernel": "6.8.0",
        "libc": "glibc 2.36",
        "python": "3.11.9",
        "libraries": {"redis": "6.2.0", "psycopg": None},
        "clock_source": "tsc",
        "cpu_governor": None,
        "hypervisor": True,
        "realtime_permitted": True,
        "memory_bytes": 8_000_000_000,
        "cgroup_memory_limit_bytes": None,
        "swap_bytes": 0,
        "docker": {
            "engine": "20.10.24",
            "compose": "2.26.1",
            "cgroup": "2",
            "storage": "overlay2",
            "storage_filesystem": "extfs",
            "system": "Debian 12",
        },
    },
    "subject": {"brokerbench": "0.1.0", "commit": "abc", "servers": {}, "load_image": "load:1"},
    "live": {"boot_id": "x", "load_average_1_min": 0.5, "pressure_avg10_percent": {"cpu": 0.1}},
}

SCENARIO: dict[str, Any] = {
    "name": "quickstart",
    "question": "What?",
    "load": {"profile": [{"kind": "constant", "rates_per_s": [2000.0]}], "payload_bytes": 256},
    "workers": {"count": 2, "prefetch": 100},
    "phases": {"warmup_s": 3.0, "steady_s": 20.0},
    "faults": [{"at_s": 10.0, "verb": "kill", "target": "broker", "settings": {}}],
    "trials": 1,
    "agents": {"local": 1, "remote": 0},
    "seed": 1,
    "slo": [],
    "address": None,
    "cases": [],
}

READ_BACK = {"found": {"appendonly": "yes", "appendfsync": "everysec"}, "also": {"hz": "10"}}


def side(
    run_id: str = "1" * 16,
    told: dict[str, Any] | None = None,
    scenario: dict[str, Any] | None = None,
    deployment: str = "embedded",
    settings: tuple[Any, ...] = (READ_BACK,),
    **case: Any,
) -> Side:
    run = records.run(
        run_id=run_id,
        fingerprint=FINGERPRINT if told is None else told,
        scenario_expanded=SCENARIO | (scenario or {}),
        deployment=deployment,
    )
    return Side(run=run, case=records.case().model_copy(update=case), settings=settings)


def changed(*path: str, value: Any) -> dict[str, Any]:
    """Returns the fingerprint with one value changed; None = unknown."""
    found = deepcopy(FINGERPRINT)
    inner = found
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return found


def other(**more: Any) -> Side:
    """Returns the same case of another run."""
    return side(run_id="2" * 16, **more)


def told(found: Comparability) -> list[str]:
    return [f"{difference.kind.value}: {difference}" for difference in found.differences]


def test_the_same_case_run_again_is_comparable() -> None:
    found = comparability(side(), other())
    assert (found.differences, found.verdict, found.verdict.exit_code) == ((), Verdict.COMPARABLE, ExitCode.PASS)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("cpu_model",), "Intel Xeon", "CPU model: AMD EPYC 7B13 / Intel Xeon"),
        (("cpus",), 8, "CPUs: 4 / 8"),
        (("cgroup_cpu_quota",), 1.5, "CPU quota of the control group: none / 1.5"),
        (("architecture",), "aarch64", "architecture: x86_64 / aarch64"),
        (("filesystem_data",), "tmpfs", "filesystem of the broker's data: ext4 / tmpfs"),
        (("measurement_version",), 3, "measurement version: 2 / 3"),
        (("cpu_model",), None, "CPU model: AMD EPYC 7B13 / unknown"),
    ],
)
def test_another_machine_is_refused(path: tuple[str, ...], value: Any, sentence: str) -> None:
    found = comparability(side(), other(told=changed("identity", *path, value=value)))
    assert told(found) == [f"identity: {sentence}"]
    assert (found.verdict, found.verdict.exit_code) == (Verdict.REFUSED, ExitCode.NOT_COMPARABLE)


def test_what_neither_side_knows_counts_as_different() -> None:
    nobody_knows = changed("identity", "cgroup_cpu_quota", value=None)
    found = comparability(side(told=nobody_knows), other(told=nobody_knows))
    assert told(found) == ["identity: CPU quota of the control group: unknown on both sides"]
    assert comparability(side(told={}), other(told={})).verdict is Verdict.REFUSED


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("kernel",), "6.9.1", "kernel: 6.8.0 / 6.9.1"),
        (("python",), "3.12.1", "Python: 3.11.9 / 3.12.1"),
        (("python",), None, "Python: 3.11.9 / unknown"),
        (("libraries", "redis"), "7.0", "client libraries: redis: 6.2.0 / 7.0"),
        (("libraries", "psycopg"), "3.2", "client libraries: psycopg: none / 3.2"),
        (("cpu_governor",), "performance", "CPU governor: unknown / performance"),
    ],
)
def test_drift_is_flagged(path: tuple[str, ...], value: Any, sentence: str) -> None:
    found = comparability(side(), other(told=changed("drift", *path, value=value)))
    assert told(found) == [f"drift: {sentence}"]
    assert (found.verdict, found.verdict.exit_code) == (Verdict.FLAGGED, ExitCode.PASS)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("storage", "btrfs", "identity: Docker's storage driver: overlay2 / btrfs"),
        ("storage_filesystem", None, "identity: filesystem of Docker's storage: extfs / unknown"),
        ("engine", "24.0", "drift: Docker engine: 20.10.24 / 24.0"),
    ],
)
def test_dockers_part_counts_where_a_run_used_it(name: str, value: Any, sentence: str) -> None:
    told_by = changed("drift", "docker", name, value=value)
    assert told(comparability(side(deployment="docker"), other(deployment="docker", told=told_by))) == [
        sentence,
        "subject: image of the broker: unknown on both sides",
    ]
    assert comparability(side(), other(told=told_by)).verdict is Verdict.COMPARABLE


def test_another_deployment_is_refused() -> None:
    found = comparability(side(), other(deployment="docker", image=ImageRecord(reference="r", digest="d", source="s")))
    assert told(found)[0] == "identity: deployment: embedded / docker"
    assert found.verdict is Verdict.REFUSED
    without = changed("drift", "docker", value=None)
    assert "identity: Docker's storage driver: unknown / overlay2" in told(
        comparability(side(told=without), other(deployment="docker"))
    )


def test_the_hour_is_told_and_judges_nothing() -> None:
    found = comparability(side(), other(told=changed("live", "load_average_1_min", value=7.5)))
    assert told(found) == ["live: load average at the start: 0.5 / 7.5"]
    assert found.verdict is Verdict.COMPARABLE


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"load": SCENARIO["load"] | {"payload_bytes": 1024}}, "scenario: load: payload_bytes: 256 / 1024"),
        ({"workers": SCENARIO["workers"] | {"prefetch": 1}}, "scenario: workers: prefetch: 100 / 1"),
        ({"phases": {"warmup_s": 3.0, "steady_s": 5.0}}, "scenario: phases: steady_s: 20.0 / 5.0"),
        ({"agents": 2}, "scenario: agents: local: 1 / 2"),
        ({"load": None}, "scenario: load: {"),
        ({"faults": None}, "scenario: faults: ["),
    ],
)
def test_another_question_is_refused(changes: dict[str, Any], sentence: str) -> None:
    asked, differently = side(), other(scenario=changes)
    found = comparability(asked, differently)
    assert [words for words in told(found) if not words.startswith(f"identity: {sentence}")] == []
    assert found.verdict is Verdict.REFUSED
    assert scenario_hash(asked) != scenario_hash(differently)


def test_a_question_that_neither_run_wrote_down_counts_as_another() -> None:
    nobody_knows = {"phases": None}
    found = comparability(side(scenario=nobody_knows), other(scenario=nobody_knows))
    assert told(found) == ["identity: scenario: phases: unknown on both sides"]


def test_words_bounds_and_repetitions_are_not_part_of_the_question() -> None:
    again = other(scenario={"name": "x", "question": "y", "trials": 9, "slo": [{"metric": "lag.p99"}], "agents": 1})
    assert comparability(side(), again).verdict is Verdict.COMPARABLE
    assert scenario_hash(side()) == scenario_hash(again)


def test_another_seed_draws_from_the_same_question_and_is_flagged() -> None:
    assert told(comparability(side(), other(scenario={"seed": 2}))) == ["drift: seed: 1 / 2"]


def test_a_ceiling_is_not_compared_with_a_rate_even_within_a_run() -> None:
    found = comparability(side(), side(ceiling=True))
    assert told(found) == ["identity: scenario: ceiling: false / true"]


def test_what_a_scenario_varies_by_itself_is_what_it_compares() -> None:
    varied = {
        "workers": {"count": 2},
        "cases": [{"id": "one", "workers": {"prefetch": 1}}, {"id": "many", "workers": {"prefetch": 100}}],
    }
    one, many = side(scenario=varied, id="one"), side(scenario=varied, id="many")
    assert told(comparability(one, many)) == ["subject: scenario: workers: prefetch: 1 / 100"]
    assert comparability(side(), other(scenario=varied, id="many")).verdict is Verdict.COMPARABLE
    assert comparability(side(), other(scenario=varied, id="one")).verdict is Verdict.REFUSED


def test_cases_of_one_run_share_what_nobody_wrote_down() -> None:
    unknown: dict[str, Any] = {"load": None, "workers": None}
    host = {"network": "host", "durability_class": DurabilityClass.MEMORY}
    found = comparability(side(told={}, scenario=unknown), side(told={}, scenario=unknown, **host))
    assert {difference.kind for difference in found.differences} == {Kind.SUBJECT}
    assert "subject: network: embedded / host" in told(found)


def test_settings_read_back_otherwise_than_in_the_same_case_are_refused() -> None:
    always = {"found": {"appendonly": "yes", "appendfsync": "always"}}
    found = comparability(side(), other(settings=(always,)))
    assert told(found) == ["identity: read back: appendfsync: everysec / always"]
    mixed = comparability(side(), other(settings=(READ_BACK, always)))
    assert told(mixed) == ["identity: read back: appendfsync: everysec / always or everysec"]


def test_a_case_without_a_trial_that_counts_is_no_reason_to_refuse_the_others() -> None:
    assert comparability(side(), other(settings=())).verdict is Verdict.COMPARABLE


@pytest.mark.parametrize("settings", [(None,), (READ_BACK, None), ({"asked": {}},)])
def test_settings_that_were_not_read_back_count_as_different(settings: tuple[Any, ...]) -> None:
    found = comparability(side(), other(settings=settings))
    assert told(found) == ["identity: read back: known / unknown"]


def test_what_was_left_as_found_must_be_found_alike() -> None:
    as_found = {"as_found": ["persistence"], "parameters": {"persistence": "aof-everysec"}}
    strict = as_found | {"parameters": {"persistence": "aof-always"}}
    always = {"found": {"appendonly": "yes", "appendfsync": "always"}}
    external = {"deployment": "external", "scenario": {"address": {"redis": "redis://10.0.0.1/0"}}}
    found = comparability(side(**external, **as_found), other(**external, settings=(always,), **strict))
    assert told(found) == [
        "drift: the broker's own machine: unknown on both sides",
        "identity: read back: appendfsync: everysec / always",
        "subject: parameters: persistence: aof-everysec / aof-always",
    ]


def test_parameters_that_were_asked_for_differently_are_what_is_compared() -> None:
    none = {"parameters": {"persistence": "none"}, "settings": ({"found": {"appendonly": "no"}},)}
    found = comparability(side(parameters={"persistence": "aof-everysec"}), side(**none))
    assert {difference.kind for difference in found.differences} == {Kind.SUBJECT}
    assert "subject: read back: appendonly: yes / no" in told(found)
    assert found.verdict is Verdict.COMPARABLE


def test_two_setups_have_no_setting_in_common() -> None:
    postgres = {"setup": "postgres-lease", "settings": ({"found": {"fsync": "on"}},)}
    assert not any("read back" in words for words in told(comparability(side(), side(**postgres))))


def test_the_names_of_a_runs_own_queues_are_no_setting() -> None:
    def dead(run: str) -> tuple[dict[str, Any]]:
        return ({"found": {"x-dead-letter-routing-key": f"bb_{run * 16}_12_dead"}},)

    assert comparability(side(settings=dead("a")), other(settings=dead("b"))).verdict is Verdict.COMPARABLE


def test_a_broker_elsewhere_is_flagged_and_at_another_address_refused() -> None:
    here = {"deployment": "external", "scenario": {"address": {"redis": "redis://10.0.0.1/0"}}}
    there = {"deployment": "external", "scenario": {"address": {"redis": "redis://10.0.0.2/0"}}}
    assert comparability(side(**here), other(**here)).verdict is Verdict.FLAGGED
    assert "identity: address of the broker: redis: redis://10.0.0.1/0 / redis://10.0.0.2/0" in told(
        comparability(side(**here), other(**there))
    )
    lent = {"scenario": {"agents": {"local": 1, "remote": 1}}}
    assert told(comparability(side(**lent), other(**lent))) == ["drift: the agents' machines: unknown on both sides"]


def test_every_field_of_the_table_is_in_a_fingerprint_that_this_machine_makes(tmp_path: Any) -> None:
    found = fingerprint(tmp_path)
    found["drift"]["docker"] = docker_facts({"Driver": "overlay2", "DockerRootDir": "/"}, "2.26.1") | {"engine": "1"}
    names = {part: value for group in found.values() for part, value in group.items()}
    missing = [row.name for row in MACHINE if row.kind is Kind.IDENTITY and row.read(side(told=found)) is None]
    assert missing == ["address of the broker"]  # only of an external one
    assert names["cgroup_cpu_quota"] is not None
    assert [row.kind for row in CASE] == [Kind.SUBJECT] * len(CASE)


IMAGE = ImageRecord(reference="redis:8", digest="sha256:1", source="official")
NEWER = ImageRecord(reference="redis:9", digest="sha256:2", source="official")


def test_a_subject_that_nobody_declared_is_refused() -> None:
    old, new = side(deployment="docker", image=IMAGE), other(deployment="docker", image=NEWER)
    assert comparability(old, new).verdict is Verdict.COMPARABLE
    assert comparability(old, new, declared=OF_AN_IMAGE).verdict is Verdict.COMPARABLE
    assert told(comparability(old, new, declared=OF_A_PYTHON)) == ["identity: image of the broker: sha256:1 / sha256:2"]


def test_what_is_declared_is_the_subject_with_all_below_it_and_nothing_beside_it() -> None:
    asked = other(scenario={"workers": {"count": 2, "prefetch": 1}})
    assert comparability(side(), asked).verdict is Verdict.REFUSED
    found = comparability(side(), asked, declared=declared_by(["workers.prefetch=1"]))
    assert told(found) == ["subject: scenario: workers: prefetch: 100 / 1"]
    drifted = other(told=changed("drift", "python", value="3.12.0"))
    assert comparability(side(), drifted, declared=OF_AN_IMAGE).verdict is Verdict.FLAGGED
    assert comparability(side(), drifted, declared=OF_A_PYTHON).verdict is Verdict.COMPARABLE


def test_a_setup_that_is_declared_may_read_back_what_it_was_asked_for() -> None:
    always = {"found": READ_BACK["found"] | {"appendfsync": "always"}, "also": {}}
    asked = other(parameters={"persistence": "aof-always", "maxmemory": ""}, settings=(always,))
    declared = declared_by(["setups.redis-stream.persistence=aof-always"])
    assert comparability(side(), asked, declared=declared).verdict is Verdict.COMPARABLE
    assert comparability(side(), asked, declared=OF_A_LATER_RUN).verdict is Verdict.REFUSED


def test_a_parameter_that_is_declared_is_the_subject_alone() -> None:
    declared = declared_by(["setups.redis-stream.persistence=aof-always"])
    asked = other(parameters={"persistence": "aof-always", "trim": "none"})
    found = comparability(side(parameters={"persistence": "none", "trim": "1000"}), asked, declared=declared)
    assert told(found) == [
        "subject: parameters: persistence: none / aof-always",
        "identity: parameters: trim: 1000 / none",
    ]


def test_every_name_that_can_be_declared_is_one_of_a_difference() -> None:
    known = {row.name for row in (*MACHINE, *CASE)} | {
        "read back",
        *(f"scenario: {part}" for part in (*ASKED, "ceiling")),
    }
    keys = (
        "setups",
        "network",
        "client",
        "deployment",
        "address",
        "load",
        "workers",
        "phases",
        "faults",
        "agents",
        "seed",
    )
    names = declared_by(f"{key}=1" for key in keys) | {*OF_A_PYTHON, *OF_AN_IMAGE, *OF_A_LATER_RUN} - {NEW_KEYS}
    assert names - known == set()
    assert declared_by(["question=Why?", "trials=3"]) == set()


def test_a_parameter_that_only_one_version_knows_has_its_default_there() -> None:
    more = {"found": READ_BACK["found"] | {"max-ready": "0"}, "also": {}}
    newer = other(parameters=side().case.parameters | {"max_ready": ""}, settings=(more,))
    assert comparability(side(), newer).verdict is Verdict.COMPARABLE
    for declared in (OF_A_LATER_RUN, OF_A_PYTHON):
        found = comparability(side(), newer, declared=declared)
        assert told(found) == [
            "subject: read back: max-ready: none / 0",
            "subject: parameters: max_ready: none / empty",
        ]
    assert comparability(side(), newer, declared=OF_AN_IMAGE).verdict is Verdict.REFUSED
    changed_too = other(parameters={"persistence": "none"})
    assert comparability(side(), changed_too, declared=OF_A_LATER_RUN).verdict is Verdict.REFUSED


def test_a_key_of_a_scenario_that_only_one_version_knows_is_its_default_where_the_file_is_the_same() -> None:
    newer = other(scenario={"workers": {"count": 2, "prefetch": 100, "idempotency": "off"}})
    assert comparability(side(), newer, declared=OF_A_PYTHON).verdict is Verdict.COMPARABLE
    assert comparability(side(), newer, declared=OF_A_LATER_RUN).verdict is Verdict.REFUSED
