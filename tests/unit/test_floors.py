"""The house: imports go downwards only, locust and gevent stay in the fleet's process, reports read run folders only."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FLOORS = {
    "clock": 0, "errors": 0, "facts": 0, "files": 0, "metrics": 0, "model": 0, "record": 0, "redaction": 0, "tables": 0, "units": 0,
    "analysis": 1, "envelope": 1, "gate": 1, "histogram": 1, "scenario": 1, "schedule": 1,
    "baselines": 2, "brokers": 2, "calibrations": 2, "containers": 2, "deployments": 2, "environment": 2, "faults": 2, "gather": 2, "journal": 2, "ledger": 2, "minder": 2,
    "mounts": 2, "pairs_folder": 2, "processes": 2, "programs": 2, "proxy": 2, "stalls": 2, "store": 2, "sweepers": 2, "sweeping": 2,
    "timeline": 2,
    "load": 3,
    "doctor": 4, "run": 4,
    "experiment": 5,
    "cli": 6, "pytest_plugin": 6,
}  # fmt: skip
"""First part of a module's name below ``harness`` → its floor; ``harness/__init__.py`` tells the same in words."""

FLEET = "harness/load/fleet.py"


def sources(*packages: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for package in packages for path in (ROOT / package).rglob("*.py"))


def imported(source: str) -> Iterator[tuple[int, str]]:
    """Yields line and full name of everything that a file imports, inside functions and for type checking too."""
    package = Path(source).parent.parts
    for node in ast.walk(ast.parse((ROOT / source).read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def floor(module: str) -> int:
    parts = module.split(".")
    return FLOORS.get(parts[1], 0) if len(parts) > 1 else 0  # `from harness import __version__` has none


def test_every_module_has_a_floor() -> None:
    found = {
        path.stem for path in (ROOT / "harness").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert found - {"__init__"} == set(FLOORS)


@pytest.mark.parametrize("source", sources("harness"))
def test_imports_go_downwards_only(source: str) -> None:
    here = floor(".".join(Path(source).with_suffix("").parts)) if source != "harness/__init__.py" else 0
    upwards = [
        f"line {line}: {name}"
        for line, name in imported(source)
        if name.split(".")[0] == "harness" and floor(name) > here
    ]
    assert upwards == []


@pytest.mark.parametrize("source", sources("reports"))
def test_reports_import_only_floors_0_and_1_and_the_store(source: str) -> None:
    beyond = [
        f"line {line}: {name}"
        for line, name in imported(source)
        if name.split(".")[0] == "harness" and floor(name) > 1 and not name.startswith("harness.store")
    ]
    assert beyond == []


@pytest.mark.parametrize(
    "source", [s for s in sources("harness") if not s.startswith(("harness/cli/", "harness/pytest_plugin.py"))]
)
def test_nothing_but_the_command_line_and_the_pytest_plugin_imports_reports(source: str) -> None:
    assert [name for _, name in imported(source) if name.split(".")[0] == "reports"] == []


@pytest.mark.parametrize("source", [source for source in sources("harness", "reports") if source != FLEET])
def test_only_the_fleet_imports_locust_or_gevent(source: str) -> None:
    assert [name for _, name in imported(source) if name.split(".")[0] in ("locust", "gevent")] == []


def test_nothing_imports_the_fleet_which_runs_in_a_process_of_its_own() -> None:
    names = {name for source in sources("harness", "reports") for _, name in imported(source)}
    assert [name for name in names if f"{name}.".startswith("harness.load.fleet.")] == []


def test_what_takes_long_to_import_is_not_on_the_way_to_a_runs_first_message() -> None:
    slow = ("scipy", "matplotlib", "jinja2", "prometheus_client", "docker", "locust", "gevent")
    told = f"import sys, harness.cli.commands, harness.run.runner; print([m for m in {slow} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_relative_import_is_read_as_its_full_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "harness" / "load").mkdir(parents=True)
    (tmp_path / "harness" / "load" / "x.py").write_text(
        "from ..run import trial\nfrom . import y\nimport harness.cli\n"
    )
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert list(imported("harness/load/x.py")) == [(1, "harness.run.trial"), (2, "harness.load.y"), (3, "harness.cli")]
