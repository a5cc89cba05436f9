"""The table at the end of a run: exact sentences, every state told in words, readable at every width."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
import records
from rich.console import Console

from harness.model import DurabilityClass, TrialStatus, Verdict
from harness.record import AtLeast, CaseRecord, Expectation, FaultResult, Guarantee, RunRecord, TrialRecord, Unknown
from reports import figures, story, trouble, words
from reports.columns import BECAME, columns
from reports.encoding import writable
from reports.terminal import print_run


def printed(record: RunRecord, width: int = 200, **options: object) -> str:
    console = Console(width=width, file=None, record=True, quiet=False, **options)  # type: ignore[arg-type]
    with console.capture() as captured:
        print_run(record, console, report=Path("runs/2026-11-21T10-15-03-quickstart/report.md"))
    return captured.get()


def row(text: str, case: str) -> list[str]:
    """Returns the cells of a case's row in the wide table."""
    line = next(line for line in text.splitlines() if line.startswith(f"   {case} "))
    return re.split(r"\s{2,}", line.strip())


def judged(verdict: Verdict, **more: object) -> CaseRecord:
    return records.case(guarantees=[records.guarantee(verdict, **more)])  # type: ignore[arg-type]


def became(
    *,
    rate_confirmed: float = 3_999.2,
    rate_offered: float = 4_001.0,
    unknown: int = 23,
    held: dict[str, int] | None = None,
    faults: list[FaultResult] | None = None,
    guarantees: list[Guarantee] | None = None,
    **classes: int,
) -> CaseRecord:
    """Returns a case in which messages also fell into other classes."""
    ledger = records.ledger(unknown=unknown)
    counts = ledger.model_copy(
        update={"classes": ledger.classes | classes, "held": ledger.held if held is None else held}
    )
    metrics = records.metrics()
    metrics["steady"] |= {"rate.confirmed": rate_confirmed, "rate.offered": rate_offered}
    trial = records.trial(ledger=counts, metrics=metrics, **({"faults": faults} if faults else {}))
    return records.case(trials=[trial], guarantees=guarantees)


