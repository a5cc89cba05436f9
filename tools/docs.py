"""Writes the generated parts of the documentation: ``make docs``.

A part stands between ``<!-- name -->`` and ``<!-- /name -->``. The reference of scenarios comes from the tables that read them
(``harness.scenario.keys``), setups, claims and faults from their own declarations, the picture of the ledger from
``ledger_picture``; ``--quickstart`` also runs the quickstart and the doctor and puts what they printed, with pictures of that run
(``pictures``), into the README and its page.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from ledger_picture import picture
from pictures import pictures
from statistics_tables import STATISTICS

from harness.brokers import setups
from harness.cli.commands import catalogue
from harness.doctor.examine import checks
from harness.faults import faults
from harness.metrics import METRICS
from harness.model import Claim, DurabilityClass, FaultKind, MayLose, MayRepeat, Setup
from harness.scenario.keys import scenario_table
from harness.scenario.mappings import Key, Table
from harness.scenario.read import read_scenario
from harness.scenario.sites import CONTAINER_PARAMETERS
from harness.units import format_duration

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"

BROKERS = {"redis": "Redis", "rabbitmq": "RabbitMQ", "postgres": "PostgreSQL", "null": "null"}
"""Names for headings, in the order of the pages; a broker that is not here comes last, under its own name."""


def generated() -> dict[Path, str]:
    """Returns every generated file with the text that it should have."""
    reference, guarantees, doctor = DOCS / "scenario-reference.md", DOCS / "guarantees.md", DOCS / "doctor.md"
    statistics = DOCS / "statistics.md"
    return {
        reference: filled(
            reference.read_text(),
            {"keys": keys, "setups": setup_table, "faults": fault_table, "metrics": metrics},
        ),
        guarantees: filled(guarantees.read_text(), {"claims": claim_tables}),
        doctor: filled(doctor.read_text(), {"checks": check_table}),
        statistics: filled(statistics.read_text(), STATISTICS),
        DOCS / "ledger.svg": picture(),
    }


def filled(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """Returns a page with its generated parts filled anew."""
    for name, content in parts.items():
        text = replaced(text, name, content())
    return text


def replaced(text: str, name: str, content: str) -> str:
    """Returns ``text`` with the part ``name`` filled anew; raises ValueError where it has no such part."""
    part = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not part.search(text):
        raise ValueError(f"no part {name!r}; expected <!-- {name} --> … <!-- /{name} -->")
    return part.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


# The keys of a scenario.


def keys() -> str:
    """Returns a table of the top keys, and one for each that has keys of its own."""
    head = ("key", "value", "default", "meaning")
    top = scenario_table(catalogue()).keys
    parts = [table(head, (row_of(key, f"`{key.name}`") for key in top))]
    for key in top:
        if inner := list(inner_tables(key.shape)):
            rows = dict.fromkeys(itertools.chain.from_iterable(rows_of(one, f"{key.name}.") for one in inner))
            parts.append(f"### {key.name}\n\n{table(head, rows)}")
    return "\n\n".join(parts)


def rows_of(of: Table, prefix: str) -> Iterator[tuple[str, ...]]:
    """Yields a row for each key of a table, and below each those of its own tables."""
    for key in of.keys:
        yield row_of(key, f"`{prefix}{key.name}`")
        for one in inner_tables(key.shape):
            yield from rows_of(one, f"{prefix}{key.name}.")


def row_of(key: Key, name: str) -> tuple[str, ...]:
    """Returns name, value, default and meaning of a key."""
    default = "required" if key.required else f"`{key.default}`" if key.default is not None else ""
    value = key.shape.expected if not any(True for _ in inner_tables(key.shape)) else "its keys"
    return name, value, default, key.meaning


def inner_tables(shape: Any) -> Iterator[Table]:
    """Yields the tables that a shape holds, at any depth of lists and alternatives."""
    if isinstance(shape, Table):
        yield shape
    elif isinstance(shape, Mapping):
        for value in shape.values():
            yield from inner_tables(value)
    elif is_dataclass(shape):
        for field in fields(shape):
            yield from inner_tables(getattr(shape, field.name))


def setup_table() -> str:
    """Returns the table of setups and their parameters, the default first."""
    rows = []
    for setup in ordered():
        parameters = [
            f"`{p.name}`: {', '.join(f'`{value}`' for value in p.values) + ': ' if p.values else ''}{p.meaning}"
            for p in setup.parameters
        ]
        rows.append((f"`{setup.name}`", setup.summary, "<br>".join(parameters)))
    of_container = [f"`{p.name}`: {p.shape.expected}: {p.meaning}" for p in CONTAINER_PARAMETERS.values()]
    not_there = [f"`{setup.name}`" for setup in ordered() if not catalogue().on_docker(setup)]
    on_docker = f"each of them on `docker`, but {', '.join(not_there)}" if not_there else "each of them on `docker`"
    rows.append((on_docker, "its broker's container", "<br>".join(of_container)))
    return table(("setup", "what it does", "parameters, the default first"), rows)


def fault_table() -> str:
    """Returns the table of faults and their keys."""
    rows = []
    for fault in faults().values():
        further = [
            f"`{key.name}` ({key.unit}, {f'`{key.default}`' if key.default is not None else 'required'}): {key.meaning}"
            for key in fault.keys
        ]
        rows.append((f"`{fault.verb}: {fault.target}`", fault.summary, "<br>".join(further), fault.kind.value))
    return table(("fault", "what it does", "further keys, with their defaults", "claim that it tests"), rows)


def metrics() -> str:
    """Returns the names that an ``slo`` may bound; those that differ in their last part only share a row."""
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    for name, metric in METRICS.items():
        group, _, last = name.rpartition(".")
        meaning = re.sub(rf"\b{last}\b", "*name*", metric.meaning) if group in ("class", "mark") else metric.meaning
        unit = "s per million" if metric.unit == "s/million" else metric.unit
        bound = "at least" if metric.higher_is_better else "at most"
        rows.setdefault((group and f"{group}.", unit, bound, meaning), []).append(last)
    return table(
        ("metric", "unit", "bound", "meaning"),
        (
            (f"`{group}{names[0] if len(names) == 1 else '{' + ', '.join(names) + '}'}`", *rest)
            for (group, *rest), names in rows.items()
        ),
    )


# What the setups claim.

Settings = tuple[tuple[str, str], ...]
Promise = tuple[DurabilityClass, tuple[Claim, ...]]

LOSES = {
    MayLose.NONE: "nothing",
    MayLose.IN_FLIGHT: "in flight",
    MayLose.WINDOW: "last {window}",
    MayLose.WINDOW_OR_IN_FLIGHT: "in flight, last {window}",
    MayLose.ALL: "**all**",
}
REPEATS = {
    MayRepeat.NONE: "nothing",
    MayRepeat.EXPIRED: "held too long",
    MayRepeat.UNACKED: "unacked",
    MayRepeat.ACKED: "even acked",
}


def ordered() -> list[Setup]:
    """Returns the setups broker by broker."""
    known = list(BROKERS)
    return sorted(
        setups().values(), key=lambda s: (known.index(s.broker) if s.broker in known else 99, s.broker, s.name)
    )


def claim_tables() -> str:
    """Returns, for each broker, what its setups claim under each fault, and where each promise is made."""
    parts = []
    for broker, group in itertools.groupby(ordered(), key=lambda setup: setup.broker):
        promises = {setup: promises_of(setup) for setup in group}
        made = {claim.fault for groups in promises.values() for _, claims in groups for claim in claims}
        kinds = [kind for kind in FaultKind if kind in made]
        cases: dict[
            tuple[Setup, tuple[str, ...]], list[Settings]
        ] = {}  # promises that differ in their source only are one
        for setup, groups in promises.items():
            for (durability, claims), settings in groups.items():
                cases.setdefault((setup, (durability.value, *claim_cells(claims, kinds))), []).extend(settings)
        rows = [(case_words(setup, settings, "<br>"), *cells) for (setup, cells), settings in cases.items()]
        head = ("setup", "durability", *map(fault_words, kinds))
        found = table(("fault", "setups", "where the promise is made"), sources(promises, kinds))
        parts.append(
            f"## {BROKERS.get(broker, broker)}\n\n{table(head, rows)}\n\n"
            f"<details><summary>Sources</summary>\n\n{found}\n\n</details>"
        )
    return "\n\n".join(parts)


def claim_cells(claims: Iterable[Claim], kinds: Iterable[FaultKind]) -> Iterator[str]:
    """Yields what is claimed under each fault, in a few words."""
    made = {claim.fault: claim for claim in claims}
    for kind in kinds:
        if kind not in made:
            yield "NO CLAIM"
            continue
        claim = made[kind]
        loses = LOSES[claim.may_lose].format(window=format_duration(claim.window_s))
        strands = "<br>strand: yes" if claim.may_strand else ""
        yield f"lose: {loses}<br>repeat: {REPEATS[claim.may_repeat]}{strands}"


def sources(
    promises: Mapping[Setup, Mapping[Promise, Sequence[Settings]]], kinds: Sequence[FaultKind]
) -> Iterator[Sequence[str]]:
    """Yields a row for each source: faults, setups, source."""
    found: dict[tuple[FaultKind, str], dict[Setup, list[Settings]]] = {}
    for setup, groups in promises.items():
        for (_, claims), settings in groups.items():
            for claim in claims:
                found.setdefault((claim.fault, claim.source), {}).setdefault(setup, []).extend(settings)
    faults_of: dict[tuple[str, str], list[str]] = {}
    for (kind, source), made in sorted(found.items(), key=lambda item: kinds.index(item[0][0])):
        cases = [case_words(setup, settings, " · ") for setup, settings in made.items()]
        words = "every setup" if cases == [f"`{setup.name}`" for setup in promises] else "<br>".join(cases)
        faults_of.setdefault((words, source), []).append(fault_words(kind))
    for (words, source), told in faults_of.items():
        yield ", ".join(told), words, source


def fault_words(kind: FaultKind) -> str:
    """Returns a fault as a heading."""
    return "no fault" if kind is FaultKind.NONE else kind.value


def case_words(setup: Setup, settings: Sequence[Settings], between: str) -> str:
    """Returns a setup's name and the parameter values that are meant."""
    return between.join(filter(None, (f"`{setup.name}`", where_words(choices_of(setup), settings))))


