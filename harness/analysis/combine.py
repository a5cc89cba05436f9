"""Over the trials of a case, and over the cases of a run: guarantees, SLOs, and how ``run`` ends (``gate.md``, exit codes)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harness.analysis.bounds import clean_deployments_upper
from harness.analysis.evidence import BETWEEN, summed, told
from harness.analysis.slo import expectation
from harness.errors import ExitCode
from harness.model import FaultKind, TrialStatus, Verdict
from harness.record import CaseRecord, Guarantee, RunRecord, TrialRecord
from harness.scenario.model import Bound
from harness.units import format_count

_LAST_WORDS = re.compile(r"[:;]? its last words|\n")
"""Where the lines of a log begin in a reason."""


def combine_case(case: CaseRecord, slo: Sequence[Bound]) -> CaseRecord:
    """Returns the case with its guarantees and SLOs over all trials that it has so far."""
    return case.model_copy(
        update={
            "guarantees": combine_guarantees(case.trials),
            "slo": [expectation(bound, case.trials) for bound in slo],
        }
    )


def combine_guarantees(trials: Sequence[TrialRecord]) -> list[Guarantee]:
    """Returns one guarantee per kind of fault: "any VIOLATED; else any UNKNOWN; else HELD, 'exercised in k of C'; else NOT EXERCISED".

    Only trials whose evidence is valid, or sound although a figure is not, say anything.
    """
    kinds = dict.fromkeys(guarantee.fault for trial in trials for guarantee in trial.guarantees)
    return [_combined(kind, trials) for kind in kinds]


def _combined(kind: str, trials: Sequence[TrialRecord]) -> Guarantee:
    every = [(trial, given) for trial in trials for given in trial.guarantees if given.fault == kind]
    proving = [(trial, given) for trial, given in every if proves(trial)]
    first = every[0][1]
    if first.verdict is Verdict.NO_CLAIM:
        known = proving or every
        return summed([given for _, given in known], {trial.number: given for trial, given in known})
    if not proving:
        # A broker's last words stand with the trial.
        why = next((f": {_LAST_WORDS.split(trial.reasons[0])[0]}" for trial, _ in every if trial.reasons), "")
        note = f"no trial left sound evidence{why}"
        return told(Guarantee(fault=kind, claim=first.claim, verdict=Verdict.UNKNOWN, evidence="", notes=[note]))
    seen = [given.verdict for _, given in proving]
    order = (Verdict.VIOLATED, Verdict.UNKNOWN, Verdict.HELD, Verdict.NOT_EXERCISED)
    verdict = next(verdict for verdict in order if verdict in seen)
    deciding = [(trial, given) for trial, given in proving if given.verdict is verdict]
    whole = summed([given for _, given in proving], {trial.number: given for trial, given in deciding})
    evidence = whole.evidence
    if len(trials) > 1:
        how = "exercised in" if verdict is Verdict.HELD else "in"  # the verdict itself stands before its evidence
        evidence = BETWEEN.join([f"{how} {len(deciding)} of {len(trials)} trials", evidence])
    if verdict is Verdict.HELD:
        evidence += _deployments(kind, [trial for trial, _ in deciding])
    return whole.model_copy(update={"evidence": evidence})


def _deployments(kind: str, held: Sequence[TrialRecord]) -> str:
    """Returns the bound for the unit that does not share its luck: the fresh deployment, lossy or not."""
    lossless = all(trial.metrics.get("whole", {}).get("loss.confirmed") == 0 for trial in held)
    if kind == FaultKind.NONE.value or not lossless or len(held) == 1:  # of one deployment: "at most 95 %" says nothing
        return ""
    share = clean_deployments_upper(len(held))
    return f"; {len(held)} fresh deployments without loss: at most {share * 100:.0f} % of such would lose (95 %)"


def proves(trial: TrialRecord) -> bool:
    """Returns whether what a trial's ledger shows counts: it is valid, or only its figures are not."""
    return trial.status is TrialStatus.VALID or (trial.status is TrialStatus.INVALID and trial.evidence_sound)


def run_exit(record: RunRecord) -> tuple[ExitCode, str]:
    """Returns how ``run`` ends and why: "severity when several hold: 70 > 10 > 13"; after Ctrl-C always 130.

    A loss that a claim allows and a fault without a claim are findings, not errors; neither is a case that was skipped because
    this machine cannot run it, as long as another ran. A run in which no broker came up asked this machine for what it cannot do.
    """
    if record.status == "interrupted":
        return ExitCode.INTERRUPTED, "interrupted"
    ran = [case for case in record.cases if not case.unavailable]
    trials = [trial for case in ran for trial in case.trials]
    if trials and all(trial.status is TrialStatus.UNAVAILABLE for trial in trials):
        return ExitCode.USAGE, f"no broker came up: {_first(trials[0])}"
    for code, reasons in (
        (ExitCode.NO_VERDICT, list(_no_verdict(record, ran))),
        (ExitCode.BROKEN, [reason for case in ran for reason in _broken(case)]),
        (ExitCode.INVALID, [reason for case in ran for reason in _invalid(case)]),
    ):
        if reasons:
            more = f" (and {format_count(len(reasons) - 1)} more)" if len(reasons) > 1 else ""
            return code, reasons[0] + more
    if not ran:
        return ExitCode.INVALID, "no case could be run on this machine"
    return ExitCode.PASS, "all trials valid, no guarantee broken"


def _no_verdict(record: RunRecord, ran: Sequence[CaseRecord]) -> Iterator[str]:
    if record.status == "failed":
        yield "the run failed before a verdict"
    for case in ran:
        for trial in case.trials:
            if trial.status is TrialStatus.FAILED:
                yield f"{case.id}: trial {trial.number} has no verdict: {_first(trial)}"


def _broken(case: CaseRecord) -> Iterator[str]:
    for guarantee in case.guarantees:
        if guarantee.verdict is Verdict.VIOLATED:
            yield f"{case.id}: {_about(guarantee)} VIOLATED: {guarantee.evidence}"
    for slo in case.slo:
        if slo.met is False:
            yield f"{case.id}: {slo.metric} missed its bound {slo.bound}"


def _invalid(case: CaseRecord) -> Iterator[str]:
    if not case.trials:
        yield f"{case.id}: no trial was run"
    for trial in case.trials:
        if trial.status is not TrialStatus.VALID:
            yield f"{case.id}: trial {trial.number} {trial.status.value}: {_first(trial)}"
    for guarantee in case.guarantees:
        if guarantee.verdict in (Verdict.NOT_EXERCISED, Verdict.UNKNOWN):
            yield f"{case.id}: {_about(guarantee)} {guarantee.verdict.value}: {guarantee.evidence}"
    for slo in case.slo:
        if slo.met is None:
            yield f"{case.id}: whether {slo.metric} kept its bound {slo.bound} cannot be told"


def _about(guarantee: Guarantee) -> str:
    return "claim without a fault" if guarantee.fault == FaultKind.NONE.value else f"claim under {guarantee.fault}"


def _first(trial: TrialRecord) -> str:
    return trial.reasons[0] if trial.reasons else "no reason was recorded"
