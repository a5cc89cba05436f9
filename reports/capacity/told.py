"""What a search for the capacity says, in sentences, and its trials gathered rate by rate.

Neighbours: ``terminal`` prints them, ``picture`` draws them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.analysis.capacity import (
    MESSAGES,
    P99,
    SHORTEST_S,
    CapacityRecord,
    Probe,
    Searched,
    deciding,
    limit_words,
)
from harness.analysis.rate_search import CONFIRMATIONS, Shown
from harness.analysis.slo import worst
from harness.metrics import METRICS
from harness.model import TrialStatus
from harness.record import AtLeast, Figure
from harness.units import format_rate
from reports import words
from reports.charts._words import durability

END_TO_END = "latency.end_to_end."
NAMES = {
    "rate.achieved": "settled",
    "backlog.end": "backlog",
}
"""Of figures in sentences and headings; others go by their name."""
HEADINGS = {P99: "p99"}
"""In the table, which has little room."""
MOST_WARNINGS = 4
_FIGURES = re.compile(r"\d[\d.,]*(?: [µmn]s\b| s\b)?")


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
        """Returns what the search went by."""
        return deciding(self.probes).shown

    @property
    def deciding(self) -> tuple[Probe, ...]:
        """Returns the trials that speak for it."""
        return tuple(probe for probe in self.probes if probe.shown is self.shown)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Returns why it does not hold, as the trial that decided has it; of a rate that holds, why it did not at first."""
        last = why_not(deciding(self.probes))
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
    if metric.startswith(END_TO_END):
        return f"{metric.removeprefix(END_TO_END).replace('_', '.')} end to end"
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
            cause = "" if searched.above is Shown.UNTOLD else f"{limit_words(searched)}: "
            told = f"{held}; {cause}{above}"
        case "found":
            told = f"{held}; {above}"
        case "none":
            told = f"{above}; lower rates were not tried"
        case "unsteady":
            told = f"no rate held every time that it was tried; the lowest that did not: {above}"
        case "untold":
            told = f"{limit_words(searched)}: {above}" if searched.others_refused else above
        case "unfinished" if not rates(searched):
            told = "no trial was run to its end"
        case "unfinished":
            told = "no rate held so far" if searched.rate_per_s is None else "not confirmed"
            told += f"; {above}" if searched.above_per_s is not None else ""
    return told


def _above(searched: Searched) -> str:
    """Returns what was seen at the lowest rate that does not hold."""
    if searched.above_per_s is None:
        return "nothing is known above it"
    those = searched.refusing
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
    """Returns the chart's title, with the durability of its case; of several cases each panel says its own."""
    what = f"{name_of(headline_metric(record))} over the offered rate"
    if several(record):
        return f"{what}: {words.count(len(record.searches), 'case')}"
    return f"{what}: {record.searches[0].case.id} ({durabilities(record)})"


def panel_title(searched: Searched) -> str:
    """Returns a case with its answer and what its confirms survive; the settings of a long name can be parted."""
    return f"{searched.case.id.replace(',', ', ')}: {rate(searched)} ({durability(searched.case)})"


def notes(record: CapacityRecord) -> Iterator[str]:
    """Yields what a reader of table and chart must know."""
    yield f"a rate holds: {bounds(record)}, and the generator is not saturated"
    if any(searched.found == "found" for searched in record.searches):
        yield f"the capacity is at most {words.ratio(record.within)} too low: the next rate above it does not hold"
    lengths = sorted({probe.steady_s for each in record.searches for one in rates(each) for probe in one.probes})
    if lengths:
        span = f"{lengths[0]:g} s" if len(lengths) == 1 else f"{lengths[0]:g} to {lengths[-1]:g} s"
        default = f" (by default {MESSAGES:,} messages, {SHORTEST_S:g} s at the least)"
        yield f"each rate was held for {span} after warm-up{default}, on a fresh deployment, with Poisson arrivals"
    if any(probe.again for each in record.searches for probe in each.probes):
        decided = "the second trial decided, unless the generator gave out in the first"
        yield f"a rate that missed closely, or whose trial was not valid, was tried a second time: {decided}"


def warnings(searched: Searched) -> list[str]:
    """Returns what may have limited the broker from outside, and what trials of the capacity itself warned of: what differs in its
    figures only is said once, with the figures of the first such trial."""
    those = [
        probe for probe in searched.probes if probe.rate_per_s == searched.rate_per_s and probe.shown is Shown.HOLDS
    ]
    alike: dict[str, list[str]] = {}
    for warning in (warning for probe in those for warning in dict.fromkeys(probe.warnings)):
        alike.setdefault(_FIGURES.sub("#", warning), []).append(warning)
    of_trials = [
        f"{each[0]} (and the like in {words.count(len(each) - 1, 'other trial')})" if len(each) > 1 else each[0]
        for each in alike.values()
    ]
    left = len(of_trials) - MOST_WARNINGS
    rest = [f"… and {words.count(left, 'warning')} more, in the runs"] if left > 0 else []
    return [*filter(None, [disturbed(searched), gave_out(searched)]), *of_trials[:MOST_WARNINGS], *rest]


def disturbed(searched: Searched) -> str:
    """Returns that the rate above was refused on a machine that others used meanwhile, "" where one trial at least was not disturbed."""
    if not searched.others_refused:
        return ""
    last = searched.refusing[-1]
    return (
        f"{last.disturbed} when {format_rate(last.rate_per_s)} did not hold: left to itself this machine may carry more"
    )


def gave_out(searched: Searched) -> str:
    """Returns that the generator gave out below a rate that was refused to the broker: the machine may be the limit of both."""
    gave = [p.rate_per_s for p in searched.probes if p.shown is Shown.GENERATOR]
    refused = [p.rate_per_s for p in searched.probes if p.shown is Shown.MISSED and not p.broken]
    if searched.found != "found" or not gave or min(gave) > max(refused, default=0.0):
        return ""
    lowest = format_rate(min(gave))
    return f"the load generator gave out at {lowest}, where a higher rate was refused to the broker: this machine may be the limit"


def several(record: CapacityRecord) -> bool:
    """Returns whether more than one case was searched."""
    return len(record.searches) > 1


def columns(record: CapacityRecord) -> Sequence[str]:
    """Returns the figures that stand in the table."""
    bounded = [asked.metric for asked in record.asked]
    return tuple(dict.fromkeys((headline_metric(record), "rate.achieved", *bounded, "backlog.end")))
