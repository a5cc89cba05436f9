"""Whether a trial's evidence can be used (``measurement.md`` section 3, *Trust*).

"A trial is *valid* or *invalid*. Invalid, with the reason: generator saturated; fault never fired; ledger or slots unreadable; clock error
larger than the latency claimed; settings read back differ from those asked for; nothing sent." To these come a shard or agent that
died without an order, a broker that did, a load that ended early, and a fault that fired after the load: all leave evidence missing.

Apart from validity, evidence is *sound* when ledger, drain and settings are: then "a proven loss, phantom or corruption still gives 10
even if the generator was saturated" (``gate.md``).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from harness.analysis.identities import NEVER, producers_of
from harness.analysis.moments import Moments
from harness.analysis.percentiles import Distribution, is_printed, nearest_rank_ns
from harness.analysis.windows import Window
from harness.clock import NS_PER_S
from harness.facts import KILLED_FOR_MEMORY, FaultRecord, ShardRecord, TrialFacts
from harness.model import Outcome, TrialStatus
from harness.record import AtLeast, Figure
from harness.tables import CORE_SHARE
from harness.units import format_count, format_duration

INTERRUPTED = "interrupted"
"""How ``TrialFacts.aborted`` begins where a person ended the run."""

LATE_NS = NS_PER_S
"""How much later than planned a fault may fire before it is told."""

LAG_BOUND_S = 0.010
LAG_SHARE = 0.10
LAG_PERMILLE = 990
CORE_BOUND = 0.90


@dataclass(frozen=True, kw_only=True, slots=True)
class Trust:
    """What a trial's evidence is worth.

    Args:
        status: valid, invalid, or interrupted.
        reasons: why it is not valid, a sentence each.
        warnings: what a reader must know of a trial that is valid all the same.
        evidence_sound: ledger, drain and settings are sound.
        lag_bound_s: the bound of the p99 of the schedule lag that was applied.
    """

    status: TrialStatus
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    evidence_sound: bool
    lag_bound_s: float


def lag_bound_s(p99: Figure | None) -> float:
    """Returns the larger of 10 ms and 10 % of the reported p99 latency."""
    reported_s = p99.at_least if isinstance(p99, AtLeast) else p99 if isinstance(p99, float) else 0.0
    return max(LAG_BOUND_S, LAG_SHARE * reported_s)


def slots_missing(shard: ShardRecord) -> bool:
    """Returns whether a shard's file is missing or holds fewer slots than it had reported."""
    return shard.slots_found < shard.slots_reported or shard.slots_found < 0


def judge(
    facts: TrialFacts,
    moments: Moments,
    *,
    core_shares: Mapping[str, float],
    lag: Distribution,
    p50: Figure | None,
    p99: Figure | None,
) -> Trust:
    """Returns what a trial is worth.

    Args:
        core_shares: shard → largest share of one core over a second of that window.
        lag: the schedule lag in the window of the headline.
        p50, p99: end-to-end latency there, as reported.
    """
    bound_s = lag_bound_s(p99)
    reasons = [
        *_load_ended_early(facts, moments),
        *_broker(facts),
        *_ledger(facts),
        *_settings(facts),
        *_faults(facts),
        *_clock(facts, p50),
        *(_saturated(facts, moments, core_shares, lag, bound_s) if facts.open_loop else ()),
    ]
    return Trust(
        status=_status(facts, reasons),
        reasons=tuple(reasons),
        warnings=tuple(_late(facts)),
        evidence_sound=is_sound(facts),
        lag_bound_s=bound_s,
    )


def core_shares(samples: pl.DataFrame, window: Window) -> dict[str, float]:
    """Returns per shard the largest share of one core over a second that lies in the window.

    Not over the whole run: workers that catch up after a fault may well use a core.
    """
    seconds = samples.filter(pl.col("metric") == CORE_SHARE)
    ends = seconds["t_ns"].to_numpy()
    wholly = np.zeros(len(ends), bool)
    for start, end in window:
        wholly |= (ends - NS_PER_S >= start) & (ends <= end)
    largest = seconds.filter(pl.Series(wholly, dtype=pl.Boolean)).group_by("source").agg(pl.col("value").max())
    return dict(largest.rows())