def choices_of(setup: Setup) -> dict[str, tuple[str, ...]]:
    """Returns the parameters that have a list of values; others do not change what is claimed."""
    return {p.name: p.values for p in setup.parameters if p.values}


def promises_of(setup: Setup) -> dict[Promise, list[Settings]]:
    """Returns each promise that a setup makes, with the combinations of parameter values for which it makes it."""
    choices = choices_of(setup)
    groups: dict[Promise, list[Settings]] = {}
    for values in itertools.product(*choices.values()):
        settings = tuple(zip(choices, values, strict=True))
        parameters = setup.complete(dict(settings))
        groups.setdefault((setup.durability(parameters), setup.claims(parameters)), []).append(settings)
    return groups


def where_words(choices: Mapping[str, Sequence[str]], group: Sequence[Settings]) -> str:
    """Returns parameter values in words: ``persistence: rdb, none``; "" where every value is among them."""
    seen = {
        name: [v for v in values if any((name, v) in settings for settings in group)]
        for name, values in choices.items()
    }
    if math.prod(map(len, seen.values())) == len(
        group
    ):  # every combination of the values seen: said parameter by parameter
        said = {name: values for name, values in seen.items() if len(values) < len(choices[name])}
        return "; ".join(f"{name}: {', '.join(values)}" for name, values in said.items())
    return " or ".join(", ".join(f"{name}: {value}" for name, value in settings) for settings in group)


