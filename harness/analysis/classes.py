"""What became of each identity: the class table of ``measurement.md`` section 3, in the page's order. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.model import Class, Outcome

Bools = npt.NDArray[np.bool_]

NO_ATTEMPT = np.int8(-1)
"""Stands below every ``model.Outcome``: nobody ever tried to send it."""

CLASSES = tuple(Class)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """All that the class of an identity depends on; arrays of one length.

    Args:
        outcome: strongest ``model.Outcome`` of its attempts, ``NO_ATTEMPT`` without one.
        received: delivered with a sound header. finished: some delivery's work finished.
        dead_letter: found in the dead letter place. elsewhere: found in any other place.
        let_go: its last delivery was settled RELEASE, RETRY or DEAD, answered OK.
        sound: the residue search was sound and no worker's slots are missing (of the trial).
    """

    outcome: npt.NDArray[np.int8]
    received: Bools
    finished: Bools
    dead_letter: Bools
    elsewhere: Bools
    let_go: Bools
    sound: bool


def classify(e: Evidence) -> npt.NDArray[np.uint8]:
    """Returns the position in ``model.Class`` of each identity: the first rule that matches; shape (n,)."""
    seen = e.received | e.dead_letter | e.elsewhere
    confirmed, unknown = e.outcome == Outcome.CONFIRMED, e.outcome == Outcome.UNKNOWN
    every = np.ones(len(e.outcome), np.bool_)
    rules = (
        (Class.PHANTOM, seen & ~(confirmed | unknown)),
        (Class.UNSENT, e.outcome == Outcome.NOT_SENT),
        (Class.REJECTED, e.outcome == Outcome.REJECTED),
        (Class.PROCESSED, confirmed & e.finished),
        (Class.RECOVERED, unknown & e.finished),
        (Class.DEAD_LETTERED, e.dead_letter),
        (Class.STRANDED, e.elsewhere),
        (Class.UNDECIDED, every & (not e.sound)),
        (Class.VANISHED, unknown),
        (Class.LOST_IN_SETTLING, e.let_go),
        (Class.INTERRUPTED, e.received),
        (Class.LOST, every),
    )
    return np.select([holds for _, holds in rules], [np.uint8(CLASSES.index(name)) for name, _ in rules]).astype(
        np.uint8
    )
