"""What a broker or a load used becomes samples under the names of the record."""

from __future__ import annotations

from harness.deployments.contract import Usage
from harness.run.sampling import values


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
