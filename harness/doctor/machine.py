"""Cores, memory, the places for slots and data, scheduling, timers, the clock, and what else the machine does."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from harness.clock import ClockDomain, clock_domain
from harness.doctor.finding import Check, Seen, missing, ok, worse
from harness.doctor.traces import nearest
from harness.environment import cgroup_cpu_quota, cgroup_memory_limit, fingerprint, memory_free, realtime_permitted
from harness.journal import Journal
from harness.ledger import slot_bytes
from harness.load.pacing import exact_timers
from harness.mounts import Mount, mount_of
from harness.stalls import stolen_s
from harness.units import format_bytes, format_count, format_duration

MEMORY_NEEDED = 450_000_000
"""What all processes of a quickstart take at its peak: 419 MB, measured."""
MEMORY_GOOD = 1_000_000_000
DATA_NEEDED = 100_000_000
"""What a server of the quickstart writes: 87 MB, measured (Postgres)."""
DATA_GOOD = 2_000_000_000
RUN_NEEDED = 10_000_000
"""What a quickstart keeps: 7.2 MB, measured."""
RUN_GOOD = 100_000_000
SLOTS_GOOD = 100_000_000
MEMORY_KINDS = ("tmpfs", "ramfs")

WAKE_UPS = 50
SLEEP_S = 0.001  # a producer's tick
LATE_S = 0.000_5
STALL_S = 0.02
SLOW_CLOCKS = ("hpet", "acpi_pm", "jiffies", "pit")
SLOW_READ_S = 1e-6
STOLEN = 0.01

_THIS = "This machine"


def checks(messages: float, output: Path) -> Iterator[Check]:
    """Yields the checks of this module.

    Args:
        messages: that a trial of the quickstart sends. output: where runs are kept.
    """
    needed = slot_bytes(messages)
    yield Check(id="cores", group=_THIS, what="cores", look=_cores)
    yield Check(id="memory", group=_THIS, what="memory", look=_memory, required=True)
    yield Check(id="slots", group=_THIS, what="room for slots", look=lambda: _slots(needed), required=True)
    yield Check(id="data", group=_THIS, what="room for data", look=_data, required=True)
    yield Check(id="runs", group=_THIS, what="room for runs", look=lambda: _runs(output), required=True)
    yield Check(id="scheduling", group=_THIS, what="scheduling right", look=lambda: scheduling(realtime_permitted()))
    yield Check(id="timers", group=_THIS, what="timers", look=lambda: timers(wake_ups()))
    yield Check(id="clock", group=_THIS, what="clock", look=_clock)
    yield Check(id="processor", group=_THIS, what="processor", look=_processor)
    yield Check(id="quiet", group=_THIS, what="other load", look=_quiet)


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cores() -> Seen:
    return cores(os.cpu_count() or 1, _affinity(), cgroup_cpu_quota())


def cores(total: int, usable: int, quota: float | None) -> Seen:
    """Judges the CPUs: ``total`` of the machine, ``usable`` by this process's affinity, ``quota`` of its control groups."""
    least = min(usable, quota or usable)
    limits = [f"affinity: {usable}"] if usable < total else []
    limits += [f"control group: {quota:g}"] if quota is not None and quota < total else []
    value = f"{least:g} of {total}" + (f" ({', '.join(limits)})" if limits else "")
    if least < 2:
        return worse(
            value,
            "broker, workers and load generator share one: they wait for each other, and a trial may be invalid for it",
            "give it two or more (docker run --cpus 2), or lower load.rate",
        )
    return ok(value, "2 are enough for the quickstart; at high rates each producer and worker wants one of its own")


def _memory() -> Seen:
    return memory(memory_free(), psutil.virtual_memory().total, cgroup_memory_limit())


def memory(free: int, total: int, limit: int | None) -> Seen:
    """Judges the memory, in bytes; ``limit``: of the control groups, None = none."""
    of = f"{format_bytes(limit)} (control group) of {format_bytes(total)}" if limit else format_bytes(total)
    value = f"{format_bytes(free)} free of {of}"
    takes = f"a quickstart takes up to {format_bytes(MEMORY_NEEDED)}"
    remedy = "end other programs, or give it more (docker run --memory 2g)"
    if free < MEMORY_NEEDED:
        return missing(value, f"{takes}: the system would kill some of its processes", remedy)
    if free < MEMORY_GOOD:
        return worse(value, f"{takes}: next to no room for a longer run", remedy)
    return ok(value, takes)


