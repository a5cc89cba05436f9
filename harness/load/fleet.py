"""The fleet: a Locust master (*coordinator*) and Locust workers (*agents*) that start, watch and stop shards.

``python -m harness.load.fleet coordinator`` speaks JSON lines with the harness over stdin and stdout (``seam``), and starts
``… fleet agent INDEX`` as many times as the plan says. A Locust user supervises one shard process; it never sends a message itself.
When a pipe ends, everything below it ends: harness → coordinator → agents → shards.

Locust would respread users when an agent comes late or is gone for a minute: a second shard for the same producer. So the
coordinator freezes the assignment once all users are idle and known, and a user without an assignment idles.
"""

# ruff: noqa: E402 - gevent must patch before anything else is imported
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import gevent
import gevent.event
import gevent.fileobject
import gevent.lock
import psutil
from locust import User, runners, task
from locust.dispatch import UsersDispatcher
from locust.env import Environment
from locust.runners import MasterRunner
from locust.stats import RequestStats, StatsError, stats_history

from harness.clock import NS_PER_S, now_ns
from harness.load.agent import END_GRACE_S, Agent
from harness.load.book import STOPPED_FROM_PAGE, Book, place
from harness.load.config import ShardConfig, config_from_json
from harness.load.page import guard
from harness.load.statistics import Sample, add

AGENTS_START_S = 20.0
USERS_START_S = 10.0
KILL_WAIT_S = 5.0
runners.WORKER_REPORT_INTERVAL = 1.0  # the page follows within a second
runners.WORKER_LOG_REPORT_INTERVAL = -1  # logs are in files


class Supervisor(User):
    """Supervises one shard process at a time; without an assignment it idles."""

    abstract = True
    kind: ClassVar[str] = ""
    agent: ClassVar[Agent]

    @task
    def supervise(self) -> None:
        """Waits for an assignment and stays with it until the shard has ended."""
        self.agent.supervise(self.kind)


class ProducerUser(Supervisor):
    """One producer shard."""

    abstract = False
    kind = "producer"


class WorkerUser(Supervisor):
    """One worker shard."""

    abstract = False
    kind = "worker"


def feed(stats: RequestStats, config: ShardConfig, sample: Sample) -> None:
    """Adds a sample to Locust's statistics: what ``log_request`` and ``log_error`` do, for many requests at once."""
    now = time.time()
    for entry in (stats.total, stats.entries[(config.setup, sample.method)]):
        add(entry, sample, second=int(now), payload_bytes=config.load.payload_bytes)
        entry.last_request_timestamp = now
    for what, count in sample.failures.items():
        key = StatsError.create_key(sample.method, config.setup, what)
        error = stats.errors.setdefault(key, StatsError(sample.method, config.setup, what))
        error.occurred()
        error.occurrences += count - 1


class ByKind(UsersDispatcher):
    """Spreads each kind of user evenly over the agents; Locust's own order would put all producers on one of two."""

    def _user_gen(self) -> Iterator[str | None]:
        for user_class in self._user_classes:
            yield from [user_class.__name__] * user_class.fixed_count
        while True:
            yield None


class Master(MasterRunner):
    """A Locust master whose users are spread once: late and lost agents change nothing, the page's buttons neither."""

    frozen = False

    def start(self, *arguments: Any, **named: Any) -> None:
        """Spawns users, the first time."""
        if not self.frozen:
            super().start(*arguments, **named)

    def stop(self, send_stop_to_client: bool = True) -> None:
        """Does nothing: whether the load stops is the harness's to say."""


