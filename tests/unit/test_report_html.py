"""``report.html``: says what ``report.md`` says, holds every chart with its words and its data, asks for nothing, and lets no stranger's text become markup."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from html import unescape
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import records
from PIL import Image

from harness import tables
from harness.facts import ShardRecord, TrialFacts
from harness.model import DurabilityClass, TrialStatus, Verdict
from harness.record import Example, ExampleDelivery, FaultResult, RunRecord
from harness.store import RunFolder
from reports import html, markdown, story, words, write_reports
from reports.charts import Chart, DataTable, Drawing
from reports.charts._style import INK, figure, styled
from reports.embedding import MAX_SVG_BYTES, picture
from reports.examples import stories
from reports.view import CaseView, view

HOSTILE = """</style></svg><script>alert(1)</script><img src=x onerror=alert(1)> "' & {{ 7 * 7 }} \x1b[31m\u202e $x^$ ]]>-->"""
INLINE = {"a", "code", "span", "wbr", "small", "strong"}
VOID = {"meta", "wbr", "br", "img", "link", "hr"}


class Outline(HTMLParser):
    """What a browser would make of a page: every element with its attributes, its ids, its text, and whether it is well nested."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in INLINE:
            self.text.append(" ")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def every(self, tag: str) -> list[dict[str, str | None]]:
        """Returns the attributes of the elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def ids(self) -> list[str]:
        """Returns all ids."""
        return [value for _, attributes in self.elements if (value := attributes.get("id"))]


def shown(page: str) -> str:
    """Returns the words of a page on one line."""
    return " ".join("".join(Outline(page).text).split())


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "quickstart", datetime(2026, 11, 21, 10, 15, 3))


def page(folder: RunFolder, record: RunRecord, charts: Sequence[Chart] = ()) -> str:
    return html.page(view(folder, record), charts).html


def drawing(name: str = "lines-x", *, points: int = 2, **more: Any) -> Drawing:
    with styled():
        made = figure(2)
        axes = made.subplots()
        axes.plot(range(points), range(points), gid="line-a")
        axes.axvspan(0, 1, gid="fault-0")
        axes.axvspan(0.5, 1, gid="fault-0")
    values: dict[str, Any] = {"title": "Lines (memory)", "alt": "Two lines rise.", "note": "as it is"}
    table = DataTable(headings=("x", "y"), rows=(("1", "2"),))
    return Drawing(**({"name": name, "figure": made, "table": table} | values | more))


def of_case(case: CaseView) -> Drawing | None:
    return drawing(f"lines-{case.record.slug}")


def breaks(case: CaseView) -> Drawing | None:
    raise ValueError(f"no <b>data</b> of {case.label}")


