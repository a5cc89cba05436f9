"""Which identities each fault could have harmed, and to which faults a harm belongs.

``measurement.md``: "*Exposed* to a fault = CONFIRMED before it healed, and its stay (``sent_ns`` to first settle OK) overlaps [inject,
healed]. A loss belongs to each fault it was exposed to; exposed to none, it breaks the no-fault claim; to several, VIOLATED if all
forbid it, else UNKNOWN for those that alone forbid it."

Read here as follows, where the page leaves it open:

- Where a delivery settles by itself (at most once, auto-ack) "its stay in the broker ends at receipt": that is the end for a fault
  of the broker. A killed worker takes what it had received with it, so for a fault of a worker the stay ends with the finish.
- A broker learns of a worker's death by the closed connection: what it hands to the dead in between belongs to the kill, so a
  worker kill lasts at least until the process was reaped and 100 ms more.
- A fault that never healed lasts until the end.
- A message that was sent when the broker's processes had ended cannot be hurt by what ended them: exposed to a kill, a restart or a recreate is only
  what was sent (by its first attempt) until then. A graceful stop confirms until it ends. Where the evidence does not say when
  they had ended (a fault of somebody else's may end the broker twice), all that was sent until it healed counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import combinations

import numpy as np
import numpy.typing as npt

from harness.analysis.identities import NEVER
from harness.analysis.moments import Mask, Moments
from harness.clock import NS_PER_S
from harness.facts import FaultRecord, TrialFacts
from harness.model import ENDS_BROKER, FaultKind, Outcome

NOTICE_NS = 100_000_000
BROKER_FAULTS = (*ENDS_BROKER, FaultKind.BROKER_PAUSE)


class Stand(IntEnum):
    """What a claim says about one harm: it cannot have been that fault, or it is allowed, limited by a count, or forbidden."""

    APART = 0
    ALLOWS = 1
    LIMITS = 2
    FORBIDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Blame:
    """Which faults a group of harms breaks, by position in the list of faults.

    Args:
        violated: position → harms that prove it. unknown: position → harms that may be its or another's.

    Harms that are APART from every fault are nobody's: they break the no-fault claim.
    """

    violated: Mapping[int, int]
    unknown: Mapping[int, int]


def span(fault: FaultRecord, facts: TrialFacts) -> tuple[int, int]:
    """Returns [inject, healed] of a fault that fired, as explained above."""
    assert fault.injected_ns is not None
    end = NEVER - 1 if fault.healed_ns is None else fault.healed_ns
    if fault.kind is FaultKind.WORKER_KILL:
        gone = [shard.ended_ns for shard in facts.shards if shard.name in fault.shards and shard.ended_ns is not None]
        end = max([end, fault.injected_ns + NOTICE_NS, *(t_ns + NOTICE_NS for t_ns in gone)])
    return fault.injected_ns, end


def _last_sent_ns(fault: FaultRecord, facts: TrialFacts) -> int:
    """Returns until when a message must have been sent to be exposed: the end of the broker's processes, or of the fault."""
    end, ended_ns = span(fault, facts)[1], fault.evidence.get("ended_ns")
    if fault.kind not in ENDS_BROKER or not isinstance(ended_ns, int):
        return end
    return min(end, ended_ns + round(facts.clock_error_s * NS_PER_S))


def exposed(moments: Moments, fault: FaultRecord, facts: TrialFacts, *, settles_itself: bool) -> Mask:
    """Returns which identities were exposed to a fault that fired.

    Args:
        settles_itself: deliveries settle by being received (at most once, auto-ack).
    """
    start, end = span(fault, facts)
    left = moments.received_ns if settles_itself and fault.kind in BROKER_FAULTS else moments.settled_ns
    found: Mask = (moments.outcome == Outcome.CONFIRMED) & (moments.confirmed_ns <= end)
    found &= (moments.sent_ns <= _last_sent_ns(fault, facts)) & (left >= start)
    return found


def blame(stands: npt.NDArray[np.uint8], budgets: Mapping[int, int], groups: Sequence[int] | None = None) -> Blame:
    """Returns which faults a set of harms breaks.

    A harm that some fault allows is explained by it; the faults that forbid it stay unknown. Limited faults explain as many as
    their budgets hold: more than that, for harms that nothing else allows, breaks them (checked for every set of them, since
    a harm may lie within several).

    Args:
        stands: shape (harms, faults), a :class:`Stand` each. budgets: fault → how many harms it may explain, for LIMITS.
        groups: fault → the position under which its harms are told, each harm once; its own where not given.
    """
    violated: Counter[int] = Counter()
    unknown: Counter[int] = Counter()
    patterns = _patterns(stands)
    over = _over_budget(patterns, budgets)
    told = range(stands.shape[1]) if groups is None else groups
    for pattern, count in patterns:
        of = {stand: [fault for fault, its in enumerate(pattern) if its == stand] for stand in Stand}
        if of[Stand.ALLOWS] or set(of[Stand.LIMITS]) - over:
            unknown.update(dict.fromkeys((told[at] for at in of[Stand.FORBIDS]), count))
        else:  # all that could explain these forbid them: those beyond their budget too
            violated.update(dict.fromkeys((told[at] for at in of[Stand.LIMITS] + of[Stand.FORBIDS]), count))
    return Blame(violated=violated, unknown=unknown)


def _patterns(stands: npt.NDArray[np.uint8]) -> list[tuple[tuple[int, ...], int]]:
    """Returns each different row and how often it occurs."""
    faults = stands.shape[1]
    base = len(Stand) ** np.arange(faults, dtype=np.int64)
    codes, counts = np.unique(stands.astype(np.int64) @ base, return_counts=True)
    return [
        (tuple(int(code // each % len(Stand)) for each in base), int(count))
        for code, count in zip(codes, counts, strict=True)
    ]


def _over_budget(groups: Sequence[tuple[tuple[int, ...], int]], budgets: Mapping[int, int]) -> set[int]:
    """Returns the limited faults whose budgets, alone or in some set together, cannot hold what only they can explain."""
    needs: Counter[frozenset[int]] = Counter()
    for pattern, count in groups:
        limits = frozenset(fault for fault, its in enumerate(pattern) if its == Stand.LIMITS)
        if limits and Stand.ALLOWS not in pattern:
            needs[limits] += count
    concerned = sorted({fault for limits in needs for fault in limits})
    over: set[int] = set()
    for size in range(1, len(concerned) + 1):
        for chosen in combinations(concerned, size):
            if over.intersection(chosen):
                continue  # a smaller set of these is over already, and says more
            only_theirs = sum(count for limits, count in needs.items() if limits <= set(chosen))
            if only_theirs > sum(budgets.get(fault, 0) for fault in chosen):
                over.update(chosen)
    return over
