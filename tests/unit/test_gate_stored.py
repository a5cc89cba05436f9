"""``gate`` on stored runs and baselines: every exit code, from hand-made records."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness import baselines, calibrations
from harness.cli import keeping
from harness.cli.commands import cli
from harness.cli.judging import gated
from harness.errors import BrokerbenchError, ExitCode, UsageError
from harness.gate.baseline import baseline_schema
from harness.gate.noise import Calibration, question, spread
from harness.gate.outcome import Outcome, Verdict, outcome_schema
from harness.record import RunRecord
from harness.store import RunFolder
from tests.unit.gate_folders import (
    CASE,
    NO_LOSS,
    P50,
    SCENARIO,
    SLOWER,
    baseline,
    case,
    kept,
    rules,
    run,
    stored,
    trial,
)
from tests.unit.test_comparable import FINGERPRINT, changed
from tests.unit.test_pairs import Scripted, compared, only_folder, steady, write_load

BASE = [0.00100, 0.00101, 0.00102, 0.00099, 0.00098]
SAME = [0.001005, 0.001015, 0.000985, 0.000995, 0.001001]


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKERBENCH_STATE", str(tmp_path / "state"))


def judged(tmp_path: Path, record: RunRecord, *told: str, base: RunRecord | None = None, **how: Any) -> Outcome:
    """Returns the outcome of rules on a run, against a baseline where one is given."""
    against = [kept(tmp_path / "base.json", base)] if base else []
    return gated(stored(tmp_path / "run", record), rules(tmp_path / "rules.toml", *told), against, **how)


def test_as_good_as_the_baseline_passes(tmp_path: Path) -> None:
    found = judged(tmp_path, run(SAME), SLOWER, NO_LOSS, base=run(BASE, run_id="2" * 16))
    assert (found.exit_code, [row.verdict for row in found.rows]) == (0, [Verdict.PASS, Verdict.PASS])
    assert found.kind == "baseline"
    assert [side.name for side in found.sides] == ["baseline", "run"]
    assert any("weaker than ab" in note for note in found.rows[0].notes)
    jsonschema.validate(json.loads(found.model_dump_json()), outcome_schema())


def test_a_regression_against_the_baseline_ends_with_10(tmp_path: Path) -> None:
    found = judged(tmp_path, run([2 * each for each in SAME]), SLOWER, base=run(BASE))
    assert (found.exit_code, found.rows[0].verdict) == (10, Verdict.FAIL)
    assert found.rows[0].estimate == pytest.approx(2, rel=0.02)
    assert found.rows[0].lower is not None
    assert found.rows[0].lower > 1.1
    assert [len(found.rows[0].a), len(found.rows[0].b)] == [5, 5]


@pytest.mark.parametrize(("policy", "code"), [("fail", 11), ("warn", 0)])
def test_what_trials_cannot_tell_is_inconclusive(tmp_path: Path, policy: Any, code: int) -> None:
    scattered = [0.0008, 0.0013, 0.0010, 0.0012, 0.0009]
    found = judged(tmp_path, run(scattered), SLOWER, base=run(BASE), inconclusive=policy)
    assert (found.exit_code, found.rows[0].verdict) == (code, Verdict.INCONCLUSIVE)


def test_another_machine_is_not_comparable_and_contracts_are_judged_all_the_same(tmp_path: Path) -> None:
    there = changed("identity", "cpu_model", value="Intel Xeon")
    found = judged(tmp_path, run(SAME), SLOWER, NO_LOSS, base=run(BASE, fingerprint=there))
    assert (found.exit_code, [row.verdict for row in found.rows]) == (12, [Verdict.NOT_COMPARABLE, Verdict.PASS])
    assert "CPU model: Intel Xeon / AMD EPYC 7B13" in found.rows[0].words


def test_across_machines_ratios_are_information_and_contracts_decide(tmp_path: Path) -> None:
    there = changed("identity", "cpu_model", value="Intel Xeon")
    slow, base = run([2 * each for each in SAME]), run(BASE, fingerprint=there)
    found = judged(tmp_path, slow, SLOWER, NO_LOSS, base=base, cross_machine=True)
    assert (found.exit_code, [row.rule for row in found.rows]) == (0, ["no-loss"])
    [told] = found.information
    assert (told.rule, told.verdict) == ("p50", Verdict.NOT_COMPARABLE)
    assert told.estimate == pytest.approx(2, rel=0.02)
    assert (told.lower, told.upper) == (None, None)
    lossy = run(SAME, lost=3.0)
    again = gated(
        stored(tmp_path / "lossy", lossy), tmp_path / "rules.toml", [tmp_path / "base.json"], cross_machine=True
    )
    assert again.exit_code == ExitCode.BROKEN


def test_ratios_across_machines_alone_decide_nothing(tmp_path: Path) -> None:
    there = changed("identity", "cpu_model", value="Intel Xeon")
    found = judged(tmp_path, run(SAME), SLOWER, base=run(BASE, fingerprint=there), cross_machine=True)
    assert (found.exit_code, len(found.rows), len(found.information)) == (12, 1, 1)


def test_drift_makes_a_relative_verdict_inconclusive(tmp_path: Path) -> None:
    older = changed("drift", "kernel", value="6.1.0")
    found = judged(tmp_path, run(SAME), SLOWER, base=run(BASE, fingerprint=older))
    assert (found.exit_code, found.flags) == (11, ["kernel: 6.1.0 / 6.8.0"])


def test_a_newer_brokerbench_or_server_is_what_a_baseline_is_there_to_judge(tmp_path: Path) -> None:
    older = changed("subject", "brokerbench", value="0.0.9")
    trials = [trial(number, each) for number, each in enumerate(BASE, 1)]
    base = run(BASE, fingerprint=older, cases=[case(trials, server="null broker 0")])
    assert judged(tmp_path, run(SAME), SLOWER, base=base).exit_code == 0


def test_another_question_under_the_same_name_is_not_comparable(tmp_path: Path) -> None:
    asked = deepcopy(SCENARIO)
    asked["load"]["payload_bytes"] = 1024
    found = judged(tmp_path, run(SAME), SLOWER, base=run(BASE, scenario_expanded=asked))
    assert found.exit_code == 12
    assert "scenario: load: payload_bytes: 1024 / 256" in found.rows[0].words


def test_loss_ends_with_10(tmp_path: Path) -> None:
    assert judged(tmp_path, run(SAME, lost=2.0), NO_LOSS).exit_code == 10


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (NO_LOSS + '\ncase = "redis-*"', "the pattern 'redis-*' matches no case; there are: null@embedded"),
        ('id = "x"\nmetric = "latency.publish.p50"\nrequire = "<= 1 s"', "has no latency.publish.p50"),
        ('id = "x"\nguarantee = "held"\nfault = "broker kill"', "broker kill"),
        ('id = "x"\nmax_lossy = "5%"', ""),
    ],
)
def test_what_the_record_does_not_show_ends_with_13(tmp_path: Path, rule: str, said: str) -> None:
    found = judged(tmp_path, run(SAME), rule)
    assert (found.exit_code, found.rows[0].verdict) == (13, Verdict.INVALID)
    assert said in found.rows[0].words


@pytest.mark.parametrize("status", ["interrupted", "failed", "running", "loaded"])
def test_a_run_that_did_not_end_never_passes(tmp_path: Path, status: str) -> None:
    found = judged(tmp_path, run(SAME, status=status), SLOWER, NO_LOSS, base=run(BASE))
    assert (found.exit_code, {row.verdict for row in found.rows}) == (13, {Verdict.INVALID})


def test_an_invalid_trial_never_passes_and_its_proven_loss_is_one(tmp_path: Path) -> None:
    told: dict[str, Any] = {"status": "invalid", "reasons": ["generator saturated"]}
    trials = [trial(1, 0.001), trial(2, 0.001, **told)]
    found = judged(tmp_path, run(SAME, cases=[case(trials)]), NO_LOSS)
    assert found.exit_code == 13
    lossy = [trial(1, 0.001), trial(2, 0.001, 4.0, **told)]
    again = gated(stored(tmp_path / "lossy", run(SAME, cases=[case(lossy)])), tmp_path / "rules.toml")
    assert again.exit_code == 10


def test_a_case_without_a_trial_never_passes(tmp_path: Path) -> None:
    found = judged(tmp_path, run(SAME, cases=[case([], unavailable="no such image")]), NO_LOSS)
    assert found.exit_code == 13
    assert "it was not run: no such image" in found.rows[0].words


def test_a_case_without_a_baseline_is_invalid_and_says_how_to_make_one(tmp_path: Path) -> None:
    base = run(BASE, scenario="another")
    found = judged(tmp_path, run(SAME), SLOWER, base=base)
    assert found.exit_code == 13
    assert "brokerbench baseline update" in found.rows[0].words
    assert found.warnings[0].endswith(
        "base.json is of null@embedded of the scenario another, which is no case of this run: not used"
    )


def test_a_baseline_of_the_very_run_proves_nothing(tmp_path: Path) -> None:
    found = judged(tmp_path, run(SAME), SLOWER, base=run(SAME))
    assert found.exit_code == 13
    assert "was made of this very run" in found.rows[0].words


def test_of_several_environments_that_of_the_run_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "baselines"
    folder.mkdir()
    for cpu in ("Intel Xeon", "AMD EPYC 7B13", "Apple M4"):
        record = run(BASE, fingerprint=changed("identity", "cpu_model", value=cpu))
        kept(folder / baseline(record).file_name, record)
    found = gated(stored(tmp_path / "run", run(SAME)), rules(tmp_path / "rules.toml", SLOWER), [folder])
    assert (found.exit_code, len(list(folder.iterdir()))) == (0, 3)


def disturbed(tmp_path: Path, trials: int, others: float, **how: Any) -> Outcome:
    """Returns the outcome of a run during so many trials of which others used so many of two cores."""
    folder = stored(tmp_path / "run", run(SAME))
    for number in range(1, trials + 1):
        write_load(RunFolder(folder), f"cases/null/trial-{number}", others=others)
    against = [kept(tmp_path / "base.json", run(BASE))]
    return gated(folder, rules(tmp_path / "rules.toml", SLOWER, NO_LOSS), against, **how)


def test_a_busy_machine_is_not_taken_for_a_regression(tmp_path: Path) -> None:
    found = disturbed(tmp_path, 3, 1.5)
    assert (found.exit_code, [row.verdict for row in found.rows]) == (13, [Verdict.INVALID, Verdict.PASS])
    assert found.rows[0].words == (
        "3 of 5 trials were disturbed from outside: other programs used 1.5 of 2 cores while under load"
    )
    assert len(found.rows[0].b) == 5


def test_a_few_disturbed_trials_enter_no_ratio(tmp_path: Path) -> None:
    found = disturbed(tmp_path, 2, 1.5)
    assert (found.exit_code, len(found.rows[0].b), len(found.rows[1].b)) == (0, 3, 5)
    assert "left out, as others took the machine: cases/null/trial-2" in found.rows[0].notes


def test_how_much_others_may_use_is_the_users_to_say(tmp_path: Path) -> None:
    assert len(disturbed(tmp_path / "1", 5, 0.4).rows[0].b) == 5
    assert len(disturbed(tmp_path / "2", 5, 1.5, others_share=0.8).rows[0].b) == 5
    assert disturbed(tmp_path / "3", 5, 0.4, others_share=0.1).exit_code == 13


# What is known before anything is judged.


def refused(tmp_path: Path, *words: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        cli.main([*words], standalone_mode=False)
    assert caught.value.exit_code == ExitCode.USAGE
    return caught.value


def test_a_relative_rule_with_nothing_to_compare_with_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^rule p50: relative, and there is nothing to compare .*\n.*\n +remedy: --baseline"
    ):
        judged(tmp_path, run(SAME), SLOWER, NO_LOSS)


def test_a_typing_error_in_a_metric_is_refused_with_the_nearest_names(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean") as caught:
        judged(tmp_path, run(SAME), NO_LOSS.replace("loss.confirmed", "loss.confrimed"))
    assert "loss.confirmed" in str(caught.value)


def test_two_baselines_of_the_same_are_refused(tmp_path: Path) -> None:
    one, two = (kept(tmp_path / name, run(BASE)) for name in ("one.json", "two.json"))
    error = refused(
        tmp_path, "gate", str(stored(tmp_path / "run", run(SAME))), "--rules", str(rules(tmp_path / "r.toml", SLOWER)),
        "--baseline", str(one), "--baseline", str(two),
    )  # fmt: skip
    assert "are both baselines of null@embedded" in str(error)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        ("", "it is not whole JSON"),
        ('{"schema_version": 1', "it is not whole JSON"),
        ("[]", "it has the schema version None"),
        ('{"schema_version": "1"}', "it has the schema version '1'"),
        ('{"schema_version": 99, "tool_version": "9.1"}', "has schema version 99, written by brokerbench 9.1"),
        ('{"schema_version": 1}', "is no baseline: tool_version: Field required"),
        ("\xff\xfe", "it is not whole JSON"),
    ],
)
def test_a_broken_missing_or_newer_baseline_is_one_clear_error(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "base.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    folder = stored(tmp_path / "run", run(SAME))
    error = refused(
        tmp_path, "gate", str(folder), "--rules", str(rules(tmp_path / "r.toml", SLOWER)), "--baseline", str(path)
    )
    assert said in error.problem
    assert error.remedy


def test_a_baseline_that_lacks_a_trials_figure_is_refused(tmp_path: Path) -> None:
    value = json.loads(kept(tmp_path / "base.json", run(BASE)).read_text())
    value["metrics"]["steady"][P50].pop()
    (tmp_path / "base.json").write_text(json.dumps(value))
    folder = stored(tmp_path / "run", run(SAME))
    rule = str(rules(tmp_path / "r.toml", SLOWER))
    error = refused(tmp_path, "gate", str(folder), "--rules", rule, "--baseline", str(tmp_path / "base.json"))
    assert "has fewer than the 5 figures that it has trials" in error.problem


def test_a_run_in_the_place_of_a_baseline_says_how_to_make_one(tmp_path: Path) -> None:
    folder = stored(tmp_path / "run", run(SAME))
    rule = str(rules(tmp_path / "r.toml", SLOWER))
    error = refused(tmp_path, "gate", str(folder), "--rules", rule, "--baseline", str(folder))
    assert f"remedy: make one of it: brokerbench baseline update {folder}" in str(error)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("asked", "workers"), [1]),
        (("asked", "agents"), "many"),
        (("case", "durability_class"), "eternal"),
        (("metrics", "steady", P50), [0.1]),
        (("trials",), 0),
    ],
)
def test_a_baseline_with_a_part_of_another_shape_is_refused(tmp_path: Path, place: tuple[str, ...], value: Any) -> None:
    path = kept(tmp_path / "base.json", run(BASE))
    path.write_text(json.dumps(with_other(json.loads(path.read_text()), place, value)))
    folder, rule = stored(tmp_path / "run", run(SAME)), rules(tmp_path / "r.toml", SLOWER)
    refused(tmp_path, "gate", str(folder), "--rules", str(rule), "--baseline", str(path))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("fingerprint", "identity"), "x"),
        (("fingerprint", "drift", "docker"), -1),
        (("scenario_expanded", "cases"), "x"),
        (("scenario_expanded", "workers"), [1]),
    ],
)
def test_a_run_with_a_part_of_another_shape_is_refused(tmp_path: Path, place: tuple[str, ...], value: Any) -> None:
    folder = stored(tmp_path / "run", run(SAME))
    path = folder / "run.json"
    path.write_text(json.dumps(with_other(json.loads(path.read_text()), place, value)))
    rule = rules(tmp_path / "r.toml", SLOWER)
    base = kept(tmp_path / "base.json", run(BASE))
    error = refused(tmp_path, "gate", str(folder), "--rules", str(rule), "--baseline", str(base))
    assert "does not say what made it, or what was asked" in error.problem


def with_other(told: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Returns JSON with one part replaced."""
    inner = told
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    return told


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "run.json").unlink(), "has no run.json"),
        (lambda folder: (folder / "run.json").write_text("{"), "is not whole JSON"),
        (lambda folder: (folder / "run.json").write_text('{"schema_version": 99}'), "schema version 99"),
        (lambda folder: (folder / "ab.json").write_text("{"), "ab.json cannot be read"),
    ],
)
def test_a_broken_or_newer_run_is_one_clear_error(tmp_path: Path, change: Any, said: str) -> None:
    folder = stored(tmp_path / "run", run(SAME))
    change(folder)
    error = refused(tmp_path, "gate", str(folder), "--rules", str(rules(tmp_path / "r.toml", NO_LOSS)))
    assert said in error.problem
    assert error.remedy


