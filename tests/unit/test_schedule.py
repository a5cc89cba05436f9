"""Schedules: exact where a closed form is known, tested as a distribution where they are random."""

from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.scenario.model import Load, Phases, Segment
from harness.schedule import (
    expected_messages,
    intended_offsets_ns,
    offered_rate_per_s,
    scheduled_messages,
)

S = 1_000_000_000


def piece(kind: str, for_s: float, *rates_per_s: float, period_s: float = 0.0) -> Segment:
    return Segment(kind=kind, duration_s=for_s, rates_per_s=rates_per_s, period_s=period_s)


def replay(for_s: float, *times_s: float) -> Segment:
    return Segment(kind="replay", duration_s=for_s, times_s=times_s)


def load_of(*profile: Segment, arrival: str = "constant", producers: int = 1, saturate: int | None = None) -> Load:
    return Load(
        profile=profile,
        saturate_window=saturate,
        arrival=arrival,
        producers=producers,
        payload_bytes=256,
        window=1000,
        batch=256,
        tick_s=0.001,
        style="library",
        retry_attempts=0,
        retry_backoff_s=0.1,
    )


def phases_of(load: Load, warmup_s: float = 0.0) -> Phases:
    steady_s = math.fsum(segment.duration_s for segment in load.profile)
    return Phases(warmup_s=warmup_s, steady_s=steady_s, drain_s=60.0)


def offsets(load: Load, warmup_s: float = 0.0, *, producer: int = 0, seed: int = 1) -> np.ndarray:
    return intended_offsets_ns(load, phases_of(load, warmup_s), producer=producer, seed=seed)


def test_a_constant_rate_is_evenly_spaced_from_the_start_of_the_warm_up():
    due = offsets(load_of(piece("constant", 2.0, 1000.0)), warmup_s=1.0)
    assert due.dtype == np.int64
    assert np.array_equal(due, np.arange(3000) * 1_000_000)


def test_times_are_rounded_to_the_nearest_nanosecond():
    due = offsets(load_of(piece("constant", 1.0, 3.0)))
    assert due.tolist() == [0, 333_333_333, 666_666_667]


def test_producers_take_turns_so_that_their_union_is_evenly_spaced():
    load = load_of(piece("constant", 3.0, 1000.0), producers=7)
    parts = [offsets(load, producer=producer) for producer in range(7)]
    assert parts[2][:3].tolist() == [2_000_000, 9_000_000, 16_000_000]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(3000) * 1_000_000)


def test_a_rising_ramp_follows_its_closed_form():
    # λ = 100 t, Λ = 50 t², so message k is due at √(k / 50)
    due = offsets(load_of(piece("ramp", 10.0, 0.0, 1000.0)))
    assert np.array_equal(due, np.rint(np.sqrt(np.arange(5000) / 50) * S).astype(np.int64))


def test_a_falling_ramp_follows_its_closed_form():
    # Λ = 1000 t − 50 t², so message k is due at 10 − √(100 − k / 50)
    due = offsets(load_of(piece("ramp", 10.0, 1000.0, 0.0)))
    exact = 10 - np.sqrt(100 - np.arange(5000) / 50)
    assert len(due) == 5000
    assert np.abs(due - exact * S).max() <= 1.0


def test_a_flat_ramp_is_a_constant_rate():
    flat = offsets(load_of(piece("ramp", 4.0, 250.0, 250.0)))
    assert np.array_equal(flat, offsets(load_of(piece("constant", 4.0, 250.0))))


def test_steps_last_for_equal_parts_of_the_piece():
    due = offsets(load_of(piece("steps", 4.0, 100.0, 300.0)))
    assert np.array_equal(due[:200], np.arange(200) * 10_000_000)
    assert np.array_equal(due[200:], 2 * S + np.rint(np.arange(600) / 300 * S).astype(np.int64))


def test_after_a_pause_the_next_message_is_due_when_the_rate_comes_back():
    load = load_of(piece("constant", 1.0, 100.0), piece("constant", 1.0, 0.0), piece("spike", 1.0, 200.0))
    due = offsets(load)
    assert len(due) == 300
    assert due[99] == 990_000_000
    assert due[100] == 2 * S


def test_a_fraction_of_a_message_is_carried_over_to_the_next_piece():
    due = offsets(load_of(piece("constant", 1.0, 1.5), piece("constant", 1.0, 1.0)))
    assert due.tolist() == [0, 666_666_667, 1_500_000_000]


@pytest.mark.parametrize("lowest", [0.0, 200.0, 999.0])
def test_a_sine_sends_message_k_when_its_cumulative_rate_is_k(lowest: float):
    highest, period_s = 1000.0, 3.0
    due_s = offsets(load_of(piece("sine", 12.0, lowest, highest, period_s=period_s))) / S
    mean, swing, turn = (lowest + highest) / 2, (highest - lowest) / 2, 2 * math.pi / period_s
    assert len(due_s) == round(mean * 12)
    cumulated = mean * due_s - swing / turn * np.sin(turn * due_s)
    assert np.abs(cumulated - np.arange(len(due_s))).max() < 2e-9 * highest + 1e-9


