"""The tables of ``docs/statistics.md``, made by the code that decides; ``docs`` puts them into the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

from harness.analysis import rank_sum, signed_rank
from harness.analysis.bounds import clean_deployments_upper, poisson_lower, poisson_upper
from harness.analysis.comparable import CASE, MACHINE, Field, Kind
from harness.analysis.signed_rank import ALPHA, FULL_LOOKS, QUICK_LOOKS

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
    made.__name__: made for made in (independent, paired, looks, deployments, messages, comparable)
}
"""Name of the part → what makes it."""
