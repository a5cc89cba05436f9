"""Agents of other machines as the coordinator and they themselves account for them, on a line that swallows what it likes."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness import __version__
from harness.clock import ClockDomain, clock_domain, now_ns
from harness.ledger import DeliveryState, SlotFile, SlotReader, to_our_clock
from harness.load.door import open_door
from harness.load.pull import chunk
from harness.load.remote_agent import Ended, Knock, RemoteAgent
from harness.load.remotes import Remotes
from harness.load.wire import Calls

S = 1_000_000_000
OTHER = ClockDomain(boot_id="another", time_namespace="time:[1]")


class Line:
    """Takes what the coordinator sends; ``answer`` says what comes back, None = the line swallowed it."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self.connected = True
        self.on_ask: Callable[[dict[str, Any]], None] = lambda data: None

    def __call__(self, client: str, what: str, data: dict[str, Any]) -> bool:
        self.sent.append((client, what, data))
        if what == "ask":
            self.on_ask(data)
        return self.connected

    def said(self, client: str) -> list[str]:
        return [what for to, what, _ in self.sent if to == client]


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def remotes(line: Line, notes: list[str]) -> Remotes:
    return Remotes(
        wanted=2,
        first=1,
        welcome={"setup": "redis-stream", "token": "t1"},
        send=line,
        changed=lambda: None,
        note=notes.append,
    )


def knock(remotes: Remotes, client: str, version: str = __version__) -> None:
    remotes.knocked(client, {"version": version})


def test_agents_are_numbered_behind_those_of_this_machine_and_counted_when_ready(remotes: Remotes, line: Line) -> None:
    knock(remotes, "a")
    knock(remotes, "b")
    knock(remotes, "a")  # its welcome was swallowed
    assert [(client, what, data["index"]) for client, what, data in line.sent] == [
        ("a", "welcome", 1),
        ("b", "welcome", 2),
        ("a", "welcome", 1),
    ]
    assert remotes.joined == []
    remotes.came("b", OTHER)
    assert [member.index for member in remotes.joined] == [2]


def test_one_too_many_is_told_to_wait_and_the_user_once(remotes: Remotes, line: Line, notes: list[str]) -> None:
    for client in ("a", "b", "c", "c"):
        knock(remotes, client)
    assert line.said("c") == ["wait", "wait"]
    assert notes == ["an agent more than the 2 that are asked for has come: it is not used"]
    remotes.leave(over=True, limit_s=0.01)
    assert line.said("c")[-1] == "over"
    knock(remotes, "c")  # on its way before it was told
    assert line.said("c")[-1] == "over"


def test_a_late_agent_waits_for_the_next_trial_even_where_a_place_is_free(remotes: Remotes, line: Line) -> None:
    knock(remotes, "a")
    remotes.frozen = True
    knock(remotes, "b")
    assert line.said("b") == ["wait"]


def test_another_version_is_refused_and_both_are_named(remotes: Remotes, line: Line, notes: list[str]) -> None:
    knock(remotes, "a", "9.9.9")
    assert line.sent == [("a", "refused", {"text": f"brokerbench 9.9.9 there, {__version__} here"})]
    assert notes == [f"an agent was refused: brokerbench 9.9.9 there, {__version__} here"]
    assert remotes.members == {}


def test_an_agent_that_cannot_do_it_gives_its_place_to_another(remotes: Remotes, line: Line, notes: list[str]) -> None:
    for client in ("a", "b"):
        knock(remotes, client)
    remotes.unfit("a", "setup 'x' needs the Python package 'y'")
    knock(remotes, "c")
    assert line.sent[-1][:2] == ("c", "welcome")
    assert line.sent[-1][2]["index"] == 1
    assert notes == ["an agent was refused: setup 'x' needs the Python package 'y'"]


def test_whoever_comes_after_the_last_trial_is_told_that_it_is_over(line: Line) -> None:
    late = Remotes(wanted=1, first=0, welcome={}, send=line, changed=lambda: None, note=print, over=True)
    knock(late, "a")
    assert line.sent == [("a", "over", {})]
    assert late.told_over == {"a"}


