"""The view of an ``ab``: what each rule says so far, how long it takes yet, and that neither is lost on a narrow terminal."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from rich.console import Console

from harness.cli.pairing_view import LivePairs, PlainPairs, first_lines, needed, position
from harness.clock import NS_PER_S
from harness.experiment.pairs import Standing, TrialBegan, TrialOver, limited, new_record, run_pairs
from harness.gate.jury import Jury
from harness.gate.phrases import percent
from harness.pairs_folder import PairsFolder
from harness.run.progress import Warned
from tests.unit.test_pairs import NO_LOSS, SLOWER, Noting, Scripted, arms, scattered, steady

RULES = (SLOWER, NO_LOSS)


def course(root: Path, pairs: int) -> list[object]:
    """Returns the events of a comparison of two that are alike, up to and with how it stands after some pairs."""
    both = arms(Scripted(steady(0.01)), Scripted(scattered))
    for arm in both:
        assert isinstance(arm.runner, Scripted)
        arm.runner.interrupt = lambda number: "before" if number > pairs else ""
    made = PairsFolder.create(root, "smoke", datetime(2026, 11, 21))
    watcher = Noting()
    run_pairs(made, new_record(both, command="", stopping="quick", seed=7), both, watcher, Jury(rules=RULES))
    return watcher.events[:-1]  # the next trial had begun


def plain(events: list[object], now_ns: int = 0) -> list[str]:
    file = io.StringIO()
    view = PlainPairs(Console(file=file), 20.0, lambda: now_ns)
    for event in events:
        view.notice(event)  # type: ignore[arg-type]
    return file.getvalue().splitlines()


def test_the_time_of_contracts_alone_is_that_of_the_first_look() -> None:
    jury = Jury(rules=(NO_LOSS,))
    record = limited(new_record(arms(Scripted(steady(1)), Scripted(steady(1))), command="", stopping="full"), jury)
    *_, time = first_lines(record, 20.0, "runs/x", jury.rules)
    assert time == "time: about 2 min 0 s: 12 trials of about 10 s; it ends when every rule is decided"
    assert position(record, record.cases[0]) == "0 pairs of 6"


def test_what_is_short_of_all_is_not_told_as_all() -> None:
    told = [percent(share) for share in (1 / 1.0001, 0.99, 1.0, 9.999, 1 - 1e-9)]
    assert told == ["99.99 %", "99 %", "100 %", "1,000 %", "99.9999999 %"]


class TestPlain:
    def test_a_line_for_each_trial_and_the_rules_after_each_pair(self, tmp_path: Path) -> None:
        lines = [re.sub(r"\(\d+ s\)", "(0 s)", line) for line in plain(course(tmp_path, 1))]
        assert lines[0] == "about 1 min 40 s to 3 min 20 s left"
        assert lines[1:6] == [
            "pair 1, B first: null@embedded",
            "  valid (0 s)",
            "pair 1, A second: null@embedded",
            "  valid (0 s)",
            "null@embedded: 1 pair of 5 or 10",
        ]
        assert lines[6].startswith("  p50: · undecided: ")
        assert lines[7].startswith("  no-loss: ")
        assert lines[8].endswith(" left")
        assert len(lines) == 9

    def test_warnings_of_trials_are_told(self) -> None:
        assert plain([Warned(text="no tmpfs")]) == ["  warning: no tmpfs"]

    def test_a_closed_stderr_ends_nothing(self) -> None:
        file = io.StringIO()
        view = PlainPairs(Console(file=file), 20.0)
        file.close()
        view.notice(Warned(text="nobody hears"))


class TestLive:
    def drawn(self, events: list[object], width: int = 100, height: int = 24, now_s: float = 0.0) -> list[str]:
        console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
        view = LivePairs(console, 20.0, lambda: round(now_s * NS_PER_S))
        for event in events:
            view.notice(event)  # type: ignore[arg-type]
        return ["".join(text for text, _ in line) for line in view.lines(width, height)]

    def test_the_trial_the_rules_and_the_time_are_told(self, tmp_path: Path) -> None:
        [standing] = [event for event in course(tmp_path, 2) if isinstance(event, Standing)][-1:]
        begun = TrialBegan(t_ns=0, case=0, number=3, letter="b", second=True)
        lines = self.drawn([standing, begun], now_s=5.0)
        assert lines[0] == "ab asked · about 55 s to 2 min 35 s left · pair 3, B second: null@embedded"
        assert lines[1] == "null@embedded: 2 pairs of 5 or 10"
        assert lines[2].startswith("  · undecided p50: ")
        assert len(lines) == 4

    def test_no_line_is_longer_than_the_terminal_nor_more_than_half_of_it(self, tmp_path: Path) -> None:
        standing = [event for event in course(tmp_path, 2) if isinstance(event, Standing)][-1:]
        for width in (20, 40, 60):
            for height in (1, 4, 6):
                lines = self.drawn([*standing], width, height)
                assert all(len(line) <= width for line in lines)
                assert len(lines) <= max(1, height // 2)

    def test_before_anything_is_known_there_is_no_line(self) -> None:
        assert self.drawn([]) == []


class TestTime:
    def test_the_time_needed_is_told_before_anything_starts(self) -> None:
        record = new_record(arms(Scripted(steady(1)), Scripted(steady(1))), command="", stopping="full", seed=7)
        *_, last = first_lines(record, 60.0, "runs/ab", RULES)
        assert last == (
            "time: about 6 min 0 s to 16 min 0 s: 12 to 32 trials of about 30 s; it ends when every rule is decided"
        )

    def test_what_is_certain_is_told_once(self) -> None:
        assert needed(30, 30) == "about 30 s"

    def test_trials_that_took_longer_make_the_rest_longer(self, tmp_path: Path) -> None:
        events = [event for event in course(tmp_path, 1) if not isinstance(event, TrialOver)]
        over = [replace(event, took_s=30.0) for event in course(tmp_path / "b", 1) if isinstance(event, TrialOver)]
        lines = plain([*events[:-1], *over, events[-1]])
        assert lines[-1] == "about 4 min 0 s to 9 min 0 s left"
