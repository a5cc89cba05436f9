"""What a reader must know before a comparison is believed: what stands under its tables, and what a loss or none proves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.analysis.bounds import (
    clean_deployments_upper,
    clopper_pearson_lower,
    clopper_pearson_upper,
    poisson_upper,
)
from harness.analysis.claims import bound_words
from harness.model import FaultKind, Verdict
from harness.record import CaseRecord, Guarantee, RunRecord, TrialRecord
from reports import figures, words
from reports.compared import Compared, Comparison
from reports.differences import NOT_KNOWN, ONE_TRIAL

ACROSS = (
    "Differences are computed within one durability class only: a confirm is worth something else in each, so across classes only"
    " values stand, and no order."
)
CLOSED = "In closed loop the load waits for the broker: its figures are compared with others in closed loop only."
PAIRED_ALL = (
    "With an interval × is the middle of the ratios of every trial to every trial of the reference (Hodges and Lehmann's estimate), and + or − what that comes"
    " to at the reference's middle value: both point one way, but the middle values themselves may lie otherwise."
)
LESS = "+, − and ×: against the reference; more is better of throughput and confirmed, less of all else."
INTERVAL = (
    "[low – high], in bold where 1 lies outside: the ratio lies between, each bound wrong with at most 5 % (Wilcoxon's rank sum of the trials, exact); ≈: 1 lies"
    " between too, so no difference is shown. One figure in ten would miss so by chance alone: look at several trials and figures."
)
NOT_PAIRS = "Trials of two cases are no pairs: what changed on the machine between them is in the ratio."
AT_LEAST = "≥, ≤: some trials know a figure only as 'at least'; … in an interval: there is no bound on that side."
NO_INTERVAL = "without an interval chance and difference cannot be told apart"
FIXED_RATE = "At an offered rate throughput says only whether a setup kept up, not how much it could carry."
MIDDLE = f"Several trials: {words.SEVERAL}; below it lowest – highest of one trial."
CROSS_MACHINE = (
    "The runs are unlike: ratios are information, no evidence, and have no interval. Contracts on loss still count."
)
DRIFT = "The environments drifted apart: a difference may be theirs."


def of(told: Comparison, records: Sequence[RunRecord]) -> Iterator[str]:
    """Yields the notes that this comparison needs."""
    arms = [arm for group in told.groups for arm in group.arms]
    every = [figure for arm in arms for figure in arm.figures.values()]
    differences = [figure.difference for figure in every if figure.difference]
    if told.cross_machine:
        yield CROSS_MACHINE
    if told.drift:
        yield DRIFT
    if len({group.durability_class for group in told.groups}) > 1:
        yield ACROSS
    for kind in dict.fromkeys(group.durability_class for group in told.groups):
        yield f"{kind.value}: {words.DURABILITY[kind]}."
    if len({group.ceiling for group in told.groups}) > 1:
        yield CLOSED
    if differences:
        yield LESS
    if any(each.relation != "=" for each in differences):
        yield AT_LEAST
    if any(each.interval for each in differences):
        yield INTERVAL
        yield PAIRED_ALL
        yield NOT_PAIRS
    yield from _without_interval(every, cross_machine=told.cross_machine)
    yield from _not_compared(every)
    if any(_is_at_rate(record) for record in records) and "throughput" in arms[0].figures:
        yield FIXED_RATE
    if any(arm.trials > 1 for arm in arms):
        yield MIDDLE


def _without_interval(every: Sequence[Compared], *, cross_machine: bool) -> Iterator[str]:
    if cross_machine:
        return
    whys = dict.fromkeys(
        each.difference.no_interval for each in every if each.difference and each.difference.no_interval
    )
    for why in whys:
        remedy = "; repeat with --trials 5" if why == ONE_TRIAL or "too few" in why else ""
        yield f"no interval ({why.removesuffix(': no interval')}): {NO_INTERVAL}{remedy}."


def _not_compared(every: Sequence[Compared]) -> Iterator[str]:
    whys = dict.fromkeys(why for each in every for why in (each.label, each.why) if why)
    for label in figures.UNSUSTAINED:
        if any(label in why for why in whys):
            grows = "; latencies then depend on how long the load lasts" if label == "filling" else ""
            yield f"{label}: {words.GLOSSARY[label]}{grows}."
    for why in whys:
        if why != NOT_KNOWN and not any(label in why for label in figures.UNSUSTAINED):  # the cells say those
            yield f"not compared: {why}."


def _is_at_rate(record: RunRecord) -> bool:
    load = record.scenario_expanded.get("load", {})
    return bool(load.get("profile")) and load.get("saturate_window") is None


def bound(case: CaseRecord) -> str:
    """Returns what the losses of a case, or that there were none, prove: "" where they prove nothing.

    The unit is the fresh deployment, since losses come in batches; of messages a bound holds only if losses were independent.
    """
    proving = figures.proving(case.trials)
    judged = [each for each in case.guarantees if each.fault != FaultKind.NONE] or case.guarantees
    lost = figures.lost(proving)
    if lost is None:
        return ""
    lossy = sum(bool(figures.lost([trial])) for trial in proving)
    if lossy:
        return _of_deployments(lossy, len(proving))
    if not judged or any(each.verdict in (Verdict.UNKNOWN, Verdict.NOT_EXERCISED) for each in judged):
        return ""
    told = []
    exposed = min((each.bounded for each in judged if each.bounded), default=0)
    if bound_words(0, exposed):  # else it says next to nothing
        share = words.ratio(poisson_upper(0) / exposed)
        told.append(f"at most {share} of {exposed:,} put to the test, if losses were independent")
    if (tried := sum(_tried(trial, judged) for trial in proving)) > 1:
        told.append(f"at most {clean_deployments_upper(tried):.0%} of such deployments would lose")
    return f"{'; '.join(told)} (95 %)" if told else ""


def _tried(trial: TrialRecord, judged: Sequence[Guarantee]) -> bool:
    """Returns whether a deployment put all of the claims to the test, and they held."""
    held = {each.fault for each in trial.guarantees if each.verdict is Verdict.HELD}
    return all(each.fault in held for each in judged if each.verdict is Verdict.HELD)


def _of_deployments(lossy: int, deployments: int) -> str:
    if deployments == 1:
        return "one deployment: how often it would lose cannot be told"
    low, high = clopper_pearson_lower(lossy, deployments), clopper_pearson_upper(lossy, deployments)
    return f"in {lossy} of {deployments} deployments: {low:.0%} – {high:.0%} of such would lose (90 %)"
