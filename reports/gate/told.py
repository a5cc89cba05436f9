"""What is said of an outcome, made once for the terminal, Markdown, JUnit and annotations. Neighbour: ``reports.words`` has the words of figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from harness.errors import ExitCode
from harness.gate.outcome import SEVERITY, OrderEffect, Outcome, Ran, Row, Verdict, severest
from reports import ratios, words
from reports.words import NOT_MEASURED, Sign

SIGNS = {
    Verdict.FAIL: Sign(symbol="✗", word="FAIL", style="bold red", rank=0),
    Verdict.INVALID: Sign(symbol="!", word="INVALID", style="bold magenta", rank=1),
    Verdict.NOT_COMPARABLE: Sign(symbol="≠", word="NOT COMPARABLE", style="bold magenta", rank=2),
    Verdict.INCONCLUSIVE: Sign(symbol="?", word="INCONCLUSIVE", style="bold yellow", rank=3),
    Verdict.PASS: Sign(symbol="✓", word="PASS", style="green", rank=4),
}
"""A symbol and a word each, so that nothing depends on colour."""

NO_ROWS = "INVALID: no rule was applied to any case, so nothing is proven."

_HEADLINES = {
    Verdict.FAIL: "broken",
    Verdict.INVALID: "without evidence that proves anything",
    Verdict.NOT_COMPARABLE: "not comparable",
    Verdict.INCONCLUSIVE: "neither held nor broken",
    Verdict.PASS: "held",
}
_MEANING = {
    Verdict.INVALID: "What was not measured soundly never passes.",
    Verdict.NOT_COMPARABLE: "The two sides ran under different conditions: their difference says nothing about them.",
    Verdict.INCONCLUSIVE: "The trials are too few, or too noisy, to tell.",
}
EXITS = {
    ExitCode.PASS: "pass",
    ExitCode.USAGE: "usage or rules error",
    ExitCode.BROKEN: "regression or contract broken",
    ExitCode.INCONCLUSIVE: "inconclusive",
    ExitCode.NOT_COMPARABLE: "not comparable",
    ExitCode.INVALID: "invalid evidence",
    ExitCode.NO_VERDICT: "no verdict could be computed or written",
    ExitCode.INTERRUPTED: "interrupted",
}

RATIO_IS = "times worse: of B against A, more than 1 is worse, for a throughput too; between its one-sided bounds"
PER_RULE = "a bound is wrong with at most 5 % per rule and case, over all looks: of many rules some fail by chance"
DETECTABLE_IS = "σ_d: how much the trials of a pair differ by chance; seen in 80 of 100: what would have been called FAIL in 80 of 100 such comparisons"


def worst_first(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows, the severest verdict first and of alike ones in their order."""
    return sorted(rows, key=lambda row: SEVERITY.index(row.verdict))


def headline(outcome: Outcome) -> str:
    """Returns the verdict in plain words: ``FAIL: 1 of 4 rules broken; 1 neither held nor broken, 2 held.``"""
    worst = severest(row.verdict for row in outcome.rows)
    if worst is None:
        return NO_ROWS
    counts = Counter(row.verdict for row in outcome.rows)
    if len(counts) == 1 and worst is Verdict.PASS:
        return f"PASS: {_all(outcome.rows)} held."
    rest = ", ".join(f"{counts[each]} {_HEADLINES[each]}" for each in SEVERITY if each is not worst and counts[each])
    meaning = f" {_MEANING[worst]}" if worst in _MEANING else ""
    more = " More pairs are still to come." if any(not row.decided for row in outcome.rows) else ""
    first = f"{counts[worst]} of {_counted(outcome.rows)} {_HEADLINES[worst]}"
    return f"{worst}: {first}{f'; {rest}' if rest else ''}.{meaning}{more}"


def _all(rows: Sequence[Row]) -> str:
    return "the rule" if len(rows) == 1 else f"all {_counted(rows)}"


def _counted(rows: Sequence[Row]) -> str:
    """Returns ``4 rules``, or ``12 verdicts (4 rules, 3 cases)`` where rules hold for several cases."""
    rules = words.count(len({row.rule for row in rows}), "rule")
    if len({row.rule for row in rows}) == len(rows):
        return rules
    return f"{words.count(len(rows), 'verdict')} ({rules}, {words.count(len({row.case for row in rows}), 'case')})"


def exit_line(outcome: Outcome) -> str:
    """Returns ``Exit code 10, regression or contract broken: <why>``."""
    known = next((f", {meaning}" for code, meaning in EXITS.items() if code == outcome.exit_code), "")
    return f"Exit code {outcome.exit_code}{known}" + (f": {outcome.exit_reason}" if outcome.exit_reason else "")


def case(row: Row) -> str:
    """Returns the case of a row in words."""
    return row.case or "no case"


def worse(row: Row) -> str:
    """Returns ``×1.42``, ``—`` where a rule compares nothing or it cannot be told."""
    return NOT_MEASURED if row.estimate is None else times(row.estimate)


def bounds(row: Row) -> str:
    """Returns ``1.31 – 1.55``; ``…``: no bound on that side; ``—``: none at all."""
    if row.lower is None and row.upper is None:
        return NOT_MEASURED
    exact = any(end is not None and ratios.is_close(end) for end in (row.lower, row.upper))
    low, high = (ratios.number(end, exact=exact) if end else "…" for end in (row.lower, row.upper))
    return f"{low} – {high}"


def tolerated(row: Row) -> str:
    """Returns ``×1.25``, ``—`` where a rule is not about a ratio."""
    return NOT_MEASURED if row.tolerated is None else times(row.tolerated)


