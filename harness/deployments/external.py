"""Brokers that run already, at an address; not ours to start, strike or stop, and shared with whoever else uses them.

What is made there is named in the journal before it is made, and the minder is told the address over its pipe: the queues of a run
are removed however the run ends, and no file ever holds the password.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import NoReturn

from harness.brokers import open_driver, purge_queue
from harness.brokers.contract import DriverOptions, Effective
from harness.deployments._here import ThisMachine
from harness.deployments.contract import Broker, BrokerOptions, Incident, LoadPlace, Usage
from harness.errors import BrokerbenchError, UnavailableError, Unreachable
from harness.model import NO_CHOICE, Setup, Site
from harness.redaction import shown

NAME = "external"
CHECK_LIMIT_S = 5.0
"""How long a broker that runs already may take to answer before anything is started."""


class ExternalDeployment:
    """Hands out brokers that run already.

    Args:
        urls: broker → address; held in memory only.
    """

    name = NAME

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = dict(urls)
        self._seen: dict[str, Effective] = {}
        self._unreachable: dict[str, str] = {}

    def unavailable(self, setup: Setup, site: Site = NO_CHOICE) -> str:
        """Returns why the setup cannot be run there, "" when it can: connects, makes a queue of its own and removes it."""
        if setup.broker not in self._urls:
            return f"there is no address of a {setup.broker}"
        if setup.name in self._seen:
            return ""
        where = _place(self._urls[setup.broker])
        if setup.broker not in self._unreachable:
            try:
                self._seen[setup.name] = _looked_at(setup, self._urls[setup.broker])
            except Unreachable as error:
                self._unreachable[setup.broker] = f"{setup.broker} at {where}: {error}"
            except BrokerbenchError as error:
                return f"{setup.name} at {where}: {error}"
        return self._unreachable.get(setup.broker, "")

    def version(self, setup: Setup) -> str:
        """Returns what runs where, and whether the connection is encrypted, e.g. ``Redis 7.0.15 at db:6379, TLS``."""
        found = self._seen[setup.name]
        secure = {True: ", TLS", False: ", not encrypted", None: ""}[found.encrypted]
        return f"{found.version} at {_place(self._urls[setup.broker])}{secure}"

    def up(self, options: BrokerOptions) -> Broker:
        """Returns the broker at the address; starts nothing.

        Raises:
            UnavailableError: it cannot be reached, or refuses what the setup needs.
        """
        reason = self.unavailable(options.setup, options.site)
        if reason:
            raise UnavailableError(reason)
        options.meanwhile(ThisMachine(options.journal))
        url = self._urls[options.setup.broker]
        notes = list(_notes(url, self._seen[options.setup.name]))
        return ExternalBroker(address=url, version=self.version(options.setup), notes=notes, options=options)


class ExternalBroker:
    """A broker of somebody else's; implements :class:`harness.deployments.contract.Broker` as far as it goes.

    Args:
        options: its ``queues`` are what the trial makes there and what ``down`` removes.
    """

    def __init__(self, *, address: str, version: str, notes: list[str], options: BrokerOptions) -> None:
        self.address = self.load_address = address
        self.load_place: LoadPlace = ThisMachine(options.journal)
        self.version = version
        self.ours = False
        self.notes = notes
        self._options = options
        self._queues = list(options.queues)
        for queue in self._queues:
            options.journal.queue(queue, setup=options.setup.name, address=address, parameters=dict(options.parameters))

    def start(self) -> None:
        """Refuses: it is not ours."""
        _refuse()

    def kill(self) -> NoReturn:
        """Refuses: it is not ours."""
        _refuse()

    def stop(self, timeout_s: float) -> NoReturn:
        """Refuses: it is not ours."""
        _refuse()

    def pause(self) -> NoReturn:
        """Refuses: it is not ours."""
        _refuse()

    def resume(self) -> NoReturn:
        """Refuses: it is not ours."""
        _refuse()

    def recreate(self, stop_timeout_s: float) -> NoReturn:
        """Refuses: it is not ours."""
        _refuse()

    def why_ended(self) -> str:
        """Returns nothing: nobody tells."""
        return ""

    def incidents(self) -> Sequence[Incident]:
        """Returns nothing: nobody tells."""
        return ()

    def alive(self) -> bool:
        """Returns True: there is no process to look at; whether it answers, every connection finds out for itself."""
        return True

    def usage(self) -> Usage:
        """Returns nothing but unknowns."""
        return Usage(cpu_s=None, memory_bytes=None, written_bytes=None)

    def log_tail(self, lines: int = 10) -> str:
        """Returns that its log is not ours to read."""
        return f"(its log is where it runs: {_place(self.address)})"

    def down(self) -> None:
        """Removes the trial's queues; what the broker does not let go of now is tried again at the end of the run."""
        setup, parameters = self._options.setup.name, self._options.parameters
        for queue in list(self._queues):
            try:
                purge_queue(queue, setup=setup, address=self.address, parameters=parameters)
                self._options.journal.queue_gone(queue)
                self._queues.remove(queue)
            except Exception as error:  # contract: never raises; the journal has it
                self.notes.append(f"the queue {queue} could not be removed from {_place(self.address)}: {error}")
                return


def _refuse() -> NoReturn:
    raise UnavailableError(
        "a broker that runs already is not ours to start, stop or strike", expected="faults on workers"
    )


def _looked_at(setup: Setup, url: str) -> Effective:
    """Returns what a broker says of itself, having shown that the setup's queue can be made there."""
    driver = open_driver(
        DriverOptions(
            setup=setup.name,
            address=url,
            queue=f"bb_check_{secrets.token_hex(8)}",
            parameters=setup.complete({}, as_found=True),
            client="check",
            connect_timeout_s=CHECK_LIMIT_S,
            answer_timeout_s=CHECK_LIMIT_S,
        )
    )
    try:
        driver.connect()
        try:
            return driver.prepare()
        finally:
            with suppress(BrokerbenchError):  # a connection that prepare has lost: nothing was made
                driver.purge()
    finally:
        driver.close()


def _place(url: str) -> str:
    """Returns host and port, or the path of a socket."""
    host, slash, path = shown(url).partition("://")[2].partition("/")
    return host or f"{slash}{path}"


def _notes(url: str, found: Effective) -> Iterator[str]:
    if found.encrypted is False and not _is_local(url):
        yield f"the connection to {_place(url)} is not encrypted: messages and password can be read on the way"


def _is_local(url: str) -> bool:
    """Returns whether every host of a URL is this machine."""
    hosts = shown(url).partition("://")[2].partition("/")[0].split(",")
    return all(map(_is_loopback, hosts))


def _is_loopback(host: str) -> bool:
    name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    with suppress(ValueError):
        return ip_address(name).is_loopback
    return name in ("", "localhost")
