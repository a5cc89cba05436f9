"""The part of ``report.md`` about one case: what became of its messages, how it came back, how late they came."""

from __future__ import annotations

from collections.abc import Callable

from harness.model import LOSS_CLASSES, DurabilityClass, TrialStatus
from harness.record import CaseRecord, Example, ExampleDelivery, FaultResult, LedgerCounts, TrialRecord
from harness.units import format_count
from reports import containers, figures, story, words
from reports.escape import code, table, text

MAX_EXAMPLES_EACH = 2
MAX_EXAMPLES = 5
MAX_TRIALS = 5
MAX_SETTINGS = 12
POINTS = ("p50", "p90", "p99", "p99_9", "max")
LATENCIES = {
    "latency.end_to_end": "end to end",
    "latency.publish": "publish",
    "latency.completion": "completion",
    "latency.end_to_end.from_sent": "end to end, from sent",
    "latency.publish.from_sent": "publish, from sent",
    "latency.completion.from_sent": "completion, from sent",
    "lag": "schedule lag",
}
_CLASS_ORDER = {name: index for index, name in enumerate((*LOSS_CLASSES, "phantom", "stranded", "undecided"))}
_EXAMPLE_ORDER = {name: index for index, name in enumerate((*_CLASS_ORDER, "corrupt", "phantom_attempt", *words.MARKS))}


def case_section(
    case: CaseRecord, settings: Callable[[TrialRecord], dict[str, object] | str], cut_off: bool = False
) -> str:
    """Returns the section of a case.

    Args:
        settings: returns the ``settings.json`` of a trial, or a sentence on why it cannot be read.
        cut_off: its run was.
    """
    shown = _worst_trials(case)
    parts = [
        f"### {code(case.id)}",
        f"**{story.sign(case, cut_off)}.** {text(story.sentence(case, cut_off))}",
        f"{text(case.summary)}. Ran on {text(case.server)}; "
        + "; ".join(filter(None, map(text, (containers.about(case), _durability(case), story.as_found(case)))))
        + ".",
        _trials(case),
        _guarantees(case),
        _slo(case),
        _ledger(shown),
        _examples(shown),
        _recovery(shown),
        _latencies(shown),
        _costs(shown),
        _titled("Containers", "\n".join(f"- {text(sentence)}" for sentence in containers.befell(case))),
        _settings(shown, settings),
        _warnings(case),
    ]
    return "\n\n".join(part for part in parts if part)


def _durability(case: CaseRecord) -> str:
    return "durability unknown" if case.durability_class is DurabilityClass.UNKNOWN else case.durability_class.value


def _worst_trials(case: CaseRecord) -> list[TrialRecord]:
    """Returns the trials that are shown in detail: those that lost most first, the valid before the others."""

    def badness(trial: TrialRecord) -> tuple[bool, int]:
        lost = figures.lost([trial])
        return trial.status is TrialStatus.VALID or trial.evidence_sound, lost.count if lost else 0

    return sorted(case.trials, key=badness, reverse=True)[:MAX_TRIALS]


def _trials(case: CaseRecord) -> str:
    lines = []
    if len(case.trials) > 1:
        told = [f"{trial.number} {words.OF_STATUS[trial.status]}" for trial in case.trials]
        lines.append(f"Trials: {', '.join(told)}." + (" In detail: the worst." if len(told) > MAX_TRIALS else ""))
    for which, trial in story.not_valid(case):
        for reason, remedy in story.reasons(trial):
            told_of = f"{words.OF_STATUS[trial.status]}{which}: {text(reason)}"
            lines.append(f"- {told_of}" + (f" — remedy: {text(remedy)}" if remedy else ""))
    return "\n".join(lines)


def _guarantees(case: CaseRecord) -> str:
    rows = [
        [
            str(words.OF_VERDICT[g.verdict]),
            text(words.fault(g.fault)),
            text(g.claim),
            text(g.evidence),
            _whole(g.exposed),
        ]
        for g in story.guarantees(case)
    ]
    return _titled("Guarantees", table(["verdict", "fault", "claimed", "observed", "exposed"], rows) if rows else "")


