"""What this machine cannot run is refused before anything is made: each reason once, behind the cases that it keeps from running."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from scenario_support import MINIMAL, read_text

from harness.cli.commands import cli
from harness.deployments.contract import Broker, BrokerOptions
from harness.errors import UnavailableError, UsageError
from harness.model import NO_CHOICE, Setup, Site
from harness.run.progress import Deaf
from harness.run.runner import Run, RunOptions

TOO_MANY = "cpus: 64 is more than the engine has\n  expected: at most 2\n  remedy: write cpus: 2 or less"


class Lacking:
    """A deployment that lacks something for some networks."""

    name = "docker"

    def __init__(self, lacks: Mapping[str, str]) -> None:
        self._lacks = lacks

    def unavailable(self, setup: Setup, site: Site = NO_CHOICE) -> str:
        """Returns what is missing for the site's network."""
        return self._lacks.get(site.network, "")

    def version(self, setup: Setup) -> str:
        """Returns nothing known."""
        return ""

    def up(self, options: BrokerOptions) -> Broker:
        """Is never asked."""
        raise NotImplementedError


def refusal(tmp_path: Path, lacks: Mapping[str, str], setups: str = "redis-stream") -> str:
    text = MINIMAL.replace("redis-stream", setups) + "deployment: docker\nnetwork: [bridge, host, overlay]\n"
    with pytest.raises(UnavailableError) as caught:
        Run(read_text(tmp_path, text), Lacking(lacks), RunOptions(root=tmp_path / "runs", command=""), Deaf())
    assert not (tmp_path / "runs").exists()
    return str(caught.value)


def test_a_case_is_named_before_its_reason_and_the_others_can_be_run(tmp_path: Path):
    assert refusal(tmp_path, {"host": TOO_MANY}) == (
        "redis-stream@host: cpus: 64 is more than the engine has\n"
        "  expected: at most 2\n"
        "  remedy: write cpus: 2 or less\n"
        "  remedy: --skip-unavailable runs the 2 other cases"
    )


def test_each_reason_stands_once_behind_its_cases(tmp_path: Path):
    assert refusal(tmp_path, {"host": TOO_MANY, "overlay": "no swarm"}) == (
        f"redis-stream@host: {TOO_MANY}\nredis-stream@overlay: no swarm\n  remedy: --skip-unavailable runs the other case"
    )


def test_many_cases_with_one_reason_are_counted(tmp_path: Path):
    setups = "redis-stream: {cpus: [1, 2, 3, 4, 5, 6]}"
    assert refusal(tmp_path, {"overlay": "no swarm"}, setups).startswith(
        "redis-stream[cpus=1]@overlay, redis-stream[cpus=2]@overlay, redis-stream[cpus=3]@overlay,"
        " redis-stream[cpus=4]@overlay and 2 more: no swarm\n"
    )


def test_what_keeps_every_case_from_running_names_none(tmp_path: Path):
    assert refusal(tmp_path, dict.fromkeys(("bridge", "host", "overlay"), "no engine")) == "all 3 cases: no engine"


@pytest.mark.parametrize(
    ("words", "expected", "remedy"),
    [
        (["--metrics", "abc"], "a whole number from 0 to 65535", "for example --metrics 9464"),
        (["--metrics", "65536"], "a whole number from 0 to 65535", "for example --metrics 9464"),
        (["--trials", "0"], "a whole number from 1 to 1000", "for example --trials 3"),
    ],
)
def test_a_number_that_an_option_does_not_take_is_refused_with_the_remedy(
    words: list[str], expected: str, remedy: str
) -> None:
    with pytest.raises(UsageError) as refused:
        cli.main(["run", "quickstart", *words], standalone_mode=False)
    assert refused.value.problem == f"{' '.join(words)}: not a value that it takes"
    assert (refused.value.expected, refused.value.remedy) == (expected, remedy)
