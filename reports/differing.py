"""What is not the same: settings of cases, keys of scenarios, fields of fingerprints, each in a row with its values side by side."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness.record import RunRecord
from reports.compared import Setting

_NOT_ASKED = ("cases", "name", "question", "expect")
"""Keys of an expanded scenario that stand elsewhere: the cases' own rows, the title."""
_NEVER_ALIKE = ("live",)
"""Groups of a fingerprint that are noise of their very run."""
UNKNOWN = "unknown"
_OWN_NAMES = re.compile(r"(?<=\bbb_)[0-9a-f]{16}_\d+|(?<=\bbrokerbench-)[0-9a-f]{12,}(?=@)")
"""Of queues, tables and nodes of one trial."""


def differing(values: Mapping[str, Mapping[str, str]], *, absent: bool = True) -> list[Setting]:
    """Returns what differs between several mappings, by label; what one of them has not is null there.

    Args:
        absent: to have none is a difference too; False for parameters, of which each setup has its own: then it is left out.
    """
    names = dict.fromkeys(name for each in values.values() for name in each)
    rows = [
        Setting(name=name, values={label: each.get(name) for label, each in values.items() if absent or name in each})
        for name in names
    ]
    return [row for row in rows if len({*row.values.values()}) > 1]


def merged(found: Iterable[Sequence[Setting]]) -> list[Setting]:
    """Returns several lists as one, in which each name stands once."""
    values: dict[str, dict[str, str | None]] = {}
    for each in (setting for settings in found for setting in settings):
        values.setdefault(each.name, {}).update(each.values)
    return [Setting(name=name, values=told) for name, told in values.items()]


def of_scenario(record: RunRecord) -> dict[str, str]:
    """Returns the keys of a run's expanded scenario by dotted names, without its cases."""
    told = {key: value for key, value in record.scenario_expanded.items() if key not in _NOT_ASKED}
    return {name: "none" if value == UNKNOWN else value for name, value in _flat(told)}


def of_fingerprint(record: RunRecord) -> dict[str, str]:
    """Returns the fields of a run's fingerprint by dotted names."""
    return dict(_flat({key: value for key, value in record.fingerprint.items() if key not in _NEVER_ALIKE}))


def of_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """Returns what a case's broker was asked for and said of itself: ``fsync`` → ``on``, or ``on, read back off``."""
    asked, found, also = (_mapping(settings.get(key)) for key in ("asked", "found", "also"))
    told = {"version": str(settings["version"])} if settings.get("version") else {}
    for name, value in asked.items():
        read = found.get(name)
        told[name] = _plain(value) if read == value else f"{_plain(value)}, read back {_plain(read)}"
    return told | {name: _plain(value) for name, value in also.items()}


def _flat(value: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(inner, f"{prefix}.{name}" if prefix else str(name))
    elif isinstance(value, list | tuple) and any(isinstance(each, Mapping) for each in value):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{prefix}.{number}")
    elif isinstance(value, list | tuple):
        yield prefix, ", ".join(map(_plain, value))
    else:
        yield prefix, _plain(value)


def _mapping(value: object) -> dict[str, object]:
    return {str(key): each for key, each in value.items()} if isinstance(value, Mapping) else {}


def _plain(value: object) -> str:
    """Returns a value in words; an empty one can be seen."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(_OWN_NAMES.sub("…", str(value)).split()) or '""'
