"""Slots: what one shard saw, in a mapped file that survives the SIGKILL of its process.

A file is a page of header, a page of live counts, then fixed-width slots. One process writes, any number may read.
The rules (``measurement.md`` section 4):

- Aligned fields; a slot's columns are stored first and its ``state`` last, so a reader trusts only what the state covers.
- Space is allocated ahead of use in chunks (``posix_fallocate``): a full tmpfs is an error here, never a SIGBUS later. Its pages are
  mapped at once, so that a store does not meet a page fault (measured: p99 36 µs, at worst 1.2 ms; without one 0.4 and 74 µs).
- No buffering, locks, allocation or logging per message: every store is one numpy assignment for a whole block.

Neighbours: ``load`` writes, ``gather`` makes the tables of ``tables``.
"""

from __future__ import annotations

import mmap
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.clock import clock_domain
from harness.errors import EvidenceError, StartError, UsageError
from harness.histogram import BUCKETS
from harness.units import format_bytes

MAGIC = b"BKBSLOTS"
LAYOUT_VERSION = 1
PAGE = 4096
CHUNK_SLOTS = 4096
_BLOCK = 1 << 18
_MADV_POPULATE_WRITE = 23  # linux/mman.h; mmap has no name for it
MAX_SLOTS = 1 << 28  # address space only: pages exist once their chunk is allocated
DELIVERIES_EACH = 1.5
"""Slots per message that room is asked for: a crash brings some of them again."""


class AttemptState(IntEnum):
    """What a producer's slot covers; each includes the ones before."""

    EMPTY = 0
    DUE = 1  # seq, attempt, intended_ns
    SENT = 2  # sent_ns, held: a byte may have left
    ANSWERED = 3  # confirmed_ns (when the answer was seen), outcome


class DeliveryState(IntEnum):
    """What a worker's slot covers; each includes the ones before."""

    EMPTY = 0
    RECEIVED = 1  # identity, flags, asked_ns, received_ns
    STARTED = 2
    WORKED = 3  # finished_ns or failed_ns, the other 0, or skipped; both 0 where it was skipped without a run
    SETTLING = 4  # settling_ns, settlement
    SETTLED = 5  # settled_ns, settle_outcome


ATTEMPT_SLOT = np.dtype(
    [
        ("seq", "<u4"),
        ("attempt", "u1"),
        ("held", "u1"),
        ("outcome", "u1"),
        ("state", "u1"),
        ("intended_ns", "<i8"),
        ("sent_ns", "<i8"),
        ("confirmed_ns", "<i8"),
    ]
)

READABLE, CHECKSUM_OK, FOREIGN, REDELIVERED, REDELIVERED_KNOWN = (1 << bit for bit in range(5))

DELIVERY_SLOT = np.dtype(
    [
        ("seq", "<u4"),
        ("producer", "<u2"),
        ("attempt", "u1"),
        ("flags", "u1"),  # READABLE | CHECKSUM_OK | …
        ("delivery_count", "<u2"),  # 0 = the broker does not say
        ("subscription", "<u2"),
        ("settlement", "u1"),
        ("settle_outcome", "u1"),
        ("skipped", "u1"),
        ("state", "u1"),
        ("entry", "<i8"),  # 0 = none
        ("asked_ns", "<i8"),
        ("received_ns", "<i8"),
        ("started_ns", "<i8"),
        ("finished_ns", "<i8"),
        ("failed_ns", "<i8"),
        ("settling_ns", "<i8"),
        ("settled_ns", "<i8"),
    ]
)

SLOT = {"producer": ATTEMPT_SLOT, "worker": DELIVERY_SLOT}

_HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("version", "<u4"),
        ("kind", "S12"),
        ("name", "S32"),
        ("run_id", "<u8"),
        ("trial", "<u2"),
        ("number", "<u2"),
        ("pid", "<u4"),
        ("started_ns", "<i8"),
        ("boot_id", "S40"),
        ("time_namespace", "S40"),
        ("scheduling", "S16"),
        ("allocated", "<u8"),  # slots with space behind them
        ("closed", "<u8"),  # 1 = the shard said goodbye: nothing is missing
        ("fetch_max_n", "<u8"),  # > 0 while a fetch is outstanding: what it asked for
        ("fetch_ns", "<i8"),  # last moment at which this worker was asking
    ]
)

LIVE = np.dtype(
    [
        ("used", "<u8"),  # slots in use
        ("offered", "<u8"),  # producer: due; first attempts only
        ("sent", "<u8"),
        ("confirmed", "<u8"),
        ("rejected", "<u8"),
        ("unknown", "<u8"),
        ("delivered", "<u8"),  # worker: receipts, repeats included
        ("finished", "<u8"),
        ("settled", "<u8"),
        ("redelivered", "<u8"),  # receipts that the broker itself flags as repeats
        ("connected", "<u8"),
        ("cpu_ns", "<u8"),
        ("latency", "<u8", (BUCKETS,)),  # producer: publish latency; worker: end-to-end; counts per bucket
    ]
)


