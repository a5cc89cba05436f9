"""``sweep`` without a broker: what is refused before anything starts, the order, what is kept, how it ends."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness.analysis.sweep import Ran, SweepRecord, sweep_schema
from harness.cli.commands import catalogue, cli
from harness.deployments.embedded import EmbeddedDeployment
from harness.errors import BrokerbenchError, ExitCode, Interrupted, UsageError
from harness.experiment import sweep as experiment
from harness.experiment.single import Done
from harness.experiment.sweep import Sweep, SweepPlan, _common, exit_of, steps
from harness.experiment.values import Value, read_over, read_values
from harness.run.progress import CaseFinished, CaseStarted, Event, RunStarted
from harness.scenario.model import Case, Scenario
from harness.scenario.problems import ScenarioError
from harness.store import RunFolder
from reports.sweep import told
from tests.unit import records
from tests.unit.swept import trial

ASKED = """
question: Does it work?
setups: [null]
deployment: embedded
load: {rate: 1000/s}
workers: {count: 2, prefetch: 10}
phases: {warmup: 0 s, steady: 1 s, drain: 10 s}
"""


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    path = tmp_path / "asked.yaml"
    path.write_text(ASKED)
    return path


def values(asked: Path, over: str, *overrides: str) -> tuple[Value, ...]:
    key, texts = read_over(over)
    return read_values(asked, catalogue(), overrides, key, texts)


# What is refused before anything starts.


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ("", "names no key and values"),
        ("workers.count", "names no key and values"),
        ("=1,2", "names no key and values"),
        ("workers.count=", "has an empty value"),
        ("workers.count=1,,2", "has an empty value"),
        ("workers.count=1", "has 1 value: no curve goes through one point"),
        ("workers.count=1,2, 1", "has the value 1 twice"),
        ("trials=1,2", "trials is not for sweeping"),
        ("slo.throughput=1/s,2/s", "slo is not for sweeping"),
    ],
)
def test_what_is_no_key_with_values_is_refused(over: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_over(over)
    assert caught.value.problem == f"--over {over}: {said}"
    assert caught.value.remedy


def test_commas_inside_brackets_and_quotes_divide_nothing() -> None:
    key, texts = read_over("workers.work={constant: 1 ms},{exponential: 2 ms}, none")
    assert (key, texts) == ("workers.work", ("{constant: 1 ms}", "{exponential: 2 ms}", "none"))
    assert read_over('load.x=[1,2],"a,b"')[1] == ("[1,2]", '"a,b"')


def test_everything_that_is_wrong_with_any_value_is_told_at_once_as_of_over(asked: Path) -> None:
    with pytest.raises(ScenarioError) as caught:
        values(asked, "workers.count=0,4,x")
    assert [str(problem.place) for problem in caught.value.problems] == [
        "--over workers.count=0",
        "--over workers.count=x",
    ]


def test_a_mistake_in_the_scenario_is_told_once_whatever_the_number_of_values(asked: Path) -> None:
    asked.write_text(ASKED.replace("prefetch: 10", "prefetch: ten"))
    with pytest.raises(ScenarioError) as caught:
        values(asked, "workers.count=1,2,4")
    assert [problem.key for problem in caught.value.problems] == ["workers.prefetch"]


def test_a_key_that_is_not_there_is_refused_with_the_nearest(asked: Path) -> None:
    with pytest.raises(ScenarioError, match="did you mean 'count'"):
        values(asked, "workers.coun=1,2")


def test_values_that_mean_the_same_are_refused(asked: Path) -> None:
    with pytest.raises(UsageError, match="1 s and 1000 ms are the same scenario"):
        values(asked, "workers.visibility=1 s,1000 ms")


@pytest.mark.parametrize("override", ["workers.count=3", "workers.count.least=3", " workers.count = 3"])
def test_an_override_of_the_swept_key_is_refused(asked: Path, override: str) -> None:
    with pytest.raises(UsageError, match=r"workers\.count is what --over sweeps") as caught:
        values(asked, "workers.count=1,2", override)
    assert caught.value.expected == "another key"


def test_an_override_around_the_swept_key_is_another(asked: Path) -> None:
    found = values(asked, "workers.count=1,2", "workers={count: 7, prefetch: 3}")
    assert [(v.scenario.cases[0].workers.count, v.scenario.cases[0].workers.prefetch) for v in found] == [
        (1, 3),
        (2, 3),
    ]


def test_a_parameter_of_a_setup_that_is_named_twice_is_refused_in_words_for_that() -> None:
    key, texts = read_over("setups.redis-stream.persistence=none,aof-always")
    with pytest.raises(UsageError, match="names that setup more than once") as caught:
        read_values("quickstart", catalogue(), (), key, texts)
    assert caught.value.remedy == "sweep a copy of the scenario that names the setup once"


def test_values_that_give_different_cases_are_refused(asked: Path) -> None:
    with pytest.raises(UsageError, match=r"10 gives 1 cases, \[1, 2\] gives 2"):
        values(asked, "workers.prefetch=10,[1, 2]")


def test_cases_in_which_the_key_changes_nothing_are_left_out(asked: Path) -> None:
    asked.write_text(ASKED.replace("[null]", "[redis-list, redis-stream]"))
    found = values(asked, "setups.redis-stream.persistence=none,aof-always")
    assert [[case.id for case in value.scenario.cases] for value in found] == [
        ["redis-stream[persistence=none]@embedded"],
        ["redis-stream[persistence=aof-always]@embedded"],
    ]
    for of_all in ("workers.count=1,2", "load.payload=256 B,1 KiB", "phases.steady=1 s,2 s"):
        assert [len(value.scenario.cases) for value in values(asked, of_all)] == [2, 2]


def test_values_stand_in_ascending_order_whatever_their_unit(asked: Path) -> None:
    found = values(asked, "load.tick=1 s,500 ms,250 ms")
    assert [(value.text, value.at) for value in found] == [("250 ms", 0.25), ("500 ms", 0.5), ("1 s", 1.0)]


def test_words_keep_their_order(asked: Path) -> None:
    found = values(asked, "workers.kind=sleep,cpu")
    assert [(value.text, value.at) for value in found] == [("sleep", None), ("cpu", None)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--metric", "throughputt"), "--metric throughputt: no such figure"),
        (("--over", "workers.count=2,4"), "--over is given twice"),
        (("--trials", "0"), "--trials"),
    ],
)
def test_a_wrong_command_line_starts_nothing(asked: Path, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    runs = tmp_path / "runs"
    with pytest.raises(BrokerbenchError) as caught:
        cli.main(["sweep", str(asked), "--over", "workers.count=1,2", "-o", str(runs), *words], standalone_mode=False)
    assert caught.value.exit_code == ExitCode.USAGE
    assert said in caught.value.problem
    assert not runs.exists()


def test_a_setup_that_cannot_run_here_is_refused_before_anything_starts(asked: Path, tmp_path: Path) -> None:
    asked.write_text(ASKED.replace("embedded", "external") + "address: null://127.0.0.1:1\n")
    with pytest.raises(UsageError):
        cli.main(
            ["sweep", str(asked), "--over", "faults=[],[{at: 6 s, kill: broker}]", "-o", str(tmp_path / "r")],
            standalone_mode=False,
        )
    assert not (tmp_path / "r").exists()


# The order, and what is kept.


def plan(asked: Path, tmp_path: Path, over: str = "workers.count=1,2,4", **more: Any) -> SweepPlan:
    settings: dict[str, Any] = {
        "key": over.partition("=")[0],
        "values": values(asked, over),
        "trials": 3,
        "metric": "throughput",
        "order_seed": 1,
        "root": tmp_path / "runs",
        "command": "brokerbench sweep …",
    }
    return SweepPlan(**settings | more)


def test_every_round_has_each_value_once_and_its_order_comes_from_the_seed(asked: Path, tmp_path: Path) -> None:
    orders = [
        [(step.trial, step.value) for step in steps(plan(asked, tmp_path, order_seed=seed))] for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert [trial for trial, _ in orders[0]] == [1] * 3 + [2] * 3 + [3] * 3
    assert Counter(orders[0]) == Counter((trial, value) for trial in (1, 2, 3) for value in range(3))


class Told:
    """Listens, and keeps what it heard."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def notice(self, event: Event) -> None:
        self.events.append(event)


