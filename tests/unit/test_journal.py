"""The journal, the minder and the sweep, on real processes, folders and shared memory."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import journal as journal_module
from harness import processes
from harness.errors import StartError, UsageError
from harness.journal import Journal
from harness.sweepers import MARKER, is_ours
from harness.sweeping import down, sweep

LIMIT_S = 30.0


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    found = processes.find(pid)
    return found is not None and not found.zombie


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BROKERBENCH_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def run_id() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def journal(run_id: str) -> Iterator[Journal]:
    with Journal.create(run_id) as made:
        yield made


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process of somebody else's."""
    with subprocess.Popen(["sleep", "100"], start_new_session=True) as process:
        yield process
        process.kill()


@dataclass
class Owner:
    """Another process that owns a run; it says JSON lines and is killed by the test."""

    process: subprocess.Popen[bytes]
    run_id: str
    state: Path

    def says(self) -> dict[str, int]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the owner died before its time"
        said: dict[str, int] = json.loads(line)
        return said

    @property
    def journal(self) -> Path:
        return self.state / "journals" / f"{self.run_id}.jsonl"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def owner(state: Path, run_id: str) -> Iterator[Callable[[str], Owner]]:
    """Starts owners: ``journal`` is made, then the given code runs, which calls ``say(name=pid)`` and waits."""
    owners: list[Owner] = []

    def start(code: str, *, of: str = run_id) -> Owner:
        head = f"""
            import json, os, subprocess, sys, time
            from pathlib import Path
            from harness.journal import Journal
            def say(**facts):
                print(json.dumps(facts), flush=True)
            journal = Journal.create({of!r})
            say(minder=journal._minder.pid)
        """
        source = textwrap.dedent(head) + textwrap.dedent(code) + "\ntime.sleep(1000)\n"
        process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
        owners.append(Owner(process, of, state))
        return owners[-1]

    yield start
    for one in owners:
        one.process.kill()
        one.process.wait()
        if one.process.stdout:
            one.process.stdout.close()
        until(lambda journal=one.journal: not journal.exists(), "the minder sweeps")  # type: ignore[misc]


def test_a_minder_that_was_ended_is_missed(run_id: str, state: Path) -> None:
    with Journal.create(run_id) as journal:
        assert journal._minder is not None
        assert journal.unminded() == ""
        journal._minder.kill()
        until(lambda: bool(journal.unminded()), "the minder is missed")
        assert journal.unminded().endswith("if brokerbench is killed now, `brokerbench down` must clean up")
        journal.queue("q", setup="redis-stream", address="redis://127.0.0.1:1", parameters={})
        journal.queue_gone("q")
    assert not journal.path.exists()


def test_an_orderly_end_leaves_no_journal_no_minder_and_no_folder(run_id: str, state: Path) -> None:
    journal = Journal.create(run_id)
    minder = journal._minder
    folders = [journal.slot_folder(), journal.temp_folder("data")]
    child = journal.spawn(["true"])
    assert child.wait() == 0
    journal.forget(child.pid)
    removed = journal.close()
    assert removed == [f"folder {folder}" for folder in folders]
    assert list((state / "journals").iterdir()) == []
    assert minder is not None
    assert minder.returncode == 0
    assert not any(folder.exists() for folder in folders)


def test_closing_ends_what_still_runs_and_a_second_time_does_nothing(run_id: str) -> None:
    journal = Journal.create(run_id)
    child = journal.spawn(["sleep", "100"])
    assert journal.close() == [f"process {child.pid}"]
    assert child.returncode == -signal.SIGKILL
    assert journal.close() == []


def test_a_spawned_process_has_a_session_of_its_own_and_carries_the_marker(journal: Journal) -> None:
    child = journal.spawn(["sleep", "100"], env={"PATH": os.environ["PATH"]})
    found = processes.find(child.pid)
    assert found is not None
    assert found.session == child.pid
    until(lambda: processes.environment_holds(child.pid, f"{MARKER}={journal.run_id}"), "the child has run its exec")


def test_each_line_is_on_file_before_the_thing_is_made(journal: Journal, run_id: str) -> None:
    with pytest.raises(StartError, match="cannot be made"):
        journal.folder(Path(tempfile.gettempdir()) / f"brokerbench-{run_id}-missing" / "below")
    with pytest.raises(StartError, match="cannot be started"):
        journal.spawn(["/no/such/program"])
    kinds = [json.loads(line)["kind"] for line in journal.path.read_text().splitlines()]
    assert kinds == ["run", "folder", "intent"]


