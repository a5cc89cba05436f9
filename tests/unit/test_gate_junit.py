"""JUnit XML of a gate: valid by both common schemas whatever the records hold, and no bad verdict reads as a passed test."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

import outcomes
import pytest
import xmlschema
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.gate.outcome import Outcome, Verdict
from reports.escape import printable
from reports.gate.junit import junit

DATA = Path(__file__).parent / "data"
SCHEMAS = ("junit-jenkins.xsd", "junit-ant.xsd")
EVERY = (
    outcomes.outcome(),
    outcomes.outcome(outcomes.held(), outcomes.lossless()),
    outcomes.outcome(outcomes.lossy(), outcomes.incomparable(), outcomes.unmatched(), outcomes.unmeasured()),
    outcomes.outcome(outcomes.undecided(decided=False), kind="baseline", runs=[]),
    outcomes.empty(),
)


@cache
def schema(name: str) -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(DATA / name)


def suite(outcome: Outcome, **options: str) -> ET.Element:
    found = ET.fromstring(junit(outcome, **options)).find("testsuite")  # type: ignore[arg-type]
    assert found is not None
    return found


def results(outcome: Outcome, **options: str) -> list[tuple[str | None, str]]:
    """Returns of each test case its name, and the element that says how it ended, "" = it passed."""
    return [
        (test.get("name"), "".join(each.tag for each in test)) for test in suite(outcome, **options).iter("testcase")
    ]


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("policy", ["fail", "warn"])
@pytest.mark.parametrize("outcome", EVERY, ids=["mixed", "pass", "bad", "baseline", "empty"])
def test_it_is_valid_by_the_common_schemas(outcome: Outcome, policy: str, name: str) -> None:
    schema(name).validate(junit(outcome, inconclusive=policy))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schemas_refuse_what_is_wrong(name: str) -> None:
    wrong = junit(outcomes.outcome()).replace(' tests="4"', "")
    assert not schema(name).is_valid(wrong)


def test_each_rule_and_case_is_a_test_and_ends_by_its_verdict() -> None:
    every = (
        outcomes.held(),
        outcomes.regression(),
        outcomes.unmeasured(),
        outcomes.incomparable(rule="p99"),
        outcomes.undecided(rule="p50"),
    )
    assert results(outcomes.outcome(*every)) == [
        ("steady-p99", ""),
        ("throughput", "failure"),
        ("tail", "error"),
        ("p99", "error"),
        ("p50", "failure"),
    ]


def test_the_inconclusive_is_skipped_where_it_only_warns() -> None:
    told = outcomes.outcome(outcomes.undecided())
    assert results(told, inconclusive="warn") == [("steady-p99", "skipped")]
    assert results(told, inconclusive="fail") == [("steady-p99", "failure")]


def test_counts_are_those_of_the_tests() -> None:
    told = outcomes.outcome(outcomes.held(), outcomes.regression(), outcomes.unmeasured(), outcomes.undecided())
    found = suite(told, inconclusive="warn")
    assert [found.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["4", "1", "1", "1"]


def test_no_row_is_an_error_not_an_empty_suite() -> None:
    found = suite(outcomes.empty())
    assert [found.get(name) for name in ("tests", "failures", "errors")] == ["1", "0", "1"]
    assert results(outcomes.empty()) == [("rules", "error")]


def test_a_failure_says_what_was_seen_and_every_trials_figure() -> None:
    failure = suite(outcomes.outcome(outcomes.regression())).find("testcase/failure")
    assert failure is not None
    assert failure.attrib == {
        "type": "FAIL",
        "message": "B is 42.0 % worse than A (+30.7 % to +55.2 %, 6 pairs); 10 % is tolerated",
    }
    assert (failure.text or "").splitlines()[:5] == [
        "throughput (steady) at most 10 % worse (at least 90.9 % of the reference's)",
        "worse by +42.0 % (+30.7 % to +55.2 %), tolerated +10.0 %",
        "A 12,310/s, B 8,670/s, 6 pairs",
        "pair 1, A: 12,101/s (0001-a/0)",
        "pair 1, B: 8,440/s (0001-b/0)",
    ]


def test_the_same_rule_of_two_cases_is_two_tests() -> None:
    tests = suite(outcomes.outcome(outcomes.held(), outcomes.undecided())).iter("testcase")
    assert [(test.get("classname"), test.get("name")) for test in tests] == [
        ("durability.postgres-skip-locked@embedded", "steady-p99"),
        ("durability.redis-stream[persistence=aof,fsync=always]@embedded", "steady-p99"),
    ]


def test_the_whole_page_goes_along() -> None:
    page = suite(outcomes.outcome()).findtext("system-out") or ""
    assert "VERDICT  FAIL: 1 of 3 rules is broken" in page
    assert "Exit code 10, regression or contract broken" in page


def test_the_suite_has_the_time_of_its_first_run_and_without_runs_that_of_the_judgement() -> None:
    assert suite(outcomes.outcome()).get("timestamp") == "2026-11-21T10:02:00"
    before = datetime.now(UTC).replace(microsecond=0, tzinfo=None)
    assert datetime.fromisoformat(suite(outcomes.outcome(runs=[])).get("timestamp") or "") >= before


def test_rules_share_the_time_of_the_trials_of_their_case() -> None:
    runs = [
        each.model_copy(update={"ended_wall_ns": each.started_wall_ns + 30_500_000_000}) for each in outcomes.ran(2)
    ]
    last = runs.pop().model_copy(update={"ended_wall_ns": None})  # it was cut short
    found = suite(
        outcomes.outcome(
            outcomes.regression(),
            outcomes.undecided(case=runs[0].case),
            outcomes.undecided(case="c"),
            runs=[*runs, last],
        )
    )
    times = {(test.get("classname"), test.get("time")) for test in found.iter("testcase")}
    assert found.get("time") == "91.500"
    assert times == {(f"durability.{runs[0].case}", "45.750"), ("durability.c", "0.000")}


ANY = st.text(st.characters(codec="utf-8"), max_size=60) | st.sampled_from(
    ["]]>", "<failure/>", "\x00\x1b[2J", "\ufffe\uffff", "a\r\nb", "&amp;", "\u202egnirts", "\"'", "﷐", "𝒳"]
)


@settings(max_examples=40, deadline=None)
@given(ANY, ANY, ANY)
def test_nothing_of_a_record_becomes_xml(words: str, case: str, scenario: str) -> None:
    """What is told comes back as it was, but for characters that XML 1.0 has not, and those without a picture."""
    told = outcomes.outcome(outcomes.regression(words=words, case=case, notes=[words]), scenario=scenario)
    written = junit(told)
    assert re.search("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", written) is None
    root = ET.fromstring(written)
    plain = ET.fromstring(junit(outcomes.outcome(outcomes.regression())))
    assert [each.tag for each in root.iter()] == [each.tag for each in plain.iter()]
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    kept = printable(words).replace("\ufffe", "").replace("\uffff", "")
    assert failure.get("message") == kept
    assert failure.get("type") == Verdict.FAIL


@pytest.mark.parametrize("name", SCHEMAS)
def test_empty_and_strange_names_are_valid_too(name: str) -> None:
    told = outcomes.outcome(outcomes.regression(rule="\x00", case="\n", words=""), scenario="\x1b", tool_version="")
    schema(name).validate(junit(told))