class TestSentences:
    def test_the_quickstart_says_which_setup_lost_what(self) -> None:
        memory, redis, postgres = records.run().cases
        assert story.sentence(memory) == (
            "LOST 12,345 of 40,021 confirmed messages when the broker was killed — its claim allows that (memory only)."
        )
        for case in (redis, postgres):
            assert story.sentence(case) == (
                "kept every confirmed message when the broker was killed "
                "(0 of 40,000 confirmed lost; 312 were in the broker at that time)."
            )
        assert story.headline(records.run()) == (
            "1 of 3 cases LOST confirmed messages, as its claim allows. No claim was broken."
        )

    def test_a_loss_beyond_the_claim_is_told_with_the_claim(self) -> None:
        case = records.case(trials=[records.trial(lost=3)], guarantees=[records.guarantee(Verdict.VIOLATED)])
        assert story.sentence(case) == (
            "LOST 3 of 40,000 confirmed messages when the broker was killed — "
            "its claim forbids that: VIOLATED (it claims: loses nothing; may repeat unacked)."
        )
        assert str(story.sign(case)) == "✗ VIOLATED"
        assert story.headline(records.run([case])) == "1 of 1 case LOST confirmed messages. 1 of 1 case BROKE a claim."

    def test_a_loss_within_a_claim_that_is_not_memory_only_is_told_with_the_claim(self) -> None:
        allowed = records.guarantee(claim="may lose what was confirmed in the last 2 s")
        case = records.case(trials=[records.trial(lost=1)], guarantees=[allowed])
        assert story.sentence(case).endswith("— its claim allows that (may lose what was confirmed in the last 2 s).")

    def test_a_verdict_is_told_with_the_fault_that_it_is_about(self) -> None:
        untried = records.guarantee(Verdict.NOT_EXERCISED, fault="worker kill", evidence="0 held")
        case = records.case(guarantees=[records.guarantee(), untried])
        assert "nothing was put to the test when workers were killed: NOT EXERCISED (0 held)" in story.sentence(case)
        apart = records.guarantee(Verdict.UNKNOWN, fault="none", evidence="9 undecided.")
        assert "UNKNOWN apart from the faults: 9 undecided" in story.sentence(records.case(guarantees=[apart]))

    def test_a_loss_is_told_with_the_faults_and_the_claim_that_it_belongs_to(self) -> None:
        faults = [records.broker_kill(), records.worker_kill(), records.broker_kill(kind="broker pause")]
        of_kill = records.guarantee(Verdict.UNKNOWN, evidence="3 of 312 exposed messages lost", lost=3)
        apart = records.guarantee(Verdict.UNKNOWN, fault="none", evidence="0 of 9 lost; 7 undecided", lost=0)
        held = records.guarantee(fault="worker kill", lost=0)

        def told(*claims: Guarantee) -> str:
            return story.sentence(records.case(trials=[records.trial(lost=3, faults=faults)], guarantees=list(claims)))

        assert told(apart, of_kill, held) == (
            "LOST 3 of 40,000 confirmed messages when the broker was killed — "
            "whether its claim allows that is UNKNOWN: 3 of 312 exposed messages lost."
        )
        allowed = of_kill.model_copy(update={"verdict": Verdict.HELD})
        assert told(apart, allowed, held).endswith(
            f"— its claim allows that ({records.NOTHING}); UNKNOWN apart from the faults: 0 of 9 lost; 7 undecided."
        )
        doubled = records.guarantee(Verdict.VIOLATED, fault="worker kill", evidence="9 given twice", lost=0)
        assert told(apart, allowed, doubled).endswith(
            f"— its claim allows that ({records.NOTHING}); BROKE its claim when workers were killed: 9 given twice."
        )
        also = records.guarantee(Verdict.VIOLATED, fault="none", lost=1)
        assert told(also, allowed, held).startswith(
            "LOST 3 of 40,000 confirmed messages when the broker was killed, and apart from the faults — its claim forbids"
        )
        assert told(also, held).startswith("LOST 3 of 40,000 confirmed messages apart from the faults — its claim")

    def test_a_loss_without_a_claim_is_told_as_such(self) -> None:
        case = records.case(trials=[records.trial(lost=3)], guarantees=[records.guarantee(Verdict.NO_CLAIM)])
        assert story.sentence(case).endswith("— it claims nothing about that.")
        assert str(story.sign(case)) == "▼ LOST, no claim"

    def test_a_loss_that_may_be_larger_says_at_least(self) -> None:
        metrics = {"whole": {"loss.confirmed": AtLeast(at_least=12.0)}}
        unknown = records.guarantee(Verdict.UNKNOWN, evidence="9 undecided.")
        case = records.case(trials=[records.trial(metrics=metrics)], guarantees=[unknown])
        assert story.sentence(case) == (
            "LOST at least 12 of 40,000 confirmed messages when the broker was killed — "
            "whether its claim allows that is UNKNOWN: 9 undecided."
        )

    def test_losses_of_several_trials_are_added_and_the_trials_are_counted(self) -> None:
        case = records.case(
            trials=[records.trial(1, lost=3), records.trial(2), records.invalid_trial(3)],
            guarantees=[records.guarantee(Verdict.VIOLATED)],
        )
        assert story.sentence(case).startswith("LOST 3 of 80,000 confirmed messages in 2 trials when")
        assert story.sentence(case).endswith("; trial 3 is invalid.")

    def test_a_proven_loss_counts_even_in_an_invalid_trial(self) -> None:
        case = records.case(
            trials=[records.invalid_trial(lost=3, evidence_sound=True, metrics=records.metrics(3))],
            guarantees=[records.guarantee(Verdict.VIOLATED)],
        )
        assert story.sentence(case).startswith("LOST 3 of 40,000 confirmed messages")
        assert story.sentence(case).endswith("; proven, though the trial is invalid.")

    def test_an_unsound_invalid_trial_says_nothing_about_loss(self) -> None:
        case = records.case(trials=[records.invalid_trial(metrics=records.metrics(3))], guarantees=[])
        assert story.sentence(case) == (
            "no verdict: INVALID — generator saturated: schedule lag p99 48.2 ms, bound 10 ms."
        )
        assert row(printed(records.run([case])), case.id)[7] == "—"

    def test_unknown_is_neither_success_nor_failure(self) -> None:
        case = judged(Verdict.UNKNOWN, evidence="14 confirmed messages undecided: the residue search was not sound")
        assert story.sentence(case) == (
            "UNKNOWN when the broker was killed: 14 confirmed messages undecided: the residue search was not sound."
        )
        assert story.headline(records.run([case])) == "No claim was broken. 1 of 1 case could not be judged."

    def test_not_exercised_says_that_nothing_was_put_to_the_test(self) -> None:
        case = judged(Verdict.NOT_EXERCISED, evidence="0 exposed", exposed=0)
        assert story.sentence(case) == (
            "lost nothing, but nothing was put to the test when the broker was killed: NOT EXERCISED (0 exposed)."
        )

    def test_a_claim_can_be_broken_without_a_loss(self) -> None:
        case = judged(Verdict.VIOLATED, evidence="3 phantoms")
        assert story.sentence(case) == (
            "BROKE its claim when the broker was killed, though it lost no confirmed message: 3 phantoms."
        )

    def test_without_a_fault_it_says_so(self) -> None:
        case = records.case(trials=[records.trial(faults=[])], guarantees=[records.no_fault()])
        assert story.sentence(case) == "kept every confirmed message without any fault (0 of 40,000 confirmed lost)."

    def test_a_fault_that_never_fired_is_not_told_as_one(self) -> None:
        never = records.broker_kill(injected_s=None, healed_s=None, hit=False, exposed=None, recovery={})
        case = records.case(trials=[records.trial(faults=[never])], guarantees=[records.no_fault()])
        assert "without any fault" in story.sentence(case)

    def test_repeats_are_told_after_what_was_kept(self) -> None:
        trial = records.trial(faults=[records.worker_kill()], ledger=records.ledger(repeats=200))
        case = records.case(trials=[trial])
        assert story.sentence(case) == (
            "kept every confirmed message when workers were killed "
            "(0 of 40,000 confirmed lost; 312 were in the broker at that time), and delivered 200 repeats."
        )

    def test_a_missed_slo_is_told_with_its_figure(self) -> None:
        case = records.case(slo=[records.slo(False), records.slo(True, 0.01)])
        assert story.sentence(case).endswith("; missed its SLO: latency.end_to_end.p99 62 ms, asked: at most 50 ms.")
        assert str(story.sign(case)) == "✗ SLO MISSED"

    def test_an_interrupted_run_says_that_it_is_one(self) -> None:
        stopped = records.trial(status=TrialStatus.INTERRUPTED, reasons=["Ctrl-C"], evidence_sound=False, metrics={})
        case = records.case(trials=[stopped], guarantees=[])
        record = records.run([case, records.postgres_case(trials=[], guarantees=[])], status="interrupted")
        assert story.headline(record) == (
            "Interrupted: what follows is only what was measured until then. "
            "1 of 1 case gave no valid trial. 1 case not run."
        )
        assert [story.sentence(each) for each in record.cases] == ["no verdict: INTERRUPTED — Ctrl-C.", "was not run."]

    def test_a_run_without_any_valid_trial_breaks_and_keeps_no_claim(self) -> None:
        record = records.run([records.case(trials=[records.invalid_trial()], guarantees=[])] * 3)
        assert story.headline(record) == "3 of 3 cases gave no valid trial."

    def test_what_proved_nothing_is_told_beside_what_lost_nothing(self) -> None:
        untried = judged(Verdict.NOT_EXERCISED)
        invalid = records.case(trials=[records.invalid_trial()], guarantees=[])
        assert story.headline(records.run([records.case(), untried, invalid])) == (
            "No confirmed message was lost in 1 of 3 cases; 2 cases proved nothing. No claim was broken. "
            "1 of 3 cases could not be judged. 1 of 3 cases gave no valid trial."
        )
        broke = judged(Verdict.VIOLATED, evidence="3 phantoms")
        assert story.headline(records.run([records.case(), broke])) == (
            "No confirmed message was lost in 2 of 2 cases. 1 of 2 cases BROKE a claim."
        )

    def test_a_case_that_cannot_run_here_gives_the_reason(self) -> None:
        case = records.case(trials=[], guarantees=[], unavailable="postgres: no binaries; pip install brokerbench")
        assert story.sentence(case) == "was not run: postgres: no binaries; pip install brokerbench."
        assert story.headline(records.run([case])) == "No case was run: no verdict."


