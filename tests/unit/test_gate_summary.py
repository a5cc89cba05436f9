"""A job's summary: verdict first, the worst rows before all others, below GitHub's limit, and nothing of a record becomes markup."""

from __future__ import annotations

import re

import outcomes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt  # rich brings it

from harness.gate.outcome import Outcome, Told
from reports.gate import markdown
from reports.gate.markdown import MAX_BYTES

GITHUB = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def summary(outcome: Outcome) -> str:
    """Returns the page with plain spaces in place of those that do not break."""
    return markdown.summary(outcome).replace("\u00a0", " ")


def rows(page: str) -> list[list[str]]:
    """Returns the cells of all table rows; a pipe that is escaped parts no cells."""
    found = [line for line in page.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in found]


def shape(page: str) -> list[str]:
    """Returns what a page is made of, without its words: the kinds of its blocks and what is inside of a line but text."""
    found = []
    for token in GITHUB.parse(page):
        found.append(token.type)
        found += [each.type for each in token.children or () if each.type not in ("text", "softbreak")]
    return found


def test_the_verdict_comes_right_after_the_title() -> None:
    lines = summary(outcomes.outcome()).splitlines()
    assert lines[0] == "# Gate: durability"
    assert lines[2] == "**VERDICT: FAIL: 1 of 3 rules is broken; 1 neither held nor broken, 1 held (2 cases).**"
    assert lines[4:9] == [
        "|   | rule, case | what was seen |",
        "| --- | --- | --- |",
        f"| ✗ FAIL | `throughput`<br>`{outcomes.REDIS}` | B is 42.0 % worse than A (+30.7 % to +55.2 %, 6 pairs); "
        "10 % is tolerated |",
        f"| ? INCONCLUSIVE | `steady-p99`<br>`{outcomes.REDIS}` | B is 18.0 % worse than A (−8.8 % to "
        "+62.0 %, 10 pairs): neither within 25 % nor beyond is proven |",
        f"| ✓ PASS | `steady-p99`<br>`{outcomes.POSTGRES}` | B is 4.4 % worse than A (+1.6 % to +7.3 %, 16 pairs): "
        "slower, but within the 25 % that are tolerated |",
    ]


def test_the_exit_code_and_its_reason_are_told() -> None:
    told = outcomes.outcome(outcomes.unmatched())
    assert "**Exit code 13, invalid evidence: INVALID: kafka-p99: the pattern kafka-\\* matches no case**" in summary(
        told
    )


def test_ten_rows_come_first_and_all_of_them_later() -> None:
    many = [*[outcomes.held(rule=f"held-{n}") for n in range(30)], outcomes.lossy(rule="worst")]
    page = summary(outcomes.outcome(*many))
    first, rest = page.split("<details>", 1)
    table = [row for row in rows(first) if row[1].startswith("`")]
    assert len([row for row in table if len(row) == 3]) == 10
    assert table[0][:2] == ["✗ FAIL", f"`worst`<br>`{outcomes.REDIS}`"]
    assert "The 10 worst of 31; all are below." in first
    assert len([row for row in rows(rest) if "PASS" in row[0]]) == 30


def test_what_could_have_been_seen_stands_beside_the_tolerance() -> None:
    page = summary(outcomes.outcome(outcomes.regression()))
    assert f"| `throughput`<br>`{outcomes.REDIS}` | 3.1 % | +12.9 % | +10.0 % | 1.56 % |" in page


def test_every_figure_of_what_did_not_pass_is_there_in_the_order_of_the_pairs() -> None:
    found = rows(summary(outcomes.outcome()))
    assert [f"`throughput`<br>`{outcomes.REDIS}`", "B", "8,440/s, 8,911/s, 8,670/s, 8,101/s, 8,802/s, 8,590/s"] in found


def test_a_run_without_pairs_has_its_figures_in_the_order_of_its_trials() -> None:
    whole = outcomes.outcome()
    assert "in the order of the pairs" in summary(whole)
    assert "in the order of the trials" in summary(whole.model_copy(update={"kind": "run"}))


def test_runs_discards_drift_and_warnings_are_told() -> None:
    page = summary(outcomes.outcome())
    for told in (
        f"| `{outcomes.REDIS}` | 1 AB, 2 BA, 3 BA, 4 AB, 5 (AB), 6 BA |",
        f"**Discarded pairs of `{outcomes.REDIS}`**",
        "- trials that were disturbed: A 0, B 1",
        "- pair 5: CPU steal 12 % of the trial",
        f"- `{outcomes.REDIS}`, throughput: second / first = 0.988 (6 pairs)",
        "- kernel differs: 6.8.0 and 6.8.1",
        "- not calibrated here: run \\`brokerbench calibrate durability\\` to know what can be seen",
    ):
        assert told in page.splitlines()


