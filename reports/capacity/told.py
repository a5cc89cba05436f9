"""What a search for the capacity says, in sentences, and its trials gathered rate by rate.

Neighbours: ``terminal`` prints them, ``picture`` draws them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.analysis.capacity import MESSAGES, P99, SHORTEST_S, CapacityRecord, Probe, Searched
from harness.analysis.rate_search import CONFIRMATIONS, Shown
from harness.analysis.slo import worst
from harness.metrics import METRICS
from harness.model import TrialStatus
from harness.record import AtLeast, Figure
from harness.units import format_rate
from reports import words
from reports.charts._words import durability

NAMES = {
    P99: "p99 end to end",
    "rate.achieved": "settled",
    "backlog.end": "backlog",
}
"""Of figures in sentences and headings; others go by their name."""
HEADINGS = {P99: "p99"}
"""In the table, which has little room."""
MOST_WARNINGS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """One rate with its trials, in the order of time."""

    rate_per_s: float
    probes: tuple[Probe, ...]

    @property
    def held(self) -> int:
        """Returns in how many of them it held."""
        return sum(probe.shown is Shown.HOLDS for probe in self.probes)

    @property
    def shown(self) -> Shown:
        """Returns what the search went by: the last trial, which is also the confirming one that did not hold."""
        return self.probes[-1].shown

    @property
    def deciding(self) -> tuple[Probe, ...]:
        """Returns the trials that speak for it."""
        return tuple(probe for probe in self.probes if probe.shown is self.shown)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Returns why it does not hold, as the last trial has it; of a rate that holds, why it did not at first."""
        last = why_not(self.probes[-1])
        first = next(filter(None, map(why_not, self.probes)), "")
        return (last,) if last else (f"at first: {first}",) if first else ()


def rates(searched: Searched) -> list[Rate]:
    """Returns the rates in ascending order; a trial that was interrupted shows nothing."""
    by_rate: dict[float, list[Probe]] = {}
    for probe in (probe for probe in searched.probes if probe.status != TrialStatus.INTERRUPTED):
        by_rate.setdefault(probe.rate_per_s, []).append(probe)
    return [Rate(rate_per_s=rate, probes=tuple(by_rate[rate])) for rate in sorted(by_rate)]


def name_of(metric: str) -> str:
    """Returns what a figure is called in sentences."""
    return NAMES.get(metric, metric)


def heading_of(metric: str) -> str:
    """Returns what a figure is called in the table."""
    return HEADINGS.get(metric, name_of(metric))


def headline_metric(record: CapacityRecord) -> str:
    """Returns the latency that is shown and drawn: p99 where it is bounded, else the first that is."""
    named = [asked.metric for asked in record.asked if asked.metric.startswith("latency.")]
    return P99 if P99 in named or not named else named[0]


def bounds(record: CapacityRecord) -> str:
    """Returns what a rate has to hold, in words."""
    listed = [f"{name_of(asked.metric)} at most {asked.text}" for asked in record.asked]
    return ", ".join([*listed, f"at least {words.ratio(record.achieved)} settled in time", "nothing confirmed lost"])


def rate(searched: Searched) -> str:
    """Returns the capacity in a few words."""
    known = "" if searched.rate_per_s is None else format_rate(searched.rate_per_s)
    match searched.found:
        case "found":
            return known
        case "at_least":
            return f"at least {known}"
        case "unfinished":
            return f"not known yet; {known} held" if known else "not known yet"
        case "none":
            return "none of the rates that were tried"
        case "unsteady" | "untold":
            return "not known"


def sentence(searched: Searched) -> str:
    """Returns in a sentence what was found, and what is above it."""
    above = _above(searched)
    held = f"it held in {CONFIRMATIONS} fresh trials"
    match searched.found:
        case "at_least" if searched.above_per_s is None:
            told = f"{held}, and whenever the rate was doubled: the search ends here"
        case "at_least":
            gave_out = "this machine cannot offer more: " if searched.above is Shown.GENERATOR else ""
            told = f"{held}; {gave_out}{above}"
        case "found":
            told = f"{held}; {above}"
        case "none":
            told = f"{above}; lower rates were not tried"
        case "unsteady":
            told = f"no rate held every time that it was tried; the lowest that did not: {above}"
        case "untold":
            told = above
        case "unfinished":
            told = "no rate held so far" if searched.rate_per_s is None else "not confirmed"
            told += f"; {above}" if searched.above_per_s is not None else ""
    return told