class Coordinator:
    """Between the harness (JSON lines) and the agents (Locust's messages).

    Args:
        plan: what the harness sent first: ``shards`` (configurations as JSON), ``agents``, ``web``, ``logs``.
        lines: further lines of the harness. out: where answers go.
    """

    def __init__(self, plan: dict[str, Any], lines: Iterator[bytes], out: Any) -> None:
        self._plan, self._lines, self._out = plan, lines, out
        self._configs = {config.name: config for config in map(config_from_json, plan["shards"])}
        self._book = Book()
        self._processes: list[Any] = []
        self._clients: dict[int, str] = {}  # agent → Locust's id of it
        self._idle: dict[int, dict[str, int]] = {}
        self._answers: dict[int, gevent.event.AsyncResult] = {}
        self._changed = gevent.event.Event()
        self._writing = gevent.lock.RLock()
        self._number = 0
        environment = Environment(user_classes=[ProducerUser, WorkerUser], dispatcher_class=ByKind)
        kinds = [config.kind for config in self._configs.values()]
        ProducerUser.fixed_count, WorkerUser.fixed_count = kinds.count("producer"), kinds.count("worker")
        environment.user_classes = [cls for cls in environment.user_classes if cls.fixed_count]
        self._environment = environment
        self._runner = Master(environment, "127.0.0.1", 0)
        environment.runner = self._runner
        for name in ("hello", "idle", "shard", "sample", "killed", "flushed"):
            self._runner.register_message(name, getattr(self, f"_on_{name}"))

    def run(self) -> None:
        """Starts everything, then obeys the harness until it says ``quit`` or is gone."""
        url = self._open_page() if self._plan["web"] else ""
        for index in range(self._plan["agents"]):
            self._start_agent(index)
        gevent.spawn(self._start_shards, url)
        for line in self._lines:
            order = json.loads(line)
            if order["do"] == "quit":
                break
            gevent.spawn(self._obey, order)
        self._end()

    # What the harness says

    def _obey(self, order: dict[str, Any]) -> None:
        try:
            answer = getattr(self, f"_do_{order['do']}")(order)
        except Exception as error:
            logging.exception("order %s", order["do"])
            answer = {"failed": f"{type(error).__name__}: {error}"}
        self._say("answer", id=order["id"], answer=answer)

    def _do_go(self, order: dict[str, Any]) -> dict[str, Any]:
        self._order(["producer", "worker"], {"do": "go", "load_start_ns": order["load_start_ns"]})
        return {}

    def _do_kill(self, order: dict[str, Any]) -> dict[str, Any]:
        killed: dict[str, Any] = {}
        by_agent: dict[int, list[str]] = {}
        for name in order["names"]:
            by_agent.setdefault(self._book.shards[name]["agent"], []).append(name)
            self._book.note(name, told=True, killed_ns=now_ns())
        for agent, names in by_agent.items():
            killed |= self._ask(agent, "kill", names=names).get("killed", {})
        for name in order["names"]:
            if name in killed:
                self._book.note(name, killed_ns=killed[name]["t_ns"])
                self._wait(lambda name=name: "ended_ns" in self._book.shards[name], KILL_WAIT_S)  # type: ignore[misc]
        return {"killed": killed}

    def _do_replace(self, order: dict[str, Any]) -> dict[str, Any]:
        old = self._book.shards[order["name"]]
        name, number = self._book.replacement(old["name"])
        fields = asdict(self._configs[old["name"].split(".")[0]]) | {"name": name, "number": number}
        config = config_from_json(json.dumps(fields, default=str))
        self._assign(config, old["agent"])
        self._wait(
            lambda: self._book.shards[name]["ready"] or "ended_ns" in self._book.shards[name], order["timeout_s"]
        )
        if not self._book.shards[name]["ready"]:
            return {
                "failed": self._book.shards[name]["failed"] or f"{name} was not ready within {order['timeout_s']} s"
            }
        return {"name": name}

    def _do_finish(self, order: dict[str, Any]) -> dict[str, Any]:
        until_ns = now_ns() + int(order["timeout_s"] * NS_PER_S)
        return self._stop("producer", {"do": "finish", "until_ns": until_ns}, order["timeout_s"])

    def _do_stop(self, order: dict[str, Any]) -> dict[str, Any]:
        return self._stop("worker", {"do": "stop"}, order["timeout_s"])

    def _stop(self, kind: str, order: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Tells shards of a kind to end; kills what has not after the time-out and a moment; Locust's totals are whole then."""
        self._book.tell(kind)
        self._order([kind], order)
        if not self._wait(lambda: not self._book.running(kind), timeout_s + 1.0):
            late = self._book.running(kind)
            self._book.problem(f"{', '.join(late)} did not end within {timeout_s + 1.0:g} s and had to be killed")
            self._do_kill({"names": late})
        for agent in self._alive():
            self._ask(agent, "flush")
        return {}

    # What the agents say

    def _on_hello(self, environment: Environment, msg: Any) -> None:
        if not self._runner.frozen:
            self._clients[msg.data["index"]] = msg.node_id
            self._changed.set()

    def _on_idle(self, environment: Environment, msg: Any) -> None:
        kinds = self._idle.setdefault(msg.data["index"], {})
        kinds[msg.data["kind"]] = kinds.get(msg.data["kind"], 0) + 1
        self._changed.set()

    def _on_shard(self, environment: Environment, msg: Any) -> None:
        name, facts = msg.data["name"], msg.data["facts"]
        if "ended_ns" in facts:
            self._book.ended(name, facts["ended_ns"], facts["exit_status"])
        else:
            self._book.note(name, **facts)
        self._changed.set()
        self._tell()

    def _on_sample(self, environment: Environment, msg: Any) -> None:
        for name, seen in msg.data["shards"].items():
            used, cpu_s = seen["counts"]["used"], seen["counts"]["cpu_ns"] / NS_PER_S
            self._book.note(name, used=used, cpu_s=cpu_s)
        self._say("live", **msg.data)

    def _on_killed(self, environment: Environment, msg: Any) -> None:
        self._answers[msg.data["id"]].set(msg.data)

    _on_flushed = _on_killed

    # Parts

    def _start_agent(self, index: int) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness.load.fleet", "agent", str(index)], stdin=subprocess.PIPE
        )
        words = {"port": self._runner.server.port, "logs": self._plan["logs"]}
        assert process.stdin is not None
        process.stdin.write(json.dumps(words).encode() + b"\n")
        process.stdin.flush()
        self._processes.append(process)
        gevent.spawn(self._watch_agent, index, process)

    def _watch_agent(self, index: int, process: Any) -> None:
        status = process.wait()
        client = self._clients.pop(index, "")
        for answer in self._answers.values():
            answer.set({})
        if client in self._runner.clients:
            self._runner.clients[client].state = runners.STATE_MISSING
        orphans = self._book.agent_lost(index, process.pid, status)
        pids = [self._book.shards[name]["pid"] for name in orphans if "pid" in self._book.shards[name]]
        deadline = time.monotonic() + 2 * END_GRACE_S
        while any(map(psutil.pid_exists, pids)) and time.monotonic() < deadline:
            gevent.sleep(0.02)
        for name in orphans:
            self._book.ended(name, now_ns(), None)
        self._changed.set()
        self._tell()

    def _start_shards(self, url: str) -> None:
        total = len(self._configs)
        agents = self._plan["agents"]
        if not self._wait(lambda: len(self._clients) == agents, AGENTS_START_S):
            self._say("failed", problem=f"{len(self._clients)} of {agents} agents came up within {AGENTS_START_S:g} s")
            return
        self._runner.start(total, spawn_rate=total)
        self._wait(lambda: sum(sum(kinds.values()) for kinds in self._idle.values()) >= total, USERS_START_S)
        self._runner.frozen = True
        gevent.spawn(stats_history, self._runner)
        try:
            placed = place({name: config.kind for name, config in self._configs.items()}, self._idle)
        except ValueError as error:
            self._say("failed", problem=str(error))
            return
        for name, config in self._configs.items():
            self._assign(config, placed[name])
        self._wait(lambda: all(s["ready"] or "ended_ns" in s for s in self._book.shards.values()), 1e9)
        self._tell()
        if not self._book.problems:
            self._say("ready", url=url)

    def _assign(self, config: ShardConfig, agent: int) -> None:
        self._book.add(config.name, config.kind, config.number, agent)
        self._send(agent, "assign", {"kind": config.kind, "config": config.to_json()})

    def _order(self, kinds: list[str], order: dict[str, Any]) -> None:
        for agent in self._alive():
            self._send(agent, "order", {"kinds": kinds, "order": order})

    def _ask(self, agent: int, what: str, **data: Any) -> dict[str, Any]:
        """Sends a message and returns its answer, {} from an agent that is gone."""
        self._number += 1
        number = self._number
        if agent not in self._clients:
            return {}
        answer = self._answers[number] = gevent.event.AsyncResult()
        self._send(agent, what, {"id": number, **data})
        try:
            got: dict[str, Any] = answer.get(timeout=KILL_WAIT_S)
            return got
        except gevent.Timeout:
            return {}
        finally:
            del self._answers[number]

    def _send(self, agent: int, what: str, data: dict[str, Any]) -> None:
        self._runner.send_message(what, data, client_id=self._clients.get(agent))

    def _alive(self) -> list[int]:
        return sorted(self._clients)

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._changed.clear()
            self._changed.wait(min(left, 0.05))
        return True

    def _open_page(self) -> str:
        page = self._environment.create_web_ui(host="127.0.0.1", port=0, delayed_start=True)
        assert page.app is not None
        page.app.before_request(guard(self._stopped_from_page))
        page.start()  # type: ignore[no-untyped-call]
        self._wait(lambda: page.server is not None and page.server.started, 5.0)
        assert page.server is not None
        return f"http://127.0.0.1:{page.server.server_port}"

    def _stopped_from_page(self) -> None:
        if STOPPED_FROM_PAGE not in self._book.problems:
            self._book.problem(STOPPED_FROM_PAGE)
            self._tell()

    def _tell(self) -> None:
        """Tells the harness the state of all shards and the newest problems."""
        news, self._book.news = self._book.news, []
        self._say("shards", shards=list(self._book.shards.values()), problems=news)

    def _say(self, event: str, **facts: Any) -> None:
        line = json.dumps({"event": event, **facts}).encode() + b"\n"
        try:
            with self._writing:
                self._out.write(line)
                self._out.flush()
        except OSError:
            self._end()

    def _end(self) -> None:
        """Ends agents, and with them their shards; never returns."""
        for process in self._processes:
            process.stdin.close()
        deadline = time.monotonic() + 2 * END_GRACE_S
        while any(process.poll() is None for process in self._processes) and time.monotonic() < deadline:
            gevent.sleep(0.01)
        for process in self._processes:
            if process.poll() is None:
                process.kill()
        os._exit(0)


def _log_to(path: Path) -> None:
    logging.basicConfig(filename=path, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def _coordinate() -> None:
    out = gevent.fileobject.FileObject(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints goes to the log
    lines = iter(gevent.fileobject.FileObject(0, "rb", closefd=False))
    plan = json.loads(next(lines))
    _log_to(Path(plan["logs"]) / "locust-coordinator.log")
    Coordinator(plan, lines, out).run()


def _be_agent(index: int) -> None:
    lines = iter(gevent.fileobject.FileObject(0, "rb", closefd=False))
    words = json.loads(next(lines))
    logs = Path(words["logs"])
    _log_to(logs / f"locust-agent-{index}.log")
    environment = Environment(user_classes=[ProducerUser, WorkerUser])
    runner = environment.create_worker_runner("127.0.0.1", words["port"])
    agent = Supervisor.agent = Agent(index, logs, runner, partial(feed, environment.stats))
    gevent.spawn(agent.watch)
    for _ in lines:
        pass
    agent.end()
    os._exit(0)


def main() -> None:
    """Runs a coordinator or an agent; neither returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the harness's to answer
    if sys.argv[1] == "coordinator":
        _coordinate()
    else:
        _be_agent(int(sys.argv[2]))


if __name__ == "__main__":
    main()