def test_a_rule_that_this_machine_is_too_noisy_for_is_refused_with_the_pairs_that_it_needs(tmp_path: Path) -> None:
    a, b = [0.001, 0.002] * 5, [0.002, 0.001] * 5  # σ_d = ln 2: hopeless at 10 %
    found = spread(a, b, ["a"] * 10)
    assert found is not None
    asked = question(SCENARIO, CASE)
    noisy = Calibration(
        scenario="smoke", question=asked, case=CASE, tool_version="1", measured_wall_ns=1, pairs=10, first=["a"] * 10,
        spreads={"": {P50: found}},
    )  # fmt: skip
    calibrations.write(FINGERPRINT, lambda known: known.with_calibration(noisy))
    with pytest.raises(UsageError, match=r"it would need about \d+ pairs"):
        judged(tmp_path, run(SAME), SLOWER, base=run(BASE))


# Baselines as files.


def test_a_baseline_is_the_same_bytes_whatever_a_run_is_called_and_when_it_was_made(tmp_path: Path) -> None:
    one, two = kept(tmp_path / "one", run(BASE)), kept(tmp_path / "two", run(BASE, run_id="f" * 16, started_wall_ns=7))
    assert one.read_bytes() == two.read_bytes()


def test_another_run_changes_nothing_but_figures(tmp_path: Path) -> None:
    one, two = (baseline(run(each)).model_dump(mode="json") for each in (BASE, SAME))
    assert {name for name in one if one[name] != two[name]} == {"metrics"}
    lines = [kept(tmp_path / name, run(each)).read_text().splitlines() for name, each in (("1", BASE), ("2", SAME))]
    differing = [line for line, other in zip(*lines, strict=True) if line != other]
    assert len(differing) == 3
    assert all(re.match(r' +"(latency\.end_to_end\.p50|throughput)": \[', line) for line in differing)


