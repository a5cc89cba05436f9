"""The one place that turns figures, classes and verdicts into words; terminal and Markdown both speak through it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.metrics import METRICS
from harness.model import DurabilityClass, FaultKind, TrialStatus, Verdict
from harness.record import AtLeast, Expectation, Figure, Guarantee, Unknown
from harness.units import format_bytes, format_count, format_duration, format_rate, parse_duration_s

NOT_MEASURED = "—"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sign:
    """How a state is shown: a symbol and a word, so that it can be told without colour; ``style`` is rich's."""

    symbol: str
    word: str
    style: str
    rank: int  # worst first

    def __str__(self) -> str:
        return f"{self.symbol} {self.word}"


VIOLATED = Sign(symbol="✗", word="VIOLATED", style="bold red", rank=0)
SLO_MISSED = Sign(symbol="✗", word="SLO MISSED", style="bold red", rank=1)
INVALID = Sign(symbol="!", word="INVALID", style="bold magenta", rank=2)
FAILED = Sign(symbol="!", word="FAILED", style="bold magenta", rank=3)
INTERRUPTED = Sign(symbol="!", word="INTERRUPTED", style="bold magenta", rank=4)
UNKNOWN = Sign(symbol="?", word="UNKNOWN", style="bold yellow", rank=5)
NOT_EXERCISED = Sign(symbol="○", word="NOT EXERCISED", style="yellow", rank=6)
LOST_AS_CLAIMED = Sign(symbol="▼", word="LOST, as claimed", style="bold yellow", rank=7)
LOST_BY_SKIPPING = Sign(symbol="▼", word="LOST by the workers", style="bold yellow", rank=7)
LOST_NO_CLAIM = Sign(symbol="▼", word="LOST, no claim", style="bold yellow", rank=7)  # before NO_CLAIM
NO_CLAIM = Sign(symbol="·", word="NO CLAIM", style="", rank=8)
HELD = Sign(symbol="✓", word="HELD", style="green", rank=9)
UNAVAILABLE = Sign(symbol="—", word="NOT RUN", style="dim", rank=10)
CUT_OFF = Sign(symbol="!", word="CUT OFF", style="bold magenta", rank=4)  # as INTERRUPTED, but nobody could say so

OF_VERDICT = {
    Verdict.HELD: HELD,
    Verdict.VIOLATED: VIOLATED,
    Verdict.NOT_EXERCISED: NOT_EXERCISED,
    Verdict.UNKNOWN: UNKNOWN,
    Verdict.NO_CLAIM: NO_CLAIM,
}
OF_STATUS = {
    TrialStatus.VALID: Sign(symbol="✓", word="valid", style="green", rank=9),
    TrialStatus.INVALID: INVALID,
    TrialStatus.FAILED: FAILED,
    TrialStatus.INTERRUPTED: INTERRUPTED,
    TrialStatus.UNAVAILABLE: UNAVAILABLE,
}

DURABILITY = {
    DurabilityClass.MEMORY: "a confirmed message is in memory only: it does not survive the broker",
    DurabilityClass.PROCESS_CRASH_SAFE: "a confirmed message survives a killed broker, not a power loss",
    DurabilityClass.FSYNCED: "a confirmed message is on disk",
    DurabilityClass.REPLICATED: "a confirmed message is on several nodes",
    DurabilityClass.UNKNOWN: "the broker, which is not ours, does not tell what a confirmed message survives",
}

_WHEN = {
    "broker kill": "when the broker was killed",
    "broker restart": "when the broker was restarted",
    "broker recreate": "when the broker's container was replaced",
    "broker pause": "when the broker was paused",
    "worker kill": "when workers were killed",
    "producer kill": "when a producer was killed",
    "reply cut": "when replies to producers were cut off",
}

