"""``--set`` and ``--trials`` change what was read; the result is validated like the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from scenario_support import MINIMAL, problem_of, problems_of, read_text

from harness.scenario.model import Segment

TWO = """\
question: q
setups:
  - redis-stream: {persistence: none}
  - redis-stream
  - postgres-lease: {unlogged: true}
load: {rate: 1000/s}
faults:
  - {at: 10 s, kill: broker}
  - {at: 15 s, kill: worker}
slo: {loss.confirmed: 0}
"""


def test_a_key_is_overridden(tmp_path: Path):
    read = read_text(tmp_path, MINIMAL, "load.rate=5000/s", "workers.count=7", "phases.steady=30 s")
    assert read.load.profile == (Segment(kind="constant", duration_s=30.0, rates_per_s=(5000.0,)),)
    assert read.workers.count == 7
    assert read.overrides == ("load.rate=5000/s", "workers.count=7", "phases.steady=30 s")


def test_the_last_of_two_overrides_wins(tmp_path: Path):
    assert read_text(tmp_path, MINIMAL, "seed=2", "seed=3").seed == 3


def test_a_setup_is_found_by_its_name_and_every_entry_of_it_changes(tmp_path: Path):
    read = read_text(tmp_path, TWO, "setups.postgres-lease.synchronous_commit=[on, off]")
    assert [case.id for case in read.cases] == [
        "redis-stream[persistence=none]@embedded",
        "redis-stream@embedded",
        "postgres-lease[unlogged=true]@embedded",
        "postgres-lease[synchronous_commit=off,unlogged=true]@embedded",
    ]
    twice = problem_of(tmp_path, TWO, "setups.redis-stream.persistence=aof-always")
    assert twice.text == "the case redis-stream[persistence=aof-always]@embedded comes twice"


def test_an_item_of_a_list_is_found_by_its_number(tmp_path: Path):
    read = read_text(tmp_path, TWO, "faults.0.at=7 s", "faults.1.count=2", "setups.1=redis-list")
    assert (read.faults[0].at_s, read.faults[1].settings["count"]) == (7.0, 2)
    assert read.cases[1].id == "redis-list@embedded"


def test_lists_and_mappings_are_written_as_in_the_file(tmp_path: Path):
    read = read_text(tmp_path, TWO, "setups=[redis-list, null: {drop: 3}]", "faults=[{at: 8 s, kill: producer}]")
    assert [case.id for case in read.cases] == ["redis-list@embedded", "null[drop=3]@embedded"]
    assert [fault.label for fault in read.faults] == ["kill producer"]
    assert read_text(tmp_path, TWO, "faults=[]").faults == ()


def test_the_bare_null_setup_takes_a_parameter(tmp_path: Path):
    text = MINIMAL.replace("[redis-stream]", "[null]")
    assert read_text(tmp_path, text, "setups.null.drop=5").cases[0].id == "null[drop=5]@embedded"


def test_metric_names_keep_their_dots(tmp_path: Path):
    read = read_text(tmp_path, TWO, "slo.latency.end_to_end.p99=20 ms")
    assert {bound.metric: bound.limit for bound in read.slo} == {"loss.confirmed": 0, "latency.end_to_end.p99": 0.02}


def test_null_takes_a_key_away(tmp_path: Path):
    read = read_text(tmp_path, TWO, "faults=null", "slo.loss.confirmed=", "load.rate=~", "load.saturate.window=9")
    assert (read.faults, read.slo, read.load.saturate_window) == ((), (), 9)


def test_a_word_becomes_a_mapping_where_a_key_below_it_is_set(tmp_path: Path):
    workers = read_text(tmp_path, MINIMAL + "workers: {work: none}\n", "workers.work.constant=2 ms").workers
    assert (workers.work, workers.work_s) == ("constant", 0.002)


@pytest.mark.parametrize(
    ("override", "key", "text"),
    [
        ("load.rate=5000", "load.rate", "'5000' has no unit"),
        ("load.rte=5/s", "load.rte", "unknown key 'rte'"),
        ("setups.redis-strem.persistence=none", "setups.redis-strem", "the scenario has no setup 'redis-strem'"),
        ("setups.redis-stream.persistance=none", "setups.1.redis-stream.persistance", "redis-stream has no parameter"),
        ("faults.2.at=3 s", "faults.2", "'2' is no item of the list"),
        ("faults.first.at=3 s", "faults.first", "'first' is no item of the list"),
        ("faults.0.at=3 s", "faults.0.at", "kill broker at 3 s leaves 2 s of steady load"),
        ("network=hosts", "network", "'hosts' is none of them"),
        ("seed=[", "seed", "not YAML"),
        ("seed", "", "not an override"),
        ("=1", "", "not an override"),
        ("load..rate=1/s", "", "not an override"),
    ],
)
def test_an_error_in_an_override_names_the_option_as_its_place(tmp_path: Path, override: str, key: str, text: str):
    problem = problems_of(tmp_path, TWO, override)[-1]
    assert str(problem.place) == f"--set {override}"
    assert problem.key == key
    assert problem.text.startswith(text)


def test_errors_of_the_file_come_before_those_of_overrides_in_their_order(tmp_path: Path):
    problems = problems_of(tmp_path, TWO + "seed: x\n", "trials=0", "agents=0", "load.window=0")
    assert [problem.key for problem in problems] == ["seed", "trials", "agents", "load.window"]


def test_trials_given_apart_win_over_all(tmp_path: Path):
    read = read_text(tmp_path, MINIMAL + "trials: 2\n", "trials=3", trials=5)
    assert (read.trials, read.overrides) == (5, ("trials=3", "trials=5"))
    (problem,) = problems_of(tmp_path, MINIMAL, trials=0)
    assert str(problem.place) == "--trials 0"


def test_a_file_of_send_times_given_in_an_override_is_looked_for_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    here = tmp_path / "here"
    here.mkdir()
    (here / "times.txt").write_text("0\n2\n")
    monkeypatch.chdir(here)
    read = read_text(tmp_path, MINIMAL, "load.rate=null", "load.profile=[{replay: times.txt}]")
    assert read.load.profile[0].times_s == (0.0, 2.0)