def test_a_baselines_trials_are_those_of_the_run_to_seven_digits(tmp_path: Path) -> None:
    [(_, found)] = baselines.read(kept(tmp_path / "base.json", run([0.00123456789, 1.0])))
    first, second = (each.record for each in found.judged("base.json"))
    assert (first.metrics["steady"][P50], second.metrics["steady"][P50]) == (0.001234568, 1.0)
    assert [each.place for each in found.judged("base.json")] == ["base.json, trial 1", "base.json, trial 2"]
    jsonschema.validate(found.model_dump(mode="json"), baseline_schema())


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (run(SAME, status="interrupted"), "it was interrupted"),
        (run(SAME, status="running"), "it runs still, or was killed"),
        (run(SAME, cases=[case([trial(1, 0.1, status="invalid", reasons=["lag 40 ms"])])]), "trial 1 of null@embedded is invalid: lag 40 ms"),
        (run(SAME, cases=[case([], unavailable="no image")]), "null@embedded was not run: no image"),
        (run(SAME, cases=[]), "it has no case"),
    ],
)  # fmt: skip
def test_no_baseline_is_made_of_a_run_that_proves_nothing(tmp_path: Path, record: RunRecord, said: str) -> None:
    folder = stored(tmp_path / "run", record)
    with pytest.raises(BrokerbenchError, match=said) as caught:
        cli.main(["baseline", "update", str(folder), "-o", str(tmp_path / "kept")], standalone_mode=False)
    assert caught.value.exit_code == ExitCode.INVALID
    assert not (tmp_path / "kept").exists()


