"""From slot files to tables: what every state of a slot means, and what is said where slots are missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import gather as module
from harness import tables
from harness.errors import BrokerbenchError
from harness.facts import ShardRecord
from harness.gather import Gathered, gather
from harness.ledger import (
    CHECKSUM_OK,
    FOREIGN,
    READABLE,
    REDELIVERED,
    REDELIVERED_KNOWN,
    AttemptState,
    DeliveryState,
    SlotFile,
    SlotReader,
)
from harness.model import Held, Outcome, Settlement, SettleOutcome

RUN_ID, TRIAL = 5, 2
SCHEDULE = np.arange(4, dtype=np.int64) * 10 + 100


def slot_file(folder: Path, name: str, **more: Any) -> SlotFile:
    """Makes the slot file of ``p0``, ``w3`` … as its shard does."""
    kind = "producer" if name.startswith("p") else "worker"
    identity = {"kind": kind, "name": name, "run_id": RUN_ID, "trial": TRIAL, "number": int(name[1:])}
    return SlotFile.create(folder / f"{name}.slots", **{**identity, "scheduling": "other", "started_ns": 1, **more})


def shard(name: str, **more: Any) -> ShardRecord:
    kind = "producer" if name.startswith("p") else "worker"
    return ShardRecord(name=name, kind=kind, number=int(name[1:]), **more)


def write(file: SlotFile, rows: list[dict[str, Any]]) -> None:
    first = file.reserve(len(rows))
    for at, row in enumerate(rows, first):
        for name, value in row.items():
            file.slots[name][at] = value
    file.commit()


def sent(seq: int, **more: Any) -> dict[str, Any]:
    """Returns the slot of an attempt that was confirmed."""
    row = {"seq": seq, "attempt": 1, "intended_ns": 100 + 10 * seq, "sent_ns": 1000 + seq, "confirmed_ns": 2000 + seq}
    return {**row, "outcome": Outcome.CONFIRMED, "state": AttemptState.ANSWERED, **more}


def came(seq: int, **more: Any) -> dict[str, Any]:
    """Returns the slot of a delivery that was worked off and settled."""
    times = ("asked_ns", "received_ns", "started_ns", "finished_ns", "settling_ns", "settled_ns")
    row = {name: 1000 * at + seq for at, name in enumerate(times, 1)}
    row |= {"seq": seq, "producer": 0, "attempt": 1, "flags": READABLE | CHECKSUM_OK, "state": DeliveryState.SETTLED}
    return {**row, "settlement": Settlement.ACK, "settle_outcome": SettleOutcome.OK, **more}


def gathered(folder: Path, shards: list[ShardRecord], schedules: dict[int, Any] | None = None) -> Gathered:
    return gather(folder, shards, schedules or {}, folder, run_id=RUN_ID, trial=TRIAL)


def outcomes(found: Gathered) -> list[tuple[Any, ...]]:
    return found.attempts.select("seq", "attempt", "outcome").collect().rows()


def test_each_state_of_an_attempt_says_what_became_of_it(tmp_path: Path) -> None:
    file = slot_file(tmp_path, "p0")
    write(
        file,
        [
            sent(0),
            sent(1, outcome=Outcome.REJECTED),
            sent(2, outcome=Outcome.UNKNOWN),
            sent(3, outcome=Outcome.NOT_SENT, held=Held.BLOCKED),
            sent(4, state=AttemptState.SENT, held=Held.WINDOW),
            sent(5, state=AttemptState.DUE, held=Held.DISCONNECTED),
        ],
    )
    rows = (
        gathered(tmp_path, [shard("p0")]).attempts.select("sent_ns", "confirmed_ns", "outcome", "held").collect().rows()
    )
    assert rows == [
        (1000, 2000, "CONFIRMED", None),
        (1001, 2001, "REJECTED", None),
        (1002, None, "UNKNOWN", None),  # no answer of the broker was seen
        (1003, None, "NOT_SENT", "blocked"),
        (1004, None, "UNKNOWN", "window"),
        (None, None, "NOT_SENT", "disconnected"),
    ]


def test_each_state_of_a_delivery_covers_its_own_fields_only(tmp_path: Path) -> None:
    file = slot_file(tmp_path, "w0")
    write(file, [came(seq, state=state) for seq, state in enumerate(list(DeliveryState)[1:])])
    write(
        file,
        [came(5, finished_ns=0, failed_ns=4500), came(6, started_ns=0, finished_ns=0, settlement=Settlement.RELEASE)],
    )
    columns = ["asked_ns", "received_ns", "started_ns", "finished_ns", "failed_ns", "settling_ns", "settled_ns"]
    table = gathered(tmp_path, [shard("w0")]).deliveries.collect()
    assert table.select(columns).rows() == [
        (1000, 2000, None, None, None, None, None),
        (1001, 2001, 3001, None, None, None, None),
        (1002, 2002, 3002, 4002, None, None, None),
        (1003, 2003, 3003, 4003, None, 5003, None),
        (1004, 2004, 3004, 4004, None, 5004, 6004),
        (1005, 2005, 3005, None, 4500, 5005, 6005),
        (1006, 2006, None, None, None, 5006, 6006),
    ]
    assert table.select("settlement", "settle_outcome").rows() == [
        *[(None, None)] * 3,
        ("ACK", "UNKNOWN"),
        ("ACK", "OK"),
        ("ACK", "OK"),
        ("RELEASE", "OK"),
    ]


def test_a_settlement_without_a_known_answer_is_unknown_and_has_no_time_of_it(tmp_path: Path) -> None:
    file = slot_file(tmp_path, "w0")
    write(
        file, [came(0, settle_outcome=how) for how in (SettleOutcome.OPEN, SettleOutcome.UNKNOWN, SettleOutcome.STALE)]
    )
    table = gathered(tmp_path, [shard("w0")]).deliveries.select("settle_outcome", "settled_ns").collect()
    assert table.rows() == [("UNKNOWN", None), ("UNKNOWN", None), ("STALE", 6000)]


def test_flags_become_booleans_and_nulls(tmp_path: Path) -> None:
    file = slot_file(tmp_path, "w7")
    known = READABLE | CHECKSUM_OK | REDELIVERED_KNOWN
    write(
        file,
        [
            came(3, flags=known | REDELIVERED, entry=9, delivery_count=2, subscription=1, producer=4, attempt=5),
            came(4, flags=known, entry=-9),
            came(5, flags=READABLE | FOREIGN),
            came(6, flags=0),
        ],
    )
    names = ["producer", "seq", "attempt", "subscription", "worker", "entry", "redelivered", "delivery_count"]
    table = gathered(tmp_path, [shard("w7")]).deliveries.select(*names, "checksum_ok", "foreign").collect()
    assert table.rows() == [
        (4, 3, 5, 1, 7, 9, True, 2, True, False),
        (0, 4, 1, 0, 7, -9, False, None, True, False),
        (0, 5, 1, 0, 7, None, None, None, False, True),
        (None, None, None, 0, 7, None, None, None, False, False),
    ]


def test_the_tables_have_exactly_their_columns_and_types_even_when_nothing_ran(tmp_path: Path) -> None:
    found = gathered(tmp_path, [])
    assert found.attempts.collect_schema() == tables.ATTEMPTS
    assert found.deliveries.collect_schema() == tables.DELIVERIES
    assert (found.attempts.collect().height, found.deliveries.collect().height) == (0, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["attempts.parquet", "deliveries.parquet"]


def test_a_killed_producers_remaining_schedule_was_not_sent(tmp_path: Path) -> None:
    file = slot_file(tmp_path, "p0")
    write(file, [sent(0), sent(1, state=AttemptState.SENT)])
    found = gathered(tmp_path, [shard("p0", killed_ns=5, slots_reported=2)], {0: SCHEDULE})
    assert found.attempts.collect().rows() == [
        (0, 0, 1, 100, 1000, 2000, "CONFIRMED", None),
        (0, 1, 1, 110, 1001, None, "UNKNOWN", None),
        (0, 2, 1, 120, None, None, "NOT_SENT", None),
        (0, 3, 1, 130, None, None, "NOT_SENT", None),
    ]
    assert found.problems == ()


def test_a_producer_that_never_ran_sent_nothing(tmp_path: Path) -> None:
    assert outcomes(gathered(tmp_path, [], {0: SCHEDULE[:2]})) == [(0, 1, "NOT_SENT"), (1, 1, "NOT_SENT")]


def test_the_identities_of_a_producer_without_a_slot_file_are_unknown(tmp_path: Path) -> None:
    found = gathered(tmp_path, [shard("p0", slots_reported=3)], {0: SCHEDULE[:2]})
    assert outcomes(found) == [(0, 1, "UNKNOWN"), (1, 1, "UNKNOWN")]
    assert found.attempts.select("intended_ns", "sent_ns").collect().rows() == [(100, None), (110, None)]
    assert found.shards[0].slots_found == -1
    assert len(found.problems) == 1
    assert found.problems[0].startswith("slots of p0 are missing")


def test_what_is_missing_of_a_producer_with_fewer_slots_than_reported_is_unknown(tmp_path: Path) -> None:
    write(slot_file(tmp_path, "p0"), [sent(0)])
    found = gathered(tmp_path, [shard("p0", slots_reported=3)], {0: SCHEDULE[:2]})
    assert outcomes(found) == [(0, 1, "CONFIRMED"), (1, 1, "UNKNOWN")]
    assert found.shards[0].slots_found == 1
    assert found.problems == ("slots of p0 are missing: 1 found, it had reported 3",)


def test_a_worker_without_its_slots_is_named(tmp_path: Path) -> None:
    write(slot_file(tmp_path, "w0"), [came(0)])
    found = gathered(tmp_path, [shard("w0", slots_reported=2), shard("w1")])
    assert [one.slots_found for one in found.shards] == [1, -1]
    assert [problem.split(":")[0] for problem in found.problems] == [
        "slots of w0 are missing",
        "slots of w1 are missing",
    ]
    assert found.deliveries.collect().height == 1


@pytest.mark.parametrize("more", [{"run_id": 6}, {"trial": 3}, {"number": 1}, {"kind": "worker"}])
def test_a_file_of_another_run_trial_or_shard_is_not_read(tmp_path: Path, more: dict[str, Any]) -> None:
    write(slot_file(tmp_path, "p0", **more), [{"seq": 0, "attempt": 1, "state": 1}])
    found = gathered(tmp_path, [shard("p0")])
    assert found.attempts.collect().height == 0
    assert found.shards[0].slots_found == -1


@pytest.mark.parametrize("content", [b"", b"short", bytes(1 << 16)])
def test_a_file_that_is_no_slot_file_is_a_problem_and_not_an_exception(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w0.slots").write_bytes(content)
    found = gathered(tmp_path, [shard("w0")])
    assert found.shards[0].slots_found == -1
    assert len(found.problems) == 1


def test_slots_of_a_shard_that_nobody_told_of_are_evidence_too(tmp_path: Path) -> None:
    write(slot_file(tmp_path, "w4"), [came(0)])
    found = gathered(tmp_path, [])
    assert found.deliveries.collect()["worker"].to_list() == [4]
    assert [(one.name, one.kind, one.number, one.expected_exit) for one in found.shards] == [("w4", "worker", 4, False)]


def test_retries_stand_with_their_message_and_gaps_are_filled_in_order(tmp_path: Path) -> None:
    file = slot_file(tmp_path, "p0")
    write(file, [sent(2), sent(0), sent(3), sent(0, attempt=3), sent(0, attempt=2, outcome=Outcome.REJECTED)])
    found = gathered(tmp_path, [shard("p0")], {0: SCHEDULE})
    assert outcomes(found) == [
        (0, 1, "CONFIRMED"),
        (0, 2, "REJECTED"),
        (0, 3, "CONFIRMED"),
        (1, 1, "NOT_SENT"),
        (2, 1, "CONFIRMED"),
        (3, 1, "CONFIRMED"),
    ]


def test_messages_beyond_the_schedule_are_kept_as_in_saturate(tmp_path: Path) -> None:
    write(slot_file(tmp_path, "p0"), [sent(0), sent(9)])
    found = gathered(tmp_path, [shard("p0")], {0: np.zeros(0, np.int64)})
    assert outcomes(found) == [(0, 1, "CONFIRMED"), (9, 1, "CONFIRMED")]


def test_producers_follow_each_other_by_number_and_workers_as_they_are_named(tmp_path: Path) -> None:
    for name in ("p1", "p0"):
        write(slot_file(tmp_path, name), [sent(0)])
    for name in ("w1", "w0"):
        write(slot_file(tmp_path, name), [came(0)])
    found = gathered(tmp_path, [shard(name) for name in ("p1", "w1", "p0", "w0")])
    assert found.attempts.collect()["producer"].to_list() == [0, 1]
    assert found.deliveries.collect()["worker"].to_list() == [1, 0]


def test_a_fetch_that_a_killed_worker_left_open_is_told_with_its_size(tmp_path: Path) -> None:
    killed, closed = slot_file(tmp_path, "w0"), slot_file(tmp_path, "w1")
    killed.fetch_begins(50, 7_000)
    closed.fetch_begins(60, 8_000)
    closed.close()
    found = gathered(tmp_path, [shard("w0"), shard("w1")])
    assert [(one.fetch_open, one.fetch_max_n) for one in found.shards] == [(True, 50), (False, 0)]
    assert found.asking_until_ns == 8_000


def test_a_fetch_that_was_answered_is_not_open(tmp_path: Path) -> None:
    file = slot_file(tmp_path, "w0")
    file.fetch_begins(50, 7_000)
    file.fetch_ends(7_500)
    found = gathered(tmp_path, [shard("w0")])
    assert (found.shards[0].fetch_open, found.shards[0].fetch_max_n) == (False, 0)
    assert found.asking_until_ns == 7_500


def test_a_shard_with_another_clock_is_named(tmp_path: Path) -> None:
    other = slot_file(tmp_path, "w0")
    other._header["boot_id"] = b"another machine"
    slot_file(tmp_path, "w1")
    assert gathered(tmp_path, [shard("w0"), shard("w1")]).other_clocks == ("w0",)


def test_slots_that_were_never_written_are_not_rows(tmp_path: Path) -> None:
    producer, worker = slot_file(tmp_path, "p0"), slot_file(tmp_path, "w0")
    for file, row in ((producer, sent(0)), (worker, came(0))):
        write(file, [row])
        file.reserve(3)
        write(file, [{**row, "seq": 1}])
    found = gathered(tmp_path, [shard("p0", slots_reported=2), shard("w0", slots_reported=2)])
    assert outcomes(found) == [(0, 1, "CONFIRMED"), (1, 1, "CONFIRMED")]
    assert found.deliveries.collect()["seq"].to_list() == [0, 1]
    assert found.problems == ()


@settings(max_examples=40, deadline=None)
@given(
    keys=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 3)), unique=True, max_size=40),
    scheduled=st.integers(0, 25),
    block=st.sampled_from([1, 3, 7, 100]),
    in_order=st.booleans(),
)
def test_every_slot_and_every_scheduled_message_is_exactly_one_row_in_order(
    tmp_path_factory: pytest.TempPathFactory, keys: list[tuple[int, int]], scheduled: int, block: int, in_order: bool
) -> None:
    folder = tmp_path_factory.mktemp("slots")
    keys = sorted(keys) if in_order else keys
    write(slot_file(folder, "p0"), [sent(seq, attempt=attempt, intended_ns=5) for seq, attempt in keys])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_SLOTS", block)
        found = gathered(folder, [shard("p0")], {0: np.full(scheduled, 6, np.int64)})
    missing = set(range(scheduled)) - {seq for seq, _ in keys}
    expected = sorted([(seq, n, "CONFIRMED", 5) for seq, n in keys] + [(seq, 1, "NOT_SENT", 6) for seq in missing])
    assert found.attempts.select("seq", "attempt", "outcome", "intended_ns").collect().rows() == expected


def too_many_for_a_small_disk(folder: Path) -> None:
    """Writes slots whose table needs more than 300 kB, however well it is packed."""
    noise = np.random.default_rng(1).integers(0, 1 << 62, (3, 20_000))
    file = slot_file(folder, "p0")
    first = file.reserve(20_000)
    rows = file.slots[first : first + 20_000]
    rows["seq"], rows["attempt"], rows["state"] = np.arange(20_000), 1, AttemptState.ANSWERED
    rows["intended_ns"], rows["sent_ns"], rows["confirmed_ns"] = noise
    rows["outcome"] = Outcome.CONFIRMED
    file.commit()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(disk)]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting takes root on Linux; the test with a limit on file sizes stands for it")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_leaves_nothing_half_written_and_says_what_to_do(small_disk: Path, tmp_path: Path) -> None:
    too_many_for_a_small_disk(tmp_path)
    with pytest.raises(BrokerbenchError, match=r"cannot be written: .*[Nn]o space left") as told:
        gather(tmp_path, [shard("p0")], {}, small_disk, run_id=RUN_ID, trial=TRIAL)
    assert str(small_disk / "attempts.parquet") in told.value.problem
    assert "free space" in told.value.remedy
    assert list(small_disk.iterdir()) == []


LIMITED = """
import resource, sys
from pathlib import Path
from harness.errors import BrokerbenchError
from harness.gather import gather
from harness.facts import ShardRecord
slots, into = Path(sys.argv[1]), Path(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    gather(slots, [ShardRecord(name="p0", kind="producer", number=0)], {}, into, run_id=5, trial=2)
except BrokerbenchError as error:
    print(error)
"""


def test_a_file_that_may_not_grow_leaves_the_one_before_whole(tmp_path: Path) -> None:
    too_many_for_a_small_disk(tmp_path)
    into = tmp_path / "into"
    into.mkdir()
    (into / "attempts.parquet").write_bytes(b"before")
    command = [sys.executable, "-c", LIMITED, str(tmp_path), str(into)]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "attempts.parquet cannot be written" in child.stdout
    assert "remedy: free space" in child.stdout
    assert [(path.name, path.read_bytes()) for path in into.iterdir()] == [("attempts.parquet", b"before")]


WRITER = """
import sys
from pathlib import Path
import numpy as np
from harness.ledger import AttemptState, DeliveryState, SlotFile, READABLE, CHECKSUM_OK
path, kind = Path(sys.argv[1]), sys.argv[2]
file = SlotFile.create(path, kind=kind, name=path.stem, run_id=5, trial=2, number=0, scheduling="other", started_ns=1)
print("ready", flush=True)
next_seq = 0
while True:
    n = 256
    at = file.reserve(n)
    slots = file.slots[at:at + n]
    seqs = np.arange(next_seq, next_seq + n)
    slots["seq"], slots["attempt"] = seqs, 1
    if kind == "producer":
        slots["intended_ns"] = seqs + 1
        slots["state"] = AttemptState.DUE
        file.commit()
        slots["sent_ns"] = seqs + 2
        slots["state"] = AttemptState.SENT
        slots["confirmed_ns"], slots["outcome"] = seqs + 3, 3
        slots["state"] = AttemptState.ANSWERED
    else:
        slots["flags"], slots["asked_ns"], slots["received_ns"] = READABLE | CHECKSUM_OK, seqs + 1, seqs + 2
        slots["state"] = DeliveryState.RECEIVED
        file.commit()
        slots["started_ns"], slots["finished_ns"] = seqs + 3, seqs + 4
        slots["state"] = DeliveryState.WORKED
        slots["settling_ns"], slots["settlement"] = seqs + 5, 1
        slots["state"] = DeliveryState.SETTLING
    next_seq += n
"""


@pytest.mark.parametrize("kind", ["producer", "worker"])
def test_a_shard_killed_in_the_middle_of_its_stores_loses_nothing_that_it_said_it_saw(
    tmp_path: Path, kind: str
) -> None:
    name = {"producer": "p0", "worker": "w0"}[kind]
    path = tmp_path / f"{name}.slots"
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(path), kind], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        reader = SlotReader(path)
        deadline = time.monotonic() + 30
        while int(reader.live["used"]) < 5_000 and time.monotonic() < deadline:
            pass  # it writes without a pause: any moment is in the middle of something
        os.kill(child.pid, signal.SIGSTOP)
        reported = int(reader.live["used"])
        os.kill(child.pid, signal.SIGKILL)
    finally:
        child.kill()
        child.communicate()
    assert child.returncode == -signal.SIGKILL
    found = gathered(tmp_path, [shard(name, slots_reported=reported)])
    assert found.problems == ()
    table = (found.attempts if kind == "producer" else found.deliveries).collect()
    assert reported <= table.height <= reported + 256
    assert table["seq"].to_list() == list(range(table.height))
    later = (
        {"sent_ns": 2, "confirmed_ns": 3}
        if kind == "producer"
        else {"received_ns": 2, "finished_ns": 4, "settling_ns": 5}
    )
    for column, offset in later.items():
        reached = table.filter(pl.col(column).is_not_null())
        assert reached.filter(pl.col(column) != pl.col("seq") + offset).height == 0
        assert reached.height >= table.height - 256
