"""What the producers did, by identity. Pure; one half of the join that ``reconcile`` makes, ``receipts`` is the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from harness.analysis.classes import NO_ATTEMPT
from harness.analysis.identities import NEVER, Ints, attempt_keys, identity_keys, producers_of
from harness.analysis.receipts import column
from harness.facts import TrialFacts
from harness.model import Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Sends:
    """What became of the attempts of each identity; arrays of one length but the last two.

    Args:
        keys: identities, sorted, each once.
        outcome: strongest of its attempts, ``NO_ATTEMPT`` without one; UNKNOWN at least where slots of its producer are missing.
        attempts: how many, and how many of them were ``confirmed``.
        first_sent_ns: of attempt 1, ``NEVER`` where it was not sent.
        possible: sorted keys of the attempts that can have come (CONFIRMED or UNKNOWN); None = every identity has one attempt, the first.
        hidden: producers whose slots are missing.
    """

    keys: Ints
    outcome: npt.NDArray[np.int8]
    attempts: npt.NDArray[np.int16]
    confirmed: npt.NDArray[np.int16]
    first_sent_ns: Ints
    possible: Ints | None
    hidden: Ints

    @classmethod
    def read(cls, attempts: pl.LazyFrame, facts: TrialFacts) -> Sends:
        """Returns what ``tables.ATTEMPTS`` says; nothing is sorted where a run without retries left it sorted."""
        keys = identity_keys(column(attempts, "producer"), column(attempts, "seq"))
        number = column(attempts, "attempt")
        outcome = column(attempts, pl.col("outcome").to_physical().cast(pl.Int8))
        sent_ns = column(attempts, pl.col("sent_ns").fill_null(NEVER))
        if bool((keys[1:] > keys[:-1]).all()) and bool((number == 1).all()):
            self = cls(
                keys=keys,
                outcome=outcome,
                attempts=np.ones(len(keys), np.int16),
                confirmed=(outcome == Outcome.CONFIRMED).astype(np.int16),
                first_sent_ns=sent_ns,
                possible=None,
                hidden=_hidden(facts),
            )
        else:
            self = cls._grouped(attempt_keys(keys, number), outcome, sent_ns, _hidden(facts))
        of_hidden = np.isin(producers_of(self.keys), self.hidden) if len(self.hidden) else np.False_
        return replace(
            self, outcome=np.where(of_hidden, np.maximum(self.outcome, np.int8(Outcome.UNKNOWN)), self.outcome)
        )

    @classmethod
    def _grouped(cls, detailed: Ints, outcome: npt.NDArray[np.int8], sent_ns: Ints, hidden: Ints) -> Sends:
        order = np.argsort(detailed, kind="stable")
        detailed, outcome, sent_ns = detailed[order], outcome[order], sent_ns[order]
        keys = detailed >> 8
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        return cls(
            keys=keys[starts],
            outcome=np.maximum.reduceat(outcome, starts),
            attempts=np.diff(starts, append=len(keys)).astype(np.int16),
            confirmed=np.add.reduceat(outcome == Outcome.CONFIRMED, starts, dtype=np.int16),
            first_sent_ns=np.where(detailed[starts] & 0xFF == 1, sent_ns[starts], NEVER),
            possible=np.unique(detailed[outcome >= Outcome.UNKNOWN]),
            hidden=hidden,
        )

    def with_strangers(self, keys: Ints) -> Sends:
        """Returns the same with identities that were seen though nobody tried to send them."""
        every = np.union1d(self.keys, keys)
        at = np.searchsorted(every, self.keys)

        def spread(values: npt.NDArray[Any], otherwise: int) -> npt.NDArray[Any]:
            wider = np.full(len(every), otherwise, values.dtype)
            wider[at] = values
            return wider

        outcome = spread(self.outcome, int(NO_ATTEMPT))
        outcome[(outcome == NO_ATTEMPT) & np.isin(producers_of(every), self.hidden)] = Outcome.UNKNOWN
        return replace(
            self,
            keys=every,
            outcome=outcome,
            attempts=spread(self.attempts, 0),
            confirmed=spread(self.confirmed, 0),
            first_sent_ns=spread(self.first_sent_ns, NEVER),
        )

    def send_rank(self) -> npt.NDArray[np.int32] | None:
        """Returns each identity's place in the order of sending, (sent_ns, seq) within a producer; None = its own position."""
        times = self.first_sent_ns
        falls = np.flatnonzero(times[1:] < times[:-1])
        if bool((producers_of(self.keys[falls]) != producers_of(self.keys[falls + 1])).all()):
            return None
        rank = np.empty(len(times), np.int32)
        rank[np.lexsort((times, producers_of(self.keys)))] = np.arange(
            len(times), dtype=np.int32
        )  # stable: seq decides
        return rank


def _hidden(facts: TrialFacts) -> Ints:
    """Returns the producers not all of whose slots were found: what else they did is not known."""
    return np.array(
        [
            shard.number
            for shard in facts.shards
            if shard.kind == "producer" and shard.slots_found < shard.slots_reported
        ],
        np.int64,
    )
