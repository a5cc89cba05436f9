"""What a run has shown, printed whatever becomes of its page."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
from rich.console import Console

from harness.cli.output import readers_may_leave
from harness.errors import BrokenRunFolderError, BrokerbenchError, Interrupted, one_line
from harness.files import is_barred
from harness.record import RunRecord
from harness.store import RunFolder
from reports import write_reports


def print_result(record: RunRecord, folder: RunFolder, page: Path | None, *, as_json: bool) -> None:
    """Prints a run on stdout; ``page`` is that of its report, None = there is none."""
    from reports.terminal import print_run  # noqa: PLC0415 - nobody waits for what lays tables out before there is one

    with readers_may_leave():
        if as_json:
            click.echo((folder.path / "run.json").read_text() if page else record.model_dump_json(indent=1))
        else:
            print_run(record, Console(), report=page)


def told(record: RunRecord, folder: RunFolder, page: Path | BrokerbenchError, *, as_json: bool) -> int:
    """Prints what a run has shown, whatever became of its page; returns the exit code.

    Raises:
        BrokerbenchError: why there is no page.
    """
    written = page if isinstance(page, Path) else None
    print_result(record, folder, written, as_json=as_json)
    if isinstance(page, BrokerbenchError):
        raise page
    return int(record.exit_code or 0)


def page_or_why_not(folder: RunFolder, record: RunRecord | None = None) -> Path | BrokerbenchError:
    """Writes the pages, after the record where one is given; whatever breaks there, the figures can be told."""
    try:
        if record is not None:
            folder.save(record)
        return write_reports(folder)
    except KeyboardInterrupt:
        return Interrupted(f"interrupted; the page: {_report_command(folder)}")
    except (BrokerbenchError, OSError) as error:
        return unwritten(folder, error)
    except Exception as error:  # a mistake of ours in a page must not cost the figures
        return BrokerbenchError(
            f"the report of {folder.path} could not be made: {type(error).__name__}: {error}",
            remedy=f"report this as a bug of brokerbench; the record is whole: {folder.path / 'run.json'}",
        )


def unwritten(folder: RunFolder, error: BrokerbenchError | OSError, what: str = "the page") -> BrokerbenchError:
    """Returns the error for ``what`` that could not be written into a run folder, with the remedy."""
    if isinstance(error, BrokenRunFolderError):
        return error
    cause = error if isinstance(error, OSError) else error.__cause__
    why = error.problem if isinstance(error, BrokerbenchError) else one_line(error)
    path = folder.path
    if is_barred(cause):
        remedy = f"get the right to write in {path}, or copy it to where you have it, then: {_report_command(folder)}"
    else:
        remedy = f"free space in {path} (df -h {path}), then: {_report_command(folder)}"
    return BrokerbenchError(f"{what} could not be written: {why}", remedy=remedy)


def _report_command(folder: RunFolder) -> str:
    return shlex.join(["brokerbench", "report", str(folder.path)])