CLASSES = {
    "phantom": "seen, though never accepted",
    "unsent": "never sent",
    "rejected": "refused by the broker",
    "processed": "confirmed and worked off",
    "recovered": "no answer, yet worked off",
    "dead_lettered": "in the dead letter place",
    "stranded": "still in the broker, not delivered",
    "undecided": "cannot be told: the search was not sound",
    "vanished": "no answer, and gone: not a loss",
    "lost_in_settling": "LOST after a worker gave it back",
    "interrupted": "LOST after receipt, work not finished",
    "lost": "LOST: confirmed, never received",
}
GOOD_CLASSES = frozenset({"processed", "recovered"})

MARKS = {
    "attempt_duplicate": "repeat: our own retry",
    "asked_again": "repeat: a worker gave it back",
    "producer_duplicate": "repeat: a second copy was stored",
    "duplicate_of_unknown_origin": "repeat: origin unknown",
    "redelivered_after_ack": "repeat: came again after its ack",
    "redelivered_after_unknown_ack": "repeat: came again, its ack unanswered",
    "redelivered_unacked": "repeat: came again, not acked",
    "given_twice": "repeat: handed out twice at once",
    "overlapping_execution": "worked on by two workers at once",
    "duplicate_effect": "finished more than once",
    "corrupt": "content damaged",
    "left_behind": "worked off, still in the broker",
    "phantom_attempt": "an attempt arrived that cannot have",
    "reordered": "overtook another",
    "skipped": "no effect: an idempotency wrapper said that it was begun or done",
}

SEEN = {
    "identities": "messages that the load made",
    "unreadable": "deliveries whose header could not be read",
    "unreadable_found": "copies in the broker whose header could not be read",
    "foreign": "deliveries of another run",
    "foreign_found": "copies of another run in the broker",
}

JEPSEN = {  # total-queue sets
    "lost": "confirmed more often than worked off",
    "unexpected": "worked off, never sent",
    "duplicated": "worked off more often than sent",
    "recovered": "unanswered, yet worked off",
}

OUTCOMES = {
    "CONFIRMED": "the broker said that it has it",
    "UNKNOWN": "no answer: it may be there or not",
    "REJECTED": "the broker refused it",
    "NOT_SENT": "not a byte left",
}

HELD_REASONS = {
    "disconnected": "no connection",
    "blocked": "the broker did not read",
    "window": "too many unconfirmed",
}

RECOVERY = {
    "longest_gap": "longest gap",
    "first_delivery": "first delivery after",
    "p99": "recovered after",
    "backlog": "backlog back after",
    "redelivery_p50": "redelivery p50",
    "redelivery_max": "redelivery max",
}

RUN_FIGURES = {
    "loss.confirmed": "confirmed messages lost",
    "loss.ratio": "lost of confirmed",
    "loss.confirmed_upper_95": "95 % upper bound of lost, if losses were independent",
    "blocked": "blocked: due messages were held",
    "rate.achieved": "settled of offered, steady",
    "rate.delivered": "delivered, steady",
    "rate.settled": "settled, steady",
    "backlog.max": "backlog, most",
    "backlog.end": "backlog, at the end of the load",
    "cost.broker_cpu": "CPU of the broker",
    "cost.load_cpu": "CPU of the load",
    "cost.disk_bytes_per_message": "written to disk per message",
    "cost.broker_memory_peak": "memory of the broker, highest sample",
}

COST = "per message: from the load's start until the last message was settled, without the quiet after it"

SEVERAL = "counts of messages (lost, repeats and the like) are of all trials together, of every other figure the middle one (of two, the worse)"
"""How a table tells several trials in one cell; the range beside it is of single trials."""

