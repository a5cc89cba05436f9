"""Sentences on the load's circumstances that a reader of the figures should know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.deployments.contract import CONTAINER
from harness.environment import realtime_permitted
from harness.facts import ShardRecord
from harness.load.plan import FleetPlan
from harness.units import format_duration


def realtime_words(plan: FleetPlan, shards: Sequence[ShardRecord]) -> Iterator[str]:
    """Yields that producers in a container lack a right that they would have on this machine."""
    if plan.place.name != CONTAINER or plan.load.saturate_window is not None or not plan.realtime:
        return
    if any(shard.kind == "producer" and shard.scheduling != "fifo" for shard in shards) and realtime_permitted():
        yield (
            "producers in the load's container run without SCHED_FIFO, which this machine would give them: its kernel or engine keeps it from "
            "containers (cgroup v1 with CONFIG_RT_GROUP_SCHED does); on busy cores they are late more often, which the schedule lag shows"
        )


def clock_words(clock: Mapping[str, Any]) -> str:
    """Returns what is known of an agent's clock as a sentence."""
    before, after = (
        f"{clock[when] / 1e9:+.6f} s ± {format_duration(clock[f'{when}_error'] / 1e9)}" for when in ("before", "after")
    )
    worst = format_duration(clock["error"] / 1e9)
    return f"agent {clock['agent']} has a clock of its own: offset {before} before the load, {after} after it; ± {worst} at worst"


def watcher_words(t_ns: int, load_start_ns: int | None, steady_start_ns: int | None) -> str:
    """Returns that the watcher of stalls ended before its time; times are CLOCK_MONOTONIC ns, told from the start of steady."""
    if load_start_ns is None or steady_start_ns is None or t_ns < load_start_ns:
        return "the watcher of stalls ended before the load: stalls of the machine are not known"
    return f"the watcher of stalls ended at {(t_ns - steady_start_ns) / 1e9:.1f} s: stalls of the machine after that are not known"
