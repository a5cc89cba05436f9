"""From the values of the tables to the frozen model: what several keys say together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.scenario.model import Load, Phases, Segment, Workers
from harness.scenario.problems import Report
from harness.scenario.replay import EXPECTED, read_times_s
from harness.scenario.shapes import BAD
from harness.scenario.source import Node

Values = Mapping[str, Any]

RETRY_BACKOFF_S = 0.1
EXPANDING = ("prefetch", "idempotency")
"""Keys of ``workers`` that may be a list."""


def load_of(values: Values, root: Node, report: Report) -> Load | None:
    """Returns the load without its rate where ``rate`` is a constant piece of a length that phases tell; None if BAD."""
    if BAD in values.values():
        return None
    profile = _profile(values["profile"], root, report) if values["profile"] is not None else ()
    if profile is None:
        return None
    retry = values["retry"] or {"attempts": 0, "backoff": RETRY_BACKOFF_S}
    saturate = values["saturate"]
    if BAD in retry.values() or (saturate is not None and BAD in saturate.values()):
        return None
    window = values["window"] if saturate is None else saturate["window"]
    return Load(
        profile=profile,
        saturate_window=None if saturate is None else window,
        arrival=values["arrival"],
        producers=values["producers"],
        payload_bytes=values["payload"],
        window=window,
        batch=values["batch"],
        tick_s=values["tick"],
        style=values["style"],
        retry_attempts=retry["attempts"],
        retry_backoff_s=retry["backoff"],
    )


def ceiling_of(load: Load | None, values: Values) -> Load | None:
    """Returns the same load in closed loop where ``ceiling`` asks for it beside the rate; None where it does not, or cannot be told."""
    asked = values["ceiling"]
    if load is None or asked is None or asked is BAD or BAD in asked.values():
        return None
    return replace(load, profile=(), saturate_window=asked["window"], window=asked["window"])


def _profile(pieces: tuple[tuple[str, Values], ...], root: Node, report: Report) -> tuple[Segment, ...] | None:
    listed = root.entries["load"].entries["profile"].items
    segments = [
        None if BAD in values.values() else _segment(kind, values, node, report)
        for (kind, values), node in zip(pieces, listed, strict=True)
    ]
    whole = tuple(segment for segment in segments if segment is not None)
    return whole if len(whole) == len(segments) else None


def _segment(kind: str, values: Values, node: Node, report: Report) -> Segment | None:
    if kind == "replay":
        return _replay(values, node, report)
    rates = values[kind]
    if kind == "sine" and rates[0] > rates[1]:
        place = node.entries["sine"]
        report.add(place.place, place.path, "the lowest rate stands after the highest", expected="[lowest, highest]")
        return None
    return Segment(
        kind=kind,
        duration_s=values["for"],
        rates_per_s=rates if isinstance(rates, tuple) else (rates,),
        period_s=values.get("period", 0.0),
    )


def _replay(values: Values, node: Node, report: Report) -> Segment | None:
    written = node.entries["replay"]
    folder = Path(written.place.file).parent if written.place.file else Path()
    path = folder / values["replay"]
    try:
        times_s = read_times_s(path)
    except ValueError as error:
        report.add(written.place, written.path, f"the file {path}: {error}", expected=EXPECTED)
        return None
    duration_s = values["for"] or math.floor(times_s[-1] * 1000 + 1) / 1000  # up to the next whole ms
    return Segment(kind="replay", duration_s=duration_s, times_s=tuple(t for t in times_s if t < duration_s))


def workers_of(values: Values) -> tuple[tuple[Workers, Values], ...] | None:
    """Returns the workers of each case, and the values of the keys that were written as lists; None if a value is BAD."""
    settle, work = values["settle"], values["work"]
    if BAD in values.values() or BAD in settle.values() or (isinstance(work, dict) and BAD in work.values()):
        return None
    kind, work_s = "none", 0.0
    if isinstance(work, dict):
        kind = next((name for name, mean in work.items() if mean is not None), "none")
        work_s = work.get(kind) or 0.0
    workers = Workers(
        count=values["count"],
        prefetch=values["prefetch"],
        ack=values["ack"],
        settle_batch=settle["batch"],
        settle_linger_s=settle["linger"],
        work=kind,
        work_s=work_s,
        work_kind=values["kind"],
        visibility_s=values["visibility"],
        sweep_s=values["sweep"],
        idempotency=values["idempotency"],
    )
    lists = {name: values[name] for name in EXPANDING if isinstance(values[name], tuple)}
    combinations = [dict(zip(lists, chosen, strict=True)) for chosen in itertools.product(*lists.values())]
    return tuple((replace(workers, **chosen), chosen) for chosen in combinations)


def timed(load: Load | None, rate_per_s: Any, phases: Values, root: Node) -> tuple[Load | None, Phases | None]:
    """Returns load and phases with the length of *steady* settled between them; None for what cannot be told."""
    if BAD in phases.values():
        return load, None
    steady_s = phases["steady"]
    if load is None:
        if "profile" in root.nearest("load").entries:
            return None, None
    elif load.profile:
        steady_s = math.fsum(segment.duration_s for segment in load.profile)
    elif isinstance(rate_per_s, float):
        load = replace(load, profile=(Segment(kind="constant", duration_s=steady_s, rates_per_s=(rate_per_s,)),))
    return load, Phases(warmup_s=phases["warmup"], steady_s=steady_s, drain_s=phases["drain"])
