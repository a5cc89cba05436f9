"""What the pytest fixture makes of a run's evidence, from hand-made records: passing, broken, undecided, invalid, wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import BrokerbenchError, EvidenceError, NotComparableError, UsageError
from harness.model import Verdict
from harness.pytest_plugin import Brokerbench, Result, RuleBroken, _as_toml, _command, _found, _text
from harness.record import RunRecord
from tests.unit import records
from tests.unit.gate_folders import NO_LOSS, P50, SLOWER, kept, rules, run, stored, trial
from tests.unit.gate_folders import case as case_of
from tests.unit.test_comparable import changed

BASE = [0.00100, 0.00101, 0.00102, 0.00099, 0.00098]
SAME = [0.001005, 0.001015, 0.000985, 0.000995, 0.001001]
SCATTERED = [0.0008, 0.0013, 0.0010, 0.0012, 0.0009]


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKERBENCH_STATE", str(tmp_path / "state"))


def result(tmp_path: Path, record: RunRecord | None = None) -> Result:
    record = record or run(SAME)
    return Result(folder=stored(tmp_path / "run", record), record=record)


def invalid(**more: Any) -> RunRecord:
    bad = trial(1, 0.001, status="invalid", reasons=["generator saturated: lag"], evidence_sound=False)
    return run([], cases=[case_of([bad])], exit_code=13, exit_reason="trial 1 invalid", **more)


def test_bounds_that_every_trial_keeps_are_no_news(tmp_path: Path) -> None:
    result(tmp_path).require("loss.confirmed == 0", f"{P50} <= 2 ms", "throughput>=900/s")


def test_a_broken_bound_is_an_assertion_that_says_what_was_seen(tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as caught:
        result(tmp_path, run(SAME, lost=7)).require("loss.confirmed == 0")
    assert isinstance(caught.value, RuleBroken)
    assert str(caught.value).startswith("FAIL: loss.confirmed == 0, null@embedded: 5 of 5 trials broke it: 7 ")
    assert "VERDICT  FAIL: the rule is broken." in str(caught.value)


def test_one_broken_bound_of_several_is_enough(tmp_path: Path) -> None:
    with pytest.raises(RuleBroken):
        result(tmp_path).require("loss.confirmed == 0", "throughput >= 2000/s")


@pytest.mark.parametrize(
    ("question", "where"),
    [("latency.end_to_end.p99 <= 1 s", {}), ("loss.confirmed == 0", {"case": "redis-*"}), (f"{P50} <= 1 s", {"window": "fault[0]"})],
)  # fmt: skip
def test_what_was_not_measured_is_an_error_and_no_assertion(
    tmp_path: Path, question: str, where: dict[str, str]
) -> None:
    with pytest.raises(EvidenceError, match="INVALID"):
        result(tmp_path).require(question, **where)


def test_an_invalid_trial_is_an_error_and_no_assertion(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="generator saturated"):
        result(tmp_path, invalid()).require("loss.confirmed == 0")


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("loss.confimed == 0", "require('loss.confimed == 0'): rule 'loss.confimed == 0': metric: there is no metric 'loss.confimed'"),
        ("loss.confirmed", "'' is no relation with a bound"),
        ("== 0", "there is no metric"),
        (f"{P50} <= 5", "has no unit"),
        ("", "metric"),
        ("guarantee == kept", "'kept' is not what belongs here"),
    ],
)  # fmt: skip
def test_a_wrong_question_is_refused_as_it_was_asked(tmp_path: Path, question: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        result(tmp_path).require(question)
    assert said in str(caught.value)
    assert ".toml" not in str(caught.value)


def test_no_question_at_all_is_refused_as_such(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"require\(\): asks nothing\n  expected: a metric, a relation and a bound"):
        result(tmp_path).require()


def test_what_is_wrong_with_questions_is_told_of_a_run_that_is_over(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        result(tmp_path).require("loss.confimed == 0", f"{P50} <= 5")
    assert "there is no metric 'loss.confimed'" in str(caught.value)
    assert "has no unit" in str(caught.value)
    assert "nothing was started" not in str(caught.value)


def test_a_guarantee_can_be_asked_for(tmp_path: Path) -> None:
    broken_claim = records.guarantee(Verdict.VIOLATED, "none", evidence="3 lost outside faults", exposed=None)
    held, broken = (
        run([], cases=[case_of([trial(1, 0.001, guarantees=[claim])])]) for claim in (records.no_fault(), broken_claim)
    )
    result(tmp_path / "1", held).require("guarantee == held")
    with pytest.raises(RuleBroken, match="3 lost outside faults"):
        result(tmp_path / "2", broken).require("guarantee==held")


def test_a_question_with_quotes_and_other_letters_stays_one_rule(tmp_path: Path) -> None:
    assert (
        _as_toml('µ"\\ <= 1', "*", "")
        == '[[rule]]\nid = "µ\\"\\\\ <= 1"\nmetric = "µ\\"\\\\"\nrequire = "<= 1"\ncase = "*"\n'
    )


def gated(tmp_path: Path, record: RunRecord, base: RunRecord, **how: Any) -> Any:
    tmp_path.mkdir(exist_ok=True)
    asked = rules(tmp_path / "rules.toml", SLOWER, NO_LOSS)
    return result(tmp_path, record).gate(asked, kept(tmp_path / "base.json", base), **how)


def test_rules_that_hold_against_a_baseline_give_their_verdicts(tmp_path: Path) -> None:
    outcome = gated(tmp_path, run(SAME), run(BASE, run_id="2" * 16))
    assert [row.verdict.value for row in outcome.rows] == ["PASS", "PASS"]


def test_a_regression_against_a_baseline_is_an_assertion(tmp_path: Path) -> None:
    with pytest.raises(RuleBroken, match="FAIL: p50, null@embedded"):
        gated(tmp_path, run([2 * each for each in SAME]), run(BASE, run_id="2" * 16))


def test_what_decides_neither_way_fails_or_skips_as_asked(tmp_path: Path) -> None:
    base = run(BASE, run_id="2" * 16)
    with pytest.raises(RuleBroken, match="INCONCLUSIVE"):
        gated(tmp_path / "1", run(SCATTERED), base)
    with pytest.raises(pytest.skip.Exception, match="INCONCLUSIVE"):
        gated(tmp_path / "2", run(SCATTERED), base, inconclusive="skip")


def test_skipping_what_is_undecided_skips_nothing_that_is_broken(tmp_path: Path) -> None:
    with pytest.raises(RuleBroken):
        gated(tmp_path, run(SCATTERED, lost=1), run(BASE, run_id="2" * 16), inconclusive="skip")


def test_another_machine_is_an_error_and_no_assertion(tmp_path: Path) -> None:
    other = changed("identity", "cpu_model", value="Another CPU")
    with pytest.raises(NotComparableError):
        gated(tmp_path, run(SAME), run(BASE, run_id="2" * 16, fingerprint=other))


def test_a_relative_rule_without_a_baseline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to compare"):
        result(tmp_path).gate(rules(tmp_path / "rules.toml", SLOWER))


def test_a_policy_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="inconclusive='warn'"):
        gated(tmp_path, run(SAME), run(BASE, run_id="2" * 16), inconclusive="warn")


def bench(tmp_path: Path, found: Result) -> Brokerbench:
    made = Brokerbench(tmp_path, tmp_path)
    made._results.append(found)
    return made


def test_an_invalid_run_of_which_nothing_is_asked_is_an_error_at_the_end(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="proves nothing, and nothing was asked of it: trial 1 invalid"):
        bench(tmp_path, result(tmp_path, invalid()))._close()


def test_a_run_that_ended_with_10_in_an_invalid_trial_is_one_of_them(tmp_path: Path) -> None:
    record = invalid().model_copy(update={"exit_code": 10, "exit_reason": "a guarantee VIOLATED"})
    with pytest.raises(EvidenceError, match="null@embedded: trial 1 invalid: generator saturated: lag"):
        bench(tmp_path, result(tmp_path, record))._close()


def test_a_run_that_broke_a_guarantee_and_of_which_nothing_is_asked_is_broken_at_the_end(tmp_path: Path) -> None:
    record = run(SAME, lost=1, exit_code=10, exit_reason="a guarantee VIOLATED")
    with pytest.raises(
        RuleBroken, match="smoke broke what it is held to, and nothing was asked of it: a guarantee VIO"
    ):
        bench(tmp_path, result(tmp_path, record))._close()


def test_a_run_that_broke_a_guarantee_and_does_what_is_asked_is_the_tests_own_choice(tmp_path: Path) -> None:
    asked = result(tmp_path, run(SAME, lost=1, exit_code=10, exit_reason="a guarantee VIOLATED"))
    asked.require("loss.confirmed <= 1")
    bench(tmp_path, asked)._close()


def test_an_invalid_run_that_was_asked_has_said_so_already(tmp_path: Path) -> None:
    asked = result(tmp_path, invalid())
    with pytest.raises(EvidenceError):
        asked.require("loss.confirmed == 0")
    bench(tmp_path, asked)._close()


def test_a_wrong_question_is_no_answer(tmp_path: Path) -> None:
    asked = result(tmp_path, invalid())
    with pytest.raises(UsageError):
        asked.require("loss.confimed == 0")
    with pytest.raises(EvidenceError):
        bench(tmp_path, asked)._close()


def test_a_valid_run_of_which_nothing_is_asked_is_nothing_to_complain_of(tmp_path: Path) -> None:
    bench(tmp_path, result(tmp_path))._close()


def test_an_error_shows_the_test_and_none_of_our_frames(tmp_path: Path) -> None:
    with pytest.raises(BrokerbenchError) as caught:
        Brokerbench(tmp_path, tmp_path).run("smoke", load__rat="3/s")
    assert "did you mean 'rate'?" in str(caught.value)
    assert [entry.path.name for entry in caught.traceback.filter(caught)] == [Path(__file__).name]
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("value", "text"),
    [("500/s", "500/s"), (3, "3"), (True, "true"), (None, "null"), ([1, "a"], '[1, "a"]'), ({"constant": "1 ms"}, '{"constant": "1 ms"}')],
)  # fmt: skip
def test_values_are_written_as_set_takes_them(value: object, text: str) -> None:
    assert _text(value) == text


def test_the_record_says_how_to_run_the_same_by_hand() -> None:
    assert (
        _command("smoke", ["load.rate=5/s", "seed=2"], 3)
        == "brokerbench run smoke --set load.rate=5/s --set seed=2 --trials 3"
    )


def test_a_file_is_looked_for_beside_the_test_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "mine.yaml").write_text("")
    (tmp_path / "yours.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert _found("mine.yaml", folder) == folder / "mine.yaml"
    assert _found("yours.yaml", folder) == "yours.yaml"
    assert _found("smoke", folder) == "smoke"
