"""Whole runs through the command line, each with a state folder and an output folder of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest

from harness.containers.engine import LABEL, engine, why_no_engine
from harness.record import CaseRecord, RunRecord, TrialRecord
from harness.store import RunFolder, TrialFolder
from tests.conftest import NO_ENGINE
from tests.system.lan import Machine

COMMAND = [sys.executable, "-c", "from harness.cli import main; main()"]
LIMIT_S = 420


@dataclass
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str
    run: RunFolder | None = None

    @property
    def record(self) -> RunRecord:
        """Returns the run's record."""
        assert self.run is not None, self.err
        return self.run.load()

    @property
    def case(self) -> CaseRecord:
        """Returns the only case."""
        (case,) = self.record.cases
        return case

    @property
    def trial(self) -> TrialRecord:
        """Returns the only trial of the only case."""
        (trial,) = self.case.trials
        return trial

    @property
    def folder(self) -> TrialFolder:
        """Returns the only trial's folder."""
        assert self.run is not None
        return self.run.trial_at(self.trial.folder)

    def table(self, name: str) -> pl.DataFrame:
        """Returns a table of the only trial."""
        return self.folder.read_table(name)


@dataclass
class Bench:
    """Runs ``brokerbench`` as a user would, in a world of its own; without an engine, unless the test asks for ``docker_bench``."""

    home: Path
    docker: bool = False
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def runs(self) -> Path:
        """Returns the folder of the run folders."""
        return self.home / "runs"

    def environment(self, **further: str) -> dict[str, str]:
        """Returns the environment of a command."""
        engine_of_no_one = {} if self.docker else NO_ENGINE
        own = {"BROKERBENCH_STATE": str(self.home / "state"), "COLUMNS": "160"}
        return {**os.environ, **engine_of_no_one, **own, **further}

    def start(self, *words: str, inside: Machine | None = None, **further: str) -> subprocess.Popen[str]:
        """Starts a command in a session of its own, on another machine where one is given, and returns it."""
        process = subprocess.Popen(
            inside.enter(*COMMAND, *words) if inside else [*COMMAND, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.home,
            env=self.environment(**further),
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen[str]) -> Finished:
        """Waits for a command."""
        out, err = process.communicate(timeout=LIMIT_S)
        folders = sorted(self.runs.glob("*/run.json"), key=lambda path: path.stat().st_mtime_ns)
        return Finished(process.returncode, out, err, RunFolder.open(folders[-1]) if folders else None)

    def __call__(self, *words: str, **further: str) -> Finished:
        """Runs a command to its end."""
        return self.finish(self.start(*words, **further))

    def scenario(self, name: str, text: str) -> str:
        """Writes a scenario and returns its path."""
        path = self.home / f"{name}.yaml"
        path.write_text(text)
        return str(path)

    def timeline(self) -> list[dict[str, Any]]:
        """Returns what the newest trial has written to its timeline so far."""
        paths = sorted(self.runs.rglob("timeline.jsonl"), key=lambda path: path.stat().st_ctime_ns)
        lines = paths[-1].read_bytes().split(b"\n")[:-1] if paths else []
        return [json.loads(line) for line in lines]

    def wait_for(self, process: subprocess.Popen[str], seen: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Waits until the timeline shows what the test waits for; fails when the command ends before."""
        limit = time.monotonic() + 60
        while not seen(self.timeline()):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < limit, f"not seen within 60 s: {self.timeline()[-1:]}"
            time.sleep(0.02)

    def processes(self) -> list[psutil.Process]:
        """Returns every living process that belongs to a run of this world (a zombie is not a leftover)."""
        marker = f"BROKERBENCH_STATE={self.home / 'state'}".encode()
        ids = self.run_ids()
        return [process for process in psutil.process_iter() if _belongs(process.pid, marker, ids)]

    def running(self, *words: str) -> list[psutil.Process]:
        """Returns those of the processes whose command has these words."""
        found = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):  # it has ended since
                command = process.cmdline()
                if all(any(word in part for part in command) for word in words):
                    found.append(process)
        return found

    def run_ids(self) -> set[str]:
        """Returns the ids of the runs of this world, those too whose records a test has cut short."""
        told = (path.read_text() for path in self.home.rglob("run.json"))
        return {run_id for text in told for run_id in re.findall(r'^ ?"run_id": ?"([0-9a-f]{16})"', text, re.MULTILINE)}

    def leftovers(self) -> list[str]:
        """Returns what is left of the runs of this world: processes, folders, journals, containers, networks, volumes."""
        ids = self.run_ids()
        places = [Path("/dev/shm"), Path("/tmp")]
        folders = [p for run_id in ids for place in places for p in place.glob(f"brokerbench-{run_id}*")]
        journals = list((self.home / "state").glob("journals/*.jsonl"))
        return [*map(repr, self.processes()), *map(str, folders), *map(str, journals), *self.labelled(ids)]

    def labelled(self, ids: set[str]) -> list[str]:
        """Returns the containers, networks and volumes of runs."""
        if not self.docker:
            return []
        found = []
        for run_id in ids:
            only = {"label": f"{LABEL}={run_id}"}
            found += [str(each.name) for each in engine().containers.list(all=True, filters=only, ignore_removed=True)]
            found += [str(each.name) for each in engine().networks.list(filters=only)]
            found += [str(each.name) for each in engine().volumes.list(filters=only)]
        return found

    def gone(self, limit_s: float = 20.0) -> list[str]:
        """Waits until nothing is left, and returns what is left after all."""
        limit = time.monotonic() + limit_s
        while (left := self.leftovers()) and time.monotonic() < limit:
            time.sleep(0.05)
        return left


def _belongs(pid: int, marker: bytes, ids: set[str]) -> bool:
    """Ours by its environment; servers get one of their own, and PostgreSQL's children overwrite theirs: by the run's marker there,
    or by working in a folder of the run."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        folder = os.readlink(f"/proc/{pid}/cwd") if state != "Z" else ""
    except OSError:
        return False
    marked = marker in environment or any(f"BROKERBENCH_RUN={run_id}".encode() in environment for run_id in ids)
    return state != "Z" and (marked or any(f"brokerbench-{run_id}" in folder for run_id in ids))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A world of its own; a command that a failed test left is killed, and what it left is swept."""
    yield from _world(Bench(tmp_path))


@pytest.fixture
def docker_bench(tmp_path: Path) -> Iterator[Bench]:
    """The same with Docker, where there is an engine."""
    if reason := why_no_engine():
        pytest.skip(reason)
    yield from _world(Bench(tmp_path, docker=True))


def _world(world: Bench) -> Iterator[Bench]:
    yield world
    for process in world.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    world("down")