class TestWhatElseBecameOfMessages:
    def test_a_full_broker_is_told_with_what_it_refused_and_the_rate_that_was_left(self) -> None:
        case = became(rejected=1_020, rate_confirmed=91.0, rate_offered=298.0)
        assert story.sentence(case).endswith(
            "; only 91/s of 298/s offered were confirmed: 1,020 were rejected by the broker (full?)."
        )
        assert row(printed(records.run([case])), case.id)[9] == "1,020"

    def test_a_few_rejected_are_told_without_the_rate(self) -> None:
        assert story.sentence(became(rejected=1)).endswith("; 1 was rejected by the broker (full?).")

    def test_what_was_never_sent_is_told_with_its_reason(self) -> None:
        held = story.sentence(became(unsent=1_927))
        assert held.endswith("; 1,927 were never sent (8,011 held: no connection, 12 held: too many unconfirmed).")
        killed = records.broker_kill(kind="producer kill", label="kill producer")
        assert story.sentence(became(unsent=7, faults=[killed])).endswith(
            "; 7 were never sent (a producer was killed)."
        )

    def test_stranded_messages_are_told_once(self) -> None:
        assert story.sentence(became(stranded=40)).endswith("; 40 were still in the broker, not delivered.")
        undecided = records.guarantee(Verdict.UNKNOWN, evidence="40 stranded with their hold not over")
        told = story.sentence(became(stranded=40, guarantees=[undecided]))
        assert told == "UNKNOWN when the broker was killed: 40 stranded with their hold not over."

    @pytest.mark.parametrize(
        ("held", "unknown", "why"),
        [
            ({"window": 300}, 9, "300 held: too many unconfirmed"),
            ({}, 9, "9 got no answer"),
            ({}, 0, "the ledger does not tell why"),
        ],
    )
    def test_a_low_rate_says_why_where_the_ledger_tells(self, held: dict[str, int], unknown: int, why: str) -> None:
        case = became(held=held, unknown=unknown, rate_confirmed=10.0)
        assert story.sentence(case).endswith(f"; only 10/s of 4,001/s offered were confirmed: {why}.")

    def test_columns_stand_only_where_a_case_has_any(self) -> None:
        def headings(case: CaseRecord) -> list[str]:
            return [column.heading for column in columns(records.run([case])) if column.heading in BECAME]

        assert headings(became(unknown=0)) == []
        assert headings(became(rejected=1, unsent=2, stranded=3, unknown=4)) == list(BECAME)
        text = printed(records.run([became(rejected=1)]))
        assert "rejected: refused by the broker" in text
        assert "stranded:" not in text


