"""Another Python's brokerbench: what it is asked for, in which world, and what is said when it runs nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import BrokerbenchError, UsageError
from harness.experiment.elsewhere import Elsewhere
from harness.run.progress import Deaf
from tests.unit import gate_folders
from tests.unit.test_pairs import scenario

TELLS = '#!/bin/sh\necho "$@" >> {told}\nenv >> {told}\necho "no such key: load.rte" >&2\nexit {status}\n'


def other(folder: Path, *, several: bool = False, status: int = 2) -> Elsewhere:
    """Returns a Python that writes down what it is asked and ends with a status."""
    python = folder / "python"
    python.write_text(TELLS.format(told=folder / "told", status=status))
    python.chmod(0o755)
    return Elsewhere(
        python=python,
        overrides=("load.rte=5/s",),
        several=several,
        images={"redis": "redis:7"},
        environment={**os.environ, "PYTHONPATH": "/ours", "KEPT": "yes"},
    )


def run(elsewhere: Elsewhere, root: Path) -> None:
    asked = scenario()
    elsewhere.run(asked, asked.cases[0], Deaf(), seed=43, root=root)


def test_it_is_asked_for_one_trial_of_one_case_in_a_world_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        run(other(tmp_path, several=True), tmp_path / "root")
    told = (tmp_path / "told").read_text()
    asked = f"--set load.rte=5/s --set deployment=embedded --set seed=43 --trials 1 --output {tmp_path / 'root'} --json"
    assert f"{asked} --case null@embedded" in told
    assert "PYTHONPATH" not in told
    assert "KEPT=yes" in told
    assert "BROKERBENCH_IMAGE_REDIS=redis:7" in told


@pytest.mark.parametrize(("status", "kind"), [(2, UsageError), (70, BrokerbenchError)])
def test_what_it_says_is_told_when_it_runs_no_trial(tmp_path: Path, status: int, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        run(other(tmp_path, status=status), tmp_path / "root")
    assert str(caught.value).endswith(f"ran no trial (exit {status}): no such key: load.rte")
    assert type(caught.value) is kind


def test_a_scenario_that_it_does_not_take_is_refused_before_the_first_trial(tmp_path: Path) -> None:
    python = other(tmp_path)
    (tmp_path / "python").write_text('#!/bin/sh\ncase "$4" in check) echo "bad key" >&2; exit 2;; esac\necho 0.9\n')
    with pytest.raises(UsageError, match=r"the brokerbench 0\.9 of .* does not take the scenario"):
        python.check(scenario())


def test_a_program_that_is_no_python_is_refused_before_the_first_trial(tmp_path: Path) -> None:
    silent = replace(other(tmp_path), python=Path("/bin/true"))
    with pytest.raises(UsageError, match="/bin/true does not say which brokerbench it has"):
        silent.check(scenario())


def test_a_signal_that_ends_it_is_told(tmp_path: Path) -> None:
    killed = other(tmp_path)
    killed.python.write_text("#!/bin/sh\nkill -9 $$\n")
    with pytest.raises(BrokerbenchError, match=r"ran no trial \(signal 9 \(SIGKILL\) ended it\): it said nothing"):
        run(killed, tmp_path / "early")
    begun = gate_folders.stored(tmp_path / "begun", gate_folders.run([0.01], status="running"))
    killed.python.write_text(f"#!/bin/sh\ncp -r {begun} {tmp_path / 'late'}\nkill -9 $$\n")
    asked = scenario()
    done = killed.run(asked, asked.cases[0], Deaf(), seed=43, root=tmp_path / "late")
    assert done.record.exit_reason == f"signal 9 (SIGKILL) ended {killed.python}"
