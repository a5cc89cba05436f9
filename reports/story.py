"""What a run says, in whole sentences: the sign of each case, its verdict in plain words, and the headline over all."""

from __future__ import annotations

from typing import TypeGuard

from harness.analysis.guarantees import SKIPPED_WORDS
from harness.model import AS_FOUND, ENDS_BROKER, DurabilityClass, FaultKind, TrialStatus, Verdict
from harness.record import AtLeast, CaseRecord, Figure, Guarantee, RunRecord, TrialRecord, Unknown
from harness.units import format_count, format_rate
from reports import figures, trouble, words
from reports.figures import Loss
from reports.trouble import plain
from reports.words import Sign

CUT_OFF = "Cut off: the run did not end in order; "
LOW = 0.9  # a share of the offered rate below which a case must say why it confirmed so little
_BAD_STATUS = (TrialStatus.INVALID, TrialStatus.FAILED, TrialStatus.INTERRUPTED)


def is_cut_off(record: RunRecord) -> bool:
    """Returns whether the run never came to an end that it could have written down: it was killed, or runs still."""
    return record.status in ("running", "loaded")


def sign(case: CaseRecord, cut_off: bool = False) -> Sign:
    """Returns how a case ended, in a symbol and a word; what is worst decides. ``cut_off``: its run was."""
    if case.unavailable or not case.trials:
        return words.CUT_OFF if cut_off and not case.unavailable else words.UNAVAILABLE
    signs = [words.OF_VERDICT[guarantee.verdict] for guarantee in case.guarantees]
    if not _valid(case):
        signs += [words.OF_STATUS[trial.status] for trial in case.trials]
    elif any(expectation.met is False for expectation in case.slo):
        signs.append(words.SLO_MISSED)
    if lost := figures.lost(figures.proving(case.trials)):
        signs.append(_sign_of_loss(case, lost, no_claim=words.NO_CLAIM in signs))
    return min(signs or [words.NO_CLAIM], key=lambda found: found.rank)


def _sign_of_loss(case: CaseRecord, lost: Loss, *, no_claim: bool) -> Sign:
    if lost.count == figures.by_skipping(figures.proving(case.trials)):
        return words.LOST_BY_SKIPPING
    return words.LOST_NO_CLAIM if no_claim else words.LOST_AS_CLAIMED


def as_found(case: CaseRecord) -> str:
    """Returns what a broker that is not ours turned out to be set to, in words; "" where nothing was left as it was found."""
    told = []
    for name in case.as_found:
        value = case.parameters[name]
        told.append(f"{name} {'unknown' if value == AS_FOUND else value or 'not set'}")
    return f"as found: {', '.join(told)}" if told else ""


def worst_first(cases: list[CaseRecord]) -> list[CaseRecord]:
    """Returns the cases with the worst ending first, those without a trial last, otherwise in the scenario's order."""
    return sorted(cases, key=lambda case: sign(case).rank)


def by_durability(record: RunRecord) -> list[tuple[DurabilityClass, list[CaseRecord]]]:
    """Returns the cases by durability class, weakest class first, worst ending first in each: never ranked across classes."""
    groups = [(kind, [case for case in record.cases if case.durability_class is kind]) for kind in DurabilityClass]
    return [(kind, worst_first(cases)) for kind, cases in groups if cases]


def sentence(case: CaseRecord, cut_off: bool = False) -> str:
    """Returns the verdict on a case in plain words, without its name, e.g. ``kept every confirmed message …``."""
    if case.unavailable:
        return f"was not run: {plain(case.unavailable)}."
    if not case.trials:
        return "was cut off." if cut_off else "was not run."
    proving = figures.proving(case.trials)
    lost = figures.lost(proving)
    if not _valid(case) and not lost:
        return _no_verdict(case)
    told = _lost(case, proving, lost) if lost else _kept(case, proving)
    told = "; ".join([told, *_beside(case, proving, told)])
    bad = [trial for trial in case.trials if trial.status in _BAD_STATUS]
    also = [f"missed its SLO: {words.asked(expectation)}" for expectation in case.slo if expectation.met is False]
    if bad:
        also.append(_not_all_valid(case, bad))
    return f"{'; '.join([told, *also])}."


def headline(record: RunRecord) -> str:
    """Returns the verdict on the run in one or two sentences."""
    ran = [case for case in record.cases if case.trials and not case.unavailable]
    if not ran:
        return CUT_OFF + "no case was measured: no verdict." if is_cut_off(record) else "No case was run: no verdict."
    parts = [_loss_of_all(ran), _claims_of_all(ran)]
    if without := [case for case in ran if not _valid(case)]:
        parts.append(f"{_of(len(without), len(ran))} gave no valid trial.")
    if is_cut_off(record):
        parts.insert(0, CUT_OFF + "what had been measured until then follows.")
    if record.status == "interrupted":
        parts.insert(0, "Interrupted: what follows is only what was measured until then.")
    if missing := len(record.cases) - len(ran):
        parts.append(f"{words.count(missing, 'case')} {'cut off' if is_cut_off(record) else 'not run'}.")
    return " ".join(part for part in parts if part)


