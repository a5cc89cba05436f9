"""Records that somebody edited, or that contradict themselves: refused where they cannot be what was written, else never a pass."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import baselines
from harness.cli import keeping
from harness.cli.commands import cli
from harness.cli.judging import gated
from harness.errors import UsageError
from harness.store import RunFolder
from tests.unit import records
from tests.unit.gate_folders import NO_LOSS, P50, kept, rules, run, stored
from tests.unit.test_pairs import Scripted, compared, only_folder, steady

BASE = [0.00100, 0.00101, 0.00102, 0.00099, 0.00098]
SAME = [0.001005, 0.001015, 0.000985, 0.000995, 0.001001]


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKERBENCH_STATE", str(tmp_path / "state"))


def edited(path: Path, change: Callable[[Any], object]) -> None:
    """Changes a JSON file."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize("figure", ["NaN", "Infinity", "1e999"])
def test_a_figure_that_is_not_finite_is_of_no_record(tmp_path: Path, figure: str) -> None:
    folder = stored(tmp_path / "run", run(SAME))
    path = folder / "run.json"
    path.write_text(path.read_text().replace("0.001005", figure))
    asked = rules(tmp_path / "r.toml", 'id = "x"\nmetric = "throughput"\nrequire = ">= 1/s"')
    with pytest.raises(UsageError, match=f"is not whole JSON: {figure} is no finite number"):
        gated(folder, asked)
    with pytest.raises(UsageError, match=f"is not whole JSON: {figure} is no finite number"):
        cli.main(["baseline", "update", str(folder), "-o", str(tmp_path / "kept")], standalone_mode=False)


def test_a_baseline_with_more_figures_than_trials_is_refused(tmp_path: Path) -> None:
    path = kept(tmp_path / "base.json", run(BASE))
    edited(path, lambda value: value["metrics"]["steady"][P50].append(0.5))
    with pytest.raises(UsageError, match="a list has more than the 5 figures that it has trials"):
        baselines.read(path)


def test_no_output_replaces_a_baseline_of_a_folder_that_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "baselines"
    folder.mkdir()
    path = kept(folder / "base.json", run(BASE))
    before = path.read_bytes()
    asked = ["gate", str(stored(tmp_path / "run", run(SAME))), "--rules", str(rules(tmp_path / "r.toml", NO_LOSS))]
    for option in ("--junit", "--summary"):
        with pytest.raises(UsageError, match="it is read by this command"):
            cli.main([*asked, "--baseline", str(folder), option, str(path)], standalone_mode=False)
    assert path.read_bytes() == before


def swapped(folder: Path, pair: dict[str, Any]) -> None:
    pair["a"], pair["b"] = pair["b"], pair["a"]


def of_another_case(folder: Path, pair: dict[str, Any]) -> None:
    edited(folder / pair["b"] / "run.json", lambda run: run["cases"][0].update(id="redis-list@embedded"))


def by_another_way(folder: Path, pair: dict[str, Any]) -> None:
    slug, place, run = pair["a"].split("/")
    pair["b"] = f"{slug}/pair-1-b/../{place}/{run}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder, pair: pair.update(b=pair["a"]), "as B of pair 1 of null@embedded: it lies elsewhere"),
        (swapped, "as A of pair 1 of null@embedded: it lies elsewhere"),
        (lambda folder, pair: pair.update(number=2), "as A of pair 2 of null@embedded: it lies elsewhere"),
        (by_another_way, "as B of pair 1 of null@embedded: it lies elsewhere"),
        (of_another_case, "as B of pair 1 of null@embedded: it is of redis-list@embedded"),
    ],
)
def test_a_run_that_stands_for_another_side_pair_or_case_is_refused(
    tmp_path: Path, change: Callable[[Path, dict[str, Any]], object], said: str
) -> None:
    compared(tmp_path / "pairs", Scripted(steady(0.01)), Scripted(steady(0.01)), stopping="fixed", pairs=1)
    folder = only_folder(tmp_path / "pairs").path
    gated(folder, rules(tmp_path / "r.toml", NO_LOSS))
    edited(folder / "ab.json", lambda value: change(folder, value["cases"][0]["pairs"][0]))
    with pytest.raises(UsageError, match="restore it from a copy") as caught:
        gated(folder, tmp_path / "r.toml")
    assert said in caught.value.problem


def test_a_copy_of_a_run_is_no_further_trial(tmp_path: Path) -> None:
    compared(tmp_path / "pairs", Scripted(steady(0.01)), Scripted(steady(0.01)), stopping="fixed", pairs=1)
    folder = only_folder(tmp_path / "pairs").path

    def again(value: dict[str, Any]) -> None:
        pairs = value["cases"][0]["pairs"]
        new = {letter: pairs[0][letter].replace("pair-1", "pair-2") for letter in ("a", "b")}
        for letter, place in new.items():
            shutil.copytree(folder / pairs[0][letter], folder / place)
        pairs.append(pairs[0] | {"number": 2} | new)

    edited(folder / "ab.json", again)
    with pytest.raises(UsageError, match=r"as A of pair 2 of null@embedded: it is the run in .*pair-1-a/run-1 again"):
        gated(folder, rules(tmp_path / "r.toml", NO_LOSS))


def test_a_trial_that_a_run_names_twice_is_no_two_trials(tmp_path: Path) -> None:
    folder = stored(tmp_path / "run", run(SAME[:1]))
    edited(folder / "run.json", lambda value: value["cases"][0].update(trials=value["cases"][0]["trials"] * 3))
    with pytest.raises(UsageError, match="names the trial in cases/null/trial-1 3 times"):
        gated(folder, rules(tmp_path / "r.toml", NO_LOSS))


KILL = {"at_s": 10.0, "verb": "kill", "target": "broker", "settings": {}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: run["scenario_expanded"].update(faults=[KILL]), "0 of the 1 faults of its scenario are in it"),
        (
            lambda run: run["cases"][0]["trials"][0].update(faults=[records.broker_kill(hit=False).model_dump()]),
            "valid, and nothing shows that 'kill broker' struck",
        ),
    ],
)
def test_a_valid_trial_without_the_faults_of_its_scenario_proves_nothing(
    tmp_path: Path, change: Callable[[Any], object], said: str
) -> None:
    folder = stored(tmp_path / "run", run(SAME))
    edited(folder / "run.json", change)
    found = gated(folder, rules(tmp_path / "r.toml", NO_LOSS))
    assert (found.exit_code, found.rows[0].words) == (13, f"trial 1: its record contradicts itself: {said}")
    compared(tmp_path / "pairs", Scripted(steady(0.01)), Scripted(steady(0.01)), stopping="fixed", pairs=1)
    pairs = only_folder(tmp_path / "pairs").path
    [path] = pairs.glob("*/pair-1-b/*/run.json")
    edited(path, change)
    found = gated(pairs, tmp_path / "r.toml")
    assert found.exit_code == 13
    assert found.rows[0].words == f"B of pair 1: its record contradicts itself: {said}"


def test_what_befell_a_run_is_told_where_its_figures_are_kept(tmp_path: Path) -> None:
    folder = RunFolder(stored(tmp_path / "run", run(SAME, lost=9.0)))
    assert list(keeping._findings(folder)) == ["null@embedded: 5 of 5 trials lost confirmed messages, 9 in one"]
