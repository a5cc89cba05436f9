"""What is known of this machine is kept per environment, and whatever happened to its file, no run suffers from it."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness import calibrations
from harness.errors import BrokerbenchError
from harness.gate.noise import Calibrations, Ceiling, calibration_schema, environment_class
from harness.run.ceiling import generator, known_ceiling
from harness.scenario.model import Agents
from tests.unit.scenario_support import read_text
from tests.unit.test_comparable import FINGERPRINT
from tests.unit.test_noise import calibration

SCENARIO = "question: How fast?\nsetups: [null]\ndeployment: embedded\nload: {rate: 1000/s}\n"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BROKERBENCH_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def ceiling(load: dict[str, Any], rate_per_s: float = 5000.0) -> Ceiling:
    return Ceiling(load=load, rate_per_s=rate_per_s, trials=3, tool_version="1", measured_wall_ns=1)


def place() -> Path:
    return calibrations.place(environment_class(FINGERPRINT))


def test_what_was_written_is_read_for_the_same_environment_only(state: Path) -> None:
    path = calibrations.write(FINGERPRINT, lambda known: known.with_calibration(calibration()))
    assert path == place() == state / "calibrations" / environment_class(FINGERPRINT) / "calibration.json"
    found, problem = calibrations.read(FINGERPRINT)
    assert (found.calibrations, problem) == ([calibration()], "")
    assert found.identity["cpu_model"] == FINGERPRINT["identity"]["cpu_model"]
    other = {**FINGERPRINT, "identity": {**FINGERPRINT["identity"], "cpus": 64}}
    assert calibrations.read(other)[0].calibrations == []


def test_nothing_known_is_no_problem() -> None:
    assert calibrations.read(FINGERPRINT)[1] == ""


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "Expecting property name"),
        (b'{"\x80', "codec can't decode"),
        (b"[]", "valid dictionary"),
        (b'{"schema_version": 9}', "schema version 9, a newer brokerbench wrote it"),
        (b'{"schema_version": "x", "environment": "e", "identity": {}}', "schema_version"),
        (b'{"environment": "e", "identity": {}, "calibrations": [{"case": 1}]}', "calibrations.0"),
        (b"[" * 100_000, ""),
    ],
)
def test_a_broken_file_is_a_sentence_with_the_remedy_and_knows_nothing(content: bytes, why: str) -> None:
    place().parent.mkdir(parents=True)
    place().write_bytes(content)
    found, problem = calibrations.read(FINGERPRINT)
    assert (found.calibrations, found.ceilings) == ([], [])
    assert str(place()) in problem
    assert why in problem
    assert problem.endswith("; measure it anew: brokerbench calibrate")


def test_a_folder_where_the_file_should_be_is_a_sentence_too() -> None:
    place().mkdir(parents=True)
    assert "directory" in calibrations.read(FINGERPRINT)[1].lower()


def test_a_broken_file_is_written_anew() -> None:
    place().parent.mkdir(parents=True)
    place().write_text("{")
    calibrations.write(FINGERPRINT, lambda known: known.with_calibration(calibration()))
    assert calibrations.read(FINGERPRINT)[0].calibrations == [calibration()]


def test_two_that_write_at_once_lose_nothing() -> None:
    def write(number: int) -> None:
        calibrations.write(FINGERPRINT, lambda known: known.with_calibration(calibration(f"{number}@embedded")))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = calibrations.read(FINGERPRINT)[0].calibrations
    assert sorted(each.case for each in found) == [f"{number}@embedded" for number in range(8)]


def test_a_state_folder_that_takes_no_write_is_an_error_with_the_remedy(state: Path) -> None:
    state.write_text("a file")
    with pytest.raises(BrokerbenchError, match="cannot be written"):
        calibrations.write(FINGERPRINT, lambda known: known)


def test_a_run_finds_the_ceiling_of_its_own_load_and_of_no_other(tmp_path: Path) -> None:
    scenario = read_text(tmp_path, SCENARIO)
    [case] = scenario.cases
    load = generator(case, scenario.agents)
    json.dumps(load)
    calibrations.write(FINGERPRINT, lambda known: known.with_ceiling(ceiling(load)))
    assert known_ceiling(FINGERPRINT, case, scenario.agents) == 5000.0
    [wider] = read_text(tmp_path, SCENARIO.replace("1000/s", "1000/s, producers: 2")).cases
    assert known_ceiling(FINGERPRINT, wider, scenario.agents) is None
    assert known_ceiling(FINGERPRINT, case, Agents(local=1, remote=1)) is None
    slower = read_text(tmp_path, SCENARIO + "workers: {work: {constant: 1 ms}}\n")
    assert known_ceiling(FINGERPRINT, slower.cases[0], slower.agents) == 5000.0  # the work is none of the generator's
    place().write_text("{")
    assert known_ceiling(FINGERPRINT, case, scenario.agents) is None


def test_the_form_is_whole_in_its_file() -> None:
    path = calibrations.write(FINGERPRINT, lambda known: known.with_calibration(calibration()))
    value = json.loads(path.read_bytes())
    jsonschema.validate(value, calibration_schema())
    assert Calibrations.model_validate(value).model_dump(mode="json") == value
    assert [name for name in os.listdir(path.parent) if name.endswith(".tmp")] == []  # noqa: PTH208 - names are what is asked
