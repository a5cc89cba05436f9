"""The sentence of evidence of a guarantee: parts with ``; `` between them, and the sum of several trials' sentences.

A part is the loss (``3 of 90 exposed messages lost``, with the budget of the claim where it has one), a count of something else
(``2 came again unacked``), a bound (``claims.bound_words``), or words without a count. ``guarantees`` writes them, ``combine`` adds them up.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from harness.analysis.claims import BOUND_BEGINS, bound_words
from harness.units import format_count as n_

BETWEEN = "; "
_LOST = re.compile(r"(?P<lost>[\d,]+) of (?P<of>[\d,]+) (?P<what>[^;]+?) lost(?: \(in flight: (?P<budget>[\d,]+)\))?")
_COUNT = re.compile(r"(?P<count>[\d,]+) (?P<what>.+)")


def lost_words(lost: int, of: int, what: str, budget: int | None = None) -> str:
    """Returns the loss in words; ``budget``: how many the claim allows to be lost, None = it sets no number."""
    allowed = "" if budget is None else f" (in flight: {n_(budget)})"
    return f"{n_(lost)} of {n_(of)} {what} lost{allowed}"


def summed(every: Sequence[str], deciding: Sequence[str], *, held: bool) -> str:
    """Returns one sentence for several trials: losses and counts of all of them, and the words of those that decided.

    Args:
        held: the verdict is HELD: then without a loss the bound of those that decided stands at the end, over their sum.
    """
    losses = _losses(every)
    parts = [losses] if losses else []
    counts: Counter[str] = Counter()
    for part in _parts(every):
        found = _COUNT.fullmatch(part)
        if found and not _LOST.fullmatch(part):
            counts[found["what"]] += _number(found["count"])
    parts += [f"{n_(count)} {what}" for what, count in counts.items()]
    words = [part for part in _parts(deciding) if not (_COUNT.fullmatch(part) or part.startswith(BOUND_BEGINS))]
    parts += dict.fromkeys(words)
    lost, of = _lost_of(every)[0], _lost_of(deciding)[1]
    bound = bound_words(lost, of) if held and not lost else ""
    return BETWEEN.join([*parts, bound] if bound else parts)


def _parts(texts: Sequence[str]) -> list[str]:
    return [part for text in texts for part in text.split(BETWEEN)]


def _found(texts: Sequence[str]) -> list[re.Match[str]]:
    return [found for part in _parts(texts) if (found := _LOST.fullmatch(part))]


def _lost_of(texts: Sequence[str]) -> tuple[int, int]:
    found = _found(texts)
    return sum(_number(each["lost"]) for each in found), sum(_number(each["of"]) for each in found)


def _losses(texts: Sequence[str]) -> str:
    """Returns the summed loss in words, "" where none of the sentences tells one."""
    found = _found(texts)
    if not found:
        return ""
    budgets = [_number(each["budget"]) for each in found if each["budget"]]
    return lost_words(*_lost_of(texts), found[0]["what"], sum(budgets) if budgets else None)


def _number(text: str) -> int:
    return int(text.replace(",", ""))
