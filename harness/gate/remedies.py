"""What to write instead of what a rules file says wrongly: metrics, margins, faults and sizes as they were probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence

from harness.metrics import METRICS, PERCENTILES
from harness.scenario.problems import did_you_mean

_LATENCY = re.compile(
    r"(?:(?:latency|latencies|e2e|end[-_]?to[-_]?end)(?:\.|$))*(p[0-9]+(?:[._][0-9]+)?|max|mean|median)?"
)
FAMILIES = tuple(dict.fromkeys(name.partition(".")[0] for name in METRICS))
_MEANT = "latency.end_to_end"
"""The latency that is meant where none is named."""

_BESIDE = {"p95": ("p90", "p99"), "p999": ("p99_9",), "mean": ("p50",), "median": ("p50",), "": ("p99",)}


def metric(name: str) -> str:
    """Returns the remedy for the name of a metric that does not exist: the nearest ones, or where all are told."""
    near = _latency(name.lower()) or _of_a_family(name.lower()) or _alike(name.lower())
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"docs/scenario-reference.md names the metrics; they begin with {', '.join(FAMILIES)}"


def _latency(name: str) -> list[str]:
    """Returns the end-to-end latencies where a percentile was written without saying of what."""
    found = _LATENCY.fullmatch(name)
    if found is None:
        return []
    asked = (found[1] or "").replace(".", "_")
    return [f"{_MEANT}.{each}" for each in _BESIDE.get(asked, (asked,)) if each in PERCENTILES]


def _of_a_family(name: str) -> list[str]:
    """Returns the first metrics of a family, or of a part of it, where only that was written."""
    begun = [known for known in METRICS if known.startswith(f"{name}.")]
    return begun[:2] if len(begun) > 1 else begun


def _alike(name: str) -> list[str]:
    return difflib.get_close_matches(name, METRICS, n=3, cutoff=0.6)


def margin(value: str | float) -> str:
    """Returns the remedy for a share without its unit: below 1 it may have been meant as a ratio."""
    number = float(value)
    as_written = f"'{str(value).strip()}%'"
    return (
        f"write '{number * 100:g}%', or {as_written} if so little is meant" if 0 < number < 1 else f"write {as_written}"
    )


def fault(name: str, kinds: Collection[str]) -> str:
    """Returns the remedy for the name of a fault that does not exist, also where only its words stand in another order."""
    words = sorted(re.findall(r"[a-z]+", name.lower()))
    same: Sequence[str] = [kind for kind in kinds if sorted(re.findall(r"[a-z]+", kind)) == words]
    return f"did you mean {same[0]!r}?" if same else did_you_mean(name, kinds)


def example(name: str) -> str:
    """Returns a size of a metric as it is written."""
    return {"s": "2 ms", "count": "10", "ratio": "1 %", "B": "10 B", "s/million": "1 s", "/s": "10/s"}[
        METRICS[name].unit
    ]
