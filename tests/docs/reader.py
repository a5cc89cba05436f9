"""A reader who follows a page to the letter: writes the files that it shows, types its commands, and looks for what it says is printed.

A block whose first line is ``# some/file`` is that file. A block in ``sh`` is typed, line by line; a line that ends with ``&`` goes on in
the background. A block without a language after commands is what they print: its lines must come in that order, where numbers, times and
spaces may differ, and ``…`` stands for whatever was left out. A command may fail only where the page shows its error, or its exit code.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import psutil

from harness.errors import ExitCode
from tests.conftest import NO_ENGINE
from tests.docs.pages import ROOT

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FAILS = re.compile(r"^brokerbench: \d+ error|^Exit code [1-9]", re.MULTILINE)
LIMIT_S = 180.0
TRIES = 3
"""How often a run is tried on a machine that was too busy to send as fast as it was told to."""


@dataclass
class Reader:
    """Follows one page in a folder that has nothing but a ``.venv`` with what ``make`` puts there, and our tests.

    Args:
        folder: empty.
        replacing: what a reader has to write otherwise on this machine, e.g. a port that is taken.
        outside: variables of the environment; else there is no Docker.
    """

    folder: Path
    replacing: Mapping[str, str] = field(default_factory=dict)
    outside: Mapping[str, str] = field(default_factory=lambda: NO_ENGINE)
    printed: str = ""
    failed: str = ""
    _background: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __enter__(self) -> Reader:
        self._make_venv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._background:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)

    def follow(self, page: Path) -> None:
        """Does all that a page says."""
        text = page.read_text()
        for written, instead in self.replacing.items():
            assert written in text, f"{page.name} does not say {written}"
            text = text.replace(written, instead)
        blocks = BLOCK.findall(text)
        assert blocks
        for language, block in blocks:
            if language == "sh":
                assert not self.failed, f"{self.failed} failed:\n{self.printed}"
                self.printed = "".join(map(self.type, block.splitlines()))
            elif language:
                self.write(block)
            else:
                missing = first_missing(block, self.printed)
                self.failed = "" if FAILS.search(block) else self.failed
                assert missing is None, f"{page.name} shows {missing!r}, and printed was:\n{self.printed}"
        assert not self.failed, f"{self.failed} failed:\n{self.printed}"

    def write(self, block: str) -> None:
        """Writes the file that a block is."""
        name = block.split("\n", 1)[0].removeprefix("# ")
        assert re.fullmatch(r"[\w./-]+\.\w+", name), f"the block has no file name on its first line: {name!r}"
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block)

    def type(self, line: str) -> str:
        """Types a command; returns all that it printed."""
        if line.endswith(" &"):
            self._start(line.removesuffix(" &").split())
            return ""
        for _ in range(TRIES):
            done = self._run(line)
            if done.returncode != ExitCode.INVALID or "generator saturated" not in done.stdout:
                break  # else the remedy is to give the load a less busy machine
        if done.returncode:
            self.failed = line
        return done.stdout

    def _start(self, command: Sequence[str]) -> None:
        """Starts a server; returns once it listens."""
        server = subprocess.Popen(command, cwd=self.folder, start_new_session=True, stderr=subprocess.DEVNULL)
        self._background.append(server)
        deadline = time.monotonic() + LIMIT_S
        while not any(each.status == psutil.CONN_LISTEN for each in psutil.Process(server.pid).net_connections()):
            assert server.poll() is None, f"{command} ended at once"
            assert time.monotonic() < deadline, f"{command} does not listen"
            time.sleep(0.01)

    def _run(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PIP_"))}
        state = {"BROKERBENCH_STATE": str(self.folder / "state")}
        return (
            outside | self.outside | state | {"NO_COLOR": "1", "COLUMNS": "110", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        )

    def _make_venv(self) -> None:
        """Makes an environment that has all of ours, without changing ours."""
        venv = self.folder / ".venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
        [packages] = venv.glob("lib/python*/site-packages")
        (packages / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n")
        command = venv / "bin" / "brokerbench"
        command.write_text(f"#!{venv}/bin/python\nfrom harness.cli import main\nmain()\n")
        command.chmod(0o755)
        for name in ("tests", "pyproject.toml"):
            (self.folder / name).symlink_to(ROOT / name)


def first_missing(shown: str, printed: str) -> str | None:
    """Returns the first line that is shown and was not printed, in order; None where all were."""
    rest = plain(printed)
    for line in shown.splitlines():
        for part in filter(None, map(plain, line.split("…"))):
            _, found, rest = rest.partition(part)
            if not found:
                return line
    return None


def plain(text: str) -> str:
    """Returns text without what differs from run to run: numbers with their units, spaces, line ends."""
    masked = re.sub(r"\d[\d,.]*(?: ?(?:ns|µs|ms|s|min)\b)?", "0", re.sub(r"\d{4}-\d\d-\d\dT[\d-]+", "0", text))
    return re.sub(r"\s+", "", re.sub(r"\b0 (\w+?)s\b", r"0 \1", masked))  # 1 repeat, 2 repeats
