"""What a gate prints: verdict first, every state told in words, whole at every width, and no command to the terminal or to a CI runner."""

from __future__ import annotations

import io
import re

import outcomes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from harness.gate.outcome import Outcome, Told, Verdict
from harness.record import AtLeast
from reports.gate import told
from reports.gate.terminal import MAX_ROWS, MAX_SENTENCES, plain, print_outcome


def lines(outcome: Outcome, width: int = 120) -> list[str]:
    return plain(outcome, width).splitlines()


def section(outcome: Outcome, title: str, width: int = 120) -> list[str]:
    """Returns the lines below a title, up to the next empty one."""
    after = lines(outcome, width)
    rest = after[after.index(title) + 1 :]
    return rest[: rest.index("")] if "" in rest else rest


def unwrapped(outcome: Outcome, width: int) -> str:
    return " ".join(plain(outcome, width).split())


class TestVerdict:
    def test_it_comes_first_in_plain_words(self) -> None:
        assert lines(outcomes.outcome())[:2] == [
            "",
            "VERDICT  FAIL: 1 of 3 rules is broken; 1 neither held nor broken, 1 held (2 cases).",
        ]

    @pytest.mark.parametrize(
        ("rows", "words"),
        [
            ([outcomes.held()], "PASS: the rule held."),
            ([outcomes.held(), outcomes.lossless()], "PASS: all 2 rules held (2 cases)."),
            ([outcomes.held(), outcomes.lossy()], "FAIL: 1 of 2 rules is broken; 1 held (2 cases)."),
            (
                [outcomes.unmatched()],
                "INVALID: the rule is without evidence that proves anything. What was not measured soundly never passes.",
            ),
            (
                [outcomes.incomparable()],
                "NOT COMPARABLE: the rule is not comparable. "
                "The two sides ran under different conditions: their difference says nothing about them.",
            ),
            (
                [outcomes.undecided()],
                "INCONCLUSIVE: the rule is neither held nor broken. The trials are too few, or too noisy, to tell.",
            ),
            (
                [outcomes.undecided(decided=False)],
                "INCONCLUSIVE: the rule is neither held nor broken. The trials are too few, or too noisy, to tell. "
                "More pairs are still to come.",
            ),
        ],
    )
    def test_each_is_a_sentence(self, rows: list[outcomes.Row], words: str) -> None:
        assert told.headline(outcomes.outcome(*rows)) == words

    def test_what_is_inconclusive_is_told_by_its_cause(self) -> None:
        drifted = outcomes.undecided(words="it would be PASS (B is as good as A), but the sides differ in …")
        opened = outcomes.undecided(rule="p99", upper=None, b=outcomes.values("b", [AtLeast(at_least=1.0)] * 10))
        assert told.headline(outcomes.outcome(drifted)).endswith(f"broken. {told.DRIFTED}")
        assert told.headline(outcomes.outcome(opened)).endswith(f"broken. {told.OPEN}")
        assert told.headline(outcomes.outcome(drifted, outcomes.undecided(rule="p50"))).endswith(
            f"{told.DRIFTED} {told.FEW}"
        )

    def test_a_rule_counts_by_its_worst_case(self) -> None:
        rows = [outcomes.held(), outcomes.held(case="b", verdict=Verdict.FAIL), outcomes.held(case="c")]
        assert told.headline(outcomes.outcome(*rows)) == "FAIL: the rule is broken (3 cases)."

    def test_a_rule_without_a_case_is_none_of_the_cases(self) -> None:
        rows = [outcomes.unmatched(), outcomes.held()]
        assert told.headline(outcomes.outcome(*rows)).startswith(
            "INVALID: 1 of 2 rules is without evidence that proves"
        )
        assert "cases" not in told.headline(outcomes.outcome(*rows))

    def test_no_row_at_all_is_invalid(self) -> None:
        page = lines(outcomes.empty())
        assert page[1] == "VERDICT  INVALID: no rule was applied to any case, so nothing is proven."
        assert page[-1] == "Exit code 13, invalid evidence: no rule was applied to any case"
        assert "Rule by rule" not in page

    def test_what_did_not_pass_follows_with_its_sentence_and_the_worst_first(self) -> None:
        page = lines(
            outcomes.outcome(outcomes.undecided(), outcomes.held(), outcomes.unmatched(), outcomes.lossy()), 200
        )
        assert page[2:6] == [
            f" ✗ no-loss, {outcomes.REDIS}: 23 confirmed messages were lost in trial 3, allowed: 0",
            " ! kafka-p99, no case at all: the pattern kafka-* matches no case",
            f" ? steady-p99, {outcomes.REDIS}: B is 18.0 % worse than A (−8.8 % to +62.0 %, 10 pairs): "
            "neither within 25 % nor beyond is proven",
            "",
        ]

    def test_rules_of_a_case_of_which_the_same_is_said_share_a_line(self) -> None:
        rows = [outcomes.unmeasured(rule=name, words="6 pairs were disturbed") for name in ("p99", "loss")]
        assert lines(outcomes.outcome(*rows))[2:4] == [f" ! p99, loss, {outcomes.POSTGRES}: 6 pairs were disturbed", ""]

    def test_of_many_the_rest_is_counted(self) -> None:
        many = [outcomes.lossy(rule=f"r{n}", words=str(n)) for n in range(MAX_ROWS + 5)]
        page = lines(outcomes.outcome(*many))
        assert f"  … and {len(many) - MAX_SENTENCES} more: `--json` has them" in page
        assert "  … and 5 more: `--json` has them" in page

    def test_the_exit_code_and_its_reason_come_last(self) -> None:
        assert lines(outcomes.outcome(outcomes.lossy()), 200)[-1] == (
            f"Exit code 10, regression or contract broken: FAIL: no-loss, {outcomes.REDIS}: "
            "23 confirmed messages were lost in trial 3, allowed: 0"
        )

    def test_an_inconclusive_gate_that_only_warns_is_not_called_a_pass(self) -> None:
        told_of = outcomes.outcome(outcomes.undecided(words="too noisy"), inconclusive="warn")
        assert lines(told_of, 200)[-1] == (
            "Exit code 0, as what is inconclusive only warns here: "
            f"INCONCLUSIVE: steady-p99, {outcomes.REDIS}: too noisy"
        )


