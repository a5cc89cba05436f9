"""What is said of an outcome, made once for the terminal, Markdown, JUnit and annotations. Neighbour: ``reports.words`` has the words of figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from harness.errors import ExitCode
from harness.gate.outcome import SEVERITY, OrderEffect, Outcome, Ran, Row, Verdict, severest
from harness.gate.rows import WOULD_BE
from harness.record import AtLeast
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

INFORMATION = "For information: figures of sides that are not comparable; no verdict stands on them"
NO_ROWS = "INVALID: no rule was applied to any case, so nothing is proven."

_STATES = {
    Verdict.FAIL: "broken",
    Verdict.INVALID: "without evidence that proves anything",
    Verdict.NOT_COMPARABLE: "not comparable",
    Verdict.INCONCLUSIVE: "neither held nor broken",
    Verdict.PASS: "held",
}
_MEANINGS = {
    Verdict.INVALID: "What was not measured soundly never passes.",
    Verdict.NOT_COMPARABLE: "The two sides ran under different conditions: their difference says nothing about them.",
}
DRIFTED = "The sides differ in more than what is compared."
OPEN = "Some figures are only known to be so much or more."
FEW = "The trials are too few, or too noisy, to tell."
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

WORSE_BY_IS = (
    "worse by: how much higher {b} is than {a}, or {a} than {b} where more is better; between its one-sided bounds"
)
PER_RULE = "a bound is wrong in at most 5 of 100 comparisons, for each rule and case: of many identical ones some fail by chance"
TWICE = 2.0
"""A ratio from which on "so many times" reads better than "so many percent"."""

SEEN_IN = "seen in 80 of 100"
_POWER_IS = {
    "σ_d": "how much two trials of a pair differ by chance",
    SEEN_IN: "a change for the worse that would have been FAIL in 80 of 100 comparisons like this one",
    "level": "how often one bound is wrong at this look",
}


def worst_first(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows, the severest verdict first and of alike ones in their order."""
    return sorted(rows, key=lambda row: SEVERITY.index(row.verdict))


