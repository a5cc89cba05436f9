"""What is kept until ``down``, and what lies in an engine that does not answer."""

from __future__ import annotations

import gc
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import sweeping
from harness.journal import Journal
from harness.sweepers import ENGINE_GONE
from harness.sweeping import down, kept, sweep, unfinished


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BROKERBENCH_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def run_id() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def kept_folder(run_id: str) -> Path:
    """A folder that another process has made and keeps; the process and its minder have ended."""
    code = f"""
from harness.journal import Journal
journal = Journal.create({run_id!r})
print(journal.temp_folder("kept"))
journal.keep("redis-stream on bridge")
assert journal.close() == []
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return Path(said.stdout.strip())


def test_what_is_kept_outlives_its_process_and_its_minder_and_the_sweep_before_a_run(kept_folder: Path) -> None:
    assert down(kept=False) == []
    assert kept_folder.is_dir()
    assert down() != []


def test_down_removes_what_is_kept_and_says_what_it_was(kept_folder: Path) -> None:
    assert down() == ["what was kept: redis-stream on bridge", f"folder {kept_folder}"]
    assert not kept_folder.exists()
    assert down() == []


def test_what_is_kept_counts_as_no_run(kept_folder: Path) -> None:
    assert unfinished() == ([], [])
    assert kept() == ["redis-stream on bridge"]
    down()
    assert kept() == []


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An engine that nobody answers at."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    yield
    gc.collect()  # the engine's library leaves its socket open when it cannot connect


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.usefixtures("no_engine")
def test_where_the_engine_does_not_answer_a_sentence_says_what_may_be_there_and_the_journal_stays(
    state: Path, run_id: str
) -> None:
    journal = Journal.create(run_id)
    folder = journal.temp_folder("data")
    journal.container(f"bb_{run_id}_1-broker-1")
    *removed, left = journal.close()
    assert removed == [f"folder {folder}"]
    assert left.startswith(f"left: containers, networks or volumes labelled brokerbench.run={run_id}: the engine that")
    assert "No such file or directory" in left
    path = state / "journals" / f"{run_id}.jsonl"
    assert sweep(path) == [left]
    path.unlink()


@pytest.mark.usefixtures("no_engine")
def test_a_run_that_made_nothing_in_the_engine_does_not_ask_it(run_id: str) -> None:
    journal = Journal.create(run_id)
    assert journal.close() == []


def test_which_engine_had_what_is_gone_is_not_forgotten(tmp_path: Path) -> None:
    """Else a sweep asks the engine of its own environment, and takes its silence for a leftover."""
    path = tmp_path / "0123456789abcdef.jsonl"
    engine = {"DOCKER_HOST": "unix:///run/theirs.sock"}
    made = {"kind": "container", "name": "bb_x", "engine": engine}
    path.write_text(
        "".join(json.dumps(line) + "\n" for line in (made, {"kind": "gone", "what": "container", "name": "bb_x"}))
    )
    assert sweeping._read(path) == {"container": [], ENGINE_GONE: [made]}
