"""The page of a comparison: one file that opens anywhere, laid out from the same words as terminal and Markdown, with charts.

Neighbours: ``html`` has what every page is made of; ``charts`` draw, ``charts._forest`` the ratios.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from harness.store import RunFolder
from reports import ratios, sides
from reports.compared import Arm, Comparison, Setting
from reports.differences import Measured, measured
from reports.html import Page, Pictures, render, tone
from reports.ratios import Cell
from reports.rows import Run
from reports.view import CaseView, view

MOST_DRAWN = 24
"""Cases; with more nobody could tell them apart, and a page takes minutes."""
CHOSEN = "those that ended worst and, of the others, those that differ most, with their references. The table has all."


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A row of the table of figures. ``cells`` is empty where it was not run."""

    arm: Arm
    standing: tuple[str, ...]
    cells: tuple[Cell, ...]


def page_of(told: Comparison, runs: Sequence[Run]) -> Page:
    """Returns the page.

    Raises:
        BrokenRunFolderError: a run's folder is gone since it was read. A chart that cannot be drawn is told in its place.
    """
    columns = measured(told)
    arms = [arm for group in told.groups for arm in group.arms]
    drawn = _only(told, {arm.label for arm in sides.foremost(arms, MOST_DRAWN)})
    pictures = _pictures(drawn)
    worst = min((sides.sign(arm) for arm in arms), key=lambda sign: sign.rank)
    views = list(_views(drawn, runs))
    html = render(
        "comparison.html.j2",
        told=told,
        headline=sides.headline(told),
        tone="void" if told.cross_machine else tone(worst),
        scenarios=", ".join(dict.fromkeys(run.scenario for run in told.runs)),
        several=len(told.runs) > 1,
        groups=[(group, sides.worst_first(group)) for group in told.groups],
        sides=sides,
        columns=columns,
        lines={group.title: list(_lines(group.arms, columns, len(told.runs) > 1)) for group in told.groups},
        claims=list(sides.claims(told)),
        differing=[(title, [_spread(each) for each in settings]) for title, settings in sides.parts_of(told)],
        charts=pictures.of_cases(views),
        missing=list(_missing(views)),
        chosen=f"{len(views)} of {len(arms)} cases are drawn: {CHOSEN}" if len(views) < len(arms) else "",
        started={
            run.name: f"{datetime.fromtimestamp(run.started_wall_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC"
            for run in told.runs
        },
    )
    return Page(html=html, pictures=pictures.files)


def _only(told: Comparison, labels: Collection[str]) -> Comparison:
    """Returns a comparison of some of its rows."""
    groups = [
        group.model_copy(update={"arms": [arm for arm in group.arms if arm.label in labels]}) for group in told.groups
    ]
    return told.model_copy(update={"groups": [group for group in groups if group.arms]})


def _lines(arms: Sequence[Arm], columns: Sequence[Measured], several: bool) -> Iterator[Line]:
    for arm in arms:
        cells = [ratios.cell(each.metric, arm.figures[each.metric]) for each in columns] if arm.trials else []
        standing = sides.standing(arm, several=several or len(arms) > 1)
        yield Line(arm=arm, standing=tuple(standing), cells=tuple(cells))


def _spread(setting: Setting) -> tuple[str, list[tuple[str, list[str]]]]:
    """Returns a setting's name, and each value with those that have it."""
    return setting.name, sides.groups_of(setting)


def _pictures(told: Comparison) -> Pictures:
    """Returns what draws: the ratios first, then every chart of several cases."""

    try:
        from reports.charts import charts  # noqa: PLC0415 - matplotlib
        from reports.charts._forest import chart_of  # noqa: PLC0415 - as above

        return Pictures([chart_of(told), *charts()])
    except Exception:  # it tells why in the charts' place
        return Pictures()


def _missing(views: Sequence[CaseView]) -> Iterator[str]:
    """Yields which trials no chart can show, and why."""
    for case in views:
        for trial in case.trials:
            if trial.missing:
                yield f"{case.label}, trial {trial.record.number}: {trial.missing}"


def _views(told: Comparison, runs: Sequence[Run]) -> Iterator[CaseView]:
    """Yields what the charts are drawn from, in the order of the rows, under their labels."""
    found: dict[tuple[str, str], CaseView] = {}
    for source, run in zip(told.runs, runs, strict=True):
        for case in view(RunFolder.open(run.folder), run.record).cases:
            found[source.name, case.record.id] = case
    for arm in (arm for group in told.groups for arm in group.arms):
        yield replace(found[arm.run, arm.case], label=arm.label)