def test_a_sine_begins_at_its_lowest_rate_and_is_fastest_after_half_a_period():
    load = load_of(piece("sine", 4.0, 100.0, 900.0, period_s=4.0))
    per_second = np.histogram(offsets(load), bins=4, range=(0, 4 * S))[0]
    assert per_second.tolist() == [246, 754, 755, 245]
    assert [round(offered_rate_per_s(load, phases_of(load), t)) for t in (0, 1, 2, 3)] == [100, 500, 900, 500]


@pytest.mark.parametrize(
    ("first", "rate"),
    [
        (piece("constant", 2.0, 50.0), 50),
        (piece("ramp", 2.0, 40.0, 90.0), 40),
        (piece("steps", 2.0, 30.0, 60.0), 30),
        (piece("spike", 2.0, 70.0), 70),
        (piece("sine", 2.0, 20.0, 60.0, period_s=1.0), 20),
        (replay(2.0, *np.arange(0, 2, 0.1)), 10),
    ],
    ids=lambda value: value.kind if isinstance(value, Segment) else str(value),
)
def test_the_warm_up_runs_at_the_profiles_first_rate(first: Segment, rate: int):
    due = offsets(load_of(first, piece("constant", 5.0, 1000.0)), warmup_s=3.0)
    assert np.count_nonzero(due < 3 * S) == 3 * rate


def test_a_replay_sends_at_the_files_times_whatever_the_arrival():
    times_s = (0.0, 0.25, 0.25, 1.999999999)
    due = offsets(load_of(replay(2.0, *times_s), arrival="poisson"))
    assert due.tolist() == [0, 250_000_000, 250_000_000, 1_999_999_999]


def test_a_replay_deals_its_times_round_to_the_producers():
    load = load_of(replay(1.0, 0.0, 0.1, 0.2, 0.3, 0.4), producers=2)
    assert offsets(load, producer=0).tolist() == [0, 200_000_000, 400_000_000]
    assert offsets(load, producer=1).tolist() == [100_000_000, 300_000_000]


def test_a_replay_stands_between_other_pieces():
    load = load_of(piece("constant", 1.0, 2.0), replay(1.0, 0.5), piece("constant", 1.0, 2.0))
    assert offsets(load).tolist() == [0, 500_000_000, 1_500_000_000, 2_000_000_000, 2_500_000_000]


def _sine_by(t_s: np.ndarray) -> np.ndarray:
    return 400 * t_s - 400 * 7 / (2 * np.pi) * np.sin(2 * np.pi * t_s / 7)


@pytest.mark.parametrize(
    ("law", "due_by"),
    [
        (piece("constant", 20.0, 400.0), lambda t_s: 400 * t_s),
        (piece("ramp", 20.0, 0.0, 800.0), lambda t_s: 20 * t_s**2),
        (piece("steps", 20.0, 100.0, 700.0), lambda t_s: 100 * t_s + 600 * np.maximum(t_s - 10, 0)),
        (piece("sine", 20.0, 0.0, 800.0, period_s=7.0), _sine_by),
    ],
    ids=["constant", "ramp", "steps", "sine"],
)
def test_poisson_arrivals_are_exponential_in_the_cumulative_rate(law: Segment, due_by):
    """In the time Λ(t) the arrivals are a Poisson process of rate 1: 40 streams, whose p-values must be uniform."""
    load = load_of(law, arrival="poisson", producers=2)
    total = due_by(np.array(20.0)) / 2
    p_values = []
    for seed, producer in itertools.product(range(20), range(2)):
        due_s = offsets(load, producer=producer, seed=seed) / S
        assert abs(len(due_s) - total) < 4.5 * math.sqrt(total)
        gaps = np.diff(due_by(due_s) / 2, prepend=0.0)
        p_values.append(stats.kstest(gaps, "expon").pvalue)
        assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 4.5 / math.sqrt(len(gaps))
    assert stats.kstest(p_values, "uniform").pvalue > 0.001


def test_the_union_of_poisson_producers_is_poisson_at_the_whole_rate():
    load = load_of(piece("constant", 20.0, 1000.0), arrival="poisson", producers=8)
    union = np.sort(np.concatenate([offsets(load, producer=producer) for producer in range(8)]))
    assert stats.kstest(np.diff(union) / S * 1000, "expon").pvalue > 0.01
    per_tenth = np.histogram(union, bins=200, range=(0, 20 * S))[0]
    dispersion = per_tenth.var(ddof=1) / per_tenth.mean()  # 1 for Poisson
    assert abs(dispersion - 1) < 4 * math.sqrt(2 / 199)


