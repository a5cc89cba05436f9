"""Nothing of a killed run stays in the engine: containers, networks, volumes, the swarm that it made. A real engine, real kills."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
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
from docker.types import Mount

from harness.containers import networks
from harness.containers.engine import LABEL, engine, why_no_engine
from harness.containers.foreign import remove_folder
from harness.containers.images import image_of
from harness.containers.remains import found_by_name
from harness.errors import UnavailableError
from harness.journal import Journal
from harness.sweeping import down, sweep

LIMIT_S = 30.0
pytestmark = [
    pytest.mark.xdist_group("docker"),
    pytest.mark.skipif(bool(why_no_engine()), reason=why_no_engine()),
]

HEAD = """
import json, os, sys
from docker.types import Mount
from harness.containers import networks
from harness.containers.engine import LABEL, engine
from harness.journal import Journal
run_id, image = sys.argv[1:]
labels, name = {LABEL: run_id}, f"bb_{run_id}_1"
journal = Journal.create(run_id)
def say(**facts):
    print(json.dumps(facts), flush=True)
"""

ALL = """
network = networks.make("bridge", f"{name}-net", journal)
journal.volume(f"{name}_data")
engine().volumes.create(f"{name}_data", labels=labels)
journal.container(f"{name}-broker-1")
made = engine().containers.run(
    image, ["sleep", "1000"], entrypoint="", name=f"{name}-broker-1", labels=labels, detach=True, network=network.name,
    mounts=[Mount("/data", f"{name}_data"), Mount("/anonymous", None)],
)
made.reload()
say(volumes=[mount["Name"] for mount in made.attrs["Mounts"]])
"""

KEPT = 'name = f"bb_{run_id}_kept"' + ALL

ONCE_OVER = "brokerbench down removes it once that is over"

SWARM = """
networks.make("overlay", f"{name}-net", journal, init_swarm=True)
say(swarm=True)
"""


@dataclass
class Owner:
    """Another process that owns a run; the test kills it."""

    run_id: str
    state: Path
    process: subprocess.Popen[str]

    def says(self) -> dict[str, list[str]]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the owner died before its time"
        said: dict[str, list[str]] = json.loads(line)
        return said

    @property
    def journal(self) -> Path:
        return self.state / "journals" / f"{self.run_id}.jsonl"

    def kill(self, *, minder: bool = False) -> None:
        """SIGKILLs it, and its minder if that is to be so; else waits until that has swept."""
        if minder:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            for pid in children:
                os.kill(int(pid), signal.SIGKILL)
        self.process.kill()
        self.process.communicate()
        deadline = time.monotonic() + LIMIT_S
        while not minder and self.journal.exists():
            assert time.monotonic() < deadline, "the minder does not sweep"
            time.sleep(0.02)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("BROKERBENCH_STATE", str(tmp_path / "state"))
    yield tmp_path / "state"
    down()


@pytest.fixture
def owner(state: Path) -> Iterator[Callable[[str], Owner]]:
    """Starts owners: each begins a journal, runs the given code and waits."""
    owners: list[Owner] = []

    def start(code: str) -> Owner:
        run_id = secrets.token_hex(8)
        source = HEAD + textwrap.dedent(code) + "\nsys.stdin.read()\n"
        process = subprocess.Popen(
            [sys.executable, "-c", source, run_id, image_of("redis").reference],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        owners.append(Owner(run_id, state, process))
        return owners[-1]

    yield start
    for one in owners:
        if one.process.poll() is None:
            one.kill()
        for pipe in (one.process.stdin, one.process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def no_swarm() -> None:
    """These tests need an engine that is in no swarm: one that is there is somebody else's."""
    if engine().info()["Swarm"]["LocalNodeState"] != "inactive":
        pytest.skip("the engine is in a swarm already; remedy: docker swarm leave --force, if nobody uses it")
    if others := found_by_name(engine().api):
        pytest.skip(f"others run on this engine, whose names it would forget with a swarm: {', '.join(others)}")


