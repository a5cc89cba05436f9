"""Pairs of trials: the coin, when they stop, what does not count, and that no end of ours repeats or drops a pair that was finished."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from harness import tables
from harness.errors import ExitCode, UsageError
from harness.experiment.pairs import Arm, Standing, TrialBegan, coin, limited, new_record, remaining, run_pairs
from harness.experiment.single import Done
from harness.facts import TrialFacts
from harness.gate.jury import Jury
from harness.gate.outcome import Verdict
from harness.gate.pairs import PairsRecord, evidences
from harness.gate.rules import AbsoluteRule, RelativeRule, Rule
from harness.model import TrialStatus
from harness.pairs_folder import PairsFolder
from harness.run.progress import Listener
from harness.scenario.model import Case, Scenario
from harness.store import RunFolder
from tests.unit import gate_folders, records
from tests.unit.gate_folders import P50
from tests.unit.scenario_support import read_text
from tests.unit.test_comparable import FINGERPRINT

SCENARIO = """
question: Is B slower than A?
setups: [{}]
deployment: embedded
load: {{rate: 1000/s}}
seed: 40
"""
SLOWER = RelativeRule(id="p50", metric=P50, max_ratio=1.25)
NO_LOSS = AbsoluteRule(id="no-loss", metric="loss.confirmed", relation="==", limit=0.0, text="== 0")
S = 1_000_000_000
RUN_IDS = itertools.count(1)
"""No two runs have the same: cases of one run are compared in another way."""


class Scripted:
    """Runs trials whose median latency is what a list says; writes the run folder that a run would leave.

    Args:
        p50_s: of each trial in the order of its pairs. busy: numbers of pairs during which other programs take the machine.
    """

    def __init__(self, p50_s: Callable[[int], float], *, busy: tuple[int, ...] = (), **more: Any) -> None:
        self.p50_s = p50_s
        self.busy = busy
        self.more = more
        self.of_case: dict[str, Callable[[int], float]] = {}
        self.seeds: list[int] = []
        self.interrupt: Callable[[int], str] = lambda seed: ""

    def run(self, scenario: Scenario, case: Case, listener: Listener, *, seed: int, root: Path) -> Done:
        number = seed - scenario.seed
        self.seeds.append(seed)
        p50_s = self.of_case.get(case.id, self.p50_s)
        record = gate_folders.run([p50_s(number)], run_id=f"{next(RUN_IDS):016x}", **self.more)
        [only] = record.cases
        record = record.model_copy(update={"cases": [only.model_copy(update={"id": case.id})], "status": "finished"})
        match self.interrupt(number):
            case "mid-trial":
                trial = only.trials[0].model_copy(update={"status": TrialStatus.INTERRUPTED})
                only = only.model_copy(update={"trials": [trial]})
                record = record.model_copy(update={"status": "interrupted", "cases": [only]})
            case "after":
                record = record.model_copy(update={"status": "interrupted"})
            case "before":
                raise KeyboardInterrupt
        path = root / f"run-{len(list(root.glob('*'))) + 1 if root.exists() else 1}"
        gate_folders.stored(path, record)
        folder = RunFolder(path)
        write_load(folder, record.cases[0].trials[0].folder, others=1.5 if number in self.busy else 0.1)
        return Done(folder=folder, record=record)


def write_load(folder: RunFolder, trial: str, *, others: float, stolen: float = 0.0, ours: float = 0.0) -> None:
    """Writes what a machine of two cores was busy with over ten seconds: one core by the broker, half of one by the load."""
    place = folder.trial_at(trial)
    cores = {"broker": 1.0, "load": 0.5, "machine": 1.5 + others + stolen + ours, "stolen": stolen, "harness": ours}
    named = {"machine": "cpu_busy_s", "stolen": "cpu_steal_s"}
    rows = [
        (t * S, "machine" if source == "stolen" else source, named.get(source, "cpu_s"), share * t)
        for t in range(11)
        for source, share in cores.items()
    ]
    place.write_table("samples", pl.DataFrame(rows, schema=tables.SAMPLES, orient="row"))
    with place.timeline() as timeline:
        timeline.append_facts(
            0, TrialFacts(run_id=1, trial=1, load_start_ns=0, load_end_ns=10 * S, cores=2, drain_end_ns=11 * S)
        )


class Noting:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def notice(self, event: Any) -> None:
        self.events.append(event)


def scenario(setups: str = '"null"') -> Scenario:
    with tempfile.TemporaryDirectory() as folder:
        return read_text(Path(folder), SCENARIO.format(setups))


def arms(a: Scripted, b: Scripted, setups: str = '"null"') -> tuple[Arm, Arm]:
    asked = scenario(setups)
    return Arm(scenario=asked, runner=a), Arm(scenario=asked, runner=b)


def steady(p50_s: float) -> Callable[[int], float]:
    return lambda number: p50_s


def scattered(number: int) -> float:
    return 0.01 * math.exp(0.5 * (-1) ** number)


def compared(
    folder: Path, a: Scripted, b: Scripted, *rules: Rule, stopping: Any = "full", setups: str = '"null"', **more: Any
) -> PairsRecord:
    """Returns the record of a comparison that was run."""
    both = arms(a, b, setups)
    made = PairsFolder.create(folder, "smoke", datetime(2026, 11, 21))
    record = new_record(both, command="brokerbench ab smoke", stopping=stopping, seed=7, **more)
    return run_pairs(made, record, both, Noting(), Jury(rules=rules) if rules else None)


def only_folder(root: Path) -> PairsFolder:
    [path] = root.iterdir()
    return PairsFolder.open(path)


class TestOrder:
    def test_the_coin_is_fair_and_the_same_whenever_it_is_asked_for(self) -> None:
        tossed = [coin(7, case, number) for case in range(20) for number in range(1, 501)]
        assert tossed == [coin(7, case, number) for case in range(20) for number in range(1, 501)]
        assert abs(tossed.count("a") - 5_000) < 4 * 50  # four standard deviations
        runs = 1 + sum(one != other for one, other in itertools.pairwise(tossed))
        assert abs(runs - 5_000) < 4 * 50

    def test_both_trials_of_a_pair_have_the_seed_of_the_scenario_and_their_number(self, tmp_path: Path) -> None:
        a, b = Scripted(steady(0.01)), Scripted(steady(0.01))
        compared(tmp_path, a, b, stopping="fixed", pairs=3)
        assert a.seeds == b.seeds == [41, 42, 43]

    def test_trials_are_run_in_the_order_of_the_coins(self, tmp_path: Path) -> None:
        record = compared(tmp_path, Scripted(steady(0.01)), Scripted(steady(0.01)), stopping="fixed", pairs=6)
        firsts = [coin(7, 0, number) for number in range(1, 7)]
        assert [pair.first for pair in record.cases[0].pairs] == firsts
        assert [ran.side for ran in record.trials[::2]] == firsts
        assert set(firsts) == {"a", "b"}

    def test_one_pair_of_each_case_after_the_other(self, tmp_path: Path) -> None:
        two = '"null", {"null": {drop: "1"}}'
        record = compared(
            tmp_path, Scripted(steady(0.01)), Scripted(steady(0.01)), stopping="fixed", pairs=2, setups=two
        )
        first, second = (case.b for case in record.cases)
        assert [ran.case for ran in record.trials[::2]] == [first, second, first, second]

    def test_sides_with_different_numbers_of_cases_have_no_pairs(self) -> None:
        a, b = arms(Scripted(steady(1)), Scripted(steady(1)))
        more = Arm(scenario=scenario('"null", {"null": {drop: "1"}}'), runner=b.runner)
        with pytest.raises(UsageError, match="A has 1 cases and B 2"):
            new_record((a, more), command="", stopping="full")


class TestStopping:
    @pytest.mark.parametrize(("ratio", "verdict"), [(1.0, Verdict.PASS), (2.0, Verdict.FAIL)])
    def test_a_case_is_over_when_its_rules_are_decided(self, tmp_path: Path, ratio: float, verdict: Verdict) -> None:
        record = compared(tmp_path, Scripted(steady(0.01)), Scripted(steady(0.01 * ratio)), SLOWER, NO_LOSS)
        assert record.cases[0].over == "decided"
        assert len(record.cases[0].pairs) == 6
        assert record.outcome is not None
        assert [row.verdict for row in record.outcome.rows] == [verdict, Verdict.PASS]
        assert record.status == "finished"

    def test_a_case_that_is_decided_takes_no_more_pairs_while_another_does(self, tmp_path: Path) -> None:
        two = '"null", {"null": {drop: "1"}}'
        noisy = Scripted(steady(0.01))
        noisy.of_case = {"null[drop=1]@embedded": scattered}
        record = compared(tmp_path, noisy, Scripted(steady(0.01)), SLOWER, stopping="quick", setups=two)
        assert [(len(case.pairs), case.over) for case in record.cases] == [(5, "decided"), (10, "all pairs")]

    def test_without_a_decision_all_pairs_are_run(self, tmp_path: Path) -> None:
        record = compared(tmp_path, Scripted(steady(0.01)), Scripted(scattered), SLOWER)
        assert (record.cases[0].over, len(record.cases[0].pairs)) == ("all pairs", 16)
        assert record.outcome is not None
        assert record.outcome.exit_code == ExitCode.INCONCLUSIVE

    def test_contracts_alone_are_kept_for_the_first_look(self, tmp_path: Path) -> None:
        record = compared(tmp_path, Scripted(steady(0.01)), Scripted(steady(0.01)), NO_LOSS, stopping="quick")
        assert len(record.cases[0].pairs) == 5
        assert record.outcome is not None
        assert record.outcome.exit_code == ExitCode.PASS

    def test_contracts_that_are_broken_take_no_more_pairs(self, tmp_path: Path) -> None:
        lossy = Scripted(steady(0.01), lost=3.0)
        record = compared(tmp_path, Scripted(steady(0.01)), lossy, NO_LOSS)
        assert (record.cases[0].over, len(record.cases[0].pairs)) == ("decided", 1)
        assert record.outcome is not None
        assert record.outcome.exit_code == ExitCode.BROKEN
        known = AbsoluteRule(id="p50", metric=P50, relation="<=", limit=1.0, text="<= 1 s")
        record = compared(tmp_path / "two", Scripted(steady(0.01)), lossy, NO_LOSS, known)
        assert (record.cases[0].over, len(record.cases[0].pairs)) == ("all pairs", 6)

    def test_contracts_alone_take_the_pairs_of_the_first_look(self) -> None:
        begun = new_record(arms(Scripted(steady(1)), Scripted(steady(1))), command="", stopping="full")
        record = limited(begun, Jury(rules=(NO_LOSS,)))
        assert remaining(record, record.cases[0]) == (6, 6)
        assert limited(record, Jury(rules=(NO_LOSS, SLOWER))) == begun

    def test_a_loss_fails_though_no_rule_waits_for_it(self, tmp_path: Path) -> None:
        lossy = Scripted(steady(0.01), lost=3.0)
        record = compared(tmp_path, Scripted(steady(0.01)), lossy, SLOWER, NO_LOSS, stopping="quick")
        assert record.outcome is not None
        assert record.outcome.exit_code == ExitCode.BROKEN

    def test_what_is_still_to_come_is_told(self) -> None:
        record = new_record(arms(Scripted(steady(1)), Scripted(steady(1))), command="", stopping="full")
        assert remaining(record, record.cases[0]) == (6, 16)
        assert remaining(record, record.cases[0].model_copy(update={"over": "decided"})) == (0, 0)


class TestDiscards:
    def test_a_pair_that_others_disturbed_does_not_count_and_another_is_run(self, tmp_path: Path) -> None:
        a, b = Scripted(steady(0.01), busy=(2,)), Scripted(steady(0.01))
        record = compared(tmp_path, a, b, SLOWER, stopping="quick")
        [case] = record.cases
        assert [pair.number for pair in case.pairs if pair.discarded] == [2]
        assert case.pairs[1].discarded == "A: other programs used 1.5 of 2 cores while under load"
        assert len(case.counted) == 5
        assert record.outcome is not None
        assert record.outcome.discarded == {case.b: {"a": 1, "b": 0}}
        assert record.outcome.exit_code == ExitCode.PASS

    def test_too_many_discards_prove_nothing(self, tmp_path: Path) -> None:
        a, b = Scripted(steady(0.01)), Scripted(steady(0.01), busy=tuple(range(100)))
        record = compared(tmp_path, a, b, SLOWER, NO_LOSS, stopping="quick")
        assert (record.cases[0].over, len(record.cases[0].pairs)) == ("discards", 6)
        assert record.outcome is not None
        assert record.outcome.exit_code == ExitCode.INVALID
        assert "6 pairs were disturbed from outside" in record.outcome.rows[0].words

    def test_a_trial_that_is_invalid_by_its_own_fault_is_evidence(self, tmp_path: Path) -> None:
        saturated = records.invalid_trial().reasons
        a, b = Scripted(steady(0.01)), Scripted(steady(0.01))
        wrong = gate_folders.case([gate_folders.trial(1, 0.01, status=TrialStatus.INVALID, reasons=saturated)])
        b.more = {"cases": [wrong]}
        record = compared(tmp_path, a, b, SLOWER)
        assert [pair.discarded for pair in record.cases[0].pairs] == [""]
        assert record.outcome is not None
        assert record.outcome.rows[0].verdict is Verdict.INVALID
        assert record.outcome.exit_code == ExitCode.INVALID

    def test_steal_of_the_hypervisor_counts_as_others(self, tmp_path: Path) -> None:
        from harness.experiment.disturbance import disturbance  # noqa: PLC0415 - one test's own

        folder = RunFolder(gate_folders.stored(tmp_path / "run", gate_folders.run([0.01])))
        trial = folder.load().cases[0].trials[0]
        write_load(folder, trial.folder, others=0.2, stolen=0.4)
        told = "other programs used 0.2 of 2 cores while under load, the hypervisor gave 0.4 to others"
        assert disturbance(folder, trial, 0.25) == told
        assert disturbance(folder, trial, 0.31) == ""

    def test_the_harness_itself_is_none_of_the_others(self, tmp_path: Path) -> None:
        from harness.experiment.disturbance import disturbance  # noqa: PLC0415 - as above

        folder = RunFolder(gate_folders.stored(tmp_path / "run", gate_folders.run([0.01])))
        trial = folder.load().cases[0].trials[0]
        write_load(folder, trial.folder, others=0.4, ours=0.4)
        assert disturbance(folder, trial, 0.25) == ""
        assert disturbance(folder, trial, 0.15) == "other programs used 0.4 of 2 cores while under load"

    def test_what_cannot_be_told_is_no_reason_to_discard(self, tmp_path: Path) -> None:
        from harness.experiment.disturbance import disturbance  # noqa: PLC0415 - as above

        folder = RunFolder(gate_folders.stored(tmp_path / "run", gate_folders.run([0.01])))
        assert disturbance(folder, folder.load().cases[0].trials[0], 0.0) == ""


class Killed(BaseException):
    """A SIGKILL: nothing of ours runs after it."""


class Mortal(PairsFolder):
    """A folder during whose n-th write we are killed, just before or just after the write."""

    def __init__(self, path: Path, write: int, *, before: bool) -> None:
        super().__init__(path)
        self.left = write
        self.before = before

    def save(self, record: PairsRecord) -> None:
        self.left -= 1
        if self.left < 0 or (self.left == 0 and self.before):
            raise Killed
        super().save(record)
        if self.left == 0:
            raise Killed


def whole(record: PairsRecord) -> list[tuple[int, str]]:
    """Returns number and first of each pair of the only case."""
    return [(pair.number, pair.first) for pair in record.cases[0].pairs]


def check_whole(root: Path, record: PairsRecord, pairs: int) -> None:
    """Asserts that every pair is there once, of two trials that were run one after the other."""
    assert whole(record) == [(number, coin(7, 0, number)) for number in range(1, pairs + 1)]
    counted = [ran for ran in record.trials if not ran.discarded]
    assert [(ran.pair, ran.side) for ran in counted[::2]] == whole(record)
    assert [ran.pair for ran in counted[1::2]] == [ran.pair for ran in counted[::2]]
    assert len(counted) == 2 * pairs
    assert {ran.run for ran in record.trials} == set(only_folder(root).runs())


class TestTakingUp:
    @pytest.mark.parametrize("before", [True, False])
    @pytest.mark.parametrize("write", range(1, 18))
    def test_whenever_we_are_killed_no_finished_pair_is_repeated_or_dropped(
        self, tmp_path: Path, write: int, *, before: bool
    ) -> None:
        a, b = Scripted(steady(0.01)), Scripted(steady(0.01))
        both = arms(a, b)
        made = PairsFolder.create(tmp_path, "smoke", datetime(2026, 11, 21))
        record = new_record(both, command="", stopping="fixed", pairs=2, seed=7)
        made.save(record)
        with suppress(Killed):  # of the last writes some come to the end before
            run_pairs(Mortal(made.path, write, before=before), record, both, Noting())
        finished = made.load().cases[0].pairs
        again = run_pairs(PairsFolder.open(made.path), made.load(), both, Noting())
        assert again.cases[0].pairs[: len(finished)] == finished
        check_whole(tmp_path, again, 2)
        assert again == only_folder(tmp_path).load()
        assert len(a.seeds) + len(b.seeds) <= 5  # at most the trial that was cut short, again

    @pytest.mark.parametrize("how", ["mid-trial", "before", "after"])
    @pytest.mark.parametrize("side", ["a", "b"])
    @pytest.mark.parametrize("number", [1, 2, 3])
    def test_a_ctrl_c_in_any_trial_is_gone_on_from(self, tmp_path: Path, how: str, side: str, number: int) -> None:
        a, b = Scripted(steady(0.01)), Scripted(steady(0.01))
        struck = a if side == "a" else b
        struck.interrupt = lambda at: how if at == number else ""
        both = arms(a, b)
        record = compared_on(tmp_path, both, new_record(both, command="", stopping="fixed", pairs=3, seed=7))
        second = coin(7, 0, number) != side
        assert record.status == "interrupted"
        assert len(record.cases[0].pairs) == (number if how == "after" and second else number - 1)
        struck.interrupt = lambda at: ""
        again = run_pairs(only_folder(tmp_path), only_folder(tmp_path).load(), both, Noting())
        assert again.status == "finished"
        assert again.cases[0].pairs[: len(record.cases[0].pairs)] == record.cases[0].pairs
        check_whole(tmp_path, again, 3)

    def test_what_was_cut_short_proves_nothing_to_whoever_reads_it(self, tmp_path: Path) -> None:
        a, b = Scripted(steady(0.01)), Scripted(steady(0.01))
        b.interrupt = lambda at: "mid-trial" if at == 3 else ""
        both = arms(a, b)
        record = compared_on(tmp_path, both, new_record(both, command="", stopping="full", seed=7), SLOWER, NO_LOSS)
        folder = only_folder(tmp_path)
        told = Jury(rules=(SLOWER, NO_LOSS)).outcome(record, folder.trials(record))
        assert told.exit_code == ExitCode.INVALID
        assert "the comparison was interrupted after 2 of at most 16 pairs" in told.rows[0].words

    def test_a_loss_is_not_forgotten_though_its_pair_was_not_finished(self, tmp_path: Path) -> None:
        a, b = Scripted(steady(0.01)), Scripted(steady(0.01))
        struck = next(number for number in range(1, 9) if coin(7, 0, number) == "b")

        def p50_s(number: int) -> float:
            b.more = {"lost": 3.0 if number == struck and struck not in seen else 0.0}
            seen.add(number)
            return 0.01

        seen: set[int] = set()
        b.p50_s, a.interrupt = p50_s, lambda at: "mid-trial" if at == struck else ""
        both, jury = arms(a, b), Jury(rules=(NO_LOSS,))
        record = compared_on(tmp_path, both, new_record(both, command="", stopping="fixed", pairs=struck, seed=7))
        folder = only_folder(tmp_path)
        assert jury.outcome(record, folder.trials(record)).exit_code == ExitCode.BROKEN
        a.interrupt = lambda at: ""
        again = run_pairs(folder, folder.load(), both, Noting(), jury)
        told = jury.outcome(again, only_folder(tmp_path).trials(again))
        assert (told.exit_code, told.rows) == (ExitCode.BROKEN, again.outcome.rows if again.outcome else [])
        [row] = told.rows
        assert row.words == (
            f"1 of {struck + 1} trials broke it: 3 lost in B of pair {struck}, which was not finished; it must be 0"
        )

    def test_two_cannot_run_the_pairs_of_one_folder(self, tmp_path: Path) -> None:
        made = PairsFolder.create(tmp_path, "smoke", datetime(2026, 11, 21))
        with made.alone(), pytest.raises(UsageError, match="another brokerbench runs its pairs"), made.alone():
            pass
        with made.alone():
            pass


def compared_on(root: Path, both: tuple[Arm, Arm], record: PairsRecord, *rules: Rule) -> PairsRecord:
    made = PairsFolder.create(root, "smoke", datetime(2026, 11, 21))
    return run_pairs(made, record, both, Noting(), Jury(rules=rules) if rules else None)


class TestComparable:
    def told(self, root: Path, a: Scripted, b: Scripted, **more: Any) -> list[str]:
        record = compared(root, a, b, stopping="fixed", pairs=2, **more)
        [found] = evidences(record, only_folder(root).trials(record))
        assert found.comparability is not None
        return [
            f"{each.kind.value}: {each.name}" for each in found.comparability.differences if each.kind.value != "live"
        ]

    def test_two_sides_that_are_alike_have_nothing_between_them(self, tmp_path: Path) -> None:
        assert self.told(tmp_path, Scripted(steady(0.01)), Scripted(steady(0.01))) == []

    def test_a_side_that_changes_on_the_way_is_not_compared(self, tmp_path: Path) -> None:
        a, b = Scripted(steady(0.01)), Scripted(steady(0.01))
        told = dict(FINGERPRINT)
        newer = told | {"subject": told["subject"] | {"brokerbench": "9.9"}}

        def later(number: int) -> float:
            if number == 2:
                a.more = b.more = {"fingerprint": newer}
            return 0.01

        a.p50_s = b.p50_s = later
        # Both are newer in the second pair, whichever trial comes first: the first of them was begun before.
        found = self.told(tmp_path, a, b)
        assert "identity: A changed on the way: brokerbench" in found
        assert "identity: B changed on the way: brokerbench" in found


class TestWatching:
    def test_how_it_stands_is_told_at_the_start_and_after_each_pair(self, tmp_path: Path) -> None:
        both = arms(Scripted(steady(0.01)), Scripted(steady(0.01)))
        made = PairsFolder.create(tmp_path, "smoke", datetime(2026, 11, 21))
        watcher = Noting()
        run_pairs(made, new_record(both, command="", stopping="fixed", pairs=2, seed=7), both, watcher)
        standing = [event for event in watcher.events if isinstance(event, Standing)]
        assert [len(each.record.cases[0].pairs) for each in standing] == [0, 1, 2]
        began = [event for event in watcher.events if isinstance(event, TrialBegan)]
        assert [each.second for each in began] == [False, True, False, True]
