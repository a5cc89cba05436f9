"""The idempotency wrappers on a real Redis: what becomes of a message whose worker, a real process, is killed at each step."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from harness.load.idempotency import WRAPPERS, DoneMarker, Result, Wrapper, WrapperFailed
from harness.proxy.proxy import through
from tests.contract.line import Line, eventually

TRAPS = ("delete-in-finally", "key-first")
EVERY = (*TRAPS, "done-marker")

# A worker on message 0:7 that stands still at one step, after it has said so.
WORKER = """
import sys, time
from harness.load.idempotency import WRAPPERS
kind, step, address, queue = sys.argv[1:]
def at(name):
    if name == step:
        print(step, flush=True)
        time.sleep(60)
WRAPPERS[kind](address=address, queue=queue, client="dying").work(0, 7, job=lambda: at("job"), effect=lambda: at("effect"))
"""

pytestmark = pytest.mark.setups("redis-stream")
"""The wrappers are not a driver's: one setup of Redis is enough."""


@pytest.fixture
def wrapper(line: Line) -> Iterator[Callable[..., Wrapper]]:
    """Makes a wrapper on the line's queue; it is closed at the end."""
    opened: list[Wrapper] = []

    def make(kind: str, client: str = "w0") -> Wrapper:
        opened.append(WRAPPERS[kind](address=line.broker.address, queue=line.queue, client=client))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


class Work:
    """Counts what is done for a message."""

    def __init__(self) -> None:
        self.jobs = self.effects = 0

    def job(self) -> None:
        self.jobs += 1

    def effect(self) -> None:
        self.effects += 1

    def on(self, wrapper: Wrapper, seq: int = 7) -> Result:
        return wrapper.work(0, seq, self.job, self.effect)


def killed_at(step: str, kind: str, line: Line) -> None:
    """Lets a process of its own work on the message, and kills it when it has come to the step."""
    arguments = [sys.executable, "-c", WORKER, kind, step, line.broker.address, line.queue]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == f"{step}\n"
        worker.kill()
        assert worker.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("kind", "again"),
    [("delete-in-finally", Result.TAKEN), ("key-first", Result.TAKEN), ("done-marker", Result.FINISHED)],
)
def test_a_worker_killed_in_its_work_leaves_a_key_that_only_the_marker_is_not_fooled_by(
    line: Line, wrapper: Callable[..., Wrapper], kind: str, again: Result
) -> None:
    killed_at("job", kind, line)
    work = Work()
    assert work.on(wrapper(kind)) is again
    assert work.effects == (1 if again is Result.FINISHED else 0)


@pytest.mark.parametrize(
    ("kind", "again"),
    [("delete-in-finally", Result.TAKEN), ("key-first", Result.TAKEN), ("done-marker", Result.DONE)],
)
def test_a_worker_killed_right_after_its_effect_has_had_the_only_one(
    line: Line, wrapper: Callable[..., Wrapper], kind: str, again: Result
) -> None:
    killed_at("effect", kind, line)
    work = Work()
    assert (work.on(wrapper(kind)), work.jobs, work.effects) == (again, 0, 0)


@pytest.mark.parametrize(
    ("kind", "again"),
    [("delete-in-finally", Result.FINISHED), ("key-first", Result.TAKEN), ("done-marker", Result.DONE)],
)
def test_what_was_done_and_comes_again_is_done_again_where_the_key_was_deleted(
    wrapper: Callable[..., Wrapper], kind: str, again: Result
) -> None:
    work = Work()
    assert work.on(wrapper(kind)) is Result.FINISHED
    assert work.on(wrapper(kind, "w1")) is again
    assert work.effects == (2 if again is Result.FINISHED else 1)
    assert work.on(wrapper(kind), seq=8) is Result.FINISHED  # another message


@pytest.mark.parametrize(
    ("kind", "again"),
    [("delete-in-finally", Result.FINISHED), ("key-first", Result.TAKEN), ("done-marker", Result.FINISHED)],
)
def test_work_that_raises_can_be_tried_again_unless_the_key_came_first(
    wrapper: Callable[..., Wrapper], kind: str, again: Result
) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    work = Work()
    with pytest.raises(ZeroDivisionError):
        wrapper(kind).work(0, 7, broken, work.effect)
    assert work.on(wrapper(kind, "w1")) is again


@contextmanager
def at_work(wrapper: Wrapper) -> Iterator[Callable[[], Result]]:
    """Keeps a worker in the middle of the message; what is yielded lets it end, and returns what became of it."""
    begun, may_end = threading.Event(), threading.Event()
    results: list[Result] = []
    work = Work()

    def job() -> None:
        begun.set()
        assert may_end.wait(20)

    thread = threading.Thread(target=lambda: results.append(wrapper.work(0, 7, job, work.effect)))
    thread.start()
    assert begun.wait(20)

    def end() -> Result:
        may_end.set()
        thread.join()
        assert work.effects == (results[0] is Result.FINISHED)
        return results[0]

    yield end
    end()


@pytest.mark.parametrize("kind", TRAPS)
def test_who_comes_while_another_is_at_it_skips_the_message(wrapper: Callable[..., Wrapper], kind: str) -> None:
    with at_work(wrapper(kind)) as end:
        assert Work().on(wrapper(kind, "w1")) is Result.TAKEN
        assert end() is Result.FINISHED


def test_of_two_that_are_at_it_only_the_later_has_an_effect(wrapper: Callable[..., Wrapper]) -> None:
    with at_work(wrapper("done-marker")) as slow, at_work(wrapper("done-marker", "w1")) as later:
        assert slow() is Result.OVERTAKEN
        assert later() is Result.FINISHED


def test_who_is_late_finds_the_effect_there(wrapper: Callable[..., Wrapper]) -> None:
    with at_work(wrapper("done-marker")) as slow, at_work(wrapper("done-marker", "w1")) as later:
        assert later() is Result.FINISHED
        assert slow() is Result.DONE


@pytest.mark.parametrize("kind", EVERY)
def test_keys_and_connection_belong_to_the_queue(line: Line, wrapper: Callable[..., Wrapper], kind: str) -> None:
    driver = line.open("w1")
    kept = wrapper(kind, "w9")
    assert Work().on(kept) is Result.FINISHED
    assert driver.connections() == [f"bb:{line.queue}:w9:idem"]
    kept.close()
    eventually(lambda: driver.connections() == [], "the wrapper's connection is still there")
    driver.purge()
    assert Work().on(wrapper(kind)) is Result.FINISHED  # as if it had never been seen


@pytest.mark.parametrize("kind", EVERY)
def test_nothing_is_done_without_an_answer(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    work = Work()
    silent = WRAPPERS[kind](address=f"redis://127.0.0.1:{port}/0", queue="bb_1", client="w0")
    with pytest.raises(WrapperFailed):
        work.on(silent)
    assert (work.jobs, work.effects) == (0, 0)


def test_a_commit_whose_answer_was_cut_off_counts_as_failed_and_is_found_by_the_next(
    line: Line, wrapper: Callable[..., Wrapper]
) -> None:
    work, proxy = Work(), line.proxy()
    cut = DoneMarker(address=through(line.broker.address, proxy.port), queue=line.queue, client="w0")

    def job() -> None:
        work.job()
        proxy.cut_after(0)

    with pytest.raises(WrapperFailed):
        cut.work(0, 7, job, work.effect)
    assert work.on(wrapper("done-marker", "w1")) is Result.DONE
    assert (work.jobs, work.effects) == (1, 0)
