"""`brokerbench down --json`: what was removed and what is left, for programs."""

from __future__ import annotations

import json

import pytest

from harness.cli import commands
from harness.cli.commands import cli
from harness.errors import UsageError


@pytest.mark.parametrize(
    ("told", "removed", "left"),
    [
        ([], [], []),
        (["folder /tmp/a"], ["folder /tmp/a"], []),
        (["folder /tmp/a", "left: swarm: others use it"], ["folder /tmp/a"], ["swarm: others use it"]),
    ],
)
def test_down_tells_programs_what_is_gone_and_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    told: list[str],
    removed: list[str],
    left: list[str],
) -> None:
    monkeypatch.setattr(commands, "sweep_everything", lambda _: told)
    assert cli.main(["down", "--json"], standalone_mode=False) == (70 if left else 0)
    assert json.loads(capsys.readouterr().out) == {"removed": removed, "left": left}


def test_an_address_that_libraries_would_read_differently_is_refused_before_anything_is_removed() -> None:
    with pytest.raises(UsageError, match="percent-encoded") as refused:
        cli.main(["down", "--address", "amqp://u:p@ss@127.0.0.1:5672"], standalone_mode=False)
    assert "p@ss" not in str(refused.value)
