"""Whether an absence from the residue proves anything: who may still be connected, and whether the counts agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from harness.brokers.contract import Depth, Residue
from harness.model import Place
from harness.run.search import Search, search


class Searched:
    """A broker that tells its connections or not, and its consumers or not."""

    def __init__(self, *, connections: list[str] | None, consumers: int | None = None, ready: int = 0) -> None:
        self._connections, self._consumers, self._ready = connections, consumers, ready
        self.asked: list[str] = []

    def connections(self) -> list[str] | None:
        return self._connections

    def depth(self) -> Depth:
        self.asked.append("depth")
        return Depth(ready=self._ready, consumers=self._consumers)

    def residue(self) -> Iterator[Residue]:
        self.asked.append("residue")
        yield Residue(Place.READY, [b"not ours"])


def searched(load_ended: bool = True, **broker: Any) -> Search:
    driver: Any = Searched(**broker)
    return search(driver, run_id=1, trial=1, load_ended=load_ended)


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.run.search.GOODBYE_LIMIT_S", 0.0)


def test_a_search_is_sound_where_no_connection_is_left_and_the_counts_agree() -> None:
    assert searched(connections=[], ready=1).problems == ()
    assert searched(connections=["w1", "w0"], ready=1).problems == ("connections of the run remain: w0, w1",)
    assert searched(connections=[], ready=2).problems == ("the search found 1 ready, the broker says 2",)


def test_a_broker_that_lists_no_connections_must_have_no_consumer_after_a_load_that_has_ended() -> None:
    assert searched(connections=None, consumers=0, ready=1).problems == ()
    assert searched(connections=None, consumers=2, ready=1).problems == ("2 consumers of the queue remain",)
    assert searched(connections=None, ready=1).problems == ("the broker cannot tell which connections remain",)
    (problem,) = searched(load_ended=False, connections=None, consumers=0, ready=1).problems
    assert "not every process of the load is known to have ended" in problem


def test_the_depth_is_asked_before_the_places_are_read() -> None:
    driver: Any = Searched(connections=[], ready=1)
    search(driver, run_id=1, trial=1, load_ended=True)
    assert driver.asked == ["depth", "residue"]
