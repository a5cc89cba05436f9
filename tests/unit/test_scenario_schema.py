"""The JSON schema for editors says the same as the reading, as far as a schema can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML
from scenario_support import CATALOGUE, MINIMAL, problems_of, read_text
from test_scenario_read import WHOLE

from harness.metrics import METRICS
from harness.scenario.keys import scenario_table
from harness.scenario.schema import json_schema
from harness.scenario.shapes import Shape

SCHEMA = json_schema(CATALOGUE)


def as_an_editor_reads(text: str) -> Any:
    return _with_string_keys(YAML(typ="safe", pure=True).load(text))


def _with_string_keys(value: Any) -> Any:
    """Keys are strings in JSON, the bare null of YAML too."""
    if isinstance(value, dict):
        return {"null" if key is None else str(key): _with_string_keys(inner) for key, inner in value.items()}
    return [_with_string_keys(inner) for inner in value] if isinstance(value, list) else value


def errors_of(text: str) -> list[Any]:
    return list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(as_an_editor_reads(text)))


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        MINIMAL,
        WHOLE,
        MINIMAL.replace("[redis-stream]", "[null, postgres-lease: {unlogged: [true, false], synchronous_commit: off}]"),
        MINIMAL.replace("[redis-stream]", "[null: {drop: 5}, redis-list: ]"),
        MINIMAL.replace("rate: 1000/s", "saturate: {window: 10}"),
    ],
)
def test_what_is_read_is_valid_for_editors_too(tmp_path: Path, text: str):
    assert read_text(tmp_path, text)
    assert errors_of(text) == []


@pytest.mark.parametrize(
    "line",
    [
        "worker: {}",
        "workers: 3",
        "workers: {count: 0}",
        "workers: {count: 2.5}",
        "workers: {ack: maybe}",
        "workers: {visibility: 5}",
        "workers: {visibility: 5 seconds}",
        "workers: {work: some}",
        "workers: {work: {constant: 1 ms, exponential: 1 ms}}",
        "phases: {steady: 20}",
        "deployment: dockers",
        "network: hosts",
        "network: [bridge, {host: {clients: host}}]",
        "client: containers",
        "faults: [{kill: broker}]",
        "faults: [{at: 9 s, kill: node}]",
        "faults: [{at: 9 s, pause: broker}]",
        "faults: [{at: 9 s, kill: worker, replace_after: soon}]",
        "faults: [{at: 9 s, kill: broker, count: 1}]",
        "trials: many",
        "agents: {a: 1}",
        "seed: -1",
        "slo: {latency.p99: 1 s}",
        "slo: {latency.end_to_end.p99: 50}",
        "slo: {loss.confirmed: 1 s}",
    ],
)
def test_what_is_refused_is_wrong_for_editors_too(tmp_path: Path, line: str):
    text = f"{MINIMAL}{line}\n"
    assert problems_of(tmp_path, text)
    assert errors_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "setups: [redis-stream]\nload: {rate: 1/s}\n",
        MINIMAL.replace("1000/s", "1000"),
        MINIMAL.replace("1000/s", "1000/min"),
        MINIMAL.replace("{rate: 1000/s}", "{}"),
        MINIMAL.replace("1000/s", "1000/s, saturate: {}"),
        MINIMAL.replace("1000/s", "1000/s, style: block"),
        MINIMAL.replace("rate: 1000/s", "profile: [{ramp: [1/s], for: 3 s}]"),
        MINIMAL.replace("[redis-stream]", "[]"),
        MINIMAL.replace("[redis-stream]", "[kafka]"),
        MINIMAL.replace("[redis-stream]", "[{redis-stream: {}, redis-list: {}}]"),
        MINIMAL.replace("[redis-stream]", "[redis-stream: {persistence: [aof]}]"),
        MINIMAL.replace("[redis-stream]", "[redis-stream: {maxmem: 1}]"),
    ],
)
def test_the_schema_finds_typical_mistakes(tmp_path: Path, text: str):
    assert problems_of(tmp_path, text)
    assert errors_of(text)


def test_every_key_is_described_and_its_default_is_valid():
    seen = 0
    for key in scenario_table(CATALOGUE).keys:
        described = SCHEMA["properties"][key.name]
        assert described["description"]
        seen += 1
        for inner in getattr(key.shape, "keys", ()):
            assert described["properties"][inner.name]["description"]
            if inner.default is not None:
                assert inner.default_value() is not None
    assert seen == 15


def test_every_metric_may_have_a_bound():
    assert list(SCHEMA["properties"]["slo"]["properties"]) == list(METRICS)
    names = (
        "throughput rate.offered rate.achieved latency.end_to_end.p99_9 latency.publish.from_sent.p50 lag.p99 "
        "loss.confirmed_upper_95 class.lost_in_settling mark.given_twice blocked recovery.longest_gap backlog.end "
        "cost.broker_cpu cost.disk_bytes_per_message"
    )
    assert set(names.split()) <= set(METRICS)


def test_shapes_say_what_they_expect():
    shapes: list[Shape] = [key.shape for key in scenario_table(CATALOGUE).keys]
    assert all(shape.expected for shape in shapes)
