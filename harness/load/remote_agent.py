"""An agent on a machine of its own: it does what it is asked once, however often it is asked, and keeps its slots until they are safe.

Runs, like ``agent``, where gevent has patched the standard library, and knows Locust only by what it is given. Neighbours:
``remotes`` is the other side, ``lend`` starts the process that this runs in and removes what it leaves.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness import __version__, brokers
from harness.clock import clock_domain, now_ns
from harness.errors import BrokerbenchError, EvidenceError
from harness.ledger import SlotReader
from harness.load.agent import Agent
from harness.load.config import ShardConfig, config_from_json
from harness.load.door import Door, is_answered
from harness.load.pull import chunk
from harness.load.remotes import SILENT_S
from harness.load.statistics import Sample
from harness.load.wire import Calls

KNOCK_S = 0.5
STATE_S = 1.0
LEAVING_S = 0.2  # the answer is on its way
KEEP_S = 90.0
"""How long slots are kept for a coordinator of which nothing is heard: longer than it waits for them."""


class Ended(Exception):
    """This process has nothing more to do: ``what`` and why, as its parent is told."""

    def __init__(self, what: str, text: str = "") -> None:
        super().__init__(text)
        self.what, self.text = what, text


class Knock:
    """Asks the coordinator to be let in, until it answers.

    Args:
        door: where. calls: what became of the connection. send: message and data → the coordinator. say: tells the parent.
    """

    def __init__(self, door: Door, calls: Calls, runner: Any, say: Callable[..., None]) -> None:
        self._door, self._calls, self._runner, self._say = door, calls, runner, say
        self._arrived = threading.Event()
        self._answer: tuple[str, dict[str, Any]] = ("", {})
        for name in ("welcome", "refused", "wait", "over"):
            runner.register_message(name, getattr(self, f"_on_{name}"))

    def __call__(self) -> dict[str, Any]:
        """Returns what the coordinator says to an agent that it takes.

        Raises:
            Ended: it does not, or nobody answers in time.
        """
        deadline, told = time.monotonic() + self._door.wait_s, False
        while True:
            self._runner.send_message("knock", {"version": __version__})
            self._arrived.wait(KNOCK_S)
            self._arrived.clear()
            what, data = self._answer
            if what == "welcome":
                self._require(data["setup"])
                return data
            if what == "wait":
                self._answer = ("", {})
                deadline = time.monotonic() + self._door.wait_s
                if not told:  # every knock is answered so
                    self._say("waiting", wanted=data["wanted"])
                    told = True
            elif what:
                raise Ended(what, data.get("text", ""))
            if self._calls.wrong_secret:
                raise Ended("secret")
            if time.monotonic() > deadline:
                raise Ended("nobody", "reached" if self._calls.reached else "")

    def _require(self, setup: str) -> None:
        try:
            brokers.setup(setup)
        except BrokerbenchError as error:
            text = error.problem + (f" ({error.remedy})" if error.remedy else "")
            self._runner.send_message("unfit", {"text": text})
            time.sleep(KNOCK_S)  # lets it leave
            raise Ended("unfit", text) from error

    def _on_welcome(self, environment: Any, msg: Any) -> None:
        self._take("welcome", msg)

    def _on_refused(self, environment: Any, msg: Any) -> None:
        self._take("refused", msg)

    def _on_wait(self, environment: Any, msg: Any) -> None:
        self._take("wait", msg)

    def _on_over(self, environment: Any, msg: Any) -> None:
        self._take("over", msg)

    def _take(self, what: str, msg: Any) -> None:
        self._answer = (what, msg.data or {})
        self._arrived.set()


class RemoteAgent(Agent):
    """Runs shards for a coordinator on another machine.

    Args:
        welcome: what the coordinator said. folder: where slots lie until they are safe. calls: what becomes of the connection.
        say: tells the parent. Others as in :class:`Agent`.
    """

    def __init__(
        self,
        welcome: dict[str, Any],
        door: Door,
        *,
        folder: Path,
        logs: Path,
        runner: Any,
        feed: Callable[[ShardConfig, Sample], None],
        calls: Calls,
        say: Callable[..., None],
    ) -> None:
        self._token, self._door, self._folder, self._calls, self._say = welcome["token"], door, folder, calls, say
        self._facts: dict[str, dict[str, Any]] = {}
        self._answers: dict[int, dict[str, Any] | None] = {}  # None = being worked out
        self._heard_s = time.monotonic()
        self._left: bool | None = None  # whether the run is over
        self._replaced = False
        super().__init__(welcome["index"], logs, runner, feed)

    def stay(self) -> bool:
        """Blocks until the coordinator lets us go; returns whether the run is over.

        Raises:
            Ended: the coordinator is lost; its shards have been ended.
        """
        told_s = time.monotonic()
        losses, ended, up = self._calls.lost, False, True
        while self._left is None:
            time.sleep(0.05)
            if self._replaced:
                self._lose("the coordinator has ended")
            silent_s = time.monotonic() - self._heard_s
            if self._calls.lost > losses and not self._calls.up:
                losses = self._calls.lost
                if not is_answered(self._door.at):  # its process has ended: it listens as long as it lives
                    self._lose("the coordinator has ended")
            if self._calls.up != up:
                up = self._calls.up
                self._say("back" if up else "cut")
            if silent_s > SILENT_S and not ended:
                ended = True
                logging.info("nothing heard for %s s: ending the shards", SILENT_S)
                self.end()
            if silent_s > KEEP_S:
                self._lose(f"nothing was heard of the coordinator for {KEEP_S:g} s")
            if time.monotonic() - told_s > STATE_S:
                told_s = time.monotonic()
                self._send("state", shards=self._facts)
        time.sleep(LEAVING_S)
        return self._left

    def desert(self) -> None:
        """Says goodbye before the trial is done, and ends the shards."""
        self._send("leaves")
        time.sleep(LEAVING_S)
        self.end()

    def assign(self, data: dict[str, Any]) -> dict[str, Any]:
        """Gives a shard to an idle user, with a folder of this machine for its slots."""
        config = replace(config_from_json(data["config"]), folder=self._folder)
        return super().assign({"kind": config.kind, "config": config.to_json()})

    def files(self, data: dict[str, Any]) -> dict[str, Any]:
        """Returns the length of each file of the shards named that says something."""
        return {"files": {path.name: _extent(path) for name in data["names"] for path in self._files_of(name)}}

    def fetch(self, data: dict[str, Any]) -> dict[str, Any]:
        """Returns one chunk of a file."""
        path = self._folder / Path(data["name"]).name
        return chunk(path, data["offset"], data["length"]) if path.is_file() else {}

    def leave(self, data: dict[str, Any]) -> dict[str, Any]:
        """Lets this process end: what it keeps is safe."""
        self._left = bool(data["over"])
        return {}

    def _files_of(self, name: str) -> list[Path]:
        paths = [self._folder / f"{name}.slots", self._folder / f"{name}.connections.jsonl"]
        return [path for path in paths if path.is_file()]

    def _lose(self, why: str) -> None:
        self.end()
        raise Ended("lost", why)

    def _listen(self) -> None:
        self._runner.register_message("ask", self._on_ask, concurrent=True)
        self._runner.register_message("look", self._on_look)
        self._send("hello", index=self._index, remote=True, domain=asdict(clock_domain()))

    def _on_ask(self, environment: Any, msg: Any) -> None:
        self._heard_s = time.monotonic()
        number, what = msg.data["id"], msg.data["what"]
        if what == "fetch":  # large, and the same each time
            self._send("answer", id=number, answer=self.fetch(msg.data["data"]))
            return
        if number not in self._answers:
            self._answers[number] = None
            does = (self.assign, self.order, self.kill, self.flush, self.files, self.leave)
            answer = {each.__name__: each for each in does}[what](msg.data["data"])
            self._answers[number] = answer
            self._say_what(what, msg.data["data"])
        if (known := self._answers[number]) is not None:
            self._send("answer", id=number, answer=known)

    def _say_what(self, what: str, data: dict[str, Any]) -> None:
        if what == "order" and data["order"]["do"] == "go":
            self._say("loading", shards=len(self._children))
        elif what == "files":
            self._say("handing", shards=len(data["names"]))

    def _on_look(self, environment: Any, msg: Any) -> None:
        heard_ns = now_ns()
        if msg.data["token"] != self._token:
            self._replaced = True  # another trial's coordinator, at the same door
            return
        self._heard_s = time.monotonic()
        self._send("seen", asked_ns=msg.data["asked_ns"], heard_ns=heard_ns, said_ns=now_ns())

    def _shard(self, child: Any, **facts: Any) -> None:
        self._facts.setdefault(child.config.name, {}).update(facts)
        super()._shard(child, **facts)


def _extent(path: Path) -> int:
    """Returns how many bytes of a file must travel; 0 = it says nothing."""
    if path.suffix != ".slots":
        return path.stat().st_size
    try:
        return SlotReader(path).extent
    except EvidenceError:  # its shard died while it made it
        return 0
