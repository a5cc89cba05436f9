"""``report.html``: the page of a run, one file that opens anywhere: no address outside it, no script, every text of others escaped.

What it says is what ``report.md`` says (``story``, ``words``, ``columns``, ``sheets``); beside that it has the charts and what happened to
single messages. jinja2 and matplotlib are imported when a page is made, never before.

Neighbours: ``view`` reads the run, ``charts`` draw, ``embedding`` puts drawings in, ``examples`` tells of messages, ``templates`` lay it out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import BrokenRunFolderError
from harness.record import CaseRecord, RunRecord, TrialRecord
from harness.units import format_duration
from reports import containers, examples, figures, sheets, story, trouble, unstarted, words
from reports.columns import columns
from reports.detail import MAX_TRIALS
from reports.embedding import Picture, picture
from reports.escape import printable
from reports.figures import UNSUSTAINED
from reports.networks import TITLE as NETWORKS
from reports.networks import comparison
from reports.sheets import Code, Sheet, flat
from reports.view import CaseView, RunView, TrialView
from reports.words import Sign

if TYPE_CHECKING:
    from jinja2 import Environment

    from reports.charts import Chart, Drawing

TEMPLATES = Path(__file__).parent / "templates"
MAX_OPEN = 4  # cases: with more, only the worst stands open

_TONES = {
    words.VIOLATED: "bad",
    words.SLO_MISSED: "bad",
    words.INVALID: "void",
    words.FAILED: "void",
    words.INTERRUPTED: "void",
    words.CUT_OFF: "void",
    words.UNKNOWN: "open",
    words.NOT_EXERCISED: "open",
    words.LOST_AS_CLAIMED: "lossy",
    words.LOST_BY_SKIPPING: "lossy",
    words.LOST_NO_CLAIM: "lossy",
    words.HELD: "good",
}
_TIES = re.compile(r"(?<=\d) (?=[^\W\d]{1,3}\b|%)|(?<=[≥≤±]) (?=\d)")
_OF_WORDS = {str(sign): sign for sign in (*_TONES, *words.OF_STATUS.values(), words.NO_CLAIM)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A chart on the page. ``problem``: why there is none, in its place."""

    name: str
    title: str = ""
    drawing: Drawing | None = None
    picture: Picture | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """All that the page says of a case."""

    case: CaseRecord
    sign: Sign
    sentence: str
    open: bool
    about: tuple[str, ...]
    trials: tuple[str, ...]
    against: tuple[tuple[str, str, str], ...]  # which trial, with its sign; reason; remedy
    charts: tuple[Shown, ...]
    missing: tuple[str, ...]
    sheets: Mapping[str, Sheet]
    stories: tuple[examples.Story, ...]
    befell: tuple[str, ...]
    warnings: tuple[str, ...]
    slo: tuple[tuple[str, str], ...]

    @property
    def anchor(self) -> str:
        """Returns where on the page it stands."""
        return anchor(self.case)

    def examples_of(self) -> dict[str, list[examples.Story]]:
        """Returns the stories by the worst class or mark that each is an example of."""
        found: dict[str, list[examples.Story]] = {}
        for each in self.stories:
            found.setdefault(each.whats[0], []).append(each)
        return found

    def told_of(self, name: str) -> list[examples.Story]:
        """Returns the stories of examples of a class or mark."""
        return [each for each in self.stories if name in each.whats]


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A page, and the pictures that go beside it as files: name without suffix → PNG."""

    html: str
    pictures: Mapping[str, bytes] = field(default_factory=dict)


def page(run: RunView, charts: Sequence[Chart] | None = None) -> Page:
    """Returns the page of a run. A chart that cannot be drawn is told of in its place; the rest of the page stands.

    Args:
        charts: None = all that there are.
    """
    record = run.record
    if unstarted.is_unstarted(record):
        return Page(html=render("unstarted.html.j2", **_top(record), reasons=list(unstarted.reasons(record))))
    pictures = Pictures(charts)
    cut_off = story.is_cut_off(record)
    by_id = {case.record.slug: case for case in run.cases}
    ordered = [by_id[case.slug] for case in story.worst_first([case.record for case in run.cases])]
    sections = [
        _section(run, case, pictures, cut_off=cut_off, is_open=len(ordered) <= MAX_OPEN or number == 0)
        for number, case in enumerate(ordered)
    ]
    html = render(
        "run.html.j2",
        **_top(record),
        sections=sections,
        together=pictures.of_cases(run.cases),
        **_bottom(record),
    )
    return Page(html=html, pictures=pictures.files)


class Pictures:
    """Draws charts, and keeps every picture for its file."""

    def __init__(self, charts: Sequence[Chart] | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.problems: list[Shown] = []
        self._drawn = 0
        self._charts = self._every() if charts is None else list(charts)

    def _every(self) -> list[Chart]:
        from reports import charts  # noqa: PLC0415 - as a whole: what a chart needs is imported with it

        found = []
        for name in charts.names():
            try:
                found.append(charts.chart(name))
            except Exception as error:  # a page without a chart is worth more than none
                self.problems.append(Shown(name=name, problem=_told(error)))
        return sorted(found, key=lambda chart: chart.position)

    def of_case(self, case: CaseView) -> tuple[Shown, ...]:
        """Returns the charts of a case."""
        return tuple(self._shown((c.of_case, case) for c in self._charts if c.of_case))

    def of_cases(self, cases: Sequence[CaseView]) -> tuple[Shown, ...]:
        """Returns the charts of several cases beside each other, and in their place which charts there are not at all."""
        return (*self._shown((c.of_cases, cases) for c in self._charts if c.of_cases), *self.problems)

    def _shown(self, drawn: Iterable[tuple[Callable[[Any], Drawing | None], Any]]) -> Iterator[Shown]:
        for draw, of in drawn:
            try:
                drawing = draw(of)
                if drawing is None:
                    continue
                self._drawn += 1
                made = picture(drawing, f"f{self._drawn}")
            except Exception as error:  # as above
                yield Shown(name=_name(draw), problem=_told(error))
                continue
            self.files[drawing.name] = made.png
            yield Shown(name=drawing.name, title=drawing.title, drawing=drawing, picture=made)


def _name(draw: Callable[[Any], object]) -> str:
    return draw.__module__.rpartition(".")[2].removeprefix("_")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def render(template: str, **values: object) -> str:
    """Returns a page of :data:`TEMPLATES` with everything in ``values`` escaped."""
    return _environment().get_template(template).render(**values)


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - only when a page is made
    from markupsafe import Markup  # noqa: PLC0415 - as above

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    made.filters |= {
        "tone": tone,
        "signed": signed,
        "breakable": breakable,
        "tied": tied,
        "duration": format_duration,
        "code": lambda cell: isinstance(cell, Code),
        "as_made": Markup,
    }
    made.globals |= {
        "words": words,
        "css": Markup((TEMPLATES / "page.css").read_text()),
        "anchor": anchor,
        "DIFFERS": sheets.DIFFERS,
    }
    return made


def _printable(value: object) -> object:
    """Returns a text as a page may show it; what is markup already stays."""
    return printable(value) if type(value) is str else value


def signed(cell: str) -> tuple[str, Sign | None]:
    """Returns the words of a cell and the sign that it ends with."""
    found = next((sign for name, sign in _OF_WORDS.items() if cell == name or cell.endswith(f" {name}")), None)
    return (cell.removesuffix(str(found)).strip(), found) if found else (cell, None)


def tone(sign: Sign) -> str:
    """Returns the class of page.css that a sign is shown by."""
    return "good" if sign.style == "green" else _TONES.get(sign, "quiet")


def breakable(name: str) -> list[str]:
    """Returns a case's id in the pieces between which a line may break."""
    pieces, last = [], 0
    for at, sign in enumerate(name):
        if sign in "[,@=" and at > last:
            pieces.append(name[last:at])
            last = at
    return [*pieces, name[last:]]


