"""What ``doctor`` prints: a line per finding under its group, what it means, and the remedy where something is not as it should be.

Every verdict is a sign and a word, so that nothing depends on colour. All text goes through :class:`rich.text.Text`: a version or
a path may hold brackets, which rich would take for markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.doctor.finding import Diagnosis, Finding, Rating
from reports.encoding import writably

INDENT = 2
NARROW = 60
"""Columns below which sign, name and what was found stand under each other."""
_SIGNS = {Rating.OK: ("✓", "green"), Rating.WORSE: ("▼", "yellow"), Rating.UNKNOWN: ("?", "yellow")}


def print_diagnosis(diagnosis: Diagnosis, console: Console) -> None:
    """Prints a diagnosis; signs that the console cannot write are told in others."""
    with writably(console):
        _print(diagnosis, console)


def _print(diagnosis: Diagnosis, console: Console) -> None:
    console.print(Text(f"brokerbench {diagnosis.tool_version}: what this machine can do", style="bold"))
    names = max(len(finding.what) for finding in diagnosis.findings)
    for group, findings in groupby(diagnosis.findings, key=lambda finding: finding.group):
        console.print()
        console.print(Text(group, style="bold underline"))
        console.print(
            Padding(_table(list(findings), names, narrow=console.width < NARROW), (0, 0, 0, INDENT), expand=False)
        )
    console.print()
    console.print(Text(_conclusion(diagnosis), style="bold"))


def _table(findings: Sequence[Finding], names: int, *, narrow: bool) -> Table:
    table = Table.grid(padding=(0, 1))
    if narrow:
        table.add_column(overflow="fold")
        for finding in findings:
            sign, style = _sign(finding)
            table.add_row(Text(f"{sign} {finding.verdict.value}: {finding.what}", style=style))
            table.add_row(Padding(_told(finding), (0, 0, 0, INDENT)))
        return table
    table.add_column(no_wrap=True, min_width=len("? unknown"))
    table.add_column(no_wrap=True, min_width=names)
    table.add_column(overflow="fold")
    for finding in findings:
        sign, style = _sign(finding)
        table.add_row(Text(f"{sign} {finding.verdict.value}", style=style), Text(finding.what), _told(finding))
    return table


def _sign(finding: Finding) -> tuple[str, str]:
    """Returns sign and style; what is missing is bad only where it is needed now."""
    if finding.verdict is Rating.MISSING:
        return ("✗", "bold red") if finding.required else ("○", "yellow")
    return _SIGNS[finding.verdict]


def _told(finding: Finding) -> Text:
    """Returns what was found, and what it means: on the same line where all is well."""
    text = Text.assemble((finding.value, "bold"))
    if finding.meaning:
        text.append(f"{' · ' if finding.verdict is Rating.OK else chr(10)}{finding.meaning}")
    if finding.remedy:
        text.append(f"\nremedy: {finding.remedy}", style="cyan")
    return text


def _conclusion(diagnosis: Diagnosis) -> str:
    if diagnosis.quickstart:
        return "The quickstart can run here: brokerbench run quickstart"
    verdict = Rating.UNKNOWN if diagnosis.quickstart is None else Rating.MISSING
    whats = ", ".join(f.what for f in diagnosis.findings if f.required and f.verdict is verdict)
    if diagnosis.quickstart is None:
        return f"Whether the quickstart can run here cannot be told: {whats}"
    return f"The quickstart cannot run here: {whats}"