def there(run_id: str) -> list[str]:
    """Returns the names of what a run has in the engine."""
    only = {"label": f"{LABEL}={run_id}"}
    found = [
        *engine().containers.list(all=True, filters=only),
        *engine().networks.list(filters=only),
        *engine().volumes.list(filters=only),
    ]
    return sorted(str(one.name) for one in found)


def volumes() -> set[str]:
    return {str(volume.name) for volume in engine().volumes.list()}


def in_swarm() -> bool:
    return bool(engine().info()["Swarm"]["LocalNodeState"] == "active")


def test_after_sigkill_the_minder_removes_all_that_the_run_had_in_the_engine_and_nothing_of_another(
    owner: Callable[[str], Owner],
) -> None:
    killed, living = owner(ALL), owner(ALL)
    its, others = killed.says()["volumes"], living.says()["volumes"]
    assert len(its) == len(others) == 2
    assert set(its + others) <= volumes()
    killed.kill()
    assert there(killed.run_id) == []
    assert not volumes() & set(its)
    name = f"bb_{living.run_id}_1"
    assert there(living.run_id) == [f"{name}-broker-1", f"{name}-net", f"{name}_data"]
    living.kill(minder=True)
    assert down() == [f"container {name}-broker-1", f"network {name}-net", f"volume {name}_data"]
    assert there(living.run_id) == []
    assert not volumes() & set(others)


def test_what_was_never_written_down_is_found_by_its_label_or_its_name(owner: Callable[[str], Owner]) -> None:
    killed = owner("""
        journal.network(f"{name}-net")
        engine().volumes.create(f"{name}_unlabelled")
        engine().containers.create(image, name=f"half_made_{run_id}", labels=labels, network="none")
        say()
    """)
    killed.says()
    killed.kill(minder=True)
    assert down() == [f"container half_made_{killed.run_id}", f"volume bb_{killed.run_id}_1_unlabelled"]
    assert there(killed.run_id) == []