class TestRows:
    def test_a_row_per_rule_and_case_stands_below_its_case(self) -> None:
        assert section(outcomes.outcome(), "Rule by rule")[:8] == [
            "    verdict         rule               A        B  worse by              bounds  tolerated          n",
            f"  {outcomes.REDIS}",
            "    ✗ FAIL          throughput  12,310/s  8,670/s   +42.0 %  +30.7 % to +55.2 %    +10.0 %    6 pairs",
            "    ? INCONCLUSIVE  steady-p99    3.1 ms   3.7 ms   +18.0 %   −8.8 % to +62.0 %    +25.0 %   10 pairs",
            "    ✓ PASS          no-loss            —        0         —                   —          —  12 trials",
            f"  {outcomes.POSTGRES}",
            "    ✓ PASS          steady-p99   12.3 ms  12.8 ms    +4.4 %    +1.6 % to +7.3 %    +25.0 %   16 pairs",
            "  worse by: how much higher B is than A, or A than B where more is better; between its one-sided bounds",
        ]

    def test_where_the_table_does_not_fit_a_row_takes_three_lines(self) -> None:
        assert section(outcomes.outcome(), "Rule by rule", 80)[:4] == [
            f"  {outcomes.REDIS}",
            "    ✗ FAIL  throughput",
            "      worse by +42.0 % (+30.7 % to +55.2 %), tolerated +10.0 %",
            "      A 12,310/s, B 8,670/s, 6 pairs",
        ]

    def test_columns_without_a_figure_are_left_out(self) -> None:
        assert section(outcomes.outcome(outcomes.lossless(), kind="run"), "Rule by rule") == [
            "    verdict  rule     seen          n",
            f"  {outcomes.REDIS}",
            "    ✓ PASS   no-loss     0  12 trials",
        ]

    def test_a_baseline_and_a_run_are_called_so(self) -> None:
        row = outcomes.held(n=5, a=outcomes.values("a", [0.0123] * 5, paired=False))
        table = section(outcomes.outcome(row, kind="baseline"), "Rule by rule")
        assert table[0] == (
            "    verdict  rule        baseline      run  worse by            bounds  tolerated         n"
        )
        assert table[2].endswith("5 trials")

    def test_a_side_without_a_bound_says_so(self) -> None:
        assert told.bounds(outcomes.held(upper=None)) == "+1.6 % or more"
        assert told.bounds(outcomes.held(lower=None)) == "+7.3 % or less"
        assert told.bounds(outcomes.held(lower=None, upper=None)) == "—"
        assert told.bounds(outcomes.held(lower=0.5, upper=3.4)) == "−50.0 % to 3.40 times"

    def test_a_note_that_several_rows_share_is_told_once(self) -> None:
        rows = [outcomes.held(notes=["weaker than ab", "of one"]), outcomes.undecided(notes=["weaker than ab"])]
        table = section(outcomes.outcome(*rows), "Rule by rule")
        assert table.count("  weaker than ab (2 rows)") == 1
        assert table.count("      of one") == 1

    def test_ratios_that_are_information_only_have_no_verdict(self) -> None:
        told_of = outcomes.outcome(outcomes.incomparable(), information=[outcomes.information()])
        assert section(told_of, told.INFORMATION)[:3] == [
            "    rule               A        B  worse by",
            f"  {outcomes.REDIS}",
            "    throughput  12,310/s  8,670/s   +42.0 %",
        ]

    def test_every_rule_says_what_it_asks(self) -> None:
        assert section(outcomes.outcome(outcomes.held(), outcomes.lossless()), "What was asked") == [
            "  steady-p99  latency.end_to_end.p99 (steady) at most 25 % worse",
            "  no-loss     loss.confirmed is 0 in every trial",
        ]