def test_ratios_that_are_information_only_are_folded_away() -> None:
    page = summary(outcomes.outcome(outcomes.incomparable(), information=[outcomes.information()]))
    part = page.split("For information: figures of sides that are not comparable", 1)[1]
    assert "| ? INCONCLUSIVE" not in part
    assert f"| `throughput`<br>`{outcomes.REDIS}` | +42.0 % |" in part


def test_no_row_at_all_says_so() -> None:
    page = summary(outcomes.empty())
    assert "**VERDICT: INVALID: no rule was applied to any case, so nothing is proven.**" in page
    assert "All 0 rows" not in page


def test_a_flood_is_cut_between_rows_below_the_limit_and_the_page_says_so() -> None:
    long = [outcomes.lossy(rule=f"r{n}", words="é|" * 400) for n in range(1000)]
    page = markdown.summary(outcomes.outcome(*long, warnings=["w" * 5000] * 500, runs=outcomes.ran(5000)))
    assert MAX_BYTES * 0.9 < len(page.encode()) <= MAX_BYTES
    left_out = re.search(r"… and ([\d,]+) more: `--json` has them\.\n", page.split("All 1,000 rows", 1)[1])
    assert left_out is not None
    whole = [row for row in rows(page.split("All 1,000 rows", 1)[1]) if row[0] == "✗\u00a0FAIL"]
    assert len(whole) + int(left_out[1].replace(",", "")) == 1000
    assert {len(row) for row in whole} == {7}
    assert page.count("<details>") == page.count("</details>") == 3


HOSTILE = st.text(max_size=40) | st.sampled_from(
    [
        "</details><script>alert(1)</script>",
        "| a | b |\n| --- | --- |",
        "# title\n\n- list",
        "[x](javascript:alert(1))",
        "![](http://a.example/x.png)",
        "@someone",
        "```\ncode",
        "a`b``c",
        "\\|",
        "***bold*** ~~no~~ __yes__",
        "&lt;b&gt;",
        "<!-- -->",
        "\x1b[2J\u202e",
    ]
)


@settings(max_examples=40, deadline=None)
@given(HOSTILE, HOSTILE)
def test_nothing_of_a_record_becomes_markup(first: str, second: str) -> None:
    """A page of any words has the blocks, cells, code spans and HTML of a page of plain words."""

    def of(one: str, other: str) -> Outcome:
        return outcomes.outcome(
            outcomes.lossy(words=one, notes=[other], asks=other),
            outcomes.lossy(rule="r2", words=other),
            scenario=f"s {one}",
            question=f"q {other}",
            sides=[Told(name="A", what=f"a {one}"), Told(name="B", what=f"b {other}")],
            warnings=[f"w {one}"],
            flags=[f"f {other}"],
            exit_reason=f"r {one}",
        )

    page = summary(of(first, second))
    assert shape(page) == shape(summary(of("plain", "words")))
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", page) is None


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=30))
def test_a_rule_and_a_case_are_code_whatever_they_are_called(name: str) -> None:
    page = summary(
        outcomes.outcome(outcomes.lossy(rule=f"r{name}", case=f"c{name}"), runs=[], discarded={}, exit_reason="")
    )
    plain = summary(outcomes.outcome(outcomes.lossy(rule="r", case="c"), runs=[], discarded={}, exit_reason=""))
    assert shape(page) == shape(plain)


@pytest.mark.parametrize("kind", ["baseline", "run"])
def test_a_gate_without_pairs_names_its_sides(kind: str) -> None:
    row = outcomes.held(a=[], b=[], n=3)
    headings = {"baseline": "| baseline | run |", "run": "| worse by, bounds | seen |"}
    assert headings[kind] in summary(outcomes.outcome(row, kind=kind, runs=[]))


def test_a_note_that_the_sentence_already_has_is_not_told_twice() -> None:
    row = outcomes.held(words="B is as good as A; below 1 s counts as 1 s", notes=["below 1 s counts as 1 s", "alone"])
    page = summary(outcomes.outcome(row))
    assert page.count("below 1 s counts") == 1
    assert "alone" in page