def endings(record: RunRecord) -> dict[Sign, list[CaseRecord]]:
    """Returns the cases by how they ended, worst first."""
    groups: dict[Sign, list[CaseRecord]] = {}
    for case in worst_first(list(record.cases)):
        groups.setdefault(sign(case, is_cut_off(record)), []).append(case)
    return groups


def seen(record: RunRecord) -> str:
    """Returns the cases by how they ended in words: what stands beside the scenario's expectation."""
    groups = endings(record).items()
    return "; ".join(f"{each.word}: {', '.join(case.id for case in cases)}" for each, cases in groups)


def guarantees(case: CaseRecord) -> list[Guarantee]:
    """Returns the judged claims of a case, the worst first, the one without a fault after those with."""
    return sorted(case.guarantees, key=lambda g: (words.OF_VERDICT[g.verdict].rank, g.fault == FaultKind.NONE))


def lag(record: RunRecord) -> str:
    """Returns the schedule lag p99 of the trial that came nearest to its bound, or went furthest beyond, and that bound; where no p99 can
    be told, why not, and the largest lag, likewise."""
    trials = [trial for case in record.cases for trial in case.trials]
    latest, bound_s = _latest(trials, "lag.p99")
    if latest is None:
        told = "schedule lag p99 not measured"
    elif isinstance(latest, Unknown):
        largest, bound_s = _latest(trials, "lag.max")
        told = f"schedule lag p99 {latest.unknown}"
        told += "" if largest is None or isinstance(largest, Unknown) else f", max {words.figure('lag.max', largest)}"
    else:
        told = f"schedule lag p99 {words.figure('lag.p99', latest)}"
    return told if bound_s is None else f"{told}, bound {words.figure('lag.p99', bound_s)}"


def _latest(trials: list[TrialRecord], name: str) -> tuple[Figure | None, float | None]:
    """Returns a lag with the bound of the same trial."""
    found = [(value, t.lag_bound_s) for t in trials if (value := figures.look(t, name)[0]) is not None]
    known = [(value, bound_s) for value, bound_s in found if _is_number(value)]
    if known:
        return max(known, key=lambda pair: (pair[0] / pair[1] if pair[1] else 0.0, pair[0]))
    return found[0] if found else (None, None)


def _valid(case: CaseRecord) -> list[TrialRecord]:
    return [trial for trial in case.trials if trial.status is TrialStatus.VALID]


def _faults(trials: list[TrialRecord]) -> list[str]:
    return list(dict.fromkeys(f.kind for trial in trials for f in trial.faults if f.injected_s is not None))


def _lost(case: CaseRecord, proving: list[TrialRecord], lost: Loss) -> str:
    total = figures.confirmed(proving)
    times = f" in {len(proving)} trials" if len(proving) > 1 else ""
    when = _when_lost(case, _faults(proving))
    head = f"LOST {words.loss(lost.count, lost.or_more)} of {words.count(total, 'confirmed message')}{times} {when}"
    skipped = figures.by_skipping(proving)
    if not skipped:
        return f"{head} — {_judged(case, _faults(proving))}"
    which = "them" if skipped == lost.count else f"{format_count(skipped)} of them"
    told = f"{head} — the broker delivered {which} again, and the workers' idempotency wrapper skipped them"
    if skipped < lost.count:
        return f"{told}; of the others {_judged(case, _faults(proving))}"
    violated = _first(case.guarantees, Verdict.VIOLATED)
    return f"{told}; BROKE its claim: {plain(violated.evidence)}" if violated else told


def _when_lost(case: CaseRecord, faults: list[str]) -> str:
    """Returns when messages were lost: the faults that losses belong to, where the record tells; else all that struck."""
    lossy = {each.fault for each in case.guarantees if each in _losing(case) or SKIPPED_WORDS in each.counts}
    struck = [kind for kind in faults if kind in lossy]
    if not lossy or not faults:
        return words.when(faults)
    apart = ["apart from the faults"] if FaultKind.NONE in lossy else []
    return ", and ".join([words.when(struck), *apart] if struck else apart or [words.when(faults)])


def _losing(case: CaseRecord) -> list[Guarantee]:
    """Returns the claims to which losses belong; a record of before the counts has none."""
    return [each for each in case.guarantees if each.loss is not None and each.loss.lost]


