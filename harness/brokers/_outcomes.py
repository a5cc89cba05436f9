"""What became of tokens, collected by a driver until its caller polls."""

from __future__ import annotations

import numpy as np

from harness.brokers.contract import NO_CONFIRMS, NO_SETTLED, Confirms, Flags, Ints, Settled


class Outcomes:
    """Tokens with their outcomes and the time at which each was seen, in the order in which they came."""

    def __init__(self) -> None:
        self._parts: list[tuple[Ints, Flags, int]] = []

    def __bool__(self) -> bool:
        return bool(self._parts)

    def add(self, tokens: Ints, outcome: int | Flags, t_ns: int) -> None:
        """Adds one outcome for all tokens, or an array with one for each."""
        if len(tokens):
            each = np.full(len(tokens), outcome, np.uint8) if isinstance(outcome, int) else outcome
            self._parts.append((tokens, each, t_ns))

    def confirms(self) -> Confirms:
        """Returns, and forgets, what was added: outcomes of attempts."""
        return Confirms(*self._take()) if self._parts else NO_CONFIRMS

    def settled(self) -> Settled:
        """Returns, and forgets, what was added: outcomes of settlements."""
        return Settled(*self._take()) if self._parts else NO_SETTLED

    def _take(self) -> tuple[Ints, Flags, Ints]:
        parts, self._parts = self._parts, []
        times = np.repeat(np.array([t_ns for _, _, t_ns in parts], np.int64), [len(tokens) for tokens, _, _ in parts])
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]), times
