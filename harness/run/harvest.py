"""From what a trial left behind to its tables and facts, however the trial ended."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from harness import tables
from harness.clock import now_ns
from harness.facts import TrialFacts
from harness.gather import gather
from harness.run.context import TrialContext
from harness.run.trial import Seen
from harness.schedule import intended_offsets_ns

UNPROVEN_CLOCK_S = 1e9
"""Stands for "nothing is known of this shard's clock": the slots of other machines have been turned into ours when they were collected."""


def harvest(context: TrialContext, seen: Seen) -> TrialFacts:
    """Gathers the slots, writes every table and the facts of the trial, and returns the facts.

    Raises:
        EvidenceError: a slot file cannot be read.
        BrokerbenchError: the run folder cannot be written.
    """
    schedules = _schedules(context, seen)
    folder = context.folder
    gathered = gather(context.slots, seen.shards, schedules, folder.path, run_id=context.run_id, trial=context.trial_id)
    folder.write_table("connections", seen.connections)
    folder.write_table("residue", seen.found.residue)
    folder.write_table("samples", seen.sampler.frame() if seen.sampler else pl.DataFrame(schema=tables.SAMPLES))
    facts = TrialFacts(
        run_id=context.run_id,
        trial=context.trial_id,
        load_start_ns=seen.load_start_ns,
        steady_start_ns=seen.steady_start_ns,
        load_end_ns=seen.load_end_ns,
        drain_end_ns=seen.drain_end_ns,
        asking_until_ns=gathered.asking_until_ns or seen.asking_until_ns,
        drain_complete=seen.drain_complete,
        broker_back=seen.broker_back,
        broker_died=seen.broker_died,
        residue_sound=seen.found.sound,
        residue_problems=seen.found.problems,
        depth_end=dict(seen.found.depth),
        faults=seen.faults,
        shards=gathered.shards,
        found=seen.effective.parameters if seen.effective else {},
        settings_differ=seen.effective.differences() if seen.effective else (),
        warnings=(*seen.warnings, *gathered.problems),
        machine_stall_max_s=seen.stall_max_s,
        producers=context.case.load.producers,
        scheduled=sum(len(times) for times in schedules.values()),
        open_loop=context.case.load.saturate_window is None,
        visibility_s=context.case.workers.visibility_s,
        sweep_s=context.case.workers.sweep_s,
        prefetch=context.case.workers.prefetch,
        payload_bytes=context.case.load.payload_bytes,
        auto_ack=context.case.workers.ack == "auto",
        clock_error_s=UNPROVEN_CLOCK_S if gathered.other_clocks else seen.clock_error_s,
        ceiling_per_s=seen.ceiling_per_s,
        aborted=seen.aborted,
        memory_peak_bytes=_whole(seen.sampler.highest("broker", "memory_bytes") if seen.sampler else None),
        throttled_broker_s=_used(seen, "broker", "throttled_s"),
        throttled_load_s=_used(seen, "load", "throttled_s"),
        network_received_bytes=_whole(_used(seen, "broker", "network_received_bytes")),
        network_sent_bytes=_whole(_used(seen, "broker", "network_sent_bytes")),
        cores=os.cpu_count() if context.door is None else None,
        incidents=tuple(seen.incidents),
        load_place=seen.load_place,
        shared_clock=seen.shared_clock,
    )
    with folder.timeline() as timeline:
        timeline.append_facts(now_ns(), facts)
    return facts


def _schedules(context: TrialContext, seen: Seen) -> Mapping[int, npt.NDArray[np.int64]]:
    """Returns per producer when its messages were due; nothing in closed loop, or where the load never began.

    A load that was cut short owes only what was due by then.
    """
    if context.case.load.saturate_window is not None or seen.load_start_ns is None:
        return {}
    scenario, until_ns = context.scenario, seen.load_end_ns or now_ns()
    start_ns = seen.load_start_ns
    due = {
        number: intended_offsets_ns(context.case.load, scenario.phases, producer=number, seed=scenario.seed) + start_ns
        for number in range(context.case.load.producers)
    }
    return {number: times[times < until_ns] for number, times in due.items()}


def _used(seen: Seen, source: str, metric: str) -> float | None:
    """Returns how much a count grew from the load's start to the last sample, at the end of the drain."""
    ends = seen.sampler.first_and_last(source, metric, seen.load_start_ns or 0) if seen.sampler else None
    return None if ends is None else ends[1] - ends[0]


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