def tied(text: str) -> str:
    """Returns a cell of a wide table in which a line may break between words, never between a number and its unit or its sign."""
    return _TIES.sub("\N{NO-BREAK SPACE}", text)


def anchor(case: CaseRecord) -> str:
    """Returns where on the page a case stands."""
    return f"case-{case.slug}"


def _top(record: RunRecord) -> dict[str, object]:
    cut_off = story.is_cut_off(record)
    strip = [
        (story.sign(case, cut_off), case, story.sentence(case, cut_off))
        for case in story.worst_first(list(record.cases))
    ]
    nothing = unstarted.is_unstarted(record)
    return {
        "record": record,
        "started": f"{datetime.fromtimestamp(record.started_wall_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC",
        "ground": containers.ground(record),
        "headline": unstarted.HEADLINE if nothing else story.headline(record),
        "tone": "void" if nothing or not strip else tone(strip[0][0]),
        "strip": strip,
        "endings": story.endings(record),
        "exit_line": _exit_line(record),
        "tables": [] if nothing else list(_tables(record)),
        "notes": [] if nothing else list(_notes(record)),
        "networks": comparison(record),
        "networks_title": NETWORKS,
        "lag": story.lag(record),
    }


def _exit_line(record: RunRecord) -> str:
    if record.exit_code is None:
        return ""
    if unstarted.is_unstarted(record):
        return unstarted.exit_line(record)
    return f"exit code {record.exit_code}" + (f" ({record.exit_reason})" if record.exit_reason else "")


