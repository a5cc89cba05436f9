"""Charts of hand-made trials: what is drawn is what can be worked out, and what is no result does not look like one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
import records
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.text import Text
from trials import NULL, Story, fault

from harness.analysis.curve import curve_of
from harness.analysis.flow import ways_of
from harness.analysis.moments import gather_moments
from harness.analysis.series import series_of
from harness.model import DurabilityClass, TrialStatus
from harness.record import AtLeast, CaseRecord, Unknown
from harness.record import Figure as Value
from reports.charts import Drawing, charts, cost, flow, multiples, networks, percentiles, recovery
from reports.charts._axes import x_of_share
from reports.charts._style import GREY
from reports.view import CaseView, TrialView

MEMORY, SAFE, FSYNCED = DurabilityClass.MEMORY, DurabilityClass.PROCESS_CRASH_SAFE, DurabilityClass.FSYNCED


def trial(story: Story, number: int = 1, status: TrialStatus = TrialStatus.VALID) -> TrialView:
    """Returns a trial as a page sees it."""
    tables, facts, found = story.tables(), story.facts(), story.analysed()
    moments = gather_moments(tables.attempts.lazy(), tables.deliveries.lazy(), found.messages)
    record = found.record(number=number, folder=f"cases/x/trial-{number}").model_copy(update={"status": status})
    return TrialView(
        record=record,
        series=series_of(moments, tables.samples, facts, found.faults),
        curve=curve_of(moments, facts, found.faults),
        ways=ways_of(moments, found.messages, tables.deliveries.lazy()),
    )


def case(*trials: TrialView, id: str = "redis-stream@embedded", durability: DurabilityClass = SAFE) -> CaseView:
    record = records.case(id, durability, [each.record for each in trials])
    return CaseView(label=id, record=record, trials=trials)


def recorded(record: CaseRecord) -> CaseView:
    """Returns a case of which only the record is left."""
    return CaseView(label=record.id, record=record, trials=tuple(TrialView(record=each) for each in record.trials))


def drawn(drawing: Drawing | None) -> Drawing:
    """Returns a drawing that has all that it must have."""
    assert drawing is not None
    assert drawing.title
    assert drawing.alt
    assert drawing.table.rows
    assert {len(row) for row in drawing.table.rows} == {len(drawing.table.headings)}
    return drawing


def words(figure: Figure) -> list[str]:
    return [each.get_text() for each in figure.findobj(Text) if each.get_text()]


def lines(figure: Figure) -> Iterator[Line2D]:
    """Yields the lines that join something."""
    for axes in figure.axes:
        yield from (each for each in axes.lines if each.get_linestyle() != "None" and len(each.get_xdata()) > 2)


def is_grey(artist: Artist) -> bool:
    assert isinstance(artist, Line2D)
    return to_hex(artist.get_color()).lower() == GREY.lower()


def slow(milliseconds: int, **more: object) -> Story:
    """Returns 1,000 messages that came 1 ms, 2 ms … late, times ``milliseconds``."""
    story = Story(rate=100, seconds=10.0, drain_s=30.0, **more)  # type: ignore[arg-type]
    story.received = story.intended + (np.arange(1000) + 1) * milliseconds * 1_000_000
    story.finished, story.settled = story.received + 1_000_000, story.received + 2_000_000
    return story


# Percentiles.


def test_a_line_of_percentiles_is_exact_ends_with_the_data_and_stands_in_the_table() -> None:
    drawing = drawn(percentiles.of_case(case(trial(slow(1)))))
    [line] = lines(drawing.figure)
    at = dict(zip(np.round(line.get_xdata(), 6), line.get_ydata(), strict=True))
    assert at[round(float(x_of_share(np.array(0.5))), 6)] == 0.5  # the 500th of 1..1000 ms
    assert max(at) == pytest.approx(1.0)  # 90 %: 100 messages lie beyond
    assert drawing.title == (
        "How late messages came (end to end): redis-stream@embedded (process-crash-safe, persistence=aof-everysec)"
    )
    assert drawing.table.headings[2:] == ("messages", "25 %", "50 %", "75 %", "90 %", "with 100 messages beyond")
    assert drawing.table.rows == (
        ("trial 1", "steady", "1,000", "250 ms", "500 ms", "750 ms", "900 ms", "900 ms at 90 %"),
    )
    assert "500 ms" in words(drawing.figure)


def test_the_note_says_where_a_line_ends_also_one_of_few_messages() -> None:
    whole, few = (
        percentiles.of_case(case(trial(slow(1)))),
        percentiles.of_case(case(trial(Story(rate=10, seconds=2.0)))),
    )
    assert "reaches the median, and goes on as long as 100 messages lie beyond it" in drawn(whole).note
    assert "fewer than 200 messages" not in drawn(whole).note
    assert "fewer than 200 messages, fewer lie beyond its median" in drawn(few).note


def test_what_never_came_is_dashed_has_triangles_and_at_least_in_the_table() -> None:
    story = slow(1)
    story.lose(slice(0, 300))
    drawing = drawn(percentiles.of_case(case(trial(story))))
    sound, censored = lines(drawing.figure)
    assert (sound.get_linestyle(), censored.get_linestyle()) == ("-", "--")
    assert any(each.get_marker() == "^" for each in drawing.figure.axes[0].lines)
    # The load ends at 10 s, and was waited for until 40 s: the 300 that were due first are at least 37.01 s, 37.02 s … late, behind
    # the 700 that came after 301..1000 ms. The 500th is 800 ms, the 750th the 50th of those.
    assert drawing.table.rows[0][4:7] == ("800 ms", "≥ 37.5 s", "≥ 39 s")
    assert "at least" in drawing.note


def test_a_trial_that_is_not_valid_is_grey_and_dotted_and_named_so() -> None:
    drawing = drawn(percentiles.of_case(case(trial(slow(1)), trial(slow(2), 2, TrialStatus.INVALID))))
    valid, invalid = lines(drawing.figure)
    assert [is_grey(valid), is_grey(invalid), invalid.get_linestyle()] == [False, True, ":"]
    assert "trial 2 INVALID" in words(drawing.figure)
    assert [row[0] for row in drawing.table.rows] == ["trial 1", "trial 2 INVALID"]


def test_cases_of_different_durability_share_no_panel_and_an_invalid_trial_does_not_stand_for_its_case() -> None:
    views = [
        case(trial(slow(1)), trial(slow(9), 2, TrialStatus.INVALID)),
        case(trial(slow(2)), id="postgres-lease@embedded", durability=FSYNCED),
        case(trial(slow(3), 1, TrialStatus.INVALID), id="redis-list@embedded"),
    ]
    drawing = drawn(percentiles.of_cases(views))
    safe, fsynced = drawing.figure.axes
    assert [len(axes.lines) for axes in (safe, fsynced)] == [4, 2]  # each line with its end
    assert safe.get_ylim() == fsynced.get_ylim()
    assert {"process-crash-safe", "fsynced"} <= set(words(drawing.figure))
    assert [row[0] for row in drawing.table.rows] == [
        "redis-stream@embedded (persistence=aof-everysec)",
        "redis-list@embedded (persistence=aof-everysec) INVALID",
        "postgres-lease@embedded (persistence=aof-everysec)",
    ]
    assert [is_grey(each) for each in lines(drawing.figure)] == [False, True, False]


# The ledger.


def test_the_bands_of_the_ledger_have_their_counts_and_every_class_stands_in_the_table() -> None:
    story = Story(seconds=1.0)
    story.outcome[:10], story.confirmed[:10] = "UNKNOWN", NULL
    story.lose(slice(0, 15))  # 10 vanished, 5 lost
    story.more_deliveries = [story.delivery(20, int(story.settled[20]) + 10_000_000)]
    drawing = drawn(flow.of_case(case(trial(story), trial(story, 2))))
    shown = words(drawing.figure)
    assert {"2,000 attempted", "1,980 confirmed", "1,970 delivered", "1,970 settled", "30\nnever delivered"} <= set(
        shown
    )
    assert {"1,970 processed", "10 lost", "20 vanished", "LOST: confirmed, never received"} <= set(shown)
    bands = [each for each in drawing.figure.axes[0].patches if isinstance(each, PathPatch)]
    assert sorted(each.get_hatch() or "" for each in bands) == [
        "",
        "",
        "",
        "//",
        "xx",
    ]  # three bands, two with a hatch over them
    counts = {(row[0], row[1]): row[2] for row in drawing.table.rows}
    assert counts["class", "lost"] == "10"
    assert counts["class", "phantom"] == "0"
    assert counts["mark", "redelivered after ack"] == "2"
    assert counts["way", "attempted → confirmed → never delivered → not settled → lost"] == "10"
    assert "All 2 valid trials together" in drawing.note


def test_the_table_of_the_ledger_has_the_counts_of_the_ledger_also_of_what_nobody_sent() -> None:
    story = Story(seconds=1.0, residue=[{"place": "ready", "producer": 0, "seq": 7_000, "attempt": 1}])  # found only
    story.outcome[:10], story.confirmed[:10] = "UNKNOWN", NULL
    story.outcome[10:15], story.confirmed[10:15] = "REJECTED", NULL  # they came all the same: phantoms too
    story.lose(slice(0, 8))
    open_end = {"settlement": None, "settling_ns": None, "settled_ns": None, "settle_outcome": None}
    story.more_deliveries = [
        story.delivery(5_000, int(story.received[20])),
        story.delivery(5_001, int(story.received[20]), **open_end),
        story.delivery(6_000, int(story.received[20]), foreign=True),
    ]
    view = trial(story)
    assert view.record.ledger is not None
    assert view.record.ledger.classes["phantom"] == 8
    drawing = drawn(flow.of_case(case(view)))
    told = {row[1].replace(" ", "_"): int(row[2].replace(",", "")) for row in drawing.table.rows if row[0] == "class"}
    assert told == dict.fromkeys(told, 0) | view.record.ledger.classes
    assert {row[1]: row[2] for row in drawing.table.rows if row[0] == "way" and "attempted" not in row[1]} == {
        "delivered → settled → phantom": "1",
        "delivered → not settled → phantom": "1",
        "never delivered → not settled → phantom": "1",
    }
    assert "1,000 messages attempted, 985 confirmed, 994 delivered, 993 settled" in drawing.alt
    assert "8 phantom" in drawing.alt


def test_the_words_of_the_ledger_lie_on_no_band() -> None:
    story = Story(seconds=1.0)
    story.outcome[:200], story.confirmed[:200] = "UNKNOWN", NULL
    story.lose(slice(0, 100))
    story.lose(slice(200, 300))
    story.settled[300:320] = NULL
    figure = drawn(flow.of_case(case(trial(story)))).figure
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axes = figure.axes[0]
    bands = [each for each in axes.patches if isinstance(each, PathPatch)]
    for text in axes.texts:
        box = text.get_window_extent(canvas.get_renderer())
        for band in bands:
            path = band.get_transform().transform_path(band.get_path())
            assert not path.intersects_bbox(box, filled=True), text.get_text()


def test_bands_of_a_case_without_a_valid_trial_are_grey_and_say_that_they_are_no_result() -> None:
    drawing = drawn(flow.of_case(case(trial(Story(seconds=1.0), 1, TrialStatus.INTERRUPTED))))
    assert "INTERRUPTED: no result" in words(drawing.figure)
    [band] = [each for each in drawing.figure.axes[0].patches if isinstance(each, PathPatch)]
    assert to_hex(band.get_facecolor()).lower() == GREY.lower()
    assert drawing.title.endswith("INTERRUPTED")


# The cases beside each other.


def test_small_multiples_have_the_same_axes_the_durability_in_every_title_and_faults_where_they_were() -> None:
    struck = Story(warmup_s=2.0, facts_more={"faults": (fault(10.0, 12.0),)})
    views = [
        case(trial(struck)),
        case(trial(Story(rate=500, seconds=10.0), 1, TrialStatus.INVALID), id="redis-list@embedded"),
        case(trial(Story(seconds=5.0)), id="postgres-lease@embedded", durability=FSYNCED),
    ]
    drawing = drawn(multiples.of_cases(views))
    panels = drawing.figure.axes
    assert len(panels) == 6
    for same in (panels[::2], panels[1::2]):
        assert len({(axes.get_xlim(), axes.get_ylim()) for axes in same}) == 1
    assert [axes.get_title(loc="left") for axes in panels[::2]] == [
        "redis-stream@embedded\nprocess-crash-safe,\npersistence=aof-everysec",
        "redis-list@embedded\nprocess-crash-safe,\npersistence=aof-everysec\nINVALID",
        "postgres-lease@embedded\nfsynced, persistence=aof-everysec",
    ]
    [shade] = [each for each in panels[0].patches if (each.get_gid() or "").startswith("fault-0-")]
    assert isinstance(shade, Rectangle)
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == (8.0, 10.0)  # steady began at 2 s
    assert {row[0] for row in drawing.table.rows} == {
        "redis-stream@embedded",
        "redis-list@embedded INVALID",
        "postgres-lease@embedded",
    }
    assert drawing.table.rows[0][4:8] == ("1,000/s", "999/s", "2 ms", "2 ms")


def test_twelve_cases_are_drawn_in_rows_that_do_not_overlap() -> None:
    views = [case(trial(Story(seconds=2.0)), id=f"redis-stream[prefetch={n}]@embedded") for n in range(12)]
    panels = drawn(multiples.of_cases(views)).figure.axes
    tops = sorted({round(axes.get_position().y1, 6) for axes in panels}, reverse=True)
    assert len(panels) == 24
    assert len(tops) == 8  # rates and latencies of four rows
    bottoms = {round(axes.get_position().y1, 6): axes.get_position().y0 for axes in panels}
    assert all(bottoms[above] > below for above, below in pairwise(tops))


# Dots in rows.


def test_recovery_is_drawn_per_fault_with_an_arrow_where_it_is_only_at_least() -> None:
    views = [
        recorded(records.case(trials=[records.trial(1, faults=[records.broker_kill(AtLeast(at_least=4.9))])])),
        recorded(records.case("redis-list@embedded", trials=[records.trial(faults=[records.broker_kill(AtLeast(at_least=0.5))])])),
        recorded(records.case("a@embedded", MEMORY, trials=[records.invalid_trial(faults=[records.broker_kill(2.5)])])),
    ]  # fmt: skip
    drawing = drawn(recovery.of_cases(views))
    shown = words(drawing.figure)
    assert {"≥ 4.9 s", "not seen", "2.5 s", "2.14 s"} <= set(shown)
    recovered = drawing.figure.axes[2]
    dots = {float(each.get_xdata()[0]): each for each in recovered.lines if each.get_marker() in ("o", "x")}
    assert {at: (each.get_marker(), is_grey(each)) for at, each in dots.items()} == {
        4.9: ("o", False),
        2.5: ("x", True),
    }
    assert dots[4.9].get_markerfacecolor() == "none"
    assert sum(each.arrow_patch is not None for each in recovered.texts) == 1  # type: ignore[attr-defined]
    assert drawing.table.rows[0][:3] == ("a@embedded", "memory, persistence=aof-everysec", "trial 1 INVALID")
    assert [row[6] for row in drawing.table.rows] == ["2.5 s", "≥ 4.9 s", "not seen"]
    assert "Grey crosses" in drawing.note


def test_of_several_trials_the_middle_one_has_the_words_and_each_fault_its_row() -> None:
    trials = [
        records.trial(n, faults=[records.broker_kill(s), records.broker_kill(9.0, index=1, injected_s=20.0)])
        for n, s in ((1, 1.0), (2, 7.0), (3, 3.0))
    ]
    drawing = drawn(recovery.of_cases([recorded(records.case(trials=trials))]))
    assert sum("kill broker at 5.0 s" in each.replace("\n", " ") for each in words(drawing.figure)) == 1
    assert sum("kill broker at 20.0 s" in each.replace("\n", " ") for each in words(drawing.figure)) == 1
    assert {"3 s", "9 s"} <= {each.get_text() for each in drawing.figure.axes[2].texts}
    assert len(drawing.table.rows) == 6


def test_a_nothing_that_waited_is_told_in_words() -> None:
    kill = records.broker_kill(recovery={"longest_gap": Unknown(unknown="nothing was waiting")})
    drawing = drawn(recovery.of_cases([recorded(records.case(trials=[records.trial(faults=[kill])]))]))
    assert "nothing was waiting" in words(drawing.figure)


def test_cost_is_drawn_only_where_it_was_measured() -> None:
    unmeasured = {"whole": {"cost.broker_cpu": Unknown(unknown="not measured")}}
    without = recorded(records.case("redis-list@embedded", trials=[records.trial(metrics=unmeasured)]))
    drawing = drawn(cost.of_cases([recorded(records.case()), without]))
    assert cost.of_cases([without]) is None
    assert len(drawing.table.rows) == 1
    assert {"14.2 µs", "61 µs", "311 B", "9.4 MB"} <= set(words(drawing.figure))
    broker = drawing.figure.axes[0]
    assert [float(each.get_xdata()[0]) for each in broker.lines if each.get_marker() == "o"] == [14.2]


def site(network: str, p99: Value, status: TrialStatus = TrialStatus.VALID) -> CaseView:
    metrics = records.metrics(p99_s=p99)
    trials = [records.trial(metrics=metrics, faults=[], status=status)]
    return recorded(records.case(f"redis-stream@{network}", trials=trials, network=network, client="container"))


def test_networks_are_drawn_as_ratios_to_the_bridge_where_they_may_be_compared() -> None:
    views = [site("bridge", 0.010), site("host", 0.008), site("overlay", 0.5, TrialStatus.INVALID)]
    drawing = drawn(networks.of_cases(views))
    p99 = drawing.figure.axes[1]
    assert [float(each.get_xdata()[0]) for each in p99.lines if each.get_marker() == "o"] == [1.0, 0.8]
    assert {"×1.00", "×0.80", "500 ms (INVALID)"} <= {each.get_text() for each in p99.texts}
    assert len({axes.get_xlim() for axes in drawing.figure.axes}) == 1
    assert networks.of_cases(views[:1]) is None
    assert networks.of_cases([*views, *views]) is None  # two runs: each has its own


# Whatever happened.


@pytest.mark.parametrize(
    "views",
    [
        [],
        [recorded(records.case(trials=[], guarantees=[], unavailable="redis-server is not installed"))],
        [recorded(records.case(trials=[records.trial(status=TrialStatus.UNAVAILABLE, metrics={}, ledger=None, faults=[])]))],
        [recorded(records.case(trials=[records.trial(status=TrialStatus.INTERRUPTED, metrics={}, faults=[])]))] * 3,
    ],
    ids=["no case", "not run", "no broker", "interrupted before anything was measured"],
)  # fmt: skip
def test_where_nothing_was_measured_nothing_is_drawn(views: Sequence[CaseView]) -> None:
    for chart in charts():
        assert chart.of_cases is None or chart.of_cases(views) is None
        assert chart.of_case is None or [chart.of_case(view) for view in views] == [None] * len(views)
