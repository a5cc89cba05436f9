"""Process trees: real small processes are killed, stopped, paused and measured as a whole."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import psutil
import pytest

from harness.deployments._process import ProcessTree, free_port
from harness.deployments._users import unprivileged_user
from harness.errors import StartError
from harness.journal import Journal

LIMIT_S = 20.0

FAMILY = """
import subprocess
children = [subprocess.Popen(["sleep", "1000"]), subprocess.Popen(["sleep", "1000"], start_new_session=True)]
print("ready", *(child.pid for child in children), flush=True)
[child.wait() for child in children]
"""
GRACEFUL = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
print("ready", flush=True)
signal.pause()
"""
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True:
    signal.pause()
"""
BUSY_CHILD = """
import subprocess, sys, signal
work = "import time\\nwhile time.process_time() < 0.3: pass"
subprocess.run([sys.executable, "-c", work], check=True)
print("ready", flush=True)
signal.pause()
"""
WRITER = """
import os, signal
with open("written", "wb") as file:
    file.write(b"x" * (1 << 20))
    file.flush()
    os.fsync(file.fileno())
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    monkeypatch.setenv("BROKERBENCH_STATE", str(tmp_path / "state"))
    with Journal.create(secrets.token_hex(8)) as opened:
        yield opened


@pytest.fixture
def tree(journal: Journal, tmp_path: Path) -> Iterator[ProcessTree]:
    made = ProcessTree(journal, log=tmp_path / "logs" / "process.log")
    yield made
    made.end()


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def run(tree: ProcessTree, code: str, cwd: Path | None = None) -> list[int]:
    """Starts Python code, waits until it says that it is ready, returns the numbers that it said."""
    before = tree.log_tail(1000).count("ready")
    tree.start([sys.executable, "-c", code], cwd=cwd)
    eventually(lambda: tree.log_tail(1000).count("ready") > before, "the process never became ready")
    return [int(word) for word in tree.log_tail(1).split()[1:]]


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_kill_ends_every_member_even_one_in_a_session_of_its_own(tree: ProcessTree) -> None:
    children = run(tree, FAMILY)
    main = tree.pid
    evidence = tree.kill()
    assert evidence["gone"] is True
    assert evidence["left"] == []
    assert evidence["status"] == -signal.SIGKILL
    assert evidence["pids"] == [main, *sorted(children)]
    assert 0 < cast("float", evidence["took_s"]) < LIMIT_S
    assert not any(map(runs, [main or 0, *children]))
    assert not tree.alive()
    assert tree.members() == []


def test_a_kill_of_nothing_says_that_nothing_was_there(tree: ProcessTree) -> None:
    evidence = tree.kill()
    assert (evidence["pids"], evidence["gone"], evidence["status"]) == ([], True, None)


def test_an_orphan_is_still_a_member_and_is_ended(tree: ProcessTree) -> None:
    tree.start(["sh", "-c", "sleep 1000 & echo ready $!"])
    eventually(lambda: "ready" in tree.log_tail(), "no orphan")
    orphan = int(tree.log_tail(1).split()[1])
    eventually(lambda: not tree.alive(), "the main process lives on")
    assert [process.pid for process in tree.members()] == [orphan]
    tree.end()
    assert not runs(orphan)


def test_a_graceful_stop_lets_the_process_end_by_itself(tree: ProcessTree) -> None:
    run(tree, GRACEFUL)
    evidence = tree.stop(LIMIT_S)
    assert evidence["graceful"] is True
    assert evidence["status"] == 3


def test_a_stop_that_is_not_obeyed_ends_in_a_kill(tree: ProcessTree) -> None:
    run(tree, STUBBORN)
    evidence = tree.stop(0.1)
    assert evidence["graceful"] is False
    assert cast("float", evidence["took_s"]) > 0.1  # until the kill was over
    assert evidence["status"] == -signal.SIGKILL
    assert not tree.alive()


def test_a_stop_may_use_another_signal(tree: ProcessTree) -> None:
    run(tree, STUBBORN)
    assert tree.stop(LIMIT_S, order=signal.SIGINT)["graceful"] is True


