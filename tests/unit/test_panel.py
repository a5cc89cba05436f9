"""The panel on a terminal: its lines at every size, what is distinct without colour, what stays above it, and an end that leaves nothing."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterable

import pytest
from rich.console import Console

from harness.cli import live
from harness.cli.live import Frame, LiveView
from harness.cli.panel import ENDING, panel
from harness.cli.picture import Picture
from harness.cli.sparks import BARS, GAP, UNHEARD, Slice, fault_line, rate_line, tail_line
from harness.model import TrialStatus, Verdict
from harness.record import CaseRecord
from harness.run.progress import (
    CaseFinished,
    CaseStarted,
    Event,
    FaultInjected,
    FaultPlanned,
    PhaseChanged,
    RunStarted,
    Warned,
)
from tests.unit import records
from tests.unit.test_live import CASE, STEADY, at_ns, outage, picture, tick

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
IDS = [f"redis-stream[persistence={how}]@embedded" for how in ("none", "aof-no", "aof-everysec", "aof-always")]


def shown(made: Picture, t_s: float, width: int = 80, height: int = 40, **more: bool) -> list[str]:
    """Returns the lines as a terminal of that size shows them."""
    lines = panel(made.at(at_ns(t_s)), width, height, **more)
    console = Console(width=width, height=height, no_color=True, file=io.StringIO())
    with console.capture() as captured:
        console.print(Frame(lines, "utf-8"))
    return captured.get().splitlines()


def drawn(*events: Event, t_s: float, width: int = 80) -> str:
    return "\n".join(shown(picture(*events), t_s, width))


def of(cases: Iterable[CaseRecord], running: int | None = None) -> Picture:
    """Returns a run whose cases before ``running`` (from 0; None = all) are over, each after a second of load."""
    every = tuple(cases)
    made = Picture()
    before = tuple(case.model_copy(update={"trials": [], "guarantees": []}) for case in every)
    made.notice(
        RunStarted(t_ns=at_ns(0), run_id="7", scenario="crash", deployment="x", cases=before, trials=1, trial_s=9)
    )
    for number, case in enumerate(every if running is None else every[: running + 1]):
        made.notice(CaseStarted(t_ns=at_ns(0), number=number + 1, of=len(every), case_id=case.id))
        for event in (STEADY, tick(0, 0, 0), tick(1, 4000, 3900)):
            made.notice(event)
        if number != running:
            made.notice(CaseFinished(case=case, trial=1, status=case.trials[0].status))
    return made


class TestSparklines:
    def slices(self, *rates: float | None, tail_s: float = 0.002) -> list[Slice]:
        return [Slice(rate, tail_s if rate else None) for rate in rates]

    def test_a_rate_stands_between_0_and_the_highest(self) -> None:
        assert rate_line(self.slices(1, 50, 100), 60) == BARS[0] + BARS[4] + BARS[7]

    def test_a_second_without_a_delivery_is_a_gap_and_one_without_news_is_empty(self) -> None:
        found = self.slices(100, 0, None, 100)
        assert rate_line(found, 60) == f"{BARS[7]}{GAP} {BARS[7]}"
        assert tail_line(found, 60) == f"{BARS[2]}{GAP} {BARS[2]}"

    def test_latencies_have_the_same_steps_in_every_case(self) -> None:
        tails = (0.0002, 0.0009, 0.002, 0.005, 0.02, 0.09, 0.9, 5.0)
        assert tail_line([Slice(1, tail_s) for tail_s in tails], 60) == BARS

    def test_in_few_cells_each_shows_the_worst_of_its_seconds(self) -> None:
        found = [*self.slices(100, 100, 100, 0, 100, 50), Slice(100, 5.0)]
        assert rate_line(found, 3) == BARS[7] + GAP + BARS[4]
        assert tail_line(found, 3) == BARS[2] + GAP + BARS[7]

    def test_a_fault_stands_where_it_lasted(self) -> None:
        assert fault_line([Slice(1, 1, False), Slice(1, 1, True), UNHEARD], 60) == " ! "

    def test_nothing_is_drawn_of_nothing(self) -> None:
        assert (rate_line([], 10), tail_line([], 0)) == ("", "")
        assert rate_line(self.slices(0, 0), 10) == GAP * 2


class TestCase:
    @pytest.mark.parametrize("width", [40, 60, 80, 160])
    def test_no_line_is_longer_than_the_terminal(self, width: int) -> None:
        lines = shown(picture(*outage()), 6, width)
        assert all(len(each) <= width for each in lines)
        assert lines[0].startswith("case 2 of 3")
        assert any(each.startswith("rate ") for each in lines)

    def test_at_60_columns_all_counts_can_be_read(self) -> None:
        told = drawn(*(tick(t_s, 4000 * t_s, 3900 * t_s, backlog_broker=100) for t_s in range(60)), t_s=59, width=60)
        assert "delivered 3,900/s" in told
        assert "2.02 ms end to end" in told
        assert "offered 4,000/s  confirmed 3,900/s" in told
        assert "backlog 5,900 (broker: 100)" in told
        assert "rejected 0  unknown 0  redelivered 0" in told

    @pytest.mark.parametrize(("width", "cells"), [(30, 1), (36, 4), (44, 12)])
    def test_in_a_narrow_terminal_every_figure_is_whole(self, width: int, cells: int) -> None:
        ticks = (tick(t_s, 4000 * t_s, 3900 * t_s, backlog_broker=100) for t_s in range(60))
        lines = shown(picture(*ticks), 59, width)
        assert "…" not in "".join(lines)
        assert re.search(rf"rate +{BARS[7]}{{1,{cells}}} +delivered 3,900/s", "\n".join(lines))
        told = re.sub(r"\s+", " ", " ".join(lines))
        assert "offered 4,000/s confirmed 3,900/s" in told
        assert "backlog 5,900 (broker: 100) rejected 0 unknown 0 redelivered 0" in told

    def test_it_shows_the_time_left_and_the_fault_with_its_countdown(self) -> None:
        told = drawn(*list(outage())[:47], t_s=4.5)
        assert re.search(r"steady +━+─+  4 s of 20 s, 16 s left", told)
        assert re.search(r"faults +! +kill broker, heals in 0\.5 s", told)
        assert re.search(rf"rate +{BARS[7] * 3}{GAP} +delivered 0/s", told)
        assert re.search(rf"p99 +{BARS[2] * 3}{GAP} +nothing for 1\.5 s", told)

    def test_a_fault_to_come_is_counted_down_and_one_that_is_over_stays_in_its_lane(self) -> None:
        planned = FaultPlanned(index=1, label="pause broker", t_ns=at_ns(9), hold_s=1.0)
        assert re.search(r"faults +pause broker in 4\.0 s, for 1 s", drawn(planned, tick(0, 0, 0), t_s=5))
        assert re.search(r"faults +!!! +pause broker in 3\.0 s, for 1 s", drawn(planned, *outage(), t_s=6, width=120))
        assert re.search(r"faults +!!!$", drawn(*outage(), t_s=6), re.MULTILINE)

    def test_faults_that_last_at_once_have_a_line_each(self) -> None:
        both = [FaultInjected(index=n, label=f"kill {n}", t_ns=at_ns(0), hold_s=None) for n in range(2)]
        told = drawn(tick(0, 0, 0), *both, t_s=1)
        assert re.findall(r"kill \d, until the load ends", told) == [
            "kill 0, until the load ends",
            "kill 1, until the load ends",
        ]

    def test_a_load_that_tells_nothing_is_shown_as_such(self) -> None:
        told = drawn(tick(0, 0, 0), tick(1, 100, 100), t_s=4)
        assert re.search(r"load +no news for 3 s", told)
        assert "rate " not in told

    def test_after_the_load_only_the_counts_stay(self) -> None:
        analysing = PhaseChanged(phase="analysing", t_ns=at_ns(2))
        told = drawn(tick(0, 0, 0), tick(1, 100, 100), analysing, t_s=4)
        assert "no news" not in told
        assert "analysing 2 s" in told
        assert "so far" in told

    def test_what_is_wrong_with_workers_and_dead_letters_is_said(self) -> None:
        told = drawn(tick(0, 9, 0, workers_lost=1, workers_cut=2, dead_letters=7), t_s=0)
        wanted = "1 of the workers ended, 2 of the workers without a connection, 7 in the dead letter place"
        assert re.search(rf"now +{wanted[:60]}", told)

    def test_before_the_first_case_it_says_starting(self) -> None:
        assert shown(Picture(), 0) == ["starting"]


class TestCases:
    def test_each_has_a_line_with_its_sign_its_sparklines_and_its_verdict_in_words(self) -> None:
        lines = shown(of([records.memory_case(), *map(records.case, IDS[1:])], running=2), 1, width=160)
        assert lines[0] == "crash · case 3 of 4 · about 19 s left, 19 s in all"
        assert re.match(rf"▼ LOST, as claimed +{re.escape(IDS[0])} +{BARS[7]} +{BARS[2]} +LOST 12,345 of 4", lines[1])
        assert re.match(rf"✓ HELD +{re.escape(IDS[1])} +{BARS[7]} +{BARS[2]} +kept every confirmed", lines[2])
        assert re.match(rf"▶ running +{re.escape(IDS[2])} +{BARS[7]} +{BARS[2]}$", lines[3])
        assert re.match(rf"  waiting +{re.escape(IDS[3])}$", lines[4])

    def test_what_proves_nothing_is_told_from_success_and_failure_without_colour(self) -> None:
        cases = [
            records.case(IDS[0]),
            records.case(IDS[1], guarantees=[records.guarantee(Verdict.VIOLATED)]),
            records.case(IDS[2], guarantees=[records.guarantee(Verdict.UNKNOWN)]),
            records.case(IDS[3], guarantees=[records.guarantee(Verdict.NOT_EXERCISED)]),
            records.case("null@embedded", trials=[records.invalid_trial()], guarantees=[]),
        ]
        signs = [re.split(r"  +", each)[0] for each in shown(of(cases), 1)[1:6]]
        assert signs == ["✓ HELD", "✗ VIOLATED", "? UNKNOWN", "○ NOT EXERCISED", "! INVALID"]

    def test_names_lose_what_all_share_before_they_are_cut(self) -> None:
        cases = [records.case(each) for each in IDS]
        names = [each[10:].split()[0] for each in shown(of(cases, running=0), 1, width=80)[1:5]]
        assert names == [each.removesuffix("@embedded") for each in IDS]
        short = [re.split(r"  +", each.strip())[1] for each in shown(of(cases, running=0), 1, width=56)[1:5]]
        assert short == [f"redis-stream[{how}]" for how in ("none", "aof-no", "aof-everysec", "aof-always")]

    @pytest.mark.parametrize("height", [1, 2, 3, 5, 8, 12, 40])
    def test_on_a_low_terminal_the_case_that_runs_stays_and_nothing_is_beyond(self, height: int) -> None:
        cases = [records.case(f"null-{number}@embedded") for number in range(12)]
        lines = shown(of(cases, running=6), 1, height=height)
        assert len(lines) <= height
        if height >= 2:
            assert any("▶ running" in each for each in lines)
        if height >= 8:
            assert any(each.startswith("steady") for each in lines)
            assert any(each.startswith("p99") for each in lines)
        if height == 12:
            assert any(re.fullmatch(r"… \d+ above and \d+ below", each) for each in lines)

    def test_a_case_that_is_not_run_says_why(self) -> None:
        cases = [records.case(IDS[0]), records.case("redis@embedded", trials=[], unavailable="no redis-server here")]
        [line] = [each for each in shown(of(cases, running=0), 1, width=160) if "NOT RUN" in each]
        assert line.endswith("no redis-server here")

    def test_words_that_have_no_room_end_in_an_ellipsis(self) -> None:
        lines = shown(of(list(map(records.case, IDS)), running=2), 1, width=100)
        assert [len(line) for line in lines[1:3]] == [100, 100]
        assert all(line.endswith("kept every conf…") for line in lines[1:3])

    def test_a_run_that_ends_counts_nothing_down_and_says_what_will_not_run(self) -> None:
        made = of(list(map(records.case, IDS)), running=2)
        made.notice(FaultPlanned(index=0, label="kill broker", t_ns=at_ns(5), hold_s=3.0))
        made.notice(FaultInjected(index=1, label="pause broker", t_ns=at_ns(1), hold_s=3.0))
        lines = shown(made, 2, ending=True)
        assert lines[0] == "crash · case 3 of 4 · ending: interrupted"
        assert lines[4].startswith("  not run")
        assert "steady   2 s" in lines
        assert any(line.endswith("pause broker, for 1.0 s, healing") for line in lines)
        assert not re.search("left|waiting|kill broker", "\n".join(lines))

    def test_a_run_that_ends_says_so(self) -> None:
        assert shown(picture(tick(0, 0, 0)), 1, ending=True)[-1] == ENDING
        assert shown(Picture(), 1, ending=True) == ["starting · ending: interrupted", ENDING]


class TestTerminal:
    def view(self, file: io.TextIOBase, **more: object) -> LiveView:
        console = Console(file=file, force_terminal=True, width=80, height=24, **more)  # type: ignore[arg-type]
        return LiveView(console, now=lambda: at_ns(1))

    def told(self, **more: object) -> str:
        file = io.StringIO()
        with self.view(file, **more) as view:
            for event in (CASE, STEADY, tick(0, 0, 0), tick(1, 100, 100), Warned(text="slow [disk]")):
                view.notice(event)
            bad = records.case(trials=[records.invalid_trial()])
            view.notice(CaseFinished(case=bad, trial=1, status=TrialStatus.INVALID, words="saturated"))
            view.draw()
        return file.getvalue()

    def test_what_happened_stays_above_the_panel(self) -> None:
        told = ESCAPES.sub("", self.told())
        assert "  warning: slow [disk]" in told
        assert "! INVALID: redis-stream@embedded, trial 1: saturated" in told

    def test_it_ends_with_the_cursor_shown_and_no_thread(self) -> None:
        told = self.told()
        assert told.rindex("\x1b[?25h") > told.rindex("\x1b[?25l")
        assert not [thread for thread in threading.enumerate() if thread.name == "live-view"]
        assert not live.say_ending()

    def test_a_signal_is_told_in_the_panel(self) -> None:
        file = io.StringIO()
        with self.view(file) as view:
            assert live.say_ending()
            view.draw()
        assert ENDING in file.getvalue()

    def test_without_colour_there_is_none(self) -> None:
        codes = re.findall(r"\x1b\[([\d;]*)m", self.told(no_color=True))
        assert {code for each in codes for code in each.split(";")} <= {"", "0", "1", "2"}  # bold and dim

    def test_a_terminal_that_cannot_write_block_characters_gets_others(self) -> None:
        raw = io.BytesIO()
        with self.view(io.TextIOWrapper(raw, encoding="ascii")) as view:
            for event in (CASE, STEADY, *outage()):
                view.notice(event)
            view.draw()
        told = ESCAPES.sub("", raw.getvalue().decode("ascii"))
        assert re.search(r"rate +~~~\.\.#", told)

    def test_where_the_terminal_has_become_narrower_the_wrapped_panel_goes_first(self) -> None:
        file = io.StringIO()
        view = self.view(file)
        with view:
            for event in (CASE, STEADY, *outage()):
                view.notice(event)
            view.draw()
            lengths = [len(each) for each in shown(picture(*outage()), 1, 80, 23)]
            view._console.width = 40
            at = file.tell()
            view.draw()
        further = sum(-(-length // 40) - 1 for length in lengths)
        assert file.getvalue()[at:].startswith(f"\x1b[{further}A\x1b[J")
