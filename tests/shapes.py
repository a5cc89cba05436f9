"""What several tests drive a broker with, and what they wait for: a short steady load, moments of a timeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.scenario.model import Load, Phases, Segment, Workers

Lines = list[dict[str, Any]]


def steady_load(rate_per_s: float, steady_s: float) -> Load:
    """Returns one producer at a constant rate, with small blocks and ticks that leave a small machine its time."""
    return Load(
        profile=(Segment(kind="constant", duration_s=steady_s, rates_per_s=(rate_per_s,)),),
        saturate_window=None,
        arrival="constant",
        producers=1,
        payload_bytes=128,
        window=1000,
        batch=256,
        tick_s=0.002,
        style="library",
        retry_attempts=0,
        retry_backoff_s=0.0,
    )


def idle_workers() -> Workers:
    """Returns two workers whose messages take no time."""
    return Workers(
        count=2,
        prefetch=50,
        ack="explicit",
        settle_batch=50,
        settle_linger_s=0.005,
        work="none",
        work_s=0.0,
        work_kind="sleep",
        visibility_s=1.0,
        sweep_s=0.2,
    )


def phases(steady_s: float) -> Phases:
    """Returns no warm-up, and a drain of 10 s at the most."""
    return Phases(warmup_s=0.0, steady_s=steady_s, drain_s=10.0)


def phase(name: str) -> Callable[[Lines], bool]:
    """True once the timeline has entered a phase."""
    return lambda lines: any(line.get("phase") == name for line in lines)


def struck(lines: Lines) -> bool:
    """True while the broker is dead: injected, not healed."""
    faults = [line["fault"] for line in lines if line["kind"] == "fault"]
    return bool(faults) and faults[-1]["healed_ns"] is None


def searched(lines: Lines) -> bool:
    """True when the load side has ended and the analysis runs."""
    return any(line["kind"] == "search" for line in lines)
