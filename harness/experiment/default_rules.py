"""The rules of an ``ab`` for which none are written: how much or how late, by the case's load, and that nothing confirmed is lost."""

from __future__ import annotations

from collections.abc import Iterator

from harness.gate.rules import AbsoluteRule, RelativeRule, Rule
from harness.scenario.model import Case, Scenario
from harness.schedule import expected_messages

BEYOND = {"p99": 10_000, "p90": 1_000, "p50": 200}
"""Percentile → messages that it stands on, so that a hundred lie beyond it."""
MARGIN = 1.2
"""How many times as many are to be expected: faults and a warm-up take their part."""


def default_rules(scenario: Scenario, max_ratio: float) -> tuple[Rule, ...]:
    """Returns the rules: throughput in closed loop, else the highest percentile of the end-to-end latency that has messages enough;
    and ``loss.confirmed == 0``.

    Args:
        max_ratio: tolerated, e.g. 1.25 for 25 % worse.
    """
    return (
        *_relative(scenario, max_ratio),
        AbsoluteRule(id="no-loss", metric="loss.confirmed", relation="==", limit=0.0, text="== 0"),
    )


def _relative(scenario: Scenario, max_ratio: float) -> Iterator[Rule]:
    metrics = {case.id: _metric(scenario, case) for case in scenario.cases}
    for metric in dict.fromkeys(metrics.values()):
        ids = [case_id for case_id, each in metrics.items() if each == metric]
        alone = len(ids) < len(metrics)
        for case_id in ids if alone else ["*"]:
            name = metric.removeprefix("latency.end_to_end.")
            yield RelativeRule(id=name, metric=metric, case=case_id, max_ratio=max_ratio)


def _metric(scenario: Scenario, case: Case) -> str:
    if case.load.saturate_window is not None:
        return "throughput"
    messages = expected_messages(case.load, scenario.phases, from_s=scenario.phases.warmup_s)
    enough = [name for name, needed in BEYOND.items() if messages >= needed * MARGIN]
    return f"latency.end_to_end.{enough[0] if enough else 'p50'}"
