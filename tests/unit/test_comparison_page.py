"""The page of a comparison: where it may be written, and how much is drawn on it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import records

from harness.cli.comparing import MARK, MARK_WITHIN, require_writable
from harness.errors import UsageError
from harness.model import Verdict
from harness.record import CaseRecord
from harness.store import RunFolder
from reports import sides
from reports.compared import Comparison
from reports.comparison import comparison
from reports.comparison_html import page_of
from reports.comparison_markdown import page_of as markdown_of
from reports.html import Pictures
from reports.markdown import MAX_BYTES
from reports.rows import Run


def stored(folder: Path, cases: Sequence[CaseRecord] = ()) -> Run:
    """A run of two cases, or of ``cases``, in a folder of its own, whose trials left nothing behind."""
    folder.mkdir()
    record = records.run(list(cases) or [records.case("a@embedded"), records.case("b@embedded")])
    RunFolder(folder).save(record)
    return Run(folder=folder, record=record)


def test_a_page_replaces_a_page_of_a_comparison_and_nothing_else(tmp_path: Path) -> None:
    run = stored(tmp_path / "run")
    page = tmp_path / "page.html"
    require_writable(page)
    page.write_text(page_of(comparison([run]), [run]).html)
    assert MARK in page.read_bytes()[:MARK_WITHIN]
    require_writable(page)
    require_writable(run.folder / "comparison.html")
    (tmp_path / "notes.html").write_text("<!doctype html><title>mine</title>")
    (tmp_path / "link.html").symlink_to(page)
    os.mkfifo(tmp_path / "pipe")
    (run.folder / "report.html").write_bytes(page.read_bytes())
    for name, said in (
        ("notes.html", "not a page that `compare --html` made"),
        ("link.html", "it is a symbolic link"),
        ("pipe", "it is no regular file"),
        ("run", "it is a folder"),
        ("run/run.json", "it is a part of the run in"),
        ("run/report.html", "it is a part of the run in"),
        ("run/charts/page.html", "it is a part of the run in"),
        ("no/page.html", "there is no folder"),
    ):
        with pytest.raises(UsageError, match="cannot be written: ") as caught:
            require_writable(tmp_path / name)
        assert said in caught.value.problem


def test_a_plot_that_cannot_be_drawn_is_told_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr("reports.charts._forest.forest", broken)
    run = stored(tmp_path / "run")
    assert "forest” here:" in page_of(comparison([run]), [run]).html


def test_of_many_cases_the_worst_and_those_that_differ_most_are_drawn_and_what_is_left_out_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Comparison] = []
    monkeypatch.setattr("reports.comparison_html._pictures", lambda told: drawn.append(told) or Pictures([]))

    def case(number: int) -> CaseRecord:
        slower = records.metrics(p99_s=0.0123 * (5 if number == 60 else 1))
        verdict = [records.guarantee(Verdict.VIOLATED)] if number == 70 else [records.no_fault()]
        return records.case(
            f"a[maxmemory={number} MB]@embedded", guarantees=verdict, trials=[records.trial(metrics=slower)]
        )

    run = stored(tmp_path / "run", [case(number) for number in range(80)])
    told = comparison([run])
    arms = [arm for group in told.groups for arm in group.arms]
    shown = [arm.case for arm in sides.foremost(arms, 3)]
    assert shown == [f"a[maxmemory={number} MB]@embedded" for number in (0, 60, 70)]
    assert "24 of 80 cases are drawn: those that ended worst" in page_of(told, [run]).html
    assert [len(group.arms) for group in drawn[0].groups] == [24]
    text = markdown_of(told)
    assert len(text.encode()) < MAX_BYTES
    assert "more, which ended no worse and differ less: `--json` has them." in text
    assert text.count("`a[maxmemory=70 MB]@embedded`") > 4