def test_equal_seeds_give_equal_schedules_and_others_do_not():
    load = load_of(piece("constant", 1.0, 1000.0), arrival="poisson", producers=2)
    assert np.array_equal(offsets(load, seed=3), offsets(load, seed=3))
    assert not np.array_equal(offsets(load, seed=3)[:100], offsets(load, seed=4)[:100])
    assert not np.array_equal(offsets(load, seed=3)[:100], offsets(load, seed=3, producer=1)[:100])


def test_a_schedule_is_the_same_on_every_machine_and_in_every_version():
    """Pins the stream: a change here changes what old scenarios mean, and belongs into the changelog."""
    due = offsets(load_of(piece("constant", 1.0, 1000.0), arrival="poisson"))
    assert len(due) == 991
    assert due[:4].tolist() == [1_073_029, 1_381_482, 6_756_919, 7_123_346]


def test_closed_loop_has_no_schedule():
    load = load_of(saturate=1000)
    phases = Phases(warmup_s=1.0, steady_s=5.0, drain_s=60.0)
    assert intended_offsets_ns(load, phases, producer=0, seed=1).tolist() == []
    assert scheduled_messages(load, phases, seed=1) == 0
    assert expected_messages(load, phases) == 0
    assert offered_rate_per_s(load, phases, 2.0) == 0


def test_a_producer_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="producer 2 does not exist; expected 0 to 1"):
        offsets(load_of(piece("constant", 1.0, 10.0), producers=2), producer=2)


def test_expected_messages_are_the_area_under_the_rate():
    load = load_of(piece("ramp", 10.0, 0.0, 100.0), piece("constant", 5.0, 10.0), replay(1.0, 0.1, 0.2, 0.3))
    phases = phases_of(load, warmup_s=2.0)
    assert expected_messages(load, phases) == pytest.approx(0 + 500 + 50 + 3)
    assert expected_messages(load, phases, from_s=2.0, to_s=7.0) == pytest.approx(125)
    assert expected_messages(load, phases, from_s=17.0, to_s=17.25) == 2
    assert scheduled_messages(load, phases, seed=1) == 553


def test_the_offered_rate_is_told_for_every_moment():
    load = load_of(piece("ramp", 10.0, 0.0, 100.0), piece("steps", 4.0, 10.0, 30.0), replay(2.0, 0.0, 0.1, 1.0))
    phases = phases_of(load, warmup_s=1.0)
    rates = [offered_rate_per_s(load, phases, t_s) for t_s in (0.5, 1.0, 6.0, 12.0, 14.0, 16.0, 17.0, -1.0)]
    assert rates == [0.0, 0.0, 50.0, 10.0, 30.0, 1.5, 0.0, 0.0]


@pytest.mark.parametrize("arrival", ["constant", "poisson"])
@pytest.mark.parametrize("kind", ["constant", "ramp", "sine"])
def test_a_million_offsets_are_made_without_a_step_of_python_each(arrival: str, kind: str):
    load = load_of(piece(kind, 10.0, 0.0 if kind != "constant" else 1e5, 2e5, period_s=2.0), arrival=arrival)
    calls = itertools.count()
    sys.setprofile(lambda *_: next(calls))
    try:
        due = offsets(load)
    finally:
        sys.setprofile(None)
    assert len(due) == pytest.approx(1_000_000, abs=4000)
    assert next(calls) < 3000


rates = st.floats(0, 500, allow_subnormal=False)
lengths = st.floats(0.01, 5)
pieces = st.one_of(
    st.builds(lambda d, r: piece("constant", d, r), lengths, rates),
    st.builds(lambda d, a, b: piece("ramp", d, a, b), lengths, rates, rates),
    st.builds(lambda d, r: piece("steps", d, *r), lengths, st.lists(rates, min_size=1, max_size=4)),
    st.builds(lambda d, a, b, p: piece("sine", d, min(a, b), max(a, b), period_s=p), lengths, rates, rates, lengths),
    st.builds(lambda d, t: replay(d, *sorted(x * d for x in t)), lengths, st.lists(st.floats(0, 0.99), max_size=9)),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(pieces, min_size=1, max_size=5),
    st.floats(0, 2),
    st.integers(1, 4),
    st.sampled_from(["constant", "poisson"]),
)
def test_every_schedule_is_ascending_and_within_the_load(profile, warmup_s, producers, arrival):
    load = load_of(*profile, arrival=arrival, producers=producers)
    phases = phases_of(load, warmup_s)
    parts = [offsets(load, warmup_s, producer=producer) for producer in range(producers)]
    for due in parts:
        assert np.all(np.diff(due) >= 0)
        assert due.size == 0 or (due[0] >= 0 and due[-1] < round((phases.warmup_s + phases.steady_s) * S))
    if arrival == "constant":
        count = sum(map(len, parts))
        assert abs(count - expected_messages(load, phases)) < 1 + 1e-3
        alone = offsets(load_of(*profile), warmup_s)
        assert np.array_equal(np.sort(np.concatenate(parts)), alone)
