"""What the commands that judge have in common: where their verdicts go, and how they end. Neighbours: ``judging`` has ``gate``,
``pairing`` has ``ab``.

The verdict is printed first, whatever becomes of the files: an output that cannot be written ends with 70, after everything else was
told.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from rich.console import Console

from harness.cli.output import readers_may_leave, say
from harness.errors import BrokerbenchError, UsageError
from harness.files import write_whole
from harness.store import RECORD

if TYPE_CHECKING:
    from harness.gate.outcome import Outcome

Policy = Literal["fail", "warn"]

EXIT_CODES = """\b
Exit codes:
  0    every rule holds.
  2    the command or the rules are wrong: nothing was judged.
  10   a rule is broken: a regression, or a contract that was not kept.
  11   the evidence decides some rule neither way (0 with --inconclusive warn).
  12   the two sides are not comparable, so no difference between them is judged.
  13   the evidence is invalid: an invalid or interrupted trial, a metric that is missing, a rule that matches no case.
  70   no verdict could be computed, or it could not be written.
  130  Ctrl-C.
Of several the first of 70, 10, 13, 12, 11 counts.
"""
"""The epilog of every command that judges."""

OF_A_RUN = (RECORD, "report.md", "report.html", "cases", "charts", "ab.json")
"""What folders of runs and of pairs are promised to hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outputs:
    """Where verdicts go, as the user says.

    Args:
        junit, summary: files to be written. annotations: print workflow commands for GitHub.
        as_json: print the outcome as JSON on stdout and nothing else there.
        inconclusive: what a verdict that is none either way costs.
    """

    junit: Path | None = None
    summary: Path | None = None
    annotations: bool = False
    as_json: bool = False
    inconclusive: Policy = "fail"

    @property
    def files(self) -> dict[str, Path]:
        """Returns the files by the option that names them."""
        named = {"--junit": self.junit, "--summary": self.summary}
        return {option: path for option, path in named.items() if path is not None}

    def require_places(self, inputs: Sequence[Path] = (), *, before_long_work: bool = False) -> None:
        """Refuses files that would destroy something; long work is not begun where they could not be written after it.

        Args:
            inputs: files that are read.

        Raises:
            UsageError: two outputs are one file, an output is an input or a part of a run; or, before long work, it takes no write.
        """
        for option, path in self.files.items():
            if problem := self._in_the_way(option, path, inputs) or (_unwritable(path) if before_long_work else ""):
                raise UsageError(
                    f"{option} {path} cannot be written: {problem}",
                    expected="a file of its own, in a place that takes one",
                    remedy=f"name another file, e.g. {option} {'junit.xml' if option == '--junit' else 'summary.md'}",
                )

    def _in_the_way(self, option: str, path: Path, inputs: Sequence[Path]) -> str:
        whole = path.resolve()
        for other, same in self.files.items():
            if other != option and same.resolve() == whole and not _is_device(path):
                return f"{other} writes to it"
        if whole in [each.resolve() for each in inputs]:
            return "it is read by this command"
        for folder in whole.parents:
            of_a_run = any((folder / name).is_file() for name in (RECORD, "ab.json"))
            if of_a_run and whole.relative_to(folder).parts[0] in OF_A_RUN:
                return f"it is a part of the run in {folder}"
        return "it is a folder" if path.is_dir() else ""


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the options of its outputs; it gets them as ``outputs=Outputs(…)``."""

    @click.option(
        "--junit",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write JUnit XML: a test case per rule and case.",
    )
    @click.option(
        "--summary",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write Markdown for a job's summary; $GITHUB_STEP_SUMMARY is appended to.",
    )
    @click.option(
        "--annotations", type=click.Choice(["github"]), help="Print workflow commands that GitHub shows beside the job."
    )
    @click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON and nothing else.")
    @click.option(
        "--inconclusive",
        type=click.Choice(["fail", "warn"]),
        default="fail",
        show_default=True,
        help="Whether evidence that decides neither way ends with 11 or with 0.",
    )
    @wraps(command)
    def with_outputs(
        *args: Any,
        junit: Path | None,
        summary: Path | None,
        annotations: str | None,
        as_json: bool,
        inconclusive: Policy,
        **rest: Any,
    ) -> Any:
        asked = Outputs(
            junit=junit,
            summary=summary,
            annotations=annotations is not None,
            as_json=as_json,
            inconclusive=inconclusive,
        )
        return command(*args, outputs=asked, **rest)

    return with_outputs


def write_outputs(outcome: Outcome, outputs: Outputs) -> int:
    """Prints a verdict and writes what was asked for besides; returns the exit code.

    Raises:
        BrokerbenchError: something could not be made or written; all the rest was.
    """
    problems: list[BrokerbenchError] = []
    try:
        with readers_may_leave():
            _print(outcome, outputs)
    except BrokerbenchError as error:
        problems.append(error)
    except Exception as error:  # a mistake of ours in a table must not cost the verdict
        with readers_may_leave():
            say(f"{outcome.exit_reason}: exit code {outcome.exit_code}")
        problems.append(_bug("the table of the verdicts", error))
    for path, make, keep in _files(outcome, outputs):
        try:
            keep(path, make())
        except BrokerbenchError as error:
            problems.append(error)
        except OSError as error:
            problems.append(_unwritten(path, error))
        except Exception as error:  # a mistake of ours in one output must not cost the others
            problems.append(_bug(path, error))
    if problems:
        raise _all_of(problems)
    return outcome.exit_code


def _print(outcome: Outcome, outputs: Outputs) -> None:
    if outputs.as_json:
        click.echo(outcome.model_dump_json(indent=1))
    else:
        from reports.gate.terminal import print_outcome  # noqa: PLC0415 - tables are laid out when there is something to lay out

        print_outcome(outcome, Console())
    if outputs.annotations:
        from reports.gate.annotations import annotations  # noqa: PLC0415 - for those who ask

        for line in annotations(outcome):
            say(line, err=outputs.as_json)  # GitHub reads them on both


def _files(outcome: Outcome, outputs: Outputs) -> Iterator[tuple[Path, Callable[[], str], Callable[[Path, str], None]]]:
    """Yields each file that was asked for, what makes its text, and what writes it."""
    if outputs.junit is not None:
        from reports.gate.junit import junit  # noqa: PLC0415 - for those who ask

        yield outputs.junit, lambda: junit(outcome, inconclusive=outputs.inconclusive), _replace
    if outputs.summary is not None:
        from reports.gate.markdown import summary  # noqa: PLC0415 - likewise

        yield outputs.summary, lambda: summary(outcome), _append if _is_the_jobs(outputs.summary) else _replace


def _replace(path: Path, text: str) -> None:
    """Writes a whole file, into folders that are made where they are missing; a device or a pipe is written to. Raises OSError."""
    _make_folder(path.parent)
    if _is_device(path):
        path.write_text(text, encoding="utf-8")
    else:
        write_whole(path.resolve(), text.encode())  # of a symbolic link what it names


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # one of them is a file
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error


def _append(path: Path, text: str) -> None:
    """Adds to a job's summary, to which other steps' commands may have written. Raises OSError."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")


