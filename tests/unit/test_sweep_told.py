"""What ``sweep`` says and draws, from hand-made sweeps."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from harness.analysis.sweep import Point, SweepRecord
from reports.sweep import told
from reports.sweep.picture import drawing, picture
from reports.sweep.terminal import print_sweep
from tests.unit import swept
from tests.unit.swept import P99, point, points, trial

LOST = "loss.confirmed"

# What it says.

FOUR: list[Point] = points({"1": 250.0, "2": 500.0, "4": 990.0, "8": 1000.0})


def printed(record: SweepRecord, width: int) -> str:
    out = io.StringIO()
    print_sweep(record, Console(file=out, width=width), folder=Path("runs/s"))
    return out.getvalue()


def test_the_knee_is_said_first_with_what_it_means() -> None:
    page = printed(swept.sweep(FOUR), 120)
    first = page.strip().splitlines()[0]
    assert first.startswith(
        "KNEE  knee at workers.count=4: its median throughput is 990/s, 99 % of the best, 8 (1,000/s)"
    )
    assert "the knee is the smallest value whose median reaches 95 % of the best" in page
    assert [line.split()[:2] for line in page.splitlines() if "▶" in line] == [["▶", "4"]]


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"1": 250.0, "4": 500.0}, "no knee up to workers.count=4: that is the best (500/s), and the best of the others reaches 50 % of it"),
        ({"1": 999.0, "4": 1000.0}, "it is the smallest that was tried, a smaller one may do as well"),
        ({"sleep": 999.0, "cpu": 1000.0}, "no knee: the values of workers.count have no order; the best is cpu (1,000/s)"),
        ({"1": 0.0, "2": 0.0}, "no knee: the curve is flat, the median throughput is 0/s at every value"),
        ({"1": 9.0, "2": None, "4": 9.0}, "the median throughput is 9/s at every other value; of 2 nothing is known"),
        ({"1": None, "2": None}, "no knee: fewer than two values have a median throughput"),
        ({"1": 100.0, "2": None, "4": 990.0, "8": 1000.0}, "of 2 nothing is known, so the knee may be below"),
    ],
)  # fmt: skip
def test_why_there_is_no_knee_is_said(figures: dict[str, float | None], said: str) -> None:
    record = swept.sweep(points(figures))
    assert said in told.knee(record, record.curves[0])


def test_what_lower_is_better_means_for_the_knee_is_said() -> None:
    record = swept.sweep(points({"1": 0.1, "2": 0.0105, "4": 0.01}, P99), metric=P99)
    notes = list(told.notes(record))
    assert "of p99 end to end the lowest is the best; a median reaches 95 % of it up to 1.053 times as much" in notes


def test_what_a_schedule_means_for_the_knee_is_said() -> None:
    told_of = [list(told.notes(swept.sweep(FOUR, open_loop=each))) for each in (True, False)]
    assert [any("throughput ends at what it offers" in note for note in notes) for notes in told_of] == [True, False]


def test_why_trials_do_not_count_is_said_with_their_values() -> None:
    page = printed(swept.sweep(points({"1": 250.0, "2": None, "4": 500.0})), 120)
    assert "workers.count=2: INVALID: generator saturated: schedule lag p99 48.2 ms, bound 10 ms" in page
    assert "0 of 1" in page


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_of_a_table_is_wider_than_the_terminal(width: int) -> None:
    several = [
        point(value, [trial(n, figure + n, label, throughput_label={"steady": "filling"}) for n in (1, 2, 3)])
        for value, figure, label in (("1", 250.0, 1.2), ("2", 500.0, 0.5), ("4", 1000.0, 0.012))
    ]
    page = printed(swept.sweep(several, several), width)
    assert max(len(line) for line in page.splitlines() if "runs/s" not in line) <= width
    assert "251/s … 253/s" in page.replace("\n", " ") or width == 40
    assert "filling" in page


def test_how_a_sweep_ended_is_said_where_it_did_not_pass() -> None:
    one = points({"1": 250.0})
    page = printed(swept.sweep(one, status="interrupted", exit_code=130, exit_reason="interrupted"), 120)
    assert "! INTERRUPTED after 1 of 1 trial\n" in page
    assert "Exit code 130: interrupted\n" in page
    assert "  1 run in runs/s; order of" in page
    assert "Exit code" not in printed(swept.sweep(FOUR), 120)


def test_a_console_that_knows_no_signs_gets_others() -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii") as out:
        print_sweep(swept.sweep(FOUR), Console(file=out, width=100), folder=Path("runs"))
        out.flush()
        assert "> 4" in raw.getvalue().decode()


# What it draws.


def test_the_chart_names_case_durability_and_knee() -> None:
    drawn = drawing(swept.sweep(FOUR))
    assert drawn is not None
    assert drawn.title == "Throughput and p99 end to end over workers.count: null@embedded (memory)"
    shown = [text.get_text() for axes in drawn.figure.axes for text in axes.texts]
    assert "knee at 4: 990/s" in shown
    assert [tick.get_text() for tick in drawn.figure.axes[-1].get_xticklabels()] == ["1", "2", "4", "8"]
    assert drawn.figure.axes[0].get_xscale() == "log"
    assert drawn.table.rows[2] == ("null@embedded", "4", "990/s", "10 ms", "1")


def _lost(value: str, number: float) -> Point:
    ledger = {"steady": {"throughput": 100.0, LOST: number}, "whole": {LOST: number}}
    return point(value, [trial(1, 100.0, metrics=ledger)], LOST)


def test_a_figure_that_is_a_count_has_whole_numbers_at_its_axis_and_is_called_by_its_name() -> None:
    drawn = drawing(swept.sweep([_lost("1", 0.0), _lost("2", 1.0), _lost("4", 1.0)], metric=LOST))
    assert drawn is not None
    assert drawn.title.startswith("loss.confirmed and throughput over workers.count:")
    axes = drawn.figure.axes[0]
    low, high = axes.get_ylim()
    assert [tick for tick in axes.get_yticks() if low <= tick <= high] == [0.0, 1.0]


def test_nothing_but_zeros_is_flat_and_no_knee_is_drawn() -> None:
    drawn = drawing(swept.sweep([_lost("1", 0.0), _lost("2", 0.0)], metric=LOST))
    assert drawn is not None
    assert [text.get_text() for text in drawn.figure.axes[0].texts] == []


def test_long_names_are_whole_in_the_legend() -> None:
    record = swept.sweep(FOUR, FOUR)
    long = f"redis-stream[{', '.join(f'setting-{at}=value-{at}' for at in range(12))}]@bridge"
    record = record.model_copy(
        update={"curves": [c.model_copy(update={"label": f"{long}-{at}"}) for at, c in enumerate(record.curves)]}
    )
    drawn = drawing(record)
    assert drawn is not None
    drawn.figure.draw_without_rendering()
    [legend] = drawn.figure.legends
    names = [text.get_text().replace("\n", " ") for text in legend.get_texts()]
    assert names == [f"{long}-0: memory", f"{long}-1: memory"]
    assert legend.get_window_extent().x1 <= drawn.figure.bbox.x1
    below = max(axes.get_tightbbox().y1 for axes in drawn.figure.axes)
    assert below <= legend.get_window_extent().y0 < legend.get_window_extent().y1 <= drawn.figure.bbox.y1


def test_words_stand_at_even_distances_in_the_order_given() -> None:
    drawn = drawing(swept.sweep(points({"sleep": 900.0, "cpu": 1000.0})))
    assert drawn is not None
    assert list(drawn.figure.axes[0].lines[0].get_xdata()) == [0.0, 1.0]


def test_a_value_without_a_valid_trial_is_a_gap_with_its_reason() -> None:
    drawn = drawing(swept.sweep(points({"1": 250.0, "2": None, "4": 500.0})))
    assert drawn is not None
    assert "no valid trial" in [text.get_text() for text in drawn.figure.axes[0].texts]


def test_nothing_is_drawn_where_no_trial_left_a_figure() -> None:
    assert picture(swept.sweep(points({"1": None, "2": None}))) is None


def test_the_picture_is_a_png_under_its_title() -> None:
    made = picture(swept.sweep(FOUR, FOUR))
    assert made is not None
    with Image.open(io.BytesIO(made)) as image:
        assert (image.format, image.width) == ("PNG", 1350)
