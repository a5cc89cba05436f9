"""What a search for the capacity is asked, and the scenario of each of its trials: the case's own, with one rate and no faults.

Neighbour: ``capacity`` runs them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from harness.analysis.capacity import P99, WARMUP_S, is_latency, messages_needed, messages_told, steady_s, upper_bounds
from harness.analysis.rate_search import rounded, usual_steps
from harness.errors import UsageError
from harness.scenario.describe import expected_trial_s
from harness.scenario.model import Bound, Case, Phases, Scenario, Segment
from harness.schedule import first_rate_per_s
from harness.units import format_count, format_duration, format_rate

USUAL_START_PER_S = 1000.0
FEWEST = 100
"""Of so few messages one more or less is 1 %, which decides whether a backlog grows."""
GROWTH = 2
"""By how much a trial may offer more than is worked off: what is left must fit into the drain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CapacityPlan:
    """What is asked.

    Args:
        scenario: whose cases are searched one after the other. bounds: what a rate has to hold. start_per_s: where growth begins; None
            = the scenario's rate. probe_s: for how long a rate is held; None = as long as its messages need.
        within: by how much of itself the answer may be too low. root: folder that gets the search's. command: what the user typed.
    """

    scenario: Scenario
    bounds: tuple[Bound, ...]
    start_per_s: float | None
    probe_s: float | None
    within: float
    root: Path
    command: str

    @property
    def cases(self) -> tuple[Case, ...]:
        """Returns the cases that are searched: a ceiling's closed loop is another question."""
        return tuple(case for case in self.scenario.cases if not case.ceiling)

    @property
    def messages(self) -> int:
        """Returns how many messages each trial needs."""
        return messages_needed(self.bounds)

    @property
    def fewest(self) -> int:
        """Returns with how many messages at the least a trial can be judged."""
        return max(FEWEST, messages_told(self.bounds))

    @property
    def least_per_s(self) -> float:
        """Returns the lowest rate whose trial has enough messages."""
        if self.probe_s is not None:
            return self.fewest / self.probe_s
        return self.messages / steady_s(0.01, self.messages)

    def start_of(self, case: Case) -> float:
        """Returns the first rate that is tried: the one asked for, or the lowest whose trial has enough messages."""
        return rounded(max(self.asked_start_of(case), self.least_per_s))

    def asked_start_of(self, case: Case) -> float:
        """Returns the first rate as the command or the scenario has it."""
        own = first_rate_per_s(case.load) if case.load.profile else 0.0
        return self.start_per_s or own or USUAL_START_PER_S

    def length_s(self, rate_per_s: float) -> float:
        """Returns for how long a rate is held."""
        return steady_s(rate_per_s, self.messages) if self.probe_s is None else self.probe_s

    @property
    def expected_s(self) -> float:
        """Returns about how long the search takes, where the start is not far from the answer."""
        each = (expected_trial_s(probe(self, case, self.start_of(case))) for case in self.cases)
        return sum(each) * usual_steps(self.within)


def probe(plan: CapacityPlan, case: Case, rate_per_s: float) -> Scenario:
    """Returns the scenario of one trial at one rate: the case's own, with an even rate, Poisson arrivals and no faults."""
    length_s = plan.length_s(rate_per_s)
    constant = Segment(kind="constant", duration_s=length_s, rates_per_s=(rate_per_s,))
    load = replace(case.load, profile=(constant,), saturate_window=None, arrival="poisson")
    warmup_s = max(plan.scenario.phases.warmup_s, WARMUP_S if plan.probe_s is None else 0.0)
    drain_s = max(plan.scenario.phases.drain_s, GROWTH * (warmup_s + length_s) + case.workers.longest_hold_s)
    phases = Phases(warmup_s=warmup_s, steady_s=length_s, drain_s=drain_s)
    changed = (f"load.rate={rate_per_s:.12g}/s", "load.arrival=poisson", f"phases.steady={length_s:.12g} s")
    return replace(
        plan.scenario,
        cases=(replace(case, load=load),),
        load=load,
        workers=case.workers,
        phases=phases,
        slo=plan.bounds,
        overrides=(*plan.scenario.overrides, *changed),
    )


def require_searchable(plan: CapacityPlan) -> None:
    """Raises UsageError for a scenario in which there is nothing to search for."""
    if not any(map(is_latency, plan.bounds)):
        raise UsageError(
            f"{plan.scenario.name}: no latency is bounded: how late may messages come?",
            expected="an upper bound of a latency, as an slo of the scenario or on the command line",
            remedy="for example --p99 50ms",
        )
    if plan.scenario.faults:
        raise UsageError(
            f"{plan.scenario.name}: has a fault ({plan.scenario.faults[0].label}), and a fault lets no rate hold",
            expected="a scenario without faults",
            remedy="--set faults=[] leaves them out",
        )
    for case in plan.cases:
        _require_long_enough(plan, plan.asked_start_of(case))


def _require_long_enough(plan: CapacityPlan, rate_per_s: float) -> None:
    """Raises UsageError where ``--probe`` ends before there are enough messages to judge the first rate by."""
    if plan.probe_s is None or rate_per_s * plan.probe_s >= plan.fewest:
        return
    metrics = ", ".join(bound.metric for bound in plan.bounds)
    needed_s = math.ceil(plan.fewest / rate_per_s)
    raise UsageError(
        f"--probe {plan.probe_s:g}s is too short: {format_rate(rate_per_s)} makes about {format_count(rate_per_s * plan.probe_s)}"
        f" messages in it, and {metrics} cannot be told of fewer than {format_count(plan.fewest)}",
        expected=f"at least {needed_s} s, or a first rate of at least {format_rate(math.ceil(plan.least_per_s))}",
        remedy=f"--probe {needed_s}s, or leave --probe out: then each rate is held for as long as its messages need",
    )


def bounds_of(scenario: Scenario, p99_s: float | None) -> tuple[Bound, ...]:
    """Returns what a rate has to hold: the scenario's SLOs from above; a p99 that is given takes the place of its own."""
    own = upper_bounds(scenario.slo)
    if p99_s is None:
        return own
    given = Bound(metric=P99, limit=p99_s, text=format_duration(p99_s))
    return (given, *(bound for bound in own if bound.metric != P99))