class TestWhatCouldBeSeen:
    def test_noise_and_what_would_have_been_seen_stand_beside_the_tolerance(self) -> None:
        assert section(outcomes.outcome(outcomes.regression()), "What could have been seen at all")[:3] == [
            "    rule          σ_d  seen in 80 of 100  tolerated   level",
            f"  {outcomes.REDIS}",
            "    throughput  3.1 %            +12.9 %    +10.0 %  1.56 %",
        ]

    def test_what_being_second_did_is_told(self) -> None:
        assert section(outcomes.outcome(), "What being second did") == [
            f"  {outcomes.REDIS}, throughput: second / first = 0.988 (6 pairs)"
        ]

    def test_the_order_of_the_runs_shows_what_was_discarded(self) -> None:
        assert section(outcomes.outcome(), "Order of the runs, by coin") == [
            f"  {outcomes.REDIS}: 1 AB, 2 BA, 3 BA, 4 AB, 5 (AB), 6 BA",
            "  AB: A ran first; in brackets: discarded",
        ]

    def test_a_trial_that_is_not_valid_is_marked_in_the_order(self) -> None:
        runs = outcomes.ran(2)
        runs[0] = runs[0].model_copy(update={"status": "invalid"})
        assert section(outcomes.outcome(runs=runs), "Order of the runs, by coin") == [
            f"  {outcomes.REDIS}: 1 A!B, 2 BA",
            "  AB: A ran first; !: the trial before it is not valid",
        ]

    def test_discards_are_told_per_arm_with_their_causes(self) -> None:
        assert section(outcomes.outcome(), "Discarded pairs") == [
            f"  {outcomes.REDIS}",
            "    trials that were disturbed: A 0, B 1",
            "    pair 5: CPU steal 12 % of the trial",
        ]

    def test_drift_and_warnings_are_told(self) -> None:
        assert section(outcomes.outcome(), "Drift: what else changed") == ["  kernel differs: 6.8.0 and 6.8.1"]
        assert section(outcomes.outcome(), "Warnings")[0].startswith("  not calibrated here")


