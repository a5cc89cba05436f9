"""Cases side by side, from hand-made records: exact differences, and every reason for which there is none."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import records
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from harness.errors import BrokenRunFolderError, NotComparableError, UsageError
from harness.model import DurabilityClass, Verdict
from harness.record import AtLeast, CaseRecord, Figure, Unknown
from reports import figures, notes, ratios, sides
from reports.charts._forest import forest
from reports.charts._ratios import ticks_between
from reports.compared import Comparison, Difference, comparison_schema
from reports.comparison import NOT_THERE, comparison
from reports.comparison_markdown import page_of
from reports.comparison_terminal import print_comparison
from reports.differences import INVALID, NOT_KNOWN, ONE_TRIAL, REFERENCE_INVALID, TWO_BOUNDS, WINDOWS, compared
from reports.markdown import MAX_BYTES
from reports.naming import names_of
from reports.rows import Run

P99 = "latency.end_to_end.p99"
IDENTITY = {
    "measurement_version": 2, "cpu_model": "EPYC", "cpus": 2, "cpus_usable": 2, "cgroup_cpu_quota": "none", "architecture": "x86_64",
    "system": "Linux", "filesystem_data": "ext4", "filesystem_slots": "tmpfs", "filesystem_run": "ext4",
}  # fmt: skip
DRIFT = {"kernel": "6.8.0", "python": "3.11.9", "libraries": {"redis": "6.2.0"}}
FINGERPRINT = {"identity": IDENTITY, "drift": DRIFT, "subject": {"brokerbench": "0.1.0"}}
EXPANDED = {
    "load": {"profile": [{"kind": "constant"}], "saturate_window": None},
    "workers": {"count": 2}, "phases": {"steady_s": 10.0}, "faults": [], "agents": 1, "seed": 1,
}  # fmt: skip
SETTINGS = {"asked": {"fsync": "on"}, "found": {"fsync": "on"}, "also": {}, "version": "7.2"}


def case(id: str, *values: Figure, metric: str = P99, throughput: str = "sustained", **more: Any) -> CaseRecord:
    """A case with a valid trial for each value of ``metric``."""
    trials = []
    for number, value in enumerate(values, 1):
        metrics = records.metrics()
        for window in metrics.values():
            window[metric] = value
        trials.append(
            records.trial(
                number, metrics=metrics, faults=[], throughput_label={"steady": throughput}, **more.pop("trial", {})
            )
        )
    return records.case(id, trials=trials, guarantees=[records.no_fault()], **more)


def run(cases: Sequence[CaseRecord], name: str = "2026-11-21T10-15-03-crash", **more: Any) -> Run:
    record = records.run(
        list(cases),
        **{"run_id": f"{abs(hash(name)):016x}"[:16], "fingerprint": FINGERPRINT, "scenario_expanded": EXPANDED} | more,
    )
    return Run(folder=Path("/runs") / name, record=record, settings={each.slug: [SETTINGS] for each in cases})


def difference(told: Comparison, label: str, metric: str = P99) -> Difference | str:
    """The difference of an arm, or why there is none."""
    [arm] = [arm for group in told.groups for arm in group.arms if arm.label == label]
    found = arm.figures[metric]
    return found.difference or found.why


def test_a_figure_stands_beside_its_difference_to_the_first_case_of_its_class() -> None:
    told = comparison([run([case("redis-list@embedded", 0.010), case("redis-stream@embedded", 0.025)])])
    found = difference(told, "redis-stream@embedded")
    assert isinstance(found, Difference)
    assert (found.absolute, found.ratio, found.relation) == (pytest.approx(0.015), pytest.approx(2.5), "=")
    assert (found.interval, found.no_interval) == (None, ONE_TRIAL)
    assert difference(told, "redis-list@embedded") == ""
    assert [arm.reference for arm in told.groups[0].arms] == ["redis-list@embedded"] * 2


def test_no_difference_crosses_durability_classes() -> None:
    memory = case("redis-stream[persistence=none]@embedded", 0.001, durability=DurabilityClass.MEMORY)
    told = comparison([run([memory, case("redis-stream@embedded", 0.010), records.postgres_case()])])
    assert [group.title for group in told.groups] == ["memory", "process-crash-safe", "fsynced"]
    assert [difference(told, arm.label) for group in told.groups for arm in group.arms] == ["", "", ""]
    assert notes.ACROSS in told.notes


def test_trials_give_the_ratio_an_interval_exactly() -> None:
    """All nine ratios, sorted: the bounds of 3 and 3 trials are the smallest and the largest, each wrong with 1/20."""
    told = comparison([run([case("a@embedded", 0.010, 0.011, 0.012), case("b@embedded", 0.020, 0.022, 0.024)])])
    found = difference(told, "b@embedded")
    assert isinstance(found, Difference)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == (pytest.approx(20 / 12), pytest.approx(24 / 10))
    assert found.interval.level == 0.05
    assert found.ratio == pytest.approx(2.0)
    cell = ratios.cell(P99, told.groups[0].arms[1].figures[P99])
    assert cell.lines == ["22 ms", "20 ms – 24 ms", "+11 ms ×2.00", "[1.67 – 2.40]"]
    assert cell.sure


def test_an_interval_that_holds_1_says_so() -> None:
    told = comparison([run([case("a@embedded", 0.010, 0.012, 0.014), case("b@embedded", 0.011, 0.013, 0.012)])])
    cell = ratios.cell(P99, told.groups[0].arms[1].figures[P99])
    assert cell.interval == "≈ [0.79 – 1.30]"
    assert not cell.sure
    assert sides.headline(told).endswith(
        "0 of 8 intervals of ratios leave ×1 out; by chance alone less than one would."
    )


@pytest.mark.parametrize(
    ("here", "there", "told"),
    [
        (AtLeast(at_least=0.03), 0.01, "≥ +20 ms ×3.00"),
        (0.01, AtLeast(at_least=0.02), "≤ −10 ms ×0.50"),
        (AtLeast(at_least=0.03), AtLeast(at_least=0.02), TWO_BOUNDS),
        (Unknown(unknown="n too small"), 0.01, NOT_KNOWN),
        (0.01, Unknown(unknown="n too small"), NOT_KNOWN),
        (0.01, 0.01, "±0 s ×1.000"),
    ],
)
def test_what_is_only_at_least_or_unknown_is_compared_as_far_as_that_goes(
    here: Figure, there: Figure, told: str
) -> None:
    found = comparison([run([case("a@embedded", there), case("b@embedded", here)])]).groups[0].arms[1].figures[P99]
    assert (ratios.cell(P99, found).difference or found.why) == told


ONLY = [AtLeast(at_least=value) for value in (9.1, 9.2, 9.3)]


@pytest.mark.parametrize(
    ("here", "there", "lines", "bounds"),
    [
        (ONLY, [7.0, 8.0, 9.0], ["≥ +1.2 s ×1.15", "[1.011 – …]"], (1.011, None)),
        ([7.0, 8.0, 9.0], ONLY, ["≤ −1.2 s ×0.87", "[… – 0.989]"], (0.0, 0.989)),
        ([7.0, 8.0, *ONLY[:1]], [7.0, 8.0, 9.0], ["±0 s ×1.000", "≈ [0.78 – …]"], (7 / 9, None)),
        ([20.0, 21.0, 22.0], [AtLeast(at_least=8.0), 7.0, 9.0], ["≥ +10.7 s ×2.33", "≈ [… – 3.14]"], (0.0, 22 / 7)),
    ],
)
def test_only_what_is_true_is_printed_of_what_is_only_at_least(
    here: list[Figure], there: list[Figure], lines: list[str], bounds: tuple[float, float | None]
) -> None:
    found = compared(case("b@embedded", *here), P99, case("a@embedded", *there), "")
    assert ratios.cell(P99, found).lines[2:] == lines
    assert found.difference is not None
    assert found.difference.interval is not None
    assert [found.difference.interval.low, found.difference.interval.high] == pytest.approx([*bounds], abs=1e-3)


def test_a_comparison_with_figures_that_are_only_at_least_fits_its_schema_and_is_drawn() -> None:
    told = comparison([run([case("a@embedded", 7.0, 8.0, 9.0), case("b@embedded", *ONLY)])])
    jsonschema.validate(json.loads(told.model_dump_json()), comparison_schema())
    drawn = forest(told)
    assert drawn is not None
    assert "[1.011 – …]" in [row[4] for row in drawn.table.rows]
    assert "no bound" in drawn.note


@settings(max_examples=60)
@given(st.lists(st.floats(0.5, 2), min_size=1, max_size=6), st.lists(st.floats(0.5, 2), min_size=1, max_size=6))
def test_difference_and_ratio_point_the_same_way(here: list[float], there: list[float]) -> None:
    found = compared(case("b@embedded", *here), P99, case("a@embedded", *there), "").difference
    assert found is not None
    assert found.ratio is not None
    assert found.absolute is not None
    assert (found.absolute > 0, found.absolute < 0) == (found.ratio > 1, found.ratio < 1)


@pytest.mark.parametrize(
    ("values", "more_is_better", "middle", "highest"),
    [
        ([AtLeast(at_least=0.1), 2.0, 3.0], False, AtLeast(at_least=2.0), AtLeast(at_least=3.0)),
        ([1.0, 2.0, AtLeast(at_least=9.0)], False, 2.0, AtLeast(at_least=9.0)),
        ([1.0, AtLeast(at_least=5.0), AtLeast(at_least=6.0)], False, AtLeast(at_least=5.0), AtLeast(at_least=6.0)),
        ([3000.0, AtLeast(at_least=4000.0)], True, 3000.0, AtLeast(at_least=4000.0)),
    ],
)
def test_the_middle_is_only_at_least_where_a_trial_that_was_cut_short_may_reach_it(
    values: list[Figure], more_is_better: bool, middle: Figure, highest: Figure
) -> None:
    found = figures.middle(values, more_is_better=more_is_better)
    assert (found.middle, found.highest) == (middle, highest)


def test_a_recovery_that_was_hardly_waited_for_is_not_compared() -> None:
    slow = records.trial(faults=[records.broker_kill(12.0)])
    cut = records.trial(faults=[records.broker_kill(AtLeast(at_least=0.8))])
    told = comparison([run([records.case("a@embedded", trials=[slow]), records.case("b@embedded", trials=[cut])])])
    assert difference(told, "b@embedded", "recovery.p99") == NOT_KNOWN


def test_a_throughput_whose_backlog_moved_is_not_compared() -> None:
    filling = case("b@embedded", 3_000.0, metric="throughput", throughput="filling")
    told = comparison([run([case("a@embedded", 4_000.0, metric="throughput"), filling])])
    assert difference(told, "b@embedded", "throughput") == "filling"
    assert isinstance(difference(told, "b@embedded"), Difference)
    told = comparison([run([filling, case("a@embedded", 4_000.0, metric="throughput")])])
    assert difference(told, "a@embedded", "throughput") == "the reference is filling"


def test_a_case_without_a_valid_trial_enters_no_difference_and_is_no_reference_by_itself() -> None:
    broken = records.case("a@embedded", trials=[records.invalid_trial()])
    told = comparison([run([broken, case("b@embedded", 0.01), case("c@embedded", 0.02)])])
    assert difference(told, "a@embedded") == INVALID
    assert told.groups[0].arms[0].verdict == "INVALID"
    assert [arm.reference for arm in told.groups[0].arms] == ["b@embedded"] * 3
    told = comparison([run([broken, case("b@embedded", 0.01)])], baseline="a@embedded")
    assert difference(told, "b@embedded") == REFERENCE_INVALID


def test_figures_of_different_windows_are_not_compared() -> None:
    whole = records.metrics()
    del whole["steady"][P99]
    other = records.case("b@embedded", trials=[records.trial(metrics=whole)])
    assert difference(comparison([run([case("a@embedded", 0.01), other])]), "b@embedded") == WINDOWS


def test_a_figure_whose_trials_have_it_of_different_windows_is_not_compared() -> None:
    whole = records.metrics()
    del whole["steady"][P99]
    mixed = records.case(
        "b@embedded", trials=[records.trial(1), records.trial(2, metrics=whole), records.trial(3, metrics=whole)]
    )
    told = comparison([run([case("a@embedded", 0.01, 0.01, 0.01), mixed])])
    assert difference(told, "b@embedded") == WINDOWS
    assert ratios.cell(P99, told.groups[0].arms[1].figures[P99]).value.endswith(", steady and whole")
    assert "not compared: the windows differ." in told.notes
    told = comparison([run([mixed, case("a@embedded", 0.01, 0.01, 0.01)])])
    assert difference(told, "a@embedded") == WINDOWS


def test_a_closed_loop_is_compared_with_closed_loops_only() -> None:
    cases = [case("a@embedded", 0.01), case("a[load=ceiling]@embedded", 0.09, ceiling=True), case("b@embedded", 0.02)]
    told = comparison([run(cases)])
    assert [(group.title, [arm.case for arm in group.arms]) for group in told.groups] == [
        ("process-crash-safe", ["a@embedded", "b@embedded"]),
        ("process-crash-safe, in closed loop", ["a[load=ceiling]@embedded"]),
    ]
    assert notes.CLOSED in told.notes


def two_runs(**second: Any) -> list[Run]:
    cases = [case("a@embedded", 0.010), case("b@embedded", 0.020)]
    again = [case("b@embedded", 0.030), case("c@embedded", 0.001)]
    return [run(cases), run(again, "2026-11-21T11-00-00-crash", **second)]


def test_of_several_runs_each_case_is_compared_with_itself_in_the_first() -> None:
    told = comparison(two_runs())
    assert [arm.label for arm in told.groups[0].arms] == [
        "10:15:03 a@embedded",
        "10:15:03 b@embedded",
        "11:00:00 b@embedded",
        "11:00:00 c@embedded",
    ]
    found = difference(told, "11:00:00 b@embedded")
    assert isinstance(found, Difference)
    assert found.ratio == pytest.approx(1.5)
    assert difference(told, "11:00:00 c@embedded") == NOT_THERE


@pytest.mark.parametrize("baseline", ["11:00:00", "2026-11-21T11-00-00-crash", "/runs/2026-11-21T11-00-00-crash/"])
def test_a_run_can_be_the_baseline(baseline: str) -> None:
    told = comparison(two_runs(), baseline=baseline)
    found = difference(told, "10:15:03 b@embedded")
    assert isinstance(found, Difference)
    assert found.ratio == pytest.approx(2 / 3)
    assert difference(told, "10:15:03 a@embedded") == NOT_THERE


@pytest.mark.parametrize("baseline", ["11:00:00:c@embedded", "c@embedded", "2026-11-21T11-00-00-crash:c@embedded"])
def test_a_case_can_be_the_baseline_of_all_in_its_class(baseline: str) -> None:
    told = comparison(two_runs(), baseline=baseline)
    assert {arm.reference for arm in told.groups[0].arms} == {"11:00:00 c@embedded"}
    found = difference(told, "10:15:03 a@embedded")
    assert isinstance(found, Difference)
    assert found.ratio == pytest.approx(10.0)


def test_a_baseline_that_matches_no_case_is_told_with_the_nearest_name() -> None:
    with pytest.raises(UsageError) as caught:
        comparison(
            [run([case("redis-list@embedded", 0.1), case("redis-stream@embedded", 0.1)])],
            baseline="redis-strem@embedded",
        )
    assert str(caught.value) == (
        "--baseline 'redis-strem@embedded' matches no case\n"
        "  expected: one of redis-list@embedded, redis-stream@embedded\n"
        "  remedy: did you mean 'redis-stream@embedded'?"
    )


def test_another_cpu_model_is_refused_with_what_differs_and_the_remedy() -> None:
    other = {**FINGERPRINT, "identity": {**IDENTITY, "cpu_model": "Xeon"}}
    with pytest.raises(NotComparableError) as caught:
        comparison(two_runs(fingerprint=other))
    assert int(caught.value.exit_code) == 12
    assert "CPU model: EPYC / Xeon" in caught.value.problem
    assert "--cross-machine" in caught.value.remedy


def test_across_machines_ratios_are_information_without_intervals() -> None:
    other = {**FINGERPRINT, "identity": {**IDENTITY, "cpu_model": "Xeon"}}
    told = comparison(two_runs(fingerprint=other), cross_machine=True)
    assert told.unlike == ["CPU model: EPYC / Xeon"]
    assert told.cross_machine
    found = difference(told, "11:00:00 b@embedded")
    assert isinstance(found, Difference)
    assert found.interval is None
    assert told.notes[0] == notes.CROSS_MACHINE
    assert [(each.name, each.values) for each in told.fingerprints] == [
        ("identity.cpu_model", {"10:15:03": "EPYC", "11:00:00": "Xeon"})
    ]


def test_runs_that_only_share_a_case_which_the_reference_has_not_must_be_alike_too() -> None:
    other = {**FINGERPRINT, "identity": {**IDENTITY, "cpu_model": "Xeon"}}
    first = run([case("a@embedded", 0.01)])
    both = run([case("a@embedded", 0.01), case("b@embedded", 0.01)], "2026-11-21T11-00-00-crash")
    third = run([case("b@embedded", 0.01)], "2026-11-21T12-00-00-crash", fingerprint=other)
    with pytest.raises(NotComparableError, match="CPU model: EPYC / Xeon"):
        comparison([first, both, third])
    told = comparison([first, both, third], cross_machine=True)
    assert told.unlike == ["CPU model: EPYC / Xeon (12:00:00 b@embedded)"]
    assert difference(told, "12:00:00 b@embedded") == NOT_THERE


def test_a_run_that_has_not_ended_is_told_with_how_many_of_its_trials_there_are() -> None:
    expanded = {**EXPANDED, "trials": 5}
    cases = [case("a@embedded", 0.01, 0.01), case("b@embedded", 0.01)]
    told = comparison([run(cases, scenario_expanded=expanded, status="running")])
    assert sides.headline(told).startswith("The run is not finished: it runs still, or was killed. 2 cases: ")
    for text in (shown(told, 160), page_of(told)):
        assert "2 of 2 trials valid, 2 of 5 planned trials run" in text
        assert "1 of 5 planned trials run" in text
    assert [arm.planned for arm in told.groups[0].arms] == [5, 5]
    told = comparison(two_runs(status="interrupted"))
    assert sides.headline(told).startswith("11:00:00 is interrupted. 4 cases of 2 runs: ")


def test_a_run_without_a_case_is_named() -> None:
    with pytest.raises(UsageError, match="/runs/empty has no case"):
        comparison([*two_runs(), run([], "empty")])


def test_a_baseline_that_may_be_several_runs_is_refused_with_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (
        Run(folder=tmp_path / place / each.folder.name, record=each.record, settings=each.settings)
        for place, each in (
            ("old", run([case("a@embedded", 0.01)])),
            ("new", run([case("a@embedded", 0.02)], run_id="f" * 16)),
        )
    )
    for asked in (old.folder.name, f"{old.folder.name}:a@embedded"):
        with pytest.raises(UsageError) as caught:
            comparison([old, new], baseline=asked)
        assert str(old.folder) in caught.value.problem
        assert str(new.folder) in caught.value.problem
    monkeypatch.chdir(tmp_path)
    for asked in (f"new/{new.folder.name}", f"./new/{new.folder.name}/", str(new.folder)):
        [group] = comparison([old, new], baseline=asked).groups
        assert {arm.reference for arm in group.arms} == {group.arms[1].label}


def test_an_edited_record_is_refused_in_words() -> None:
    with pytest.raises(BrokenRunFolderError, match="does not say how many agents"):
        comparison(two_runs(scenario_expanded={**EXPANDED, "agents": None}))


def test_drift_is_shown_and_not_refused() -> None:
    told = comparison(two_runs(fingerprint={**FINGERPRINT, "drift": {**DRIFT, "kernel": "6.9.1"}}))
    assert told.drift == ["kernel: 6.8.0 / 6.9.1"]
    assert notes.DRIFT in told.notes


def test_another_question_is_refused_and_shown_across() -> None:
    other = {**EXPANDED, "workers": {"count": 4}}
    with pytest.raises(NotComparableError, match="scenario: workers: count: 2 / 4"):
        comparison(two_runs(scenario_expanded=other))
    told = comparison(two_runs(scenario_expanded=other), cross_machine=True)
    assert [(each.name, each.values) for each in told.scenarios] == [
        ("workers.count", {"10:15:03": "2", "11:00:00": "4"})
    ]


def test_runs_without_a_case_in_common_are_not_comparable() -> None:
    with pytest.raises(NotComparableError, match="no case in common: 10:15:03 has a@embedded; 11:00:00 has c@embedded"):
        comparison([run([case("a@embedded", 0.1)]), run([case("c@embedded", 0.1)], "2026-11-21T11-00-00-crash")])


def test_one_case_alone_and_the_same_run_twice_are_refused() -> None:
    alone = run([case("a@embedded", 0.1)])
    with pytest.raises(UsageError, match="one case only"):
        comparison([alone])
    with pytest.raises(UsageError, match="the same run is named twice"):
        comparison([alone, alone])


def test_only_what_differs_between_cases_is_listed() -> None:
    cases = [
        case("redis-stream[persistence=none]@embedded", 0.1, parameters={"persistence": "none", "maxmemory": ""}),
        case("redis-stream@embedded", 0.1, parameters={"persistence": "aof-everysec", "maxmemory": ""}),
    ]
    whole = run(cases)
    other = {**SETTINGS, "found": {"fsync": "off"}}
    told = comparison(
        [Run(folder=whole.folder, record=whole.record, settings={cases[0].slug: [SETTINGS], cases[1].slug: [other]})]
    )
    assert {each.name: [*each.values.values()] for each in told.parameters} == {"persistence": ["none", "aof-everysec"]}
    assert {each.name: [*each.values.values()] for each in told.settings} == {"fsync": ["on", "on, read back off"]}


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ((0,), "at most 0.96 % of 312 put to the test, if losses were independent (95 %)"),
        ((0, 0, 0, 0, 0), "at most 0.96 % of 312 put to the test, if losses were independent; at most 45% of such deployments would lose (95 %)"),
        ((7,), "one deployment: how often it would lose cannot be told"),
        ((7, 0, 9, 0, 0), "in 2 of 5 deployments: 8% – 81% of such would lose (90 %)"),
    ],
)  # fmt: skip
def test_what_a_loss_proves_is_told_by_deployments(lost: tuple[int, ...], told: str) -> None:
    trials = [records.trial(number, lost=each) for number, each in enumerate(lost, 1)]
    judged = [records.guarantee().model_copy(update={"bounded": 312}), records.no_fault()]
    assert notes.bound(records.case(trials=trials, guarantees=judged)) == told


def test_a_handful_of_messages_proves_next_to_nothing_and_no_bound_is_told() -> None:
    judged = [records.guarantee().model_copy(update={"bounded": 2})]
    assert notes.bound(records.case(guarantees=judged)) == ""


def test_a_claim_that_was_not_put_to_the_test_proves_nothing() -> None:
    untried = records.guarantee(Verdict.NOT_EXERCISED).model_copy(update={"bounded": 312})
    assert notes.bound(records.case(guarantees=[untried])) == ""


def test_runs_are_named_by_what_tells_them_apart() -> None:
    day, next_day = "2026-11-21T10-15-03-crash", "2026-11-22T10-15-03-crash"
    assert names_of([Path("a") / day, Path("a/2026-11-21T10-16-00-crash")]) == ["10:15:03", "10:16:00"]
    assert names_of([Path(day), Path(next_day)]) == ["2026-11-21 10:15:03", "2026-11-22 10:15:03"]
    assert names_of([Path("old") / day, Path("new") / day]) == [f"old/{day}", f"new/{day}"]
    assert names_of([Path("before"), Path("after")]) == ["before", "after"]
    assert names_of([Path(day)]) == [day]


def shown(told: Comparison, width: int = 80) -> str:
    out = io.StringIO()
    print_comparison(told, Console(file=out, width=width, color_system=None, legacy_windows=False))
    return out.getvalue()


@pytest.mark.parametrize("width", [30, 80, 160])
def test_the_terminal_cuts_nothing_and_stays_within_its_width(width: int) -> None:
    told = comparison([run([records.memory_case(), records.case(), records.postgres_case()])])
    lines = shown(told, width).splitlines()
    assert all(len(line) <= width for line in lines if "/runs" not in line)
    assert "…" not in "".join(lines)
    joined = "".join("".join(lines).split())
    for word in ("▼LOST,asclaimed", "✓HELD", "12.3ms", "Differencesarecomputedwithinonedurabilityclassonly"):
        assert word in joined


def test_invalid_unknown_and_not_exercised_are_told_apart_without_colour() -> None:
    cases = [
        records.case("a@embedded", trials=[records.invalid_trial()], guarantees=[]),
        records.case("b@embedded", guarantees=[records.guarantee(Verdict.UNKNOWN)]),
        records.case("c@embedded", guarantees=[records.guarantee(Verdict.NOT_EXERCISED)]),
        records.case("d@embedded"),
        records.case("e@embedded", trials=[], unavailable="no image"),
    ]
    told = comparison([run(cases)])
    assert sides.headline(told).startswith("5 cases: 1 INVALID; 1 UNKNOWN; 1 NOT EXERCISED; 1 HELD; 1 NOT RUN.")
    for text in (shown(told), page_of(told)):
        for sign in ("! INVALID", "? UNKNOWN", "○ NOT EXERCISED", "✓ HELD", "— NOT RUN"):
            assert sign in text


def test_json_fits_the_published_schema_and_reads_back() -> None:
    told = comparison(two_runs())
    jsonschema.validate(json.loads(told.model_dump_json()), comparison_schema())
    assert Comparison.model_validate_json(told.model_dump_json()) == told


def test_markdown_stays_below_64_kib_and_nothing_of_others_becomes_markup() -> None:
    hostile = "<script>|`x`[a](http://b)\n# **"
    cases = [
        records.case(
            f"setup-{number}[parameter={'x' * 60}]@embedded",
            summary=hostile,
            trials=[records.trial(n) for n in range(1, 6)],
        )
        for number in range(12)
    ]
    text = page_of(comparison([run(cases, question=hostile, command=hostile)]))
    assert len(text.encode()) < MAX_BYTES
    assert (
        len(page_of(comparison([run(cases * 9, question=hostile * 999, command=hostile * 999)])).encode()) < MAX_BYTES
    )
    assert "<script>" not in text.split("## Runs")[0]
    assert text.split("\n")[0].startswith("# quickstart, side by side: &lt;script&gt;\\|")


def test_the_worst_rows_come_first_in_markdown() -> None:
    cases = [records.case("a@embedded"), records.case("b@embedded", guarantees=[records.guarantee(Verdict.VIOLATED)])]
    text = page_of(comparison([run(cases)]))
    assert text.index("✗ VIOLATED | `b@embedded`") < text.index("✓ HELD | `a@embedded`")


def test_the_forest_plot_has_every_ratio_once_with_its_interval_and_says_what_1_is() -> None:
    cases = [
        case("a@embedded", 0.010, 0.011, 0.012),
        case("b@embedded", 0.020, 0.022, 0.024),
        case("c[memory=100 MB,persistence=aof-everysec]@bridge,client=host", 0.011, 0.010, 0.012),
    ]
    told = comparison([run([*cases, records.postgres_case()])])
    drawn = forest(told)
    assert drawn is not None
    rows = [row for row in drawn.table.rows if row[2] == "e2e p99"]
    assert rows == [
        ("b@embedded", "a@embedded", "e2e p99", "×2.00", "[1.67 – 2.40]"),
        (cases[2].id, "a@embedded", "e2e p99", "×1.000", "≈ [0.83 – 1.20]"),
    ]
    assert drawn.note.startswith("×1: process-crash-safe: a@embedded. Filled: ")
    assert drawn.title == "Ratios to the reference, by what a confirm survives (process-crash-safe)"
    panels = [axes for axes in drawn.figure.axes if axes.get_visible()]
    assert len(panels) == len(drawn.table.rows) / 2  # of each case one in every panel
    assert forest(comparison([run([cases[0], records.postgres_case()])])) is None


def test_a_console_that_knows_ascii_only_loses_no_sign() -> None:
    told = comparison([run([case("a@embedded", 0.010, 0.012, 0.014), case("b@embedded", 0.011, 0.013, 0.012)])])
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_comparison(told, Console(file=out, width=80, color_system=None, legacy_windows=False))
    out.flush()
    assert isinstance(out.buffer, io.BytesIO)
    text = out.buffer.getvalue().decode("ascii")
    assert "?" not in text.replace("killed?", "")
    assert "~ [0.79 - 1.30]" in text


@pytest.mark.parametrize(
    ("ratio", "told"),
    [(1.0, "×1.000"), (1.314, "×1.31"), (9.994, "×9.99"), (12.34, "×12.3"), (8_728.0, "×8,728"), (0.0042, "×0.0042"), (0.5, "×0.50")],
)  # fmt: skip
def test_a_ratio_is_never_rounded_to_nothing(ratio: float, told: str) -> None:
    assert ratios.times(ratio) == told


@given(st.floats(-9, 0), st.floats(0.01, 9))
def test_an_axis_of_ratios_has_1_and_at_most_five_ticks_within_it(low: float, high: float) -> None:
    ticks = ticks_between(10**low, 10**high)
    assert 1.0 in ticks
    assert len(ticks) <= 5
    assert ticks == sorted(set(ticks))
    assert all(10**low <= tick <= 10**high for tick in ticks)


@settings(max_examples=30)
@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=6), st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=6))
def test_swapping_two_cases_turns_ratio_and_interval_round(here: list[float], there: list[float]) -> None:
    def found(first: list[float], second: list[float]) -> Difference:
        told = compared(case("b@embedded", *second), P99, case("a@embedded", *first), "").difference
        assert told is not None
        return told

    one, other = found(here, there), found(there, here)
    assert (one.interval is None) == (other.interval is None)
    if one.interval and other.interval:
        assert one.ratio is not None
        assert other.ratio == pytest.approx(1 / one.ratio)
        assert other.interval.high is not None
        assert one.interval.low == pytest.approx(1 / other.interval.high)


def test_every_trial_is_in_the_json_with_its_number() -> None:
    told = comparison([run([case("a@embedded", 0.01, 0.02), case("b@embedded", 0.03)])])
    assert [arm.figures[P99].trials for arm in told.groups[0].arms] == [{1: 0.01, 2: 0.02}, {1: 0.03}]


def test_a_run_without_any_figures_is_told_as_it_is() -> None:
    told = comparison([run([records.case("a@embedded", trials=[]), records.case("b@embedded", trials=[])])])
    assert sides.headline(told) == "2 cases: 2 NOT RUN. Nothing could be compared."
    assert "NOT RUN" in shown(told)
    assert "NOT RUN" in page_of(told)
