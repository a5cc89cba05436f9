"""A user's mistake ends in one clear message and exit code 2, before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.conftest import Bench, Finished


def refused(finished: Finished, *words: str) -> None:
    """Asserts one clear refusal that holds these words."""
    assert finished.code == 2, finished.out + finished.err
    assert "Traceback" not in finished.err
    for word in words:
        assert word in finished.err
    assert finished.out == ""
    assert finished.run is None


def test_an_unknown_scenario_is_refused_with_the_nearest_name(bench: Bench) -> None:
    refused(bench("run", "quickstrat"), "quickstrat", "quickstart")


def test_all_mistakes_of_a_file_are_told_at_once_with_their_lines(bench: Bench) -> None:
    path = bench.scenario(
        "bad", "question: Why?\nsetups: [redis-straem]\nload: {rate: 2000}\nfaults: [{at: 1 s, partition: broker}]\n"
    )
    refused(bench("run", path), "bad.yaml:2", "redis-stream", "bad.yaml:3", "2000/s", "bad.yaml:4", "not")


def test_a_wrong_set_is_refused_by_its_own_words(bench: Bench) -> None:
    refused(bench("check", "quickstart", "--set", "load.ratee=5/s"), "--set load.ratee", "rate")


def test_an_unknown_command_is_refused(bench: Bench) -> None:
    refused(bench("rnu", "quickstart"), "rnu")


def test_an_unwritable_output_folder_is_refused_before_anything_starts(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(bench("run", "smoke", "-o", str(tmp_path / "file")), str(tmp_path / "file"))


def test_an_unwritable_state_folder_is_refused(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    finished = bench("run", "smoke", BROKERBENCH_STATE=str(tmp_path / "file"))
    assert finished.code == 2
    assert "Traceback" not in finished.err


def test_a_missing_server_is_refused_with_the_remedy(bench: Bench) -> None:
    finished = bench("run", "quickstart", BROKERBENCH_REDIS_SERVER="/does/not/exist")
    refused(finished, "/does/not/exist")


def test_a_setup_that_cannot_run_can_be_skipped_and_is_marked(bench: Bench) -> None:
    path = bench.scenario(
        "some",
        "question: Which?\nsetups: [null, redis-list]\nload: {rate: 200/s}\n"
        "workers: {visibility: 1 s, sweep: 500 ms}\nphases: {warmup: 0 s, steady: 1 s, drain: 10 s}\n",
    )
    finished = bench("run", path, "--skip-unavailable", BROKERBENCH_REDIS_SERVER="/does/not/exist")
    assert finished.code == 0, finished.out + finished.err
    null, redis = finished.record.cases
    assert null.trials[0].status == "valid"
    assert "/does/not/exist" in redis.unavailable


@pytest.mark.parametrize("content", ["", "{}", '{"schema_version": 99}', "[1", "\x00\x01"])
def test_a_broken_run_folder_is_refused(bench: Bench, tmp_path: Path, content: str) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text(content)
    refused(bench("report", str(tmp_path / "broken")), "run.json")


def test_a_folder_that_is_no_run_folder_is_refused(bench: Bench, tmp_path: Path) -> None:
    refused(bench("report", str(tmp_path)), "not a run folder")


def test_a_run_whose_slots_would_not_fit_is_refused_before_anything_starts(bench: Bench) -> None:
    words = ("--set", "load.rate=2000000/s", "--set", "phases.steady=1000 s", "--set", "load.producers=10")
    refused(bench("run", "smoke", *words), "free", "slots")
