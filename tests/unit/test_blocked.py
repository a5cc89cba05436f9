"""How long producers were held by the broker, from their connection logs."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from harness import tables
from harness.analysis.blocked import blockages, blocked_words
from harness.facts import ShardRecord
from harness.run.outage import outages
from reports.words import warning
from tests.unit.histories import FACTS

S = 1_000_000_000
DISK = "blocked: RabbitMQ blocks publishers: low on disk"


def log(*rows: tuple[str, int, bool, str]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=tables.CONNECTIONS, orient="row").sort("t_ns")


def test_a_blocked_producer_is_told_with_the_reason_and_the_sum_of_its_times() -> None:
    found = blockages(
        log(
            ("p0", 0, True, "connected"),
            ("p0", 1 * S, True, DISK),
            ("p0", 3 * S, True, "unblocked"),
            ("p0", 5 * S, True, DISK),
            ("p0", 6 * S, False, "reset"),
            ("p0", 9 * S, True, "reconnected"),
        ),
        FACTS,
    )
    assert [(each.from_ns, each.to_ns, each.over) for each in found] == [(S, 3 * S, True), (5 * S, 6 * S, True)]
    assert list(blocked_words(found)) == ["p0 was held for 3 s: RabbitMQ blocks publishers: low on disk"]


def test_a_block_that_nothing_ended_lasts_until_the_producer_gave_up_was_killed_or_the_trial_ended() -> None:
    killed = ShardRecord(name="p2", kind="producer", number=2, killed_ns=4 * S)
    found = blockages(
        log(
            *((f"p{number}", (1 + number) * S, True, DISK) for number in range(4)),
            ("p0", 6 * S, False, "closed"),
        ),
        replace(FACTS, shards=(killed,), drain_end_ns=7 * S),
    )
    by_shard = {each.shard: (each.to_ns, each.over) for each in found}
    assert by_shard == {"p0": (6 * S, False), "p1": (7 * S, False), "p2": (4 * S, True), "p3": (7 * S, False)}
    assert list(blocked_words(found)) == [
        "4 producers were held for up to 5 s each: RabbitMQ blocks publishers: low on disk"
    ]


def test_a_reason_that_gives_way_to_another_is_told_apart_from_it() -> None:
    found = blockages(
        log(
            ("p0", 1 * S, True, "blocked: RabbitMQ does not read"),
            ("p0", 2 * S, True, DISK),
            ("p0", 2 * S, True, "unblocked"),
            ("p0", 5 * S, True, "unblocked"),
        ),
        FACTS,
    )
    assert list(blocked_words(found)) == [
        "p0 was held for 1 s: RabbitMQ does not read",
        "p0 was held for 3 s: RabbitMQ blocks publishers: low on disk",
    ]


def test_a_blocked_connection_is_up_and_makes_no_outage() -> None:
    rows = log(("p0", 0, True, "connected"), ("p0", S, True, DISK), ("p0", 2 * S, True, "unblocked"))
    assert list(outages(rows)) == []


def test_the_remedy_for_a_drain_that_ended_with_blocked_producers_is_no_longer_drain() -> None:
    told = warning("the drain hit its limit with producers still blocked: what they held was never sent")
    assert told.endswith("give the broker what it lacks (its reason is told), or send less: no drain helps")
