"""What a run has shown is printed whatever becomes of its page; the work behind it outlives a Ctrl-C."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from harness.cli import result
from harness.cli.commands import cli
from harness.errors import BrokerbenchError
from harness.files import lost_place
from harness.model import TrialStatus
from harness.run.completion import completed
from harness.run.recompute import recompute
from harness.store import RunFolder
from tests.unit import records


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Returns the folder of a run whose trial has nothing to be computed from."""
    trial = records.trial().model_copy(update={"ledger": None, "status": TrialStatus.FAILED})
    made = RunFolder.create(tmp_path, "small", datetime.now())
    made.save(records.run([records.case(trials=[trial])]))
    return made


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free space in {0} (df -h {0}), then: brokerbench report {0}"),
        (errno.EROFS, "get the right to write in {0}, or copy it to where you have it, then: brokerbench report {0}"),
        (errno.EACCES, "get the right to write in {0}, or copy it to where you have it, then: brokerbench report {0}"),
    ],
)
def test_figures_are_printed_where_the_page_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: RunFolder, number: int, remedy: str
) -> None:
    def refused(run: RunFolder) -> Path:
        error = OSError(number, os.strerror(number))
        raise lost_place(run.path / "report.html", error) from error

    monkeypatch.setattr(result, "write_reports", refused)
    with pytest.raises(BrokerbenchError) as told:
        cli.main(["report", "--json", str(folder.path)], standalone_mode=False)
    why = f"{folder.path / 'report.html'} cannot be written: {os.strerror(number)}"
    assert (told.value.exit_code, told.value.problem) == (70, f"the page could not be written: {why}")
    assert told.value.remedy == remedy.format(folder.path)
    assert json.loads(capsys.readouterr().out)["run_id"] == folder.load().run_id


def test_figures_are_printed_where_a_ctrl_c_comes_while_the_page_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: RunFolder
) -> None:
    def interrupted(run: RunFolder) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(result, "write_reports", interrupted)
    with pytest.raises(BrokerbenchError) as told:
        cli.main(["report", str(folder.path)], standalone_mode=False)
    assert (told.value.exit_code, str(told.value)) == (
        130,
        f"interrupted; the page: brokerbench report {folder.path}",
    )
    assert "Exit code" in capsys.readouterr().out


def test_a_folder_that_takes_no_table_loses_no_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: RunFolder
) -> None:
    error = OSError(errno.EROFS, "Read-only file system")
    unkept = lost_place(folder.path / "messages.parquet", error)
    unkept.__cause__ = error
    record, damaged, _ = recompute(folder)
    monkeypatch.setattr("harness.run.recompute.recompute", lambda _: (record, damaged, [unkept]))
    with pytest.raises(BrokerbenchError, match=r"what was computed could not be written: .* Read-only file system"):
        cli.main(["report", str(folder.path)], standalone_mode=False)
    assert "Exit code" in capsys.readouterr().out


def test_a_library_that_tells_of_a_full_disk_in_its_own_words_is_told_in_ours() -> None:
    error = lost_place(Path("/r/t.parquet"), OSError("parquet: underlying IO error: anything (os error 28)"))
    assert error.problem == "/r/t.parquet cannot be written: No space left on device"


@pytest.fixture
def heard() -> Iterator[threading.Event]:
    """Set once a Ctrl-C was heard, also where the tests run in the background, which ignores it."""
    event = threading.Event()

    def hear(*_: object) -> None:
        event.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, hear)
    yield event
    signal.signal(signal.SIGINT, before)


def test_a_ctrl_c_waits_for_work_that_must_be_completed(heard: threading.Event) -> None:
    main = threading.main_thread().ident
    assert main is not None

    def work() -> int:
        signal.pthread_kill(main, signal.SIGINT)
        assert heard.wait(10)
        return 7

    assert completed(work) == (7, True)
    assert completed(lambda: 8) == (8, False)
    with pytest.raises(ZeroDivisionError):
        completed(lambda: 1 // 0)


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_stdout_changes_nothing_about_how_a_command_ends(tmp_path: Path, closed: str) -> None:
    command = f'"{sys.executable}" -c "from harness.cli import main; main()" check quickstart {closed}'
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