def _is_the_jobs(path: Path) -> bool:
    jobs = os.environ.get("GITHUB_STEP_SUMMARY")
    return bool(jobs) and Path(str(jobs)).resolve() == path.resolve()


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _unwritable(path: Path) -> str:
    """Returns why a file could not be written, "" where it could: by making an empty one in the nearest folder that is there."""
    if _is_device(path):
        return "" if os.access(path, os.W_OK) else "it takes no write"
    folder = next(each for each in path.resolve().parents if each.exists())
    probe = folder / f".{path.name}.{os.getpid()}.probe"
    try:
        probe.touch()
    except OSError as error:
        return error.strerror or str(error)
    finally:
        with suppress(OSError):
            probe.unlink()
    return ""


def _unwritten(path: Path, error: OSError) -> BrokerbenchError:
    return BrokerbenchError(
        f"{path} could not be written: {error.strerror or error}",
        expected="a place that takes a file",
        remedy="the verdict was printed all the same; make room there, or name another file",
    )


def _bug(path: Path | str, error: Exception) -> BrokerbenchError:
    return BrokerbenchError(
        f"{path} could not be made: {type(error).__name__}: {error}",
        remedy="report this as a bug of brokerbench; --json prints the verdicts",
    )


def _all_of(problems: Sequence[BrokerbenchError]) -> BrokerbenchError:
    if len(problems) == 1:
        return problems[0]
    remedies = dict.fromkeys(each.remedy for each in problems if each.remedy)
    return BrokerbenchError("\n".join(each.problem for each in problems), remedy="; ".join(remedies))
