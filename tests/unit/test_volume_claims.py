"""What a container's volume does to claims: it keeps the data over a new container, or ends with the old one."""

from __future__ import annotations

import pytest

from harness.brokers import setups
from harness.model import Claim, DurabilityClass, FaultKind

RECREATE, RESTART, KILL = FaultKind.BROKER_RECREATE, FaultKind.BROKER_RESTART, FaultKind.BROKER_KILL
NAMES = [
    "redis-list",
    "redis-reliable-list",
    "redis-stream",
    "rabbitmq-classic",
    "rabbitmq-quorum",
    "postgres-lease",
    "postgres-delete",
]


def claims(name: str, **parameters: str) -> dict[FaultKind, Claim]:
    setup = setups()[name]
    return {claim.fault: claim for claim in setup.claims_of({**setup.complete({}), **parameters})}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("volume", ["named", "bind"])
def test_on_a_volume_that_stays_a_new_container_is_a_restart(name: str, volume: str):
    found, without = claims(name, volume=volume), claims(name)
    assert found.pop(RECREATE) == Claim(
        **{field: getattr(without[RESTART], field) for field in Claim.__slots__ if field != "fault"}, fault=RECREATE
    )
    assert found == without


@pytest.mark.parametrize("name", NAMES)
def test_on_an_anonymous_volume_nothing_is_claimed_of_a_new_container_and_all_else_stays(name: str):
    assert claims(name, volume="anonymous") == claims(name)
    assert RECREATE not in claims(name)


@pytest.mark.parametrize("name", NAMES)
def test_on_tmpfs_nothing_is_claimed_of_what_ends_the_broker(name: str):
    found, without = claims(name, volume="tmpfs"), claims(name)
    assert {KILL, RESTART, RECREATE}.isdisjoint(found)
    assert found == {fault: claim for fault, claim in without.items() if fault not in (KILL, RESTART)}


@pytest.mark.parametrize("name", NAMES)
def test_tmpfs_is_memory_and_other_volumes_change_no_class(name: str):
    setup = setups()[name]
    complete = setup.complete({})
    assert setup.durability_of({**complete, "volume": "tmpfs"}) is DurabilityClass.MEMORY
    for volume in ("named", "bind", "anonymous"):
        assert setup.durability_of({**complete, "volume": volume}) is setup.durability_of(complete)