def test_what_is_asked_is_asked_again_until_it_is_answered(remotes: Remotes, line: Line) -> None:
    knock(remotes, "a")
    asked: list[int] = []

    def swallow_twice(data: dict[str, Any]) -> None:
        asked.append(data["id"])
        if len(asked) == 3:
            remotes.answered("a", {"id": data["id"], "answer": {"done": 1}})

    line.on_ask = swallow_twice
    assert remotes.ask(1, "order", 5.0, again_s=0.01, kinds=[]) == {"done": 1}
    assert len(asked) == 3
    assert len(set(asked)) == 1


def test_an_answer_that_never_comes_is_none_and_one_too_late_is_dropped(remotes: Remotes) -> None:
    knock(remotes, "a")
    assert remotes.ask(1, "files", 0.02, again_s=0.01) == {}
    remotes.answered("a", {"id": 1, "answer": {"late": 1}})
    assert remotes.ask(1, "files", 0.02, again_s=0.01) == {}
    assert remotes.ask(99, "files", 5.0) == {}


def test_silence_and_a_cut_connection_are_noticed_and_asking_ends_at_once(remotes: Remotes, line: Line) -> None:
    knock(remotes, "a")
    knock(remotes, "b")
    assert remotes.silent() == []
    a, b = remotes.members[1], remotes.members[2]
    a.heard_ns -= 11 * S
    line.connected = False
    remotes.pulse()
    b.cut_ns -= 4 * S
    b.heard_ns -= 4 * S
    assert b.has_ended()
    b.heard_ns -= 5 * S  # it was silent first: the cable, not its process
    assert not b.has_ended()
    assert [(member.index, why) for member, why in remotes.silent()] == [
        (1, "was not heard for 10 s"),
        (2, "is no longer connected"),
    ]
    line.connected = True
    remotes.pulse()
    assert [member.index for member, _ in remotes.silent()] == [1]
    remotes.frozen = a.joined = True
    line.on_ask = lambda data: remotes.give_up(a)
    assert remotes.ask(1, "files", 60.0) == {}
    assert remotes.silent() == []


def test_the_offset_now_is_the_fastest_look_and_zero_on_one_clock(remotes: Remotes) -> None:
    knock(remotes, "a")
    knock(remotes, "b")
    remotes.came("a", OTHER)
    remotes.came("b", clock_domain())
    for client, shift in (("a", 1000 * S), ("b", 0)):
        now = now_ns()
        remotes.looked(client, {"asked_ns": now - 9000, "heard_ns": now + shift - 5000, "said_ns": now + shift - 4000})
    assert abs(remotes.members[1].offset_ns() - 1000 * S) < S
    assert remotes.members[2].offset_ns() == 0
    offset = remotes.members[2].offset()
    assert offset is not None
    assert offset.exact


# The agent's side


