"""A compared figure in words, made once for terminal, Markdown and page."""

from __future__ import annotations

from dataclasses import dataclass

from harness.record import Figure
from harness.units import format_duration
from reports import words
from reports.compared import Compared, Difference, Interval
from reports.differences import MIXED

REFERENCE_IS = "the reference is "
PER_MESSAGE = ("cost.broker_cpu", "cost.load_cpu")


@dataclass(frozen=True, slots=True)
class Cell:
    """The words of a compared figure, "" where there is nothing to say.

    Args:
        value: the middle one. range: lowest – highest. absolute: ``+1.2 ms``. ratio: ``×1.31``. interval: ``[1.20 – 1.43]``, ``≈``
            before it where it holds 1. why: why there is no difference, in a word. sure: the interval leaves 1 out.
    """

    value: str
    range: str = ""
    absolute: str = ""
    ratio: str = ""
    interval: str = ""
    why: str = ""
    sure: bool = False

    @property
    def difference(self) -> str:
        """Returns ``+1.2 ms ×1.31``."""
        return f"{self.absolute} {self.ratio}".strip()

    @property
    def lines(self) -> list[str]:
        """Returns what stands below each other."""
        return [line for line in (self.value, self.range, self.difference, self.interval, self.why) if line]


def cell(metric: str, compared: Compared) -> Cell:
    """Returns a figure in words."""
    value = figure(metric, compared.middle)
    if compared.window == MIXED:
        value += ", steady and whole"
    elif compared.window == "whole" and not metric.startswith(("recovery.", "cost.")) and compared.middle is not None:
        value += ", whole run"
    ends = [figure(metric, end) for end in (compared.lowest, compared.highest) if end is not None]
    spread = " – ".join(ends) if len(set(ends)) > 1 else ""
    difference = compared.difference
    if difference is None:
        return Cell(value, spread, why=compared.label or _in_a_word(compared.why))
    found = difference.interval
    return Cell(
        value,
        spread,
        absolute=absolute(metric, difference),
        ratio=ratio(difference),
        interval=interval(found) if found else "",
        sure=found is not None and not holds_one(found),
    )


def _in_a_word(why: str) -> str:
    """Returns why a figure is not compared where its reference is in the way; all else the row or the value says."""
    return f"reference {why.removeprefix(REFERENCE_IS)}" if why.startswith(REFERENCE_IS) else ""


def figure(metric: str, value: Figure | None) -> str:
    """Returns a figure; the heading of a CPU cost says "per message" already."""
    if metric in PER_MESSAGE and isinstance(value, float):
        return format_duration(value / 1e6)  # seconds per million messages are microseconds per message
    return words.figure(metric, value)


def absolute(metric: str, difference: Difference) -> str:
    """Returns ``+1.2 ms``, ``±0 s``; ``≥ +1.2 s`` where a figure is only "at least"; "" where there is none."""
    if difference.absolute is None:
        return ""
    size = abs(difference.absolute)
    sign = "+" if difference.absolute > 0 else "−" if difference.absolute < 0 else "±"
    relation = "" if difference.relation == "=" else f"{difference.relation} "
    return f"{relation}{sign}{figure(metric, size)}"


def ratio(difference: Difference) -> str:
    """Returns ``×1.31``; what it is only a bound of, the absolute difference before it says, or else it itself."""
    if difference.ratio is None:
        return ""
    relation = f"{difference.relation} " if difference.absolute is None and difference.relation != "=" else ""
    return relation + times(difference.ratio)


def times(ratio: float) -> str:
    """Returns ``×1.31``, ``×12.5``, ``×8,728``, ``×0.0042``: never rounded to nothing."""
    return f"×{number(ratio)}"


def number(ratio: float, *, exact: bool = False) -> str:
    """Returns a ratio without its sign; ``exact``: one digit more."""
    if ratio >= 99.95:
        return f"{ratio:,.0f}"
    if ratio >= 9.995:
        return f"{ratio:.1f}"
    if exact or is_close(ratio):
        return f"{ratio:.3f}"
    return f"{ratio:.2f}" if ratio >= 0.0995 or ratio == 0 else f"{ratio:.2g}"


def is_close(ratio: float) -> bool:
    """Returns whether a ratio is so close to 1 that two digits would hide on which side."""
    return 0.9 <= ratio < 1.0995


def interval(found: Interval) -> str:
    """Returns ``[1.20 – 1.43]``, or ``≈ [0.970 – 1.080]`` where the ratio may be 1."""
    ends = (found.low, found.high)
    exact = any(end is not None and is_close(end) for end in ends)
    low, high = (number(end, exact=exact) if end else "…" for end in ends)
    return f"{'≈ ' if holds_one(found) else ''}[{low} – {high}]"


def holds_one(found: Interval) -> bool:
    """Returns whether 1 lies between the bounds: no difference is shown."""
    return found.low <= 1 and (found.high is None or found.high >= 1)