# What was printed.


def printed(*words: str) -> str:
    """Runs a command of ours; returns what it printed, as a fenced block."""
    command = [str(Path(sys.executable).parent / "brokerbench"), *words]
    environment = os.environ | {"COLUMNS": "110", "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if not done.stdout:
        sys.exit(done.stderr)
    return "```\n" + "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines()) + "\n```"


# The doctor.


def check_table() -> str:
    """Returns the table of what the doctor looks at, as its JSON names it."""
    every = checks(lambda: read_scenario("quickstart", catalogue()), Path("runs"))
    rows = [(f"`{check.id}`", check.group, check.what, "yes" if check.required else "") for check in every]
    return table(("id", "group", "what", "required"), rows)


def main() -> None:
    """Writes the files."""
    for path, text in generated().items():
        path.write_text(text)
    if "--quickstart" in sys.argv:
        output = printed("run", "quickstart", "--quiet")
        page = ROOT / re.findall(r"^Report: (\S+)$", output, re.MULTILINE)[0]
        text = replaced(README.read_text(), "output:quickstart", output)
        README.write_text(replaced(text, "pictures", pictures(page, DOCS / "pictures", README)))
        doctor = DOCS / "doctor.md"
        doctor.write_text(replaced(doctor.read_text(), "output:doctor", printed("doctor")))


if __name__ == "__main__":
    main()