class TestCutOff:
    def test_a_killed_run_says_that_it_was_cut_off(self) -> None:
        for status in ("running", "loaded"):
            record = records.run([records.case(trials=[], guarantees=[])], status=status, exit_code=None)
            assert story.headline(record) == "Cut off: the run did not end in order; no case was measured: no verdict."
            assert "! redis-stream@embedded: was cut off." in printed(record)
            assert "not run" not in printed(record).lower()

    def test_what_had_been_measured_follows(self) -> None:
        record = records.run([records.case(), records.postgres_case(trials=[], guarantees=[])], status="loaded")
        assert story.headline(record) == (
            "Cut off: the run did not end in order; what had been measured until then follows. "
            "No confirmed message was lost in 1 of 1 case. No claim was broken. 1 case cut off."
        )
        assert story.seen(record) == "HELD: redis-stream@embedded; CUT OFF: postgres-lease@embedded"

    def test_a_case_that_cannot_run_here_was_not_cut_off(self) -> None:
        case = records.case(trials=[], guarantees=[], unavailable="no binaries")
        assert story.sentence(case, cut_off=True) == "was not run: no binaries."


class TestReasons:
    FULL = "the slot folder /dev/shm/x/0-1 is full after 9 messages: No space left on device (free space in /dev/shm/x)"

    def test_a_shard_that_ended_is_told_with_its_last_words(self) -> None:
        trial = records.invalid_trial(
            reasons=["worker w1 ended by itself with status 1", "worker w10 ended by itself with status 1"],
            warnings=[
                f"worker w10 (pid 4) ended unexpectedly: {self.FULL}",
                "worker w1 (pid 3) ended unexpectedly: boom",
            ],
        )
        assert [reason for reason, _ in trouble.reasons(trial)] == [
            "worker w1 ended by itself with status 1: boom",
            f"worker w10 ended by itself with status 1: {self.FULL}",
        ]
        assert trouble.reasons(trial)[1][1] == ""  # its last words say it
        assert story.sentence(records.case(trials=[trial])) == (
            "no verdict: INVALID — worker w1 ended by itself with status 1: boom."
        )

    def test_an_agent_that_took_shards_with_it_is_told(self) -> None:
        warnings = ["agent 0 (pid 12) ended with status -9, and with it p0, w0"]
        trial = records.invalid_trial(reasons=["producer p0 ended by itself"], warnings=warnings)
        assert trouble.reasons(trial)[0][0] == "producer p0 ended by itself: agent 0 (pid 12) ended with status -9"

    def test_an_exit_status_is_not_told_twice(self) -> None:
        warnings = ["producer p0 (pid 12) ended unexpectedly: exit status -9"]
        trial = records.invalid_trial(reasons=["producer p0 ended by itself with status -9"], warnings=warnings)
        assert trouble.reasons(trial)[0][0] == "producer p0 ended by itself with status -9"

    def test_what_follows_from_a_load_that_ended_early_has_no_remedy(self) -> None:
        early = "the load ended early: the broker does not serve after 60 s\nits last words:\nOOM"
        trial = records.invalid_trial(reasons=[early, "nothing was sent", "producer p0 ended by itself"])
        assert [bool(remedy) for _, remedy in trouble.reasons(trial)] == [True, False, False]
        alone = records.invalid_trial(reasons=["nothing was sent"])
        assert "the producers never reached the broker" in trouble.reasons(alone)[0][1]

    def test_a_remedy_stands_once(self) -> None:
        trial = records.invalid_trial(reasons=["slots missing: 1 of w0 found", "slots missing: 2 of w1 found"])
        assert [bool(remedy) for _, remedy in trouble.reasons(trial)] == [False, True]

    def test_the_last_words_of_a_broker_stand_below_and_not_in_the_verdict(self) -> None:
        trial = records.invalid_trial(reasons=["the load ended early: no broker\nits last words:\nOOM"])
        record = records.run([records.case(trials=[trial])], exit_reason="trial 1 invalid: no broker\nits last words:")
        died = records.invalid_trial(reasons=["the broker ended unexpectedly: its last words:\nOOM"])
        assert story.sentence(records.case(trials=[died])) == "no verdict: INVALID — the broker ended unexpectedly."
        text = printed(record)
        assert "no verdict: INVALID — the load ended early: no broker.\n" in re.sub(" +\n", "\n", text)
        assert text.count("OOM") == 1
        assert text.count("its last words") == 1

    @pytest.mark.parametrize(
        ("reason", "part"),
        [
            ("the slot folder /dev/shm/x is full", "free space in /dev/shm"),
            ("fault never fired: kill broker was ordered, and nothing shows that it hit", "timeline.jsonl"),
            ("fault never fired: kill broker", "make the load longer"),
            ("kill broker fired after the load", "make the load longer"),
            ("the broker ended unexpectedly: its last words:\nOOM", "broker's log"),
            ("producer p0 ended by itself with status -9", "log of that name"),
            ("the kernel killed producer p0 for memory", "free memory of this machine"),
            ("worker w0 ended with a process of the load that the kernel killed for memory", "free memory"),
            ("the broker ended unexpectedly: the kernel killed 2 processes of the broker for memory", "raise `memory`"),
            ("the broker ended unexpectedly: its container was killed by the kernel for memory", "raise `memory`"),
            ("generator saturated: 9 due messages were never sent, though nothing held them", "why a producer stopped"),
        ],
    )
    def test_every_reason_has_its_remedy(self, reason: str, part: str) -> None:
        assert part in words.remedy(reason)

    def test_a_drain_that_hit_its_limit_says_what_to_raise(self) -> None:
        warning = "the drain hit its limit before it was quiet: what was still coming counts as not received"
        assert "; remedy: raise phases.drain" in printed(
            records.run([records.case(trials=[records.trial(warnings=[warning])])])
        )
        lost = records.trial(lost=3, warnings=[warning])
        assert trouble.warning(warning, lost) == warning  # nothing could come any more: no drain helps
        ledger = lost.ledger
        assert ledger is not None
        some = lost.model_copy(
            update={"ledger": ledger.model_copy(update={"classes": ledger.classes | {"stranded": 1}})}
        )
        assert trouble.warning(warning, some).endswith("; remedy: raise phases.drain, so that workers can finish")

    def test_what_an_interrupted_trial_did_not_reach_has_no_remedy(self) -> None:
        reasons = ["interrupted by Ctrl-C", "fault never fired: pause broker"]
        trial = records.trial(status=TrialStatus.INTERRUPTED, reasons=reasons)
        assert trouble.reasons(trial) == [(reason, "") for reason in reasons]
        own = trial.model_copy(update={"reasons": ["interrupted by Ctrl-C", "worker w1 ended by itself"]})
        assert "see the log of that name" in trouble.reasons(own)[1][1]


