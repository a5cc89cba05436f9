"""The offset of another machine's clock: the truth lies within the stated error, whatever the network and the clocks do."""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.load.clocks import RATE, Look, Offset

S = 1_000_000_000
MS = 1_000_000


def look(asked_ns: int, offset_ns: int, there_ns: int, back_ns: int, thinking_ns: int = 0) -> Look:
    """Returns what is seen of a clock that stands ``offset_ns`` from ours."""
    heard = asked_ns + there_ns + offset_ns
    return Look(
        asked_ns=asked_ns,
        heard_ns=heard,
        said_ns=heard + thinking_ns,
        answered_ns=asked_ns + there_ns + thinking_ns + back_ns,
    )


def test_one_look_knows_the_offset_to_half_the_round_trip() -> None:
    found = Offset([look(5 * S, 1000 * S, 2 * MS, 2 * MS, thinking_ns=7 * MS)]).at(5 * S)
    assert abs(found.offset_ns - 1000 * S) <= 2000
    assert 2 * MS <= found.error_ns <= 2 * MS + 3000


def test_the_fastest_of_many_looks_counts() -> None:
    slow = [look(t * MS, -3 * S, 9 * MS, 1 * MS) for t in range(50)]
    found = Offset([*slow, look(60 * MS, -3 * S, 50_000, 50_000)]).at(30 * MS)
    assert found.error_ns < 60_000
    assert abs(found.offset_ns + 3 * S) <= found.error_ns


def test_between_two_looks_the_error_grows_by_what_the_rates_may_differ() -> None:
    offset = Offset([look(0, 0, 1000, 1000), look(10 * S, 0, 1000, 1000)])
    assert offset.at(5 * S).error_ns == pytest.approx(1000 + 2 * RATE * 5 * S, rel=0.01)
    assert offset.error_ns(0, 10 * S) == pytest.approx(1000 + RATE * 10 * S, rel=0.01)


def test_one_clock_is_exact_unless_a_look_disproves_it() -> None:
    same = Offset([look(0, 0, 500, 100_000)], same=True)
    assert same.exact
    assert (same.at(9 * S).offset_ns, same.at(9 * S).error_ns, same.error_ns(0, 99 * S)) == (0, 0, 0)
    times = np.array([1, 2, 3])
    assert same.to_ours(times).tolist() == [1, 2, 3]
    other = Offset([look(0, 5 * S, 500, 500)], same=True)
    assert not other.exact
    assert abs(other.at(0).offset_ns - 5 * S) <= other.at(0).error_ns


def test_looks_that_contradict_the_assumed_rate_widen_the_error() -> None:
    stepped = Offset([look(0, 0, 100, 100), look(1 * S, 1 * S, 100, 100)])  # a clock that was stopped for a second
    assert stepped.rate > 0.4
    assert stepped.error_ns(0, 1 * S) > S // 4


def test_no_look_is_no_offset() -> None:
    with pytest.raises(ValueError, match="expected one or more"):
        Offset([])


@st.composite
def clocks(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[Look]]:
    """Returns knots (our time, true offset) between which the offset changes evenly, and looks at such a clock."""
    steps = draw(st.lists(st.tuples(st.integers(1 * MS, 20 * S), st.floats(-RATE, RATE)), min_size=1, max_size=8))
    start = draw(st.integers(0, 10**16))
    times = list(accumulate((length for length, _ in steps), initial=start))
    offsets = list(
        accumulate((round(length * rate) for length, rate in steps), initial=draw(st.integers(-(10**16), 10**16)))
    )
    truth = list(zip(times, offsets, strict=True))
    looks = []
    delay = st.integers(0, 30 * MS)
    for asked in draw(st.lists(st.integers(start, times[-1]), min_size=1, max_size=12)):
        there, thinking, back = draw(delay), draw(delay), draw(delay)
        heard, said = asked + there, asked + there + thinking
        looks.append(
            Look(
                asked_ns=asked,
                heard_ns=heard + true_offset(truth, heard),
                said_ns=said + true_offset(truth, said),
                answered_ns=said + back,
            )
        )
    return truth, looks


def true_offset(truth: list[tuple[int, int]], t_ns: int) -> int:
    for (t0, o0), (t1, o1) in pairwise(truth):
        if t_ns <= t1:
            return o0 + (o1 - o0) * (t_ns - t0) // (t1 - t0)
    return truth[-1][1]


ROUNDING_NS = 16


@settings(max_examples=300, deadline=None)
@given(clocks(), st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_the_truth_lies_within_the_stated_error(
    clock: tuple[list[tuple[int, int]], list[Look]], moments: list[float]
) -> None:
    truth, looks = clock
    offset = Offset(looks)
    assert offset.rate == RATE
    first, last = truth[0][0], truth[-1][0]
    worst = offset.error_ns(first, last)
    for share in moments:
        t_ns = first + round(share * (last - first))
        true_ns = true_offset(truth, t_ns)
        found = offset.at(t_ns)
        assert abs(found.offset_ns - true_ns) <= found.error_ns + ROUNDING_NS
        assert found.error_ns <= worst + ROUNDING_NS
        [ours] = offset.to_ours(np.array([t_ns + true_ns])).tolist()
        assert abs(ours - t_ns) <= worst + ROUNDING_NS
        assert abs(offset.to_theirs(t_ns) - (t_ns + true_ns)) <= found.error_ns + ROUNDING_NS
