"""What the live view says of events and moments, in one wording for the panel and for plain lines."""

from __future__ import annotations

import math

from harness.cli.picture import ActiveFault, DueFault, LiveSnapshot, Rates
from harness.model import TrialStatus
from harness.run.progress import (
    CaseFinished,
    CaseStarted,
    Event,
    FaultHealed,
    FaultInjected,
    PhaseChanged,
    Warned,
)
from harness.units import format_count, format_duration, format_rate
from reports import story, words

NONE = "—"
FLOW = ("offered", "confirmed", "delivered")


def happened(event: Event) -> str:
    """Returns the line that says what an event was; "" for one that is no news by itself (a tick, a plan)."""
    told = ""
    match event:
        case CaseStarted():
            told = case_words(event, named=True)
        case PhaseChanged():
            told = f"  {event.phase}{_length(event)}"
        case FaultInjected():
            heals = "" if event.hold_s is None else f", to be healed in {format_duration(event.hold_s)}"
            told = f"  ! fault: {event.label}{heals}"
        case FaultHealed():
            told = f"  ! healed: {event.label}"
        case Warned():
            told = f"  warning: {event.text}"
        case CaseFinished():
            told = _finished(event)
    return told


def _finished(event: CaseFinished) -> str:
    valid = event.status is TrialStatus.VALID
    sign = story.sign(event.case) if valid else words.OF_STATUS[event.status]
    said = story.sentence(event.case) if valid else event.words
    return f"{sign}: {event.case.id}, trial {event.trial}{f': {said}' if said else ''}"


def line(now: LiveSnapshot) -> str:
    """Returns a moment as one line."""
    parts = [f"{now.phase.phase} {phase_words(now)}" if now.phase else "starting"]
    if now.rates:
        parts += [flow(now.rates, *FLOW), tail(now.rates), "  ".join(counts(now.rates))]
    parts += [fault(each) for each in now.faults] or [due(each) for each in now.due[:1]]
    return " | ".join(parts)


def case_words(case: CaseStarted, *, named: bool = False) -> str:
    """Returns which case and trial it is."""
    name = f": {case.case_id}" if named else ""
    trial = f", trial {case.trial} of {case.trials}" if case.trials > 1 else ""
    return f"case {case.number} of {case.of}{name}{trial}"


def phase_words(now: LiveSnapshot) -> str:
    """Returns how far the phase is, without its name."""
    phase = now.phase
    if phase is None:
        return ""
    done = f"{int(now.elapsed_s)} s"
    if phase.length_s is None:
        return done
    if phase.limit:
        return f"{done}, at most {format_duration(phase.length_s)}"
    left_s = max(0.0, phase.length_s - now.elapsed_s)
    return f"{done} of {format_duration(phase.length_s)}, {math.ceil(left_s)} s left"


def time_left(left_s: float) -> str:
    """Returns whole seconds, with minutes and hours where there are some: ``4 s``, ``2 min 10 s``, ``1 h 5 min``."""
    minutes, seconds = divmod(math.ceil(left_s), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def flow(rates: Rates, *names: str) -> str:
    """Returns rates of the last second by name: ``offered``, ``confirmed``, ``delivered``."""
    known = {name: getattr(rates, f"{name}_per_s") for name in names}
    return "  ".join(f"{name} {NONE if rate is None else format_rate(rate)}" for name, rate in known.items())


def tail(rates: Rates) -> str:
    """Returns the p99 of the last second, or since when there is none."""
    if rates.tail_s is not None:
        beyond = math.isinf(rates.tail_s)
        return f"{rates.tail_name} {'beyond 1 h' if beyond else format_duration(rates.tail_s)} end to end"
    if rates.quiet_s is None:
        return f"p99 {NONE}  nothing delivered yet"
    return f"p99 {NONE}  nothing delivered for {format_duration(round(rates.quiet_s, 1))}"


def counts(rates: Rates) -> tuple[str, str]:
    """Returns the backlog, and how many messages are of the classes that are known before the end."""
    broker = "" if rates.backlog_broker is None else f" (broker: {format_count(rates.backlog_broker)})"
    told = {"rejected": rates.rejected, "unknown": rates.unknown, "redelivered": rates.redelivered}
    listed = "  ".join(f"{name} {format_count(number)}" for name, number in told.items())
    return f"backlog {format_count(rates.backlog)}{broker}", listed


def fault(active: ActiveFault) -> str:
    """Returns a fault that lasts, with the time to its healing."""
    since = f"{active.label}, for {active.since_s:.1f} s"
    if active.left_s is None:
        return f"{since}, until the load ends"
    if active.left_s > 0:
        return f"{since}, heals in {active.left_s:.1f} s"
    return f"{since}, healing"


def due(planned: DueFault) -> str:
    """Returns a fault that is to come, with the time until it strikes and how long it is to last."""
    lasts = "" if planned.hold_s is None else f", for {format_duration(planned.hold_s)}"
    return f"{planned.label} in {max(0.0, planned.in_s):.1f} s{lasts}"


def _length(phase: PhaseChanged) -> str:
    if phase.length_s is None:
        return ""
    return f", {'at most ' if phase.limit else ''}{format_duration(phase.length_s)}"