class Runner:
    """Locust's worker runner, as far as an agent knows it."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.hear: dict[str, Callable[..., None]] = {}

    def register_message(self, name: str, handler: Callable[..., None], concurrent: bool = False) -> None:
        self.hear[name] = handler

    def send_message(self, name: str, data: dict[str, Any]) -> None:
        self.sent.append((name, data))

    def says(self, name: str, **data: Any) -> None:
        self.hear[name](None, SimpleNamespace(data=data))


def an_agent(runner: Runner, folder: Path) -> RemoteAgent:
    return RemoteAgent(
        {"index": 3, "token": "t1"},
        open_door("127.0.0.1:5557", None, 1.0),
        folder=folder,
        logs=folder,
        runner=runner,
        feed=lambda config, sample: None,
        calls=Calls(),
        say=lambda event, **facts: None,
    )


def test_what_is_asked_twice_is_done_once_and_answered_twice(tmp_path: Path) -> None:
    runner = Runner()
    agent = an_agent(runner, tmp_path)
    (tmp_path / "w0.connections.jsonl").write_text("{}\n")
    (tmp_path / "w0.slots").write_bytes(b"never finished")
    for _ in range(2):
        runner.says("ask", id=7, what="files", data={"names": ["w0", "w1"]})
        (tmp_path / "w1.connections.jsonl").write_text("made between the two\n")
    answer = {"files": {"w0.slots": 0, "w0.connections.jsonl": 3}}
    assert runner.sent[-2:] == [("answer", {"id": 7, "answer": answer})] * 2
    assert agent.fetch({"name": "../../etc/passwd", "offset": 0, "length": 10}) == {}


def test_a_look_is_answered_with_the_own_clock_and_only_to_its_own_coordinator(tmp_path: Path) -> None:
    runner = Runner()
    agent = an_agent(runner, tmp_path)
    before = now_ns()
    runner.says("look", asked_ns=5, token="t1")
    name, seen = runner.sent[-1]
    assert (name, seen["asked_ns"]) == ("seen", 5)
    assert before <= seen["heard_ns"] <= seen["said_ns"] <= now_ns()
    runner.says("look", asked_ns=6, token="of the next trial")
    assert runner.sent[-1] == (name, seen)
    with pytest.raises(Ended, match="the coordinator has ended"):
        agent.stay()


def test_an_agent_without_the_driver_says_so_on_both_sides() -> None:
    runner = Runner()
    knock = Knock(open_door("127.0.0.1:5557", None, 5.0), Calls(), runner, print)
    threading.Timer(0.05, runner.says, args=("welcome",), kwargs={"setup": "no-such-setup", "index": 1}).start()
    with pytest.raises(Ended, match="setup 'no-such-setup' does not exist") as ended:
        knock()
    assert ended.value.what == "unfit"
    assert runner.sent[-1][0] == "unfit"


@pytest.mark.parametrize(
    ("calls", "what"),
    [(Calls(refused=True), "secret"), (Calls(failed=3), "secret"), (Calls(failed=2), "nobody"), (Calls(), "nobody")],
)
def test_a_door_that_does_not_open_ends_the_agent_in_bounded_time(calls: Calls, what: str) -> None:
    with pytest.raises(Ended) as ended:
        Knock(open_door("127.0.0.1:5557", None, 0.01), calls, Runner(), print)()
    assert ended.value.what == what


def test_what_a_socket_does_not_take_holds_no_agent_up(tmp_path: Path) -> None:
    with socket.socket() as nobody:  # so nothing leaves: as after a refusal, the socket takes no more at some time
        nobody.bind(("127.0.0.1", 0))
        program = (
            "import harness.load.fleet as f, pathlib, sys\n"
            "f._log_to(pathlib.Path(sys.argv[1]))\n"
            f"door = f.door_from({open_door(f'127.0.0.1:{nobody.getsockname()[1]}', None, 1.0).words()})\n"
            "client = f.DoorClient(door, f.Calls(), door.at.host, door.at.port, 'x')\n"
            "[client.send(f.Message('knock', {}, 'x')) for _ in range(3000)]\n"
            "f.os._exit(0)\n"
        )
        log = tmp_path / "log"
        subprocess.run([sys.executable, "-c", program, str(log)], check=True, timeout=60)
    assert "not sent: knock" in log.read_text()


def test_the_slots_of_another_clock_are_turned_into_ours_and_nothing_else_changes(tmp_path: Path) -> None:
    path = tmp_path / "w0.slots"
    file = SlotFile.create(
        path, kind="worker", name="w0", run_id=1, trial=1, number=0, scheduling="other", started_ns=1000
    )
    first = file.reserve(3)
    block = file.slots[first : first + 3]
    block["seq"], block["received_ns"], block["state"] = [5, 6, 7], [2000, 3000, 0], DeliveryState.RECEIVED
    file.fetch_begins(10, 4000)
    file.commit()
    size = SlotReader(path).extent
    copy = tmp_path / "copy.slots"
    copy.write_bytes(chunk(path, 0, size)["data"])
    to_our_clock(copy, lambda theirs: theirs - 900)
    found = SlotReader(copy)
    assert found.slots()["received_ns"].tolist() == [1100, 2100, 0]
    assert found.slots()["settled_ns"].tolist() == [0, 0, 0]
    assert found.slots()["seq"].tolist() == [5, 6, 7]
    assert (found.header["started_ns"], found.header["fetch_ns"], found.header["fetch_max_n"]) == (100, 3100, 10)
    assert found.header["boot_id"] == clock_domain().boot_id
    assert np.array_equal(SlotReader(path).slots()["received_ns"], [2000, 3000, 0])
