"""The command ``doctor``, as a user types it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest

from harness.doctor.finding import diagnosis_schema
from tests.system.conftest import COMMAND, Bench

pytestmark = pytest.mark.slow


def test_doctor_says_that_the_quickstart_can_run_here_and_leaves_nothing(bench: Bench) -> None:
    finished = bench("doctor")
    assert finished.code == 0, finished.out
    assert finished.err == ""
    assert finished.out.rstrip().endswith("The quickstart can run here: brokerbench run quickstart")
    assert "\x1b[" not in finished.out
    assert list(bench.home.iterdir()) == []
    assert bench.processes() == []


def test_doctor_prints_json_that_fits_its_schema_and_nothing_else(bench: Bench) -> None:
    finished = bench("doctor", "--json")
    assert (finished.code, finished.err) == (0, "")
    diagnosis = json.loads(finished.out)
    jsonschema.Draft202012Validator(diagnosis_schema()).validate(diagnosis)
    assert json.loads(bench("schema", "--doctor").out) == diagnosis_schema()
    needed = {finding["id"] for finding in diagnosis["findings"] if finding["required"]}
    assert {"python", "packages", "slots", "broker.redis", "broker.postgres", "ports"} <= needed
    assert "broker.rabbitmq" in {finding["id"] for finding in diagnosis["findings"]} - needed


def test_a_narrow_terminal_has_words_that_can_be_read(bench: Bench) -> None:
    lines = bench("doctor", COLUMNS="30").out.splitlines()
    assert max(map(len, lines)) <= 30
    assert any(line.startswith("  ✓ ok: cores") for line in lines)
    assert sum(len(line.strip()) == 1 for line in lines) <= 3  # by chance, at the end of a sentence


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
@pytest.mark.parametrize("words", [["doctor"], ["doctor", "--json"], ["list"], ["check", "quickstart"], ["schema"]])
def test_a_full_disk_under_stdout_is_told_in_one_sentence(bench: Bench, words: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [*COMMAND, *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=bench.home,
            env=bench.environment(),
            check=False,
        )
    assert ended.returncode == 70
    assert ended.stderr.splitlines() == [
        "brokerbench: stdout could not be written: No space left on device",
        "  remedy: make room where it goes, or send it elsewhere",
    ]


def test_a_server_that_hangs_and_one_that_is_none_are_findings_with_their_remedy(bench: Bench) -> None:
    hanging = bench.home / "redis-server"
    hanging.write_text("#!/bin/sh\nsleep 98765\n")
    hanging.chmod(0o755)
    finished = bench(
        "doctor",
        "--json",
        BROKERBENCH_REDIS_SERVER=str(hanging),
        BROKERBENCH_POSTGRES_BIN="/nowhere",
        TMPDIR="/nowhere",
    )
    assert (finished.code, finished.err) == (2, "")
    diagnosis = json.loads(finished.out)
    found = {finding["id"]: finding for finding in diagnosis["findings"]}
    assert diagnosis["quickstart"] is False
    assert found["broker.redis"]["value"] == f"{hanging} does not answer within 10 s"
    assert "BROKERBENCH_REDIS_SERVER" in found["broker.redis"]["remedy"]
    assert "/nowhere" in found["broker.postgres"]["value"]
    assert found["broker.postgres"]["verdict"] == "missing"
    assert bench.processes() == []
