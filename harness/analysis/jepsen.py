"""Jepsen's total-queue sets, from counts (``jepsen.checker/total-queue``; ``measurement.md`` section 3).

Jepsen compares multisets of enqueue attempts, acknowledged enqueues and dequeues. The size of each multiset difference is a
sum over identities, so three counts per identity are enough: A attempts, E of them CONFIRMED, D deliveries whose work finished.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, slots=True)
class TotalQueue:
    """How often each identity is in each set; arrays of one length.

    Args:
        lost: enqueues minus dequeues. unexpected: dequeues of what nobody attempted to enqueue.
        duplicated: dequeues minus attempts, of what was attempted. recovered: (dequeues ∩ attempts) minus enqueues.
    """

    lost: npt.NDArray[Any]
    unexpected: npt.NDArray[Any]
    duplicated: npt.NDArray[Any]
    recovered: npt.NDArray[Any]

    def sizes(self) -> dict[str, int]:
        """Returns the size of each set."""
        return {name: int(getattr(self, name).sum()) for name in ("lost", "unexpected", "duplicated", "recovered")}


def total_queue(attempts: npt.NDArray[Any], confirmed: npt.NDArray[Any], finished: npt.NDArray[Any]) -> TotalQueue:
    """Returns the sets for identities with A ``attempts``, E ``confirmed`` among them and D ``finished``: signed, shape (n,) each."""
    beyond = np.maximum(finished - attempts, 0)
    return TotalQueue(
        lost=np.maximum(confirmed - finished, 0),
        unexpected=np.where(attempts == 0, finished, 0),
        duplicated=np.where(attempts > 0, beyond, 0),
        recovered=np.maximum(np.minimum(finished, attempts) - confirmed, 0),
    )
