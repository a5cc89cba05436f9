"""The seam between the story and the fleet: one child process that speaks JSON lines over its stdin and stdout.

The story holds a :class:`Fleet`; Locust and its monkey-patching stay in the child. A broken pipe ends everything on both sides:
the child ends its agents, and shards end with their agents. Slots survive in the slot folder.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from harness import tables
from harness.clock import ClockDomain, clock_domain, now_ns
from harness.deployments.contract import CONTAINER
from harness.errors import BrokerbenchError, ExitCode, StartError
from harness.facts import ShardRecord
from harness.histogram import BUCKETS
from harness.journal import Journal
from harness.load.book import STOPPED_FROM_PAGE, record
from harness.load.live import Live
from harness.load.plan import FleetPlan
from harness.load.pull import SILENCE_S
from harness.redaction import hide

REPLACE_TIMEOUT_S = 15.0
ANSWER_TIMEOUT_S = 15.0
QUIT_TIMEOUT_S = 3.0
LEAVE_TIMEOUT_S = 4.0  # more, where agents of other machines are told
COLLECT_TIMEOUT_S = 24 * 3600.0  # whoever collects has limits of its own
HURRIED_S = 10.0


class FleetLost(BrokerbenchError):
    """The fleet has ended, or does not answer; what its shards saw is in their slots."""

    exit_code = ExitCode.INVALID


class Fleet:
    """The running load of one trial; also the crew that faults act upon (``faults.contract.Crew``). Safe for threads."""

    def __init__(self, plan: FleetPlan, journal: Journal, note: Callable[[str], None]) -> None:
        self.plan = plan
        self._journal, self._note = journal, note
        self._spawned: subprocess.Popen[bytes] | None = None
        self._why_none: BaseException | None = None  # there is no process
        self._tried = threading.Event()  # there is one, or there will be none
        self.web_url = ""
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._ready = self._lost = self._closing = False
        self._ended_by_us: set[str] = set()  # shards that ran when we ended the fleet
        self._failed = self._remedy = ""
        self._shards: dict[str, dict[str, Any]] = {}
        self._live: dict[str, dict[str, Any]] = {}
        self._live_ns = 0
        self._problems: list[str] = []
        self.shared_clock: bool | None = None  # as ``facts.TrialFacts`` has it
        self._realtime: set[str] = set()  # shards that were put under SCHED_FIFO from outside
        self._agents = -1  # of other machines, so far
        self.collected: Mapping[str, Any] | None = None  # as ``collect.collect`` returns it
        self._answers: dict[int, dict[str, Any]] = {}
        self._number = 0
        self._thread = threading.Thread(target=self._live_through, name="fleet", daemon=True)

    @classmethod
    def start(cls, plan: FleetPlan, journal: Journal, note: Callable[[str], None] = lambda text: None) -> Fleet:
        """Starts the fleet of a broker that is up, and returns once there is a process; :meth:`wait_ready` waits for it.

        Args:
            note: takes sentences that the user should see; called from a thread of the fleet's.

        Raises:
            StartError: it cannot be started.
        """
        fleet = cls.launch(plan, journal, note)
        try:
            fleet.connect(plan.address, plan.producers_address)
        except BaseException:
            fleet.close()
            raise
        return fleet

    @classmethod
    def launch(cls, plan: FleetPlan, journal: Journal, note: Callable[[str], None] = lambda text: None) -> Fleet:
        """Begins to start a fleet and returns at once; the addresses of its plan may be unknown: it waits for :meth:`connect`.

        Its processes import for a second, in which a broker comes up that is started at the same time. Whatever comes of it, :meth:`close` ends it.
        """
        plan.logs.mkdir(parents=True, exist_ok=True)
        fleet = cls(plan, journal, note)
        fleet._thread.start()
        return fleet

    def connect(self, address: str, producers_address: str = "") -> None:
        """Tells the fleet where its broker is: now its shards connect.

        Args:
            address, producers_address: as in :class:`FleetPlan`.

        Raises:
            StartError: it could not be started.
        """
        self._tried.wait()
        if self._why_none is not None:
            raise self._why_none
        with suppress(FleetLost):  # `wait_ready` says how it ended
            self._write({"do": "connect", "address": address, "producers_address": producers_address})

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        assert self._spawned is not None
        return self._spawned

    @property
    def pid(self) -> int:
        """Returns the root of the load's process tree."""
        return self._process.pid

    def _live_through(self) -> None:
        """Starts the process, tells it all but where the broker is, and listens to it until its end."""
        try:
            with (self.plan.logs / "fleet.log").open("ab") as log:
                self._spawned = self.plan.place.spawn(
                    "harness.load.fleet",
                    "coordinator",
                    str(self.plan.agents.local),
                    folders=[self.plan.folder, self.plan.logs],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                )
            with suppress(FleetLost):
                self._write(self.plan.words())
        except BaseException as error:  # for `connect` to raise
            self._why_none = error
            return
        finally:
            self._tried.set()  # others may write now: the plan is the first thing that a fleet reads
        self._listen()

    def wait_agents(self, told: Callable[[int], None]) -> None:
        """Waits for the agents of other machines; calls ``told`` with how many have come, at the start and whenever that changes.

        Raises:
            StartError: they did not come in time.
        """
        if self.plan.door is None:
            return
        known = -1
        while known < self.plan.agents.remote and not (self._failed or self._lost):
            if known != self._agents:
                known = self._agents
                told(known)
            self._wait(lambda: self._agents != known or bool(self._failed) or self._lost, 1.0)  # noqa: B023
        if self._failed or self._lost:
            self.wait_ready(0)

    def collect(self, silence_s: float = SILENCE_S) -> None:
        """Fetches the slots of shards on other machines, which have ended or are ended by it; idempotent, never raises.

        What could not be had is in :attr:`collected`, and missing in the slot folder.
        """
        if self.plan.door is None or self.collected is not None:
            return
        self.collected = {"problems": [], "clocks": []}
        with suppress(FleetLost, StartError):
            self.collected = self._ask({"do": "collect", "silence_s": silence_s}, COLLECT_TIMEOUT_S)

    def wait_ready(self, timeout_s: float) -> None:
        """Waits until every shard is connected; raises StartError with the shard's own message otherwise."""
        self._wait(lambda: self._ready or bool(self._failed) or bool(self._problems) or self._lost, timeout_s)
        if not self._ready:
            why = self._failed or "; ".join(self._problems) or (self._last_words() if self._lost else "")
            raise StartError(
                f"the load did not start: {why or f'not ready within {timeout_s:g} s'}",
                remedy=self._remedy or f"see {self.plan.logs}",
            )
        self._give_realtime()

    def _last_words(self) -> str:
        """Returns that the fleet has ended, and the last line that it, or what started it, wrote."""
        with suppress(OSError):
            lines = (self.plan.logs / "fleet.log").read_text(errors="replace").strip().splitlines()
            return f"the fleet has ended: {hide(lines[-1])}" if lines else "the fleet has ended"
        return "the fleet has ended"

    def go(self, load_start_ns: int) -> None:
        """Sets zero of every schedule; ≥ 100 ms ahead, or the first messages are late. Raises FleetLost."""
        self._ask({"do": "go", "load_start_ns": load_start_ns})

    def running(self, kind: str) -> Sequence[str]:
        """Returns the names of running shards of that kind, in order."""
        with self._changed:
            shards = [s for s in self._shards.values() if s["kind"] == kind and "ended_ns" not in s]
        return [shard["name"] for shard in sorted(shards, key=lambda s: s["number"])]

    def kill(self, names: Sequence[str]) -> Mapping[str, Mapping[str, object]]:
        """SIGKILLs shards and waits for them; returns per name ``pid``, ``t_ns`` (before the signal), ``status`` (−9).

        Raises:
            FleetLost: the fleet is gone. KeyError: no shard of that name.
        """
        with self._changed:
            missing = [name for name in names if name not in self._shards]
        if missing:
            raise KeyError(f"no shard {', '.join(missing)}")
        killed: Mapping[str, Mapping[str, object]] = self._ask({"do": "kill", "names": list(names)})["killed"]
        return killed

    def replace(self, name: str) -> str:
        """Starts a new generation of a dead shard on the same agent (``w1`` → ``w1.1``) and waits until it is connected.

        Raises:
            StartError: it did not come up. FleetLost: the fleet is gone.
        """
        answer = self._ask(
            {"do": "replace", "name": name, "timeout_s": REPLACE_TIMEOUT_S}, REPLACE_TIMEOUT_S + ANSWER_TIMEOUT_S
        )
        self._give_realtime()
        return str(answer["name"])

    def _give_realtime(self) -> None:
        """Asks for the producers' sake where they cannot have ``SCHED_FIFO`` by themselves, as in some containers."""
        if not self.plan.realtime or self.plan.load.saturate_window is not None:
            return
        producers = {s.pid: s.name for s in self.shards() if s.kind == "producer" and s.scheduling == "other"}
        self._realtime |= {producers[pid] for pid in self.plan.place.give_realtime(producers)}

    def live(self) -> Live:
        """Returns the newest counts."""
        latency = {kind: np.zeros(BUCKETS, np.uint64) for kind in ("producer", "worker")}
        with self._changed:
            seen, t_ns = dict(self._live), self._live_ns
            kinds = {name: shard["kind"] for name, shard in self._shards.items()}
        for name, shard in seen.items():
            if name in kinds:
                buckets, counts = shard["latency"]
                latency[kinds[name]][buckets] += np.array(counts, np.uint64)
        return Live(
            t_ns=t_ns,
            shards={name: shard["counts"] for name, shard in seen.items()},
            latency=latency,
            core_shares={name: tuple(shard["core_share"]) for name, shard in seen.items() if shard.get("core_share")},
        )

    def problems(self) -> list[str]:
        """Returns what went wrong since the start: unexpected ends of shards and agents, ``stopped from the page``."""
        with self._changed:
            lost = ["the fleet has ended unexpectedly"] if self._lost and not self._closing else []
            return self._problems + lost

    def why_lost(self) -> str:
        """Returns why the fleet has ended though nobody ended it, "" while it is there."""
        if not self._lost or self._closing:
            return ""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(QUIT_TIMEOUT_S)  # it has closed its end of the pipe
        return self.plan.place.why_ended() or f"its first process ended with status {self._process.returncode}"

    def stopped_from_page(self) -> bool:
        """Returns whether somebody pressed the page's stop button."""
        return STOPPED_FROM_PAGE in self.problems()

    def producers_done(self) -> bool:
        """Returns whether every producer has sent its schedule, or is dead."""
        with self._changed:
            producers = [shard for shard in self._shards.values() if shard["kind"] == "producer"]
            return self._lost or all(shard["done"] or "ended_ns" in shard for shard in producers)

    def finish_producers(self, timeout_s: float) -> None:
        """Ends the schedule: producers send what is held and take confirms until all have come or ``timeout_s`` is over.

        Never raises: a fleet that is gone is in :meth:`problems`.
        """
        with suppress(FleetLost, StartError):
            self._ask({"do": "finish", "timeout_s": timeout_s}, timeout_s + ANSWER_TIMEOUT_S)

    def stop_workers(self, timeout_s: float) -> None:
        """Workers finish the fetch in hand, settle what they hold, close and end; killed after ``timeout_s``. Never raises."""
        with suppress(FleetLost, StartError):
            self._ask({"do": "stop", "timeout_s": timeout_s}, timeout_s + ANSWER_TIMEOUT_S)

    def shards(self) -> list[ShardRecord]:
        """Returns every shard as it really lived, replaced ones included."""
        with self._changed:
            every = [record(shard) for shard in self._shards.values()]
        every = [replace(shard, scheduling="fifo") if shard.name in self._realtime else shard for shard in every]
        return [replace(shard, expected_exit=True) if shard.name in self._ended_by_us else shard for shard in every]

    def remote_cpu_s(self) -> float:
        """Returns the CPU seconds that shards on other machines have used, as they told."""
        local = self.plan.agents.local
        with self._changed:
            used = [float(shard.get("cpu_s", 0.0)) for shard in self._shards.values() if shard["agent"] >= local]
        return sum(used)

    def connections(self) -> pl.DataFrame:
        """Returns when connections came up and were lost (``tables.CONNECTIONS``), from the shards' own logs, by time."""
        rows = []
        for path in self.plan.folder.glob("*.connections.jsonl"):
            for line in path.read_text().splitlines():
                with suppress(ValueError):  # the last line of a killed shard may be half written
                    fields = json.loads(line)
                    rows.append(
                        (path.name.removesuffix(".connections.jsonl"), fields["t_ns"], fields["up"], fields["reason"])
                    )
        return pl.DataFrame(rows, schema=tables.CONNECTIONS, orient="row").sort("t_ns")

    def close(self) -> None:
        """Ends the fleet and all below it: it is asked, and after a moment killed. Idempotent, never raises."""
        if not self._tried.is_set():
            self.plan.place.end()  # else we would wait until it had come up
            self._tried.wait()
        if self._spawned is None or (self._process.returncode is not None and self._closing):
            return
        self._closing = True
        if not self._ended_by_us:
            self._ended_by_us = {*self.running("producer"), *self.running("worker")}
        self.collect(HURRIED_S)
        with suppress(FleetLost):
            self._write({"do": "quit"})
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(QUIT_TIMEOUT_S + (LEAVE_TIMEOUT_S if self.plan.door else 0.0))
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # agents and shards are in its group; usually nothing is left of it
        self._process.wait()
        self._thread.join(QUIT_TIMEOUT_S)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._journal.forget(self.pid)
        self.plan.place.end()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, order: dict[str, Any], timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        with self._changed:
            self._number += 1
            number = self._number
        self._write(order | {"id": number})
        self._wait(lambda: number in self._answers or self._lost, timeout_s)
        with self._changed:
            answer = self._answers.pop(number, None)
        if answer is None:
            why = "has ended" if self._lost else f"did not answer {order['do']!r} within {timeout_s:g} s"
            raise FleetLost(
                f"the fleet {why}",
                remedy=f"see {self.plan.logs / 'fleet.log'}",
            )
        if "failed" in answer:
            raise StartError(f"{order['do']}: {answer['failed']}", remedy=f"see {self.plan.logs}")
        return answer

    def _write(self, order: dict[str, Any]) -> None:
        try:
            with self._writing:
                assert self._process.stdin is not None
                self._process.stdin.write(json.dumps(order).encode() + b"\n")
                self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise FleetLost("the fleet has ended", remedy=f"see {self.plan.logs / 'fleet.log'}") from error

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> None:
        with self._changed:
            self._changed.wait_for(condition, timeout_s)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                with self._changed:
                    self._heard(json.loads(line))
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._lost = True
                if not self._closing:
                    self._lose_shards()
                self._changed.notify_all()

    def _lose_shards(self) -> None:
        """Whatever ran ends with the fleet, and nobody told it to."""
        for shard in self._shards.values():
            if "ended_ns" not in shard:
                shard.update(ended_ns=now_ns(), exit_status=None, told=False)

    def _heard(self, said: dict[str, Any]) -> None:
        event = said["event"]
        if event == "live":
            self._live |= said["shards"]
            self._live_ns = said["t_ns"]
            for name, seen in said["shards"].items():
                if name in self._shards:
                    self._shards[name] |= {
                        "used": seen["counts"]["used"],
                        "cpu_s": max(self._shards[name].get("cpu_s", 0.0), seen["counts"]["cpu_ns"] / 1e9),
                    }
        elif event == "shards":
            self._shards = {shard["name"]: shard for shard in said["shards"]}
            self._problems += said["problems"]
        elif event == "ready":
            self._ready, self.web_url = True, said["url"]
        elif event == "failed":
            self._failed, self._remedy = said["problem"], said.get("remedy", "")
        elif event == "clock" and self.plan.place.name == CONTAINER:
            self._compare_clocks(ClockDomain(**said["domain"]))
        elif event == "agents":
            self._agents = said["have"]
        elif event == "note":
            self._note(said["text"])
        elif event == "answer":
            self._answers[said["id"]] = said["answer"]

    def _compare_clocks(self, theirs: ClockDomain) -> None:
        """Whatever runs in containers on this kernel reads this machine's clock; an engine in a virtual machine has another."""
        ours = clock_domain()
        self.shared_clock = theirs == ours and bool(ours.boot_id)
        if not self.shared_clock:
            self._failed = (
                f"the load's container reads another clock than this machine, so no latency could be told: boot id "
                f"{theirs.boot_id or 'unknown'} and time namespace {theirs.time_namespace or 'unknown'} there, "
                f"{ours.boot_id or 'unknown'} and {ours.time_namespace or 'unknown'} here"
            )
            self._remedy = "run the load on this machine: --set client=host"
