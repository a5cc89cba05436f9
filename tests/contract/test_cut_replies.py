"""``cut: producer`` before real brokers: what was cut was executed, its outcome is unknown, and it is there once, or as often as sent."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from harness.brokers.checked import CheckedDriver
from harness.errors import ConnectionLost, UsageError
from harness.faults import cut_producer
from harness.faults.contract import Healed, Stage, Strike
from harness.faults.cut_producer import CutProducer
from harness.journal import Journal
from harness.model import Outcome, Setup
from harness.proxy.proxy import Proxy
from tests.contract.line import LIMIT_S, Line, eventually, only_setups, publish_until_answered

N = 8  # few enough for one piece of what every client sends
Before = Callable[[Line], Proxy]


@pytest.fixture
def before(journal: Journal) -> Iterator[Before]:
    """Puts a proxy before a line's broker."""
    opened: list[Proxy] = []

    def put(line: Line) -> Proxy:
        opened.append(Proxy.start(line.broker.address, journal, run_id=line.run_id, trial=1))
        return opened[-1]

    yield put
    for proxy in opened:
        proxy.close()


class Striking:
    """The fault in a thread of its own, as the nemesis has it, while the test publishes."""

    def __init__(self, line: Line, proxy: Proxy | None, *, count: int, every_s: float = 0.05) -> None:
        self._fault = CutProducer({"count": count, "every": every_s})
        self._stage = Stage(broker=line.broker, crew=None, healthy=lambda _: 1, proxy=proxy)  # type: ignore[arg-type]
        self._strike: Strike | None = None
        self._thread = threading.Thread(target=self._inject)
        self._thread.start()

    def _inject(self) -> None:
        self._strike = self._fault.inject(self._stage)

    def strike(self) -> Strike:
        """Returns what the injection says, once it has ended."""
        self._thread.join(LIMIT_S)
        assert self._strike is not None
        return self._strike

    def heal(self) -> Healed:
        """Heals."""
        return self._fault.heal(self._stage)


def publish_and_see(
    line: Line, producer: CheckedDriver, until: Callable[[int], bool]
) -> tuple[dict[int, Outcome], int]:
    """Publishes block after block, connecting again after each loss, until so many losses are enough; returns all outcomes."""
    outcomes: dict[int, Outcome] = {}
    losses = 0
    deadline = time.monotonic() + LIMIT_S
    while not until(losses):
        assert time.monotonic() < deadline, f"{losses} losses"
        of_block, told = publish_until_answered(producer, line.block(range(len(outcomes), len(outcomes) + N)))
        outcomes |= of_block
        losses += told
        if told:
            producer.connect()
    return outcomes, losses


def there(line: Line, witness: CheckedDriver, count: int) -> Counter[int]:
    """Returns how often the broker has each message, once it has ``count``."""
    eventually(lambda: witness.depth().ready == count, f"{witness.depth().ready} of {count} are there")
    return Counter(seq for seqs in line.found(witness).values() for seq in seqs)


def test_what_was_cut_was_executed_its_outcome_is_unknown_and_it_is_there_once(line: Line, before: Before) -> None:
    proxy = before(line)
    producer, witness = line.open("p0", via=proxy), line.open("w0")
    striking = Striking(line, proxy, count=3)
    outcomes, _ = publish_and_see(line, producer, lambda losses: losses == 3)
    line.publish(producer, range(100_000, 100_001))
    strike, healed = striking.strike(), striking.heal()
    unknown = [seq for seq, outcome in outcomes.items() if outcome is Outcome.UNKNOWN]
    assert set(outcomes.values()) == {Outcome.CONFIRMED, Outcome.UNKNOWN}
    assert len(unknown) == 3 * N
    assert strike.hit
    evidence = {**strike.evidence, **healed.evidence}
    assert (evidence["cuts"], evidence["messages"], evidence["producers"]) == (3, 3 * N, [0])
    assert evidence["swallowed_bytes"] > 0
    assert strike.t_ns < evidence["cut_ns"][0] < evidence["cut_ns"][2]
    assert there(line, witness, len(outcomes) + 1) == Counter({*outcomes, 100_000})


@only_setups(lambda setup: setup.library_retries is not None)
def test_with_the_clients_own_retries_what_was_cut_is_there_twice_and_confirmed(
    setup: Setup, own_line: Callable[..., Line], before: Before
) -> None:
    line = own_line(setup, client_retries="on")
    proxy = before(line)
    producer, witness = line.open("p0", via=proxy), line.open("w0")
    striking = Striking(line, proxy, count=1)  # a second one might cut the second try of the same block
    outcomes, losses = publish_and_see(line, producer, lambda _: len(proxy.cuts(0, 0)) == 1)
    assert striking.strike().hit
    evidence = striking.heal().evidence
    assert (set(outcomes.values()), losses) == ({Outcome.CONFIRMED}, 0)
    assert (evidence["cuts"], evidence["messages"]) == (1, N)
    copies = there(line, witness, len(outcomes) + N)
    assert Counter(copies.values()) == {1: len(outcomes) - N, 2: N}


