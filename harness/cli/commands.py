"""The commands of ``brokerbench``, one function each: read, do, print, exit code."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness import __version__
from harness.brokers import is_ours, setups
from harness.cli.calibrating import calibrate
from harness.cli.comparing import compare
from harness.cli.images import images
from harness.cli.judging import gate
from harness.cli.keeping import baseline
from harness.cli.lending import DEFAULT_WAIT, DOOR, SECRET_FILE, WAIT, agent, door_of_run
from harness.cli.output import readers_may_leave, say
from harness.cli.pairing import ab
from harness.cli.places import (
    DEPLOYMENTS,
    DOCKER_BROKERS,
    default_deployment,
    deployment_of,
    require_page,
    why_not_docker,
    why_not_embedded,
)
from harness.cli.result import page_or_why_not, print_result, told, unwritten
from harness.cli.searching import capacity
from harness.cli.setups import up
from harness.cli.sweeping import sweep
from harness.clock import now_ns
from harness.deployments.embedded import EmbeddedDeployment
from harness.errors import BrokerbenchError, ExitCode, UsageError
from harness.faults import faults
from harness.model import Setup
from harness.record import RunRecord
from harness.redaction import hide, is_ambiguous
from harness.run.progress import Deaf, Listener, Listeners, PhaseChanged
from harness.scenario import shipped
from harness.scenario.addresses import ENCODE
from harness.scenario.catalogue import Catalogue
from harness.scenario.choice import chosen
from harness.scenario.describe import as_dict, describe
from harness.scenario.model import Scenario
from harness.scenario.read import read_scenario
from harness.scenario.schema import json_schema
from harness.scenario.sites import CONTAINER_PARAMETERS
from harness.store import RunFolder, record_schema
from harness.sweeping import LEFT
from harness.sweeping import down as sweep_everything
from reports.containers import ground
from reports.encoding import printably

OUTPUT = Path("runs")
SET_HELP = "Override a key, e.g. --set load.rate=5000/s or --set setups.redis-stream.persistence=aof-always."


class _Cli(click.Group):
    """Turns click's own complaints into ours: one line, the remedy, exit code 2."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Runs a command; raises BrokerbenchError for a wrong command line."""
        try:
            return super().main(*args, **kwargs)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            return ExitCode.USAGE
        except click.ClickException as error:
            remedy = f"{error.ctx.command_path} --help" if isinstance(error, click.UsageError) and error.ctx else ""
            raise UsageError(error.format_message(), remedy=remedy) from error
        except click.Abort as error:
            raise KeyboardInterrupt from error


class _Whole(click.IntRange):
    """A whole number, refused in our words."""

    def __init__(self, least: int, most: int, example: int) -> None:
        super().__init__(least, most)
        self._words = f"a whole number from {least} to {most}"
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns the number; raises UsageError for what is none, too small or too large."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter as error:
            option = param.opts[0] if param else "the value"
            raise UsageError(
                f"{option} {value}: not a value that it takes",
                expected=self._words,
                remedy=f"for example {option} {self._example}",
            ) from error


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="brokerbench")
def cli() -> None:
    """Find out what a message broker setup, used as a task queue, really gives you."""


