"""Times at which nobody could reach the broker, as the shards' connection logs tell; for brokers that have no process to look at."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from harness.facts import CLOSED
from harness.units import format_duration


def outages(connections: pl.DataFrame) -> Iterator[tuple[int, int | None]]:
    """Yields from when to when (ns; None = to the end) every shard that had been connected had lost its connection.

    Args:
        connections: ``tables.CONNECTIONS``, by time. A shard that was killed says nothing, and counts as connected.
    """
    up: set[str] = set()
    since_ns: int | None = None
    for shard, t_ns, is_up, reason in connections.select("shard", "t_ns", "up", "reason").iter_rows():
        before = bool(up)
        if is_up:
            up.add(shard)
            if since_ns is not None:
                yield since_ns, t_ns
                since_ns = None
            continue
        up.discard(shard)
        if before and not up and reason != CLOSED:
            since_ns = t_ns
    if since_ns is not None:
        yield since_ns, None


def outage_words(connections: pl.DataFrame, start_ns: int) -> str:
    """Returns the outages in words, counted from ``start_ns``, "" where there was none."""
    told = []
    for from_ns, to_ns in outages(connections):
        begun = format_duration((from_ns - start_ns) / 1e9)
        told.append(f"from {begun} {'on' if to_ns is None else f'for {format_duration((to_ns - from_ns) / 1e9)}'}")
    return f"nobody could reach it {', '.join(told)} (since the load began)" if told else ""
