"""``deployment: external`` and ``address``: what they may say, what is refused and how, and that no password is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from scenario_support import CATALOGUE, MINIMAL, problem_of, problems_of, read_text

from harness.model import AS_FOUND
from harness.scenario.describe import as_dict, describe
from harness.scenario.schema import json_schema

EXTERNAL = f"{MINIMAL}deployment: external\n"
URL = "redis://:correct-horse-battery@db.example:6379/0"
TWO = EXTERNAL.replace("[redis-stream]", "[redis-stream, postgres-lease]")


def test_one_url_serves_all_setups_of_one_broker(tmp_path: Path) -> None:
    text = EXTERNAL.replace("[redis-stream]", "[redis-stream, redis-list]") + f"address: {URL}\n"
    address = read_text(tmp_path, text).address
    assert address is not None
    assert address.urls == {"redis": URL}
    assert address.shown() == {"redis": "redis://db.example:6379/0"}


def test_each_broker_has_an_address_of_its_own(tmp_path: Path) -> None:
    text = f"{TWO}address:\n  redis: {URL}\n  postgres: postgresql://u:pw@db/x\n"
    address = read_text(tmp_path, text).address
    assert address is not None
    assert address.urls == {"redis": URL, "postgres": "postgresql://u:pw@db/x"}


def test_the_command_line_may_say_both(tmp_path: Path) -> None:
    read = read_text(tmp_path, MINIMAL, "deployment=external", f"address={URL}")
    assert read.deployment == "external"
    assert read.address is not None
    one = read_text(tmp_path, f"{EXTERNAL}address: {{redis: redis://old}}\n", f"address.redis={URL}")
    assert one.address == read.address


def test_environment_variables_are_filled_in_and_their_names_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BB_HOST", "db.example:6379")
    monkeypatch.setenv("BB_PASSWORD", "correct-horse-battery")
    read = read_text(tmp_path, EXTERNAL + "address: redis://:${BB_PASSWORD}@${BB_HOST}/0\n")
    assert read.address is not None
    assert read.address.urls == {"redis": URL}
    assert read.address.variables == ("BB_PASSWORD", "BB_HOST")
    assert "address: redis://:${BB_PASSWORD}@${BB_HOST}/0" in read.text


def test_a_variable_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BB_ABSENT", raising=False)
    problem = problem_of(tmp_path, EXTERNAL + "address: ${BB_ABSENT}\n")
    assert (problem.place.line, problem.key) == (5, "address")
    assert problem.text == "the environment variable BB_ABSENT is not set"
    assert problem.remedy == "export BB_ABSENT=…"
    monkeypatch.setenv("BB_ABSENT", " ")
    assert problem_of(tmp_path, EXTERNAL + "address: ${BB_ABSENT}\n").text.endswith("is empty")


def test_a_case_is_named_by_what_is_written_and_the_rest_is_as_found(tmp_path: Path) -> None:
    setups = "\n  - redis-stream\n  - redis-stream: {persistence: [aof-everysec, none]}\n"
    text = EXTERNAL.replace("[redis-stream]", setups) + f"address: {URL}\n"
    cases = read_text(tmp_path, text).cases
    assert {case.id: case.parameters["persistence"] for case in cases} == {
        "redis-stream@external": AS_FOUND,
        "redis-stream[persistence=aof-everysec]@external": "aof-everysec",
        "redis-stream[persistence=none]@external": "none",
    }


def test_what_the_driver_makes_itself_keeps_its_default(tmp_path: Path) -> None:
    text = EXTERNAL.replace("redis-stream", "postgres-lease") + "address: postgresql://db/x\n"
    (case,) = read_text(tmp_path, text).cases
    assert case.parameters == {"synchronous_commit": AS_FOUND, "unlogged": "false"}


@pytest.mark.parametrize(
    ("text", "place", "told", "expected"),
    [
        (EXTERNAL, "deployment", "the brokers run already, and no address says where", "the key address for redis"),
        (f"{MINIMAL}address: {URL}\n", "address", "stands beside deployment: embedded", "no address"),
        (f"{TWO}address: {URL}\n", "address", "one URL for setups of redis and postgres", "{redis: …, postgres: …}"),
        (f"{TWO}address:\n  redis: {URL}\n", "address", "no address for postgres", "the key postgres"),
        (
            f"{EXTERNAL}address:\n  radis: {URL}\n",
            "address.radis",
            "there is no broker 'radis'",
            "one of redis, postgres",
        ),
        (f"{EXTERNAL}address: http://db\n", "address", "the scheme http:// does not belong to redis", "redis://…"),
        (f"{EXTERNAL}address: correct-horse-battery\n", "address", "this is no URL", "redis://…"),
        (f"{EXTERNAL}address: redis://u:correct-horse/battery@db\n", "address", "not percent-encoded", "redis://…"),
        (f"{EXTERNAL}address: redis://u:correct@horse/b#battery@db\n", "address", "not percent-encoded", "redis://…"),
        (f"{EXTERNAL}address: redis://u:correct@s:horse&=+@db\n", "address", "not percent-encoded", "redis://…"),
        (f"{EXTERNAL}address: redis://u:123?horse@db\n", "address", "not percent-encoded", "redis://…"),
        (f"{EXTERNAL}address: redis://u:123@db/0?a=horse@b\n", "address", "not percent-encoded", "redis://…"),
        (f"{EXTERNAL}address: redis://u:correct-horse battery@db\n", "address", "not percent-encoded", "redis://…"),
        (f"{EXTERNAL}address: redis://u:pw@db:correct-horse\n", "address", "no number up to 65535", "redis://…"),
        (f"{EXTERNAL}address: [{URL}]\n", "address", "this is no address", "one URL"),
        (f"{EXTERNAL}address:\n", "address", "has no value", "one URL"),
        (f"{EXTERNAL}address: ${{1x}}\n", "address", "holds no name of an environment variable", ""),
        (f'{EXTERNAL}address: "redis://:correct-\\x68orse@db"\n', "address", "with escapes", "in one piece"),
        (f"{EXTERNAL.replace('redis-stream', '~')}address: null://db\n", "address", "cannot be run on a broker", ""),
    ],
)
def test_an_address_that_cannot_be_is_refused_with_its_place_and_without_its_password(
    tmp_path: Path, text: str, place: str, told: str, expected: str
) -> None:
    problem = problems_of(tmp_path, text.replace("[~]", '["null"]'))[0]
    assert problem.key == place
    assert problem.place.line > 0
    assert told in problem.text
    assert expected in problem.expected
    assert not any(word in str(problem) for word in ("correct", "horse", "battery"))


def test_a_wrong_address_on_the_command_line_is_told_without_it(tmp_path: Path) -> None:
    for value in (
        "redis://u:correct/horse@db",
        "correct-horse",
        "[correct-horse]",
        "{redis: redis://u:correct horse@db}",
    ):
        for problem in problems_of(tmp_path, EXTERNAL, f"address={value}"):
            assert not any(word in str(problem) for word in ("correct", "horse")), problem


def test_a_url_in_the_wrong_place_is_told_without_its_password(tmp_path: Path) -> None:
    long = "redis://:" + "correct-horse-battery-" * 10 + "@db"
    for problem in problems_of(
        tmp_path, f"{MINIMAL}trials: {URL}\nseed: {long}\n", f"agents={URL}", f"load.rate={long}"
    ):
        assert "correct" not in str(problem)


@pytest.mark.parametrize("fault", ["kill: broker", "restart: broker", "pause: broker, for: 1 s"])
def test_a_fault_on_a_broker_that_is_not_ours_is_refused(tmp_path: Path, fault: str) -> None:
    problem = problem_of(tmp_path, f"{EXTERNAL}address: {URL}\nfaults:\n  - {{at: 10 s, {fault}}}\n")
    assert (problem.place.line, problem.key) == (7, f"faults.0.{fault.partition(':')[0]}")
    assert "not ours to strike" in problem.text
    assert problem.remedy == "remove it, or let the broker be started: deployment: embedded"


def test_faults_on_workers_and_producers_are_not_refused(tmp_path: Path) -> None:
    faults = "faults:\n  - {at: 10 s, kill: worker}\n  - {at: 12 s, kill: producer}\n"
    assert len(read_text(tmp_path, f"{EXTERNAL}address: {URL}\n{faults}").faults) == 2


def test_what_a_run_keeps_of_a_scenario_holds_no_password(tmp_path: Path) -> None:
    comment = "# the old one: redis://:another-one@db, the password is correct-horse-battery\n"
    read = read_text(tmp_path, f"{EXTERNAL}{comment}address: {URL}\n", f"address={URL}", "seed=2")
    kept = f"{read.text}{read.overrides}{as_dict(read)}{describe(read)}{read!r}"
    assert "correct-horse" not in kept
    assert "another-one" not in kept
    assert read.overrides == ("address=redis://:***@db.example:6379/0", "seed=2")
    assert as_dict(read)["address"] == {"redis": "redis://db.example:6379/0"}
    assert "brokers: redis://db.example:6379/0, as found" in describe(read)


def test_the_schema_takes_an_address_in_both_forms() -> None:
    validator = Draft202012Validator(json_schema(CATALOGUE))
    base = {"question": "q", "setups": ["redis-stream"], "load": {"rate": "1/s"}, "deployment": "external"}
    assert validator.is_valid({**base, "address": URL})
    assert validator.is_valid({**base, "address": {"redis": URL}})
    assert not validator.is_valid({**base, "address": {"radis": URL}})