class TestSigns:
    @pytest.mark.parametrize("verdict", list(Verdict))
    def test_every_verdict_has_a_symbol_and_a_word_of_its_own(self, verdict: Verdict) -> None:
        sign = words.OF_VERDICT[verdict]
        assert sign.word == verdict.value
        others = [other for other in words.OF_VERDICT.values() if other is not sign]
        assert sign.symbol not in {other.symbol for other in others}

    def test_states_that_are_not_success_share_no_symbol_with_it(self) -> None:
        good = {words.HELD.symbol}
        others = [words.OF_STATUS[status] for status in TrialStatus if status is not TrialStatus.VALID]
        assert good.isdisjoint({sign.symbol for sign in [*others, words.UNKNOWN, words.NOT_EXERCISED]})

    @pytest.mark.parametrize(
        ("verdicts", "sign"),
        [
            ([Verdict.HELD, Verdict.HELD], words.HELD),
            ([Verdict.HELD, Verdict.NO_CLAIM], words.NO_CLAIM),
            ([Verdict.HELD, Verdict.NOT_EXERCISED], words.NOT_EXERCISED),
            ([Verdict.NOT_EXERCISED, Verdict.UNKNOWN], words.UNKNOWN),
            ([Verdict.UNKNOWN, Verdict.VIOLATED], words.VIOLATED),
            ([], words.NO_CLAIM),
        ],
    )
    def test_the_worst_verdict_decides(self, verdicts: list[Verdict], sign: words.Sign) -> None:
        guarantees: list[Guarantee] = [records.guarantee(verdict) for verdict in verdicts]
        assert story.sign(records.case(guarantees=guarantees)) is sign

    def test_an_invalid_trial_is_never_shown_as_a_success(self) -> None:
        assert story.sign(records.case(trials=[records.invalid_trial()])) is words.INVALID


