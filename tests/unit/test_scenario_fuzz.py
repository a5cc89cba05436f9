"""Whatever a file holds: a scenario, or a usage error with a place; never a traceback."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from scenario_support import CATALOGUE, MINIMAL
from test_scenario_read import WHOLE

from harness.errors import UsageError
from harness.scenario.catalogue import LATER_VERBS
from harness.scenario.describe import as_dict, describe
from harness.scenario.keys import LOAD, PHASES, WORKERS, scenario_table
from harness.scenario.read import read_scenario

WORDS = sorted(
    {key.name for table in (scenario_table(CATALOGUE), LOAD, WORKERS, PHASES) for key in table.keys}
    | {"at", "kill", "pause", "restart", "for", "count", "broker", "worker", "never", "none", "null", "redis-stream"}
    | {"constant", "ramp", "steps", "sine", "period", "replay", "spike", "~", "on", "1", "0 s", "5 s", "1 ms", "1000/s"}
    | {"256 B", "5 %", "<<", "loss.confirmed", *LATER_VERBS}
)


def read(content: str | bytes, *overrides: str) -> None:
    """Reads it; any other error than a usage error fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "asked.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        try:
            scenario = read_scenario(path, CATALOGUE, overrides)
        except UsageError:
            return
        assert scenario.cases
        assert describe(scenario)
        json.dumps(as_dict(scenario), allow_nan=False)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_scenario_never_ends_in_a_traceback(data: st.DataObject):
    lines = WHOLE.splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, len(lines) - 1))
        line = lines[index]
        begin = data.draw(st.integers(0, len(line)))
        end = data.draw(st.integers(begin, len(line)))
        lines[index] = (
            line[:begin] + data.draw(st.sampled_from(["", " ", ":", "[", "}", "- ", "0", *WORDS])) + line[end:]
        )
    read("".join(lines))


values = st.recursive(
    st.sampled_from(WORDS) | st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(WORDS), values, max_size=5), st.booleans())
def test_any_values_under_any_keys_never_end_in_a_traceback(entries: dict[str, Any], sound: bool):
    begin = {"question": "q", "setups": ["redis-stream"], "load": {"rate": "1000/s"}} if sound else {}
    read(json.dumps(begin | entries))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([*WORDS, "0", "1"]), max_size=4), values | st.text(max_size=8))
def test_any_override_never_ends_in_a_traceback(parts: list[str], value: Any):
    read(MINIMAL, ".".join(parts) + "=" + (value if isinstance(value, str) else json.dumps(value)))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_never_end_in_a_traceback(content: bytes):
    read(content)
