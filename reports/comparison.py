"""Cases side by side: those of one run, or the same cases of several; differences within one durability class, and nowhere else. Pure.

A confirm is worth something else in each class, so cases of two classes have no ratio and no order: their values stand beside each
other under their class. Neighbours: ``differences`` compares one figure, ``differing`` finds what the configurations differ in,
``compared`` is the result, which the terminal, Markdown and the page lay out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import __version__
from harness.analysis.comparable import Comparability, Kind, Side, comparability
from harness.errors import NotComparableError, UsageError
from harness.model import DurabilityClass
from harness.record import CaseRecord, RunRecord
from harness.scenario.problems import did_you_mean, one_of
from reports import differing, figures, notes, story
from reports.compared import Arm, Claimed, Comparison, Group, LossTold, Setting, Source
from reports.differences import Measured, compared, is_valid, shown
from reports.naming import names_of

NOT_THERE = "the reference run has no such case"
IN_LOOP = ", in closed loop"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What is read of one run. ``settings``: slug of a case → ``settings.json`` of each trial that counts, None = it cannot be read."""

    folder: Path
    record: RunRecord
    settings: Mapping[str, Sequence[Mapping[str, Any] | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Row:
    """One case of one run."""

    run: Run
    name: str
    case: CaseRecord
    label: str

    @property
    def group(self) -> tuple[DurabilityClass, bool]:
        return self.case.durability_class, self.case.ceiling

    @property
    def settings(self) -> Sequence[Mapping[str, Any] | None]:
        return self.run.settings.get(self.case.slug, ())

    @property
    def side(self) -> Side:
        return Side(run=self.run.record, case=self.case, settings=self.settings)


def comparison(runs: Sequence[Run], *, baseline: str | None = None, cross_machine: bool = False) -> Comparison:
    """Returns the cases of one run beside each other, or of several runs each case beside itself.

    Args:
        baseline: the reference: a case's id, with several runs also a run's name or folder, or both (``NAME:CASE``). Without it the
            first case of each class, of several runs the same case in the first.
        cross_machine: unlike environments are told, not refused; ratios have no interval then.

    Raises:
        UsageError: one case alone, the same run twice, or a ``baseline`` that is none of them.
        NotComparableError: runs that have no case in common, or whose environments or questions are unlike.
    """
    names = names_of([run.folder for run in runs])
    rows = list(_rows(runs, names))
    _refuse_twice(runs)
    if len(rows) < 2:
        raise _alone(runs)
    references = _references(rows, names, _chosen(rows, runs, names, baseline))
    if len(runs) > 1 and all(references.get(row.label, row) is row for row in rows):
        raise _nothing_in_common(rows, names)
    likeness = {row.label: comparability(other.side, row.side) for row, other in _pairs(rows, references)}
    unlike, drift = (between_runs(_pairs(rows, references), likeness, kind) for kind in (Kind.IDENTITY, Kind.DRIFT))
    if unlike and not cross_machine:
        raise _unlike(unlike)
    wanted = shown([row.case for row in rows])
    first = runs[0].record
    told = Comparison(
        tool_version=__version__,
        question=first.question,
        expect=first.expect,
        runs=[_source(run, name) for run, name in zip(runs, names, strict=True)],
        cross_machine=bool(unlike),
        unlike=unlike,
        drift=drift,
        groups=[_group(key, rows, references, likeness, wanted, evidence=not unlike) for key in _keys(rows)],
        parameters=differing.differing({row.label: _parameters(row) for row in rows}),
        settings=_settings(rows),
        scenarios=_between_runs(runs, names, differing.of_scenario),
        fingerprints=_between_runs(runs, names, differing.of_fingerprint),
        notes=[],
    )
    return told.model_copy(update={"notes": list(notes.of(told, [run.record for run in runs]))})


def _rows(runs: Sequence[Run], names: Sequence[str]) -> Iterator[_Row]:
    """Yields the rows: in the scenario's order, of several runs each case with its likes together."""
    several = len(runs) > 1
    ids = dict.fromkeys(case.id for run in runs for case in run.record.cases)
    for wanted in ids:
        for run, name in zip(runs, names, strict=True):
            for case in run.record.cases:
                if case.id == wanted:
                    yield _Row(run, name, case, f"{name} {case.id}" if several else case.id)


def _pairs(rows: Sequence[_Row], references: Mapping[str, _Row]) -> Iterator[tuple[_Row, _Row]]:
    """Yields each row that is compared with another, and that one."""
    for row in rows:
        other = references.get(row.label)
        if other is not None and other is not row:
            yield row, other


def between_runs(pairs: Iterable[tuple[_Row, _Row]], likeness: Mapping[str, Comparability], kind: Kind) -> list[str]:
    """Returns what of a kind differs between cases of different runs, each once; what is not so of all names its case."""
    found: dict[str, list[str]] = {}
    compared_rows = [row for row, other in pairs if row.run is not other.run]
    for row in compared_rows:
        for difference in likeness[row.label].of(kind):
            found.setdefault(str(difference), []).append(row.label)
    return [
        sentence if len(labels) == len(compared_rows) else f"{sentence} ({', '.join(labels)})"
        for sentence, labels in found.items()
    ]


def _keys(rows: Sequence[_Row]) -> list[tuple[DurabilityClass, bool]]:
    there = {row.group for row in rows}
    return [(kind, ceiling) for kind in DurabilityClass for ceiling in (False, True) if (kind, ceiling) in there]


def _chosen(rows: Sequence[_Row], runs: Sequence[Run], names: Sequence[str], baseline: str | None) -> _Row | str:
    """Returns the row that is the reference, or the name of the run that is; raises UsageError."""
    if baseline is None:
        return names[0]
    by_name = {row.case.id: row for row in reversed(rows)} | {f"{row.name}:{row.case.id}": row for row in rows}
    by_name |= {row.label: row for row in rows} | {f"{row.run.folder.name}:{row.case.id}": row for row in rows}
    if baseline in by_name:
        return by_name[baseline]
    of_run = {str(run.folder): name for run, name in zip(runs, names, strict=True)} if len(runs) > 1 else {}
    of_run |= {run.folder.name: name for run, name in zip(runs, names, strict=True) if of_run}
    of_run |= {name: name for name in names if of_run}
    if baseline.rstrip("/") in of_run:
        return of_run[baseline.rstrip("/")]
    every = dict.fromkeys([*(row.case.id for row in rows), *(names if of_run else [])])
    raise UsageError(
        f"--baseline {baseline!r} matches no case" + (" and no run" if of_run else ""),
        expected=one_of(every),
        remedy=did_you_mean(baseline, every) or "quote it: brackets mean something to the shell",
    )


def _references(rows: Sequence[_Row], names: Sequence[str], chosen: _Row | str) -> dict[str, _Row]:
    """Returns the reference of each row by the row's label; a row without one is left out."""
    found: dict[str, _Row] = {}
    run = chosen if isinstance(chosen, str) else names[0]
    for key in _keys(rows):
        group = [row for row in rows if row.group == key]
        if isinstance(chosen, _Row) and chosen in group:
            found |= {row.label: chosen for row in group}
        elif len(names) > 1:
            there = {row.case.id: row for row in group if row.name == run}
            found |= {row.label: there[row.case.id] for row in group if row.case.id in there}
        else:  # the first that can be one
            first = next((row for row in group if is_valid(row.case)), group[0])
            found |= {row.label: first for row in group}
    return found


def _group(
    key: tuple[DurabilityClass, bool],
    rows: Sequence[_Row],
    references: Mapping[str, _Row],
    likeness: Mapping[str, Comparability],
    wanted: Sequence[Measured],
    *,
    evidence: bool,
) -> Group:
    kind, ceiling = key
    arms = [
        _arm(row, references.get(row.label), _why_not(row, references, likeness), wanted, evidence=evidence)
        for row in rows
        if row.group == key
    ]
    title = kind.value + (IN_LOOP if ceiling else "")
    return Group(title=title, durability_class=kind, ceiling=ceiling, arms=arms)


def _why_not(row: _Row, references: Mapping[str, _Row], likeness: Mapping[str, Comparability]) -> str:
    """Returns why a row is compared with none, "" where it is. Unlike runs are refused, or let through, as a whole."""
    other = references.get(row.label)
    if other is None:
        return NOT_THERE
    unlike = likeness[row.label].of(Kind.IDENTITY) if other.run is row.run and other is not row else ()
    return "; ".join(map(str, unlike))


def _arm(row: _Row, reference: _Row | None, why: str, wanted: Sequence[Measured], *, evidence: bool) -> Arm:
    case, cut_off = row.case, story.is_cut_off(row.run.record)
    sign = story.sign(case, cut_off)
    other = None if why or reference is None else reference.case
    return Arm(
        label=row.label,
        run=row.name,
        case=case.id,
        slug=case.slug,
        durability_class=case.durability_class,
        ceiling=case.ceiling,
        symbol=sign.symbol,
        verdict=sign.word,
        told=story.sentence(case, cut_off),
        trials=len(case.trials),
        valid=sum(trial.status == "valid" for trial in case.trials),
        reference=reference.label if reference else "",
        loss=_loss(case),
        repeats=figures.repeats(figures.counted(case)),
        guarantees=[
            Claimed(fault=each.fault, verdict=each.verdict, claim=each.claim, evidence=each.evidence)
            for each in story.guarantees(case)
        ],
        figures={each.metric: compared(case, each.metric, other, why, evidence=evidence) for each in wanted},
    )


def _loss(case: CaseRecord) -> LossTold:
    proving = figures.proving(case.trials)
    lost = figures.lost(proving)
    return LossTold(
        lost=None if lost is None else lost.count,
        or_more=lost is not None and lost.or_more,
        of=figures.confirmed(proving),
        trials=len(proving),
        bound=notes.bound(case),
    )


def _source(run: Run, name: str) -> Source:
    record = run.record
    return Source(
        name=name,
        folder=str(run.folder),
        run_id=record.run_id,
        status=record.status,
        started_wall_ns=record.started_wall_ns,
        tool_version=record.tool_version,
        scenario=record.scenario,
        deployment=record.deployment,
        command=record.command,
        lag=story.lag(record),
    )


def _parameters(row: _Row) -> dict[str, str]:
    """Returns what tells a case from others: of its setup, its site, its workers, its load and its server."""
    case = row.case
    site = {"setup": case.setup, "network": case.network} | ({"load runs in": case.client} if case.client else {})
    loop = {"load": "closed loop (ceiling)" if case.ceiling else "as the scenario says"}
    image = {"image": case.image.digest} if case.image else {}
    told = {**site, **loop, **case.parameters, **_varied(row), "durability class": case.durability_class.value}
    return {**told, "server": case.server, **image}


def _varied(row: _Row) -> dict[str, str]:
    """Returns what of the workers was written as a list, and so differs between cases."""
    for each in row.run.record.scenario_expanded.get("cases", ()):
        if each.get("id") == row.case.id:
            return {str(name): str(value) for name, value in each.get("workers", {}).items()}
    return {}


def _settings(rows: Sequence[_Row]) -> list[Setting]:
    """Returns what the brokers were asked for and said of themselves in their first trial, of each kind of broker what differs."""
    found: list[Setting] = []
    for broker in dict.fromkeys(row.case.broker for row in rows):
        first = {row.label: next(iter(row.settings), None) for row in rows if row.case.broker == broker}
        told = {label: differing.of_settings(read) for label, read in first.items() if read is not None}
        found += differing.differing(told) if len(told) > 1 else []
    return found


def _between_runs(
    runs: Sequence[Run], names: Sequence[str], fields: Callable[[RunRecord], Mapping[str, str]]
) -> list[Setting]:
    return differing.differing({name: fields(run.record) for run, name in zip(runs, names, strict=True)})


def _refuse_twice(runs: Sequence[Run]) -> None:
    seen: dict[str, Run] = {}
    for run in runs:
        other = seen.setdefault(run.record.run_id, run)
        if other is not run:
            where = f": {other.folder} and {run.folder}" if other.folder != run.folder else f": {run.folder}"
            raise UsageError(
                f"the same run is named twice{where} (run {run.record.run_id})",
                expected="different runs",
                remedy="run the scenario again and name both, or name it once to compare its cases",
            )


def _alone(runs: Sequence[Run]) -> UsageError:
    cases = [case for run in runs for case in run.record.cases]
    return UsageError(
        f"{runs[0].folder} has {'one case only' if cases else 'no case'}: there is nothing to compare it with",
        expected="a run of several cases, or several runs",
        remedy="name a second run: brokerbench compare RUN RUN",
    )


def _nothing_in_common(rows: Sequence[_Row], names: Sequence[str]) -> NotComparableError:
    cases = {name: ", ".join(row.case.id for row in rows if row.name == name) or "no case" for name in names}
    return NotComparableError(
        "the runs have no case in common: " + "; ".join(f"{name} has {ids}" for name, ids in cases.items()),
        expected="the same case in the first run and in another",
        remedy="run the same cases, or compare within one run: brokerbench compare RUN --baseline CASE",
    )


def _unlike(what: Sequence[str]) -> NotComparableError:
    return NotComparableError(
        "the runs cannot be compared, for they differ in what must be the same:\n    " + "\n    ".join(what),
        expected="the same machine, storage, scenario and settings, and each of them known",
        remedy="run both on one machine with this version, best as pairs (brokerbench ab);"
        " --cross-machine prints the ratios as information, without intervals",
    )
