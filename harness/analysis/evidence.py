"""The sentence of evidence of a guarantee: written from its counts, for one trial and for several.

``guarantees`` counts, ``combine`` adds up; the words are written here only. In this order, with ``; `` between them: the loss
(``3 of 90 exposed messages lost``, with the budget of the claim where it has one), counts of something else (``2 came again
unacked``), how far a HELD reaches (``claims.bound_words``), words without a count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from harness.analysis.claims import bound_words
from harness.model import FaultKind, Verdict
from harness.record import Guarantee, Loss
from harness.units import format_count as n_

BETWEEN = "; "


def told(guarantee: Guarantee) -> Guarantee:
    """Returns the guarantee with its evidence in words."""
    return guarantee.model_copy(update={"evidence": BETWEEN.join(_parts(guarantee))})


def summed(every: Sequence[Guarantee], deciding: Mapping[int, Guarantee]) -> Guarantee:
    """Returns one guarantee for several trials: losses and counts of all of them, the words and the reach of those that decided.

    Words that do not hold of every trial say of which: they may not fit what is counted over all.

    Args:
        every: all that prove something, at least one. deciding: those of them that have the verdict of the whole, by their trial's number.
    """
    counts: Counter[str] = Counter()
    for given in every:
        counts.update(given.counts)
    exposed = [given.exposed for given in every if given.exposed is not None]
    return told(
        next(iter(deciding.values())).model_copy(
            update={
                "loss": _sum(given.loss for given in every),
                "counts": dict(counts),
                "notes": list(_notes_of(deciding, of=len(every))),
                "exposed": sum(exposed) if exposed else None,
                "bounded": sum(given.bounded for given in deciding.values()),
            }
        )
    )


def _parts(guarantee: Guarantee) -> list[str]:
    parts = [_loss_words(guarantee.loss)] if guarantee.loss else []
    parts += [f"{n_(count)} {what}" for what, count in guarantee.counts.items()]
    no_loss = guarantee.loss is not None and not guarantee.loss.lost
    what = "held by killed workers" if guarantee.fault == FaultKind.WORKER_KILL else "exposed"
    if guarantee.verdict is Verdict.HELD and no_loss and (bound := bound_words(0, guarantee.bounded, what)):
        parts.append(bound)
    return [*parts, *guarantee.notes]


def _loss_words(loss: Loss) -> str:
    allowed = "" if loss.budget is None else f" (in flight: {n_(loss.budget)})"
    return f"{n_(loss.lost)} of {n_(loss.of)} {loss.what} lost{allowed}"


def _sum(losses: Iterable[Loss | None]) -> Loss | None:
    known = [loss for loss in losses if loss is not None]
    if not known:
        return None
    budgets = [loss.budget for loss in known if loss.budget is not None]
    return Loss(
        lost=sum(loss.lost for loss in known),
        of=sum(loss.of for loss in known),
        what=known[0].what,
        budget=sum(budgets) if budgets else None,
    )


def _notes_of(deciding: Mapping[int, Guarantee], *, of: int) -> Iterator[str]:
    """Yields the words without a count, each once, with the numbers of its trials where it is not of all; the whole sentence, where
    the record was written before it had counts."""
    told: dict[str, list[int]] = {}
    for number, given in deciding.items():
        if given.loss is None and not given.counts and not given.notes:
            told.setdefault(given.evidence, [])
        for note in given.notes:
            told.setdefault(note, []).append(number)
    for note, numbers in told.items():
        if note and 0 < len(numbers) < of:
            yield f"in trial{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers))}: {note}"
        elif note:
            yield note
