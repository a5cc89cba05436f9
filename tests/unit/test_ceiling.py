"""A trial that came near what the generator can do at all says so, and only then."""

from __future__ import annotations

import pytest

from harness.analysis.ceiling import NEAR, ceiling_words
from harness.facts import TrialFacts
from harness.record import Figure, Unknown


def told(ceiling_per_s: float | None, **rates: Figure) -> list[str]:
    facts = TrialFacts(run_id=1, trial=1, ceiling_per_s=ceiling_per_s)
    return list(ceiling_words(facts, {f"rate.{name}": rate for name, rate in rates.items()}))


def test_above_70_percent_of_the_ceiling_the_trial_is_flagged_with_both_rates() -> None:
    assert told(10_000.0, confirmed=7001.0, delivered=6900.0) == [
        f"{NEAR}7,001/s is 70 % of the 10,000/s that it reached on the null broker (told above 70 %): such figures may show the generator "
        "instead of the broker"
    ]


@pytest.mark.parametrize(
    ("ceiling_per_s", "rates"),
    [
        (10_000.0, {"confirmed": 7000.0, "delivered": 7000.0}),
        (None, {"confirmed": 9e9}),
        (10_000.0, {}),
        (10_000.0, {"confirmed": Unknown(unknown="nothing was sent")}),
    ],
)
def test_below_that_or_where_nothing_is_known_nothing_is_said(
    ceiling_per_s: float | None, rates: dict[str, Figure]
) -> None:
    assert told(ceiling_per_s, **rates) == []


def test_the_faster_of_publishing_and_delivering_counts() -> None:
    assert len(told(10_000.0, confirmed=100.0, delivered=9000.0)) == 1
    assert len(told(10_000.0, confirmed=9000.0, delivered=100.0)) == 1
