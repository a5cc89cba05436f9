"""Lists become cases; ids are printed, slugs name folders."""

from __future__ import annotations

from pathlib import Path

from scenario_support import MINIMAL, problem_of, read_text

from harness.scenario.describe import as_dict, describe


def cases_of(tmp_path: Path, setups: str) -> list[tuple[str, str]]:
    return [(case.id, case.slug) for case in read_text(tmp_path, MINIMAL.replace("[redis-stream]", setups)).cases]


def test_lists_expand_to_every_combination_in_the_order_written(tmp_path: Path):
    setups = "[postgres-lease: {synchronous_commit: [off, on], unlogged: [true, false]}, redis-list]"
    assert cases_of(tmp_path, setups) == [
        (
            "postgres-lease[synchronous_commit=off,unlogged=true]@embedded",
            "postgres-lease-synchronous-commit-off-unlogged-true-embedded",
        ),
        ("postgres-lease[synchronous_commit=off]@embedded", "postgres-lease-synchronous-commit-off-embedded"),
        ("postgres-lease[unlogged=true]@embedded", "postgres-lease-unlogged-true-embedded"),
        ("postgres-lease@embedded", "postgres-lease-embedded"),
        ("redis-list@embedded", "redis-list-embedded"),
    ]


def test_only_what_differs_from_the_default_stands_in_brackets(tmp_path: Path):
    assert cases_of(tmp_path, "[redis-stream: {persistence: aof-everysec}]")[0][0] == "redis-stream@embedded"


def test_parameters_are_complete_in_declared_order(tmp_path: Path):
    text = MINIMAL.replace("[redis-stream]", "[postgres-lease: {unlogged: true}]")
    (case,) = read_text(tmp_path, text).cases
    assert list(case.parameters.items()) == [("synchronous_commit", "on"), ("unlogged", "true")]
    assert case.network == "embedded"


def test_slugs_stay_apart_where_only_case_or_signs_differ(tmp_path: Path):
    text = MINIMAL.replace("[redis-stream]", "[null: {drop: [1, 01, 001]}]")
    slugs = [case.slug for case in read_text(tmp_path, text).cases]
    assert slugs == ["null-drop-1-embedded", "null-drop-01-embedded", "null-drop-001-embedded"]
    assert all(set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-") for slug in slugs)


def test_a_long_list_of_parameters_gives_slugs_that_fit_and_differ(tmp_path: Path):
    long = "1" * 200
    slugs = [slug for _, slug in cases_of(tmp_path, f"[null: {{drop: ['{long}', '{long}2', '{long}3']}}]")]
    assert len(set(slugs)) == 3
    assert max(map(len, slugs)) <= 122
    assert slugs[1] == slugs[0] + "-2"


def test_a_case_that_comes_twice_is_refused(tmp_path: Path):
    setups = "[redis-stream: {persistence: [none, none]}]"
    problem = problem_of(tmp_path, MINIMAL.replace("[redis-stream]", setups))
    assert problem.text == "the case redis-stream[persistence=none]@embedded comes twice"


def test_a_list_of_prefetches_is_a_case_each_with_workers_of_its_own(tmp_path: Path):
    text = MINIMAL.replace("[redis-stream]", "[redis-stream: {persistence: none}, redis-list]")
    read = read_text(tmp_path, text + "workers: {prefetch: [1, 100, 1000]}\n")
    assert [(case.id, case.slug, case.workers.prefetch) for case in read.cases] == [
        (
            "redis-stream[persistence=none,prefetch=1]@embedded",
            "redis-stream-persistence-none-prefetch-1-embedded",
            1,
        ),
        ("redis-stream[persistence=none]@embedded", "redis-stream-persistence-none-embedded", 100),
        (
            "redis-stream[persistence=none,prefetch=1000]@embedded",
            "redis-stream-persistence-none-prefetch-1000-embedded",
            1000,
        ),
        ("redis-list[prefetch=1]@embedded", "redis-list-prefetch-1-embedded", 1),
        ("redis-list@embedded", "redis-list-embedded", 100),
        ("redis-list[prefetch=1000]@embedded", "redis-list-prefetch-1000-embedded", 1000),
    ]


def test_what_was_written_as_a_list_stands_with_its_case_and_nowhere_else(tmp_path: Path):
    read = read_text(tmp_path, MINIMAL + "workers: {prefetch: [1, 10]}\n")
    expanded = as_dict(read)
    assert [case["workers"] for case in expanded["cases"]] == [{"prefetch": 1}, {"prefetch": 10}]
    assert "prefetch" not in expanded["workers"]
    assert "prefetch 1, 10" in describe(read)


def test_a_prefetch_that_is_no_list_stands_in_no_id(tmp_path: Path):
    (case,) = read_text(tmp_path, MINIMAL + "workers: {prefetch: 7}\n").cases
    assert (case.id, case.workers.prefetch) == ("redis-stream@embedded", 7)


def test_a_prefetch_twice_in_a_list_is_a_case_twice(tmp_path: Path):
    problem = problem_of(tmp_path, MINIMAL + "workers: {prefetch: [7, 7]}\n")
    assert problem.text == "the case redis-stream[prefetch=7]@embedded comes twice"


def test_an_empty_list_and_a_bad_item_name_what_is_expected(tmp_path: Path):
    empty = problem_of(tmp_path, MINIMAL + "workers: {prefetch: []}\n")
    assert (empty.text, empty.key) == ("a list of 0", "workers.prefetch")
    bad = problem_of(tmp_path, MINIMAL + "workers: {prefetch: [1, 0]}\n")
    assert (bad.text, bad.remedy, bad.key) == ("0 is out of bounds", "write 1 or more", "workers.prefetch.1")


def test_acknowledgements_come_together_up_to_the_largest_prefetch(tmp_path: Path):
    text = MINIMAL + "workers: {prefetch: [1, 20], settle: {batch: %d}}\n"
    assert len(read_text(tmp_path, text % 20).cases) == 2
    problem = problem_of(tmp_path, text % 21)
    assert problem.text == "21 acknowledgements never come together with a prefetch of 20"
