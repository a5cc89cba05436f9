"""The compose files that a user runs by hand say what the harness says."""

from __future__ import annotations

import pytest

from harness.containers.compose import folder
from harness.containers.images import OFFICIAL
from harness.deployments._servers import SERVERS, by_hand


@pytest.mark.parametrize("broker", SERVERS)
@pytest.mark.parametrize(("host_network", "name"), [(False, "config"), (True, "config-host")])
def test_the_configuration_of_those_who_run_a_file_by_hand_is_the_harness_s(
    broker: str, host_network: bool, name: str
) -> None:
    place = folder() / broker / name
    assert {path.name: path.read_text() for path in place.iterdir()} == by_hand(broker, host_network=host_network)


@pytest.mark.parametrize("broker", SERVERS)
def test_the_image_of_those_who_run_a_file_by_hand_is_the_official_one(broker: str) -> None:
    assert f"${{BROKERBENCH_IMAGE:-{OFFICIAL[broker]}}}" in (folder() / broker / "compose.yaml").read_text()
