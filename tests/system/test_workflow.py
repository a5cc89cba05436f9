"""The workflow that gates a pull request: its own commands, typed here, on two checkouts of this very state."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ruamel.yaml import YAML

from harness.errors import ExitCode
from tests.conftest import NO_ENGINE

ROOT = Path(__file__).parents[2]
WORKFLOW = YAML(typ="safe", pure=True).load((ROOT / ".github/workflows/gate.yml").read_text())
STEPS = WORKFLOW["jobs"]["gate"]["steps"]
ENDED = {ExitCode.PASS, ExitCode.INCONCLUSIVE, ExitCode.INVALID}
"""Of a state against itself: beside other tests a trial can be invalid; it never fails, and never cannot be told."""


def check_out(folder: Path) -> None:
    """What ``actions/checkout`` leaves of a merge: our files, and the commit before; changed so that trials are short."""
    told = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, told.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    shorten(folder / "scenarios")
    git = ["git", "-C", folder, "-c", "user.name=CI", "-c", "user.email=ci@localhost"]
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    subprocess.run([*git, "add", "--all", "--force"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=base"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=head", "--allow-empty"], check=True)


def set_up(folder: Path) -> None:
    """What ``make setup`` leaves, by which it then does nothing: an environment that imports the checkout."""
    venv = folder / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    [packages] = venv.glob("lib/python*/site-packages")
    (packages / "checkout.pth").write_text(f"{folder}\n")
    (packages / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n")
    command = venv / "bin" / "brokerbench"
    command.write_text(f"#!{venv}/bin/python\nfrom harness.cli import main\nmain()\n")
    command.chmod(0o755)
    (venv / ".installed").touch()


def shorten(scenarios: Path) -> None:
    """One case, and trials as short as a p99 allows: the workflow's own take minutes."""
    scenario, rules = scenarios / "regression.yaml", scenarios / "regression.toml"
    lines = [line for line in scenario.read_text().splitlines() if "ceiling:" not in line]
    text = "\n".join(lines).replace("rate: 2000/s", "rate: 6000/s").replace("steady: 8 s", "steady: 2 s")
    scenario.write_text(f"{text}\n".replace("warmup: 1 s", "warmup: 500 ms"))
    kept = [rule for rule in rules.read_text().split("\n\n") if 'id = "throughput"' not in rule]
    rules.write_text("\n\n".join(kept))


@pytest.mark.slow
def test_the_commands_of_the_workflow_gate_a_state_against_itself(tmp_path: Path) -> None:
    check_out(tmp_path / "head")
    summary = tmp_path / "summary.md"
    environment = (
        os.environ | NO_ENGINE | {"GITHUB_STEP_SUMMARY": str(summary), "BROKERBENCH_STATE": f"{tmp_path}/state"}
    )
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "GITHUB_ACTIONS": "true",
        "CI": "true",
    }
    done = {}
    for step in STEPS:
        if step["name"] == "Install both":
            set_up(tmp_path / "base")
            set_up(tmp_path / "head")
        if "run" in step:
            done[step["name"]] = subprocess.run(
                ["bash", "-e", "-c", step["run"]],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
    install, machine, pairs = done["Install both"], done["What this machine is"], done["Pairs of trials"]
    assert install.returncode == machine.returncode == 0, install.stderr + machine.stderr
    assert pairs.returncode in ENDED, pairs.stdout + pairs.stderr
    cases = ElementTree.parse(tmp_path / "gate.xml").getroot().iter("testcase")
    assert {"steady-p99", "keeps-up", "no-loss", "claims"} <= {
        word for case in cases for word in case.get("name", "").split()
    }
    assert "steady-p99" in summary.read_text()
    assert ("::" in pairs.stdout) == (pairs.returncode != 0)  # annotations: of what does not hold
    [folder] = (tmp_path / "pairs").iterdir()
    assert (folder / "ab.json").is_file()


def test_the_workflow_may_only_read_and_takes_actions_by_their_commit() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert all(len(name.split("@")[1]) == 40 for name in used)
    assert all(
        not step["with"].get("persist-credentials", True) for step in STEPS if "checkout" in step.get("uses", "")
    )
