"""``report.md``: verdict first, worst rows first, below 64 KiB, and nothing of a stranger's text becomes markup."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import pytest
import records

from harness.errors import BrokenRunFolderError
from harness.model import DurabilityClass, TrialStatus, Verdict
from harness.record import AtLeast, RunRecord, Unknown
from harness.store import RunFolder
from reports import write_reports
from reports.escape import block, code, table, text
from reports.markdown import MAX_BYTES, page


def section(whole: str, heading: str) -> str:
    """Returns what stands below a heading, up to the next of its level or above."""
    level = heading.split(" ", 1)[0]
    rest = whole.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"\n#{{1,{len(level)}}} ", rest, maxsplit=1)[0]


def rows(part: str) -> list[list[str]]:
    """Returns the cells of all table rows in a part; a pipe that is escaped parts no cells."""
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


class TestPage:
    def test_the_verdict_comes_right_after_the_title(self) -> None:
        lines = page(records.run()).splitlines()
        assert lines[0] == "# quickstart: What does each setup lose when its broker is killed?"
        assert lines[2] == (
            "**VERDICT: 1 of 3 cases LOST confirmed messages, as its claim allows. No claim was broken.**"
        )

    def test_the_worst_case_stands_first_everywhere(self) -> None:
        violated = records.case("a-last@embedded", guarantees=[records.guarantee(Verdict.VIOLATED)])
        whole = page(records.run([records.case(), records.memory_case(), violated]))
        strip = rows(whole.split("Run `", 1)[0])
        assert [row[1] for row in strip[2:5]] == [
            "`a-last@embedded`",
            "`redis-stream[persistence=none]@embedded`",
            "`redis-stream@embedded`",
        ]
        assert re.findall(r"^### (.+)$", whole, re.M)[0] == "`a-last@embedded`"

    def test_expected_stands_beside_seen(self) -> None:
        found = rows(page(records.run()))
        assert ["Expected", "Redis without persistence loses what was in it; the others lose nothing."] in found
        assert any(row[0] == "Seen" and row[1].startswith("LOST, as claimed: `redis-stream") for row in found)

    def test_classes_have_tables_of_their_own_weakest_first(self) -> None:
        cases = section(page(records.run()), "## The cases, by what a confirm survives")
        places = [cases.index(f"**{kind.value}**") for kind in list(DurabilityClass)[:3]]
        assert places == sorted(places)
        assert "**replicated**" not in cases

    def test_a_row_holds_the_figures_of_its_case(self) -> None:
        cases = rows(section(page(records.run()), "## The cases, by what a confirm survives"))
        assert cases[2] == [
            "`redis-stream[persistence=none]@embedded`",
            "▼ LOST, as claimed",
            "4,001/s",
            "3,999/s",
            "3,998/s",
            "1.71 ms",
            "12.3 ms",
            "400 µs",
            "12,345",
            "0",
            "23",
            "2.14 s",
            "≥ 4.9 s",
        ]

    def test_a_throughput_that_is_not_sustained_is_explained_under_the_table(self) -> None:
        case = records.case(trials=[records.trial(throughput_label={"steady": "draining", "whole": "sustained"})])
        top = page(records.run([case])).partition("## Case by case")[0]
        assert "\ndraining: of a throughput: the backlog shrank meanwhile, so it is not compared.\n" in top
        assert "filling" not in top

    def test_a_run_that_was_killed_says_so_of_each_case(self) -> None:
        whole = page(records.run([records.case(trials=[], guarantees=[])], status="loaded", exit_code=None))
        assert ["! CUT OFF", "`redis-stream@embedded`", "was cut off."] in rows(whole)
        assert "**! CUT OFF.** was cut off." in whole
        assert "NOT RUN" not in whole

    def test_the_command_that_repeats_the_run_can_be_copied(self) -> None:
        whole = page(records.run(command="brokerbench run quickstart --set 'load.rate=5000/s'"))
        assert "\n```\nbrokerbench run quickstart --set 'load.rate=5000/s'\n```\n" in whole

    def test_the_environment_is_listed_flat(self) -> None:
        found = rows(section(page(records.run()), "## Environment"))
        assert ["`cpu.count`", "2"] in found
        assert ["`cpu.model`", "AMD EPYC \\| 7B13"] in found
        assert ["`clients.redis`", "6.2.0"] in found

    def test_the_schedule_lag_stands_in_every_report(self) -> None:
        assert "Load generator: schedule lag p99 400 µs, bound 10 ms." in page(records.run())

    def test_every_table_has_as_many_cells_in_each_row_as_in_its_heading(self) -> None:
        unavailable = records.case("x@embedded", trials=[], guarantees=[], unavailable="a | b")
        whole = page(records.run([*records.run().cases, unavailable, records.case(trials=[records.invalid_trial()])]))
        for part in re.findall(r"(?:^\|.*\n)+", whole, re.M):
            assert len({len(row) for row in rows(part)}) == 1

    def test_an_unfinished_run_has_a_page_too(self) -> None:
        whole = page(records.run([], status="running", exit_code=None, fingerprint={}))
        assert "**VERDICT: Cut off: the run did not end in order; no case was measured: no verdict.**" in whole
        assert "Not recorded." in whole


class TestCase:
    def detail(self, **more: object) -> str:
        trial = records.trial(**more)  # type: ignore[arg-type]
        return section(page(records.run([records.case(trials=[trial])])), "### `redis-stream@embedded`")

    def test_the_ledger_shows_losses_first_and_zeroes_only_where_they_matter(self) -> None:
        found = rows(self.detail(ledger=records.ledger(repeats=7), lost=0).split("**Ledger", 1)[1])
        names = [tuple(row[:2]) for row in found]
        assert names[2:6] == [
            ("class", "lost in settling"),
            ("class", "interrupted"),
            ("class", "lost"),
            ("class", "phantom"),
        ]
        assert ["class", "processed", "confirmed and worked off", "40,000"] in found
        assert ["mark", "redelivered unacked", "repeat: came again, not acked", "7"] in found
        assert ["outcome", "CONFIRMED", "the broker said that it has it", "40,000"] in found
        assert ["held", "disconnected", "no connection", "8,011"] in found
        assert ["Jepsen set", "duplicated", "worked off more often than sent", "7"] in found
        assert not any(row[1] == "stranded" for row in found)

    def test_an_example_tells_its_own_timeline(self) -> None:
        told = self.detail(examples=[records.lost_example(), records.repeated_example()])
        assert (
            "- **lost** (LOST: confirmed, never received) trial 1, `0:17`: "
            "due 7.9981 s → sent 7.9983 s → CONFIRMED 7.9991 s → never received" in told
        )
        assert (
            "`0:18`: due 4.8900 s → sent 4.8910 s → CONFIRMED 4.8930 s → worker 0 received 4.9000 s, not finished → "
            "worker 1 received 10.6000 s, repeat: came again, not acked, finished 10.6100 s, ACK OK 10.6200 s → "
            "found in the broker: in_flight" in told
        )

    def test_each_kind_of_example_is_shown_twice_at_most(self) -> None:
        told = self.detail(examples=[records.lost_example(number) for number in range(9)])
        assert told.count("- **lost**") == 2

    def test_an_example_that_is_bad_in_several_ways_is_told_once_and_the_worst_come_first(self) -> None:
        twice = records.repeated_example()
        also = twice.model_copy(update={"what": "duplicate_effect"})
        told = self.detail(examples=[also, twice, records.lost_example()])
        assert re.findall(r"^- \*\*(.+?)\*\*", told.split("**Examples", 1)[1], re.M) == ["lost", "redelivered unacked"]

    def test_recovery_stands_per_fault_with_censored_figures(self) -> None:
        told = rows(self.detail(faults=[records.broker_kill(AtLeast(at_least=4.9), healed_s=None, hit=False)]))
        assert [
            "1",
            "kill broker",
            "5.000 s",
            "5.000 s",
            "never",
            "NO",
            "312",
            "2.14 s",
            "31.2 ms",
            "≥ 4.9 s",
            "1.4 s",
        ] in told

    def test_guarantees_stand_claimed_beside_observed(self) -> None:
        assert [
            "✓ HELD",
            "broker kill",
            "loses nothing; may repeat unacked",
            "312 exposed, 0 lost",
            "312",
        ] in rows(self.detail())

    def test_latencies_stand_per_window_with_the_reason_where_there_is_none(self) -> None:
        told = rows(self.detail())
        assert ["steady", "end to end", "1.71 ms", "5.1 ms", "12.3 ms", "n too small", "40.1 ms"] in told
        assert ["steady", "end to end, from sent", "1.1 ms", "—", "11.9 ms", "—", "—"] in told
        assert ["steady", "schedule lag", "80 µs", "—", "400 µs", "—", "3.1 ms"] in told

    def test_cost_stands_in_its_units(self) -> None:
        told = rows(self.detail())
        assert ["CPU of the broker", "14.2 µs per message"] in told
        assert ["written to disk per message", "311 B"] in told
        said = "CPU and bytes written per message: from the load's start until the last message was settled, without the quiet after it."
        assert said in self.detail()
        assert ["memory of the broker, highest sample", "9.4 MB"] in told

    def test_a_trial_that_is_not_valid_says_so_above_its_figures(self) -> None:
        trials = [records.trial(1), records.invalid_trial(2)]
        told = section(page(records.run([records.case(trials=trials)])), "### `redis-stream@embedded`")
        assert "Trials: 1 ✓ valid, 2 ! INVALID." in told
        assert ["", "", "", "trial 1", "trial 2 ! INVALID"] in rows(told)
        assert "- ! INVALID, trial 2: generator saturated" in told
        assert "remedy: lower load.rate" in told

    def test_a_failed_trial_without_any_figure_has_its_reason(self) -> None:
        told = self.detail(
            status=TrialStatus.FAILED, reasons=["broker did not start"], metrics={}, ledger=None, faults=[]
        )
        assert "- ! FAILED: broker did not start" in told


class TestSettings:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> RunFolder:
        made = RunFolder.create(tmp_path, "quickstart", datetime(2026, 11, 21, 10, 15, 3))
        made.save(records.run([records.case()]))
        return made

    def test_settings_asked_for_stand_beside_those_read_back(self, folder: RunFolder) -> None:
        trial = folder.trial("redis-stream", 1)
        trial.make()
        trial.write_settings(
            {
                "version": "Redis 6.2.14",
                "asked": {"save": "", "appendonly": "yes", "appendfsync": "everysec"},
                "found": {"save": "", "appendonly": "yes", "appendfsync": "always"},
                "also": {"maxmemory-policy": "noeviction"},
            }
        )
        told = write_reports(folder).with_name("report.md").read_text()
        assert "**Settings of Redis 6.2.14, trial 1**" in told
        found = rows(told)
        assert ["`appendfsync`", "`everysec`", "`always`", "✗ DIFFERS"] in found
        assert ["`appendonly`", "`yes`", "`yes`", ""] in found
        assert ["`save`", '`""`', '`""`', ""] in found
        assert ["`maxmemory-policy`", "", "`noeviction`", ""] in found
        assert found.index(["`appendfsync`", "`everysec`", "`always`", "✗ DIFFERS"]) < found.index(
            ["`appendonly`", "`yes`", "`yes`", ""]
        )

    def test_settings_that_cannot_be_read_are_told_and_the_report_is_written(self, folder: RunFolder) -> None:
        path = write_reports(folder)
        assert path == folder.path / "report.html"
        assert "the trial's folder is missing" in path.read_text().replace("&#39;", "'")
        assert "the trial's folder is missing" in (folder.path / "report.md").read_text()

    def test_a_broken_record_makes_no_report(self, folder: RunFolder) -> None:
        (folder.path / "run.json").write_text("{")
        with pytest.raises(BrokenRunFolderError):
            write_reports(folder)
        assert not (folder.path / "report.md").exists()


class TestSize:
    def many(self, cases: int, trials: int) -> RunRecord:
        made = [
            records.case(
                f"redis-stream[persistence=aof-{number}]@embedded",
                list(DurabilityClass)[number % 4],
                [
                    records.trial(
                        each,
                        lost=3,
                        faults=[records.broker_kill(), records.worker_kill()],
                        warnings=[f"a warning about trial {each} " * 4],
                        examples=[records.lost_example(), records.repeated_example()] * 4,
                    )
                    for each in range(1, trials + 1)
                ],
                [records.guarantee(Verdict.VIOLATED if number == cases - 1 else Verdict.HELD), records.no_fault()],
                slo=[records.slo(False)],
            )
            for number in range(cases)
        ]
        return records.run(made)

    def test_a_run_of_twelve_cases_fits_with_all_its_details(self) -> None:
        whole = page(self.many(12, 1))
        assert len(whole.encode()) < MAX_BYTES
        assert len(re.findall(r"^### ", whole, re.M)) == 12

    def test_what_does_not_fit_is_the_best_and_the_page_says_so(self) -> None:
        whole = page(self.many(40, 10))
        assert len(whole.encode()) < MAX_BYTES
        kept = re.findall(r"^### `(.+)`$", whole, re.M)
        assert kept[0] == "redis-stream[persistence=aof-39]@embedded"
        assert f"The details of {40 - len(kept)} cases are left out here: run.json has them." in whole
        assert all(f"aof-{number}]" in whole for number in range(40))


class TestEscape:
    @pytest.mark.parametrize(
        ("raw", "escaped"),
        [
            ("a|b", r"a\|b"),
            ("<script>&", "&lt;script&gt;&amp;"),
            ("*bold* _it_ `code`", r"\*bold\* \_it\_ \`code\`"),
            ("latency.end_to_end.p99", "latency.end_to_end.p99"),
            ("two\nlines\r\n# heading", r"two lines \# heading"),
            ("[x](http://y)", r"\[x\](http://y)"),
            ("\\", "\\\\"),
        ],
    )
    def test_words_stay_words(self, raw: str, escaped: str) -> None:
        assert text(raw) == escaped

    def test_the_id_of_a_case_can_be_copied_from_any_sentence(self) -> None:
        ids = "redis-stream[persistence=none,maxmemory=64 MB]@embedded", "null[drop=0.1]@bridge,client=host"
        told = text(f"*VIOLATED*: {ids[0]}, {ids[1]}. redis-list@embedded asks @somebody")
        assert told == rf"\*VIOLATED\*: `{ids[0]}`, `{ids[1]}`. redis-list@embedded asks @" + "\u2060somebody"

    @pytest.mark.parametrize(
        ("raw", "span"),
        [
            ("a", "`a`"),
            ("a`b", "``a`b``"),
            ("`a`", "`` `a` ``"),
            ("a|b", r"`a\|b`"),
            ("a\nb", "`a b`"),
            ("<b>", "`<b>`"),
            ("", ""),
        ],
    )
    def test_code_stays_code(self, raw: str, span: str) -> None:
        assert code(raw) == span

    def test_a_block_outlasts_the_fences_within(self) -> None:
        assert block("a\n```\nb") == "````\na\n```\nb\n````"

    def test_a_table_without_rows_is_only_its_heading(self) -> None:
        assert table(["a", "b"], [], right=1) == "| a | b |\n| --- | ---: |"

    def test_strangers_cannot_break_the_page(self) -> None:
        evil = "</td><script>alert(1)</script> | x | `y` \n# z"
        record = records.run(
            [
                records.case(
                    "x[a|b]@embedded",
                    summary=evil,
                    server=evil,
                    guarantees=[records.guarantee(claim=evil, evidence=evil)],
                    trials=[
                        records.trial(
                            warnings=[evil],
                            status=TrialStatus.INVALID,
                            reasons=[evil],
                            metrics={"steady": {"lag.p99": Unknown(unknown=evil)}},
                        )
                    ],
                )
            ],
            question=evil,
            expect=evil,
            exit_reason=evil,
            overrides=[evil],
            fingerprint={evil: evil},
            scenario=evil,
        )
        whole = page(record)
        assert "<script>" not in re.sub(r"(`+).*?\1", "", whole)  # inside a code span HTML is text
        assert not re.search(r"^# z", whole, re.M)
        for part in re.findall(r"(?:^\|.*\n)+", whole, re.M):
            assert len({len(row) for row in rows(part)}) == 1


HOSTILE = "<script> | `x` **b** @someone \n# é"


@pytest.mark.parametrize("cases", [12, 60])
@pytest.mark.parametrize("words", ["Why?", HOSTILE * 400], ids=["short", "long"])
def test_however_long_the_words_and_however_many_the_cases_the_page_fits_a_comment(cases: int, words: str) -> None:
    """The worst cases keep their rows and their details; the others are counted."""
    given = [
        records.case(
            f"redis-stream[memory={number} MB{words[:200]}]@bridge",
            trials=[records.trial(n, lost=1, warnings=[words[:300]] * 20) for n in range(1, 6)],
            guarantees=[records.guarantee(Verdict.VIOLATED if number == cases - 1 else Verdict.HELD, evidence=words)],
            summary=words,
        )
        for number in range(cases)
    ]
    more = {"question": words, "expect": words, "command": words, "exit_reason": words, "overrides": [words] * 50}
    whole = page(records.run(given, fingerprint={"it": {str(n): words for n in range(90)}}, **more))
    assert len(whole.encode()) < MAX_BYTES
    assert whole.index("✗ VIOLATED") < whole.index("▼ LOST, as claimed")
    assert "more: run.json has them" in whole or "left out here: run.json has them" in whole
    assert "<script>" not in re.sub(r"(`+)[^`].*?\1", "", whole, flags=re.DOTALL)  # outside of code


def test_nobody_is_called_by_a_comment() -> None:
    whole = page(records.run([records.memory_case()], question="Does @someone lose messages?"))
    assert "@\u2060someone" in whole
    assert "`redis-stream[persistence=none]@embedded`" in whole
    assert "]@\u2060" not in whole
    assert "\\]@" not in whole
    assert "`redis-stream[persistence=none]@embedded`" in whole  # as it is copied
