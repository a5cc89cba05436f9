"""Python, brokerbench and its packages."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from harness import __version__
from harness.doctor.finding import Check, Seen, missing, ok, worse
from harness.scenario.model import Scenario

OLDEST = (3, 11)
LOCK = Path(__file__).parents[2] / "requirements.lock"

Version = tuple[int, ...]


def checks(quickstart: Callable[[], Scenario]) -> Iterator[Check]:
    """Yields the checks of this module; ``quickstart`` reads that scenario."""
    yield Check(id="python", group="Software", what="Python", look=_python, required=True)
    yield Check(id="packages", group="Software", what="brokerbench", look=_packages, required=True)
    yield Check(
        id="quickstart", group="Software", what="quickstart", look=lambda: scenario(quickstart()), required=True
    )


def scenario(quickstart: Scenario) -> Seen:
    """Judges the shipped scenario, which was read."""
    names = dict.fromkeys(case.setup.name for case in quickstart.cases)
    return ok(
        f"{len(quickstart.cases)} cases of {', '.join(names)}", "the scenario that a newcomer runs first can be read"
    )


def _python() -> Seen:
    found = sys.version_info
    return python((found.major, found.minor, found.micro), sys.executable, newest_tested())


def python(found: Version, path: str, newest: Version | None) -> Seen:
    """Judges the interpreter; ``newest``: (major, minor) of the newest that tests run on, None where that is not known."""
    value = f"{'.'.join(map(str, found))} ({path})"
    oldest = ".".join(map(str, OLDEST))
    if found[:2] < OLDEST:
        return missing(
            value, f"brokerbench needs Python {oldest} or newer", f"install one: make setup PYTHON=python{oldest}"
        )
    if newest and found[:2] > newest:
        tested = ".".join(map(str, newest))
        return worse(
            value,
            f"newer than {tested}, the newest that brokerbench is tested on",
            f"where something breaks: make setup PYTHON=python{tested}",
        )
    return ok(value, f"{oldest} or newer is needed")


def newest_tested() -> Version | None:
    """Returns the newest Python that our package declares."""
    text = "\n".join(distribution("brokerbench").metadata.get_all("Classifier") or ())
    return max(((3, int(minor)) for minor in re.findall(r"Python :: 3\.(\d+)$", text, re.MULTILINE)), default=None)


def _packages() -> Seen:
    wanted = dict(_wanted(distribution("brokerbench").requires or ()))
    locked = locked_versions(LOCK.read_text()) if LOCK.is_file() else {}
    installed = {name: found for name in wanted | locked if (found := _installed(name))}
    return packages(installed, wanted, locked)


def packages(installed: Mapping[str, str], wanted: Mapping[str, str], locked: Mapping[str, Collection[str]]) -> Seen:
    """Judges the installed packages.

    Args:
        installed: name → version. wanted: name → oldest version that will do, of all that must be there.
        locked: name → versions of the lock file, one per Python; empty where there is none (installed from a wheel).
    """
    again = "rm .venv/.installed; make setup" if locked else "pip install --upgrade brokerbench"
    absent = [name for name in wanted if name not in installed]
    if absent:
        return missing(f"{__version__}; not installed: {', '.join(absent)}", "brokerbench cannot do without", again)
    old = [
        f"{name} {installed[name]} (needs {least})"
        for name, least in wanted.items()
        if _numbers(installed[name]) < _numbers(least)
    ]
    if old:
        return missing(f"{__version__}; too old: {', '.join(old)}", "brokerbench does not work with these", again)
    others = [
        f"{name} {installed[name]} (locked: {' or '.join(versions)})"
        for name, versions in locked.items()
        if name in installed and installed[name] not in versions
    ]
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        return worse(
            f"{__version__}; {len(others)} not as locked: {', '.join(others[:3])}{more}",
            "figures of two machines are compared only with the same client libraries",
            f"to have them as locked: {again}",
        )
    how = "all as locked" if locked else "no lock file here"
    return ok(f"{__version__} with {len(installed)} packages, {how}", "all that brokerbench needs is installed")


def _wanted(requirements: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yields name and oldest version of each requirement that holds everywhere."""
    for requirement in requirements:
        found = re.match(r"([\w.-]+)(?:\[[^]]*\])?(?:>=([\d.]+))?", requirement)
        if found and ";" not in requirement:
            yield found[1], found[2] or "0"


def locked_versions(text: str) -> dict[str, list[str]]:
    """Returns name → versions of a lock file, which may have another version for another Python."""
    locked: dict[str, list[str]] = {}
    for name, number in re.findall(r"^([\w.-]+)==([\w.!+-]+)", text, re.MULTILINE):
        locked.setdefault(name, []).append(number)
    return locked


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> Version:
    return tuple(int(number) for number in re.findall(r"\d+", text.split("+", maxsplit=1)[0]))
