"""The embedded brokers, whom they run as, and their ports. Nothing is started but ``--version``."""

from __future__ import annotations

import os
import pwd
import socket
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from harness.brokers import names, setup
from harness.deployments._users import may_enter, unprivileged_user
from harness.deployments.contract import Deployment
from harness.deployments.embedded import brokers
from harness.doctor.finding import Check, Seen, missing, ok
from harness.errors import StartError, UnavailableError, UsageError
from harness.model import Setup

OURS = "null"  # part of brokerbench: all that it needs is Python
CONNECT_LIMIT_S = 5.0
_GROUP = "Embedded brokers"


def checks(deployment: Deployment, required: Collection[str]) -> Iterator[Check]:
    """Yields the checks of this module; ``required``: the brokers that the quickstart needs."""
    for broker in brokers():
        if broker != OURS:
            yield Check(
                id=f"broker.{broker}",
                group=_GROUP,
                what=broker,
                look=_server(deployment, broker),
                required=broker in required,
            )
    yield Check(id="user", group=_GROUP, what="run as", look=_user)
    yield Check(id="ports", group=_GROUP, what="127.0.0.1", look=_ports, required=True)


def _server(deployment: Deployment, broker: str) -> Callable[[], Seen]:
    return lambda: server(deployment, broker, *_setups(broker))


def _setups(broker: str) -> tuple[list[Setup], str]:
    """Returns the setups of a broker that can be imported, and why others cannot."""
    found, problem = [], ""
    for name in names():
        try:
            found.append(setup(name))
        except UsageError as error:  # its client library is not installed
            problem = str(error)
    return [one for one in found if one.broker == broker], problem


def server(deployment: Deployment, broker: str, found: Sequence[Setup], problem: str = "") -> Seen:
    """Judges one broker's server: found, new enough, and allowed to run here.

    Args:
        found: the broker's setups. problem: why other setups could not be imported.
    """
    if not found:
        first, *rest = (problem or f"no setup uses {broker}").splitlines()
        return missing(first, f"nothing can be asked of {broker} here", _remedy(rest))
    told = ", ".join(one.name for one in found)
    try:
        version = deployment.version(found[0])
    except UnavailableError as error:
        expected = f" (expected: {error.expected})" if error.expected else ""
        return missing(f"{error.problem}{expected}", f"cannot run here: {told}", error.remedy)
    if reason := deployment.unavailable(found[0]):
        first, *rest = reason.splitlines()
        return missing(f"{version}: {first}", f"cannot run here: {told}", _remedy(rest))
    return ok(version, f"for {told}")


def _remedy(lines: Sequence[str]) -> str:
    return "; ".join(lines).strip().removeprefix("remedy: ")


def _user() -> Seen:
    place = Path(tempfile.gettempdir())
    try:
        nobody = unprivileged_user()
    except StartError as error:
        return user(None, "root", place, entered=True, problem=error.problem)
    if nobody is None:
        return user(None, _name(os.geteuid()), place, entered=True)
    return user(nobody, _name(nobody), place, entered=may_enter(place, nobody))


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def user(nobody: int | None, name: str, place: Path, *, entered: bool, problem: str = "") -> Seen:
    """Judges whom servers run as.

    Args:
        nobody: uid for servers that refuse root, None where we are not root or there is none. name: of the user.
        place: where data lie, ``entered``: that user may enter it. problem: why there is none.
    """
    refuse = "PostgreSQL and RabbitMQ are not run as root"
    if problem:
        return missing(problem, refuse, "run brokerbench as another user than root")
    if nobody is None:
        return ok(name, "servers run as you do")
    if not entered:
        return missing(
            f"{name} (uid {nobody}) may not enter {place}",
            refuse,
            "set TMPDIR to a folder that everybody may enter, such as /tmp",
        )
    return ok(f"{name} (uid {nobody}) where a server refuses root", refuse)


def _ports() -> Seen:
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(CONNECT_LIMIT_S)
            port = listener.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port), CONNECT_LIMIT_S):
                listener.accept()[0].close()
    except OSError as error:
        return ports(str(error.strerror or error))
    return ports("")


def ports(problem: str) -> Seen:
    """Judges whether a server can listen and be reached on this machine."""
    if problem:
        return missing(
            f"no connection to 127.0.0.1: {problem}",
            "every broker listens there",
            "bring the loopback up (ip link set lo up), and let the firewall pass what stays on this machine",
        )
    return ok("a free port can be had and reached", "brokers listen here only: nobody else reaches them")
