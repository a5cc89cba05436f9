"""Rates and latencies as one line of block characters: pure. rich draws none, and the few lines here are all that is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

BARS = "▁▂▃▄▅▆▇█"
GAP = "·"
"""Nothing was delivered."""
NO_NEWS = " "
STRUCK = "!"
TAIL_STEPS_S = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0)
"""Below the first is the lowest bar, beyond the last the highest: the same for all cases, so that they can be told apart."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A second of a load.

    Args:
        rate_per_s: deliveries; None = nothing was heard of it. tail_s: p99 of its end-to-end latencies; None = nothing was delivered.
        struck: a fault lasted in it.
    """

    rate_per_s: float | None
    tail_s: float | None
    struck: bool = False


UNHEARD = Slice(None, None)


def rate_line(slices: Sequence[Slice], cells: int) -> str:
    """Returns the rates in at most ``cells`` characters, from 0 to their highest; each shows the lowest of its seconds."""
    top = max((s.rate_per_s for s in slices if s.rate_per_s is not None), default=0.0)
    return "".join(_rate(cell, top) for cell in _cells(slices, cells))


def tail_line(slices: Sequence[Slice], cells: int) -> str:
    """Returns the p99s in at most ``cells`` characters; each shows the highest of its seconds, a gap where one had no delivery."""
    return "".join(_tail(cell) for cell in _cells(slices, cells))


def fault_line(slices: Sequence[Slice], cells: int) -> str:
    """Returns ``!`` where a fault lasted, below the other lines."""
    return "".join(STRUCK if any(s.struck for s in cell) else " " for cell in _cells(slices, cells))


def _cells(slices: Sequence[Slice], cells: int) -> list[Sequence[Slice]]:
    """Returns the slices in groups of one size, the newest last; the oldest group may be smaller."""
    size = max(1, math.ceil(len(slices) / max(cells, 1)))
    first = len(slices) % size
    groups = [slices[:first]] if first else []
    return [*groups, *(slices[at : at + size] for at in range(first, len(slices), size))]


def _rate(cell: Sequence[Slice], top: float) -> str:
    rates = [s.rate_per_s for s in cell if s.rate_per_s is not None]
    if not rates:
        return NO_NEWS
    lowest = min(rates)
    return BARS[min(len(BARS) - 1, int(lowest / top * len(BARS)))] if lowest > 0 else GAP


def _tail(cell: Sequence[Slice]) -> str:
    heard = [s for s in cell if s.rate_per_s is not None]
    if not heard:
        return NO_NEWS
    tails = [s.tail_s for s in heard if s.tail_s is not None]
    if len(tails) < len(heard):
        return GAP
    return BARS[sum(max(tails) > step for step in TAIL_STEPS_S)]
