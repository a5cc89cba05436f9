"""Rules files: what may be written, and every mistake with its place, its value and a way out, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ExitCode, UsageError
from harness.gate.phrases import asks
from harness.gate.read import KEYS, margin, read_rules
from harness.gate.rules import AbsoluteRule, BudgetRule, GuaranteeRule, RelativeRule, Rule
from harness.metrics import METRICS
from harness.scenario.problems import ScenarioError

PAGE = """
[[rule]]
id = "steady-p99"
metric = "latency.end_to_end.p99"
window = "steady"
case = "redis-*"            # optional pattern
max_worse = "25%"
min_abs = "2ms"

[[rule]]
id = "no-loss"
metric = "loss.confirmed"
require = "== 0"
"""


def read(text: str, folder: Path) -> tuple[Rule, ...]:
    path = folder / "rules.toml"
    path.write_text(text)
    return read_rules(path)


def refused(text: str, folder: Path) -> list[str]:
    """Returns what is wrong with a file, without its folder."""
    with pytest.raises(ScenarioError) as raised:
        read(text, folder)
    assert raised.value.exit_code is ExitCode.USAGE
    return [str(problem).replace(f"{folder}/", "") for problem in raised.value.problems]


def one(rest: str, folder: Path, metric: str = "latency.end_to_end.p99") -> str:
    """Returns what is wrong with the one rule of a file; its further keys begin in line 4."""
    [problem] = refused(f'[[rule]]\nid = "r"\nmetric = "{metric}"\n{rest}\n', folder)
    return problem


def test_the_rules_of_the_gate_page(tmp_path: Path) -> None:
    assert read(PAGE, tmp_path) == (
        RelativeRule(
            id="steady-p99",
            metric="latency.end_to_end.p99",
            window="steady",
            case="redis-*",
            max_ratio=1.25,
            min_abs=0.002,
        ),
        AbsoluteRule(id="no-loss", metric="loss.confirmed", relation="==", limit=0.0, text="== 0"),
    )


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ('metric = "throughput"\nmax_worse = "12.5 %"', RelativeRule(id="r", metric="throughput", max_ratio=1.125)),
        ('metric = "loss.confirmed"\nmax_worse = "25%"', RelativeRule(id="r", metric="loss.confirmed", max_ratio=1.25)),
        ('metric = "backlog.max"\nmax_worse = "50%"\nmin_abs = 100', RelativeRule(id="r", metric="backlog.max", max_ratio=1.5, min_abs=100.0)),
        ('metric = "cost.broker_cpu"\nmax_worse = "50%"\nmin_abs = "1 s"', RelativeRule(id="r", metric="cost.broker_cpu", max_ratio=1.5, min_abs=1.0)),
        ('metric = "rate.achieved"\nrequire = ">= 0.99"', AbsoluteRule(id="r", metric="rate.achieved", relation=">=", limit=0.99, text=">= 0.99")),
        ('metric = "rate.achieved"\nrequire = ">99 %"', AbsoluteRule(id="r", metric="rate.achieved", relation=">", limit=0.99, text=">99 %")),
        ('metric = "latency.publish.p50"\nrequire = "<=  50 ms"', AbsoluteRule(id="r", metric="latency.publish.p50", relation="<=", limit=0.05, text="<= 50 ms")),
        ('metric = "cost.broker_memory_peak"\nrequire = "< 1 GiB"', AbsoluteRule(id="r", metric="cost.broker_memory_peak", relation="<", limit=2**30, text="< 1 GiB")),
        ('metric = "mark.redelivered_unacked"\nrequire = "== 3"', AbsoluteRule(id="r", metric="mark.redelivered_unacked", relation="==", limit=3.0, text="== 3")),
        ('metric = "recovery.p99"\nwindow = "recovery[12]"\nrequire = "<= 5 s"', AbsoluteRule(id="r", metric="recovery.p99", window="recovery[12]", relation="<=", limit=5.0, text="<= 5 s")),
        ('metric = "loss.confirmed"\nwindow = "whole"\nrequire = "== 0"', AbsoluteRule(id="r", metric="loss.confirmed", window="whole", relation="==", limit=0.0, text="== 0")),
        ('guarantee = "held"', GuaranteeRule(id="r", metric="guarantee")),
        ('guarantee = "held"\nfault = "broker kill"\ncase = "redis-stream[persistence=none]@*"', GuaranteeRule(id="r", metric="guarantee", fault="broker kill", case="redis-stream[persistence=none]@*")),
        ('max_lossy = "10%"', BudgetRule(id="r", metric="loss.confirmed", max_lossy=0.1)),
        ('metric = "loss.confirmed"\nmax_lossy = "10%"\nmax_lost_per_fault = 100', BudgetRule(id="r", metric="loss.confirmed", max_lossy=0.1, max_lost_per_fault=100)),
    ],
)  # fmt: skip
def test_every_kind_of_rule(written: str, rule: Rule, tmp_path: Path) -> None:
    assert read(f'[[rule]]\nid = "r"\n{written}', tmp_path) == (rule,)


def test_rules_may_stand_in_one_line_each(tmp_path: Path) -> None:
    rules = read('rule = [{id = "a", guarantee = "held"}, {id = "b", max_lossy = "1%"}]', tmp_path)
    assert [rule.id for rule in rules] == ["a", "b"]
    [problem] = refused('rule = [{id = "a", guarantee = "holds"}]', tmp_path)
    assert problem.startswith("rules.toml: rule 'a': guarantee: 'holds' is not what belongs here")


def test_brackets_of_a_pattern_stand_for_themselves() -> None:
    rule = GuaranteeRule(id="r", metric="guarantee", case="redis-stream[persistence=*]@?ridge")
    assert rule.applies_to("redis-stream[persistence=none]@bridge")
    assert rule.applies_to("x", "redis-stream[persistence=rdb]@bridge")
    assert not rule.applies_to("redis-streamp@bridge")
    assert not rule.applies_to()


# Mistakes.


def test_a_typing_error_in_a_metrics_name_is_told_with_the_nearest_names(tmp_path: Path) -> None:
    assert one('require = "== 0"', tmp_path, "latency.endtoend.p99") == (
        "rules.toml:3: rule 'r': metric: there is no metric 'latency.endtoend.p99'\n"
        "    expected: the name of a metric\n"
        "    remedy: did you mean 'latency.end_to_end.p99'?"
    )
    assert one('require = "== 0"', tmp_path, "Loss.Confirmed").endswith("remedy: did you mean 'loss.confirmed' or 'loss.confirmed_upper_95' or 'rate.confirmed'?")  # fmt: skip
    assert "remedy: docs/scenario-reference.md names the metrics" in one('require = "== 0"', tmp_path, "xyz")


def test_all_mistakes_are_told_at_once_in_the_order_of_their_lines(tmp_path: Path) -> None:
    text = """
