"""Which deployment this machine serves where a scenario names none, and where Locust's page can be opened."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from scenario_support import MINIMAL, SETUPS, read_text

from harness.cli import places
from harness.cli.places import default_deployment, require_page, why_not_docker
from harness.containers import engine
from harness.errors import UsageError
from harness.model import Setup


def why_not(*missing: str) -> dict[str, str]:
    return dict.fromkeys(missing, "no image is here")


@pytest.mark.parametrize(
    ("missing", "deployment"), [((), "docker"), (("redis-list",), "embedded"), (("null", "redis-stream"), "embedded")]
)
def test_docker_is_the_default_where_it_can_run_every_setup_at_once(missing: tuple[str, ...], deployment: str):
    reasons = why_not(*missing)

    def reason(setup: Setup) -> str:
        return reasons.get(setup.name, "")

    assert default_deployment(SETUPS, reason) == deployment


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # docker-py leaves a socket that did not connect open
def test_without_an_engine_no_setup_runs_on_docker_and_the_reason_has_a_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    engine.engine.cache_clear()
    places._why_no_docker.cache_clear()
    try:
        told = why_not_docker(SETUPS[0])
        assert told.startswith("no Docker engine answers")
        assert "unset or correct DOCKER_HOST" in told
        assert default_deployment(SETUPS) == "embedded"
    finally:
        engine.engine.cache_clear()
        places._why_no_docker.cache_clear()
        gc.collect()  # its warning belongs to this test


@pytest.mark.parametrize("text", ["", "deployment: docker\nnetwork: host\n", "deployment: docker\nclient: host\n"])
def test_the_page_is_served_where_it_can_be_opened(tmp_path: Path, text: str):
    require_page(read_text(tmp_path, MINIMAL + text))


def test_the_page_of_a_load_in_a_container_on_a_bridge_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="redis-stream@bridge runs the load in a container") as caught:
        require_page(read_text(tmp_path, MINIMAL + "deployment: docker\nnetwork: [host, bridge]\n"))
    assert "--set client=host" in str(caught.value)