def _slo(case: CaseRecord) -> str:
    rows = [f"- {text(words.slo(expectation)[0])}" for expectation in case.slo]
    return _titled("SLO", "\n".join(rows))


def _ledger(shown: list[TrialRecord]) -> str:
    """Returns the ledger of the trials side by side: every class, mark and outcome that any of them has, the bad ones first."""
    ledgers = [(trial, trial.ledger) for trial in shown if trial.ledger]
    if not ledgers:
        return ""
    rows: list[list[str]] = []
    for what, meanings, of in _LEDGER:
        counts = [of(ledger) for _, ledger in ledgers]
        for name, meaning in meanings.items():
            numbers = [each.get(name, 0) for each in counts]
            if any(numbers) or name in _ALWAYS:
                rows.append([what, text(name.replace("_", " ")), text(meaning), *map(format_count, numbers)])
    headings = ["", "", "", *(_heading(trial) for trial, _ in ledgers)]
    return _titled("Ledger: what became of each message", table(headings, rows, right=3))


def _seen(ledger: LedgerCounts) -> dict[str, int]:
    names = ("identities", "unreadable", "unreadable_found", "foreign", "foreign_found")
    return {name: getattr(ledger, name) for name in names}


def _bad_first(meanings: dict[str, str]) -> dict[str, str]:
    return dict(sorted(meanings.items(), key=lambda pair: _CLASS_ORDER.get(pair[0], len(_CLASS_ORDER))))


_ALWAYS = {"identities", "phantom", "corrupt", *LOSS_CLASSES}
_LEDGER: tuple[tuple[str, dict[str, str], Callable[[LedgerCounts], dict[str, int]]], ...] = (
    ("class", _bad_first(words.CLASSES), lambda ledger: ledger.classes),
    ("mark", words.MARKS, lambda ledger: ledger.marks),
    ("seen", words.SEEN, _seen),
    ("outcome", words.OUTCOMES, lambda ledger: ledger.outcomes),
    ("held", words.HELD_REASONS, lambda ledger: ledger.held),
    ("Jepsen set", words.JEPSEN, lambda ledger: ledger.jepsen),
)


def _examples(shown: list[TrialRecord]) -> str:
    lines: list[str] = []
    taken: dict[str, int] = {}
    told: set[tuple[int, str]] = set()  # an identity that is bad in several ways is told once
    every = [(trial, example) for trial in shown for example in trial.examples]
    for trial, example in sorted(every, key=lambda pair: _EXAMPLE_ORDER.get(pair[1].what, len(_EXAMPLE_ORDER))):
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


def _recovery(shown: list[TrialRecord]) -> str:
    names = list(dict.fromkeys(name for t in shown for fault in t.faults for name in fault.recovery))
    rows = [
        [
            f"{trial.number}",
            text(fault.label),
            *(_seconds(t_s) for t_s in (fault.planned_s, fault.injected_s, fault.healed_s)),
            "yes" if fault.hit else "NO",
            _whole(fault.exposed),
            *(_recovered(fault, name) for name in names),
        ]
        for trial in shown
        for fault in trial.faults
    ]
    if not rows:
        return ""
    head = ["trial", "fault", "planned", "injected", "healed", "hit", "exposed"]
    titles = [text(words.RECOVERY.get(name, name.replace("_", " "))) for name in names]
    return _titled("Recovery (times from the start of *steady*)", table([*head, *titles], rows, right=2))


def _recovered(fault: FaultResult, name: str) -> str:
    return text(words.figure(f"recovery.{name}", fault.recovery.get(name)))