[[rule]]
id = "one"
metric = "throughput"
windw = "steady"
max_worse = 25

[[rule]]
id = "one"
metric = "recovery.p99"
max_worse = "10%"

[[rule]]
metric = "throughput"
"""
    assert refused(text, tmp_path) == [
        f"rules.toml:5: rule 'one': windw: unknown key 'windw'\n    expected: one of {', '.join(KEYS)}\n    remedy: did you mean 'window'?",
        "rules.toml:6: rule 'one': max_worse: 25 has no unit\n    expected: a share above 0 % to 10000 % with its unit, such as '25%'\n    remedy: write '25%'",
        "rules.toml:8: rule 'one': recovery.p99 can be 0, and 0 has no ratio\n    expected: min_abs: the size below which figures do not differ\n    remedy: add e.g. min_abs = '2 ms'",
        "rules.toml:9: rule 'one': id: 'one' is the id of another rule too (rules.toml:3)\n    expected: an id of its own\n    remedy: name it otherwise",
        "rules.toml:13: rule 3: asks nothing\n    expected: exactly one of max_worse, require, guarantee, max_lossy\n"
        "    remedy: max_worse = '25%' compares with the other side, require = '== 0' asks the same of every trial",
        "rules.toml:13: rule 3: the key 'id' is missing\n    expected: a name that verdicts are printed with\n    remedy: add id = '…'",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ('max_worse = "25"', "max_worse: '25' has no unit"),
        ("max_worse = 0.25", "max_worse: 0.25 has no unit"),
        ("max_worse = true", "max_worse: True is not what belongs here"),
        ('max_worse = "0%"', "max_worse: '0%' is out of bounds"),
        ('max_worse = "-5%"', "max_worse: '-5%' is not a quantity"),
        ('max_worse = "20000%"', "max_worse: '20000%' is out of bounds"),
        ('max_worse = "fast%"', "max_worse: 'fast%' is not a quantity"),
        ('max_worse = "25%"\nmin_abs = "2"', "min_abs: '2' has no unit"),
        ('max_worse = "25%"\nmin_abs = 2', "min_abs: '2' has no unit"),
        ('max_worse = "25%"\nmin_abs = "2 MB"', "min_abs: '2 MB' has the unit 'MB'"),
        ('max_worse = "25%"\nmin_abs = ["2 ms"]', "min_abs: ['2 ms'] is not what belongs here"),
        ('max_worse = "25%"\nrequire = "<= 5 ms"', "require: stands beside 'max_worse'"),
        ('require = "<= 5"', "require: '5' has no unit"),
        ('require = "<= 5/s"', "require: '5/s' has the unit '/s'"),
        ('require = "5 ms"', "require: '5 ms' is no relation with a bound"),
        ('require = "= 5 ms"', "require: '= 5 ms' is no relation with a bound"),
        ('require = "=< 5 ms"', "require: '=< 5 ms' is no relation with a bound"),
        ('require = "!= 5 ms"', "require: '!= 5 ms' is no relation with a bound"),
        ('require = "<="', "require: '<=' is no relation with a bound"),
        ('require = "<== 5 ms"', "require: '<== 5 ms' is no relation with a bound"),
        ('require = ""', "require: '' is no relation with a bound"),
        ("require = 0", "require: 0 is no relation with a bound"),
        ('require = "== 5 ms"', "require: '== 5 ms': no measured figure is exactly that"),
        ('require = "< 0 s"', "require: '< 0 s' can never hold: no figure is below 0"),
        ('require = ">= 0 s"', "require: '>= 0 s' can only hold: no figure is below 0"),
        ('require = "<= 5 ms"\nmin_abs = "2 ms"', "min_abs: belongs to 'max_worse', which is not written"),
        ('require = "<= 5 ms"\nfault = "broker kill"', "fault: belongs to 'guarantee', which is not written"),
        ('require = "<= 5 ms"\nwindow = "stedy"', "window: there is no window 'stedy'"),
        ('require = "<= 5 ms"\nwindow = "fault"', "window: there is no window 'fault'"),
        ('require = "<= 5 ms"\nwindow = "drain"', "window: there is no window 'drain'"),
        ('require = "<= 5 ms"\nwindow = ""', "window: there is no window ''"),
        ('require = "<= 5 ms"\nwindow = 3', "window: there is no window 3"),
        ('require = "<= 5 ms"\ncase = ""', "case: '' is not what belongs here"),
        ('require = "<= 5 ms"\ncase = 5', "case: 5 is not what belongs here"),
        ('require = "<= 5 ms"\nmax-worse = "1%"', "max-worse: unknown key 'max-worse'"),
        ('guarantee = "held"', "metric: 'latency.end_to_end.p99' stands beside 'guarantee'"),
        ('max_lossy = "5%"', "metric: 'latency.end_to_end.p99' stands beside 'max_lossy'"),
    ],
)  # fmt: skip
def test_each_mistake_of_a_rule_is_told_with_what_was_written(rest: str, told: str, tmp_path: Path) -> None:
    where, _, what = one(rest, tmp_path).partition(": rule 'r': ")
    assert where in ("rules.toml:3", "rules.toml:4", "rules.toml:5")
    assert what.startswith(told)
    assert "\n    expected: " in what


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('id = "r"\nguarantee = "hold"', "guarantee: 'hold' is not what belongs here\n    expected: 'held'"),
        ('id = "r"\nguarantee = true', "guarantee: True is not what belongs here"),
        ('id = "r"\nguarantee = "held"\nfault = "broker kil"', "fault: there is no fault 'broker kil'"),
        ('id = "r"\nguarantee = "held"\nwindow = "steady"', "window: guarantee has no figure in the window 'steady'"),
        ('id = "r"\nmax_lossy = "100%"', "max_lossy: '100%' is out of bounds"),
        ('id = "r"\nmax_lossy = "0%"', "max_lossy: '0%' is out of bounds"),
        ('id = "r"\nmax_lossy = "5%"\nmax_lost_per_fault = -1', "max_lost_per_fault: -1 is not what belongs here"),
        ('id = "r"\nmax_lossy = "5%"\nmax_lost_per_fault = "9"', "max_lost_per_fault: '9' is not what belongs here"),
        ('id = "r"\nmetric = "loss.confirmed"\nmax_worse = "100%"', "max_worse: '100%' is out of bounds"),
        ('id = "r"\nmetric = "loss.confirmed"\nmax_worse = "5%"\nmin_abs = 3', "min_abs: means nothing for losses"),
        ('id = "r"\nmetric = "loss.confirmed"\nwindow = "steady"\nrequire = "== 0"', "window: loss.confirmed has no figure in the window 'steady'"),
        ('id = "r"\nmetric = "recovery.p99"\nwindow = "whole"\nrequire = "<= 1 s"', "window: recovery.p99 has no figure in the window 'whole'"),
        ('id = "r"\nmetric = "loss.ratio"\nmax_worse = "5%"\nmin_abs = "1 %"', "metric: 'loss.ratio' rests on messages, which are lost in batches"),
        ('id = "r"\nmetric = "loss.confirmed_upper_95"\nrequire = "<= 3"', "metric: 'loss.confirmed_upper_95' rests on messages"),
        ('id = "r"\nmetric = 5\nrequire = "<= 3"', "metric: there is no metric 5"),
        ('id = ""\nguarantee = "held"', "id: '' is not what belongs here"),
        ('id = "a\\nb"\nguarantee = "held"', "id: 'a\\nb' is not what belongs here"),
        ('id = 7\nguarantee = "held"', "id: 7 is not what belongs here"),
        (f'id = "{"x" * 101}"\nguarantee = "held"', "id: '"),
        ('id = "r"\nmetric = "lag.p99"\nmax_worse = "5%"\nmin_abs = "0 s"', "min_abs: is 0, so that it says nothing"),
    ],
)  # fmt: skip
def test_each_mistake_of_the_other_kinds(text: str, told: str, tmp_path: Path) -> None:
    [problem] = refused(f"[[rule]]\n{text}\n", tmp_path)
    assert told in problem


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_a_relative_rule_on_what_can_be_zero_needs_min_abs(metric: str, tmp_path: Path) -> None:
    text = f'[[rule]]\nid = "r"\nmetric = "{metric}"\nmax_worse = "10%"\n'
    if metric in ("loss.ratio", "loss.confirmed_upper_95"):
        assert "rests on messages" in refused(text, tmp_path)[0]
    elif METRICS[metric].can_be_zero and metric != "loss.confirmed":
        [problem] = refused(text, tmp_path)
        example = problem.partition("min_abs = ")[2]
        [rule] = read(f"{text}min_abs = {example}\n", tmp_path)  # the remedy is one
        assert isinstance(rule, RelativeRule)
        assert rule.min_abs > 0
    else:
        assert len(read(text, tmp_path)) == 1


def test_zero_is_a_figure_of_counts_losses_lags_blocked_times_and_recoveries_but_of_no_latency() -> None:
    assert not any(each.can_be_zero for each in METRICS.values() if each.name.startswith(("latency.", "throughput")))
    assert METRICS["recovery.p99"].can_be_zero
    assert not METRICS["recovery.longest_gap"].can_be_zero
    assert {name: each.resolution for name, each in METRICS.items() if each.resolution} == {
        "recovery.p99": 1.0,
        "recovery.backlog": 1.0,
    }


# Files.


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no rule"),
        ("# nothing\n", "holds no rule"),
        ("rule = []", "holds no rule"),
        ("rules = []", "unknown key 'rules'"),
        ("rule = 5", "rule: is not a list of tables"),
        ("[rule]\nid = 'x'", "rule: is not a list of tables"),
        ("rule = [1]", "rule: is not a list of tables"),
    ],
)
def test_a_file_without_rules_is_refused(text: str, told: str, tmp_path: Path) -> None:
    assert told in "\n".join(refused(text, tmp_path))


def test_a_file_that_cannot_be_read_is_told_with_a_rule_to_begin_with(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large").write_bytes(b"#" * ((1 << 20) + 1))
    (tmp_path / "broken").write_text('[[rule]\nid = "x"')
    (tmp_path / "deep").write_text("rule = " + "[" * 5000)
    for name, what in {
        "absent": "cannot be read: No such file",
        "folder": "cannot be read: Is a directory",
        "binary": "is not text in UTF-8",
        "large": "is larger than 1,048,576 bytes",
        "broken": "is not TOML: ",
        "deep": "is ",
    }.items():
        with pytest.raises(UsageError) as raised:
            read_rules(tmp_path / name)
        assert str(raised.value).startswith(f"the rules file {tmp_path}/{name} {what}")
        assert "[[rule]]" in raised.value.expected


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_bytes(b"\xef\xbb\xbf" + PAGE.encode())
    assert len(read_rules(tmp_path / "rules.toml")) == 2


@pytest.mark.parametrize(("text", "ratio"), [("25%", 1.25), (" 10 % ", 1.1), ("0.5%", 1.005), ("200%", 3.0)])
def test_a_margin_as_written_on_the_command_line(text: str, ratio: float) -> None:
    assert margin(text) == pytest.approx(ratio)


@pytest.mark.parametrize("text", ["25", "0.25", "0%", "-5%", "", "%", "fast", "1e9%", "nan%", "inf%"])
def test_a_margin_without_a_unit_or_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a share"):
        margin(text)


VALUES = st.one_of(
    st.sampled_from(['"25%"', '"== 0"', '"<= 5 ms"', '"held"', '"steady"', '"throughput"', '"loss.confirmed"', '"2 ms"']),
    st.integers(-5, 10**20).map(str),
    st.sampled_from(["true", "[]", "{}", "1.5", "nan", "1979-05-27", '""', '"\\u0000"', '"𝔘"', "[[1], 2]"]),
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(tables=st.lists(st.dictionaries(st.sampled_from([*KEYS, "nonsense"]), VALUES, max_size=6), max_size=3))
def test_whatever_is_written_is_rules_or_one_clear_error(
    tables: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    path.write_text("".join("[[rule]]\n" + "".join(f"{k} = {v}\n" for k, v in table.items()) for table in tables))
    rules: tuple[Rule, ...] = ()
    told = ""
    try:
        rules = read_rules(path)
    except UsageError as error:
        told = str(error)
    assert bool(rules) != bool(told)
    assert len(rules) == len(tables) or str(path) in told
    assert all(asks(rule) for rule in rules)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("p99", "did you mean 'latency.end_to_end.p99'?"),
        ("e2e.p99", "did you mean 'latency.end_to_end.p99'?"),
        ("latency.p99", "did you mean 'latency.end_to_end.p99'?"),
        ("latency.p99.9", "did you mean 'latency.end_to_end.p99_9'?"),
        ("latency", "did you mean 'latency.end_to_end.p99'?"),
        ("p95", "did you mean 'latency.end_to_end.p90' or 'latency.end_to_end.p99'?"),
        ("loss", "did you mean 'loss.confirmed' or 'loss.ratio'?"),
        ("lag.p98", "did you mean 'lag.p99' or 'lag.p99_9' or 'lag.p50'?"),
        ("throughputs", "did you mean 'throughput'?"),
        ("nope", "docs/scenario-reference.md names the metrics; they begin with throughput, rate, latency, lag, loss, class, mark, blocked, recovery, backlog, cost"),
    ],
)  # fmt: skip
def test_a_metric_that_does_not_exist_is_told_with_what_was_probably_meant(
    name: str, remedy: str, tmp_path: Path
) -> None:
    assert one('require = "== 0"', tmp_path, name).endswith(f"\n    remedy: {remedy}")


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ('metric = "throughput"\nmax_worse = 0.1', "write '10%', or '0.1%' if so little is meant"),
        ('metric = "throughput"\nmax_worse = "0.25"', "write '25%', or '0.25%' if so little is meant"),
        ('metric = "throughput"\nmax_worse = 25', "write '25%'"),
        ('metric = "throughput"\nmax_worse = "10%"\nmin_abs = 0', "remove it, or write e.g. min_abs = '10/s'"),
        ('metric = "lag.p99"\nmax_worse = "10%"\nmin_abs = 0', "add e.g. min_abs = '2 ms'"),
        ('guarantee = "held"\nfault = "kill broker"', "did you mean 'broker kill'?"),
        ('guarantee = "held"\nfault = "broker_kill"', "did you mean 'broker kill'?"),
        ('guarantee = "held"\nfault = "broker kil"', "did you mean 'broker kill'?"),
    ],
)
def test_a_remedy_is_what_was_probably_meant(text: str, remedy: str, tmp_path: Path) -> None:
    [problem] = refused(f'[[rule]]\nid = "r"\n{text}\n', tmp_path)
    assert problem.endswith(f"\n    remedy: {remedy}")


@pytest.mark.parametrize(
    "text",
    [
        'metric = "throughput"\nrequire = ">= 1000"',
        'metric = "throughput"\nrequire = "< 10 ms"',
        'metric = "throughput"\nrequire = "== 1000"',
        'metric = "rate.achieved"\nrequire = ">= 99"',
        'metric = "lag.p99"\nmax_worse = "10%"\nmin_abs = 5',
    ],
)
def test_a_figure_that_cannot_be_read_is_one_mistake(text: str, tmp_path: Path) -> None:
    [problem] = refused(f'[[rule]]\nid = "r"\n{text}\n', tmp_path)
    assert "hold" not in problem
    assert "exactly" not in problem


@pytest.mark.parametrize(("require", "told"), [("<= 100 %", "can only hold"), ("> 100 %", "can never hold")])
def test_a_share_of_losses_above_all_of_them_is_no_bound(require: str, told: str, tmp_path: Path) -> None:
    problem = one(f'require = "{require}"', tmp_path, "loss.ratio")
    assert f"require: '{require}' {told}: no more can be lost than all" in problem
