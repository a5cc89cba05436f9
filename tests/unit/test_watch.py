"""What a tick says of the workers and of how busy the load is, however shards come and go."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from harness.facts import ShardRecord
from harness.histogram import BUCKETS
from harness.load.live import Live
from harness.run.progress import Event, Tick, Warned
from harness.run.remarks import watcher_words
from harness.run.watch import Watch

NONE = np.zeros(BUCKETS, np.uint64)


def ticked(*shards: ShardRecord, connected: tuple[str, ...] = (), **shares: float) -> Tick:
    """Returns the tick of a load of these shards; ``shares``: of a core that they used."""
    heard: list[Event] = []
    live = Live(
        t_ns=1,
        shards={shard.name: {"offered": 5, "connected": int(shard.name in connected)} for shard in shards},
        latency={"producer": NONE, "worker": NONE},
        core_shares={name: (1, share) for name, share in shares.items()},
    )
    fleet = SimpleNamespace(
        live=lambda: live,
        shards=lambda: list(shards),
        running=lambda kind: [shard.name for shard in shards if shard.kind == kind and shard.ended_ns is None],
    )
    sampler = SimpleNamespace(depth=7, dead_letters=3)
    listener = SimpleNamespace(notice=heard.append)
    Watch(cast(Any, fleet), cast(Any, sampler), listener, [], broker=cast(Any, None), nemesis=cast(Any, None)).tell()
    [tick] = heard
    assert isinstance(tick, Tick)
    return tick


def worker(name: str, **more: Any) -> ShardRecord:
    return ShardRecord(name=name, kind="worker", number=0, **more)


def states(tick: Tick) -> tuple[int, int, int]:
    return tick.workers, tick.workers_cut, tick.workers_lost


def test_a_worker_is_connected_or_cut_off() -> None:
    assert states(ticked(worker("w0"), worker("w1"), worker("w2"), connected=("w0", "w2"))) == (2, 1, 0)


def test_one_that_a_fault_killed_is_lost_until_its_replacement_runs() -> None:
    killed = worker("w1", ended_ns=5, killed_ns=4, expected_exit=True)
    assert states(ticked(worker("w0"), killed, connected=("w0",))) == (1, 0, 1)
    assert states(ticked(worker("w0"), killed, worker("w1.1"), connected=("w0", "w1.1"))) == (2, 0, 0)


def test_one_that_ended_by_itself_is_lost_and_one_that_was_told_to_end_is_not() -> None:
    itself, told = worker("w0", ended_ns=5, expected_exit=False), worker("w1", ended_ns=5, expected_exit=True)
    assert states(ticked(itself, told)) == (0, 0, 1)


def test_a_replacement_that_was_told_to_end_is_not_lost_either() -> None:
    killed = worker("w1", ended_ns=5, killed_ns=4)
    assert states(ticked(killed, worker("w1.1", ended_ns=9))) == (0, 0, 0)


def test_the_busiest_of_each_kind_tells_how_busy_the_load_is_and_one_that_ended_tells_nothing() -> None:
    shards = [worker("w0"), worker("w1"), worker("w2", ended_ns=5), ShardRecord(name="p0", kind="producer", number=0)]
    assert ticked(*shards, w0=0.2, w1=0.3, w2=0.99).core_shares == {"worker": 0.3}


def test_what_the_broker_says_is_passed_on() -> None:
    tick = ticked(worker("w0"))
    assert (tick.offered, tick.backlog_broker, tick.dead_letters) == (5, 7, 3)


def test_the_loss_of_the_minder_is_told_once() -> None:
    heard: list[Event] = []
    warnings: list[str] = []
    live = Live(t_ns=1, shards={}, latency={"producer": NONE, "worker": NONE}, core_shares={})
    quiet = SimpleNamespace(
        live=lambda: live,
        shards=list,
        running=lambda kind: [],
        problems=list,
        stopped_from_page=lambda: False,
        why_lost=str,
    )
    watch = Watch(
        cast(Any, quiet),
        cast(Any, SimpleNamespace(depth=0, dead_letters=0)),
        SimpleNamespace(notice=heard.append),
        warnings,
        broker=cast(Any, SimpleNamespace(alive=lambda: True)),
        nemesis=cast(Any, None),
        unminded=lambda: "the minder ended",
    )
    for _ in range(2):
        watch.until(lambda: True)
    assert warnings == ["the minder ended"]
    assert [event for event in heard if isinstance(event, Warned)] == [Warned(text="the minder ended")]


def test_the_end_of_the_watcher_of_stalls_is_told_with_its_time() -> None:
    after = "stalls of the machine after that are not known"
    assert (
        watcher_words(12_300_000_000, 1_000_000_000, 2_000_000_000) == f"the watcher of stalls ended at 10.3 s: {after}"
    )
    before = "the watcher of stalls ended before the load: stalls of the machine are not known"
    assert watcher_words(900_000_000, 1_000_000_000, 2_000_000_000) == before
    assert watcher_words(900_000_000, None, None) == before
