"""The newest counts of a running load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Live:
    """The newest counts, at most about half a second old.

    Args:
        t_ns: when the newest of them was read; 0 = nothing yet.
        shards: name → count of ``ledger.LIVE`` → value, cumulative; those of ended shards stay.
        core_shares: name → (end of a second in ns, share of one core in it); missing while unknown.
        latency: ``producer`` (publish) and ``worker`` (end-to-end) → counts per bucket of ``harness.histogram``.
    """

    t_ns: int
    shards: Mapping[str, Mapping[str, int]]
    latency: Mapping[str, npt.NDArray[np.uint64]]
    core_shares: Mapping[str, tuple[int, float]] = field(default_factory=dict)

    def total(self, count: str) -> int:
        """Returns the sum of one count over all shards."""
        return sum(counts.get(count, 0) for counts in self.shards.values())
