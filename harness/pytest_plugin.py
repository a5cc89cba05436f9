"""Gating from pytest: a fixture that runs a scenario and asserts rules on what it left (entry point ``pytest11``).

::

    def test_nothing_is_lost(brokerbench):
        result = brokerbench.run("crash", trials=3, load__rate="500/s")
        result.require("loss.confirmed == 0")
        result.require("latency.end_to_end.p99 <= 50 ms", case="redis-*")
        result.gate(rules="rules.toml", baseline="baselines")

A broken rule is an :class:`AssertionError`. Evidence that proves nothing is none, but an error of its own, so that no ``xfail`` or
``raises(AssertionError)`` takes it for a verdict. A test that asks nothing of a run that proves nothing, or that broke a guarantee, ends
in an error too.

Floor 6. Every pytest of an environment in which brokerbench is installed imports this module: nothing heavy at the top.
"""

from __future__ import annotations

import gc
import json
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pytest

if TYPE_CHECKING:
    from harness.errors import BrokerbenchError
    from harness.gate.outcome import Outcome
    from harness.record import RunRecord

Returned = TypeVar("Returned")

_QUESTION = re.compile(r"\s*(\S+?)\s*((?:==|<=|>=|<|>).*)", re.DOTALL)
_WIDTH = 100
_PROVES_NOTHING = (2, 13, 70)
_BROKEN = 10
"""Exit codes of runs."""


class RuleBroken(AssertionError):
    """A rule does not hold; says what was seen, as ``brokerbench gate`` prints it."""


@dataclass(kw_only=True)
class Result:
    """A run that is over.

    Args:
        folder: its run folder. record: its ``run.json``. beside: the folder of the test, in which files are looked for too.
    """

    folder: Path
    record: RunRecord
    beside: Path = field(default_factory=Path)
    _asked: bool = field(default=False, init=False)

    def require(self, *questions: str, case: str = "*", window: str = "") -> None:
        """Asserts bounds that every trial must keep, e.g. ``loss.confirmed == 0``, ``latency.end_to_end.p99 <= 50 ms``.

        ``guarantee == held`` asks that no fault broke what the setup claims.

        Args:
            case: pattern of case ids. window: ``steady``, ``whole``, ``fault[0]`` …; "" = the one that holds where none is named.

        Raises:
            RuleBroken: a trial broke one. EvidenceError: it cannot be told (invalid trial, figure missing, no such case).
            UsageError: nothing is asked, no such metric, or a bound that it cannot have.
        """
        __tracebackhide__ = True
        if not questions:
            raise _refused(
                "require()", "asks nothing", "a metric, a relation and a bound", 'such as "loss.confirmed == 0"'
            )
        rules = "".join(_as_toml(question, case, window) for question in dict.fromkeys(questions))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "require.toml"
            path.write_text(rules, encoding="utf-8")
            outcome = _plainly(lambda: self._outcome(path, (), "fail"), asked=questions)
        self._judge(outcome, "fail")

    def gate(
        self,
        rules: str | Path,
        baseline: str | Path | Sequence[str | Path] = (),
        *,
        inconclusive: Literal["fail", "skip"] = "fail",
    ) -> Outcome:
        """Asserts the rules of a file, relative ones against a baseline, as ``brokerbench gate`` does.

        Args:
            rules: TOML. baseline: files, or folders of files, that ``brokerbench baseline update`` wrote. All of them by their paths
                from the working directory, or from the folder of the test.
            inconclusive: what evidence that decides neither way becomes: a failure, or a skipped test that says why.

        Returns:
            The verdicts, all of them PASS.

        Raises:
            RuleBroken: a rule is broken, or nothing decides. EvidenceError, NotComparableError: there is no verdict. UsageError: a file
                is missing or wrong, or a relative rule has nothing to compare with.
        """
        __tracebackhide__ = True
        if inconclusive not in ("fail", "skip"):
            raise _refused("gate()", f"inconclusive={inconclusive!r}", "'fail' or 'skip'", "'skip' is what warns here")
        listed = [baseline] if isinstance(baseline, str | Path) else list(baseline)
        policy: Literal["fail", "warn"] = "warn" if inconclusive == "skip" else "fail"
        kept = [Path(_found(each, self.beside)) for each in listed]
        outcome = _plainly(lambda: self._outcome(Path(_found(rules, self.beside)), kept, policy))
        self._judge(outcome, inconclusive)
        return outcome

    def _outcome(self, rules: Path, baselines: Sequence[Path], policy: Literal["fail", "warn"]) -> Outcome:
        from harness.cli.judging import gated  # noqa: PLC0415 - whoever asks nothing does not wait for it

        outcome = gated(self.folder, rules, baselines, inconclusive=policy)
        self._asked = True
        return outcome

    def _judge(self, outcome: Outcome, inconclusive: Literal["fail", "skip"]) -> None:
        """Lets a test go on only where every rule holds."""
        __tracebackhide__ = True
        from harness.errors import EvidenceError, NotComparableError  # noqa: PLC0415 - as above
        from harness.gate.outcome import Verdict, severest  # noqa: PLC0415 - as above
        from reports.gate.terminal import plain  # noqa: PLC0415 - as above

        worst = severest(row.verdict for row in outcome.rows)
        if worst is Verdict.PASS:
            return
        words = f"{outcome.exit_reason}\n{plain(outcome, _WIDTH)}"
        if worst is Verdict.INCONCLUSIVE and inconclusive == "skip":
            pytest.skip(outcome.exit_reason)
        if worst in (Verdict.FAIL, Verdict.INCONCLUSIVE):
            raise RuleBroken(words)
        raise (NotComparableError if worst is Verdict.NOT_COMPARABLE else EvidenceError)(words)

    def _idle(self) -> str:
        """Returns why the run proves nothing; "" otherwise."""
        if self.record.exit_code in _PROVES_NOTHING:
            return self.record.exit_reason
        trials = [(case, trial) for case in self.record.cases for trial in case.trials]
        invalid = [
            f"{c.id}: trial {t.number} {t.status}: {'; '.join(t.reasons)}" for c, t in trials if t.status != "valid"
        ]
        return invalid[0] if invalid else ""


