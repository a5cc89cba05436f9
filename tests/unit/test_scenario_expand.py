"""Lists become cases; ids are printed, slugs name folders."""

from __future__ import annotations

from pathlib import Path

from scenario_support import MINIMAL, problem_of, read_text


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