class Runs:
    """Takes the place of ``run_one``: no broker, figures by the number of workers, and a Ctrl-C in the trial of that number."""

    def __init__(self, interrupted_in: int = 0) -> None:
        self.seeds: list[int] = []
        self._interrupted_in = interrupted_in

    def __call__(
        self, scenario: Scenario, case: Case, deployment: Any, listener: Any, *, seed: int, root: Path, command: str
    ) -> Done:
        self.seeds.append(seed)
        number = len(self.seeds)
        path = root / f"run-{number}"
        path.mkdir()
        listener.notice(CaseStarted(t_ns=number, number=1, of=1, case_id=case.id))
        found = trial(1, min(250.0 * case.workers.count, 510.0) + number)
        interrupted = number == self._interrupted_in
        listener.notice(CaseFinished(case=records.case(case.id), trial=1, status=found.status, words="words of it"))
        record = records.run(
            [records.case(case.id, trials=[] if interrupted else [found], slug=case.slug)],
            status="interrupted" if interrupted else "finished",
            exit_code=130 if interrupted else 0,
        )
        return Done(folder=RunFolder(path), record=record)


def swept_by(runs: Runs, plan_: SweepPlan, monkeypatch: pytest.MonkeyPatch) -> tuple[Sweep, list[Event]]:
    heard = Told()
    monkeypatch.setattr(experiment, "run_one", runs)
    this = Sweep(plan_, [EmbeddedDeployment()] * len(plan_.values), heard)
    this.run()
    return this, heard.events


