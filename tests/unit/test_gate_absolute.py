"""Contracts: any proven break is FAIL at once, and only valid evidence that put them to the test is PASS."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.comparable import Comparability
from harness.gate.absolute import keeps
from harness.gate.evidence import Evidence
from harness.gate.judge import judge
from harness.gate.outcome import Row, Verdict
from harness.gate.rules import GuaranteeRule, Rule
from harness.model import TrialStatus
from harness.model import Verdict as Claimed
from harness.record import AtLeast, Figure, Guarantee, TrialRecord, Unknown
from tests.unit import records
from tests.unit.gate_support import CPU, P99, contract, crashed, invalid, paired, stored, trial

NO_LOSS = contract("==", 0)
CRASH = [records.broker_kill()]


def told(rule: Rule, evidence: Evidence) -> Row:
    [row] = judge([rule], [evidence])
    return row


def run(*trials: TrialRecord, **more: object) -> Evidence:
    """Returns a run without a baseline."""
    return stored([], trials, **more)


@pytest.mark.parametrize(
    ("figure", "relation", "limit", "kept"),
    [
        (0.0, "==", 0, True),
        (1.0, "==", 0, False),
        (AtLeast(at_least=0.0), "==", 0, None),
        (AtLeast(at_least=1.0), "==", 0, False),
        (AtLeast(at_least=1.0), "==", 2, None),
        (0.05, "<=", 0.05, True),
        (0.051, "<=", 0.05, False),
        (AtLeast(at_least=0.05), "<=", 0.05, None),
        (AtLeast(at_least=0.051), "<=", 0.05, False),
        (0.05, "<", 0.05, False),
        (0.049, "<", 0.05, True),
        (AtLeast(at_least=0.05), "<", 0.05, False),
        (AtLeast(at_least=0.04), "<", 0.05, None),
        (0.99, ">=", 0.99, True),
        (0.98, ">=", 0.99, False),
        (AtLeast(at_least=0.99), ">=", 0.99, True),
        (AtLeast(at_least=0.9), ">=", 0.99, None),
        (0.99, ">", 0.99, False),
        (AtLeast(at_least=0.99), ">", 0.99, None),
        (AtLeast(at_least=1.0), ">", 0.99, True),
        (Unknown(unknown="n too small"), "<=", 1, None),
        (None, "==", 0, None),
    ],
)  # fmt: skip
def test_a_figure_keeps_a_bound_breaks_it_or_does_not_tell(
    figure: Figure | None, relation: str, limit: float, kept: bool | None
) -> None:
    assert keeps(figure, relation, limit) is kept


@given(
    at_least=st.integers(0, 5), truth=st.integers(0, 5), relation=st.sampled_from(["==", "<=", ">=", "<", ">"]), limit=st.integers(0, 5)
)  # fmt: skip
def test_what_is_said_of_a_lower_bound_holds_whatever_the_truth_is(
    at_least: int, truth: int, relation: str, limit: int
) -> None:
    said = keeps(AtLeast(at_least=float(at_least)), relation, float(limit))
    assert said is None or said is keeps(float(at_least + truth), relation, float(limit))


def test_every_trial_has_to_keep_it() -> None:
    row = told(contract("<=", 0.05, P99), run(trial(0.03), trial(0.05), trial(0.01)))
    assert (row.verdict, row.n, row.seen_b, row.words) == (
        Verdict.PASS, 3, 0.05, "3 trials kept it: the worst has 50 ms",
    )  # fmt: skip
    assert row.asks == f"{P99} is at most 50 ms in every trial"
    row = told(contract("<=", 0.05, P99), run(trial(0.03), trial(0.08), trial(0.06)))
    assert (row.verdict, row.seen_b) == (Verdict.FAIL, 0.08)
    assert row.words == "2 of 3 trials broke it: 80 ms in run/2; it must be at most 50 ms"


def test_the_worst_of_a_lower_bound_is_the_smallest() -> None:
    row = told(contract(">=", 0.99, "rate.achieved"), run(*(trial(each, "rate.achieved") for each in (0.97, 0.4, 1.0))))
    assert (row.verdict, row.seen_b) == (Verdict.FAIL, 0.4)
    assert row.words == "2 of 3 trials broke it: 0.4 in run/2; it must be at least 0.99"
    assert told(contract(">", 0.3, "rate.achieved"), run(trial(0.4, "rate.achieved"))).words == "1 trial kept it: 0.4"


def test_figures_of_whole_runs_are_said_to_be_that() -> None:
    row = told(contract("<=", 0.05, P99), run(trial(0.03), trial(0.04, window="whole")))
    assert (row.verdict, row.window) == (Verdict.PASS, "")
    assert row.notes == ["no steady window was left in run/2: the figures are of the whole run, faults included"]
    slow = told(contract("<=", 0.05, P99), run(trial(0.06, window="whole")))
    assert (slow.verdict, slow.window) == (Verdict.FAIL, "whole")
    assert slow.notes == ["no steady window was left: the figures are of the whole run, faults included"]
    assert told(contract("<=", 0.05, P99, window="whole"), run(trial(0.03, window="whole"))).notes == []


def test_no_loss_says_how_many_such_deployments_may_lose_all_the_same() -> None:
    row = told(NO_LOSS, run(*[crashed() for _ in range(5)]))
    assert (row.verdict, row.words, row.asks) == (
        Verdict.PASS, "5 trials kept it", "loss.confirmed is 0 in every trial",
    )  # fmt: skip
    assert row.notes == ["5 fresh deployments with their faults and no loss: at most 45 % of such would lose (95 %)"]
    assert told(NO_LOSS, run(crashed())).notes == [
        "1 fresh deployment with its faults and no loss: at most 95 % of such would lose (95 %)"
    ]
    assert told(NO_LOSS, run(trial(0.0, "loss.confirmed", window="whole"))).notes == []  # no fault: no such bound


def test_a_single_lost_message_fails_at_once_though_more_pairs_may_come() -> None:
    waits = told(NO_LOSS, paired([crashed()] * 2, [crashed()] * 2, more=True))
    assert (waits.verdict, waits.decided, waits.words) == (
        Verdict.INCONCLUSIVE, False, "2 trials kept it; more are to come",
    )  # fmt: skip
    row = told(NO_LOSS, paired([crashed()] * 2, [crashed(), crashed(1.0)], more=True))
    assert (row.verdict, row.decided) == (Verdict.FAIL, True)
    assert row.words == "1 of 2 trials broke it: 1 lost in B of pair 2; it must be 0"


def test_the_broker_s_last_words_are_told_whole_and_on_one_line() -> None:
    words = "the broker ended unexpectedly: its last words:\n1:M OOM\n  killed by 9\n"
    row = told(NO_LOSS, run(trial(status=TrialStatus.FAILED, reasons=[words])))
    assert row.words == "run/1 is failed: the broker ended unexpectedly: its last words: 1:M OOM killed by 9"


def test_only_b_has_to_keep_a_contract() -> None:
    row = told(NO_LOSS, paired([crashed(9.0)] * 2, [crashed()] * 2))
    assert (row.verdict, [value.figure for value in row.a]) == (Verdict.PASS, [9.0, 9.0])


@pytest.mark.parametrize("metric", ["loss.confirmed", "class.phantom", "mark.corrupt", "loss.ratio"])
def test_what_the_ledger_proves_fails_although_the_figures_are_invalid(metric: str) -> None:
    saturated = invalid(1.0, metric, window="whole")
    assert told(contract("==", 0, metric), run(saturated)).verdict is Verdict.FAIL
    unsound = invalid(1.0, metric, window="whole", sound=False)
    assert told(contract("==", 0, metric), run(unsound)).verdict is Verdict.INVALID


def test_a_latency_of_an_invalid_trial_breaks_nothing() -> None:
    row = told(contract("<=", 0.05, P99), run(invalid(0.9)))
    assert (row.verdict, row.words) == (Verdict.INVALID, "run/1 is invalid: generator saturated: lag 48 ms")


def test_no_loss_in_an_invalid_trial_is_no_pass_even_if_its_evidence_is_sound() -> None:
    assert told(NO_LOSS, run(crashed(), invalid(0.0, "loss.confirmed", window="whole"))).verdict is Verdict.INVALID


def test_a_broken_contract_is_worse_than_an_invalid_trial() -> None:
    assert told(NO_LOSS, run(invalid(sound=False), crashed(3.0))).verdict is Verdict.FAIL


def test_a_proven_loss_counts_where_nothing_else_does() -> None:
    unlike = Comparability(differences=(CPU,))
    lossy = paired([crashed()], [crashed(3.0)], comparability=unlike, unsound="interrupted")
    assert told(NO_LOSS, lossy).verdict is Verdict.FAIL
    assert told(NO_LOSS, run(crashed(), unsound="interrupted")).words == "interrupted"
    kept = paired([crashed()], [crashed()], comparability=unlike)
    assert told(NO_LOSS, kept).verdict is Verdict.PASS  # the run's own matter


def test_a_discarded_pair_hides_no_loss_but_its_latency_is_not_judged() -> None:
    a, b = [crashed()] * 2, [crashed(3.0), crashed()]
    row = told(NO_LOSS, paired(a, b, discarded={1: "CPU stolen"}))
    assert (row.verdict, row.words) == (Verdict.FAIL, "1 of 2 trials broke it: 3 lost in B of pair 1; it must be 0")
    slow = told(
        contract("<=", 0.05, P99), paired([trial(0.01)] * 2, [trial(0.9), trial(0.01)], discarded={1: "stolen"})
    )
    assert (slow.verdict, slow.n, len(slow.b)) == (Verdict.PASS, 1, 1)
    broken_off = paired([crashed()] * 2, [trial(status=TrialStatus.FAILED), crashed()], discarded={1: "stolen"})
    assert told(NO_LOSS, broken_off).verdict is Verdict.PASS


# What proves nothing.


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (trial(), "run/1 has no loss.confirmed"),
        (trial(AtLeast(at_least=0.0), "loss.confirmed", window="whole"), "loss.confirmed of run/1 is ≥ 0: whether that is 0 cannot be told"),
        (trial(Unknown(unknown="nothing confirmed"), "loss.confirmed", window="whole"), "loss.confirmed of run/1 is not known: nothing confirmed"),
        (trial(status=TrialStatus.INTERRUPTED), "run/1 is interrupted"),
        (trial(status=TrialStatus.UNAVAILABLE, reasons=["redis did not start\nlast words"]), "run/1 is unavailable: redis did not start last words"),
    ],
)  # fmt: skip
def test_no_evidence_is_never_a_pass(record: TrialRecord, words: str) -> None:
    row = told(NO_LOSS, run(record))
    assert (row.verdict, row.words) == (Verdict.INVALID, words)


def test_no_trial_is_no_pass() -> None:
    assert told(NO_LOSS, run()).words == "no trial was run"
    waits = told(NO_LOSS, paired([], [], more=True))
    assert (waits.verdict, waits.decided) == (Verdict.INCONCLUSIVE, False)


@pytest.mark.parametrize(
    ("faults", "guarantees", "words"),
    [
        (CRASH, [records.guarantee(Claimed.NOT_EXERCISED, evidence="nothing was exposed to it")], "broker kill NOT EXERCISED: nothing was exposed to it"),
        ([records.broker_kill(hit=False)], [], "broker kill NOT EXERCISED: nothing shows that it hit a confirmed message"),
        ([records.broker_kill(exposed=0)], [records.guarantee(Claimed.NO_CLAIM)], "broker kill NOT EXERCISED: nothing shows that it hit a confirmed message"),
        ([records.broker_kill().model_copy(update={"exposed": None})], [], "broker kill NOT EXERCISED: nothing shows that it hit a confirmed message"),
    ],
)  # fmt: skip
def test_a_fault_that_put_nothing_to_the_test_is_no_pass(
    faults: list[object], guarantees: list[Guarantee], words: str
) -> None:
    row = told(NO_LOSS, run(crashed(faults=faults, guarantees=guarantees)))
    assert (row.verdict, row.words) == (Verdict.INVALID, f"run/1: {words}")
    assert told(NO_LOSS, run(crashed(1.0, faults=faults, guarantees=guarantees))).verdict is Verdict.FAIL


def test_one_of_two_faults_of_a_kind_that_hit_is_enough() -> None:
    faults = [records.broker_kill(hit=False), records.broker_kill(index=1)]
    assert told(NO_LOSS, run(crashed(faults=faults, guarantees=[]))).verdict is Verdict.PASS


def test_a_run_in_which_nothing_was_confirmed_lost_nothing_and_proves_nothing() -> None:
    empty = trial(0.0, "loss.confirmed", window="whole", ledger=records.ledger(confirmed=0))
    assert told(NO_LOSS, run(empty)).words == "run/1: nothing was confirmed"


def test_a_recovery_from_a_fault_that_hit_nothing_is_none() -> None:
    rule = contract("<=", 5, "recovery.p99")
    assert told(rule, run(trial(faults=[records.broker_kill(1.0)]))).verdict is Verdict.PASS
    row = told(rule, run(trial(faults=[records.broker_kill(1.0, exposed=0)])))
    assert (row.verdict, row.words[:32]) == (Verdict.INVALID, "run/1: broker kill NOT EXERCISED")


def test_of_recoveries_the_worst_counts_unless_one_fault_is_named() -> None:
    two = trial(faults=[records.broker_kill(1.0), records.broker_kill(7.0, index=1)])
    assert told(contract("<=", 5, "recovery.p99"), run(two)).seen_b == 7.0
    first = told(contract("<=", 5, "recovery.p99", window="recovery[0]"), run(two))
    assert (first.verdict, first.seen_b, first.asks) == (
        Verdict.PASS, 1.0, "recovery.p99 (recovery[0]) is at most 5 s in every trial",
    )  # fmt: skip
    third = told(contract("<=", 5, "recovery.p99", window="fault[2]"), run(two))
    assert (third.verdict, third.words) == (Verdict.INVALID, "run/1 has no recovery.p99 in the window fault[2]")


# Guarantees.

HELD = GuaranteeRule(id="claims", metric="guarantee")
UNDER_KILL = GuaranteeRule(id="claims", metric="guarantee", fault="broker kill")


def test_what_the_setup_claims_held_in_every_trial() -> None:
    row = told(HELD, run(crashed(), crashed()))
    assert (row.verdict, row.words, row.n) == (Verdict.PASS, "held in 2 trials", 2)
    assert row.asks == "all that the setup claims was put to the test and held, in every trial"
    assert told(HELD, paired([crashed()], [crashed()], more=True)).words == "held in 1 trial; more are to come"


def test_a_violated_claim_fails_with_the_claim_and_what_was_seen() -> None:
    lost = records.guarantee(Claimed.VIOLATED, evidence="3 lost of 312 exposed")
    row = told(HELD, run(crashed(), crashed(3.0, guarantees=[lost, records.no_fault()])))
    assert (row.verdict, row.words) == (
        Verdict.FAIL,
        "the claim under broker kill (loses nothing; may repeat unacked) was broken in 1 of 2 trials; run/2: 3 lost of 312 exposed",
    )
    saturated = invalid(guarantees=[lost])
    assert told(HELD, run(saturated)).verdict is Verdict.FAIL
    assert told(HELD, run(invalid(guarantees=[lost], sound=False))).verdict is Verdict.INVALID
    assert told(GuaranteeRule(id="g", metric="guarantee", fault="none"), run(crashed(guarantees=[lost, records.no_fault()]))).verdict is Verdict.PASS  # fmt: skip


@pytest.mark.parametrize(
    ("guarantees", "words"),
    [
        ([records.guarantee(Claimed.NOT_EXERCISED, evidence="never fired")], "run/1: the claim under broker kill NOT EXERCISED: never fired"),
        ([records.guarantee(Claimed.UNKNOWN, evidence="2 undecided")], "run/1: the claim under broker kill UNKNOWN: 2 undecided"),
        ([records.guarantee(Claimed.NO_CLAIM)], "the setup claims nothing under broker kill"),
        ([records.no_fault()], "run/1 had no broker kill"),
    ],
)  # fmt: skip
def test_a_claim_that_did_not_hold_is_no_pass(guarantees: list[Guarantee], words: str) -> None:
    row = told(UNDER_KILL, run(crashed(guarantees=guarantees)))
    assert (row.verdict, row.words) == (Verdict.INVALID, words)


def test_a_fault_without_a_claim_is_noted_where_no_fault_is_named() -> None:
    row = told(HELD, run(crashed(guarantees=[records.guarantee(Claimed.NO_CLAIM), records.no_fault()])))
    assert (row.verdict, row.notes) == (Verdict.PASS, ["the setup claims nothing under broker kill"])
    assert told(HELD, run(crashed(guarantees=[]))).words == "run/1 says nothing of any claim"
    assert told(HELD, run(invalid(guarantees=[records.guarantee()]))).verdict is Verdict.INVALID


# Whatever the trials.

KINDS = {
    "kept": crashed(),
    "lost": crashed(2.0),
    "saturated": invalid(0.0, "loss.confirmed", window="whole"),
    "saturated, lost": invalid(2.0, "loss.confirmed", window="whole"),
    "unsound": invalid(2.0, "loss.confirmed", window="whole", sound=False),
    "undecided": crashed(AtLeast(at_least=0.0)),
    "missing": trial(),
}
BROKEN = {"lost", "saturated, lost"}


@settings(deadline=None)
@given(kinds=st.lists(st.sampled_from(sorted(KINDS)), max_size=6), more=st.booleans())
def test_a_contract_fails_exactly_where_a_break_is_proven_and_passes_only_where_all_kept_it(
    kinds: list[str], more: bool
) -> None:
    b = [KINDS[kind] for kind in kinds]
    row = told(NO_LOSS, paired([crashed()] * len(b), b, more=more))
    assert (row.verdict is Verdict.FAIL) == bool(BROKEN & set(kinds))
    assert (row.verdict is Verdict.PASS) == (set(kinds) == {"kept"} and not more)
    assert row.decided == (row.verdict is not Verdict.INCONCLUSIVE)


def test_a_bound_in_a_faults_window_proves_nothing_where_that_fault_was_not_exercised() -> None:
    struck = records.broker_kill()
    missed = struck.model_copy(update={"index": 1, "exposed": 0})
    windows = {name: {"latency.end_to_end.p99": 0.01} for name in ("steady", "fault[0]", "fault[1]", "recovery[1]")}
    both = trial(metrics=windows, faults=[struck, missed])
    of = {
        name: told(contract("<=", 0.05, "latency.end_to_end.p99", window=name), stored([], [both])) for name in windows
    }
    assert {name: row.verdict for name, row in of.items()} == {
        "steady": Verdict.PASS,
        "fault[0]": Verdict.PASS,
        "fault[1]": Verdict.INVALID,
        "recovery[1]": Verdict.INVALID,
    }
    assert "NOT EXERCISED" in of["fault[1]"].words


def test_a_throughput_that_cannot_last_keeps_its_bound_with_a_note() -> None:
    b = trial(900.0, "throughput", throughput_label={"steady": "draining"})
    row = told(contract(">=", 500.0, "throughput"), stored([], [b, trial(900.0, "throughput")]))
    assert row.verdict is Verdict.PASS
    assert [note.partition(";")[0] for note in row.notes] == [
        "the throughput of run/1 cannot last (draining: its backlog shrank)"
    ]


def test_a_bound_where_nothing_is_bad_is_said_to_say_nothing_of_the_rest() -> None:
    upper = told(contract("<=", 1e6, "throughput"), stored([], [trial(1.0, "throughput")]))
    assert upper.notes == ["more throughput is better: an upper bound on it says nothing of what is too little"]
    p99 = "latency.end_to_end.p99"
    lower = told(contract(">=", 0.0001, p99), stored([], [trial(0.1, p99)]))
    assert lower.notes == [f"less {p99} is better: a lower bound on it says nothing of what is too much"]
    assert told(contract(">=", 0.5, "throughput"), stored([], [trial(1.0, "throughput")])).notes == []


def test_a_share_of_losses_and_its_bound_are_told_in_the_same_unit() -> None:
    row = told(contract("<=", 0.01, "loss.ratio"), run(trial(0.0234, "loss.ratio", window="whole")))
    assert row.words == "2.34 % in run/1; it must be at most 1 %"


def test_the_claim_without_a_fault_is_not_called_one_under_none() -> None:
    rule = GuaranteeRule(id="claims", metric="guarantee", fault="none")
    assert told(rule, run(trial(0.01))).asks.startswith("what the setup claims without a fault was put to the test")