class TestPlaces:
    @pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
    def test_no_line_is_longer_than_the_terminal_and_nothing_is_cut(self, width: int) -> None:
        page = lines(outcomes.outcome(), width)
        assert max(map(cell_len, page)) <= width
        assert "…" not in "".join(page)
        assert "B is 42.0 % worse than A (+30.7 % to +55.2 %, 6 pairs); 10 % is tolerated" in unwrapped(
            outcomes.outcome(), width
        )

    def test_without_colour_nothing_is_lost(self) -> None:
        coloured = Console(width=120, file=io.StringIO(), force_terminal=True, color_system="truecolor", no_color=False)
        print_outcome(outcomes.outcome(), coloured)
        written = coloured.file.getvalue()  # type: ignore[attr-defined]
        assert "\x1b[1;31m" in written
        stripped = re.sub(r"\x1b\[[0-9;]*m", "", written)
        assert re.sub(r" +$", "", stripped, flags=re.MULTILINE) == plain(outcomes.outcome(), 120)

    def test_no_color_takes_colours_and_leaves_words(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        console = Console(width=120, file=io.StringIO(), force_terminal=True, color_system="truecolor")
        print_outcome(outcomes.outcome(), console)
        written = console.file.getvalue()  # type: ignore[attr-defined]
        assert re.search(r"\x1b\[[0-9;]*3[0-9]m", written) is None
        assert "✗ FAIL" in re.sub(r"\x1b\[[0-9;]*m", "", written)

    def test_a_console_without_our_signs_gets_others(self) -> None:
        file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        every = outcomes.outcome(outcomes.regression(), outcomes.incomparable(rule="p99"), outcomes.undecided())
        print_outcome(every, Console(width=120, file=file))
        file.flush()
        page = file.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
        assert "x FAIL" in page
        assert "# NOT COMPARABLE" in page
        assert "-8.8 % to +62.0 %" in page
        assert "s_d" in page


class TestOthersText:
    def test_markup_of_rich_is_text(self) -> None:
        assert "[bold red]x[/]" in plain(outcomes.outcome(outcomes.lossy(words="[bold red]x[/]")))

    @pytest.mark.parametrize("text", ["::error::x", "  ::stop-commands::y", "##[error]z", "a\n::add-mask::b"])
    def test_no_line_is_a_command_to_a_ci_runner(self, text: str) -> None:
        sides = [Told(name=text, what=text)]
        page = plain(outcomes.outcome(outcomes.lossy(rule=text, words=text), warnings=[text], sides=sides), 80)
        assert [line for line in page.splitlines() if line.lstrip().startswith("::") or "##[" in line] == []

    @settings(max_examples=30, deadline=None)
    @given(st.text(max_size=60), st.sampled_from([45, 80]))
    def test_no_record_writes_over_what_we_say(self, text: str, width: int) -> None:
        row = outcomes.lossy(rule=text, case=text, words=text, notes=[text])
        page = plain(outcomes.outcome(row, warnings=[text], flags=[text], question=text, scenario=text), width)
        assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page) is None
        assert re.search(r"^\s*::", page, re.MULTILINE) is None
        assert "VERDICT  FAIL: the rule is broken." in page


def test_nothing_could_be_seen_where_no_look_was_reached_and_only_columns_that_are_there_are_explained() -> None:
    cut_short = outcomes.undecided(level=None, lower=None, upper=None, detectable=None, n=3)
    page = unwrapped(outcomes.outcome(cut_short), 200)
    power = page.partition("What could have been seen at all")[2]
    assert "nothing" in power.partition("σ_d: how much")[0]
    assert "level:" not in power
    assert "level: how often" in unwrapped(outcomes.outcome(outcomes.undecided()), 200)


def test_bounds_without_a_ratio_are_told_alone() -> None:
    opened = outcomes.undecided(estimate=None, lower=0.067, upper=None)
    assert told.figures(opened, ("A", "B"))[0] == "worse by −93.3 % or more, tolerated +25.0 %"
    assert told.legend(outcomes.outcome(opened), [opened]) != []