@cli.command()
@click.argument("scenario")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help=SET_HELP)
@click.option("--case", "cases", multiple=True, metavar="PATTERN", help="Only cases whose id matches, e.g. 'redis-*'.")
@click.option("--trials", type=_Whole(1, 1000, 3), help="Repetitions per case, each on a fresh broker.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=OUTPUT, help="Folder for run folders.")
@click.option("--json", "as_json", is_flag=True, help="Print run.json on stdout and nothing else.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.option("--web", is_flag=True, help="Serve Locust's page on 127.0.0.1 while the load runs.")
@click.option(
    "--metrics",
    type=_Whole(0, 65535, 9464),
    metavar="PORT",
    help="Serve the run's figures for Prometheus on 127.0.0.1:PORT while it runs; 0 takes a free port.",
)
@click.option(
    "--init-swarm", is_flag=True, help="Make a swarm for an overlay network where there is none, and leave it."
)
@click.option("--skip-unavailable", is_flag=True, help="Run the cases that this machine can run; mark the others.")
@click.option("--listen", metavar="HOST:PORT", help=f"Where agents of other machines come in. [default: {DOOR}]")
@SECRET_FILE
@click.option("--wait", type=WAIT, default=DEFAULT_WAIT, show_default=True, help="How long to wait for those agents.")
def run(
    scenario: str,
    overrides: tuple[str, ...],
    cases: tuple[str, ...],
    trials: int | None,
    output: Path,
    as_json: bool,
    quiet: bool,
    web: bool,
    metrics: int | None,
    init_swarm: bool,
    skip_unavailable: bool,
    listen: str | None,
    secret_file: Path | None,
    wait: float,
) -> int:
    """Run SCENARIO (a shipped name or a file) and say what each setup lost, how late messages came, and what it repeated."""
    from harness.run.runner import Run, RunOptions  # noqa: PLC0415 - analysis takes 0.5 s to import; `list` needs none of it

    asked = chosen(_read(scenario, overrides, trials, default=_on_this_machine if web else default_deployment), cases)
    if web:
        require_page(asked)
    door = door_of_run(asked, listen, secret_file, wait)
    options = RunOptions(root=output, command=_command(), web=web, skip_unavailable=skip_unavailable, door=door)
    with ExitStack() as ending:
        listener = _listener(ending, metrics, quiet=quiet or as_json)
        deployment = deployment_of(asked, init_swarm=init_swarm, quiet=quiet or as_json)
        this_run = ending.enter_context(Run(asked, deployment, options, listener))
        if not (quiet or as_json):
            with suppress(OSError):  # nobody reads stderr: no reason not to run
                say(_first_line(this_run.record, this_run.folder), err=True)
        record = this_run.run()
        listener.notice(PhaseChanged(phase="writing the report", t_ns=now_ns()))
        page = page_or_why_not(this_run.folder)
    return told(record, this_run.folder, page, as_json=as_json)


def _listener(ending: ExitStack, metrics: int | None, *, quiet: bool) -> Listener:
    """Returns who is told of the run while it runs, and ends with ``ending``."""
    server = None
    if metrics is not None:
        from harness.cli.metrics import MetricsServer  # noqa: PLC0415 - only who asks for them pays for the library

        server = ending.enter_context(MetricsServer(metrics))
        with suppress(OSError):  # as below
            click.echo(f"metrics: {server.url}", err=True)
    view: Listener = Deaf()
    if not quiet:
        from harness.cli.live import open_view  # noqa: PLC0415 - likewise

        view = ending.enter_context(open_view(Console(stderr=True)))
    return Listeners([server, view]) if server else view


@cli.command()
@click.argument("run_folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print run.json on stdout and nothing else.")
def report(run_folder: Path, as_json: bool) -> int:
    """Make every figure of RUN_FOLDER again from its stored ledger, write report.md and report.html, and print the table."""
    from harness.run.recompute import recompute  # noqa: PLC0415 - as in `run`

    folder = RunFolder.open(run_folder)
    record, damaged, unkept = recompute(folder)
    if damaged:  # the figures of better days stay in the folder
        print_result(record, folder, None, as_json=as_json)
        raise BrokerbenchError("\n".join(damaged), remedy="the folder was left as it was")
    page = unwritten(folder, unkept[0], "what was computed") if unkept else page_or_why_not(folder, record)
    return told(record, folder, page, as_json=as_json)


@cli.command()
@click.argument("scenario")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help=SET_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print the expanded scenario as JSON.")
def check(scenario: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Validate SCENARIO without running anything, and say what it would run and for how long."""
    asked = _read(scenario, overrides, None)
    with readers_may_leave():
        say(json.dumps(as_dict(asked), indent=1) if as_json else describe(asked))


@cli.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_(as_json: bool) -> None:
    """List the shipped scenarios, and the setups and faults that a scenario can name."""
    asked = {name: _read(name, (), None) for name in shipped.all()}
    scenarios = [
        {"name": name, "question": each.question, "deployment": each.deployment} for name, each in asked.items()
    ]
    brokers = [
        {
            "name": s.name,
            "summary": s.summary,
            "parameters": [p.name for p in s.parameters],
            "schemes": list(s.schemes),
            "unavailable": why_not_embedded(s),
            "unavailable_on_docker": why_not_docker(s),
        }
        for s in setups().values()
    ]
    strikes = [{"name": f"{f.verb}: {f.target}", "summary": f.summary} for f in faults().values()]
    with readers_may_leave():
        if as_json:
            click.echo(json.dumps({"scenarios": scenarios, "setups": brokers, "faults": strikes}, indent=1))
            return
        console = Console()
        with printably(console):
            console.print(_table("scenario", "question", [(s["name"], _scenario_line(s)) for s in scenarios]))
            console.print(_table("setup", "what it does", [(str(b["name"]), _setup_line(b)) for b in brokers]))
            console.print(Text(f"on docker every setup also has the parameters {', '.join(CONTAINER_PARAMETERS)}"))
            for line in _missing(brokers):
                console.print(Text(line))
            console.print(_table("fault", "what it does", [(s["name"], s["summary"]) for s in strikes]))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON and nothing else.")
def doctor(as_json: bool) -> int:
    """Say what this machine can do, and the remedy for what it cannot; starts no broker, changes nothing.

    Ends with 0 where the quickstart can run here, 2 where this machine lacks something for it, 70 where that cannot be told.
    """
    from harness.cli.diagnosis import print_diagnosis  # noqa: PLC0415 - as in `run`
    from harness.doctor.examine import examine  # noqa: PLC0415

    diagnosis = examine(lambda: _read("quickstart", (), None), OUTPUT)
    with readers_may_leave():
        if as_json:
            click.echo(diagnosis.model_dump_json(indent=1))
        else:
            print_diagnosis(diagnosis, Console())
    return diagnosis.exit_code


@cli.command()
@click.option("--record", "which", flag_value="record", help="The schema of run.json instead.")
@click.option("--doctor", "which", flag_value="doctor", help="The schema of what `doctor --json` prints instead.")
@click.option(
    "--comparison", "which", flag_value="comparison", help="The schema of what `compare --json` prints instead."
)
@click.option(
    "--outcome", "which", flag_value="outcome", help="The schema of what `gate --json` and `ab --json` print."
)
@click.option(
    "--baseline", "which", flag_value="baseline", help="The schema of the files that `baseline update` writes."
)
@click.option("--pairs", "which", flag_value="pairs", help="The schema of ab.json, which `ab` writes.")
@click.option("--sweep", "which", flag_value="sweep", help="The schema of what `sweep --json` prints.")
@click.option("--capacity", "which", flag_value="capacity", help="The schema of what `capacity --json` prints.")
@click.option(
    "--calibration",
    "which",
    flag_value="calibration",
    help="The schema of the file in which `calibrate` keeps what it found.",
)
def schema(which: str | None) -> None:
    """Print the JSON schema of scenario files, for editors."""
    from harness.analysis.capacity import capacity_schema  # noqa: PLC0415 - as in `run`
    from harness.analysis.sweep import sweep_schema  # noqa: PLC0415 - as in `run`
    from harness.doctor.finding import diagnosis_schema  # noqa: PLC0415 - as in `run`
    from harness.gate.baseline import baseline_schema  # noqa: PLC0415 - as in `run`
    from harness.gate.noise import calibration_schema  # noqa: PLC0415 - as in `run`
    from harness.gate.outcome import outcome_schema  # noqa: PLC0415 - as in `run`
    from harness.gate.pairs import pairs_schema  # noqa: PLC0415 - as in `run`
    from reports.compared import comparison_schema  # noqa: PLC0415 - as in `run`

    kinds = {
        "record": record_schema,
        "doctor": diagnosis_schema,
        "comparison": comparison_schema,
        "outcome": outcome_schema,
        "baseline": baseline_schema,
        "calibration": calibration_schema,
        "sweep": sweep_schema,
        "pairs": pairs_schema,
        "capacity": capacity_schema,
    }
    wanted = kinds.get(which or "", lambda: json_schema(catalogue()))
    with readers_may_leave():
        click.echo(json.dumps(wanted(), indent=1))


@cli.command()
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="URL",
    help="Of a broker that was not ours, with its password: queues that runs left there are removed. ${NAME} is read here.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was removed and what is left as JSON.")
def down(addresses: tuple[str, ...], as_json: bool) -> int:
    """Remove what killed runs left behind, and the setups that `up` keeps; runs that are alive are not touched."""
    whole = [os.path.expandvars(address) for address in addresses]
    if any(map(is_ambiguous, whole)):
        raise UsageError("--address is no URL: a part of it is not percent-encoded", remedy=ENCODE)
    told = sweep_everything(whole)
    left = [sentence.removeprefix(LEFT) for sentence in told if sentence.startswith(LEFT)]
    removed = [sentence for sentence in told if not sentence.startswith(LEFT)]
    with readers_may_leave():
        if as_json:
            click.echo(json.dumps({"removed": removed, "left": left}, indent=1))
        for sentence in [] if as_json else told or ["nothing was left behind"]:
            say(sentence)
    return int(ExitCode.NO_VERDICT if left else ExitCode.PASS)


cli.add_command(ab)
cli.add_command(agent)
cli.add_command(capacity)
cli.add_command(baseline)
cli.add_command(calibrate)
cli.add_command(compare)
cli.add_command(gate)
cli.add_command(images)
cli.add_command(sweep)
cli.add_command(up)


def catalogue(default: Callable[[Sequence[Setup]], str] = default_deployment) -> Catalogue:
    """Returns what this version serves."""
    return Catalogue(
        setups=setups(),
        faults=faults(),
        deployments=DEPLOYMENTS,
        docker_brokers=DOCKER_BROKERS,
        not_in_image=[name for name in setups() if not is_ours(name)],
        default=default,
    )


def _read(
    scenario: str,
    overrides: Sequence[str],
    trials: int | None,
    *,
    default: Callable[[Sequence[Setup]], str] = default_deployment,
) -> Scenario:
    return read_scenario(scenario, catalogue(default), overrides, trials=trials)


def _on_this_machine(setups: Sequence[Setup]) -> str:
    return EmbeddedDeployment.name


def _first_line(record: RunRecord, folder: RunFolder) -> str:
    servers = dict.fromkeys(case.server for case in record.cases if case.server)
    return f"{record.scenario} · {ground(record)} · {', '.join(servers)} · {folder.path}"


def _command() -> str:
    return shlex.join(["brokerbench", *map(hide, sys.argv[1:])])


def _scenario_line(scenario: dict[str, str]) -> str:
    return f"{scenario['question']} ({scenario['deployment']})"


def _setup_line(setup: dict[str, Any]) -> str:
    settings = f" ({', '.join(setup['parameters'])})" if setup["parameters"] else ""
    here = [name for name, key in _WHY_NOT.items() if not setup[key]]
    return f"{setup['summary']}{settings}\n{' '.join(['here:', ', '.join(here)]) if here else 'NOT AVAILABLE HERE'}"


def _missing(brokers: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yields why setups cannot run here, each reason once with all to which it applies."""
    for name, key in _WHY_NOT.items():
        reasons: dict[str, list[str]] = {}
        for setup in brokers:
            if setup[key]:
                reasons.setdefault(setup[key], []).append(setup["name"])
        for reason, names in reasons.items():
            which = "no setup" if len(names) == len(brokers) else f"not {', '.join(names)}"
            yield f"{name}: {which}: {reason}"


_WHY_NOT = {"docker": "unavailable_on_docker", "embedded": "unavailable"}


def _table(first: str, second: str, rows: Sequence[tuple[str, str]]) -> Table:
    table = Table(first, second, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    return table
