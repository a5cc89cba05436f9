"""Sweeping: what a journal names is removed, once its run has ended.

Only a journal whose lock is free is ever swept, so two runs at once do not touch each other. ``journal`` writes them,
``sweepers`` knows how each kind of thing is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.clock import clock_domain
from harness.redaction import shown
from harness.sweepers import ENGINE_GONE, SWEEPERS, Context

LEFT = "left: "
"""How a sentence of a sweep begins that tells what could not be removed."""

Queues = Mapping[str, Mapping[str, Any]]
"""Queue on a broker that outlives its run → ``setup``, ``address`` with its password, ``parameters``."""

_RUN_ID = re.compile("[0-9a-f]{16}")


def state_folder() -> Path:
    """Returns where brokerbench keeps its state; does not make it."""
    if chosen := os.environ.get("BROKERBENCH_STATE"):
        return Path(chosen)
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "brokerbench"


def journals() -> Path:
    """Returns the folder of the journals; does not make it."""
    return state_folder() / "journals"


def sweep(path: Path, *, wait_s: float = 0.0, queues: Queues | None = None, kept: bool = False) -> list[str]:
    """Removes all that a journal names, then the journal; a journal that is locked (its run lives) is left alone.

    Idempotent, and safe while others sweep the same journal. A journal of which something could not be removed stays.

    Args:
        path: the journal.
        wait_s: how long to wait for its lock.
        queues: setup, address and parameters of queues, by name, where they are known.
        kept: also what ``brokerbench up`` keeps (:meth:`harness.journal.Journal.keep`); otherwise it is left alone.

    Returns:
        One sentence per thing that was removed, or that could not be.
    """
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return []
    try:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return []
                time.sleep(0.01)
        return sweep_locked(path, queues or {}, kept=kept)
    finally:
        os.close(file)


def down(addresses: Sequence[str] = (), *, kept: bool = True) -> list[str]:
    """Sweeps every journal whose run has ended; returns what was removed, a sentence each.

    Args:
        addresses: of brokers that runs have left queues on, with their passwords, which no journal holds.
        kept: also what ``brokerbench up`` keeps.
    """
    whole = {shown(address): address for address in addresses}
    removed, left = list[str](), dict[Path, list[str]]()
    read = {path: _read(path) or {} for path in sorted(journals().glob("*.jsonl"))}
    swarms = [path for path in read if "swarm" in read[path]]
    # Swarms last, for the others' containers keep us from leaving them; and twice, for what the next journal has in one does, too.
    for path in [*(path for path in read if path not in swarms), *swarms, *swarms]:
        made = read[path].get("queue", [])
        queues = {one["queue"]: one | {"address": whole[one["address"]]} for one in made if one["address"] in whole}
        told = sweep(path, queues=queues, kept=kept)
        removed += [sentence for sentence in told if not sentence.startswith(LEFT)]
        left[path] = [sentence for sentence in told if sentence.startswith(LEFT)]
    return removed + [sentence for sentences in left.values() for sentence in sentences]


def kept() -> list[str]:
    """Returns what ``brokerbench up`` keeps, a few words each."""
    records = (_read(path) or {} for path in sorted(journals().glob("*.jsonl")))
    return [str(one.get("what")) for each in records for one in each.get("kept", [])]


def unfinished() -> tuple[list[Path], list[Path]]:
    """Returns the journals of runs that ended without a word and left them, and those of living runs, without what is kept; sweeps nothing."""
    ended, living = list[Path](), list[Path]()
    for path in sorted(journals().glob("*.jsonl")):
        with contextlib.suppress(FileNotFoundError):  # its run has ended since
            locked = _is_locked(path)
            if locked or "kept" not in (_read(path) or {}):
                (living if locked else ended).append(path)
    return ended, living


def _is_locked(path: Path) -> bool:
    """Returns whether a run, its minder or another's sweep holds the journal; raises FileNotFoundError where it is gone."""
    try:
        file = os.open(path, os.O_RDONLY)
    except PermissionError:  # another user's: theirs to look after
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def sweep_locked(path: Path, queues: Queues, *, kept: bool = False) -> list[str]:
    """As :func:`sweep`, of a journal whose lock the caller holds."""
    records = _read(path)
    if records is None or not _RUN_ID.fullmatch(path.stem):
        return []
    if "kept" in records and not kept:
        return []
    context, elsewhere = _context(path, records, queues)
    if elsewhere:
        return [f"{LEFT}{elsewhere}"]
    removed = [f"what was kept: {one.get('what')}" for one in records.get("kept", [])]
    removed += [sentence for sweeper in SWEEPERS.values() for sentence in sweeper(context)]
    if not context.left:
        path.unlink(missing_ok=True)
    return removed + [f"{LEFT}{sentence}" for sentence in context.left]


def _read(path: Path) -> dict[str, list[dict[str, Any]]] | None:
    """Returns kind → lines; half-written and unknown lines are passed over; None where the journal is gone."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return None
    records: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("kind"), str):
                if record["kind"] == "forgotten":
                    gone = [r for r in records.get("process", []) if r.get("pid") == record.get("pid")]
                    for one in gone:
                        one["start"] = None  # kept: it answers its intent
                elif record["kind"] == "gone":  # the kind stays: such things were used
                    kind = str(record.get("what"))
                    gone = [one for one in records.get(kind, []) if one.get("name") == record.get("name")]
                    records[kind] = [one for one in records.get(kind, []) if one not in gone]
                    records.setdefault(ENGINE_GONE, []).extend(gone)  # which engine had them is not forgotten
                elif record["kind"] == "queue gone":
                    left = [one for one in records.get("queue", []) if one.get("queue") != record.get("queue")]
                    records["queue"] = left
                else:
                    records.setdefault(record["kind"], []).append(record)
    return records


def _context(path: Path, records: dict[str, list[dict[str, Any]]], queues: Queues) -> tuple[Context, str]:
    """Returns what the sweepers need, and why they must not be called ("" = they may)."""
    first = records.get("run", [{}])[0]
    same_boot = first.get("boot_id", clock_domain().boot_id) == clock_domain().boot_id
    elsewhere = ""
    if same_boot and first.get("pid_namespace", pid_namespace()) != pid_namespace():
        elsewhere = f"{path} was written in another container; run `brokerbench down` there, or delete it"
    context = Context(
        run_id=path.stem,
        owner_start=first.get("start", 0),
        wall_s=first.get("wall_s", 0.0),
        same_boot=same_boot,
        records=records,
        queues=queues,
    )
    return context, elsewhere


def pid_namespace() -> str:
    """Returns what tells this container's processes from another's; "" where the system has no such thing."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
