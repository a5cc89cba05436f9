"""What happened in a trial, beside its tables: faults and shards as they really were, and the facts that analysis starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.model import FaultKind


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultRecord:
    """One fault as it really happened.

    Args:
        index: position in the scenario's list, from 0.
        kind: which fault.
        label: as printed, e.g. ``kill broker``.
        planned_ns: when it was due.
        injected_ns: when the first signal left; None = it never fired.
        healed_ns: when the target worked again (broker: a real operation succeeded; worker: its replacement was
            ready, or the kill itself where it is never replaced); None = never.
        hit: the evidence shows that the target was really struck.
        evidence: facts for people and for the verdict (pids gone, wait status …); JSON values.
        shards: names of the shards that were struck (worker and producer faults).
    """

    index: int
    kind: FaultKind
    label: str
    planned_ns: int
    injected_ns: int | None = None
    healed_ns: int | None = None
    hit: bool = False
    evidence: Mapping[str, object] = field(default_factory=dict)
    shards: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardRecord:
    """One producer or worker process as it really lived.

    Args:
        name: ``p0``, ``w3``, ``w3.1`` (a replacement has a generation of its own).
        kind: ``producer`` or ``worker``.
        number: producer number of the envelope, or the worker's number: unique over generations.
        pid: process id where it ran.
        agent: index of the agent that ran it.
        scheduling: e.g. ``fifo`` or ``other``.
        started_ns, ended_ns: its life; ended None = not seen to end.
        killed_ns: when a fault's SIGKILL was sent; None = not killed by us.
        exit_status: return code (negative = signal), None = not known.
        expected_exit: it ended by our order (stop, or a fault); False makes the trial say what is missing.
        slots_reported: slots it last reported in use; slots_found: slots readable in its file (-1 = file missing).
        fetch_open: it died inside a fetch; fetch_max_n: what that fetch asked for.
        cpu_s: CPU seconds used; wall_s: seconds over which they were used.
    """

    name: str
    kind: str
    number: int
    pid: int = 0
    agent: int = 0
    scheduling: str = ""
    started_ns: int = 0
    ended_ns: int | None = None
    killed_ns: int | None = None
    exit_status: int | None = None
    expected_exit: bool = True
    slots_reported: int = 0
    slots_found: int = 0
    fetch_open: bool = False
    fetch_max_n: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0


CLOSED = "closed"
"""The ``reason`` of ``tables.CONNECTIONS`` where a shard ended its connection itself."""

BLOCKED, UNBLOCKED = "blocked: ", "unblocked"
"""How a ``reason`` of ``tables.CONNECTIONS`` begins where the connection stays up and a producer is held by the broker, or no more."""

KILLED_FOR_MEMORY = "killed for memory"


@dataclass(frozen=True, kw_only=True, slots=True)
class IncidentRecord:
    """Something that befell a container without our doing.

    Args:
        t_ns: when it was seen. source: ``broker`` or ``load``. what: ``KILLED_FOR_MEMORY``, ``throttled``, ``ended``, ``unanswered``.
        text: one sentence for the report.
    """

    t_ns: int
    source: str
    what: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialFacts:
    """Everything that analysis needs beside the tables; rebuilt from ``timeline.jsonl`` alone.

    All times are CLOCK_MONOTONIC ns. ``None`` = that phase was not reached.

    Args:
        run_id, trial: as in the envelope.
        load_start_ns: start of warm-up. steady_start_ns: end of warm-up. load_end_ns: end of the schedule.
        drain_end_ns: when workers had stopped. asking_until_ns: last moment at which a worker was asking.
        drain_complete: it ended by quiet, not by its limit.
        broker_back: the broker came back after every fault.
        broker_died: how the broker's process ended by itself, not by a fault of the scenario; "" = it did not.
        residue_sound: the search was sound; residue_problems: why not.
        depth_end: messages that the broker said it still held, by place; None where unknown.
        faults, shards: as above.
        found: parameter → value, of those that were left as the broker had them (``external``); one that is missing is unknown.
        settings_differ: "name: asked …, found …" for each setting read back otherwise.
        warnings: plain sentences.
        machine_stall_max_s: longest stall of the idle watcher while under load.
        memory_peak_bytes: highest sample of the broker's memory; None where not measured.
        throttled_broker_s, throttled_load_s: for how long a CPU limit kept them from running, from the load's start to the end of
            the drain; None where none can be told.
        network_received_bytes, network_sent_bytes: through the network of the broker's container, in that time; None where it has
            none of its own (host network, no container).
        cores: of the machine; None = not known (older runs), or the load ran on other machines too, whose CPU its samples hold as well.
        incidents: what befell the containers, by time.
        load_place: where the load ran: ``this machine`` or ``container``; "" = not known (older runs).
        shared_clock: the load's container was seen to read this machine's clock (boot id and time namespace); None = it had none to prove.
        producers: number of producers; scheduled: messages scheduled in all (0 = saturate).
        open_loop: False for ``saturate``.
        visibility_s, sweep_s, prefetch, payload_bytes: as the scenario says.
        auto_ack: the scenario's workers acknowledge by receiving.
        clock_error_s: bound on the difference of clocks between shards (0 = one clock, proven).
        ceiling_per_s: what the generator can do with such a load on this machine (``calibrate``); None = not known.
        aborted: why the load ended early ("" = it did not): agent lost, generator died …
    """

    run_id: int
    trial: int
    load_start_ns: int | None = None
    steady_start_ns: int | None = None
    load_end_ns: int | None = None
    drain_end_ns: int | None = None
    asking_until_ns: int | None = None
    drain_complete: bool = False
    broker_back: bool = True
    broker_died: str = ""
    residue_sound: bool = False
    residue_problems: tuple[str, ...] = ()
    depth_end: Mapping[str, int | None] = field(default_factory=dict)
    faults: tuple[FaultRecord, ...] = ()
    shards: tuple[ShardRecord, ...] = ()
    found: Mapping[str, str] = field(default_factory=dict)
    settings_differ: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    machine_stall_max_s: float = 0.0
    memory_peak_bytes: int | None = None
    throttled_broker_s: float | None = None
    throttled_load_s: float | None = None
    network_received_bytes: int | None = None
    network_sent_bytes: int | None = None
    cores: int | None = None
    incidents: tuple[IncidentRecord, ...] = ()
    load_place: str = ""
    shared_clock: bool | None = None
    producers: int = 1
    scheduled: int = 0
    open_loop: bool = True
    visibility_s: float = 5.0
    sweep_s: float = 1.0
    prefetch: int = 100
    payload_bytes: int = 256
    auto_ack: bool = False
    clock_error_s: float = 0.0
    ceiling_per_s: float | None = None
    aborted: str = ""
