"""From run folders to what people read: the terminal's tables and ``report.md``.

Floors: imports ``harness`` floors 0–1 and ``harness.store`` only; nothing but ``harness.cli`` imports it. ``words`` and ``story`` say
it (``unstarted`` where there is nothing but why), ``figures``, ``columns``, ``networks`` and ``containers`` find it, ``terminal`` and ``markdown`` (with ``detail``) lay it out.
"""

from __future__ import annotations

from pathlib import Path

from harness.store import RunFolder
from reports.markdown import page

REPORT = "report.md"


def write_reports(run_folder: RunFolder) -> Path:
    """Writes the pages of a run from what is in its folder and returns the path of the one to open.

    Raises:
        BrokenRunFolderError: ``run.json`` cannot be read.
        BrokerbenchError: the page cannot be written.
    """
    return run_folder.write(REPORT, page(run_folder.load(), run_folder))
