"""``brokerbench ab``: A against B, in pairs of trials. Neighbours: ``pairing_view`` shows it while it runs, ``gating`` has the outputs."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.console import Console

from harness.cli.gating import EXIT_CODES, Outputs, output_options, write_outputs
from harness.cli.output import say
from harness.cli.pairing_sides import (
    arms_of,
    command,
    images_of,
    listed,
    python_of,
    read_side,
    require_resumable,
    same_cases,
)
from harness.errors import BrokerbenchError, Interrupted, UsageError
from harness.redaction import hide

if TYPE_CHECKING:
    from harness.cli.pairing_view import PairsView
    from harness.experiment.pairs import Arm
    from harness.gate.jury import Jury
    from harness.gate.pairs import PairsRecord
    from harness.gate.rules import Rule
    from harness.pairs_folder import PairsFolder

OUTPUT = Path("runs")
WORSE = {True: "25%", False: "10%"}
"""``--quick`` → what the default rules tolerate."""
WITH_RESUME = ("resume", "quiet", "outputs", "junit", "summary", "annotations", "as_json", "inconclusive")
"""What may be said of a comparison that is gone on with; all else it has in ``ab.json``."""


@click.command(epilog=EXIT_CODES)
@click.argument("scenario", required=False)
@click.option("--a", "a_keys", multiple=True, metavar="KEY=VALUE", help="What A is: as --set, for A only.")
@click.option("--b", "b_keys", multiple=True, metavar="KEY=VALUE", help="What B is: as --set, for B only.")
@click.option("--set", "keys", multiple=True, metavar="KEY=VALUE", help="Override a key on both sides.")
@click.option(
    "--case", "cases", multiple=True, metavar="PATTERN", help="Only cases whose id on side A matches, e.g. 'redis-*'."
)
@click.option(
    "--a-python", metavar="PATH", type=click.Path(path_type=Path), help="Run A's trials by this Python's brokerbench."
)
@click.option(
    "--b-python", metavar="PATH", type=click.Path(path_type=Path), help="Run B's trials by this Python's brokerbench."
)
@click.option(
    "--a-image", "a_images", multiple=True, metavar="[BROKER=]IMAGE", help="A's brokers run in this image (Docker)."
)
@click.option(
    "--b-image", "b_images", multiple=True, metavar="[BROKER=]IMAGE", help="B's brokers run in this image (Docker)."
)
@click.option("--quick", is_flag=True, help="Looks at 5 and 10 pairs instead of 6, 10 and 16.")
@click.option(
    "--rules", "rules_file", metavar="FILE", type=click.Path(path_type=Path), help="What is asked: TOML, as for `gate`."
)
@click.option(
    "--max-worse",
    metavar="SHARE",
    help="Without --rules: how much worse throughput (closed loop) or latency may be.  [default: 10%, with --quick 25%]",
)
@click.option(
    "--others",
    metavar="SHARE",
    default="25%",
    show_default=True,
    help="Discard a pair during which others used more of this machine's CPUs.",
)
@click.option(
    "--order-seed",
    type=click.IntRange(0, (1 << 32) - 1),
    help="Repeat the coins of another comparison.  [default: new ones]",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=OUTPUT, help="Folder that gets the folder of pairs."
)
@click.option(
    "--resume", metavar="FOLDER", type=click.Path(path_type=Path), help="Go on with a comparison that was cut short."
)
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@output_options
@click.pass_context
def ab(context: click.Context, /, *, resume: Path | None, outputs: Outputs, quiet: bool, **asked: Any) -> int:
    """Compare A with B, two ways to run SCENARIO: pairs of trials on fresh brokers, in an order that a coin decides.

    Stops when every rule is decided, which is looked at after 6, 10 and 16 pairs. Without --rules: B not slower than A, and no loss.
    """
    if resume is not None:
        require_nothing_else(context, WITH_RESUME)
    comparison = _new(**asked) if resume is None else _taken_up(resume)
    outputs.require_places(before_long_work=True)
    return comparison.run(outputs, quiet=quiet or outputs.as_json)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Comparison:
    """A comparison that can begin, or go on.

    Args:
        sees: what its rules can see. folder: where it is; None = not made yet, below ``root``.
    """

    record: PairsRecord
    arms: tuple[Arm, Arm]
    jury: Jury
    sees: tuple[str, ...]
    rules_text: str
    root: Path
    folder: PairsFolder | None = None

    def run(self, outputs: Outputs, *, quiet: bool) -> int:
        """Runs the pairs, prints the verdicts and returns the exit code."""
        from harness.experiment.pairs import limited, run_pairs  # noqa: PLC0415 - analysis takes 0.5 s to import; `list` needs none of it
        from harness.pairs_folder import RULES, PairsFolder  # noqa: PLC0415 - as above
        from harness.store import RunFolder  # noqa: PLC0415 - as above

        jury = replace(self.jury, inconclusive=outputs.inconclusive)
        folder = self.folder or PairsFolder.create(self.root, self.record.scenario, datetime.now())
        with ExitStack() as ending:
            ending.enter_context(folder.alone())
            if self.rules_text:
                RunFolder(folder.path).write(RULES, self.rules_text)
            begun = limited(self.record, jury)
            folder.save(begun)
            if not quiet:
                _say_first(self, begun, folder)
            watcher = ending.enter_context(_view(_pair_s(self.arms), quiet=quiet))
            try:
                record = run_pairs(folder, begun, self.arms, watcher, jury)
            except BrokerbenchError as error:
                raise type(error)(
                    error.problem, expected=error.expected, remedy=_and_resume(error.remedy, folder)
                ) from error
        outcome = jury.outcome(record, folder.trials(record))
        if record.status != "interrupted":
            return write_outputs(outcome, outputs)
        ended = _interrupted(record, folder)
        told = {"exit_code": int(ended.exit_code), "exit_reason": ended.problem}
        write_outputs(outcome.model_copy(update=told), outputs)
        raise ended


def _interrupted(record: PairsRecord, folder: PairsFolder) -> Interrupted:
    pairs = sum(len(case.pairs) for case in record.cases)
    told = f"interrupted after {pairs} whole pair{'' if pairs == 1 else 's'}"
    return Interrupted(f"{told}; all is kept in {folder.path}", remedy=_resume(folder))


def _resume(folder: PairsFolder) -> str:
    return f"go on: {shlex.join(['brokerbench', 'ab', '--resume', str(folder.path)])}"


def _and_resume(remedy: str, folder: PairsFolder) -> str:
    return "; then ".join(filter(None, [remedy, _resume(folder)]))


# What is asked.


def _new(
    *,
    scenario: str | None,
    a_keys: tuple[str, ...],
    b_keys: tuple[str, ...],
    keys: tuple[str, ...],
    cases: tuple[str, ...],
    a_python: Path | None,
    b_python: Path | None,
    a_images: tuple[str, ...],
    b_images: tuple[str, ...],
    quick: bool,
    rules_file: Path | None,
    max_worse: str | None,
    others: str,
    order_seed: int | None,
    output: Path,
) -> _Comparison:
    """Returns the comparison that a command line asks for; everything is validated, nothing is made.

    Raises:
        UsageError: as said, with all that can be known before the first trial.
    """
    from harness.experiment.pairs import new_record  # noqa: PLC0415 - as above
    from harness.gate.pairs import SideRecord  # noqa: PLC0415 - as above
    from harness.gate.read import read_rules  # noqa: PLC0415 - as above

    if scenario is None:
        raise UsageError(
            "SCENARIO is missing",
            expected="a shipped scenario's name, a file, or --resume FOLDER",
            remedy="brokerbench ab --help",
        )
    if rules_file is not None and max_worse is not None:
        raise UsageError(
            "--max-worse is for the default rules, and --rules names others", remedy="leave one of them out"
        )
    ratio = _ratio(max_worse or WORSE[quick])
    share = share_of_cpus(others)
    rules = read_rules(rules_file) if rules_file is not None else ()
    environment = dict(os.environ)  # before a deployment takes variables out of it
    read = {"a": read_side(scenario, (*keys, *a_keys), cases), "b": read_side(scenario, (*keys, *b_keys), ())}
    if cases:
        read["b"] = same_cases(read_side(scenario, (*keys, *a_keys), ()), read["a"], read["b"])
    sides = {
        "a": SideRecord(
            overrides=[*map(hide, a_keys)],
            python=python_of(a_python),
            images=images_of("--a-image", a_images, read["a"]),
        ),
        "b": SideRecord(
            overrides=[*map(hide, b_keys)],
            python=python_of(b_python),
            images=images_of("--b-image", b_images, read["b"]),
        ),
    }
    arms = arms_of(read, sides, {"a": (*keys, *a_keys), "b": (*keys, *b_keys)}, environment, some=bool(cases))
    record = new_record(
        arms,
        command=command(),
        stopping="quick" if quick else "full",
        seed=order_seed,
        others_share=share,
        overrides=[hide(key) for key in keys],
        cases_asked=list(cases),
        rules_file=str(rules_file.resolve()) if rules_file is not None else "",
        max_worse=None if rules_file is not None else ratio,
        a=sides["a"],
        b=sides["b"],
    )
    jury, sees = _jury(rules, record, arms)
    text = rules_file.read_text() if rules_file is not None else ""
    return _Comparison(record=record, arms=arms, jury=jury, sees=sees, rules_text=text, root=output)


def _taken_up(path: Path) -> _Comparison:
    """Returns a comparison that was cut short.

    Raises:
        UsageError: it is over or a calibration, or what it compares is no longer what it was.
    """
    from harness.gate.read import read_rules  # noqa: PLC0415 - as above
    from harness.pairs_folder import RULES, PairsFolder  # noqa: PLC0415 - as above

    folder = PairsFolder.open(path)
    record = folder.load()
    if record.stopping == "fixed":
        raise UsageError(
            f"{folder.path} is a calibration, no comparison",
            expected="a folder that `brokerbench ab` made",
            remedy=f"go on with it: {shlex.join(['brokerbench', 'calibrate', '--resume', str(folder.path)])}",
        )
    if record.status == "finished":
        raise UsageError(
            f"{folder.path} has come to its end: {record.outcome.exit_reason if record.outcome else 'all pairs are run'}",
            expected="a comparison that was cut short",
            remedy=f"judge it again, with other rules too: brokerbench gate {folder.path} --rules FILE",
        )
    require_resumable(folder, record)
    environment = dict(os.environ)
    where = f"deployment={record.deployment}"
    keys = (
        record.overrides
        if any(key.startswith("deployment=") for key in (*record.a.overrides, *record.b.overrides))
        else [*record.overrides, where]
    )
    read = {
        "a": read_side(record.scenario_path, (*keys, *record.a.overrides), ()),
        "b": read_side(record.scenario_path, (*keys, *record.b.overrides), ()),
    }
    read = {letter: listed(read[letter], [getattr(case, letter) for case in record.cases]) for letter in read}
    if any(each.text != record.scenario_text for each in read.values()) or any(
        [case.id for case in read[letter].cases] != [getattr(case, letter) for case in record.cases] for letter in read
    ):
        raise UsageError(
            f"{record.scenario_path} is not what it was when {folder.path} was begun",
            expected="the same scenario for all pairs",
            remedy=f"restore the file, or begin anew: {record.command}",
        )
    sides = {"a": record.a, "b": record.b}
    arms = arms_of(
        read,
        sides,
        {letter: (*keys, *side.overrides) for letter, side in sides.items()},
        environment,
        some=bool(record.cases_asked),
    )
    rules = read_rules(folder.path / RULES) if record.rules_file else ()
    jury, sees = _jury(rules, record, arms)
    return _Comparison(
        record=record, arms=arms, jury=jury, sees=sees, rules_text="", root=folder.path.parent, folder=folder
    )


def require_nothing_else(context: click.Context, allowed: Collection[str]) -> None:
    """Raises UsageError where more than the allowed options are on the command line beside ``--resume``."""
    given = [
        param
        for param in context.command.params
        if param.name not in allowed and context.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE
    ]
    if given:
        name = given[0].opts[0] if isinstance(given[0], click.Option) else given[0].human_readable_name
        raise UsageError(
            f"--resume goes on with what was asked for, and {name} is asked for too",
            expected="--resume FOLDER, and where the answer goes",
            remedy="leave the rest out, or begin anew without --resume",
        )


def _ratio(text: str) -> float:
    from harness.gate.read import margin  # noqa: PLC0415 - as above

    try:
        return margin(text)
    except ValueError as error:
        problem, _, expected = str(error).partition("; expected ")
        raise UsageError(f"--max-worse {text}: {problem}", expected=expected) from error


def share_of_cpus(text: str) -> float:
    from harness.units import parse_ratio  # noqa: PLC0415 - as above

    try:
        share = parse_ratio(text)
        if not 0 < share <= 1:
            raise ValueError(f"{text!r} is out of bounds; expected more than 0 % and at most 100 %")
    except ValueError as error:
        problem, _, expected = str(error).partition("; expected ")
        raise UsageError(f"--others {text}: {problem}", expected=expected, remedy="for example --others 25%") from error
    return share


def _jury(rules: Sequence[Rule], record: PairsRecord, arms: tuple[Arm, Arm]) -> tuple[Jury, tuple[str, ...]]:
    """Returns who judges, and what can be seen at the noise that was calibrated here; raises UsageError for a rule that could not pass."""
    from harness.experiment.default_rules import default_rules  # noqa: PLC0415 - as above
    from harness.experiment.known import known_before  # noqa: PLC0415 - as above
    from harness.gate.jury import Jury  # noqa: PLC0415 - as above

    asked = tuple(rules) or default_rules(arms[1].scenario, record.max_worse or 1.0)
    before = known_before(asked, arms[0].scenario, arms[1].scenario, record.looks)
    jury = Jury(rules=asked, sigma_d=before.sigma_d, warnings=before.outlook.warnings)
    return jury, before.outlook.sees


# What is told.


def _view(pair_s: float, *, quiet: bool) -> PairsView:
    from harness.cli.pairing_view import Silent, open_pairs_view  # noqa: PLC0415 - only who watches pays for it

    return Silent() if quiet else open_pairs_view(Console(stderr=True), pair_s)


def _pair_s(arms: tuple[Arm, Arm]) -> float:
    from harness.scenario.describe import expected_trial_s  # noqa: PLC0415 - as above

    return sum(expected_trial_s(arm.scenario) for arm in arms)


def _say_first(this: _Comparison, record: PairsRecord, folder: PairsFolder) -> None:
    """Says what is compared, by which rules, what they can see, and how long it takes, before the first trial."""
    from harness.cli.pairing_view import first_lines  # noqa: PLC0415 - as above

    told = [*first_lines(record, _pair_s(this.arms), str(folder.path), this.jury.rules), *this.sees]
    with suppress(OSError):  # nobody reads stderr: no reason not to run
        for line in [*told, *(f"warning: {each}" for each in this.jury.warnings)]:
            say(line, err=True)