def test_arguments_of_a_process_are_not_written_down(journal: Journal) -> None:
    journal.spawn(["sleep", "100.25"])
    assert "100.25" not in journal.path.read_text()


AFTER_CREATE = "say(ready=1)"
AFTER_SPAWN = """
    child = journal.spawn(["sleep", "1000"])
    say(child=child.pid)
"""
BETWEEN_START_AND_PID = """
    write = journal._write
    def stop_before_pid(kind, **fields):
        if kind == "process":
            say(child=fields["pid"])
            time.sleep(1000)
        write(kind, **fields)
    journal._write = stop_before_pid
    journal.spawn(["sleep", "1000"])
"""
GRANDCHILD_IN_A_SESSION_OF_ITS_OWN = """
    child = journal.spawn(["sh", "-c", "setsid sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE)
    say(child=child.pid, grandchild=int(child.stdout.readline()))
"""
ORPHAN_WITH_ITS_MARKER = """
    child = journal.spawn(["sh", "-c", "setsid sleep 1000 & echo $!"], stdout=subprocess.PIPE)
    say(grandchild=int(child.stdout.readline()), ended=child.wait())
"""
ORPHAN_WITHOUT_ENVIRONMENT_WORKING_IN_A_FOLDER_OF_OURS = """
    folder = journal.temp_folder("data")
    child = journal.spawn(["sh", "-c", "setsid env -i sleep 1000 & echo $!"], cwd=folder, stdout=subprocess.PIPE)
    say(grandchild=int(child.stdout.readline()), ended=child.wait())
"""
STOPPED_CHILD = """
    import signal
    child = journal.spawn(["sleep", "1000"])
    child.send_signal(signal.SIGSTOP)
    say(child=child.pid)
"""
FORKING_ALL_THE_TIME = """
    child = journal.spawn(["sh", "-c", "while :; do setsid sleep 0.2 & sleep 0.01; done"])
    say(child=child.pid)
"""


@pytest.mark.parametrize(
    "code",
    [
        AFTER_CREATE,
        AFTER_SPAWN,
        BETWEEN_START_AND_PID,
        GRANDCHILD_IN_A_SESSION_OF_ITS_OWN,
        ORPHAN_WITH_ITS_MARKER,
        ORPHAN_WITHOUT_ENVIRONMENT_WORKING_IN_A_FOLDER_OF_OURS,
        STOPPED_CHILD,
        FORKING_ALL_THE_TIME,
    ],
    ids=lambda code: code.strip().splitlines()[-1].strip()[:40],
)
@pytest.mark.parametrize("minder_lives", [True, False], ids=["minder", "down"])
def test_a_sigkill_of_the_owner_leaves_no_process(
    owner: Callable[[str], Owner], code: str, minder_lives: bool, state: Path
) -> None:
    run = owner(code)
    minder = run.says()["minder"]
    pids = [pid for name, pid in run.says().items() if name.endswith("child")]
    if not minder_lives:
        os.kill(minder, signal.SIGKILL)
    run.kill()
    if not minder_lives:
        down()
    until(lambda: not run.journal.exists(), "the journal is swept")
    assert [pid for pid in pids if alive(pid)] == []
    marker = f"{MARKER}={run.run_id}"
    assert [pid for pid in processes.snapshot() if processes.environment_holds(pid, marker)] == []
    assert list(Path(tempfile.gettempdir()).glob(f"brokerbench-{run.run_id}*")) == []
    assert not alive(minder) or minder_lives


FOLDERS = """
    slots, data = journal.slot_folder(), journal.temp_folder("data")
    (slots / "p0").write_bytes(b"x")
    (data / "deep").mkdir()
    (data / "deep" / "file").write_bytes(b"x")
    (data / "link").symlink_to(sys.argv[0] or "/etc")
    journal._write("folder", path=str(data) + "-written-but-not-made")
    say(ready=1)
"""


def test_a_sigkill_of_the_owner_leaves_no_folder(owner: Callable[[str], Owner]) -> None:
    run = owner(FOLDERS)
    run.says(), run.says()
    made = [*Path("/dev/shm").glob(f"*{run.run_id}*"), *Path(tempfile.gettempdir()).glob(f"*{run.run_id}*")]
    assert len(made) == 2
    run.kill()
    until(lambda: not run.journal.exists(), "the minder sweeps")
    assert [path for path in made if path.exists()] == []


