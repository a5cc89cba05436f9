"""When a container is said to have been throttled; the figures are the kernel's own files, in a folder of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.containers.usage import Meter, _Files
from harness.deployments._befell import Befell, Throttling

Throttle = Callable[[float], None]


@pytest.fixture
def meter(tmp_path: Path) -> Meter:
    measured = Meter()
    measured._life = _Files({"": tmp_path}, tmp_path.name, 4242, own_network=False)
    return measured


@pytest.fixture
def throttle(tmp_path: Path, meter: Meter) -> Throttle:
    """Sets for how long the container was throttled in its life, and has the meter look."""

    def set_to(seconds: float) -> None:
        (tmp_path / "cpu.stat").write_text(f"usage_usec 1\nthrottled_usec {round(seconds * 1e6)}\n")
        meter.usage()

    return set_to


def test_what_its_start_cost_is_not_told_and_what_the_load_costs_is_told_once(meter: Meter, throttle: Throttle) -> None:
    befell = Befell(meter, memory="", cpus=0.3)

    def told() -> list[tuple[str, str, str]]:
        return [(each.source, each.what, each.text) for each in befell.since(lambda: "")]

    throttle(2.5)
    assert told() == []
    throttle(2.505)
    assert told() == []
    throttle(2.52)
    assert told() == [("broker", "throttled", "its CPU limit of 0.3 CPUs first kept the broker waiting here")]
    throttle(9.0)
    assert told() == []


def test_the_first_call_looks_itself(meter: Meter, throttle: Throttle, tmp_path: Path) -> None:
    throttle(0.0)
    (tmp_path / "cpu.stat").write_text("throttled_usec 2500000\n")
    throttling = Throttling(meter, "broker")
    assert throttling.since() is None
    meter.usage()
    assert throttling.since() is None


def test_a_limit_that_the_scenario_did_not_set_is_told_without_its_size(meter: Meter, throttle: Throttle) -> None:
    of_broker, of_load = Befell(meter, memory="", cpus=None), Throttling(meter, "load")
    throttle(1.0)
    assert (of_broker.since(lambda: ""), of_load.since()) == ([], None)
    throttle(1.1)
    (incident,) = of_broker.since(lambda: "")
    assert incident.text == "a CPU limit first kept the broker waiting here"
    told = of_load.since()
    assert told is not None
    assert (told.source, told.what, told.text) == ("load", "throttled", "a CPU limit first kept the load waiting here")