def test_no_baseline_is_made_on_a_busy_machine(tmp_path: Path) -> None:
    folder = stored(tmp_path / "run", run(SAME))
    write_load(RunFolder(folder), "cases/null/trial-4", others=1.5)
    with pytest.raises(BrokerbenchError, match=r"1 of 5 trials were disturbed from outside") as caught:
        keeping._require_quiet(RunFolder(folder), 0.25)
    assert caught.value.exit_code == ExitCode.INVALID
    keeping._require_quiet(RunFolder(folder), 0.8)


def test_a_file_in_the_place_of_the_folder_of_baselines_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = refused(
        tmp_path, "baseline", "update", str(stored(tmp_path / "run", run(SAME))), "-o", str(tmp_path / "file")
    )
    assert "is a file" in error.problem


def test_what_may_have_moved_the_figures_is_told(tmp_path: Path) -> None:
    trials = [trial(number, each) for number, each in enumerate(SAME, 1)]
    trials[1] = trials[1].model_copy(update={"warnings": ["other programs used 1.4 of 2 cores while under load"]})
    found = judged(tmp_path, run(SAME, cases=[case(trials)]), NO_LOSS)
    assert found.warnings == ["null@embedded: 1 of 5 trials: other programs used 1.4 of 2 cores while under load"]


