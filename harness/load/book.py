"""The coordinator's account of shards: which runs where, how each ended, and what went wrong. Pure: no process, no clock.

A shard is given to one agent at the start and stays there; nothing is ever given out twice. A replacement is a new shard with a
generation and a number of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.facts import ShardRecord

STOPPED_FROM_PAGE = "stopped from the page"


def place(shards: Mapping[str, str], idle: Mapping[int, Mapping[str, int]]) -> dict[str, int]:
    """Returns shard name → agent, evenly over agents with idle users of its kind.

    Args:
        shards: name → kind. idle: agent → kind → users without an assignment.

    Raises:
        ValueError: fewer users than shards.
    """
    free = {agent: dict(kinds) for agent, kinds in idle.items()}
    placed: dict[str, int] = {}
    for name, kind in shards.items():
        agent = max(sorted(free), key=lambda a: free[a].get(kind, 0), default=None)
        if agent is None or free[agent].get(kind, 0) < 1:
            raise ValueError(f"no idle {kind} user for {name}; idle: {idle}")
        free[agent][kind] -= 1
        placed[name] = agent
    return placed


class Book:
    """All shards of one trial."""

    def __init__(self) -> None:
        self.shards: dict[str, dict[str, Any]] = {}
        self.problems: list[str] = []
        self.news: list[str] = []  # problems that nobody has heard of

    def add(self, name: str, kind: str, number: int, agent: int) -> None:
        """Notes a shard that is about to be started."""
        self.shards[name] = {
            "name": name,
            "kind": kind,
            "number": number,
            "agent": agent,
            "ready": False,
            "done": False,
            "told": False,  # to end, by an order or a fault
            "failed": "",
        }

    def note(self, name: str, **facts: Any) -> None:
        """Notes facts about a shard."""
        self.shards[name].update(facts)

    def running(self, kind: str | None = None, agent: int | None = None) -> list[str]:
        """Returns the names of shards that have not ended, in order of their numbers."""
        return [
            shard["name"]
            for shard in sorted(self.shards.values(), key=lambda s: (s["kind"], s["number"]))
            if "ended_ns" not in shard and kind in (None, shard["kind"]) and agent in (None, shard["agent"])
        ]

    def tell(self, kind: str) -> None:
        """Notes that shards of a kind were told to end."""
        for name in self.running(kind):
            self.note(name, told=True)

    def ended(self, name: str, t_ns: int, status: int | None) -> None:
        """Notes the end of a shard; an unexpected one is a problem."""
        shard = self.shards[name]
        if "ended_ns" in shard:
            return
        shard.update(ended_ns=t_ns, exit_status=status)
        failed = shard["failed"]
        if status is not None and (failed or not shard["told"] or (status != 0 and "killed_ns" not in shard)):
            why = failed or f"exit status {status}"
            self.problem(f"{shard['kind']} {name} (pid {shard.get('pid', 0)}) ended unexpectedly: {why}")
            shard["told"] = False

    def agent_lost(self, agent: int, how: str) -> list[str]:
        """Notes the end of an agent, told in ``how``; returns its shards that were running, which end with it."""
        orphans = self.running(agent=agent)
        if orphans:
            for name in orphans:
                self.note(name, told=False)
            self.problem(f"{how}, and with it {', '.join(orphans)}")
        return orphans

    def problem(self, text: str) -> None:
        """Notes something that must be said."""
        self.problems.append(text)
        self.news.append(text)

    def replacement(self, name: str) -> tuple[str, int]:
        """Returns name and number of the next generation: ``w1`` → ``w1.1`` → ``w1.2``; the number is new among its kind."""
        base = name.partition(".")[0]
        kind = self.shards[name]["kind"]
        generation = sum(other.partition(".")[0] == base for other in self.shards)
        number = 1 + max(shard["number"] for shard in self.shards.values() if shard["kind"] == kind)
        return f"{base}.{generation}", number


_RECORDED = (
    "name",
    "kind",
    "number",
    "pid",
    "agent",
    "scheduling",
    "started_ns",
    "ended_ns",
    "killed_ns",
    "exit_status",
    "cpu_s",
)


def record(shard: Mapping[str, Any]) -> ShardRecord:
    """Returns a shard as it really lived; what its slot file says of it is for whoever gathers to fill in."""
    facts = {name: shard[name] for name in _RECORDED if name in shard}
    started, ended = shard.get("started_ns", 0), shard.get("ended_ns")
    return ShardRecord(
        **facts,
        expected_exit=bool(shard["told"]) or ended is None,
        slots_reported=shard.get("used", 0),
        wall_s=(ended - started) / 1e9 if ended is not None else 0.0,
    )
