"""The pure parts of the Redis drivers: entry numbers, outcomes of error replies, claims."""

from __future__ import annotations

import pytest
from redis.exceptions import (
    BusyLoadingError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from harness.brokers import setup
from harness.brokers._redis import published
from harness.brokers._redis_claims import PARAMETERS, asked
from harness.brokers.redis_list import block_limit
from harness.brokers.redis_stream import entry_numbers
from harness.model import DurabilityClass, FaultKind, MayLose, MayRepeat, Outcome

PERSISTENCE = ("aof-everysec", "none", "rdb", "aof-no", "aof-always")


def test_entry_numbers_keep_the_order_of_the_stream_and_are_never_zero() -> None:
    ids = [b"1795420800000-0", b"1795420800000-1", b"1795420800001-0", b"1795420800001-1048575"]
    numbers = entry_numbers(ids).tolist()
    assert numbers == [
        1795420800000 << 20,
        (1795420800000 << 20) + 1,
        1795420800001 << 20,
        (1795420800001 << 20) + 1048575,
    ]
    assert numbers == sorted(set(numbers))
    assert max(numbers) < 1 << 63


def test_entry_numbers_of_nothing_are_nothing() -> None:
    assert entry_numbers([]).tolist() == []


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (17, Outcome.CONFIRMED),
        (b"1795420800000-0", Outcome.CONFIRMED),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), Outcome.REJECTED),
        (BusyLoadingError("Redis is loading the dataset in memory"), Outcome.REJECTED),
        (ReadOnlyError("You can't write against a read only replica."), Outcome.REJECTED),
        (MasterDownError("Link with MASTER is down"), Outcome.REJECTED),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots"), Outcome.REJECTED),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), Outcome.REJECTED),
        (ResponseError("WRONGTYPE Operation against a key"), Outcome.REJECTED),
        (ResponseError("ERR something unheard of"), Outcome.UNKNOWN),
    ],
)
def test_only_an_error_that_proves_it_is_a_rejection(reply: object, outcome: Outcome) -> None:
    assert published(reply) == outcome


@pytest.mark.parametrize("wait_s", [0.0, 0.0001, 0.001, 0.0019])
def test_no_wait_becomes_one_for_ever(wait_s: float) -> None:
    assert block_limit(wait_s) == "0.0020"
    assert block_limit(0.25) == "0.2500"


def test_persistence_values_stand_in_the_order_of_the_record() -> None:
    assert PARAMETERS[0].values == PERSISTENCE


def test_settings_are_asked_for_in_redis_own_words() -> None:
    assert asked({"persistence": "rdb", "maxmemory": "64 MB"}) == {
        "save": "900 1 300 10 60 10000",
        "appendonly": "no",
        "maxmemory": "64000000",
        "maxmemory-policy": "noeviction",
    }


@pytest.mark.parametrize(
    ("persistence", "durability", "kill", "repeat"),
    [
        ("none", DurabilityClass.MEMORY, MayLose.ALL, MayRepeat.UNACKED),
        ("rdb", DurabilityClass.MEMORY, MayLose.ALL, MayRepeat.ACKED),
        ("aof-no", DurabilityClass.PROCESS_CRASH_SAFE, MayLose.NONE, MayRepeat.UNACKED),
        ("aof-everysec", DurabilityClass.PROCESS_CRASH_SAFE, MayLose.WINDOW, MayRepeat.ACKED),
        ("aof-always", DurabilityClass.FSYNCED, MayLose.NONE, MayRepeat.UNACKED),
    ],
)
def test_persistence_decides_what_a_kill_of_the_broker_may_lose(
    persistence: str, durability: DurabilityClass, kill: MayLose, repeat: MayRepeat
) -> None:
    for name in ("redis-reliable-list", "redis-stream"):
        parameters = setup(name).complete({"persistence": persistence})
        claims = {claim.fault: claim for claim in setup(name).claims(parameters)}
        assert setup(name).durability(parameters) is durability
        assert claims[FaultKind.BROKER_KILL].may_lose is kill
        assert claims[FaultKind.BROKER_KILL].may_repeat is repeat
        assert claims[FaultKind.WORKER_KILL].may_lose is MayLose.NONE
        assert claims[FaultKind.NONE].may_repeat is MayRepeat.EXPIRED


def test_a_plain_list_may_lose_what_was_in_flight_even_where_all_is_on_disk() -> None:
    parameters = setup("redis-list").complete({"persistence": "aof-always"})
    claims = {claim.fault: claim for claim in setup("redis-list").claims(parameters)}
    assert claims[FaultKind.WORKER_KILL].may_lose is MayLose.IN_FLIGHT
    assert claims[FaultKind.BROKER_KILL].may_lose is MayLose.IN_FLIGHT
    assert claims[FaultKind.BROKER_KILL].may_repeat is MayRepeat.NONE
