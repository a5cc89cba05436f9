"""The tables of ``docs/statistics.md``, made by the code that decides; ``docs`` puts them into the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

from harness.analysis import rank_sum, signed_rank
from harness.analysis.bounds import clean_deployments_upper, poisson_lower, poisson_upper
from harness.analysis.comparable import CASE, MACHINE, Field, Kind
from harness.analysis.signed_rank import ALPHA, FULL_LOOKS, QUICK_LOOKS, Look, paired_ratio
from harness.gate import power
from harness.gate.noise import upper_factor

HEADINGS = {
    Kind.IDENTITY: "not comparable",
    Kind.DRIFT: "flagged",
    Kind.SUBJECT: "what is compared",
    Kind.LIVE: "the hour",
}


def columns(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a Markdown table of plain values."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def share(level: Fraction) -> str:
    """Returns a level as printed: ``4.7 %``."""
    return f"{float(level):.2%}".replace("%", " %")


def independent() -> str:
    """Returns c and the level of trials that are not paired."""
    rows = []
    for n in (2, 3, 4, 5, 6, 8, 10, 16, 20):
        c = rank_sum.crit(n, n, ALPHA)
        rows.append((n, n * n, c, share(rank_sum.attained(n, n, c))) if c else (n, n * n, "no interval", ""))
    return columns(("trials of each side", "ratios", "*c*", "one bound is wrong in"), rows)


def paired() -> str:
    """Returns c and the level of pairs."""
    rows = []
    for n in (4, 5, 6, 8, 10, 12, 16, 20):
        c = signed_rank.crit(n, ALPHA)
        averages = n * (n + 1) // 2
        rows.append((n, averages, c, share(signed_rank.attained(n, c))) if c else (n, averages, "no interval", ""))
    return columns(("pairs", "averages", "*c*", "one bound is wrong in"), rows)


def looks() -> str:
    """Returns the planned looks."""
    rows = []
    for planned in (FULL_LOOKS, QUICK_LOOKS):
        spent = sum((look.level for look in planned), Fraction(0))
        cells = [", ".join(str(getattr(look, name)) for look in planned) for name in ("pairs", "c")]
        rows.append((*cells, ", ".join(share(look.level) for look in planned), share(spent)))
    return columns(("looks at pairs", "*c*", "level spent", "together at most"), rows)


EXAMPLE = (.031, -.012, .054, .087, .009, .120, -.045, .066, .023, .071, .098, -.004, .042, .015, .110, .036)  # fmt: skip
"""d of sixteen pairs."""


def example() -> str:
    """Returns estimate and bounds of sixteen pairs at the three looks."""
    rows = []
    for look in FULL_LOOKS:
        d = EXAMPLE[: look.pairs]
        told = paired_ratio([1.0] * look.pairs, [math.exp(each) for each in d], c=look.c)
        rows.append((look.pairs, look.c, *(f"{each:.6f}" for each in (told.estimate or 0.0, told.lower, told.upper))))
    return columns(("pairs", "*c*", "estimate", "at least", "at most"), rows)


def decisions() -> str:
    """Returns how often the right decision is taken, and after how many pairs."""
    deltas = (0, 0.5, 0.75, 1, 1.25, 1.5, 2)
    rows = []
    for planned in (FULL_LOOKS, QUICK_LOOKS):
        found = [power.chances(planned, delta) for delta in deltas]
        name = f"{', '.join(str(look.pairs) for look in planned)} pairs"
        rows.append((name, *(f"{100 * each.passes:.0f} %, {each.pairs:.1f}" for each in found)))
    return columns(("looks", *(f"Δ = {delta}" for delta in deltas)), rows)


def seen() -> str:
    """Returns what is seen, and how often identical code passes, at a noise and a margin."""
    rows = []
    for planned in (FULL_LOOKS, QUICK_LOOKS):
        for noise in (0.02, 0.05, 0.10, 0.20):
            cells = [_seen(planned, margin, noise) for margin in (1.05, 1.10, 1.25)]
            rows.append((", ".join(str(look.pairs) for look in planned), f"{100 * noise:.0f} %", *cells))
    return columns(("looks", "noise σ_d", "margin 5 %", "10 %", "25 %"), rows)


def _seen(planned: Sequence[Look], margin: float, noise: float) -> str:
    least = 100 * (power.detectable(planned, margin, noise) - 1)
    return f"{least:.0f} %, passes {100 * power.passes(planned, margin, noise):.0f} %"


def calibrations() -> str:
    """Returns how much larger the true noise may be than the one that was measured."""
    counts = (3, 5, 10, 16, 30, 100)
    factors = (f"{upper_factor(count):.2f} ×" for count in counts)
    return columns(("pairs", *map(str, counts)), [("the true noise is at most (95 %)", *factors)])


def deployments() -> str:
    """Returns the bound on the share of lossy deployments when none was."""
    counts = (1, 2, 5, 10, 20, 59)
    return columns(
        ("deployments without a loss", *map(str, counts)),
        [
            (
                "at most so many of such would lose (95 %)",
                *(f"{clean_deployments_upper(count):.0%}".replace("%", " %") for count in counts),
            )
        ],
    )


def messages() -> str:
    """Returns Poisson's bounds."""
    counts = (0, 1, 5, 10)
    return columns(
        ("seen", *map(str, counts)),
        [
            ("at least (95 %)", *(f"{poisson_lower(count):.6f}" for count in counts)),
            ("at most (95 %)", *(f"{poisson_upper(count):.6f}" for count in counts)),
        ],
    )


def comparable() -> str:
    """Returns the fields of the fingerprint and of the case, by what a difference means."""
    named: dict[Kind, list[str]] = {kind: [] for kind in HEADINGS}
    for row in (*MACHINE, *CASE):
        named[row.kind].append(in_words(row))
    named[Kind.IDENTITY] += ["scenario", "durability settings as read back"]
    return columns(("a difference is", "in"), [(HEADINGS[kind], ", ".join(names)) for kind, names in named.items()])


def in_words(row: Field) -> str:
    """Returns a field's name, in italics where it may be unknown on both sides."""
    return row.name if row.needed else f"*{row.name}*"


STATISTICS: dict[str, Callable[[], str]] = {
    made.__name__: made
    for made in (
        independent,
        paired,
        looks,
        example,
        decisions,
        seen,
        calibrations,
        deployments,
        messages,
        comparable,
    )
}
"""Name of the part → what makes it."""
