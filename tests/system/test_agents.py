"""Runs over several machines: through the command line, with real processes, on 127.0.0.1 and on a network of the test's own."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from harness.deployments import embedded_redis
from harness.model import Verdict
from tests.system.conftest import COMMAND, Bench
from tests.system.lan import Here, Machine, lan, why_not

pytestmark = pytest.mark.slow

SECRET = "correct horse battery staple"
PASSWORD = "not-to-be-seen"

SCENARIO = """
question: What does a run over several machines show?
setups: [redis-stream]
load: {{rate: 1000/s, producers: 2}}
workers: {{count: 2, visibility: 1 s, sweep: 500 ms, work: {work}}}
phases: {{warmup: 500 ms, steady: {steady}, drain: 20 s}}
{more}
"""


def scenario(bench: Bench, *, steady: str = "3 s", work: str = "none", more: str = "") -> str:
    return bench.scenario("machines", SCENARIO.format(steady=steady, work=work, more=more))


def free_port() -> int:
    """Returns a port that nobody listens at, and that no outgoing connection of this machine is given meanwhile (agents knock first)."""
    own = random.SystemRandom()  # several test runs at once must not try the same ones
    for _ in range(100):
        with suppress(OSError), socket.create_server(("127.0.0.1", own.randrange(20_000, 32_000))) as server:
            return int(server.getsockname()[1])
    raise AssertionError("no free port below those of outgoing connections")


def eventually(condition: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    """Waits for something that must come; the limit only bounds a failure."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.02)


@dataclass
class Lent:
    """An agent that was started: its process, and what it has said so far."""

    process: subprocess.Popen[bytes]
    said: Path
    inside: Machine | None = None

    @property
    def text(self) -> str:
        return self.said.read_text()

    def wait_for(self, words: str) -> None:
        eventually(lambda: words in self.text, f"{words!r} in {self.text!r}")

    def end(self, limit_s: float = 180.0) -> int:
        return self.process.wait(limit_s)


