"""``capacity`` through the command line, of a broker whose capacity is known."""

from __future__ import annotations

import json

import pytest

from harness.analysis.capacity import CapacityRecord
from harness.analysis.rate_search import Shown
from harness.store import RunFolder
from tests.system.conftest import Bench

pytestmark = pytest.mark.slow

SCENARIO = """
question: How much does it carry?
setups:
  - null: {service_rate: 4000/s}
deployment: embedded
load: {rate: 5400/s}
workers: {count: 1, visibility: 1 s, sweep: 500 ms}
phases: {warmup: 500 ms, steady: 1 s, drain: 20 s}
slo: {latency.end_to_end.p50: 40 ms}
"""


def test_the_capacity_of_a_broker_with_a_known_service_rate_is_found_and_confirmed(bench: Bench) -> None:
    """Short trials and a wide answer: with the default length it comes within 5 % (docs/limits.md)."""
    finished = bench("capacity", bench.scenario("null", SCENARIO), "--within", "50%", "--probe", "1500ms", "--json")
    record = CapacityRecord.model_validate(json.loads(finished.out))
    [found] = record.searches
    assert (found.confirmed, found.above) == (True, Shown.MISSED), finished.out + finished.err
    busy = found.others_refused  # other tests run beside this one
    assert (found.found, finished.code) == (("at_least", 13) if busy else ("found", 0))
    assert found.rate_per_s is not None
    assert 4000 / 1.5 < found.rate_per_s < 4000 * 1.06
    folder = next(bench.runs.glob("*-null-capacity"))
    assert json.loads((folder / "capacity.json").read_text()) == json.loads(finished.out)
    assert (folder / "capacity.png").read_bytes()[:4] == b"\x89PNG"
    runs = [RunFolder.open(folder / probe.run).load() for probe in found.probes]
    rates = [run.scenario_expanded["load"]["profile"][0]["rates_per_s"][0] for run in runs]
    assert rates == [probe.rate_per_s for probe in found.probes], "each rate was frozen in a run of its own"
    assert len({run.run_id for run in runs}) == len(runs)