def _judged(case: CaseRecord, faults: list[str]) -> str:
    """Returns what the claims say of a loss: those it belongs to, then one that ended worse for another reason."""
    losing = _losing(case)
    if not losing:
        return _judged_by(
            case, [each for each in case.guarantees if each.verdict is not Verdict.HELD or each.fault != FaultKind.NONE]
        )
    told = _judged_by(case, losing)
    own = min(words.OF_VERDICT[each.verdict].rank for each in losing)
    worst = next((each for each in guarantees(case) if each not in losing), None)
    if worst is None or words.OF_VERDICT[worst.verdict].rank >= min(own, words.LOST_AS_CLAIMED.rank):
        return told
    head = "BROKE its claim" if worst.verdict is Verdict.VIOLATED else worst.verdict.value
    return f"{told}; {head} {_when_judged(worst, faults)}: {plain(worst.evidence)}"


def _judged_by(case: CaseRecord, claims: list[Guarantee]) -> str:
    if violated := _first(claims, Verdict.VIOLATED):
        return f"its claim forbids that: VIOLATED (it claims: {violated.claim})"
    if unknown := _first(claims, Verdict.UNKNOWN):
        return f"whether its claim allows that is UNKNOWN: {plain(unknown.evidence)}"
    if untried := _first(claims, Verdict.NOT_EXERCISED):
        return f"NOT EXERCISED, so its claim was not tried ({plain(untried.evidence)})"
    allowing = [each for each in claims if each.verdict is Verdict.HELD]
    if not allowing:
        return "it claims nothing about that"
    claim = allowing[0].claim
    if case.durability_class is DurabilityClass.MEMORY and claim.startswith("may lose all"):
        return "its claim allows that (memory only)"
    return f"its claim allows that ({claim})"


def _kept(case: CaseRecord, proving: list[TrialRecord]) -> str:
    faults = _faults(proving)
    if violated := _first(case.guarantees, Verdict.VIOLATED):
        when = _when_judged(violated, faults)
        return f"BROKE its claim {when}, though it lost no confirmed message: {plain(violated.evidence)}"
    if unknown := _first(case.guarantees, Verdict.UNKNOWN):
        return f"UNKNOWN {_when_judged(unknown, faults)}: {plain(unknown.evidence)}"
    if untried := _first(case.guarantees, Verdict.NOT_EXERCISED):
        when = _when_judged(untried, faults)
        return f"lost nothing, but nothing was put to the test {when}: NOT EXERCISED ({plain(untried.evidence)})"
    if figures.lost(proving) is None:
        return "no figure of loss"
    return f"kept every confirmed message {words.when(faults)} ({_none_lost(case, proving)}){_repeated(proving)}"


def _when_judged(guarantee: Guarantee, faults: list[str]) -> str:
    """Returns what the verdict is about: one kind of fault, or the messages that met none of those that struck."""
    apart = guarantee.fault == FaultKind.NONE and bool(faults)
    return "apart from the faults" if apart else words.when([guarantee.fault])


def _none_lost(case: CaseRecord, proving: list[TrialRecord]) -> str:
    total = words.count(figures.confirmed(proving), "confirmed")[:-1]  # "40,021 confirmed"
    exposed = [(g.exposed, g.fault) for g in case.guarantees if g.fault != FaultKind.NONE and g.exposed is not None]
    told = f"0 of {total} lost"
    if not exposed:
        return told
    most, fault = max(exposed)
    # What ends the broker is one moment; all else lasts, and messages come and go meanwhile.
    when = "at that time" if fault in ENDS_BROKER else "while that lasted"
    return f"{told}; {format_count(most)} {_were(most)} in the broker {when}"


def _repeated(proving: list[TrialRecord]) -> str:
    again = figures.repeats(proving)
    if not again:
        return ""
    at_once = figures.marked(proving, "overlapping_execution")
    of_them = "all of them" if at_once == again else f"{format_count(at_once or 0)} of them"
    so = f", {of_them} to a worker while another was still at it" if at_once else ""
    return f", and delivered {words.count(again, 'repeat')}{so}"


def _beside(case: CaseRecord, proving: list[TrialRecord], told: str) -> list[str]:
    """Returns what else became of messages, where ``told`` does not say it, and why a case confirmed much less than was offered."""
    why, left = [], []
    if rejected := figures.became(proving, "rejected"):
        why.append(f"{format_count(rejected)} {_were(rejected)} rejected by the broker (full?)")
    if unsent := figures.became(proving, "unsent"):
        because = "a producer was killed" if "producer kill" in _faults(proving) else _held(proving)
        why.append(f"{format_count(unsent)} {_were(unsent)} never sent" + (f" ({because})" if because else ""))
    if doubled := _doubled(proving):
        left.append(doubled)
    if (stranded := figures.became(proving, "stranded")) and "stranded" not in told:
        left.append(f"{format_count(stranded)} {_were(stranded)} still in the broker, not delivered")
    if "reply cut" in _faults(proving) and (recovered := figures.became(proving, "recovered")):
        left.append(f"{format_count(recovered)} got no answer and {_were(recovered)} worked off all the same")
    offered, confirmed = (figures.over_trials(case, f"rate.{name}").middle for name in ("offered", "confirmed"))
    if _is_number(offered) and _is_number(confirmed) and confirmed < LOW * offered:
        low = f"only {format_rate(confirmed)} of {format_rate(offered)} offered were confirmed"
        why = [f"{low}: {', '.join(why) or _held(proving) or _unanswered(proving) or 'the ledger does not tell why'}"]
    return why + left


