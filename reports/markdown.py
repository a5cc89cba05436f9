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


def page(record: RunRecord, folder: RunFolder | None = None) -> str:
    """Returns the page; ``folder`` is where the settings of trials are read from.

    It stays below 64 KiB: the details of the best cases are left out first, and the page says so.
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
    left_out = 0
    while True:
        kept = sections[: len(sections) - left_out]
        note = (
            [f"The details of {words.count(left_out, 'case')} are left out here: run.json has them."]
            if left_out
            else []
        )
        whole = "\n\n".join([*top, "## Case by case", *kept, *note, *bottom]) + "\n"
        if len(whole.encode()) < MAX_BYTES or not kept:
            return whole
        left_out += 1


def _top(record: RunRecord) -> list[str]:
    parts = [
        f"# {text(record.scenario)}: {text(record.question)}",
        f"**VERDICT: {text(story.headline(record))}**",
        _strip(record),
        *_question(record),
        _origin(record)
        + (f", exit code {record.exit_code}" if record.exit_code is not None else "")
        + (f" ({text(record.exit_reason)})" if record.exit_reason else "")
        + ".",
        "Run it again:",
        block(record.command),
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
    yield f"# {text(record.scenario)}: {text(record.question)}"
    yield f"**VERDICT: {unstarted.HEADLINE}**"
    for ids, reason in unstarted.reasons(record):
        yield f"{', '.join(map(code, ids))}:"
        yield block(reason)
    yield from (f"{code(case.id)} {text(story.sentence(case))}" for case in record.cases if case.unavailable)
    yield f"{text(unstarted.exit_line(record))}."
    yield f"{_origin(record)}."
    yield "Run it again:"
    yield block(record.command)


def _strip(record: RunRecord) -> str:
    cut_off = story.is_cut_off(record)
    rows = [
        [str(story.sign(case, cut_off)), code(case.id), text(story.sentence(case, cut_off))]
        for case in story.worst_first(list(record.cases))
    ]
    return table(["", "case", "what was seen"], rows) if rows else ""


def _question(record: RunRecord) -> list[str]:
    rows = [["Question", text(record.question)]]
    if record.expect:
        rows += [["Expected", text(record.expect)], ["Seen", text(story.seen(record))]]
    return [table(["", ""], rows)]


def _tables(record: RunRecord) -> Iterator[str]:
    every = columns(record)
    every = [*every[-1:], *every[:-1]]  # the verdict first: the last column is the first to fall off a narrow page
    for kind, cases in story.by_durability(record):
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
        yield table(["case", *(text(column.heading) for column in every)], rows, right=2)
    shown = " ".join(column.cell(case).text for case in record.cases if case.trials for column in every)
    labels = [f"{label}: {words.GLOSSARY[label]}" for label in UNSUSTAINED if label in shown]
    if labels:
        yield text(f"{'; '.join(labels)}.")
    if any(len(case.trials) > 1 for case in record.cases):
        yield "Several trials: the middle one (of two, the worse), with lowest – highest."


def _networks(record: RunRecord) -> Iterator[str]:
    """Yields the comparison of sites, where one setup ran at several."""
    compared = comparison(record)
    if compared is None:
        return
    yield f"## {TITLE}"
    rows = [[code(label), text(row.site), *map(text, row.cells)] for label, rows in compared.groups for row in rows]
    yield table(["setup", "site", *map(text, compared.headings)], rows, right=2)
    yield "\n".join(f"- {text(note)}" for note in compared.notes)


def _bottom(record: RunRecord) -> list[str]:
    rows = [[code(name), text(value)] for name, value in flat(record.fingerprint)]
    more = len(rows) - MAX_FINGERPRINT
    parts = ["## Environment", table(["", ""], rows[:MAX_FINGERPRINT]) if rows else "Not recorded."]
    if more > 0:
        parts.append(f"… and {more} more in run.json.")
    if record.overrides:
        parts += ["Overridden on the command line: " + ", ".join(code(each) for each in record.overrides) + "."]
    glossary = "\n".join(f"- **{text(word)}**: {text(meaning)}" for word, meaning in words.GLOSSARY.items())
    return [*parts, "## Words", glossary]