class TestWords:
    def test_its_contents_stand_in_the_order_of_the_page(self, folder: RunFolder) -> None:
        sites = [records.case(f"redis-stream@{net}", network=net, client="container") for net in ("bridge", "host")]
        found = Outline(page(folder, records.run(sites), [Chart(position=1, of_cases=lambda _: drawing())]))
        named = [str(each["href"]).removeprefix("#") for each in found.every("a")]
        contents = named[named.index("cases") : named.index("words") + 1]
        assert contents == [each["id"] for each in found.every("section") if each["id"] in contents]
        assert {"networks", "together"} <= set(contents)

    @pytest.mark.parametrize(
        "record",
        [
            records.run(),
            records.run([records.case(guarantees=[records.guarantee(Verdict.VIOLATED)])], exit_code=10),
            records.run([records.case(guarantees=[records.guarantee(Verdict.NOT_EXERCISED)])], exit_code=13),
            records.run([records.case(trials=[records.invalid_trial()], guarantees=[])], exit_code=13),
            records.run(status="interrupted", exit_code=130),
            records.run([records.case(trials=[], guarantees=[])], status="loaded", exit_code=None),
            records.run([records.case(f"redis-stream[x={n}]@embedded") for n in range(12)]),
            records.run([], status="running", exit_code=None, fingerprint={}),
        ],
        ids=["quickstart", "violated", "not exercised", "invalid", "interrupted", "cut off", "twelve", "nothing"],
    )
    def test_it_says_the_same_verdicts_as_the_markdown(self, folder: RunFolder, record: RunRecord) -> None:
        told = shown(page(folder, record))
        markdown_page = markdown.page(record, folder)
        assert story.headline(record) in told
        cut_off = story.is_cut_off(record)
        for case in record.cases:
            assert f"{story.sign(case, cut_off)} {case.id} {story.sentence(case, cut_off)}" in told
            assert str(story.sign(case, cut_off)) in markdown_page
        if record.exit_code is not None:
            assert f"exit code {record.exit_code}" in told

    def test_the_worst_case_stands_first_and_open_where_there_are_many(self, folder: RunFolder) -> None:
        many = [records.case(f"redis-stream[x={n}]@embedded") for n in range(11)]
        bad = records.case("a-last@embedded", guarantees=[records.guarantee(Verdict.VIOLATED)])
        outline = Outline(page(folder, records.run([*many, bad])))
        cases = [each for each in outline.every("details") if each.get("class") == "case"]
        assert ["open" in each for each in cases] == [True] + [False] * 11
        assert next(each["id"] for each in outline.every("article")) == "case-a-last-embedded"

    def test_a_sign_is_a_word_a_symbol_and_a_shape(self, folder: RunFolder) -> None:
        assert [html.tone(each) for each in (words.VIOLATED, words.INVALID, words.UNKNOWN, words.NOT_EXERCISED)] == [
            "bad",
            "void",
            "open",
            "open",
        ]
        assert [html.tone(each) for each in (words.HELD, words.OF_STATUS[TrialStatus.VALID], words.NO_CLAIM)] == [
            "good",
            "good",
            "quiet",
        ]
        css = (html.TEMPLATES / "page.css").read_text()
        shapes = {
            re.sub(r"(background|border)?-?color: [^;]+;", "", rule)
            for rule in re.findall(r"^\.sign\.(?:\w+) \{(.+)\}$", css, re.M)
        }
        assert len(shapes) == 6, "they can be told without colour"

    def test_expected_stands_beside_seen(self, folder: RunFolder) -> None:
        told = shown(page(folder, records.run()))
        assert "Expected Redis without persistence loses what was in it; the others lose nothing. Seen ▼ LOST" in told

    def test_classes_of_durability_are_told_apart_weakest_first(self, folder: RunFolder) -> None:
        told = shown(page(folder, records.run()))
        places = [told.index(f"{kind.value} {words.DURABILITY[kind]}") for kind in list(DurabilityClass)[:3]]
        assert places == sorted(places)

    def test_the_command_that_repeats_the_run_can_be_copied(self, folder: RunFolder) -> None:
        made = page(folder, records.run(command="brokerbench run quickstart --set 'load.rate=5000/s'"))
        assert '<pre class="wraps">brokerbench run quickstart --set &#39;load.rate=5000/s&#39;</pre>' in made

    def test_a_run_in_which_no_broker_came_up_says_why_and_nothing_else(self, folder: RunFolder) -> None:
        dead = records.trial(
            status=TrialStatus.UNAVAILABLE, reasons=["redis ended: port taken"], metrics={}, ledger=None
        )
        record = records.run([records.case(trials=[dead], guarantees=[])], exit_code=70)
        made = page(folder, record)
        assert "No broker came up: no verdict." in shown(made)
        assert "redis ended: port taken" in made
        assert "<table" not in made

    def test_trials_that_are_not_valid_say_so_above_their_figures(self, folder: RunFolder) -> None:
        told = shown(page(folder, records.run([records.case(trials=[records.invalid_trial()])])))
        assert "trial 1 ! INVALID" in told
        assert "! INVALID: generator saturated: schedule lag p99 48.2 ms, bound 10 ms Remedy: lower load.rate" in told


