"""From run folders to what people read: the terminal's tables, ``report.md``, and the page ``report.html`` with its charts.

Floors: imports ``harness`` floors 0–1 and ``harness.store`` only; nothing but ``harness.cli`` imports it. ``words``, ``story`` and ``trouble`` say
it (``unstarted`` where there is nothing but why), ``figures``, ``columns``, ``sheets``, ``networks`` and ``containers`` find it, ``terminal``, ``markdown``
(with ``detail``) and ``html`` (with ``view``, ``charts``, ``embedding`` and ``examples``) lay it out. ``gate`` lays out the verdicts of gates.
"""

from __future__ import annotations

from pathlib import Path

from harness.store import RunFolder

REPORT = "report.md"
PAGE = "report.html"
CHARTS = "charts"


def write_reports(run_folder: RunFolder) -> Path:
    """Writes the pages of a run and its charts from what is in its folder and returns the path of the page to open.

    The Markdown page is on disk before the first chart is drawn.

    Raises:
        BrokenRunFolderError: ``run.json`` cannot be read.
        BrokerbenchError: a page cannot be written.
    """
    from reports import html, markdown  # noqa: PLC0415 - a run begins before there is anything to lay out
    from reports.view import view  # noqa: PLC0415

    record = run_folder.load()
    run_folder.write(REPORT, markdown.page(record, run_folder))
    page = html.page(view(run_folder, record))
    run_folder.write_pictures(CHARTS, page.pictures)
    return run_folder.write(PAGE, page.html)
