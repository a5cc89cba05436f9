"""How long the broker held producers up, and in which words: from what they wrote to the connection log (``load.connection``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from harness.clock import NS_PER_S
from harness.facts import BLOCKED, CLOSED, TrialFacts
from harness.units import format_count, format_duration

NAMED = 3
"""So many producers are told by name."""


@dataclass(frozen=True, slots=True)
class Blockage:
    """A time for which one producer was held: ``[from_ns, to_ns)``; ``over``: it did not last until the producer itself gave up."""

    shard: str
    reason: str
    from_ns: int
    to_ns: int
    over: bool


def blockages(connections: pl.DataFrame, facts: TrialFacts) -> list[Blockage]:
    """Returns every time for which the broker blocked a producer, as that saw it.

    Args:
        connections: ``tables.CONNECTIONS``, in any order.
        facts: say when a shard was killed, and when the trial ended: until then lasts what nothing ended.
    """
    killed = {shard.name: shard.killed_ns for shard in facts.shards}
    open_: dict[str, tuple[str, int]] = {}
    found: list[Blockage] = []
    # One reason may give way to another at one moment: then the end of the first comes first.
    rows = connections.sort("t_ns", pl.col("reason").str.starts_with(BLOCKED)).select("shard", "t_ns", "reason")
    for shard, t_ns, reason in rows.iter_rows():
        if shard in open_:
            found.append(Blockage(shard, *open_.pop(shard), t_ns, over=reason != CLOSED))
        if reason.startswith(BLOCKED):
            open_[shard] = (reason.removeprefix(BLOCKED), t_ns)
    for shard, (reason, from_ns) in open_.items():
        end_ns = killed.get(shard) or facts.drain_end_ns or facts.load_end_ns or from_ns
        found.append(Blockage(shard, reason, from_ns, max(end_ns, from_ns), over=bool(killed.get(shard))))
    return found


def blocked_words(found: Sequence[Blockage]) -> Iterator[str]:
    """Yields a sentence per reason: who was held, and for how long in all."""
    by_reason: dict[str, dict[str, int]] = {}
    for each in found:
        of_shards = by_reason.setdefault(each.reason, {})
        of_shards[each.shard] = of_shards.get(each.shard, 0) + each.to_ns - each.from_ns
    for reason, of_shards in by_reason.items():
        yield f"{_who(of_shards)} held for {_longest(of_shards)}: {reason}"


def _who(of_shards: Mapping[str, int]) -> str:
    names = sorted(of_shards)
    if len(names) == 1:
        return f"{names[0]} was"
    told = ", ".join(names) if len(names) <= NAMED else f"{format_count(len(names))} producers"
    return f"{told} were"


def _longest(of_shards: Mapping[str, int]) -> str:
    longest = format_duration(max(of_shards.values()) / NS_PER_S)
    return longest if len(of_shards) == 1 else f"up to {longest} each"