class SlotFile:
    """The writer's side; make it with :meth:`create` in the shard itself.

    ``slots`` is one structured array over the whole file; only indices below what :meth:`reserve` returned have space.
    ``live`` holds cumulative counts for the live view. Not safe for two writers.
    """

    def __init__(self, path: Path, file: int, mapped: mmap.mmap, dtype: np.dtype[Any]) -> None:
        self.path = path
        self._file = file
        self._mapped = mapped
        self._dtype = dtype
        self._header = np.frombuffer(mapped, _HEADER, 1)[0:1]
        self.live = np.frombuffer(mapped, LIVE, 1, PAGE)[0:1]
        self.slots: npt.NDArray[Any] = np.frombuffer(mapped, dtype, -1, _slots_offset())
        self.allocated = 0
        self.used = 0

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        kind: str,
        name: str,
        run_id: int,
        trial: int,
        number: int,
        scheduling: str,
        started_ns: int,
        first_slots: int = CHUNK_SLOTS,
    ) -> SlotFile:
        """Makes the file of one shard with space for ``first_slots``.

        Raises:
            StartError: the folder has no room, or the file exists.
        """
        dtype = SLOT[kind]
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            os.posix_fallocate(file, 0, _slots_offset())
            size = _slots_offset() + MAX_SLOTS * dtype.itemsize
            os.ftruncate(file, size)
            mapped = mmap.mmap(file, size)
        except OSError as error:
            raise StartError(
                f"the slot file {path} cannot be made: {error.strerror}",
                remedy=f"free space in {path.parent} (df -h {path.parent})",
            ) from error
        self = cls(path, file, mapped, dtype)
        domain = clock_domain()
        head = self._header
        head["version"], head["kind"], head["name"] = LAYOUT_VERSION, kind.encode(), name.encode()
        head["run_id"], head["trial"], head["number"], head["pid"] = run_id, trial, number, os.getpid()
        head["started_ns"], head["scheduling"] = started_ns, scheduling.encode()
        head["boot_id"], head["time_namespace"] = domain.boot_id.encode(), domain.time_namespace.encode()
        self._allocate(first_slots)
        head["magic"] = MAGIC  # last: a file without it was never finished
        return self

    def reserve(self, count: int) -> int:
        """Returns the index of the first of ``count`` new slots, allocating a chunk ahead where needed.

        Raises:
            StartError: the slot folder is full.
        """
        first = self.used
        if first + count + CHUNK_SLOTS // 4 > self.allocated:
            self._allocate(max(self.allocated + CHUNK_SLOTS, first + count + CHUNK_SLOTS))
        self.used = first + count
        return first

    def commit(self) -> None:
        """Tells readers how many slots are in use; call after a block's states are stored."""
        self.live["used"] = self.used

    def fetch_begins(self, max_n: int, t_ns: int) -> None:
        """Records that a fetch is outstanding, before it is sent: it bounds what a killed worker swallowed unseen."""
        self._header["fetch_ns"] = t_ns
        self._header["fetch_max_n"] = max_n

    def fetch_ends(self, t_ns: int) -> None:
        """Records that the fetch was answered and its deliveries are in slots."""
        self._header["fetch_max_n"] = 0
        self._header["fetch_ns"] = t_ns

    def close(self) -> None:
        """Marks the file as whole; the mapping itself ends with the process."""
        self.commit()
        self._header["closed"] = 1

    def _allocate(self, slots: int) -> None:
        slots = -(-slots // CHUNK_SLOTS) * CHUNK_SLOTS
        if slots > MAX_SLOTS:
            raise StartError(
                f"{MAX_SLOTS:,} slots in one shard are used up",
                remedy="use more producers or workers, or a shorter run",
            )
        size = self._dtype.itemsize
        try:  # only what is new: walking over what is there already costs more with every chunk
            os.posix_fallocate(self._file, _slots_offset() + self.allocated * size, (slots - self.allocated) * size)
        except OSError as error:
            raise StartError(
                f"the slot folder {self.path.parent} is full after {self.used:,} messages: {error.strerror}",
                remedy=f"free space in {self.path.parent}, lower the rate or shorten the run",
            ) from error
        self._map_pages(_slots_offset() + self.allocated * size, _slots_offset() + slots * size)
        self.allocated = slots
        self._header["allocated"] = slots

    def _map_pages(self, begin: int, end: int) -> None:
        begin -= begin % mmap.PAGESIZE
        with suppress(OSError):  # Linux before 5.14: each page is mapped when it is first written
            self._mapped.madvise(_MADV_POPULATE_WRITE, begin, end - begin)


def _slots_offset() -> int:
    return PAGE + -(-LIVE.itemsize // PAGE) * PAGE


class SlotReader:
    """The reader's side of one shard's file, safe while the shard runs and after it was killed.

    Raises:
        EvidenceError: no slot file, cut short, or of another layout.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        except (OSError, ValueError) as error:
            raise EvidenceError(f"the slot file {path} cannot be read: {error}") from error
        if len(self._mapped) < _slots_offset():
            raise EvidenceError(f"the slot file {path} is cut short")
        self._header = np.frombuffer(self._mapped, _HEADER, 1)[0]
        if self._header["magic"] != MAGIC or self._header["version"] != LAYOUT_VERSION:
            raise EvidenceError(f"{path} is not a finished slot file of layout {LAYOUT_VERSION}")
        self._live = np.frombuffer(self._mapped, LIVE, 1, PAGE)[0]
        self.kind = self._header["kind"].decode()

    @property
    def header(self) -> Mapping[str, Any]:
        """Returns the header's fields as plain values."""
        return {
            name: value.decode() if isinstance(value, bytes) else int(value)
            for name, value in zip(_HEADER.names or (), self._header.tolist(), strict=True)
        }

    @property
    def live(self) -> npt.NDArray[Any]:
        """Returns a copy of the live counts (dtype :data:`LIVE`)."""
        copy: npt.NDArray[Any] = self._live.copy()
        return copy

    def slots(self, first: int = 0) -> npt.NDArray[Any]:
        """Returns the slots in use from ``first`` on, as a view; a killed shard's last, uncounted ones included."""
        dtype = SLOT[self.kind]
        allocated = min(int(self._header["allocated"]), (len(self._mapped) - _slots_offset()) // dtype.itemsize)
        used = min(int(self._live["used"]), allocated)
        every = np.frombuffer(self._mapped, dtype, allocated, _slots_offset())
        uncounted = np.flatnonzero(every["state"][used:])
        return every[first : used + (int(uncounted[-1]) + 1 if len(uncounted) else 0)]

    @property
    def extent(self) -> int:
        """Returns how many bytes of the file say something: what lies behind need not travel."""
        return _slots_offset() + len(self.slots()) * SLOT[self.kind].itemsize

    def forget(self) -> None:
        """Lets the pages read so far go from this process (they stay in the file): a mapped page counts as ours."""
        self._mapped.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Lets the mapping go once no view of it is left."""
        del self._header, self._live


def to_our_clock(path: Path, to_ours: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]]) -> None:
    """Turns every time in a copy of another machine's slot file into this machine's clock, and says so in its header.

    Args:
        path: whole, and nobody's who still writes. to_ours: times of its clock in ns → times of ours, in the same order.

    Raises:
        EvidenceError: it cannot be read.
    """
    reader = SlotReader(path)
    size, dtype = reader.extent, SLOT[reader.kind]
    reader.close()
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), size)
    head = np.frombuffer(mapped, _HEADER, 1)
    slots: npt.NDArray[Any] = np.frombuffer(mapped, dtype, -1, _slots_offset())
    for first in range(0, len(slots), _BLOCK):
        _shift(slots[first : first + _BLOCK], to_ours)
    _shift(head, to_ours)
    domain = clock_domain()
    head["boot_id"], head["time_namespace"] = domain.boot_id.encode(), domain.time_namespace.encode()


def _shift(rows: npt.NDArray[Any], to_ours: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]]) -> None:
    for name in rows.dtype.names or ():
        if name.endswith("_ns"):
            reached = rows[name] != 0
            rows[name][reached] = to_ours(rows[name][reached])


def slot_bytes(messages: float) -> int:
    """Returns how much room the slots of so many messages take, each sent once and delivered ``DELIVERIES_EACH`` times."""
    return int(messages * (ATTEMPT_SLOT.itemsize + DELIVERIES_EACH * DELIVERY_SLOT.itemsize))


def require_room(folder: Path, messages: float) -> None:
    """Refuses a trial whose slots would not fit, before anything is started.

    Args:
        folder: where the slots will lie. messages: how many are expected, each sent once and delivered ``DELIVERIES_EACH`` times.

    Raises:
        UsageError: the folder has less space.
    """
    needed = slot_bytes(messages)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UsageError(
            f"{folder} has {format_bytes(free)} free",
            expected=f"{format_bytes(needed)} for the slots of {messages:,.0f} messages",
            remedy="free memory there, lower load.rate or shorten the run",
        )
