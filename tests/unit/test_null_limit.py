"""A queue of the null broker that is full holds its publishers back, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from harness.brokers._null_mischief import Mischief
from harness.brokers._null_pace import parse_max_ready
from harness.brokers._null_queue import Queue
from harness.brokers.contract import Block, DriverOptions
from harness.brokers.null import SETUP, NullDriver
from harness.envelope import Stamper
from harness.model import Settlement


def rows(n: int) -> np.ndarray:
    return Stamper(run_id=1, trial=1, producer=0, payload_bytes=64, capacity=n).stamp(
        np.arange(n), np.ones(n), np.zeros(n)
    )


def test_a_queue_is_full_when_as_many_wait_as_may_whatever_workers_hold() -> None:
    queue = Queue(Mischief({}, seed=1, queue="q", struck={}), lambda _: None, count(1).__next__, max_ready=3)
    queue.publish(rows(3), 0)
    assert queue.full
    given = queue.fetch(1, "w0", 0)
    assert not queue.full
    queue.settle("w0", given.entries << 16 | given.marks, Settlement.RELEASE)
    assert queue.full


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "1e3"])
def test_what_is_no_number_of_messages_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a whole number from 1, e\.g\. 1000"):
        parse_max_ready(text)


def test_without_a_number_a_queue_never_fills() -> None:
    queue = Queue(Mischief({}, seed=1, queue="q", struck={}), lambda _: None, count(1).__next__)
    queue.publish(rows(1000), 0)
    assert (queue.full, parse_max_ready(""), parse_max_ready("7")) == (False, None, 7)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    module, log = "harness.brokers._null_server", tmp_path / "log"
    with subprocess.Popen(
        [sys.executable, "-m", module, "--port=0", f"--log={log}"], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield f"null://{server.stdout.readline().split()[-1]}"
        server.terminate()


def test_a_publisher_of_a_full_queue_gets_its_confirm_when_a_worker_has_taken_enough(address: str) -> None:
    parameters = SETUP.complete({"max_ready": "3"})
    options = DriverOptions(
        setup="null", parameters=parameters, address=address, queue="q", client="p", prefetch=10, payload_bytes=64
    )
    driver, worker = NullDriver(options), NullDriver(options)
    driver.connect()
    worker.connect()
    assert driver.prepare().found["max_ready"] == "3"
    driver.publish(Block(np.arange(2), rows(2)))
    assert len(driver.poll_confirms(5.0).tokens) == 2
    driver.publish(Block(np.arange(2, 4), rows(2)))
    driver.publish(Block(np.arange(4, 6), rows(2)))
    assert len(driver.poll_confirms(0.05).tokens) == 0
    assert len(worker.consume(3, 5.0).payloads) == 3
    assert len(worker.consume(1, 5.0).payloads) == 1
    found: list[int] = []
    while len(found) < 4:
        found += driver.poll_confirms(5.0).tokens.tolist()
    assert sorted(found) == [2, 3, 4, 5]
    driver.close()
    worker.close()
