"""Fills the generated parts of the documentation: ``make docs``.

A part stands between ``<!-- name -->`` and ``<!-- /name -->``. The reference of scenarios comes from the tables that read them
(``harness.scenario.keys``), setups and faults from their own declarations; ``--quickstart`` also runs the quickstart and puts what
it printed into the README.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from harness.brokers import setups
from harness.deployments.embedded import EmbeddedDeployment
from harness.faults import faults
from harness.metrics import METRICS
from harness.scenario.catalogue import Catalogue
from harness.scenario.keys import AgentsShape, scenario_table
from harness.scenario.mappings import Either, Table, Variants
from harness.scenario.shapes import ListOf, Shape

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "adding-a-scenario.md"
README = ROOT / "README.md"


def replaced(text: str, name: str, content: str) -> str:
    """Returns ``text`` with the part ``name`` filled anew; raises ValueError where it has no such part."""
    part = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not part.search(text):
        raise ValueError(f"no part {name!r}; expected <!-- {name} --> … <!-- /{name} -->")
    return part.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def reference() -> str:
    """Returns the page on scenarios with its generated parts filled anew."""
    text = REFERENCE.read_text()
    for name, content in {
        "keys": keys(),
        "setups": setup_table(),
        "faults": fault_table(),
        "metrics": metrics(),
    }.items():
        text = replaced(text, name, content)
    return text


def keys() -> str:
    """Returns the table of every key that a scenario may have."""
    catalogue = Catalogue(setups=setups(), faults=faults(), deployments=(EmbeddedDeployment.name,))
    rows = dict.fromkeys(rows_of(scenario_table(catalogue)))  # pieces of a profile share `for`
    return table(("key", "default", "meaning", "value"), rows)


def rows_of(of: Table, prefix: str = "") -> Iterator[tuple[str, ...]]:
    """Yields key, default, meaning and value of a table's keys, and below each those of its own tables."""
    for key in of.keys:
        if key.later:
            continue
        inner = list(inner_tables(key.shape))
        default = "required" if key.required else f"`{key.default}`" if key.default is not None else ""
        value = "" if inner else key.shape.expected
        yield f"`{prefix}{key.name}`", default, key.meaning, value
        for one in inner:
            yield from rows_of(one, f"{prefix}{key.name}.")


def inner_tables(shape: Shape) -> Iterator[Table]:
    """Yields the tables that a shape holds."""
    if isinstance(shape, Table):
        yield shape
    elif isinstance(shape, Either | AgentsShape):
        yield shape.table
    elif isinstance(shape, ListOf):
        yield from inner_tables(shape.item)
    elif isinstance(shape, Variants):
        yield from shape.tables.values()


def setup_table() -> str:
    """Returns the table of setups and their parameters, the default first."""
    rows = []
    for setup in setups().values():
        parameters = [
            f"`{p.name}`: {', '.join(f'`{value}`' for value in p.values) if p.values else p.meaning}"
            for p in setup.parameters
        ]
        rows.append((f"`{setup.name}`", setup.summary, "<br>".join(parameters)))
    return table(("setup", "what it does", "parameters, the default first"), rows)


def fault_table() -> str:
    """Returns the table of faults and their keys."""
    rows = []
    for fault in faults().values():
        further = [
            f"`{key.name}` ({key.unit}{f', `{key.default}`' if key.default else ''}): {key.meaning}"
            for key in fault.keys
        ]
        rows.append((f"`{fault.verb}: {fault.target}`", fault.summary, "<br>".join(further)))
    return table(("fault", "what it does", "further keys"), rows)


def metrics() -> str:
    """Returns the names that an ``slo`` may bound."""
    groups: dict[str, list[str]] = {}
    for name in METRICS:
        group, _, last = name.rpartition(".")
        groups.setdefault(group, []).append(last)
    lines = [f"- `{group}.`" + ", ".join(f"`{last}`" for last in names) for group, names in groups.items() if group]
    return "\n".join(["- " + ", ".join(f"`{name}`" for name in groups[""]), *lines])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def quickstart() -> str:
    """Runs the quickstart; returns what it printed, as a fenced block."""
    command = [Path(sys.executable).parent / "brokerbench", "run", "quickstart", "--quiet"]
    environment = os.environ | {"COLUMNS": "110", "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if not done.stdout:
        sys.exit(done.stderr)
    return "```\n" + "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines()) + "\n```"


def main() -> None:
    """Writes the pages."""
    REFERENCE.write_text(reference())
    if "--quickstart" in sys.argv:
        README.write_text(replaced(README.read_text(), "output:quickstart", quickstart()))


if __name__ == "__main__":
    main()