class TestFigures:
    @pytest.mark.parametrize(
        ("name", "value", "text"),
        [
            ("latency.end_to_end.p99", 0.0123, "12.3 ms"),
            ("latency.end_to_end.p99", AtLeast(at_least=4.2), "≥ 4.2 s"),
            ("latency.end_to_end.p99", Unknown(unknown="n too small"), "n too small"),
            ("latency.end_to_end.p99", None, "—"),
            ("throughput", 3998.4, "3,998/s"),
            ("rate.achieved", 0.999, "99.9 %"),
            ("loss.ratio", 0.0000075, "0.00075 %"),
            ("loss.confirmed", 12345.0, "12,345"),
            ("recovery.redelivery_max", AtLeast(at_least=9.0), "≥ 9 s"),
            ("cost.broker_memory_peak", 9_400_000.0, "9.4 MB"),
            ("cost.broker_cpu", 14.21, "14.2 µs per message"),
            ("cost.load_cpu", 4210.0, "4.21 ms per message"),
            ("of.a.later.version", 0.5, "0.5"),
        ],
    )
    def test_a_figure_reads_in_its_unit(self, name: str, value: object, text: str) -> None:
        assert words.figure(name, value) == text  # type: ignore[arg-type]

    def test_an_slo_on_cpu_is_told_in_the_unit_of_the_figure_beside_it(self) -> None:
        asked = Expectation(metric="cost.broker_cpu", bound="60 s", seen=64.1, met=False)
        assert words.asked(asked) == "cost.broker_cpu 64.1 µs per message, asked: at most 60 µs per message"

    def test_of_three_trials_the_middle_one_counts_and_the_range_is_kept(self) -> None:
        trials = [records.trial(n, metrics=records.metrics(p99_s=p99)) for n, p99 in ((1, 0.03), (2, 0.01), (3, 0.02))]
        found = figures.over_trials(records.case(trials=trials), "latency.end_to_end.p99")
        assert (found.middle, found.lowest, found.highest) == (0.02, 0.01, 0.03)

    def test_of_two_trials_the_worse_one_counts_and_nothing_is_averaged(self) -> None:
        assert figures.middle([0.01, 0.03]).middle == 0.03
        assert figures.middle([4000.0, 3000.0], more_is_better=True).middle == 3000.0

    def test_a_censored_figure_is_worse_than_the_same_number(self) -> None:
        assert figures.middle([AtLeast(at_least=2.0), 2.0]).middle == AtLeast(at_least=2.0)

    def test_an_invalid_trial_enters_no_middle(self) -> None:
        trials = [records.trial(1), records.invalid_trial(2, metrics=records.metrics(p99_s=9.0))]
        assert figures.over_trials(records.case(trials=trials), "latency.end_to_end.p99").middle == 0.0123

    def test_without_a_steady_window_the_whole_run_stands_in_and_says_so(self) -> None:
        metrics = records.metrics()
        metrics["steady"] = dict.fromkeys(metrics["steady"], Unknown(unknown="no steady window"))
        case = records.case(trials=[records.trial(metrics=metrics)])
        assert figures.over_trials(case, "latency.end_to_end.p99").window == "whole"
        assert row(printed(records.run([case])), case.id)[5] == "12.3 ms, whole run"

    def test_a_throughput_that_is_not_sustained_carries_its_label(self) -> None:
        case = records.case(trials=[records.trial(throughput_label={"steady": "filling", "whole": "sustained"})])
        told = printed(records.run([case]))
        assert row(told, case.id)[3] == "3,998/s, filling"
        assert "filling: of a throughput: the backlog grew meanwhile, so it is not compared" in told
        assert "draining: " not in told

    def test_the_worst_fault_of_a_trial_gives_its_recovery(self) -> None:
        trial = records.trial(faults=[records.broker_kill(3.0), records.broker_kill(AtLeast(at_least=4.0))])
        assert figures.recovery(records.case(trials=[trial]), "p99").middle == AtLeast(at_least=4.0)

    def test_of_a_long_recovery_and_one_that_was_cut_off_the_long_one_is_the_least(self) -> None:
        trial = records.trial(faults=[records.broker_kill(8.0), records.broker_kill(AtLeast(at_least=0.0246))])
        assert figures.recovery(records.case(trials=[trial]), "p99").middle == AtLeast(at_least=8.0)

    def test_a_recovery_that_was_not_waited_for_is_no_short_one(self) -> None:
        cut = [records.broker_kill(AtLeast(at_least=at_least)) for at_least in (0.0018, 0.0246)]
        case = records.case(trials=[records.trial(faults=cut)])
        text = printed(records.run([case]))
        assert row(text, case.id)[-3:] == ["2.14 s", "not seen", "✓ HELD"]
        assert "not seen: the next fault or the end of the load came too early" in text
        assert words.figure("recovery.p99", AtLeast(at_least=2.999)) == "not seen"
        assert words.figure("recovery.p99", AtLeast(at_least=3.0)) == "≥ 3 s"
        assert words.figure("recovery.longest_gap", AtLeast(at_least=0.5)) == "≥ 500 ms"

    def test_a_lag_of_too_few_messages_is_the_largest_and_says_so(self) -> None:
        few = {"steady": records.metrics()["steady"] | {"lag.p99": Unknown(unknown="n too small")}}
        assert row(printed(records.run([records.case(trials=[records.trial(metrics=few)])])), records.case().id)[6] == (
            "max 3.1 ms"
        )