def _latencies(shown: list[TrialRecord]) -> str:
    """Returns how late messages came in each window of the first trial shown; all of it in the first window, the headline in the others."""
    trial = next((trial for trial in shown if trial.metrics), None)
    if trial is None:
        return ""
    rows = []
    for index, (window, metrics) in enumerate(trial.metrics.items()):
        for name, title in LATENCIES.items():
            values = [metrics.get(f"{name}.{point}") for point in POINTS]
            if any(value is not None for value in values) and (index == 0 or name == "latency.end_to_end"):
                cells = [
                    text(words.figure(f"{name}.{point}", each)) for point, each in zip(POINTS, values, strict=True)
                ]
                rows.append([text(window), title, *cells])
    headings = ["window", "", "p50", "p90", "p99", "p99.9", "max"]
    return _titled(f"How late, {_heading(trial)}", table(headings, rows, right=2) if rows else "")


_PER_MESSAGE = ("cost.broker_cpu", "cost.load_cpu", "cost.disk_bytes_per_message")


def _costs(shown: list[TrialRecord]) -> str:
    trials = [trial for trial in shown if any(figures.look(trial, name)[0] is not None for name in words.RUN_FIGURES)]
    rows = []
    for name, title in words.RUN_FIGURES.items():
        values = [figures.look(trial, name)[0] for trial in trials]
        if any(value is not None for value in values):
            rows.append([text(title), *(text(words.figure(name, value)) for value in values)])
    headings = ["", *(_heading(trial) for trial in trials)]
    told = table(headings, rows, right=1) if rows else ""
    if any(isinstance(figures.look(trial, name)[0], float) for trial in trials for name in _PER_MESSAGE):
        told += f"\n\nCPU and bytes written {words.COST}."
    return _titled("Loss, backlog and cost", told)


def _settings(shown: list[TrialRecord], settings: Callable[[TrialRecord], dict[str, object] | str]) -> str:
    if not shown:
        return ""
    read = settings(shown[0])
    if isinstance(read, str):
        return _titled("Settings", text(read))
    asked, found, also = (_mapping(read.get(key)) for key in ("asked", "found", "also"))
    rows = [
        [code(name), _value(value), _value(found.get(name)), "" if found.get(name) == value else "✗ DIFFERS"]
        for name, value in asked.items()
    ]
    rows += [[code(name), "", _value(value), ""] for name, value in also.items()]
    more = (
        "" if len(rows) <= MAX_SETTINGS else f"\n\n… and {len(rows) - MAX_SETTINGS} more in settings.json of the trial."
    )
    rows = sorted(rows, key=lambda row: not row[-1])[:MAX_SETTINGS]
    title = f"Settings of {text(read.get('version') or 'the broker')}, trial {shown[0].number}"
    return _titled(title, table(["setting", "asked for", "read back", ""], rows) + more if rows else "")


def _warnings(case: CaseRecord) -> str:
    texts = list(dict.fromkeys(warning for trial in case.trials for warning in trial.warnings))
    lines = [f"- {text(words.warning(warning))}" for warning in texts[:10]]
    if len(texts) > 10:
        lines.append(f"- … and {len(texts) - 10} more in run.json")
    return _titled("Warnings", "\n".join(lines))


def _heading(trial: TrialRecord) -> str:
    """Returns the heading of a trial's column; a trial that is not valid says so above its figures."""
    valid = trial.status is TrialStatus.VALID
    return f"trial {trial.number}" if valid else f"trial {trial.number} {words.OF_STATUS[trial.status]}"


def _titled(title: str, body: str) -> str:
    return f"**{title}**\n\n{body}" if body else ""


def _value(value: object) -> str:
    """Returns a setting's value; an empty one can be seen."""
    return words.NOT_MEASURED if value is None else code(value) or '`""`'


def _mapping(value: object) -> dict[str, object]:
    return {str(key): each for key, each in value.items()} if isinstance(value, dict) else {}


def _whole(value: int | None) -> str:
    return words.NOT_MEASURED if value is None else format_count(value)


def _seconds(t_s: float | None) -> str:
    return "never" if t_s is None else f"{t_s:.3f} s"
