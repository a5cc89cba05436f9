"""The part of ``report.md`` about one case: what became of its messages, how it came back, how late they came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.record import CaseRecord, Example, ExampleDelivery, TrialRecord
from reports import containers, figures, sheets, story, trouble, words
from reports.escape import code, table, text
from reports.sheets import EXAMPLE_ORDER, Code, Sheet

MAX_EXAMPLES_EACH = 2
MAX_EXAMPLES = 5
MAX_TRIALS = 5
MAX_SETTINGS = 12


def case_section(
    case: CaseRecord, settings: Callable[[TrialRecord], dict[str, object] | str], cut_off: bool = False
) -> str:
    """Returns the section of a case.

    Args:
        settings: returns the ``settings.json`` of a trial, or a sentence on why it cannot be read.
        cut_off: its run was.
    """
    shown = figures.worst_first(case.trials)[:MAX_TRIALS]
    parts = [
        f"### {code(case.id)}",
        f"**{story.sign(case, cut_off)}.** {text(story.sentence(case, cut_off))}",
        f"{text(case.summary)}. Ran on {text(case.server)}; "
        + "; ".join(
            filter(
                None, map(text, (containers.about(case), words.durability(case.durability_class), story.as_found(case)))
            )
        )
        + ".",
        _trials(case),
        _laid_out(sheets.guarantees(case)),
        _slo(case),
        _laid_out(sheets.ledger(shown)),
        _examples(shown),
        _laid_out(sheets.recovery(shown)),
        _laid_out(sheets.latencies(shown)),
        _laid_out(sheets.costs(shown)),
        _titled("Containers", "\n".join(f"- {text(sentence)}" for sentence in containers.befell(case))),
        _settings(shown, settings),
        _warnings(case),
    ]
    return "\n\n".join(part for part in parts if part)


def _trials(case: CaseRecord) -> str:
    lines = []
    if len(case.trials) > 1:
        told = [f"{trial.number} {words.OF_STATUS[trial.status]}" for trial in case.trials]
        lines.append(f"Trials: {', '.join(told)}." + (" In detail: the worst." if len(told) > MAX_TRIALS else ""))
    for which, trial in trouble.not_valid(case):
        for reason, remedy in trouble.reasons(trial):
            told_of = f"{words.OF_STATUS[trial.status]}{which}: {text(reason)}"
            lines.append(f"- {told_of}" + (f" — remedy: {text(remedy)}" if remedy else ""))
    return "\n".join(lines)


def _slo(case: CaseRecord) -> str:
    rows = [f"- {text(words.slo(expectation)[0])}" for expectation in case.slo]
    return _titled("SLO", "\n".join(rows))


def _examples(shown: list[TrialRecord]) -> str:
    lines: list[str] = []
    taken: dict[str, int] = {}
    told: set[tuple[int, str]] = set()  # an identity that is bad in several ways is told once
    every = [(trial, example) for trial in shown for example in trial.examples]
    for trial, example in sorted(every, key=lambda pair: EXAMPLE_ORDER.get(pair[1].what, len(EXAMPLE_ORDER))):
        who = (trial.number, example.identity)
        if who in told or taken.get(example.what, 0) >= MAX_EXAMPLES_EACH or len(lines) >= MAX_EXAMPLES:
            continue
        told.add(who)
        taken[example.what] = taken.get(example.what, 0) + 1
        lines.append(_example(trial, example))
    title = "Examples (times from the start of the load)"
    return _titled(title, "\n".join(lines))


def _example(trial: TrialRecord, example: Example) -> str:
    known = words.CLASSES.get(example.what) or words.MARKS.get(example.what) or ""
    told = [
        _at("due", example.intended_s),
        _at("sent", example.sent_s),
        _at(example.outcome or "answered", example.confirmed_s),
    ]
    if example.outcome and example.confirmed_s is None:
        told.append(example.outcome)
    told += [_delivery(delivery) for delivery in example.deliveries] or ["never received"]
    if example.found:
        told.append(f"found in the broker: {', '.join(example.found)}")
    what = text(example.what.replace("_", " "))
    where = f"trial {trial.number}, {code(example.identity)}"
    told_of = text(" → ".join(part for part in told if part))
    return f"- **{what}** ({text(known)}) {where}: {told_of}"


_SKIPPED = {"TAKEN": "skipped: its key was there", "DONE": "skipped: its marker was there"}


def _delivery(delivery: ExampleDelivery) -> str:
    told = [_at(f"worker {delivery.worker} received", delivery.received_s)]
    if delivery.attempt > 1:
        told.append(f"attempt {delivery.attempt}")
    if delivery.cause:
        told.append(words.MARKS.get(delivery.cause, delivery.cause))
    told.append(_at("finished", delivery.finished_s) or _SKIPPED.get(delivery.skipped or "", "not finished"))
    if delivery.settlement:
        settled = f"{delivery.settlement} {delivery.settle_outcome or 'unanswered'}"
        told.append(_at(settled, delivery.settled_s) or settled)
    return ", ".join(told)


def _at(what: str, t_s: float | None) -> str:
    return "" if t_s is None else f"{what} {t_s:.4f} s"


def _settings(shown: list[TrialRecord], settings: Callable[[TrialRecord], dict[str, object] | str]) -> str:
    if not shown:
        return ""
    sheet = sheets.settings(shown[0], settings(shown[0]))
    left_out = len(sheet.rows) - MAX_SETTINGS
    if left_out > 0:
        note = f"… and {left_out} more in settings.json of the trial."
        sheet = replace(sheet, rows=sheet.rows[:MAX_SETTINGS], note=note)
    return _laid_out(sheet)


def _warnings(case: CaseRecord) -> str:
    texts = list(dict.fromkeys(trouble.warning(each, trial) for trial in case.trials for each in trial.warnings))
    lines = [f"- {text(warning)}" for warning in texts[:10]]
    if len(texts) > 10:
        lines.append(f"- … and {len(texts) - 10} more in run.json")
    return _titled("Warnings", "\n".join(lines))


def _titled(title: str, body: str) -> str:
    return f"**{title}**\n\n{body}" if body else ""


def _laid_out(sheet: Sheet) -> str:
    """Returns a table in Markdown, under its title and above its note."""
    rows = [[code(cell) if isinstance(cell, Code) else text(cell) for cell in row] for row in sheet.rows]
    told = table([text(heading) for heading in sheet.headings], rows, right=sheet.right) if rows else ""
    return _titled(text(sheet.title), "\n\n".join(filter(None, [told, text(sheet.note)])))