@only_setups(lambda setup: setup.library_retries is not None)
def test_with_the_clients_own_retries_a_broker_that_does_not_come_back_is_a_lost_connection(
    setup: Setup, own_line: Callable[..., Line]
) -> None:
    line = own_line(setup, client_retries="on")
    producer = line.open("p0")
    line.publish(producer, range(5))
    line.broker.kill()
    with pytest.raises(ConnectionLost):
        producer.publish(line.block(range(5, 10)))
    assert producer.poll_confirms(0).outcomes.tolist() == [Outcome.UNKNOWN] * 5


@only_setups(lambda setup: setup.library_retries is not None)
def test_the_clients_own_retries_stand_in_the_settings(setup: Setup, own_line: Callable[..., Line]) -> None:
    on, off = (own_line(setup, client_retries=word).open("p0").prepare().also for word in ("on", "off"))
    assert on["client retries"].startswith("10, ExponentialWithJitterBackoff")
    assert off["client retries"] == "0"
    assert on["redis-py"] == off["redis-py"]


@only_setups(lambda setup: setup.name in ("redis-stream", "postgres-lease"))
def test_a_healed_fault_says_when_the_producers_had_answers_again(line: Line, before: Before) -> None:
    proxy = before(line)
    producer = line.open("p0", via=proxy)
    striking = Striking(line, proxy, count=1)
    publish_and_see(line, producer, lambda losses: losses == 1)
    cut_ns = striking.strike().evidence["cut_ns"]
    again_ns = time.monotonic_ns()
    line.publish(producer, range(5000, 5010))
    healed = striking.heal()
    assert isinstance(cut_ns, list)
    assert healed.t_ns is not None
    assert cut_ns[0] < again_ns < healed.t_ns < time.monotonic_ns()
    assert healed.evidence["answered_again_ns"] == healed.t_ns
    assert striking.heal().evidence == healed.evidence


@only_setups(lambda setup: setup.name in ("redis-stream", "postgres-lease"))
def test_without_messages_nothing_is_cut_and_the_order_is_forgotten(
    line: Line, before: Before, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut_producer, "FIRST_LIMIT_S", 0.1)
    proxy = before(line)
    producer = line.open("p0", via=proxy)
    striking = Striking(line, proxy, count=1, every_s=0.0)
    producer.prepare()  # speaks to the broker, and is answered: no message, so it is not cut
    strike = striking.strike()
    assert (strike.hit, strike.evidence["cuts"]) == (False, 0)
    monkeypatch.setattr(cut_producer, "LAST_LIMIT_S", 0.1)
    striking.heal()
    for first in range(0, 100, N):
        line.publish(producer, range(first, first + N))


@only_setups(lambda setup: setup.name == "null")
def test_without_a_proxy_it_did_not_hit_and_heals(line: Line) -> None:
    striking = Striking(line, None, count=1)
    assert not striking.strike().hit
    assert striking.heal().t_ns is not None


@only_setups(lambda setup: setup.name == "null")
def test_the_proxy_listens_on_the_local_host_only_and_ends_with_its_trial(line: Line, before: Before) -> None:
    proxy = before(line)
    process = psutil.Process(proxy.pid)
    assert {entry.laddr.ip for entry in process.net_connections("inet")} == {"127.0.0.1"}
    proxy.close()
    assert not process.is_running()
    proxy.close()


_DIES = """
import sys, time
from harness.journal import Journal
from harness.proxy.proxy import Proxy
journal = Journal.create("00000000000000aa")
print(Proxy.start("redis://127.0.0.1:1/0", journal, run_id=1, trial=1).pid, flush=True)
time.sleep(60)
"""


def test_the_proxy_ends_when_the_harness_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKERBENCH_STATE", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", _DIES], stdout=subprocess.PIPE, text=True) as harness:
        assert harness.stdout is not None
        process = psutil.Process(int(harness.stdout.readline()))
        harness.kill()
    eventually(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "the proxy is left")
    eventually(lambda: not list(tmp_path.glob("journals/*.jsonl")), "the journal is left")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("rediss://host:6379/0", "rediss:// is encrypted"),
        ("amqps://host:5671", "amqps:// is encrypted"),
        ("postgresql://host/db?sslmode=verify-full", "sslmode=verify-full may be encrypted"),
        ("unix:///run/redis.sock", "no URL with a host"),
        ("postgresql:///db?host=/run/postgresql", "no URL with a host"),
        ("postgresql://a:1,b:2/db", "no URL with one host and port"),
    ],
)
def test_an_address_that_cannot_be_looked_into_is_refused(journal: Journal, address: str, why: str) -> None:
    with pytest.raises(UsageError) as refused:
        Proxy.start(address, journal, run_id=1, trial=1)
    assert why in refused.value.problem
    assert refused.value.expected
    assert refused.value.remedy
