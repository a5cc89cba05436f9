"""The way to a row: what all kinds of rules have in common. Looks are latched: the first decision stands, with the figures of that look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from harness.analysis.comparable import Comparability, Kind
from harness.analysis.comparable import Verdict as Likeness
from harness.analysis.signed_rank import ALPHA, Look, attained, crit
from harness.gate import phrases
from harness.gate.evidence import Evidence
from harness.gate.figures import Seen
from harness.gate.outcome import Row, Verdict
from harness.gate.rules import Rule

WOULD_BE = "it would be "
"""How the words of a row begin whose verdict was taken back for what differs between the sides."""


def row(
    rule: Rule,
    case: str,
    verdict: Verdict,
    words: str,
    *,
    a: Sequence[Seen] = (),
    b: Sequence[Seen] = (),
    **more: Any,
) -> Row:
    """Returns a row with all figures of all trials; ``more``: its other fields."""
    windows = {each.window for each in (*a, *b)} - {""}
    return Row(
        rule=rule.id,
        asks=phrases.asks(rule),
        metric=rule.metric,
        window=rule.window or (windows.pop() if len(windows) == 1 else ""),
        case=case,
        verdict=verdict,
        words=words,
        a=[each.value for each in a],
        b=[each.value for each in b],
        **more,
    )


def planned(evidence: Evidence) -> tuple[Look, ...]:
    """Returns the looks; where none were planned, the one at all pairs that there are."""
    n = len(evidence.counted)
    if evidence.looks or not n:
        return evidence.looks
    c = crit(n, ALPHA)
    return (Look(pairs=n, c=c, level=attained(n, c)),)


def latched(looks: Sequence[Look], n: int, at: Callable[[Look], Row]) -> Row | None:
    """Returns the row of the first look that decides, else of the last that was reached; None where none was.

    Args:
        n: how many pairs there are. at: judges one look, by its pairs alone.
    """
    found = None
    for look in looks:
        if n < look.pairs:
            break
        found = at(look)
        if found.verdict is not Verdict.INCONCLUSIVE:
            break
    return found


def still_open(evidence: Evidence, looks: Sequence[Look]) -> bool:
    """Returns whether further pairs may still decide what none of the looks so far decided."""
    return evidence.more and len(evidence.counted) < (looks[-1].pairs if looks else 1)


def outlook(evidence: Evidence, looks: Sequence[Look]) -> str:
    """Returns when the next look comes, or that it did not, for the end of a sentence."""
    n = len(evidence.counted)
    following = next((look.pairs for look in looks if look.pairs > n), None)
    if following is None:
        return ""
    if evidence.more:
        return f"; the next look comes with pair {following}"
    return f"; the look at {following} pairs was not reached"


def cut_short(found: Row, evidence: Evidence) -> Row:
    """Returns a row as it stands where nothing further can come of its pairs: what a look has decided holds, all else is INVALID."""
    if not evidence.cut or found.verdict is not Verdict.INCONCLUSIVE:
        return found
    words = f"{evidence.cut}; so far {found.words}"
    return found.model_copy(update={"verdict": Verdict.INVALID, "decided": True, "words": words})


def flagged(found: Row, likeness: Comparability | None) -> Row:
    """Returns a relative row as it stands where something drifted between the sides: neither PASS nor FAIL."""
    if likeness is None or likeness.verdict is not Likeness.FLAGGED:
        return found
    drift = [str(difference) for difference in likeness.of(Kind.DRIFT)]
    notes = [*found.notes, *(f"differs between the sides: {each}" for each in drift)]
    if found.verdict not in (Verdict.PASS, Verdict.FAIL):
        return found.model_copy(update={"notes": notes})
    words = f"{WOULD_BE}{found.verdict} ({found.words}), but the sides differ in more than what is compared: {phrases.listed(drift)}"
    told: dict[str, Any] = {"verdict": Verdict.INCONCLUSIVE, "words": words, "notes": notes, "detectable": None}
    return found.model_copy(update=told)  # nothing would have been a FAIL
