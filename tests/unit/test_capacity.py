"""``capacity`` without a broker: what a trial shows of its rate, what is refused before anything starts, what is kept, said and drawn."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from PIL import Image
from rich.console import Console

from harness.analysis.capacity import (
    P99,
    CapacityRecord,
    Searched,
    capacity_schema,
    judged,
    messages_needed,
    steady_s,
    summed_up,
)
from harness.analysis.rate_search import MOST_HALVINGS, Answer, Shown
from harness.cli import searching
from harness.cli.commands import catalogue, cli
from harness.deployments.embedded import EmbeddedDeployment
from harness.errors import ExitCode, Interrupted, UsageError
from harness.experiment import capacity as experiment
from harness.experiment.capacity import Capacity, exit_of
from harness.experiment.probe import CapacityPlan, bounds_of, probe
from harness.experiment.single import Done, only
from harness.model import TrialStatus, Verdict
from harness.record import AtLeast, Figure, TrialRecord, Unknown
from harness.run.progress import CaseFinished, CaseStarted, Event, Listener, RunStarted
from harness.scenario.describe import as_dict
from harness.scenario.model import Bound, Case, Scenario
from harness.scenario.read import read_scenario
from harness.store import RunFolder
from reports.capacity import told
from reports.capacity.picture import drawing, picture
from reports.capacity.terminal import print_capacity
from tests.unit import records

ASKED = """
question: How much does it carry?
setups: [null]
deployment: embedded
load: {rate: 800/s}
workers: {count: 2}
phases: {warmup: 0 s, steady: 1 s, drain: 10 s}
"""
BOUND = Bound(metric=P99, limit=0.05, text="50 ms")


def trial(p99_s: Figure = 0.012, achieved: Figure = 0.999, lost: Figure = 0.0, **more: Any) -> TrialRecord:
    """Returns a trial without a fault."""
    metrics = records.metrics()
    metrics["steady"] |= {P99: p99_s, "rate.achieved": achieved, "backlog.end": 37.0}
    metrics["whole"] |= {"loss.confirmed": lost}
    values: dict[str, Any] = {"metrics": metrics, "faults": [], "guarantees": [records.no_fault()]}
    return records.trial(**values | more)


# What a trial shows of its rate.


@pytest.mark.parametrize(
    ("given", "shown", "clear", "reasons"),
    [
        (trial(), Shown.HOLDS, True, []),
        (trial(achieved=0.99, p99_s=0.05), Shown.HOLDS, True, []),
        (trial(achieved=1.08), Shown.HOLDS, True, []),
        (trial(achieved=0.9899), Shown.MISSED, False, ["backlog grew to 37: 99.0 % settled"]),
        (
            trial(achieved=0.5, throughput_label={"steady": "filling"}),
            Shown.MISSED,
            True,
            ["backlog grew to 37: 50.0 % settled"],
        ),
        (trial(p99_s=0.051), Shown.MISSED, False, [f"{P99} is above 50 ms"]),
        (trial(p99_s=AtLeast(at_least=4.2)), Shown.MISSED, False, [f"{P99} is above 50 ms"]),
        (trial(p99_s=AtLeast(at_least=0.01)), Shown.UNTOLD, False, [f"{P99} cannot be told: ≥ 0.01"]),
        (trial(p99_s=Unknown(unknown="n too small")), Shown.UNTOLD, False, [f"{P99} cannot be told: n too small"]),
        (trial(lost=AtLeast(at_least=0.0)), Shown.UNTOLD, False, ["loss.confirmed cannot be told: ≥ 0"]),
        (trial(lost=3.0), Shown.MISSED, True, ["3 confirmed messages lost"]),
        (
            trial(guarantees=[records.guarantee(Verdict.VIOLATED, "none", evidence="2 given twice")]),
            Shown.MISSED,
            True,
            ["VIOLATED (none): 2 given twice"],
        ),
        (
            records.invalid_trial(),
            Shown.GENERATOR,
            False,
            ["generator saturated: schedule lag p99 48.2 ms, bound 10 ms"],
        ),
        (
            records.invalid_trial(reasons=["settings differ: a"]),
            Shown.UNTOLD,
            False,
            ["settings differ: a"],
        ),
        (
            records.invalid_trial(reasons=["the broker ended unexpectedly: status 137"]),
            Shown.MISSED,
            True,
            ["the broker ended unexpectedly: status 137"],
        ),
        (
            trial(lost=3.0, status=TrialStatus.INVALID, reasons=["generator saturated: x"], evidence_sound=True),
            Shown.MISSED,
            True,
            ["3 confirmed messages lost"],
        ),
        (
            trial(lost=3.0, status=TrialStatus.INVALID, reasons=["generator saturated: x"], evidence_sound=False),
            Shown.GENERATOR,
            False,
            ["generator saturated: x"],
        ),
        (None, Shown.UNTOLD, False, ["the run has no trial"]),
    ],
)
def test_a_trial_shows_of_its_rate(given: TrialRecord | None, shown: Shown, clear: bool, reasons: list[str]) -> None:
    seen, why = judged(given, [BOUND])
    assert (seen.shown, seen.clear, why) == (shown, clear, reasons)


@pytest.mark.parametrize(
    ("given", "lower"),
    [
        (trial(lost=1.0), 1),
        (trial(guarantees=[records.guarantee(Verdict.VIOLATED, "none", evidence="2 given twice")]), 1),
        (trial(p99_s=Unknown(unknown="n too small")), 0),
        (trial(achieved=0.5), MOST_HALVINGS),
        (records.invalid_trial(), MOST_HALVINGS),
    ],
)
def test_what_does_not_come_from_the_rate_is_not_chased_downwards(given: TrialRecord, lower: int) -> None:
    assert judged(given, [BOUND])[0].lower == lower


def test_a_loss_is_said_once_and_a_backlog_of_nothing_did_not_grow() -> None:
    violated = [records.guarantee(Verdict.VIOLATED, "none", evidence="3 of 486 confirmed messages lost")]
    assert judged(trial(lost=3.0, guarantees=violated), [BOUND])[1] == [
        "VIOLATED (none): 3 of 486 confirmed messages lost"
    ]
    assert judged(trial(lost=1.0), [BOUND])[1] == ["1 confirmed message lost"]
    empty = trial(achieved=0.9876)
    empty.metrics["steady"]["backlog.end"] = 0.0
    assert judged(empty, [BOUND])[1] == ["only 98.8 % settled in time"]


@pytest.mark.parametrize(
    ("rate_per_s", "length_s"),
    [(2000.0, 10.0), (1000.0, 20.0), (999.0, 21.0), (1e6, 10.0), (100.0, 200.0), (1.0, 300.0)],
)
def test_a_rate_is_held_for_20000_messages_at_least_10_s_at_most_5_min(rate_per_s: float, length_s: float) -> None:
    assert steady_s(rate_per_s, messages_needed([BOUND])) == length_s


def test_a_rarer_percentile_needs_more_messages() -> None:
    assert messages_needed([replace(BOUND, metric="latency.end_to_end.p99_9")]) == 200_000


# What is asked.


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    path = tmp_path / "asked.yaml"
    path.write_text(ASKED)
    return path


def plan(asked: Path, root: Path, *overrides: str, p99_s: float | None = 0.05, **more: Any) -> CapacityPlan:
    scenario = read_scenario(asked, catalogue(), overrides)
    values: dict[str, Any] = {
        "scenario": scenario,
        "bounds": bounds_of(scenario, p99_s),
        "start_per_s": None,
        "probe_s": None,
        "within": 0.05,
        "root": root,
        "command": "brokerbench capacity asked.yaml --p99 50ms",
    }
    return CapacityPlan(**values | more)


def test_a_probe_is_the_case_at_one_rate_with_poisson_arrivals(asked: Path, tmp_path: Path) -> None:
    of = plan(asked, tmp_path, "load.arrival=constant", "trials=5")
    found = probe(of, of.cases[0], 1987.0)
    told_ = as_dict(only(found, found.cases[0], seed=7))
    assert told_["load"]["profile"] == [{"kind": "constant", "duration_s": 11.0, "rates_per_s": [1987.0]}]
    assert (told_["load"]["arrival"], told_["load"]["saturate_window"], told_["trials"]) == ("poisson", None, 1)
    assert told_["phases"] == {"warmup_s": 3.0, "steady_s": 11.0, "drain_s": pytest.approx(28.0 + found.longest_hold_s)}
    assert [bound["metric"] for bound in told_["slo"]] == [P99]
    assert found.overrides[-3:] == ("load.rate=1987/s", "load.arrival=poisson", "phases.steady=11 s")


def test_a_closed_loop_becomes_an_open_one_and_a_ceiling_is_left_out(asked: Path, tmp_path: Path) -> None:
    of = plan(asked, tmp_path, "load.ceiling={window: 100}")
    assert (len(of.scenario.cases), len(of.cases)) == (2, 1)
    asked.write_text(ASKED.replace("rate: 800/s", "saturate: {window: 10}"))
    of = plan(asked, tmp_path)
    assert of.start_of(of.cases[0]) == 1000.0
    assert probe(of, of.cases[0], 1000.0).cases[0].load.saturate_window is None


def test_the_first_rate_is_the_scenarios_unless_another_is_given(asked: Path, tmp_path: Path) -> None:
    of = plan(asked, tmp_path)
    assert of.start_of(of.cases[0]) == 800.0
    assert plan(asked, tmp_path, start_per_s=5000.0).start_of(of.cases[0]) == 5000.0
    low = plan(asked, tmp_path, "load.rate=1/s")
    assert low.start_of(low.cases[0]) == 66.67, "20,000 messages in 5 minutes"
    median = "slo={latency.end_to_end.p50: 20 ms}"
    short = plan(asked, tmp_path, "load.rate=1/s", median, p99_s=None, probe_s=2.0)
    assert short.start_of(short.cases[0]) == 50.0, "100 messages in 2 s"
    rare = plan(asked, tmp_path, probe_s=20.0)
    assert rare.start_of(rare.cases[0]) == 800.0, "a p99 of 10,300 messages can be told whatever the arrivals"
    assert rare.least_per_s == 515.0


def test_a_probe_too_short_for_the_percentile_is_refused_with_the_length_that_is_needed(
    asked: Path, tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    with pytest.raises(UsageError) as caught:
        Capacity(plan(asked, root, probe_s=2.0), EmbeddedDeployment(), Told())
    assert "--probe 2s is too short: 800/s makes about 1,600 messages" in caught.value.problem
    assert f"{P99} cannot be told of fewer than 10,300" in caught.value.problem
    assert caught.value.remedy.startswith("--probe 13s")
    assert not root.exists()


def test_a_p99_that_is_given_takes_the_place_of_the_scenarios(asked: Path) -> None:
    slo = "slo={latency.end_to_end.p99: 20 ms, latency.publish.p99: 5 ms, throughput: 100/s, loss.confirmed: 4}"
    scenario = read_scenario(asked, catalogue(), [slo])
    assert [(b.metric, b.limit) for b in bounds_of(scenario, None)] == [(P99, 0.02), ("latency.publish.p99", 0.005)]
    assert [(b.metric, b.limit) for b in bounds_of(scenario, 0.1)] == [(P99, 0.1), ("latency.publish.p99", 0.005)]


@pytest.mark.parametrize(
    ("overrides", "p99_s", "said"),
    [
        ([], None, "no latency is bounded"),
        (["slo={loss.confirmed: 0}"], None, "no latency is bounded"),
        (["faults=[{at: 8 s, kill: worker}]", "phases.steady=20 s"], 0.05, "has a fault"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_starts(
    asked: Path, tmp_path: Path, overrides: list[str], p99_s: float | None, said: str
) -> None:
    root = tmp_path / "runs"
    with pytest.raises(UsageError, match=said) as caught:
        Capacity(plan(asked, root, *overrides, p99_s=p99_s), EmbeddedDeployment(), Told())
    assert caught.value.remedy
    assert not root.exists()


@pytest.mark.parametrize(
    "option",
    [
        "--p99=50",
        "--p99=0s",
        "--p99=fast",
        "--from=0/s",
        "--from=1000",
        "--within=0.5%",
        "--within=60%",
        "--probe=10ms",
    ],
)
def test_an_option_that_is_no_such_quantity_is_refused_with_an_example(asked: Path, option: str) -> None:
    with pytest.raises(UsageError) as caught:
        cli.main(["capacity", str(asked), option], standalone_mode=False)
    name, _, value = option.partition("=")
    assert caught.value.problem == f"{name} {value}: not a value that it takes"
    assert caught.value.remedy.startswith(f"for example {name} ")


# A search, on trials of a broker whose capacity is known.


class Told:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def notice(self, event: Event) -> None:
        self.events.append(event)


@dataclass
class Known:
    """Runs trials of a broker that carries 2,000/s."""

    capacity_per_s: float = 2000.0
    interrupted_in: int = 0
    gives_out_at: float = 1e30
    full_at: float = 1e30
    more: dict[str, Any] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    def __call__(
        self, scenario: Scenario, case: Case, _: Any, listener: Listener, *, seed: int, root: Path, command: str
    ) -> Done:
        rate = case.load.profile[0].rates_per_s[0]
        if rate >= self.full_at:
            raise UsageError("no room for the slots of 9,999,999 messages")
        self.rates.append(rate)
        self.seeds.append(seed)
        number = len(self.rates)
        interrupted = number == self.interrupted_in
        one = self._trial(rate) if not interrupted else trial(status=TrialStatus.INTERRUPTED, reasons=["interrupted"])
        record = records.run([records.case(case.id, trials=[one])], status="interrupted" if interrupted else "finished")
        listener.notice(RunStarted(t_ns=0, run_id="", scenario="", deployment="", cases=(), trials=1, trial_s=1.0))
        listener.notice(CaseStarted(t_ns=0, number=1, of=1, case_id=case.id))
        listener.notice(CaseFinished(case=record.cases[0], trial=1, status=one.status))
        folder = root / f"run-{number}"
        folder.mkdir()
        return Done(folder=RunFolder(folder), record=record)

    def _trial(self, rate: float) -> TrialRecord:
        if rate >= self.gives_out_at:
            return records.invalid_trial(**self.more)
        if rate <= self.capacity_per_s:
            return trial(p99_s=0.002 / (1 - 0.97 * rate / self.capacity_per_s), **self.more)
        achieved = self.capacity_per_s / rate
        label = {"steady": "filling" if achieved < 0.95 else "sustained"}
        return trial(p99_s=10 * (1 - achieved), achieved=achieved, throughput_label=label, **self.more)


def searched(
    of: CapacityPlan, monkeypatch: pytest.MonkeyPatch, known: Known | None = None
) -> tuple[Capacity, Known, list[Event]]:
    known = known or Known()
    heard = Told()
    monkeypatch.setattr(experiment, "run_one", known)
    this = Capacity(of, EmbeddedDeployment(), heard)
    this.run()
    return this, known, heard.events


def test_the_capacity_is_found_and_every_trial_is_kept(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    p99_s = 0.1
    this, known, _ = searched(plan(asked, tmp_path, p99_s=p99_s), monkeypatch)
    [found] = this.record.searches
    assert (found.found, found.rate_per_s, found.above_per_s, found.above) == ("found", 1987.0, 2031.0, Shown.MISSED)
    assert (this.record.status, this.record.exit_code) == ("finished", 0)
    assert [p.rate_per_s for p in found.probes] == known.rates
    assert known.seeds == list(range(1, len(known.rates) + 1))
    assert [p.run for p in found.probes] == [f"run-{n}" for n in range(1, len(known.rates) + 1)]
    again = [p for p in found.probes if p.again]
    assert [p.rate_per_s for p in again] == [2075.0, 2031.0], "they missed by less than 5 %"


def test_capacity_json_is_what_was_found_and_fits_its_schema(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    this, _, _ = searched(plan(asked, tmp_path), monkeypatch)
    stored = json.loads((this.folder / "capacity.json").read_text())
    jsonschema.validate(stored, capacity_schema())
    assert CapacityRecord.model_validate(stored) == this.record


def test_a_generator_that_gives_out_first_leaves_at_least_and_ends_with_13(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    this, _, _ = searched(plan(asked, tmp_path), monkeypatch, Known(capacity_per_s=1e9, gives_out_at=3000.0))
    [found] = this.record.searches
    assert (found.found, found.above) == ("at_least", Shown.GENERATOR)
    assert found.rate_per_s is not None
    assert 3000 / 1.05 < found.rate_per_s < 3000
    assert this.record.exit_code == ExitCode.INVALID
    assert "at least" in this.record.exit_reason
    assert "cannot offer more" in this.record.exit_reason


def test_a_rate_for_whose_slots_there_is_no_room_is_the_generators_limit(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    this, _, _ = searched(plan(asked, tmp_path), monkeypatch, Known(capacity_per_s=1e9, full_at=3000.0))
    [found] = this.record.searches
    assert (found.found, found.above) == ("at_least", Shown.GENERATOR)
    full = [p for p in found.probes if p.shown is Shown.GENERATOR]
    assert {(p.run, p.status, *p.reasons) for p in full} == {("", "", "no room for the slots of 9,999,999 messages")}


def test_a_ctrl_c_leaves_what_is_known(asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    this, _, _ = searched(plan(asked, tmp_path), monkeypatch, Known(interrupted_in=5))
    stored = CapacityRecord.model_validate_json((this.folder / "capacity.json").read_text())
    [found] = stored.searches
    assert (stored.status, stored.exit_code, len(found.probes)) == ("interrupted", 130, 5)
    assert (found.found, found.rate_per_s, found.above_per_s, found.confirmed) == ("unfinished", 1600.0, 2263.0, False)
    assert told.rate(found) == "not known yet; 1,600/s held"
    assert told.sentence(found).startswith("not confirmed; 2,263/s does not hold (backlog grew to 37: 88.4 % settled")


def test_a_ctrl_c_in_the_very_first_trial_says_that_nothing_is_known(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    this, _, _ = searched(plan(asked, tmp_path), monkeypatch, Known(interrupted_in=1))
    lines = printed(this.record, 110).splitlines()
    assert lines[1] == "CAPACITY  not known yet  no trial was run to its end"
    assert "! INTERRUPTED after 0 trials" in lines
    assert "Exit code 130: interrupted" in lines
    assert drawing(this.record) is None


def test_a_broken_guarantee_ends_with_10_whatever_the_capacity(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [records.guarantee(Verdict.VIOLATED, "none", evidence="2 given twice")]
    this, _, _ = searched(plan(asked, tmp_path), monkeypatch, Known(more={"guarantees": broken}))
    assert this.record.searches[0].found == "none"
    assert [probe.rate_per_s for probe in this.record.searches[0].probes] == [800.0, 400.0], "once lower, no more"
    assert this.record.exit_code == ExitCode.BROKEN
    assert this.record.exit_reason == "null@embedded: at 800/s: VIOLATED (none): 2 given twice"


def test_an_error_in_a_trial_leaves_a_search_that_says_that_it_failed(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Done:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(experiment, "run_one", broken)
    this = Capacity(plan(asked, tmp_path), EmbeddedDeployment(), Told())
    with pytest.raises(RuntimeError):
        this.run()
    stored = CapacityRecord.model_validate_json((this.folder / "capacity.json").read_text())
    assert (stored.status, stored.exit_code) == ("failed", 70)


def test_the_live_view_is_told_of_the_probes_so_far_each_under_a_name_of_its_own(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, known, events = searched(plan(asked, tmp_path), monkeypatch)
    began = [event for event in events if isinstance(event, RunStarted)]
    assert [len(event.cases) for event in began] == list(range(1, len(known.rates) + 1))
    started = [event.case_id for event in events if isinstance(event, CaseStarted)]
    assert started[:2] == ["1: 800/s, growth", "2: 1,600/s, growth"]
    assert [event.cases[-1].id for event in began] == started
    ended = [event for event in events if isinstance(event, CaseFinished)]
    assert [event.case.id for event in ended] == started


@pytest.mark.parametrize(
    ("founds", "code"),
    [
        (["found", "found"], ExitCode.PASS),
        (["found", "unsteady"], ExitCode.INCONCLUSIVE),
        (["unsteady", "at_least"], ExitCode.INVALID),
        (["untold", "none"], ExitCode.BROKEN),
    ],
)
def test_of_several_cases_the_severest_end_counts(founds: list[Any], code: ExitCode, asked: Path) -> None:
    searches = [Searched(case=records.case(), found=found, rate_per_s=1.0) for found in founds]
    assert exit_of(record(searches))[0] is code


# What is said and drawn.


def record(searches: list[Searched], **more: Any) -> CapacityRecord:
    values: dict[str, Any] = {
        "tool_version": "0.1.0",
        "status": "finished",
        "started_wall_ns": 0,
        "scenario": "asked",
        "question": "How much does it carry?",
        "scenario_text": ASKED,
        "command": "brokerbench capacity asked",
        "deployment": "embedded",
        "asked": [{"metric": P99, "limit": 0.1, "text": "100 ms"}],
        "within": 0.05,
        "searches": searches,
    }
    return CapacityRecord(**values | more)


def printed(shown: CapacityRecord, width: int) -> str:
    out = io.StringIO()
    print_capacity(shown, Console(file=out, width=width), folder=Path("runs/it"))
    return out.getvalue()


@pytest.fixture
def found(asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CapacityRecord:
    return searched(plan(asked, tmp_path, p99_s=0.1), monkeypatch)[0].record


@pytest.mark.parametrize("width", [80, 110, 160])
def test_the_answer_comes_first_then_every_rate_with_why_it_does_not_hold(found: CapacityRecord, width: int) -> None:
    lines = printed(found, width).splitlines()
    assert lines[1].startswith("CAPACITY  1,987/s  it held in 3 fresh trials; 2,031/s does not hold")
    assert max(map(len, lines)) <= width
    rows = [line.strip() for line in lines if "of" in line and "/s" in line and (" holds" in line or "missed" in line)]
    assert [row.removeprefix("▶ ").split()[0] for row in rows][-7:] == [
        "800/s", "1,600/s", "1,903/s", "1,987/s", "2,031/s", "2,075/s", "2,263/s", "3,200/s"
    ][-7:]  # fmt: skip
    assert sum(row.startswith("▶ 1,987/s  4 of 4") for row in rows) == 1


def test_a_narrow_terminal_gets_the_rates_one_below_the_other(found: CapacityRecord) -> None:
    text = printed(found, 50)
    assert "▶ 1,987/s, held 4 of 4 ✓ holds" in text
    assert "p99 end to end 55.1 ms" in " ".join(text.split())


def test_the_chart_has_a_title_with_the_durability_and_a_row_per_rate(found: CapacityRecord) -> None:
    drawn = drawing(found)
    assert drawn is not None
    assert "process-crash-safe" in drawn.title
    assert P99 not in drawn.title
    assert [row[1] for row in drawn.table.rows] == [
        "800/s", "1,600/s", "1,903/s", "1,987/s", "2,031/s", "2,075/s", "2,263/s", "3,200/s"
    ]  # fmt: skip
    png = picture(found)
    assert png is not None
    assert Image.open(io.BytesIO(png)).size[0] == 1350


def test_where_no_trial_left_a_figure_nothing_is_drawn() -> None:
    assert picture(record([Searched(case=records.case(trials=[]))])) is None


def test_a_rate_that_was_refused_on_a_busy_machine_only_is_told(found: CapacityRecord) -> None:
    assert "may carry more" not in printed(found, 110)
    assert "at most 5 % too low" in printed(found, 110)
    busy = "other programs used 1.6 of 2 cores while under load"
    probes = [probe.model_copy(update={"disturbed": busy}) for probe in found.searches[0].probes]
    shown = found.model_copy(update={"searches": [found.searches[0].model_copy(update={"probes": probes})]})
    unanswered = shown.searches[0].model_copy(update={"found": "unfinished"})
    answer = Answer(found="found", rate_per_s=1987.0, above_per_s=2031.0, above=Shown.MISSED)
    shown = shown.model_copy(update={"searches": [summed_up(unanswered, answer)]})
    text = " ".join(printed(shown, 110).split())
    assert text.startswith(
        "CAPACITY at least 1,987/s it held in 3 fresh trials; others took the machine when 2,031/s did not hold: 2,031/s"
    )
    assert f"{busy} when 2,031/s did not hold: left to itself this machine may carry more" in text
    assert "too low" not in text
    code, reason = exit_of(shown)
    assert code is ExitCode.INVALID
    assert reason.endswith("at least 1,987/s: others took the machine when 2,031/s did not hold")
    lost = [probe.model_copy(update={"broken": True}) for probe in probes]
    excused = summed_up(unanswered.model_copy(update={"probes": lost}), answer)
    assert (excused.found, told.disturbed(excused)) == ("found", ""), "no machine excuses a loss"


def test_a_generator_that_gave_out_below_a_refused_rate_is_told(found: CapacityRecord) -> None:
    first, *rest = [probe for probe in found.searches[0].probes if probe.rate_per_s == 2075.0]
    gave = first.model_copy(update={"shown": Shown.GENERATOR, "rate_per_s": 3000.0})
    shown = found.searches[0].model_copy(update={"probes": [*found.searches[0].probes, gave, *rest]})
    assert told.warnings(shown) == [
        "the load generator gave out at 3,000/s, where a higher rate was refused to the broker: this machine may be the limit"
    ]


def test_warnings_that_differ_in_figures_only_are_said_once_and_none_is_left_out_silently(
    found: CapacityRecord,
) -> None:
    busy = ["other programs used {} of 2 cores", "a", "b", "c", "d", "e"]
    searched_ = found.searches[0]
    probes = [
        probe.model_copy(update={"warnings": [each.format(1 + probe.number / 10) for each in busy]})
        for probe in searched_.probes
    ]
    warnings = told.warnings(searched_.model_copy(update={"probes": probes}))
    assert warnings[0].endswith("of 2 cores (and the like in 3 other trials)")
    assert len(warnings) == 5
    assert warnings[-1] == "… and 2 warnings more, in the runs"


def test_a_ctrl_c_while_the_chart_is_drawn_costs_no_figure(
    found: CapacityRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: CapacityRecord) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("reports.capacity.picture.picture", interrupted)
    with pytest.raises(Interrupted) as caught:
        searching._told(found, tmp_path, as_json=False)
    assert str(tmp_path) in str(caught.value)
    out = capsys.readouterr().out
    assert "1,987/s" in out
    assert "Chart:" not in out


def test_the_chart_is_named_after_the_figures(
    found: CapacityRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert searching._told(found, tmp_path, as_json=False) == found.exit_code
    assert capsys.readouterr().out.rstrip().endswith(f"Chart: {tmp_path / 'capacity.png'}")


def many(found: CapacityRecord, number: int) -> CapacityRecord:
    """Returns a search of cases with long names."""
    one = found.searches[0]
    ids = [
        f"redis-stream[persistence=aof-everysec,maxmemory=256 MiB,appendfsync={n},io-threads=4]@bridge-with-a-long-name"
        for n in range(number)
    ]
    each = [one.model_copy(update={"case": one.case.model_copy(update={"id": name})}) for name in ids]
    return found.model_copy(update={"searches": each})


def test_the_answers_of_several_cases_with_long_names_are_all_there_on_a_narrow_terminal(found: CapacityRecord) -> None:
    lines = printed(many(found, 3), 80).splitlines()
    assert lines[1] == "CAPACITIES"
    assert sum(line.startswith("    1,987/s  it held in 3 fresh trials") for line in lines) == 3
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("number", [2, 12])
def test_a_chart_of_long_names_breaks_them_and_says_which_durability_is_whose(
    found: CapacityRecord, number: int
) -> None:
    drawn = drawing(many(found, number))
    assert drawn is not None
    assert drawn.title == f"p99 end to end over the offered rate: {number} cases"
    drawn.figure.draw_without_rendering()
    right = drawn.figure.bbox.x1
    for axes in (axes for axes in drawn.figure.axes if axes.get_visible()):
        title = axes.get_title(loc="left")
        assert "1,987/s (process-crash-safe" in title.replace("\n", " ")
        assert axes._left_title.get_window_extent().x1 <= right  # type: ignore[attr-defined] # no public way to it
    assert drawn.figure.get_size_inches()[1] < 25