def _above(searched: Searched) -> str:
    """Returns what was seen at the lowest rate that does not hold."""
    if searched.above_per_s is None:
        return "nothing is known above it"
    those = [p for p in searched.probes if p.rate_per_s == searched.above_per_s and p.shown is not Shown.HOLDS]
    why = why_not(those[-1]) if those else ""
    shown = {Shown.MISSED: "does not hold", Shown.GENERATOR: "was more than the generator can"}
    told = shown.get(those[-1].shown, "could not be judged") if those else "does not hold"
    return f"{format_rate(searched.above_per_s)} {told}{f' ({why})' if why else ''}"


def why_not(probe: Probe) -> str:
    """Returns the reasons of a trial with the figures that belong to them."""
    return "; ".join(_with_figure(reason, probe) for reason in probe.reasons)


def _with_figure(reason: str, probe: Probe) -> str:
    metric, is_above, bound = reason.partition(" is above ")
    if not is_above or metric not in probe.seen:
        return reason
    return f"{name_of(metric)} {words.figure(metric, probe.seen[metric])}, bound {bound}"


def cell(each: Rate, metric: str) -> str:
    """Returns a figure of a rate: the worst of the trials that speak for what was shown."""
    found = [probe.seen[metric] for probe in each.deciding if metric in probe.seen]
    return words.figure(metric, worst(found, highest=not METRICS[metric].higher_is_better))


def number(figure: Figure | None) -> float | None:
    """Returns the number of a figure, also of one that is "at least"."""
    if isinstance(figure, AtLeast):
        return figure.at_least
    return float(figure) if isinstance(figure, float | int) else None


def durabilities(record: CapacityRecord) -> str:
    """Returns what confirms survive, each once, with the settings behind it."""
    return "; ".join(dict.fromkeys(durability(each.case) for each in record.searches))


def title(record: CapacityRecord) -> str:
    """Returns the chart's title, with the durability of every setup in it."""
    names = ", ".join(dict.fromkeys(each.case.id for each in record.searches))
    return f"{name_of(headline_metric(record))} over the offered rate: {names} ({durabilities(record)})"


def notes(record: CapacityRecord) -> Iterator[str]:
    """Yields what a reader of table and chart must know."""
    yield f"a rate holds: {bounds(record)}, and the generator is not saturated"
    if any(searched.found == "found" and not disturbed(searched) for searched in record.searches):
        yield f"the capacity is at most {words.ratio(record.within)} too low: the next rate above it does not hold"
    lengths = sorted({probe.steady_s for each in record.searches for probe in each.probes})
    if lengths:
        span = f"{lengths[0]:g} s" if len(lengths) == 1 else f"{lengths[0]:g} to {lengths[-1]:g} s"
        default = f" (by default {MESSAGES:,} messages, {SHORTEST_S:g} s at the least)"
        yield f"each rate was held for {span} after warm-up{default}, on a fresh deployment, with Poisson arrivals"
    if any(probe.again for each in record.searches for probe in each.probes):
        yield "a rate that missed closely, or whose trial was not valid, was tried a second time: the second trial decided"


def warnings(searched: Searched) -> list[str]:
    """Returns what a trial of the capacity itself warned of, each once."""
    those = [
        probe for probe in searched.probes if probe.rate_per_s == searched.rate_per_s and probe.shown is Shown.HOLDS
    ]
    of_trials = dict.fromkeys(warning for probe in those for warning in probe.warnings)
    return [*filter(None, [disturbed(searched)]), *of_trials][:MOST_WARNINGS]


def disturbed(searched: Searched) -> str:
    """Returns that the rate above was refused on a machine that others used meanwhile, "" where one trial at least was not disturbed."""
    refusing = searched.refusing
    if not refusing or not all(probe.disturbed for probe in refusing):
        return ""
    return f"{refusing[-1].disturbed} when {format_rate(refusing[-1].rate_per_s)} did not hold: left to itself this machine may carry more"


def several(record: CapacityRecord) -> bool:
    """Returns whether more than one case was searched."""
    return len(record.searches) > 1


def columns(record: CapacityRecord) -> Sequence[str]:
    """Returns the figures that stand in the table."""
    bounded = [asked.metric for asked in record.asked]
    return tuple(dict.fromkeys((headline_metric(record), "rate.achieved", *bounded, "backlog.end")))
