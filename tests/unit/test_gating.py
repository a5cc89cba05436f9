"""Where verdicts go: printed first, whatever becomes of the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import reports.gate.junit
import reports.gate.terminal
from harness.cli.commands import cli
from harness.cli.gating import Outputs, write_outputs
from harness.errors import BrokerbenchError, ExitCode, UsageError
from harness.gate.outcome import Outcome
from tests.unit.gate_folders import NO_LOSS, rules, run, stored


@pytest.fixture
def lossy(tmp_path: Path) -> list[str]:
    """Returns the command that judges a run that lost messages."""
    folder = stored(tmp_path / "run", run([0.001, 0.002], lost=3.0))
    return ["gate", str(folder), "--rules", str(rules(tmp_path / "rules.toml", NO_LOSS))]


def gate(*words: str) -> int:
    return int(cli.main([*words], standalone_mode=False))


def test_all_outputs_come_of_one_command(lossy: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    junit, summary = tmp_path / "new" / "folder" / "junit.xml", tmp_path / "summary.md"
    assert gate(*lossy, "--junit", str(junit), "--summary", str(summary), "--annotations", "github") == ExitCode.BROKEN
    told = capsys.readouterr()
    assert "VERDICT  FAIL" in told.out
    assert "\n::error title=FAIL%3A no-loss::" in told.out
    assert junit.read_text().startswith("<?xml")
    assert "**VERDICT: FAIL" in summary.read_text()


def test_json_is_all_that_stdout_gets(lossy: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert gate(*lossy, "--json", "--annotations", "github") == ExitCode.BROKEN
    told = capsys.readouterr()
    assert Outcome.model_validate(json.loads(told.out)).exit_code == ExitCode.BROKEN
    assert told.err.startswith("::error ")


def test_a_file_that_cannot_be_written_ends_with_70_after_the_verdict_and_the_other_file(
    lossy: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    below_a_file, summary = tmp_path / "file" / "junit.xml", tmp_path / "summary.md"
    with pytest.raises(BrokerbenchError, match=r"junit\.xml could not be written: Not a directory") as caught:
        gate(*lossy, "--junit", str(below_a_file), "--summary", str(summary))
    assert caught.value.exit_code == ExitCode.NO_VERDICT
    assert "VERDICT  FAIL" in capsys.readouterr().out
    assert summary.exists()


def test_every_problem_of_the_outputs_is_told(lossy: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BrokerbenchError) as caught:
        gate(*lossy, "--junit", "/dev/full", "--summary", "/dev/null/summary.md")
    assert (
        "/dev/full could not be written: No space left on device\n/dev/null/summary.md could not"
        in caught.value.problem
    )
    assert "VERDICT  FAIL" in capsys.readouterr().out


def test_a_device_is_written_to_and_stays_a_device(lossy: list[str]) -> None:
    assert gate(*lossy, "--junit", "/dev/null", "--summary", "/dev/null") == ExitCode.BROKEN
    assert Path("/dev/null").is_char_device()


def test_a_symbolic_link_stays_and_what_it_names_is_written(lossy: list[str], tmp_path: Path) -> None:
    link, named = tmp_path / "link.xml", tmp_path / "named.xml"
    link.symlink_to(named)
    gate(*lossy, "--junit", str(link))
    assert link.is_symlink()
    assert named.read_text().startswith("<?xml")


def test_a_jobs_summary_is_appended_to_and_any_other_file_is_replaced(
    lossy: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, other = tmp_path / "step_summary", tmp_path / "other.md"
    for path in (jobs, other):
        path.write_text("before\n")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(jobs))
        gate(*lossy, "--summary", str(path))
    assert jobs.read_text().startswith("before\n# Gate")
    assert other.read_text().startswith("# Gate")


def test_a_mistake_of_ours_in_one_output_costs_neither_the_verdict_nor_the_others(
    lossy: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*args: Any, **more: Any) -> Any:
        raise KeyError("ours")

    monkeypatch.setattr(reports.gate.junit, "junit", broken)
    monkeypatch.setattr(reports.gate.terminal, "print_outcome", broken)
    summary = tmp_path / "summary.md"
    with pytest.raises(BrokerbenchError, match="report this as a bug") as caught:
        gate(*lossy, "--junit", str(tmp_path / "junit.xml"), "--summary", str(summary))
    assert caught.value.exit_code == ExitCode.NO_VERDICT
    assert "FAIL: no-loss, null@embedded" in capsys.readouterr().out
    assert summary.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--junit", "same", "--summary", "same"], "--junit same cannot be written: --summary writes to it"),
        (["--junit", "rules.toml"], "it is read by this command"),
        (["--summary", "run/run.json"], "it is a part of the run in"),
        (["--summary", "run/cases/new.md"], "it is a part of the run in"),
        (["--junit", "run"], "it is a folder"),
    ],
)
def test_no_output_destroys_anything(
    lossy: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = (tmp_path / "run" / "run.json").read_bytes()
    with pytest.raises(UsageError, match="cannot be written") as caught:
        gate(*lossy, *words)
    assert said in caught.value.problem
    assert (tmp_path / "run" / "run.json").read_bytes() == before


def test_long_work_is_not_begun_where_its_verdict_could_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    asked = Outputs(junit=tmp_path / "file" / "junit.xml")
    asked.require_places()
    with pytest.raises(UsageError, match="cannot be written: Not a directory"):
        asked.require_places(before_long_work=True)
    Outputs(junit=tmp_path / "new" / "junit.xml").require_places(before_long_work=True)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_exit_code_is_that_of_the_outcome(lossy: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    gate(*lossy, "--json")
    outcome = Outcome.model_validate(json.loads(capsys.readouterr().out))
    assert write_outputs(outcome.model_copy(update={"exit_code": 11}), Outputs()) == ExitCode.INCONCLUSIVE