GLOSSARY = {
    "confirmed": "the broker said that it has the message; only such a message can be lost",
    "exposed": "confirmed, and in the broker while the fault lasted; kill or restart of the broker: when it ended",
    "end to end": "from the moment at which a message was due to its first receipt by a worker",
    "completion": "from the moment at which a message was due to the end of its work",
    "lag": "how late the load generator itself sent what was due; above its bound the trial is invalid",
    "repeats": "deliveries after the first one of the same message",
    "overlapping": "times that a worker began while another was still at the same message",
    "stored twice": "second copies: the producer's client library sent a message again that the broker had kept",
    "doubled": "times that work was finished again which had been finished before",
    "skipped": "deliveries that the workers' idempotency wrapper took for done or begun, and acknowledged without effect",
    "recovered": "time from the end of the fault until p99 and backlog were back at their level",
    "longest gap": "longest time without any delivery around the fault",
    "steady": "the load without warm-up, faults and recoveries; every figure where no window is named",
    "≥": "at least: some messages never came, or the load ended before it had recovered",
    "n too small": "a percentile needs 100 messages beyond it: p99 needs 10,000",
    "not seen": "the next fault or the end of the load came too early to see a recovery, which takes 3 good seconds",
    "filling": "of a throughput: the backlog grew meanwhile, so it is not compared",
    "draining": "of a throughput: the backlog shrank meanwhile, so it is not compared",
    "rejected": "refused by the broker: the producer knows that it is not in",
    "unsent": "due, and never sent",
    "stranded": "still in the broker at the end, not delivered",
    "unknown": "sent without an answer and never seen again, or cannot be told",
    "HELD": "the claim was put to the test and kept",
    "VIOLATED": "the claim was broken",
    "NOT EXERCISED": "the fault struck nothing that could have broken the claim: proves nothing",
    "UNKNOWN": "the evidence does not decide: neither success nor failure",
    "INVALID": "the measurement itself cannot be trusted: no figure of the trial counts",
}

NEVER_REPLACED = "never replaced"
SEEN_FROM_S = 3.0  # recovered takes three slices of a second: a wait that was cut off before says nothing

_SPACE = "free space in /dev/shm, lower the rate or shorten the run, and run again"
_LOGS = "see the logs of the trial: the producers never reached the broker"
_BROKERS_MEMORY = "raise `memory` of the setup, or let the broker refuse before it is full (Redis: maxmemory)"

_REMEDIES = (  # the first that matches
    ("slot folder", _SPACE),
    ("no space left", "free space on the disk that it names, and run again"),
    ("was ordered", "see timeline.jsonl and the logs of the trial: the fault was ordered and struck nothing"),
    ("after the load", "make the load longer than the fault's `at`, or run again: the machine may have been late"),
    ("processes of the broker for memory", _BROKERS_MEMORY),
    ("process of the broker for memory", _BROKERS_MEMORY),
    (
        "the kernel killed",
        "free memory of this machine, or raise the limit that somebody set on the load's container; or send less",
    ),
    ("for memory", _BROKERS_MEMORY),
    ("the broker ended", "see the broker's log in the trial's folder: something else than the scenario ended it"),
    ("its last words", "see the broker's log in the trial's folder"),
    (
        "were never sent",
        "see why a producer stopped; if none did, lower load.rate or give the load more producers or cores",
    ),
    ("ended by itself", "see the log of that name in the trial's folder: something else than the scenario ended it"),
    ("saturat", "lower load.rate, or give the load more producers or cores: this says nothing about the broker"),
    ("before it to heal", "leave more time between the faults, and after them"),
    ("never fired", "make the load longer than the fault's `at`, or set `at` earlier"),
    ("never struck", "make the load longer than the fault's `at`, or set `at` earlier"),
    ("slots", _SPACE),
    ("clock", "run the load on one host, without a time namespace of its own"),
    ("read back", "see settings.json of the trial: the broker does not run as asked"),
    ("settings", "see settings.json of the trial: the broker does not run as asked"),
    ("nothing sent", _LOGS),
    ("nothing was sent", _LOGS),
)
_OF_WARNINGS = (  # the first that matches
    ("producers still blocked", "give the broker what it lacks (its reason is told), or send less: no drain helps"),
    ("the drain hit its limit", "raise phases.drain, so that workers can finish"),
)


def remedy(reason: str) -> str:
    """Returns what a user can do about a reason of invalidity, "" where the reason says it itself or none is known."""
    if "remedy:" in reason or "free space in" in reason:
        return ""
    return next((text for sign, text in _REMEDIES if sign in reason.lower()), "")