def test_a_pause_stops_every_member_and_a_resume_lets_all_go_on(tree: ProcessTree) -> None:
    children = run(tree, FAMILY)
    paused = tree.pause()
    assert paused["paused"] is True
    assert paused["states"] == dict.fromkeys([tree.pid, *sorted(children)], "stopped")
    assert tree.alive()
    resumed = tree.resume()
    assert set(resumed["states"]) == {tree.pid, *children}  # type: ignore[call-overload]
    assert "stopped" not in resumed["states"].values()  # type: ignore[attr-defined]


def test_a_paused_tree_can_be_killed_and_stopped(tree: ProcessTree) -> None:
    run(tree, FAMILY)
    tree.pause()
    assert tree.kill()["gone"] is True
    run(tree, GRACEFUL)
    tree.pause()
    assert tree.stop(LIMIT_S)["graceful"] is True


def test_resume_without_a_pause_is_harmless(tree: ProcessTree) -> None:
    assert tree.resume()["states"] == {}
    run(tree, GRACEFUL)
    tree.resume()
    assert tree.alive()


def test_usage_counts_children_that_are_gone_and_incarnations_that_were_killed(tree: ProcessTree) -> None:
    run(tree, BUSY_CHILD)
    first = tree.usage().cpu_s
    assert first is not None
    assert first >= 0.3
    tree.kill()
    after_kill = tree.usage()
    assert after_kill.cpu_s is not None
    assert after_kill.cpu_s >= first
    assert after_kill.memory_bytes == 0
    run(tree, BUSY_CHILD)
    second = tree.usage()
    assert second.cpu_s is not None
    assert second.cpu_s >= first + 0.3
    assert second.memory_bytes is not None
    assert second.memory_bytes > 0


def test_usage_counts_bytes_that_were_written_also_after_a_graceful_end(tree: ProcessTree, tmp_path: Path) -> None:
    run(tree, WRITER, cwd=tmp_path)
    written = tree.usage().written_bytes
    tree.stop(LIMIT_S)
    after = tree.usage().written_bytes
    if not written:
        return  # this system does not tell, or no disk is behind the folder
    assert after is not None
    assert after >= written >= 1 << 20


def test_what_runs_cannot_be_started_again(tree: ProcessTree) -> None:
    run(tree, GRACEFUL)
    with pytest.raises(StartError, match="runs already"):
        tree.start([sys.executable, "-c", GRACEFUL])


def test_a_command_that_does_not_exist_is_said_so(tree: ProcessTree) -> None:
    with pytest.raises(StartError, match="no-such-program"):
        tree.start(["/no-such-program"])
    assert not tree.alive()


def test_a_process_that_ended_by_itself_can_be_started_again(tree: ProcessTree) -> None:
    tree.start(["true"])
    eventually(lambda: not tree.alive(), "it does not end")
    run(tree, GRACEFUL)
    assert tree.alive()


def test_the_log_keeps_both_incarnations_and_its_tail_is_the_last_lines(tree: ProcessTree) -> None:
    for word in ("first", "second"):
        tree.start(["sh", "-c", f"echo {word}; echo {word} >&2"])
        eventually(lambda: not tree.alive(), "it does not end")
    assert tree.log_tail(3) == "first\nsecond\nsecond"
    assert tree.log_tail(100) == "first\nfirst\nsecond\nsecond"


def test_a_free_port_can_be_bound_and_is_none_of_outgoing_connections() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        pass
    limits = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if limits.exists():
        low, high = map(int, limits.read_text().split())
        assert not low <= port <= high


def test_a_process_runs_as_another_user_only_where_we_are_root(tree: ProcessTree) -> None:
    user = unprivileged_user()
    if os.geteuid() != 0:
        assert user is None
        return
    assert user
    tree.start(["id", "-u"], user=user, cwd=Path("/"))
    eventually(lambda: not tree.alive(), "it does not end")
    assert tree.log_tail() == str(user)