def test_what_is_kept_survives_minder_and_next_run_and_down_finds_it_whatever_engine_it_is_asked_from(
    owner: Callable[[str], Owner], monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = owner(ALL + 'journal.keep("redis-stream on bridge")\nsay()\n')
    keeper.says()
    keeper.says()
    name = f"bb_{keeper.run_id}_1"
    keeper.process.kill()
    keeper.process.communicate()
    assert down(kept=False) == []
    assert there(keeper.run_id) == [f"{name}-broker-1", f"{name}-net", f"{name}_data"]
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    assert down() == [
        "what was kept: redis-stream on bridge",
        f"container {name}-broker-1",
        f"network {name}-net",
        f"volume {name}_data",
    ]
    assert there(keeper.run_id) == []


def test_a_network_that_a_container_of_others_uses_is_left_with_its_name_until_that_is_gone(
    owner: Callable[[str], Owner],
) -> None:
    killed = owner(ALL)
    killed.says()
    network = f"bb_{killed.run_id}_1-net"
    guest = engine().containers.run(
        image_of("redis").reference,
        ["sleep", "1000"],
        entrypoint="",
        name=f"guest_{killed.run_id}",
        network=network,
        detach=True,
    )
    try:
        killed.kill(minder=True)
        left = f"left: network {network} is used by container guest_{killed.run_id}; {ONCE_OVER}"
        assert down()[-1] == left
        assert sweep(killed.journal) == [left]
        assert there(killed.run_id) == [network]
    finally:
        guest.remove(force=True, v=True)
    assert down() == [f"network {network}"]


@pytest.mark.usefixtures("no_swarm")
def test_a_swarm_of_a_killed_run_is_left_with_the_bridge_that_came_with_it(owner: Callable[[str], Owner]) -> None:
    had = bool(engine().networks.list(names=["docker_gwbridge"]))
    killed = owner(SWARM)
    killed.says()
    assert in_swarm()
    killed.kill()
    assert not in_swarm()
    assert there(killed.run_id) == []
    assert bool(engine().networks.list(names=["docker_gwbridge"])) == had


@pytest.mark.parametrize("first", ["maker", "guest"])
@pytest.mark.usefixtures("no_swarm")
def test_two_runs_that_begin_at_once_share_one_swarm_and_the_last_of_them_leaves_it(
    owner: Callable[[str], Owner], first: str
) -> None:
    had = bool(engine().networks.list(names=["docker_gwbridge"]))
    both = [owner(SWARM), owner(SWARM)]
    for one in both:
        one.says()
    made_by = engine().api.inspect_swarm()["Spec"]["Labels"][LABEL]
    maker, guest = sorted(both, key=lambda one: one.run_id != made_by)
    ends, stays = (maker, guest) if first == "maker" else (guest, maker)
    ends.kill(minder=True)
    left = f"left: swarm {made_by} is used by network bb_{stays.run_id}_1-net; {ONCE_OVER}"
    assert down() == [f"network bb_{ends.run_id}_1-net", *([left] if ends is maker else [])]
    assert ends.journal.exists() == (ends is maker)
    assert in_swarm()
    stays.kill()
    assert not in_swarm()
    assert bool(engine().networks.list(names=["docker_gwbridge"])) == had
    assert down() == []
    assert not ends.journal.exists()


@pytest.mark.usefixtures("no_swarm")
def test_down_leaves_a_swarm_that_several_killed_runs_had_in_use(owner: Callable[[str], Owner]) -> None:
    both = [owner(SWARM), owner(SWARM)]
    for one in both:
        one.says()
    made_by = engine().api.inspect_swarm()["Spec"]["Labels"][LABEL]
    for one in both:
        one.kill(minder=True)
    removed = down()
    assert [line for line in removed if "gwbridge" not in line] == [
        *(f"network bb_{run_id}_1-net" for run_id in sorted(one.run_id for one in both)),
        f"swarm {made_by}",
    ]
    assert not in_swarm()
    assert [one.journal.exists() for one in both] == [False, False]


def test_names_that_others_use_are_those_of_what_is_kept_made_by_hand_or_not_ours_and_not_of_trials(
    owner: Callable[[str], Owner],
) -> None:
    trial, kept = owner(ALL), owner(KEPT)
    trial.says()
    kept.says()
    network = f"bb_{trial.run_id}_1-net"
    guests = [
        engine().containers.run(
            image_of("redis").reference, ["1000"], entrypoint="sleep", network=network, labels=labels, detach=True
        )
        for labels in ({}, {LABEL: "by hand"})
    ]
    try:
        found = set(found_by_name(engine().api))
        blocking = {f"bb_{kept.run_id}_kept-broker-1", *(str(guest.name) for guest in guests)}
        assert found & {*blocking, f"bb_{trial.run_id}_1-broker-1"} == blocking
        assert blocking - set(found_by_name(engine().api, kept.run_id)) == {f"bb_{kept.run_id}_kept-broker-1"}
    finally:
        for guest in guests:
            guest.remove(force=True, v=True)


@pytest.mark.usefixtures("no_swarm")
def test_a_swarm_stays_while_something_kept_runs_whose_name_the_engine_would_forget_but_not_for_a_trial(
    owner: Callable[[str], Owner],
) -> None:
    maker, trial, kept = owner(SWARM), owner(ALL), owner(KEPT)
    for one in (maker, trial, kept):
        one.says()
    broker = f"bb_{kept.run_id}_kept-broker-1"
    maker.kill(minder=True)
    assert down()[-1] == f"left: swarm {maker.run_id} is used by container {broker}; {ONCE_OVER}"
    assert in_swarm()
    kept.kill()
    assert f"swarm {maker.run_id}" in down()
    assert not in_swarm()
    assert f"bb_{trial.run_id}_1-broker-1" in there(trial.run_id)


@pytest.mark.usefixtures("no_swarm")
def test_an_overlay_network_without_a_swarm_is_refused_with_the_remedy_and_makes_nothing(state: Path) -> None:
    run_id = secrets.token_hex(8)
    with Journal.create(run_id) as journal:
        before = journal.path.read_text()
        with pytest.raises(UnavailableError, match="this engine is in none") as refused:
            networks.make("overlay", f"bb_{run_id}_1", journal)
        assert "--init-swarm" in str(refused.value)
        assert journal.path.read_text() == before
    assert networks.why_not("overlay") == str(refused.value)
    assert networks.why_not("overlay", init_swarm=True) == networks.why_not("bridge") == networks.why_not("host") == ""


def root_s_folder(run_id: str) -> Path:
    """Makes a folder of a run in which a container has left what only root may remove."""
    folder = Path(f"/tmp/brokerbench-{run_id}-1")
    folder.mkdir()
    engine().containers.run(
        image_of("redis").reference,
        ["-c", "mkdir -m 700 /in/data; touch /in/data/file; chown -R 0:0 /in/data"],
        entrypoint="sh",
        user="0:0",
        name=f"bb_{run_id}_filler",
        labels={LABEL: run_id},
        mounts=[Mount("/in", str(folder), type="bind"), Mount("/data", None, type="tmpfs")],
        remove=True,
    )
    return folder


def test_of_the_container_that_empties_a_folder_no_volume_stays() -> None:
    run_id = secrets.token_hex(8)
    folder = root_s_folder(run_id)
    began_s = int(time.time())
    with Journal.create(run_id) as journal:
        remove_folder(folder, image_of("redis").reference, journal)
    assert not folder.exists()
    told = [*engine().events(since=began_s - 1, until=int(time.time()) + 1, decode=True)]
    made = {
        one["Actor"]["ID"]
        for one in told
        if one["Action"] == "create" and one["Actor"]["Attributes"].get(LABEL) == run_id
    }
    used = {one["Actor"]["ID"] for one in told if one["Actor"]["Attributes"].get("container") in made}
    mounted = {one for one in used if re.fullmatch("[0-9a-f]{64}", one)}
    assert mounted, "the image declares a volume"
    assert not mounted & volumes()
    assert there(run_id) == []


SWEPT_BY_NOBODY = """
import os, sys
from pathlib import Path
from harness.sweeping import sweep
import docker, harness.containers.remains
group = os.stat("/var/run/docker.sock").st_gid
if os.getuid() == 0:
    os.setgroups([group]); os.setgid(65534); os.setuid(65534)
print(*sweep(Path(sys.argv[1])), sep="\\n")
"""


def test_what_a_container_left_in_a_bound_folder_is_swept_by_a_user_who_may_not_remove_it() -> None:
    run_id = secrets.token_hex(8)
    folder = root_s_folder(run_id)
    home = Path(tempfile.mkdtemp(dir="/tmp"))
    journal = home / f"{run_id}.jsonl"
    noted = [{"kind": "folder", "path": str(folder)}, {"kind": "container", "name": "gone"}]
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in noted))
    if os.getuid() == 0:
        for path in (folder, home, journal):
            os.chown(path, 65534, 65534)
    try:
        done = subprocess.run(
            [sys.executable, "-c", SWEPT_BY_NOBODY, str(journal)], capture_output=True, text=True, check=False, cwd="/"
        )
        assert (done.stdout, done.stderr) == (f"folder {folder}\n", "")
        assert not folder.exists()
        assert not journal.exists()
        assert there(run_id) == []
    finally:
        shutil.rmtree(home)


def test_no_addresses_left_is_told_from_other_refusals() -> None:
    engines = (
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network"
    )
    composes = (
        "failed to create network x: Error response from daemon: all predefined address pools have been fully subnetted"
    )
    assert networks.no_addresses(engines)
    assert networks.no_addresses(composes)
    assert not networks.no_addresses("network with name bb_1 already exists")
