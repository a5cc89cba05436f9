"""What ``calibrate`` prints: how much identical trials differ, what a comparison can see because of it, and the generator's ceiling."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.analysis.ceiling import SHARE
from harness.analysis.signed_rank import FULL_LOOKS
from harness.gate import power
from harness.gate.noise import Calibration, Ceiling, Spread
from harness.gate.power import Sight
from harness.units import format_rate
from reports import words
from reports.encoding import writably
from reports.terminal import INDENT, print_indented, print_lines
from reports.words import NOT_MEASURED

MARGINS = (1.05, 1.10, 1.25)
SHOWN = (
    "throughput",
    "latency.end_to_end.p50",
    "latency.end_to_end.p99",
    "latency.end_to_end.p99_9",
    "latency.publish.p99",
    "latency.completion.p99",
    "recovery.longest_gap",
    "recovery.first_delivery",
    "recovery.p99",
    "recovery.backlog",
    "recovery.redelivery_max",
    "cost.broker_cpu",
    "cost.load_cpu",
    "cost.disk_bytes_per_message",
    "cost.broker_memory_peak",
)
UPPER = "at most: 95 % upper bound of the true noise, were it normal"
WIDE = 104
NARROW = 60
LEGEND = (
    "noise: standard deviation of ln(B/A) over pairs of identical trials (σ_d)",
    "5 %, 10 %, 25 %: with that margin, how much worse B must be to be seen (FAIL in 80 of 100 comparisons of 6, 10 and 16 pairs)",
    "! even identical code passes in fewer than 99 of 100; n pairs: no rule can have this margin, it would need so many pairs",
    "second: how the second trial of a pair came out beside the first",
)


def print_calibration(
    found: Sequence[Calibration], ceilings: Mapping[str, Ceiling], notes: Sequence[str], console: Console
) -> None:
    """Prints what a calibration has found; ``ceilings`` by case id. Signs that the console cannot write are told in others."""
    with writably(console):
        for each in found:
            _print_case(each, console)
        console.print()
        _print_legend(console)
        _print_ceilings(ceilings, console)
        if notes:
            console.print()
            console.print(Text("What to know", style="bold underline"))
            print_lines(notes, INDENT, console)
        console.print()


def _print_legend(console: Console) -> None:
    noise, *others = LEGEND
    for line in (noise, *([UPPER] if console.width >= WIDE else []), *others):
        print_indented(Text(line, style="dim"), INDENT, console)


def _print_case(found: Calibration, console: Console) -> None:
    console.print()
    console.print(
        Text(f"{found.case}: {found.pairs} pairs of identical trials", style="bold underline", overflow="fold")
    )
    rows = [(metric, spread) for metric in SHOWN if (spread := found.spread(metric)) is not None]
    if not rows:
        print_lines(["no figure was measured in every trial: there is no noise to tell"], INDENT, console)
    elif console.width < NARROW:
        print_lines(_stacked(rows), INDENT, console)
    else:
        print_indented(_table(rows, wide=console.width >= WIDE), INDENT, console)


@dataclass(frozen=True, slots=True)
class _Line:
    middle: str
    noise: str
    upper: str
    seen: tuple[str, ...]
    second: str


def _line(metric: str, spread: Spread) -> _Line:
    return _Line(
        middle=words.figure(metric, spread.middle),
        noise=share(spread.sigma_d),
        upper=share(spread.sigma_d_upper),
        seen=tuple(least_seen(spread.sigma_d, margin) for margin in MARGINS),
        second=f"{100 * (spread.order_effect - 1):+.1f} %",
    )


def share(value: float) -> str:
    """Returns a share of 1 as printed: ``4.8 %``."""
    return f"{100 * value:.3g} %" if value < 1 else f"{100 * value:.0f} %"


def least_seen(sigma_d: float, margin: float) -> str:
    """Returns how much worse B must be to be seen at a margin, or how many pairs that would need at this noise."""
    sight = power.sight(sigma_d, margin)
    if sight is Sight.BLIND:
        return f"{power.pairs_needed(sigma_d, margin)} pairs"
    least = power.detectable(FULL_LOOKS, margin, sigma_d)
    return f"{'! ' if sight is Sight.POOR else ''}{share(least - 1) if math.isfinite(least) else NOT_MEASURED}"


def _margin(margin: float) -> str:
    return f"{100 * (margin - 1):.0f} %"


def _table(rows: Iterable[tuple[str, Spread]], *, wide: bool) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    headings = [
        *(["middle"] if wide else []),
        "noise",
        *(["at most"] if wide else []),
        *map(_margin, MARGINS),
        "second",
    ]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for metric, spread in rows:
        told = _line(metric, spread)
        cells = [told.middle, told.noise, told.upper] if wide else [told.noise]
        table.add_row(Text(metric), *map(Text, [*cells, *told.seen, told.second]))
    return table


def _stacked(rows: Iterable[tuple[str, Spread]]) -> Iterable[str]:
    for metric, spread in rows:
        told = _line(metric, spread)
        seen = ", ".join(f"at {_margin(margin)}: {cell}" for margin, cell in zip(MARGINS, told.seen, strict=True))
        yield f"{metric}: {told.middle}, noise {told.noise}; seen {seen}; second {told.second}"


def _print_ceilings(ceilings: Mapping[str, Ceiling], console: Console) -> None:
    told: dict[float, list[str]] = {}
    for case, each in ceilings.items():
        told.setdefault(each.rate_per_s, []).append(case)
    if told:
        console.print()
        console.print(Text("What the generator can do here", style="bold underline"))
    for rate, cases in told.items():
        whose = "all cases" if len(cases) == len(ceilings) > 1 else ", ".join(cases)
        least = format_rate(SHARE * rate)
        print_lines([f"{whose}: {format_rate(rate)} on the null broker; runs above {least} say so"], INDENT, console)
