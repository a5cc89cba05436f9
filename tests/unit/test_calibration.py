"""A calibration from its pairs to what is stored, printed, and refused because of it; trials are scripted, the null broker's ceiling is told."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness import calibrations
from harness.cli.commands import cli
from harness.cli.pairing_view import Silent
from harness.errors import EvidenceError, Interrupted, UsageError
from harness.experiment import calibration
from harness.experiment.calibration import calibrate, expected_s, new_calibration
from harness.experiment.known import known_before, known_noise, question_of
from harness.experiment.pairs import Arm
from harness.gate.noise import Ceiling, question, sigma_d
from harness.gate.pairs import PairsRecord
from harness.gate.rules import RelativeRule
from harness.model import TrialStatus
from harness.pairs_folder import PairsFolder
from harness.run.ceiling import generator, known_ceiling
from harness.scenario.describe import as_dict
from harness.store import RunFolder
from reports.calibration import least_seen, print_calibration
from tests.unit import gate_folders
from tests.unit.gate_folders import CASE, P50
from tests.unit.scenario_support import read_text
from tests.unit.test_comparable import FINGERPRINT
from tests.unit.test_pairs import Scripted, scenario

RATE = 90_000.0


def ceiling(asked: Any, case: Any, *_: Any, **__: Any) -> Ceiling:
    load = generator(case, asked.agents)
    return Ceiling(load=load, rate_per_s=RATE, trials=3, tool_version="1", measured_wall_ns=1)


@pytest.fixture(autouse=True)
def _own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKERBENCH_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    monkeypatch.setattr(calibration, "measure_ceiling", ceiling)
    monkeypatch.setattr("harness.experiment.known.fingerprint_of", lambda *_: FINGERPRINT)


class Wavering(Scripted):
    """Trials whose median latency is 10 ms, moved up and down by turns."""

    def __init__(self, by: float, **more: Any) -> None:
        self.turn = 0

        def p50_s(_: int) -> float:
            self.turn += 1
            return 0.010 * math.exp(by * math.sin(self.turn))

        super().__init__(p50_s, **more)


def measured(
    folder: Path, runner: Scripted, *, pairs: int = 4, setups: str = '"null"'
) -> tuple[PairsRecord, calibration.Found | None]:
    """Returns what a calibration of scripted trials has found."""
    arm = Arm(scenario=scenario(setups), runner=runner)
    folder.mkdir()
    record = new_calibration(arm, pairs=pairs, command="brokerbench calibrate smoke", seed=7)
    return calibrate(PairsFolder(folder), record, arm, Silent())


def test_the_noise_of_each_figure_is_that_of_its_pairs(tmp_path: Path) -> None:
    record, found = measured(tmp_path / "pairs", Wavering(0.1))
    assert found is not None
    [only] = found.calibrations
    folder = PairsFolder(tmp_path / "pairs")
    a, b = (
        [folder.trial(getattr(pair, side)).record.metrics["steady"][P50] for pair in record.cases[0].pairs]
        for side in "ab"
    )
    told = only.spread(P50)
    assert told is not None
    assert told.sigma_d == pytest.approx(sigma_d(a, b))
    assert told.a == pytest.approx(a, rel=1e-6)
    assert only.spread(P50, "steady") == told
    assert only.spread("throughput") is not None
    assert only.spread("loss.confirmed", "whole") is None
    assert only.first == [pair.first for pair in record.cases[0].pairs]
    assert (only.pairs, only.case, record.status, record.outcome) == (4, CASE, "finished", None)


def test_what_is_kept_is_found_before_the_next_comparison_of_the_same(tmp_path: Path) -> None:
    asked = scenario()
    _, found = measured(tmp_path / "pairs", Wavering(0.1))
    assert found is not None
    assert found.keep() == calibrations.place(calibrations.read(FINGERPRINT)[0].environment)
    known, problem = known_noise(asked)
    assert ({*known}, problem) == ({CASE}, "")
    assert known_ceiling(FINGERPRINT, asked.cases[0], asked.agents) == RATE
    other = read_text(tmp_path, "question: q\nsetups: [null]\ndeployment: embedded\nload: {rate: 2000/s}\n")
    assert known_noise(other) == ({}, "")


def test_a_comparison_is_refused_told_or_warned_by_what_was_kept(tmp_path: Path) -> None:
    asked = scenario()
    _, found = measured(tmp_path / "pairs", Wavering(0.1))
    assert found is not None
    found.keep()
    noise = found.calibrations[0].sigma_d[P50]
    with pytest.raises(UsageError, match=r"it would need about \d+ pairs"):
        known_before([RelativeRule(id="r", metric=P50, max_ratio=math.exp(0.85 * noise))], asked, asked, ())
    told = known_before([RelativeRule(id="r", metric=P50, max_ratio=math.exp(1.1 * noise))], asked, asked, ())
    assert told.sigma_d == {CASE: found.calibrations[0].sigma_d}
    assert "much for a margin of" in told.outlook.warnings[0]


def test_a_broken_file_is_told_instead_of_a_missing_calibration(tmp_path: Path) -> None:
    path = calibrations.place(calibrations.read(FINGERPRINT)[0].environment)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    asked = scenario()
    [warning] = known_before([RelativeRule(id="r", metric=P50, max_ratio=1.1)], asked, asked, ()).outlook.warnings
    assert "cannot be read" in warning


@pytest.mark.parametrize(
    "text",
    [
        "setups: [null, {null: {drop: '1'}}]\nload: {rate: 1000/s}\nworkers: {prefetch: [1, 10]}\n",
        "setups: [null]\nload: {rate: 1000/s, ceiling: {window: 100}}\n",
        "setups: [null]\nload: {saturate: {window: 100}}\n",
    ],
)
def test_a_case_asks_the_same_alone_and_among_the_others(tmp_path: Path, text: str) -> None:
    asked = read_text(tmp_path, f"question: q\ndeployment: embedded\n{text}")
    for case in asked.cases:
        assert question_of(asked, case) == question(as_dict(asked), case.id, ceiling=case.ceiling)


def test_pairs_with_an_invalid_trial_are_left_out_and_told(tmp_path: Path) -> None:
    spoiled = {42}

    class Spoiled(Wavering):
        def run(self, asked: Any, case: Any, listener: Any, *, seed: int, root: Path) -> Any:
            done = super().run(asked, case, listener, seed=seed, root=root)
            if seed not in spoiled:
                return done
            [only] = done.record.cases
            trial = only.trials[0].model_copy(
                update={"status": TrialStatus.INVALID, "reasons": ["generator saturated"]}
            )
            record = done.record.model_copy(update={"cases": [only.model_copy(update={"trials": [trial]})]})
            done.folder.save(record)
            return done

    _, found = measured(tmp_path / "pairs", Spoiled(0.1))
    assert found is not None
    assert found.calibrations[0].pairs == 3
    assert found.notes == (
        f"{CASE}: 1 of 4 pairs have an invalid trial and were left out",
        f"{CASE}: 3 pairs; 10 or more tell the noise within a factor of 1.65",
    )
    spoiled |= {41, 43}
    with pytest.raises(EvidenceError, match="only 1 of 4 pairs tell of its noise: generator saturated"):
        measured(tmp_path / "more", Spoiled(0.1))


def test_a_machine_that_is_never_quiet_tells_nothing(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="only 0 of 3 pairs tell of its noise: 3 pairs were disturbed"):
        measured(tmp_path / "pairs", Wavering(0.1, busy=tuple(range(100))))


def test_after_a_ctrl_c_nothing_is_told_and_all_is_kept_to_go_on(tmp_path: Path) -> None:
    runner = Wavering(0.1)
    runner.interrupt = lambda number: "mid-trial" if number == 3 else ""
    record, found = measured(tmp_path / "pairs", runner)
    assert (record.status, found, len(record.cases[0].pairs)) == ("interrupted", None, 2)
    runner.interrupt = lambda number: ""
    folder = PairsFolder(tmp_path / "pairs")
    again, found = calibrate(folder, folder.load(), Arm(scenario=scenario(), runner=runner), Silent())
    assert (again.status, len(again.cases[0].pairs)) == ("finished", 4)
    assert found is not None
    assert found.calibrations[0].pairs == 4


def test_a_ceiling_that_cannot_be_told_costs_no_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any, **__: Any) -> Ceiling:
        raise EvidenceError("the generator's ceiling cannot be told: it died")

    monkeypatch.setattr(calibration, "measure_ceiling", none)
    _, found = measured(tmp_path / "pairs", Wavering(0.1))
    assert found is not None
    assert found.ceilings == {}
    assert "the generator's ceiling cannot be told: it died" in found.notes


def test_a_ceiling_that_was_always_disturbed_is_doubted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        calibration,
        "measure_ceiling",
        lambda *asked, **how: ceiling(*asked, **how).model_copy(
            update={"disturbed": "other programs used 1.4 of 2 cores"}
        ),
    )
    _, found = measured(tmp_path / "pairs", Wavering(0.1))
    assert found is not None
    assert "the generator's ceiling may be higher: other programs used 1.4 of 2 cores" in found.notes


def test_cases_that_use_the_generator_alike_share_one_ceiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def noted(scenario: Any, case: Any, *_: Any, **__: Any) -> Ceiling:
        asked.append(case.id)
        return ceiling(scenario, case)

    monkeypatch.setattr(calibration, "measure_ceiling", noted)
    _, found = measured(tmp_path / "pairs", Wavering(0.1), setups='"null", {"null": {drop: "1"}}', pairs=3)
    assert found is not None
    assert asked == [CASE]
    assert {*found.ceilings} == {CASE, "null[drop=1]@embedded"}
    assert len(found.calibrations) == 2


def test_the_time_needed_is_that_of_all_trials_and_of_the_ceiling() -> None:
    asked = scenario()  # 3 s and 20 s of load, 6 s of quiet, 3 s around it; the ceiling: three trials of 12 s
    assert expected_s(asked, 10) == 2 * 10 * (3 + 20 + 6 + 3) + 36


# The command.


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Wavering:
    runner = Wavering(0.1)
    monkeypatch.setattr(
        "harness.experiment.here.Here.run", lambda self, *args, **named: runner.run(*args, **named), raising=True
    )
    return runner


def written(folder: Path) -> Path:
    path = folder / "smoke.yaml"
    path.write_text("question: Is B slower than A?\nsetups: ['null']\ndeployment: embedded\nload: {rate: 1000/s}\n")
    return path


def test_the_command_stores_and_prints_what_it_found(
    tmp_path: Path, scripted: Wavering, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["calibrate", str(written(tmp_path)), "--pairs", "4", "-o", str(tmp_path / "runs")]
    assert cli.main(words, standalone_mode=False) == 0
    out, err = capsys.readouterr()
    assert "the generator's ceiling, then 4 pairs of identical trials, about" in err
    assert f"{CASE}: 4 pairs of 4, all run" in err
    assert f"{CASE}: 4 pairs of identical trials" in out
    assert P50 in out
    assert "90,000/s on the null broker; runs above 63,000/s say so" in " ".join(out.split())
    assert "calibration.json" in out
    assert len(calibrations.read(FINGERPRINT)[0].calibrations) == 1
    assert cli.main([*words, "--json"], standalone_mode=False) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["calibrations"][0]["case"], told["ceilings"][CASE]["rate_per_s"]) == (CASE, RATE)


def test_ab_refuses_a_rule_that_the_noise_would_decide_and_says_what_others_see(
    tmp_path: Path, scripted: Wavering, capsys: pytest.CaptureFixture[str]
) -> None:
    path, runs = written(tmp_path), str(tmp_path / "runs")
    cli.main(["calibrate", str(path), "--pairs", "4", "-o", runs, "--quiet"], standalone_mode=False)
    for name, margin in {"tight": "1%", "wide": "200%"}.items():
        gate_folders.rules(tmp_path / name, f'id = "p50"\nmetric = "{P50}"\nmax_worse = "{margin}"')
    capsys.readouterr()
    with pytest.raises(
        UsageError, match=r"too much for a margin of 1 %: it would need about .* and at most 16 are planned"
    ):
        cli.main(["ab", str(path), "--rules", str(tmp_path / "tight"), "-o", runs], standalone_mode=False)
    assert cli.main(["ab", str(path), "--rules", str(tmp_path / "wide"), "-o", runs], standalone_mode=False) == 0
    assert "worse is seen in 80 of 100 comparisons" in capsys.readouterr().err


def test_after_a_ctrl_c_the_command_says_how_to_go_on_and_does(tmp_path: Path, scripted: Wavering) -> None:
    path, runs = written(tmp_path), tmp_path / "runs"
    scripted.interrupt = lambda number: "mid-trial" if number == 3 else ""
    words = ["calibrate", str(path), "--pairs", "4", "-o", str(runs), "--quiet"]
    with pytest.raises(Interrupted, match="interrupted after 2 whole pairs: nothing is stored") as told:
        cli.main(words, standalone_mode=False)
    [folder] = runs.iterdir()
    assert told.value.remedy.endswith(f" --resume {folder}")
    scripted.interrupt = lambda number: ""
    with pytest.raises(UsageError, match="goes on with what was asked for, and --pairs is asked for too"):
        cli.main(["calibrate", "--pairs", "5", "--resume", str(folder)], standalone_mode=False)
    with pytest.raises(UsageError, match="is a calibration, no comparison") as refused:
        cli.main(["ab", "--resume", str(folder)], standalone_mode=False)
    assert refused.value.remedy == f"go on with it: brokerbench calibrate --resume {folder}"
    assert PairsFolder.open(folder).load().status == "interrupted"
    assert cli.main(["calibrate", "--quiet", "--resume", str(folder)], standalone_mode=False) == 0
    assert [*runs.iterdir()] == [folder]
    with pytest.raises(UsageError, match="has come to its end: what it found is stored in"):
        cli.main(["calibrate", "--resume", str(folder)], standalone_mode=False)


def test_a_scenario_that_has_changed_is_not_calibrated_to_its_end(tmp_path: Path, scripted: Wavering) -> None:
    path, runs = written(tmp_path), tmp_path / "runs"
    scripted.interrupt = lambda number: "before"
    with pytest.raises(Interrupted):
        cli.main(["calibrate", str(path), "-o", str(runs), "--quiet"], standalone_mode=False)
    path.write_text(path.read_text().replace("1000/s", "2000/s"))
    [folder] = runs.iterdir()
    with pytest.raises(UsageError, match="is not what it was when"):
        cli.main(["calibrate", "--resume", str(folder)], standalone_mode=False)


def test_a_comparison_is_no_calibration_to_go_on_with(tmp_path: Path, scripted: Wavering) -> None:
    path, runs = written(tmp_path), tmp_path / "runs"
    cli.main(["ab", str(path), "--max-worse", "900%", "-o", str(runs), "--quiet"], standalone_mode=False)
    [folder] = runs.iterdir()
    with pytest.raises(UsageError, match="is a comparison, no calibration"):
        cli.main(["calibrate", "--resume", str(folder)], standalone_mode=False)


def test_what_this_machine_cannot_run_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    path = tmp_path / "smoke.yaml"
    path.write_text("question: q\nsetups: ['null']\ndeployment: docker\nload: {rate: 1000/s}\n")
    with pytest.raises(UsageError):
        cli.main(["calibrate", str(path), "-o", str(tmp_path / "runs")], standalone_mode=False)
    assert not (tmp_path / "runs").exists()


# What is printed.


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_page_fits_every_terminal_and_holds_every_margin(tmp_path: Path, width: int) -> None:
    _, found = measured(tmp_path / "pairs", Wavering(0.02))
    assert found is not None
    console = Console(width=width, file=io.StringIO(), color_system=None)
    print_calibration(found.calibrations, found.ceilings, found.notes, console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert all(margin in text for margin in ("5 %", "10 %", "25 %"))
    assert ("at most:" in text) == (width == 120)


@pytest.mark.parametrize(
    ("noise", "margin", "cell"),
    [(0.05, 1.10, "14.3 %"), (0.09, 1.10, "! 17.9 %"), (0.20, 1.10, "58 pairs"), (0.0, 1.25, "25 %")],
)
def test_a_margin_shows_what_is_seen_or_the_pairs_that_it_needs(noise: float, margin: float, cell: str) -> None:
    assert least_seen(noise, margin) == cell


def test_the_trials_of_a_calibration_are_runs_like_any_other(tmp_path: Path) -> None:
    record, _ = measured(tmp_path / "pairs", Wavering(0.1), pairs=3)
    for pair in record.cases[0].pairs:
        for run in (pair.a, pair.b):
            assert RunFolder.open(tmp_path / "pairs" / run).load().cases[0].id == CASE
