"""Quantities with written units, and back again for people.

Inside, there is one base unit per kind: seconds, bytes, events per second, a share of 1.
"""

from __future__ import annotations

import re

DURATION_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
SIZE_BYTES = {"B": 1, "kB": 1000, "KiB": 1024, "MB": 1000**2, "MiB": 1024**2, "GB": 1000**3, "GiB": 1024**3}
_QUANTITY = re.compile(r"\s*([0-9]+(?:[._][0-9]+)*(?:e[+-]?[0-9]+)?)\s*([a-zA-Zµ/%]*)\s*")


def _split(text: str, expected: str) -> tuple[float, str]:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a quantity; expected {expected}")
    return float(match[1].replace("_", "")), match[2]


def _convert(text: object, units: dict[str, float], expected: str) -> float:
    number, unit = _split(str(text), expected)
    if not unit:
        raise ValueError(f"{text!r} has no unit; expected {expected}")
    if unit not in units:
        raise ValueError(f"{text!r} has the unit {unit!r}; expected {expected}")
    return number * units[unit]


def parse_duration_s(text: object) -> float:
    """Returns seconds from ``"5 s"``, ``"20ms"`` or ``"2 min"``.

    Raises:
        ValueError: no unit, another unit, or no number.
    """
    return _convert(text, DURATION_S, "a duration such as '5 s' (ms, s, min)")


def parse_size_bytes(text: object) -> int:
    """Returns bytes from ``"256 B"``, ``"1 KiB"`` or ``"2 MB"``; raises ValueError for anything else or a broken byte."""
    size = _convert(
        text, {unit: float(factor) for unit, factor in SIZE_BYTES.items()}, "a size such as '256 B' (B, kB, KiB, MB)"
    )
    if size != int(size):
        raise ValueError(f"{text!r} is not a whole number of bytes; expected a size such as '256 B'")
    return int(size)


def parse_rate_per_s(text: object) -> float:
    """Returns events per second from ``"2000/s"``; raises ValueError for anything else."""
    return _convert(text, {"/s": 1.0}, "a rate such as '2000/s'")


def parse_ratio(text: object) -> float:
    """Returns a share of 1 from ``"5 %"`` or a bare number; raises ValueError for anything else."""
    number, unit = _split(str(text), "a share such as '5 %' or 0.05")
    if unit not in ("", "%"):
        raise ValueError(f"{text!r} has the unit {unit!r}; expected a share such as '5 %' or 0.05")
    return number / 100 if unit == "%" else number


def format_duration(value_s: float) -> str:
    """Returns three significant digits in the unit that reads best: ``850 µs``, ``12.3 ms``, ``2.07 s``."""
    magnitude = abs(value_s)
    if magnitude == 0:
        return "0 s"
    for factor, unit in ((1e-6, "µs"), (1e-3, "ms")):
        if magnitude < factor * 999.5:
            return f"{value_s / factor:.3g} {unit}"
    return f"{value_s:.3g} s" if magnitude < 99.95 else f"{value_s:.0f} s"


def format_bytes(value_bytes: float) -> str:
    """Returns three significant digits with a decimal unit: ``4.1 kB``, ``2.5 MB``."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value_bytes) >= factor:
            return f"{value_bytes / factor:.3g} {unit}"
    return f"{value_bytes:.0f} B"


def format_count(value: float) -> str:
    """Returns a whole number with thin thousands: ``12,345``."""
    return f"{value:,.0f}"


def format_rate(value_per_s: float) -> str:
    """Returns a rate such as ``3,998/s``."""
    return f"{value_per_s:,.0f}/s" if abs(value_per_s) >= 10 or value_per_s == 0 else f"{value_per_s:.2g}/s"