class Brokerbench:
    """What the fixture gives: :meth:`run`."""

    def __init__(self, root: Path, beside: Path) -> None:
        self._root = root
        self._beside = beside
        self._results: list[Result] = []

    def run(self, scenario: str | Path, *, trials: int | None = None, **overrides: object) -> Result:
        """Runs a scenario, as ``brokerbench run`` does, and returns what became of it, whatever that is.

        Args:
            scenario: a shipped name, or a path from the working directory, or from the folder of the test.
            trials: repetitions of each case. overrides: as with ``--set``: ``seed=2``, ``load__rate="500/s"`` (two underscores stand for
                the dot), ``**{"setups.redis-stream.persistence": "none"}``.

        Raises:
            UsageError: the scenario is wrong, or this machine cannot run it, with the remedy.
        """
        __tracebackhide__ = True
        given = [f"{name.replace('__', '.')}={_text(value)}" for name, value in overrides.items()]
        result = _plainly(lambda: self._run(_found(scenario, self._beside), given, trials))
        self._results.append(result)
        if result.record.status == "interrupted":
            result._asked = True
            raise KeyboardInterrupt
        return result

    def _run(self, scenario: str | Path, overrides: Sequence[str], trials: int | None) -> Result:
        from harness.cli.commands import catalogue  # noqa: PLC0415 - a pytest that runs no scenario does not wait for it
        from harness.cli.places import deployment_of  # noqa: PLC0415 - as above
        from harness.run.progress import Deaf  # noqa: PLC0415 - as above
        from harness.run.runner import Run, RunOptions  # noqa: PLC0415 - as above
        from harness.scenario.read import read_scenario  # noqa: PLC0415 - as above

        with _unclosed_is_not_theirs():  # Docker is asked whether it is there
            asked = read_scenario(scenario, catalogue(), overrides, trials=trials)
        options = RunOptions(root=self._root, command=_command(scenario, overrides, trials))
        with _unclosed_is_not_theirs(), Run(asked, deployment_of(asked, quiet=True), options, Deaf()) as this:
            record = this.run()
        return Result(folder=this.folder.path, record=record, beside=self._beside)

    def _close(self) -> None:
        """Raises what a test would have learned of a run, had it asked anything of it: EvidenceError, RuleBroken."""
        __tracebackhide__ = True
        from harness.errors import EvidenceError  # noqa: PLC0415 - as above

        for result in (each for each in self._results if not each._asked):
            name, remedy = result.record.scenario, f"see brokerbench report {result.folder}"
            if reason := result._idle():
                raise EvidenceError(f"{name} proves nothing, and nothing was asked of it: {reason}", remedy=remedy)
            if result.record.exit_code == _BROKEN:
                why = f"{name} broke what it is held to, and nothing was asked of it: {result.record.exit_reason}"
                raise RuleBroken(f"{why}\n  remedy: {remedy}, or ask for what the test allows")