def _slots(needed: int) -> Seen:
    place = Journal.slot_place()
    return slots(place, mount_of(place).kind, shutil.disk_usage(place).free, needed)


def slots(place: Path, kind: str, free: int, needed: int) -> Seen:
    """Judges where shards write down what they see; ``needed``: bytes for the quickstart."""
    value = f"{format_bytes(free)} free in {place} ({kind})"
    room = f"room for some {format_count(float(f'{free / slot_bytes(1):.2g}'))} messages in a trial"
    remedy = "free memory there (df -h /dev/shm), or make it larger (docker run --shm-size 1g)"
    if free < needed:
        return missing(value, f"the quickstart needs {format_bytes(needed)}", remedy)
    if kind not in MEMORY_KINDS:
        return worse(
            value,
            "not in memory: what a shard writes down may wait for the disk, and that looks like latency",
            "mount a tmpfs on /dev/shm that you may write (docker run --shm-size 1g)",
        )
    if free < SLOTS_GOOD:
        return worse(value, room, remedy)
    return ok(value, room)


def _data() -> Seen:
    place = Path(tempfile.gettempdir())
    return data(place, mount_of(place), shutil.disk_usage(place).free)


def data(place: Path, mount: Mount, free: int) -> Seen:
    """Judges where embedded brokers keep their data."""
    value = f"{format_bytes(free)} free in {place} ({mount.kind})"
    remedy = "free space there, or set TMPDIR to a folder with more"
    if free < DATA_NEEDED:
        return missing(value, f"a broker of the quickstart writes up to {format_bytes(DATA_NEEDED)}", remedy)
    if mount.kind in MEMORY_KINDS:
        return worse(
            value,
            "in memory: what a broker writes to disk and syncs costs next to nothing here, so durable setups look too fast",
            "set TMPDIR to a folder on a disk that everybody may enter",
        )
    if free < DATA_GOOD:
        return worse(value, "enough for the quickstart; a long or fast run can fill it", remedy)
    return ok(value, "embedded brokers keep their data here while they run")


def _runs(output: Path) -> Seen:
    place = nearest(output)
    return runs(output.absolute(), shutil.disk_usage(place).free, os.access(place, os.W_OK | os.X_OK))


def runs(output: Path, free: int, writable: bool) -> Seen:
    """Judges where runs are kept."""
    remedy = "free space there, or name another folder: brokerbench run -o DIR"
    if not writable:
        return missing(f"{output} cannot be written", "every run is kept as a folder there", remedy)
    value = f"{format_bytes(free)} free for {output}"
    if free < RUN_NEEDED:
        return missing(value, f"a quickstart keeps {format_bytes(RUN_NEEDED)}", remedy)
    if free < RUN_GOOD:
        return worse(value, "enough for the quickstart; a long or fast run keeps more", remedy)
    return ok(value, "some 50 bytes per message are kept")


def scheduling(permitted: bool) -> Seen:
    """Judges whether producers get real-time scheduling."""
    if permitted:
        return ok("SCHED_FIFO is permitted (tried)", "producers send on time even while others saturate the cores")
    return worse(
        "SCHED_FIFO is not permitted (tried)",
        "where other processes saturate the cores, producers send up to some 4 ms late instead of 0.25 ms (schedule lag)",
        "run as root, or permit it: setcap cap_sys_nice+ep on the interpreter, `ulimit -r 1` (limits.conf: rtprio 1),"
        " docker run --cap-add SYS_NICE",
    )


def wake_ups() -> list[float]:
    """Returns by how many seconds each of some sleeps of a tick ended late, in a thread with exact timers."""
    late: list[float] = []

    def sleep() -> None:
        exact_timers()  # of this thread, which ends
        for _ in range(WAKE_UPS):
            due = time.monotonic() + SLEEP_S
            time.sleep(SLEEP_S)
            late.append(time.monotonic() - due)

    thread = threading.Thread(target=sleep, name="timers?")
    thread.start()
    thread.join()
    return late


