"""How fast a queue of the null broker hands out: evenly, at a rate that is known; so what a search finds can be held against it.

Message k leaves no earlier than k intervals of 1/rate after the first. Time in which somebody asked and something was ready is never
lost, however late the broker woke up: over it the rate is exact. Time in which nobody asked or nothing was ready earns one
:data:`TICK_NS` at most. Pure: the time is handed in.
"""

from __future__ import annotations

import math

from harness.clock import NS_PER_S
from harness.units import parse_rate_per_s

TICK_NS = NS_PER_S // 20
"""What may be handed out at once after idling, as time. Whoever asks needs time between an answer and the next request; on a busy machine
that was up to 50 ms, and with 10 ms here 2,000/s came out as 1,830/s."""


def parse_service_rate(text: str) -> float | None:
    """Returns messages per second from ``2000/s``; "" is None: as fast as it can.

    Raises:
        ValueError: no rate, or none above 0.
    """
    if not text.strip():
        return None
    rate_per_s = parse_rate_per_s(text)
    if not 0.0 < rate_per_s < math.inf:
        raise ValueError(f"{text!r} serves nothing, or without end; expected a rate such as '2000/s'")
    return rate_per_s


def parse_max_ready(text: str) -> int | None:
    """Returns how many messages may wait from ``1000``; "" is None: any number.

    Raises:
        ValueError: no whole number above 0.
    """
    if not text.strip():
        return None
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is no number of messages; expected a whole number from 1, e.g. 1000")
    return int(text)


class Pace:
    """When the messages of one queue may leave.

    Args:
        rate_per_s: None = at once.
    """

    def __init__(self, rate_per_s: float | None) -> None:
        self._interval_ns = 0.0 if rate_per_s is None else NS_PER_S / rate_per_s
        self._next_ns = 0.0
        self._busy = False

    def allows(self, now_ns: int) -> float:
        """Returns how many may leave now, where somebody asks and something is ready; infinite without a rate."""
        if not self._interval_ns:
            return math.inf
        if not self._busy:
            self._busy = True
            self._next_ns = max(self._next_ns, now_ns - TICK_NS)
        return max(0, math.floor((now_ns - self._next_ns) / self._interval_ns) + 1)

    def gave(self, count: int) -> None:
        """Says that so many left; more than were allowed are taken off the next ones."""
        self._next_ns += count * self._interval_ns

    def rests(self) -> None:
        """Says that nobody asks, or nothing is ready."""
        self._busy = False

    def next_ns(self) -> int:
        """Returns when the next message may leave."""
        return math.ceil(self._next_ns)
