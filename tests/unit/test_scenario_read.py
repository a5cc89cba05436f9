"""A sound scenario becomes a frozen model in base units, with every default filled in."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest
from scenario_support import CATALOGUE, MINIMAL, read_text

from harness.scenario.describe import as_dict, describe, expected_run_s, expected_trial_s
from harness.scenario.model import Agents, Bound, FaultEntry, Load, Phases, Segment, Workers
from harness.scenario.read import read_scenario

WHOLE = """\
question: What does each durability setting cost,
  and what does it lose?
expect: Nothing good.
setups:
  - redis-stream: {persistence: [none, aof-always]}
  - postgres-lease: {synchronous_commit: [on, off], unlogged: true}
  - redis-list
deployment: embedded
load:
  profile:
    - {constant: 1000/s, for: 10 s}
    - {ramp: [1000/s, 5000/s], for: 30 s}
    - {steps: [100/s, 0/s, 300/s], for: 3 s}
    - {spike: 10000/s, for: 2 s}
    - {sine: [0/s, 200/s], period: 500 ms, for: 4 s}
  arrival: constant
  producers: 2
  payload: 1 KiB
  window: 200
  batch: 100
  tick: 250 us
  style: library
  retry: {attempts: 3, backoff: 20 ms}
workers:
  count: 4
  prefetch: 50
  ack: explicit
  settle: {batch: 10, linger: 2 ms}
  work: {exponential: 1 ms}
  kind: cpu
  visibility: 2 s
  sweep: 500 ms
phases: {warmup: 5 s, drain: 2 min}
faults:
  - {at: 15 s, kill: broker}
  - {at: 20 s, kill: worker, count: 2, replace_after: never}
  - {at: 21.5 s, pause: broker, for: 2 s}