def test_down_leaves_a_living_run_alone(owner: Callable[[str], Owner]) -> None:
    run = owner(AFTER_SPAWN)
    run.says()
    child = run.says()["child"]
    assert down() == []
    assert sweep(run.journal) == []
    assert alive(child)
    assert run.journal.exists()


def test_two_runs_at_once_do_not_touch_each_other(owner: Callable[..., Owner]) -> None:
    first, second = owner(AFTER_SPAWN), owner(AFTER_SPAWN, of=secrets.token_hex(8))
    children = []
    for run in (first, second):
        run.says()
        children.append(run.says()["child"])
    first.kill()
    until(lambda: not first.journal.exists(), "the first one's minder sweeps")
    assert [alive(child) for child in children] == [False, True]
    assert second.journal.exists()


def lines_of(run_id: str, *records: dict[str, object]) -> str:
    return "".join(json.dumps(line) + "\n" for line in ({"kind": "run", "run_id": run_id}, *records))


def written(state: Path, run_id: str, text: str) -> Path:
    """A journal whose owner and minder are gone."""
    path = state / "journals" / f"{run_id}.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_a_recycled_pid_is_not_killed(state: Path, run_id: str, stranger: subprocess.Popen[bytes]) -> None:
    found = processes.find(stranger.pid)
    assert found is not None
    path = written(state, run_id, lines_of(run_id, {"kind": "process", "pid": stranger.pid, "start": found.start - 1}))
    assert down() == []
    assert alive(stranger.pid)
    assert not path.exists()


def test_a_process_of_an_earlier_boot_is_not_killed(
    state: Path, run_id: str, stranger: subprocess.Popen[bytes]
) -> None:
    found = processes.find(stranger.pid)
    assert found is not None
    first = {"kind": "run", "boot_id": "another"}
    process = {"kind": "process", "pid": stranger.pid, "start": found.start}
    path = written(state, run_id, json.dumps(first) + "\n" + json.dumps(process) + "\n")
    assert down() == []
    assert alive(stranger.pid)
    assert not path.exists()


def test_a_forgotten_pid_is_not_killed(state: Path, run_id: str, stranger: subprocess.Popen[bytes]) -> None:
    found = processes.find(stranger.pid)
    assert found is not None
    process = {"kind": "process", "pid": stranger.pid, "start": found.start}
    written(state, run_id, lines_of(run_id, process, {"kind": "forgotten", "pid": stranger.pid}))
    assert down() == []
    assert alive(stranger.pid)


def test_a_recorded_process_is_killed_with_its_descendants(
    state: Path, run_id: str, stranger: subprocess.Popen[bytes]
) -> None:
    found = processes.find(stranger.pid)
    assert found is not None
    written(state, run_id, lines_of(run_id, {"kind": "process", "pid": stranger.pid, "start": found.start}))
    assert down() == [f"process {stranger.pid}"]
    assert stranger.wait() == -signal.SIGKILL


def test_half_written_and_unknown_lines_are_passed_over(state: Path, run_id: str) -> None:
    folder = Path(tempfile.gettempdir()) / f"brokerbench-{run_id}-x"
    folder.mkdir()
    good = json.dumps({"kind": "folder", "path": str(folder)})
    broken = ['{"kind": "process", "pi', "[]", "7", '{"kind": 3}', '{"kind": "process", "pid": "x"}', "\x00\x00"]
    unknown = ['{"kind": "loop device", "path": "/dev/loop7"}', '{"kind": "folder", "path": 5}']
    path = written(state, run_id, "\n".join([*broken, good, *unknown, '{"kind": "folder", "path": "/dev/sh']))
    assert down() == [f"folder {folder}"]
    assert not path.exists()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        ("/dev/shm/brokerbench-RUN", True),
        ("/dev/shm/brokerbench-RUN-x/data", True),
        ("/tmp/brokerbench-RUN-data", True),
        ("/tmp", False),
        ("/tmp/other", False),
        ("/tmp/other/brokerbench-RUN", False),
        ("/tmp/brokerbench-0123456789abcdef", False),  # another run's
        ("/tmp/brokerbench-RUN/../../etc", False),
        ("/home/brokerbench-RUN", False),
        ("brokerbench-RUN", False),
    ],
)
def test_only_folders_of_the_run_in_places_for_temporary_files_may_be_removed(path: str, ours: bool) -> None:
    run_id = "00c0ffee00c0ffee"
    assert is_ours(Path(path.replace("RUN", run_id)), run_id) is ours