def _doubled(trials: list[TrialRecord]) -> str:
    """Returns how many effects were doubled, where a wrapper was there to prevent it."""
    if not figures.marked(trials, "skipped"):
        return ""
    return f"{words.count(figures.marked(trials, 'duplicate_effect') or 0, 'effect')} doubled"


def _held(trials: list[TrialRecord]) -> str:
    held = figures.held(trials)
    return ", ".join(f"{format_count(n)} held: {words.HELD_REASONS.get(reason, reason)}" for reason, n in held.items())


def _unanswered(trials: list[TrialRecord]) -> str:
    number = sum(trial.ledger.outcomes.get("UNKNOWN", 0) for trial in trials if trial.ledger)
    return f"{format_count(number)} got no answer" if number else ""


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _is_number(value: Figure | None) -> TypeGuard[float]:
    return value is not None and not isinstance(value, Unknown | AtLeast)


def _no_verdict(case: CaseRecord) -> str:
    status = sign(case).word
    reason = next((reason for trial in case.trials for reason, _ in trouble.reasons(trial)), "")
    reason = trouble.first_words(reason)
    return f"no verdict: {status}" + (f" — {plain(reason)}." if reason else ".")


def _not_all_valid(case: CaseRecord, bad: list[TrialRecord]) -> str:
    if len(case.trials) == 1:
        return f"proven, though the trial is {bad[0].status.value}"
    return ", ".join(f"trial {trial.number} is {trial.status.value}" for trial in bad)


def _loss_of_all(ran: list[CaseRecord]) -> str:
    losing = [case for case in ran if figures.lost(figures.proving(case.trials))]
    told = [case for case in ran if figures.lost(figures.proving(case.trials)) is not None]
    if not told:
        return ""
    if not losing:
        clear = [case for case in told if not _proves_nothing(case) and not _may_have_lost(case)]
        nothing = sum(map(_proves_nothing, ran))
        also = f"; {words.count(nothing, 'case')} proved nothing" if nothing else ""
        return f"No confirmed message was lost in {_of(len(clear), len(ran))}{also}." if clear else ""
    allowed = [case for case in losing if sign(case) is words.LOST_AS_CLAIMED]
    own = [case for case in losing if sign(case) is words.LOST_BY_SKIPPING]
    told_of = f"{_of(len(losing), len(ran))} LOST confirmed messages"
    if len(own) == len(losing):
        return f"{told_of}, not by the broker: the workers skipped what it delivered again."
    if len(allowed) == len(losing):
        return f"{told_of}, as {'its claim allows' if len(losing) == 1 else 'their claims allow'}."
    return f"{told_of}."


def _proves_nothing(case: CaseRecord) -> bool:
    """Returns whether that a case lost nothing says nothing: it gave no valid trial, or a claim was not tried, or is open."""
    seen = {each.verdict for each in case.guarantees}
    return not _valid(case) or (Verdict.VIOLATED not in seen and bool({Verdict.UNKNOWN, Verdict.NOT_EXERCISED} & seen))


def _may_have_lost(case: CaseRecord) -> bool:
    lost = figures.lost(figures.proving(case.trials))
    return lost is None or lost.or_more


def _claims_of_all(ran: list[CaseRecord]) -> str:
    broken = [case for case in ran if sign(case) is words.VIOLATED]
    missed = [case for case in ran if any(expectation.met is False for expectation in case.slo)]
    open_cases = [case for case in ran if sign(case) in (words.UNKNOWN, words.NOT_EXERCISED)]
    parts = []
    if broken:
        parts.append(f"{_of(len(broken), len(ran))} BROKE a claim.")
    elif any(_valid(case) for case in ran):
        parts.append("No claim was broken.")
    if missed:
        parts.append(f"{_of(len(missed), len(ran))} missed an SLO.")
    if open_cases:
        parts.append(f"{_of(len(open_cases), len(ran))} could not be judged.")
    return " ".join(parts)


def _of(number: int, total: int) -> str:
    return f"{number} of {words.count(total, 'case')}"


def _first(claims: list[Guarantee], verdict: Verdict) -> Guarantee | None:
    return next((guarantee for guarantee in claims if guarantee.verdict is verdict), None)
