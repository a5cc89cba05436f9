"""From what a trial left behind to all that is said about it: the one place where the parts of ``analysis`` meet.

Pure: tables and facts in, figures out; the same on the day of the run and from its folder years later. Neighbours: ``run``
(calls :func:`analyse` for a fresh trial and for a stored one), ``record`` (what comes out), ``combine`` (over trials and cases).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from harness.analysis import guarantees, trust
from harness.analysis.backlog import Backlog
from harness.analysis.blocked import Blockage, blockages, blocked_words
from harness.analysis.ceiling import ceiling_words
from harness.analysis.claims import with_auto_ack
from harness.analysis.combine import combine_case, run_exit
from harness.analysis.examples import examples
from harness.analysis.identities import NEVER
from harness.analysis.measure import due_unasked, end_ns, lag, measure, negative_latencies
from harness.analysis.moments import Moments, gather_moments
from harness.analysis.reconcile import lost_by_skipping, reconcile
from harness.analysis.recovery import Recoveries, Recovery
from harness.analysis.repeats import left_after_ack, unasked_repeats
from harness.analysis.used import others_words
from harness.analysis.windows import all_windows, baseline_window, injected, inside
from harness.clock import NS_PER_S
from harness.facts import FaultRecord, TrialFacts
from harness.model import Class, Parameters, Setup, TrialStatus
from harness.record import (
    Example,
    FaultResult,
    Figure,
    Guarantee,
    IncidentResult,
    LedgerCounts,
    Metrics,
    TrialRecord,
)
from harness.units import format_count, format_duration

__all__ = ["AnalysedTrial", "TrialTables", "analyse", "combine_case", "run_exit"]

STALL_SHOWN_S = 0.010
"""Stalls of the machine below this are not worth a warning: the watcher sleeps 10 ms itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialTables:
    """The tables of a trial (``harness.tables``); the two big ones may be scans, of which only the columns needed are read."""

    attempts: pl.DataFrame | pl.LazyFrame
    deliveries: pl.DataFrame | pl.LazyFrame
    residue: pl.DataFrame
    connections: pl.DataFrame
    samples: pl.DataFrame


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysedTrial:
    """All that a trial says; the fields are those of :class:`harness.record.TrialRecord`, and ``messages`` is its table."""

    status: TrialStatus
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    metrics: Metrics
    throughput_label: dict[str, str]
    ledger: LedgerCounts
    faults: tuple[FaultResult, ...]
    guarantees: tuple[Guarantee, ...]
    examples: tuple[Example, ...]
    incidents: tuple[IncidentResult, ...]
    throttled_s: Mapping[str, float]
    lag_bound_s: float
    evidence_sound: bool
    messages: pl.DataFrame

    def record(self, *, number: int, folder: str, interrupted: bool = False) -> TrialRecord:
        """Returns the trial's part of ``run.json``.

        Args:
            number: of the trial. folder: relative to the run folder.
            interrupted: Ctrl-C ended it, so whatever its figures, it proves nothing.
        """
        return TrialRecord(
            number=number,
            status=TrialStatus.INTERRUPTED if interrupted else self.status,
            reasons=list(self.reasons),
            warnings=list(self.warnings),
            folder=folder,
            metrics=self.metrics,
            throughput_label=self.throughput_label,
            ledger=self.ledger,
            faults=list(self.faults),
            guarantees=list(self.guarantees),
            examples=list(self.examples),
            incidents=list(self.incidents),
            throttled_s=dict(self.throttled_s),
            lag_bound_s=self.lag_bound_s,
            evidence_sound=self.evidence_sound and not interrupted,
        )


def analyse(tables: TrialTables, facts: TrialFacts, setup: Setup, parameters: Parameters) -> AnalysedTrial:
    """Returns everything that is said about one trial.

    Args:
        tables: what the shards saw and what was found in the broker. facts: what the run knows beside them.
        setup, parameters: whose claims are judged; parameters complete.
    """
    attempts, deliveries = tables.attempts.lazy(), tables.deliveries.lazy()
    traits = setup.traits_of(parameters)
    reconciled = reconcile(attempts, deliveries, tables.residue, tables.connections, facts, traits)
    moments = gather_moments(attempts, deliveries, reconciled.messages)
    facts = with_load_end(facts, moments)
    until_ns = end_ns(facts, moments)
    backlog = Backlog.of(moments)
    recoveries = Recoveries(
        moments=moments,
        backlog=backlog,
        deliveries=deliveries,
        connections=tables.connections,
        facts=facts,
        baseline=baseline_window(facts),
        until_ns=until_ns,
    )
    recovered = {fault.index: recoveries.of(fault) for fault in injected(facts.faults)}
    windows = all_windows(
        facts, {index: each.until_ns for index, each in recovered.items() if each.until_ns is not None}
    )
    metrics, labels = measure(moments, backlog, windows, facts, reconciled.counts, samples=tables.samples)
    headline = windows.steady or windows.whole
    latency = metrics["steady" if windows.steady else "whole"]
    trusted = trust.judge(
        facts,
        moments,
        core_shares=trust.core_shares(tables.samples, headline),
        lag=lag(moments, inside(headline, moments.intended_ns)),
        p50=latency.get("latency.end_to_end.p50"),
        p99=latency.get("latency.end_to_end.p99"),
    )
    claims = setup.claims_of(parameters)
    judged = guarantees.judge(
        guarantees.Seen(
            moments=moments,
            counts=reconciled.counts,
            repeats=unasked_repeats(reconciled.repeats),
            left_after_ack_ns=left_after_ack(reconciled.messages, moments),
            by_skipping=moments.are_in(lost_by_skipping(reconciled.messages)),
            deliveries=deliveries,
            residue=tables.residue,
            connections=tables.connections,
            facts=facts,
            traits=traits,
        ),
        with_auto_ack(claims, setup.auto_ack_loses) if facts.auto_ack else claims,
    )
    return AnalysedTrial(
        status=trusted.status,
        reasons=trusted.reasons,
        warnings=(
            *facts.warnings,
            *trusted.warnings,
            *others_words(tables.samples, facts),
            *ceiling_words(facts, latency),
            *(warning for each in recovered.values() for warning in each.warnings),
            *_warnings(
                facts,
                reconciled.counts,
                negative=negative_latencies(moments),
                unasked=due_unasked(moments, until_ns),
                has_steady=bool(windows.steady or not windows.whole),
                blocked=blockages(tables.connections, facts),
            ),
        ),
        metrics=metrics,
        throughput_label=labels,
        ledger=reconciled.counts,
        faults=_fault_results(facts, recovered, judged.exposed),
        guarantees=judged.guarantees,
        examples=tuple(examples(reconciled, attempts, deliveries, tables.residue, facts)),
        incidents=_incidents(facts),
        throttled_s=_throttled(facts),
        lag_bound_s=trusted.lag_bound_s,
        evidence_sound=trusted.evidence_sound,
        messages=reconciled.messages,
    )


