"""The knee of a curve: the smallest value whose median reaches 95 % of the best, and when there is none.

"Reaches 95 % of the best": where higher is better, a median of at least 0.95 of the highest; where lower is better (a latency), the
lowest median is at least 0.95 of it. Neighbour: ``sweep`` has the points.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.sweep import SHARE, Knee, Point, durability_classes
from harness.metrics import METRICS
from harness.record import AtLeast


def knee_of(points: Sequence[Point], metric: str) -> Knee:
    """Returns the knee of ``metric`` over points in ascending order (words: in any)."""
    known = [(point, value) for point in points if (value := _median(point, metric)) is not None]
    if len(known) < 2:
        return Knee(found="unknown", best=known[0][0].value if known else None)
    higher = METRICS[metric].higher_is_better
    pick = max if higher else min
    best, top = pick(known, key=lambda pair: pair[1])
    if len(durability_classes(points)) > 1:
        return Knee(found="unlike")
    if any(point.at is None for point in points):
        return Knee(found="words", best=best.value)
    missing = [each.value for each in points if _median(each, metric) is None]
    if all(value == top for _, value in known) and not any(_is_bound(each, metric) for each in points):
        return Knee(found="flat", best=best.value, missing=missing)
    shares = [(point, _share(value, top, higher=higher)) for point, value in known]
    point, share = next(pair for pair in shares if pair[1] >= SHARE)
    if point is known[-1][0]:
        return Knee(found="rising", best=best.value, reached=max(share for _, share in shares[:-1]))
    below = points[: list(points).index(point)]
    missing = [each.value for each in below if _is_open(each, metric, top)]
    return Knee(
        found="first" if point is points[0] else "knee",
        value=point.value,
        best=best.value,
        reached=share,
        missing=missing,
    )


def _median(point: Point, metric: str) -> float | None:
    """Returns a median that is known; one that is only "at least" is none."""
    seen = point.seen.get(metric)
    return seen.median if seen is not None and isinstance(seen.median, float) else None


def _is_bound(point: Point, metric: str) -> bool:
    """Returns whether all that is known of a median is that it is "at least" so much."""
    return metric in point.seen and isinstance(point.seen[metric].median, AtLeast)


def _is_open(point: Point, metric: str, top: float) -> bool:
    """Returns whether a point may reach the share for all that is known of it."""
    median = point.seen[metric].median if metric in point.seen else None
    if isinstance(median, AtLeast):
        return _share(median.at_least, top, higher=METRICS[metric].higher_is_better) >= SHARE
    return not isinstance(median, float)


def _share(value: float, top: float, *, higher: bool) -> float:
    """Returns what a median is of the best, 1 for the best itself."""
    part, whole = (value, top) if higher else (top, value)
    return 1.0 if part == whole else part / whole if whole else 0.0