trials: 3
agents: 2
seed: 7
slo: {latency.end_to_end.p99: 50 ms, loss.confirmed: 0, throughput: 900/s, loss.ratio: 5 %, cost.broker_memory_peak: 1 GB}
"""


def test_every_key_is_read_in_base_units(tmp_path: Path):
    read = read_text(tmp_path, WHOLE)
    assert read.question == "What does each durability setting cost, and what does it lose?"
    assert (read.expect, read.deployment, read.trials, read.agents, read.seed) == (
        "Nothing good.",
        "embedded",
        3,
        Agents(local=2),
        7,
    )
    assert read.load == Load(
        profile=(
            Segment(kind="constant", duration_s=10.0, rates_per_s=(1000.0,)),
            Segment(kind="ramp", duration_s=30.0, rates_per_s=(1000.0, 5000.0)),
            Segment(kind="steps", duration_s=3.0, rates_per_s=(100.0, 0.0, 300.0)),
            Segment(kind="spike", duration_s=2.0, rates_per_s=(10000.0,)),
            Segment(kind="sine", duration_s=4.0, rates_per_s=(0.0, 200.0), period_s=0.5),
        ),
        saturate_window=None,
        arrival="constant",
        producers=2,
        payload_bytes=1024,
        window=200,
        batch=100,
        tick_s=0.00025,
        style="library",
        retry_attempts=3,
        retry_backoff_s=0.02,
    )
    assert read.workers == Workers(
        count=4,
        prefetch=50,
        ack="explicit",
        settle_batch=10,
        settle_linger_s=0.002,
        work="exponential",
        work_s=0.001,
        work_kind="cpu",
        visibility_s=2.0,
        sweep_s=0.5,
    )
    assert read.phases == Phases(warmup_s=5.0, steady_s=49.0, drain_s=120.0)
    assert read.faults == (
        FaultEntry(at_s=15.0, verb="kill", target="broker", settings={"restart_after": 2.0}),
        FaultEntry(at_s=20.0, verb="kill", target="worker", settings={"count": 2, "replace_after": None}),
        FaultEntry(at_s=21.5, verb="pause", target="broker", settings={"for": 2.0}),
    )
    assert read.slo == (
        Bound(metric="latency.end_to_end.p99", limit=0.05, text="50 ms"),
        Bound(metric="loss.confirmed", limit=0, text="0"),
        Bound(metric="throughput", limit=900.0, text="900/s", at_least=True),
        Bound(metric="loss.ratio", limit=0.05, text="5 %"),
        Bound(metric="cost.broker_memory_peak", limit=10**9, text="1 GB"),
    )


def test_what_is_not_written_has_the_defaults_of_the_reference(tmp_path: Path):
    read = read_text(tmp_path, MINIMAL)
    assert read.load == Load(
        profile=(Segment(kind="constant", duration_s=20.0, rates_per_s=(1000.0,)),),
        saturate_window=None,
        arrival="poisson",
        producers=1,
        payload_bytes=256,
        window=1000,
        batch=256,
        tick_s=0.001,
        style="library",
        retry_attempts=0,
        retry_backoff_s=0.1,
    )
    assert read.workers == Workers(
        count=2,
        prefetch=100,
        ack="explicit",
        settle_batch=100,
        settle_linger_s=0.005,
        work="none",
        work_s=0.0,
        work_kind="sleep",
        visibility_s=5.0,
        sweep_s=1.0,
    )
    assert read.phases == Phases(warmup_s=3.0, steady_s=20.0, drain_s=60.0)
    assert (read.expect, read.deployment, read.faults, read.slo) == ("", "embedded", (), ())
    assert (read.trials, read.agents, read.seed) == (1, Agents(local=1, remote=0), 1)
    assert (read.name, read.text, read.overrides) == ("asked", MINIMAL, ())


def test_closed_loop_has_a_window_and_no_profile(tmp_path: Path):
    load = read_text(tmp_path, MINIMAL.replace("rate: 1000/s", "saturate: {window: 50}")).load
    assert (load.profile, load.saturate_window, load.window) == ((), 50, 50)
    assert read_text(tmp_path, MINIMAL.replace("rate: 1000/s", "saturate: {}")).load.saturate_window == 1000


def test_words_stay_words_and_numbers_keep_their_digits(tmp_path: Path):
    """YAML 1.1 would read on as true, and 010 as 8."""
    text = MINIMAL.replace("[redis-stream]", "[postgres-lease: {synchronous_commit: off}, null: {drop: 010}]")
    lease, null = read_text(tmp_path, text).cases
    assert lease.parameters == {"synchronous_commit": "off", "unlogged": "false"}
    assert null.parameters == {"drop": "010"}


def test_the_null_setup_may_be_written_as_the_bare_word(tmp_path: Path):
    for written in ("null", '"null"', "null: {}", "null:"):
        read = read_text(tmp_path, f"question: q\nsetups:\n  - {written}\nload: {{rate: 1000/s}}\n")
        assert [case.id for case in read.cases] == ["null@embedded"]


def test_the_longest_hold_is_at_least_three_seconds(tmp_path: Path):
    assert read_text(tmp_path, MINIMAL).longest_hold_s == 6.0
    assert read_text(tmp_path, MINIMAL + "workers: {visibility: 1 s, sweep: 1 s}\n").longest_hold_s == 3.0


def test_a_replay_reads_times_from_a_file_beside_the_scenario(tmp_path: Path):
    (tmp_path / "times.txt").write_text("# seconds\n0\n0.5   # twice\n0.5\n\n1.25e0\n")
    text = MINIMAL.replace("{rate: 1000/s}", "{profile: [{replay: times.txt}]}")
    assert read_text(tmp_path, text).load.profile == (
        Segment(kind="replay", duration_s=1.251, times_s=(0.0, 0.5, 0.5, 1.25)),
    )
    cut = read_text(tmp_path, text.replace("times.txt}", "times.txt, for: 1 s}"))
    assert cut.load.profile == (Segment(kind="replay", duration_s=1.0, times_s=(0.0, 0.5, 0.5)),)
    assert cut.phases.steady_s == 1.0


def test_anchors_and_comments_and_a_byte_order_mark_are_fine(tmp_path: Path):
    text = "\ufeff# one\nquestion: &q Does it?\nexpect: *q\nsetups: [redis-list]\nload: {rate: 1000/s}\n"
    assert read_text(tmp_path, text).expect == "Does it?"


def test_the_expanded_form_is_plain_json_and_knows_every_value(tmp_path: Path):
    expanded = as_dict(read_text(tmp_path, WHOLE))
    assert json.loads(json.dumps(expanded)) == expanded
    assert expanded["load"]["profile"][4] == {
        "kind": "sine",
        "duration_s": 4.0,
        "rates_per_s": [0.0, 200.0],
        "period_s": 0.5,
    }
    assert expanded["cases"][0] == {
        "id": "redis-stream[persistence=none]@embedded",
        "setup": "redis-stream",
        "parameters": {"persistence": "none"},
        "network": "embedded",
        "workers": {},
    }
    assert expanded["faults"][1]["settings"] == {"count": 2, "replace_after": None}
    assert set(expanded) == {
        *("name", "question", "expect", "deployment", "address", "cases", "load", "workers", "phases", "faults"),
        *("trials", "agents", "seed", "slo"),
    }


def test_a_replay_is_expanded_to_its_count_and_hash(tmp_path: Path):
    (tmp_path / "times.txt").write_text("0\n1\n")
    text = MINIMAL.replace("{rate: 1000/s}", "{profile: [{replay: times.txt}]}")
    (segment,) = as_dict(read_text(tmp_path, text))["load"]["profile"]
    assert segment["times"] == 2
    assert segment["times_sha256"] == hashlib.sha256(struct.pack("<2d", 0.0, 1.0)).hexdigest()


def test_the_description_says_what_would_run_and_for_how_long(tmp_path: Path):
    read = read_text(tmp_path, WHOLE)
    assert expected_trial_s(read) == 5 + 49 + 3 + 3
    assert expected_run_s(read) == 60 * 3 * 5
    lines = describe(read).splitlines()
    assert "cases (5):" in lines
    assert "  postgres-lease[synchronous_commit=off,unlogged=true]@embedded" in lines
    assert "phases: warm-up 5 s, steady 49 s, drain up to 120 s" in lines
    assert "fault: kill worker at 20 s, count: 2, replace_after: never" in lines
    assert "slo: throughput at least 900/s" in lines
    assert lines[-1] == "time: about 900 s (15 trials of about 60 s)"


@pytest.mark.parametrize("seed", [0, (1 << 32) - 1])
def test_bounds_are_allowed_themselves(tmp_path: Path, seed: int):
    assert read_text(tmp_path, MINIMAL + f"seed: {seed}\n").seed == seed


def test_a_scenario_is_read_by_path_as_text_or_as_path(tmp_path: Path):
    path = tmp_path / "asked.yaml"
    path.write_text(MINIMAL)
    assert read_scenario(path, CATALOGUE) == read_scenario(str(path), CATALOGUE)


def test_a_folded_text_is_read_without_the_marks_of_its_folds(tmp_path: Path) -> None:
    text = MINIMAL.replace("question:", "expect: >\n  one line\n  and\n  another\nquestion:", 1)
    assert read_text(tmp_path, text).expect.strip() == "one line and another"
