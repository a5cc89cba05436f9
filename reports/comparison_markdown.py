"""``compare --markdown``: the same verdicts and tables, fit for a pull request comment; worst rows first in each durability class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports import ratios, sides, words
from reports.compared import Arm, Comparison, Group, Setting
from reports.differences import Measured, measured
from reports.escape import block, code, table, text
from reports.markdown import MAX_BYTES, STRIP_BYTES, clipped, within

MAX_SETTINGS = 20
TABLE_BYTES = MAX_BYTES // 8


def page_of(told: Comparison) -> str:
    """Returns the page; below 64 KiB: what is left out, the last parts first, is told."""
    parts = list(_head(told))
    named = "\n".join(f"- {text(note)}" for note in told.notes)
    rest = [*_tables(told), *_claims(told), ("Notes", named), *_differing(told), ("Runs", f"## Runs\n\n{_runs(told)}")]
    left_out = []
    for title, part in rest:
        if len("\n\n".join([*parts, part]).encode()) < MAX_BYTES - 600:
            parts.append(part)
        else:
            left_out.append(title)
    if left_out:
        parts.append(f"Left out here: {'; '.join(left_out)}. `brokerbench compare --json` has all.")
    return "\n\n".join(parts) + "\n"


def _head(told: Comparison) -> Iterator[str]:
    names = ", ".join(dict.fromkeys(run.scenario for run in told.runs))
    yield f"# {text(names)}, side by side: {text(clipped(told.question))}"
    yield f"**VERDICT: {text(sides.headline(told))}**"
    if told.expect:
        yield f"Expected: {text(clipped(told.expect))}"
    if told.unlike:
        yield "**! UNLIKE: information, no evidence**"
        yield _listed(told.unlike)
    if told.drift:
        yield "**! DRIFT: what else changed**"
        yield _listed(told.drift)
    yield f"## {sides.TITLES['kept']}"
    for group in told.groups:
        yield f"**{text(group.title)}**"
        rows = [
            [text(sides.sign(arm)), code(arm.label), text(clipped(sides.kept(arm) if arm.trials else arm.told))]
            for arm in sides.worst_first(group)
        ]
        yield within(STRIP_BYTES // len(told.groups), ["", "case", "confirmed messages"], rows, source="`--json`")


def _listed(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {text(clipped(each))}" for each in sentences[:MAX_SETTINGS])


def _tables(told: Comparison) -> Iterator[tuple[str, str]]:
    """Yields each table with its title."""
    for about in ("carried", "late", "back", "cost"):
        chosen = [each for each in measured(told) if each.about == about]
        if chosen:
            title, budget = sides.TITLES[about], TABLE_BYTES // len(told.groups)
            tables = [_within(budget, group, chosen) for group in told.groups]
            yield title, f"## {title}\n\n" + "\n\n".join(filter(None, tables))


def _within(budget: int, group: Group, chosen: Sequence[Measured]) -> str:
    """Returns a table of no more than about ``budget`` bytes, of the foremost rows, and how many are left out."""
    ran = [arm for arm in group.arms if arm.trials]
    whole = _table(group, ran, chosen)
    size = len(whole.encode())
    if size <= budget:
        return whole
    shown = sides.foremost(ran, max(2, len(ran) * budget // size))
    left_out = len(ran) - len(shown)
    note = f"… and {left_out:,} more, which ended no worse and differ less: `--json` has them." if left_out else ""
    return f"{_table(group, shown, chosen)}\n\n{note}".rstrip()


def _table(group: Group, arms: Sequence[Arm], chosen: Sequence[Measured]) -> str:
    rows = []
    for arm in arms:
        standing = "".join(f"<br>{text(line)}" for line in sides.standing(arm, several=len(group.arms) > 1))
        cells = [ratios.cell(each.metric, arm.figures[each.metric]) for each in chosen]
        rows.append([code(arm.label) + standing, *("<br>".join(map(text, cell.lines)) for cell in cells)])
    head = [text(group.title), *(text(each.heading) for each in chosen)]
    return table(head, rows, right=1) if rows else ""


def _claims(told: Comparison) -> Iterator[tuple[str, str]]:
    rows = [
        [
            text(sign),
            code(arm.label),
            text(words.fault(each.fault)),
            text(clipped(each.claim)),
            text(clipped(each.evidence)),
        ]
        for arm, each, sign in sides.claims(told)
    ]
    if rows:
        headings = ["verdict", "case", "fault", "claimed", "observed"]
        yield "Guarantees", "## Guarantees\n\n" + within(TABLE_BYTES, headings, rows, source="`--json`")


def _differing(told: Comparison) -> Iterator[tuple[str, str]]:
    for title, settings in sides.parts_of(told):
        rows = [[code(each.name), _by_value(each)] for each in settings[:MAX_SETTINGS]]
        more = len(settings) - MAX_SETTINGS
        note = f"\n\n… and {more} more: `--json` has them." if more > 0 else ""
        yield title, f"## {title}\n\n" + table(["setting", "value: where"], rows) + note


def _by_value(setting: Setting) -> str:
    """Returns each value with those that have it, a line each."""
    lines = [
        f"{text(clipped(value))}: {', '.join(map(code, labels[:MAX_SETTINGS]))}{', …' if len(labels) > MAX_SETTINGS else ''}"
        for value, labels in sides.groups_of(setting)
    ]
    return "<br>".join(lines)


def _runs(told: Comparison) -> str:
    told_of = [
        f"{code(run.name)}: {code(run.folder)}, {run.status}, brokerbench {text(run.tool_version)}; load generator: {text(run.lag)}\n\n"
        + block(clipped(run.command))
        for run in told.runs
    ]
    return "\n\n".join(told_of)
