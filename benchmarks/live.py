"""What the live view and ``--metrics`` cost the machine that is measured (bar: each ≤ 1 % of a core, with ten ticks a second).

Run ``python benchmarks/live.py [seconds]``. A run of twelve cases at its most talkative is told to them: ten are over, each with its
minute of history, one runs with 4,000 deliveries a second and a fault. What is drawn goes to a pseudo-terminal of 160 × 50 that another
process reads. Played as fast as it goes: CPU seconds of this process divided by the seconds that were played.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from rich.console import Console

from harness import histogram
from harness.cli.live import DRAW_EVERY_S, LiveView
from harness.cli.metrics import MetricsServer
from harness.clock import NS_PER_S
from harness.model import DurabilityClass, TrialStatus
from harness.record import CaseRecord, LedgerCounts, TrialRecord
from harness.run.progress import (
    CaseFinished,
    CaseStarted,
    Event,
    FaultInjected,
    FaultPlanned,
    Listener,
    PhaseChanged,
    RunStarted,
    Tick,
)

CASES, OVER = 12, 10
RATE_PER_S = 4000
TICKS_PER_S = 10
WIDTH, HEIGHT = 160, 50
BAR = 0.01


class Clock:
    """The time of the load that is played, in ns."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def main(seconds: int) -> int:
    """Prints a line of JSON per way of watching; returns 1 where the bar is missed."""
    shares = {}
    with terminal() as console:
        clock = Clock()
        with LiveView(console, now=clock) as view:
            tell_past(view, clock)
            shares["view, as it draws"] = played(view, clock, seconds, view.draw, DRAW_EVERY_S)
            shares["view, ten frames a second"] = played(view, clock, seconds, view.draw, 0.1)
    with MetricsServer(0) as server:
        clock = Clock()
        tell_past(server, clock)
        shares["metrics, nobody asks"] = played(server, clock, seconds, lambda: None, 1.0)
        shares["metrics, asked once a second"] = played(server, clock, seconds, lambda: ask(server.url), 1.0)
    for what, share in shares.items():
        print(json.dumps({"what": what, "core_percent": round(share * 100, 3), "bar_percent": BAR * 100}))
    return int(max(shares.values()) > BAR)


@contextmanager
def terminal() -> Iterator[Console]:
    """A console on a pseudo-terminal whose other end is read by another process."""
    reader_fd, ours_fd = pty.openpty()
    reader = subprocess.Popen(["cat"], stdin=reader_fd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(reader_fd)
    try:
        with os.fdopen(ours_fd, "w") as file:
            yield Console(file=file, force_terminal=True, color_system="256", width=WIDTH, height=HEIGHT)
    finally:
        reader.wait()


def played(listener: Listener, clock: Clock, seconds: int, look: Callable[[], object], every_s: float) -> float:
    """Plays a load and looks at it; returns CPU seconds per second."""
    ticks = list(load(clock.now_ns, seconds))
    look_ns = clock.now_ns
    begin_s = time.process_time()
    for tick in ticks:
        clock.now_ns = tick.t_ns
        listener.notice(tick)
        if tick.t_ns >= look_ns:
            look_ns += round(every_s * NS_PER_S)
            look()
    return (time.process_time() - begin_s) / seconds


def ask(url: str) -> bytes:
    """Reads the metrics, as Prometheus does (its part of the work is counted too)."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


def tell_past(listener: Listener, clock: Clock) -> None:
    """Tells of the cases that are over and of the start of the one that runs."""
    cases = tuple(case(number) for number in range(CASES))
    run = RunStarted(
        t_ns=0, run_id="7", scenario="benchmark", deployment="embedded", cases=cases, trials=1, trial_s=60.0
    )
    listener.notice(run)
    for number in range(OVER + 1):
        for event in begun(cases[number], number, clock.now_ns):
            listener.notice(event)
        if number < OVER:
            for tick in load(clock.now_ns, 60):
                listener.notice(tick)
            clock.now_ns += 60 * NS_PER_S
            listener.notice(CaseFinished(case=ended(cases[number]), trial=1, status=TrialStatus.VALID))


def begun(of: CaseRecord, number: int, t_ns: int) -> Iterator[Event]:
    """Yields the start of a trial up to its first fault."""
    yield CaseStarted(t_ns=t_ns, number=number + 1, of=CASES, case_id=of.id)
    for index in range(2):
        yield FaultPlanned(index=index, label="kill broker", t_ns=t_ns + (5 + 300 * index) * NS_PER_S, hold_s=300.0)
    yield PhaseChanged(phase="steady", t_ns=t_ns, length_s=600.0)
    yield FaultInjected(index=0, label="kill broker", t_ns=t_ns + 5 * NS_PER_S, hold_s=300.0)


def load(start_ns: int, seconds: int) -> Iterator[Tick]:
    """Yields the ticks of a load that goes on, with latencies all over the place."""
    rng = np.random.default_rng(1)
    latency = np.zeros(histogram.BUCKETS, np.uint64)
    each = RATE_PER_S // TICKS_PER_S
    for number in range(seconds * TICKS_PER_S):
        histogram.add(latency, rng.lognormal(15, 2, each).astype(np.int64))
        count = (number + 1) * each
        yield Tick(
            t_ns=start_ns + number * NS_PER_S // TICKS_PER_S,
            offered=count + 500,
            sent=count + 500,
            confirmed=count + 100,
            rejected=number,
            unknown=number,
            delivered=count,
            finished=count,
            settled=count,
            redelivered=number,
            latency=latency.copy(),
            backlog_broker=400 + number,
            dead_letters=number,
            workers=4,
            core_shares={"producer": 0.4, "worker": 0.3},
        )


def case(number: int) -> CaseRecord:
    """Returns a case before its first trial."""
    return CaseRecord(
        id=f"redis-stream[persistence=aof-everysec,prefetch={number}]@embedded",
        slug=f"case-{number}",
        setup="redis-stream",
        broker="redis",
        parameters={"persistence": "aof-everysec", "prefetch": str(number)},
        network="embedded",
        durability_class=DurabilityClass.PROCESS_CRASH_SAFE,
        summary="",
        server="",
    )


def ended(of: CaseRecord) -> CaseRecord:
    """Returns the same with a trial that is valid."""
    outcomes = {"CONFIRMED": 40_000, "UNKNOWN": 0, "REJECTED": 0, "NOT_SENT": 0}
    ledger = LedgerCounts(
        identities=40_000, classes={"processed": 40_000}, marks={}, unreadable=0, foreign=0, outcomes=outcomes, held={}, jepsen={}
    )  # fmt: skip
    return of.model_copy(
        update={"trials": [TrialRecord(number=1, status=TrialStatus.VALID, reasons=[], folder="", ledger=ledger)]}
    )


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 60))
