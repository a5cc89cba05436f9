"""The rows of a comparison, and which row each is compared with.

Rows are compared within one group only: the same durability class, and the same kind of load. Neighbour: ``comparison``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.analysis.comparable import Side
from harness.errors import NotComparableError, UsageError
from harness.model import DurabilityClass
from harness.record import CaseRecord, RunRecord
from harness.scenario.problems import did_you_mean, one_of
from reports.differences import is_valid
from reports.naming import names_of

Key = tuple[DurabilityClass, bool]
"""Durability class, and whether it ran in closed loop beside a case at the scenario's rate."""

Settings = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What is read of one run. ``settings``: slug of a case → ``settings.json`` of each trial that counts, None = it cannot be read."""

    folder: Path
    record: RunRecord
    settings: Mapping[str, Sequence[Settings | None]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One case of one run. ``run_name``: short, different from those of the others. ``label``: with several runs behind that name."""

    run: Run
    run_name: str
    case: CaseRecord
    label: str

    @property
    def key(self) -> Key:
        """Returns the group that it is compared in."""
        return self.case.durability_class, self.case.ceiling

    @property
    def settings(self) -> Sequence[Settings | None]:
        """Returns what its broker said of itself, of each trial that counts."""
        return self.run.settings.get(self.case.slug, ())

    @property
    def side(self) -> Side:
        """Returns it as ``comparable`` takes it."""
        return Side(run=self.run.record, case=self.case, settings=self.settings)


def rows_of(runs: Sequence[Run]) -> list[Row]:
    """Returns the rows in the scenario's order, of several runs each case with its likes together.

    Raises:
        UsageError: the same run twice, a run without a case, or one case alone.
    """
    _refuse_twice(runs)
    names = names_of([run.folder for run in runs])
    ids = dict.fromkeys(case.id for run in runs for case in run.record.cases)
    rows = [
        Row(run=run, run_name=name, case=case, label=f"{name} {case.id}" if len(runs) > 1 else case.id)
        for wanted in ids
        for run, name in zip(runs, names, strict=True)
        for case in run.record.cases
        if case.id == wanted
    ]
    empty = next((run for run in runs if not run.record.cases), None)
    if empty or len(rows) < 2:
        raise UsageError(
            f"{(empty or runs[0]).folder} has {'no case' if empty else 'one case only'}: there is nothing to compare it with",
            expected="a run of several cases, or several runs",
            remedy="name another run: brokerbench compare RUN RUN",
        )
    return rows


def keys(rows: Sequence[Row]) -> list[Key]:
    """Returns the groups that there are, the weakest class first."""
    there = {row.key for row in rows}
    return [(kind, ceiling) for kind in DurabilityClass for ceiling in (False, True) if (kind, ceiling) in there]


def references(rows: Sequence[Row], baseline: str | None) -> dict[str, Row]:
    """Returns the row that each is compared with, by its label; the reference itself too; a row that has none is left out.

    Raises:
        UsageError: ``baseline`` is none of them. NotComparableError: runs without a case in common.
    """
    chosen = _chosen(rows, baseline) if baseline is not None else rows[0].run_name
    several = len({row.run_name for row in rows}) > 1
    found: dict[str, Row] = {}
    for key in keys(rows):
        group = [row for row in rows if row.key == key]
        if isinstance(chosen, Row) and chosen in group:
            found |= {row.label: chosen for row in group}
        elif several:
            of_run = chosen if isinstance(chosen, str) else chosen.run_name
            there = {row.case.id: row for row in group if row.run_name == of_run}
            found |= {row.label: there[row.case.id] for row in group if row.case.id in there}
        else:  # the first that can be one
            first = next((row for row in group if is_valid(row.case)), group[0])
            found |= {row.label: first for row in group}
    if several and all(found.get(row.label, row) is row for row in rows):
        raise _nothing_in_common(rows)
    return found


def likes(rows: Sequence[Row]) -> dict[str, Row]:
    """Returns the same case in the first of the other runs that has it, by the row's label; a row that has no like is left out."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.case.id, row)
    return {row.label: first[row.case.id] for row in rows if first[row.case.id].run is not row.run}


def _chosen(rows: Sequence[Row], baseline: str) -> Row | str:
    """Returns the row that is the reference, or the name of the run that is."""
    asked = baseline.rstrip("/")
    of_case = {row.case.id: row for row in reversed(rows)} | {row.label: row for row in rows}
    if asked in of_case:
        return of_case[asked]
    exact = [row for row in rows if asked == f"{row.run_name}:{row.case.id}"]
    there = exact or [row for row in rows if asked == f"{row.run.folder.name}:{row.case.id}"]
    if len(there) > 1:
        raise _ambiguous(baseline, [str(row.run.folder) for row in there])
    if there:
        return there[0]
    of_run = {row.run_name: row for row in rows} if len({row.run_name for row in rows}) > 1 else {}
    found = {name for name, row in of_run.items() if asked in (name, row.run.folder.name) or _is_at(row.run, asked)}
    found = {asked} & found or found  # a name that is given here before that of a folder
    if len(found) > 1:
        raise _ambiguous(baseline, [str(of_run[name].run.folder) for name in sorted(found)])
    if found:
        return found.pop()
    known = dict.fromkeys([*(row.case.id for row in rows), *of_run])
    raise UsageError(
        f"--baseline {baseline!r} matches no case{' and no run' if of_run else ''}",
        expected=one_of(known),
        remedy=did_you_mean(asked, known) or "quote it: brackets mean something to the shell",
    )


def _is_at(run: Run, asked: str) -> bool:
    return Path(asked).absolute() == run.folder.absolute() or Path(asked).resolve() == run.folder.resolve()


def _ambiguous(baseline: str, folders: Sequence[str]) -> UsageError:
    return UsageError(
        f"--baseline {baseline!r} is more than one of the runs: {' and '.join(folders)}",
        expected="one of them",
        remedy=f"name its folder: --baseline {folders[0]}",
    )


def _refuse_twice(runs: Sequence[Run]) -> None:
    seen: dict[str, Run] = {}
    for run in runs:
        if other := seen.get(run.record.run_id):
            where = " and ".join(dict.fromkeys((str(other.folder), str(run.folder))))
            raise UsageError(
                f"the same run is named twice: {where} (run {run.record.run_id})",
                expected="different runs",
                remedy="run the scenario again and name both, or name it once to compare its cases",
            )
        seen[run.record.run_id] = run


def _nothing_in_common(rows: Sequence[Row]) -> NotComparableError:
    cases: dict[str, list[str]] = {}
    for row in rows:
        cases.setdefault(row.run_name, []).append(row.case.id)
    return NotComparableError(
        "the runs have no case in common: " + "; ".join(f"{name} has {', '.join(ids)}" for name, ids in cases.items()),
        expected="a case of the reference run in another, in the same durability class",
        remedy="run the same cases again, or compare those of one run: brokerbench compare RUN",
    )