class TestPrinted:
    def test_the_verdict_comes_first_and_the_path_of_the_report_last(self) -> None:
        lines = printed(records.run()).strip().splitlines()
        assert lines[0].startswith("VERDICT  1 of 3 cases LOST confirmed messages, as its claim allows.")
        assert lines[1].strip().startswith("▼ redis-stream[persistence=none]@embedded: LOST 12,345 of 40,021")
        assert lines[-1] == "Report: runs/2026-11-21T10-15-03-quickstart/report.md"

    def test_a_row_holds_the_figures_of_its_case(self) -> None:
        assert row(printed(records.run()), "redis-stream[persistence=none]@embedded") == [
            "redis-stream[persistence=none]@embedded",
            "4,001/s",
            "3,999/s",
            "3,998/s",
            "1.71 ms",
            "12.3 ms",
            "400 µs",
            "12,345",
            "0",
            "23",
            "2.14 s",
            "≥ 4.9 s",
            "▼ LOST, as claimed",
        ]

    def test_classes_stand_apart_weakest_first(self) -> None:
        text = printed(records.run(list(reversed(records.run().cases))))
        places = [text.index(f"\n  {kind.value} ") for kind in list(DurabilityClass)[:3]]
        assert places == sorted(places)

    def test_expected_stands_beside_seen(self) -> None:
        text = printed(records.run())
        assert "Expected  Redis without persistence loses what was in it; the others lose nothing." in text
        assert (
            "Seen      LOST, as claimed: redis-stream[persistence=none]@embedded; "
            "HELD: redis-stream@embedded, postgres-lease@embedded" in text
        )

    def test_claims_stand_with_fault_verdict_and_evidence(self) -> None:
        text = printed(records.run())
        assert re.search(
            r"✓ HELD +broker kill +claims: may lose all that was exposed +seen: 12,345 lost of 14,002 exposed", text
        )
        assert re.search(r"✓ HELD +no fault +claims: loses nothing; repeats nothing +seen: 0 lost outside", text)

    def test_every_run_prints_the_schedule_lag(self) -> None:
        assert "Load generator: schedule lag p99 400 µs, bound 10 ms" in printed(records.run())
        nothing = records.run([records.case(trials=[records.trial(metrics={}, ledger=None)])])
        assert "Load generator: schedule lag p99 not measured" in printed(nothing)

    def test_a_lag_without_a_p99_says_why_and_gives_the_largest(self) -> None:
        metrics = {"steady": {"lag.p99": Unknown(unknown="n too small"), "lag.max": 0.0031}}
        record = records.run([records.case(trials=[records.trial(metrics=metrics)])])
        assert story.lag(record) == "schedule lag p99 n too small, max 3.1 ms, bound 10 ms"

    def test_the_latest_trial_of_all_gives_the_lag(self) -> None:
        record = records.run([records.case(), records.case(trials=[records.invalid_trial()], guarantees=[])])
        assert "schedule lag p99 48.2 ms, bound 10 ms" in story.lag(record)

    def test_a_lag_stands_beside_the_bound_of_its_own_trial(self) -> None:
        def trial(number: int, lag_s: float, bound_s: float) -> TrialRecord:
            return records.trial(number, metrics=records.metrics(lag_s=lag_s), lag_bound_s=bound_s)

        slow = [trial(1, 0.3, 2.79), trial(2, 0.008, 0.01), trial(3, 0.0004, 0.01)]
        assert story.lag(records.run([records.case(trials=slow)])) == "schedule lag p99 8 ms, bound 10 ms"
        worse = [*slow, trial(4, 3.0, 2.79)]
        assert story.lag(records.run([records.case(trials=worse)])) == "schedule lag p99 3 s, bound 2.79 s"

    def test_reasons_stand_once_with_their_remedy_and_their_trials(self) -> None:
        trials = [records.invalid_trial(1), records.invalid_trial(2), records.trial(3)]
        text = printed(records.run([records.case(trials=trials)]))
        assert "! INVALID redis-stream@embedded, trials 1, 2" in text
        assert text.count("generator saturated: schedule lag p99 48.2 ms, bound 10 ms") == 1
        assert "remedy: lower load.rate, or give the load more producers or cores" in text

    def test_a_reason_that_brings_its_own_remedy_gets_no_second_one(self) -> None:
        assert words.remedy("generator saturated; remedy: rest") == ""
        assert words.remedy("something new") == ""

    def test_each_trial_has_its_status_and_a_range_where_they_differ(self) -> None:
        trials = [records.trial(1), records.trial(2, metrics=records.metrics(p99_s=0.02)), records.invalid_trial(3)]
        text = printed(records.run([records.case(trials=trials)]))
        assert "redis-stream@embedded: 1 ✓ valid (0 lost)  2 ✓ valid (0 lost)  3 ! INVALID" in text
        assert "12.3 ms – 20 ms" in text
        assert "2 of 3 valid" in text
        assert "0 – 0" not in text

    def test_a_count_is_of_all_trials_together_so_that_no_loss_hides_behind_the_middle_one(self) -> None:
        trials = [
            records.trial(
                number, metrics=records.metrics(lost), ledger=records.ledger(lost, repeats=repeats, skipped=7)
            )
            for number, lost, repeats in ((1, 0, 2), (2, 10, 0), (3, 0, 1))
        ]
        record = records.run([case := records.case(trials=trials)])
        cells = {column.heading: column.cell(case) for column in columns(record)}
        assert (cells["lost"].text, cells["lost"].range, cells["lost"].style) == ("10", "0 – 10", "bold")
        assert (cells["repeats"].text, cells["repeats"].range) == ("3", "0 – 2")
        assert (cells["skipped"].text, cells["skipped"].range) == ("21", "")
        assert cells["unknown"].text == "69"
        assert f"several trials: {words.SEVERAL}; below it lowest – highest of one trial" in printed(record)
        at_least = [AtLeast(at_least=0.0), 3.0, Unknown(unknown="not known")]
        assert figures.together(at_least) == figures.Found(
            AtLeast(at_least=3.0), AtLeast(at_least=0.0), AtLeast(at_least=3.0)
        )
        assert figures.together([3.0, Unknown(unknown="not known")]).middle == AtLeast(
            at_least=3.0
        )  # unknown is not none

    def test_slo_lines_say_met_missed_or_unknown(self) -> None:
        slo = [records.slo(True, 0.01), records.slo(False), records.slo(None, None)]
        text = printed(records.run([records.case(slo=slo)]))
        assert "✓ met latency.end_to_end.p99 10 ms, asked: at most 50 ms" in text
        assert "✗ MISSED latency.end_to_end.p99 62 ms, asked: at most 50 ms" in text
        assert "? UNKNOWN latency.end_to_end.p99 —, asked: at most 50 ms" in text

    def test_worker_kills_show_completion_first_and_the_time_to_redelivery(self) -> None:
        case = records.case(trials=[records.trial(faults=[records.worker_kill()])])
        text = printed(records.run([case]), width=220)
        heading = next(line for line in text.splitlines() if " completion p50 " in line)
        assert heading.index("completion p99") < heading.index("e2e p50")
        assert row(text, case.id)[-5:] == ["20 ms", "400 ms", "5.32 s", "5.71 s", "✓ HELD"]

    def test_without_a_fault_there_is_no_column_of_recovery(self) -> None:
        record = records.run([records.case(trials=[records.trial(faults=[])])])
        assert "recovered after" not in printed(record)

    def test_warnings_stand_once_and_only_ten_of_them(self) -> None:
        warnings = [f"warning {number}." for number in range(12)]
        cases = [records.case(trials=[records.trial(warnings=warnings)])] * 2
        text = printed(records.run(cases))
        assert text.count("redis-stream@embedded: warning 3.") == 1
        assert "… and 2 more in the report" in text