def _tables(record: RunRecord) -> Iterator[dict[str, object]]:
    """Yields the table of cases of each durability class; None stands for the cells of a case that left no figures."""
    every = columns(record)
    every = [*every[-1:], *every[:-1]]
    cut_off = story.is_cut_off(record)
    for kind, cases in story.by_durability(record):
        rows = [
            (case, story.sign(case, cut_off), [each.cell(case) for each in every] if case.trials else None)
            for case in cases
        ]
        yield {
            "kind": kind.value,
            "meaning": words.DURABILITY[kind],
            "headings": [each.heading for each in every],
            "rows": rows,
        }


def _notes(record: RunRecord) -> Iterator[str]:
    every = columns(record)
    shown = " ".join(column.cell(case).text for case in record.cases if case.trials for column in every)
    labels = [f"{label}: {words.GLOSSARY[label]}" for label in UNSUSTAINED if label in shown]
    if labels:
        yield f"{'; '.join(labels)}."
    if any(len(case.trials) > 1 for case in record.cases):
        yield f"Several trials: {words.SEVERAL}; with lowest – highest of one trial."


def _bottom(record: RunRecord) -> dict[str, object]:
    return {
        "fingerprint": list(flat(record.fingerprint)),
        "glossary": words.GLOSSARY,
        "classes": _occurring(record),
    }


def _occurring(record: RunRecord) -> dict[str, str]:
    """Returns the classes and marks that this run has, with their meanings."""
    ledgers = [trial.ledger for case in record.cases for trial in case.trials if trial.ledger]
    found = {name for ledger in ledgers for counts in (ledger.classes, ledger.marks) for name, n in counts.items() if n}
    return {name: meaning for name, meaning in {**words.CLASSES, **words.MARKS}.items() if name in found}


def _section(run: RunView, case: CaseView, pictures: Pictures, *, cut_off: bool, is_open: bool) -> Section:
    record = case.record
    shown = figures.worst_first(record.trials)[:MAX_TRIALS]
    return Section(
        case=record,
        sign=story.sign(record, cut_off),
        sentence=story.sentence(record, cut_off),
        open=is_open,
        about=tuple(
            filter(
                None,
                (
                    record.summary,
                    record.server and f"ran on {record.server}",
                    containers.about(record),
                    words.durability(record.durability_class),
                    story.as_found(record),
                ),
            )
        ),
        trials=tuple(f"{trial.number} {words.OF_STATUS[trial.status]}" for trial in record.trials)
        if len(record.trials) > 1
        else (),
        against=tuple(
            (f"{words.OF_STATUS[trial.status]}{which}", reason, remedy)
            for which, trial in trouble.not_valid(record)
            for reason, remedy in trouble.reasons(trial)
        ),
        charts=pictures.of_case(case) if record.trials else (),
        missing=tuple(dict.fromkeys(_missing(run, trial) for trial in case.trials if trial.missing)),
        sheets=_sheets(run, record, shown),
        stories=tuple(each for trial in record.trials for each in examples.stories(run.folder, trial)),
        befell=tuple(containers.befell(record)),
        warnings=tuple(
            dict.fromkeys(trouble.warning(each, trial) for trial in record.trials for each in trial.warnings)
        ),
        slo=tuple(words.slo(expectation) for expectation in record.slo),
    )


def _sheets(run: RunView, case: CaseRecord, shown: list[TrialRecord]) -> dict[str, Sheet]:
    found = {
        "guarantees": sheets.guarantees(case),
        "ledger": sheets.ledger(shown),
        "recovery": sheets.recovery(shown),
        "latencies": sheets.latencies(shown),
        "costs": sheets.costs(shown),
    }
    if shown:
        found["settings"] = sheets.settings(shown[0], _settings(run, shown[0]))
    return {name: sheet for name, sheet in found.items() if sheet}


def _missing(run: RunView, trial: TrialView) -> str:
    """Returns why a trial has no charts; files are named as they are called in the run folder."""
    return f"trial {trial.record.number}: {trial.missing.replace(f'{run.folder.path}/', '')}"


def _settings(run: RunView, trial: TrialRecord) -> dict[str, object] | str:
    try:
        return run.folder.trial_at(trial.folder).read_settings()
    except BrokenRunFolderError as error:
        return error.problem.replace(f"{run.folder.path}/", "")
