"""What the generator can do with a case's load on this machine, as ``calibrate`` has stored it.

Looked up when the load is over: no first message waits for it, and whatever is wrong with the file, the trial goes on without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from harness import calibrations
from harness.scenario.model import Agents, Case

LOAD = ("producers", "payload_bytes", "window", "batch", "tick_s", "style")
WORKERS = ("count", "prefetch", "ack", "settle_batch", "settle_linger_s")
"""What of a scenario decides how fast the generator can be; work and schedule are the scenario's own."""


def known_ceiling(fingerprint: Mapping[str, Any], case: Case, agents: Agents) -> float | None:
    """Returns messages per second; None where that was never measured here, or the load runs on other machines too."""
    found = None if agents.remote else calibrations.read(fingerprint)[0].ceiling(generator(case, agents))
    return None if found is None else found.rate_per_s


def generator(case: Case, agents: Agents) -> dict[str, Any]:
    """Returns all that decides how fast the generator can be, as JSON values: what is the same has the same ceiling."""
    load, workers = asdict(case.load), asdict(case.workers)
    return {
        **{name: load[name] for name in LOAD},
        "workers": {name: workers[name] for name in WORKERS},
        "agents": agents.local,
    }
