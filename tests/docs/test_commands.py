"""Every command of the README is run, as a newcomer types it; and every shipped scenario is one that can be run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.store import RunFolder
from tests.conftest import NO_ENGINE
from tests.docs.pages import README, ROOT, blocks, commands

OURS = Path(sys.executable).parent
FINISHED = {0, 10, 13}
"""A run that came to its end: on a noisy machine a trial can be invalid (13); what the verdicts must be is tested elsewhere."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the README's own scenario, where its commands are typed."""
    folder = tmp_path_factory.mktemp("readme")
    [scenario] = blocks(README, "yaml")
    name = scenario.split("\n", 1)[0].removeprefix("# ")
    (folder / name).write_text(scenario)
    return folder


COMPARING = next(line for line in commands(README) if " compare " in line)
"""Its own test: the shell fills in which run."""


def typed(command: Sequence[str], home: Path, limit_s: float = 300) -> subprocess.CompletedProcess[str]:
    # A newcomer's make is not called by another make, as these tests are by `make test`, with or without TESTS=….
    made = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "PYTHON", "TESTS")
    outside = {name: value for name, value in os.environ.items() if name not in made}
    environment = outside | NO_ENGINE | {"BROKERBENCH_STATE": str(home / "state"), "NO_COLOR": "1", "COLUMNS": "120"}
    return subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, timeout=limit_s, check=False
    )


def run_folders(output: Path) -> list[Path]:
    return sorted(output.iterdir()) if output.is_dir() else []


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in commands(README) if line.startswith(".venv/") and line != COMPARING])
def test_a_command_of_the_readme_works(line: str, home: Path) -> None:
    words = shlex.split(line)
    assert words[0] == ".venv/bin/brokerbench"
    done = typed([str(OURS / "brokerbench"), *words[1:]], home)
    if words[1] == "run":
        assert done.returncode in FINISHED, done.stderr
        [folder] = run_folders(home / words[words.index("-o") + 1])
        assert str(folder.relative_to(home)) in done.stdout.replace("\n", "")
        assert json.loads((folder / "run.json").read_text())["status"] == "finished"
    else:
        assert done.returncode == 0, done.stderr
        assert done.stdout


@pytest.mark.slow
def test_the_run_of_the_readme_is_compared_as_the_readme_says(home: Path, tmp_path: Path) -> None:
    """On a shorter run of the same scenario: how it ends is another test's."""
    home = Path(shutil.copy(home / "stream-kill.yaml", tmp_path)).parent
    short = ("--set", "faults=[]", "--set", "phases.steady=1 s")
    run = typed([str(OURS / "brokerbench"), "run", "stream-kill.yaml", *short, "-o", "answers"], home)
    assert run.returncode in FINISHED, run.stderr
    done = typed(["bash", "-c", COMPARING.replace(".venv/bin", shlex.quote(str(OURS)))], home)
    assert done.returncode == 0, done.stderr
    assert "3 cases: 3 HELD" in done.stdout
    assert "no interval" in done.stdout  # of one trial
    assert "<svg" in (home / "answers.html").read_text()


@pytest.mark.slow
def test_make_quickstart_says_which_setup_lost_what_when_its_broker_was_killed(home: Path) -> None:
    """The Makefile's own recipe, with the environment that runs these tests in the place of .venv."""
    done = typed(["make", "--file", str(ROOT / "Makefile"), "quickstart", *as_set_up()], home, limit_s=400)
    assert done.returncode == 0, done.stdout + done.stderr
    [folder] = run_folders(home / "runs")
    record = RunFolder.open(folder).load()
    assert (record.status, record.exit_code) == ("finished", 0)
    assert all(case.id in done.stdout for case in record.cases)
    assert "report.html" in done.stdout
    assert str(folder.relative_to(home)) in done.stdout.replace("\n", "")
    memory, *others = record.cases
    lost = [case.trials[0].metrics["whole"]["loss.confirmed"] for case in record.cases]
    assert isinstance(lost[0], float)
    assert lost[0] > 0
    assert lost[1:] == [0, 0]
    for case in (memory, *others):
        (fault,) = case.trials[0].faults
        assert fault.hit
        assert isinstance(case.trials[0].metrics["steady"]["latency.end_to_end.p99"], float), "on enough data"
    told = r"redis-stream\[persistence=none\]@embedded: LOST [\d,]+ of [\d,]+ confirmed messages"
    assert re.search(told, done.stdout)
    assert done.stdout.count("kept every confirmed message when the broker was killed") == 2


def as_set_up() -> list[str]:
    """Returns what tells make that the environment of these tests is set up."""
    prefix = Path(sys.prefix)
    return [f"VENV={prefix}", f"--old-file={prefix}/.installed", f"--old-file={prefix}/.installed-dev"]


def test_make_test_runs_every_test(home: Path) -> None:
    done = typed(["make", "--file", str(ROOT / "Makefile"), "--dry-run", "test", *as_set_up()], home)
    three_at_once = ["--numprocesses", "3", "--dist", "loadgroup"]
    assert done.stdout.split() == [f"{sys.prefix}/bin/python", "-m", "pytest", *three_at_once]


@pytest.mark.slow
def test_a_fresh_clone_is_set_up_once(tmp_path: Path) -> None:
    """With a Python, make and the package index; the second time nothing is done."""
    clone = tmp_path / "clone"
    files = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    first = typed(["make", "setup", f"PYTHON={base}"], clone)
    assert first.returncode == 0, first.stderr
    assert first.stdout == ""
    assert "setting up .venv" in first.stderr
    second = typed(["make", "setup"], clone)
    assert (second.returncode, second.stderr) == (0, "")
    assert "Nothing to be done" in second.stdout
    listed = typed([str(clone / ".venv/bin/brokerbench"), "list", "--json"], clone)
    assert [setup for setup in json.loads(listed.stdout)["setups"] if setup["unavailable"]] == []


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ('echo "Python 3.9.2"; exit 1', "brokerbench needs Python 3.11 or newer; 'PYTHON' is: Python 3.9.2."),
        ('case "$*" in *ensurepip*) exit 1;; esac', "remedy: apt install python3-venv"),
    ],
)
def test_a_python_that_will_not_do_is_named_with_the_remedy(script: str, told: str, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    for name in ("Makefile", "requirements.lock", "requirements-dev.lock", "pyproject.toml", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = typed(["make", "test", f"PYTHON={python}"], tmp_path)
    assert done.returncode == 2
    assert told.replace("PYTHON", str(python)) in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("scenario", sorted(path.stem for path in (ROOT / "scenarios").glob("*.yaml")))
def test_every_shipped_scenario_passes_check(scenario: str, home: Path) -> None:
    done = typed([str(OURS / "brokerbench"), "check", scenario], home)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{scenario}: ")
