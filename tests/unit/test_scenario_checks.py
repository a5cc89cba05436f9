"""Combinations that cannot be are refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from scenario_support import MINIMAL, problem_of, problems_of, read_text

from harness.scenario.model import Agents


def with_faults(*faults: str, rate: str = "1000/s", more: str = "") -> str:
    listed = "".join(f"  - {{{fault}}}\n" for fault in faults)
    return MINIMAL.replace("1000/s", rate) + f"{more}faults:\n{listed}"


def test_a_fault_needs_five_seconds_of_baseline_up_to_a_second_before_it(tmp_path: Path):
    assert read_text(tmp_path, with_faults("at: 6 s, kill: broker")).faults[0].at_s == 6.0
    problem = problem_of(tmp_path, with_faults("at: 5.9 s, kill: broker"))
    assert (problem.place.line, problem.key, problem.expected) == (5, "faults.0.at", "at least 6 s")
    assert problem.text.startswith("kill broker at 5.9 s leaves 4.9 s of steady load before the first fault")
    assert problem.remedy == "write at: 6 s or later"


def test_a_fault_needs_a_thousand_messages_of_baseline(tmp_path: Path):
    assert read_text(tmp_path, with_faults("at: 11 s, kill: broker", rate="100/s"))
    problem = problem_of(tmp_path, with_faults("at: 10.9 s, kill: broker", rate="100/s"))
    assert problem.text.startswith("990 messages are due before the first fault")
    assert problem.expected == "at least 1,000"


def test_the_first_fault_is_the_earliest_not_the_first_written(tmp_path: Path):
    problem = problem_of(tmp_path, with_faults("at: 15 s, kill: broker", "at: 2 s, kill: worker"))
    assert (problem.place.line, problem.key) == (6, "faults.1.at")


def test_a_ceiling_stands_beside_a_rate_not_beside_saturate(tmp_path: Path):
    problem = problem_of(tmp_path, MINIMAL.replace("rate: 1000/s", "saturate: {}, ceiling: {}"))
    assert (problem.key, problem.expected, problem.remedy) == ("load.ceiling", "one of the two", "remove ceiling")


def test_in_closed_loop_only_the_seconds_of_the_baseline_can_be_known(tmp_path: Path):
    text = with_faults("at: 6 s, kill: broker").replace("rate: 1000/s", "saturate: {}")
    assert read_text(tmp_path, text)
    assert problem_of(tmp_path, text.replace("6 s", "5 s")).key == "faults.0.at"


def test_a_short_baseline_is_told_even_where_the_load_is_wrong(tmp_path: Path):
    keys = [problem.key for problem in problems_of(tmp_path, with_faults("at: 1 s, kill: broker", rate="10"))]
    assert keys == ["load.rate", "faults.0.at"]


def test_a_fault_after_the_end_of_steady_is_refused(tmp_path: Path):
    assert read_text(tmp_path, with_faults("at: 19.9 s, kill: broker"))
    problem = problem_of(tmp_path, with_faults("at: 20 s, kill: broker"))
    assert problem.text == "kill broker comes at 20 s, and steady ends at 20 s"


def test_a_profile_says_where_steady_ends(tmp_path: Path):
    text = with_faults("at: 9 s, kill: broker").replace(
        "rate: 1000/s", "profile: [{constant: 1000/s, for: 6 s}, {spike: 5000/s, for: 2 s}]"
    )
    assert problem_of(tmp_path, text).text == "kill broker comes at 9 s, and steady ends at 8 s"


def test_faults_of_the_broker_must_not_overlap(tmp_path: Path):
    first = "at: 7 s, kill: broker, restart_after: 2 s"
    assert read_text(tmp_path, with_faults(first, "at: 10 s, pause: broker, for: 1 s"))
    problem = problem_of(tmp_path, with_faults(first, "at: 9.5 s, pause: broker, for: 1 s"))
    assert (problem.key, problem.expected) == ("faults.1.at", "at 10 s or later")
    assert problem.text == "pause broker at 9.5 s overlaps with kill broker at 7 s"


def test_a_fault_of_a_worker_may_fall_into_one_of_the_broker(tmp_path: Path):
    text = with_faults("at: 7 s, kill: broker, restart_after: 2 s", "at: 8 s, kill: worker")
    assert len(read_text(tmp_path, text).faults) == 2


def test_no_more_workers_can_be_killed_than_there_are(tmp_path: Path):
    assert read_text(tmp_path, with_faults("at: 7 s, kill: worker, count: 2"))
    problem = problem_of(tmp_path, with_faults("at: 7 s, kill: worker, count: 3"))
    assert problem.text == "3 workers are to be killed at 7 s, and 2 of 2 are alive then"


def test_a_worker_that_is_not_yet_replaced_cannot_be_killed_again(tmp_path: Path):
    faults = ("at: 7 s, kill: worker, count: 2, replace_after: 3 s", "at: {} s, kill: worker")
    assert read_text(tmp_path, with_faults(faults[0], faults[1].format(10)))
    problem = problem_of(tmp_path, with_faults(faults[0], faults[1].format(9)))
    assert (problem.key, problem.expected) == ("faults.1.count", "at most 0")


def test_somebody_must_be_left_to_drain_the_queue(tmp_path: Path):
    never = "at: {} s, kill: worker, replace_after: never"
    assert read_text(tmp_path, with_faults(never.format(7)))
    problem = problem_of(tmp_path, with_faults(never.format(7), never.format(8)))
    assert problem.text == "after 8 s no worker is left, and nobody drains the queue"
    assert read_text(tmp_path, with_faults("at: 7 s, kill: worker", more="workers: {count: 1}\n"))
    alone = problem_of(tmp_path, with_faults(never.format(7), more="workers: {count: 1}\n"))
    assert alone.key == "faults.0.replace_after"


def test_no_more_producers_can_be_killed_than_there_are(tmp_path: Path):
    assert read_text(tmp_path, with_faults("at: 7 s, kill: producer"))
    problem = problem_of(tmp_path, with_faults("at: 7 s, kill: producer", "at: 9 s, kill: producer"))
    assert (problem.key, problem.expected) == ("faults.1.count", "none")


def test_the_drain_must_outlast_the_longest_hold(tmp_path: Path):
    assert read_text(tmp_path, MINIMAL + "phases: {drain: 6 s}\n")
    problem = problem_of(tmp_path, MINIMAL + "phases: {drain: 5.9 s}\n")
    assert (problem.key, problem.expected) == ("phases.drain", "at least max(visibility + sweep, 3 s) = 6 s")
    held = problem_of(tmp_path, MINIMAL + "workers: {visibility: 10 min}\n")
    assert held.key == "workers.visibility"


def test_a_profile_and_a_length_of_steady_exclude_each_other(tmp_path: Path):
    text = MINIMAL.replace("rate: 1000/s", "profile: [{constant: 10/s, for: 10 s}]") + "phases: {steady: 10 s}\n"
    problem = problem_of(tmp_path, text)
    assert (problem.key, problem.remedy) == ("phases.steady", "remove phases.steady")


@pytest.mark.parametrize(
    ("load", "key"),
    [
        ("saturate: {}, arrival: constant", "load.arrival"),
        ("saturate: {window: 10}, window: 10, batch: 5", "load.window"),
        ("saturate: {window: 10}, batch: 11", "load.batch"),
        ("rate: 10/s, window: 100, batch: 101", "load.batch"),
        ("rate: 10/s, payload: 16 MiB", "load.payload"),
        ("rate: 100000000/s", "load.rate"),
        ("rate: 0.01/s", "load.rate"),
        ("rate: 2000000/s, retry: {attempts: 9}", "load.rate"),
        ("profile: [{constant: 100000000/s, for: 1 h}]", "load.profile"),
    ],
)
def test_a_load_that_cannot_be_is_refused(tmp_path: Path, load: str, key: str):
    assert problem_of(tmp_path, MINIMAL.replace("rate: 1000/s", load)).key == key


def test_more_producers_make_room_for_more_messages(tmp_path: Path):
    text = MINIMAL.replace("1000/s", "12000000/s")
    assert problem_of(tmp_path, text).remedy == "lower the rate, shorten steady, or add producers"
    assert read_text(tmp_path, text, "load.producers=2")


def test_a_narrow_window_narrows_the_default_batch(tmp_path: Path):
    load = read_text(tmp_path, MINIMAL.replace("1000/s", "1000/s, window: 10")).load
    assert (load.window, load.batch) == (10, 256)


def test_an_arrival_has_no_meaning_where_a_file_gives_all_times(tmp_path: Path):
    (tmp_path / "times.txt").write_text("0\n1\n")
    profile = "profile: [{replay: times.txt}], arrival: constant"
    assert problem_of(tmp_path, MINIMAL.replace("rate: 1000/s", profile)).key == "load.arrival"
    mixed = profile.replace("}]", "}, {constant: 10/s, for: 1 s}]")
    assert read_text(tmp_path, MINIMAL.replace("rate: 1000/s", mixed)).load.arrival == "constant"


@pytest.mark.parametrize(
    ("workers", "key"),
    [
        ("ack: auto, settle: {batch: 5}", "workers.settle"),
        ("prefetch: 10, settle: {batch: 11}", "workers.settle.batch"),
        ("visibility: 100 ms, settle: {linger: 100 ms}", "workers.settle.linger"),
    ],
)
def test_workers_that_cannot_be_are_refused(tmp_path: Path, workers: str, key: str):
    assert problem_of(tmp_path, MINIMAL + f"workers: {{{workers}}}\n").key == key


def test_agents_without_a_shard_are_refused(tmp_path: Path):
    assert read_text(tmp_path, MINIMAL + "agents: 3\n").agents == Agents(local=3)
    assert read_text(tmp_path, MINIMAL + "agents: {remote: 2}\n").agents == Agents(local=1, remote=2)
    assert problem_of(tmp_path, MINIMAL + "agents: {remote: 3}\n").text == "4 agents for 3 shards"
    problem = problem_of(tmp_path, MINIMAL + "agents: 4\n")
    assert (problem.text, problem.expected) == ("4 agents for 3 shards", "at most 3 (producers + workers)")


def test_the_last_cut_comes_before_the_end_of_steady(tmp_path: Path):
    assert read_text(tmp_path, with_faults("at: 10 s, cut: producer, count: 10, every: 1 s")).faults
    problem = problem_of(tmp_path, with_faults("at: 10 s, cut: producer, count: 11, every: 1 s"))
    assert (problem.key, problem.text) == (
        "faults.0.count",
        "the last of 11 cuts comes at 20 s, and steady ends at 20 s",
    )


def test_replies_are_cut_on_this_machine_only(tmp_path: Path):
    problem = problem_of(tmp_path, with_faults("at: 10 s, cut: producer", more="agents: {local: 1, remote: 1}\n"))
    assert (problem.key, problem.expected) == ("faults.0.cut", "agents of this machine only")
