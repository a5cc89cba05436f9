"""An agent: a Locust worker whose users supervise shard processes.

This module knows Locust only by what it is given, and runs where gevent has patched the standard library: ``subprocess``, ``queue`` and
``time`` let other greenlets run while they wait.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.clock import now_ns
from harness.load.child import Child
from harness.load.config import ShardConfig, config_from_json
from harness.load.statistics import Sample

SAMPLE_S = 0.25
END_GRACE_S = 0.6  # a shard that has nobody left ends within half of that


class Agent:
    """Runs shards; users call :meth:`supervise`, the coordinator's messages the rest.

    Args:
        index: which agent. logs: where the shards' stderr goes.
        runner: Locust's worker runner. feed: adds a sample to Locust's statistics.
    """

    def __init__(self, index: int, logs: Path, runner: Any, feed: Callable[[ShardConfig, Sample], None]) -> None:
        self._index, self._logs, self._runner, self._feed = index, logs, runner, feed
        self._children: dict[str, Child] = {}
        self._assignments: dict[str, queue.Queue[str]] = {kind: queue.Queue() for kind in ("producer", "worker")}
        self._loaded = False
        self._early = True  # no shard has begun its work, or ended: further ones are started when they are wanted
        self._spares: dict[int, subprocess.Popen[bytes]] = {}  # processes that are no shards yet, by pid
        self._processes = 0
        self._listen()

    def _listen(self) -> None:
        for name in ("assign", "order", "kill", "flush"):
            self._runner.register_message(name, getattr(self, f"_on_{name}"), concurrent=True)
        self._send("hello", index=self._index, pid=os.getpid())

    def supervise(self, kind: str) -> None:
        """Runs the next shard that is assigned to a user of that kind; returns when it has ended.

        Before the load its process is started at once, so that it has imported what it needs when it is told which shard it is.
        """
        if early := self._early:
            spare, log = self._spawned()
            self._spares[spare.pid] = spare
        self._send("idle", index=self._index, kind=kind)
        config = config_from_json(self._assignments[kind].get())
        process, log = (self._spares.pop(spare.pid), log) if early else self._spawned()
        log.rename(self._logs / f"{config.name}.log")
        child = Child(config, process)
        self._children[config.name] = child
        self._shard(child, started_ns=now_ns(), pid=process.pid)
        try:
            child.tell(config.to_json())
            for line in process.stdout or ():
                self._heard(child, json.loads(line))
        finally:  # also when Locust stops this user: no shard without its supervisor
            self._early = False
            status = _end(process)
            ended_ns = now_ns()
            self._sample([child])
            del self._children[config.name]
            self._shard(child, ended_ns=ended_ns, exit_status=status)

    def _spawned(self) -> tuple[subprocess.Popen[bytes], Path]:
        """Starts the process of a shard, which waits for its configuration; returns it, and its log until the shard has a name."""
        self._processes += 1
        log = self._logs / f"agent-{self._index}-shard-{self._processes}.log"
        with log.open("wb") as file:
            argv = [sys.executable, "-m", "harness.load.shard"]
            return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file), log

    def watch(self) -> None:
        """Samples all shards, for ever."""
        while True:
            time.sleep(SAMPLE_S)
            self._sample(list(self._children.values()))

    def end(self) -> None:
        """Ends all shards: their pipes close, and after a moment they are killed."""
        for spare in self._spares.values():
            spare.kill()
            spare.wait()
        children = list(self._children.values())
        for child in children:
            with suppress(OSError):
                child.process.stdin.close()
        for child in children:
            _end(child.process)

    def _sample(self, children: list[Child]) -> None:
        """Feeds Locust's statistics with what the shards did since the last sample, and tells the coordinator."""
        told = {}
        for child in children:
            if self._loaded and child.process.poll() is None:
                child.cpu.look()
            seen = child.sample()
            if seen is None:
                continue
            for sample in seen[0]:
                self._feed(child.config, sample)
            told[child.config.name] = seen[1]
        if told:
            self._send("sample", t_ns=now_ns(), shards=told)

    def _heard(self, child: Child, said: dict[str, Any]) -> None:
        if said["event"] == "ready":
            self._shard(child, ready=True, scheduling=said["scheduling"])
        elif said["event"] == "done":
            self._shard(child, done=True)
        elif said["event"] == "failed":
            self._shard(child, failed=said["problem"] + (f" ({said['remedy']})" if said["remedy"] else ""))
        elif said["event"] == "end":
            self._shard(child, cpu_s=said["cpu_s"], used=said["slots"])

    def _on_assign(self, environment: Any, msg: Any) -> None:
        self.assign(msg.data)

    def _on_order(self, environment: Any, msg: Any) -> None:
        self.order(msg.data)

    def _on_kill(self, environment: Any, msg: Any) -> None:
        self._send("killed", id=msg.data["id"], **self.kill(msg.data))

    def _on_flush(self, environment: Any, msg: Any) -> None:
        self._send("flushed", id=msg.data["id"], **self.flush(msg.data))

    def assign(self, data: dict[str, Any]) -> dict[str, Any]:
        """Gives a shard to an idle user of its kind."""
        self._assignments[data["kind"]].put(data["config"])
        return {}

    def order(self, data: dict[str, Any]) -> dict[str, Any]:
        """Passes an order on to shards of some kinds."""
        if data["order"]["do"] == "go":
            self._loaded, self._early = True, False
        for child in list(self._children.values()):
            if child.config.kind in data["kinds"]:
                child.tell(json.dumps(data["order"]))
        return {}

    def kill(self, data: dict[str, Any]) -> dict[str, Any]:
        """SIGKILLs shards and returns how each ended."""
        killed = {}
        children = [self._children[name] for name in data["names"] if name in self._children]
        for child in children:  # all signals first, at one moment
            killed[child.config.name] = {"pid": child.process.pid, "t_ns": now_ns()}
            child.process.send_signal(signal.SIGKILL)
        for child in children:
            killed[child.config.name]["status"] = child.process.wait()
        return {"killed": killed}

    def flush(self, data: dict[str, Any]) -> dict[str, Any]:
        """Sends Locust's own report, which comes every second, now: at the end it must be whole before it is read."""
        self._runner._send_stats()
        return {}

    def _shard(self, child: Child, **facts: Any) -> None:
        self._send("shard", name=child.config.name, facts=facts)

    def _send(self, what: str, **data: Any) -> None:
        self._runner.send_message(what, data)


def _end(process: subprocess.Popen[bytes]) -> int:
    """Waits a moment for a process whose pipe is closed, then kills it; returns its status."""
    try:
        return process.wait(END_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
