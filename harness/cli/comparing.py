"""``brokerbench compare``: brokers or runs side by side, on the terminal, as Markdown, as JSON, and as a page."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from harness.cli.output import readers_may_leave, say
from harness.errors import BrokenRunFolderError, BrokerbenchError, UsageError
from harness.files import lost_place, write_whole
from harness.store import RECORD, RunFolder

if TYPE_CHECKING:
    from harness.record import TrialRecord
    from reports.compared import Comparison
    from reports.rows import Run, Settings


MARK = b'<meta name="generator" content="brokerbench compare '
MARK_WITHIN = 1024
"""A page of ours has it in its first bytes."""
OF_A_RUN = (RECORD, "report.md", "report.html", "cases", "charts")
"""What a run folder is promised to hold."""


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--baseline", metavar="CASE", help="The reference: a case's id; of several runs also a run's name.")
@click.option(
    "--cross-machine", is_flag=True, help="Print ratios of unlike environments too: information, no evidence."
)
@click.option("--html", "page", metavar="FILE", type=click.Path(path_type=Path), help="Write a page too: one file.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown, fit for a pull request.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def compare(
    *,
    runs: tuple[Path, ...],
    baseline: str | None,
    cross_machine: bool,
    page: Path | None,
    as_markdown: bool,
    as_json: bool,
) -> None:
    """Set the cases of one RUN beside each other, or the same cases of several: what each kept, and by how much their figures differ.

    Differences are computed within one durability class only. Ends with 12 where the runs are not comparable.
    """
    from reports.comparison import comparison  # noqa: PLC0415 - statistics take 0.2 s to import; `list` needs none of it

    if as_markdown and as_json:
        raise UsageError("--markdown and --json are both named", expected="one of them", remedy="leave one out")
    if page is not None:
        require_writable(page)
    read = [_read(path) for path in runs]
    told = comparison(read, baseline=baseline, cross_machine=cross_machine)
    if page is not None:
        _write_page(page, told, read)
    with readers_may_leave():
        _print(told, as_markdown=as_markdown, as_json=as_json)
        if page is not None:
            say(f"Page: {page}", err=as_markdown or as_json)


def _print(told: Comparison, *, as_markdown: bool, as_json: bool) -> None:
    if as_json:
        click.echo(told.model_dump_json(indent=1))
    elif as_markdown:
        from reports.comparison_markdown import page_of  # noqa: PLC0415 - as above

        click.echo(page_of(told), nl=False)
    else:
        from reports.comparison_terminal import print_comparison  # noqa: PLC0415 - as above

        print_comparison(told, Console())


def _read(path: Path) -> Run:
    """Returns a run with the settings of its trials; raises BrokenRunFolderError."""
    from reports.figures import counted  # noqa: PLC0415 - as above
    from reports.rows import Run  # noqa: PLC0415 - as above

    folder = RunFolder.open(path)
    record = folder.load()
    settings = {case.slug: [_settings(folder, trial) for trial in counted(case)] for case in record.cases}
    return Run(folder=folder.path, record=record, settings=settings)


def _settings(folder: RunFolder, trial: TrialRecord) -> Settings | None:
    try:
        return folder.trial_at(trial.folder).read_settings()
    except BrokenRunFolderError:
        return None


def require_writable(page: Path) -> None:
    """Finds out before any work whether the page can be written, and whether nothing but such a page is lost by it.

    Raises:
        UsageError: it cannot be, or something would be.
    """
    if problem := _in_the_way(page) or _unwritable(page):
        raise UsageError(
            f"--html {page} cannot be written: {problem}",
            expected="a new file in a folder that takes one, or a page that `compare --html` made before",
            remedy="name another file, e.g. --html comparison.html",
        )


def _in_the_way(page: Path) -> str:
    """Returns what is there already and must stay, "" where nothing is but a page of ours."""
    if page.is_symlink():
        return "it is a symbolic link"
    for folder in page.resolve().parents:
        if (folder / RECORD).is_file() and page.resolve().relative_to(folder).parts[0] in OF_A_RUN:
            return f"it is a part of the run in {folder}"
    if not page.exists():
        return ""
    if not page.is_file():
        return "it is a folder" if page.is_dir() else "it is no regular file"
    return "" if _is_ours(page) else "it is there, and not a page that `compare --html` made"


def _is_ours(page: Path) -> bool:
    try:
        with page.open("rb") as file:
            return MARK in file.read(MARK_WITHIN)
    except OSError:
        return False


def _unwritable(page: Path) -> str:
    if not page.parent.is_dir():
        return f"there is no folder {page.parent}"
    try:
        number, probe = tempfile.mkstemp(prefix=f".{page.name}.", dir=page.parent)
        os.close(number)
        Path(probe).unlink()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _write_page(page: Path, told: Comparison, read: Sequence[Run]) -> None:
    from reports.comparison_html import page_of  # noqa: PLC0415 - jinja2 and matplotlib, for this only

    try:
        made = page_of(told, read)
    except BrokerbenchError:
        raise
    except Exception as error:
        raise BrokerbenchError(
            f"the page could not be made: {type(error).__name__}: {error}",
            remedy="report this as a bug of brokerbench; without --html the comparison is printed",
        ) from error
    try:
        write_whole(page, made.html.encode())
    except OSError as error:
        raise lost_place(page, error) from error
