"""The whole analysis of a trial, and what trials and cases say together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trials import MS, NULL, Story, at, claim, connection, fault

from harness import tables
from harness.analysis.analyse import TrialTables, analyse, combine_case, run_exit
from harness.analysis.combine import combine_guarantees
from harness.analysis.slo import expectation, figure_of, is_met, worst
from harness.errors import ExitCode
from harness.model import DurabilityClass, FaultKind, MayLose, TrialStatus, Verdict
from harness.record import AtLeast, CaseRecord, Figure, Guarantee, Loss, RunRecord, TrialRecord, Unknown
from harness.scenario.model import Bound

TOO_SMALL = Unknown(unknown="n too small")


def crash(*, lost: int = 0, may_lose: MayLose = MayLose.NONE, **facts: Any) -> Story:
    """20 s at 1,000/s, the broker killed at 10 s and back at 11 s; ``lost`` of the exposed messages never come."""
    story = Story(rate=1000, seconds=20, claims=(claim(FaultKind.BROKER_KILL, may_lose),))
    story.connections = [connection("w0", 10, up=False), connection("w0", 11, up=True)]
    story.facts_more = {"faults": (fault(10, 11),), **facts}
    story.lose(slice(10_000, 10_000 + lost))
    return story


def record(story: Story, number: int = 1) -> TrialRecord:
    return story.analysed().record(number=number, folder=f"trial-{number}")


def case(*trials: TrialRecord, slo: tuple[Bound, ...] = (), unavailable: str = "") -> CaseRecord:
    empty = CaseRecord(
        id="story@embedded",
        slug="story",
        setup="story",
        broker="none",
        parameters={},
        network="embedded",
        durability_class=DurabilityClass.MEMORY,
        summary="",
        server="",
        trials=list(trials),
        unavailable=unavailable,
    )
    return combine_case(empty, slo)


def run(*cases: CaseRecord, status: Any = "finished") -> RunRecord:
    return RunRecord(
        tool_version="0",
        run_id="0" * 16,
        status=status,
        started_wall_ns=0,
        started_ns=0,
        scenario="story",
        question="",
        scenario_text="",
        scenario_expanded={},
        deployment="embedded",
        command="",
        cases=list(cases),
    )


# One trial.


def test_a_trial_is_the_same_from_frames_and_from_scans_of_its_files(tmp_path: Path) -> None:
    story = crash(lost=3)
    whole = story.tables()
    frames = {"attempts": whole.attempts, "deliveries": whole.deliveries}
    for name, frame in frames.items():
        frame.lazy().collect().write_parquet(tmp_path / f"{name}.parquet", row_group_size=1000)
    scans = {name: pl.scan_parquet(tmp_path / f"{name}.parquet") for name in frames}
    stored = TrialTables(residue=whole.residue, connections=whole.connections, samples=whole.samples, **scans)
    again = analyse(stored, story.facts(), story.setup(), {})
    assert again.record(number=1, folder="trial-1") == record(story)


def test_the_order_of_the_rows_does_not_change_a_figure() -> None:
    story = crash(lost=3)
    whole = story.tables()
    shuffled = TrialTables(
        attempts=whole.attempts.lazy().collect().sample(fraction=1.0, shuffle=True, seed=1),
        deliveries=whole.deliveries.lazy().collect().sample(fraction=1.0, shuffle=True, seed=2),
        residue=whole.residue,
        connections=whole.connections,
        samples=whole.samples,
    )
    assert analyse(shuffled, story.facts(), story.setup(), {}).record(number=1, folder="trial-1") == record(story)


def test_the_record_tells_the_fault_in_seconds_of_the_steady_phase() -> None:
    story = crash()
    story.warmup_s = 2.0
    told = record(story).faults[0]
    assert (told.planned_s, told.injected_s, told.healed_s, told.hit) == (8.0, 8.0, 9.0, True)
    assert told.exposed == story.analysed().faults[0].exposed
    assert set(told.recovery) == {"longest_gap", "first_delivery", "p99", "backlog"}


def test_the_record_names_lost_identities() -> None:
    lost = [each.identity for each in record(crash(lost=2)).examples if each.what == "lost"]
    assert lost == ["0:10000", "0:10001"]


def test_an_interrupted_trial_proves_nothing() -> None:
    told = crash(lost=2).analysed().record(number=1, folder="trial-1", interrupted=True)
    assert (told.status, told.evidence_sound) == (TrialStatus.INTERRUPTED, False)


def test_the_messages_table_is_the_one_of_the_run_folder() -> None:
    assert crash().analysed().messages.schema == tables.MESSAGES


def test_windows_around_a_fault_have_figures_of_their_own() -> None:
    # The fault window is 9 s to 11 s, recovered at once (the story's latencies never rise): steady is the rest.
    metrics = record(crash()).metrics
    assert list(metrics) == ["steady", "whole", "fault[0]"]
    assert metrics["fault[0]"]["rate.offered"] == 1000.0
    assert metrics["steady"]["rate.offered"] == 1000.0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 90), st.integers(1, 90), st.integers(1, 90), st.booleans()),
        min_size=1,
        max_size=40,
    )
)
def test_figures_are_those_of_a_naive_reading_of_the_page(rows: list[tuple[int, int, int, int, bool]]) -> None:
    # Each row: outcome kind (0, 1: confirmed; 2: confirmed and never received; 3: unknown, never received), ms until confirmed,
    # received, finished, and whether it was sent late.
    story = Story(rate=1000, seconds=len(rows) / 1000)
    for i, (kind, confirm_ms, receive_ms, finish_ms, late) in enumerate(rows):
        story.sent[i] += 5 * MS * late
        story.confirmed[i] = story.sent[i] + confirm_ms * MS
        story.received[i] = story.sent[i] + receive_ms * MS
        story.finished[i] = story.received[i] + finish_ms * MS
        story.settled[i] = story.finished[i] + MS
        if kind >= 2:
            story.lose(i)
        if kind == 3:
            story.outcome[i], story.confirmed[i] = "UNKNOWN", NULL
    metrics = story.analysed().metrics["whole"]
    end, until = at(story.seconds), at(story.seconds + 6)

    def naive(start: Any, stop: Any, percent: float) -> Figure:
        values = sorted((int(b if b != NULL else until) - int(a), b == NULL) for a, b in zip(start, stop, strict=True))
        smallest = min((value for value, censored in values if censored), default=None)
        value = values[int(np.ceil(percent * len(values))) - 1][0]
        return AtLeast(at_least=value / 1e9) if smallest is not None and value >= smallest else value / 1e9

    for name, stop in (("end_to_end", story.received), ("publish", story.confirmed), ("completion", story.finished)):
        for point, percent in (("p50", 0.5), ("max", 1.0)):
            assert metrics[f"latency.{name}.{point}"] == naive(story.intended, stop, percent)
            assert metrics[f"latency.{name}.from_sent.{point}"] == naive(story.sent, stop, percent)
    done = [int(t) for t in story.finished if t != NULL and t < end]
    assert metrics["throughput"] == len(done) / story.seconds
    moments = [int(t) for t in story.sent if t < end]
    pairs = [(int(a), int(b)) for a, b in zip(story.sent, story.settled, strict=True) if b != NULL]
    assert metrics["backlog.max"] == max((sum(a <= t < b for a, b in pairs) for t in moments), default=0)


# SLOs.


@pytest.mark.parametrize(
    ("figure", "limit", "at_least", "met"),
    [
        (0.04, 0.05, False, True),
        (0.05, 0.05, False, True),
        (0.06, 0.05, False, False),
        (AtLeast(at_least=0.06), 0.05, False, False),
        (AtLeast(at_least=0.05), 0.05, False, None),
        (AtLeast(at_least=0.04), 0.05, False, None),
        (TOO_SMALL, 0.05, False, None),
        (None, 0.05, False, None),
        (0.99, 0.99, True, True),
        (0.98, 0.99, True, False),
        (AtLeast(at_least=0.99), 0.99, True, True),
        (AtLeast(at_least=0.5), 0.99, True, None),
    ],
)
def test_a_bound_is_met_missed_or_not_to_be_told(
    figure: Figure | None, limit: float, at_least: bool, met: bool | None
) -> None:
    assert is_met(figure, limit, at_least=at_least) is met


def test_the_worst_of_several_figures() -> None:
    assert worst([1.0, 3.0, 2.0]) == 3.0
    assert worst([1.0, 3.0, 2.0], highest=False) == 1.0
    assert worst([5.0, AtLeast(at_least=2.0)]) == AtLeast(at_least=5.0)
    assert worst([5.0, TOO_SMALL]) == TOO_SMALL
    assert worst([]) is None


def test_a_metric_is_looked_up_where_it_stands() -> None:
    told = record(crash(lost=3))
    assert figure_of(told, "latency.end_to_end.p50") == told.metrics["steady"]["latency.end_to_end.p50"]
    assert figure_of(told, "loss.confirmed") == 3.0
    assert figure_of(told, "recovery.longest_gap") == told.faults[0].recovery["longest_gap"]
    assert figure_of(told, "recovery.redelivery_max") is None


P50 = Bound(metric="latency.end_to_end.p50", limit=0.0025, text="2.5 ms")
NO_LOSS = Bound(metric="loss.confirmed", limit=0.0, text="0")


def test_an_slo_is_met_when_every_trial_meets_it_and_shows_the_worst() -> None:
    slow = Story(rate=1000, seconds=5)
    slow.received += 1 * MS
    good, bad = record(Story(rate=1000, seconds=5)), record(slow, 2)
    assert expectation(P50, [good, good]).met is True
    missed = expectation(P50, [good, bad])
    assert (missed.met, missed.seen) == (False, 0.003)
    assert expectation(P50, []).met is None


def test_an_invalid_trial_says_nothing_of_a_latency_but_its_sound_ledger_proves_a_loss() -> None:
    late = crash(lost=3)
    late.sent[:400] += 20 * MS  # the generator was saturated
    told = record(late)
    assert (told.status, told.evidence_sound) == (TrialStatus.INVALID, True)
    assert expectation(P50, [told]).met is None
    assert expectation(NO_LOSS, [told]).met is False


def test_a_loss_that_cannot_be_told_leaves_the_slo_open() -> None:
    told = record(crash(lost=3, residue_sound=False))
    assert (expectation(NO_LOSS, [told]).met, expectation(NO_LOSS, [told]).seen) == (None, AtLeast(at_least=0.0))


def test_a_recovery_with_nothing_to_deliver_says_nothing_of_the_slo() -> None:
    told = record(crash())
    idle = told.faults[0].model_copy(update={"recovery": {"first_delivery": Unknown(unknown="nothing was waiting")}})
    busy = told.faults[0].model_copy(update={"recovery": {"first_delivery": 0.5}})
    assert figure_of(told.model_copy(update={"faults": [idle, busy]}), "recovery.first_delivery") == 0.5
    alone = figure_of(told.model_copy(update={"faults": [idle]}), "recovery.first_delivery")
    assert alone == Unknown(unknown="nothing was waiting")


# Over trials.


def verdicts(*each: Verdict, **more: Any) -> Guarantee:
    trials = [
        TrialRecord(
            number=n,
            status=TrialStatus.VALID,
            reasons=[],
            folder="",
            metrics={"whole": {"loss.confirmed": 0.0}},
            guarantees=[
                Guarantee(fault="broker kill", claim="loses nothing", verdict=verdict, evidence=f"e{n}", exposed=10)
            ],
        ).model_copy(update=more)
        for n, verdict in enumerate(each, 1)
    ]
    return combine_guarantees(trials)[0]


H, V, N, U = Verdict.HELD, Verdict.VIOLATED, Verdict.NOT_EXERCISED, Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("each", "combined"),
    [((H, V, U), V), ((H, U, N), U), ((N, H, N), H), ((N, N), N), ((Verdict.NO_CLAIM,) * 2, Verdict.NO_CLAIM)],
)
def test_over_trials_any_violated_else_any_unknown_else_held_else_not_exercised(
    each: tuple[Verdict, ...], combined: Verdict
) -> None:
    assert verdicts(*each).verdict is combined


def test_held_says_in_how_many_trials_it_was_exercised_and_bounds_the_share_of_lossy_deployments() -> None:
    combined = verdicts(H, N, H, H, H, H)
    assert combined.evidence == (
        "exercised in 5 of 6 trials; e1; e3; e4; e5; e6; 5 fresh deployments without loss: at most 45 % of such would lose (95 %)"
    )
    assert combined.exposed == 60


def test_violated_says_in_how_many_trials() -> None:
    assert verdicts(H, V, V).evidence == "in 2 of 3 trials; e2; e3"


def summed(*each: Guarantee) -> str:
    """Returns the evidence of several trials together."""
    trials = [
        TrialRecord(number=n, status=TrialStatus.VALID, reasons=[], folder="", metrics={}, guarantees=[given])
        for n, given in enumerate(each, 1)
    ]
    return combine_guarantees(trials)[0].evidence


def seen(verdict: Verdict, lost: int, of: int, budget: int | None = None, **counts: int) -> Guarantee:
    return Guarantee(
        fault="broker kill",
        claim="",
        verdict=verdict,
        evidence="",
        exposed=of,
        loss=Loss(lost=lost, of=of, what="exposed messages", budget=budget),
        counts={what.replace("_", " "): count for what, count in counts.items()},
        bounded=of,
    )


def words(verdict: Verdict, *notes: str, evidence: str = "") -> Guarantee:
    return Guarantee(fault="broker kill", claim="", verdict=verdict, evidence=evidence, notes=list(notes))


def test_the_evidence_of_several_trials_is_their_sum() -> None:
    first = seen(H, 0, 1000, came_again_unacked=2)
    second = seen(H, 0, 2000, came_again_unacked=3, given_twice=1)
    assert summed(first, second) == (
        "exercised in 2 of 2 trials; 0 of 3,000 exposed messages lost; 5 came again unacked; 1 given twice; "
        "if losses were independent, at most 0.1 % of all (3,000 exposed, 95 %)"
    )
    assert summed(seen(H, 0, 900, budget=4), seen(V, 3, 1000, budget=5)) == (
        "in 1 of 2 trials; 3 of 1,900 exposed messages lost (in flight: 9)"
    )


def test_a_bound_speaks_only_for_the_trials_that_held() -> None:
    assert summed(seen(N, 0, 500), seen(H, 0, 3000)) == (
        "exercised in 1 of 2 trials; 0 of 3,500 exposed messages lost; "
        "if losses were independent, at most 0.1 % of all (3,000 exposed, 95 %)"
    )


def test_a_fault_without_a_claim_is_summed_too() -> None:
    assert summed(seen(Verdict.NO_CLAIM, 1, 10), seen(Verdict.NO_CLAIM, 2, 20, given_twice=1)) == (
        "3 of 30 exposed messages lost; 1 given twice"
    )


def test_a_record_of_before_the_counts_is_told_in_its_own_words() -> None:
    old = words(H, evidence="0 of 900 exposed messages lost; 2 came again unacked")
    assert summed(old) == old.evidence
    assert summed(old, old) == f"exercised in 2 of 2 trials; {old.evidence}"
    assert summed(old, seen(H, 0, 100, given_twice=1)) == (
        f"exercised in 2 of 2 trials; 0 of 100 exposed messages lost; 1 given twice; "
        f"if losses were independent, at most 3 % of all (100 exposed, 95 %); {old.evidence}"
    )


def test_what_was_not_exercised_says_so_once() -> None:
    never = words(N, "nothing was exposed to it")
    assert summed(never, never) == "in 2 of 2 trials; nothing was exposed to it"


def test_words_of_some_trials_only_say_of_which() -> None:
    lost = seen(N, 10, 1031).model_copy(update={"notes": ["no shard saw the connection break"]})
    never = words(N, "nothing was exposed to it")
    assert summed(lost, never, never) == (
        "in 3 of 3 trials; 10 of 1,031 exposed messages lost; in trial 1: no shard saw the connection break; "
        "in trials 2, 3: nothing was exposed to it"
    )


def test_trials_without_sound_evidence_prove_nothing() -> None:
    combined = verdicts(V, V, status=TrialStatus.INVALID)
    assert (combined.verdict, combined.evidence) == (Verdict.UNKNOWN, "no trial left sound evidence")
    because = verdicts(V, status=TrialStatus.INVALID, reasons=["the broker ended unexpectedly: status -9"])
    assert because.evidence == "no trial left sound evidence: the broker ended unexpectedly: status -9"
    assert verdicts(V, status=TrialStatus.INVALID, evidence_sound=True).verdict is V


# How run ends.


def test_a_clean_run_passes() -> None:
    told = case(record(crash()), slo=(P50, NO_LOSS))
    assert run_exit(run(told)) == (ExitCode.PASS, "all trials valid, no guarantee broken")


def test_a_loss_that_the_claim_allows_is_a_finding_and_no_error() -> None:
    assert run_exit(run(case(record(crash(lost=3, may_lose=MayLose.ALL)))))[0] is ExitCode.PASS


def test_a_fault_without_a_claim_is_no_error() -> None:
    story = crash(lost=3)
    story.claims = ()
    assert run_exit(run(case(record(story))))[0] is ExitCode.PASS


def test_a_violated_guarantee_is_broken() -> None:
    code, reason = run_exit(run(case(record(crash(lost=3)))))
    assert code is ExitCode.BROKEN
    assert reason.startswith("story@embedded: claim under broker kill VIOLATED: 3 of ")


def test_a_missed_slo_is_broken() -> None:
    tight = Bound(metric="latency.end_to_end.p50", limit=0.001, text="1 ms")
    told = case(record(Story(rate=1000, seconds=5)), slo=(tight,))
    assert run_exit(run(told)) == (
        ExitCode.BROKEN,
        "story@embedded: latency.end_to_end.p50 missed its bound 1 ms",
    )


def test_a_proven_loss_is_broken_even_if_the_generator_was_saturated() -> None:
    story = crash(lost=3)
    story.sent[:400] += 20 * MS
    assert run_exit(run(case(record(story))))[0] is ExitCode.BROKEN


def test_an_invalid_trial_without_a_loss_is_invalid() -> None:
    story = crash()
    story.sent[:400] += 20 * MS
    code, reason = run_exit(run(case(record(story))))
    assert code is ExitCode.INVALID
    assert reason == "story@embedded: trial 1 invalid: generator saturated: schedule lag p99 20 ms, bound 10 ms"


def test_a_loss_whose_evidence_is_not_sound_is_invalid_and_not_broken() -> None:
    story = crash(lost=3, settings_differ=("appendonly: asked 'yes', found 'no'",))
    assert run_exit(run(case(record(story))))[0] is ExitCode.INVALID


@pytest.mark.parametrize("facts", [{"residue_sound": False}, {"faults": (fault(None, None),)}])
def test_an_unknown_or_unexercised_guarantee_is_invalid(facts: dict[str, Any]) -> None:
    assert run_exit(run(case(record(crash(lost=3 if "residue_sound" in facts else 0, **facts)))))[0] is ExitCode.INVALID


def test_an_slo_that_cannot_be_told_is_invalid() -> None:
    tail = Bound(metric="latency.end_to_end.p99_9", limit=1.0, text="1 s")
    code, reason = run_exit(run(case(record(Story(rate=1000, seconds=5)), slo=(tail,))))
    assert code is ExitCode.INVALID
    assert reason == "story@embedded: whether latency.end_to_end.p99_9 kept its bound 1 s cannot be told"


def test_a_skipped_case_is_no_error_unless_nothing_else_ran() -> None:
    skipped = case(unavailable="no redis-server")
    assert run_exit(run(skipped, case(record(crash()))))[0] is ExitCode.PASS
    assert run_exit(run(skipped)) == (ExitCode.INVALID, "no case could be run on this machine")


def test_a_case_that_was_never_tried_is_invalid() -> None:
    assert run_exit(run(case())) == (ExitCode.INVALID, "story@embedded: no trial was run")


def test_severity_is_no_verdict_then_broken_then_invalid() -> None:
    broken = case(record(crash(lost=3)))
    failed = case(TrialRecord(number=1, status=TrialStatus.FAILED, reasons=["boom"], folder=""))
    saturated = crash()
    saturated.sent[:400] += 20 * MS
    invalid = case(record(saturated))
    assert run_exit(run(invalid, broken))[0] is ExitCode.BROKEN
    assert run_exit(run(invalid, broken, failed)) == (
        ExitCode.NO_VERDICT,
        "story@embedded: trial 1 has no verdict: boom",
    )
    assert run_exit(run(broken, status="failed"))[0] is ExitCode.NO_VERDICT


def test_ctrl_c_is_interrupted_whatever_was_seen() -> None:
    assert run_exit(run(case(record(crash(lost=3))), status="interrupted")) == (ExitCode.INTERRUPTED, "interrupted")


def test_several_reasons_are_counted() -> None:
    story = crash(lost=3)
    code, reason = run_exit(run(case(record(story), slo=(NO_LOSS,))))
    assert code is ExitCode.BROKEN
    assert reason.endswith("(and 1 more)")
