"""The table *Networks*: one setup at several sites of the same run, each figure beside its ratio to the bridge.

Only sites of one setup with the same parameters are compared, and only trials that count: a figure of a case without a valid trial
stands there without a ratio. Where each case ran once more in closed loop (``load.ceiling``), its throughput stands before the figures at the rate.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.model import TrialStatus
from harness.record import CaseRecord, Figure, RunRecord
from harness.units import format_duration, format_rate
from reports import figures, words
from reports.containers import site

TITLE = "Networks"
BASE = ("bridge", "container")
"""Network and place of the load that the others are compared with."""
NOTES = {
    "ceiling": "ceiling: in closed loop, in a trial of its own; the other figures are those at the scenario's rate",
    "cost": f"CPU {words.COST}",
    "ratio": "×: times the same figure on the bridge with the load in a container",
    "overlay": "overlay: broker and load are on one machine, so nothing crosses VXLAN; between machines an overlay costs more",
    "host": "load on the host: it comes through the published port; the CPU of Docker's proxy there is in neither figure",
    "once": "one trial each: what is chance cannot be told; repeat with --trials 5",
    "middle": "several trials: of each figure the middle one (of two, the worse)",
    "invalid": "without a valid trial nothing is compared",
    "filling": "filling, draining: the backlog grew or shrank, so the throughput is not compared",
}


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of the table: its heading, the metric of ``record.md``, and whether it is that of the case in closed loop."""

    heading: str
    metric: str
    ceiling: bool = False


OPEN = (Compared("e2e p50", "latency.end_to_end.p50"), Compared("e2e p99", "latency.end_to_end.p99"))
CLOSED = (Compared("confirmed", "rate.confirmed"), Compared("throughput", "throughput"))
CEILING = tuple(Compared(f"ceiling: {each.heading}", each.metric, ceiling=True) for each in CLOSED)
COST = (Compared("broker CPU per message", "cost.broker_cpu"), Compared("load CPU per message", "cost.load_cpu"))


@dataclass(frozen=True, slots=True)
class Row:
    """One site: its words, and a cell for each heading; ``ratios`` are the cells' to the bridge, None where nothing is compared."""

    site: str
    cells: tuple[str, ...]
    ratios: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """The whole table; ``groups`` are the rows of each setup under its name."""

    headings: tuple[str, ...]
    groups: tuple[tuple[str, tuple[Row, ...]], ...]
    notes: tuple[str, ...]


def comparison(record: RunRecord) -> Comparison | None:
    """Returns the table, None where no setup was measured at two sites."""
    return comparison_of(record.cases, closed_loop=_closed_loop(record))


def comparison_of(every: Sequence[CaseRecord], *, closed_loop: bool) -> Comparison | None:
    """Returns the table of the cases of one run; ``closed_loop``: they were not offered a rate."""
    groups = {label: cases for label, cases in by_setup(every).items() if len({*map(site, cases)}) > 1}
    if not groups:
        return None
    ceilings = any(case.ceiling for cases in groups.values() for case in cases)
    compared = (*(CEILING if ceilings else ()), *(CLOSED if closed_loop else OPEN), *COST)
    told = tuple((label, _rows(cases, compared)) for label, cases in groups.items())
    shown = [case for cases in groups.values() for case in cases]
    return Comparison(tuple(each.heading for each in compared), told, _notes(shown, told))


def by_setup(every: Sequence[CaseRecord]) -> dict[str, list[CaseRecord]]:
    """Returns the measured cases that differ in nothing but their site and loop, by what they share of their ids."""
    groups: dict[str, list[CaseRecord]] = {}
    for case in every:
        if case.client and figures.counted(case):
            groups.setdefault(_without_loop(case), []).append(case)
    return groups


def _without_loop(case: CaseRecord) -> str:
    """Returns a case's id before its site, without what says that it ran in closed loop."""
    label = case.id.rpartition("@")[0]
    return re.sub(r"\[load=ceiling\]$|,load=ceiling(?=\]$)", "", label) if case.ceiling else label


def _closed_loop(record: RunRecord) -> bool:
    return record.scenario_expanded.get("load", {}).get("saturate_window") is not None


def _rows(cases: list[CaseRecord], compared: tuple[Compared, ...]) -> tuple[Row, ...]:
    found = {(site(case), case.ceiling): case for case in cases}
    bases = {case.ceiling: case for case in cases if (case.network, case.client) == BASE}
    return tuple(
        Row(place, tuple(text for text, _ in told), tuple(ratio for _, ratio in told))
        for place in dict.fromkeys(map(site, cases))
        for told in [
            [_cell(found.get((place, each.ceiling)), bases.get(each.ceiling), each.metric) for each in compared]
        ]
    )


def _cell(case: CaseRecord | None, base: CaseRecord | None, metric: str) -> tuple[str, float | None]:
    """Returns the words of a figure, and its ratio to the base's."""
    if case is None:
        return words.NOT_MEASURED, None
    value = figures.over_trials(case, metric).middle
    text = _figure(metric, value)
    if not _is_valid(case):
        return f"{text} ({words.INVALID.word})", None
    label = _label(case, metric)
    if label:
        return f"{text} ({label})", None
    if base is None or not _is_valid(base) or _label(base, metric):
        return text, None
    ratio = _ratio(value, figures.over_trials(base, metric).middle)
    return (text if ratio is None else f"{text} ×{ratio:.2f}"), ratio


def _figure(metric: str, value: Figure | None) -> str:
    if isinstance(value, float) and metric.startswith("cost."):
        return format_duration(value / 1e6)  # seconds per million messages are microseconds per message
    if isinstance(value, float) and metric.startswith("rate."):
        return format_rate(value)
    return words.figure(metric, value)


def _ratio(value: Figure | None, base: Figure | None) -> float | None:
    """Returns the ratio of two figures that are numbers; of what is censored or unknown there is none."""
    return value / base if isinstance(value, float) and isinstance(base, float) and base > 0 else None


def _label(case: CaseRecord, metric: str) -> str:
    """Returns why a throughput is not compared: its backlog grew or shrank."""
    if metric != "throughput":
        return ""
    window = figures.over_trials(case, metric).window
    labels = {trial.throughput_label.get(window, "") for trial in figures.counted(case)} - {"", "sustained"}
    return ", ".join(sorted(labels))


def _is_valid(case: CaseRecord) -> bool:
    return any(trial.status is TrialStatus.VALID for trial in case.trials)


def _notes(cases: list[CaseRecord], told: tuple[tuple[str, tuple[Row, ...]], ...]) -> tuple[str, ...]:
    cells = " ".join(cell for _, rows in told for row in rows for cell in row.cells)
    holds = {
        "ceiling": any(case.ceiling for case in cases),
        "cost": any(
            isinstance(figures.over_trials(case, each.metric).middle, float) for case in cases for each in COST
        ),
        "ratio": "×" in cells,
        "overlay": any(case.network == "overlay" for case in cases),
        "host": any(case.client == "host" and case.network != "host" for case in cases),
        "once": all(len(case.trials) == 1 for case in cases),
        "middle": any(len(case.trials) > 1 for case in cases),
        "invalid": not all(_is_valid(case) for case in cases),
        "filling": "filling" in cells or "draining" in cells,
    }
    return tuple(NOTES[name] for name, true in holds.items() if true)
