"""From moments and windows to every figure of ``record.md``, with the definitions of ``measurement.md`` section 2.

- ``throughput`` "= first finishes of *processed* and *recovered* identities, by finish time, in the window ÷ its length". Labelled
  ``sustained`` "only if |backlog at end − at start| ≤ 5 % of them; otherwise ``filling`` or ``draining``, and then it is not compared".
- ``rate.offered`` "intended messages per second"; ``rate.confirmed`` first confirms, ``rate.delivered`` first receipts,
  ``rate.settled`` first settlements that took the message out and were answered OK; "``rate.achieved`` = settled ÷ offered".
  "Rates are placed by their own event's time, latencies by ``intended_ns``."
- ``latency.publish`` "= first ``confirmed − intended``"; ``latency.end_to_end`` "= ``received − intended`` of the first delivery";
  ``latency.completion`` "= first ``finished − intended`` of any delivery". ``….from_sent``: "``confirmed − sent``; ``received − sent`` of
  the delivered attempt", and likewise for the finish.
- Censored, as "at least (end − intended), end = the last moment at which a worker was asking": in end-to-end (and completion)
  "CONFIRMED or UNKNOWN and never received, or held and never sent"; in publish, UNKNOWN, and held and never sent, since "the held time
  counts in every latency". "REJECTED, and unsent by a dead producer, are counted apart": they are in no latency. In from_sent a
  message that was never sent has no start and is left out. One that was due only after that last moment is in none: nobody asked for it.
- ``lag`` "= ``sent − intended`` of messages that were not held", of the first attempt.
- ``blocked``: seconds of the window in which at least one due message was held (from due to sent; the union, not the sum).
- ``backlog.max``, ``backlog.end``: of the ledger (``backlog``), within the window and at its end.
- ``class.*``, ``mark.*``, ``loss.*``, ``cost.*`` belong to the run, not to a part of it: they stand in ``whole`` alone.
- ``cost.*``: CPU and written bytes from the load's start until the last message was settled (``used.work_span``).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl

from harness.analysis.backlog import Backlog
from harness.analysis.bounds import poisson_upper
from harness.analysis.identities import NEVER
from harness.analysis.moments import Mask, Moments
from harness.analysis.percentiles import Distribution, figures, from_spans
from harness.analysis.used import used, work_span
from harness.analysis.windows import Window, Windows, count_inside, covered_ns, inside, length_s
from harness.facts import TrialFacts
from harness.model import LOSS_CLASSES, Class, Outcome
from harness.record import AtLeast, Figure, LedgerCounts, Metrics, Unknown

Ints = npt.NDArray[np.int64]

SUSTAINED_SHARE = 0.05
NOT_MEASURED = Unknown(unknown="not measured")


def end_ns(facts: TrialFacts, moments: Moments) -> int:
    """Returns the last moment at which a worker was asking: until then a message that never came is at least late."""
    known = (facts.asking_until_ns, facts.drain_end_ns, facts.load_end_ns)
    stored = next((t_ns for t_ns in known if t_ns is not None), 0)
    events = moments.delivery_events_ns
    return max(stored, int(events[-1]) if len(events) else 0)


def is_counted(moments: Moments) -> Mask:
    """Returns which identities belong in a latency: CONFIRMED, UNKNOWN, or held and never sent."""
    counted: Mask = moments.outcome >= Outcome.UNKNOWN
    if counted.all():
        return counted
    never_sent = (moments.outcome == Outcome.NOT_SENT) & moments.held & (moments.received_ns == NEVER)
    counted |= never_sent
    return counted


def end_to_end(moments: Moments, chosen: Mask, until_ns: int) -> Distribution:
    """Returns the end-to-end latencies of the chosen identities."""
    return from_spans(moments.intended_ns[chosen], moments.received_ns[chosen], until_ns)


def lag(moments: Moments, chosen: Mask) -> Distribution:
    """Returns the schedule lag of the chosen identities that were sent and not held."""
    not_held = chosen & ~moments.held & (moments.first_sent_ns != NEVER)
    return Distribution(values_ns=moments.first_sent_ns[not_held] - moments.intended_ns[not_held])


def due_unasked(moments: Moments, until_ns: int) -> int:
    """Returns how many messages that count were due only when no worker asked any more: they are in no latency."""
    late = (moments.received_ns == NEVER) & (moments.intended_ns >= until_ns)
    return int(np.count_nonzero(late & is_counted(moments)))


def _rows(chosen: Mask) -> Mask | slice:
    """Returns what picks the chosen rows; where it is all of them, without a copy."""
    return slice(None) if chosen.all() else chosen


class Measure:
    """Computes the figures of any window of one trial.

    Args:
        moments, backlog: of the trial. until_ns: see :func:`end_ns`.
    """

    def __init__(self, moments: Moments, backlog: Backlog, until_ns: int) -> None:
        self._moments = moments
        self._backlog = backlog
        self._until_ns = until_ns
        self._counted = is_counted(moments)
        finished = moments.is_class(Class.PROCESSED, Class.RECOVERED)
        self._first_finishes = moments.finished_ns if finished.all() else moments.finished_ns[finished]

    def window(self, window: Window) -> dict[str, Figure]:
        """Returns all figures that belong to a part of the run, by metric name."""
        result: dict[str, Figure] = {}
        result["throughput"] = count_inside(window, self._first_finishes) / length_s(window)
        result.update(self._rates(window))
        due = inside(window, self._moments.intended_ns)
        for name, spread in self._latencies(due & self._counted):
            result.update({f"latency.{name}.{point}": figure for point, figure in figures(spread).items()})
        lags = figures(lag(self._moments, due))
        result.update({f"lag.{point}": figure for point, figure in lags.items() if point != "p90"})
        result["blocked"] = self._blocked_s(window)
        result["backlog.max"] = float(self._backlog.highest(window))
        result["backlog.end"] = float(self._backlog.at(window[-1][1]))
        return result

    def label(self, window: Window) -> str:
        """Returns ``sustained``, ``filling`` or ``draining``."""
        grown = self._backlog.grown(window)
        if abs(grown) <= SUSTAINED_SHARE * count_inside(window, self._first_finishes):
            return "sustained"
        return "filling" if grown > 0 else "draining"

    def _rates(self, window: Window) -> dict[str, Figure]:
        moments, seconds = self._moments, length_s(window)
        events = {
            "offered": moments.intended_ns,
            "confirmed": moments.confirmed_ns,
            "delivered": moments.received_ns,
            "settled": moments.settled_ns,
        }
        counts = {name: count_inside(window, t_ns) for name, t_ns in events.items()}
        rates: dict[str, Figure] = {f"rate.{name}": count / seconds for name, count in counts.items()}
        offered = counts["offered"]
        rates["rate.achieved"] = counts["settled"] / offered if offered else Unknown(unknown="nothing offered")
        return rates

    def _latencies(self, chosen: Mask) -> Iterator[tuple[str, Distribution]]:
        """Yields each latency; one at a time, since ten million values are 80 MB each."""
        moments, until_ns = self._moments, self._until_ns
        ends = {
            "end_to_end": (moments.received_ns, moments.received_sent_ns),
            "publish": (moments.confirmed_ns, moments.confirmed_sent_ns),
            "completion": (moments.finished_ns, moments.finished_sent_ns),
        }
        rows = _rows(chosen)
        due = moments.intended_ns[rows]
        for name, (end, _) in ends.items():
            yield name, from_spans(due, end[rows], until_ns)
        del due
        rows = _rows(chosen & (moments.sent_ns != NEVER))
        for name, (end, sent) in ends.items():
            yield f"{name}.from_sent", from_spans(sent[rows], end[rows], until_ns)

    def _blocked_s(self, window: Window) -> float:
        held = self._moments.held & self._counted
        sent = np.minimum(self._moments.sent_ns[held], self._until_ns)
        return covered_ns(self._moments.intended_ns[held], sent, window) / 1e9


def measure(
    moments: Moments,
    backlog: Backlog,
    windows: Windows,
    facts: TrialFacts,
    counts: LedgerCounts,
    *,
    samples: pl.DataFrame,
) -> tuple[Metrics, dict[str, str]]:
    """Returns every figure of a trial, window by window, and the label of the throughput of each window."""
    measured = Measure(moments, backlog, end_ns(facts, moments))
    named = windows.measured()
    metrics: Metrics = {name: measured.window(window) for name, window in named.items()}
    metrics.setdefault("whole", {}).update(of_run(moments, facts, counts, samples))
    return metrics, {name: measured.label(window) for name, window in named.items()}


def negative_latencies(moments: Moments) -> int:
    """Returns how many messages were received before they were sent: clocks that differ; they stay in every figure."""
    return int(np.count_nonzero(moments.received_ns < moments.received_sent_ns))


def of_run(moments: Moments, facts: TrialFacts, counts: LedgerCounts, samples: pl.DataFrame) -> dict[str, Figure]:
    """Returns the figures that belong to the run as a whole: classes, marks, losses, costs.

    ``loss.confirmed`` "= classes 10 + 11 + 12"; while a CONFIRMED identity is undecided it is at least that.
    ``loss.confirmed_upper_95`` = Poisson upper bound on that count, "if losses were independent" (none lost: 2.995732).
    """
    figures_: dict[str, Figure] = {f"class.{name}": float(count) for name, count in counts.classes.items()}
    figures_.update({f"mark.{name}": float(count) for name, count in counts.marks.items()})
    confirmed_mask = moments.outcome == Outcome.CONFIRMED
    confirmed = int(np.count_nonzero(confirmed_mask))
    lost = sum(counts.classes.get(name, 0) for name in LOSS_CLASSES)
    undecided = bool((moments.is_class(Class.UNDECIDED) & confirmed_mask).any())

    def known(value: float) -> Figure:
        return AtLeast(at_least=value) if undecided else value

    figures_["loss.confirmed"] = known(float(lost))
    figures_["loss.ratio"] = known(lost / confirmed) if confirmed else Unknown(unknown="nothing confirmed")
    figures_["loss.confirmed_upper_95"] = known(poisson_upper(lost))
    figures_.update(costs(moments, facts, samples))
    return figures_


def costs(moments: Moments, facts: TrialFacts, samples: pl.DataFrame) -> dict[str, Figure]:
    """Returns CPU seconds per million messages, bytes written per message and the highest sample of the memory.

    CPU and bytes are those from the load's start until the last message was settled: what faults made the broker do in that time (a new
    one's start) is in it, the drain's wait for quiet is not. A message is a first finish of processed or recovered.
    """
    span = work_span(moments, facts)
    done = int(np.count_nonzero(moments.is_class(Class.PROCESSED, Class.RECOVERED)))

    def per(total: float | None, messages: float) -> Figure:
        if not done:
            return Unknown(unknown="nothing finished")
        return NOT_MEASURED if total is None else total / messages

    peak = facts.memory_peak_bytes
    return {
        "cost.broker_cpu": per(used(samples, "broker", "cpu_s", span), done / 1e6),
        "cost.load_cpu": per(used(samples, "load", "cpu_s", span), done / 1e6),
        "cost.disk_bytes_per_message": per(used(samples, "broker", "written_bytes", span), done),
        "cost.broker_memory_peak": NOT_MEASURED if peak is None else float(peak),
    }
