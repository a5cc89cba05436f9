"""`brokerbench up` refuses what no container of a broker can have, before the engine is asked for anything."""

from __future__ import annotations

import pytest

from harness.cli.commands import cli
from harness.errors import UsageError


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "up null",
            "null cannot run in Docker, which has no server of null\n"
            "  expected: a setup of postgres, rabbitmq, redis\n"
            "  remedy: brokerbench list",
        ),
        (
            "up redis-stream --set network=overlay",
            "--set network=overlay: network: is no parameter of a setup\n    remedy: --network overlay",
        ),
        (
            "up redis-stream --set deployment=embedded",
            "--set deployment=embedded: deployment: is no parameter of a setup\n"
            "    remedy: remove it: `brokerbench up` keeps brokers in Docker only",
        ),
        (
            "up redis-stream --set client=host",
            "--set client=host: client: is no parameter of a setup\n    remedy: remove it: `brokerbench up` starts no load",
        ),
    ],
)
def test_what_up_does_not_take_is_refused_with_what_it_does(line: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        cli.main(line.split(), standalone_mode=False)
    assert str(caught.value) == told
