"""When every message is due: a pure, seeded function of the load; nothing here looks at a clock.

All schedules come from one cumulative rate. With λ(t) the offered rate over all producers at time t from the start of the load,
Λ(t) = ∫₀ᵗ λ is the number of messages due by t. Then

- *constant* arrival: message k (k = 0, 1, 2, …) is due at Λ⁻¹(k): evenly spaced where the rate is constant. Producer p of P
  takes k = p, p + P, p + 2P, …, so that the union of all producers is the even schedule.
- *poisson* arrival: with S₁ < S₂ < … the arrivals of a unit-rate Poisson process (cumulated standard exponentials), Λ⁻¹(S_j)
  are the arrivals of the Poisson process of rate λ(t) (time change; Çinlar, "Introduction to Stochastic Processes", 1975,
  ch. 4.7). It is exact for every rate, no thinning and no steps. Each producer has a stream of its own at rate λ/P: Λ⁻¹(P S_j).
- a *replay* gives its times itself; producer p takes those with index p, p + P, ….

Λ⁻¹ in closed form per piece, with y = messages since the start of the piece and s = time since then:

- constant r:            Λ = r s                                  s = y / r
- ramp a → b in D:       Λ = a s + (b − a) s² / 2D                s = 2y / (a + √(a² + 2 (b − a) y / D))
  (the root written so that nothing cancels, and a = b needs no case of its own)
- sine lo … hi, period T: λ = m − A cos(2π s / T), m = (lo + hi) / 2, A = (hi − lo) / 2; Λ = m s − (A T / 2π) sin(2π s / T). With
  M = 2π y / (m T), e = A / m and E = 2π s / T this is Kepler's equation E − e sin E = M: solved to < 1 ns below.

Times are float64 seconds inside (2 ps at an hour) and whole ns outside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.clock import NS_PER_S
from harness.scenario.model import Load, Phases, Segment

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_SNAP = 1e-6  # messages: a sum of floats this close to a whole number is that number
_GRID = 4096  # start values of Kepler's equation
_CLOSE_S = 2e-10
_CHUNK = 1 << 18  # messages inverted together: bounds the memory of intermediate arrays


@dataclass(frozen=True, kw_only=True, slots=True)
class _Piece:
    """A stretch of one rate law, from ``start_s`` of the load; ``rates_per_s`` and ``period_s`` as in Segment."""

    kind: str  # constant, ramp, sine
    start_s: float
    duration_s: float
    rates_per_s: tuple[float, ...]
    period_s: float = 0.0

    def messages(self, elapsed_s: float) -> float:
        """Returns Λ after ``elapsed_s`` of this piece."""
        first, last = self.rates_per_s[0], self.rates_per_s[-1]
        if self.kind == "ramp":
            return first * elapsed_s + (last - first) * elapsed_s**2 / (2 * self.duration_s)
        if self.kind == "sine":
            mean, swing = (first + last) / 2, (last - first) / 2
            turn = 2 * math.pi / self.period_s
            return mean * elapsed_s - swing / turn * math.sin(turn * elapsed_s)
        return first * elapsed_s

    def rate_per_s(self, elapsed_s: float) -> float:
        """Returns λ after ``elapsed_s`` of this piece."""
        first, last = self.rates_per_s[0], self.rates_per_s[-1]
        if self.kind == "ramp":
            return first + (last - first) * elapsed_s / self.duration_s
        if self.kind == "sine":
            return (first + last) / 2 - (last - first) / 2 * math.cos(2 * math.pi * elapsed_s / self.period_s)
        return first

    def elapsed_s(self, messages: Floats) -> Floats:
        """Returns Λ⁻¹: the times since the start of the piece at which ``messages`` (ascending, ≥ 0) are due."""
        first, last = self.rates_per_s[0], self.rates_per_s[-1]
        if self.kind == "ramp":
            root = np.sqrt(np.maximum(first**2 + 2 * (last - first) / self.duration_s * messages, 0.0))
            return 2 * messages / np.maximum(first + root, np.finfo(np.float64).tiny)  # y = 0 at a = 0 is 0, not 0/0
        if self.kind == "sine":
            return _invert_sine(messages, first, last, self.period_s)
        return messages / first


def _invert_sine(messages: Floats, lowest: float, highest: float, period_s: float) -> Floats:
    """Returns the times at which a sine that begins at its lowest has sent ``messages``."""
    mean = (lowest + highest) / 2
    periods = messages / (mean * period_s)
    whole = np.floor(periods)
    angle = _kepler(2 * np.pi * (periods - whole), (highest - lowest) / 2 / mean, _CLOSE_S * 2 * np.pi / period_s)
    return (whole + angle / (2 * np.pi)) * period_s


def _kepler(mean_anomaly: Floats, eccentricity: float, close: float) -> Floats:
    """Solves E − e sin E = M for M in [0, 2π], 0 ≤ e ≤ 1, to ``close``.

    A table gives the interval that holds the root; Newton's steps, kept inside it, converge at once except near E = 0 at
    e = 1, where the derivative vanishes: what has not converged is bisected.
    """
    grid = np.linspace(0.0, 2 * np.pi, _GRID + 1)
    table = grid - eccentricity * np.sin(grid)
    cell = np.clip(np.searchsorted(table, mean_anomaly, side="right") - 1, 0, _GRID - 1)
    low, high = grid[cell], grid[cell + 1]
    angle = np.interp(mean_anomaly, table, grid)
    step = np.full_like(angle, np.inf)
    for _ in range(3):
        slope = np.maximum(1 - eccentricity * np.cos(angle), 1e-12)
        improved = np.clip(angle - (angle - eccentricity * np.sin(angle) - mean_anomaly) / slope, low, high)
        step = np.abs(improved - angle)
        angle = improved
    hard = np.flatnonzero(step > close)
    if len(hard):
        low, high, wanted = low[hard], high[hard], mean_anomaly[hard]
        for _ in range(60):
            middle = (low + high) / 2
            below = middle - eccentricity * np.sin(middle) < wanted
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        angle[hard] = high
    return angle


def first_rate_per_s(load: Load) -> float:
    """Returns the rate of the warm-up: where the profile begins; a replay begins at its mean rate."""
    first = load.profile[0]
    if first.kind == "replay":
        return len(first.times_s) / first.duration_s
    return first.rates_per_s[0]


def _pieces(load: Load, phases: Phases) -> list[_Piece]:
    """Returns the whole load as rate laws, warm-up first; a replay is a piece of rate 0 here."""
    if not load.profile:
        return []
    pieces = [_Piece(kind="constant", start_s=0.0, duration_s=phases.warmup_s, rates_per_s=(first_rate_per_s(load),))]
    for segment, start_s in _segments(load, phases):
        pieces.extend(_laws(segment, start_s))
    return [piece for piece in pieces if piece.duration_s > 0]


def _segments(load: Load, phases: Phases) -> list[tuple[Segment, float]]:
    """Returns the pieces of the profile with their starts in seconds of the load."""
    starts_s = phases.warmup_s + np.cumsum([0.0, *(segment.duration_s for segment in load.profile)])
    return list(zip(load.profile, starts_s.tolist(), strict=False))


def _laws(segment: Segment, start_s: float) -> list[_Piece]:
    if segment.kind == "steps":
        part_s = segment.duration_s / len(segment.rates_per_s)
        return [
            _Piece(kind="constant", start_s=start_s + i * part_s, duration_s=part_s, rates_per_s=(rate,))
            for i, rate in enumerate(segment.rates_per_s)
        ]
    kind = segment.kind if segment.kind in ("ramp", "sine") else "constant"
    rates = (0.0,) if segment.kind == "replay" else segment.rates_per_s
    return [
        _Piece(
            kind=kind,
            start_s=start_s,
            duration_s=segment.duration_s,
            rates_per_s=rates,
            period_s=segment.period_s,
        )
    ]


def _bounds(pieces: Sequence[_Piece]) -> Floats:
    """Returns Λ at the start of each piece and at the end of the last, shape (len + 1,)."""
    bounds = np.cumsum([0.0, *(piece.messages(piece.duration_s) for piece in pieces)])
    whole = np.rint(bounds)
    return np.where(np.abs(bounds - whole) < _SNAP, whole, bounds)


def _times_s(pieces: Sequence[_Piece], bounds: Floats, messages: Floats) -> Floats:
    """Returns Λ⁻¹ of ascending ``messages`` below ``bounds[-1]``, in seconds of the load.

    A number on a border belongs to the piece that begins there: with a pause in the rate, to what follows the pause.
    """
    edges = np.searchsorted(messages, bounds, side="left")
    times_s = np.empty(len(messages))
    for piece, before, first, last in zip(pieces, bounds, edges.tolist(), edges[1:].tolist(), strict=False):
        for start in range(first, last, _CHUNK):
            part = slice(start, min(start + _CHUNK, last))
            elapsed_s = piece.elapsed_s(messages[part] - before)
            times_s[part] = piece.start_s + np.minimum(elapsed_s, piece.duration_s)
    return times_s


def _unit_arrivals(total: float, rng: np.random.Generator) -> Floats:
    """Returns the arrivals of a unit-rate Poisson process below ``total``, ascending."""
    parts: list[Floats] = []
    reached = 0.0
    while reached < total:
        left = total - reached
        gaps = rng.standard_exponential(int(left + 6 * math.sqrt(left)) + 16)  # enough in all but 1e-9 of cases
        gaps[0] += reached
        parts.append(np.cumsum(gaps))
        reached = float(parts[-1][-1])
    arrivals = np.concatenate(parts) if parts else np.zeros(0)
    below: Floats = arrivals[arrivals < total]
    return below


def intended_offsets_ns(load: Load, phases: Phases, *, producer: int, seed: int) -> Ints:
    """Returns when the messages of one producer are due: ns from the start of the load (= of warm-up), ascending.

    Args:
        load: ``saturate`` has no schedule: the result is then empty.
        phases: lengths; warm-up runs at the profile's first rate.
        producer: number from 0 to ``load.producers`` − 1.
        seed: of the scenario; equal arguments give equal schedules.

    Returns:
        shape (n,); message ``seq`` is due at element ``seq``, all below warm-up + steady.

    Raises:
        ValueError: no such producer.
    """
    if not 0 <= producer < load.producers:
        raise ValueError(f"producer {producer} does not exist; expected 0 to {load.producers - 1}")
    pieces = _pieces(load, phases)
    if not pieces:
        return np.zeros(0, np.int64)
    bounds = _bounds(pieces)
    if load.arrival == "constant":
        messages = np.arange(producer, math.ceil(bounds[-1] - _SNAP), load.producers, dtype=np.float64)
    else:
        rng = np.random.default_rng(np.random.SeedSequence([seed, producer]))
        messages = _unit_arrivals(float(bounds[-1]) / load.producers, rng) * load.producers
        messages = np.minimum(messages, np.nextafter(bounds[-1], 0.0))  # the product may round up to the border
    times_s = np.concatenate([_times_s(pieces, bounds, messages), *_replayed_s(load, phases, producer)])
    offsets_ns: Ints = np.minimum(np.rint(times_s * NS_PER_S).astype(np.int64), _end_ns(phases) - 1)
    offsets_ns.sort(kind="stable")  # nearly sorted: pieces follow each other, and Newton may be off by 1 ns
    return offsets_ns


def _end_ns(phases: Phases) -> int:
    return round((phases.warmup_s + phases.steady_s) * NS_PER_S)


def _replayed_s(load: Load, phases: Phases, producer: int) -> list[Floats]:
    return [
        start_s + np.asarray(segment.times_s, np.float64)[producer :: load.producers]
        for segment, start_s in _segments(load, phases)
        if segment.kind == "replay"
    ]


def scheduled_messages(load: Load, phases: Phases, *, seed: int) -> int:
    """Returns how many messages all producers have to send: exact, by making the schedules; 0 in closed loop."""
    return sum(len(intended_offsets_ns(load, phases, producer=p, seed=seed)) for p in range(load.producers))


def expected_messages(load: Load, phases: Phases, *, from_s: float = 0.0, to_s: float | None = None) -> float:
    """Returns the mean number of messages due between two times of the load, in seconds from its start; 0 in closed loop.

    Args:
        from_s, to_s: half-open; the whole load where left out.
    """
    end_s = phases.warmup_s + phases.steady_s
    return _due_by(load, phases, end_s if to_s is None else to_s) - _due_by(load, phases, from_s)


def _due_by(load: Load, phases: Phases, t_s: float) -> float:
    smooth = sum(
        piece.messages(min(max(t_s - piece.start_s, 0.0), piece.duration_s)) for piece in _pieces(load, phases)
    )
    replayed = sum(
        int(np.searchsorted(segment.times_s, t_s - start_s))
        for segment, start_s in _segments(load, phases)
        if segment.kind == "replay"
    )
    return smooth + replayed


def offered_rate_per_s(load: Load, phases: Phases, t_s: float) -> float:
    """Returns the rate that the schedule asks for at ``t_s`` of the load; a replay counts as its mean rate, closed loop as 0."""
    for segment, start_s in _segments(load, phases):
        if segment.kind == "replay" and start_s <= t_s < start_s + segment.duration_s:
            return len(segment.times_s) / segment.duration_s
    for piece in _pieces(load, phases):
        if piece.start_s <= t_s < piece.start_s + piece.duration_s:
            return piece.rate_per_s(t_s - piece.start_s)
    return 0.0
