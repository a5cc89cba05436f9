"""Records that somebody edited, or that contradict themselves: refused where they cannot be what was written, else never a pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import baselines
from harness.cli.commands import cli
from harness.cli.judging import gated
from harness.errors import UsageError
from tests.unit.gate_folders import NO_LOSS, P50, kept, rules, run, stored

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
