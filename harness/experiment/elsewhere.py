"""Trials that another installed brokerbench runs: another version of it, or of a client library, in a Python of its own.

It gets the same scenario file and the same keys, and leaves a run folder like any other. It ends with us, whatever ends us: its stdin is
our pipe, and when that closes it is told to end twice, as by a second Ctrl-C; its own minder then removes what its run had made.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from harness.clock import now_ns
from harness.errors import BrokerbenchError, ExitCode, UsageError
from harness.experiment.here import image_variables
from harness.experiment.single import Done
from harness.run.progress import CaseStarted, Listener, PhaseChanged
from harness.scenario.describe import expected_trial_s
from harness.scenario.model import Case, Scenario
from harness.store import RECORD, RunFolder

CHECK_LIMIT_S = 60.0
STDERR = "stderr.txt"
NOT_ITS_OWN = ("PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__")
"""Variables that belong to our Python: with them the other one would run our code."""

MAIN = """
sys.argv[0] = "brokerbench"
from harness.cli import main
main()
"""
ONCE = f"import sys{MAIN}"
WITH_US = f"""
import os, signal, sys, threading, time

def until_we_are_alone():
    while os.read(0, 4096):
        pass
    for pause_s in (0.3, 10.0):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(pause_s)
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=until_we_are_alone, daemon=True).start()
{MAIN}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Elsewhere:
    """Runs trials by another Python's brokerbench.

    Args:
        python: its interpreter, not resolved: a virtual environment is known by its link. overrides: as given to ``--set``.
        several: the scenario has more than one case, so that each must be named. images: broker → the image of its containers.
        environment: variables, as they were before any of them was taken out of ours.
    """

    python: Path
    overrides: Sequence[str]
    several: bool
    images: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)

    def check(self, scenario: Scenario) -> str:
        """Lets the other version read the scenario, and returns its version.

        Raises:
            UsageError: there is no brokerbench in it, or it refuses the scenario.
        """
        asked = self._ask(["-c", "import harness; print(harness.__version__)"])
        if asked.returncode:
            raise UsageError(
                f"{self.python} has no brokerbench that can be started: {_last_line(asked.stderr)}",
                expected="a Python in which brokerbench is installed, e.g. base/.venv/bin/python",
                remedy=f"{self.python} -m pip install brokerbench",
            )
        version = asked.stdout.strip()
        if not version:
            raise UsageError(
                f"{self.python} does not say which brokerbench it has",
                expected="a Python in which brokerbench is installed, e.g. base/.venv/bin/python",
                remedy="name its interpreter, not another program",
            )
        read = self._ask(["-c", ONCE, "check", scenario.path, *self._keys(scenario)])
        if read.returncode:
            raise UsageError(
                f"the brokerbench {version} of {self.python} does not take the scenario (exit {read.returncode}):\n{read.stderr.strip()}",
                expected="a scenario that both versions know",
                remedy="leave out what only one of them knows",
            )
        return version

    def run(self, scenario: Scenario, case: Case, listener: Listener, *, seed: int, root: Path) -> Done:
        """Runs one trial; as :class:`harness.experiment.pairs.Runner`. A Ctrl-C lets it end in order, a second one at once."""
        root.mkdir(parents=True, exist_ok=True)
        before = set(root.iterdir())
        listener.notice(CaseStarted(t_ns=now_ns(), number=1, of=1, case_id=case.id))
        phase = f"trial by {self.python}"
        listener.notice(PhaseChanged(phase=phase, t_ns=now_ns(), length_s=expected_trial_s(scenario)))
        argv = ["run", scenario.path, *self._keys(scenario), "--set", f"seed={seed}", "--trials", "1"]
        argv += ["--output", str(root), "--json", *(["--case", case.id] if self.several else [])]
        with (root / STDERR).open("wb") as stderr:
            status, interrupted = self._wait([str(self.python), "-P", "-c", WITH_US, *argv], stderr)
        told = (root / STDERR).read_text(errors="replace").strip()
        if not told:
            (root / STDERR).unlink()
        made = next((path for path in root.iterdir() if path not in before and (path / RECORD).is_file()), None)
        if made is None:
            if interrupted:
                raise KeyboardInterrupt
            raise _not_run(self.python, status, told)
        folder = RunFolder(made)
        record = folder.load()
        if interrupted or status == ExitCode.INTERRUPTED:
            record = record.model_copy(update={"status": "interrupted"})
        elif status < 0:  # it had no time to say so itself
            record = record.model_copy(update={"exit_reason": f"{_ended(status)} ended {self.python}"})
        return Done(folder=folder, record=record)

    def _wait(self, argv: Sequence[str], stderr: IO[bytes]) -> tuple[int, bool]:
        """Starts the other brokerbench and waits for its end; returns its exit code, and whether a Ctrl-C came meanwhile."""
        interrupted = False
        child = subprocess.Popen(
            argv,
            env=self._environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,  # a Ctrl-C reaches only us, and we pass it on
        )
        try:
            while True:
                try:
                    return child.wait(), interrupted
                except KeyboardInterrupt:
                    interrupted = True
                    child.send_signal(signal.SIGTERM)
        finally:
            if child.stdin is not None:
                child.stdin.close()

    def _keys(self, scenario: Scenario) -> list[str]:
        # Where it runs was decided here: on both sides it is the same.
        return [word for key in (*self.overrides, f"deployment={scenario.deployment}") for word in ("--set", key)]

    def _ask(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [str(self.python), "-P", *argv],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=CHECK_LIMIT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            why = error.strerror if isinstance(error, OSError) else f"no answer within {CHECK_LIMIT_S:.0f} s"
            raise UsageError(
                f"{self.python} cannot be started: {why}",
                expected="a Python in which brokerbench is installed, e.g. base/.venv/bin/python",
            ) from error

    def _environment(self) -> dict[str, str]:
        ours = {name: value for name, value in self.environment.items() if name not in NOT_ITS_OWN}
        return ours | image_variables(self.images)


def _not_run(python: Path, status: int, told: str) -> BrokerbenchError:
    how = f"{_ended(status)} ended it" if status < 0 else f"exit {status}"
    problem = f"the brokerbench of {python} ran no trial ({how}): {told or 'it said nothing'}"
    return UsageError(problem) if status == ExitCode.USAGE else BrokerbenchError(problem)


def _ended(status: int) -> str:
    """Returns which signal ended a process, by its negative exit code: ``signal 9 (SIGKILL)``."""
    known = {each.value: f" ({each.name})" for each in signal.Signals}
    return f"signal {-status}{known.get(-status, '')}"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1][:300]
