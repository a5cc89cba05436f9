"""The residue search: what the broker still holds after the drain, and whether that answer can be trusted.

Sound (``measurement.md`` section 3) = the broker answers, no connection of the run remains, every place was read without
an error, and the count agrees with ``depth()``. A broker that does not tell its connections must say that it has no consumer
left, and every process of the load must be known to have ended.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from harness import envelope, tables
from harness.brokers.contract import Driver, Residue
from harness.clock import now_ns
from harness.errors import BrokerbenchError
from harness.run.health import described

GOODBYE_LIMIT_S = 5.0
"""How long a broker may take to notice that the shards' processes have gone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """What was found; ``problems`` is empty when the search was sound."""

    residue: pl.DataFrame
    depth: Mapping[str, int | None] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Returns whether an absence from the residue proves anything."""
        return not self.problems


def search(driver: Driver, *, run_id: int, trial: int, load_ended: bool) -> Search:
    """Searches the whole queue over a connected driver; never raises for what the broker does.

    Args:
        load_ended: every shard is known to have ended, and with it its connection.
    """
    problems = _wait_for_goodbyes(driver, load_ended=load_ended)
    found: list[Residue] = []
    try:
        depth = dict(driver.depth().by_place())  # first: reading may disturb, where it is a delivery
        found.extend(driver.residue())
    except Exception as error:  # a place that could not be read makes the search unsound, whatever the reason
        return Search(
            residue=residue_frame(found, run_id, trial),
            problems=(*problems, f"the search broke off: {described(error)}"),
        )
    return Search(
        residue=residue_frame(found, run_id, trial), depth=depth, problems=(*problems, *_disagreements(found, depth))
    )


def unsearched(reason: str) -> Search:
    """Returns the result of a search that could not be made."""
    return Search(residue=pl.DataFrame(schema=tables.RESIDUE), problems=(reason,))


def _wait_for_goodbyes(driver: Driver, *, load_ended: bool) -> tuple[str, ...]:
    limit_ns = now_ns() + int(GOODBYE_LIMIT_S * 1e9)
    while True:
        try:
            left = driver.connections()
            problem = f"connections of the run remain: {', '.join(sorted(left))}" if left else ""
            if left is None:
                problem = _consumers_left(driver, load_ended)
        except BrokerbenchError as error:
            return (f"the connections could not be listed: {described(error)}",)
        if not problem:
            return ()
        if now_ns() > limit_ns:
            return (problem,)
        time.sleep(0.02)


def _consumers_left(driver: Driver, load_ended: bool) -> str:
    """Returns what speaks against "no connection remains" where the broker does not list them; "" where nothing does."""
    if not load_ended:
        return (
            "the broker cannot tell which connections remain, and not every process of the load is known to have ended"
        )
    consumers = driver.depth().consumers
    if consumers is None:
        return "the broker cannot tell which connections remain"
    return f"{consumers} consumers of the queue remain" if consumers else ""


def _disagreements(found: Iterable[Residue], depth: Mapping[str, int | None]) -> tuple[str, ...]:
    counted: Counter[str] = Counter()
    for part in found:
        counted[part.place.value] += len(part.payloads)
    counted["in_flight"] += counted.pop("running", 0)
    return tuple(
        f"the search found {counted[place]} {place.replace('_', ' ')}, the broker says {said}"
        for place, said in depth.items()
        if said is not None and said != counted[place]
    )


def residue_frame(found: Iterable[Residue], run_id: int, trial: int) -> pl.DataFrame:
    """Returns one row per copy found (``tables.RESIDUE``)."""
    frames = [
        pl.DataFrame(schema=tables.RESIDUE),
        *(_part_frame(part, run_id, trial) for part in found if part.payloads),
    ]
    return pl.concat(frames)


def _part_frame(part: Residue, run_id: int, trial: int) -> pl.DataFrame:
    parsed = envelope.parse(part.payloads)
    n = len(part.payloads)
    readable = pl.Series(parsed.readable)
    foreign = parsed.readable & ((parsed.run_id != np.uint64(run_id)) | (parsed.trial != np.uint16(trial)))
    columns = {
        "producer": parsed.producer,
        "seq": parsed.seq,
        "attempt": parsed.attempt,
        "place": [part.place.value] * n,
        "entry": part.entries if part.entries is not None else [None] * n,
        "hold_over": part.hold_over.astype(bool) if part.hold_over is not None else [None] * n,
        "foreign": foreign,
    }
    frame = pl.DataFrame(columns, schema=tables.RESIDUE)
    identity = ["producer", "seq", "attempt"]
    return frame.with_columns(pl.when(readable).then(pl.col(name)).alias(name) for name in identity)
