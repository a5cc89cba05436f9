"""What a claim says, in words, and what it allows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from harness.analysis.bounds import poisson_upper
from harness.model import ENDS_BROKER, Claim, FaultKind, Mark, MayLose, MayRepeat
from harness.units import format_count, format_duration

NO_FAULT = Claim(
    fault=FaultKind.NONE,
    may_lose=MayLose.NONE,
    may_repeat=MayRepeat.NONE,
    source="every setup claims it: without a fault nothing is lost and nothing repeated",
)

TOO_WIDE = 0.5
"""A bound from here on is not worth the words."""

CUTS_WORKERS = (FaultKind.WORKER_KILL, *ENDS_BROKER)

OURS = frozenset({Mark.ATTEMPT_DUPLICATE, Mark.ASKED_AGAIN})
"""Repeats that the harness itself asked for: within every claim."""

SECOND_COPIES = frozenset({Mark.PRODUCER_DUPLICATE, Mark.DUPLICATE_OF_UNKNOWN_ORIGIN})
"""Repeats that a client library makes which publishes again."""

_ALLOWED = {
    MayRepeat.NONE: OURS,
    MayRepeat.EXPIRED: OURS,  # and what is unacked, where its hold had run out
    MayRepeat.UNACKED: OURS | {Mark.REDELIVERED_UNACKED, Mark.REDELIVERED_AFTER_UNKNOWN_ACK},
    MayRepeat.ACKED: frozenset(Mark) - {Mark.GIVEN_TWICE},
}


def claim_for(kind: FaultKind, claims: Iterable[Claim]) -> Claim | None:
    """Returns the claim made about a fault; about none at all, every setup makes one."""
    return next((claim for claim in claims if claim.fault is kind), NO_FAULT if kind is FaultKind.NONE else None)


def with_auto_ack(claims: Iterable[Claim], may_lose: MayLose) -> tuple[Claim, ...]:
    """Returns claims as they stand where workers ack by receiving: a fault that ends a worker's connection may also lose ``may_lose``."""
    return tuple(
        replace(claim, may_lose=_also(claim.may_lose, may_lose)) if claim.fault in CUTS_WORKERS else claim
        for claim in claims
    )


def _also(claimed: MayLose, with_workers: MayLose) -> MayLose:
    if claimed is MayLose.WINDOW and with_workers is MayLose.IN_FLIGHT:
        return MayLose.WINDOW_OR_IN_FLIGHT
    return max(claimed, with_workers, key=list(MayLose).index)


def allows_repeat(claim: Claim, cause: Mark, *, expired: bool = False) -> bool:
    """Returns whether a repeat of that cause is within the claim; a message given twice never is.

    Args:
        expired: its hold had run out before it came again.
    """
    if claim.may_duplicate and cause in SECOND_COPIES:
        return True
    if expired and claim.may_repeat is MayRepeat.EXPIRED:
        return cause in _ALLOWED[MayRepeat.UNACKED]
    return cause in _ALLOWED[claim.may_repeat]


def claim_words(claim: Claim | None) -> str:
    """Returns a claim in words, e.g. ``loses nothing; may repeat unacked``."""
    if claim is None:
        return "no claim"
    loses = {
        MayLose.NONE: "loses nothing",
        MayLose.IN_FLIGHT: "loses at most what was in flight",
        MayLose.WINDOW: f"loses at most what was confirmed in the last {format_duration(claim.window_s)}",
        MayLose.WINDOW_OR_IN_FLIGHT: (
            f"loses at most what was in flight or confirmed in the last {format_duration(claim.window_s)}"
        ),
        MayLose.ALL: "may lose all",
    }
    repeats = {
        MayRepeat.NONE: "repeats nothing",
        MayRepeat.EXPIRED: "repeats only what is held longer than the visibility time",
        MayRepeat.UNACKED: "may repeat unacked",
        MayRepeat.ACKED: "may repeat even acked",
    }
    copies = "; the client may store a message twice" if claim.may_duplicate else ""
    strands = "; may leave messages undelivered" if claim.may_strand else ""
    return f"{loses[claim.may_lose]}; {repeats[claim.may_repeat]}{copies}{strands}"


def bound_words(lost: int, exposed: int, what: str = "exposed") -> str:
    """Returns the 95 % upper bound of the share lost, with the condition under which it holds; "" where it says next to nothing."""
    share = poisson_upper(lost) / exposed if exposed else 1.0
    if round(share, 2) >= TOO_WIDE:
        return ""
    percent = format(Decimal(f"{share * 100:.2g}"), "f")  # never 3e-05
    return f"if losses were independent, at most {percent} % of all ({format_count(exposed)} {what}, 95 %)"