def together(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    """Returns rows with the names of their rules; those of one case of which the same is said are one: ``no-loss, claims``."""
    found: dict[tuple[Verdict, str, str], list[Row]] = {}
    for row in worst_first(rows):
        found.setdefault((row.verdict, row.case, row.words), []).append(row)
    return [(", ".join(row.rule for row in same), same[0]) for same in found.values()]


def headline(outcome: Outcome) -> str:
    """Returns the verdict in plain words: ``FAIL: 1 of 3 rules is broken; 1 neither held nor broken, 1 held.``

    A rule counts by its severest verdict over all cases.
    """
    of_rules = verdicts(outcome)
    worst = severest(of_rules.values())
    if worst is None:
        return NO_ROWS
    counts = Counter(of_rules.values())
    cases = len({row.case for row in outcome.rows} - {""})
    over = f" ({cases} cases)" if cases > 1 else ""
    rest = ", ".join(f"{counts[each]:,} {_STATES[each]}" for each in SEVERITY if each is not worst and counts[each])
    why = _why_open(outcome) if worst is Verdict.INCONCLUSIVE else _MEANINGS.get(worst, "")
    meaning = f" {why}" if why else ""
    more = " More pairs are still to come." if any(not row.decided for row in outcome.rows) else ""
    verb = "" if worst is Verdict.PASS else " is" if counts[worst] == 1 else " are"
    return f"{worst}: {_share(counts[worst], len(of_rules))}{verb} {_STATES[worst]}{f'; {rest}' if rest else ''}{over}.{meaning}{more}"


def _why_open(outcome: Outcome) -> str:
    """Returns what leaves rules neither held nor broken, each cause once."""
    causes = {_cause(row) for row in outcome.rows if row.verdict is Verdict.INCONCLUSIVE}
    return " ".join(cause for cause in (DRIFTED, OPEN, FEW) if cause in causes)


def _cause(row: Row) -> str:
    if row.words.startswith(WOULD_BE):
        return DRIFTED
    is_open = row.level is not None and not (row.lower and row.upper)  # at a look that has bounds
    opened = any(isinstance(value.figure, AtLeast) for value in (*row.a, *row.b))
    return OPEN if is_open and opened else FEW


def verdicts(outcome: Outcome) -> dict[str, Verdict]:
    """Returns rule → its severest verdict over all cases."""
    found: dict[str, Verdict] = {}
    for row in worst_first(outcome.rows):
        found.setdefault(row.rule, row.verdict)
    return found


def _share(number: int, of: int) -> str:
    if of == 1:
        return "the rule"
    return f"all {of:,} rules" if number == of else f"{number:,} of {of:,} rules"


def exit_line(outcome: Outcome) -> str:
    """Returns ``Exit code 10, regression or contract broken: <why>``."""
    known = next((f", {meaning}" for code, meaning in EXITS.items() if code == outcome.exit_code), "")
    if outcome.exit_code == ExitCode.PASS and severest(row.verdict for row in outcome.rows) is Verdict.INCONCLUSIVE:
        known = ", as what is inconclusive only warns here"
    return f"Exit code {outcome.exit_code}{known}" + (f": {outcome.exit_reason}" if outcome.exit_reason else "")


def case(name: str) -> str:
    """Returns a case's id, or that there is none."""
    return name or "no case at all"


def worse(row: Row) -> str:
    """Returns ``+42.0 %``, ``−3.1 %`` where B is better, ``—`` where a rule compares nothing or it cannot be told."""
    return _signed(row.estimate)


def bounds(row: Row) -> str:
    """Returns ``+30.7 % to +55.2 %``, ``—`` where there are none."""
    if not row.lower and row.upper is None:
        return NOT_MEASURED
    low, high = _signed(row.lower or None), _signed(row.upper)
    if row.lower and row.upper is not None:
        return f"{low} to {high}"
    return f"{low} or more" if row.lower else f"{high} or less"


def tolerated(row: Row) -> str:
    """Returns ``+25.0 %``, ``—`` where a rule is not about a ratio."""
    return _signed(row.tolerated)


def _signed(ratio: float | None) -> str:
    """Returns ``+25.0 %``, ``−10.0 %``, from twice on ``3.4 times``."""
    if ratio is None:
        return NOT_MEASURED
    if ratio >= TWICE:
        return f"{ratios.number(ratio)} times"
    return f"{'+' if ratio >= 1 else '−'}{abs(ratio - 1) * 100:.1f} %"


def names(outcome: Outcome) -> tuple[str, str]:
    """Returns what the two sides are called above their figures."""
    return {"pairs": ("A", "B"), "baseline": ("baseline", "run"), "run": ("", "seen")}[outcome.kind]


def legend(outcome: Outcome, rows: Sequence[Row]) -> list[str]:
    """Returns what the columns mean, as far as there is anything in them."""
    if all(row.estimate is None and bounds(row) == NOT_MEASURED for row in rows):
        return []
    a, b = names(outcome)
    return [WORSE_BY_IS.format(a=a, b=b), PER_RULE]


def notes(rows: Sequence[Row]) -> tuple[dict[int, list[str]], list[str]]:
    """Returns the notes of single rows, by the row's place, and those that several rows share, to be told once."""
    of = Counter(note for row in rows for note in dict.fromkeys(row.notes))
    single = {at: [note for note in dict.fromkeys(row.notes) if of[note] == 1] for at, row in enumerate(rows)}
    return single, [f"{note} ({words.count(number, 'row')})" for note, number in of.items() if number > 1]


def seen(row: Row, side: str) -> str:
    """Returns the middle figure of side ``a`` or ``b``."""
    return ratios.figure(row.metric, row.seen_a if side == "a" else row.seen_b)


def number(row: Row) -> str:
    """Returns ``6 pairs``, ``12 trials``, ``—`` where nothing counts."""
    of_one_side = row.seen_b is not None and row.seen_a is None  # a bound that every trial of B must keep
    paired = not of_one_side and any(value.pair is not None for value in row.a)
    return words.count(row.n, "pair" if paired else "trial") if row.n else NOT_MEASURED


def noise(row: Row) -> str:
    """Returns σ_d as a share."""
    return NOT_MEASURED if row.sigma_d is None else words.ratio(row.sigma_d)


def detectable(row: Row) -> str:
    """Returns the smallest change for the worse that would have been seen; that there is none where no look of pairs could say FAIL."""
    looked = row.level is not None and not row.words.startswith(WOULD_BE)
    if row.detectable is None and row.decided and not looked and any(value.pair is not None for value in row.a):
        return "nothing"
    return _signed(row.detectable)


def level(row: Row) -> str:
    """Returns with what probability one bound is wrong."""
    return NOT_MEASURED if row.level is None else words.ratio(row.level)


def power(row: Row) -> str:
    """Returns what a row could have seen, on one line."""
    return f"σ_d {noise(row)}, {SEEN_IN}: {detectable(row)}, tolerated {tolerated(row)}, level {level(row)}"


def power_legend(rows: Sequence[Row]) -> str:
    """Returns what the columns on what could be seen mean, as far as there is anything in them."""
    there = {
        "σ_d": any(row.sigma_d is not None for row in rows),
        SEEN_IN: any(detectable(row) != NOT_MEASURED for row in rows),
        "level": any(row.level is not None for row in rows),
    }
    return "; ".join(f"{name}: {what}" for name, what in _POWER_IS.items() if there[name])


def powers(outcome: Outcome) -> list[Row]:
    """Returns the rows of which it is known what they could have seen."""
    return [row for row in worst_first(outcome.rows) if row.sigma_d is not None or row.detectable is not None]


def asked(outcome: Outcome) -> dict[str, str]:
    """Returns rule → what it asks, in words."""
    return {row.rule: row.asks for row in (*outcome.rows, *outcome.information)}


def effects(outcome: Outcome) -> list[str]:
    """Returns what being the second of a pair did, a sentence for each case and metric."""
    return [effect(each) for each in outcome.order_effects]


def effect(told: OrderEffect) -> str:
    """Returns ``redis@embedded, throughput: second / first = 0.988 (6 pairs)``."""
    where = f"{told.case}, {told.metric}" if told.case else told.metric
    return f"{where}: second / first = {ratios.number(told.ratio, exact=True)} ({words.count(told.pairs, 'pair')})"


def discards(outcome: Outcome) -> dict[str, list[str]]:
    """Returns case → how often each side's trial was disturbed, and which pairs do not count for what, a sentence each."""
    found: dict[str, list[str]] = {}
    for name, sides in outcome.discarded.items():
        if any(sides.values()):
            counts = ", ".join(f"{side.upper()} {count}" for side, count in sorted(sides.items()))
            found[name] = [f"trials that were disturbed: {counts}"]
    why = dict.fromkeys((ran.case, ran.pair, ran.discarded) for ran in outcome.runs if ran.discarded)
    for name, pair, reason in why:
        found.setdefault(name, []).append(f"pair {pair}: {reason}")
    return found


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


def in_a_row(row: Row, side: str) -> str:
    """Returns the figures of a side's trials in the order of the pairs: ``12.3 ms, 12.1 ms, n too small``."""
    return ", ".join(ratios.figure(row.metric, value.figure) for value in (row.a if side == "a" else row.b))


def figures(row: Row, of: tuple[str, str]) -> list[str]:
    """Returns the figures of a row in lines: ``worse by +42.0 % (+30.7 % to +55.2 %), tolerated +10.0 %``, ``A 12,310/s, B 8,670/s, 6 pairs``.

    Args:
        of: what the sides are called.
    """
    lines = []
    between = bounds(row)
    if row.estimate is not None or between != NOT_MEASURED:
        found = f"{worse(row)} ({between})" if between != NOT_MEASURED else worse(row)
        lines.append(f"worse by {between if row.estimate is None else found}, tolerated {tolerated(row)}")
    sides = [f"{name} {seen(row, side)}" for name, side in zip(of, ("a", "b"), strict=True)]
    parts = [*(told for told in sides if not told.endswith(NOT_MEASURED)), *([number(row)] if row.n else [])]
    return [*lines, ", ".join(parts)] if parts else lines