def times(ratio: float) -> str:
    """Returns a ratio with three digits behind the point near 1, where two would hide on which side of a tolerance it is."""
    return f"×{ratios.number(ratio, exact=0.5 <= ratio < 2)}"


def seen(row: Row, side: str) -> str:
    """Returns the middle figure of side ``a`` or ``b``."""
    return ratios.figure(row.metric, row.seen_a if side == "a" else row.seen_b)


def number(row: Row, kind: str) -> str:
    """Returns ``6 pairs``, ``12 trials``, ``—`` where nothing counts."""
    return (
        words.count(row.n, "pair" if kind == "pairs" and row.estimate is not None else "trial")
        if row.n
        else NOT_MEASURED
    )


def noise(row: Row) -> str:
    """Returns σ_d as a share."""
    return NOT_MEASURED if row.sigma_d is None else words.ratio(row.sigma_d)


def detectable(row: Row) -> str:
    """Returns the smallest ratio that would have been seen."""
    return NOT_MEASURED if row.detectable is None else times(row.detectable)


def level(row: Row) -> str:
    """Returns with what probability one bound is wrong."""
    return NOT_MEASURED if row.level is None else words.ratio(row.level)


def powers(outcome: Outcome) -> list[Row]:
    """Returns the rows of which it is known what they could have seen."""
    return [row for row in worst_first(outcome.rows) if row.sigma_d is not None or row.detectable is not None]


def asked(outcome: Outcome) -> dict[str, str]:
    """Returns rule → what it asks, in words."""
    return {row.rule: row.asks for row in outcome.rows}


def effects(outcome: Outcome) -> list[str]:
    """Returns what being the second of a pair did, a sentence for each case and metric."""
    return [effect(each) for each in outcome.order_effects]


def effect(told: OrderEffect) -> str:
    """Returns ``redis@embedded, throughput: the second of a pair is ×1.012 the first (6 pairs)``."""
    where = f"{told.case}, {told.metric}" if told.case else told.metric
    return f"{where}: the second of a pair is {times(told.ratio)} the first ({words.count(told.pairs, 'pair')})"


def discards(outcome: Outcome) -> list[str]:
    """Returns how many pairs were discarded for what befell each side's trial, a sentence for each case."""
    return [
        f"{name}: {', '.join(f'{side.upper()} {count}' for side, count in sorted(sides.items()))}"
        for name, sides in outcome.discarded.items()
        if any(sides.values())
    ]


def order(outcome: Outcome) -> list[tuple[str, str]]:
    """Returns each case and the order of its runs: ``1 AB, 2 BA, 3 (AB)``; in brackets: discarded."""
    told = []
    for name in dict.fromkeys(ran.case for ran in outcome.runs):
        pairs: dict[int, list[Ran]] = {}
        for ran in sorted((ran for ran in outcome.runs if ran.case == name), key=lambda ran: ran.started_wall_ns):
            pairs.setdefault(ran.pair, []).append(ran)
        told.append((name, ", ".join(_pair(number, rans) for number, rans in pairs.items())))
    return told


def _pair(number: int, rans: Sequence[Ran]) -> str:
    sides = "".join(ran.side.upper() + ("" if ran.status == "valid" else "!") for ran in rans)
    return f"{number} ({sides})" if any(ran.discarded for ran in rans) else f"{number} {sides}"


def order_legend(outcome: Outcome) -> str:
    """Returns what the signs in an order of runs mean, as far as they are there."""
    parts = ["AB: A ran first"]
    if any(ran.discarded for ran in outcome.runs):
        parts.append("in brackets: discarded")
    if any(ran.status != "valid" for ran in outcome.runs):
        parts.append("!: the trial before it is not valid")
    return "; ".join(parts)


def why_discarded(outcome: Outcome) -> list[str]:
    """Returns which trials were discarded, and why."""
    return [
        f"{ran.case}, pair {ran.pair}, {ran.side.upper()}: {ran.discarded}" for ran in outcome.runs if ran.discarded
    ]


def sides(outcome: Outcome) -> list[tuple[str, str]]:
    """Returns name → what it is, with the versions that it turned out to be."""
    return [
        (side.name, side.what + (f" ({', '.join(side.versions)})" if side.versions else "")) for side in outcome.sides
    ]


def values(row: Row) -> Iterator[str]:
    """Yields each trial's figure: ``pair 1, A: 12.3 ms (pairs/0001-a)``."""
    told = [(value, "A") for value in row.a] + [(value, "B") for value in row.b]
    for value, side in sorted(told, key=lambda each: (each[0].pair is None, each[0].pair or 0)):
        pair = f"pair {value.pair}, " if value.pair is not None else ""
        yield f"{pair}{side}: {ratios.figure(row.metric, value.figure)} ({value.trial})"


def figures(row: Row, kind: str) -> str:
    """Returns the figures of a row on one line: ``×1.42 worse, bounds 1.31 – 1.55, tolerated ×1.25, 6 pairs``."""
    parts = []
    if row.estimate is not None:
        parts.append(f"{worse(row)} worse")
    if bounds(row) != NOT_MEASURED:
        parts.append(f"bounds {bounds(row)}")
    if row.tolerated is not None:
        parts.append(f"tolerated {tolerated(row)}")
    if row.seen_a is not None:
        parts.append(f"A {seen(row, 'a')}")
    if row.seen_b is not None:
        parts.append(f"{'B' if row.seen_a is not None else 'seen'} {seen(row, 'b')}")
    if row.n:
        parts.append(number(row, kind))
    return ", ".join(parts)