def is_sound(facts: TrialFacts) -> bool:
    """Returns whether ledger, drain and settings are sound; a worker that died by itself may have swallowed messages."""
    return (
        facts.residue_sound
        and not facts.settings_differ
        and not any(slots_missing(shard) for shard in facts.shards)
        and not any(shard.kind == "worker" and not shard.expected_exit for shard in facts.shards)
    )


def is_interrupted(facts: TrialFacts) -> bool:
    """Returns whether a person ended the run."""
    return facts.aborted.startswith(INTERRUPTED)


def _status(facts: TrialFacts, reasons: list[str]) -> TrialStatus:
    if is_interrupted(facts):
        return TrialStatus.INTERRUPTED
    return TrialStatus.INVALID if reasons else TrialStatus.VALID


def _load_ended_early(facts: TrialFacts, moments: Moments) -> Iterator[str]:
    if facts.aborted:
        fell = any(not shard.expected_exit and shard.exit_status is None for shard in facts.shards)
        killed = (
            "".join(f"; {text}" for text in _killed_for_memory(facts)[-1:] if text not in facts.aborted) if fell else ""
        )
        yield facts.aborted if is_interrupted(facts) else f"the load ended early: {facts.aborted}{killed}"
    begun = facts.load_start_ns is not None and (facts.load_end_ns is None or facts.load_end_ns > facts.load_start_ns)
    if begun and not (moments.sent_ns != NEVER).any():
        yield "nothing was sent"


def _broker(facts: TrialFacts) -> Iterator[str]:
    if facts.broker_died:
        yield f"the broker ended unexpectedly: {facts.broker_died}"


def _ledger(facts: TrialFacts) -> Iterator[str]:
    told = set()
    for shard in facts.shards:
        if shard.slots_found < 0 and shard.agent not in told:
            told.add(shard.agent)
            yield f"ledger unreadable: {_unreadable(shard.agent, facts)}"
        elif shard.slots_found >= 0 and slots_missing(shard):
            found, reported = format_count(shard.slots_found), format_count(shard.slots_reported)
            yield f"slots missing: {found} of {shard.name} found, it had reported {reported}"
        if not shard.expected_exit and not _fell_with_the_run(shard, facts):
            yield _end_of(shard, facts)


def _end_of(shard: ShardRecord, facts: TrialFacts) -> str:
    """Returns how a shard ended that nobody had told to."""
    named = f"{shard.kind} {shard.name}"
    if shard.exit_status in (None, -signal.SIGKILL) and _killed_for_memory(facts):
        if shard.exit_status is None:
            return f"{named} ended with a process of the load that the kernel killed for memory"
        return f"the kernel killed {named} for memory"
    return f"{named} ended by itself{'' if shard.exit_status is None else f' with status {shard.exit_status}'}"


def _killed_for_memory(facts: TrialFacts) -> list[str]:
    """Returns what the kernel killed of the load for memory, in words: at last, it may be its container."""
    return [each.text for each in facts.incidents if (each.source, each.what) == ("load", KILLED_FOR_MEMORY)]


def _unreadable(agent: int, facts: TrialFacts) -> str:
    """Returns whose slots an agent did not bring, and whether it was lost: then nobody saw how its shards ended."""
    missing = [shard for shard in facts.shards if shard.agent == agent and shard.slots_found < 0]
    names = ", ".join(shard.name for shard in missing)
    if any(not shard.expected_exit and shard.exit_status is None for shard in missing):
        return f"agent {agent} was lost, and with it the slots of {names}"
    several = len({shard.agent for shard in facts.shards}) > 1
    return f"the slots of {names} are missing{f', which agent {agent} ran' if several else ''}"


def _fell_with_the_run(shard: ShardRecord, facts: TrialFacts) -> bool:
    """Returns whether a shard ended because a person ended the run: not before that moment; or with the whole load, whose end is told by itself."""
    if facts.aborted and not is_interrupted(facts):
        return shard.exit_status is None
    ended = shard.ended_ns
    return is_interrupted(facts) and (ended is None or facts.load_end_ns is None or ended >= facts.load_end_ns)


def _settings(facts: TrialFacts) -> Iterator[str]:
    for difference in facts.settings_differ:
        yield f"settings differ: {difference}"


