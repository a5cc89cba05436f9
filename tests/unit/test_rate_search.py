"""The search for the highest rate that holds, against brokers whose capacity is known."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from harness.analysis.capacity import ACHIEVED, MESSAGES, SHORTEST_S, WARMUP_S, steady_s
from harness.analysis.rate_search import Answer, Seen, Shown, Step, most_steps, search, usual_steps

HOLDS, MISSED, GENERATOR, UNTOLD = Shown.HOLDS, Shown.MISSED, Shown.GENERATOR, Shown.UNTOLD


def searched(
    show: Callable[[Step], Seen], start_per_s: float = 1000.0, *, least_per_s: float = 60.0, within: float = 0.05
) -> tuple[Answer, list[Step]]:
    """Runs a search; returns its answer and what it tried."""
    steps = search(start_per_s, least_per_s=least_per_s, within=within)
    tried = [next(steps)]
    while True:
        try:
            tried.append(steps.send(show(tried[-1])))
        except StopIteration as end:
            return end.value, tried


def broker(capacity_per_s: float, above: Shown = MISSED) -> Callable[[Step], Seen]:
    return lambda step: Seen(shown=HOLDS if step.rate_per_s <= capacity_per_s else above)


@pytest.mark.parametrize("start_per_s", [100.0, 1000.0, 1999.0, 2000.0, 2001.0, 7300.0, 40_000.0])
@pytest.mark.parametrize("capacity_per_s", [190.0, 2000.0, 2047.0, 31_415.9])
def test_the_answer_holds_and_is_at_most_5_percent_too_low(capacity_per_s: float, start_per_s: float) -> None:
    answer, tried = searched(broker(capacity_per_s), start_per_s)
    assert answer.found == "found"
    assert answer.rate_per_s is not None
    assert answer.above_per_s is not None
    assert capacity_per_s / 1.05 < answer.rate_per_s <= capacity_per_s < answer.above_per_s <= 1.05 * answer.rate_per_s
    assert [(step.purpose, step.rate_per_s) for step in tried[-3:]] == [("confirmation", answer.rate_per_s)] * 3
    assert len(tried) <= most_steps()


def test_the_rate_is_doubled_then_halved_in_between_on_a_log_scale_then_confirmed() -> None:
    answer, tried = searched(broker(2000.0), 800.0)
    assert [(step.purpose, step.rate_per_s) for step in tried] == [
        ("growth", 800.0),
        ("growth", 1600.0),
        ("growth", 3200.0),
        ("bisection", 2263.0),
        ("bisection", 1903.0),
        ("bisection", 2075.0),
        ("bisection", 1987.0),
        ("bisection", 2031.0),
        ("confirmation", 1987.0),
        ("confirmation", 1987.0),
        ("confirmation", 1987.0),
    ]
    assert answer == Answer(found="found", rate_per_s=1987.0, above_per_s=2031.0, above=MISSED)
    assert len(tried) == usual_steps(0.05) - 1


def test_a_start_that_does_not_hold_is_halved_until_it_does() -> None:
    _, tried = searched(broker(300.0), 2000.0)
    assert [step.rate_per_s for step in tried[:4]] == [2000.0, 1000.0, 500.0, 250.0]
    assert {step.purpose for step in tried[1:4]} == {"descent"}


def test_where_no_rate_holds_there_is_no_capacity() -> None:
    answer, tried = searched(broker(0.0), 1000.0, least_per_s=100.0)
    assert [step.rate_per_s for step in tried] == [1000.0, 500.0, 250.0, 125.0]
    assert answer == Answer(found="none", above_per_s=125.0, above=MISSED)


def test_where_the_generator_gives_out_first_the_answer_is_at_least() -> None:
    answer, _ = searched(broker(2000.0, above=GENERATOR))
    assert (answer.found, answer.above) == ("at_least", GENERATOR)
    assert answer.rate_per_s is not None
    assert 2000 / 1.05 < answer.rate_per_s <= 2000


def test_a_broker_beyond_the_generator_is_no_reason_where_the_broker_gives_out_below_it() -> None:
    def show(step: Step) -> Seen:
        return Seen(shown=HOLDS if step.rate_per_s <= 2000 else MISSED if step.rate_per_s < 3000 else GENERATOR)

    answer, _ = searched(show)
    assert answer.found == "found"


def test_where_no_trial_can_be_judged_nothing_is_said() -> None:
    answer, _ = searched(broker(0.0, above=UNTOLD))
    assert answer.found == "untold"


def test_a_rate_that_misses_closely_is_tried_a_second_time_which_decides() -> None:
    def show(step: Step) -> Seen:
        stalled = step.rate_per_s == 1414.0 and step.purpose == "bisection" and not step.again
        return Seen(shown=MISSED, clear=False) if stalled else broker(1990.0)(step)

    answer, tried = searched(show)
    assert [(step.rate_per_s, step.again) for step in tried[1:5]] == [
        (2000.0, False),
        (1414.0, False),
        (1414.0, True),
        (1682.0, False),
    ]
    assert answer.rate_per_s is not None
    assert answer.rate_per_s > 1990 / 1.05


def test_an_answer_that_does_not_hold_every_time_is_replaced_by_the_next_lower() -> None:
    confirming = itertools.count()

    def show(step: Step) -> Seen:
        if step.purpose == "confirmation" and next(confirming) == 1:
            return Seen(shown=MISSED, clear=False)
        return broker(2000.0)(step)

    answer, tried = searched(show, 800.0)
    assert [step.rate_per_s for step in tried if step.purpose == "confirmation"] == [1987.0] * 2 + [1939.0] * 3
    assert answer == Answer(found="found", rate_per_s=1939.0, above_per_s=1987.0, above=MISSED)
    assert answer.rate_per_s is not None
    assert answer.rate_per_s > 2000 / 1.05


def test_a_confirming_trial_that_is_not_valid_is_run_again() -> None:
    def show(step: Step) -> Seen:
        if step.purpose == "confirmation" and not step.again:
            return Seen(shown=GENERATOR, clear=False)
        return broker(2000.0)(step)

    answer, tried = searched(show)
    assert answer.found == "found"
    assert [step.again for step in tried if step.purpose == "confirmation"] == [False, True] * 3


def test_where_the_generator_gave_out_in_one_of_two_trials_the_rate_is_not_refused_to_the_broker() -> None:
    def show(step: Step) -> Seen:
        if step.rate_per_s <= 2000:
            return Seen(shown=HOLDS)
        return Seen(shown=MISSED if step.again else GENERATOR, clear=False)

    answer, _ = searched(show)
    assert (answer.found, answer.above) == ("at_least", GENERATOR)


def test_a_loss_is_tried_once_lower_and_what_fewer_messages_cannot_tell_not_at_all() -> None:
    answer, tried = searched(lambda _: Seen(shown=MISSED, lower=1))
    assert ([step.rate_per_s for step in tried], answer.found) == ([1000.0, 500.0], "none")
    answer, tried = searched(lambda _: Seen(shown=UNTOLD, clear=False, lower=0))
    assert ([step.rate_per_s for step in tried], answer.found) == ([1000.0, 1000.0], "untold")


def test_an_answer_that_loses_messages_when_it_is_confirmed_is_replaced_once() -> None:
    def show(step: Step) -> Seen:
        return Seen(shown=MISSED, lower=1) if step.purpose == "confirmation" else broker(2000.0)(step)

    answer, tried = searched(show)
    assert answer.found == "unsteady"
    assert len([step for step in tried if step.purpose == "confirmation"]) == 2


def test_a_broker_that_never_holds_twice_has_no_answer_after_a_bounded_number_of_trials() -> None:
    def show(step: Step) -> Seen:
        return Seen(shown=MISSED, clear=False) if step.purpose == "confirmation" else broker(2000.0)(step)

    answer, tried = searched(show)
    assert (answer.found, answer.rate_per_s) == ("unsteady", None)
    assert len([step for step in tried if step.purpose == "confirmation"]) == 7


def test_a_broker_without_limit_ends_the_search_after_16_doublings() -> None:
    answer, tried = searched(broker(1e30), 1.0)
    assert answer == Answer(found="at_least", rate_per_s=65_520.0)
    assert len(tried) == 1 + 16 + 3


@pytest.mark.parametrize("verdicts", range(40))
def test_whatever_is_seen_the_search_ends_within_its_bound(verdicts: int) -> None:
    drawn = np.random.default_rng(verdicts)

    def show(_: Step) -> Seen:
        return Seen(shown=list(Shown)[drawn.integers(4)], clear=bool(drawn.integers(2)))

    _, tried = searched(show, least_per_s=0.01)
    assert len(tried) <= most_steps()


@cache
def even_service(rho: float, seed: int, messages_per_s: float = 2000.0) -> tuple[float, float]:
    """Simulates a queue with even service under Poisson arrivals at ``rho`` times its capacity, for the default length.

    Returns the share of what was due that was settled in *steady*, and the p99 latency there in s.
    """
    drawn = np.random.default_rng(seed)
    rate = rho * messages_per_s
    length_s = steady_s(rate, MESSAGES)
    arrived = np.cumsum(drawn.exponential(1 / rate, int(1.1 * rate * (WARMUP_S + length_s))))
    # Served one after the other: done = max(arrived, the one before) + 1 / capacity, as a running maximum.
    served = np.arange(1, len(arrived) + 1) / messages_per_s
    done = np.maximum.accumulate(arrived - (served - 1 / messages_per_s)) + served
    window = (arrived >= WARMUP_S) & (arrived < WARMUP_S + length_s)
    settled = (done >= WARMUP_S) & (done < WARMUP_S + length_s)
    return settled.sum() / window.sum(), float(np.quantile((done - arrived)[window], 0.99))


def holds(rho: float, seed: int, bound_s: float) -> bool:
    achieved, p99_s = even_service(rho, seed)
    return achieved >= ACHIEVED and p99_s <= bound_s


def test_a_probe_of_the_default_length_tells_3_percent_above_the_capacity_from_3_percent_below_it() -> None:
    assert steady_s(2000.0, MESSAGES) == SHORTEST_S == 10.0
    above = sum(holds(1.03, seed, 0.2) for seed in range(1000))
    below = sum(holds(0.97, seed, 0.2) for seed in range(1000))
    assert (above, below) == (2, 999)


def test_without_the_help_of_a_latency_the_backlog_alone_nearly_does_too() -> None:
    above = sum(even_service(1.03, seed)[0] >= ACHIEVED for seed in range(1000))
    below = sum(even_service(0.97, seed)[0] >= ACHIEVED for seed in range(1000))
    assert (above, below) == (4, 999)


def test_a_rate_is_halved_eight_times_and_no_more() -> None:
    answer, tried = searched(broker(0.0), 6400.0, least_per_s=0.01)
    assert [step.rate_per_s for step in tried] == [6400.0, 3200.0, 1600.0, 800.0, 400.0, 200.0, 100.0, 50.0, 25.0]
    assert (answer.found, answer.above_per_s) == ("none", 25.0)
