"""``python -m benchmarks [name …]``: runs every benchmark in a process of its own and prints one table (``make bench``).

A benchmark is a module beside this one that can be run as a script: it prints JSON objects, one per line, and ends with 0 where
every bar is met, else with 1. Words in an object say what was measured, numbers are the figures, with the unit in their name.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent


def main(wanted: list[str]) -> int:
    """Runs the benchmarks named, else all; returns 1 where a bar is missed or a benchmark breaks."""
    names = sorted(path.stem for path in HERE.glob("[a-z]*.py"))
    if unknown := set(wanted) - set(names):
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; expected some of {', '.join(names)}")
    console = Console()
    table = Table("benchmark", "what", "measured", box=None, header_style="bold", pad_edge=False)
    missed = []
    for name in wanted or names:
        console.print(f"{name} …", style="dim")
        done = subprocess.run(
            [sys.executable, "-P", HERE / f"{name}.py"], cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            missed.append(name)
        for index, line in enumerate(done.stdout.splitlines()):
            table.add_row("" if index else name, *row(line))
    console.print(table)
    if missed:
        console.print(f"bar missed: {', '.join(missed)}", style="bold red")
    return int(bool(missed))


def row(line: str) -> tuple[str, str]:
    """Returns what one line says was measured, and the figures."""
    try:
        found = json.loads(line)
    except ValueError:
        return line, ""
    pairs = list(flat(found))
    words = [str(value) for _, value in pairs if isinstance(value, str)]
    figures = [f"{name} {number(value)}" for name, value in pairs if not isinstance(value, str)]
    return " · ".join(words), " · ".join(figures)


def flat(found: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yields a nested object as dotted names and plain values."""
    if not isinstance(found, Mapping):
        yield prefix, found
        return
    for name, value in found.items():
        yield from flat(value, f"{prefix}.{name}" if prefix else name)


def number(value: object) -> str:
    """Returns a figure for people: yes and no, thousands, three digits."""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
