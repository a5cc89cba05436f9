"""How a trial came back from each fault (``measurement.md``, *Recovered* and *Recovery, per fault*).

- ``longest_gap``: longest time between two deliveries, of those that overlap [inject, next inject or end of the load or first
  delivery after the heal, whichever is needed to see it]; nothing came any more: at least. Time in which no message was waiting
  for its first receipt (``waiting``) is no gap.
- ``first_delivery``: "time from heal to first delivery", less the time in which no message was waiting; never: at least; nothing
  was waiting at all: unknown.
- ``p99``: heal → *recovered* "= start of the first three slices in a row (from heal on, each ≥ 1 s and ≥ 1,000 messages) with p99 ≤
  max(1.5 × baseline, baseline + 1 ms) **and** backlog at its level; not reached before the next inject or the end of the load: at
  least". The p99 is the end-to-end latency's by nearest rank, a censored one counts as too high; the backlog of a slice is its mean.
- ``backlog``: heal → start of the first second with a mean backlog at its level.
- ``redelivery_p50``, ``redelivery_max`` (worker kill): "from the worker's death to the second receipt of what it held; never = at
  least". Held (``held``) = received and not settled when the signal left. One whose settlement was on its way and that never came
  again was taken by the broker: it was not held. One that its open fetch swallowed was, where the broker says at its first receipt on
  record that it was given before.
- ``idle``: only where it happened: "reconnected but idle: workers connected, messages ready, none delivered for 5 s".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from harness.analysis.backlog import Backlog
from harness.analysis.held import held_by, swallowed_by
from harness.analysis.identities import NEVER
from harness.analysis.measure import end_to_end, is_counted
from harness.analysis.moments import Moments
from harness.analysis.percentiles import Distribution, from_spans, nearest_rank_ns
from harness.analysis.slo import NOTHING_WAITED
from harness.analysis.waiting import Waiting
from harness.analysis.windows import Window, inside, limit_ns
from harness.clock import NS_PER_S
from harness.facts import FaultRecord, TrialFacts
from harness.model import Class, FaultKind
from harness.record import AtLeast, Figure, Unknown

Ints = npt.NDArray[np.int64]

SLICE_NS = NS_PER_S
SLICE_MESSAGES = 1000
SLICES_IN_A_ROW = 3
IDLE_NS = 5 * NS_PER_S

NEVER_HEALED = Unknown(unknown="never healed")
NO_BASELINE = Unknown(unknown="no baseline")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovery:
    """What is known of one fault's recovery.

    Args:
        figures: metric name without ``recovery.`` → figure.
        until_ns: end of its recovery window: recovered, or until when that was waited for; None = never healed.
        warnings: sentences.
    """

    figures: Mapping[str, Figure]
    until_ns: int | None
    warnings: tuple[str, ...] = ()


def _since(t_ns: int | None, start_ns: int, waited_until_ns: int) -> Figure:
    """Returns seconds from ``start_ns`` to the event, or at least the time that was waited for it."""
    if t_ns is None:
        return AtLeast(at_least=max(0, waited_until_ns - start_ns) / NS_PER_S)
    return (t_ns - start_ns) / NS_PER_S


@dataclass(frozen=True, kw_only=True)
class Recoveries:
    """Looks at the recovery from the faults of one trial.

    Args:
        moments, backlog: of the trial. deliveries, connections: tables. facts: of the trial.
        baseline: its window. until_ns: last moment at which a worker was asking.
    """

    moments: Moments
    backlog: Backlog
    deliveries: pl.LazyFrame
    connections: pl.DataFrame
    facts: TrialFacts
    baseline: Window
    until_ns: int
    _waits: dict[int | None, Waiting] = field(init=False, default_factory=dict)
    _level: float | None = field(init=False)
    _p99_limit_ns: float | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_level", self.backlog.level(self.baseline))
        object.__setattr__(self, "_p99_limit_ns", self._limit_of_p99())

    def _limit_of_p99(self) -> float | None:
        chosen = inside(self.baseline, self.moments.intended_ns) & is_counted(self.moments)
        p99_ns = nearest_rank_ns(end_to_end(self.moments, chosen, self.until_ns), 990)
        return None if p99_ns is None else max(1.5 * p99_ns, p99_ns + 1e6)

    def _waiting(self, healed_ns: int | None) -> Waiting:
        """Returns when messages waited, as one fault sees it; built once where none vanished, and then the same for all."""
        until_heal_ns = healed_ns if self.moments.is_class(Class.VANISHED).any() else None
        if until_heal_ns not in self._waits:
            self._waits[until_heal_ns] = Waiting.of(self.moments, until_heal_ns, self.until_ns)
        return self._waits[until_heal_ns]

    def of(self, fault: FaultRecord) -> Recovery:
        """Returns the recovery from one fault that fired."""
        figures: dict[str, Figure] = {"longest_gap": self.longest_gap(fault)}
        until_ns: int | None = None
        warnings: list[str] = []
        if fault.healed_ns is None:
            figures.update(dict.fromkeys(("first_delivery", "p99", "backlog"), NEVER_HEALED))
        else:
            until_ns = self._of_healed(fault, fault.healed_ns, figures)
            idle_s = self.idle_s(fault.healed_ns)
            if idle_s >= IDLE_NS / NS_PER_S:
                figures["idle"] = idle_s
                warnings.append(
                    f"reconnected but idle after {fault.label}: for {idle_s:.1f} s workers were connected and messages "
                    f"ready, and none was delivered"
                )
        if fault.kind is FaultKind.WORKER_KILL:
            figures.update(self.redelivery(fault))
        return Recovery(figures=figures, until_ns=until_ns, warnings=tuple(warnings))

    def _of_healed(self, fault: FaultRecord, healed_ns: int, figures: dict[str, Figure]) -> int:
        limit = limit_ns(fault, self.facts)
        figures["first_delivery"] = self.first_delivery(healed_ns)
        if self._level is None or self._p99_limit_ns is None:
            figures["p99"] = figures["backlog"] = NO_BASELINE
            return limit
        recovered = self.recovered_ns(healed_ns, limit, self._level, self._p99_limit_ns)
        figures["p99"] = _since(recovered, healed_ns, limit)
        figures["backlog"] = _since(self.backlog.back_at(self._level, healed_ns, limit), healed_ns, limit)
        return limit if recovered is None else recovered

    def longest_gap(self, fault: FaultRecord) -> Figure:
        """Returns the longest time between deliveries that this fault can have caused."""
        events, injected = self.moments.delivery_events_ns, fault.injected_ns or 0
        first = max(0, int(np.searchsorted(events, injected, "right")) - 1)
        if fault.healed_ns is None:
            after_heal = last = len(events)
        else:
            after_heal = int(np.searchsorted(events, fault.healed_ns))
            last = max(int(np.searchsorted(events, limit_ns(fault, self.facts))) - 1, after_heal)
        seen = events[first : last + 1]
        last_seen = int(seen[-1]) if len(seen) else injected
        waiting = self._waiting(fault.healed_ns)
        waited = waiting.between(seen[:-1], seen[1:])
        longest = int(waited.max(initial=0))
        if after_heal == len(events):  # nothing came any more
            waited_in_vain = waiting.during(last_seen, self.until_ns)
            if waited_in_vain:
                return AtLeast(at_least=max(longest, waited_in_vain) / NS_PER_S)
        return longest / NS_PER_S if longest else NOTHING_WAITED

    def first_delivery(self, healed_ns: int) -> Figure:
        """Returns the time from the heal to the first delivery in which something was waiting for it."""
        events = self.moments.delivery_events_ns
        after = int(np.searchsorted(events, healed_ns))
        waiting = self._waiting(healed_ns)
        if after < len(events):
            waited = waiting.during(healed_ns, int(events[after]))
            return waited / NS_PER_S if waited else NOTHING_WAITED  # what came first had come before: a repeat
        in_vain = waiting.during(healed_ns, self.until_ns)
        return AtLeast(at_least=in_vain / NS_PER_S) if in_vain else NOTHING_WAITED

    def recovered_ns(self, healed_ns: int, limit: int, level: float, p99_limit_ns: float) -> int | None:
        """Returns the start of the first three good slices in a row that end by ``limit``, None without."""
        moments = self.moments
        chosen = np.flatnonzero(
            is_counted(moments) & (moments.intended_ns >= healed_ns) & (moments.intended_ns < limit)
        )
        chosen = chosen[np.argsort(moments.intended_ns[chosen], kind="stable")]
        due, received = moments.intended_ns[chosen], moments.received_ns[chosen]
        start, first, good_starts = healed_ns, 0, list[int]()
        while first + SLICE_MESSAGES <= len(due):
            end = max(start + SLICE_NS, int(due[first + SLICE_MESSAGES - 1]) + 1)
            if end > min(limit, self.until_ns):
                break
            last = int(np.searchsorted(due, end))
            spread = from_spans(due[first:last], received[first:last], self.until_ns)
            p99_ns = nearest_rank_ns(spread, 990) or 0
            low = p99_ns <= p99_limit_ns and p99_ns < spread.smallest_censored_ns
            if low and self.backlog.means(start, end - start, 1)[0] <= level + 1e-6:
                good_starts.append(start)
            else:
                good_starts.clear()
            if len(good_starts) == SLICES_IN_A_ROW:
                return good_starts[0]
            start, first = end, last
        return None

    def redelivery(self, fault: FaultRecord) -> dict[str, Figure]:
        """Returns how long what the killed workers held took to come to another receipt."""
        waits, censored = [np.zeros(0, np.int64)], NEVER
        for shard in self.facts.shards:
            if shard.name not in fault.shards or shard.killed_ns is None:
                continue
            again = held_by(self.deliveries, shard.number, shard.killed_ns)
            came = again.filter(pl.col("again_ns").is_not_null())
            waits.append((came.get_column("again_ns") - shard.killed_ns).to_numpy())
            never = len(again) - len(came)
            if never:
                waited = self.until_ns - shard.killed_ns
                waits.append(np.full(never, waited))
                censored = min(censored, waited)
        swallowed = swallowed_by(fault, self.facts, self.moments, self.deliveries, self.connections)
        waits.append(swallowed.to_numpy())
        spread = Distribution(values_ns=np.concatenate(waits), smallest_censored_ns=censored)
        median, longest = nearest_rank_ns(spread, 500), nearest_rank_ns(spread, 1000)
        if median is None or longest is None:
            return dict.fromkeys(("redelivery_p50", "redelivery_max"), Unknown(unknown="nothing was held"))
        return {"redelivery_p50": spread.figure(median), "redelivery_max": spread.figure(longest)}

    def idle_s(self, healed_ns: int) -> float:
        """Returns the longest time after the heal in which a worker was connected and a message ready that nobody had
        received, and none was delivered; until the next inject at most."""
        later = [f.injected_ns for f in self.facts.faults if f.injected_ns is not None and f.injected_ns > healed_ns]
        end = min([*later, self.until_ns])
        events = self.moments.delivery_events_ns
        inside_events = events[np.searchsorted(events, healed_ns) : np.searchsorted(events, end)]
        edges = np.concatenate([[healed_ns], inside_events, [max(end, healed_ns)]])
        longest = 0
        for gap in np.flatnonzero(np.diff(edges) >= IDLE_NS):
            start, stop = int(edges[gap]), int(edges[gap + 1])
            longest = max(longest, stop - self._ready_from(self._connected_from(start, stop), stop))
        return longest / NS_PER_S

    def _connected_from(self, start_ns: int, stop_ns: int) -> int:
        """Returns from when on, in a gap, some worker was connected until its end; ``stop_ns`` if none was."""
        earliest = stop_ns
        workers = {shard.name for shard in self.facts.shards if shard.kind == "worker"}
        changes = self.connections.filter(pl.col("shard").is_in(list(workers)) & (pl.col("t_ns") < stop_ns))
        for (_,), of_shard in changes.group_by("shard"):
            last = of_shard.sort("t_ns").row(-1, named=True)
            if last["up"]:
                earliest = min(earliest, max(start_ns, last["t_ns"]))
        return earliest

    def _ready_from(self, from_ns: int, stop_ns: int) -> int:
        """Returns the first moment from ``from_ns`` on at which a message is surely ready; ``stop_ns`` if none is.

        A message that nobody received may be ready, or on its way to a worker that died (then its hold must run out first):
        more than all workers can hold are not all on their way, and what was sent once workers were back is not either.
        """
        moments = self.moments
        waiting = (moments.received_ns >= stop_ns) & (moments.sent_ns < stop_ns)
        waiting &= (moments.received_ns != NEVER) | moments.is_class(Class.STRANDED)
        sent = moments.sent_ns[waiting]
        workers = sum(shard.kind == "worker" for shard in self.facts.shards)
        if np.count_nonzero(sent < from_ns) > workers * self.facts.prefetch:
            return from_ns
        sent = sent[sent >= from_ns]
        return int(sent.min()) if len(sent) else stop_ns
