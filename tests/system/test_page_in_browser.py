"""The report page in a real browser: it asks for nothing, fits a phone, and its charts stand where the timeline says."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from harness.model import FaultKind
from harness.record import Unknown
from harness.store import RunFolder, TrialFolder
from reports import write_reports
from tests.system.browser import Tab, chromium
from tests.unit import records, trials

pytestmark = pytest.mark.xdist_group("browser")  # one browser, one page

OPEN_ALL = "document.querySelectorAll('details').forEach(each => each.open = true)"
NOTHING_HELD = Unknown(unknown="nothing was held")
KILLED_S, BACK_S, WARMUP_S, SECONDS = 9.25, 11.5, 2.0, 20.0


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> TrialFolder:
    """The first trial of a run with its page: 20 s at 1,000/s; the broker was dead for 2.25 s and lost what came just before."""
    claim = trials.claim(FaultKind.BROKER_KILL)
    strike = trials.fault(KILLED_S, BACK_S)
    story = trials.Story(warmup_s=WARMUP_S, seconds=SECONDS, claims=(claim,), facts_more={"faults": (strike,)})
    dead = story.due(KILLED_S, BACK_S)
    for moments in (story.sent, story.confirmed, story.received, story.finished, story.settled):
        moments[dead] += trials.at(BACK_S) - story.intended[dead]
    story.lose(story.due(KILLED_S - 0.01, KILLED_S))
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    made = folder.trial("redis-stream", 1)
    made.make()
    seen, analysed = story.tables(), story.analysed()
    for name in ("attempts", "deliveries", "residue", "connections", "samples"):
        made.write_table(name, getattr(seen, name))
    made.write_table("messages", analysed.messages)
    with made.timeline() as timeline:
        timeline.append_facts(trials.at(SECONDS), story.facts())
    record = analysed.record(number=1, folder=folder.relative(made))
    of_it = records.case(slug="redis-stream", trials=[record], guarantees=list(record.guarantees))
    others = [records.case(f"redis-stream[persistence=aof-{n}]@embedded", trials=[], guarantees=[]) for n in range(6)]
    folder.save(records.run([of_it, *others]))
    write_reports(folder)
    return made


@pytest.fixture(scope="module")
def page(trial: TrialFolder) -> Path:
    """The page of that run."""
    return trial.path.parents[2] / "report.html"


def test_the_page_asks_for_nothing_and_the_browser_refuses_nothing(tab: Tab, page: Path, tmp_path: Path) -> None:
    tab.open(page, 1280)
    assert [url for url in tab.requests if not url.startswith("data:")] == [page.as_uri()]
    assert tab.complaints == []
    asking = tmp_path / "asking.html"
    asking.write_text('<img src="http://127.0.0.1:9/seen.png">')
    tab.open(asking, 1280)
    assert "http://127.0.0.1:9/seen.png" in tab.requests, "what a page asks for is seen here"


def test_every_figure_has_its_words_and_its_table(tab: Tab, page: Path) -> None:
    tab.open(page, 1280)
    tab.value(OPEN_ALL)
    figures = tab.value(
        """[...document.querySelectorAll("figure")].map(figure => [
            figure.querySelector("figcaption").innerText.length,
            (figure.querySelector("svg")?.getAttribute("aria-label") ?? figure.querySelector("img").alt).length,
            figure.querySelectorAll("details.data tbody tr").length,
            figure.querySelector("svg, img").getBoundingClientRect().height])"""
    )
    assert len(figures) >= 4
    assert all(each > 0 for figure in figures for each in figure)
    assert tab.value("document.querySelectorAll('.broken').length") == 0
    assert tab.value("new Set([...document.querySelectorAll('[id]')].map(each => each.id)).size") == tab.value(
        "document.querySelectorAll('[id]').length"
    )


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_body_does_not_scroll_sideways(tab: Tab, page: Path, width: int, dark: bool) -> None:
    tab.open(page, width, dark=dark)
    tab.value(OPEN_ALL)
    assert tab.value("[document.documentElement.scrollWidth, document.documentElement.clientWidth]") == [width, width]
    assert tab.value("getComputedStyle(document.body).backgroundColor") == (
        "rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)"
    )
    ink = tab.value("getComputedStyle(document.body).color")
    drawn = 'getComputedStyle(document.querySelector("figure svg text")).fill'
    assert tab.value(drawn) == ink, "charts are drawn in the ink of the page"


def test_the_fault_stands_where_the_timeline_says(tab: Tab, page: Path, trial: TrialFolder) -> None:
    [facts] = [line["facts"] for line in trial.read_timeline() if line["kind"] == "facts"]
    [fault] = facts["faults"]
    tab.open(page, 1280)

    def edges(gid: str) -> list[list[float]]:
        """Returns the left and right edge of every shape of that name or of names that go on from it."""
        found: list[list[float]] = tab.value(
            f"""[...document.querySelector("figure:has([data-gid='phase-steady'])").querySelectorAll("[data-gid^='{gid}'] path")]
            .map(path => path.getBBox()).map(box => [box.x, box.x + box.width])"""
        )
        return found

    [[zero, end]] = edges("phase-steady")
    seconds_per_unit = (facts["load_end_ns"] - facts["steady_start_ns"]) / 1e9 / (end - zero)
    shades = edges("fault-0")
    assert len(shades) >= 4, "a bar among the lanes, and a shade through each panel"
    for left, right in shades:
        for edge, t_ns in ((left, fault["injected_ns"]), (right, fault["healed_ns"])):
            assert (edge - zero) * seconds_per_unit == pytest.approx((t_ns - facts["steady_start_ns"]) / 1e9, abs=0.005)


def test_a_link_to_a_message_opens_what_it_stands_in(tab: Tab, page: Path) -> None:
    tab.open(page, 1280)
    link = 'document.querySelector("table.ledger a")'
    seen = f"document.querySelector({link}.getAttribute('href')).checkVisibility({{contentVisibilityAuto: true}})"
    assert tab.value(seen) is False
    tab.value(f"{link}.click()")
    assert tab.value(seen) is True


def test_on_paper_every_case_is_open(tab: Tab, page: Path) -> None:
    tab.open(page, 1280)
    hidden = "[...document.querySelectorAll('article')].filter(each => !each.checkVisibility({contentVisibilityAuto: true})).length"
    assert tab.value(hidden) == 6
    tab.call("Emulation.setEmulatedMedia", media="print")
    assert tab.value(hidden) == 0


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page whose tables have as many columns as they get, with ranges over trials."""
    folder = RunFolder(tmp_path_factory.mktemp("wide"))
    kill = records.worker_kill()
    nothing = kill.model_copy(update={"index": 1, "recovery": dict.fromkeys(kill.recovery, NOTHING_HELD)})
    classes = {"processed": 30_000, "unsent": 1_306, "vanished": 178, "rejected": 12_345, "stranded": 4_117}
    ledger = records.ledger(producer_duplicate=12, duplicate_effect=1_234, skipped=7).model_copy(
        update={"classes": classes}
    )
    struck = [
        records.trial(n, faults=[records.broker_kill(), kill, nothing], ledger=ledger, metrics=records.metrics(lost=n))
        for n in (1, 2, 3)
    ]
    ids = ("redis-reliable-list[persistence=aof-everysec]@embedded", "rabbitmq-quorum@embedded")
    folder.save(records.run([records.case(name, trials=struck) for name in ids]))
    write_reports(folder)
    return folder.path / "report.html"


