"""Slots: what a reader may trust, and what a writer does when there is no room."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import ledger
from harness.errors import EvidenceError, StartError, UsageError
from harness.ledger import (
    ATTEMPT_SLOT,
    CHUNK_SLOTS,
    DELIVERY_SLOT,
    LIVE,
    AttemptState,
    SlotFile,
    SlotReader,
    require_room,
)


def made(folder: Path, name: str = "p0", **more: Any) -> SlotFile:
    identity = {"kind": "producer", "name": name, "run_id": 2**63 + 1, "trial": 3, "number": 4, "scheduling": "fifo"}
    return SlotFile.create(folder / f"{name}.slots", **{**identity, "started_ns": 5, **more})


def fill(file: SlotFile, count: int, state: AttemptState = AttemptState.DUE) -> None:
    first = file.reserve(count)
    file.slots["seq"][first : first + count] = np.arange(first, first + count)
    file.slots["state"][first : first + count] = state


def test_the_header_says_whose_slots_they_are(tmp_path: Path) -> None:
    made(tmp_path)
    head = SlotReader(tmp_path / "p0.slots").header
    expected = {"kind": "producer", "name": "p0", "run_id": 2**63 + 1, "trial": 3, "number": 4, "scheduling": "fifo"}
    assert expected.items() <= head.items()
    assert (head["pid"], head["started_ns"], head["closed"], head["fetch_max_n"]) == (os.getpid(), 5, 0, 0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 2 * CHUNK_SLOTS), max_size=6))
def test_blocks_of_any_sizes_are_read_back_in_order(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    folder = tmp_path_factory.mktemp("slots")
    file = made(folder)
    for size in sizes:
        fill(file, size)
        file.commit()
        assert file.used <= file.allocated
    reader = SlotReader(folder / "p0.slots")
    assert reader.slots()["seq"].tolist() == list(range(sum(sizes)))
    assert reader.slots(first=1)["seq"].tolist() == list(range(1, sum(sizes)))
    reader.forget()
    assert int(reader.slots()["seq"].sum()) == sum(range(sum(sizes)))


def test_slots_whose_state_was_stored_count_even_if_their_writer_died_before_it_said_so(tmp_path: Path) -> None:
    file = made(tmp_path)
    fill(file, 10)
    file.commit()
    fill(file, 3)
    reader = SlotReader(tmp_path / "p0.slots")
    assert int(reader.live["used"]) == 10
    assert len(reader.slots()) == 13


def test_a_slot_after_one_that_was_never_stored_is_still_seen(tmp_path: Path) -> None:
    file = made(tmp_path)
    file.reserve(2)
    fill(file, 1)
    slots = SlotReader(tmp_path / "p0.slots").slots()
    assert slots["state"].tolist() == [AttemptState.EMPTY, AttemptState.EMPTY, AttemptState.DUE]


def test_a_reserved_block_without_states_is_not_seen(tmp_path: Path) -> None:
    file = made(tmp_path)
    file.reserve(100)
    assert len(SlotReader(tmp_path / "p0.slots").slots()) == 0


def test_a_reader_sees_what_is_stored_after_it_opened_the_file(tmp_path: Path) -> None:
    file = made(tmp_path)
    reader = SlotReader(tmp_path / "p0.slots")
    fill(file, 3 * CHUNK_SLOTS)
    file.live["sent"] = 7
    file.commit()
    assert len(reader.slots()) == 3 * CHUNK_SLOTS
    assert (int(reader.live["sent"]), int(reader.live["used"])) == (7, 3 * CHUNK_SLOTS)


def test_the_live_counts_that_a_reader_took_do_not_change_under_it(tmp_path: Path) -> None:
    file = made(tmp_path)
    taken = SlotReader(tmp_path / "p0.slots").live
    file.live["sent"] = 7
    assert int(taken["sent"]) == 0


def test_every_field_of_a_slot_is_aligned_so_that_no_store_is_torn() -> None:
    for dtype in (ATTEMPT_SLOT, DELIVERY_SLOT, LIVE):
        assert dtype.itemsize % 8 == 0
        for name in dtype.names or ():
            field, offset = dtype.fields[name][:2]  # type: ignore[index]
            assert offset % field.base.itemsize == 0, name


@pytest.mark.parametrize("content", [b"", b"BKBSLOTS", bytes(100_000)], ids=["empty", "cut short", "without magic"])
def test_what_is_no_finished_slot_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p0.slots"
    path.write_bytes(content)
    with pytest.raises(EvidenceError, match=r"p0\.slots"):
        SlotReader(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="cannot be read"):
        SlotReader(tmp_path / "p0.slots")


def test_two_shards_cannot_write_one_file(tmp_path: Path) -> None:
    made(tmp_path)
    with pytest.raises(StartError, match="cannot be made"):
        made(tmp_path)


def test_a_full_folder_is_a_clear_error_and_what_was_stored_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = made(tmp_path)
    fill(file, 10)
    file.commit()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StartError, match="full after 10 messages"):
        file.reserve(CHUNK_SLOTS)
    assert len(SlotReader(tmp_path / "p0.slots").slots()) == 10


def test_a_shard_that_used_up_its_address_space_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MAX_SLOTS", 2 * CHUNK_SLOTS)
    file = made(tmp_path)
    file.reserve(CHUNK_SLOTS)
    with pytest.raises(StartError, match="used up"):
        file.reserve(CHUNK_SLOTS)


def test_space_is_allocated_before_it_is_used(tmp_path: Path) -> None:
    file = made(tmp_path)
    for _ in range(5):
        file.reserve(CHUNK_SLOTS - 1)
        assert file.allocated >= file.used + CHUNK_SLOTS // 4
        assert SlotReader(tmp_path / "p0.slots").header["allocated"] == file.allocated
        blocks = (tmp_path / "p0.slots").stat().st_blocks * 512
        assert blocks >= file.allocated * ATTEMPT_SLOT.itemsize


def test_a_fetch_is_outstanding_between_its_beginning_and_its_end(tmp_path: Path) -> None:
    file = made(tmp_path, name="w0", kind="worker")
    reader = SlotReader(tmp_path / "w0.slots")
    file.fetch_begins(100, 7)
    assert (reader.header["fetch_max_n"], reader.header["fetch_ns"]) == (100, 7)
    file.fetch_ends(9)
    assert (reader.header["fetch_max_n"], reader.header["fetch_ns"]) == (0, 9)


def test_a_file_says_when_its_shard_said_goodbye(tmp_path: Path) -> None:
    file = made(tmp_path)
    fill(file, 4)
    file.close()
    reader = SlotReader(tmp_path / "p0.slots")
    assert (reader.header["closed"], int(reader.live["used"])) == (1, 4)
    reader.close()


def test_a_folder_without_enough_room_is_refused_with_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        require_room(tmp_path, 1e15)  # 32 B sent + 1.5 × 80 B delivered, each
    assert caught.value.expected == "1.52e+08 GB for the slots of 1,000,000,000,000,000 messages"
    require_room(tmp_path, 1)


def test_the_first_store_into_a_page_meets_no_page_fault(tmp_path: Path) -> None:
    if tuple(map(int, os.uname().release.split(".")[:2])) < (5, 14):
        pytest.skip("this kernel cannot map pages ahead")
    count = 100 * 4096 // ATTEMPT_SLOT.itemsize
    file = made(tmp_path, first_slots=count)
    state = file.slots["state"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    state[:count] = AttemptState.DUE
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 50, "it has 100 pages"