@pytest.fixture
def brokerbench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Brokerbench]:
    """Run a scenario and assert rules on what it left: brokerbench.run("smoke").require("loss.confirmed == 0")."""
    __tracebackhide__ = True
    bench = Brokerbench(tmp_path / "runs", request.path.parent)
    yield bench
    bench._close()


def _found(path: str | Path, folder: Path) -> str | Path:
    """Returns a path as given, or in ``folder`` where it is only there."""
    beside = folder / path
    return beside if not Path(path).exists() and beside.exists() else path


def _plainly(work: Callable[[], Returned], asked: Sequence[str] = ()) -> Returned:
    """Returns what ``work`` returns; its errors are raised anew, so that pytest shows the test's line and the message, not our frames.

    Args:
        asked: what :meth:`Result.require` was given; a problem with it is told as one of that.
    """
    __tracebackhide__ = True
    from harness.errors import BrokerbenchError  # noqa: PLC0415 - as above
    from harness.scenario.problems import ScenarioError  # noqa: PLC0415 - as above

    try:
        return work()
    except ScenarioError as error:
        problem: BrokerbenchError = _of_require(error, asked) if asked else error
    except BrokerbenchError as error:
        problem = error
    raise problem.with_traceback(None) from None


@contextmanager
def _unclosed_is_not_theirs() -> Iterator[None]:
    """Keeps from a test with ``-W error`` what a client library leaves unclosed, e.g. Docker's where no engine answers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            yield
        finally:
            gc.collect()


def _refused(call: str, problem: str, expected: str, remedy: str) -> BrokerbenchError:
    from harness.errors import UsageError  # noqa: PLC0415 - as above

    return UsageError(f"{call}: {problem}", expected=expected, remedy=remedy)


def _of_require(error: Any, asked: Sequence[str]) -> BrokerbenchError:
    """Returns what is wrong with rules made of questions, as wrong with the questions; a run is over by then."""
    from harness.errors import UsageError  # noqa: PLC0415 - as above

    place = f"require({', '.join(map(repr, asked))})"
    told = [replace(each, place=replace(each.place, option=place)) for each in error.problems]
    return UsageError("\n".join(map(str, told)))


def _as_toml(question: str, case: str, window: str) -> str:
    """Returns a question as a rule."""
    parts = _QUESTION.fullmatch(question)
    metric, bound = (parts[1], parts[2].strip()) if parts else (question.strip(), "")
    kind = (
        {"guarantee": bound.removeprefix("==").strip()}
        if metric == "guarantee"
        else {"metric": metric, "require": bound}
    )
    told = {"id": question, **kind, "case": case, **({"window": window} if window else {})}
    return "".join(
        ["[[rule]]\n", *(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in told.items())]
    )


def _text(value: object) -> str:
    """Returns a value as ``--set`` takes it: text as it stands, anything else as JSON, which YAML understands."""
    return value if isinstance(value, str) else json.dumps(value)


def _command(scenario: str | Path, overrides: Sequence[str], trials: int | None) -> str:
    """Returns how to run the same again by hand."""
    import shlex  # noqa: PLC0415 - as above

    from harness.redaction import hide  # noqa: PLC0415 - as above

    sets = [word for each in overrides for word in ("--set", hide(each))]
    often = [] if trials is None else ["--trials", str(trials)]
    return shlex.join(["brokerbench", "run", str(scenario), *sets, *often])