PORTRAIT_PX, LANDSCAPE_PX = 718, 1046  # what A4 leaves between Chromium's margins of 1 cm
BEYOND = """[...document.querySelectorAll('table, figure svg, figure img, pre, p, li')]
    .filter(each => each.getBoundingClientRect().right > innerWidth + 1 && (innerWidth > 1000 || !each.matches('#cases *')))
    .map(each => Math.round(each.getBoundingClientRect().right) + ': ' + (each.innerText?.slice(0, 60) ?? each.tagName))"""


def test_on_paper_nothing_is_wider_than_its_page(tab: Tab, wide: Path) -> None:
    for width in (PORTRAIT_PX, LANDSCAPE_PX):
        tab.open(wide, width)
        tab.call("Emulation.setEmulatedMedia", media="print")
        assert tab.value("document.querySelectorAll('table.cases thead th').length") >= 20
        assert tab.value(BEYOND) == []
    assert tab.value("getComputedStyle(document.querySelector('#cases')).page") == "wide"
    told = base64.b64decode(
        tab.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=True)["data"]
    )
    boxes = [tuple(map(float, each.split())) for each in re.findall(rb"/MediaBox\s*\[([^]]*)\]", told)]
    assert {width > height for _, _, width, height in boxes} == {True, False}, "the wide table has a page across"


def test_a_table_that_scrolls_shows_it_by_a_shade_at_its_edge(tab: Tab, wide: Path, tmp_path: Path) -> None:
    tab.open(wide, 1280)
    box = "document.querySelector('#cases .scroll')"
    assert tab.value(f"{box}.scrollWidth - {box}.clientWidth") > 0

    def edge() -> tuple[int, int]:
        """Returns how light the page is at the right edge of the table, and beside it."""
        left, top, width = tab.value(f"(b => [b.x, b.y + scrollY, b.width])({box}.getBoundingClientRect())")
        tab.screenshot(tmp_path / "page.png")
        with Image.open(tmp_path / "page.png").convert("L") as seen:
            rows = range(int(top) + 2, int(top) + 12)
            inner, outer = (max(seen.getpixel((int(left + width) + by, y)) for y in rows) for by in (-2, 3))
        return inner, outer

    inner, outer = edge()
    assert inner < outer - 20
    tab.value(f"{box}.scrollTo(1e6, 0)")
    inner, outer = edge()
    assert inner == outer
