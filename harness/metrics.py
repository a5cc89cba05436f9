"""The names of all figures (``record.md``, Metric names): the same in run.json, SLOs, rules, JSON output and docs.

Floor 0. What each figure means is defined in ``measurement.md``; this says how it is called, its unit, and which way is better.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.model import Class, Mark


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One figure.

    Args:
        name: e.g. ``latency.end_to_end.p99``.
        unit: ``s``, ``/s``, ``count``, ``ratio`` (share of 1), ``B``, or ``s/million`` (seconds per million messages).
        higher_is_better: True where an SLO is a lower bound.
        meaning: one line for the reference.
    """

    name: str
    unit: str
    meaning: str
    higher_is_better: bool = False

    @property
    def can_be_zero(self) -> bool:
        """Whether 0 is a figure like any other: a ratio then needs a size below which figures do not differ (``min_abs``)."""
        return self.unit in ("count", "s/million") or self.name.startswith(_CAN_BE_ZERO)

    @property
    def resolution(self) -> float:
        """The steps in which it is measured, in its unit; 0 = next to none."""
        return _RESOLUTION.get(self.name, 0.0)


_CAN_BE_ZERO = ("loss.", "blocked", "lag.", "recovery.first_", "recovery.p99", "recovery.backlog", "cost.disk")
_RESOLUTION = {"recovery.p99": 1.0, "recovery.backlog": 1.0}  # they are found in slices of a second

PERCENTILES = ("p50", "p90", "p99", "p99_9", "max")
_LATENCIES = {
    "end_to_end": "first receipt by a worker after the message was due",
    "publish": "broker's confirm after the message was due",
    "completion": "first finished work after the message was due",
}
_RATES = {
    "offered": "messages due",
    "achieved": "settled as a share of offered",
    "confirmed": "messages confirmed by the broker",
    "delivered": "first receipts by a worker",
    "settled": "messages settled",
}
_RECOVERY = {
    "longest_gap": "longest time without a delivery around the fault",
    "first_delivery": "from heal to the first delivery",
    "p99": "from heal until the p99 latency is back to its baseline and the backlog at its level",
    "backlog": "from heal until the backlog is at its level",
    "redelivery_p50": "from a worker's death to the second receipt of what it held, median",
    "redelivery_max": "from a worker's death to the second receipt of what it held, longest",
}
_COST_OF = ", from the load's start until the last message was settled"


def _all() -> Iterator[Metric]:
    yield Metric(
        name="throughput", unit="/s", higher_is_better=True, meaning="messages whose work finished for the first time"
    )
    for name, meaning in _RATES.items():
        unit = "ratio" if name == "achieved" else "/s"
        yield Metric(name=f"rate.{name}", unit=unit, higher_is_better=True, meaning=meaning)
    for name, meaning in _LATENCIES.items():
        for view, since in (("", meaning), (".from_sent", meaning.replace("was due", "was sent"))):
            for percentile in PERCENTILES:
                yield Metric(name=f"latency.{name}{view}.{percentile}", unit="s", meaning=since)
    for percentile in ("p50", "p99", "p99_9", "max"):
        yield Metric(name=f"lag.{percentile}", unit="s", meaning="sent after due, of messages that were not held")
    yield Metric(name="loss.confirmed", unit="count", meaning="confirmed messages that were lost")
    yield Metric(name="loss.ratio", unit="ratio", meaning="lost as a share of confirmed")
    yield Metric(name="loss.confirmed_upper_95", unit="count", meaning="95 % upper bound of lost, if independent")
    for each in Class:
        yield Metric(name=f"class.{each.value}", unit="count", meaning=f"identities of class {each.value}")
    for mark in Mark:
        yield Metric(name=f"mark.{mark.value}", unit="count", meaning=f"times that {mark.value} was marked")
    yield Metric(name="blocked", unit="s", meaning="time for which due messages were held")
    for name, meaning in _RECOVERY.items():
        yield Metric(name=f"recovery.{name}", unit="s", meaning=f"{meaning}; of every fault")
    yield Metric(name="backlog.max", unit="count", meaning="most messages sent and not settled")
    yield Metric(name="backlog.end", unit="count", meaning="messages sent and not settled at the end of the load")
    yield Metric(
        name="cost.broker_cpu", unit="s/million", meaning=f"CPU seconds of the broker per million messages{_COST_OF}"
    )
    yield Metric(
        name="cost.load_cpu", unit="s/million", meaning=f"CPU seconds of the load per million messages{_COST_OF}"
    )
    yield Metric(
        name="cost.disk_bytes_per_message", unit="B", meaning=f"bytes that the broker wrote per message{_COST_OF}"
    )
    yield Metric(
        name="cost.broker_memory_peak",
        unit="B",
        meaning="memory of the broker, highest sample of one every half second",
    )


METRICS: dict[str, Metric] = {metric.name: metric for metric in _all()}
"""All figures by name, in the order in which reports list them."""