def _faults(facts: TrialFacts) -> Iterator[str]:
    for fault in facts.faults:
        if is_interrupted(facts) and (fault.injected_ns is None or not fault.hit):
            yield f"interrupted before the fault fired: {fault.label}"
        elif fault.injected_ns is None:
            earlier = _in_the_way(fault, facts)
            why = f", which waited for {earlier.label} before it to heal" if earlier else ""
            yield f"fault never fired: {fault.label}{why}"
        elif not fault.hit:
            yield f"fault never fired: {fault.label} was ordered, and nothing shows that it hit"
        elif _after_the_load(fault, facts):
            yield f"fault fired after the load had ended: {fault.label} ({_when(fault, facts)})"


def _in_the_way(fault: FaultRecord, facts: TrialFacts) -> FaultRecord | None:
    """Returns the fault on the same target that had not healed when this one was due: they wait for each other."""
    target = fault.label.rpartition(" ")[2]
    for other in facts.faults:
        struck = other.injected_ns is not None and other.label.rpartition(" ")[2] == target
        if struck and (other.healed_ns is None or other.healed_ns > fault.planned_ns):
            return other
    return None


def _after_the_load(fault: FaultRecord, facts: TrialFacts) -> bool:
    """Returns whether a fault met no load any more (where the load was cut short, that alone is the reason)."""
    if facts.aborted or fault.injected_ns is None or facts.load_end_ns is None:
        return False
    return fault.injected_ns > facts.load_end_ns


def _late(facts: TrialFacts) -> Iterator[str]:
    for fault in facts.faults:
        if fault.injected_ns is None or _after_the_load(fault, facts):
            continue
        late_ns = fault.injected_ns - fault.planned_ns
        if late_ns > LATE_NS:
            yield f"{fault.label} fired {late_ns / NS_PER_S:.1f} s late ({_when(fault, facts)})"


def _when(fault: FaultRecord, facts: TrialFacts) -> str:
    """Returns when a fault was planned and when it fired, as the scenario counts: from the end of warm-up on."""
    zero_ns = facts.steady_start_ns or 0
    planned_s, injected_s = (fault.planned_ns - zero_ns) / NS_PER_S, ((fault.injected_ns or 0) - zero_ns) / NS_PER_S
    return f"planned {_tenths(planned_s)} s, injected {_tenths(injected_s)} s"


def _tenths(value_s: float) -> str:
    return f"{value_s:.1f}".removesuffix(".0")


def _clock(facts: TrialFacts, p50: Figure | None) -> Iterator[str]:
    if facts.clock_error_s and isinstance(p50, float) and facts.clock_error_s > p50:
        error, claimed = format_duration(facts.clock_error_s), format_duration(p50)
        yield f"clock error {error} is larger than the latency claimed ({claimed} at the median)"


def _saturated(
    facts: TrialFacts, moments: Moments, core_shares: Mapping[str, float], lag: Distribution, bound_s: float
) -> Iterator[str]:
    p99_ns = nearest_rank_ns(lag, LAG_PERMILLE)
    if p99_ns is not None and p99_ns / NS_PER_S > bound_s:
        count = len(lag.values_ns)
        few = "" if is_printed(count, LAG_PERMILLE) else f" of only {format_count(count)} messages"
        p99, bound = format_duration(p99_ns / NS_PER_S), format_duration(bound_s)
        yield f"generator saturated: schedule lag p99 {p99}{few}, bound {bound}"
    for shard in facts.shards:
        share = core_shares.get(shard.name, 0.0)
        if share > CORE_BOUND:
            yield f"generator saturated: {shard.kind} {shard.name} stood at {share:.0%} of a core, bound {CORE_BOUND:.0%}"
    skipped = 0 if _cut_short(facts) else _never_sent(facts, moments)
    if skipped:
        yield f"generator saturated: {format_count(skipped)} due messages were never sent, though nothing held them"


def _never_sent(facts: TrialFacts, moments: Moments) -> int:
    """Returns how many messages a living producer neither sent nor held."""
    dead = [shard.number for shard in facts.shards if shard.kind == "producer" and shard.killed_ns is not None]
    unsent = (moments.outcome == Outcome.NOT_SENT) & ~moments.held
    return int(np.count_nonzero(unsent)) - int(np.count_nonzero(np.isin(producers_of(moments.keys[unsent]), dead)))


def _cut_short(facts: TrialFacts) -> bool:
    """Returns whether the schedule could not be kept for a reason that is told by itself: load, broker or a producer ended."""
    producers = [shard for shard in facts.shards if shard.kind == "producer"]
    return bool(facts.aborted or facts.broker_died) or not all(shard.expected_exit for shard in producers)
