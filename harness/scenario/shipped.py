"""Scenarios that come with the package, found by name from a checkout and from an installed wheel; others by path."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from harness.errors import UsageError
from harness.scenario.problems import did_you_mean

SUFFIXES = (".yaml", ".yml")


def folder() -> Path:
    """Returns where shipped scenarios are: inside an installed wheel, else ``scenarios/`` of the checkout."""
    installed = Path(str(files("harness"))) / "_shipped" / "scenarios"
    return installed if installed.is_dir() else Path(str(files("harness"))).parent / "scenarios"


def all() -> dict[str, Path]:
    """Returns the paths of all shipped scenarios by name, sorted."""
    return {path.stem: path for path in sorted(folder().glob("*.yaml"))}


def find(source: str | Path) -> Path:
    """Returns the path of a scenario given by name or path.

    Raises:
        UsageError: there is none; names the nearest.
    """
    path = Path(source)
    shipped = all()
    if isinstance(source, str) and source in shipped and not path.is_file():
        return shipped[source]
    if path.suffix in SUFFIXES or len(path.parts) > 1 or path.is_file():
        return path  # reading says what is wrong with it
    raise UsageError(
        f"there is no scenario {str(source)!r}",
        expected=f"a path to a YAML file, or one of {', '.join(shipped)}",
        remedy=did_you_mean(str(source), shipped),
    )
