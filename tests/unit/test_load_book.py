"""Which shard runs where, how each ended, and what the coordinator must say."""

from __future__ import annotations

import pytest

from harness.load.book import Book, place, record


def book() -> Book:
    made = Book()
    for number in range(2):
        made.add(f"w{number}", "worker", number, agent=number)
        made.note(f"w{number}", pid=100 + number, started_ns=10, ready=True)
    return made


def test_shards_are_spread_over_the_users_that_idle() -> None:
    shards = {"p0": "producer", "w0": "worker", "w1": "worker", "w2": "worker"}
    idle = {0: {"producer": 1, "worker": 1}, 1: {"worker": 2}}
    assert place(shards, idle) == {"p0": 0, "w0": 1, "w1": 0, "w2": 1}


def test_fewer_users_than_shards_is_an_error() -> None:
    with pytest.raises(ValueError, match="no idle worker user for w1"):
        place({"w0": "worker", "w1": "worker"}, {0: {"worker": 1}})


def test_a_replacement_has_a_generation_and_a_number_of_its_own() -> None:
    made = book()
    assert made.replacement("w1") == ("w1.1", 2)
    made.add("w1.1", "worker", 2, agent=1)
    assert made.replacement("w1.1") == ("w1.2", 3)


def test_an_end_by_order_is_no_problem() -> None:
    made = book()
    made.tell("worker")
    made.ended("w0", 50, 0)
    assert made.problems == []
    assert record(made.shards["w0"]).expected_exit
    assert made.running("worker") == ["w1"]


def test_a_kill_by_a_fault_is_expected_and_its_time_is_kept() -> None:
    made = book()
    made.note("w0", told=True, killed_ns=40)
    made.ended("w0", 50, -9)
    lived = record(made.shards["w0"])
    assert made.problems == []
    assert (lived.killed_ns, lived.exit_status, lived.expected_exit, lived.wall_s) == (40, -9, True, 4e-8)


@pytest.mark.parametrize(
    ("status", "failed", "why"), [(1, "the disk is full", "the disk is full"), (-11, "", "exit status -11")]
)
def test_an_end_that_nobody_ordered_is_a_problem(status: int, failed: str, why: str) -> None:
    made = book()
    made.note("w0", failed=failed)
    made.ended("w0", 50, status)
    assert made.problems == [f"worker w0 (pid 100) ended unexpectedly: {why}"]
    assert not record(made.shards["w0"]).expected_exit


def test_a_shard_that_fails_while_it_ends_by_order_is_a_problem_too() -> None:
    made = book()
    made.tell("worker")
    made.ended("w0", 50, 1)
    assert len(made.problems) == 1


def test_a_lost_agent_names_the_shards_that_were_running_on_it() -> None:
    made = book()
    assert made.agent_lost(1, "agent 1 (pid 77) ended with status -9") == ["w1"]
    made.ended("w1", 60, None)
    assert made.problems == ["agent 1 (pid 77) ended with status -9, and with it w1"]
    lived = record(made.shards["w1"])
    assert (lived.ended_ns, lived.exit_status, lived.expected_exit) == (60, None, False)


def test_an_agent_whose_shards_had_ended_is_not_missed() -> None:
    made = book()
    made.tell("worker")
    made.ended("w1", 50, 0)
    assert made.agent_lost(1, "agent 1 (pid 77) ended with status -9") == []
    assert made.problems == []
