"""A scenario in plain values for ``run.json``, and in words for ``brokerbench check``."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from harness.scenario.model import FaultEntry, Load, Scenario, Segment
from harness.schedule import expected_messages
from harness.units import format_bytes, format_count, format_duration, format_rate

_PLACES = {"container": "in a container", "host": "on this machine"}
RECOVERY_S = 3.0
"""Load after a fault of the broker was healed, below which a recovery can hardly be seen."""
HELD = ("restart_after", "for", "replace_after")
"""Keys of faults that say for how long one lasts."""
STARTING_S = 3.0  # start, health, residue search and analysis of one trial, about


def as_dict(scenario: Scenario) -> dict[str, Any]:
    """Returns every key with defaults filled in, in base units, as JSON values; what is the same question gives the same dict.

    A replay is given by the number of its times and their hash. What of the workers was written as a list stands with each case.
    """
    load = asdict(scenario.load)
    load["profile"] = [_segment(segment) for segment in scenario.load.profile]
    return {
        "name": scenario.name,
        "question": scenario.question,
        "expect": scenario.expect,
        "deployment": scenario.deployment,
        "address": scenario.address.shown() if scenario.address else None,
        "cases": [
            {
                "id": c.id,
                "setup": c.setup.name,
                "parameters": dict(c.all_parameters),
                "network": c.network,
                **({"client": c.site.client} if c.site.network else {}),
                "workers": dict(c.varied),
                **({"ceiling": c.load.saturate_window} if c.ceiling else {}),
            }
            for c in scenario.cases
        ],
        "load": load,
        "workers": {k: v for k, v in asdict(scenario.workers).items() if k not in scenario.cases[0].varied},
        "phases": asdict(scenario.phases),
        "faults": [
            {"at_s": f.at_s, "verb": f.verb, "target": f.target, "settings": dict(f.settings)} for f in scenario.faults
        ],
        "trials": scenario.trials,
        "agents": asdict(scenario.agents),
        "seed": scenario.seed,
        "slo": [asdict(bound) for bound in scenario.slo],
    }


def _segment(segment: Segment) -> dict[str, Any]:
    fields: dict[str, Any] = {"kind": segment.kind, "duration_s": segment.duration_s}
    if segment.kind == "replay":
        digest = hashlib.sha256(np.asarray(segment.times_s, "<f8").tobytes()).hexdigest()
        return {**fields, "times": len(segment.times_s), "times_sha256": digest}
    fields["rates_per_s"] = list(segment.rates_per_s)
    return {**fields, "period_s": segment.period_s} if segment.kind == "sine" else fields


def expected_trial_s(scenario: Scenario) -> float:
    """Returns about how long one trial takes: the load, the quiet time of the drain, start and end."""
    return scenario.phases.warmup_s + scenario.phases.steady_s + scenario.longest_hold_s + STARTING_S


def expected_run_s(scenario: Scenario) -> float:
    """Returns about how long the whole run takes."""
    return expected_trial_s(scenario) * scenario.trials * len(scenario.cases)


def describe(scenario: Scenario) -> str:
    """Returns what a run would do, a few lines for people."""
    return "\n".join(_lines(scenario))


def _lines(scenario: Scenario) -> Iterator[str]:
    load, workers, phases = scenario.load, scenario.workers, scenario.phases
    yield f"{scenario.name}: {scenario.question}"
    if scenario.expect:
        yield f"expect: {scenario.expect}"
    yield f"cases ({len(scenario.cases)}):"
    yield from (f"  {case.id}" for case in scenario.cases)
    yield f"deployment: {scenario.deployment}{_grounds(scenario)}"
    producers, count = _plural(load.producers, "producer"), _plural(workers.count, "worker")
    if scenario.address:
        yield f"brokers: {', '.join(scenario.address.shown().values())}, as found"
    windows = dict.fromkeys(f", and {_load(case.load)}" for case in scenario.cases if case.ceiling)
    offered = "".join([_load(load), *windows])
    yield f"load: {offered} of {format_bytes(load.payload_bytes)} from {producers}; {count}, {_prefetch(scenario)}"
    yield f"phases: warm-up {_exactly(phases.warmup_s)}, steady {_exactly(phases.steady_s)}, drain up to {_exactly(phases.drain_s)}"
    if load.profile:
        yield f"messages: about {format_count(expected_messages(load, phases))} per trial"
    for fault in scenario.faults:
        settings = "".join(f", {k}: {_setting(k, v)}" for k, v in fault.settings.items())
        yield f"fault: {fault.label} at {_exactly(fault.at_s)}{settings}"
        if fault.target == "broker" and (left_s := phases.steady_s - _healed_s(fault)) < RECOVERY_S:
            yield f"warning: {_exactly(max(left_s, 0.0))} of load after that fault: too short to see a recovery; make phases.steady longer"
    for bound in scenario.slo:
        yield f"slo: {bound.metric} {'at least' if bound.at_least else 'at most'} {bound.text}"
    trials = _plural(scenario.trials * len(scenario.cases), "trial")
    yield f"time: about {_s(expected_run_s(scenario))} ({trials} of about {_s(expected_trial_s(scenario))})"


def _grounds(scenario: Scenario) -> str:
    """Returns the networks, and where the load runs, where the deployment leaves a choice."""
    clients: dict[str, dict[str, None]] = {}
    for site in (case.site for case in scenario.cases if case.site.network):
        clients.setdefault(_PLACES[site.client], {})[site.network] = None
    return "".join(f"; on {', '.join(networks)} with the load {place}" for place, networks in clients.items())


def _prefetch(scenario: Scenario) -> str:
    values = dict.fromkeys(case.workers.prefetch for case in scenario.cases)
    return f"prefetch {', '.join(map(str, values))}"


def _load(load: Load) -> str:
    if load.saturate_window is not None:
        return f"closed loop, {load.saturate_window} outstanding"
    return f"{load.arrival} {', then '.join(_words(segment) for segment in load.profile)}"


def _words(segment: Segment) -> str:
    if segment.kind == "replay":
        return f"replay of {format_count(len(segment.times_s))} times"
    rates = " … ".join(format_rate(rate) for rate in segment.rates_per_s)
    return rates if segment.kind == "constant" else f"{segment.kind} {rates}"


def _healed_s(fault: FaultEntry) -> float:
    """Returns when it is healed, in s after the start of steady; −inf where nobody asks for that."""
    held = [fault.settings[key] for key in HELD if key in fault.settings]
    if None in held:
        return -math.inf
    repeats = float(fault.settings.get("every") or 0) * (int(fault.settings.get("count") or 1) - 1)
    return fault.at_s + sum(map(float, filter(None, held))) + repeats


def _setting(key: str, value: float | int | None) -> str:
    if value is None:
        return "never"
    return str(value) if key == "count" else _exactly(float(value))


def _exactly(value_s: float) -> str:
    """Returns what the scenario asks for, without rounding: ``6.999 s``, ``250 ms``, ``20 µs``."""
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if 0 < value_s * factor < 1000:
            return f"{value_s * factor:.12g} {unit}"
    return f"{value_s:.12g} s"


def _s(value_s: float) -> str:
    return format_duration(value_s)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
