"""The live view: what it says of a moment, a gap that is never a missing line, and a closed stderr that ends nothing."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from rich.console import Console

from harness import histogram
from harness.cli.live import LiveView, PlainView, happened, line, open_view, panel
from harness.cli.picture import Picture, Rates
from harness.clock import NS_PER_S
from harness.model import TrialStatus
from harness.run.progress import (
    CaseFinished,
    CaseStarted,
    Event,
    FaultHealed,
    FaultInjected,
    PhaseChanged,
    Tick,
    Warned,
)

START_NS = 1_000 * NS_PER_S
CASE = CaseStarted(number=2, of=3, case_id="redis-stream[persistence=none]@embedded")
STEADY = PhaseChanged(phase="steady", t_ns=START_NS, length_s=20.0)


def at_ns(t_s: float) -> int:
    return START_NS + round(t_s * NS_PER_S)


def tick(t_s: float, offered: int, delivered: int, latency_s: float = 0.002, **more: int) -> Tick:
    """Returns a tick in which every delivery so far took ``latency_s``."""
    counts = np.zeros(histogram.BUCKETS, np.uint64)
    histogram.add(counts, np.full(delivered, round(latency_s * NS_PER_S), np.int64))
    values = {
        "sent": offered,
        "confirmed": delivered,
        "rejected": 0,
        "unknown": 0,
        "finished": delivered,
        "settled": delivered,
        "redelivered": 0,
    }
    return Tick(t_ns=at_ns(t_s), offered=offered, delivered=delivered, latency=counts, **values | more)  # type: ignore[arg-type]


def picture(*events: Event) -> Picture:
    made = Picture()
    for event in (CASE, STEADY, *events):
        made.notice(event)
    return made


def rates(*events: Event, t_s: float) -> Rates:
    found = picture(*events).at(at_ns(t_s)).rates
    assert found is not None
    return found


def drawn(*events: Event, t_s: float, width: int = 80) -> str:
    console = Console(width=width, force_terminal=True, no_color=True, file=io.StringIO())
    with console.capture() as captured:
        console.print(panel(picture(*events).at(at_ns(t_s))))
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", captured.get())


def outage() -> Iterator[Event]:
    """Yields 1,000/s for 3 s, a kill at 3 s for 2 s, all that waited by 5.5 s; a tick every 0.1 s."""
    for tenth in range(61):
        t_s = tenth / 10
        offered = tenth * 100
        delivered = min(offered, 3000) if t_s < 5 else (3000 if t_s < 5.2 else offered)
        if tenth == 30:
            yield FaultInjected(index=0, label="kill broker", t_ns=at_ns(3.0), hold_s=2.0)
        if tenth == 52:
            yield FaultHealed(index=0, label="kill broker", t_ns=at_ns(5.2))
        yield tick(t_s, offered, delivered)


class TestRates:
    def test_rates_are_those_of_the_last_second(self) -> None:
        found = rates(tick(0, 0, 0), tick(1, 5000, 5000), tick(2, 6000, 5500), t_s=2)
        assert (found.offered_per_s, found.delivered_per_s) == (1000, 500)

    def test_the_first_tick_has_no_rate_yet(self) -> None:
        found = rates(tick(0, 10, 10), t_s=0)
        assert found.offered_per_s is None

    def test_ticks_that_come_often_still_span_a_second(self) -> None:
        found = rates(*(tick(n / 10, n * n, n * n) for n in range(31)), t_s=3)
        assert found.offered_per_s == 30 * 30 - 20 * 20

    def test_ticks_that_come_late_are_divided_by_their_own_distance(self) -> None:
        assert rates(tick(0, 0, 0), tick(4, 4000, 4000), t_s=4).offered_per_s == 1000

    def test_counts_that_fall_back_make_no_negative_rate(self) -> None:
        found = rates(tick(0, 100, 100), tick(1, 200, 40), t_s=1)
        assert found.delivered_per_s == 0
        assert found.tail_s is None

    def test_the_p99_is_that_of_the_last_second_alone(self) -> None:
        counts = np.zeros(histogram.BUCKETS, np.uint64)
        ticks = []
        for t_s, latency_s in ((0, 1.0), (1, 1.0), (2, 0.002)):
            histogram.add(counts, np.full(200, latency_s * NS_PER_S, np.int64))
            ticks.append(tick(t_s, 200, 200 * (t_s + 1)))
            object.__setattr__(ticks[-1], "latency", counts.copy())
        found = rates(*ticks, t_s=2)
        assert found.tail_s == pytest.approx(0.002, rel=0.016)
        assert found.tail_name == "p99"

    def test_of_less_than_a_hundred_deliveries_the_largest_is_called_what_it_is(self) -> None:
        found = rates(tick(0, 0, 0), tick(1, 99, 99, latency_s=0.5), t_s=1)
        assert (found.tail_name, found.tail_s) == ("max", pytest.approx(0.5, rel=0.016))

    def test_backlog_is_what_is_offered_and_not_finished(self) -> None:
        assert rates(tick(0, 100, 40), t_s=0).backlog == 60
        assert rates(tick(0, 100, 40, backlog=7), t_s=0).backlog == 7
        assert rates(tick(0, 100, 120), t_s=0).backlog == 0

    def test_the_age_of_the_last_delivery_is_counted_from_the_tick_that_saw_it(self) -> None:
        found = rates(tick(0, 0, 0), tick(1, 100, 100), tick(2, 200, 100), tick(3, 300, 100), t_s=3.5)
        assert found.quiet_s == 2.5

    def test_a_new_case_forgets_the_one_before(self) -> None:
        snapshot = picture(tick(1, 5, 5), CASE).at(at_ns(2))
        assert (snapshot.rates, snapshot.phase, snapshot.faults) == (None, None, ())


class TestLines:
    def plain(self, *events: Event) -> list[str]:
        file = io.StringIO()
        with PlainView(Console(file=file)) as view:
            for event in (CASE, STEADY, *events):
                view.notice(event)
        return file.getvalue().splitlines()

    def test_a_run_is_told_in_lines(self) -> None:
        told = self.plain(tick(0, 0, 0), tick(1, 4000, 3900, unknown=3, backlog_broker=100))
        assert told == [
            "case 2 of 3: redis-stream[persistence=none]@embedded",
            "  steady, 20 s",
            "  steady 0 s of 20 s, 20 s left | offered —  confirmed —  delivered — | p99 —  nothing delivered yet"
            " | backlog 0  rejected 0  unknown 0  redelivered 0",
            "  steady 1 s of 20 s, 19 s left | offered 4,000/s  confirmed 3,900/s  delivered 3,900/s"
            " | p99 2.02 ms end to end | backlog 100 (broker: 100)  rejected 0  unknown 3  redelivered 0",
        ]

    def test_there_is_a_line_each_second_and_not_more(self) -> None:
        told = self.plain(*outage())
        seconds = [int(found[1]) for each in told if (found := re.match(r"  steady (\d+) s of", each))]
        assert seconds == [0, 1, 2, 3, 4, 5, 6]

    def test_ticks_that_come_a_little_late_cost_no_line(self) -> None:
        told = self.plain(*(tick(n * 0.3, n, n) for n in range(41)))
        assert len([each for each in told if each.startswith("  steady ")]) == 13

    def test_a_gap_shows_as_zero_with_its_age_and_the_fault(self) -> None:
        told = self.plain(*outage())
        gap = next(each for each in told if each.startswith("  steady 5 s"))
        assert "offered 1,000/s  confirmed 0/s  delivered 0/s | p99 —  nothing delivered for 2 s" in gap
        assert "backlog 2,000" in gap
        assert gap.endswith("| kill broker, for 2.0 s, healing")
        assert any("kill broker, for 1.0 s, heals in 1.0 s" in each for each in told)
        assert "  ! fault: kill broker, to be healed in 2 s" in told
        assert "  ! healed: kill broker" in told
        assert "kill broker" not in told[-1]

    def test_there_are_no_escape_codes(self) -> None:
        assert not any("\x1b" in each for each in self.plain(*outage()))

    @pytest.mark.parametrize(
        ("event", "text"),
        [
            (
                CaseStarted(number=1, of=1, case_id="x", trial=2, trials=3),
                "case 1 of 1: x, trial 2 of 3",
            ),
            (PhaseChanged(phase="drain", t_ns=0, length_s=60.0, limit=True), "  drain, at most 60 s"),
            (PhaseChanged(phase="preparing", t_ns=0), "  preparing"),
            (FaultInjected(index=0, label="kill worker", t_ns=0, hold_s=None), "  ! fault: kill worker"),
            (Warned(text="slots on disk"), "  warning: slots on disk"),
            (
                CaseFinished(case_id="x", trial=1, status=TrialStatus.VALID, words="lost 3"),
                "✓ x, trial 1: valid — lost 3",
            ),
            (CaseFinished(case_id="x", trial=1, status=TrialStatus.INVALID), "! x, trial 1: invalid"),
        ],
    )
    def test_every_event_has_its_words(self, event: Event, text: str) -> None:
        assert happened(event) == text

    def test_a_drain_has_a_limit_and_a_fault_may_last_until_the_end(self) -> None:
        drain = PhaseChanged(phase="drain", t_ns=START_NS, length_s=60.0, limit=True)
        never = FaultInjected(index=0, label="kill worker", t_ns=at_ns(1), hold_s=None)
        assert line(picture(drain, never).at(at_ns(3))) == (
            "drain 3 s, at most 60 s | kill worker, for 2.0 s, until the load ends"
        )

    def test_a_latency_beyond_the_histogram_is_not_a_number(self) -> None:
        told = line(picture(tick(0, 0, 0), tick(1, 200, 200, latency_s=9e4)).at(at_ns(1)))
        assert "p99 beyond 1 h end to end" in told


class TestPanel:
    @pytest.mark.parametrize("width", [60, 80, 140])
    def test_it_has_the_same_lines_at_every_width_and_never_wraps(self, width: int) -> None:
        lines = drawn(tick(0, 0, 0), tick(1, 4000, 3900), t_s=1, width=width).splitlines()
        assert len(lines) == 5
        assert all(len(each) <= width for each in lines)
        assert lines[0].startswith("case 2 of 3: redis-stream[persistence=none]@embedded")
        assert re.match(r"rates +offered 4,000/s", lines[2])

    def test_it_shows_the_time_left_and_the_fault_with_its_countdown(self) -> None:
        told = drawn(*list(outage())[:47], t_s=4.5)
        assert "steady 4 s of 20 s, 16 s left" in told
        assert re.search(r"fault +kill broker, for 1\.5 s, heals in 0\.5 s", told)
        assert re.search(r"latency +p99 —  nothing delivered for 1\.5 s", told)

    def test_a_load_that_tells_nothing_is_shown_as_such(self) -> None:
        told = drawn(tick(0, 0, 0), tick(1, 100, 100), t_s=4)
        assert re.search(r"load +no news for 3 s", told)
        assert "rates" not in told

    def test_after_the_load_only_the_counts_stay(self) -> None:
        analysing = PhaseChanged(phase="analysing", t_ns=at_ns(2))
        told = drawn(tick(0, 0, 0), tick(1, 100, 100), analysing, t_s=4)
        assert "no news" not in told
        assert "analysing 2 s" in told
        assert "so far" in told

    def test_before_the_first_case_it_says_starting(self) -> None:
        console = Console(width=80)
        with console.capture() as captured:
            console.print(panel(Picture().at(0)))
        assert captured.get() == "starting\n"

    def test_what_happened_stays_above_the_panel(self) -> None:
        file = io.StringIO()
        console = Console(file=file, force_terminal=True, width=80)
        with LiveView(console, now=lambda: at_ns(1)) as view:
            for event in (CASE, STEADY, tick(0, 0, 0), tick(1, 100, 100), Warned(text="slow [disk]")):
                view.notice(event)
            view.notice(CaseFinished(case_id=CASE.case_id, trial=1, status=TrialStatus.VALID))
        told = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue())
        assert "  warning: slow [disk]" in told
        assert "✓ redis-stream[persistence=none]@embedded, trial 1: valid" in told
        for thread in threading.enumerate():
            if type(thread).__module__.startswith("rich"):  # told to stop; it ends by itself
                thread.join(10)
                assert not thread.is_alive()


class TestChoice:
    def test_a_terminal_gets_the_panel_and_a_pipe_gets_lines(self) -> None:
        assert isinstance(open_view(Console(file=io.StringIO(), force_terminal=True)), LiveView)
        assert isinstance(open_view(Console(file=io.StringIO())), PlainView)

    def test_a_dumb_terminal_gets_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERM", "dumb")
        assert isinstance(open_view(Console(file=io.StringIO(), force_terminal=True)), PlainView)

    def test_a_closed_stderr_does_not_end_the_run(self) -> None:
        class Broken(io.StringIO):
            def write(self, text: str) -> int:
                raise BrokenPipeError

        view = PlainView(Console(file=Broken()))
        view.notice(CASE)
        view.notice(tick(1, 1, 1))

    def test_threads_may_notice_at_once(self) -> None:
        file = io.StringIO()
        view = PlainView(Console(file=file))
        view.notice(CASE)
        threads = [
            threading.Thread(target=lambda: [view.notice(Warned(text="x" * 100)) for _ in range(50)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(file.getvalue().splitlines()[1:]) == {f"  warning: {'x' * 100}"}


class TestEncoding:
    def test_a_stderr_that_cannot_write_every_sign_gets_stand_ins(self) -> None:
        raw = io.BytesIO()
        file = io.TextIOWrapper(raw, encoding="ascii")
        view = open_view(Console(file=file, force_terminal=True))
        assert isinstance(view, PlainView)
        view.notice(CaseFinished(case_id="null@embedded", trial=1, status=TrialStatus.VALID, words="5 µs … ≥ 1 s"))
        assert raw.getvalue() == b"+ null@embedded, trial 1: valid - 5 us ... >=1 s\n"
