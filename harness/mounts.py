"""Which filesystem a path lies on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """One mounted filesystem: ``kind`` such as ``ext4`` or ``tmpfs``, its source, and its options."""

    point: str
    kind: str
    source: str
    options: str


UNKNOWN = Mount(point="", kind="unknown", source="", options="")


def mount_of(path: Path) -> Mount:
    """Returns the mount that holds ``path`` (which need not exist yet); ``UNKNOWN`` where the system does not tell."""
    try:
        lines = MOUNTS.read_text().splitlines()
    except OSError:
        return UNKNOWN
    target, best = path.resolve(), UNKNOWN
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split()[4].encode().decode("unicode_escape")  # a space is written as \040
        kind, source, options = [*after.split(maxsplit=2), "", "", ""][:3]
        inside = target == Path(point) or Path(point) in target.parents
        if inside and len(point) >= len(best.point):  # the last of equal ones lies on top
            best = Mount(point=point, kind=kind, source=source, options=f"{before.split()[5]} {options}".strip())
    return best
