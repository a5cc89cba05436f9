"""Whether agents of other machines can take part in a run: asked before anything is started."""

from __future__ import annotations

from harness.errors import UsageError
from harness.faults import faults
from harness.load.door import Door, is_loopback, require_free
from harness.proxy.proxy import THROUGH_PROXY
from harness.scenario.model import Scenario


def check_door(scenario: Scenario, door: Door | None) -> Door | None:
    """Returns the door where the scenario asks for agents of other machines, else None.

    Raises:
        UsageError: it cannot be opened, or those who come in could not reach the broker.
    """
    if not scenario.agents.remote:
        return None
    if door is None:
        raise UsageError(
            f"the scenario asks for {scenario.agents.remote} agents of other machines, and there is no door for them",
            remedy="say where: --listen HOST:PORT",
        )
    if not is_loopback(door.at.host):
        _require_reachable(scenario, door)
    require_free(door.at)
    return door


def _require_reachable(scenario: Scenario, door: Door) -> None:
    if scenario.deployment == "embedded":
        raise UsageError(
            f"agents come in at {door.at}, and embedded brokers listen on 127.0.0.1 only",
            expected="a broker that every agent reaches",
            remedy="run one where they do, and write deployment: external with its address; "
            "or lend this machine's own agents at 127.0.0.1",
        )
    for fault in scenario.faults:
        if faults()[fault.verb, fault.target].kind in THROUGH_PROXY:
            raise UsageError(
                f"'{fault.label}' cuts producers off by a proxy on 127.0.0.1, which agents of other machines do not reach",
                remedy="take the fault out, or let agents come in at 127.0.0.1 only",
            )
