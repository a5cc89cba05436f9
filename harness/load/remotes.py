"""The coordinator's account of the agents that other machines lend: who has come, whether it still answers, what its clock says.

What is asked of a remote agent is asked again until it is answered, since a cut of the connection may swallow either; the agent does
each thing once. Knows Locust only by the function that sends; runs in real threads in tests, in greenlets in the fleet.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness import __version__
from harness.clock import NS_PER_S, ClockDomain, clock_domain, now_ns
from harness.load.clocks import Look, Offset

PULSE_S = 0.1
ASK_AGAIN_S = 1.0
SILENT_S = 10.0
"""An agent of which nothing has been heard for so long is lost."""
CUT_S = 3.0
"""So is one whose connection has ended and was not made anew by then."""
SUDDEN_S = 2.0
"""A connection that ends so soon after the agent was heard ended with its process: a cable that is cut is silent for longer first."""
_NEWEST = 50  # looks of which the best says how the clocks stand now

Send = Callable[[str, str, dict[str, Any]], bool]
"""Client, message, data → whether the client is connected."""


@dataclass
class Remote:
    """One agent of another machine.

    Attributes:
        index: as in the assignment. client: its identity on the wire. joined: it is ready for shards.
        heard_ns: when it last said anything. cut_ns: when it was first found not to be connected; 0 = it is.
        lost: given up during the load. left: it said that it goes.
        looks: at its clock. domain: of its clock.
    """

    index: int
    client: str
    joined: bool = False
    lost: bool = False
    left: bool = False
    heard_ns: int = 0
    cut_ns: int = 0
    domain: ClockDomain | None = None
    looks: list[Look] = field(default_factory=list)
    newest: deque[Look] = field(default_factory=lambda: deque(maxlen=_NEWEST))

    def look(self, look: Look) -> None:
        """Takes one look at its clock."""
        self.looks.append(look)
        self.newest.append(look)

    def is_cut(self) -> bool:
        """Returns whether it is not connected, and has been so for long enough to come back."""
        return self.cut_ns > 0 and now_ns() - self.cut_ns > CUT_S * NS_PER_S

    def has_ended(self) -> bool:
        """Returns whether nothing will come of it any more: it has left, or its process has ended."""
        return self.left or (self.is_cut() and self.cut_ns - self.heard_ns < SUDDEN_S * NS_PER_S)

    @property
    def one_clock(self) -> bool:
        """Returns whether the system says that its clock is ours."""
        ours = clock_domain()
        return self.domain == ours and bool(ours.boot_id and ours.time_namespace)

    def offset_ns(self) -> int:
        """Returns about how far its clock stands from ours now."""
        if not self.newest:
            return 0
        best = min(self.newest, key=lambda look: look.round_trip_ns)
        error_ns = best.round_trip_ns // 2
        offset_ns = (best.heard_ns - best.asked_ns + best.said_ns - best.answered_ns) // 2
        return 0 if self.one_clock and abs(offset_ns) <= error_ns else offset_ns

    def offset(self) -> Offset | None:
        """Returns all that is known of its clock; None = it was never looked at."""
        return Offset(self.looks, same=self.one_clock) if self.looks else None


class Remotes:
    """All agents of other machines of one trial.

    Args:
        wanted: how many. first: index of the first. welcome: what an agent is told that is taken, beside its index.
        send: see :data:`Send`. changed: called when somebody came or went. note: takes a sentence for the user.
        over: nobody is wanted any more, whoever comes is told so.
    """

    def __init__(
        self,
        *,
        wanted: int,
        first: int,
        welcome: dict[str, Any],
        send: Send,
        changed: Callable[[], None],
        note: Callable[[str], None],
        over: bool = False,
    ) -> None:
        self.wanted, self._first, self._welcome = wanted, first, welcome
        self._send, self._changed, self._note = send, changed, note
        self.over, self.frozen = over, False
        self.members: dict[int, Remote] = {}
        self.told_over: set[str] = set()
        self._waiting: set[str] = set()
        self._told: set[str] = set()  # clients of which the user has heard
        self._answers: dict[int, dict[str, Any]] = {}
        self._asked: set[int] = set()
        self._arrived = threading.Condition()
        self._number = 0

    def __contains__(self, agent: int) -> bool:
        return agent in self.members

    @property
    def joined(self) -> list[Remote]:
        """Returns those that are ready, in order."""
        return [self.members[index] for index in sorted(self.members) if self.members[index].joined]

    def of(self, client: str) -> Remote | None:
        """Returns whose identity that is."""
        return next((member for member in self.members.values() if member.client == client), None)

    # What agents say

    def knocked(self, client: str, data: dict[str, Any]) -> None:
        """Somebody wants to come in."""
        if self.over:
            self.told_over.add(client)
            self._send(client, "over", {})
        elif data["version"] != __version__:
            text = f"brokerbench {data['version']} there, {__version__} here"
            self._tell(client, f"an agent was refused: {text}")
            self._send(client, "refused", {"text": text})
        elif member := self.of(client) or self._place(client):
            self._heard(member)
            self._send(client, "welcome", {"index": member.index, **self._welcome})
        else:
            self._waiting.add(client)
            self._tell(client, f"an agent more than the {self.wanted} that are asked for has come: it is not used")
            self._send(client, "wait", {"wanted": self.wanted})

    def came(self, client: str, domain: ClockDomain) -> None:
        """An agent that was welcomed is ready."""
        if member := self.of(client):
            member.joined, member.domain = True, domain
            self._heard(member)
            self._changed()

    def unfit(self, client: str, text: str) -> None:
        """An agent that was welcomed cannot do what it would have to."""
        if member := self.of(client):
            del self.members[member.index]
        self._tell(client, f"an agent was refused: {text}")
        self._changed()

    def leaves(self, client: str) -> Remote | None:
        """An agent goes before it was told to; returns it."""
        member = self.of(client)
        if member is not None:
            member.left = True
            self.give_up(member)
        return member

    def answered(self, client: str, data: dict[str, Any]) -> None:
        """An answer to :meth:`ask`."""
        if member := self.of(client):
            self._heard(member)
        with self._arrived:
            if data["id"] in self._asked:
                self._answers[data["id"]] = data["answer"]
                self._arrived.notify_all()

    def looked(self, client: str, data: dict[str, Any]) -> None:
        """An answer to a look at a clock."""
        answered_ns = now_ns()
        if member := self.of(client):
            self._heard(member)
            member.look(Look(answered_ns=answered_ns, **data))

    def heard(self, client: str) -> Remote | None:
        """Returns whose message that is, and notes that it lives."""
        if member := self.of(client):
            self._heard(member)
        return member

    # What agents are asked

    def ask(
        self, agent: int, what: str, limit_s: float, *, again_s: float = ASK_AGAIN_S, **data: Any
    ) -> dict[str, Any]:
        """Returns the answer of an agent, {} where none came in time; asks again every ``again_s`` until then."""
        member = self.members.get(agent)
        if member is None:
            return {}
        with self._arrived:
            self._number += 1
            number = self._number
            self._asked.add(number)
        deadline = time.monotonic() + limit_s
        try:
            while number not in self._answers:
                left_s = deadline - time.monotonic()
                if left_s <= 0 or member.lost or member.has_ended():
                    return {}
                self._send(member.client, "ask", {"id": number, "what": what, "data": data})
                with self._arrived:
                    self._arrived.wait_for(lambda: number in self._answers or member.lost, min(again_s, left_s))
            return self._answers.pop(number)
        finally:
            with self._arrived:
                self._asked.discard(number)

    def pulse(self) -> None:
        """Looks at the clock of every agent once, which tells it that we live, and us whether it is connected."""
        for member in list(self.members.values()):
            if self._send(member.client, "look", {"asked_ns": now_ns(), **self._token()}):
                member.cut_ns = 0
            elif not member.cut_ns:
                member.cut_ns = now_ns()

    def silent(self) -> list[tuple[Remote, str]]:
        """Returns agents that are to be given up now, and why."""
        now = now_ns()
        found = []
        for member in list(self.members.values()):
            if member.lost:
                continue
            if now - member.heard_ns > SILENT_S * NS_PER_S:
                found.append((member, f"was not heard for {SILENT_S:g} s"))
            elif member.is_cut():
                found.append((member, "is no longer connected"))
        return found

    def give_up(self, member: Remote) -> None:
        """Counts on an agent no more; before it had joined, its place is free again."""
        member.lost = True
        if not member.joined or not self.frozen:
            self.members.pop(member.index, None)
        with self._arrived:
            self._arrived.notify_all()
        self._changed()

    def leave(self, *, over: bool, limit_s: float) -> None:
        """Tells every agent that its slots are safe and the trial is done; those that only waited too where the run is over."""
        threads = [
            threading.Thread(target=self.ask, args=(member.index, "leave", limit_s), kwargs={"over": over}, daemon=True)
            for member in self.joined
            if not member.lost
        ]
        for thread in threads:
            thread.start()
        if over:
            self.over = True  # a knock that comes yet must not be answered "wait": an agent goes by the last word
            for client in self._waiting:
                self._send(client, "over", {})
        for thread in threads:
            thread.join(limit_s)

    def _token(self) -> dict[str, Any]:
        return {"token": self._welcome.get("token", "")}

    def _place(self, client: str) -> Remote | None:
        free = [self._first + n for n in range(self.wanted) if self._first + n not in self.members]
        if self.frozen or not free:
            return None
        member = Remote(index=free[0], client=client)
        self.members[member.index] = member
        self._waiting.discard(client)
        return member

    def _heard(self, member: Remote) -> None:
        member.heard_ns = now_ns()

    def _tell(self, client: str, text: str) -> None:
        if client not in self._told:
            self._told.add(client)
            self._note(text)
