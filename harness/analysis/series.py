"""What happened moment by moment, for charts: rates, latencies, backlog and what was used, in slices of one length. Pure.

Every number stands on the same definitions as the figures (``measurement.md`` section 2): rates are placed by their own event's time,
latencies by ``intended_ns``; a message that never came counts in its slice as "at least", so that no percentile can leave it out.

Neighbours: ``moments`` and the samples are what it is made from, ``reports.view`` asks for it, ``reports.charts`` draw it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import polars as pl

from harness.analysis.backlog import Backlog
from harness.analysis.identities import NEVER
from harness.analysis.measure import is_counted
from harness.analysis.moments import Moments
from harness.analysis.percentiles import BEYOND
from harness.clock import NS_PER_S
from harness.facts import TrialFacts
from harness.record import AtLeast, FaultResult

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MAX_SLICES = 120
WIDTHS_S = (
    0.05,
    0.1,
    0.2,
    0.25,
    0.3,
    0.4,
    0.5,
    1,
    1.5,
    2,
    2.5,
    3,
    4,
    5,
    6,
    7.5,
    9,
    10,
    15,
    20,
    30,
    60,
    120,
    300,
    600,
    1800,
    3600,
)
"""Of a slice."""
FEW_SLICES = 40
"""Of the load: no fewer are made for the sake of :data:`ENOUGH` messages in each."""
ENOUGH = 150
"""Messages of a slice that has a p99."""
ALIKE = 1.7
"""Lengths of a slice that differ by a smaller factor are as good as each other."""
BINS_PER_DECADE = (32, 16, 8)
"""Of the heatmap, the finest that needs no more than :data:`MAX_BINS` of them: neighbouring bins differ by 7, 15 or 33 %."""
MAX_BINS = 40
QUIET_S = 1.0
QUIET_SHARE = 0.1
"""How much of the drain's wait for quiet is shown after the last event: the larger of that many seconds and that share of what came before."""
PARTS_OF_DEPTH = {"depth_ready": "ready", "depth_in_flight": "in flight", "depth_delayed": "delayed"}