def timers(late: Sequence[float]) -> Seen:
    """Judges sleeps; ``late``: by how many seconds each ended late."""
    middle, most = statistics.median(late), max(late)
    value = f"a sleep ends {format_duration(middle)} late (median of {len(late)}), at most {format_duration(most)}"
    if middle >= LATE_S:
        return worse(
            value,
            "what is due is sent that much later",
            "end what else runs; in a virtual machine look for a high-resolution timer (CONFIG_HIGH_RES_TIMERS)",
        )
    if most >= STALL_S:
        return worse(
            value,
            "the machine stood still for a moment: tails of latencies up to that are its own",
            "end what else runs",
        )
    return ok(value, "producers send on time")


def _clock() -> Seen:
    begun = time.perf_counter()
    for _ in range(1000):
        time.monotonic_ns()
    read_s = (time.perf_counter() - begun) / 1000
    source = fingerprint_of("drift")["clock_source"]
    return clock(source, read_s, time.clock_getres(time.CLOCK_MONOTONIC), clock_domain())


def clock(source: str | None, read_s: float, resolution_s: float, domain: ClockDomain) -> Seen:
    """Judges ``CLOCK_MONOTONIC``: where it comes from, what a look costs, and whether others can be told to share it."""
    value = f"CLOCK_MONOTONIC{f' from {source}' if source else ''}, {read_s * 1e9:.0f} ns a look"
    if source in SLOW_CLOCKS or read_s > SLOW_READ_S:
        return worse(
            value,
            "every message costs several looks: the load generator is slower",
            "see /sys/devices/system/clocksource/clocksource0/available_clocksource for a better one, such as tsc",
        )
    if resolution_s > SLOW_READ_S:
        return worse(
            f"{value}, steps of {format_duration(resolution_s)}", "latencies come in such steps", "use another kernel"
        )
    if not domain.boot_id:
        return ok(value, "this system does not tell which processes share it: all have to run on this machine")
    return ok(value, "one clock for all processes of this machine")


def _processor() -> Seen:
    found = fingerprint_of("identity") | fingerprint_of("drift")
    driver = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver")
    return processor(
        found["cpu_model"],
        found["hypervisor"],
        found["cpu_governor"],
        driver.read_text().strip() if driver.exists() else "",
    )


def fingerprint_of(group: str) -> dict[str, Any]:
    """Returns a group of the fingerprint that a run here would have."""
    found: dict[str, Any] = fingerprint(Path(tempfile.gettempdir()))[group]
    return found


def processor(model: str | None, virtual: bool | None, governor: str | None, driver: str) -> Seen:
    """Judges the CPU; ``virtual``: a hypervisor is below. ``governor``, ``driver``: of its frequency; None, "" = not told."""
    words = [
        model or "unknown model",
        *(["virtual"] if virtual else []),
        *([f"governor {governor}"] if governor else []),
    ]
    value = ", ".join(words)
    if governor == "powersave" and not driver.endswith("pstate"):  # there it is the word for "as needed"
        return worse(
            value,
            "it runs at its lowest frequency: figures are lower than need be",
            "cpupower frequency-set -g performance",
        )
    if virtual:
        return ok(value, "what neighbours do can show in figures; trials watch for stalls and stolen time")
    return ok(value, "part of the fingerprint: figures of other processors are not comparable")


def _quiet() -> Seen:
    up_s = time.time() - psutil.boot_time()
    stolen = stolen_s() / max(up_s * (os.cpu_count() or 1), 1.0)
    return quiet(os.getloadavg()[0], min(_affinity(), cgroup_cpu_quota() or _affinity()), stolen)


def quiet(load: float, cores_usable: float, stolen: float) -> Seen:
    """Judges what else the machine does: mean ``load`` of a minute, and the share of CPU time ``stolen`` since the boot."""
    value = f"load {load:.1f} on {cores_usable:g} core{'' if cores_usable == 1 else 's'}, {stolen:.2%} stolen by the hypervisor"
    if stolen >= STOLEN:
        return worse(
            value,
            "the host takes the processor away: latencies hold its pauses",
            "use a machine of your own, or compare with `trials`",
        )
    if load > cores_usable:
        return worse(value, "other programs use the cores: latencies hold their part", "wait until they have ended")
    return ok(value, "nothing else keeps the cores busy")