class TestSafety:
    def hostile(self) -> RunRecord:
        example = Example(identity=f"0:1{HOSTILE}", what=HOSTILE, intended_s=1.0, found=[HOSTILE])
        trial = records.invalid_trial(
            reasons=[HOSTILE],
            warnings=[HOSTILE],
            examples=[example],
            faults=[records.broker_kill(label=HOSTILE)],
            guarantees=[records.guarantee(claim=HOSTILE, evidence=HOSTILE)],
        )
        case = records.case(
            f"redis-stream[x={HOSTILE}]@embedded",
            trials=[trial],
            summary=HOSTILE,
            server=HOSTILE,
            guarantees=[records.guarantee(claim=HOSTILE, evidence=HOSTILE)],
            slug="redis-stream",
        )
        return records.run(
            [case],
            question=HOSTILE,
            expect=HOSTILE,
            scenario=HOSTILE,
            scenario_text=HOSTILE,
            overrides=[HOSTILE],
            command=HOSTILE,
            exit_reason=HOSTILE,
            fingerprint={HOSTILE: HOSTILE},
        )

    def test_nothing_of_a_strangers_text_becomes_markup(self, folder: RunFolder) -> None:
        def draws(case: CaseView) -> Drawing | None:
            made = drawing(
                title=HOSTILE, alt=HOSTILE, note=HOSTILE, table=DataTable(headings=(HOSTILE,), rows=((HOSTILE,),))
            )
            made.figure.axes[0].set_title(HOSTILE.replace("$", "").replace("\x1b", ""))
            return made

        outline = Outline(
            page(folder, self.hostile(), [Chart(position=1, of_case=draws), Chart(position=2, of_case=breaks)])
        )
        assert outline.open == []
        assert not outline.every("script")
        assert all(not name.startswith("on") for _, attributes in outline.elements for name in attributes)
        assert [each.get("src") for each in outline.every("img")] == []
        text = "".join(outline.text)
        assert text.count("alert(1)") > 10
        assert "49" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text

    def test_it_forbids_every_request_and_names_no_address(self, folder: RunFolder) -> None:
        outline = Outline(made := page(folder, records.run(), [Chart(position=1, of_case=of_case)]))
        policy = [each for each in outline.every("meta") if each.get("http-equiv") == "Content-Security-Policy"]
        assert [each["content"] for each in policy] == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
        assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", made)
        for _, attributes in outline.elements:
            for name in ("href", "xlink:href", "src"):
                assert (attributes.get(name) or "#").startswith(("#", "data:"))


class TestStructure:
    def test_ids_are_unique_links_lead_somewhere_and_all_that_scrolls_can_be_reached(self, folder: RunFolder) -> None:
        record = records.run(
            [records.case(trials=[records.trial(examples=[records.lost_example()])]), records.memory_case()]
        )
        outline = Outline(page(folder, record, [Chart(position=1, of_case=of_case)]))
        assert outline.open == []
        assert len(set(outline.ids)) == len(outline.ids)
        links = {each["href"][1:] for each in outline.every("a") if each["href"]}
        assert "m-redis-stream-embedded-1-0-17" in links
        assert links <= set(outline.ids)
        boxes = [each for each in outline.every("div") if "scroll" in (each.get("class") or "").split()]
        assert boxes
        assert all(each["tabindex"] == "0" and each["role"] == "region" and each["aria-label"] for each in boxes)

    def test_headings_go_down_one_level_at_a_time_and_tables_have_captions(self, folder: RunFolder) -> None:
        outline = Outline(page(folder, records.run(), [Chart(position=1, of_case=of_case)]))
        levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        assert len(outline.every("caption")) == len(outline.every("table"))
        assert all(each.get("scope") for each in outline.every("th"))


