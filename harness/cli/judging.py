"""``brokerbench gate``: a stored run, or a folder of pairs, is judged by rules; nothing is run.

Neighbours: ``gating`` has the outputs, ``harness.gate`` judges, ``keeping`` makes the baselines that a run may be held against.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.gating import EXIT_CODES, Outputs, Policy, output_options, write_outputs
from harness.cli.pairing import share_of_cpus
from harness.errors import BrokenRunFolderError, UsageError, one_line
from harness.store import RECORD, RunFolder

if TYPE_CHECKING:
    from harness.analysis.comparable import Comparability
    from harness.analysis.signed_rank import Look
    from harness.gate.baseline import Baseline
    from harness.gate.evidence import Evidence, Judged
    from harness.gate.outcome import Outcome, Told
    from harness.gate.rules import Rule
    from harness.record import CaseRecord, RunRecord

OTHERS_SHARE = 0.25
OTHERS = "25%"
OTHERS_HELP = "A trial during which others used more of this machine's CPUs says nothing of how much worse RUN is."


@click.command(epilog=EXIT_CODES)
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--rules", "rules_file", required=True, metavar="FILE", type=click.Path(path_type=Path), help="What is asked: TOML."
)
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="What RUN is held against: files, or a folder of files, that `baseline update` wrote.",
)
@click.option(
    "--cross-machine",
    is_flag=True,
    help="Tell ratios of unlike environments too: information, no evidence; contracts are judged all the same.",
)
@click.option("--others", metavar="SHARE", default=OTHERS, show_default=True, help=OTHERS_HELP)
@output_options
def gate(
    *,
    run: Path,
    rules_file: Path,
    baselines: tuple[Path, ...],
    cross_machine: bool,
    others: str,
    outputs: Outputs,
) -> int:
    """Judge RUN, a run's folder or a folder of pairs that `ab` made, by rules: what it may lose, and by how much it may be worse.

    Rules on loss, guarantees and bounds stand on the run alone. Relative rules need pairs, or a baseline of the same environment.
    """
    outputs.require_places([rules_file, *_files(baselines)])
    outcome = gated(
        run,
        rules_file,
        baselines,
        cross_machine=cross_machine,
        inconclusive=outputs.inconclusive,
        others_share=share_of_cpus(others),
    )
    return write_outputs(outcome, outputs)


def _files(baselines: Sequence[Path]) -> Iterator[Path]:
    """Yields the files that are read where baselines are files or folders of files."""
    for path in baselines:
        yield from path.glob("*.json") if path.is_dir() else [path]


def gated(
    run: Path,
    rules_file: Path,
    baselines: Sequence[Path] = (),
    *,
    cross_machine: bool = False,
    inconclusive: Policy = "fail",
    others_share: float = OTHERS_SHARE,
) -> Outcome:
    """Returns the verdicts on a stored run or folder of pairs.

    Args:
        run: folder, or its ``run.json`` or ``ab.json``. rules_file: TOML. baselines: files, or folders of files.
        cross_machine: ratios of environments that are not comparable are told as information.
        inconclusive: ``warn``: ends with 0 where nothing is worse than INCONCLUSIVE.
        others_share: a trial of a run during which others used more of the machine's CPUs enters no ratio.

    Raises:
        UsageError: a file is missing or broken, a relative rule has nothing to compare with, or cannot pass at the noise of this machine.
    """
    from harness.gate.read import read_rules  # noqa: PLC0415 - analysis takes 0.5 s to import; `list` needs none of it
    from harness.pairs_folder import is_pairs  # noqa: PLC0415 - as above

    rules = read_rules(rules_file)
    pairs = is_pairs(run)
    _require_reference(rules, run, baselines, pairs=pairs)
    if pairs:
        return _of_pairs(run, rules, cross_machine=cross_machine, inconclusive=inconclusive)
    return _of_run(
        run, rules, baselines, cross_machine=cross_machine, inconclusive=inconclusive, others_share=others_share
    )


def _require_reference(rules: Sequence[Rule], run: Path, baselines: Sequence[Path], *, pairs: bool) -> None:
    """Refuses relative rules with nothing to compare with, and a baseline beside pairs, which have their own reference.

    Raises:
        UsageError: as said.
    """
    from harness.gate.rules import RelativeRule  # noqa: PLC0415 - as above

    if pairs and baselines:
        raise UsageError(
            f"--baseline {baselines[0]}: {run} is a folder of pairs, in which B is held against A",
            expected="a run's folder with --baseline, or a folder of pairs without",
            remedy="leave --baseline out",
        )
    relative = [rule.id for rule in rules if isinstance(rule, RelativeRule)]
    if relative and not baselines and not pairs:
        raise UsageError(
            f"{'rule' if len(relative) == 1 else 'rules'} {', '.join(relative)}: relative, and there is nothing to compare {run} with",
            expected="a folder of pairs (brokerbench ab), or a baseline of the same environment",
            remedy="--baseline FILE (made by: brokerbench baseline update RUN), or without these rules",
        )


# A run, alone or against baselines.


def _of_run(
    path: Path,
    rules: Sequence[Rule],
    named: Sequence[Path],
    *,
    cross_machine: bool,
    inconclusive: Policy,
    others_share: float,
) -> Outcome:
    from harness import baselines as kept  # noqa: PLC0415 - as above
    from harness.gate.answer import answered, warned  # noqa: PLC0415 - as above

    files = {file.resolve(): (file, each) for path in named for file, each in kept.read(path)}
    baselines = _matching(list(files.values()))
    folder = _opened(path)
    record = _whole(folder)
    noise, warnings = _sight(rules, [(record, case) for case in record.cases])
    evidences: list[Evidence] = []
    used: dict[Path, Baseline] = {}
    for case in record.cases:
        evidence, chosen = _of_case(folder, record, case, baselines.get((record.scenario, case.id), []))
        b = [_with_disturbance(folder, each, others_share) for each in evidence.b] if baselines else evidence.b
        evidences.append(replace(evidence, b=tuple(b), sigma_d=noise.get(case.id, {})))
        if chosen is not None:
            used[chosen[0]] = chosen[1]
    moved = [f"{each.case}: {told}" for each in evidences for told in warned(each.b)]
    return answered(
        rules,
        evidences,
        kind="baseline" if baselines else "run",
        scenario=record.scenario,
        inconclusive=inconclusive,
        cross_machine=cross_machine,
        warnings=[*_unused(record, baselines), *warnings, *moved],
        question=record.question,
        sides=[*_told_baselines(used), _told_run(folder, record)],
    )


def _with_disturbance(folder: RunFolder, judged: Judged, others_share: float) -> Judged:
    from harness.experiment.disturbance import disturbance  # noqa: PLC0415 - as above

    return replace(judged, disturbed=disturbance(folder, judged.record, others_share))


def _sight(
    rules: Sequence[Rule], cases: Sequence[tuple[RunRecord, CaseRecord]], looks: Sequence[Look] = ()
) -> tuple[dict[str, dict[str, float]], tuple[str, ...]]:
    """Returns of each case the noise of this machine by metric, and what a calibration says of what relative rules can see.

    Args:
        cases: as they were run. looks: of pairs.

    Raises:
        UsageError: a rule could hardly pass at that noise.
    """
    from harness import calibrations  # noqa: PLC0415 - as above
    from harness.gate.noise import question  # noqa: PLC0415 - as above
    from harness.gate.sight import Known, outlook  # noqa: PLC0415 - as above

    known, problems = [], []
    for run, case in cases:
        stored, problem = calibrations.read(run.fingerprint)
        found = stored.of(question(run.scenario_expanded, case.id, ceiling=case.ceiling), case.id)
        known.append(Known(ids=(case.id,), calibration=found))
        problems += [problem] if problem else []
    noise = {each.ids[0]: each.calibration.sigma_d for each in known if each.calibration}
    return noise, (*problems, *outlook(rules, known, looks).warnings)


def _opened(path: Path) -> RunFolder:
    try:
        return RunFolder.open(path)
    except BrokenRunFolderError as error:
        if path.is_dir() or path.exists():
            raise BrokenRunFolderError(
                error.problem,
                expected=f"a folder with {RECORD} (brokerbench run) or ab.json (brokerbench ab) in it",
                remedy=error.remedy,
            ) from error
        raise


def _whole(folder: RunFolder) -> RunRecord:
    """Returns the record of a run; raises BrokenRunFolderError where parts of it of which the schema says nothing have another shape."""
    from harness.analysis.comparable import Side, scenario_hash  # noqa: PLC0415 - as above
    from harness.gate.noise import environment_class  # noqa: PLC0415 - as above

    record = folder.load_as_evidence()
    try:
        environment_class(record.fingerprint)
        for case in record.cases:
            scenario_hash(Side(run=record, case=case, settings=()))
    except (AttributeError, TypeError, ValueError) as error:
        raise BrokenRunFolderError(
            f"{folder.path / RECORD} does not say what made it, or what was asked: {one_line(error)}",
            expected="a fingerprint and an expanded scenario as `brokerbench run` writes them",
            remedy="the record was edited or cut: restore it from a copy, or run the scenario again",
        ) from error
    return record


def _of_case(
    folder: RunFolder, record: RunRecord, case: CaseRecord, candidates: Sequence[tuple[Path, Baseline]]
) -> tuple[Evidence, tuple[Path, Baseline] | None]:
    """Returns what there is to judge a case by, and the baseline that it is held against."""
    from harness.analysis.comparable import OF_A_LATER_RUN, Side, comparability  # noqa: PLC0415 - as above
    from harness.gate.evidence import Evidence, Judged  # noqa: PLC0415 - as above

    side = Side(run=record, case=case, settings=list(_settings(folder, case)))
    compared = [(each, comparability(each[1].side, side, declared=OF_A_LATER_RUN)) for each in candidates]
    nearest, likeness = min(compared, key=lambda pair: _unlikeness(pair[1]), default=(None, None))
    no_a = f"there is no baseline of this case of {record.scenario}: brokerbench baseline update makes one of a run"
    if nearest is not None and nearest[1].is_of(case):
        no_a = f"{nearest[0]} was made of this very run, so that it proves nothing: run the scenario again"
        nearest = likeness = None
    evidence = Evidence(
        case=case.id,
        ids=(case.id,),
        a=nearest[1].judged(str(nearest[0])) if nearest else (),
        b=tuple(Judged(record=trial, place=trial.folder) for trial in case.trials),
        no_a=no_a,
        comparability=likeness,
        unsound=_unsound(record, case),
    )
    return evidence, nearest


def _unlikeness(found: Comparability) -> tuple[int, int]:
    """Returns how much stands against a comparison, for the choice of the nearest baseline."""
    from harness.analysis.comparable import Kind  # noqa: PLC0415 - as above

    return len(found.of(Kind.IDENTITY)), len(found.of(Kind.DRIFT))


def _settings(folder: RunFolder, case: CaseRecord) -> Iterator[dict[str, Any] | None]:
    """Yields ``settings.json`` of each trial that was run, None where it cannot be read."""
    for trial in case.trials:
        try:
            yield folder.trial_at(trial.folder).read_settings()
        except BrokenRunFolderError:
            yield None


def _unsound(record: RunRecord, case: CaseRecord) -> str:
    """Returns why a run proves nothing of a case, "" where its trials decide."""
    from harness.gate.evidence import contradiction  # noqa: PLC0415 - as above

    match record.status:
        case "interrupted":
            return "the run was interrupted"
        case "failed":
            return "the run failed before its end"
        case "running" | "loaded":
            return "the run has not come to its end: it runs still, or was killed"
    if case.unavailable:
        return f"it was not run: {one_line(Exception(case.unavailable))}"
    found = ((trial.number, contradiction(record, trial)) for trial in case.trials)
    told = next((f"trial {number}: {why}" for number, why in found if why), "")
    return told if case.trials else "it has no trial"


def _matching(read: Sequence[tuple[Path, Baseline]]) -> dict[tuple[str, str], list[tuple[Path, Baseline]]]:
    """Returns baselines by scenario and case.

    Raises:
        UsageError: two are of the same scenario, case and environment.
    """
    found: dict[tuple[str, str], list[tuple[Path, Baseline]]] = {}
    for path, baseline in read:
        others = found.setdefault((baseline.scenario, baseline.case_id), [])
        for other, same in others:
            if same.environment == baseline.environment:
                raise UsageError(
                    f"{other} and {path} are both baselines of {baseline.case_id} of {baseline.scenario} on the same machine",
                    expected="one baseline per scenario, case and environment",
                    remedy="name one of them",
                )
        others.append((path, baseline))
    return found


def _unused(record: RunRecord, baselines: dict[tuple[str, str], list[tuple[Path, Baseline]]]) -> Iterator[str]:
    """Yields what was named and is of no case of the run."""
    mine = {(record.scenario, case.id) for case in record.cases}
    for (scenario, case), those in baselines.items():
        if (scenario, case) not in mine:
            yield f"{those[0][0]} is of {case} of the scenario {scenario}, which is no case of this run: not used"


def _told_baselines(used: dict[Path, Baseline]) -> list[Told]:
    from harness.gate.outcome import Told  # noqa: PLC0415 - as above

    if not used:
        return []
    versions = dict.fromkeys(f"brokerbench {each.tool_version}" for each in used.values())
    servers = dict.fromkeys(str(each.case["server"]) for each in used.values())
    return [Told(name="baseline", what=", ".join(map(str, used)), versions=[*versions, *servers])]


def _told_run(folder: RunFolder, record: RunRecord) -> Told:
    from harness.gate.outcome import Told  # noqa: PLC0415 - as above

    servers = dict.fromkeys(case.server for case in record.cases if case.server)
    return Told(name="run", what=str(folder.path), versions=[f"brokerbench {record.tool_version}", *servers])


# Pairs.


def _of_pairs(path: Path, rules: Sequence[Rule], *, cross_machine: bool, inconclusive: Policy) -> Outcome:
    from harness.gate.jury import Jury  # noqa: PLC0415 - as above
    from harness.pairs_folder import PairsFolder  # noqa: PLC0415 - as above

    folder = PairsFolder.open(path)
    record = folder.load()
    trials = folder.trials(record)
    ran = [trials[case.pairs[0].b].run for case in record.cases if case.pairs]
    noise, warnings = _sight(rules, [(run, run.cases[0]) for run in ran], record.looks)
    jury = Jury(
        rules=tuple(rules),
        inconclusive=inconclusive,
        cross_machine=cross_machine,
        sigma_d=noise,
        warnings=warnings,
    )
    return jury.outcome(record, trials)