class TestTerminals:
    @pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp1252"])
    def test_no_sign_is_more_than_the_terminal_can_write(self, encoding: str) -> None:
        raw = io.BytesIO()
        file = io.TextIOWrapper(raw, encoding=encoding)
        console = Console(file=file, width=80, force_terminal=True)
        record = records.run([*records.run().cases, became(rejected=3)], question="≥ … × · ° 漢 \U0001f600?")
        print_run(record, console, report=Path("runs/é漢/report.md"))
        file.flush()
        text = re.sub(r"\x1b\[[0-9;]*m", "", raw.getvalue().decode(encoding))
        assert ("▼ LOST" if encoding == "utf-8" else "v LOST") in text
        assert ("✓ HELD" if encoding == "utf-8" else "+ HELD") in text
        assert ("≥ 4.9 s" if encoding == "utf-8" else ">=4.9 s") in text

    def test_stand_ins_are_taken_only_where_they_are_needed(self) -> None:
        assert writable("✓ 5 µs · 4 °C — ≥ 3 s …", "utf-8") == "✓ 5 µs · 4 °C — ≥ 3 s …"
        assert writable("✓ 5 µs · 4 °C — ≥ 3 s …", "latin-1") == "+ 5 µs · 4 °C - >=3 s ..."
        assert writable("✗▼○× 5 µs 漢 é", "ascii") == "xvox 5 us ?? ?"

    @pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160, 200])
    def test_nothing_is_cut_off_at_any_width(self, width: int) -> None:
        trials = [
            records.trial(1, faults=[records.worker_kill()]),
            records.trial(2, metrics=records.metrics(p99_s=0.02)),
        ]
        record = records.run([records.memory_case(), records.case(trials=trials), records.postgres_case()])
        text = printed(record, width)
        assert "…" not in text.replace("SKIP LOCKED …", "")
        for must in ("12,345", "LOST,", "HELD", "12.3 ms –", "5.71 s", "4,001/s", "persistence=none"):
            assert must in text
        path = "runs/2026-11-21T10-15-03-quickstart/report.md"
        assert all(len(line) <= width for line in text.splitlines() if path not in line)
        assert f"Report: {path}" in text.splitlines()

    def test_without_a_terminal_there_is_no_escape_code(self) -> None:
        assert "\x1b" not in printed(records.run())

    def test_no_color_is_honoured_on_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", printed(records.run(), force_terminal=True))
        monkeypatch.delenv("NO_COLOR")
        monkeypatch.setenv("TERM", "xterm-256color")
        assert re.search(r"\x1b\[[0-9;]*3[0-9]m", printed(records.run(), force_terminal=True))

    def test_names_that_look_like_markup_are_printed_as_they_are(self) -> None:
        text = printed(records.run([records.case("x[bold]y[/bold]@embedded")], question="[red]why?[/red]"))
        assert "x[bold]y[/bold]@embedded: kept" in text
        assert "[red]why?[/red]" in text

    def test_what_others_wrote_cannot_write_over_the_verdict(self) -> None:
        hostile = "a\x1b[2J\x1b]0;t\x07b\rc\x9b1Ad\u202ee\u2066f\u200fg"
        warned = records.trial(warnings=[hostile])
        record = records.run([records.case("x[v=\x1b[1A]@embedded", trials=[warned])], question=hostile, expect=hostile)
        for options in ({}, {"force_terminal": True, "color_system": None}):
            text = printed(record, **options)
            assert not re.search(r"[\x00-\x09\x0b-\x1a\x1c-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)
            assert text.count("a[2J]0;tbc1Adefg") == 3
            assert "\x1b[2J" not in text
            assert "\x1b[1A" not in text

    def test_a_run_without_cases_prints_its_verdict(self) -> None:
        assert "No case was run: no verdict." in printed(records.run([]))
