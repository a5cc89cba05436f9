"""Short names for several runs beside each other: of their folders what tells them apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_OURS = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d-\d\d-\d\d)-(.+)")
"""Day, time and scenario, as ``store.RunFolder.create`` names folders."""


def names_of(folders: Sequence[Path]) -> list[str]:
    """Returns a name for each run, all different: of folders that ``run`` named what differs, with the time; else the folders' own.

    ``2026-11-21T10-15-03-crash`` and ``2026-11-21T10-21-40-crash`` are ``10:15:03`` and ``10:21:40``.
    """
    found = [_OURS.fullmatch(folder.name) for folder in folders]
    if len(folders) > 1 and all(found):
        parts = [(each[1], each[2].replace("-", ":"), each[3]) for each in found if each]
        shown = [at for at in range(3) if at == 1 or len({part[at] for part in parts}) > 1]
        names = [" ".join(part[at] for at in shown) for part in parts]
    else:
        names = [folder.name for folder in folders]
    return names if len({*names}) == len(names) else _longer(folders)


def _longer(folders: Sequence[Path]) -> list[str]:
    """Returns as many folders of each path, from its end, as it takes to tell them apart."""
    most = max(len(folder.parts) for folder in folders)
    for depth in range(1, most + 1):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len({*names}) == len(names):
            return names
    return [str(folder) for folder in folders]