def with_load_end(facts: TrialFacts, moments: Moments) -> TrialFacts:
    """Returns the facts with an end of the load also where it was cut short and nobody noted when: the last thing seen."""
    if facts.load_start_ns is None or facts.load_end_ns is not None or not facts.aborted:
        return facts
    seen = [t_ns[t_ns != NEVER] for t_ns in (moments.sent_ns, moments.confirmed_ns, moments.delivery_events_ns)]
    return replace(facts, load_end_ns=max(facts.load_start_ns, *(int(t_ns.max(initial=0)) for t_ns in seen)))


def _fault_results(
    facts: TrialFacts, recovered: Mapping[int, Recovery], exposed: Mapping[int, int]
) -> tuple[FaultResult, ...]:
    start = facts.steady_start_ns or 0

    def since_steady(t_ns: int | None) -> float | None:
        return None if t_ns is None else (t_ns - start) / NS_PER_S

    def result(fault: FaultRecord) -> FaultResult:
        figures: dict[str, Figure] = dict(recovered[fault.index].figures) if fault.index in recovered else {}
        return FaultResult(
            index=fault.index,
            kind=fault.kind.value,
            label=fault.label,
            planned_s=(fault.planned_ns - start) / NS_PER_S,
            injected_s=since_steady(fault.injected_ns),
            healed_s=since_steady(fault.healed_ns),
            hit=fault.hit,
            exposed=exposed.get(fault.index),
            evidence=dict(fault.evidence),
            recovery=figures,
        )

    return tuple(result(fault) for fault in facts.faults)


def _incidents(facts: TrialFacts) -> tuple[IncidentResult, ...]:
    start = facts.steady_start_ns or facts.load_start_ns or 0
    return tuple(
        IncidentResult(
            at_s=(each.t_ns - start) / NS_PER_S,
            phase=_phase(each.t_ns, facts),
            source=each.source,
            what=each.what,
            text=each.text,
        )
        for each in facts.incidents
    )


def _phase(t_ns: int, facts: TrialFacts) -> str:
    """Returns the phase that a moment fell in; one that was never reached is none."""
    begins = {
        "after the drain": facts.drain_end_ns,
        "drain": facts.load_end_ns,
        "steady": facts.steady_start_ns,
        "warm-up": facts.load_start_ns,
    }
    return next((name for name, begin in begins.items() if begin is not None and t_ns >= begin), "before the load")


def _throttled(facts: TrialFacts) -> dict[str, float]:
    each = {"broker": facts.throttled_broker_s, "load": facts.throttled_load_s}
    return {source: held_s for source, held_s in each.items() if held_s is not None}


def _warnings(
    facts: TrialFacts,
    counts: LedgerCounts,
    *,
    negative: int,
    unasked: int,
    has_steady: bool,
    blocked: Sequence[Blockage],
) -> list[str]:
    """Returns what a reader of the figures must know beside them."""
    warnings = []
    if facts.load_start_ns is not None and not has_steady:
        warnings.append("no steady window: the figures are of the whole run, faults included")
    if unasked:
        due = format_count(unasked)
        warnings.append(
            f"{due} messages were due only after the last worker had stopped asking: they are in no latency"
        )
    if negative:
        warnings.append(f"{format_count(negative)} messages have a negative latency: the clocks of the shards differ")
    if facts.clock_error_s:
        warnings.append(f"the clocks of the shards may differ by {format_duration(facts.clock_error_s)}")
    if facts.machine_stall_max_s > STALL_SHOWN_S:
        stall = format_duration(facts.machine_stall_max_s)
        warnings.append(
            f"the machine stood still for up to {stall} while under load: gaps and tails up to that are its own"
        )
    warnings.extend(blocked_words(blocked))
    if facts.drain_end_ns is not None and not facts.drain_complete:
        if not all(each.over for each in blocked):
            warnings.append("the drain hit its limit with producers still blocked: what they held was never sent")
        else:
            warnings.append("the drain hit its limit before it was quiet: what was still coming counts as not received")
    warnings.extend(f"the search of the broker was not sound: {problem}" for problem in facts.residue_problems)
    if counts.unreadable and counts.classes.get(Class.LOST, 0):
        unreadable = format_count(counts.unreadable)
        warnings.append(f"{unreadable} deliveries had an unreadable header: up to as many of the losses may be these")
    if facts.auto_ack:
        warnings.append("auto-ack: a loss after delivery cannot be told from a delivery that a worker dropped")
    return warnings
