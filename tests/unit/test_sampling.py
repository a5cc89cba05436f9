"""What a broker or a load used becomes samples under the names of the record."""

from __future__ import annotations

from typing import Any, cast

from harness.brokers.contract import DriverOptions
from harness.deployments.contract import Usage
from harness.run.sampling import Sampler, values


def test_each_figure_has_a_metric_of_its_own_and_what_cannot_be_read_stays_unknown() -> None:
    used = Usage(
        cpu_s=1.5,
        memory_bytes=2048,
        written_bytes=None,
        throttled_s=0.25,
        network_received_bytes=10,
        network_sent_bytes=0,
    )
    assert values(used) == {
        "cpu_s": 1.5,
        "memory_bytes": 2048,
        "written_bytes": None,
        "throttled_s": 0.25,
        "network_received_bytes": 10,
        "network_sent_bytes": 0,
    }


def test_what_the_load_used_counts_from_the_last_sample_before_it() -> None:
    nothing = cast(Any, None)
    options = DriverOptions(setup="redis-list", address="", queue="q", parameters={}, client="sampler")
    sampler = Sampler(nothing, nothing, options, nothing)
    sampler._rows = [(t_ns, "broker", "throttled_s", value) for t_ns, value in ((10, 1.0), (20, 2.5), (30, 4.0))]
    assert sampler.first_and_last("broker", "throttled_s", 29) == (2.5, 4.0)
    assert sampler.first_and_last("broker", "throttled_s", 5) == (1.0, 4.0)
    assert sampler.first_and_last("broker", "throttled_s", 30) is None
    assert sampler.first_and_last("load", "throttled_s", 5) is None
