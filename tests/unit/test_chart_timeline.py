"""The timeline of a case: faults stand at exactly their times in every panel, and its words and its table say what it shows."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
import pytest
import records
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from test_series import moments_of, result
from trials import MS, Story, at

from harness.analysis.moments import Moments
from harness.analysis.series import Series, Track, series_of
from harness.facts import TrialFacts
from harness.model import TrialStatus
from harness.record import AtLeast, FaultResult, IncidentResult
from reports.charts import Drawing, charts, timeline
from reports.charts._course import MAX_ROWS
from reports.charts._style import styled
from reports.view import CaseView, TrialView

PANELS = ("rates", "latency", "backlog", "cpu", "memory", "disk")
KILL = result(planned_s=2.0, injected_s=2.0004, healed_s=3.25, recovery={"p99": 0.5})


def story() -> Story:
    """Returns 6 s of 1,000/s, 1 s of them warm-up; what is due from 2 s to 3 s of steady comes 2 s late, 20 messages never."""
    found = Story(rate=1000, seconds=6, warmup_s=1, drain_s=1)
    late = found.due(3, 4)
    for moments in (found.received, found.finished, found.settled):
        moments[late] += 2000 * MS
    found.lose(found.due(3.1, 3.12))
    for t_s in np.arange(0, 7.5, 0.5):
        for source, used in (("broker", 0.4), ("load", 0.9)):
            found.samples.append((at(t_s), source, "cpu_s", used * t_s))
        found.samples.append((at(t_s), "broker", "memory_bytes", 50e6))
        found.samples.append((at(t_s), "broker", "written_bytes", 1e6 * t_s))
        found.samples.append((at(t_s), "broker", "depth_ready", 2.0))
    return found


@cache
def read() -> tuple[Moments, pl.DataFrame, TrialFacts]:
    told = story()
    return moments_of(told), told.tables().samples, told.facts()


def series(*faults: FaultResult) -> Series:
    found = series_of(*read(), faults)
    assert found is not None
    return found


def view(*trials: TrialView) -> CaseView:
    return CaseView(
        label="redis-stream@embedded", record=records.case(trials=[trial.record for trial in trials]), trials=trials
    )


def trial(found: Series | None, *faults: FaultResult, number: int = 1, **more: Any) -> TrialView:
    return TrialView(record=records.trial(number, faults=list(faults), **more), series=found)


def drawn(*faults: FaultResult, **more: Any) -> Drawing:
    found = timeline.of_case(view(trial(series(*faults), *faults, **more)))
    assert found is not None
    return found


def spans(figure: Figure) -> dict[str, tuple[float, float]]:
    """Returns left and right edge of everything that has a name, in seconds."""
    bars = [bar for bar in figure.findobj(Rectangle) if bar.get_gid()]
    return {str(bar.get_gid()): (bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")) if text.get_text()]


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


def test_faults_and_recoveries_stand_in_every_panel_at_exactly_the_times_of_the_timeline() -> None:
    figure = drawn(KILL, result(index=1, injected_s=4.0, healed_s=None)).figure
    found = spans(figure)
    end_s = figure.axes[0].get_xlim()[1]
    for name in ("", *(f"-{panel}" for panel in PANELS)):
        assert found[f"fault-0{name}"] == pytest.approx((2.0004, 3.25), abs=1e-12)
        assert found[f"recovery-0{name}"] == pytest.approx((3.25, 3.75), abs=1e-12)
        assert found[f"fault-1{name}"] == pytest.approx((4.0, end_s), abs=1e-12)
        assert f"recovery-1{name}" not in found
    assert {axes.get_xlim() for axes in figure.axes if axes.get_title(loc="left")} == {(-1.0, end_s)}
    planned = {str(line.get_gid()): float(line.get_xdata()[0]) for line in figure.axes[0].lines if line.get_gid()}
    assert planned == {"planned-0": 2.0, "planned-1": 1.0}


def test_in_the_svg_the_phases_map_x_to_seconds() -> None:
    file = io.StringIO()
    with styled():
        drawn(KILL).figure.savefig(file, format="svg")
    edges = {}
    for name, path in re.findall(r'<g id="((?:phase|fault|recovery)-[^"]*)">\s*<path d="([^"]*)"', file.getvalue()):
        across = [float(x) for x in re.findall(r"[ML] (-?[\d.]+) ", path)]
        edges[name] = (min(across), max(across))
    left, right = edges["phase-steady"]
    for name in ("fault-0", *(f"fault-0-{panel}" for panel in PANELS)):
        seconds = [5.0 * (x - left) / (right - left) for x in edges[name]]  # steady lasts 5 s
        assert seconds == pytest.approx([2.0004, 3.25], abs=1e-5)
    assert edges["phase-drain"][0] == right
    assert edges["phase-warm-up"][1] == left


def test_title_durability_and_position_of_the_chart() -> None:
    assert drawn(KILL).title == "Moment by moment: redis-stream@embedded (process-crash-safe, persistence=aof-everysec)"
    assert drawn(KILL).name == "timeline-redis-stream-embedded"
    assert timeline.CHART in charts()


def test_the_alt_text_tells_what_the_fault_did() -> None:
    assert drawn(KILL).alt == (
        "Timeline of the trial. Before the first fault about 1,000/s were offered and 1,000/s delivered (first receipts), the p50 of "
        "a slice was about 2 ms, the p99 of a slice was about 2 ms, the backlog 4, at most 4. kill broker from 2.00 s until 3.25 s: "
        "delivered (first receipts) falls from 1,000/s to 0/s, so many messages never come that there is no p99 (before: 2 ms), the backlog reaches 984, "
        "recovered at 3.75 s. 20 messages never came."
    )


def test_the_table_has_at_most_forty_rows_and_says_what_happened_when() -> None:
    table = drawn(KILL, incidents=[incident(1.5)]).table
    assert table.headings == (
        "from",
        "until",
        "offered",
        "confirmed",
        "delivered (first receipts)",
        "settled (first time)",
        "p50, highest",
        "p99, highest",
        "never came",
        "backlog by ledger",
        "backlog by broker",
        "CPU of broker, cores",
        "CPU of load, cores",
        "memory of broker",
        "disk of broker",
        "what happened",
    )
    assert len(table.rows) <= MAX_ROWS
    assert {len(row) for row in table.rows} == {len(table.headings)}
    told = [row[-1] for row in table.rows if row[-1]]
    assert told[0] == "warm-up begins"
    assert "steady begins" in told
    assert "broker killed for memory" in told
    assert "kill broker injected at 2.000 s" in told
    assert told.count("kill broker lasts") >= 3
    assert told[-3:] == ["kill broker healed at 3.250 s", "kill broker recovered at 3.750 s", "drain begins"]
    second = next(row for row in table.rows if row[0] == "0.00 s")
    assert second[:10] == (
        "0.00 s", "0.20 s", "1,000/s", "1,000/s", "1,000/s", "1,000/s", "2 ms", "2 ms", "0", "4"
    )  # fmt: skip
    during = next(row for row in table.rows if row[0] == "2.00 s")
    assert during[4:9] == ("10/s", "20/s", "2 s", "never came", "20")


def incident(at_s: float) -> IncidentResult:
    return IncidentResult(at_s=at_s, source="broker", what="killed for memory", text="the kernel killed the broker")


def test_of_several_trials_the_one_that_lost_most_is_shown_and_named() -> None:
    found = series()
    several = (trial(found, number=1), trial(found, number=2, metrics=records.metrics(lost=7)), trial(found, number=3))
    drawing = timeline.of_case(view(*several))
    assert drawing is not None
    assert drawing.title.endswith("aof-everysec), trial 2")
    assert drawing.note.startswith("Shown is trial 2 of 3: it lost most.")
    without = timeline.of_case(view(several[0], replace(several[1], series=None)))
    assert without is not None
    assert without.note.startswith("Shown is trial 1 of 2: the worst of those that left a ledger behind.")


def test_a_trial_that_does_not_count_says_so_in_the_title_and_in_the_picture() -> None:
    invalid = drawn(KILL, status=TrialStatus.INVALID)
    assert invalid.title.endswith(", trial 1 INVALID")
    assert "INVALID trial" in texts(invalid.figure)
    cut = drawn(status=TrialStatus.INTERRUPTED)
    assert "INTERRUPTED trial" in texts(cut.figure)
    assert "cut short" in cut.note
    assert "INVALID trial" not in texts(drawn(KILL).figure)


def test_a_case_without_anything_to_draw_has_no_timeline() -> None:
    assert timeline.of_case(view(trial(None))) is None
    assert timeline.of_case(view()) is None


def test_panels_without_data_are_left_out_and_the_note_says_what_is_not_there() -> None:
    whole = series()
    bare = replace(whole, cpu={}, memory={}, disk={}, backlog_broker=None, backlog_parts=(), open_loop=False)
    nothing = np.zeros_like(whole.late)
    unheard = replace(
        bare,
        latency=np.zeros_like(whole.latency),
        late=nothing,
        p50_s=np.full(len(nothing), np.nan),
        p99_s=np.full(len(nothing), np.nan),
    )
    drawing = timeline.of_case(view(trial(bare)))
    assert drawing is not None
    assert titles(drawing.figure) == [
        "Messages per second",
        "End-to-end latency of the messages due in each 100 ms",
        "Backlog: messages in the queue",
    ]
    assert "Closed loop" in drawing.note
    silent = timeline.of_case(view(trial(unheard)))
    assert silent is not None
    assert titles(silent.figure) == ["Messages per second", "Backlog: messages in the queue"]
    assert "No latency" in silent.note
    idle = Track(t_s=np.array([0.0, 1.0]), value=np.zeros(2))
    dry = timeline.of_case(view(trial(replace(bare, disk={"broker": idle}, backlog_parts=("ready",)))))
    assert dry is not None
    assert titles(dry.figure) == titles(drawing.figure)
    assert "Nothing was written to disk." in dry.note
    assert "only of messages that are ready" in dry.note


def test_lanes_name_each_fault_also_one_that_never_fired_or_whose_recovery_nobody_saw() -> None:
    missed = result(index=1, label="kill worker", planned_s=3.0, injected_s=None, healed_s=None)
    unseen = result(index=2, injected_s=1.0, healed_s=1.5, recovery={"p99": AtLeast(at_least=0.5)})
    waited = result(index=3, injected_s=1.0, healed_s=1.5, recovery={"p99": AtLeast(at_least=3.5)})
    told = texts(drawn(KILL, missed, unseen, waited).figure)
    assert "kill broker at 2.00 s, healed at 3.25 s, recovered at 3.75 s" in told
    assert "kill worker: planned at 3.00 s, never fired" in told
    assert "kill broker at 1.00 s, healed at 1.50 s, recovery not seen" in told
    assert "kill broker at 1.00 s, healed at 1.50 s, not recovered by 5.00 s" in told


def test_what_is_never_replaced_lasts_to_the_end_of_the_load_and_is_not_healed_at_its_own_moment() -> None:
    gone = result(
        label="kill worker", injected_s=2.0, healed_s=2.0, recovery={"p99": 0.5}, evidence={"replaced": "never"}
    )
    drawing = drawn(gone)
    assert spans(drawing.figure)["fault-0"] == pytest.approx((2.0, 5.0))  # steady lasts 5 s
    assert spans(drawing.figure)["fault-0-rates"] == pytest.approx((2.0, 5.0))
    assert "recovery-0" not in spans(drawing.figure)
    assert "kill worker at 2.00 s, never replaced, recovered at 2.50 s" in texts(drawing.figure)
    assert "kill worker from 2.00 s on, never replaced: " in drawing.alt
    assert not any("healed" in row[-1] for row in drawing.table.rows)
    assert not any("healed" in text for text in texts(drawing.figure))


def test_where_nothing_could_be_sampled_the_line_has_a_hole_and_a_sample_alone_can_be_seen() -> None:
    t_s = np.array([*np.arange(0.0, 3.5, 0.5), 4.05, 5.1, 5.6])
    track = Track(t_s=t_s, value=np.arange(10.0))
    figure = timeline_of(replace(series(), memory={"broker": track}, backlog_broker=track))
    for title in ("Memory of the broker", "Backlog: messages in the queue"):
        [axes] = [each for each in figure.axes if each.get_title(loc="left") == title]
        broker = next(each for each in axes.lines if str(each.get_label()).startswith("broker"))
        holes = np.flatnonzero(np.isnan(np.asarray(broker.get_xdata(), float)))
        assert holes.tolist() == [7, 9]  # before and after the sample at 4.05 s
        assert any(each.get_marker() == "." and 4.05 in each.get_xdata() for each in axes.lines)


def timeline_of(found: Series) -> Figure:
    drawing = timeline.of_case(view(trial(found)))
    assert drawing is not None
    return drawing.figure


def test_a_small_backlog_has_ticks_at_whole_numbers() -> None:
    whole = series()
    calm = replace(whole, backlog=np.full(len(whole.backlog), 1.2), backlog_broker=None)
    [axes] = [each for each in timeline_of(calm).axes if each.get_title(loc="left").startswith("Backlog")]
    low, high = axes.get_ylim()
    assert [tick for tick in axes.get_yticks() if low <= tick <= high] == [0, 1]


def test_the_legend_says_which_rates_count_no_repeat() -> None:
    assert {"offered", "delivered\n(first receipts)", "settled\n(first time)"} <= set(texts(drawn().figure))


@pytest.mark.parametrize("warmup_s", [0.4, 0.6, 0.8, 1.0])
def test_words_of_lanes_and_phases_touch_neither_each_other_nor_the_legend(warmup_s: float) -> None:
    told = Story(rate=100, seconds=6 + warmup_s, warmup_s=warmup_s, drain_s=1)
    late = result(planned_s=5.0, injected_s=5.0, healed_s=5.5, recovery={"p99": AtLeast(at_least=3.5)})
    found = series_of(moments_of(told), told.tables().samples, told.facts(), [late])
    drawing = timeline.of_case(view(trial(found, late)))
    assert drawing is not None
    lanes = drawing.figure.axes[0]
    canvas = FigureCanvasAgg(drawing.figure)
    canvas.draw()
    legend = lanes.get_legend()
    assert legend is not None
    boxes = [each.get_window_extent(canvas.get_renderer()) for each in (*lanes.texts, legend)]
    assert len(boxes) >= 3
    assert not any(one.padded(2).overlaps(other) for one, other in combinations(boxes, 2))


def test_many_faults_share_a_lane_with_those_of_their_label() -> None:
    many = [result(index=number, injected_s=number * 0.5, healed_s=number * 0.5 + 0.1) for number in range(8)]
    figure = drawn(*many).figure
    assert "kill broker (8 times)" in texts(figure)
    assert [name for name in spans(figure) if re.fullmatch(r"fault-\d", name)] == [f"fault-{n}" for n in range(8)]
