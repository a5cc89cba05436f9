"""What a setup claims against what was seen (``measurement.md``, *Guarantee*).

One :class:`harness.record.Guarantee` per kind of fault in the trial, and always one for ``none``: what happened outside every
fault. A verdict is, in this order: NO CLAIM, VIOLATED, UNKNOWN, NOT EXERCISED, HELD.

- Loss, and a message that is kept but not delivered, belong to the faults they were exposed to (``exposure``).
- "*Stranded and the claim*: a stranded CONFIRMED message whose delay or hold had run out while workers were asking, or which nothing in
  the setup brings back, is VIOLATED *not delivered*, unless the claim says ``may_strand``; hold not yet over: UNKNOWN." A message that
  is ready has no hold: it was deliverable if workers were asking in vain for the longest hold, else UNKNOWN as well.
- A repeat belongs to each fault that lay between it and the delivery before it (by overlap); to none: to ``none``. Where holds run
  out, a message that was held for longer comes again by the definition of the design, which its no-fault claim says (``EXPIRED``).
- A loss that was delivered again, and that the workers' idempotency wrapper skipped, is no loss of the broker's: it is told, and breaks
  no claim.
- Phantoms, phantom attempts and corrupt messages break every claim. A message *given twice* has no cause, so no fault explains it.
- "A broker that does not come back: VIOLATED *unavailable*", of the broker's last fault. One that ended by itself, of no fault of
  ours, proves nothing: UNKNOWN.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from harness.analysis.claims import NO_FAULT, allows_repeat, claim_for, claim_words
from harness.analysis.evidence import told
from harness.analysis.exercised import acks_before, in_flight, struck, why_not
from harness.analysis.exposure import BROKER_FAULTS, Stand, blame, exposed, span
from harness.analysis.held import held_by, swallowed_by
from harness.analysis.identities import NEVER, Ints, KeyIndex, identity_keys
from harness.analysis.moments import Mask, Moments
from harness.analysis.repeats import repeat_words
from harness.analysis.windows import injected
from harness.clock import NS_PER_S
from harness.facts import FaultRecord, TrialFacts
from harness.model import (
    LOSS_CLASSES,
    Claim,
    Class,
    FaultKind,
    Mark,
    MayLose,
    MayRepeat,
    Outcome,
    Place,
    Traits,
    Verdict,
)
from harness.record import Guarantee, LedgerCounts, Loss

Stands = npt.NDArray[np.uint8]

SHORTEST_QUIET_S = 3.0

LIMITED = (MayLose.IN_FLIGHT, MayLose.WINDOW_OR_IN_FLIGHT)
WINDOWED = (MayLose.WINDOW, MayLose.WINDOW_OR_IN_FLIGHT)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """All that a verdict is reached from.

    Args:
        moments: of every identity. counts: of the reconciliation.
        repeats: ``cause``, ``expired``, ``previous_ns``, ``received_ns`` of every repeat that the harness did not ask for.
        left_after_ack_ns: when those that are still in the broker were acked.
        by_skipping: which identities were lost by the workers: delivered again, and skipped by their idempotency wrapper.
        deliveries, residue, connections: tables. facts, traits: of trial and setup.
    """

    moments: Moments
    counts: LedgerCounts
    repeats: pl.DataFrame
    left_after_ack_ns: Ints
    by_skipping: Mask
    deliveries: pl.LazyFrame
    residue: pl.DataFrame
    connections: pl.DataFrame
    facts: TrialFacts
    traits: Traits

    @property
    def settles_itself(self) -> bool:
        """Returns whether a delivery is settled by being received."""
        return self.traits.at_most_once or self.facts.auto_ack


@dataclass
class _Finding:
    """What was found of one kind of fault: counts of each sort of harm, by whether it proves or only may be."""

    violated: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """The guarantees of a trial.

    Args:
        guarantees: ``none`` first, then the faults' kinds in the order of the scenario.
        exposed: fault index → messages that were exposed to it.
    """

    guarantees: tuple[Guarantee, ...]
    exposed: dict[int, int]


def judge(seen: Seen, claims: Sequence[Claim]) -> Judged:
    """Returns a verdict for ``none`` and for each kind of fault of the trial."""
    return _Court(seen, claims).judge()


class _Court:
    """Holds what the steps of one judgement share: the faults that fired, what was exposed, what was found."""

    def __init__(self, seen: Seen, claims: Sequence[Claim]) -> None:
        self.seen = seen
        self.faults = injected(seen.facts.faults)
        self.of_kind: dict[FaultKind, list[int]] = {}  # a harm that met two faults of one kind counts once
        for at, fault in enumerate(self.faults):
            self.of_kind.setdefault(fault.kind, []).append(at)
        self.claims = {fault.kind: claim_for(fault.kind, claims) for fault in seen.facts.faults}
        self.claims[FaultKind.NONE] = claim_for(FaultKind.NONE, claims)
        self.exposed = [
            exposed(seen.moments, fault, seen.facts, settles_itself=seen.settles_itself) for fault in self.faults
        ]
        self.budgets = {
            at: in_flight(fault, seen.facts, seen.deliveries, seen.connections)
            for at, fault in enumerate(self.faults)
            if (claim := self.claims[fault.kind]) is not None and claim.may_lose in LIMITED
        }
        self.found = {kind: _Finding() for kind in self.claims}
        self.repeats_of: dict[FaultKind, Counter[str]] = {kind: Counter() for kind in self.claims}
        self.is_lost = seen.moments.is_class(*LOSS_CLASSES) & ~seen.by_skipping

    def judge(self) -> Judged:
        self._losses()
        self._stranded()
        self._undecided()
        self._repeats()
        self._core()
        self._unavailable()
        kinds = [FaultKind.NONE, *dict.fromkeys(fault.kind for fault in self.seen.facts.faults)]
        return Judged(
            guarantees=tuple(self._verdict(kind) for kind in kinds),
            exposed={f.index: int(np.count_nonzero(mask)) for f, mask in zip(self.faults, self.exposed, strict=True)},
        )

    # What was found, one kind of harm after the other.

    def _blame(self, what: str, stands: Stands, *, may_only: bool = False, nobodys: Mask | None = None) -> None:
        """Charges harms to the faults that they belong to, and those that belong to none to ``none``.

        Args:
            may_only: the harms are not proven: whoever may have done them stays unknown.
            nobodys: which of those that belong to no fault count; all where not given.
        """
        apart = (stands == Stand.APART).all(axis=1)
        own = int(np.count_nonzero(apart if nobodys is None else apart & nobodys))
        side = "unknown" if may_only else "violated"
        if own:
            getattr(self.found[FaultKind.NONE], side)[what] += own
        if may_only:
            for kind, of_kind in self.of_kind.items():
                may = int(np.count_nonzero((stands[:, of_kind] >= Stand.LIMITS).any(axis=1)))
                if may:
                    self.found[kind].unknown[what] += may
            return
        result = blame(stands[~apart], self.budgets, [self.of_kind[fault.kind][0] for fault in self.faults])
        for at, fault in enumerate(self.faults):
            if result.violated.get(at):
                self.found[fault.kind].violated[what] += result.violated[at]
            if result.unknown.get(at):
                self.found[fault.kind].unknown[f"{what} that may belong to another fault"] += result.unknown[at]

    def _stands(self, chosen: Mask) -> Stands:
        """Returns FORBIDS where a chosen identity was exposed to a fault with a claim, ALLOWS where no claim is made."""
        stands = np.zeros((int(np.count_nonzero(chosen)), len(self.faults)), np.uint8)
        for at, fault in enumerate(self.faults):
            stand = Stand.ALLOWS if self.claims[fault.kind] is None else Stand.FORBIDS
            stands[self.exposed[at][chosen], at] = stand
        return stands

    def _losses(self) -> None:
        stands = self._stands(self.is_lost)
        confirmed_ns = self.seen.moments.confirmed_ns[self.is_lost]
        for at, fault in enumerate(self.faults):
            claim = self.claims[fault.kind]
            hit = stands[:, at] == Stand.FORBIDS
            if claim is None or claim.may_lose is MayLose.NONE:
                continue
            if claim.may_lose in LIMITED:
                stands[hit, at] = Stand.LIMITS
            if claim.may_lose is MayLose.ALL:
                stands[hit, at] = Stand.ALLOWS
            if claim.may_lose in WINDOWED:
                since = (fault.injected_ns or 0) - round(claim.window_s * NS_PER_S)
                stands[hit & (confirmed_ns >= since), at] = Stand.ALLOWS
        forbidden = self.claims[FaultKind.NONE] or NO_FAULT
        nobodys = np.full(len(stands), forbidden.may_lose is not MayLose.ALL)
        self._blame("lost", stands, nobodys=nobodys)

    def _stranded(self) -> None:
        moments = self.seen.moments
        stranded = moments.is_class(Class.STRANDED) & (moments.outcome == Outcome.CONFIRMED)
        if not stranded.any():
            return
        deliverable = stranded & self._found(self._is_deliverable())
        free = (pl.col("place") == Place.READY.value) | pl.col("hold_over").fill_null(False)
        waiting = stranded & ~deliverable & self._found(free)
        none = self.claims[FaultKind.NONE] or NO_FAULT
        for chosen, may_only, what in (
            (deliverable, False, "not delivered (stranded)"),
            (waiting, True, "still waiting when the drain ended: raise phases.drain"),
            (stranded & ~deliverable & ~waiting, True, "stranded with their hold not over"),
        ):
            stands = self._stands(chosen)
            for at, fault in enumerate(self.faults):
                claim = self.claims[fault.kind]
                if claim is not None and claim.may_strand:
                    stands[stands[:, at] == Stand.FORBIDS, at] = Stand.ALLOWS
            self._blame(what, stands, may_only=may_only, nobodys=np.full(len(stands), not none.may_strand))

    def _is_deliverable(self) -> pl.Expr:
        """Returns which copies were found in a place from which they should have been delivered by the end.

        A hold that ran out while workers were busy, and not asking, proves nothing; nor does what waits as long as others still come.
        """
        facts = self.seen.facts
        events = self.seen.moments.delivery_events_ns
        asked_in_vain_ns = (facts.asking_until_ns or 0) - (int(events[-1]) if len(events) else 0)
        longest_hold_s = max(facts.visibility_s + facts.sweep_s, SHORTEST_QUIET_S)
        quiet = facts.drain_complete or asked_in_vain_ns >= longest_hold_s * NS_PER_S
        hold_over = pl.col("hold_over").fill_null(True) & pl.lit(quiet)
        place = pl.col("place")
        return ((place == Place.RUNNING.value) | hold_over) & (place != Place.DEAD_LETTER.value)

    def _found(self, where: pl.Expr) -> Mask:
        """Returns which identities have a copy of which that holds in the broker."""
        moments = self.seen.moments
        own = ~pl.col("foreign").fill_null(False) & pl.col("producer").is_not_null()
        copies = self.seen.residue.filter(own & where)
        keys = identity_keys(copies.get_column("producer").to_numpy(), copies.get_column("seq").to_numpy())
        at = KeyIndex(moments.keys).find(keys)
        found = np.zeros(len(moments.keys), bool)
        found[at[at >= 0]] = True
        return found

    def _undecided(self) -> None:
        moments = self.seen.moments
        undecided = moments.is_class(Class.UNDECIDED) & (moments.outcome == Outcome.CONFIRMED)
        self._blame("undecided", self._stands(undecided), may_only=True)

    def _repeats(self) -> None:
        repeats = self.seen.repeats
        late = pl.DataFrame({"previous_ns": self.seen.left_after_ack_ns}).select(
            cause=pl.lit(Mark.REDELIVERED_AFTER_ACK.value),
            expired=pl.lit(False),
            previous_ns="previous_ns",
            received_ns=pl.lit(NEVER),
        )
        for (name, expired), group in pl.concat([repeats, late]).group_by("cause", "expired", maintain_order=True):
            cause, ran_out = Mark(name), bool(expired)
            stands = self._repeat_stands(cause, group, expired=ran_out)
            apart = (stands == Stand.APART).all(axis=1)
            words = repeat_words(cause, expired=ran_out)
            self.repeats_of[FaultKind.NONE][words] += int(np.count_nonzero(apart))
            for kind, of_kind in self.of_kind.items():
                self.repeats_of[kind][words] += int(np.count_nonzero((stands[:, of_kind] != Stand.APART).any(axis=1)))
            allowed = allows_repeat(self.claims[FaultKind.NONE] or NO_FAULT, cause, expired=ran_out)
            may_only = cause is Mark.DUPLICATE_OF_UNKNOWN_ORIGIN
            self._blame(words, stands, may_only=may_only, nobodys=np.full(len(stands), not allowed))

    def _repeat_stands(self, cause: Mark, group: pl.DataFrame, *, expired: bool) -> Stands:
        stands = np.zeros((len(group), len(self.faults)), np.uint8)
        if cause is Mark.GIVEN_TWICE:
            return stands
        before, after = group.get_column("previous_ns").to_numpy(), group.get_column("received_ns").to_numpy()
        for at, fault in enumerate(self.faults):
            start, end = span(fault, self.seen.facts)
            claim = self.claims[fault.kind]
            allowed = claim is None or allows_repeat(claim, cause, expired=expired)
            stands[(before <= end) & (after >= start), at] = Stand.ALLOWS if allowed else Stand.FORBIDS
        return stands

    def _core(self) -> None:
        counts = self.seen.counts
        for what, count in (
            ("phantom", counts.classes.get(Class.PHANTOM, 0)),
            ("of a phantom attempt", counts.marks.get(Mark.PHANTOM_ATTEMPT, 0)),
            ("corrupt", counts.marks.get(Mark.CORRUPT, 0)),
            ("with an unreadable header", counts.unreadable + counts.unreadable_found),
        ):
            if count:
                for found in self.found.values():
                    found.violated[what] += count

    def _unavailable(self) -> None:
        if self.seen.facts.broker_died:
            self.found[FaultKind.NONE].unknown[_DIED] += 1
        elif not self.seen.facts.broker_back:
            self._never_back()

    def _never_back(self) -> None:
        of_broker = [fault for fault in self.faults if fault.kind in BROKER_FAULTS]
        unhealed = [fault for fault in of_broker if fault.healed_ns is None]
        kind = (unhealed or of_broker)[-1].kind if of_broker else FaultKind.NONE
        self.found[kind].violated[_UNAVAILABLE] += 1

    # The verdict.

    def _verdict(self, kind: FaultKind) -> Guarantee:
        claim, found = self.claims[kind], self.found[kind]
        of_kind = self.of_kind.get(kind, [])
        touched = self._touched(kind, of_kind)
        count = int(np.count_nonzero(touched))
        lost = int(np.count_nonzero(touched & self.is_lost))
        reasons = self._not_exercised(kind, of_kind, count)
        if claim is None:
            verdict = Verdict.NO_CLAIM
        elif found.violated:
            verdict = Verdict.VIOLATED
        elif found.unknown:
            verdict = Verdict.UNKNOWN
        elif reasons:
            verdict = Verdict.NOT_EXERCISED
        else:
            verdict = Verdict.HELD
        says_nothing = not count and verdict is Verdict.NOT_EXERCISED  # "0 of 0": the reasons say it
        counts = {what: c for what, c in self.repeats_of[kind].items() if c}
        if skipped := int(np.count_nonzero(touched & self.seen.by_skipping)):
            counts[SKIPPED_WORDS] = skipped
        harms = found.violated + found.unknown
        counts |= {what: c for what, c in harms.items() if what not in (*_WITHOUT_COUNT, "lost", *counts)}
        notes = [what for what in harms if what in _WITHOUT_COUNT]
        if verdict is Verdict.NOT_EXERCISED:
            notes += reasons
        if verdict is Verdict.HELD:
            notes += self._not_tried(claim, of_kind)
        return told(
            Guarantee(
                fault=kind.value,
                claim=claim_words(claim),
                verdict=verdict,
                evidence="",
                exposed=count,
                loss=None if says_nothing else self._loss(kind, of_kind, lost, count),
                counts=counts,
                notes=notes,
                bounded=self._held(of_kind) if kind is FaultKind.WORKER_KILL else count,
            )
        )

    def _touched(self, kind: FaultKind, of_kind: list[int]) -> Mask:
        """Returns which identities a verdict is about: those exposed to a fault of the kind; for ``none`` to no fault."""
        every: Mask = np.zeros(len(self.is_lost), bool)
        for at in of_kind if kind is not FaultKind.NONE else range(len(self.faults)):
            every |= self.exposed[at]
        if kind is FaultKind.NONE:
            every = (self.seen.moments.outcome == Outcome.CONFIRMED) & ~every
        return every

    def _not_exercised(self, kind: FaultKind, of_kind: list[int], count: int) -> list[str]:
        """Returns why no fault of the kind was exercised, nothing where one was."""
        if kind is FaultKind.NONE:
            return [] if count else ["nothing was confirmed outside the faults"]
        if not of_kind:
            return ["the fault never fired"]
        seen, reasons = self.seen, list[str]()
        for at in of_kind:
            if not self.exposed[at].any():
                reasons.append("nothing was exposed to it")
                continue
            reason = why_not(self.faults[at], seen.facts, seen.moments, seen.deliveries, seen.connections)
            if not reason:
                return []
            reasons.append(reason)
        return list(dict.fromkeys(reasons))

    def _held(self, of_kind: list[int]) -> int:
        """Returns how many messages killed workers held: a death touches those, however many more were in the broker."""
        seen, faults = self.seen, [self.faults[at] for at in of_kind]
        killed = [shard for fault in faults for shard in struck(fault, seen.facts)]
        held = sum(len(held_by(seen.deliveries, s.number, s.killed_ns)) for s in killed if s.killed_ns is not None)
        tables = seen.deliveries, seen.connections
        return held + sum(len(swallowed_by(fault, seen.facts, seen.moments, *tables)) for fault in faults)

    def _loss(self, kind: FaultKind, of_kind: list[int], lost: int, count: int) -> Loss:
        if kind is FaultKind.NONE:
            where = "confirmed messages" if not self.faults else "messages that met no fault"
            return Loss(lost=lost, of=count, what=where)
        budgets = [self.budgets[at] for at in of_kind if at in self.budgets]
        return Loss(lost=lost, of=count, what="exposed messages", budget=sum(budgets) if budgets else None)

    def _not_tried(self, claim: Claim | None, of_kind: list[int]) -> list[str]:
        """Returns which part of a claim that HELD was not put to the test."""
        strict = claim is not None and claim.may_repeat is not MayRepeat.ACKED
        faults: list[FaultRecord] = [self.faults[at] for at in of_kind]
        if strict and faults and not any(acks_before(fault, self.seen.moments) for fault in faults):
            return ["no ack in the last second before it: repeats after an ack were not put to the test"]
        return []


SKIPPED_WORDS = "more delivered again and skipped by the workers' idempotency wrapper (effect lost, not by the broker)"
_UNAVAILABLE = "unavailable: the broker did not come back"
_DIED = "the broker ended unexpectedly, by no fault of the scenario"
_WITHOUT_COUNT = (_UNAVAILABLE, _DIED)
