"""Everything that is wrong with a file comes at once, in the order of its lines, with place, key, value, and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from scenario_support import CATALOGUE, MINIMAL, problem_of, problems_of, read_text

from harness.errors import ExitCode, UsageError
from harness.scenario.problems import ScenarioError
from harness.scenario.read import read_scenario

BROKEN = """\
question:
setup: []
setups:
  - redis-strem
  - rabbitmq-quorum
  - redis-stream: {persistence: [aof, none], foo: 1}
network: bridges
deployment: dockers
load:
  rate: 2000
  arrival: poison
  producers: 70000
  payload: 12 B
  style: block
workers: 3
phases: {warmup: 5, steady: -1 s, drain: 1 s}
faults:
  - {at: 15 s, kill: node}
  - {at: 15 s, partition: broker}
  - {at: 15 s, kill: worker, replace: 2 s}
  - {at: 15 s, pause: broker}
trials: 0
slo: {latency.e2e.p99: 50 ms, loss.confirmed: 1 s}
agents: {here: 1}
"""


def test_all_errors_come_at_once_in_the_order_of_the_lines(tmp_path: Path):
    found = [(problem.place.line, problem.key) for problem in problems_of(tmp_path, BROKEN)]
    assert found == [
        (1, "question"),
        (2, "setup"),
        (4, "setups.0"),
        (5, "setups.1"),
        (6, "setups.2.redis-stream.persistence.0"),
        (6, "setups.2.redis-stream.foo"),
        (7, "network"),
        (8, "deployment"),
        (10, "load.rate"),
        (11, "load.arrival"),
        (12, "load.producers"),
        (13, "load.payload"),
        (14, "load.style"),
        (15, "workers"),
        (16, "phases.warmup"),
        (16, "phases.steady"),
        (16, "phases.drain"),
        (18, "faults.0.kill"),
        (19, "faults.1.partition"),
        (20, "faults.2.replace"),
        (21, "faults.3"),
        (22, "trials"),
        (23, "slo.latency.e2e.p99"),
        (23, "slo.loss.confirmed"),
        (24, "agents.here"),
    ]


def test_every_error_says_what_was_expected(tmp_path: Path):
    problems = problems_of(tmp_path, BROKEN)
    assert all(problem.expected for problem in problems)
    assert all(problem.place.file.endswith("asked.yaml") for problem in problems)


def test_the_message_reads_as_file_line_key_value_expected_remedy(tmp_path: Path):
    with pytest.raises(UsageError) as caught:
        read_text(tmp_path, MINIMAL.replace("1000/s", "1000"))
    assert str(caught.value) == (
        f"{tmp_path}/asked.yaml:3: load.rate: '1000' has no unit\n"
        "    expected: a rate such as '2000/s', from 0.01/s to 100000000/s\n"
        "    remedy: write '1000/s'"
    )
    assert caught.value.exit_code == ExitCode.USAGE


def test_several_errors_are_counted(tmp_path: Path):
    with pytest.raises(ScenarioError, match=r"^2 errors; nothing was started\n"):
        read_text(tmp_path, MINIMAL + "trials: x\nseed: -1\n")


@pytest.mark.parametrize(
    ("line", "key", "remedy"),
    [
        ("worker: {}", "worker", "did you mean 'workers'?"),
        ("qestion: x", "qestion", "did you mean 'question'?"),
        ("zzz: 1", "zzz", "remove it"),
        ("workers: {prefech: 1}", "workers.prefech", "did you mean 'prefetch'?"),
        ("workers: {settle: {lingre: 1 ms}}", "workers.settle.lingre", "did you mean 'linger'?"),
        ("slo: {latency.endtoend.p99: 1 s}", "slo.latency.endtoend.p99", "did you mean 'latency.end_to_end.p99'?"),
        ("slo: {loss.confirm: 0}", "slo.loss.confirm", "did you mean 'loss.confirmed'?"),
        ("workers: {ack: Auto}", "workers.ack", "did you mean 'auto'?"),
        ("faults: [{at: 9 s, kil: broker}]", "faults.0", "did you mean 'kill'?"),
        ("faults: [{at: 9 s, kill: brokre}]", "faults.0.kill", "did you mean 'broker'?"),
    ],
)
def test_a_typing_error_gets_the_nearest_name(tmp_path: Path, line: str, key: str, remedy: str):
    problem = problem_of(tmp_path, MINIMAL + line + "\n")
    assert (problem.place.line, problem.key, problem.remedy) == (4, key, remedy)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("faults: [{at: 9 s, partition: broker}]", "faults.0.partition"),
        ("faults: [{at: 9 s, power-loss: broker}]", "faults.0.power-loss"),
        ("faults: [{at: 9 s, kill: node}]", "faults.0.kill"),
    ],
)
def test_what_a_later_version_serves_is_refused_by_name(tmp_path: Path, line: str, key: str):
    problem = problem_of(tmp_path, MINIMAL + line + "\n")
    assert problem.key == key
    assert "is not served yet by this version" in problem.text


@pytest.mark.parametrize("setup", ["rabbitmq-stream"])
def test_a_setup_of_a_later_version_is_refused_by_name(tmp_path: Path, setup: str):
    problem = problem_of(tmp_path, MINIMAL.replace("redis-stream", setup))
    assert problem.text == f"the setup '{setup}' is not served yet by this version"


@pytest.mark.parametrize("style", ["block", "single"])
def test_a_style_of_a_later_version_is_refused_by_name(tmp_path: Path, style: str):
    problem = problem_of(tmp_path, MINIMAL.replace("1000/s", f"1000/s, style: {style}"))
    assert problem.text == f"'{style}' is not served yet by this version"


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("load.rate", ["0/s", "-5/s", "nan", ".nan", ".inf", "1e400/s", "5", "5 s", "5/min", "[5/s]", "{}", "1.2.3/s"]),
        ("load.producers", ["0", "-1", "65536", "1.5", "1e3", "two", "99999999999999999999999999999999999", "[1]"]),
        ("load.payload", ["39 B", "0 B", "40.5 B", "17 MiB", "256", "256 b", "1e999 B"]),
        ("load.window", ["0", "1000001", "many"]),
        ("load.batch", ["0", "65537"]),
        ("load.tick", ["0 s", "2 s", "1"]),
        ("load.retry", ["3", "{}", "{attempts: 255}", "{attempts: -1}", "{attempts: 1, backoff: 3}"]),
        ("workers.count", ["0", "65536"]),
        ("workers.prefetch", ["0", "65536"]),
        ("workers.visibility", ["0 s", "2 h", "never"]),
        ("workers.sweep", ["0 s", "1 h"]),
        ("workers.work", ["1 ms", "{constant: 1}", "{uniform: 1 ms}", "{}", "{constant: 1 ms, exponential: 1 ms}"]),
        ("phases.warmup", ["2 h", "1", "-1 s"]),
        ("phases.steady", ["0 s", "500 ms", "25 h"]),
        ("trials", ["0", "1001", "1.0"]),
        ("agents", ["0", "257", "[1]", "{local: 0}", "{local: 0, remote: 0}", "{remote: 2, there: 1}"]),
        ("agents.remote", ["-1", "257", "one"]),
        ("seed", ["-1", "4294967296", "0x10"]),
        ("slo.loss.confirmed", ["-1", "0.5", "1 s", "nan"]),
        ("slo.loss.ratio", ["101 %", "-1 %", "2", "x"]),
        ("slo.latency.publish.p50", ["1", "5/s"]),
        ("slo.throughput", ["1000", "1 s"]),
    ],
)
def test_absurd_values_are_refused_where_they_stand(tmp_path: Path, key: str, values: list[str]):
    for value in values:
        problems = problems_of(tmp_path, MINIMAL, f"{key}={value}")
        assert all(problem.key.startswith(key) for problem in problems), (value, problems)
        assert all(problem.expected for problem in problems)


@pytest.mark.parametrize("missing", ["question", "setups", "load"])
def test_a_missing_key_is_named(tmp_path: Path, missing: str):
    text = "\n".join(line for line in MINIMAL.splitlines() if not line.startswith(missing))
    problem = problem_of(tmp_path, text + "\n")
    assert problem.text == f"the key '{missing}' is missing"


def test_exactly_one_kind_of_load_must_be_written(tmp_path: Path):
    none = problem_of(tmp_path, MINIMAL.replace("rate: 1000/s", "producers: 1"))
    assert none.text == "none of rate, profile, saturate is written"
    both = problem_of(tmp_path, MINIMAL.replace("1000/s", "1000/s, saturate: {}"))
    assert (both.key, both.text) == ("load.saturate", "stands beside 'rate'")


@pytest.mark.parametrize(
    ("profile", "key"),
    [
        ("[]", "load.profile"),
        ("{constant: 1/s, for: 10 s}", "load.profile"),
        ("[{constant: 1/s}]", "load.profile.0"),
        ("[{for: 10 s}]", "load.profile.0"),
        ("[{constant: 10/s, spike: 10/s, for: 10 s}]", "load.profile.0"),
        ("[{ramp: 10/s, for: 10 s}]", "load.profile.0.ramp"),
        ("[{ramp: [10/s], for: 10 s}]", "load.profile.0.ramp"),
        ("[{ramp: [1/s, 2/s, 3/s], for: 10 s}]", "load.profile.0.ramp"),
        ("[{steps: [], for: 10 s}]", "load.profile.0.steps"),
        ("[{sine: [1/s, 2/s], for: 10 s}]", "load.profile.0"),
        ("[{sine: [5/s, 2/s], period: 1 s, for: 10 s}]", "load.profile.0.sine"),
        ("[{constant: 10/s, for: 10 s}, {constant: 10, for: 10 s}]", "load.profile.1.constant"),
        ("[{replay: missing.txt}]", "load.profile.0.replay"),
        ("[{replay: .}]", "load.profile.0.replay"),
        ("[{constant: 10/s, for: 500 ms}]", "load.profile"),
        ("[{constant: 0/s, for: 5 s}]", "load.profile"),
        ("[{constant: 1/s, for: 20 h}, {constant: 1/s, for: 20 h}]", "load.profile"),
    ],
)
def test_a_profile_is_refused_at_the_piece_that_is_wrong(tmp_path: Path, profile: str, key: str):
    assert problem_of(tmp_path, MINIMAL.replace("rate: 1000/s", f"profile: {profile}")).key == key


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "it holds no time"),
        (b"# nothing\n", "it holds no time"),
        (b"0\n1\n0.5\n", "line 3: 0.5 goes back in time, after 1"),
        (b"0\nx\n", "line 2: 'x' is not one number"),
        (b"0 1\n", "line 1: '0 1' is not one number"),
        (b"-1\n", "line 1: -1 is no time"),
        (b"nan\n", "line 1: nan is no time"),
        (b"1e10\n", "line 1: 1e10 is after more than 24 h (wall-clock times? subtract the first)"),
        (b"\xff\xfe\x00", "it is not text"),
    ],
)
def test_a_replay_file_is_refused_with_its_line(tmp_path: Path, content: bytes, text: str):
    (tmp_path / "times.txt").write_bytes(content)
    problem = problem_of(tmp_path, MINIMAL.replace("rate: 1000/s", "profile: [{replay: times.txt}]"))
    assert problem.text == f"the file {tmp_path}/times.txt: {text}"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("question: [\n", 2, "not YAML"),
        ("question: a: b\n", 1, "not YAML: mapping values are not allowed here"),
        ("question: 'open\n", 2, "not YAML"),
        ("\tquestion: tab\n", 1, "not YAML: found character '\\t' that cannot start any token"),
        ("a: *nothing\n", 1, "not YAML: found undefined alias 'nothing'"),
        ("a: 1\n---\nb: 1\n", 2, "not YAML: but found another document"),
        ("[" * 1500, 0, "not YAML: nested too deeply"),
        ("a: &a [*a]\n", 1, "nested too deeply or too large (an alias that holds itself?)"),
        ("a: \x07\n", 0, "not YAML: unacceptable character #x0007: special characters are not allowed"),
    ],
)
def test_a_syntax_error_is_one_clear_error_with_its_line(tmp_path: Path, text: str, line: int, says: str):
    problem = problem_of(tmp_path, text)
    assert problem.place.line == line
    assert problem.text.startswith(says)


def test_aliases_cannot_blow_a_file_up(tmp_path: Path):
    bomb = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{chr(c)}: &{chr(c)} [{','.join('*' + chr(c - 1) for _ in range(10))}]\n" for c in range(ord("b"), ord("k"))
    )
    assert "too large" in problem_of(tmp_path, bomb).text


def test_a_key_that_stands_twice_is_refused_with_both_lines(tmp_path: Path):
    problem = problem_of(tmp_path, MINIMAL + "seed: 1\ntrials: 1\nseed: 2\n")
    assert (problem.place.line, problem.key) == (6, "seed")
    assert problem.text == "the key is written twice, first in line 4"


def test_a_key_that_is_a_list_and_a_tag_are_refused(tmp_path: Path):
    assert problem_of(tmp_path, MINIMAL + "? [a]\n: 1\n").text == "a list or mapping stands where a key must be"
    assert problem_of(tmp_path, MINIMAL + "seed: !!python/object 1\n").text.startswith("the tag ")


@pytest.mark.parametrize("text", ["", "# only a comment\n", "~\n", "[a, b]\n", "just words\n"])
def test_a_file_that_is_no_mapping_is_one_clear_error(tmp_path: Path, text: str):
    problem = problem_of(tmp_path, text)
    assert problem.text.startswith("the scenario ")
    assert problem.remedy == "copy one that ships: brokerbench list"


def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path: Path):
    (tmp_path / "binary.yaml").write_bytes(b"\x7fELF\xff\xfe\x00")
    (tmp_path / "huge.yaml").write_bytes(b"#" * (2 << 20))
    for name, says in (
        ("missing.yaml", "No such file or directory"),
        (".", "Is a directory"),
        ("binary.yaml", "is not text: byte 0xff at offset 4"),
        ("huge.yaml", "is larger than 1 MiB"),
    ):
        with pytest.raises(UsageError, match=says):
            read_scenario(tmp_path / name, CATALOGUE)


def test_a_list_written_as_a_word_gets_the_remedy(tmp_path: Path):
    problem = problem_of(tmp_path, MINIMAL.replace("[redis-stream]", "redis-stream"))
    assert (problem.text, problem.remedy) == ("'redis-stream' is no list", "write [redis-stream]")


@pytest.mark.parametrize(
    ("setups", "key"),
    [
        ("[]", "setups"),
        ("[[redis-list]]", "setups.0"),
        ("[{redis-list: {}, redis-stream: {}}]", "setups.0"),
        ("[redis-stream: none]", "setups.0.redis-stream"),
        ("[redis-stream: {persistence: []}]", "setups.0.redis-stream.persistence"),
        ("[redis-stream: {persistence: {a: b}}]", "setups.0.redis-stream.persistence"),
        ("[redis-stream: {persistence: }]", "setups.0.redis-stream.persistence"),
        ("[postgres-lease: {synchronous_commit: yes}]", "setups.0.postgres-lease.synchronous_commit"),
        ("[null: {drop: -1}]", "setups.0.null.drop"),
        ("[redis-stream, redis-stream: {persistence: aof-everysec}]", "setups.1"),
    ],
)
def test_a_setup_is_refused_where_it_is_wrong(tmp_path: Path, setups: str, key: str):
    assert problem_of(tmp_path, MINIMAL.replace("[redis-stream]", setups)).key == key


def test_a_parameters_own_check_speaks(tmp_path: Path):
    problem = problem_of(tmp_path, MINIMAL.replace("[redis-stream]", "[null: {drop: some}]"))
    assert (problem.text, problem.expected) == ("'some' is no count", "a whole number")


def test_too_many_cases_are_refused(tmp_path: Path):
    setups = ", ".join(["redis-stream: {persistence: [none, aof-always]}"] * 300)
    problem = problem_of(tmp_path, MINIMAL.replace("[redis-stream]", f"[{setups}]"))
    assert (problem.text, problem.expected) == ("the lists expand to 600 cases", "at most 500")
