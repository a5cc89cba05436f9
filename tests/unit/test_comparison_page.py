"""The page of a comparison: where it may be written, and how much is drawn on it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import records

from harness.cli.comparing import MARK, MARK_WITHIN, require_writable
from harness.errors import UsageError
from harness.store import RunFolder
from reports.comparison import comparison
from reports.comparison_html import page_of
from reports.rows import Run


def stored(folder: Path) -> Run:
    """A run of two cases in a folder of its own, whose trials left nothing behind."""
    folder.mkdir()
    cases = [records.case("a@embedded"), records.case("b@embedded")]
    record = records.run(cases)
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