_SPAN = 1 << 44
"""Latencies in ns stay below it (nearly five hours); one that never ends stands at :data:`_NO_END`."""
_NO_END = _SPAN - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A phase or a fault, in seconds since the start of *steady* (negative before it). ``end_s`` None = it never ended.

    Args:
        name: ``warm-up``, ``steady``, ``drain``; of a fault its label. index: of a fault, its position in the scenario; None = a phase.
        recovered_s: of a fault, when the trial had recovered; None = not seen, or no fault.
        watched_s: of a fault, until when its recovery was looked for: recovered, or the limit; None = it never healed.
        never_replaced: of a fault whose target was never replaced, by design: it has no end, and what is left of the workers may recover.
    """

    name: str
    start_s: float
    end_s: float | None
    index: int | None = None
    recovered_s: float | None = None
    watched_s: float | None = None
    never_replaced: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """A sampled quantity: moments in seconds since the start of *steady*, and values; same shape (n,)."""

    t_s: Floats
    value: Floats


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Series:
    """A trial in ``n`` slices.

    Args:
        edges_s: of the slices, in seconds since the start of *steady*, shape (n + 1,); equal widths, the load begins and ends at an edge.
        offered, confirmed, delivered, settled: per second, by slice, shape (n,).
        latency_edges_s: of the bins of the heatmap, growing by one factor, shape (m + 1,); no latency lies beyond them (one of less than
            the first edge counts in the first bin).
        latency: messages due in the slice by end-to-end latency, shape (n, m).
        late: messages due in the slice that never came, shape (n,): in no bin of ``latency``.
        p50_s, p99_s: per slice, NaN where it has fewer than 2 messages, or 100 for the p99; inf where it is censored.
        backlog: mean number of messages by the ledger, shape (n,). backlog_broker: as the broker says; None = it was not asked.
        backlog_parts: what the broker's count is of: ``ready``, ``in flight``, ``delayed``; empty = it was not asked.
        cpu: source (``broker``, ``load``, ``machine``) → cores in use. memory: source → bytes. disk: source → bytes written per second.
            A rate stands in the middle between its two samples.
        cores: of the machine; None = not known. open_loop: False for ``saturate``, where offered = sent.
        phases, faults: in order of time; a fault that never fired is not among them.
    """

    edges_s: Floats
    offered: Floats
    confirmed: Floats
    delivered: Floats
    settled: Floats
    latency_edges_s: Floats
    latency: Ints
    late: Ints
    p50_s: Floats
    p99_s: Floats
    backlog: Floats
    backlog_broker: Track | None
    backlog_parts: tuple[str, ...] = ()
    cpu: Mapping[str, Track]
    memory: Mapping[str, Track]
    disk: Mapping[str, Track]
    cores: int | None = None
    open_loop: bool = True
    phases: tuple[Span, ...]
    faults: tuple[Span, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Slices:
    """``count`` slices of ``width_ns`` from ``start_ns`` on; ``zero_ns`` = the start of *steady*."""

    start_ns: int
    width_ns: int
    count: int
    zero_ns: int

    def edges_s(self) -> Floats:
        edges_ns = self.start_ns - self.zero_ns + self.width_ns * np.arange(self.count + 1)
        return edges_ns / NS_PER_S

    def of(self, t_ns: Ints) -> Ints:
        """Returns the slice of each moment; one before the first counts in it (clocks that differ), one after the last in that."""
        at = (t_ns - self.start_ns) // self.width_ns
        return np.clip(at, 0, self.count - 1, out=at)

    def per_second(self, t_ns: Ints) -> Floats:
        """Returns how many of the moments lie in each slice, per second."""
        counts: Floats = np.bincount(self.of(t_ns), minlength=self.count).astype(np.float64)
        return counts * (NS_PER_S / self.width_ns)

    def since_zero_s(self, t_ns: Ints) -> Floats:
        return (t_ns - self.zero_ns) / NS_PER_S


class _Latencies(TypedDict):
    latency_edges_s: Floats
    latency: Ints
    late: Ints
    p50_s: Floats
    p99_s: Floats


def series_of(
    moments: Moments, samples: pl.DataFrame, facts: TrialFacts, faults: Sequence[FaultResult]
) -> Series | None:
    """Returns a trial moment by moment; None where its load never began."""
    slices = _slices(moments, facts, faults)
    if slices is None:
        return None
    depth, parts = _depth(samples, slices)
    return Series(
        edges_s=slices.edges_s(),
        offered=slices.per_second(_offered(moments, facts)),
        confirmed=slices.per_second(_reached(moments.confirmed_ns)),
        delivered=slices.per_second(_reached(moments.received_ns)),
        settled=slices.per_second(_reached(moments.settled_ns)),
        **_latencies(moments, slices),
        backlog=Backlog.of(moments).means(slices.start_ns, slices.width_ns, slices.count),
        backlog_broker=depth,
        backlog_parts=parts,
        cpu=_growth(samples, slices, {"cpu_s": ("broker", "load"), "cpu_busy_s": ("machine",)}, most=facts.cores),
        memory=_gauges(samples, slices, "memory_bytes", ("broker", "load")),
        disk=_growth(samples, slices, {"written_bytes": ("broker", "load")}),
        cores=facts.cores,
        open_loop=facts.open_loop,
        phases=tuple(_phases(facts, slices.zero_ns)),
        faults=tuple(_faults(faults)),
    )


def _reached(t_ns: Ints) -> Ints:
    reached = t_ns != NEVER
    return t_ns if reached.all() else t_ns[reached]


def _offered(moments: Moments, facts: TrialFacts) -> Ints:
    """Returns when messages were due; what the schedule had for the time after a load that was cut short was never offered."""
    due = _reached(moments.intended_ns)
    if facts.load_end_ns is None or not len(due) or due.max() < facts.load_end_ns:
        return due
    offered = (moments.intended_ns < facts.load_end_ns) | (moments.sent_ns != NEVER)
    return _reached(moments.intended_ns[offered])


def _slices(moments: Moments, facts: TrialFacts, faults: Sequence[FaultResult]) -> _Slices | None:
    """Returns the slices from the load's start to the last event and a little of the quiet after it; None where the load never began."""
    start_ns, load_end_ns, last_ns = facts.load_start_ns, facts.load_end_ns, _last_event_ns(moments)
    if start_ns is None:
        return None
    load_end_ns = last_ns if load_end_ns is None else load_end_ns
    if load_end_ns <= start_ns:
        return None
    zero_ns = start_ns if facts.steady_start_ns is None else facts.steady_start_ns
    healed_ns = [zero_ns + round(fault.healed_s * NS_PER_S) for fault in faults if fault.healed_s is not None]
    last_ns = max([load_end_ns, last_ns, *healed_ns])
    quiet_ns = max(round(QUIET_S * NS_PER_S), round(QUIET_SHARE * (last_ns - start_ns)))
    end_ns = max(last_ns + 1, min(last_ns + quiet_ns, facts.drain_end_ns or last_ns))
    width_ns = _width_ns(load_end_ns - start_ns, end_ns - start_ns, len(moments.keys))
    count = -(-(end_ns - start_ns) // width_ns)
    return _Slices(start_ns=start_ns, width_ns=width_ns, count=count, zero_ns=zero_ns)


def _width_ns(load_ns: int, shown_ns: int, messages: int) -> int:
    """Returns the length of a slice, of which the load is a whole number.

    It is the shortest of :data:`WIDTHS_S` that needs no more slices than are allowed; a longer one where only that gives a slice enough
    messages for a p99; of two that are alike the one that divides the load, otherwise it is cut until it does.
    """
    widths = [_dividing(load_ns, round(width_s * NS_PER_S)) for width_s in WIDTHS_S]
    widths = [width_ns for width_ns in widths if -(-shown_ns // width_ns) <= MAX_SLICES]
    if not widths:
        return _dividing(load_ns, -(-shown_ns // (MAX_SLICES // 2)))
    full = [width_ns for width_ns in widths if messages * width_ns >= ENOUGH * load_ns]
    seen = [width_ns for width_ns in widths if FEW_SLICES * width_ns <= load_ns] or widths[:1]
    chosen = min([*full[:1], seen[-1]])
    alike = (width_ns for width_ns in widths if chosen <= width_ns < ALIKE * chosen)
    return next((width_ns for width_ns in alike if round(width_ns / NS_PER_S, 9) in WIDTHS_S), chosen)


def _dividing(load_ns: int, width_ns: int) -> int:
    """Returns a length of at most ``width_ns``, of which the load is a whole number; that itself for a load that is shorter."""
    return width_ns if load_ns < width_ns else -(-load_ns // -(-load_ns // width_ns))


def _last_event_ns(moments: Moments) -> int:
    events = (
        moments.sent_ns,
        moments.confirmed_ns,
        moments.received_ns,
        moments.settled_ns,
        moments.delivery_events_ns,
    )
    return max(int(_reached(t_ns).max(initial=0)) for t_ns in events)


def _latencies(moments: Moments, slices: _Slices) -> _Latencies:
    """Returns the heatmap, what never came, p50 and p99: one sort by slice and latency tells them all."""
    keys = _keys(moments, slices)
    starts = np.searchsorted(keys, np.arange(slices.count + 1) * _SPAN)
    ends = np.searchsorted(keys, np.arange(slices.count) * _SPAN + _NO_END)  # before those that never came
    came = keys % _SPAN
    came = came[came < _NO_END]
    edges_ns = _bins(came)
    del came
    rows = np.searchsorted(keys, (np.arange(slices.count) * _SPAN)[:, None] + edges_ns[None, 1:-1])
    bounds = np.column_stack([starts[:-1], rows, ends])
    counts = np.diff(starts)
    return {
        "latency_edges_s": edges_ns / NS_PER_S,
        "latency": np.diff(bounds, axis=1),
        "late": starts[1:] - ends,
        "p50_s": _percentile(keys, starts[:-1], counts, 500, fewest=2),
        "p99_s": _percentile(keys, starts[:-1], counts, 990, fewest=BEYOND),
    }


def _keys(moments: Moments, slices: _Slices) -> Ints:
    """Returns slice · 2^44 + latency of the messages that belong in a latency, sorted."""
    counted = is_counted(moments) & (moments.intended_ns != NEVER)
    rows = slice(None) if counted.all() else counted
    due, received = moments.intended_ns[rows], moments.received_ns[rows]
    latency = received - due
    np.clip(latency, 0, _NO_END - 1, out=latency)
    latency[received == NEVER] = _NO_END
    keys = slices.of(due) * _SPAN + latency
    keys.sort()
    return keys


def _bins(latency_ns: Ints) -> Ints:
    """Returns the edges that hold all latencies: of one grid for all trials, so that pictures of several can be laid side by side."""
    if not len(latency_ns):
        return np.array([1_000_000, 2_000_000])
    low, high = (np.log10(max(int(of(latency_ns)), 1_000)) for of in (np.min, np.max))
    for per_decade in BINS_PER_DECADE:
        first, last = int(np.floor(low * per_decade)), int(np.floor(high * per_decade)) + 1
        if last - first <= MAX_BINS:
            break
    return np.rint(10 ** (np.arange(first, last + 1) / per_decade)).astype(np.int64)


def _percentile(keys: Ints, starts: Ints, counts: Ints, permille: int, *, fewest: int) -> Floats:
    """Returns the nearest rank of each slice in seconds, inf where that never came, NaN where the slice has fewer than ``fewest``."""
    known = counts >= fewest
    place = starts[known] + np.maximum(-(-counts[known] * permille // 1000), 1) - 1
    value_ns = keys[place] % _SPAN
    result = np.full(len(counts), np.nan)
    result[known] = np.where(value_ns == _NO_END, np.inf, value_ns / NS_PER_S)
    return result


def _rows(samples: pl.DataFrame, source: str, metric: str) -> tuple[Ints, Floats]:
    rows = samples.filter((pl.col("source") == source) & (pl.col("metric") == metric)).sort("t_ns")
    return rows["t_ns"].to_numpy(), rows["value"].to_numpy()


def _inside(slices: _Slices, t_ns: Ints, value: Floats) -> Track | None:
    """Returns what was sampled while the slices last; None where nothing was."""
    end_ns = slices.start_ns + slices.width_ns * slices.count
    chosen = (t_ns >= slices.start_ns) & (t_ns <= end_ns)
    return Track(t_s=slices.since_zero_s(t_ns[chosen]), value=value[chosen]) if chosen.any() else None


def _gauges(samples: pl.DataFrame, slices: _Slices, metric: str, sources: Sequence[str]) -> dict[str, Track]:
    tracks = {source: _inside(slices, *_rows(samples, source, metric)) for source in sources}
    return {source: track for source, track in tracks.items() if track is not None}


def _growth(
    samples: pl.DataFrame, slices: _Slices, metrics: Mapping[str, Sequence[str]], most: float | None = None
) -> dict[str, Track]:
    """Returns how fast totals grew: between two samples, where the second is not lower (a counter that began again says nothing).

    Args:
        most: more than that cannot be (cores, per second): a total is read a little before the time that stands beside it.
    """
    tracks: dict[str, Track] = {}
    for source, metric in ((source, metric) for metric, sources in metrics.items() for source in sources):
        t_ns, total = _rows(samples, source, metric)
        if len(t_ns) < 2:
            continue
        passed, grown = np.diff(t_ns), np.diff(total)
        sound = (passed > 0) & (grown >= 0)
        rate = np.minimum(grown[sound] * NS_PER_S / passed[sound], np.inf if most is None else most)
        track = _inside(slices, (t_ns[:-1] + passed // 2)[sound], rate)
        if track is not None:
            tracks[source] = track
    return tracks


def _depth(samples: pl.DataFrame, slices: _Slices) -> tuple[Track | None, tuple[str, ...]]:
    """Returns the backlog as the broker says it, and what it counted: not every broker tells more than what is ready."""
    rows = samples.filter((pl.col("source") == "broker") & pl.col("metric").is_in(list(PARTS_OF_DEPTH)))
    if rows.is_empty():
        return None, ()
    asked = rows.group_by("t_ns").agg(pl.col("value").sum()).sort("t_ns")
    told = set(rows["metric"].unique())
    parts = tuple(word for metric, word in PARTS_OF_DEPTH.items() if metric in told)
    return _inside(slices, asked["t_ns"].to_numpy(), asked["value"].to_numpy()), parts


def _phases(facts: TrialFacts, zero_ns: int) -> Iterator[Span]:
    """Yields the phases that were reached and lasted."""
    starts = {"warm-up": facts.load_start_ns, "steady": facts.steady_start_ns, "drain": facts.load_end_ns}
    load_end_ns = facts.load_end_ns
    ends = {"warm-up": facts.steady_start_ns, "steady": load_end_ns, "drain": facts.drain_end_ns}
    for name, start_ns in starts.items():
        end_ns = ends[name]
        if start_ns is None or (name == "steady" and load_end_ns is not None and start_ns >= load_end_ns):
            continue
        if name == "warm-up" and end_ns is not None and load_end_ns is not None:
            end_ns = min(end_ns, load_end_ns)
        if end_ns is None or end_ns > start_ns:
            end_s = None if end_ns is None else (end_ns - zero_ns) / NS_PER_S
            yield Span(name=name, start_s=(start_ns - zero_ns) / NS_PER_S, end_s=end_s)


def _faults(faults: Sequence[FaultResult]) -> Iterator[Span]:
    """Yields the faults that fired, by the moment at which they did."""
    fired = [(fault.injected_s, fault) for fault in faults if fault.injected_s is not None]
    for injected_s, fault in sorted(fired, key=lambda pair: (pair[0], pair[1].index)):
        took = fault.recovery.get("p99")
        recovered_s = watched_s = None
        if fault.healed_s is not None:
            recovered_s = fault.healed_s + took if isinstance(took, float) else None
            watched_s = fault.healed_s + took.at_least if isinstance(took, AtLeast) else recovered_s
        yield Span(
            name=fault.label,
            start_s=injected_s,
            end_s=None if fault.never_replaced else fault.healed_s,
            never_replaced=fault.never_replaced,
            index=fault.index,
            recovered_s=recovered_s,
            watched_s=watched_s,
        )
