"""The wheel, as somebody gets it who has no checkout: an empty environment, the locked dependencies, another folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FINISHED = (0, 13)  # on a noisy machine the trial can be invalid

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path, ends: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
    """Runs a command that knows nothing of this checkout."""
    own = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    environment = {name: value for name, value in os.environ.items() if name not in own}
    environment |= {"BROKERBENCH_STATE": str(cwd / "state"), "NO_COLOR": "1", "COLUMNS": "160"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in ends, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without the network."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, cwd=ROOT)
    [built] = folder.glob("brokerbench-*.whl")
    return built


@pytest.fixture(scope="module")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an empty environment in which the wheel was installed."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python]
    run(*install, "--require-hashes", "--requirement", ROOT / "requirements.lock", cwd=folder)
    run(*install, "--no-deps", "--no-index", wheel, cwd=folder)
    return python.parent


def test_the_wheel_holds_the_packages_the_scenarios_and_the_licence_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    scenarios = {f"harness/_shipped/scenarios/{path.name}" for path in (ROOT / "scenarios").glob("*.yaml")}
    assert scenarios
    assert scenarios <= names
    compose = {f"harness/_shipped/{path.relative_to(ROOT)}" for path in (ROOT / "compose").rglob("*") if path.is_file()}
    assert {f"harness/_shipped/compose/images/{name}/Dockerfile" for name in ("redis", "load")} <= compose <= names
    assert {f"reports/templates/{path.name}" for path in (ROOT / "reports" / "templates").iterdir()} <= names
    assert {"harness/py.typed", "reports/py.typed", "harness/cli/__init__.py"} <= names
    tops = {name.split("/")[0].split("-")[0] for name in names}
    assert tops == {"harness", "reports", "brokerbench"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_an_installed_wheel_lists_what_it_ships(commands: Path, tmp_path: Path) -> None:
    listed = json.loads(run(commands / "brokerbench", "list", "--json", cwd=tmp_path).stdout)
    assert {one["name"] for one in listed["scenarios"]} == {path.stem for path in (ROOT / "scenarios").glob("*.yaml")}
    assert "redis-stream" in {one["name"] for one in listed["setups"]}


def test_an_installed_wheel_runs_a_scenario(commands: Path, tmp_path: Path) -> None:
    done = run(commands / "brokerbench", "run", "smoke", "--json", cwd=tmp_path, ends=FINISHED)
    record = json.loads(done.stdout)
    assert record["status"] == "finished"
    assert record["cases"][0]["trials"][0]["ledger"]["classes"]["processed"] > 1000
    assert record["fingerprint"]["subject"]["commit"] is None
    [folder] = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "run.json").read_text()) == record
    assert (folder / "report.md").is_file()
    assert "<svg " in (folder / "report.html").read_text(), "the wheel holds the templates and what draws"


def test_an_installed_wheel_leaves_nothing_behind(commands: Path, tmp_path: Path) -> None:
    run(commands / "brokerbench", "run", "smoke", "--quiet", cwd=tmp_path, ends=FINISHED)
    assert run(commands / "brokerbench", "down", cwd=tmp_path).stdout == "nothing was left behind\n"
    assert list((tmp_path / "state" / "journals").iterdir()) == []