def test_the_help_says_what_each_exit_code_means(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["gate", "--help"], standalone_mode=False)
    told = capsys.readouterr().out
    assert re.findall(r"^ +(\d+) +\w", told, re.MULTILINE) == ["0", "2", "10", "11", "12", "13", "70", "130"]


# Folders of pairs.


def pairs_of(root: Path, ratio: float, **more: Any) -> Path:
    """Returns the folder of a comparison that was run to its end, B being ``ratio`` times as slow."""
    compared(root, Scripted(steady(0.001)), Scripted(steady(0.001 * ratio), **more), stopping="quick")
    return only_folder(root).path


def test_a_folder_of_pairs_is_judged_by_other_rules_than_it_was_run_for(tmp_path: Path) -> None:
    folder = pairs_of(tmp_path / "pairs", 1.5)
    found = gated(folder, rules(tmp_path / "rules.toml", SLOWER, NO_LOSS))
    assert (found.exit_code, found.kind, found.rows[0].verdict) == (10, "pairs", Verdict.FAIL)
    assert (found.rows[0].estimate, found.rows[0].n) == (pytest.approx(1.5), 5)
    assert len(found.runs) == 20
    assert gated(folder / "ab.json", rules(tmp_path / "rules.toml", SLOWER.replace("10%", "60%"))).exit_code == 0