class TestCharts:
    def test_every_figure_has_its_words_its_data_and_ids_of_its_own(self, folder: RunFolder) -> None:
        found = html.page(view(folder, records.run()), [Chart(position=1, of_case=of_case)])
        outline = Outline(found.html)
        assert len(outline.every("figure")) == 3
        assert [each["aria-label"] for each in outline.every("svg")] == ["Two lines rise."] * 3
        assert len([each for each in outline.every("details") if each.get("class") == "data"]) == 3
        assert shown(found.html).count("as it is The data of this chart as a table") == 3
        assert len(set(outline.ids)) == len(outline.ids)
        assert sorted(found.pictures) == [
            f"lines-{case.slug}" for case in sorted(records.run().cases, key=lambda c: c.slug)
        ]
        assert all(each.startswith(b"\x89PNG") for each in found.pictures.values())

    def test_a_chart_that_breaks_is_told_of_in_its_place_and_the_page_stands(self, folder: RunFolder) -> None:
        charts = [Chart(position=1, of_case=breaks), Chart(position=2, of_case=of_case)]
        told = shown(page(folder, records.run([records.case()]), charts))
        assert (
            "No chart “test_report_html” here: it could not be drawn (ValueError: no <b>data</b> of redis-stream@embedded)"
            in told
        )
        assert told.index("No chart") < told.index("Two lines") if "Two lines" in told else "Lines (memory)" in told
        assert "Guarantees" in told

    def test_a_chart_of_several_cases_stands_once_behind_them(self, folder: RunFolder) -> None:
        def together(cases: Sequence[CaseView]) -> Drawing | None:
            return drawing("all", title=f"{len(cases)} cases")

        told = shown(page(folder, records.run(), [Chart(position=1, of_cases=together)]))
        assert told.index("Charts of all cases 3 cases") > told.rindex("Loss, backlog and cost")

    def test_the_svg_takes_the_pages_ink_keeps_marks_and_brings_no_style_of_its_own(self) -> None:
        made = picture(drawing(), "f1")
        assert made.svg.startswith("<svg ")
        assert "currentColor" in made.svg
        assert INK not in made.svg.lower()
        assert "<style" not in made.svg
        assert "xmlns" not in made.svg
        assert re.findall(r'data-gid="(?:fault|line)-\w"', made.svg) == ['data-gid="fault-0"'] * 2 + [
            'data-gid="line-a"'
        ]
        ids = re.findall(r'\sid="([^"]+)"', made.svg)
        assert ids
        assert all(each.startswith("f1-") for each in ids)
        assert set(re.findall(r"#([\w-]+-[\w-]+)", made.svg)) <= set(ids)
        assert (made.width_px, made.height_px) == (900, 200)

    def test_the_file_beside_the_page_bears_the_title_with_the_durability(self) -> None:
        short, long = (Image.open(BytesIO(picture(drawing(title=title), "f1").png)) for title in ("a", "a " * 200))
        assert short.mode == "RGBA"
        assert short.getpixel((0, short.height - 1))[3] == 0, "transparent: it is read on white and on black"
        assert short.height < long.height
        assert (short.width, long.width) == (1350, 1350)

    def test_a_long_drawing_is_put_in_as_png(self) -> None:
        made = picture(drawing(points=40_000), "f1")
        crowd = drawing()
        crowd.figure.axes[0].scatter(
            *[[n % 97 + n / 9973 for n in range(9000)]] * 2, s=[n % 7 + 1 for n in range(9000)]
        )
        crowded = picture(crowd, "f2")
        assert made.svg, "matplotlib joins points that no eye could tell apart"
        assert crowded.svg == ""
        assert crowded.uri.startswith("data:image/png;base64,")
        assert MAX_SVG_BYTES == 250_000

    def test_the_same_data_give_the_same_file(self) -> None:
        first, again = picture(drawing(), "f1"), picture(drawing(), "f1")
        assert (first.svg, first.png) == (again.svg, again.png)


STEADY_NS = 1_000_000_000_000


