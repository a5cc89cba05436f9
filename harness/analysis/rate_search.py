"""The search for the highest rate that holds: growth by doubling, bisection on a log scale, then confirmation in fresh trials.

Pure: a generator that yields which rate to try next and is sent what was seen. The rate never changes within a trial. Only what is
clear is believed at once: a rate that misses closely, or whose evidence is not valid, is tried a second time, so that one stall of the
machine does not cost a factor of two; and the answer has to hold three times more, or the next lower rate takes its place. What does
not depend on the rate, such as a loss, is not chased downwards.
Neighbours: ``capacity`` says what a trial shows, ``harness.experiment.capacity`` runs the trials.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

CONFIRMATIONS = 3
MOST_DOUBLINGS = 16
MOST_HALVINGS = 8
MOST_FALLBACKS = 6
"""How many lower rates are confirmed where one does not hold; beyond them the broker is not steady enough for an answer."""

Purpose = Literal["growth", "descent", "bisection", "confirmation"]
Found = Literal["found", "at_least", "none", "unsteady", "untold", "unfinished"]


class Shown(StrEnum):
    """What a trial shows of its rate."""

    HOLDS = "holds"
    MISSED = "does not hold"
    GENERATOR = "generator gave out"
    UNTOLD = "cannot be told"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A rate to be tried; ``again``: because the trial before decided nothing clearly."""

    rate_per_s: float
    purpose: Purpose
    again: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a trial showed; ``clear``: another one need not be asked; ``lower``: how many lower rates are worth a try after it."""

    shown: Shown
    clear: bool = True
    lower: int = MOST_HALVINGS


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the search found.

    Args:
        found: ``found``: ``rate_per_s`` holds, ``above_per_s`` does not. ``at_least``: above it nothing could be told. ``none``: not
            even the lowest rate tried holds. ``unsteady``: no rate held every time. ``untold``: no trial could be judged.
        rate_per_s: the highest rate that was confirmed; None = there is none. above_per_s: the lowest above it that was refused.
        above: what was seen there.
    """

    found: Found
    rate_per_s: float | None = None
    above_per_s: float | None = None
    above: Shown | None = None


Search = Generator[Step, Seen, Answer]
_Look = Generator[Step, Seen, Seen]


def search(start_per_s: float, *, least_per_s: float, within: float) -> Search:
    """Yields the rates to try and returns the answer.

    Args:
        start_per_s: where growth begins. least_per_s: no lower rate is tried. within: by how much of itself the answer may be too
            low; two steps of the search fit into it, so that one fallback does too.
    """
    ratio = math.sqrt(1.0 + within)
    low, high, above = yield from _bracket(start_per_s, least_per_s)
    if low is None:
        return Answer(found="none" if above is Shown.MISSED else "untold", above_per_s=high, above=above)
    while high is not None and high / low > ratio:
        middle = rounded(math.sqrt(low * high))
        if not low < middle < high:
            break  # no rate of four digits lies between
        seen = yield from _look(middle, "bisection")
        if seen.shown is Shown.HOLDS:
            low = middle
        else:
            high, above = middle, seen.shown
    left = MOST_FALLBACKS
    while True:
        seen = yield from _confirm(low)
        if seen.shown is Shown.HOLDS:
            known = above is Shown.MISSED
            return Answer(found="found" if known else "at_least", rate_per_s=low, above_per_s=high, above=above)
        low, high, above = rounded(low / ratio), low, seen.shown
        left = min(left, seen.lower)
        if low < least_per_s or left == 0:
            break
        left -= 1
    return Answer(found="unsteady", above_per_s=high, above=above)


def most_steps() -> int:
    """Returns how many trials a search takes at the very most, with the usual 5 %."""
    return (1 + MOST_DOUBLINGS) + 2 * 6 + 2 * CONFIRMATIONS * (1 + MOST_FALLBACKS)


def usual_steps(within: float) -> int:
    """Returns about how many trials a search takes that begins within a factor of four below its answer."""
    halvings = math.ceil(math.log2(math.log(2.0) / (math.log1p(within) / 2)))
    return 4 + max(1, halvings) + CONFIRMATIONS


def rounded(rate_per_s: float) -> float:
    """Returns a rate with four digits."""
    return float(f"{rate_per_s:.4g}")


def _bracket(
    start_per_s: float, least_per_s: float
) -> Generator[Step, Seen, tuple[float | None, float | None, Shown | None]]:
    """Returns a rate that holds, the lowest above it that does not, and what was seen there; either rate may be None."""
    rate = start_per_s
    seen = yield from _look(rate, "growth")
    if seen.shown is Shown.HOLDS:
        for _ in range(MOST_DOUBLINGS):
            seen = yield from _look(rounded(2 * rate), "growth")
            if seen.shown is not Shown.HOLDS:
                return rate, rounded(2 * rate), seen.shown
            rate = rounded(2 * rate)
        return rate, None, None
    high, left = rate, MOST_HALVINGS
    while left := min(left, seen.lower):
        lower = rounded(high / 2)
        if lower < least_per_s:
            break
        below = yield from _look(lower, "descent")
        if below.shown is Shown.HOLDS:
            return lower, high, seen.shown
        high, seen, left = lower, below, left - 1
    return None, high, seen.shown


def _look(rate_per_s: float, purpose: Purpose) -> _Look:
    first = yield Step(rate_per_s=rate_per_s, purpose=purpose)
    if first.clear:
        return first
    again = yield Step(rate_per_s=rate_per_s, purpose=purpose, again=True)
    return again if again_decides(first.shown, again.shown) else first


def again_decides(first: Shown, again: Shown) -> bool:
    """Returns whether the second of two trials decides: where the generator gave out in the first, no other miss is the broker's."""
    return first is not Shown.GENERATOR or again is Shown.HOLDS


def _confirm(rate_per_s: float) -> _Look:
    """Returns what the first of the confirming trials shows that does not hold; evidence that is not valid is asked for once more."""
    for _ in range(CONFIRMATIONS):
        seen = yield Step(rate_per_s=rate_per_s, purpose="confirmation")
        if seen.shown in (Shown.GENERATOR, Shown.UNTOLD) and not seen.clear:
            again = yield Step(rate_per_s=rate_per_s, purpose="confirmation", again=True)
            seen = again if again_decides(seen.shown, again.shown) else seen
        if seen.shown is not Shown.HOLDS:
            return seen
    return Seen(shown=Shown.HOLDS)
