"""The coordinator: between the harness (JSON lines) and the agents (Locust's messages); it says which shard runs where.

Runs, like ``agent``, where gevent has patched the standard library, and knows Locust only by what it is given (``nodes.Nodes``).
Neighbours: ``book`` is its account of shards, ``remotes`` that of agents on other machines, ``collect`` fetches their slots.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil

from harness.clock import NS_PER_S, ClockDomain, clock_domain, now_ns
from harness.load.agent import END_GRACE_S
from harness.load.book import STOPPED_FROM_PAGE, Book, place
from harness.load.collect import Collector
from harness.load.config import ShardConfig, config_from_json
from harness.load.nodes import AgentProcess, Nodes
from harness.load.remotes import PULSE_S, Remote, Remotes

AGENTS_START_S = 20.0
USERS_START_S = 10.0
KILL_WAIT_S = 5.0
SURELY_S = 30.0
"""How long an order to a remote agent is said again; one that does not answer is lost before."""
LEAVE_S = 3.0
FAREWELL_S = 5.0
LEAVING_S = 0.2  # a message that was sent is on its way
LOOKS_AT_ONCE, LOOK_EVERY_S = 30, 0.01


class Coordinator:
    """Starts agents and shards, and obeys the harness.

    Args:
        plan: what the harness sent first: ``shards`` (configurations as JSON, whose addresses it tells later, with ``connect``),
            ``web``, ``logs``; where other machines help, ``remote``: ``wanted``, ``door``, ``folder``, ``trial``, ``more`` (another trial follows).
        lines: further lines of the harness. out: where answers go. nodes: Locust. agents: those of this machine.
    """

    def __init__(
        self, plan: dict[str, Any], lines: Iterator[bytes], out: Any, nodes: Nodes, agents: Sequence[AgentProcess]
    ) -> None:
        self._plan, self._lines, self._out, self._nodes = plan, lines, out, nodes
        self._configs = {config.name: config for config in map(config_from_json, plan["shards"])}
        self._book = Book()
        self._agents = agents
        self._clients: dict[int, str] = {}  # agent → Locust's id of it
        self._idle: dict[int, dict[str, int]] = {}
        self._answers: dict[int, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._writing = threading.RLock()
        self._number = 0
        self._load_start_ns = 0
        self._frozen = self._broker_known = False
        self._remote = plan.get("remote") or {"wanted": 0, "more": True}
        self._remotes = Remotes(
            wanted=self._remote["wanted"],
            first=len(agents),
            welcome=self._welcome(),
            send=nodes.send,
            changed=self._notify,
            note=lambda text: self._say("note", text=text),
            over=not self._configs,
        )
        for name in ("hello", "idle", "shard", "sample", "killed", "flushed"):
            nodes.hear(name, getattr(self, f"_on_{name}"))
        for name in ("knock", "unfit", "leaves", "answer", "seen", "state"):
            nodes.hear(name, getattr(self, f"_on_{name}"))

    def run(self) -> None:
        """Starts everything, then obeys the harness until it says ``quit`` or is gone."""
        self._say("clock", domain=asdict(clock_domain()))
        if self._remotes.over:
            self._wait(lambda: len(self._remotes.told_over) >= self._remote["wanted"], FAREWELL_S)
            time.sleep(LEAVING_S)
            self._end()
        url = self._nodes.open_page(self._stopped_from_page) if self._plan["web"] else ""
        for index, process in enumerate(self._agents):
            self._begin_agent(index, process)
        if self._remotes.wanted:
            _spawn(self._watch_remotes)
        _spawn(self._start_shards, url)
        for line in self._lines:
            order = json.loads(line)
            if order["do"] == "connect":
                self._connect(order["address"], order["producers_address"])
                continue
            if order["do"] == "quit":
                if self._remotes.wanted:
                    self._remotes.leave(over=not self._remote["more"], limit_s=LEAVE_S)
                    time.sleep(LEAVING_S)
                break
            _spawn(self._obey, order)
        self._end()

    # What the harness says

    def _connect(self, address: str, producers_address: str) -> None:
        """Takes note of where the broker is; shards that wait for it are assigned now."""
        for name, config in self._configs.items():
            own = (config.kind == "producer" and producers_address) or address
            self._configs[name] = replace(config, address=own)
        self._broker_known = True
        self._notify()

    def _obey(self, order: dict[str, Any]) -> None:
        try:
            answer = getattr(self, f"_do_{order['do']}")(order)
        except Exception as error:
            logging.exception("order %s", order["do"])
            answer = {"failed": f"{type(error).__name__}: {error}"}
        self._say("answer", id=order["id"], answer=answer)

    def _do_go(self, order: dict[str, Any]) -> dict[str, Any]:
        self._load_start_ns = order["load_start_ns"]
        self._order(["producer", "worker"], {"do": "go"}, load_start_ns=order["load_start_ns"])
        return {}

    def _do_kill(self, order: dict[str, Any]) -> dict[str, Any]:
        killed: dict[str, Any] = {}
        by_agent: dict[int, list[str]] = {}
        for name in order["names"]:
            by_agent.setdefault(self._book.shards[name]["agent"], []).append(name)
            self._book.note(name, told=True, killed_ns=now_ns())
        for agent, names in by_agent.items():
            answer = self._ask(agent, "kill", names=names).get("killed", {})
            member = self._remotes.members.get(agent)
            killed |= {name: facts | _ours(facts, member) for name, facts in answer.items()}
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
        return self._stop("producer", {"do": "finish"}, order["timeout_s"], until_ns=until_ns)

    def _do_stop(self, order: dict[str, Any]) -> dict[str, Any]:
        return self._stop("worker", {"do": "stop"}, order["timeout_s"])

    def _do_collect(self, order: dict[str, Any]) -> dict[str, Any]:
        for kind in ("producer", "worker"):  # where the load was cut short they run still
            self._book.tell(kind)
        shards: dict[int, list[str]] = {}
        for shard in self._book.shards.values():
            if shard["agent"] in self._remotes:
                shards.setdefault(shard["agent"], []).append(shard["name"])
        self._look(self._remotes.joined)
        collector = Collector(
            remotes=self._remotes,
            folder=Path(self._remote["folder"]),
            load_start_ns=self._load_start_ns,
            silence_s=order["silence_s"],
        )
        collector.collect(shards)
        return {"problems": sorted(collector.problems), "clocks": sorted(collector.clocks, key=lambda c: c["agent"])}

    def _stop(self, kind: str, order: dict[str, Any], timeout_s: float, **times_ns: int) -> dict[str, Any]:
        """Tells shards of a kind to end; kills what has not after the time-out and a moment; Locust's totals are whole then."""
        self._book.tell(kind)
        self._order([kind], order, **times_ns)
        if not self._wait(lambda: not self._book.running(kind), timeout_s + 1.0):
            late = self._book.running(kind)
            self._book.problem(f"{', '.join(late)} did not end within {timeout_s + 1.0:g} s and had to be killed")
            self._do_kill({"names": late})
        for agent in sorted(self._clients):
            self._ask(agent, "flush")
        return {}

    # What the agents say

    def _on_hello(self, environment: Any, msg: Any) -> None:
        if self._frozen:
            return
        self._clients[msg.data["index"]] = msg.node_id
        if msg.data.get("remote"):
            self._remotes.came(msg.node_id, ClockDomain(**msg.data["domain"]))
            _spawn(self._look, [self._remotes.members[msg.data["index"]]])
        self._notify()

    def _on_idle(self, environment: Any, msg: Any) -> None:
        kinds = self._idle.setdefault(msg.data["index"], {})
        kinds[msg.data["kind"]] = kinds.get(msg.data["kind"], 0) + 1
        self._notify()

    def _on_shard(self, environment: Any, msg: Any) -> None:
        self._note(msg.data["name"], msg.data["facts"], self._remotes.heard(msg.node_id))
        self._tell()

    def _on_state(self, environment: Any, msg: Any) -> None:
        """All that a remote agent has told of its shards, again: what a cut has swallowed is made good by it."""
        member = self._remotes.heard(msg.node_id)
        for name, facts in msg.data["shards"].items():
            if member is not None and _is_news(facts, self._book.shards[name]):
                self._note(name, facts, member)
        self._tell()

    def _note(self, name: str, facts: dict[str, Any], member: Remote | None) -> None:
        facts = facts | _ours(facts, member)
        if "ended_ns" in facts and "ended_ns" not in self._book.shards[name]:
            self._book.note(name, **{key: facts[key] for key in facts if key not in ("ended_ns", "exit_status")})
            self._book.ended(name, facts["ended_ns"], facts["exit_status"])
        elif "ended_ns" not in facts:
            self._book.note(name, **facts)
        self._notify()

    def _on_sample(self, environment: Any, msg: Any) -> None:
        member = self._remotes.heard(msg.node_id)
        for name, seen in msg.data["shards"].items():
            used, cpu_s = seen["counts"]["used"], seen["counts"]["cpu_ns"] / NS_PER_S
            self._book.note(name, used=used, cpu_s=cpu_s)
            if member is not None and seen.get("core_share"):
                end_ns, share = seen["core_share"]
                seen["core_share"] = (end_ns - member.offset_ns(), share)
        self._say("live", **msg.data | _ours(msg.data, member))

    def _on_killed(self, environment: Any, msg: Any) -> None:
        self._answers[msg.data["id"]] = msg.data
        self._notify()

    _on_flushed = _on_killed

    def _on_knock(self, environment: Any, msg: Any) -> None:
        self._remotes.knocked(msg.node_id, msg.data)

    def _on_unfit(self, environment: Any, msg: Any) -> None:
        self._remotes.unfit(msg.node_id, msg.data["text"])

    def _on_leaves(self, environment: Any, msg: Any) -> None:
        if member := self._remotes.leaves(msg.node_id):
            self._lost(member.index, f"agent {member.index} (of another machine) has left")
            self._ended_with(member.index)

    def _on_answer(self, environment: Any, msg: Any) -> None:
        self._remotes.answered(msg.node_id, msg.data)

    def _on_seen(self, environment: Any, msg: Any) -> None:
        self._remotes.looked(msg.node_id, msg.data)

    # Parts

    def _begin_agent(self, index: int, process: AgentProcess) -> None:
        words = {"port": self._nodes.port, "logs": self._plan["logs"], "door": self._remote.get("door")}
        process.stdin.write(json.dumps(words).encode() + b"\n")
        process.stdin.flush()
        _spawn(self._watch_agent, index, process)

    def _watch_agent(self, index: int, process: AgentProcess) -> None:
        status = process.wait()
        pids = self._lost(index, f"agent {index} (pid {process.pid}) ended with status {status}")
        deadline = time.monotonic() + 2 * END_GRACE_S
        while any(map(psutil.pid_exists, pids)) and time.monotonic() < deadline:
            time.sleep(0.02)
        self._ended_with(index)

    def _watch_remotes(self) -> None:
        """Looks at clocks and for agents that have gone, for ever."""
        while True:
            self._remotes.pulse()
            for member, why in self._remotes.silent():
                if not self._book.running(agent=member.index) and self._frozen:
                    continue  # its shards have ended: whether their slots can be had is seen when they are collected
                self._remotes.give_up(member)
                self._lost(member.index, f"agent {member.index} (of another machine) {why}")
                self._ended_with(member.index)
            time.sleep(PULSE_S)

    def _look(self, members: list[Remote]) -> None:
        """Takes many looks at clocks at once."""
        for _ in range(LOOKS_AT_ONCE if members else 0):
            self._remotes.pulse()
            time.sleep(LOOK_EVERY_S)

    def _lost(self, agent: int, how: str) -> list[int]:
        """Notes that an agent is gone; returns the process ids of its shards."""
        client = self._clients.pop(agent, "")
        for number in list(self._answers):
            self._answers[number] = self._answers[number] or {"gone": True}
        self._nodes.missing(client)
        orphans = self._book.agent_lost(agent, how)
        self._notify()
        self._tell()
        return [self._book.shards[name]["pid"] for name in orphans if "pid" in self._book.shards[name]]

    def _ended_with(self, agent: int) -> None:
        for name in self._book.running(agent=agent):
            self._book.ended(name, now_ns(), None)
        self._notify()
        self._tell()

    def _start_shards(self, url: str) -> None:
        if not self._agents_came():
            return
        total = len(self._configs)
        self._nodes.start_users(total)
        self._wait(lambda: sum(sum(kinds.values()) for kinds in self._idle.values()) >= total, USERS_START_S)
        self._frozen = self._remotes.frozen = True
        try:
            placed = place({name: config.kind for name, config in self._configs.items()}, self._idle)
        except ValueError as error:
            self._say("failed", problem=str(error))
            return
        self._wait(lambda: self._broker_known, 1e9)
        for name, config in self._configs.items():
            self._assign(config, placed[name])
        self._wait(lambda: all(s["ready"] or "ended_ns" in s for s in self._book.shards.values()), 1e9)
        self._tell()
        if not self._book.problems:
            self._say("ready", url=url)

    def _agents_came(self) -> bool:
        """Waits for all agents, those of other machines first; says so where they do not come."""
        wanted, local = self._remotes.wanted, len(self._agents)
        if wanted:
            deadline = time.monotonic() + self._remote["door"]["wait_s"]
            have = -1
            while have < wanted:
                if len(self._remotes.joined) != have:
                    have = len(self._remotes.joined)
                    self._say("agents", have=have, wanted=wanted)
                elif not self._wait(lambda: len(self._remotes.joined) != have, deadline - time.monotonic()):  # noqa: B023
                    self._say(
                        "failed",
                        problem=f"{have} of {wanted} agents of other machines came within {self._remote['door']['wait_s']:g} s",
                        remedy="start them: brokerbench agent --coordinator HOST:PORT, or give them longer: --wait",
                    )
                    return False
        if not self._wait(lambda: len(self._clients) == local + wanted, AGENTS_START_S):
            came = len(self._clients)
            self._say("failed", problem=f"{came} of {local + wanted} agents came up within {AGENTS_START_S:g} s")
            return False
        return True

    def _assign(self, config: ShardConfig, agent: int) -> None:
        self._book.add(config.name, config.kind, config.number, agent)
        if member := self._remotes.members.get(agent):
            config = replace(config, clock_offset_ns=member.offset_ns())
        self._send(agent, "assign", {"kind": config.kind, "config": config.to_json()})

    def _order(self, kinds: list[str], order: dict[str, Any], **times_ns: int) -> None:
        """Passes an order on; its times are in our clock, and said to each agent in its own."""
        for agent in sorted(self._clients):
            member = self._remotes.members.get(agent)
            offset_ns = member.offset_ns() if member else 0
            theirs = {name: t_ns + offset_ns for name, t_ns in times_ns.items()}
            self._send(agent, "order", {"kinds": kinds, "order": order | theirs})

    def _ask(self, agent: int, what: str, **data: Any) -> dict[str, Any]:
        """Sends a message and returns its answer, {} from an agent that is gone."""
        if agent not in self._clients:
            return {}
        if agent in self._remotes:
            return self._remotes.ask(agent, what, KILL_WAIT_S, **data)
        self._number += 1
        number = self._number
        self._answers[number] = {}
        self._send(agent, what, {"id": number, **data})
        self._wait(lambda: bool(self._answers[number]), KILL_WAIT_S)
        return self._answers.pop(number)

    def _send(self, agent: int, what: str, data: dict[str, Any]) -> None:
        if agent in self._remotes:
            _spawn(self._remotes.ask, agent, what, SURELY_S, **data)
        elif agent in self._clients:
            self._nodes.send(self._clients[agent], what, data)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            with self._changed:
                self._changed.wait(min(left, 0.05))
        return True

    def _stopped_from_page(self) -> None:
        if STOPPED_FROM_PAGE not in self._book.problems:
            self._book.problem(STOPPED_FROM_PAGE)
            self._tell()

    def _welcome(self) -> dict[str, Any]:
        config = next(iter(self._configs.values()), None)
        if config is None:
            return {}
        return {
            "setup": config.setup,
            "run": f"{config.run_id:016x}",
            "trial": config.trial,
            "token": os.urandom(8).hex(),  # of this very coordinator: the next trial has the same door
        }

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
        """Ends agents of this machine, and with them their shards; never returns."""
        for process in self._agents:
            process.stdin.close()
        deadline = time.monotonic() + 2 * END_GRACE_S
        while any(process.poll() is None for process in self._agents) and time.monotonic() < deadline:
            time.sleep(0.01)
        for process in self._agents:
            if process.poll() is None:
                process.kill()
        os._exit(0)


_TIMES = ("t_ns", "started_ns", "ended_ns", "killed_ns")


def _ours(facts: Mapping[str, Any], member: Remote | None) -> dict[str, Any]:
    """Returns the times among the facts that an agent of another machine told, in our clock."""
    if member is None:
        return {}
    offset_ns = member.offset_ns()
    return {name: facts[name] - offset_ns for name in _TIMES if name in facts}


def _is_news(facts: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    return any(facts[key] != known.get(key) for key in facts if key not in _TIMES)


def _spawn(work: Callable[..., Any], *args: Any, **named: Any) -> None:
    threading.Thread(target=work, args=args, kwargs=named, daemon=True).start()