class TestMessages:
    @pytest.fixture
    def stored(self, folder: RunFolder) -> RunFolder:
        """A trial of which message 3:17842 was received by a worker that was killed, and came again."""
        trial = folder.trial("redis-stream", 1)
        trial.make()

        def at(offset_ms: float) -> int:
            return STEADY_NS + round(offset_ms * 1e6)

        attempts = {
            "producer": [3], "seq": [17842], "attempt": [1], "intended_ns": [at(4890)], "sent_ns": [at(4891)],
            "confirmed_ns": [at(4893)], "outcome": ["CONFIRMED"], "held": ["window"],
        }  # fmt: skip
        none = [None, None]
        deliveries = {
            "producer": [3, 3], "seq": [17842] * 2, "attempt": [1, 1], "subscription": [0, 0], "worker": [1, 2],
            "asked_ns": [at(4800), at(9000)], "received_ns": [at(4900), at(10600)], "started_ns": [at(4910), at(10601)],
            "finished_ns": [None, at(10610)], "failed_ns": none, "settling_ns": [None, at(10615)],
            "settled_ns": [None, at(10620)], "settlement": [None, "ACK"], "settle_outcome": [None, "OK"],
            "entry": none, "redelivered": [False, True], "delivery_count": [1, 2], "checksum_ok": [True, True],
            "foreign": [False, False], "skipped": none,
        }  # fmt: skip
        trial.write_table("attempts", pl.DataFrame(attempts, schema=tables.ATTEMPTS))
        trial.write_table("deliveries", pl.DataFrame(deliveries, schema=tables.DELIVERIES))
        facts = TrialFacts(
            run_id=1,
            trial=1,
            load_start_ns=at(-3000),
            steady_start_ns=STEADY_NS,
            shards=(
                ShardRecord(name="p3", kind="producer", number=3),
                ShardRecord(name="w1", kind="worker", number=1, killed_ns=at(5000.5)),
                ShardRecord(name="w1.1", kind="worker", number=2),
            ),
        )
        with trial.timeline() as timeline:
            timeline.append_facts(STEADY_NS, facts)
        return folder

    def example(self, what: str = "redelivered_unacked") -> Example:
        deliveries = [
            ExampleDelivery(worker=1, attempt=1, cause="", received_s=7.9),
            ExampleDelivery(worker=2, attempt=1, cause=what, received_s=13.6, finished_s=13.61, settlement="ACK"),
        ]
        return Example(identity="3:17842", what=what, intended_s=7.89, outcome="CONFIRMED", deliveries=deliveries)

    def test_a_message_is_told_moment_by_moment_with_what_befell_those_that_had_it(self, stored: RunFolder) -> None:
        examples = [self.example("duplicate_effect"), self.example()]
        trial = records.trial(examples=examples, faults=[records.worker_kill()])
        [told] = stories(stored, trial)
        assert told.whats == ("redelivered_unacked", "duplicate_effect")
        assert (told.identity, told.zero, told.since_s, told.ends) == ("3:17842", "steady", 4.89, ())
        assert [(each.t_s, each.by, each.text) for each in told.moments] == [
            (4.89, "", "due"),
            (4.891, "p3", "sent, held: too many unconfirmed"),
            (4.893, "p3", "CONFIRMED"),
            (4.9, "w1", "received"),
            (4.91, "w1", "started"),
            (5.0004, "", "kill worker injected"),
            (5.0005, "w1", "was sent SIGKILL"),
            (6.0, "", "kill worker healed"),
            (10.6, "w1.1", "received, the broker says: redelivered, delivery 2 by the broker's count"),
            (10.601, "w1.1", "started"),
            (10.61, "w1.1", "finished"),
            (10.615, "w1.1", "ACK sent"),
            (10.62, "w1.1", "ACK OK"),
        ]

    def test_a_fault_that_was_in_force_when_a_message_was_due_is_told_from_its_beginning(
        self, stored: RunFolder
    ) -> None:
        def early(index: int, label: str, healed_s: float, **more: Any) -> FaultResult:
            return records.broker_kill(index=index, label=label, injected_s=4.8881 - index, healed_s=healed_s, **more)

        over, lasting = early(2, "cut broker", 4.8), early(0, "pause broker", 4.8925)
        gone = early(1, "kill worker", 3.8881, evidence={"replaced": "never"})
        [told] = stories(stored, records.trial(examples=[self.example()], faults=[over, lasting, gone]))
        assert [(round(each.t_s, 6), each.text) for each in told.moments][:6] == [
            (3.8881, "kill worker injected, never replaced, 1 s before it was due"),
            (4.8881, "pause broker injected, 1.9 ms before it was due"),
            (4.89, "due"),
            (4.891, "sent, held: too many unconfirmed"),
            (4.8925, "pause broker healed"),
            (4.893, "CONFIRMED"),
        ]
        assert "kill worker healed" not in {each.text for each in told.moments}

    def test_what_is_never_replaced_has_no_heal_in_the_table_of_recoveries(self, folder: RunFolder) -> None:
        gone = records.worker_kill().model_copy(update={"evidence": {"replaced": "never"}, "healed_s": 5.0004})
        found = shown(page(folder, records.run([records.case(trials=[records.trial(faults=[gone])])])))
        assert "kill worker 5.000 s 5.000 s never replaced yes" in found

    def test_without_its_tables_a_message_is_told_from_the_record(self, stored: RunFolder) -> None:
        (stored.trial("redis-stream", 1).path / "attempts.parquet").write_bytes(b"no parquet")
        [told] = stories(stored, records.trial(examples=[self.example()], faults=[records.worker_kill()]))
        assert [(round(each.t_s, 3), each.by, each.text) for each in told.moments] == [
            (4.89, "", "due"),
            (4.9, "w1", "received"),
            (5.0, "", "kill worker injected"),
            (5.0, "w1", "was sent SIGKILL"),
            (6.0, "", "kill worker healed"),
            (10.6, "w1.1", "received"),
            (10.61, "w1.1", "finished"),
        ]

    def test_where_even_the_start_of_steady_is_unknown_no_fault_is_told(self, folder: RunFolder) -> None:
        trial = records.trial(examples=[records.lost_example()], faults=[records.broker_kill()])
        [told] = stories(folder, trial)
        assert (told.zero, told.ends) == ("the load", ("never received",))
        assert [(each.t_s, each.text) for each in told.moments] == [
            (7.9981, "due"),
            (7.9983, "sent"),
            (7.9991, "CONFIRMED"),
        ]

    def test_a_lost_message_is_told_up_to_the_faults_that_came_after_it(
        self, folder: RunFolder, stored: RunFolder
    ) -> None:
        lost = Example(identity="0:5", what="lost", intended_s=7.99, confirmed_s=7.995, outcome="CONFIRMED")
        [told] = stories(folder, records.trial(examples=[lost], faults=[records.broker_kill()]))
        assert [(round(each.t_s, 4), each.text) for each in told.moments] == [
            (4.99, "due"),
            (4.995, "CONFIRMED"),
            (5.0004, "kill broker injected"),
            (7.1, "kill broker healed"),
        ]
        assert told.ends == ("never received",)

    def test_the_page_links_classes_and_marks_to_their_messages(self, stored: RunFolder) -> None:
        trial = records.trial(
            examples=[self.example()], ledger=records.ledger(repeats=7), faults=[records.worker_kill()]
        )
        made = page(stored, records.run([records.case(slug="redis-stream", trials=[trial])]))
        assert '<a href="#m-redis-stream-1-3-17842">3:17842</a>' in made
        assert "3:17842 due 4.8900 s → p3 sent, held: too many unconfirmed +1 ms → p3 CONFIRMED +3 ms →" in shown(made)


