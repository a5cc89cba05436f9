"""``report.md``: the page of a run for a terminal pager, a pull request or a job summary; verdict first, worst rows first."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from harness.errors import BrokenRunFolderError
from harness.record import RunRecord, TrialRecord
from harness.store import RunFolder
from reports import containers, story, unstarted, words
from reports.columns import columns
from reports.detail import case_section
from reports.escape import block, code, table, text
from reports.figures import UNSUSTAINED
from reports.networks import TITLE, comparison
from reports.sheets import flat

MAX_BYTES = 64 * 1024
MAX_FINGERPRINT = 60
MAX_TEXT = 1000  # characters of what others wrote: a question, a command, a reason
MAX_VALUE = 160
MAX_IDS, MAX_REASONS, MAX_REASON = 20, 10, 4000  # of a run in which no broker came up
STRIP_BYTES = 12 * 1024  # each table has its share of the page, so that all of them together leave room
TABLES_BYTES = 18 * 1024
NETWORKS_BYTES = 6 * 1024
FINGERPRINT_BYTES = 8 * 1024


def page(record: RunRecord, folder: RunFolder | None = None) -> str:
    """Returns the page; ``folder`` is where the settings of trials are read from.

    It stays below 64 KiB: the details of the best cases are left out first, then the best rows of tables, and the page says so.
    """

    def settings(trial: TrialRecord) -> dict[str, object] | str:
        if folder is None:
            return "not at hand"
        try:
            return folder.trial_at(trial.folder).read_settings()
        except BrokenRunFolderError as error:
            return error.problem

    if unstarted.is_unstarted(record):
        return "\n\n".join(_unstarted(record)) + "\n"
    top, bottom = _top(record), _bottom(record)
    sections = [
        case_section(case, settings, story.is_cut_off(record)) for case in story.worst_first(list(record.cases))
    ]
    around = len("\n\n".join([*top, *bottom]).encode()) + 200  # headings, and the note on what is left out
    kept: list[str] = []
    for section in sections:
        if around + sum(len(each.encode()) + 2 for each in [*kept, section]) < MAX_BYTES:
            kept.append(section)
    left_out = len(sections) - len(kept)
    note = [f"The details of {words.count(left_out, 'case')} are left out here: run.json has them."] if left_out else []
    return "\n\n".join([*top, "## Case by case", *kept, *note, *bottom]) + "\n"


def clipped(value: str, most: int = MAX_TEXT) -> str:
    """Returns the beginning of a text, and how much of it is left out."""
    return value if len(value) <= most else f"{value[:most]}… ({len(value) - most:,} more characters)"


def within(
    budget: int, headings: list[str], rows: list[list[str]], *, right: int | None = None, source: str = "run.json"
) -> str:
    """Returns a table of the first rows that take no more than ``budget`` bytes, and how many are left out, which ``source`` has."""
    kept: list[list[str]] = []
    size = 0
    for row in rows:
        size += sum(len(cell.encode()) + 3 for cell in row) + 2
        if size > budget and kept:
            break
        kept.append(row)
    left_out = len(rows) - len(kept)
    note = f"\n\n… and {left_out:,} more: {source} has them." if left_out else ""
    return table(headings, kept, right=right) + note


def _top(record: RunRecord) -> list[str]:
    parts = [
        f"# {text(record.scenario)}: {text(clipped(record.question))}",
        f"**VERDICT: {text(story.headline(record))}**",
        _strip(record),
        *_question(record),
        _origin(record)
        + (f", exit code {record.exit_code}" if record.exit_code is not None else "")
        + (f" ({text(clipped(record.exit_reason))})" if record.exit_reason else "")
        + ".",
        "Run it again:",
        block(clipped(record.command)),
        "## The cases, by what a confirm survives",
        *_tables(record),
        *_networks(record),
        f"Load generator: {text(story.lag(record))}.",
    ]
    return [part for part in parts if part]


def _origin(record: RunRecord) -> str:
    started = datetime.fromtimestamp(record.started_wall_ns / 1e9, UTC)
    return (
        f"Run {code(record.run_id)} of {started:%Y-%m-%d %H:%M:%S} UTC, brokerbench {text(record.tool_version)}, "
        f"deployment {text(containers.ground(record))}, status {record.status}"
    )


def _unstarted(record: RunRecord) -> Iterator[str]:
    """Yields the whole page of a run in which no broker came up."""
    yield f"# {text(record.scenario)}: {text(clipped(record.question))}"
    yield f"**VERDICT: {unstarted.HEADLINE}**"
    for ids, reason in list(unstarted.reasons(record))[:MAX_REASONS]:
        yield f"{', '.join(map(code, ids[:MAX_IDS]))}{f' and {len(ids) - MAX_IDS} more' if len(ids) > MAX_IDS else ''}:"
        yield block(clipped(reason, MAX_REASON))
    yield from (f"{code(case.id)} {text(story.sentence(case))}" for case in record.cases if case.unavailable)
    yield f"{text(unstarted.exit_line(record))}."
    yield f"{_origin(record)}."
    yield "Run it again:"
    yield block(clipped(record.command))


def _strip(record: RunRecord) -> str:
    cut_off = story.is_cut_off(record)
    rows = [
        [str(story.sign(case, cut_off)), code(case.id), text(clipped(story.sentence(case, cut_off)))]
        for case in story.worst_first(list(record.cases))
    ]
    return within(STRIP_BYTES, ["", "case", "what was seen"], rows) if rows else ""


def _question(record: RunRecord) -> list[str]:
    rows = [["Question", text(clipped(record.question))]]
    if record.expect:
        rows += [["Expected", text(clipped(record.expect))], ["Seen", text(clipped(story.seen(record)))]]
    return [table(["", ""], rows)]


def _tables(record: RunRecord) -> Iterator[str]:
    every = columns(record)
    every = [*every[-1:], *every[:-1]]  # the verdict first: the last column is the first to fall off a narrow page
    groups = story.by_durability(record)
    for kind, cases in groups:
        yield f"**{kind.value}**: {text(words.DURABILITY[kind])}."
        rows = []
        for case in cases:
            cells = [column.cell(case) for column in every] if case.trials else []
            told = [text(f"{cell.text} ({cell.range})" if cell.range else cell.text) for cell in cells]
            rows.append(
                [
                    code(case.id),
                    *(
                        told
                        or [
                            text(str(story.sign(case, story.is_cut_off(record)))),
                            *[words.NOT_MEASURED] * (len(every) - 1),
                        ]
                    ),
                ]
            )
        headings = ["case", *(text(column.heading) for column in every)]
        yield within(TABLES_BYTES // len(groups), headings, rows, right=2)
    shown = " ".join(column.cell(case).text for case in record.cases if case.trials for column in every)
    labels = [f"{label}: {words.GLOSSARY[label]}" for label in UNSUSTAINED if label in shown]
    if labels:
        yield text(f"{'; '.join(labels)}.")
    if any(len(case.trials) > 1 for case in record.cases):
        yield f"Several trials: {words.SEVERAL}; with lowest – highest of one trial."


def _networks(record: RunRecord) -> Iterator[str]:
    """Yields the comparison of sites, where one setup ran at several."""
    compared = comparison(record)
    if compared is None:
        return
    yield f"## {TITLE}"
    rows = [[code(label), text(row.site), *map(text, row.cells)] for label, rows in compared.groups for row in rows]
    yield within(NETWORKS_BYTES, ["setup", "site", *map(text, compared.headings)], rows, right=2)
    yield "\n".join(f"- {text(note)}" for note in compared.notes)


def _bottom(record: RunRecord) -> list[str]:
    rows = [[code(name), text(clipped(str(value), MAX_VALUE))] for name, value in flat(record.fingerprint)]
    more = len(rows) - MAX_FINGERPRINT
    told = within(FINGERPRINT_BYTES, ["", ""], rows[:MAX_FINGERPRINT]) if rows else "Not recorded."
    parts = ["## Environment", told]
    if more > 0:
        parts.append(f"… and {more} more in run.json.")
    if record.overrides:
        overrides = ", ".join(code(clipped(each, MAX_VALUE)) for each in record.overrides[:MAX_IDS])
        parts += [f"Overridden on the command line: {overrides}{'' if len(record.overrides) <= MAX_IDS else ', …'}."]
    glossary = "\n".join(f"- **{text(word)}**: {text(meaning)}" for word, meaning in words.GLOSSARY.items())
    return [*parts, "## Words", glossary]
