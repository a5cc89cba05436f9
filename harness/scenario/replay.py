"""Files of send times: seconds from the start of the piece, one per line, ascending; ``#`` begins a comment."""

from __future__ import annotations

import math
from pathlib import Path

MAX_TIMES = 2_000_000  # a scenario carries them along
MAX_TIME_S = 86_400.0
EXPECTED = "one time in seconds per line, ascending, counted from the start of the piece"


def read_times_s(path: Path) -> tuple[float, ...]:
    """Returns the times in the file.

    Raises:
        ValueError: it cannot be read, or a line is not as expected; with the line.
    """
    times_s: list[float] = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if text := line.partition("#")[0].strip():
                    times_s.append(_time_s(text, number, times_s[-1] if times_s else 0.0))
                    if len(times_s) > MAX_TIMES:
                        raise ValueError(f"it holds more than {MAX_TIMES:,} times")
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError("it is not text") from error
    if not times_s:
        raise ValueError("it holds no time")
    return tuple(times_s)


def _time_s(text: str, line: int, before_s: float) -> float:
    try:
        time_s = float(text)
    except ValueError:
        raise ValueError(f"line {line}: {text[:40]!r} is not one number") from None
    if not (math.isfinite(time_s) and time_s >= 0):
        raise ValueError(f"line {line}: {text} is no time")
    if time_s < before_s:
        raise ValueError(f"line {line}: {text} goes back in time, after {before_s:g}")
    if time_s >= MAX_TIME_S:
        raise ValueError(f"line {line}: {text} is after more than 24 h (wall-clock times? subtract the first)")
    return time_s
