"""Cases side by side: those of one run, or the same cases of several; differences within one durability class, and nowhere else. Pure.

A confirm is worth something else in each class, so cases of two classes have no ratio and no order: their values stand beside each
other under their class. Neighbours: ``differences`` compares one figure, ``differing`` finds what the configurations differ in,
``compared`` is the result, which the terminal, Markdown and the page lay out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from harness import __version__
from harness.analysis.comparable import Comparability, Kind, comparability
from harness.errors import NotComparableError
from harness.record import CaseRecord
from reports import differing, figures, notes, story
from reports.compared import Arm, Claimed, Comparison, Group, LossTold, Setting, Source
from reports.differences import Measured, compared, shown
from reports.rows import Key, Row, Run, keys, likes, references, rows_of

NOT_THERE = "the reference run has no such case in this durability class"
IN_LOOP = ", in closed loop"

References = Mapping[str, Row]
Likeness = Mapping[str, Comparability]
"""Label of a row → how like it is to its reference, or where it has none to the same case of another run."""


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
    rows = rows_of(runs)
    compared_with = references(rows, baseline)
    beside = likes(rows) | compared_with
    likeness = {row.label: comparability(beside[row.label].side, row.side) for row in rows if row.label in beside}
    unlike, drift = (_between_runs(rows, beside, likeness, kind) for kind in (Kind.IDENTITY, Kind.DRIFT))
    if unlike and not cross_machine:
        raise _unlike(unlike)
    wanted = shown([row.case for row in rows])
    first = runs[0].record
    named = {row.run_name: row.run for run in runs for row in rows if row.run is run}
    told = Comparison(
        tool_version=__version__,
        question=first.question,
        expect=first.expect,
        runs=[_source(run, name) for name, run in named.items()],
        cross_machine=bool(unlike),
        unlike=unlike,
        drift=drift,
        groups=[_group(key, rows, compared_with, likeness, wanted, evidence=not unlike) for key in keys(rows)],
        parameters=_parameters(rows),
        settings=_settings(rows),
        scenarios=differing.differing({name: differing.of_scenario(run.record) for name, run in named.items()}),
        fingerprints=differing.differing({name: differing.of_fingerprint(run.record) for name, run in named.items()}),
        notes=[],
    )
    return told.model_copy(update={"notes": list(notes.of(told, [run.record for run in runs]))})


def _between_runs(rows: Sequence[Row], beside: References, likeness: Likeness, kind: Kind) -> list[str]:
    """Returns what of a kind differs between cases of different runs, each once; what is not so of all names its cases."""
    found: dict[str, list[str]] = {}
    across = [row for row in rows if row.label in beside and beside[row.label].run is not row.run]
    for row in across:
        for difference in likeness[row.label].of(kind):
            found.setdefault(str(difference), []).append(row.label)
    return [
        sentence if len(labels) == len(across) else f"{sentence} ({', '.join(labels)})"
        for sentence, labels in found.items()
    ]


def _group(
    key: Key,
    rows: Sequence[Row],
    compared_with: References,
    likeness: Likeness,
    wanted: Sequence[Measured],
    *,
    evidence: bool,
) -> Group:
    kind, ceiling = key
    arms = [
        _arm(row, compared_with.get(row.label), _why_not(row, compared_with, likeness), wanted, evidence=evidence)
        for row in rows
        if row.key == key
    ]
    title = kind.value + (IN_LOOP if ceiling else "")
    return Group(title=title, durability_class=kind, ceiling=ceiling, arms=arms)


def _why_not(row: Row, compared_with: References, likeness: Likeness) -> str:
    """Returns why a row is compared with none, "" where it is. Unlike runs are refused, or let through, as a whole."""
    other = compared_with.get(row.label)
    if other is None:
        return NOT_THERE
    unlike = likeness[row.label].of(Kind.IDENTITY) if other.run is row.run and other is not row else ()
    return "; ".join(map(str, unlike))


def _arm(row: Row, reference: Row | None, why: str, wanted: Sequence[Measured], *, evidence: bool) -> Arm:
    case, cut_off = row.case, story.is_cut_off(row.run.record)
    sign = story.sign(case, cut_off)
    other = None if why or reference is None else reference.case
    return Arm(
        label=row.label,
        run=row.run_name,
        case=case.id,
        slug=case.slug,
        durability_class=case.durability_class,
        ceiling=case.ceiling,
        symbol=sign.symbol,
        verdict=sign.word,
        told=story.sentence(case, cut_off),
        trials=len(case.trials),
        planned=_planned(row),
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


def _planned(row: Row) -> int:
    """Returns how many trials the scenario asks for; of a record that does not say, as many as there are."""
    asked, there = row.run.record.scenario_expanded.get("trials"), len(row.case.trials)
    return max(asked, there) if isinstance(asked, int) and not row.case.unavailable else there


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


def _parameters(rows: Sequence[Row]) -> list[Setting]:
    """Returns what the cases differ in; of several runs, what the same case differs in from run to run."""
    found = [{row.label: _of_case(row) for row in alike} for alike in _alike(rows, lambda row: "")]
    return differing.merged(differing.differing(told, absent=False) for told in found)


def _settings(rows: Sequence[Row]) -> list[Setting]:
    """Returns likewise what the brokers were asked for and said of themselves in their first trial, of each kind of broker."""
    found = []
    for alike in _alike(rows, lambda row: row.case.broker):
        first = {row.label: next(iter(row.settings), None) for row in alike}
        found.append({label: differing.of_settings(read) for label, read in first.items() if read is not None})
    return differing.merged(map(differing.differing, found))


def _alike(rows: Sequence[Row], kind: Callable[[Row], str]) -> list[list[Row]]:
    """Returns the rows that are set against each other: those of a kind, of several runs those of one case."""
    several = len({row.run_name for row in rows}) > 1
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.case.id if several else kind(row), []).append(row)
    return list(groups.values())


def _of_case(row: Row) -> dict[str, str]:
    """Returns what tells a case from others: of its setup, its site, its workers, its load and its server."""
    case = row.case
    site = {"setup": case.setup, "network": case.network} | ({"load runs in": case.client} if case.client else {})
    loop = {"load": "closed loop (ceiling)" if case.ceiling else "as the scenario says"}
    told = {**site, **loop, **case.parameters, **_varied(row), "durability class": case.durability_class.value}
    return told | {"server": case.server} | ({"image": case.image.digest} if case.image else {})


def _varied(row: Row) -> dict[str, str]:
    """Returns what of the workers was written as a list, and so differs between cases."""
    for each in row.run.record.scenario_expanded.get("cases", ()):
        if each.get("id") == row.case.id:
            return {str(name): str(value) for name, value in each.get("workers", {}).items()}
    return {}


def _unlike(what: Sequence[str]) -> NotComparableError:
    return NotComparableError(
        "the runs cannot be compared, for they differ in what must be the same:\n    " + "\n    ".join(what),
        expected="the same machine, storage, scenario and settings, and each of them known",
        remedy="run both on one machine with this version, one after the other;"
        " --cross-machine prints the ratios as information, without intervals",
    )