@dataclass
class Machines:
    """Starts agents and runs of one test, and knows what each would leave behind."""

    bench: Bench
    lent: list[Lent] = field(default_factory=list)

    def agent(self, at: str, *words: str, inside: Machine | None = None, **environment: str) -> Lent:
        said = self.bench.home / f"agent-{len(self.lent)}.log"
        command = [*COMMAND, "agent", "--coordinator", at, *words]
        with said.open("wb") as stderr:
            process = subprocess.Popen(
                inside.enter(*command) if inside else command,
                stderr=stderr,
                cwd=self.bench.home,
                env=self.bench.environment(**environment),
                start_new_session=True,
            )
        self.lent.append(Lent(process, said, inside))
        return self.lent[-1]

    def journals(self) -> set[str]:
        """Returns the ids of runs and agents that live, or left something."""
        return {path.stem for path in (self.bench.home / "state" / "journals").glob("*.jsonl")}

    def left_of(self, ids: set[str]) -> list[str]:
        """Returns what is left of runs and agents with these ids, once there has been time to sweep."""

        def left() -> list[str]:
            folders = [
                p for one in ids for place in ("/dev/shm", "/tmp") for p in Path(place).glob(f"brokerbench-{one}*")
            ]
            return [*map(str, folders), *map(repr, self.bench.processes()), *self.journals()]

        deadline = time.monotonic() + 20
        while (found := left()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found


@pytest.fixture
def machines(bench: Bench) -> Iterator[Machines]:
    made = Machines(bench)
    yield made
    for lent in made.lent:
        if lent.process.poll() is None:
            os.killpg(lent.process.pid, signal.SIGKILL)
            lent.process.wait()


# On 127.0.0.1


def test_agents_serve_trial_after_trial_through_a_killed_worker_and_one_too_many_is_not_used(
    machines: Machines,
) -> None:
    bench, at = machines.bench, f"127.0.0.1:{free_port()}"
    more = "trials: 2\nagents: {local: 0, remote: 2}\nfaults: [{at: 6 s, kill: worker, replace_after: 500 ms}]"
    first = machines.agent(at, BROKERBENCH_SECRET=SECRET)
    second = machines.agent(at, BROKERBENCH_SECRET=SECRET)
    process = bench.start(
        "run",
        scenario(bench, steady="8 s", work="{constant: 2.2 ms}", more=more),  # too slow: a killed one holds something
        "--listen",
        at,
        BROKERBENCH_SECRET=SECRET,
        BROKERBENCH_CHECK="1",
    )
    for lent in (first, second):
        lent.wait_for("running")
    third = machines.agent(at, BROKERBENCH_SECRET=SECRET)
    wrong = machines.agent(at, BROKERBENCH_SECRET=SECRET + "!")
    without = machines.agent(at)
    third.wait_for("has the 2 agents that it asks for")
    ids = machines.journals()
    assert (wrong.end(), without.end()) == (2, 2), wrong.text + without.text
    assert "does not answer to this secret" in wrong.text
    assert "asks for a secret" in without.text
    finished = bench.finish(process)
    assert finished.code == 0, finished.out + finished.err
    assert "waiting for agents of other machines: 0 of 2" in finished.err
    assert "warning: an agent more than the 2 that are asked for has come: it is not used" in finished.err
    (case,) = finished.record.cases
    assert [trial.status.value for trial in case.trials] == ["valid", "valid"]
    verdicts = {claim.fault: claim.verdict for claim in case.guarantees}
    assert verdicts == {"none": Verdict.HELD, "worker kill": Verdict.HELD}
    assert finished.run is not None
    for trial in case.trials:
        facts = finished.run.trial_at(trial.folder).read_facts()
        assert {shard.agent for shard in facts.shards} == {0, 1}
        assert (len(facts.shards), facts.clock_error_s) == (5, 0.0)
        (fault,) = facts.faults
        (name,) = fault.shards
        (killed,) = (shard for shard in facts.shards if shard.name == name)
        assert killed.exit_status == -signal.SIGKILL
        assert killed.slots_found > 0
    for lent in (first, second, third):
        assert lent.end() == 0, lent.text
        assert lent.text.endswith("the run is over\n")
    # In the second trial the spare one may come before one of the others: whoever knocks first is taken.
    for words, times in (("joined run", 4), ("handing over", 4)):
        assert sum(lent.text.count(words) for lent in (first, second, third)) == times
    assert third.text.count("has the 2 agents that it asks for") <= 2
    assert SECRET not in "".join(lent.text for lent in machines.lent) + finished.err + finished.out
    assert machines.left_of(ids | bench.run_ids()) == []


def test_a_killed_agent_is_missed_and_a_killed_run_ends_what_agents_run_for_it(machines: Machines) -> None:
    bench, at = machines.bench, f"127.0.0.1:{free_port()}"
    path = scenario(bench, steady="10 s", more="agents: {local: 1, remote: 1}")
    victim = machines.agent(at)
    process = bench.start("run", path, "--listen", at)
    victim.wait_for("running")
    bench.wait_for(process, lambda lines: any(line.get("phase") == "steady" for line in lines))
    ids = machines.journals()
    fleet = next(p for p in psutil.Process(victim.process.pid).children() if "harness.load.fleet" in p.cmdline())
    for killed in (fleet, victim.process):
        killed.kill()
    finished = bench.finish(process)
    assert finished.code == 13, finished.out
    shards = finished.folder.read_facts().shards
    lost = [shard.name for shard in shards if shard.agent == 1]
    assert lost
    assert [shard.name for shard in shards if not shard.expected_exit] == lost
    assert f"agent 1 (of another machine) is no longer connected, and with it {', '.join(lost)}" in finished.err
    assert f"ledger unreadable: agent 1 was lost, and with it the slots of {', '.join(lost)}" in finished.trial.reasons
    assert machines.left_of(ids | bench.run_ids()) == []

    orphan = machines.agent(at, "--wait", "3 s")
    process = bench.start("run", path, "--listen", at)
    orphan.wait_for("running")
    shards_of_it = [
        p for p in psutil.Process(orphan.process.pid).children(recursive=True) if "harness.load.shard" in p.cmdline()
    ]
    assert len(shards_of_it) == 2
    ids = machines.journals()
    process.kill()
    process.communicate()
    gone, alive = psutil.wait_procs(shards_of_it, timeout=5)
    assert (len(gone), alive) == (2, [])
    assert orphan.end() == 13
    assert "the coordinator has ended: the shards were ended, their slots removed" in orphan.text
    assert f"no further trial came to {at} within 3 s: nobody listens there" in orphan.text
    assert machines.left_of(ids | bench.run_ids()) == []


def test_who_does_not_come_is_not_waited_for_for_ever(machines: Machines) -> None:
    bench, at = machines.bench, f"127.0.0.1:{free_port()}"
    path = scenario(bench, more="agents: {local: 1, remote: 2}")
    (bench.home / "other").mkdir()
    (bench.home / "other" / "sitecustomize.py").write_text(
        "import importlib.metadata as m\nreal = m.version\nm.version = lambda n: '9.9.9' if n == 'brokerbench' else real(n)\n"
    )
    lone = machines.agent(at, "--wait", "1s")
    assert lone.end() == 13
    assert f"no run came to {at} within 1 s: nobody listens there" in lone.text
    one = machines.agent(at)
    older = machines.agent(at, PYTHONPATH=str(bench.home / "other"))
    finished = bench("run", path, "--listen", at, "--wait", "6 s")
    assert finished.code == 13, finished.out
    assert "waiting for agents of other machines: 1 of 2" in finished.err
    assert "1 of 2 agents of other machines came within 6 s" in finished.err
    assert (one.end(), older.end()) == (0, 2)
    assert re.search(r"does not take this agent: brokerbench 9\.9\.9 there, [\d.]+ here", older.text)
    assert re.search(r"warning: an agent was refused: brokerbench 9\.9\.9 there, [\d.]+ here", finished.err)
    assert machines.left_of(bench.run_ids()) == []


def test_what_cannot_be_is_refused_before_anything_starts(machines: Machines) -> None:
    bench = machines.bench
    path = scenario(bench, more="agents: {local: 1, remote: 1}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for words, environment, problem in (
            (("--listen", "0.0.0.0:5557"), {}, "there is no secret"),
            (("--listen", "0.0.0.0:5557"), {"BROKERBENCH_SECRET": "short"}, "the secret has 5 characters"),
            (("--listen", "0.0.0.0:5557"), {"BROKERBENCH_SECRET": SECRET}, "embedded brokers listen on 127.0.0.1 only"),
            (("--listen", f"127.0.0.1:{port}"), {}, "Address already in use"),
            (("--listen", "5557"), {}, "'5557' is no address"),
            (("--listen", "127.0.0.1:5557", "--set", "agents=1"), {}, "asks for no agents of other machines"),
            (("--wait", "1"), {}, "expected: a duration from 1 s to 24 h with its unit"),
            (("--wait", "2 days"), {}, "remedy: for example --wait '60 s'"),
        ):
            finished = bench("run", path, *words, **environment)
            assert (finished.code, finished.run) == (2, None), finished.err
            assert problem in finished.err
    outside = machines.agent("192.0.2.1:5557")
    assert outside.end() == 2
    assert "there is no secret" in outside.text


# On a network of the test's own


@contextmanager
def three_machines() -> Iterator[tuple[str, list[Machine]]]:
    """Yields the address of the first of three machines; all are this one where no others can be made."""
    if why_not():
        yield "127.0.0.1", [Here(), Here(), Here()]
    else:
        with lan(None, 1_000_000, -3_000) as machines:
            yield "10.77.0.1", machines


@contextmanager
def redis_at(host: str, port: int, machine: Machine, folder: Path) -> Iterator[None]:
    """A Redis that is not ours."""
    binary, _ = embedded_redis._found("")
    words = ["--bind", host, "--port", str(port), "--requirepass", PASSWORD, "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(machine.enter(str(binary), *words), stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        server.terminate()
        server.wait()


OFFSET = re.compile(
    r"agent (\d) has a clock of its own: offset ([+-][\d.]+) s ± (.+) before the load, ([+-][\d.]+) s ± (.+) after it"
)


def test_three_machines_with_clocks_of_their_own_and_a_cable_that_is_cut_while_slots_are_handed_over(
    machines: Machines,
) -> None:
    bench, port = machines.bench, free_port()
    with three_machines() as (host, (here, *others)), redis_at(host, port, here, bench.home):
        at = f"{host}:{free_port()}"
        address = f"redis://:${{PW}}@{host}:{port}/0"
        more = f"deployment: external\naddress: {address}\nagents: {{local: 1, remote: 2}}\nfaults: [{{at: 6 s, kill: producer}}]"
        path = scenario(bench, steady="8 s", more=more)
        lent = [machines.agent(at, inside=machine, BROKERBENCH_SECRET=SECRET) for machine in others]
        environment = {"BROKERBENCH_SECRET": SECRET, "PW": PASSWORD}
        process = bench.start("run", path, "--listen", at, inside=here, **environment)
        ids = _cut_while_slots_travel(machines, process, here, others[0])
        finished = bench.finish(process)
        assert finished.code in (0, 13), finished.out + finished.err  # 13: a producer kill that met nothing unanswered
        assert [agent.end() for agent in lent] == [0, 0], [agent.text for agent in lent]
    assert finished.trial.status.value == "valid", finished.trial.reasons
    facts = finished.folder.read_facts()
    assert {shard.agent for shard in facts.shards} == {0, 1, 2}
    assert all(shard.slots_found >= max(shard.slots_reported, 1) for shard in facts.shards)

    if not why_not():
        told = lent[0].text
        assert told.index("handing over") < told.index("the connection is cut") < told.index("the connection is back")
        _clocks_are_right(finished.err)
        assert 0 < facts.clock_error_s < 0.05
    # The times of all three machines fit together.
    p50 = finished.trial.metrics["steady"]["latency.end_to_end.p50"]
    assert isinstance(p50, float)
    assert -facts.clock_error_s < p50 < 1
    assert facts.load_start_ns is not None
    assert facts.load_end_ns is not None
    attempts, margin_ns = finished.table("attempts"), int(2 * facts.clock_error_s * 1e9)
    assert facts.load_start_ns - margin_ns <= attempts["intended_ns"].min() <= attempts["intended_ns"].max()  # type: ignore[operator]
    assert attempts["intended_ns"].max() <= facts.load_end_ns + margin_ns  # type: ignore[operator]
    (fault,) = facts.faults
    assert fault.injected_ns is not None
    assert abs(fault.injected_ns - fault.planned_ns) < 2e9

    # Nothing is left, and nothing secret was written down.
    assert machines.left_of(ids | bench.run_ids()) == []
    assert finished.run is not None
    for file in [*(p for p in finished.run.path.rglob("*") if p.is_file()), *(agent.said for agent in lent)]:
        content = file.read_bytes()
        assert SECRET.encode() not in content
        assert PASSWORD.encode() not in content


def _clocks_are_right(printed: str) -> None:
    """The offset of each clock is told, and right within the error that is told with it."""
    found = OFFSET.findall(printed)
    assert len(found) == 2
    true_s = {told[0]: 1e6 if float(told[1]) > 0 else -3e3 for told in found}
    assert sorted(true_s.values()) == [-3e3, 1e6]
    for agent, before, before_error, after, after_error in found:
        for offset, error in ((before, before_error), (after, after_error)):
            assert abs(float(offset) - true_s[agent]) <= seconds(error) + 1e-6


def _cut_while_slots_travel(
    machines: Machines, process: subprocess.Popen[str], here: Machine, other: Machine
) -> set[str]:
    """Makes the line of a machine slow, cuts it for 8 s once some of its slots have come, and returns who lived then."""
    bench = machines.bench
    bench.wait_for(process, lambda lines: any(line.get("phase") == "drain" for line in lines))
    if why_not():
        return machines.journals()
    other.tc("qdisc add dev eth0 root tbf rate 1mbit burst 32kbit latency 400ms")
    bench.wait_for(process, lambda lines: any("collecting" in str(line.get("phase")) for line in lines))
    ids = machines.journals()
    [run_id] = bench.run_ids()
    elsewhere = {f"{name}.slots" for name in _shards_of(bench, others_than=0)}

    def some_came() -> bool:
        found = {path.name: path.stat().st_size for path in Path(f"/dev/shm/brokerbench-{run_id}").rglob("*.slots")}
        return any(found.get(name, 0) > 0 for name in elsewhere)

    eventually(some_came, "the first chunk has come")
    here.ip("link set link2 down")
    time.sleep(8)  # the length of the cut: longer than a connection lives without an answer
    here.ip("link set link2 up")
    return ids


def _shards_of(bench: Bench, *, others_than: int) -> list[str]:
    (line,) = (line for line in bench.timeline() if line["kind"] == "fleet")
    return [shard["name"] for shard in line["shards"] if shard["agent"] != others_than]


def seconds(text: str) -> float:
    """Returns what a printed duration means, e.g. ``242 µs``."""
    number, unit = text.split()
    return float(number.replace(",", "")) * {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}[unit]
