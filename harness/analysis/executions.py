"""What was wrong with the work on a message besides its cause: overlapping executions, and deliveries out of order.

Pure. Neighbours: ``reconcile`` counts what is found here, ``causes`` explains the repeats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.analysis.causes import Repeats, died_ns
from harness.analysis.identities import NEVER, Ints, running_maximum_before
from harness.facts import ShardRecord


def overlapping(repeats: Repeats, shards: Sequence[ShardRecord]) -> Ints:
    """Returns the identity of each execution that began while another worker's on the same identity was not over.

    An execution lasts from ``started_ns`` to the end of its work. Work that has no end lasts until its worker was killed (the
    moment of the signal) or ended, else for ever.
    """
    d = repeats.take(repeats.started_ns != NEVER)
    if not len(d):
        return np.zeros(0, np.int64)
    worked_ns = np.minimum(d.finished_ns, d.failed_ns)
    end_ns = np.maximum(np.where(worked_ns != NEVER, worked_ns, died_ns(shards)[d.worker]), d.started_ns)
    # Sorted by (start, end): of two that begin in the same ns an empty one comes first, and an empty one overlaps nothing there.
    order = np.lexsort((end_ns, d.started_ns, d.identity))
    identity, worker, start_ns, end_ns = d.identity[order], d.worker[order], d.started_ns[order], end_ns[order]
    group = np.cumsum(np.diff(identity, prepend=-1) != 0) - 1
    times, rank = np.unique(end_ns, return_inverse=True)
    overlaps = np.zeros(len(d), np.bool_)
    for number in np.unique(worker):  # a worker does not overlap with itself, so its own ends are left out
        its_own = worker == number
        others = np.where(its_own, 0, rank + 1)  # 0 = no end
        latest = running_maximum_before(group, others, len(times) + 1)
        latest_end_ns = np.where(latest > 0, times[np.maximum(latest, 1) - 1], -1)
        overlaps |= its_own & (start_ns < latest_end_ns)
    return identity[overlaps]


def out_of_order(
    *, worker: npt.NDArray[np.uint16], producer: npt.NDArray[np.uint16], received_ns: Ints, send_rank: npt.NDArray[Any]
) -> Ints:
    """Returns the rows of deliveries that a worker received after one that the same producer had sent later.

    Compared within one producer: the times at which two producers hand over do not tell which message the broker took first.

    Args:
        worker, producer, received_ns, send_rank: shape (n,) each, first deliveries of first attempts in the order of the table,
            which is each worker's order of receipt where times are equal.
    """
    late = [np.zeros(0, np.int64)]
    for its_own in _groups(worker):
        times = received_ns[its_own]
        in_order = its_own if bool((times[1:] >= times[:-1]).all()) else its_own[np.argsort(times, kind="stable")]
        for within in _groups(producer[in_order]):
            rows = in_order[within]
            rank = send_rank[rows]
            late.append(rows[1:][rank[1:] < np.maximum.accumulate(rank)[:-1]])
    return np.concatenate(late)


def _groups(values: npt.NDArray[np.uint16]) -> Iterator[Ints]:
    """Yields the rows of each value, in order; without sorting where equal values stand together, as ``gather`` leaves workers."""
    if not len(values):
        return
    starts = np.flatnonzero(np.diff(values, prepend=values[:1] + 1))
    order = None
    if len(np.unique(values[starts])) < len(starts):
        order = np.argsort(values, kind="stable")  # of 16 bits: one pass per byte
        starts = np.flatnonzero(np.diff(values[order], prepend=values[order[:1]] + 1))
    for first, last in zip(starts.tolist(), [*starts[1:].tolist(), len(values)], strict=True):
        yield np.arange(first, last) if order is None else order[first:last]