def warning(text: str) -> str:
    """Returns a warning, with what a user can do about it where that is known."""
    known = next((told for sign, told in _OF_WARNINGS if sign in text), "")
    return f"{text}; remedy: {known}" if known and "remedy:" not in text else text


def when(faults: list[str]) -> str:
    """Returns when it happened, from fault kinds in order, e.g. ``when the broker was killed``; no fault: ``without any fault``."""
    phrases = [_WHEN.get(kind, f"under {kind}") for kind in dict.fromkeys(faults) if kind != "none"]
    return _and(phrases) if phrases else "without any fault"


def durability(kind: DurabilityClass) -> str:
    """Returns a durability class as it follows other facts about a case."""
    return "durability unknown" if kind is DurabilityClass.UNKNOWN else kind.value


def fault(kind: str) -> str:
    """Returns a fault kind as a table names it."""
    return "no fault" if kind == FaultKind.NONE else kind


def claim(guarantee: Guarantee) -> str:
    """Returns what a setup claims, as a table says it."""
    return "claims nothing" if guarantee.verdict is Verdict.NO_CLAIM else f"claims: {guarantee.claim}"


def _and(phrases: list[str]) -> str:
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def figure(name: str, value: Figure | None) -> str:
    """Returns a figure of metric ``name`` in human units: ``≥`` where censored, the reason where unknown, ``—`` where absent.

    A recovery that was waited for less than it takes says only that: a small "at least" would read as a fast one.
    """
    if value is None:
        return NOT_MEASURED
    if isinstance(value, Unknown):
        return value.unknown
    if isinstance(value, AtLeast):
        if is_not_seen(name, value):
            return "not seen"
        return f"≥ {_number(name, value.at_least)}"
    return _number(name, value)


def is_not_seen(name: str, value: AtLeast) -> bool:
    """Returns whether a recovery was waited for less than it takes to see one."""
    return name in _RECOVERIES and value.at_least < SEEN_FROM_S


def _number(name: str, value: float) -> str:
    metric = METRICS.get(name)
    return _BY_UNIT[metric.unit](value) if metric else f"{value:g}"  # a figure of a later version: as it stands


def asked(expectation: Expectation) -> str:
    """Returns an SLO beside what was seen: ``latency.end_to_end.p99 62 ms, asked: at most 50 ms``."""
    metric = METRICS.get(expectation.metric)
    side = "at least" if metric is not None and metric.higher_is_better else "at most"
    bound = expectation.bound
    if metric is not None and metric.unit == "s/million":  # the file's unit; on paper it is that of the figure
        bound = _number(metric.name, parse_duration_s(bound))
    return f"{expectation.metric} {figure(expectation.metric, expectation.seen)}, asked: {side} {bound}"


def slo(expectation: Expectation) -> tuple[str, str]:
    """Returns what is said of one SLO, and rich's style."""
    if expectation.met is None:
        return f"? UNKNOWN {asked(expectation)}", "yellow"
    return (
        (f"✓ met {asked(expectation)}", "green") if expectation.met else (f"✗ MISSED {asked(expectation)}", "bold red")
    )


def ratio(value: float) -> str:
    """Returns a share in percent; a small one is never rounded to nothing: ``0 %``, ``0.0031 %``, ``30.8 %``."""
    return f"{value * 100:.3g} %"


def loss(number: int, or_more: bool) -> str:
    """Returns a number of lost messages: ``12,345``, or ``at least 12`` where some are undecided."""
    return f"at least {format_count(number)}" if or_more else format_count(number)


def count(number: int, noun: str) -> str:
    """Returns ``1 message``, ``2,000 messages``."""
    return f"{format_count(number)} {noun}" if number == 1 else f"{format_count(number)} {noun}s"


_RECOVERIES = ("recovery.p99", "recovery.backlog")
_BY_UNIT: dict[str, Callable[[float], str]] = {
    "s": format_duration,
    "/s": format_rate,
    "count": format_count,
    "ratio": ratio,
    "B": format_bytes,
    "s/million": lambda value: f"{format_duration(value / 1e6)} per message",
}