def test_pairs_have_their_own_reference(tmp_path: Path) -> None:
    folder, base = pairs_of(tmp_path / "pairs", 1.0), kept(tmp_path / "base.json", run(BASE))
    with pytest.raises(UsageError, match="a folder of pairs, in which B is held against A"):
        gated(folder, rules(tmp_path / "rules.toml", SLOWER), [base])


def test_pairs_that_were_cut_short_never_pass(tmp_path: Path) -> None:
    folder = pairs_of(tmp_path / "pairs", 1.0)
    record = json.loads((folder / "ab.json").read_text())
    record["status"], record["cases"][0]["over"] = "interrupted", ""
    (folder / "ab.json").write_text(json.dumps(record))
    found = gated(folder, rules(tmp_path / "rules.toml", SLOWER, NO_LOSS))
    assert (found.exit_code, [row.verdict for row in found.rows]) == (13, [Verdict.PASS, Verdict.INVALID])  # by a look


def test_a_subject_that_pairs_do_not_declare_makes_them_incomparable(tmp_path: Path) -> None:
    newer = changed("subject", "brokerbench", value="9.9")
    folder = pairs_of(tmp_path / "pairs", 1.0, fingerprint=newer)
    found = gated(folder, rules(tmp_path / "rules.toml", SLOWER))
    assert found.exit_code == 12
    assert "brokerbench: 0.1.0 / 9.9" in found.rows[0].words