def test_a_folder_elsewhere_is_refused(journal: Journal, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected one at or below brokerbench-"):
        journal.folder(tmp_path / "data")


def test_the_sweep_does_not_follow_a_link(state: Path, run_id: str, tmp_path: Path) -> None:
    link = Path(tempfile.gettempdir()) / f"brokerbench-{run_id}-link"
    (tmp_path / "precious").mkdir()
    link.symlink_to(tmp_path / "precious")
    written(state, run_id, lines_of(run_id, {"kind": "folder", "path": str(link)}))
    assert down() == []
    assert (tmp_path / "precious").is_dir()
    link.unlink()


SERVER = """
import ctypes, os, struct, sys, time
from pathlib import Path
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
key, control = int(sys.argv[1]), int(sys.argv[2])
number = libc.shmget(key, 4096, 0o1600)
address = libc.shmat(number, None, 0)
ctypes.memmove(address, struct.pack("<iiQQI", 679834894, os.getpid(), 4096, 64, control), 28)
items = struct.pack("<IIII", 0x9A503D32, 2, 8, 0)
items += struct.pack("<IIQQQQ", control + 1, 2, 0, 0, 0, 0) + struct.pack("<IIQQQQ", control + 2, 0, 0, 0, 0, 0)
Path(f"/dev/shm/PostgreSQL.{control}").write_bytes(items)
Path(f"/dev/shm/PostgreSQL.{control + 1}").write_bytes(b"x")
if len(sys.argv) > 3:
    Path(sys.argv[3]).write_text("\\n".join(["1", "d", "0", "1", "s", "l", f"{key} {number}", "ready"]))
print(number, flush=True)
time.sleep(1000)
"""


def segments() -> set[int]:
    return {int(row.split()[1]) for row in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


@pytest.mark.skipif(not Path("/proc/sysvipc/shm").exists(), reason="no System V table on this system")
@pytest.mark.parametrize("named", [True, False], ids=["in postmaster.pid", "by its maker"])
def test_shared_memory_of_a_killed_server_is_freed(run_id: str, named: bool) -> None:
    """The server writes what PostgreSQL writes, where PostgreSQL writes it."""
    key, control = secrets.randbits(30), secrets.randbits(31)
    other = ctypes.CDLL(None).shmget(secrets.randbits(30), 4096, 0o1600)
    try:
        with Journal.create(run_id) as journal:
            pid_file = journal.temp_folder("data") / "postmaster.pid"
            argv = [sys.executable, "-c", SERVER, str(key), str(control), *([str(pid_file)] if named else [])]
            server = journal.spawn(argv, stdout=subprocess.PIPE)
            assert server.stdout is not None
            number = int(server.stdout.readline())
            server.stdout.close()
            server.kill()
            server.wait()
            assert number in segments()
        assert segments() & {number, other} == {other}
        assert list(Path("/dev/shm").glob(f"PostgreSQL.{control}*")) == []
        assert not Path(f"/dev/shm/PostgreSQL.{control + 1}").exists()
    finally:
        ctypes.CDLL(None).shmctl(other, 0, None)


def test_a_state_folder_that_cannot_be_made_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_id: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BROKERBENCH_STATE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"state folder .* cannot be written: Not a directory") as caught:
        Journal.create(run_id)
    assert "BROKERBENCH_STATE" in caught.value.remedy


def test_a_full_disk_is_an_error_with_a_remedy_and_starts_nothing(journal: Journal) -> None:
    before = journal._file
    journal._file = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(UsageError, match="No space left on device"):
            journal.spawn(["sleep", "1000"])
    finally:
        os.close(journal._file)
        journal._file = before
    assert journal._children == {}


def test_without_a_tmpfs_the_slots_lie_elsewhere_and_a_note_says_so(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(journal_module, "SHM", tmp_path)
    folder = journal.slot_folder()
    assert folder == Path(tempfile.gettempdir()) / f"brokerbench-{journal.run_id}-slots"
    assert folder == journal.slot_folder()
    assert journal.notes == [
        f"{tmp_path} is no writable tmpfs: slots lie in {folder}, and a store may wait for the disk"
    ]


def test_a_journal_of_another_container_is_left_to_it(state: Path, run_id: str) -> None:
    first = {"kind": "run", "run_id": run_id, "pid_namespace": "pid:[1]"}
    path = written(state, run_id, json.dumps(first) + "\n")
    [sentence] = down()
    assert sentence.startswith(f"left: {path} was written in another container")
    assert path.exists()
