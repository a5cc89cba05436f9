"""The slots of shards on other machines: fetched whole, and turned into this machine's clock."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.clock import now_ns
from harness.errors import BrokerbenchError, EvidenceError
from harness.ledger import to_our_clock
from harness.load.clocks import Offset
from harness.load.pull import pull
from harness.load.remotes import Remotes

CHUNK_WAIT_S = 5.0


@dataclass
class Collector:
    """Fetches the files of all shards that ran elsewhere.

    Args:
        folder: gets ``<name>.slots`` and ``<name>.connections.jsonl``.
        load_start_ns: 0 = the load never began. silence_s: how long an agent may say nothing.

    Attributes:
        problems: a sentence for each file that could not be had.
        clocks: per agent ``agent``, ``exact``, and in ns ``before``, ``before_error``, ``after``, ``after_error``, ``error``
            (the largest between them).
    """

    remotes: Remotes
    folder: Path
    load_start_ns: int
    silence_s: float
    problems: list[str] = field(default_factory=list)
    clocks: list[dict[str, Any]] = field(default_factory=list)

    def collect(self, shards: Mapping[int, Sequence[str]]) -> None:
        """Fetches from all agents at once; ``shards``: agent → names of all its shards. Never raises."""
        threads = [threading.Thread(target=self._one, args=each, daemon=True) for each in shards.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _one(self, agent: int, names: Sequence[str]) -> None:
        whose = f"of {', '.join(names)} on agent {agent}"
        try:
            member = self.remotes.members[agent]
            member.lost = False  # it may have come back, and has kept what it saw
            answer = self.remotes.ask(agent, "files", self.silence_s, names=list(names))
            last_ns = now_ns()  # its shards have ended; how well clocks are known while files travel matters to nobody
            if "files" not in answer:
                self.problems.append(
                    f"the slots {whose} could not be had: {'it has ended' if member.has_ended() else 'it does not answer'}"
                )
                return
            got = [path for name, size in answer["files"].items() if (path := self._pulled(agent, name, size))]
            offset = member.offset()
            if offset is None:
                self.problems.append(f"the clock {whose} was never looked at")
                return
            self.clocks.append({"agent": agent, **_told(offset, self.load_start_ns or last_ns, last_ns)})
            for path in got if not offset.exact else []:
                _correct(path, offset)
        except Exception as error:  # whatever it is, the other agents' slots are had all the same
            logging.exception("slots %s", whose)
            self.problems.append(f"the slots {whose} could not be had: {type(error).__name__}: {error}")

    def _pulled(self, agent: int, name: str, size: int) -> Path | None:
        def ask(offset: int, length: int) -> Mapping[str, Any]:
            # Not asked again meanwhile: over a slow line the same chunk would come many times.
            answer = self.remotes.ask(
                agent, "fetch", CHUNK_WAIT_S, again_s=CHUNK_WAIT_S, name=name, offset=offset, length=length
            )
            if not answer and self.remotes.members[agent].has_ended():
                raise EvidenceError(f"the agent has ended after {offset:,} of {size:,} bytes")
            return answer

        into = self.folder / Path(name).name
        try:
            pull(ask, size, into, silence_s=self.silence_s)
        except BrokerbenchError as error:
            self.problems.append(f"{name} of agent {agent} could not be had: {error.problem}")
            return None
        return into


def _told(offset: Offset, first_ns: int, last_ns: int) -> dict[str, Any]:
    before, after = offset.at(first_ns), offset.at(last_ns)
    return {
        "exact": offset.exact,
        "before": before.offset_ns,
        "before_error": before.error_ns,
        "after": after.offset_ns,
        "after_error": after.error_ns,
        "error": offset.error_ns(first_ns, last_ns),
    }


def _correct(path: Path, offset: Offset) -> None:
    if path.suffix == ".slots":
        to_our_clock(path, offset.to_ours)
        return
    lines = []
    for line in path.read_text().splitlines():
        with suppress(ValueError):  # the last line of a killed shard may be half written
            fields = json.loads(line)
            [t_ns] = offset.to_ours(np.array([fields["t_ns"]], np.int64)).tolist()
            lines.append(json.dumps(fields | {"t_ns": t_ns}))
    path.write_text("".join(f"{line}\n" for line in lines))