class TestFiles:
    def test_page_markdown_and_charts_are_written_and_old_charts_go(self, folder: RunFolder) -> None:
        folder.save(records.run())
        (folder.path / "charts").mkdir()
        (folder.path / "charts" / "gone.png").write_bytes(b"")
        assert write_reports(folder) == folder.path / "report.html"
        assert (folder.path / "report.md").is_file()
        assert not (folder.path / "charts" / "gone.png").exists()

    def test_tables_that_are_gone_cost_the_charts_only(self, folder: RunFolder) -> None:
        told = shown(page(folder, records.run([records.case()])))
        assert "No charts of trial 1: the trial's folder is missing: cases/redis-stream/trial-1" in told
        assert "kept every confirmed message" in told

    def test_neither_jinja_nor_matplotlib_nor_scipy_is_imported_before_a_page_is_made(self) -> None:
        heavy = ("jinja2", "markupsafe", "matplotlib", "scipy")
        code = f"import sys, json, harness.cli.commands; print(json.dumps([n for n in {heavy} if n in sys.modules]))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == []

    def test_unescaped_text_of_a_page_is_what_was_written(self) -> None:
        assert unescape(html.render("_frame.html.j2", **frame("a < b & c"))).count("a < b & c") == 2


def frame(headline: str) -> dict[str, object]:
    """Returns what the frame of a page needs."""
    return {"record": records.run(), "started": "", "ground": "", "headline": headline, "tone": "good"}
