"""Figures of hand-built trials, each worked out in a comment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from trials import MS, NULL, S, Story, at, fault, producer, worker

from harness.analysis.analyse import TrialTables, analyse
from harness.analysis.backlog import Backlog
from harness.analysis.percentiles import Distribution, figures, from_spans, nearest_rank_ns, rank
from harness.metrics import METRICS
from harness.model import Traits
from harness.record import AtLeast, Unknown
from harness.tables import OUTCOME

TOO_SMALL = Unknown(unknown="n too small")


def spread(values: list[int]) -> Distribution:
    return Distribution(values_ns=np.array(values, np.int64))


# Percentiles.


def test_percentiles_are_by_nearest_rank_and_never_interpolated() -> None:
    # Of 1..100,000 the p-th percentile is the value at rank ceil(p * n): 50,000, 90,000, 99,000, 99,900.
    values = np.random.default_rng(1).permutation(100_000) + 1
    assert figures(Distribution(values_ns=values * S)) == {
        "p50": 50_000.0,
        "p90": 90_000.0,
        "p99": 99_000.0,
        "p99_9": 99_900.0,
        "max": 100_000.0,
    }


@pytest.mark.parametrize(("count", "p90", "p99", "p99_9"), [(999, 0, 0, 0), (1000, 1, 0, 0), (9_999, 1, 0, 0)])
def test_a_tail_needs_a_hundred_messages_beyond_it(count: int, p90: int, p99: int, p99_9: int) -> None:
    shown = figures(spread(list(range(count))))
    assert [shown[name] != TOO_SMALL for name in ("p90", "p99", "p99_9")] == [bool(p90), bool(p99), bool(p99_9)]


@pytest.mark.parametrize(("count", "enough"), [(99_999, False), (100_000, True)])
def test_p99_needs_ten_thousand_and_p99_9_a_hundred_thousand(count: int, enough: bool) -> None:
    shown = figures(Distribution(values_ns=np.arange(count)))
    assert (shown["p99_9"] != TOO_SMALL) is enough
    assert figures(Distribution(values_ns=np.arange(count // 10)))["p99"] != TOO_SMALL or not enough


def test_the_rank_is_computed_in_whole_numbers() -> None:
    # 0.999 * 1000 is 998.9999999999999 or 999.0000000000001 in floats; the rank is 999.
    assert [rank(1000, 999), rank(1001, 999), rank(1, 500), rank(3, 500)] == [999, 1000, 1, 2]


def test_without_messages_there_is_no_figure() -> None:
    assert set(figures(spread([])).values()) == {Unknown(unknown="no messages")}
    assert nearest_rank_ns(spread([]), 990) is None


def test_percentiles_at_or_above_the_smallest_censored_value_are_at_least() -> None:
    # 1,000 values 1..1000 ms; those above 900 ms never ended and were waited for until then. p50 = 500 ms stands, p90 = 900 ms
    # stands, the maximum is censored. One censored at 400 ms pulls p50 and p90 down to "at least".
    start = np.zeros(1000, np.int64)
    end = np.arange(1, 1001) * MS
    end[900:] = np.iinfo(np.int64).max
    shown = figures(from_spans(start - np.arange(1000) * 0, end, 901 * MS))
    assert shown == {
        "p50": 0.5,
        "p90": 0.9,
        "p99": TOO_SMALL,
        "p99_9": TOO_SMALL,
        "max": AtLeast(at_least=0.901),
    }
    end[900:] = np.arange(901, 1001) * MS
    start[400], end[400] = 0, np.iinfo(np.int64).max  # the 401st, censored at 400 ms
    shown = figures(from_spans(start, end, 400 * MS))
    assert shown["p50"] == AtLeast(at_least=0.5)
    assert shown["p90"] == AtLeast(at_least=0.9)


def test_a_message_due_after_the_last_asking_is_in_no_latency() -> None:
    never = np.array([np.iinfo(np.int64).max])
    assert from_spans(np.array([50]), never, 20).values_ns.tolist() == []


# The broker stands still.


@pytest.fixture(scope="module")
def standstill() -> Story:
    """20 s at 1,000/s; the broker answers nothing from 10 s to 12 s, and all that waited at 12 s."""
    story = Story(rate=1000, seconds=20)
    waited = story.due(10, 12)
    for moment in (story.confirmed, story.received, story.finished, story.settled):
        moment[waited] = at(12) + 2 * MS
    return story


def test_a_standstill_of_two_seconds_shows_in_every_latency_as_the_schedule_says(standstill: Story) -> None:
    # 2,000 of 20,000 messages wait: the one due at 10 s + k ms for 2,002 - k ms (k = 0..1999), the rest take 2 ms.
    # Sorted, ranks 18,001..20,000 hold 3..2002 ms; rank r holds r - 17,998 ms.
    # p90: rank 18,000 -> 2 ms. p99: rank 19,800 -> 1,802 ms. p99.9 stands on 20 messages: n too small. Max: 2,002 ms.
    steady = standstill.analysed().metrics["steady"]
    assert steady["latency.end_to_end.p50"] == 0.002
    assert steady["latency.end_to_end.p90"] == 0.002
    assert steady["latency.end_to_end.p99"] == 1.802
    assert steady["latency.end_to_end.p99_9"] == TOO_SMALL
    assert steady["latency.end_to_end.max"] == 2.002
    # Publish takes 1 ms elsewhere: the same ranks.
    assert steady["latency.publish.p99"] == 1.802
    assert steady["latency.publish.max"] == 2.002


def test_a_standstill_of_a_held_load_counts_from_due_and_shows_the_queueing_apart(standstill: Story) -> None:
    # The same, but the producer could not send: everything due in the pause went out at 12 s. Latencies from due stay as they
    # were, those from sending are 2 ms, and the pause prints as blocked: from 10 s until 12 s.
    held = replace(standstill)
    held.sent = standstill.sent.copy()
    waited = standstill.due(10, 12)
    held.sent[waited] = at(12)
    held.held = np.where(waited, "disconnected", None)
    for name in ("outcome", "confirmed", "received", "finished", "settled", "worker", "intended"):
        setattr(held, name, getattr(standstill, name))
    steady = held.analysed().metrics["steady"]
    assert steady["latency.end_to_end.p99"] == 1.802
    assert steady["latency.end_to_end.from_sent.p99"] == 0.002
    assert steady["latency.end_to_end.from_sent.max"] == 0.002
    assert steady["blocked"] == 2.0
    assert steady["lag.max"] == 0.0  # a held message is not lag


# Who is in a latency.


def test_confirmed_and_never_received_is_censored_at_the_last_asking() -> None:
    # 1,000 messages in 1 s; the last 10, due at 990..999 ms, are lost. Workers asked until 7 s: they are at least 6,001..6,010 ms
    # late. Ranks 1..990 hold 2 ms: p90 = 2 ms, max = at least 6.01 s (the oldest).
    story = Story(rate=1000, seconds=1)
    story.lose(slice(990, None))
    whole = story.analysed().metrics["whole"]
    assert whole["latency.end_to_end.p90"] == 0.002
    assert whole["latency.end_to_end.max"] == AtLeast(at_least=6.01)
    assert whole["latency.completion.max"] == AtLeast(at_least=6.01)
    assert whole["latency.publish.max"] == 0.001
    assert whole["latency.end_to_end.from_sent.max"] == AtLeast(at_least=6.01)


def test_rejected_and_unsent_by_a_dead_producer_are_in_no_latency() -> None:
    story = Story(rate=1000, seconds=1)
    story.lose(slice(0, 20))
    story.outcome[:10] = "REJECTED"
    story.outcome[10:20] = "NOT_SENT"
    story.sent[10:20] = story.confirmed[10:20] = NULL
    story.facts_more = {"shards": (producer(killed_ns=at(0.5)), worker(0))}
    analysed = story.analysed()
    whole = analysed.metrics["whole"]
    assert whole["latency.end_to_end.max"] == 0.002
    assert whole["latency.publish.max"] == 0.001
    assert (whole["class.rejected"], whole["class.unsent"]) == (10.0, 10.0)
    assert analysed.reasons == ()


def test_held_and_never_sent_is_censored_in_latencies_from_due_alone() -> None:
    # Due at 0 ms, held until the end, asked until 7 s: at least 7 s. It was never sent, so it is in no view from sending.
    story = Story(rate=1000, seconds=1)
    story.lose(0)
    story.outcome[0], story.held[0], story.sent[0], story.confirmed[0] = "NOT_SENT", "blocked", NULL, NULL
    whole = story.analysed().metrics["whole"]
    assert whole["latency.end_to_end.max"] == AtLeast(at_least=7.0)
    assert whole["latency.publish.max"] == AtLeast(at_least=7.0)
    assert whole["latency.end_to_end.from_sent.max"] == 0.002
    assert whole["latency.publish.from_sent.max"] == 0.001
    assert whole["blocked"] == 1.0  # from 0 s to the end of the load


def test_an_unknown_outcome_is_censored_in_publish_and_counts_where_it_came() -> None:
    story = Story(rate=1000, seconds=1)
    story.outcome[5], story.confirmed[5] = "UNKNOWN", NULL  # received all the same: recovered
    whole = story.analysed().metrics["whole"]
    assert whole["latency.publish.max"] == AtLeast(at_least=6.995)
    assert whole["latency.end_to_end.max"] == 0.002
    assert whole["class.recovered"] == 1.0


def test_lag_is_that_of_messages_that_were_not_held() -> None:
    # 20,000 messages; 300 go out 50 ms late: rank 19,800 (p99) lies among them.
    story = Story(rate=1000, seconds=20)
    story.sent[:300] += 50 * MS
    steady = story.analysed().metrics["steady"]
    assert (steady["lag.p50"], steady["lag.p99"], steady["lag.max"]) == (0.0, 0.05, 0.05)
    assert "lag.p90" not in steady


# Rates and throughput.


def test_rates_are_placed_by_their_own_event_and_latencies_by_when_they_were_due() -> None:
    # 1,000/s for 10 s; what is due in the last second is finished (and settled) a second late, after the load.
    story = Story(rate=1000, seconds=10)
    late = story.due(9, 10)
    story.finished[late] += 1 * S
    story.settled[late] += 1 * S
    steady = story.analysed().metrics["steady"]
    # Finished within: all due before 9 s (9,000). Settled: the same; of each second's last messages 3 or 4 ms run over.
    assert steady["throughput"] == 900.0
    assert steady["rate.offered"] == 1000.0
    assert steady["rate.settled"] == 900.0
    assert steady["rate.achieved"] == 0.9
    assert steady["rate.confirmed"] == 999.9  # due at 9.999 s, confirmed at 10.000 s: not in it
    assert steady["rate.delivered"] == 999.8
    # 10,000 latencies: the 1,000 late ones take 1,003 ms.
    assert steady["latency.completion.p90"] == 0.003
    assert steady["latency.completion.p99"] == 1.003


def test_throughput_counts_first_finishes_of_processed_and_recovered_identities_only() -> None:
    story = Story(rate=1000, seconds=10)
    story.outcome[0], story.confirmed[0] = "UNKNOWN", NULL  # recovered: counts
    story.outcome[1] = "REJECTED"  # and yet delivered: a phantom
    story.more_deliveries = [
        story.delivery(2, at(1)),
        story.delivery(3, at(2), foreign=True),
    ]  # a repeat, a foreign one
    # 10,000 less 3 whose finish falls behind the end, less the phantom.
    assert story.analysed().metrics["steady"]["throughput"] == 999.6


@pytest.mark.parametrize(
    ("settle_later_s", "label"),
    [(0.0, "sustained"), (0.49, "sustained"), (0.52, "filling")],
)
def test_throughput_is_sustained_while_the_backlog_changes_by_at_most_a_twentieth(
    settle_later_s: float, label: str
) -> None:
    # 1,000/s for 10 s: about 10,000 finished, so 500 may be left: what is due in the last 0.5 s.
    story = Story(rate=1000, seconds=10)
    story.settled[story.due(10 - settle_later_s, 10)] += 5 * S
    assert story.analysed().throughput_label["steady"] == label


def test_a_backlog_worked_off_in_the_window_is_draining() -> None:
    # Warm-up leaves 2,000 messages, settled in the middle of the steady window of 8 s.
    story = Story(rate=1000, seconds=10, warmup_s=2)
    story.settled[story.due(0, 2)] = at(5)
    assert story.analysed().throughput_label == {"steady": "draining", "whole": "sustained"}


# Backlog.


def test_backlog_counts_what_is_sent_and_not_yet_settled() -> None:
    backlog = Backlog(np.array([10, 20, 30]), np.array([25, 40, 40]))
    assert [backlog.at(t) for t in (9, 10, 20, 25, 30, 39, 40)] == [0, 1, 2, 1, 2, 2, 0]
    assert backlog.highest(((0, 100),)) == 2
    assert backlog.highest(((26, 29),)) == 1
    assert backlog.grown(((0, 20), (25, 40))) == 2 - 1


def test_backlog_means_are_time_averages() -> None:
    # In [0, 10): one from 2 on (8/10) and one from 5 to 9 (4/10). In [10, 20): the first until 14 (4/10).
    backlog = Backlog(np.array([2, 5]), np.array([14, 9]))
    assert backlog.means(0, 10, 2).tolist() == [pytest.approx(1.2), pytest.approx(0.4)]
    # One that enters exactly at an edge counts from there, once.
    assert Backlog(np.array([10]), np.array([20])).means(0, 10, 3).tolist() == [0.0, 1.0, 0.0]


def test_lost_messages_are_not_in_the_backlog_and_stranded_ones_stay_in_it() -> None:
    story = Story(rate=1000, seconds=10)
    story.lose(slice(0, 100))
    story.residue = [
        {"producer": 0, "seq": s, "attempt": 1, "place": "ready", "entry": None, "hold_over": None, "foreign": False}
        for s in range(40)
    ]
    steady = story.analysed().metrics["steady"]
    assert steady["backlog.end"] == 40 + 3  # the stranded, and what is due at 9.997, 9.998, 9.999 s
    assert steady["backlog.max"] == 40 + 4
    assert (steady["latency.end_to_end.p50"], steady.get("class.lost")) == (0.002, None)


def test_the_level_is_the_highest_one_second_mean_of_the_baseline() -> None:
    # In the third second 500 messages lie for 0.1 s more: mean of that second 500 * 0.1 / 1 = 50 above the others.
    base, more = np.arange(5000) * MS, np.full(500, 2 * S + 100 * MS)
    backlog = Backlog(np.concatenate([base, more]), np.concatenate([base + 4 * MS, more + 100 * MS]))
    level = backlog.level(((0, 5 * S),))
    assert level == pytest.approx(4 + 50)
    assert backlog.level(()) is None


# The run as a whole.


def test_losses_classes_and_costs_stand_in_the_whole_window() -> None:
    story = Story(rate=1000, seconds=10)
    story.lose(slice(100, 105))
    story.facts_more = {"memory_peak_bytes": 7_000_000}
    for metric, source, total in (
        ("cpu_s", "broker", 0.5),
        ("cpu_s", "load", 1.0),
        ("written_bytes", "broker", 999_500),
    ):
        story.samples += [(at(0), source, metric, 3.0), (story.settled.max(), source, metric, 3.0 + total)]
    whole = story.analysed().metrics["whole"]
    assert whole["loss.confirmed"] == 5.0
    assert whole["loss.ratio"] == 5 / 10_000
    assert whole["loss.confirmed_upper_95"] == pytest.approx(10.513035, abs=1e-6)
    assert whole["class.lost"] == 5.0
    assert whole["class.processed"] == 9_995.0
    assert whole["mark.given_twice"] == 0.0
    assert whole["cost.broker_cpu"] == pytest.approx(0.5 / 0.009995)
    assert whole["cost.load_cpu"] == pytest.approx(1.0 / 0.009995)
    assert whole["cost.disk_bytes_per_message"] == 100.0
    assert whole["cost.broker_memory_peak"] == 7_000_000.0


def test_a_cost_is_what_was_used_until_the_last_settlement_read_between_the_samples_around_it() -> None:
    story = Story(rate=1000, seconds=10)  # due until 9.999 s, settled until 10.003 s
    # 2 s of CPU before the load, 4 s a second from -0.5 s to 0.5 s, then 1 s a second; from 9.903 s on 5 s a second, and a drain.
    totals = [(-0.5, 2.0), (0.5, 6.0), (9.903, 15.403), (10.103, 16.403), (16.0, 99.0)]
    story.samples = [(at(t_s), "broker", "cpu_s", total) for t_s, total in totals]
    whole = story.analysed().metrics["whole"]
    assert whole["cost.broker_cpu"] == pytest.approx((15.903 - 4.0) / 0.01)
    assert whole["cost.load_cpu"] == Unknown(unknown="not measured")


def test_a_delivery_after_the_last_settlement_ends_the_span_of_the_costs() -> None:
    story = Story(rate=1000, seconds=10)
    story.more_deliveries = [story.delivery(0, at(12), settled_ns=None, settle_outcome=None)]
    story.samples = [(at(0), "broker", "written_bytes", 0.0), (at(20), "broker", "written_bytes", 200_000.0)]
    assert story.analysed().metrics["whole"]["cost.disk_bytes_per_message"] == pytest.approx(12.0)


def test_where_nothing_was_delivered_no_message_cost_anything() -> None:
    story = Story(rate=1000, seconds=10)
    story.lose(slice(None))
    story.samples = [(at(0), "broker", "cpu_s", 0.0), (at(20), "broker", "cpu_s", 2.0)]
    assert story.analysed().metrics["whole"]["cost.broker_cpu"] == Unknown(unknown="nothing finished")


def test_samples_that_miss_the_work_tell_no_cost() -> None:
    story = Story(rate=1000, seconds=10)
    story.samples = [(at(11), "broker", "cpu_s", 0.0), (at(12), "broker", "cpu_s", 2.0)]
    assert story.analysed().metrics["whole"]["cost.broker_cpu"] == Unknown(unknown="not measured")


def test_no_loss_has_the_upper_bound_of_three() -> None:
    whole = Story(rate=1000, seconds=10).analysed().metrics["whole"]
    assert whole["loss.confirmed"] == 0.0
    assert whole["loss.confirmed_upper_95"] == pytest.approx(2.995732, abs=1e-6)


def test_while_messages_are_undecided_a_loss_is_at_least_what_is_proven() -> None:
    story = Story(rate=1000, seconds=10, facts_more={"residue_sound": False})
    story.lose(slice(0, 5))
    whole = story.analysed().metrics["whole"]
    assert whole["class.undecided"] == 5.0
    assert whole["loss.confirmed"] == AtLeast(at_least=0.0)


def test_what_was_not_measured_says_so() -> None:
    whole = Story(rate=1000, seconds=1).analysed().metrics["whole"]
    assert whole["cost.broker_cpu"] == Unknown(unknown="not measured")
    assert whole["cost.broker_memory_peak"] == Unknown(unknown="not measured")


def test_every_figure_has_a_name_of_the_reference() -> None:
    story = Story(rate=1000, seconds=20, facts_more={"faults": (fault(10, 11),)})
    analysed = story.analysed()
    names = {name for window in analysed.metrics.values() for name in window}
    names |= {f"recovery.{name}" for each in analysed.faults for name in each.recovery}
    assert names <= set(METRICS)
    missing = set(METRICS) - names
    assert missing == {"recovery.redelivery_p50", "recovery.redelivery_max"}  # of worker kills alone


# Retries.


def test_from_sent_views_start_at_the_attempt_that_was_confirmed_and_delivered() -> None:
    # Message 0: sent at 0 ms, answered UNKNOWN; sent again at 500 ms, confirmed at 501 ms and that attempt received at 502 ms.
    story = Story(rate=10, seconds=1)
    tables = story.tables()
    again = tables.attempts.lazy().collect().head(1)
    first = again.with_columns(outcome=pl.lit("UNKNOWN", dtype=OUTCOME), confirmed_ns=pl.lit(None, dtype=pl.Int64))
    second = again.with_columns(attempt=pl.lit(2, pl.UInt8), sent_ns=at(0.5), confirmed_ns=at(0.501))
    others = tables.attempts.lazy().collect().slice(1)
    deliveries = tables.deliveries.lazy().collect()
    moved = deliveries.head(1).with_columns(
        attempt=pl.lit(2, pl.UInt8), received_ns=at(0.502), finished_ns=at(0.503), settled_ns=at(0.504)
    )
    told = TrialTables(
        attempts=pl.concat([first, second, others]),
        deliveries=pl.concat([moved, deliveries.slice(1)]),
        residue=tables.residue,
        connections=tables.connections,
        samples=tables.samples,
    )
    whole = analyse(told, story.facts(), story.setup(), {}).metrics["whole"]
    assert whole["latency.end_to_end.max"] == 0.502
    assert whole["latency.end_to_end.from_sent.max"] == 0.002
    assert whole["latency.publish.max"] == 0.501
    assert whole["latency.publish.from_sent.max"] == 0.001
    assert whole["latency.completion.from_sent.max"] == 0.003
    assert whole["rate.offered"] == 10.0  # an identity is due once
    assert whole["lag.max"] == 0.0  # a retry is no lag


def test_auto_ack_is_settled_by_finishing() -> None:
    story = Story(rate=1000, seconds=1, traits=Traits(at_most_once=True))
    story.settled = story.finished.copy()
    assert story.analysed().metrics["whole"]["rate.settled"] == 997.0  # the last 3 finish after the load


def test_what_was_due_when_nobody_asked_any_more_does_not_look_quick() -> None:
    # Workers asked until 6.002 s; 6 s of 10 came 2 ms late, the last 4 s never, held. Due by 6.001 s: 2 at least 1 and 2 ms late.
    story = Story(rate=1000, seconds=10, facts_more={"asking_until_ns": at(6.002)})
    unheard = story.due(6, 10)
    story.lose(unheard)
    story.outcome[unheard], story.held[unheard] = "NOT_SENT", "disconnected"
    story.sent[unheard] = story.confirmed[unheard] = NULL
    trial = story.analysed()
    assert trial.metrics["whole"]["latency.end_to_end.p50"] == AtLeast(at_least=0.002)
    told = "3,998 messages were due only after the last worker had stopped asking: they are in no latency"
    assert told in trial.warnings
