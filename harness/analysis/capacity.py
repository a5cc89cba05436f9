"""What a search for the capacity leaves behind (``capacity.json``), and what each of its trials shows of its rate.

A rate *holds* in a trial if the trial is valid (so the generator was not saturated), and

- **the backlog does not grow**: of what was due in *steady*, at least 99 % was settled in it (``rate.achieved``). The label of the
  throughput allows 5 %, too coarse for a search; and the latency alone can hide a slow growth in a short trial.
- **every SLO holds**: the p99 end to end, and whatever else the scenario bounds from above.
- **nothing is lost** that was confirmed, and no guarantee is VIOLATED.

How long a trial must be follows from the Poisson arrivals: N of them scatter by √N. At 3 % above the capacity N offered messages leave
a backlog of 0.03 N, 2.8 standard deviations above the 1 % that are allowed with N = 20,000 (0.02 N / √N); at 3 % below it the backlog
of a queue with even service is some 16 messages, 0.1 % of them. And a p99 needs 10,000 messages. Hence :data:`MESSAGES`. Simulated
1,000 times each (``tests/unit/test_rate_search.py``): 3 % above the capacity 4 trials hold by the backlog alone, 2 with a bound of 200 ms
for the p99; 3 % below it 1 does not. A close miss is tried again, and the answer must hold in three trials more.
Neighbours: ``rate_search`` says which rate is next, ``harness.experiment.capacity`` runs the trials, ``reports.capacity`` shows them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.analysis.rate_search import MOST_HALVINGS, Answer, Found, Purpose, Seen, Shown, again_decides
from harness.analysis.slo import figure_of, is_met
from harness.metrics import METRICS
from harness.model import TrialStatus, Verdict
from harness.record import AtLeast, CaseRecord, Figure, TrialRecord, Unknown
from harness.scenario.model import Bound
from harness.units import format_count, format_rate

SCHEMA_VERSION = 1
ACHIEVED = 0.99
"""Of what was due, the share that must be settled in the same window: else the backlog grows."""
MESSAGES = 20_000
SHORTEST_S = 10.0
"""Shorter trials would not see what comes round every few seconds: an fsync of the AOF, a checkpoint, a collection of garbage."""
LONGEST_S = 300.0
WARMUP_S = 3.0
"""At the least: what queued up while connections were made must be gone, which takes long close to the capacity."""
P99 = "latency.end_to_end.p99"
LOSS = Bound(metric="loss.confirmed", limit=0.0, text="0")
SHOWN = (P99, "latency.end_to_end.p50", "rate.offered", "rate.achieved", "backlog.end", "loss.confirmed", "lag.p99")
FILLING = "filling"
SATURATED = "generator saturated"
BROKER_ENDED = "the broker ended unexpectedly"
_BEYOND = {"p90": 1_000, "p99": 10_000, "p99_9": 100_000}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Asked(_Part):
    """A bound that a rate has to hold."""

    metric: str
    limit: float = Field(description="in the metric's unit; at most that")
    text: str = Field(description="as written")


class Probe(_Part):
    """One trial at one rate, in the order of time."""

    number: int
    rate_per_s: float
    purpose: Purpose
    again: bool = Field(default=False, description="a second trial, because the first decided nothing clearly")
    steady_s: float
    seed: int
    run: str = Field(description="its run folder, relative to the folder of the search; empty = it could not be begun")
    status: str = Field(description="of the trial; empty = it has none")
    shown: Shown
    clear: bool = Field(description="false = a second trial was asked for, or would have been")
    reasons: list[str] = Field(default=[], description="why the rate does not hold, or cannot be told")
    broken: bool = Field(
        default=False, description="a guarantee was broken, or a confirmed message lost: at any rate that counts"
    )
    warnings: list[str] = []
    disturbed: str = Field(
        default="",
        description="what others took of the machine meanwhile; empty = not more than a quarter of its CPUs, or not known",
    )
    seen: dict[str, Figure] = Field(
        default={}, description="metric → figure, in *steady* where the metric has a window"
    )


class Searched(_Part):
    """One case: every trial, and what they add up to."""

    case: CaseRecord = Field(description="without its trials")
    probes: list[Probe] = []
    found: Found = Field(
        default="unfinished",
        description="found: `rate_per_s` holds, `above_per_s` does not; at_least: above `rate_per_s` the generator gave out, nothing"
        " could be told, or others took the machine in every trial; none: not even the lowest rate holds; unsteady: no rate held in"
        " every trial; untold: no trial could be judged; unfinished: it was interrupted",
    )
    rate_per_s: float | None = Field(
        default=None,
        description="the capacity: the highest rate that was confirmed in fresh trials; of an unfinished search the highest that held",
    )
    confirmed: bool = False
    above_per_s: float | None = Field(default=None, description="the lowest rate above it that does not hold")
    above: Shown | None = Field(default=None, description="what was seen there")

    @property
    def refusing(self) -> list[Probe]:
        """Returns the trials because of which the rate above is refused."""
        return [probe for probe in self.probes if probe.rate_per_s == self.above_per_s and probe.shown is self.above]

    @property
    def others_refused(self) -> bool:
        """Returns whether others took the machine in every trial because of which the rate above is refused to the broker."""
        missed = self.refusing if self.above is Shown.MISSED else []
        return bool(missed) and all(probe.disturbed and not probe.broken for probe in missed)


class CapacityRecord(_Part):
    """All that a search says about itself."""

    schema_version: Annotated[int, Field(ge=1)] = SCHEMA_VERSION
    tool_version: str
    status: Literal["running", "finished", "interrupted", "failed"]
    started_wall_ns: int
    ended_wall_ns: int | None = None
    scenario: str
    question: str
    expect: str = ""
    scenario_text: str = Field(description="as written; --set in `overrides`, what each trial changes in `probes`")
    overrides: list[str] = []
    command: str
    deployment: str
    fingerprint: dict[str, Any] = {}
    asked: list[Asked] = Field(description="what a rate has to hold, beside a backlog that does not grow")
    achieved: float = Field(default=ACHIEVED, description="share of what was due that must be settled in the window")
    within: float = Field(description="by how much of itself a capacity may be too low")
    searches: list[Searched]
    exit_code: int | None = None
    exit_reason: str = ""


def capacity_schema() -> dict[str, Any]:
    """Returns the JSON schema of ``capacity.json``."""
    made = CapacityRecord.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def messages_needed(bounds: Sequence[Bound]) -> int:
    """Returns how many messages a trial must have: for the noise of arrivals, and twice as many as the rarest percentile needs."""
    percentiles = [bound.metric.rpartition(".")[2] for bound in bounds if bound.metric.startswith(("latency.", "lag."))]
    return max([MESSAGES, *(2 * _BEYOND.get(name, 0) for name in percentiles)])


def messages_told(bounds: Sequence[Bound]) -> int:
    """Returns with how many messages every percentile that is bounded can be told, whatever their arrivals; 0 where none is rare."""
    rarest = max((_BEYOND.get(bound.metric.rpartition(".")[2], 0) for bound in bounds), default=0)
    return rarest + math.ceil(3 * math.sqrt(rarest))


def steady_s(rate_per_s: float, messages: int) -> float:
    """Returns for how long a rate is held: until it has offered so many messages; in whole seconds."""
    return min(LONGEST_S, max(SHORTEST_S, float(math.ceil(messages / rate_per_s))))


def judged(trial: TrialRecord | None, bounds: Sequence[Bound]) -> tuple[Seen, list[str]]:
    """Returns what a trial shows of its rate, and why it does not hold or cannot be told."""
    if trial is None:
        return Seen(shown=Shown.UNTOLD, clear=False), ["the run has no trial"]
    if broken := list(_broken(trial)):
        return Seen(shown=Shown.MISSED, lower=1 if is_broken(trial) else MOST_HALVINGS), broken
    if trial.status is not TrialStatus.VALID:
        return _of_invalid(trial)
    missed, untold = [], []
    for kept, words in (_backlog(trial), *(_bound(trial, bound) for bound in (*bounds, LOSS))):
        if kept is False:
            missed.append(words)
        elif kept is None:
            untold.append(words)
    if missed:
        return Seen(shown=Shown.MISSED, clear=trial.throughput_label.get("steady") == FILLING), missed
    if untold:  # of which fewer messages show no more
        return Seen(shown=Shown.UNTOLD, clear=False, lower=0), untold
    return Seen(shown=Shown.HOLDS), []


def figures_shown(trial: TrialRecord | None, bounds: Sequence[Bound]) -> dict[str, Figure]:
    """Returns the figures of a trial that the search shows."""
    names = dict.fromkeys((*SHOWN, *(bound.metric for bound in bounds)))
    found = {name: figure_of(trial, name) for name in names} if trial else {}
    return {name: figure for name, figure in found.items() if figure is not None}


def is_broken(trial: TrialRecord | None) -> bool:
    """Returns whether a trial proves that a guarantee was broken or something confirmed lost."""
    return trial is not None and (_lost(trial) > 0 or any(g.verdict is Verdict.VIOLATED for g in trial.guarantees))


def _lost(trial: TrialRecord) -> float:
    """Returns how many confirmed messages are proven to be lost, at the least."""
    lost = figure_of(trial, LOSS.metric)
    if is_met(lost, 0.0, at_least=False) is not False or not (
        trial.status is TrialStatus.VALID or trial.evidence_sound
    ):
        return 0.0
    return lost if isinstance(lost, float | int) else getattr(lost, "at_least", 0.0)


def _broken(trial: TrialRecord) -> Iterator[str]:
    """Yields what is proven to be broken, whatever else is wrong with the trial; a loss once."""
    violated = [f"VIOLATED ({g.fault}): {g.evidence}" for g in trial.guarantees if g.verdict is Verdict.VIOLATED]
    lost = _lost(trial)
    if lost > 0 and not any("lost" in words for words in violated):
        yield f"{format_count(lost)} confirmed message{'' if lost == 1 else 's'} lost"
    yield from violated
    yield from (reason for reason in trial.reasons if reason.startswith(BROKER_ENDED))


def _of_invalid(trial: TrialRecord) -> tuple[Seen, list[str]]:
    reasons = list(trial.reasons) or [f"the trial is {trial.status.value}"]
    gave_out = any(reason.startswith(SATURATED) for reason in reasons)
    return Seen(shown=Shown.GENERATOR if gave_out else Shown.UNTOLD, clear=False), reasons


def _backlog(trial: TrialRecord) -> tuple[bool | None, str]:
    """Returns whether the backlog did not grow, and the words for it where it did or where that cannot be told."""
    achieved = figure_of(trial, "rate.achieved", highest=False)
    kept = is_met(achieved, ACHIEVED, at_least=True)
    if kept is False and isinstance(achieved, float | int):
        end = figure_of(trial, "backlog.end")
        if end == 0:
            return False, f"only {100 * achieved:.1f} % settled in time"
        waiting = f" to {format_count(end)}" if isinstance(end, float | int) else ""
        return False, f"backlog grew{waiting}: {100 * achieved:.1f} % settled"
    return kept, "how much was settled is not known"


def _bound(trial: TrialRecord, bound: Bound) -> tuple[bool | None, str]:
    figure = figure_of(trial, bound.metric)
    kept = is_met(figure, bound.limit, at_least=False)
    return (
        kept,
        f"{bound.metric} is above {bound.text}" if kept is False else f"{bound.metric} cannot be told: {_seen(figure)}",
    )


def _seen(figure: Figure | None) -> str:
    """Returns why a figure does not decide."""
    if isinstance(figure, AtLeast):
        return f"≥ {figure.at_least:g}"
    return figure.unknown if isinstance(figure, Unknown) else "not measured"


def summed_up(searched: Searched, answer: Answer) -> Searched:
    """Returns a search with its answer; what was refused while others took the machine is not refused by the broker."""
    update = {
        "found": answer.found,
        "rate_per_s": answer.rate_per_s,
        "confirmed": answer.rate_per_s is not None,
        "above_per_s": answer.above_per_s,
        "above": answer.above,
    }
    made = searched.model_copy(update=update)
    without: dict[Found, Found] = {"found": "at_least", "none": "untold"}
    return made.model_copy(update={"found": without.get(made.found, made.found)}) if made.others_refused else made


def known_so_far(searched: Searched) -> Searched:
    """Returns a search that was interrupted with what its trials show: the highest rate that held last, the lowest above that did not."""
    by_rate: dict[float, list[Probe]] = {}
    for probe in (probe for probe in searched.probes if probe.status != TrialStatus.INTERRUPTED):
        by_rate.setdefault(probe.rate_per_s, []).append(probe)
    last = {rate: deciding(probes).shown for rate, probes in by_rate.items()}
    low = max((rate for rate, shown in last.items() if shown is Shown.HOLDS), default=None)
    refused = [rate for rate, shown in last.items() if shown is not Shown.HOLDS and (low is None or rate > low)]
    high = min(refused, default=None)
    return searched.model_copy(
        update={
            "rate_per_s": low,
            "above_per_s": high,
            "above": None if high is None else last[high],
        }
    )


def deciding(probes: Sequence[Probe]) -> Probe:
    """Returns of the trials at one rate the one that the search went by: the last, unless the generator gave out in the one before."""
    last = probes[-1]
    first = probes[-2] if last.again and len(probes) > 1 else last
    return last if again_decides(first.shown, last.shown) else first


def limit_words(searched: Searched) -> str:
    """Returns why a capacity is only known from below."""
    if searched.others_refused:
        return f"others took the machine when {rate_words(searched.above_per_s)} did not hold"
    if searched.above is Shown.GENERATOR:
        return "this machine cannot offer more"
    return (
        f"{rate_words(searched.above_per_s)} could not be judged"
        if searched.above_per_s
        else "nothing above it was tried"
    )


def upper_bounds(slo: Sequence[Bound]) -> tuple[Bound, ...]:
    """Returns the SLOs that a rate can hold or miss: those from above; a scenario's own rate is not asked of others."""
    return tuple(bound for bound in slo if not bound.at_least and bound.metric != LOSS.metric)


def is_latency(bound: Bound) -> bool:
    """Returns whether a bound is one of a latency: without one a search would only find where the backlog grows."""
    return bound.metric.startswith("latency.") and METRICS[bound.metric].unit == "s"


def rate_words(rate_per_s: float | None) -> str:
    """Returns a rate, or that there is none."""
    return "no rate" if rate_per_s is None else format_rate(rate_per_s)
