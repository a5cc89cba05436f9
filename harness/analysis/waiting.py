"""When some message was waiting for its first receipt: the time in which a silence of the deliveries means something.

A message waits from when it was sent (from when it was due where it was held) until it is first received. One that is never received
waits until a message that was due after it is delivered: from then on it was passed over, which its class tells, and no
silence is its doing. Where the sound search shows that the broker never had it (vanished), it does not wait beyond the heal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.analysis.identities import NEVER, Ints
from harness.analysis.measure import is_counted
from harness.analysis.moments import Moments
from harness.model import Class


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """The union of all waits, as disjoint stretches in order.

    Args:
        starts_ns, ends_ns: of each stretch, shape (stretches,).
        before_ns: time waited in the stretches before each, and in all: shape (stretches + 1,).
    """

    starts_ns: Ints
    ends_ns: Ints
    before_ns: Ints

    @classmethod
    def of(cls, moments: Moments, healed_ns: int | None, until_ns: int) -> Waiting:
        """Returns when messages waited.

        Args:
            healed_ns: end of the fault that is looked at, None = never. until_ns: last moment at which a worker was asking.
        """
        counted = is_counted(moments)
        start = np.where(moments.held[counted], moments.intended_ns[counted], moments.sent_ns[counted])
        end = moments.received_ns[counted]
        never = end == NEVER
        if never.any():
            end = end.copy()
            end[never] = _passed_over(moments.intended_ns[counted], end, never)
            if healed_ns is not None:
                vanished = never & moments.is_class(Class.VANISHED)[counted]
                end[vanished] = np.minimum(end[vanished], healed_ns)
        return cls._union(start, np.minimum(end, until_ns))

    @classmethod
    def _union(cls, start: Ints, end: Ints) -> Waiting:
        some = end > start
        order = np.argsort(start[some], kind="stable")
        start, end = start[some][order], end[some][order]
        reached = np.maximum.accumulate(end) if len(end) else end
        begins = np.concatenate([np.ones(min(1, len(start)), bool), start[1:] > reached[:-1]])
        at = np.flatnonzero(begins)
        starts = start[at]
        ends = reached[np.concatenate([at[1:] - 1, [len(reached) - 1]])] if len(at) else reached
        return cls(starts_ns=starts, ends_ns=ends, before_ns=np.concatenate([[0], np.cumsum(ends - starts)]))

    def between(self, from_ns: Ints, to_ns: Ints) -> Ints:
        """Returns the time waited in each span [from, to), shape (n,) → (n,)."""
        waited: Ints = np.maximum(self._until(to_ns) - self._until(from_ns), 0)
        return waited

    def during(self, from_ns: int, to_ns: int) -> int:
        """Returns the time waited in [from, to)."""
        return int(self.between(np.array([from_ns]), np.array([to_ns]))[0])

    def _until(self, t_ns: Ints) -> Ints:
        """Returns the time waited before each moment."""
        if not len(self.starts_ns):
            return np.zeros(len(t_ns), np.int64)
        begun = np.searchsorted(self.starts_ns, t_ns, "right")
        last = np.maximum(begun - 1, 0)
        in_last = np.minimum(t_ns, self.ends_ns[last]) - self.starts_ns[last]
        waited: Ints = np.where(begun == 0, 0, self.before_ns[last] + in_last)
        return waited


def _passed_over(intended_ns: Ints, received_ns: Ints, never: npt.NDArray[np.bool_]) -> Ints:
    """Returns for each message that never came when the first one that was due after it came, ``NEVER`` where none did."""
    order = np.argsort(intended_ns[~never], kind="stable")
    due, came = intended_ns[~never][order], received_ns[~never][order]
    earliest_from = np.concatenate([np.minimum.accumulate(came[::-1])[::-1], [NEVER]])
    passed: Ints = earliest_from[np.searchsorted(due, intended_ns[never], "right")]
    return passed