def test_every_trial_is_kept_beside_those_of_its_value(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs()
    this, _ = swept_by(runs, plan(asked, tmp_path), monkeypatch)
    [curve] = this.record.curves
    assert [(p.value, [t.number for t in p.case.trials], len(p.runs)) for p in curve.points] == [
        ("1", [1, 2, 3], 3),
        ("2", [1, 2, 3], 3),
        ("4", [1, 2, 3], 3),
    ]
    assert curve.knee is not None
    assert (curve.knee.found, curve.knee.value) == ("knee", "2")
    assert [t.folder.partition("/")[0] for t in curve.points[0].case.trials] == curve.points[0].runs
    assert runs.seeds == [1] * 3 + [2] * 3 + [3] * 3
    assert (this.record.status, this.record.exit_code) == ("finished", 0)


def test_sweep_json_is_what_was_kept_and_fits_its_schema(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    this, _ = swept_by(Runs(), plan(asked, tmp_path), monkeypatch)
    stored = json.loads((this.folder / "sweep.json").read_text())
    jsonschema.validate(stored, sweep_schema())
    assert SweepRecord.model_validate(stored) == this.record


def test_a_ctrl_c_keeps_what_was_run_and_calls_nothing_a_knee(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    this, _ = swept_by(Runs(interrupted_in=3), plan(asked, tmp_path, trials=1), monkeypatch)
    stored = SweepRecord.model_validate_json((this.folder / "sweep.json").read_text())
    assert (stored.status, stored.exit_code, len(stored.runs)) == ("interrupted", 130, 3)
    known = [p.value for p in stored.curves[0].points if p.case.trials]
    assert len(known) == 2
    assert told.knee(stored, stored.curves[0]) == "no knee: only 2 of 3 values were run"


def test_an_error_in_a_trial_leaves_a_sweep_that_says_that_it_failed(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Done:
        raise UsageError("no room")

    monkeypatch.setattr(experiment, "run_one", full)
    this = Sweep(plan(asked, tmp_path), [EmbeddedDeployment()] * 3, Told())
    with pytest.raises(UsageError):
        this.run()
    stored = SweepRecord.model_validate_json((this.folder / "sweep.json").read_text())
    assert (stored.status, stored.exit_code) == ("failed", 70)


def test_the_live_view_is_told_of_one_run_with_a_line_per_value(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, events = swept_by(Runs(), plan(asked, tmp_path, trials=2), monkeypatch)
    [began] = [event for event in events if isinstance(event, RunStarted)]
    assert events[0] is began
    names = [case.id for case in began.cases]
    assert (names[:3], len(names)) == (["workers.count=1", "workers.count=2", "workers.count=4"], 6)
    started = [event for event in events if isinstance(event, CaseStarted)]
    assert [(event.number, event.of) for event in started] == [(number, 6) for number in range(1, 7)]
    ended = [event for event in events if isinstance(event, CaseFinished)]
    assert [event.case.id for event in ended] == [event.case_id for event in started]
    assert {event.words for event in ended} == {"words of it"}


@pytest.mark.parametrize(
    ("ids", "label"),
    [
        (["null@embedded"] * 2, "null@embedded"),
        (["r[p=a,m=1]@bridge", "r[p=b,m=1]@bridge"], "r[m=1]@bridge"),
        (["r@bridge", "r[p=b]@bridge"], "r@bridge"),
        (["r[p=a]@bridge", "r[p=a]@host"], "r[p=a]"),
    ],
)
def test_a_curve_is_called_by_what_its_ids_have_in_common(ids: list[str], label: str) -> None:
    assert _common(ids) == label


@pytest.mark.parametrize(
    ("codes", "status", "code"),
    [
        ([0, 0], "finished", 0),
        ([0, 13, 10], "finished", 10),
        ([13, 0], "finished", 13),
        ([10, 70], "finished", 70),
        ([2, 0], "finished", 13),
        ([0, 10], "interrupted", 130),
        ([], "finished", 70),
        ([0], "failed", 70),
    ],
)
def test_a_sweep_ends_as_the_severest_of_its_runs(codes: list[int], status: str, code: int) -> None:
    runs = [
        Ran(value=str(at), case="c", trial=1, seed=1, run="r", status="valid", exit_code=each, exit_reason="why")
        for at, each in enumerate(codes)
    ]
    assert exit_of(runs, status, "workers.count")[0] == code


def _runs_here(asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(experiment, "run_one", Runs())
    return ["sweep", str(asked), "--over", "workers.count=1,2", "-o", str(tmp_path / "runs"), "--quiet"]


def test_the_chart_is_named_last(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(_runs_here(asked, tmp_path, monkeypatch), standalone_mode=False) == 0
    [folder] = (tmp_path / "runs").iterdir()
    assert capsys.readouterr().out.splitlines()[-1] == f"Chart: {folder / 'sweep.png'}"
    assert (folder / "sweep.png").exists()


@pytest.mark.parametrize("in_json", [False, True])
def test_a_ctrl_c_while_the_chart_is_drawn_costs_no_figure(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, in_json: bool
) -> None:
    def ctrl_c(_: SweepRecord) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("reports.sweep.picture.picture", ctrl_c)
    words = [*_runs_here(asked, tmp_path, monkeypatch), *(["--json"] if in_json else [])]
    with pytest.raises(Interrupted):
        cli.main(words, standalone_mode=False)
    page = capsys.readouterr().out
    assert (json.loads(page)["status"] == "finished") if in_json else ("2 runs in " in page)


def test_a_ctrl_c_while_the_live_view_ends_costs_no_figure(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Ends(Told):
        def __enter__(self) -> Ends:
            return self

        def __exit__(self, *_: object) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("harness.cli.live.open_view", lambda _: Ends())
    with pytest.raises(Interrupted):
        cli.main(_runs_here(asked, tmp_path, monkeypatch)[:-1], standalone_mode=False)
    assert "2 runs in " in capsys.readouterr().out


def test_what_was_run_before_an_error_is_told_before_the_error(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = Runs()

    def full_after_the_first(*given: Any, **more: Any) -> Done:
        if runs.seeds:
            raise BrokerbenchError("no room")
        return runs(*given, **more)

    monkeypatch.setattr(experiment, "run_one", full_after_the_first)
    words = ["sweep", str(asked), "--over", "workers.count=1,2", "-o", str(tmp_path / "runs"), "--quiet"]
    with pytest.raises(BrokerbenchError, match="no room"):
        cli.main(words, standalone_mode=False)
    page = capsys.readouterr().out
    assert "no knee: only 1 of 2 values were run" in page
    assert "FAILED after 1 of 2 trials" in page
