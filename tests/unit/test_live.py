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
from harness.cli.live import LiveView, PlainView, open_view
from harness.cli.phrases import happened, line
from harness.cli.picture import Picture, Rates
from harness.cli.sparks import Slice
from harness.clock import NS_PER_S
from harness.model import TrialStatus
from harness.run.progress import (
    CaseFinished,
    CaseStarted,
    Event,
    FaultHealed,
    FaultInjected,
    FaultPlanned,
    PhaseChanged,
    RunStarted,
    Tick,
    Warned,
)
from tests.unit import records

START_NS = 1_000 * NS_PER_S
CASE = CaseStarted(t_ns=START_NS, number=2, of=3, case_id="redis-stream[persistence=none]@embedded")
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


class TestHistory:
    def history(self, *events: Event) -> list[Slice]:
        return list(picture(*events).at(at_ns(99)).history)

    def test_each_second_has_its_rate_its_p99_and_whether_a_fault_lasted_in_it(self) -> None:
        found = self.history(*outage())
        assert [s.rate_per_s for s in found] == [1000, 1000, 1000, 0, 0, 3000]
        assert [s.tail_s is None for s in found] == [False, False, False, True, True, False]
        assert [s.struck for s in found] == [False, False, False, True, True, True]

    def test_seconds_of_which_nothing_was_heard_stay_empty(self) -> None:
        found = self.history(tick(0, 0, 0), tick(1, 100, 100), tick(4, 400, 400))
        assert [s.rate_per_s for s in found] == [100, None, None, 100]

    def test_the_quiet_end_of_a_drain_is_no_gap_and_a_gap_before_its_last_messages_is(self) -> None:
        drain = PhaseChanged(phase="drain", t_ns=START_NS, length_s=60.0, limit=True)
        counts = [0, 100, 100, 150, 150, 150]
        found = self.history(drain, *(tick(t_s, 200, count) for t_s, count in enumerate(counts)))
        assert [s.rate_per_s for s in found] == [100, 0, 50]

    def test_the_newest_minute_is_kept_and_trials_stand_apart(self) -> None:
        found = self.history(*(tick(t_s, t_s, t_s) for t_s in range(100)))
        assert len(found) == 60
        cases = (records.case(CASE.case_id),)
        run = RunStarted(t_ns=0, run_id="7", scenario="x", deployment="y", cases=cases, trials=2, trial_s=20.0)
        again = self.history(run, CASE, tick(0, 0, 0), tick(1, 5, 5), CASE, tick(0, 0, 0), tick(1, 7, 7))
        assert [s.rate_per_s for s in again] == [5, None, 7]


class TestTimeLeft:
    def left(self, t_s: float, *events: Event) -> tuple[float | None, float | None]:
        cases = tuple(records.case(f"null-{n}@embedded", trials=[]) for n in range(3))
        run = RunStarted(t_ns=START_NS, run_id="7", scenario="x", deployment="y", cases=cases, trials=2, trial_s=20.0)
        made = Picture()
        for event in (run, *events):
            made.notice(event)
        found = made.at(at_ns(t_s))
        return found.case_left_s, found.run_left_s

    def started(self, t_s: float, number: int, trial: int) -> CaseStarted:
        return CaseStarted(
            t_ns=at_ns(t_s), number=number, of=3, case_id=f"null-{number}@embedded", trial=trial, trials=2
        )

    def test_it_starts_as_the_scenario_says(self) -> None:
        assert self.left(0) == (None, 120)
        assert self.left(5, self.started(0, 1, 1)) == (35, 115)

    def test_it_goes_on_as_trials_really_took(self) -> None:
        first = (self.started(0, 1, 1), self.started(30, 1, 2))
        assert self.left(40, *first) == (20, 140)
        assert self.left(70, *first, self.started(70, 2, 1)) == (70, 140)

    def test_it_is_never_less_than_what_the_phase_takes_yet(self) -> None:
        steady = PhaseChanged(phase="steady", t_ns=at_ns(18), length_s=11.0)
        assert self.left(19, self.started(0, 1, 2), steady) == (10, 90)

    def test_a_case_that_is_not_run_takes_no_time(self) -> None:
        cases = (records.case("null@x", trials=[]), records.case("redis@x", trials=[], unavailable="no server"))
        made = Picture()
        made.notice(RunStarted(t_ns=0, run_id="7", scenario="x", deployment="y", cases=cases, trials=1, trial_s=9.0))
        assert made.at(0).run_left_s == 9


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
                CaseStarted(t_ns=START_NS, number=1, of=1, case_id="x", trial=2, trials=3),
                "case 1 of 1: x, trial 2 of 3",
            ),
            (PhaseChanged(phase="drain", t_ns=0, length_s=60.0, limit=True), "  drain, at most 60 s"),
            (PhaseChanged(phase="preparing", t_ns=0), "  preparing"),
            (FaultInjected(index=0, label="kill worker", t_ns=0, hold_s=None), "  ! fault: kill worker"),
            (Warned(text="slots on disk"), "  warning: slots on disk"),
            (FaultPlanned(index=0, label="kill worker", t_ns=0, hold_s=None), ""),
            (
                CaseFinished(case=records.memory_case(3), trial=1, status=TrialStatus.VALID),
                "▼ LOST, as claimed: redis-stream[persistence=none]@embedded, trial 1: LOST 3 of 40,021 confirmed"
                " messages when the broker was killed — its claim allows that (memory only).",
            ),
            (
                CaseFinished(
                    case=records.case(trials=[records.invalid_trial()]),
                    trial=1,
                    status=TrialStatus.INVALID,
                    words="generator saturated",
                ),
                "! INVALID: redis-stream@embedded, trial 1: generator saturated",
            ),
        ],
    )
    def test_every_event_has_its_words(self, event: Event, text: str) -> None:
        assert happened(event) == text

    def test_a_fault_that_is_to_come_is_counted_down(self) -> None:
        kill = FaultPlanned(index=0, label="kill broker", t_ns=at_ns(6), hold_s=0.5)
        assert line(picture(kill).at(at_ns(3.5))) == "steady 3 s of 20 s, 17 s left | kill broker in 2.5 s, for 500 ms"
        struck = FaultInjected(index=0, label="kill broker", t_ns=at_ns(6.1), hold_s=0.5)
        assert line(picture(kill, struck).at(at_ns(6.2))).endswith("| kill broker, for 0.1 s, heals in 0.4 s")

    def test_a_drain_has_a_limit_and_a_fault_may_last_until_the_end(self) -> None:
        drain = PhaseChanged(phase="drain", t_ns=START_NS, length_s=60.0, limit=True)
        never = FaultInjected(index=0, label="kill worker", t_ns=at_ns(1), hold_s=None)
        assert line(picture(drain, never).at(at_ns(3))) == (
            "drain 3 s, at most 60 s | kill worker, for 2.0 s, until the load ends"
        )

    def test_a_latency_beyond_the_histogram_is_not_a_number(self) -> None:
        told = line(picture(tick(0, 0, 0), tick(1, 200, 200, latency_s=9e4)).at(at_ns(1)))
        assert "p99 beyond 1 h end to end" in told


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
        with open_view(Console(file=file)) as view:
            view.notice(Warned(text="✓ 5 µs … ≥ 1 s"))
        assert raw.getvalue() == b"  warning: + 5 us ... >=1 s\n"
